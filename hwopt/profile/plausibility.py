"""Consistency checks of the values of a profile; a contradiction usually means that a unit is wrong.

energy = power x time           within `ENERGY_TOLERANCE`
memory >= operands              at least their bytes / `MEMORY_FACTOR`
time >= roofline                at most `FASTEST` times below it; the median at most `SLOWEST` times above
"""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hwopt.arrays import Array
from hwopt.errors import InvalidInput, nearest
from hwopt.network.cost_rules import KINDS
from hwopt.profile.cells import refuse
from hwopt.profile.reasons import REASONS
from hwopt.profile.text_file import shown

if TYPE_CHECKING:
    import pandas as pd

ENERGY_TOLERANCE = 0.25  # largest relative difference between energy and power x time
MEMORY_FACTOR = 300.0  # largest ratio of operand bytes to memory
FASTEST = 100.0  # largest ratio of roofline to time: caches, and data types smaller than the ceiling's
SLOWEST = 300.0  # largest median ratio of time to roofline
_MIN_ROWS = 8  # least number of rows for a median
_PREFIXES = ((1e9, "giga"), (1e6, "mega"), (1e3, "kilo"), (1e-3, "milli"), (1e-6, "micro"))


def check_energy(path: Path, rows: "pd.DataFrame") -> None:
    """Raise InvalidInput for rows whose energy is not power x time, with either `loop_time_s` or `time_s`."""
    if not {"time_s", "power_w", "energy_j"} <= set(rows.columns):
        return
    times = [rows[name] for name in ("time_s", "loop_time_s") if name in rows.columns]
    factors = [(rows["energy_j"] / (rows["power_w"] * time_s)).to_numpy(dtype=float) for time_s in times]
    off = np.abs(np.log(np.stack(factors)))  # [1 or 2, n]; NaN for a missing value
    nearest_off = np.fmin.reduce(off)
    wrong = nearest_off > np.log(1 + ENERGY_TOLERANCE)
    if wrong.any():
        factor = float(np.exp(nearest_off[wrong][0]))
        refuse(
            path, wrong, rows["energy_j"],
            f"power_w x time_s differs by a factor of {factor:.4g}, more than {1 + ENERGY_TOLERANCE:g}; "
            "is one of the three in another unit, such as milliwatts, millijoules or milliseconds?",
        )  # fmt: skip


def check_memory(path: Path, rows: "pd.DataFrame", least_bytes: "pd.Series[float]") -> None:
    """Raise InvalidInput for memory far below the bytes of operands and results, `least_bytes`, [n]."""
    if "memory_bytes" not in rows.columns:
        return
    wrong = (rows["memory_bytes"] * MEMORY_FACTOR < least_bytes).to_numpy(dtype=bool)
    if wrong.any():
        least = float(least_bytes[wrong].iloc[0])
        unit = _likely_prefix(least / float(rows["memory_bytes"][wrong].iloc[0]))
        wanted = f"its operands and results alone take {least:.4g} bytes; is it in {unit}bytes?"
        refuse(path, wrong, rows["memory_bytes"], wanted)


def check_times(path: Path, time_s: "pd.Series[float]", bound_s: Array, launch_s: Array) -> None:
    """Raise InvalidInput for times far below the roofline, or times with a median far above it.

    Args:
        path: file of the times.
        time_s: measured times, [n], indexed by line; NaN if not measured.
        bound_s: roofline of each row, [n], seconds.
        launch_s: launch latencies of each row, [n], seconds.
    """
    times = time_s.to_numpy(dtype=float)
    with np.errstate(invalid="ignore"):
        too_fast = times * FASTEST < bound_s
    if too_fast.any():
        factor = float((bound_s / times)[too_fast][0])
        refuse(
            path, too_fast, time_s,
            f"by the ceilings of device.json it takes at least {float(bound_s[too_fast][0]):.3g} s, "
            f"{factor:.3g} times as long; is it in seconds for a pass of the whole batch, and are the "
            "ceilings in FLOPs and bytes per second?",
        )  # fmt: skip
    known = np.isfinite(times) & np.isfinite(bound_s)
    ratio = float(np.median((times / (bound_s + launch_s))[known])) if known.sum() >= _MIN_ROWS else 0.0
    if ratio > SLOWEST:
        unit = "microseconds" if ratio > 1e3 * SLOWEST else "milliseconds"
        raise InvalidInput(
            f"{path}: the median of {time_s.name} is {ratio:.3g} times the roofline of device.json, more "
            f"than {SLOWEST:g}; is it in {unit} instead of seconds, or are the ceilings in another unit?"
        )


def _likely_prefix(factor: float) -> str:
    """Return the unit prefix that is nearest to a factor."""
    return min(_PREFIXES, key=lambda prefix: abs(np.log(prefix[0] / factor)))[1]


def note_kinds(name: str, rows: "pd.DataFrame") -> list[str]:
    """Return notes on kinds of layer rows that are unknown to the tracer; they are fitted like any other."""
    counts = Counter(kind for kind in rows["kind"] if kind not in KINDS)
    notes = []
    for kind, n in sorted(counts.items()):
        match = nearest(kind, KINDS, cutoff=0.8)
        like = f"; did you mean {match}?" if match else ""
        notes.append(f"{name}: kind {shown(kind)} is unknown to the tracer, {n} rows{like}")
    return notes if len(notes) <= 5 else [*notes[:5], f"{name}: and {len(notes) - 5} more such kinds"]


def note_reasons(name: str, rows: "pd.DataFrame") -> list[str]:
    """Return notes on missing metrics without a reason, in rows with an energy status."""
    told = rows[rows["energy_status"] != ""]
    notes = []
    for metric, reason in (
        ("time_s", "time_reason"),
        ("energy_j", "energy_reason"),
        ("memory_bytes", "memory_reason"),
    ):
        n = int((told[metric].isna() & (told[reason] == "")).sum())
        if n:
            notes.append(f"{name}: {n} rows have neither {metric} nor {reason}")
    codes = Counter(text.partition(":")[0] for text in told["energy_reason"] if text)
    unknown = sorted(code for code in codes if code not in REASONS)
    if unknown:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        codes_shown = ", ".join(shown(code) for code in unknown[:3])
        notes.append(f"{name}: energy_reason begins with unknown codes: {codes_shown}{more}")
    return notes
