"""Conversion of the integer counts of a hardware counter to joules that never decrease; used by every meter.

count  250  254  [256 = 0]  3        joules since the first reading  0  4  9   (unit 1 J, wraps at 256)
"""

from collections.abc import Callable
from threading import Lock

from hwopt.errors import InvalidInput
from hwopt.measure.energy.sensors.meter import SensorError


class UnwrappedCounter:
    """Unwraps a cumulative counter. Thread-safe.

    Args:
        unit_j: joules of one count.
        wraps_at: count at which the counter restarts from 0; None if it never wraps. It must be read at least
            once between two wraps, since a second one cannot be detected.
    """

    def __init__(self, unit_j: float, wraps_at: int | None = None) -> None:
        if unit_j <= 0:
            raise InvalidInput(f"unit_j = {unit_j} joules a count; it must be positive")
        if wraps_at is not None and wraps_at < 2:
            raise InvalidInput(f"wraps_at = {wraps_at} counts; it must be at least 2, or None")
        self.unit_j = unit_j
        self.wraps_at = wraps_at
        self._last: int | None = None
        self._total = 0
        self._lock = Lock()

    def read(self, count: Callable[[], int]) -> float:
        """Read the hardware and return the joules since the first reading.

        Reading and unwrapping are atomic; otherwise counts of two threads could be swapped and look like a
        reset.
        """
        with self._lock:
            return self.advance(count())

    def advance(self, count: int) -> float:
        """Process one reading and return the joules since the first.

        Raises:
            SensorError: `counter_reset` if the count decreased without a known range, or left that range.
                Counting continues from there, so differences of later readings are valid again.
        """
        last, self._last = self._last, count
        if last is None:
            return 0.0
        if self.wraps_at is not None and not 0 <= count <= self.wraps_at:
            raise SensorError("counter_reset", f"count {count} is outside of 0 to {self.wraps_at}")
        step = count - last
        if step < 0:
            if self.wraps_at is None:
                raise SensorError("counter_reset", f"the counter went from {last} to {count}")
            step += self.wraps_at
        self._total += step
        return self._total * self.unit_j
