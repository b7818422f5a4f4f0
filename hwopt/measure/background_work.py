"""Host work during a measurement: the next workload is selected, traced and built while the device is busy.

    device   |== measures row k ==|== measures row k + 1 ==|
    host     |-- builds k + 1 --| |-- builds k + 2 --|

Threads are started by the device's clock; on a simulated device its time is virtual, so every run is the
same. Threads of one interpreter slow each other down, so no background work may run while host-bound passes
are timed.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from hwopt.measure.energy.sensors.meter import Clock

T = TypeVar("T")


class BackgroundResult(Generic[T]):
    """A result computed on a background thread, in real or virtual time.

    Args:
        clock: starts the thread; a virtual clock runs it while the caller sleeps.
        make: computes the result.
    """

    def __init__(self, clock: Clock, make: Callable[[], T]) -> None:
        self._clock, self._make = clock, make
        self._join: Callable[[], None] | None = None
        self._found: list[T] = []
        self._error: BaseException | None = None

    @property
    def is_running(self) -> bool:
        """Whether the computation has started and not ended."""
        return self._join is not None and not self._found and self._error is None

    def start(self) -> None:
        """Start the computation; further calls do nothing."""
        if self._join is None:
            self._join = self._clock.start(self._run)

    def wait(self) -> None:
        """Wait for the end of the computation, if it has started."""
        if self._join is not None:
            self._join()

    def result(self) -> T:
        """Return the result, waiting for it if necessary; raises the exception that `make` raised."""
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
