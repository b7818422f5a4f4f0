"""How to measure with one sensor: window lengths and tolerances, decided once for each device."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from hwopt.errors import InvalidInput, did_you_mean

_FULL_SHARE = 0.95  # from which a sensor counts as looking all the time
_UNKNOWN_SHARE = 0.25  # of the sensors that are known to look only now and then


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """How to measure with one sensor; what a characterization of it decides.

    Attributes:
        window_s: shortest window of a layer.
        network_window_s: shortest window of a network.
        preroll_s: how long the device is busy before a window.
        agreement: relative difference that two windows, or phases, may have.
        period_s: of the energy counter.
        scatter_s: standard deviation of the moment of a step from that of the energy it shows.
        sampling_share: of a period that the sensor looks at; None where it is not known.
        n_phases: at which work is measured that one window does not resolve; at least 1 / sampling_share.
        alias_tolerance: relative error by alternating power that one window may have.
        idle_w: power with a context and no work, watts; None where it is not known.
    """

    window_s: float = 0.6
    network_window_s: float = 3.0
    preroll_s: float = 0.25
    agreement: float = 0.02
    period_s: float = 0.1
    scatter_s: float = 0.0
    sampling_share: float | None = None
    n_phases: int = 4
    alias_tolerance: float = 0.01
    idle_w: float | None = None

    def __post_init__(self) -> None:
        for name in ("window_s", "network_window_s", "agreement", "period_s", "n_phases", "alias_tolerance"):
            if not getattr(self, name) > 0:
                raise InvalidInput(f"{name} = {getattr(self, name)} of a sensor's plan; it must be positive")
        if self.sampling_share is not None and not 0 < self.sampling_share <= 1:
            raise InvalidInput(f"sampling_share = {self.sampling_share}; it must be in (0, 1], or None")

    @property
    def stall_s(self) -> float:
        """Seconds without a step after which the counter counts as stalled."""
        return max(0.5, 8 * self.period_s)

    @property
    def share(self) -> float:
        """The sampled share, a bad one where it is not known."""
        return self.sampling_share or _UNKNOWN_SHARE

    @property
    def is_part_time(self) -> bool:
        """Whether the sensor looks at a part of every period only, or may."""
        return self.share < _FULL_SHARE

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as device.json keeps it."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "WindowPlan":
        """Read a plan from what `as_dict` gave; what is not there keeps its default."""
        known = [one.name for one in fields(cls)]
        for name in values:
            if name not in known:
                raise InvalidInput(f"a sensor's plan has no {name!r}{did_you_mean(name, known)}")
        return cls(**values)
