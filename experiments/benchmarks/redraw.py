"""Redraw the committed figures of fronts from the tables in their folders.

    python experiments/benchmarks/redraw.py

trials.csv and front.csv are converted back to a study, as far as the tables allow, and drawn by `hwopt
report`: results/fashion_mnist_cpu/front.png and results/fashion_mnist_h200/front.png.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from hwopt import Budget, plot
from hwopt.report.draw.style import save
from hwopt.study.experiment.experiment import load_experiment
from hwopt.study.store.store import Store, Trial

RESULTS = Path(__file__).parents[2] / "results"
H200 = Path(__file__).parents[1] / "fashion_mnist_h200.toml"
_COSTS = ("energy_j", "power_w", "time_s", "memory_bytes")


def identity(objectives: list[str], limits: dict[str, float], device: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of a study's identity that its figure needs."""
    return {
        "space": {"dimensions": []},
        "objectives": objectives,
        "budgets": [{"metric": m, "limit": limit, "confidence": 0.9} for m, limit in limits.items()],
        "strategy": "ehvi",
        "aware": True,
        "seed": 0,
        "description": {"data": {"name": "Fashion-MNIST"}, "device": device},
    }


def trial_of(row: dict[str, Any]) -> Trial:
    """Return a row of trials.csv as a trial; its number serves as its config, since no two are the same."""
    costs = {metric: float(row[metric]) for metric in _COSTS if metric in row}
    curve = tuple(json.loads(row["curve"])) if isinstance(row.get("curve"), str) else ()
    is_over = bool(row.get("is_over_budget", False)) or not row.get("is_feasible", True)
    number = int(row["trial"])
    return Trial(
        number=number, config={"trial": number}, costs=costs, is_feasible=not is_over, seed=0, source="ehvi",
        n_priced=0, n_infeasible=0, broken={}, ask_s=0.0, status=row.get("status", "complete"),
        error=float(row["error"]), metrics={}, reason=None, started="", train_s=float(row["train_s"]),
        told=number + 1, curve=curve,
    )  # fmt: skip


def write_study(path: Path, trials: pd.DataFrame, front: pd.DataFrame, what: dict[str, Any]) -> None:
    """Write tables as a study, with the test errors and measured costs of its front."""
    with Store(path) as store:
        store.copy_trials([trial_of(row) for row in trials.to_dict("records")], {"identity": what})
        for row in front.to_dict("records"):
            half = row.get("test_error_half_range", 0.0)
            for seed, end in enumerate((-half, half) if half else (0.0,)):
                store.add_check(row["trial"], "retrained", seed, {"test_error": row["test_error"] + end})
            measured = {m: row[f"measured_{m}"] for m in _COSTS if f"measured_{m}" in row}
            if measured:
                store.add_check(row["trial"], "measured", 0, measured)


def redraw_fashion_mnist_cpu(folder: Path) -> None:
    """Draw error over time on the CPU."""
    trials, front = (pd.read_csv(folder / name) for name in ("trials.csv", "front.csv"))
    device = {"profile": "AMD EPYC, one thread", "batch_size": 32}
    what = identity(["error", "time_s"], {"time_s": 21.8e-3, "memory_bytes": 20.5e6}, device)
    with tempfile.TemporaryDirectory() as temporary:
        write_study(Path(temporary) / "study.db", trials, front, what)
        save(plot.front(Path(temporary) / "study.db", backend="matplotlib"), folder / "front.png")


def redraw_fashion_mnist_h200(folder: Path) -> None:
    """Draw error over energy on the H200, of the search and of those that do not know the budgets."""
    trials, front = (pd.read_csv(folder / name) for name in ("trials.csv", "front.csv"))
    device = {"profile": "NVIDIA H200", "mode": "graph", "batch_size": 256}
    sections = load_experiment(H200).budgets
    limits = {metric: Budget(metric, section.limit).limit for metric, section in sections.items()}
    what = identity(["error", "energy_j"], limits, device)
    with tempfile.TemporaryDirectory() as temporary:
        paths = []
        for name, own in trials.groupby("search", sort=False):
            paths.append(Path(temporary) / f"{name}.db")
            write_study(paths[-1], own, front if name == "hwopt" else front.iloc[:0], what)
        save(plot.front(paths, "energy_j", backend="matplotlib"), folder / "front.png")


if __name__ == "__main__":
    redraw_fashion_mnist_cpu(RESULTS / "fashion_mnist_cpu")
    redraw_fashion_mnist_h200(RESULTS / "fashion_mnist_h200")
