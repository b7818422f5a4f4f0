"""Compare hwopt's strategies with those of other libraries on all benchmark problems, and check the goals.

    SCRIPT=experiments/benchmarks/compare_optimizers.py
    python $SCRIPT --runs runs --out results/optimizer --jobs 2 --first-seed 100
    python $SCRIPT --problem synthetic_cnn --seeds 2 --trials 25 ...  # a first look

The environment variable HWOPT_NAS_BENCH_201, the path of its file, adds that problem. `--runs` keeps every
training, so the script can be resumed; `--out` gets a folder of tables and figures for each problem, all
tables in one, and `goals.csv`: trainings to the same hypervolume relative to the peer's, by problem, and the
median over problems. One run takes one core.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # one thread per run: runs are parallel

import numpy as np
from rich.console import Console

from hwopt.compare import Comparison, compare
from hwopt.compare.curves import all_curves
from hwopt.compare.plan_file import open_problem
from hwopt.compare.report import write_comparison
from hwopt.compare.summary import summary_rows, target_rows
from hwopt.report.progress import ProgressDisplay
from hwopt.report.tables import write_csv

PROBLEMS = ["synthetic_cnn", "synthetic_blocks", "digits_table", "digits_emulator", "fashion_mnist_emulator"]
OURS = "ehvi"
# peer -> largest share of its trainings that hwopt may need, after 20, 40 and 60
GOALS = {
    "optuna:tpe": {20: 1 / 3, 40: 1 / 3, 60: 1 / 3},
    "optuna:tpe_multivariate": {20: 1 / 3, 40: 1 / 3, 60: 1 / 3},
    "random:unaware": {20: 1 / 6, 40: 1 / 6, 60: 1 / 6},
    "botorch:qlognehvi": {20: 1.0, 40: 1.0, 60: 0.8},
}
Row = dict[str, Any]


@dataclass(frozen=True)
class Group:
    """Contenders with the same number of seeds and of trainings."""

    labels: tuple[str, ...]
    n_seeds: int
    n_trials: int


GROUPS = (
    Group((OURS,), 20, 60),
    Group(("random", "random:unaware"), 10, 60),
    Group(("optuna:tpe", "optuna:tpe_multivariate", "optuna:tpe:unaware", "optuna:nsga2"), 10, 60),
    Group(("optuna:nsga2:unaware",), 10, 60),
    Group(("ei", "cwei", "ieci", "random_walk", "scalarized", "epr"), 10, 60),
    Group((f"{OURS}:unaware", "ei:unaware", "cwei:unaware"), 10, 60),
    Group(("random_walk:unaware", "scalarized:unaware", "epr:unaware"), 10, 60),
    Group(("botorch:qlognehvi",), 5, 60),
    Group(("optuna:gp", "skopt:gp", "optuna:gp:unaware", "skopt:gp:unaware"), 5, 40),
    Group(("botorch:qlognehvi:unaware",), 5, 40),
)


def run_problem(arguments: argparse.Namespace, name: str, console: Console) -> Comparison:
    """Run all groups on a problem, the fast ones first, and write its tables and figures."""
    label = Path(name).stem
    with ProgressDisplay(console) as progress:
        problem, _ = open_problem(name, arguments.runs / label, progress)
        for group in GROUPS:
            labels = [one for one in group.labels if one in (arguments.contender or group.labels)]
            if not labels:
                continue
            n_seeds = min(group.n_seeds, arguments.seeds or group.n_seeds)
            comparison = compare(
                problem,
                labels,
                range(arguments.first_seed, arguments.first_seed + n_seeds),
                min(group.n_trials, arguments.trials or group.n_trials),
                arguments.jobs,
                arguments.runs / label,
                progress=progress,
            )
            for note in comparison.notes:
                progress.note(note)
    for part in write_comparison(comparison, arguments.out / label):
        console.print(part, highlight=False)
    return comparison


def goal_rows(needs: Sequence[Row]) -> list[Row]:
    """Return hwopt's trainings relative to each peer's, by number of trainings and problem, and medians.

    A value is infinite if hwopt never reaches the peer's hypervolume.
    """
    rows = []
    for peer, goals in GOALS.items():
        for k, goal in goals.items():
            shares = {
                row["problem"]: row["trainings"] / k
                for row in needs
                if (row["strategy"], row["peer"], row["peer_trainings"]) == (OURS, peer, k)
            }
            if shares:
                median = float(np.median(list(shares.values())))
                met = {"goal": goal, "median_share": median, "is_met": median <= goal * (1 + 1e-9)}
                rows.append({"peer": peer, "peer_trainings": k, **met, **shares})
    return rows


def main() -> None:
    """Run everything that is not on disk yet and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--problem", action="append", help="a name, TOML file or file.py:function; all if absent"
    )
    parser.add_argument("--contender", action="append", help="a label such as ehvi; all if absent")
    parser.add_argument("--seeds", type=int, help="maximum number of seeds, for a quick run")
    parser.add_argument("--trials", type=int, help="maximum number of trainings, for a quick run")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    console = Console(soft_wrap=True, markup=False)
    tables: dict[str, list[Row]] = {"summary.csv": [], "needs.csv": []}
    found = ["nas_bench_201"] if "HWOPT_NAS_BENCH_201" in os.environ else []
    for name in arguments.problem or [*PROBLEMS, *found]:
        comparison = run_problem(arguments, name, console)
        curves, label = all_curves(comparison), {"problem": comparison.problem.name}
        tables["summary.csv"] += [label | row for row in summary_rows(comparison, curves)]
        tables["needs.csv"] += [label | row for row in target_rows(comparison, curves)]
    tables["goals.csv"] = goal_rows(tables["needs.csv"])
    for file, rows in tables.items():
        write_csv(arguments.out / file, rows)
    for row in tables["goals.csv"]:
        verdict = "met" if row["is_met"] else "not met"
        share = f"{row['median_share']:.2f} of its trainings, goal {row['goal']:.2f}: {verdict}"
        console.print(f"{OURS} against {row['peer']} after {row['peer_trainings']}: {share}", highlight=False)


if __name__ == "__main__":
    main()
