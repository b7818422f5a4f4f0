"""Poll an energy counter in the background of a busy device, and bound the time of each of its steps.

    launching   |replay|replay|replay|replay|replay|replay|      counts finished replays as well
    reading     [   5   ]  [   5   ]  [   7   ]  [   7   ]       takes milliseconds each time
                           ^ earliest         ^ latest           a step to 7, somewhere in between

A reading never keeps the device waiting, however long the driver takes. No other driver calls are made
meanwhile, since concurrent calls slow each other down.
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
_PAUSE_S = 5e-4  # between two readings, and between two polls of an idle device


@dataclass(frozen=True, slots=True)
class CounterStep:
    """Step of a counter: the new value, and bounds of the time of the change, in seconds."""

    earliest_s: float
    latest_s: float
    value: float

    @property
    def time_s(self) -> float:
        """Middle of the bounds."""
        return (self.earliest_s + self.latest_s) / 2

    @property
    def width_s(self) -> float:
        """Seconds between the bounds."""
        return self.latest_s - self.earliest_s


class _Watched:
    """Recorded steps of one counter."""

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
    """Reads an energy counter repeatedly in a thread of its own, until it is closed."""

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
        except Exception as error:  # raised again by `Poller.poll`; a thread would lose it
            self.error = SensorError("read_failed", f"{type(error).__name__}: {error}")
        finally:
            self._is_reading = False

    def _reads(self) -> bool:
        self._is_reading = True
        return not self._is_closed

    def close(self) -> None:
        """Start no further reading, and wait for the end of the current one."""
        self._is_closed = True
        while self._is_reading:
            self._clock.sleep(_JOIN_S)


class Poller:
    """Keeps a device busy while its energy counter is read in the background. A context manager.

    Args:
        meter: energy meter of the device.
        clock: clock of the device.
        loop: workload to repeat; None keeps the device idle.
        stall_s: seconds without a step of the energy counter after which it counts as stalled.
        quiet_s: seconds after a step without a reading, since no step is expected.
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
        """Queue more work, or wait a moment if there is no loop, and check for errors of the meter.

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
        """Poll for a number of seconds."""
        end = self.clock.now() + seconds
        while self.clock.now() < end:
            self.poll()

    def next_tick(self) -> CounterStep:
        """Poll until the next step of the energy counter, and return it."""
        n = len(self.ticks)
        while len(self.ticks) == n:
            self.poll()
        return self.ticks[-1]

    def close(self) -> None:
        """Stop reading."""
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
    """Return the result of a slow function, called in the background while the device is kept busy.

    Raises:
        HwoptError: raised by the function.
    """
    answers: list[T] = []
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            answers.append(question())
        except BaseException as error:  # raised again by the caller's thread
            errors.append(error)

    join = clock.start(ask)
    while not answers and not errors:
        keep_busy()
    join()
    if errors:
        raise errors[0]
    return answers[0]
