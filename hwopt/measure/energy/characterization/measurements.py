"""Measurements of a sensor's characterization: idle power, steps under load, square waves of power."""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from hwopt.arrays import Array
from hwopt.measure.energy.characterization.sensor_characteristics import ON_LINE_S, WaveResponse
from hwopt.measure.energy.characterization.square_wave import Wave, WaveMaker, sampled_share
from hwopt.measure.energy.counter_timeline import CounterTimeline
from hwopt.measure.energy.polling import CounterStep, Poller, ask_beside
from hwopt.measure.energy.sensors.meter import Clock, DeviceState, Meter, SensorError
from hwopt.measure.gpu.accelerator import Loop

T = TypeVar("T")
STALL_S = 2.0
_N_PHASES = 4
_SWEEP_STEPS = 32
_PAUSE_S = 5e-4


class BusyMeasurement:
    """Steps of the counter under constant load, and their statistics.

    Args:
        ticks: steps of the energy counter, from polling.
        progress: steps of the number of finished replays.
        warming_c: change of temperature, degrees; None if it is not known.
    """

    def __init__(
        self, ticks: Sequence[CounterStep], progress: Sequence[CounterStep], warming_c: float | None
    ) -> None:
        self.ticks, self.progress, self.warming_c = ticks, progress, warming_c
        self.timeline = CounterTimeline(self._mean_interval_s())
        self.placed = self.timeline.place(ticks)

    def _mean_interval_s(self) -> float:
        """Return the slope of times over step numbers, missed steps included in the count."""
        times, _ = columns(self.ticks)
        n = np.cumsum(np.round(np.diff(times) / np.median(np.diff(times))))
        return float(np.polyfit(np.concatenate([[0.0], n]), times, 1)[0])

    @property
    def period_s(self) -> float:
        """Seconds between two steps."""
        return self.timeline.period_s

    @property
    def poll_s(self) -> float:
        """Median seconds between the bounds of a step."""
        return float(np.median([tick.width_s for tick in self.ticks]))

    @property
    def tick_s(self) -> float:
        """Error of a step's time in seconds: of the fitted line, or of polling without a line."""
        return ON_LINE_S if self.is_on_line else self.poll_s

    @property
    def is_on_line(self) -> bool:
        """Whether the steps lie on a line: the period is exact."""
        return self.timeline.next_after(0.0) is not None

    @property
    def jitter_s(self) -> float:
        """Standard deviation of the interval between two steps, less that of polling."""
        return 0.0 if self.is_on_line else _without_polling(_spread(self._intervals), 2 * self.poll_s**2)

    @property
    def scatter_s(self) -> float:
        """Standard deviation of the delay between a step and its energy, less polling and power drift."""
        times, values = columns(self.placed)
        centred = times - times.mean()
        late_s = times - np.polyval(np.polyfit(values - values.mean(), centred, 3), values - values.mean())
        return _without_polling(_spread(late_s), 0.0 if self.is_on_line else self.poll_s**2)

    @property
    def power_w(self) -> float:
        """Mean power."""
        return rate(self.placed)

    @property
    def power_drift(self) -> float:
        """Relative change of the power from the first quarter to the last."""
        first, last = _quarters(self.placed)
        return rate(last) / rate(first) - 1

    @property
    def time_drift(self) -> float | None:
        """Relative change of the time of a pass from the first quarter to the last; None with few replays."""
        if len(self.progress) < 12:
            return None
        first, last = _quarters(self.progress)
        return rate(first) / rate(last) - 1

    @property
    def _intervals(self) -> Array:
        return np.diff(columns(self.ticks)[0])


class SensorMeasurements:
    """Measurements of one sensor.

    Args:
        meter: the sensor.
        clock: clock of the device.
        budget_s: seconds after which no further wave is started.

    Attributes:
        seconds: measurement -> its duration.
    """

    def __init__(self, meter: Meter, clock: Clock, budget_s: float) -> None:
        self.meter, self.clock, self.budget_s = meter, clock, budget_s
        self.seconds: dict[str, float] = {}
        self._begin_s = clock.now()

    def timed(self, name: str, step: Callable[[], T]) -> T:
        """Return the result of a measurement, and record its duration."""
        begin = self.clock.now()
        result = step()
        self.seconds[name] = self.clock.now() - begin
        return result

    def idle_w(self, seconds: float = 1.5) -> float:
        """Return the idle power in watts."""
        with Poller(self.meter, self.clock, None, STALL_S) as poller:
            poller.next_tick()
            poller.poll_for(seconds)
            poller.next_tick()
        times, values = columns(poller.ticks)
        return float(np.polyfit(times - times[0], values, 1)[0])

    def busy(self, loop: Loop, seconds: float) -> BusyMeasurement:
        """Measure the steps of the counter under load, after a pre-roll; at least 12 steps."""
        before = self._busy_state(loop, 0.25).temperature_c
        with Poller(self.meter, self.clock, loop, STALL_S) as poller:
            poller.poll_for(seconds)
            while len(poller.ticks) < 12:
                poller.next_tick()
        after = self._busy_state(loop, 0.0).temperature_c
        warming_c = None if before is None or after is None else after - before
        return BusyMeasurement(poller.ticks, poller.progress, warming_c)

    def _busy_state(self, loop: Loop, preroll_s: float) -> DeviceState:
        """Return the state of the device after some seconds of load."""
        end_s = self.clock.now() + preroll_s
        while self.clock.now() < end_s:
            loop.replay()
        return ask_beside(self.clock, self.meter.state, loop.replay)

    def instant_ratio(self, loop: Loop, period_s: float) -> float | None:
        """Return the power from the counter over the mean instantaneous power; None without the latter."""
        powers: list[float] = []

        def watch() -> None:
            end = self.clock.now() + max(1.0, 12 * period_s)
            while self.clock.now() < end:
                powers.append(self.meter.power_w())
                self.clock.sleep(_PAUSE_S)

        with Poller(self.meter, self.clock, loop, STALL_S) as poller:
            poller.poll_for(0.25)
            first = poller.next_tick()
            try:
                ask_beside(self.clock, watch, poller.poll)
            except SensorError as error:
                if error.code == "device_lost":
                    raise
                return None
            return rate([first, poller.next_tick()]) / float(np.mean(powers))

    def share(self, maker: WaveMaker, busy: BusyMeasurement, n_steps: int = _SWEEP_STEPS) -> float | None:
        """Return the sampled share, from a wave with a period longer than the sensor's by 1 / n_steps."""
        period_s = busy.period_s * math.ceil(max(1.0, 4 * maker.tail_s / busy.period_s))
        period_s *= 1 + 1 / n_steps
        if period_s > 1.0:
            return None
        wave = maker.wave(period_s, 1.5 * n_steps * period_s)
        return sampled_share(wave, period_s, busy.period_s, busy.power_w)

    def waves(
        self, maker: WaveMaker, busy: BusyMeasurement, low_w: float, periods_s: Sequence[float]
    ) -> tuple[WaveResponse, ...]:
        """Return the responses to waves of these periods, sorted by period, as the budget allows."""
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
        """Return the mean duration of a reading of the counter."""
        begin = self.clock.now()
        for _ in range(n):
            self.meter.energy_j()
        return (self.clock.now() - begin) / n


def _response(period_s: float, waves: Sequence[Wave], high_w: float, low_w: float) -> WaveResponse:
    duties = np.array([wave.duty for wave in waves])
    ratios = np.array([wave.power_w for wave in waves]) / (low_w + duties * (high_w - low_w))
    error = float(np.abs(ratios - ratios.mean()).max())
    return WaveResponse(period_s, error, float(ratios.mean()) - 1, float(duties.mean()), len(waves))


def resolution_j(ticks: Sequence[CounterStep], unit_j: float) -> float:
    """Return the largest energy, in joules, of which all steps are multiples."""
    counts = np.diff(np.round(columns(ticks)[1] / unit_j)).astype(np.int64)
    return float(np.gcd.reduce(counts)) * unit_j


def columns(steps: Sequence[CounterStep]) -> tuple[Array, Array]:
    """Return times and values of steps, both of shape [n]."""
    return np.array([step.time_s for step in steps]), np.array([step.value for step in steps])


def rate(steps: Sequence[CounterStep]) -> float:
    """Return the change per second from the first step to the last."""
    return (steps[-1].value - steps[0].value) / (steps[-1].time_s - steps[0].time_s)


def _quarters(steps: Sequence[CounterStep]) -> tuple[Sequence[CounterStep], Sequence[CounterStep]]:
    n = max(2, len(steps) // 4 + 1)
    return steps[:n], steps[-n:]


def _spread(values: Array) -> float:
    """Return a robust standard deviation: 1.4826 times the median absolute deviation."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _without_polling(spread_s: float, squared_widths_s2: float) -> float:
    """Return a standard deviation without the contribution of uniform errors with these squared widths."""
    return math.sqrt(max(0.0, spread_s**2 - squared_widths_s2 / 12))
