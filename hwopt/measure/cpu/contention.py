"""Notice that a machine was not ours alone while works were timed, say why, and wait for it to be quiet.

    read()                                     read()
      |------------- a group of works -----------|
    others' cores = (busy and stolen time of all cores - CPU time of this process) / wall time

A load that is steady slows all rounds of a group alike: they agree, on a figure that is wrong. Only counters
from outside the works tell. What no counter shows (a neighbour of a virtual machine that reports no stolen
time, a lowered clock) is left to the sentinels of `hwopt.measure.cpu.reference_workloads`. Reader and sleep
are passed in.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STAT = Path("/proc/stat")
_CPU_INFO = Path("/proc/cpuinfo")
_CPU_FREQUENCIES = Path("/sys/devices/system/cpu")
_BUSY_FIELDS = (0, 1, 2, 5, 6, 7)  # user, nice, system, irq, softirq, steal; guests are in user and nice
_PROBE_S = 0.15


@dataclass(frozen=True, slots=True)
class CounterReading:
    """Counters of the machine at one moment; None where the system does not tell.

    Attributes:
        wall_s: monotonic.
        own_s: CPU time of this process, all its threads, without its children.
        busy_s: time that all cores together worked or were stolen by the hypervisor.
        n_preemptions: how often this process had to leave a core that it still wanted.
    """

    wall_s: float
    own_s: float
    busy_s: float | None = None
    n_preemptions: int | None = None


Reader = Callable[[], CounterReading]


@dataclass(frozen=True, slots=True)
class ContentionLimits:
    """From when on a machine counts as shared.

    On a quiet machine of two cores, over 0.1 s, the others' time came out between -0.01 and 0.02 s (the
    counters step by 0.01 s for each core) and one busy process at 0.08 s or more. An occasional daemon is
    harmless: it misses most blocks, and the second-smallest block counts.
    """

    others_cores: float = 0.1
    resolution_s: float = 0.03
    own_cores: float = 0.85  # less than this, and something else ran where this process wanted to


def read_counters(stat: Path = STAT) -> CounterReading:
    """Read the counters now. About 0.05 ms."""
    return CounterReading(time.monotonic(), time.process_time(), _busy_s(stat), _n_preemptions())


def _busy_s(stat: Path) -> float | None:
    """Return the busy and stolen seconds of all cores, or None where Linux does not show them."""
    try:
        with stat.open(encoding="ascii") as file:
            name, *ticks = file.readline().split()
        if name != "cpu":
            return None
        return sum(int(ticks[i]) for i in _BUSY_FIELDS if i < len(ticks)) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return None


def _n_preemptions() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def contention_between(
    before: CounterReading,
    after: CounterReading,
    limits: ContentionLimits | None = None,
    is_working: bool = True,
) -> str:
    """Return why the machine was not ours alone between two readings; empty where nothing says so.

    Args:
        before: at the beginning.
        after: at the end.
        limits: from when on it counts.
        is_working: whether this process wanted a core all the time, as when it times; not when it sleeps.
    """
    limits = limits or ContentionLimits()
    wall_s, own_s = after.wall_s - before.wall_s, after.own_s - before.own_s
    if wall_s <= 0:
        return ""
    if before.busy_s is not None and after.busy_s is not None:
        others_s = after.busy_s - before.busy_s - own_s
        if others_s > limits.others_cores * wall_s + limits.resolution_s:
            return f"other processes used {others_s / wall_s:.2f} of a core{_preempted(before, after)}"
    if is_working and own_s < limits.own_cores * wall_s - limits.resolution_s:
        return f"this process got only {own_s / wall_s:.2f} of a core{_preempted(before, after)}"
    return ""


def _preempted(before: CounterReading, after: CounterReading) -> str:
    n = (after.n_preemptions or 0) - (before.n_preemptions or 0)
    return f", {n} preemptions" if n > 0 else ""


def describe_counters(read: Reader = read_counters, platform: str = sys.platform) -> dict[str, Any]:
    """Return, for device.json, which loads of other processes a run can notice here. Takes 0.15 s.

    The counters are tried: this process works for a moment, and they must have seen it.
    """
    before = read()
    while (after := read()).wall_s < before.wall_s + _PROBE_S:
        pass
    if before.busy_s is None or after.busy_s is None:
        reason = f"{STAT} is not readable (this system is {platform}): only sentinels and rounds can tell"
        return {"others_cpu": False, "reason": reason}
    if after.busy_s - before.busy_s < 0.5 * (after.own_s - before.own_s):
        reason = f"{STAT} does not count this process: only sentinels and rounds can tell"
        return {"others_cpu": False, "reason": reason}
    return {"others_cpu": True, "reason": f"{STAT}, without what a hypervisor hides"}


def clock_hz(cpu_info: Path = _CPU_INFO, cpus: Path = _CPU_FREQUENCIES) -> float | None:
    """Return the highest present clock of any core, in hertz, or None where the system does not tell.

    A virtual machine often shows its nominal clock, whatever the true one is.
    """
    try:
        khz = [int(path.read_text()) for path in cpus.glob("cpu[0-9]*/cpufreq/scaling_cur_freq")]
        if khz:
            return max(khz) * 1e3
        lines = cpu_info.read_text(encoding="utf-8", errors="replace").splitlines()
        return max(float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")) * 1e6
    except (OSError, ValueError):
        return None


@dataclass(slots=True)
class ContentionGuard:
    """Accompanies groups of timings: refuses those of a shared machine, and waits between attempts.

    Attributes:
        read: the counters.
        limits: from when on a machine counts as shared.
        sentinels: fixed works, timed with each group.
        judge: from the sentinels' timings to the reason for refusing the group; empty for none.
        sleep: waits for so many seconds.
        first_wait_s: before the first further attempt; doubles up to `longest_wait_s`.
        longest_wait_s: of one wait.
        patience_s: what all waits and further attempts together may still take; then there are none.
        accepts: what it would refuse keeps its figure, with the status `shared`.
        refusal: the reason of the last verdict, where that refused.
    """

    read: Reader = read_counters
    limits: ContentionLimits = field(default_factory=ContentionLimits)
    sentinels: Sequence[Any] = ()
    judge: Callable[[Sequence[Any]], str] = field(default=lambda timings: "")
    sleep: Callable[[float], None] = time.sleep
    first_wait_s: float = 0.25
    longest_wait_s: float = 2.0
    patience_s: float = 30.0
    accepts: bool = False
    refusal: str = ""

    def verdict(self, before: CounterReading, after: CounterReading, sentinels: Sequence[Any]) -> str:
        """Return why the group between two readings is refused; empty where it is not."""
        slow = self.judge(sentinels)  # asked in any case: it keeps a record
        reason = contention_between(before, after, self.limits) or slow
        self.refusal = "" if self.accepts else reason
        return reason

    def wait(self, attempt: int) -> bool:
        """Wait before a further attempt, from 0, if the last group was refused as a whole.

        Returns:
            Whether to try: patience is left, and the machine was quiet meanwhile.
        """
        if not self.refusal:
            return self.patience_s > 0
        before = self.read()
        self.sleep(max(0.0, min(self.first_wait_s * 2**attempt, self.longest_wait_s, self.patience_s)))
        after = self.read()
        self.patience_s -= after.wall_s - before.wall_s
        return self.patience_s > 0 and not contention_between(before, after, self.limits, is_working=False)
