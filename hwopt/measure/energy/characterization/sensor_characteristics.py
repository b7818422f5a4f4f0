"""What was found out about a sensor, and the plan of measuring that follows from it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from hwopt.errors import InvalidInput
from hwopt.measure.energy.window_plan import WindowPlan

ON_LINE_S = 1e-3  # to which the step of a counter of exact period is known at least
_EDGE_ERROR = 0.003  # relative, that the ends of a window may add
_EXACT = 0.01  # jitter over the period, below which the period is exact
_WAVE_S = 0.6  # that a wave is read for at least
_RESOLVED = 0.02  # relative error of a wave's mean power from which the sensor does not resolve it
_LARGE_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class WaveResponse:
    """How the sensor judged a square wave of power.

    Attributes:
        period_s: of the wave.
        error: largest difference of a phase from the mean over phases, relative to the expected power.
        bias: mean over phases over the expected power, less 1; the power of the pauses is that after a load.
        duty: share of the time in which the device worked.
        n_phases: how many were tried.
    """

    period_s: float
    error: float
    bias: float
    duty: float
    n_phases: int


@dataclass(frozen=True, slots=True)
class SensorCharacteristics:
    """What was found out about a sensor. A figure that could not be had is None.

    Attributes:
        meter: its name.
        period_s: mean time between two steps of the counter, device busy.
        jitter_s: standard deviation of that time, polling taken off.
        scatter_s: standard deviation of a step's moment from that of the energy it shows, polling taken off.
        poll_s: median time between the two readings that a step lies between.
        read_s: what one reading of the counter takes.
        resolution_j: largest energy that all steps were multiples of; the counter's own, or a multiple.
        busy_w: power of the loop.
        idle_before_context_w: power before this process touched the device.
        idle_context_w: with a context, before any work.
        idle_after_load_w: in the second after a load.
        instant_ratio: power by the counter over the mean instantaneous power, same time.
        sampling_share: of a period that the sensor looks at.
        waves: its answers to square waves, by period.
        unsafe_band_s: shortest and longest period of the waves that it misjudged; None for none.
        drift_s: for how long the loop ran when the drift was observed.
        power_drift: relative change of its power from the first quarter of that time to the last.
        time_drift: the same of the time of a pass.
        warming_c: change of the temperature meanwhile, degrees.
        seconds: step -> seconds that it took.
        tick_s: to what the moment of a step is known; None in records that do not tell.
        known: model and driver whose known sensor this is, so that only that was checked; empty for none.
        note: what else a reader should know, such as why a known sensor was characterized anew.
    """

    meter: str
    period_s: float
    jitter_s: float
    scatter_s: float
    poll_s: float
    read_s: float
    resolution_j: float
    busy_w: float
    idle_before_context_w: float | None
    idle_context_w: float | None
    idle_after_load_w: float | None
    instant_ratio: float | None
    sampling_share: float | None
    waves: tuple[WaveResponse, ...]
    unsafe_band_s: tuple[float, float] | None
    drift_s: float
    power_drift: float
    time_drift: float | None
    warming_c: float | None
    seconds: Mapping[str, float] = field(default_factory=dict)
    tick_s: float | None = None
    known: str = ""
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the report as device.json keeps it, with the plan that follows from it."""
        return {**asdict(self), "plan": self.plan().as_dict()}

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "SensorCharacteristics":
        """Read a report from what `as_dict` gave, of this version or an older one.

        Raises:
            InvalidInput: where a figure is missing.
        """
        known = {one.name: values[one.name] for one in fields(cls) if one.name in values}
        known["waves"] = tuple(WaveResponse(**wave) for wave in values.get("waves", ()))
        try:
            return cls(**known)
        except TypeError as error:
            raise InvalidInput(f"a sensor's report: {error}; measure the device into a new folder") from None

    def plan(self) -> WindowPlan:
        """Return how to measure with this sensor.

        Windows are so long that their ends add at most 0.3%, and have at least five steps. A sensor that was
        seen to look at nearly the whole period counts as looking all the time, at one phase, where the square
        waves confirm it or it is known to; else the share is unknown.
        """
        share = self.sampling_share
        if share is not None and share > _LARGE_SHARE:
            share = 1.0 if self._looks_all_the_time() else None
        tick_s, scatter_s = self._tick_and_scatter_s
        window_s = max(0.49, 4.9 * self.period_s, (tick_s + 2 * scatter_s) / _EDGE_ERROR)
        network_s = max(0.99, 9.9 * self.period_s) if share == 1.0 else max(3.0, 20 * self.period_s)
        return WindowPlan(
            window_s=window_s,
            network_window_s=max(window_s, network_s),
            preroll_s=0.2,
            period_s=self.period_s,
            scatter_s=scatter_s,
            sampling_share=share,
            n_phases=_n_phases(share),
            idle_w=self.idle_context_w,
        )

    def misjudged_band_s(self) -> tuple[float, float] | None:
        """Return the shortest and the longest period of waves that were misjudged; None for none."""
        return unsafe_band_s(self.waves, [self._explained(wave) for wave in self.waves])

    @property
    def _tick_and_scatter_s(self) -> tuple[float, float]:
        """Seconds to which windows know a step, and by which its energy is of another moment.

        Records that do not tell `tick_s` scattered by polling: with an exact period the line knows better.
        """
        if self.tick_s is not None:
            return self.tick_s, self.scatter_s
        if self.jitter_s < _EXACT * self.period_s:
            return min(self.poll_s, ON_LINE_S), 0.0
        return self.poll_s, self.scatter_s

    def _looks_all_the_time(self) -> bool:
        return bool(self.known) or (len(self.waves) > 0 and self.misjudged_band_s() is None)

    def _explained(self, wave: WaveResponse) -> float:
        """Return the relative error of a wave's power that the moments of steps alone may give.

        A window that begins a moment later is shorter, and may lack work of the whole swing of the power.
        """
        step_s = self.poll_s if self.tick_s is None else self.tick_s  # when the waves were read
        seconds = max(_WAVE_S, 3 * wave.period_s, 8 * self.period_s)
        low_w = self.idle_after_load_w or self.idle_context_w or 0.0
        swing_w = self.busy_w - low_w
        mean_w = low_w + wave.duty * swing_w
        return step_s / seconds * (1 + (1 - wave.duty) * swing_w / mean_w) if mean_w > 0 else 0.0


def _n_phases(share: float | None) -> int:
    """Return at how many phases work is measured: the sampled parts lie side by side."""
    if share == 1.0:
        return 1
    return min(8, max(2, round(1 / share))) if share else 4


def unsafe_band_s(
    waves: Sequence[WaveResponse], explained: Sequence[float] | None = None
) -> tuple[float, float] | None:
    """Return the shortest and the longest period of waves that were misjudged; None for none.

    Args:
        waves: answers of the sensor, shape [n].
        explained: errors that the moments of the counter's steps explain, shape [n]; None for none.
    """
    known = explained or [0.0] * len(waves)
    unsafe = [wave.period_s for wave, due in zip(waves, known, strict=True) if wave.error > _RESOLVED + due]
    return (min(unsafe), max(unsafe)) if unsafe else None
