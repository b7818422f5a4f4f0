"""Poll a counter while the device is kept busy, and know between which two moments each step of it happened.

    reading of the counter   [5]    [5]    [7]
                              ^ earliest     ^ latest     a step to 7, somewhere in between

Finished replays are watched in the same way. Nothing else may be read while a window lasts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwopt.device.meters.meter import Clock, Meter, SensorError

if TYPE_CHECKING:
    from hwopt.device.accelerator import Loop

_PAUSE_S = 5e-4  # between two readings while the device has no work


@dataclass(frozen=True, slots=True)
class Step:
    """A change that polling saw: to which value, and between which moments, seconds."""

    earliest_s: float
    latest_s: float
    value: float

    @property
    def time_s(self) -> float:
        """The middle of the two moments."""
        return (self.earliest_s + self.latest_s) / 2

    @property
    def width_s(self) -> float:
        """Seconds between the two moments."""
        return self.latest_s - self.earliest_s


class _Watched:
    """Steps of one value."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._read_at_s: float | None = None
        self._value = 0.0

    def read(self, clock: Clock, read: Callable[[], float]) -> None:
        begin = clock.now()
        value = read()
        if self._read_at_s is not None and value != self._value:
            self.steps.append(Step(self._read_at_s, clock.now(), value))
        self._read_at_s, self._value = begin, value


class Poller:
    """Reads a meter and a loop in turn.

    Args:
        meter: whose energy counter is read.
        clock: times the readings.
        loop: work that is kept going; None lets the device rest.
        stall_s: seconds without a step of the energy counter after which it counts as stalled.
    """

    def __init__(self, meter: Meter, clock: Clock, loop: "Loop | None" = None, stall_s: float = 1.0) -> None:
        self.meter, self.clock, self.loop, self.stall_s = meter, clock, loop, stall_s
        self._energy, self._replays = _Watched(), _Watched()
        self._begin_s = clock.now()

    @property
    def ticks(self) -> list[Step]:
        """Steps of the energy counter, values in joules."""
        return self._energy.steps

    @property
    def progress(self) -> list[Step]:
        """Steps of the number of replays that the loop has finished."""
        return self._replays.steps

    def poll(self) -> None:
        """Give the device more work, or let a moment pass, and read.

        Raises:
            SensorError: of the meter, or `counter_stalled`.
        """
        if self.loop is None:
            self.clock.sleep(_PAUSE_S)
        else:
            self.loop.replay()
        self._energy.read(self.clock, self.meter.energy_j)
        if self.loop is not None:
            self._replays.read(self.clock, self.loop.n_replayed)
        last_s = self.ticks[-1].latest_s if self.ticks else self._begin_s
        if self.clock.now() - last_s > self.stall_s:
            raise SensorError("counter_stalled", f"{self.meter.name}: no step in {self.stall_s:g} s")

    def poll_for(self, seconds: float) -> None:
        """Poll for so many seconds."""
        end = self.clock.now() + seconds
        while self.clock.now() < end:
            self.poll()

    def next_tick(self) -> Step:
        """Poll until the energy counter steps."""
        n = len(self.ticks)
        while len(self.ticks) == n:
            self.poll()
        return self.ticks[-1]
