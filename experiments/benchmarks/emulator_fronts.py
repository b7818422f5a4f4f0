"""Errors of the tables' emulators on held-out trainings, and the emulators' fronts.

python experiments/benchmarks/emulator_fronts.py [--out results/emulators] [--samples 200000]

quality.csv               five folds over configs: errors of final errors, and of costs
NAME_emulator_front.csv   brute force: samples of the whole space, then smaller and smaller steps from the
front
"""

import argparse
import csv
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.stats import kendalltau, spearmanr
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold

from hwopt.arrays import Array
from hwopt.compare.problems.emulator import fit_costs, fit_emulator, logit
from hwopt.compare.problems.recorded import DIGITS, FASHION_MNIST, ROOT, TableSource, fit_once, load_table
from hwopt.compare.problems.training_table import TrainingTable
from hwopt.costs import Costs, feasible
from hwopt.search.pareto import nondominated_rows

SOURCES = {"digits": DIGITS, "fashion_mnist": FASHION_MNIST}
CHUNK = 20_000
STEPS = (0.2, 0.1, 0.1, 0.05, 0.05, 0.02, 0.02, 0.01, 0.005)  # of the unit cube, a round each
N_AROUND = 200  # neighbours of every point of the front, a round


def part(table: TrainingTable, rows: Array) -> TrainingTable:
    """Return some rows of a table."""
    return replace(
        table,
        configs=tuple(table.configs[i] for i in rows),
        costs={metric: values[rows] for metric, values in table.costs.items()},
        recorded=tuple(table.recorded[i] for i in rows),
    )


def quality(table: TrainingTable, side: int) -> dict[str, float]:
    """Return the errors of five emulators, each fitted to four fifths of the configs, on the last fifth."""
    predicted = np.full(len(table.configs), np.nan)
    costs = {metric: predicted.copy() for metric in table.costs}
    for known, new in KFold(5, shuffle=True, random_state=0).split(predicted):
        seen, unseen = part(table, known), [table.configs[i] for i in new]
        emulator = fit_emulator(seen, side)
        predicted[new] = emulator.predict(unseen)[:, emulator.n_epochs - 1]
        for metric, values in fit_costs(seen, side)(unseen).items():
            costs[metric][new] = values
    done = np.array([bool(one.complete) for one in table.recorded])
    finals = [[run.errors[-1] for run in one.complete] for one in table.recorded]
    true = np.array([logit(f, table.n_validation).mean() if f else np.nan for f in finals])
    true, predicted = true[done], predicted[done]
    best = true <= np.quantile(true, 0.3)
    found = {
        "n_configs": float(done.sum()),
        "r2_of_logit": r2_score(true, predicted),
        "spearman": spearmanr(true, predicted).statistic,
        "kendall": kendalltau(true, predicted).statistic,
        "spearman_of_best_30pct": spearmanr(true[best], predicted[best]).statistic,
        "rmse_of_logit": float(np.sqrt(np.mean((true - predicted) ** 2))),
    }
    for metric, values in costs.items():
        found[f"mape_of_{metric}"] = float(np.mean(np.abs(values / table.costs[metric] - 1)))
    return found


def evaluate(source: TableSource, table: TrainingTable, U: Array) -> tuple[Array, Array]:
    """Return the feasible ones of points [n, k] of the unit cube, and their errors and times [m, 2]."""
    emulator, cost_of = fit_once(table, source.side)
    configs = table.space.from_unit(U)
    costs = Costs(cost_of(configs))
    kept = np.flatnonzero(feasible(source.budgets, costs))
    errors = emulator.expected_errors([configs[i] for i in kept]) if len(kept) else np.zeros(0)
    return U[kept], np.column_stack([errors, costs["time_s"][kept]])


def best(U: Array, values: Array) -> tuple[Array, Array]:
    """Return the points on the front, by time."""
    front = nondominated_rows(values)
    rows = [int(np.flatnonzero((values == row).all(axis=1))[0]) for row in front]
    return U[rows], values[rows]


def brute_force(table: TrainingTable, source: TableSource, n_samples: int) -> tuple[Array, Array, float]:
    """Return the front's points of the unit cube [n, k], their values [n, 2], and the feasible share."""
    rng = np.random.default_rng(0)
    k, n_feasible = len(table.space), 0
    U, values = np.empty((0, k)), np.empty((0, 2))
    for _ in range(0, n_samples, CHUNK):
        new_U, new_values = evaluate(source, table, rng.random((CHUNK, k)))
        n_feasible += len(new_U)
        U, values = best(np.vstack([U, new_U]), np.vstack([values, new_values]))
    for scale in STEPS:
        around = np.repeat(U, N_AROUND, axis=0)
        moved = rng.random(around.shape) < 0.25
        steps = np.clip(around + moved * scale * rng.standard_normal(around.shape), 0, 1)
        jumps = moved & (rng.random(around.shape) < 0.2)  # choices and conditions are not near anything
        new_U, new_values = evaluate(source, table, np.where(jumps, rng.random(around.shape), steps))
        U, values = best(np.vstack([U, new_U]), np.vstack([values, new_values]))
        print(f"step {scale}: {len(U)} on the front, lowest error {values[:, 0].min():.4f}", flush=True)
    return U, values, n_feasible / n_samples


def write(path: Path, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([names, *rows])


def main() -> None:
    """Write quality.csv and the fronts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "emulators")
    parser.add_argument("--samples", type=int, default=200_000)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    found = []
    for name, source in SOURCES.items():
        table = load_table(source)
        U, values, share = brute_force(table, source, options.samples)
        rows = zip(values, table.space.from_unit(U), strict=True)
        write(
            options.out / f"{name}_emulator_front.csv",
            ("error", "time_s", *table.space.names),
            [[*row, *(config.get(name, "") for name in table.space.names)] for row, config in rows],
        )
        measures = {**quality(table, source.side), "feasible_share": share, "n_front": len(U)}
        found += [(name, what, f"{value:.4g}") for what, value in measures.items()]
        write(options.out / "quality.csv", ("table", "what", "value"), found)
        print(found, flush=True)


if __name__ == "__main__":
    main()
