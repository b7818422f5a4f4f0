"""Virtual clock for simulations: time advances only while all threads sleep, and one thread runs at a time.

    caller   |--work--| sleeps 5 ms                       |--work--|
    beside            |--reads--| sleeps 4 ms   |--reads--|            the earliest sleeper goes on, alone

Since exactly one thread runs at a time, every run of a simulation is the same.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from threading import Semaphore, Thread

_JOIN_S = 1e-4


class VirtualClock:
    """Clock that jumps to the time at which the next sleeping thread wakes."""

    def __init__(self) -> None:
        self._now = 0.0
        self._sleepers: list[tuple[float, int, Semaphore]] = []  # when they wake, in which order, their turn
        self._order = count()

    def now(self) -> float:
        """Return the seconds since the clock was created."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Let seconds pass; other threads run meanwhile."""
        wake_s = self._now + max(0.0, seconds)
        if not self._sleepers or self._sleepers[0][0] > wake_s:
            self._now = wake_s
            return
        turn = self._queue(wake_s)
        self._wake_next()
        turn.acquire()

    def start(self, run: Callable[[], None]) -> Callable[[], None]:
        """Run a function in another thread; the returned function waits for its end."""
        turn, ended = self._queue(self._now), []

        def live() -> None:
            turn.acquire()
            try:
                run()
            finally:
                ended.append(True)
                self._wake_next()

        def join() -> None:
            while not ended:
                self.sleep(_JOIN_S)

        Thread(target=live, daemon=True).start()
        return join

    def _queue(self, wake_s: float) -> Semaphore:
        turn = Semaphore(0)
        heappush(self._sleepers, (wake_s, next(self._order), turn))
        return turn

    def _wake_next(self) -> None:
        if self._sleepers:
            self._now, _, turn = heappop(self._sleepers)
            turn.release()
