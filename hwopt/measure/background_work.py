"""Host work beside a measurement: what comes next is built, traced and chosen while the device is busy.

    device   |== measures row k ==|== measures row k + 1 ==|
    host     |-- builds k + 1 --| |-- builds k + 2 --|

A thread in a clock's time: on a simulated device that is virtual, and every run is the same. Threads of one
interpreter slow each other down, so nothing may run beside a measurement of the host's own pace.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from hwopt.measure.energy.sensors.meter import Clock

T = TypeVar("T")


class BackgroundResult(Generic[T]):
    """A result computed on a background thread, in real or virtual time.

    Args:
        clock: in whose time the thread lives; a virtual one runs it while the caller sleeps.
        make: gives the result.
    """

    def __init__(self, clock: Clock, make: Callable[[], T]) -> None:
        self._clock, self._make = clock, make
        self._join: Callable[[], None] | None = None
        self._found: list[T] = []
        self._error: BaseException | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was begun and has not ended."""
        return self._join is not None and not self._found and self._error is None

    def start(self) -> None:
        """Begin; nothing happens the second time."""
        if self._join is None:
            self._join = self._clock.start(self._run)

    def wait(self) -> None:
        """Wait until it has ended, if it was begun."""
        if self._join is not None:
            self._join()

    def result(self) -> T:
        """Wait for the result and return it, or raise what `make` raised."""
        self.start()
        self.wait()
        if self._error is not None:
            raise self._error
        return self._found[0]

    def _run(self) -> None:
        try:
            self._found.append(self._make())
        except BaseException as error:
            self._error = error
