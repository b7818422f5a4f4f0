"""Find out how an energy sensor behaves, before anything is measured with it.

    idle, no context | idle, context | busy: period, jitter, drift | instantaneous power | idle after load
    square waves at several periods and phases: which work it misjudges, which part of a period it sees

It knows no accelerator: a meter, a clock, and ways to make a loop of constant power are given to it. From
the report follows the plan of all later windows.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hwopt.device.accelerator import Loop
from hwopt.device.meters.meter import Clock, Meter, SensorError
from hwopt.device.meters.poll import Poller, Step
from hwopt.device.meters.report import SensorReport, WaveResponse, unsafe_band_s
from hwopt.device.meters.wave import Wave, WaveMaker, sampled_share, tail_s

__all__ = ["SensorReport", "WaveResponse", "characterise"]
Array = NDArray[np.float64]
T = TypeVar("T")
WAVE_PERIODS_S = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_OWN_PERIODS = (1.0, 0.5, 1.5, 2.5)  # of waves, in periods of the sensor: those that it misjudges most
_N_PHASES = 4
_SWEEP_STEPS = 32
_STALL_S = 2.0


def characterise(
    make_loop: Callable[[], Loop],
    meter: Meter,
    clock: Clock,
    open_context: Callable[[], None] | None = None,
    budget_s: float = 90.0,
    busy_s: float = 6.0,
    wave_periods_s: Sequence[float] = WAVE_PERIODS_S,
) -> SensorReport:
    """Find out how a sensor behaves.

    Args:
        make_loop: gives a loop of constant, high power with short replays, such as a large matrix product;
            it is closed in the end.
        meter: the sensor, opened before this process first used the device.
        clock: in whose time both are read.
        open_context: has this process use the device for the first time; None where it does already, and then
            nothing is known about the time before.
        budget_s: no further wave is begun after so many seconds.
        busy_s: for how long the loop runs to tell the period and the drift.
        wave_periods_s: of square waves, beside some multiples of the sensor's own period.

    Raises:
        SensorError: where the counter cannot be read at all, or does not move.
    """
    steps = _Steps(meter, clock, budget_s)
    before_w = context_w = None
    if open_context is not None:
        before_w = steps.timed("idle before context", steps.idle_w)
        open_context()
        steps.timed("settle", lambda: clock.sleep(2.0))
    context_w = steps.timed("idle with context", steps.idle_w)
    loop = make_loop()
    try:
        busy = steps.timed("busy", lambda: steps.busy(loop, busy_s))
        ratio = steps.timed("instantaneous power", lambda: steps.instant_ratio(loop, busy.period_s))
        after_w = steps.timed("idle after load", steps.idle_w)
        maker = WaveMaker(loop, meter, clock, max(_STALL_S, 8 * busy.period_s), tail_s(loop, clock))
        share = steps.timed("sampled share", lambda: steps.share(maker, busy))
        periods = _wave_periods(wave_periods_s, busy.period_s, maker.tail_s)
        low_w = after_w if after_w is not None else context_w or 0.0
        waves = steps.timed("waves", lambda: steps.waves(maker, busy, low_w, periods))
    finally:
        loop.close()
    return SensorReport(
        meter=meter.name,
        period_s=busy.period_s,
        jitter_s=busy.jitter_s,
        scatter_s=busy.scatter_s,
        poll_s=busy.poll_s,
        read_s=steps.read_s(),
        resolution_j=_resolution_j(busy.ticks, meter.resolution_j),
        busy_w=busy.power_w,
        idle_before_context_w=before_w,
        idle_context_w=context_w,
        idle_after_load_w=after_w,
        instant_ratio=ratio,
        sampling_share=share,
        waves=waves,
        unsafe_band_s=unsafe_band_s(waves),
        drift_s=busy_s,
        power_drift=busy.power_drift,
        time_drift=busy.time_drift,
        warming_c=busy.warming_c,
        seconds=steps.seconds,
    )


@dataclass(frozen=True, slots=True)
class _Busy:
    """A device that was busy for some seconds."""

    ticks: Sequence[Step]
    progress: Sequence[Step]
    warming_c: float | None

    @property
    def period_s(self) -> float:
        """Mean interval, those left out in which a step was missed."""
        intervals, median_s = self._intervals, float(np.median(self._intervals))
        return float(intervals[np.abs(intervals - median_s) < 0.6 * median_s].mean())

    @property
    def poll_s(self) -> float:
        return float(np.median([tick.width_s for tick in self.ticks]))

    @property
    def jitter_s(self) -> float:
        return _without_polling(_spread(self._intervals), 2 * self.poll_s**2)

    @property
    def scatter_s(self) -> float:
        """Moments of the steps against those that the energy tells, a slow drift of the power taken off."""
        times, values = _columns(self.ticks)
        centred = times - times.mean()
        late_s = times - np.polyval(np.polyfit(values - values.mean(), centred, 3), values - values.mean())
        return _without_polling(_spread(late_s), self.poll_s**2)

    @property
    def power_w(self) -> float:
        return _rate(self.ticks)

    @property
    def power_drift(self) -> float:
        first, last = _quarters(self.ticks)
        return _rate(last) / _rate(first) - 1

    @property
    def time_drift(self) -> float | None:
        if len(self.progress) < 12:
            return None
        first, last = _quarters(self.progress)
        return _rate(first) / _rate(last) - 1

    @property
    def _intervals(self) -> Array:
        return np.diff(_columns(self.ticks)[0])


class _Steps:
    """The steps of a characterisation, each with the seconds that it took."""

    def __init__(self, meter: Meter, clock: Clock, budget_s: float) -> None:
        self.meter, self.clock, self.budget_s = meter, clock, budget_s
        self.seconds: dict[str, float] = {}
        self._begin_s = clock.now()

    def timed(self, name: str, step: Callable[[], T]) -> T:
        begin = self.clock.now()
        result = step()
        self.seconds[name] = self.clock.now() - begin
        return result

    def idle_w(self, seconds: float = 1.5) -> float:
        """Return the power without work."""
        poller = Poller(self.meter, self.clock, None, _STALL_S)
        first = poller.next_tick()
        poller.poll_for(seconds)
        last = poller.next_tick()
        return _rate([first, last])

    def busy(self, loop: Loop, seconds: float) -> _Busy:
        """Keep the device busy; after a pre-roll, watch the counter, longer where it steps seldom."""
        poller = Poller(self.meter, self.clock, loop, _STALL_S)
        poller.poll_for(0.25)
        before = self.meter.state().temperature_c
        poller = Poller(self.meter, self.clock, loop, _STALL_S)
        poller.poll_for(seconds)
        while len(poller.ticks) < 12:
            poller.next_tick()
        after = self.meter.state().temperature_c
        warming_c = None if before is None or after is None else after - before
        return _Busy(poller.ticks, poller.progress, warming_c)

    def instant_ratio(self, loop: Loop, period_s: float) -> float | None:
        """Return the counter's power over the mean instantaneous power of the same time."""
        poller = Poller(self.meter, self.clock, loop, _STALL_S)
        poller.poll_for(0.25)
        first, powers = poller.next_tick(), []
        end = self.clock.now() + max(1.0, 12 * period_s)
        while self.clock.now() < end:
            poller.poll()
            try:
                powers.append(self.meter.power_w())
            except SensorError as error:
                if error.code == "device_lost":
                    raise
                return None
        return _rate([first, poller.next_tick()]) / float(np.mean(powers))

    def share(self, maker: WaveMaker, busy: _Busy) -> float | None:
        """Return which share of its period the sensor looks at, by a wave a little out of step with it."""
        period_s = busy.period_s * math.ceil(max(1.0, 4 * maker.tail_s / busy.period_s))
        period_s *= 1 + 1 / _SWEEP_STEPS
        if period_s > 1.0:
            return None
        wave = maker.wave(period_s, 1.5 * _SWEEP_STEPS * period_s)
        return sampled_share(wave, period_s, busy.period_s, busy.power_w)

    def waves(
        self, maker: WaveMaker, busy: _Busy, low_w: float, periods_s: Sequence[float]
    ) -> tuple[WaveResponse, ...]:
        """Return the answers to waves of these periods, as many as the budget allows, by period."""
        found = []
        for period_s in periods_s:
            seconds = max(0.6, 3 * period_s, 8 * busy.period_s)
            needed_s = _N_PHASES * (1.5 * seconds + 3 * period_s)
            if self.clock.now() - self._begin_s + needed_s > self.budget_s:
                continue
            shifts = np.arange(_N_PHASES) / _N_PHASES * busy.period_s
            answers = [maker.wave(period_s, 1.5 * seconds, float(shift)) for shift in shifts]
            found.append(_response(period_s, answers, busy.power_w, low_w))
        return tuple(sorted(found, key=lambda one: one.period_s))

    def read_s(self, n: int = 50) -> float:
        """Return what one reading of the counter takes, on average."""
        begin = self.clock.now()
        for _ in range(n):
            self.meter.energy_j()
        return (self.clock.now() - begin) / n


def _wave_periods(wanted_s: Sequence[float], period_s: float, tail_s: float) -> list[float]:
    """Return periods of waves to try, the sensor's own first; none that the device cannot follow."""
    periods = [share * period_s for share in _OWN_PERIODS]
    periods += [one for one in sorted(wanted_s) if all(abs(one / other - 1) > 0.02 for other in periods)]
    return [one for one in periods if one >= max(4 * tail_s, 4e-3)]


def _response(period_s: float, waves: Sequence[Wave], high_w: float, low_w: float) -> WaveResponse:
    duties = np.array([wave.duty for wave in waves])
    ratios = np.array([wave.power_w for wave in waves]) / (low_w + duties * (high_w - low_w))
    error = float(np.abs(ratios - ratios.mean()).max())
    return WaveResponse(period_s, error, float(ratios.mean()) - 1, float(duties.mean()), len(waves))


def _resolution_j(ticks: Sequence[Step], unit_j: float) -> float:
    """Return the largest energy that all steps are multiples of."""
    counts = np.diff(np.round(_columns(ticks)[1] / unit_j)).astype(np.int64)
    return float(np.gcd.reduce(counts)) * unit_j


def _columns(steps: Sequence[Step]) -> tuple[Array, Array]:
    """Return moments and values, both of shape [n]."""
    return np.array([step.time_s for step in steps]), np.array([step.value for step in steps])


def _rate(steps: Sequence[Step]) -> float:
    return (steps[-1].value - steps[0].value) / (steps[-1].time_s - steps[0].time_s)


def _quarters(steps: Sequence[Step]) -> tuple[Sequence[Step], Sequence[Step]]:
    n = max(2, len(steps) // 4 + 1)
    return steps[:n], steps[-n:]


def _spread(values: Array) -> float:
    """Return a standard deviation that a few outliers do not move (1.4826 times the median deviation)."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _without_polling(spread_s: float, squared_widths_s2: float) -> float:
    """Take off what uniform errors of these squared widths, in all, add to a standard deviation."""
    return math.sqrt(max(0.0, spread_s**2 - squared_widths_s2 / 12))
