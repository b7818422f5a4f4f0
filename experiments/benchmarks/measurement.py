"""Profile the same operators and networks on a quiet and on a loaded machine: refused and wrong times.

    python experiments/benchmarks/measurement.py --out results/measurement

Starts its own loads, so begin on a quiet machine. Every run has a fresh folder and measures the same rows:
twice with nothing beside it, then beside each load under three protocols:

    counters   all checks: /proc/stat, own CPU time, sentinels whose first reference is taken under the load
    sentinels  without /proc/stat, as with a hidden neighbour, with the references of the first quiet run
    rounds     only the agreement of the rounds of a measurement

Writes rows.csv (every row of every run), summary.csv (one line a run) and README.md.
"""

import argparse
import csv
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np

from hwopt.measure.cpu.contention import (
    ContentionLimits,
    CounterReading,
    contention_between,
    describe_counters,
    read_counters,
)
from hwopt.measure.cpu.reference_workloads import MonitoredTimer, choose_repeats
from hwopt.measure.cpu.timing import TimingProtocol, Workload, keep_freed_memory, one_thread_without_gradients
from hwopt.measure.operators.build import OperandPool, Recipe
from hwopt.measure.sampling.networks import choose_networks
from hwopt.measure.sampling.operators import sample_operators
from hwopt.measure.system_info import describe_cpu, describe_software
from hwopt.network import trace
from hwopt.profile.device_profile import REPEAT_FILE

LOADS = {  # name: one loop of each kind is a process
    "none": (),
    "product": ("product",),
    "stream": ("stream",),
    "both": ("product", "stream"),
}
PROTOCOLS = ("counters", "sentinels", "rounds")
TOLERANCE = 0.03
_GROUPS = {"operator": 12, "network": 4}
_UNLIMITED = ContentionLimits(others_cores=float("inf"), own_cores=0.0)
_LOOP = """
import torch
torch.set_num_threads(1)
a, b = torch.rand(2, 512, 512)
source = torch.rand(2**24)
copy = torch.empty_like(source)
print("ready", flush=True)
while True:
    {step}
"""
_STEPS = {"product": "torch.mm(a, b)", "stream": "copy.copy_(source)"}


@dataclass(frozen=True)
class Item:
    """A row to measure: its name, whether operator or network, and the function that builds its work."""

    key: str
    kind: str
    workload: Workload


@dataclass(frozen=True)
class Run:
    """Result of a run: key -> seconds or None, reasons, wall seconds, and repeats."""

    name: str
    load: str
    protocol: str
    times_s: dict[str, float | None]
    reasons: dict[str, str]
    wall_s: float
    repeat_ratios: list[float]


class Load:
    """Context manager: processes that keep cores busy."""

    def __init__(self, kinds: tuple[str, ...]) -> None:
        self.kinds = kinds

    def __enter__(self) -> "Load":
        commands = [[sys.executable, "-c", _LOOP.format(step=_STEPS[kind])] for kind in self.kinds]
        self.processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for command in commands]
        for process in self.processes:
            process.stdout.readline()
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
            process.stdout.close()


def make_items(n_operators: int, n_networks: int, seed: int) -> list[Item]:
    """Return the rows that every run measures; they depend on the seed alone."""
    pool = OperandPool(TimingProtocol().rotation_bytes, TimingProtocol().max_sets)
    candidates = [c for c in choose_networks(60, np.random.default_rng([seed, 0])) if c.source == "random"]
    graphs = [trace(c.build(), tuple(c.input_shape[1:]), c.input_shape[0]) for c in candidates[n_networks:]]
    operators = sample_operators(n_operators, np.random.default_rng([seed, 1]), graphs).operators
    items = []
    for i, operator in enumerate(operators):
        key = f"{operator.layer.kind}-{i}"
        items.append(Item(key, "operator", Workload(key, operator.recipe.call, pool.sets(operator.recipe))))
    for candidate in candidates[:n_networks]:
        network = candidate.build().eval()
        inputs = pool.sets(Recipe(network, (candidate.input_shape,)))[:16]
        items.append(Item(candidate.name, "network", Workload(candidate.name, network, inputs)))
    return items


def hidden() -> CounterReading:
    """Read the counters as on a machine that hides its neighbours."""
    return replace(read_counters(), busy_s=None)


def measure(items: list[Item], folder: Path, name: str, load: str, protocol: str, patience_s: float) -> Run:
    """Measure all items into a fresh folder, 5% of them again at the end."""
    settings = {
        "counters": {"read": read_counters},
        "sentinels": {"read": hidden, "limits": replace(ContentionLimits(), own_cores=0.0)},
        "rounds": {"read": hidden, "limits": _UNLIMITED, "reference_workloads": []},
    }[protocol]
    times_s: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    begun = time.monotonic()
    with MonitoredTimer(folder / REPEAT_FILE, patience_s=patience_s, **settings) as timer:
        for group in groups(items):
            for item, timing in zip(group, timer.time([item.workload for item in group]), strict=True):
                times_s[item.key], reasons[item.key] = timing.time_s, timing.reason
        done = [item for item in items if times_s[item.key] is not None]
        again = [done[i] for i in choose_repeats(len(done), np.random.default_rng(0))]
        timings = timer.repeat([item.workload for item in again], [times_s[item.key] for item in again])
    wall_s = time.monotonic() - begun
    repeats = [t.time_s / times_s[i.key] for i, t in zip(again, timings, strict=True) if t.time_s]
    return Run(name, load, protocol, times_s, reasons, wall_s, repeats)


def groups(items: list[Item]):
    """Yield the items in groups of one kind."""
    for kind, size in _GROUPS.items():
        ours = [item for item in items if item.kind == kind]
        for begin in range(0, len(ours), size):
            yield ours[begin : begin + size]


def run_all(items: list[Item], loads: list[str], folder: Path, patience_s: float):
    """Yield the runs: quiet, quiet again, then each load under each protocol."""
    plan = [("quiet", "none", "counters"), ("quiet again", "none", "counters"), ("quiet", "none", "rounds")]
    plan += [(f"beside {load}", load, protocol) for load in loads for protocol in PROTOCOLS]
    for number, (name, load, protocol) in enumerate(plan):
        run_folder = folder / str(number)
        run_folder.mkdir()
        if protocol == "sentinels":
            shutil.copy(folder / "0" / REPEAT_FILE, run_folder)
        with Load(LOADS[load]):
            run = measure(items, run_folder, name, load, protocol, patience_s)
        print(
            f"{name}, {protocol}: {len(refused(run))} of {len(items)} refused, {run.wall_s:.0f} s", flush=True
        )
        yield run


def refused(run: Run) -> list[str]:
    """Return the keys of the refused rows."""
    return [key for key, time_s in run.times_s.items() if time_s is None]


def ratios(run: Run, reference: Run) -> list[float]:
    """Return the ratios of this run's times to the reference's, for rows in both, sorted."""
    both = [key for key, time_s in run.times_s.items() if time_s and reference.times_s[key]]
    return sorted(run.times_s[key] / reference.times_s[key] for key in both)


def summary(run: Run, reference: Run, noise: float) -> dict[str, object]:
    """Return the line of a run.

    Args:
        run: the run.
        reference: the first quiet run.
        noise: 95% quantile of the relative differences of two quiet runs; a wrong time is 3% above it.
    """
    found = ratios(run, reference)
    off = [abs(ratio - 1) for ratio in found]
    n_lies = sum(ratio > 1 + noise + TOLERANCE for ratio in found) if noise == noise and found else None
    return {
        "run": run.name,
        "protocol": run.protocol,
        "n_rows": len(run.times_s),
        "refused_share": len(refused(run)) / len(run.times_s),
        "n_compared": len(found),
        "within_3pct": sum(o <= TOLERANCE for o in off) / len(off) if off else None,
        "median_ratio": statistics.median(found) if found else None,
        "p95_ratio": float(np.quantile(found, 0.95)) if found else None,
        "largest_ratio": found[-1] if found else None,
        "n_lies": n_lies,
        "s_a_row": run.wall_s / len(run.times_s),
        "n_repeats": len(run.repeat_ratios),
        "repeats_median": statistics.median(run.repeat_ratios) if run.repeat_ratios else None,
    }


def noise_of(again: Run, quiet: Run) -> float:
    """Return the 95% quantile of the relative differences of two quiet runs."""
    off = [abs(ratio - 1) for ratio in ratios(again, quiet)]
    return float(np.quantile(off, 0.95)) if off else float("nan")


def write(out: Path, runs: list[Run], items: list[Item], command: str, warning: str) -> None:
    """Write rows.csv, summary.csv and README.md."""
    out.mkdir(parents=True, exist_ok=True)
    kinds = {item.key: item.kind for item in items}
    with (out / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["run", "protocol", "kind", "key", "time_s", "ratio_to_quiet", "reason"])
        for run in runs:
            for key, time_s in run.times_s.items():
                quiet_s = runs[0].times_s[key]
                ratio = f"{time_s / quiet_s:.4f}" if time_s and quiet_s else ""
                cells = [f"{time_s:.6g}" if time_s else "", ratio, run.reasons[key]]
                writer.writerow([run.name, run.protocol, kinds[key], key, *cells])
    noise = noise_of(runs[1], runs[0])
    lines = [summary(run, runs[0], noise) for run in runs]
    with (out / "summary.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        table.writeheader()
        table.writerows([{key: cell(value) for key, value in line.items()} for line in lines])
    (out / "README.md").write_text(readme(lines, noise, command, warning), encoding="utf-8")


def readme(lines: list[dict[str, object]], noise: float, command: str, warning: str) -> str:
    """Return the text beside the tables."""
    cpu, software = describe_cpu(), describe_software()
    share = f"{noise:.1%}" if noise == noise else "unknown"
    head, rows = list(lines[0]), [[cell(value) for value in line.values()] for line in lines]
    table = "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])
    return f"""# What the CPU timing protocol refuses on a busy machine, and what it lets through

The same rows, in a fresh folder each time; ratios are to the first quiet run. A lie is a row with a number
that is more than 3% beyond what 95% of the rows of two quiet runs keep ({share} here).
`counters` is the protocol that profiles use; `sentinels` is it where /proc/stat tells nothing, resumed in a
folder from a quiet time; `rounds` looks at nothing but the agreement of a work's own rounds.
{warning}
{table}

Times in seconds; `s_a_row` includes sentinels, waits and retries; `n_compared` of `n_rows` have a number
in both runs. Machine: {cpu["model"]}, {cpu["n_cores"]} cores, {software["system"]}, one thread,
torch {software.get("torch")}, {datetime.now(UTC).date().isoformat()}.
Counters: {describe_counters()["reason"]}. All rows with their reasons: rows.csv.

    {command}
"""


def cell(value: object) -> str:
    """Return a value as text, empty if there is none."""
    if value is None or value != value:
        return ""
    return (
        f"{value:.3g}"
        if isinstance(value, float) and value < 0.1
        else (f"{value:.3f}" if isinstance(value, float) else str(value))
    )


def busy_before(seconds: float = 2.0) -> str:
    """Return the load found before the first run, as text for the README."""
    before = read_counters()
    time.sleep(seconds)
    reason = contention_between(before, read_counters(), is_working=False)
    return (
        f"\n**The machine was not quiet before the first run ({reason}): no statement follows.**\n"
        if reason
        else ""
    )


def main(arguments: list[str] | None = None) -> None:
    """Make all runs and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/measurement"))
    parser.add_argument("--operators", type=int, default=240)
    parser.add_argument("--networks", type=int, default=24)
    parser.add_argument("--loads", nargs="*", choices=list(LOADS)[1:], default=list(LOADS)[1:])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--patience", type=float, default=10.0, help="seconds a run may wait and retry")
    parser.add_argument("--quick", action="store_true", help="a few rows and one load, to see that it works")
    options = parser.parse_args(arguments)
    if options.quick:
        options.operators, options.networks, options.patience = 8, 2, 1.0
        options.loads = options.loads[:1]
    warning = busy_before(0.2 if options.quick else 2.0)
    keep_freed_memory()
    with one_thread_without_gradients(), tempfile.TemporaryDirectory() as folder:
        items = make_items(options.operators, options.networks, options.seed)
        runs = list(run_all(items, options.loads, Path(folder), options.patience))
    command = shlex.join(
        [
            "python",
            "experiments/benchmarks/measurement.py",
            *(sys.argv[1:] if arguments is None else arguments),
        ]
    )
    write(options.out, runs, items, command, warning)
    print((options.out / "README.md").read_text())


if __name__ == "__main__":
    main()
