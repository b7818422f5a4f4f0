"""Detect CPU contention during a measurement, report its cause, and wait until the machine is idle.

    read()                                     read()
      |----------- a group of workloads ----------|
    others' cores = (busy and stolen time of all cores - CPU time of this process) / wall time

A steady load slows all rounds of a group alike: they agree on a wrong time, and only counters reveal it. If
no counter does (another virtual machine without reported stolen time, a lowered clock), reference workloads
may (`hwopt.measure.cpu.reference_workloads`). Reader and sleep are passed in.
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
    """Counters of the machine at one moment; None for those that the system does not report.

    Attributes:
        wall_s: monotonic time.
        own_s: CPU time of this process with all its threads, without its children.
        busy_s: busy and stolen time of all cores together.
        n_preemptions: involuntary context switches of this process.
    """

    wall_s: float
    own_s: float
    busy_s: float | None = None
    n_preemptions: int | None = None


Reader = Callable[[], CounterReading]


@dataclass(frozen=True, slots=True)
class ContentionLimits:
    """Limits beyond which a machine counts as shared.

    On two idle cores, over 0.1 s, other processes used between -0.01 and 0.02 s (the counters have a
    resolution of 0.01 s for each core); with one busy process it was 0.08 s or more. An occasional daemon is
    harmless: it affects few blocks of a measurement, and the limit applies to the second-smallest block.
    """

    others_cores: float = 0.1
    resolution_s: float = 0.03
    own_cores: float = 0.85  # of this process, at least


def read_counters(stat: Path = STAT) -> CounterReading:
    """Read the counters; takes about 0.05 ms."""
    return CounterReading(time.monotonic(), time.process_time(), _busy_s(stat), _n_preemptions())


def _busy_s(stat: Path) -> float | None:
    """Return the busy and stolen seconds of all cores; None if Linux does not report them."""
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
    """Return the cause of contention between two readings; empty if there was none.

    Args:
        before: reading at the beginning.
        after: reading at the end.
        limits: when the machine counts as shared.
        is_working: whether this process needed a core all the time; false while it sleeps.
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
    """Return, for device.json, whether loads of other processes can be detected here. Takes 0.15 s.

    The counters are tested: they must count this process while it works for a moment.
    """
    before = read()
    while (after := read()).wall_s < before.wall_s + _PROBE_S:
        pass
    if before.busy_s is None or after.busy_s is None:
        reason = f"{STAT} is not readable on {platform}: only reference workloads and rounds show contention"
        return {"others_cpu": False, "reason": reason}
    if after.busy_s - before.busy_s < 0.5 * (after.own_s - before.own_s):
        reason = f"{STAT} does not count this process: only reference workloads and rounds show contention"
        return {"others_cpu": False, "reason": reason}
    return {"others_cpu": True, "reason": f"{STAT}; time that a hypervisor hides is not counted"}


def clock_hz(cpu_info: Path = _CPU_INFO, cpus: Path = _CPU_FREQUENCIES) -> float | None:
    """Return the highest current clock of any core, in hertz; None if the system does not report it.

    A virtual machine often reports the nominal clock.
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
    """Refuses timings of a shared machine, and waits between attempts.

    Attributes:
        read: reads the counters.
        limits: when a machine counts as shared.
        reference_workloads: timed with each group.
        judge: timings of the reference workloads -> reason for refusing the group; empty for none.
        sleep: waits for a number of seconds.
        first_wait_s: wait before the first further attempt; it doubles up to `longest_wait_s`.
        longest_wait_s: longest wait.
        patience_s: seconds left for waits and further attempts.
        accepts: whether refused times are kept, with the status `shared`.
        refusal: reason of the last refusal; empty if the last group was not refused.
    """

    read: Reader = read_counters
    limits: ContentionLimits = field(default_factory=ContentionLimits)
    reference_workloads: Sequence[Any] = ()
    judge: Callable[[Sequence[Any]], str] = field(default=lambda timings: "")
    sleep: Callable[[float], None] = time.sleep
    first_wait_s: float = 0.25
    longest_wait_s: float = 2.0
    patience_s: float = 30.0
    accepts: bool = False
    refusal: str = ""

    def verdict(
        self, before: CounterReading, after: CounterReading, reference_workloads: Sequence[Any]
    ) -> str:
        """Return the reason for refusing the group between two readings; empty for none."""
        slow = self.judge(reference_workloads)  # called in any case, since it keeps a record
        reason = contention_between(before, after, self.limits) or slow
        self.refusal = "" if self.accepts else reason
        return reason

    def wait(self, attempt: int) -> bool:
        """Wait before further attempt number `attempt`, from 0, if the last group was refused.

        Returns:
            Whether to try again: patience is left, and the machine was idle meanwhile.
        """
        if not self.refusal:
            return self.patience_s > 0
        before = self.read()
        self.sleep(max(0.0, min(self.first_wait_s * 2**attempt, self.longest_wait_s, self.patience_s)))
        after = self.read()
        self.patience_s -= after.wall_s - before.wall_s
        return self.patience_s > 0 and not contention_between(before, after, self.limits, is_working=False)
