"""Read a counter beside the thread that keeps the device busy, and know when each step of it happened.

    launching   |replay|replay|replay|replay|replay|replay|      counts finished replays as well
    reading     [   5   ]  [   5   ]  [   7   ]  [   7   ]       takes milliseconds each time
                           ^ earliest         ^ latest           a step to 7, somewhere in between

A reading never keeps the device waiting, however long the driver takes. Nothing else is asked meanwhile: a
driver that answers two questions at a time is slower with both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from hwopt.errors import HwoptError
from hwopt.measure.energy.sensors.meter import Clock, Meter, SensorError

if TYPE_CHECKING:
    from hwopt.measure.gpu.accelerator import Loop

T = TypeVar("T")
_JOIN_S = 1e-4
_PAUSE_S = 5e-4  # between two readings, and between two looks at them while the device has no work


@dataclass(frozen=True, slots=True)
class CounterStep:
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
        self.steps: list[CounterStep] = []
        self._read_at_s: float | None = None
        self._value = 0.0

    def read(self, clock: Clock, read: Callable[[], float]) -> None:
        begin = clock.now()
        value = read()
        if self._read_at_s is not None and value != self._value:
            self.steps.append(CounterStep(self._read_at_s, clock.now(), value))
        self._read_at_s, self._value = begin, value


class _Reader:
    """Reads an energy counter time and again, in a thread of its own, until it is closed."""

    def __init__(self, meter: Meter, clock: Clock, quiet_s: float) -> None:
        self.watched = _Watched()
        self._quiet_s = quiet_s
        self.error: HwoptError | None = None
        self._meter, self._clock = meter, clock
        self._is_closed = self._is_reading = False
        clock.start(self._run)

    def _run(self) -> None:
        try:
            while self._reads():
                n = len(self.watched.steps)
                self.watched.read(self._clock, self._meter.energy_j)
                self._is_reading = False
                has_stepped = len(self.watched.steps) > n
                self._clock.sleep(self._quiet_s if has_stepped else _PAUSE_S)
        except HwoptError as error:
            self.error = error
        except Exception as error:  # a fault of the meter, raised in a thread, would be lost there
            self.error = SensorError("read_failed", f"{type(error).__name__}: {error}")
        finally:
            self._is_reading = False

    def _reads(self) -> bool:
        self._is_reading = True
        return not self._is_closed

    def close(self) -> None:
        """Begin no further reading, and wait for the end of the present one."""
        self._is_closed = True
        while self._is_reading:
            self._clock.sleep(_JOIN_S)


class Poller:
    """Keeps a device busy while its energy counter is read beside; a context manager, which ends the reading.

    Args:
        meter: whose energy counter is read.
        clock: times the readings.
        loop: work that is kept going; None lets the device rest.
        stall_s: seconds without a step of the energy counter after which it counts as stalled.
        quiet_s: seconds after a step for which none is due, so that none is looked for.
    """

    def __init__(
        self,
        meter: Meter,
        clock: Clock,
        loop: "Loop | None" = None,
        stall_s: float = 1.0,
        quiet_s: float = 0.0,
    ) -> None:
        self.meter, self.clock, self.loop, self.stall_s = meter, clock, loop, stall_s
        self._quiet_s = max(quiet_s, _PAUSE_S)
        self._replays = _Watched()
        self._begin_s = clock.now()
        self._reader: _Reader | None = None

    @property
    def ticks(self) -> list[CounterStep]:
        """Steps of the energy counter, values in joules."""
        return self._reader.watched.steps if self._reader else []

    @property
    def progress(self) -> list[CounterStep]:
        """Steps of the number of replays that the loop has finished."""
        return self._replays.steps

    def poll(self) -> None:
        """Give the device more work, or let a moment pass, and look at what was read meanwhile.

        Raises:
            SensorError: of the meter, or `counter_stalled`.
        """
        self._reader = self._reader or _Reader(self.meter, self.clock, self._quiet_s)
        if self.loop is None:
            self.clock.sleep(_PAUSE_S)
        else:
            self.loop.replay()
            self._replays.read(self.clock, self.loop.n_replayed)
        if self._reader.error is not None:
            raise self._reader.error
        last_s = self.ticks[-1].latest_s if self.ticks else self._begin_s
        if self.clock.now() - last_s > self.stall_s:
            raise SensorError("counter_stalled", f"{self.meter.name}: no step in {self.stall_s:g} s")

    def poll_for(self, seconds: float) -> None:
        """Poll for so many seconds."""
        end = self.clock.now() + seconds
        while self.clock.now() < end:
            self.poll()

    def next_tick(self) -> CounterStep:
        """Poll until the energy counter steps."""
        n = len(self.ticks)
        while len(self.ticks) == n:
            self.poll()
        return self.ticks[-1]

    def close(self) -> None:
        """End the reading."""
        if self._reader is not None:
            self._reader.close()

    def __enter__(self) -> "Poller":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def ask_beside(clock: Clock, question: Callable[[], T], keep_busy: Callable[[], None]) -> T:
    """Return the answer to a question that takes long, while the device is kept busy.

    Raises:
        HwoptError: what the question raised.
    """
    answers: list[T] = []
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            answers.append(question())
        except BaseException as error:  # it is raised by the caller, not in this thread
            errors.append(error)

    join = clock.start(ask)
    while not answers and not errors:
        keep_busy()
    join()
    if errors:
        raise errors[0]
    return answers[0]
