"""Take windows of one loop, from step to step of the energy counter, at chosen phases of the sensor.

    ~~~ rest ~~~|- pre-roll, device busy -| wait for a step |=== window, busy all along ===|
    step ^ shift ^ work begins                              ^ begin                        ^ end: at a step

What a window means and when phases are needed is in `hwopt.device.energy`.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwopt.device.accelerator import Loop
from hwopt.device.meters.aliasing import alias_error, cautious_alias_error
from hwopt.device.meters.meter import Clock, DeviceState, Meter, SensorError
from hwopt.device.meters.plan import SensorPlan
from hwopt.device.meters.poll import Poller, Step

MIN_UPDATES = 5  # of the counter in a window
_MIN_PASSES = 2
_STRETCH = 1.5  # how much longer a window may become for whole passes to fit
_LEAST_PASSES = 3.2  # in a window at one phase, so that _MIN_PASSES of them begin and end in it
_LONGEST = 4  # windows that a few updates or passes are waited for


@dataclass(frozen=True, slots=True)
class Window:
    """What one window saw.

    Attributes:
        began_s: when its work began, before the pre-roll.
        ticks: steps of the energy counter, at least two.
        pace: the first and the last step of the number of finished replays.
        n_passes: passes in a replay.
        before: the device in the middle of the pre-roll.
        after: the device at the end.
    """

    began_s: float
    ticks: Sequence[Step]
    pace: tuple[Step, Step]
    n_passes: int
    before: DeviceState
    after: DeviceState

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
    def pass_s(self) -> float:
        """Seconds of a pass."""
        return _pass_s(self.pace, self.n_passes)

    @property
    def cycles(self) -> list[float]:
        """Passes since the work began at each tick, shape [n_ticks]."""
        return [(tick.time_s - self.began_s) / self.pass_s for tick in self.ticks]

    @property
    def throttled_s(self) -> dict[str, float]:
        """Cause -> seconds that it held the clocks down."""
        before, after = self.before.throttled_s, self.after.throttled_s
        return {cause: after[cause] - before[cause] for cause in after if cause in before}


@dataclass
class WindowTaker:
    """Takes windows of one loop.

    Args:
        loop: the work.
        meter: of the device that runs it.
        clock: in whose time both are read.
        plan: of the sensor.
        window_s: shortest window.
        is_steady: the power does not change within a pass, so it does not matter where a window ends.
    """

    loop: Loop
    meter: Meter
    clock: Clock
    plan: SensorPlan
    window_s: float
    is_steady: bool = False

    def window(self, shift_s: float | None = None, n_updates: int | None = None) -> Window:
        """Take one window.

        Args:
            shift_s: seconds from a step of the counter to the beginning of the work; None begins at once.
            n_updates: end after so many steps; None where passes fit best.

        Raises:
            SensorError: of the meter, `counter_stalled`, or `too_short` where hardly a pass ended.
        """
        if shift_s is not None:
            self._rest_until(shift_s)
        began_s = self.clock.now()
        poller = Poller(self.meter, self.clock, self.loop, self.plan.stall_s)
        poller.poll_for(self.plan.preroll_s / 2)
        before = self.meter.state()  # it takes milliseconds, so the other half comes after
        poller.poll_for(self.plan.preroll_s / 2)
        poller.next_tick()
        first = len(poller.ticks) - 1
        while not self._is_enough(poller.ticks[first:], poller.progress, n_updates):
            poller.next_tick()
        after = self.meter.state()
        ticks: Sequence[Step] = poller.ticks[first:]
        pace = _pace(poller.progress, ticks[0].time_s)
        if pace is None:
            raise SensorError("too_short", f"fewer than {_MIN_PASSES} passes in {self.window_s:g} s")
        if n_updates is None:
            ticks = self._up_to_whole_passes(ticks, pace)
        return Window(began_s, ticks, pace, self.loop.n_passes, before, after)

    def phases(self, pass_s: float, n: int) -> list[Window]:
        """Take n windows of equally many steps, each begun a further n-th of a period after a step.

        Together they are at least as long as one window, and each as one of a layer.

        Args:
            pass_s: seconds of a pass, about; windows end where whole passes do.
            n: how many.
        """
        period_s = self.plan.period_s
        seconds = max(self.window_s / n, min(self.window_s, self.plan.window_s), _LEAST_PASSES * pass_s)
        least = max(MIN_UPDATES, math.ceil(seconds / period_s))
        n_passes = np.arange(least, math.ceil(_STRETCH * least) + 1) * period_s / pass_s
        n_updates = least + int(np.argmin(np.abs(n_passes - np.round(n_passes))))
        return [self.window(i * period_s / n, n_updates) for i in range(n)]

    def foreseen_alias(self, pass_s: float) -> float:
        """Return how far alternating power will mislead the best window for passes of this length."""
        if self.is_steady:
            return 0.0
        n = max(MIN_UPDATES, math.ceil(self.window_s / self.plan.period_s))
        ends = range(n, math.ceil(_STRETCH * n) + 1)
        times = [k * self.plan.period_s for k in range(ends[-1] + 1)]
        end = min(ends, key=lambda k: alias_error([times[: k + 1]], pass_s, self.plan.share))
        return cautious_alias_error([times[: end + 1]], pass_s, self.plan.share)

    def alias_error(self, ticks: Sequence[Step], pass_s: float) -> float:
        """Return how far alternating power can mislead a window between these ticks."""
        if self.is_steady or len(ticks) < 2:
            return 0.0
        return alias_error([[tick.time_s - ticks[0].time_s for tick in ticks]], pass_s, self.plan.share)

    def _rest_until(self, shift_s: float) -> None:
        """Empty the device and wait for a moment after a step of the counter."""
        self.loop.synchronize()
        tick = Poller(self.meter, self.clock, None, self.plan.stall_s).next_tick()
        self.clock.sleep(tick.time_s + shift_s - self.clock.now())

    def _is_enough(self, ticks: Sequence[Step], progress: Sequence[Step], n_updates: int | None) -> bool:
        """Whether a window may end here: long enough, with whole passes, or as long as it may become."""
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

    def _up_to_whole_passes(self, ticks: Sequence[Step], pace: tuple[Step, Step]) -> Sequence[Step]:
        """Return the ticks up to where whole passes fit best, among the ends that are late enough."""
        pass_s = _pass_s(pace, self.loop.n_passes)
        ends = [n for n in range(2, len(ticks) + 1) if ticks[n - 1].time_s >= ticks[0].time_s + self.window_s]
        if not ends:
            return ticks
        return ticks[: min(ends, key=lambda n: self.alias_error(ticks[:n], pass_s))]


def _pace(progress: Sequence[Step], begin_s: float) -> tuple[Step, Step] | None:
    """Return the first and the last step of the progress since a moment, or None with too few of them."""
    first = bisect_left(progress, begin_s, key=lambda step: step.time_s)
    return (progress[first], progress[-1]) if len(progress) - first > _MIN_PASSES else None


def _pass_s(pace: tuple[Step, Step], n_passes: int) -> float:
    first, last = pace
    return (last.time_s - first.time_s) / ((last.value - first.value) * n_passes)
