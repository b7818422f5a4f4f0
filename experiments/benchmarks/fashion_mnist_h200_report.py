"""The accuracy-energy front of Fashion-MNIST on an H200, compared with searches that do not know the budgets.

    hwopt search experiments/fashion_mnist_h200.toml
    hwopt search experiments/fashion_mnist_h200.toml --strategy random:unaware --out OUT/random
    hwopt search experiments/fashion_mnist_h200.toml --strategy optuna:tpe:unaware --out OUT/tpe
    python experiments/benchmarks/fashion_mnist_h200_report.py

OUT is results/fashion_mnist_h200. Trainings shared the machine with other work, so their wall times are not
comparable. The time of a training is therefore the CPU seconds of a step of its network, the minimum of three
blocks of eight on one thread, times the number of steps. The other searches count with the first trainings
that fit into a share of the seconds of the first search. All costs are predicted anew by the present cost
model; a training is over a budget if its predicted cost is.

Writes front.csv, trials.csv, summary.csv and front.png.
"""

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pandas as pd
import torch
from redraw import redraw_fashion_mnist_h200
from torch.nn.functional import cross_entropy

from hwopt.costs import Budget, price
from hwopt.predict.device import load_device
from hwopt.search.pareto import hypervolume, nondominated
from hwopt.space.search_space import Config, SearchSpace
from hwopt.study.experiment.experiment import Experiment, load_experiment
from hwopt.study.store.store import Store

EXPERIMENT = Path(__file__).parents[1] / "fashion_mnist_h200.toml"
OUT = Path("results/fashion_mnist_h200")
N_IMAGES = 50_000
_BLOCKS, _STEPS = 3, 8
_COSTS = ("energy_j", "power_w", "time_s", "memory_bytes")


@dataclass(frozen=True)
class Searched:
    """A search: its name, its trainings in order, and the retrained networks of its front."""

    name: str
    trials: pd.DataFrame
    retrained: dict[int, list[dict[str, Any]]]


def step_seconds(space: SearchSpace, config: Config, batch_size: int) -> float:
    """Return the CPU seconds of a training step of a network, on one thread."""
    assert space.build is not None and space.input_shape is not None
    network = space.build(config).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    images = torch.rand(batch_size, *space.input_shape)
    labels = torch.arange(batch_size) % 10

    def block(n: int) -> float:
        begin = time.process_time()
        for _ in range(n):
            optimizer.zero_grad()
            cross_entropy(network(images), labels).backward()
            optimizer.step()
        return (time.process_time() - begin) / n

    block(2)
    return min(block(_STEPS) for _ in range(_BLOCKS))


def read_search(name: str, path: Path) -> Searched:
    """Read the complete trainings of a study, in order."""
    with Store(path, read_only=True) as store:
        trials = [trial for trial in store.trials() if trial.status == "complete"]
        retrained = store.checks("retrained")
    rows = [{"search": name, "trial": t.number, "error": t.error, "config": t.config} for t in trials]
    return Searched(name, pd.DataFrame(rows), retrained)


def with_costs(trials: pd.DataFrame, experiment: Experiment, space: SearchSpace) -> pd.DataFrame:
    """Return trainings with predicted costs, seconds of training, and whether they are infeasible."""
    section, settings = experiment.device, experiment.settings()
    model = load_device(str(section.profile)).cost_model(
        space, section.batch_size, section.method, section.dtype, section.mode
    )
    costs = price(model, list(trials["config"]))
    found = trials.assign(**{metric: np.asarray(costs[metric]) for metric in _COSTS})
    budgets: list[Budget] = experiment.resolve_budgets(space, model)
    over = [np.asarray(costs[budget.metric]) > budget.limit for budget in budgets]
    steps = settings.epochs * -(-N_IMAGES // settings.batch_size)
    found["train_s"] = [steps * step_seconds(space, one, settings.batch_size) for one in trials["config"]]
    return found.assign(is_over_budget=np.any(over, axis=0))


def cut(trials: pd.DataFrame, seconds: float) -> pd.DataFrame:
    """Return the first trainings that fit into a number of seconds."""
    return trials[trials["train_s"].cumsum() <= seconds]


def on_front(trials: pd.DataFrame) -> pd.Series:
    """Return which trainings are feasible and nondominated in error and energy."""
    feasible = trials[~trials["is_over_budget"]]
    is_on = nondominated(feasible[["error", "energy_j"]].to_numpy())
    return trials.index.to_series().isin(feasible.index[is_on])


def summary_row(trials: pd.DataFrame, reference: tuple[float, float]) -> dict[str, Any]:
    """Return trainings, seconds, violations, front and hypervolume of a search."""
    front = trials[trials["is_on_front"]]
    outcomes = np.column_stack([front["error"], np.log(front["energy_j"])])
    corner = np.array([reference[0], np.log(reference[1])])
    return {
        "search": trials["search"].iloc[0],
        "trainings": len(trials),
        "train_s": trials["train_s"].sum(),
        "over_a_budget": int(trials["is_over_budget"].sum()),
        "on_front": len(front),
        "lowest_feasible_error": trials.loc[~trials["is_over_budget"], "error"].min(),
        "hypervolume": hypervolume(outcomes, corner),
    }


def front_rows(search: Searched, trials: pd.DataFrame) -> pd.DataFrame:
    """Return the front with the errors of trainings on fresh seeds: mean and half of their range."""
    rows = trials[trials["is_on_front"]].sort_values("energy_j")
    found = []
    for row in rows.to_dict("records"):
        tests = [one["test_error"] for one in search.retrained.get(row["trial"], []) if "test_error" in one]
        mean, half = (np.mean(tests), np.ptp(tests) / 2) if tests else (np.nan, np.nan)
        again = {"test_error": mean, "test_error_half_range": half, "n_retrained": len(tests)}
        kept = {name: row[name] for name in ("trial", "error", *_COSTS, "train_s")}
        found.append({**kept, **again, **row["config"]})
    return pd.DataFrame(found)


def main() -> None:
    """Read the searches, price and time their networks, write tables and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--experiment", type=Path, default=EXPERIMENT)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--search", type=Path, default=OUT / "study.db")
    parser.add_argument("--random", type=Path, default=OUT / "random" / "study.db")
    parser.add_argument("--tpe", type=Path, default=OUT / "tpe" / "study.db")
    parser.add_argument("--share", type=float, default=1.0, help="of the search's seconds, for the others")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    experiment = load_experiment(arguments.experiment)
    space = experiment.load_space()
    named = {
        "hwopt": arguments.search,
        "random, unaware of budgets": arguments.random,
        "TPE, unaware of budgets": arguments.tpe,
    }
    searches = [read_search(name, path) for name, path in named.items() if path.exists()]
    tables: dict[str, pd.DataFrame] = {}
    for search in searches:
        trials = with_costs(search.trials, experiment, space)
        if tables:
            trials = cut(trials, arguments.share * tables["hwopt"]["train_s"].sum())
        tables[search.name] = trials.assign(is_on_front=on_front(trials))
    everything = pd.concat(list(tables.values()))
    reference = (float(experiment.reference["error"]), float(everything["energy_j"].max()))
    if not tables["hwopt"]["is_on_front"].any():
        raise SystemExit(f"{arguments.search}: no training within the budgets yet; let the search go on")
    front = front_rows(searches[0], tables["hwopt"])
    arguments.out.mkdir(parents=True, exist_ok=True)
    configs = pd.DataFrame(list(everything["config"]), index=everything.index)
    rows = pd.concat([everything.drop(columns="config"), configs], axis=1)
    for name, table in (
        ("trials", rows),
        ("front", front),
        ("summary", pd.DataFrame([summary_row(table, reference) for table in tables.values()])),
    ):
        table.to_csv(arguments.out / f"{name}.csv", index=False, float_format="%.6g")
    redraw_fashion_mnist_h200(arguments.out)
    print(pd.read_csv(arguments.out / "summary.csv").to_string(index=False))


if __name__ == "__main__":
    main()
