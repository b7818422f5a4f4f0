"""Square waves of power, to estimate the share of every period that a sensor samples.

    work    |####____|####____|####____|   period L, half duty
    sensor   **        **        **        period T: samples s T of every T

With L = T (1 + 1/n) the sampled part moves through the wave by 1/n of a turn from step to step, so n steps
show the wave averaged over a width of w = s T / L turns. Averaged over a narrow width it is a square wave,
over a large width a small trapezoid, so the variance of the steps determines w:

    var / swing^2 = 1/4 - w/3                          w <= 1/2
                  = ((1 - w) / w)^2 (w/3 - 1/12)       w > 1/2       (integrals of a trapezoid)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from hwopt.measure.energy.counter_timeline import CounterTimeline
from hwopt.measure.energy.polling import CounterStep, Poller
from hwopt.measure.energy.sensors.meter import Clock, Meter
from hwopt.measure.gpu.accelerator import Loop

_PAUSE_S = 5e-4
_SHORTEST_S = 1e-6  # shortest sleep, so that virtual time advances despite rounding


class PulsedLoop:
    """Loop that works in the first half of every period; it implements `Loop`.

    Args:
        loop: work of constant power, with replays much shorter than the period.
        clock: clock of the device.
        period_s: period of the wave.
        tail_s: seconds of work that the device has queued after the last replay.
        begin_s: start of the wave.
    """

    def __init__(self, loop: Loop, clock: Clock, period_s: float, tail_s: float, begin_s: float) -> None:
        self.loop, self.clock, self.period_s, self.tail_s = loop, clock, period_s, tail_s
        self.begin_s = begin_s
        self.pulses: list[tuple[float, float]] = []  # begin and end of the work, seconds
        self._working_since_s: float | None = None
        self.n_passes, self.mode, self.mode_reason = loop.n_passes, loop.mode, loop.mode_reason
        self.memory_bytes = loop.memory_bytes

    def replay(self) -> None:
        """Work, finish a pulse, or pause, depending on the phase of the wave."""
        now = self.clock.now()
        turn_s = (now - self.begin_s) % self.period_s
        if turn_s < self.period_s / 2 - self.tail_s:
            self._working_since_s = now if self._working_since_s is None else self._working_since_s
            self.loop.replay()
        elif self._working_since_s is not None:
            self.loop.synchronize()
            self.pulses.append((self._working_since_s, self.clock.now()))
            self._working_since_s = None
        else:
            self.clock.sleep(max(_SHORTEST_S, min(_PAUSE_S, self.period_s - turn_s)))

    def n_replayed(self) -> int:
        """Return the number of replays that the device has finished."""
        return self.loop.n_replayed()

    def duty(self, begin_s: float, end_s: float) -> float:
        """Return the share of a time span with load."""
        worked = sum(max(0.0, min(b, end_s) - max(a, begin_s)) for a, b in self.pulses)
        return worked / (end_s - begin_s)

    def synchronize(self) -> None:
        """Wait until the device has finished all replays."""
        self.loop.synchronize()

    def time_replays(self, n: int) -> Sequence[float]:
        """Return the seconds of one pass in each of n replays."""
        return self.loop.time_replays(n)

    def time_eager(self, n: int) -> Sequence[float]:
        """Return the seconds of each of n passes in eager mode."""
        return self.loop.time_eager(n)

    def close(self) -> None:
        """Do nothing; the loop itself stays open."""


@dataclass(frozen=True, slots=True)
class Wave:
    """Reading of a wave: steps of the counter from the second period on, and the share of time with load."""

    ticks: Sequence[CounterStep]
    duty: float

    @property
    def power_w(self) -> float:
        """Mean power from the counter, watts."""
        return (self.ticks[-1].value - self.ticks[0].value) / (self.ticks[-1].time_s - self.ticks[0].time_s)


@dataclass(frozen=True, slots=True)
class WaveMaker:
    """Makes waves of power with one loop and reads one meter.

    Attributes:
        loop: work of constant power.
        meter: energy meter of the device.
        clock: clock of the device.
        stall_s: seconds without a step after which the counter counts as stalled.
        tail_s: seconds of work that the device has queued after the last replay.
        timeline: fitted line of the counter's steps.
    """

    loop: Loop
    meter: Meter
    clock: Clock
    stall_s: float
    tail_s: float
    timeline: CounterTimeline

    def wave(self, period_s: float, seconds: float, shift_s: float = 0.0) -> Wave:
        """Make a wave that begins `shift_s` after a step of the counter, and read it for `seconds`."""
        self.loop.synchronize()
        begin_s = self._next_tick_s() + shift_s
        self.clock.sleep(begin_s - self.clock.now())
        pulsed = PulsedLoop(self.loop, self.clock, period_s, self.tail_s, begin_s)
        with Poller(self.meter, self.clock, pulsed, self.stall_s, self.timeline.quiet_s) as poller:
            poller.poll_for(period_s)
            first = poller.next_tick()
            poller.poll_for(first.time_s + seconds - self.clock.now())
            poller.next_tick()
            n = len(poller.ticks)
            poller.poll_for(period_s)  # so that the last pulse ends and is recorded
            placed = self.timeline.place(poller.ticks)[:n]
        seen = [one for one in placed if one.latest_s >= first.earliest_s]
        ticks = _whole_periods(seen, period_s)
        return Wave(ticks, pulsed.duty(ticks[0].time_s, ticks[-1].time_s))

    def _next_tick_s(self) -> float:
        """Return the time of the next step, or of one that has just been observed."""
        due_s = self.timeline.next_after(self.clock.now())
        if due_s is None:
            with Poller(self.meter, self.clock, None, self.stall_s) as poller:
                due_s = poller.next_tick().time_s
        return due_s


def _whole_periods(ticks: Sequence[CounterStep], period_s: float) -> Sequence[CounterStep]:
    """Return the ticks up to the end at which whole periods fit best, within the last third."""
    turns = (np.array([tick.time_s for tick in ticks]) - ticks[0].time_s) / period_s
    least = max(1, math.ceil(2 / 3 * (len(ticks) - 1)))
    misfit = np.abs(turns - np.round(turns))[least:]
    return ticks[: least + int(np.argmin(misfit)) + 1]


def tail_s(loop: Loop, clock: Clock, seconds: float = 0.1) -> float:
    """Return the seconds of work that a busy device has queued after the last replay."""
    end = clock.now() + seconds
    while clock.now() < end:
        loop.replay()
    begin = clock.now()
    loop.synchronize()
    return clock.now() - begin


def seen_variance(width: float) -> float:
    """Return the variance of a moving average of a square wave with swing 1 and half duty.

    Args:
        width: width of the average, in turns, in (0, 1].
    """
    if width <= 0.5:
        return 0.25 - width / 3
    return ((1 - width) / width) ** 2 * (width / 3 - 1 / 12)


def width_of_variance(variance: float) -> float:
    """Return the inverse of `seen_variance`, in turns; 0 and 1 beyond its range."""
    if variance >= seen_variance(0.0):
        return 0.0
    if variance <= 0.0:
        return 1.0
    return float(brentq(lambda width: seen_variance(width) - variance, 0.0, 1.0))


def sampled_share(wave: Wave, period_s: float, sensor_period_s: float, high_w: float) -> float | None:
    """Return the share of a period that the sensor samples, from a wave with a slowly moving phase.

    Args:
        wave: reading of a wave with a period slightly above a multiple of the sensor's, over all phases.
        period_s: period of the wave.
        sensor_period_s: period of the sensor.
        high_w: power under load, watts.

    Returns:
        The share; None if the load hardly changes the power.
    """
    values, times = (np.array([getattr(t, name) for t in wave.ticks]) for name in ("value", "time_s"))
    powers = np.diff(values) / np.diff(times)  # [n_ticks - 1]
    swing_w = (high_w - wave.power_w) / (1 - wave.duty) if wave.duty < 1 else 0.0
    if swing_w < 0.1 * high_w:
        return None
    width = width_of_variance(float(powers.var()) / swing_w**2)
    return min(1.0, width * period_s / sensor_period_s)
