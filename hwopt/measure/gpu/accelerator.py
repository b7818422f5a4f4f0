"""What the measuring protocol asks of a device that runs work: to repeat it, to time it, to say what it is.

    prepare(workload) --> Loop --replay()--> keeps the device busy, while a meter is read
                           --time_replays(n)--> seconds a pass, by the device's own events

A replay is as many passes as take a few milliseconds, captured as one graph where the device can.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from hwopt.errors import HwoptError
from hwopt.measure.energy.sensors.meter import Clock

if TYPE_CHECKING:
    from hwopt.network.layer import LayerGraph


class Unrunnable(HwoptError):
    """A piece of work that the device cannot run, and why; the others go on."""


class DeviceLost(HwoptError):
    """The device does not answer any more; nothing further can be measured in this process."""


@dataclass(frozen=True, slots=True)
class GpuWorkload:
    """A piece of work: an operator or a network.

    Attributes:
        key: what names it in messages.
        graph: its layers as the tracer writes them.
        build: makes the callable; a module is moved to the device and set to evaluation.
        inputs: shapes of the tensors that a pass takes anew, the batch included.
        weights: shapes of further operands, where the callable is no module with weights of its own.
        is_warm: whether every pass takes the same operands, which the caches then hold; else they rotate.
        is_built: `build` returns at once what has been built already.
    """

    key: str
    graph: "LayerGraph"
    build: Callable[[], Callable[..., Any]]
    inputs: tuple[tuple[int, ...], ...]
    weights: tuple[tuple[int, ...], ...] = ()
    is_warm: bool = False
    is_built: bool = False

    def built(self) -> "GpuWorkload":
        """Return the workload with its callable made, so that several modes share it."""
        if self.is_built:
            return self
        call = self.build()
        return replace(self, build=lambda: call, is_built=True)


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
        """Keep the device busy: have it run one more replay, unless it has work for some milliseconds.

        It returns within a fraction of a millisecond of the device's clock, so a meter can be read in turn.
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

    A workload is built on the host, then prepared on the device, once for each mode.

    Attributes:
        name: model, for example "NVIDIA H200".
        cache_bytes: size of the last-level cache.
    """

    name: str
    cache_bytes: int

    @property
    def clock(self) -> Clock:
        """The time in which the device runs."""

    def describe(self) -> dict[str, Any]:
        """Return the hardware as device.json keeps it."""

    def wake(self) -> None:
        """Have this process appear on the device; nothing happens the second time."""

    def build(self, workload: GpuWorkload) -> GpuWorkload:
        """Return a workload whose callable is made, on the host, which takes a network a second.

        It may run beside a measurement (`Clock.start`). A workload already built is returned unchanged.

        Raises:
            Unrunnable: with the reason, where it cannot be made.
        """

    def prepare(self, workload: GpuWorkload, mode: str = "graph") -> Loop:
        """Return a loop over a piece of work, warmed up; mode "eager" calls it operator by operator.

        Raises:
            Unrunnable: with the reason, where the device cannot run it.
            DeviceLost: where the device is gone.
        """

    def ceilings(self) -> dict[str, float]:
        """Return the measured ceilings: those of `Ceilings`, and matrix rates by precision.

        Keys: flops_per_s (of the precision that is measured), bytes_per_s, launch_s (in a graph),
        eager_launch_s, and flops_per_s of each further precision as `flops_per_s_bfloat16` and the like.
        """
