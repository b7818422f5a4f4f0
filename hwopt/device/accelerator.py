"""What the measuring protocol asks of a device that runs work: to repeat it, to time it, to say what it is.

    prepare(work) --> Loop --replay()--> keeps the device busy, while a meter is read
                           --time_replays(n)--> seconds a pass, by the device's own events

A replay is as many passes as take a few milliseconds, captured as one graph where the device can.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from hwopt.device.meters.meter import Clock


class Loop(Protocol):
    """One piece of work, ready to be repeated.

    Attributes:
        n_passes: passes of the work in one replay.
        mode: "graph" where replays are captured graphs, else "eager".
        mode_reason: why there is no graph; empty where there is one.
        memory_bytes: peak bytes that one pass held, operands included; None where the device does not tell.
    """

    n_passes: int
    mode: str
    mode_reason: str
    memory_bytes: int | None

    def replay(self) -> None:
        """Have the device run one more replay.

        Returns as soon as the device has work for a few milliseconds; blocks while it has more than that.
        """

    def n_replayed(self) -> int:
        """Return how many replays the device has finished since the loop was made."""

    def synchronize(self) -> None:
        """Wait until the device has finished all replays."""

    def time_replays(self, n: int) -> Sequence[float]:
        """Return the seconds of one pass in each of n replays, run back to back, shape [n]."""

    def time_eager(self, n: int) -> Sequence[float]:
        """Return the seconds of each of n passes called operator by operator, shape [n]."""

    def close(self) -> None:
        """Free what the loop holds."""


class Accelerator(Protocol):
    """A device that runs work asynchronously.

    Attributes:
        name: model, for example "NVIDIA H200".
        clock: the time in which the device runs.
        cache_bytes: size of the last-level cache.
    """

    name: str
    clock: Clock
    cache_bytes: int

    def describe(self) -> dict[str, Any]:
        """Return the hardware as device.json keeps it."""

    def prepare(self, work: Any) -> Loop:
        """Return a loop over a piece of work, warmed up.

        Raises:
            hwopt.device.accelerator.Unrunnable: with the reason, where the device cannot run it.
        """
