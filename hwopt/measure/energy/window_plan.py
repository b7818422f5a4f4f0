"""Window lengths and tolerances for energy measurements with one sensor, fixed for each device."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from hwopt.errors import InvalidInput, did_you_mean

_FULL_SHARE = 0.95  # sampled share above which a sensor counts as sampling all the time
_UNKNOWN_SHARE = 0.25  # assumed if the share is unknown: the smallest one of known sensors


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """Window lengths and tolerances for one sensor, derived from its characterization.

    Attributes:
        window_s: shortest window of a layer, seconds.
        network_window_s: shortest window of a network, seconds.
        preroll_s: seconds that the device is busy before a window.
        agreement: largest relative difference between windows, or phases.
        period_s: period of the energy counter, seconds.
        scatter_s: standard deviation of the delay between a step and the energy that it shows, seconds.
        sampling_share: share of a period that the sensor samples; None if unknown.
        n_phases: number of phases for work that one window does not resolve; at least 1 / sampling_share.
        alias_tolerance: largest relative aliasing error of a single window.
        idle_w: power with a context and no work, watts; None if unknown.
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
                raise InvalidInput(f"window plan: {name} = {getattr(self, name)}; it must be positive")
        if self.sampling_share is not None and not 0 < self.sampling_share <= 1:
            raise InvalidInput(f"sampling_share = {self.sampling_share}; it must be in (0, 1], or None")

    @property
    def stall_s(self) -> float:
        """Seconds without a step after which the counter counts as stalled."""
        return max(0.5, 8 * self.period_s)

    @property
    def share(self) -> float:
        """Sampled share; a pessimistic one if it is unknown."""
        return self.sampling_share or _UNKNOWN_SHARE

    @property
    def is_part_time(self) -> bool:
        """Whether the sensor samples, or may sample, only a part of every period."""
        return self.share < _FULL_SHARE

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as a dict for device.json."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "WindowPlan":
        """Return the plan of a dict from `as_dict`; missing keys have their defaults."""
        known = [one.name for one in fields(cls)]
        for name in values:
            if name not in known:
                raise InvalidInput(f"window plan: unknown key {name!r}{did_you_mean(name, known)}")
        return cls(**values)
