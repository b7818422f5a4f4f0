"""Sampling windows of a loop: from step to step of the energy counter, at chosen phases of the sensor.

    ~~~ rest ~~~|- pre-roll, device busy -| wait for a step |=== window, busy all along ===| passes end
    step ^ shift ^ work begins                              ^ begin                        ^ end: at a step

Within a window only the counter is read, in a background thread. For the use of windows and phases see
`hwopt.measure.energy.measurement`.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwopt.arrays import Array
from hwopt.measure.energy.aliasing import alias_error, cautious_alias_error
from hwopt.measure.energy.counter_timeline import CounterTimeline
from hwopt.measure.energy.polling import CounterStep, Poller
from hwopt.measure.energy.sensors.meter import Clock, Meter, SensorError
from hwopt.measure.energy.window_plan import WindowPlan
from hwopt.measure.gpu.accelerator import Loop

MIN_UPDATES = 5  # steps of the counter in a window
_MIN_PASSES = 2
_STRETCH = 1.5  # factor by which a window may be extended to contain whole passes
_LEAST_PASSES = 3.2  # in a window at one phase, so that _MIN_PASSES of them begin and end in it
_LONGEST = 4  # factor by which a window may be extended to contain enough steps and passes
_TIME_AND_VALUE = ("time_s", "value")


@dataclass(frozen=True, slots=True)
class Window:
    """Readings of one sampling window.

    Attributes:
        began_s: start of the work, before the pre-roll.
        ticks: steps of the energy counter, at least two.
        progress: steps of the number of finished replays, from before the first tick to after the last.
        n_passes: passes in a replay.
    """

    began_s: float
    ticks: Sequence[CounterStep]
    progress: Sequence[CounterStep]
    n_passes: int

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return self.ticks[-1].time_s - self.ticks[0].time_s

    @property
    def energy_j(self) -> float:
        """Joules in the window."""
        return self.ticks[-1].value - self.ticks[0].value

    @property
    def power_w(self) -> float:
        """Mean power in the window."""
        return self.energy_j / self.seconds

    @property
    def passes(self) -> Array:
        """Passes finished at each tick, interpolated, shape [n_ticks].

        Before the first observed end of a replay, and after the last, the mean pace is extrapolated.
        """
        times, counts = (np.array([getattr(one, name) for one in self.progress]) for name in _TIME_AND_VALUE)
        moments = np.array([tick.time_s for tick in self.ticks])
        outside_s = np.minimum(moments - times[0], 0) + np.maximum(moments - times[-1], 0)
        pace = (counts[-1] - counts[0]) / (times[-1] - times[0])
        return np.asarray((np.interp(moments, times, counts) + outside_s * pace) * self.n_passes)

    @property
    def pass_s(self) -> float:
        """Mean seconds of a pass between the first and the last tick."""
        passes = self.passes
        return self.seconds / float(passes[-1] - passes[0])

    @property
    def paces(self) -> Array:
        """Passes a second from each tick to the next, shape [n_ticks - 1]."""
        return np.asarray(np.diff(self.passes) / np.diff([tick.time_s for tick in self.ticks]))

    @property
    def pace_width_s(self) -> float:
        """Median width of the bounds of a replay's end, seconds."""
        return float(np.median([one.width_s for one in self.progress]))

    @property
    def cycles(self) -> list[float]:
        """Passes since the work began at each tick, shape [n_ticks]."""
        return [(tick.time_s - self.began_s) / self.pass_s for tick in self.ticks]


@dataclass
class WindowTaker:
    """Measures sampling windows of one loop.

    Args:
        loop: the workload.
        meter: energy meter of the device.
        clock: clock of the device.
        plan: window plan of the sensor.
        window_s: shortest window, seconds.
        timeline: fitted line of the counter's steps.
        is_steady: whether the power is constant within a pass, so that windows need not contain whole passes.
    """

    loop: Loop
    meter: Meter
    clock: Clock
    plan: WindowPlan
    window_s: float
    timeline: CounterTimeline
    is_steady: bool = False

    def window(self, shift_s: float | None = None, n_updates: int | None = None) -> Window:
        """Measure one window.

        Args:
            shift_s: seconds from a step of the counter to the start of the work; None starts at once.
            n_updates: number of steps in the window; None ends it where whole passes fit best.

        Raises:
            SensorError: of the meter, `counter_stalled`, or `too_short` if too few passes ended.
        """
        if shift_s is not None:
            self._rest_until(shift_s)
        began_s = self.clock.now()
        with Poller(self.meter, self.clock, self.loop, self.plan.stall_s, self.timeline.quiet_s) as poller:
            poller.poll_for(self.plan.preroll_s)
            poller.next_tick()
            first = len(poller.ticks) - 1
            while not self._is_enough(poller.ticks[first:], poller.progress, n_updates):
                poller.next_tick()
            last_s = poller.ticks[-1].latest_s
            while poller.progress and poller.progress[-1].earliest_s < last_s:
                poller.poll()
            ticks: Sequence[CounterStep] = self.timeline.place(poller.ticks)[first:]
            progress = poller.progress
        pace = _pace(progress, ticks[0].time_s)
        if pace is None:
            raise SensorError("too_short", f"fewer than {_MIN_PASSES} passes in {self.window_s:g} s")
        if n_updates is None:
            ticks = self._up_to_whole_passes(ticks, pace)
        return Window(began_s, ticks, progress, self.loop.n_passes)

    def phases(self, pass_s: float, n: int) -> list[Window]:
        """Measure n windows with the same number of steps, at phases 1 / n of a period apart.

        Together they are at least as long as one window, and each at least as long as a layer's.

        Args:
            pass_s: approximate seconds of a pass; windows end where whole passes fit best.
            n: number of phases.
        """
        period_s = self.plan.period_s
        seconds = max(self.window_s / n, min(self.window_s, self.plan.window_s), _LEAST_PASSES * pass_s)
        least = max(MIN_UPDATES, math.ceil(seconds / period_s))
        n_passes = np.arange(least, math.ceil(_STRETCH * least) + 1) * period_s / pass_s
        n_updates = least + int(np.argmin(np.abs(n_passes - np.round(n_passes))))
        return [self.window(i * period_s / n, n_updates) for i in range(n)]

    def foreseen_alias(self, pass_s: float) -> float:
        """Return the expected aliasing error of the best window for passes of this length."""
        if self.is_steady:
            return 0.0
        n = max(MIN_UPDATES, math.ceil(self.window_s / self.plan.period_s))
        ends = range(n, math.ceil(_STRETCH * n) + 1)
        times = [k * self.plan.period_s for k in range(ends[-1] + 1)]
        end = min(ends, key=lambda k: alias_error([times[: k + 1]], pass_s, self.plan.share))
        return cautious_alias_error([times[: end + 1]], pass_s, self.plan.share)

    def alias_error(self, ticks: Sequence[CounterStep], pass_s: float) -> float:
        """Return the aliasing error of a window between the first and the last of these ticks."""
        if self.is_steady or len(ticks) < 2:
            return 0.0
        return alias_error([[tick.time_s - ticks[0].time_s for tick in ticks]], pass_s, self.plan.share)

    def _rest_until(self, shift_s: float) -> None:
        """Let the device finish its work, and wait until `shift_s` after a step of the counter."""
        self.loop.synchronize()
        due_s = self.timeline.next_after(self.clock.now() - shift_s)
        if due_s is None:
            with Poller(self.meter, self.clock, None, self.plan.stall_s) as poller:
                due_s = poller.next_tick().time_s
        self.clock.sleep(due_s + shift_s - self.clock.now())

    def _is_enough(
        self, ticks: Sequence[CounterStep], progress: Sequence[CounterStep], n_updates: int | None
    ) -> bool:
        """Return whether a window may end here: long enough with whole passes, or of the largest length."""
        seconds = ticks[-1].time_s - ticks[0].time_s
        pace = _pace(progress, ticks[0].time_s)
        if pace is None or len(ticks) <= MIN_UPDATES:
            return seconds >= _LONGEST * self.window_s
        if n_updates is not None:
            return len(ticks) > n_updates
        if seconds < self.window_s:
            return False
        if seconds >= _STRETCH * self.window_s:
            return True
        return self.alias_error(ticks, _pass_s(pace, self.loop.n_passes)) <= self.plan.alias_tolerance / 2

    def _up_to_whole_passes(
        self, ticks: Sequence[CounterStep], pace: tuple[CounterStep, CounterStep]
    ) -> Sequence[CounterStep]:
        """Return the ticks up to the end at which whole passes fit best, among those after `window_s`."""
        pass_s = _pass_s(pace, self.loop.n_passes)
        ends = [n for n in range(2, len(ticks) + 1) if ticks[n - 1].time_s >= ticks[0].time_s + self.window_s]
        if not ends:
            return ticks
        return ticks[: min(ends, key=lambda n: self.alias_error(ticks[:n], pass_s))]


def _pace(progress: Sequence[CounterStep], begin_s: float) -> tuple[CounterStep, CounterStep] | None:
    """Return the first and the last step of the progress since a moment; None if there are too few."""
    first = bisect_left(progress, begin_s, key=lambda step: step.time_s)
    return (progress[first], progress[-1]) if len(progress) - first > _MIN_PASSES else None


def _pass_s(pace: tuple[CounterStep, CounterStep], n_passes: int) -> float:
    first, last = pace
    return (last.time_s - first.time_s) / ((last.value - first.value) * n_passes)
