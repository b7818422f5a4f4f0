"""Time workloads together with fixed reference workloads, whose times reveal a slowed machine.

    group 1                 group 2                 ...     at the end
    [a b c | P S O]         [d e f | P S O]                 5% of the rows again
             |                       |                         |
             +----- P product, S stream, O overhead -----------+--> repeats.csv

The time of a reference workload changes only with the machine. It is compared with the best time in the
folder's repeats.csv, so a run that is resumed on a throttled or shared machine refuses its timings. A load
that slows a whole first run and that no counter shows is not detected; if it ends during the run, ratios in
repeats.csv fall below 1.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwopt.measure.cpu.contention import (
    ContentionGuard,
    ContentionLimits,
    Reader,
    clock_hz,
    read_counters,
)
from hwopt.measure.cpu.timing import NanosecondClock, Timing, TimingProtocol, Workload, time_workloads
from hwopt.profile.device_profile import read_repeats
from hwopt.profile.row_file import RowFile
from hwopt.profile.schema import REFERENCE_ROLE, REPEAT_COLUMNS

REPEATED_SHARE = 0.05
# Largest relative excess over the best time. On two cores of a virtual machine, 95% quantile and maximum of
# the ratio were: product 1.01 and 1.02, overhead 1.03 and 1.09 (80 groups, idle machine), stream 1.06 and
# 1.07 (76 groups, with a load).
TOLERANCES = {"product": 0.03, "overhead": 0.06, "stream": 0.1}
_ANY = float("inf")  # a reference workload has a time even if its rounds disagree
_ANY_AGREEMENT = 1e9  # of the rounds, if a shared machine is accepted
_N_SETTLING = 5  # groups of reference workloads alone, at the beginning


def make_reference_workloads(seed: int = 0) -> list[Workload]:
    """Return arithmetic within the caches, a stream from memory, and the smallest operator."""
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.rand(2, 256, 256, generator=generator)
    product = torch.empty_like(a)
    sets = [(part,) for part in torch.ones(256, 2**18)]  # 1 MiB each, together more than caches hold
    return [
        Workload("product", lambda x, y: torch.mm(x, y, out=product), [(a, b)], _ANY),
        Workload("stream", torch.relu, sets, _ANY),
        Workload("overhead", torch.relu, [(torch.ones(1),)], _ANY),
    ]


class MonitoredTimer:
    """Times groups of workloads and refuses those of a shared or slowed machine. A context manager.

    Args:
        path: the repeats.csv; created, or continued with the best times in it; None keeps no file.
        protocol: how workloads are timed.
        patience_s: seconds that waits and further attempts may take in all.
        accepts: whether times of a shared or slowed machine are kept, with the status `shared`.
        reference_workloads: None takes `make_reference_workloads()`; each key needs one of `TOLERANCES`.
        limits: when the machine counts as shared.
        read: reads the machine's counters.
        sleep: waits for a number of seconds.
        clock: nanoseconds, monotonic.
    """

    def __init__(
        self,
        path: Path | None,
        protocol: TimingProtocol | None = None,
        patience_s: float = 30.0,
        accepts: bool = False,
        reference_workloads: Sequence[Workload] | None = None,
        limits: ContentionLimits | None = None,
        read: Reader = read_counters,
        sleep: Callable[[float], None] = time.sleep,
        clock: NanosecondClock = time.perf_counter_ns,
    ) -> None:
        protocol = protocol or TimingProtocol()
        self._agreement = protocol.agreement
        self.protocol = replace(protocol, agreement=_ANY_AGREEMENT) if accepts else protocol
        self.clock = clock
        self.best_s = best_times_s(path) if path else {}
        self.guard = ContentionGuard(
            read,
            limits or ContentionLimits(),
            list(make_reference_workloads() if reference_workloads is None else reference_workloads),
            self._judge,
            sleep,
            patience_s=patience_s,
            accepts=accepts,
        )
        self._begin_s = read().wall_s
        self._file = RowFile(path, REPEAT_COLUMNS) if path else None
        for _ in range(_N_SETTLING):
            time_workloads([], replace(self.protocol, n_retries=0), clock, self.guard)

    def time(self, workloads: Sequence[Workload]) -> list[Timing]:
        """Return the timing of each workload, [n]; see `hwopt.measure.cpu.timing.time_workloads`."""
        timings = time_workloads(workloads, self.protocol, self.clock, self.guard)
        return [
            replace(one, status="shared") if one.status == "ok" and one.spread > self._agreement else one
            for one in timings
        ]

    def repeat(self, workloads: Sequence[Workload], times_s: Sequence[float], file: str = "") -> list[Timing]:
        """Time workloads again and record the ratio to their first time.

        Args:
            workloads: shape [n].
            times_s: their first times, seconds, shape [n].
            file: name of the file that holds their rows.

        Returns:
            The new timings, shape [n].
        """
        timings = time_workloads(workloads, self.protocol, self.clock, self.guard)
        for workload, before_s, timing in zip(workloads, times_s, timings, strict=True):
            self._write("repeat", _text(workload.key), timing, before_s, file)
        return timings

    def _judge(self, timings: Sequence[Timing]) -> str:
        """Record the reference workloads of a group; return the reason if one of them is too slow."""
        named = zip(self.guard.reference_workloads, timings, strict=True)
        reasons = [self._compare_with_best(workload.key, timing) for workload, timing in named]
        return next((reason for reason in reasons if reason), "")

    def _compare_with_best(self, name: str, timing: Timing) -> str:
        if timing.time_s is None:
            return f"reference workload {name!r} has no time: {timing.reason}"
        best_s = self.best_s.get(name, timing.time_s)
        self._write(REFERENCE_ROLE, name, timing, best_s)
        self.best_s[name] = min(best_s, timing.time_s)
        ratio, clock = timing.time_s / best_s, clock_hz()
        if ratio <= 1 + TOLERANCES[name]:
            return ""
        at = f" (clock {clock / 1e9:.2f} GHz)" if clock else ""
        return f"reference workload {name!r} took {ratio:.2f} of its best time: the machine is slower{at}"

    def _write(self, role: str, key: str, timing: Timing, before_s: float, file: str = "") -> None:
        if self._file is not None:
            ratio = None if timing.time_s is None else timing.time_s / before_s
            row = {
                "role": role,
                "elapsed_s": self.guard.read().wall_s - self._begin_s,
                "file": file,
                "key": key,
            }
            self._file.append({**row, "time_s": timing.time_s, "status": timing.status, "ratio": ratio})

    def __enter__(self) -> "MonitoredTimer":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.__exit__()


def choose_repeats(n: int, rng: np.random.Generator) -> list[int]:
    """Return which of n rows to measure again: `REPEATED_SHARE` of them, at least one, in random order."""
    return [int(i) for i in rng.permutation(n)[: max(1, round(REPEATED_SHARE * n))]] if n else []


def best_times_s(path: Path) -> dict[str, float]:
    """Return the best time of each reference workload in a repeats.csv, in seconds; empty without the file.

    Raises:
        InvalidInput: if the file is not a repeats.csv; the message has the line.
    """
    table = read_repeats(path)
    times = table[(table["role"] == REFERENCE_ROLE) & table["time_s"].notna()]
    return {str(key): float(time_s) for key, time_s in times.groupby("key")["time_s"].min().items()}


def _text(key: Any) -> str:
    return key if isinstance(key, str) else " ".join(str(part) for part in key)
