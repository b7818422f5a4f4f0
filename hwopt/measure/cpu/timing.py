"""Time workloads on one CPU thread, robustly: a busy machine gives the same times, or none.

    round 1                      round 2                      round 3
    [A A A A][B B B B][C C C C]  [A A A A][B B B B][C C C C]  [A A A A][B B B B][C C C C]
      each letter one block of a workload, about 0.7 ms, on operands that the caches no longer hold

The time of a workload is its second-smallest block, since interruptions only add time. If the times of the
rounds disagree, the workload is `contended` and has no time. A lasting load slows all rounds alike, so a
guard (`hwopt.measure.cpu.contention`) reads the machine's counters around each group and times reference
workloads in it; workloads of a refused group are contended as well. Contended workloads are timed again
after a wait. A workload is any callable; clock and guard are passed in.
"""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from hwopt.measure.cpu.contention import ContentionGuard

NanosecondClock = Callable[[], int]

_MALLOPT_TRIM_THRESHOLD, _MALLOPT_MMAP_THRESHOLD = -1, -3


@dataclass(frozen=True, slots=True)
class TimingProtocol:
    """Protocol of timing. The defaults are those of the profile's `PROTOCOL_VERSION`."""

    block_s: float = 0.7e-3
    n_rounds: int = 3
    n_blocks: int = 8  # in a round
    agreement: float = 0.03  # largest relative difference between the rounds' times; inf accepts any
    n_retries: int = 2  # further groups of contended workloads
    rotation_bytes: int = 64 * 2**20  # least size of all operand sets of a workload, if `max_sets` allow it
    max_sets: int = 256
    n_warmup: int = 2


@dataclass(frozen=True, slots=True)
class Workload:
    """Callable to time: `call(*operands[i])` is one pass, and passes take the operand sets in turn.

    `agreement` replaces the protocol's.
    """

    key: Any
    call: Callable[..., object]
    operands: Sequence[tuple[Any, ...]] = ((),)
    agreement: float | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """Time of one pass, or the reason for its absence.

    `spread` is the largest relative difference between the rounds' times, `n_passes` the passes in a block.
    """

    time_s: float | None
    status: str  # ok, shared, contended or failed
    reason: str = ""
    spread: float = float("nan")
    n_blocks: int = 0
    n_passes: int = 0


@dataclass(slots=True)
class _Running:
    """Workload in progress: its next operand set, and the blocks of each round in seconds per pass."""

    workload: Workload
    n_passes: int = 1
    next_set: int = 0
    rounds: list[list[float]] = field(default_factory=list)
    failure: str = ""

    def block(self, n_passes: int, clock: NanosecondClock) -> float:
        """Return the seconds of one pass in a block of `n_passes`."""
        sets, call = self.workload.operands, self.workload.call
        order = [sets[(self.next_set + i) % len(sets)] for i in range(n_passes)]
        self.next_set = (self.next_set + n_passes) % len(sets)
        begin = clock()
        for operands in order:
            call(*operands)
        return (clock() - begin) / n_passes * 1e-9


def time_workloads(
    workloads: Sequence[Workload],
    protocol: TimingProtocol | None = None,
    clock: NanosecondClock = time.perf_counter_ns,
    guard: ContentionGuard | None = None,
) -> list[Timing]:
    """Time workloads interleaved, then contended ones again.

    Args:
        workloads: shape [n]; all operands must fit into memory together.
        protocol: protocol of timing.
        clock: nanoseconds, monotonic.
        guard: refuses the timings of a shared machine; None takes one without reference workloads.

    Returns:
        One timing for each workload, shape [n]; one that raises has the status `failed`.
    """
    protocol, guard = protocol or TimingProtocol(), guard or ContentionGuard()
    timings = _time_guarded(workloads, protocol, clock, guard)
    for attempt in range(protocol.n_retries):
        again = [i for i, timing in enumerate(timings) if timing.status == "contended"]
        if not again or guard.patience_s <= 0:
            break
        if not guard.wait(attempt):
            continue
        begin_s = guard.read().wall_s
        group = _time_guarded([workloads[i] for i in again], protocol, clock, guard)
        guard.patience_s -= guard.read().wall_s - begin_s
        for i, timing in zip(again, group, strict=True):
            timings[i] = timing
    return timings


def _time_guarded(
    workloads: Sequence[Workload], protocol: TimingProtocol, clock: NanosecondClock, guard: ContentionGuard
) -> list[Timing]:
    """Time a group with the reference workloads; if the guard refuses it, ok becomes contended, or shared."""
    before = guard.read()
    timings = _time_group([*workloads, *guard.reference_workloads], protocol, clock)
    reason = guard.verdict(before, guard.read(), timings[len(workloads) :])
    if not reason or protocol.agreement == float("inf"):
        return timings[: len(workloads)]
    return [
        _refused(timing, reason, guard.accepts) if timing.status == "ok" else timing
        for timing in timings[: len(workloads)]
    ]


def _refused(timing: Timing, reason: str, accepts: bool) -> Timing:
    """Return a timing of a shared machine, without its time unless those are accepted."""
    if accepts:
        return replace(timing, status="shared")
    return replace(timing, time_s=None, status="contended", reason=reason)


def _time_group(
    workloads: Sequence[Workload], protocol: TimingProtocol, clock: NanosecondClock
) -> list[Timing]:
    running = [_Running(workload) for workload in workloads]
    with _no_collector():
        for one in running:
            _guarded(one, lambda one: _warm_up(one, protocol, clock))
        for _ in range(protocol.n_rounds):
            for one in running:
                _guarded(one, lambda one: _round(one, protocol, clock))
    return [_timing(one, protocol) for one in running]


def _guarded(one: _Running, step: Callable[[_Running], None]) -> None:
    """Run one step of a workload. If it raises, mark that workload as failed and continue with the rest."""
    if one.failure:
        return
    try:
        step(one)
    except (RuntimeError, MemoryError, ValueError, TypeError, NotImplementedError) as error:
        one.failure = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"


def _warm_up(one: _Running, protocol: TimingProtocol, clock: NanosecondClock) -> None:
    for _ in range(protocol.n_warmup):
        one.block(1, clock)
    seconds = one.block(1, clock)
    if seconds < protocol.block_s / 4:  # one pass of a short workload is too noisy
        n_trial = max(2, int(protocol.block_s / 4 / max(seconds, 1e-8)))
        seconds = min(seconds, one.block(n_trial, clock))
    one.n_passes = max(1, round(protocol.block_s / max(seconds, 1e-9)))


def _round(one: _Running, protocol: TimingProtocol, clock: NanosecondClock) -> None:
    one.rounds.append([one.block(one.n_passes, clock) for _ in range(protocol.n_blocks)])


def _timing(one: _Running, protocol: TimingProtocol) -> Timing:
    if one.failure:
        return Timing(None, "failed", one.failure)
    figures = [second_smallest(blocks) for blocks in one.rounds]
    spread = max(figures) / min(figures) - 1 if min(figures) > 0 else float("inf")
    blocks = [block for blocks in one.rounds for block in blocks]
    agreement = protocol.agreement if one.workload.agreement is None else one.workload.agreement
    if spread > agreement:
        reason = f"rounds disagree by {spread:.1%}, more than {agreement:.0%}: the machine is busy"
        return Timing(None, "contended", reason, spread, len(blocks), one.n_passes)
    return Timing(second_smallest(blocks), "ok", "", spread, len(blocks), one.n_passes)


def second_smallest(values: Sequence[float]) -> float:
    """Return the second-smallest value, or the only one; the smallest may be an error of the clock."""
    return sorted(values)[min(1, len(values) - 1)]


@contextmanager
def _no_collector() -> Iterator[None]:
    """Disable Python's garbage collector."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def keep_freed_memory() -> str:
    """Have glibc keep freed memory for the rest of this process; return the allocator's setting in words.

    By default glibc returns large results to the system and maps fresh pages for the next ones, depending on
    the history of the process: the same network may take twice as long in one process as in another.
    """
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return "the system's default"
    is_kept = bool(mallopt(_MALLOPT_TRIM_THRESHOLD, 2**31 - 1))
    is_kept &= any(bool(mallopt(_MALLOPT_MMAP_THRESHOLD, size)) for size in (2**30, 2**25))
    return "glibc, freed memory kept" if is_kept else "the system's default"


@contextmanager
def one_thread_without_gradients() -> Iterator[None]:
    """Run torch on one thread and without gradients; the number of threads is restored afterwards."""
    import torch

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_num_threads(n_threads)
