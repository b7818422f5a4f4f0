"""Interface of a device that runs workloads asynchronously: it repeats and times them.

    prepare(workload) --> Loop --replay()--> keeps the device busy, while a meter is read
                           --time_replays(n)--> seconds of a pass, by the device's own events

A replay is a number of passes that take a few milliseconds, captured as one graph if the device supports it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from hwopt.errors import HwoptError
from hwopt.measure.energy.sensors.meter import Clock

if TYPE_CHECKING:
    from hwopt.network.layer import LayerGraph


class Unrunnable(HwoptError):
    """A workload that the device cannot run; the message has the reason. Other workloads are not affected."""


class DeviceLost(HwoptError):
    """The device does not respond any more; nothing can be measured in this process."""


@dataclass(frozen=True, slots=True)
class GpuWorkload:
    """An operator or a network to measure.

    Attributes:
        key: name in messages.
        graph: traced layers.
        build: returns the callable; a module is moved to the device and set to eval mode.
        inputs: shapes of the inputs of a pass, batch included.
        weights: shapes of further operands, for a callable that is not a module with weights of its own.
        is_warm: whether every pass takes the same operands, so that caches hold them; otherwise they rotate.
        is_built: whether `build` returns a callable that is already built.
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
    """A prepared workload that can be repeated.

    Attributes:
        n_passes: passes in one replay.
        mode: "graph" if replays are captured graphs, else "eager".
        mode_reason: reason for not having a graph; empty if there is one.
        memory_bytes: peak memory of one pass in bytes, operands included; None if it is not known.
    """

    n_passes: int
    mode: str
    mode_reason: str
    memory_bytes: int | None

    def replay(self) -> None:
        """Keep the device busy: queue one more replay, unless work for some milliseconds is queued.

        Returns within a fraction of a millisecond, so that a meter can be read between calls.
        """

    def n_replayed(self) -> int:
        """Return the number of replays that the device has finished."""

    def synchronize(self) -> None:
        """Wait until the device has finished all replays."""

    def time_replays(self, n: int) -> Sequence[float]:
        """Return the seconds of one pass in each of n replays, run back to back, shape [n]."""

    def time_eager(self, n: int) -> Sequence[float]:
        """Return the seconds of each of n passes in eager mode, shape [n]."""

    def close(self) -> None:
        """Free operands and graphs."""


class Accelerator(Protocol):
    """A device that runs workloads asynchronously.

    A workload is built on the host once, then prepared on the device for each mode.

    Attributes:
        name: model, for example "NVIDIA H200".
        cache_bytes: size of the last-level cache.
    """

    name: str
    cache_bytes: int

    @property
    def clock(self) -> Clock:
        """Clock of the device; virtual for a simulated one."""

    def describe(self) -> dict[str, Any]:
        """Return the key `hardware` of device.json."""

    def create_context(self) -> None:
        """Create this process's context on the device; further calls do nothing."""

    def build(self, workload: GpuWorkload) -> GpuWorkload:
        """Return the workload with its callable built on the host, which takes about a second for a network.

        It may run during a measurement (`Clock.start`). A workload already built is returned unchanged.

        Raises:
            Unrunnable: if it cannot be built.
        """

    def prepare(self, workload: GpuWorkload, mode: str = "graph") -> Loop:
        """Return a warmed-up loop over a workload; in mode "eager" the host calls it operator by operator.

        Raises:
            Unrunnable: if the device cannot run the workload.
            DeviceLost: if the device does not respond any more.
        """

    def ceilings(self) -> dict[str, float]:
        """Return the measured ceilings: those of `Ceilings`, and matrix rates by precision.

        Keys: flops_per_s (in the precision of the campaign), bytes_per_s, launch_s (in a graph),
        eager_launch_s, and for each precision a key such as `flops_per_s_bfloat16`.
        """
