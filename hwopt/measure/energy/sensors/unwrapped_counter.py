"""From the integer counts of a hardware counter to joules that never decrease. Every meter goes through here.

count  250  254  [256 = 0]  3        joules since the first reading  0  4  9   (unit 1 J, wraps at 256)
"""

from collections.abc import Callable
from threading import Lock

from hwopt.errors import InvalidInput
from hwopt.measure.energy.sensors.meter import SensorError


class UnwrappedCounter:
    """Unwraps a cumulative counter, for as many threads as read it.

    Args:
        unit_j: joules of one count.
        wraps_at: count at which it starts again from 0; None for a counter that never wraps. It must
            be read at least once each time around: a second wrap between two readings leaves no trace.
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

        Reading and unwrapping are one act: a count that another thread's has overtaken would be a reset.
        """
        with self._lock:
            return self.advance(count())

    def advance(self, count: int) -> float:
        """Take one reading and return the joules since the first.

        Raises:
            SensorError: `counter_reset` where it went back without a known range, or left that range. The
                counter goes on from there, so differences of later readings are right again.
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
