"""What was found out about a sensor, and the plan of measuring that follows from it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hwopt.device.meters.plan import SensorPlan

_EDGE_ERROR = 0.003  # relative, that the ends of a window may add
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
class SensorReport:
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

    def as_dict(self) -> dict[str, Any]:
        """Return the report as device.json keeps it, with the plan that follows from it."""
        return {**asdict(self), "plan": self.plan().as_dict()}

    def plan(self) -> SensorPlan:
        """Return how to measure with this sensor.

        Windows are so long that their ends, known to half of `poll_s` and `scatter_s` each, add at most 0.3%.
        A large share counts as the whole period where the waves confirm it, else as unknown.
        """
        share = self.sampling_share
        if share is not None and share > _LARGE_SHARE:
            share = None if self.unsafe_band_s or not self.waves else 1.0
        window_s = max(0.6, (self.poll_s + 2 * self.scatter_s) / _EDGE_ERROR, 6 * self.period_s)
        return SensorPlan(
            window_s=window_s,
            network_window_s=max(3.0, window_s, 20 * self.period_s),
            period_s=self.period_s,
            scatter_s=self.scatter_s,
            sampling_share=share,
            n_phases=min(8, max(2, round(1 / share))) if share else 4,  # sampled parts side by side
            idle_w=self.idle_context_w,
        )


def unsafe_band_s(waves: Sequence[WaveResponse]) -> tuple[float, float] | None:
    """Return the shortest and the longest period of waves that were misjudged; None for none."""
    unsafe = [wave.period_s for wave in waves if wave.error > _RESOLVED]
    return (min(unsafe), max(unsafe)) if unsafe else None
