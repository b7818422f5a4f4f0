"""Early stopping in Optuna studies of two objectives: FrontStopper against pruning by the Pareto rank.

    python experiments/benchmarks/optuna_stopping.py [--problems fashion_mnist digits mnist_like] [--seeds 5]

Each run is an Optuna study that trains the same 60 feasible configs in the same order, with another rule.
Trainings are replayed, so the final error of a stopped one is known.

    none             every training finishes
    front            FrontStopper, at its defaults: the error is reported, the predicted time is known
    rank median      error and time reported together; at each step trials are ranked by Pareto dominance, and
                     Optuna's MedianPruner judges the ranks: the rule of OptunaHub's multi_metric_pruner
    rank quartile    the same with PercentilePruner(75), which stops the worst quarter

Rows are appended to stopping.csv as they are finished, so the same command resumes a killed run; the summary
is stopping_summary.csv.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "experiments" / "benchmarks"))
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
import optuna
import pandas as pd
from early_termination import layers
from early_termination_problems import PROBLEMS
from optuna.pruners import BasePruner, MedianPruner, PercentilePruner
from optuna.trial import Trial, TrialState, create_trial

from hwopt.compare.problem import Problem
from hwopt.costs import feasible, price
from hwopt.integrations.optuna import FrontStopper
from hwopt.search.pareto import hypervolume, nondominated
from hwopt.space.search_space import Config

N_TRAININGS = 60
DEFAULT = ["fashion_mnist", "digits", "mnist_like"]
RULES = ("none", "front", "rank median", "rank quartile")
COLUMNS = ("problem", "seed", "rule", "stopped", "wrong", "epochs", "epochs_full", "hypervolume",
           "hypervolume_full")  # fmt: skip


@dataclass
class RankStopper:
    """Judge trials by a single-objective pruner on their Pareto ranks among all trials that reached a step.

    The rule of multi_metric_pruner (Watanabe, OptunaHub) in its joint mode, implemented from its description.
    """

    pruner: BasePruner
    reports: dict[int, list[tuple[float, float]]] = field(
        default_factory=dict
    )  # trial -> (error, cost) by step

    def report(self, trial: Trial, error: float, cost: float) -> None:
        """Record both objectives after an epoch."""
        self.reports.setdefault(trial.number, []).append((error, cost))

    def should_stop(self, trial: Trial) -> bool:
        """Rank all trials at each step, and let the pruner judge the ranks."""
        own = self.reports[trial.number]
        ranks: dict[int, dict[int, float]] = {number: {} for number in self.reports}
        for step in range(len(own)):
            there = [number for number, values in self.reports.items() if len(values) > step]
            ranked = layers(np.array([self.reports[number][step] for number in there]))
            for number, rank in zip(there, ranked, strict=True):
                ranks[number][step] = float(rank)
        study = optuna.create_study()
        for number, values in ranks.items():
            if number != trial.number:
                study.add_trial(
                    create_trial(
                        state=TrialState.COMPLETE, value=values[max(values)], intermediate_values=values
                    )
                )
        judged = create_trial(state=TrialState.RUNNING, intermediate_values=ranks[trial.number])
        return bool(self.pruner.prune(study, judged))


def drawn(problem: Problem, seed: int) -> list[Config]:
    """Return the configs of a run: feasible rows of a table, or feasible draws of the space."""
    rng = np.random.default_rng([seed, 17])
    if problem.candidates is not None:
        order = rng.permutation(len(problem.candidates))[:N_TRAININGS]
        return [problem.candidates[i] for i in order]
    configs = problem.space.sample(20 * N_TRAININGS, rng)
    keep = feasible(problem.budgets, price(problem.costs, configs))
    return [config for config, is_kept in zip(configs, keep, strict=True) if is_kept][:N_TRAININGS]


def run(problem: Problem, seed: int, rule: str) -> dict[str, Any]:
    """Train all configs of a run in one study with a rule, and return its row."""
    configs = drawn(problem, seed)
    metric = problem.objectives[1]
    costs = price(problem.costs, configs)[metric]  # [n]
    trainings = [problem.train(config, seed) for config in configs]

    def cost_of(many: Sequence[Any]) -> dict[str, Any]:
        return {metric: [costs[one["config"]] for one in many]}

    front = FrontStopper(cost_of, problem.n_epochs)
    ranks = RankStopper(MedianPruner() if rule == "rank median" else PercentilePruner(75.0))

    def objective(trial: Trial) -> tuple[float, float]:
        i = trial.suggest_int("config", 0, len(configs) - 1)
        for epoch, error in enumerate(trainings[i].errors, start=1):
            is_stopped = False
            if rule == "front":
                front.report(trial, epoch, error)
                is_stopped = front.should_stop(trial)
            elif rule != "none":
                ranks.report(trial, error, costs[i])
                is_stopped = ranks.should_stop(trial)
            if is_stopped and epoch < problem.n_epochs:
                trial.set_user_attr("epochs", epoch)
                raise optuna.TrialPruned
        trial.set_user_attr("epochs", len(trainings[i].errors))
        if trainings[i].failure is not None:
            raise FloatingPointError(trainings[i].reason)
        return trainings[i].errors[-1], float(costs[i])

    study = optuna.create_study(directions=["minimize", "minimize"])
    for i in range(len(configs)):
        study.enqueue_trial({"config": i})
    study.optimize(objective, n_trials=len(configs), catch=(FloatingPointError,))
    return {"problem": problem.name, "seed": seed, "rule": rule, **measured(study, problem, trainings, costs)}


def measured(study: optuna.Study, problem: Problem, trainings: Any, costs: np.ndarray) -> dict[str, Any]:
    """Return the stops of a study, the wrong ones, and its hypervolume relative to full training's."""
    reference = np.array([problem.reference["error"], np.log(problem.reference[problem.objectives[1]])])
    by_state = {state: [t.params["config"] for t in study.trials if t.state == state] for state in TrialState}
    complete, pruned = by_state[TrialState.COMPLETE], by_state[TrialState.PRUNED]

    def points(rows: Sequence[int]) -> np.ndarray:
        own = [(trainings[i].errors[-1], np.log(costs[i])) for i in rows if trainings[i].failure is None]
        return np.array(own, dtype=float).reshape(-1, 2)

    def is_wrong(i: int) -> bool:
        """Return whether a stopped training would be on the front of the complete ones."""
        own = points([i])
        return bool(np.all(own < reference) and nondominated(np.vstack([points(complete), own]))[-1])

    wrong = sum(is_wrong(i) for i in pruned if trainings[i].failure is None)
    return {
        "stopped": len(pruned), "wrong": wrong,
        "epochs": sum(trial.user_attrs["epochs"] for trial in study.trials),
        "epochs_full": sum(len(training.errors) for training in trainings),
        "hypervolume": hypervolume(points(complete), reference),
        "hypervolume_full": hypervolume(points(range(len(trainings))), reference),
    }  # fmt: skip


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each problem and rule: medians over the seeds, and the sum of wrong stops."""
    rows = rows.assign(
        epochs_share=rows.epochs / rows.epochs_full,
        hypervolume_share=rows.hypervolume / rows.hypervolume_full,
    )
    groups = rows.groupby(["problem", "rule"], sort=False)
    return groups.agg(
        seeds=("seed", "count"),
        epochs_share=("epochs_share", "median"),
        epochs_low=("epochs_share", "min"),
        epochs_high=("epochs_share", "max"),
        hypervolume_share=("hypervolume_share", "median"),
        hypervolume_low=("hypervolume_share", "min"),
        wrong=("wrong", "sum"),
        stopped=("stopped", "sum"),
    ).reset_index()


def main() -> None:
    """Run everything that is not on disk yet and write the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=DEFAULT)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "optuna")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    file = arguments.out / "stopping.csv"
    rows = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=list(COLUMNS))
    done = set(rows[["problem", "seed", "rule"]].itertuples(index=False, name=None))
    for name in arguments.problems:
        problem = PROBLEMS[name]()
        for seed in range(arguments.seeds):
            for rule in RULES:
                if (name, seed, rule) not in done:
                    row = pd.DataFrame([run(problem, seed, rule)], columns=list(COLUMNS))
                    row.to_csv(file, mode="a", header=not file.exists(), index=False, float_format="%.6g")
    summary = summarise(pd.read_csv(file))
    summary.to_csv(arguments.out / "stopping_summary.csv", index=False, float_format="%.3g")
    print(summary.to_string(float_format="%.3f"))


if __name__ == "__main__":
    main()
