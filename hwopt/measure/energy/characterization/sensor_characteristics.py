"""Characteristics of an energy sensor, and the window plan that follows from them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from hwopt.errors import InvalidInput
from hwopt.measure.energy.window_plan import WindowPlan

ON_LINE_S = 1e-3  # largest error of the time of a step, for a counter with an exact period
_EDGE_ERROR = 0.003  # largest relative error from the ends of a window
_EXACT = 0.01  # jitter over period below which the period counts as exact
_WAVE_S = 0.6  # shortest reading of a wave
_RESOLVED = 0.02  # relative error of a wave's mean power above which the sensor does not resolve it
_LARGE_SHARE = 0.9  # sampled share above which the sensor may sample all the time


@dataclass(frozen=True, slots=True)
class WaveResponse:
    """Response of the sensor to a square wave of power.

    Attributes:
        period_s: period of the wave.
        error: largest difference between a phase and the mean over phases, relative to the expected power.
        bias: mean over phases relative to the expected power, less 1; power in pauses is that after a load.
        duty: share of the time with load.
        n_phases: number of measured phases.
    """

    period_s: float
    error: float
    bias: float
    duty: float
    n_phases: int


@dataclass(frozen=True, slots=True)
class SensorCharacteristics:
    """Characteristics of an energy sensor. Values that could not be measured are None.

    Attributes:
        meter: name of the meter.
        period_s: mean time between two steps of the counter under load.
        jitter_s: standard deviation of that time, less that of polling.
        scatter_s: standard deviation of the delay between a step and the energy it shows, less polling.
        poll_s: median time between the two readings around a step.
        read_s: duration of a reading of the counter.
        resolution_j: largest energy of which all steps are multiples; the counter's unit, or a multiple.
        busy_w: power under load.
        idle_before_context_w: idle power before this process created a context on the device.
        idle_context_w: idle power with a context, before any work.
        idle_after_load_w: idle power in the second after a load.
        instant_ratio: power from the counter over the mean instantaneous power of the same time.
        sampling_share: share of a period that the sensor samples.
        waves: responses to square waves, sorted by period.
        unsafe_band_s: shortest and longest period of waves with errors; None for none.
        drift_s: duration of the load in which drift was measured.
        power_drift: relative change of power from the first quarter of that duration to the last.
        time_drift: relative change of the time of a pass, likewise.
        warming_c: change of temperature in that duration, degrees.
        seconds: measurement -> its duration.
        tick_s: error of the time of a step; None in records of older versions.
        known: model and driver of the known sensor, if only a check was made; otherwise empty.
        note: further remarks, such as why a known sensor was characterized again.
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
        """Return the characteristics and the window plan as a dict for device.json."""
        return {**asdict(self), "plan": self.plan().as_dict()}

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "SensorCharacteristics":
        """Return the characteristics in a dict from `as_dict`, of this version or an older one.

        Raises:
            InvalidInput: if a value is missing.
        """
        known = {one.name: values[one.name] for one in fields(cls) if one.name in values}
        known["waves"] = tuple(WaveResponse(**wave) for wave in values.get("waves", ()))
        try:
            return cls(**known)
        except TypeError as error:
            raise InvalidInput(f"sensor in device.json: {error}; measure the device again") from None

    def plan(self) -> WindowPlan:
        """Return the window plan.

        Windows are long enough for an error of at most 0.3% from their ends, and for five steps. A measured
        share near 1 counts as 1 (one phase) if the square waves confirm it or the sensor is known; otherwise
        the share is unknown.
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
        """Return the shortest and the longest period of waves with errors; None for none."""
        return unsafe_band_s(self.waves, [self._explained(wave) for wave in self.waves])

    @property
    def _tick_and_scatter_s(self) -> tuple[float, float]:
        """Error of the time of a step, and standard deviation of the delay of its energy, seconds.

        Without `tick_s`, as in older records, the scatter is that of polling, which a fitted line does not
        have if the period is exact.
        """
        if self.tick_s is not None:
            return self.tick_s, self.scatter_s
        if self.jitter_s < _EXACT * self.period_s:
            return min(self.poll_s, ON_LINE_S), 0.0
        return self.poll_s, self.scatter_s

    def _looks_all_the_time(self) -> bool:
        return bool(self.known) or (len(self.waves) > 0 and self.misjudged_band_s() is None)

    def _explained(self, wave: WaveResponse) -> float:
        """Return the relative error of a wave's power that errors of the times of steps explain.

        A window that begins later is shorter, and may miss work of the whole swing of the power.
        """
        step_s = self.poll_s if self.tick_s is None else self.tick_s  # when the waves were read
        seconds = max(_WAVE_S, 3 * wave.period_s, 8 * self.period_s)
        low_w = self.idle_after_load_w or self.idle_context_w or 0.0
        swing_w = self.busy_w - low_w
        mean_w = low_w + wave.duty * swing_w
        return step_s / seconds * (1 + (1 - wave.duty) * swing_w / mean_w) if mean_w > 0 else 0.0


def _n_phases(share: float | None) -> int:
    """Return the number of phases at which the sampled parts cover the period side by side."""
    if share == 1.0:
        return 1
    return min(8, max(2, round(1 / share))) if share else 4


def unsafe_band_s(
    waves: Sequence[WaveResponse], explained: Sequence[float] | None = None
) -> tuple[float, float] | None:
    """Return the shortest and the longest period of waves with errors; None for none.

    Args:
        waves: responses of the sensor, shape [n].
        explained: errors explained by the times of the counter's steps, shape [n]; None for none.
    """
    known = explained or [0.0] * len(waves)
    unsafe = [wave.period_s for wave, due in zip(waves, known, strict=True) if wave.error > _RESOLVED + due]
    return (min(unsafe), max(unsafe)) if unsafe else None
