"""Time works beside sentinels, and keep what those tell about the machine over a whole run.

    group 1                 group 2                 ...     at the end
    [a b c | P S O]         [d e f | P S O]                 5% of the rows again
             |                       |                         |
             +--- sentinels: P product, S stream, O overhead --+--> repeats.csv

A sentinel is always the same work, so its time changes only with the machine. Its reference is the best
time in the folder's repeats.csv: a run that is resumed on a throttled or shared machine finds itself slower
than it was, and refuses. Where all of a first run is slowed by what no counter shows, nothing here can know;
if that load ends while the run lasts, the sentinels' ratios in repeats.csv fall below 1.
"""

import csv
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwopt.errors import InvalidInput
from hwopt.measure.cpu.contention import ContentionGuard, ContentionLimits, Reader, clock_hz, read_counters
from hwopt.measure.cpu.timing import NanosecondClock, Timing, TimingProtocol, Workload, time_workloads
from hwopt.profile.row_file import RowFile

REPEAT_FILE = "repeats.csv"
COLUMNS = ("role", "elapsed_s", "file", "key", "time_s", "power_w", "status", "ratio")
REPEATED_SHARE = 0.05
# How much slower than its best a sentinel may be. On two cores of a virtual machine, 95% and largest were:
# product 1.01 and 1.02, overhead 1.03 and 1.09 (80 quiet groups), stream 1.06 and 1.07 (76 beside a load).
TOLERANCES = {"product": 0.03, "overhead": 0.06, "stream": 0.1}
_ANY = float("inf")  # a sentinel has a figure even where its rounds disagree
_ANY_AGREEMENT = 1e9  # of the rounds, where a shared machine is accepted
_N_SETTLING = 5  # groups of nothing but sentinels, at the beginning


def make_sentinels(seed: int = 0) -> list[Workload]:
    """Return the fixed works: arithmetic out of the caches, a stream from memory, the smallest operator."""
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
    """Times groups of works on this machine and refuses those of a machine that is shared or slowed.

    Args:
        path: the repeats.csv; created, or continued with the references that it holds; None keeps no file.
        protocol: how works are timed.
        patience_s: what waits and further attempts may take in all.
        accepts: a shared or slowed machine's figures are kept, as status `shared`.
        sentinels: as `make_sentinels`, each with one of `TOLERANCES`.
        limits: from when on the machine counts as shared.
        read: the machine's counters.
        sleep: waits for so many seconds.
        clock: nanoseconds, monotonic.
    """

    def __init__(
        self,
        path: Path | None,
        protocol: TimingProtocol | None = None,
        patience_s: float = 30.0,
        accepts: bool = False,
        sentinels: Sequence[Workload] | None = None,
        limits: ContentionLimits | None = None,
        read: Reader = read_counters,
        sleep: Callable[[float], None] = time.sleep,
        clock: NanosecondClock = time.perf_counter_ns,
    ) -> None:
        protocol = protocol or TimingProtocol()
        self._agreement = protocol.agreement
        self.protocol = replace(protocol, agreement=_ANY_AGREEMENT) if accepts else protocol
        self.clock = clock
        self.references = read_references(path) if path else {}  # seconds
        self.guard = ContentionGuard(
            read,
            limits or ContentionLimits(),
            list(make_sentinels() if sentinels is None else sentinels),
            self._judge,
            sleep,
            patience_s=patience_s,
            accepts=accepts,
        )
        self._begin_s = read().wall_s
        self._file = RowFile(path, COLUMNS) if path else None
        for _ in range(_N_SETTLING):
            time_workloads([], replace(self.protocol, n_retries=0), clock, self.guard)

    def time(self, workloads: Sequence[Workload]) -> list[Timing]:
        """Return one timing for each work, shape [n]; see `hwopt.measure.cpu.timing.time_works`."""
        timings = time_workloads(workloads, self.protocol, self.clock, self.guard)
        return [
            replace(one, status="shared") if one.status == "ok" and one.spread > self._agreement else one
            for one in timings
        ]

    def repeat(self, workloads: Sequence[Workload], times_s: Sequence[float], file: str = "") -> list[Timing]:
        """Time works again and record how the new times compare.

        Args:
            works: shape [n].
            times_s: what they took before, seconds, shape [n].
            file: name of the file that holds their rows.

        Returns:
            The new timings, shape [n].
        """
        timings = time_workloads(workloads, self.protocol, self.clock, self.guard)
        for workload, before_s, timing in zip(workloads, times_s, timings, strict=True):
            self._write("repeat", _text(workload.key), timing, before_s, file)
        return timings

    def _judge(self, timings: Sequence[Timing]) -> str:
        """Record the sentinels of a group; return which of them is too slow, and by how much."""
        named = zip(self.guard.sentinels, timings, strict=True)
        reasons = [self._compare(workload.key, timing) for workload, timing in named]
        return next((reason for reason in reasons if reason), "")

    def _compare(self, name: str, timing: Timing) -> str:
        """Compare a sentinel with the best one, or become that; return why it is too slow, or nothing."""
        if timing.time_s is None:
            return f"sentinel {name!r} has no time: {timing.reason}"
        best_s = self.references.get(name, timing.time_s)
        self._write("sentinel", name, timing, best_s)
        self.references[name] = min(best_s, timing.time_s)
        ratio, clock = timing.time_s / best_s, clock_hz()
        if ratio <= 1 + TOLERANCES[name]:
            return ""
        shown = f" (clock {clock / 1e9:.2f} GHz)" if clock else ""
        return f"sentinel {name!r} took {ratio:.2f} of its best: the machine is slower than it was{shown}"

    def _write(self, role: str, key: str, timing: Timing, before_s: float, file: str = "") -> None:
        if self._file is None:
            return
        self._file.append(
            {
                "role": role,
                "elapsed_s": self.guard.read().wall_s - self._begin_s,
                "file": file,
                "key": key,
                "time_s": timing.time_s,
                "status": timing.status,
                "ratio": None if timing.time_s is None else timing.time_s / before_s,
            }
        )

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.__exit__()


def choose_repeats(n: int, rng: np.random.Generator, share: float = REPEATED_SHARE) -> list[int]:
    """Return which of n rows to measure again: a share of them, at least one, in random order."""
    return [int(i) for i in rng.permutation(n)[: max(1, round(share * n))]] if n else []


def read_references(path: Path) -> dict[str, float]:
    """Return the best seconds of each sentinel in a repeats.csv; empty without the file.

    Raises:
        InvalidInput: for a time that is not a positive number, with file and line.
    """
    best: dict[str, float] = {}
    if not path.exists():
        return best
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            if row.get("role") == "sentinel" and row.get("ratio"):  # the last line may be cut
                seconds = _seconds(path, number, str(row["time_s"]))
                best[row["key"]] = min(seconds, best.get(row["key"], seconds))
    return best


def _seconds(path: Path, number: int, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise InvalidInput(
            f"{path}, line {number}: time_s = {text!r}; it must be a positive number, in seconds"
        )
    return seconds


def _text(key: Any) -> str:
    return key if isinstance(key, str) else " ".join(str(part) for part in key)
