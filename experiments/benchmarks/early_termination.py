"""Epochs and seconds to the hypervolume of full training, with early termination.

    python experiments/benchmarks/early_termination.py [--problems fashion_mnist ...] [--seeds 200 201 ...]

For each problem and seed: 60 full trainings chosen by known-cost EHVI give a hypervolume and its price, and
so do 60 full trainings chosen by TPE that prunes infeasible configs. Then the same search, from the same
seed, with each rule, until it reaches the larger of the two hypervolumes, at most as many epochs as full
training took, or 200 trainings. A stopped training counts with the error that its rule extrapolates; a paused
one is resumed when its acquisition value is highest. Trainings are replayed, so the final error of a stopped
one is known: those that would have been on the run's final front are counted. `oracle` is a lower bound: it
knows every final error in advance.

Rows are appended as they are finished, so the same command resumes a killed run. Writes runs.csv (a row per
run), trajectories.csv (rises of the hypervolume), stopped.csv (a row per training that was stopped, or paused
at the end) and speed.csv; then the tables of `early_termination_summary`.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
import pandas as pd
from early_termination_problems import PROBLEMS, STRICT, lcpfn_curve
from early_termination_summary import calibrate, summarise, write_tables

from hwopt import Optimizer
from hwopt.compare.problem import Problem
from hwopt.errors import Infeasible
from hwopt.profile.row_file import RowFile
from hwopt.search.freeze_thaw import PartialTraining, decision_epochs
from hwopt.search.pareto import nondominated
from hwopt.search.slices import Slice
from hwopt.train.result import TrainingResult
from hwopt.train.stopping import Curve, StoppingRule, Verdict, make_stopping_rule
from hwopt.train.stopping.base import Setting, stop
from hwopt.train.stopping.front import error_to_beat

N_FULL, N_MOST = 60, 200  # trainings
FINISH_SHARE, LEAST_CHANCE = 0.1, 0.05  # of full training's epochs, to finish promising trainings
SEEDS = range(200, 210)
CONTENDERS: dict[str, tuple[str, str, dict[str, Any]]] = {  # strategy, rule, its options
    "full": ("ehvi", "none", {}),
    "tpe": ("optuna:tpe", "none", {}),
    "freeze_thaw": ("ehvi", "freeze_thaw", {}),
    "front": ("ehvi", "front", {}),
    "front from 4": ("ehvi", "front", {"min_complete": 4}),
    "oracle": ("ehvi", "oracle", {}),
    "pareto_rank": ("ehvi", "pareto_rank", {}),
    "tpe, pareto_rank": ("optuna:tpe", "pareto_rank", {}),
    "asha": ("ehvi", "asha", {}),
}
ON_STRICT = ("full", "tpe", "freeze_thaw", "front")  # with a stricter reference
KEY = ("problem", "rule", "seed")
RUN_COLUMNS = (*KEY, "trainings", "complete", "failed", "stopped", "on_front", "finished", "on_front_after",
               "stints", "epochs", "seconds", "hypervolume", "reached")  # fmt: skip
STEP_COLUMNS = (*KEY, "training", "epochs", "seconds", "hypervolume")
STOPPED_COLUMNS = (*KEY, "training", "epoch", "expected", "std", "chance", "error", "on_front", "finished",
                   "on_front_after")  # fmt: skip
Row = dict[str, Any]


@dataclass(frozen=True)
class Oracle:
    """Stop a training after its first epoch if its known final error does not enter the current front.

    The optimizer gets the known final error, so the proposals are those of full training and only the price
    differs: no rule that keeps all trainings that enter the front saves more with the same proposals.
    """

    setting: Setting
    training: TrainingResult = TrainingResult((), ())

    def judge(self, trial: Curve, others: Sequence[Curve]) -> Verdict:
        """Stop a training whose final error is not below the front's at its costs; failures stay failures."""
        if self.training.failure or self.training.errors[-1] < error_to_beat(trial, others, self.setting):
            return Verdict()
        return Verdict("its end is known", self.training.errors[-1], 0.0)


@dataclass(frozen=True)
class ParetoRank:
    """OptunaHub's multi_metric_pruner around Optuna's median pruner, both with their defaults.

    At each epoch trainings are ranked by nondominated sorting of error and known costs; a training stops if
    its best rank so far is above the median rank of the others at this epoch.
    """

    setting: Setting
    n_startup: int = 5  # trainings before the first is stopped

    def judge(self, trial: Curve, others: Sequence[Curve]) -> Verdict:
        """Stop a training whose best rank so far is above the median of the others at its epoch."""
        k = len(trial.errors)
        own = []
        for epoch in range(1, k + 1):
            there = [c for c in others if len(c.errors) >= epoch]
            ranks = layers(np.array([self.point(c, epoch) for c in (trial, *there)]))
            own.append(ranks[0])
        if len(others) < self.n_startup or len(ranks) < 2 or min(own) <= np.median(ranks[1:]):
            return Verdict()
        return stop(f"rank {min(own)} after epoch {k}", trial, others, self.setting)

    def point(self, curve: Curve, epoch: int) -> list[float]:
        """Return the objectives of a curve after an epoch."""
        return [curve.errors[epoch - 1], *[curve.cost(name) for name in self.setting.known_costs]]


def layers(Y: Any) -> Any:
    """Return the layer of each row of Y [n, m] in nondominated sorting, from 0."""
    ranks, left, layer = np.zeros(len(Y), dtype=int), np.arange(len(Y)), 0
    while len(left):
        first = nondominated(Y[left])
        ranks[left[first]] = layer
        left, layer = left[~first], layer + 1
    return ranks


@dataclass
class Run:
    """One search: its curves as the rule sees them, the rises of the hypervolume, the stopped trainings."""

    curves: list[Curve] = field(default_factory=list)
    steps: list[Row] = field(default_factory=list)
    stopped: list[tuple[int, Curve, TrainingResult, Verdict]] = field(default_factory=list)
    chances: dict[int, float] = field(default_factory=dict)  # of paused trainings, to be on the front
    finished: list[int] = field(default_factory=list)  # promising trainings, after the search
    stints: int = 0
    epochs: int = 0
    seconds: float = 0.0
    hypervolume: float = 0.0

    def take(self, training: TrainingResult, first: int, last: int) -> None:
        """Add the epochs of a training, at least one."""
        self.epochs += max(len(training.errors[first:last]), 1)
        self.seconds += sum(training.seconds[first:last])


@dataclass(frozen=True)
class Limits:
    """Limits of a search: number of trainings, number of epochs, or a hypervolume."""

    trainings: int
    epochs: float = np.inf
    hypervolume: float = np.inf

    def reached(self, run: Run, n_begun: int) -> bool:
        """Return whether a limit of the search is reached."""
        return (
            n_begun >= self.trainings
            or run.epochs >= self.epochs
            or run.hypervolume >= self.hypervolume - 1e-9
        )


def make_optimizer(problem: Problem, strategy: str, seed: int) -> Optimizer:
    """Return the optimizer of a search."""
    return Optimizer(
        problem.space, problem.costs, problem.budgets, problem.objectives, strategy,
        reference=problem.reference, seed=seed,
    )  # fmt: skip


def search(
    problem: Problem, rule: StoppingRule, seed: int, limits: Limits, strategy: str = "ehvi"
) -> tuple[Run, Optimizer]:
    """Train configs one after another until a limit is reached."""
    optimizer, run = make_optimizer(problem, strategy, seed), Run()
    while not limits.reached(run, len(run.curves)):
        try:
            proposal = optimizer.ask(candidates=problem.candidates)
        except Infeasible:
            break  # every candidate has been evaluated
        training = problem.train(proposal.config, seed)
        curve, verdict = trained(training, proposal.costs, rule, run.curves)
        run.take(training, 0, len(curve.errors))
        run.stints += 1
        told(optimizer, proposal.config, curve, verdict)
        run.curves.append(curve)
        if curve.status == "stopped":
            run.stopped.append((len(run.curves), curve, training, verdict))
        note(run, optimizer.hypervolume())
    return run, optimizer


def search_by_slices(problem: Problem, seed: int, limits: Limits, finish: float) -> tuple[Run, Optimizer]:
    """Train slice by slice until a limit is reached, then finish promising trainings within their epochs."""
    optimizer, run = make_optimizer(problem, "ehvi", seed), Run()
    slices = optimizer.use_slices(problem.n_epochs)
    trainings: dict[int, TrainingResult] = {}
    curves: dict[int, Curve] = {}

    def train(part: Slice) -> None:
        if part.number not in trainings:
            trainings[part.number] = problem.train(part.config, seed)
        training = trainings[part.number]
        errors = training.errors[part.first_epoch - 1 : part.last_epoch]
        run.take(training, part.first_epoch - 1, part.last_epoch)
        has_failed = training.failure is not None and len(training.errors) <= part.last_epoch
        optimizer.tell_slice(part, None if has_failed else errors)
        status = "failed" if has_failed else "complete" if part.is_last else "stopped"
        curves[part.number] = Curve(training.errors[: part.last_epoch], status, part.costs)

    while not limits.reached(run, slices.n_begun):
        try:
            train(optimizer.ask_slice(problem.n_epochs, problem.candidates))
        except Infeasible:
            break
        run.curves = [curves[number] for number in sorted(curves)]
        note(run, optimizer.hypervolume())
    run.stints = slices.n_stints
    optimizer.pause_all()
    run.chances = {number + 1: chance for number, chance in optimizer.paused_chances().items()}
    ends = optimizer.expected_ends([one.number for one in slices.partial])
    for one, median, std in zip(slices.partial, ends.median, (ends.high - ends.low) / 2, strict=True):
        verdict = Verdict("paused", float(median), float(std))
        run.stopped.append((one.number + 1, curves[one.number], trainings[one.number], verdict))
    before = (run.epochs, run.seconds)
    while (part := optimizer.finish_slice(LEAST_CHANCE, before[0] + finish - run.epochs)) is not None:
        train(part)
        if part.is_last:
            run.finished.append(part.number + 1)
    run.epochs, run.seconds = before  # those of the search
    return run, optimizer


def trained(
    training: TrainingResult, costs: dict[str, float], rule: StoppingRule, others: Sequence[Curve]
) -> tuple[Curve, Verdict]:
    """Replay a training epoch by epoch until the rule stops it."""
    if isinstance(rule, Oracle):
        rule = replace(rule, training=training)
    for k in range(1, len(training.errors)):
        verdict = rule.judge(Curve(training.errors[:k], "running", costs), others)
        if verdict.reason:
            return Curve(training.errors[:k], "stopped", costs), verdict
    status = "failed" if training.failure else "complete"
    return Curve(training.errors, status, costs), Verdict()


def told(optimizer: Optimizer, config: Any, curve: Curve, verdict: Verdict) -> None:
    """Tell the optimizer the result of a training with its status."""
    if curve.status == "failed":
        optimizer.tell(config, None, status="failed")
    elif curve.status == "complete":
        optimizer.tell(config, error=curve.errors[-1], curve=curve.errors)
    elif verdict.final_error_std == 0:  # of the oracle: equivalent to a full training
        optimizer.tell(config, error=verdict.final_error)
    else:
        expected, std = verdict.final_error, verdict.final_error_std
        optimizer.tell(config, error=expected, status="stopped", curve=curve.errors, error_std=std)


def note(run: Run, hypervolume: float) -> None:
    """Record a rise of the hypervolume."""
    if hypervolume > run.hypervolume:
        run.hypervolume = hypervolume
        run.steps.append({"training": len(run.curves), "epochs": run.epochs, "seconds": run.seconds,
                          "hypervolume": hypervolume})  # fmt: skip


def stopped_rows(run: Run, problem: Problem) -> Iterator[Row]:
    """Return for each stopped training whether, if finished, it would be on the final front.

    Once for the front at the end of the search, and once after promising trainings were finished.
    """
    final = [point(c.costs, c.errors[-1], problem) for c in run.curves if c.status == "complete"]
    more = [point(curve.costs, training.errors[-1], problem) for number, curve, training, _ in run.stopped
            if number in run.finished and training.failure is None]  # fmt: skip
    for number, curve, training, verdict in run.stopped:
        row = {"training": number, "epoch": len(curve.errors), "expected": verdict.final_error,
               "std": verdict.final_error_std, "chance": run.chances.get(number, np.nan), "on_front": 0,
               "finished": int(number in run.finished), "on_front_after": 0}  # fmt: skip
        if training.failure is None:
            end = row["error"] = training.errors[-1]
            own = point(curve.costs, end, problem)
            is_inside = end < problem.reference["error"]
            row["on_front"] = int(is_inside and nondominated(np.array([*final, own]))[-1])
            after = nondominated(np.array([*final, *more, own]))[-1]
            row["on_front_after"] = int(is_inside and after and number not in run.finished)
        yield row


def point(costs: Any, error: float, problem: Problem) -> list[float]:
    """Return a training's objectives."""
    return [error, *[costs[name] for name in problem.objectives[1:]]]


def measure(problem: Problem, labels: Sequence[str], seeds: Sequence[int], out: Path) -> None:
    """Run every seed with every contender, except those already in runs.csv."""
    runs = kept(out)
    done = {key: row for key, row in zip(runs[list(KEY)].itertuples(index=False, name=None),
                                         runs.to_dict("records"), strict=True)}  # fmt: skip
    for seed in seeds:
        for label in labels:
            key = (problem.name, label, seed)
            if key not in done:
                known = [done.get((problem.name, name, seed)) for name in ("full", "tpe")]
                done[key] = one_run(problem, label, seed, [row for row in known if row], out)
                print(*key, *(done[key][c] for c in RUN_COLUMNS[3:]), flush=True)


def kept(out: Path) -> pd.DataFrame:
    """Return runs.csv; remove rows of a run that was killed while writing from the other files."""
    if not (out / "runs.csv").exists():
        return pd.DataFrame(columns=list(RUN_COLUMNS))
    runs = pd.read_csv(out / "runs.csv")
    for name in ("trajectories.csv", "stopped.csv"):
        rows = pd.read_csv(out / name)
        is_done = pd.MultiIndex.from_frame(rows[list(KEY)]).isin(pd.MultiIndex.from_frame(runs[list(KEY)]))
        rows[is_done].to_csv(out / name, index=False)
    return runs


def make(name: str, problem: Problem, options: Row) -> StoppingRule:
    """Return a stopping rule for a problem; all have ten classes."""
    own = {"oracle": Oracle, "pareto_rank": ParetoRank}
    if name in own:
        reference = tuple(problem.reference.items())
        return own[name](Setting(problem.n_epochs, 0.9, problem.objectives, reference))
    return make_stopping_rule(
        name, n_epochs=problem.n_epochs, chance_error=0.9, objectives=problem.objectives,
        reference=problem.reference, **options,
    )  # fmt: skip


def one_run(problem: Problem, label: str, seed: int, known: Sequence[Row], out: Path) -> Row:
    """Search once, append the results to the files, and return its row of runs.csv.

    `known` has the rows of full training and of TPE that exist.
    """
    strategy, name, options = CONTENDERS[label]
    target = max((row["hypervolume"] for row in known), default=np.inf)
    limits = Limits(N_FULL)
    if label not in ("full", "tpe"):
        limits = Limits(N_MOST, known[0]["epochs"], target)
    if name == "freeze_thaw":
        run, _ = search_by_slices(problem, seed, limits, FINISH_SHARE * limits.epochs)
    else:
        run, _ = search(problem, make(name, problem, options), seed, limits, strategy)
    key = dict(zip(KEY, (problem.name, label, seed), strict=True))
    stopped = [{**key, **row} for row in stopped_rows(run, problem)]
    count = [c.status for c in run.curves].count
    row = {**key, "trainings": len(run.curves), "complete": count("complete"), "failed": count("failed"),
           "stopped": len(stopped), "on_front": sum(row["on_front"] for row in stopped),
           "finished": len(run.finished), "on_front_after": sum(row["on_front_after"] for row in stopped),
           "stints": run.stints, "epochs": run.epochs, "seconds": run.seconds, "hypervolume": run.hypervolume,
           "reached": int(run.hypervolume >= known[0]["hypervolume"] - 1e-9 if known else 1)}  # fmt: skip
    for name, columns, rows in (
        ("trajectories.csv", STEP_COLUMNS, [exact({**key, **step}) for step in run.steps]),
        ("stopped.csv", STOPPED_COLUMNS, stopped),
        ("runs.csv", RUN_COLUMNS, [exact(row)]),  # last: marks the run as finished
    ):
        with RowFile(out / name, columns) as file:
            file.append_all(rows)
    return row


def exact(row: Row) -> Row:
    """Return a row with all digits of its hypervolume: rounded up, it could not be reached."""
    return {**row, "hypervolume": f"{row['hypervolume']:.12g}"}


def measure_speed(out: Path) -> None:
    """Write speed.csv: CPU milliseconds of judging an epoch, and of choosing the next slice.

    The rules judge one epoch against 200 curves, median of 100. Freeze-thaw has 100 paused trainings of 50
    epochs and 15 complete ones: `judge` after an epoch, `choose` between all of them and new configs.
    """
    problem = PROBLEMS["mnist_like"]()
    configs = problem.space.sample(201, np.random.default_rng(0))
    costs = problem.costs(configs)["time_s"]
    errors = [problem.train(config, 0).errors for config in configs]
    others = [Curve(e[: 1 + i % 20], "stopped" if i % 20 < 19 else "complete", {"time_s": costs[i]})
              for i, e in enumerate(errors[1:])]  # fmt: skip
    rows = []
    for label, (strategy, name, options) in CONTENDERS.items():
        if name in ("oracle", "freeze_thaw", "none") or strategy != "ehvi":
            continue
        rule, times = make(name, problem, options), []
        for k in np.arange(100) % 5 + 1:
            begin = time.process_time()
            rule.judge(Curve(errors[0][:k], "running", {"time_s": costs[0]}), others)
            times.append(time.process_time() - begin)
        rows.append({"rule": label, "n_curves": len(others), "ms": 1e3 * float(np.median(times))})
    for what, times in slice_times().items():
        rows.append({"rule": f"freeze_thaw: {what}", "n_curves": 115, "ms": 1e3 * float(np.median(times))})
    pd.DataFrame(rows).to_csv(out / "speed.csv", index=False, float_format="%.3g")
    print(pd.DataFrame(rows).to_string())


def slice_times(n: int = 40, n_epochs: int = 50) -> dict[str, list[float]]:
    """Return CPU seconds of decisions of freeze-thaw beside 100 paused trainings and 15 complete ones."""
    problem = PROBLEMS["mnist_like"]()
    optimizer, rng = make_optimizer(problem, "ehvi", 0), np.random.default_rng(0)
    slices = optimizer.use_slices(n_epochs)
    for number, config in enumerate(problem.space.sample(115, rng)):
        errors = lcpfn_curve(config, 0, n_epochs).errors
        if number < 15:
            optimizer.tell(config, error=errors[-1], curve=errors)
            continue
        k = int(rng.choice(decision_epochs(n_epochs)))
        costs = optimizer.price(config)
        slices.restore(PartialTraining(number, config, costs, errors[:k], "paused"))
    slices.n_begun, times = 115, {"choose": [], "judge": []}
    while min(len(found) for found in times.values()) < n:
        begin = time.process_time()
        part = optimizer.ask_slice(n_epochs)
        chosen = time.process_time()
        errors = lcpfn_curve(part.config, 0, n_epochs).errors[part.first_epoch - 1 : part.last_epoch]
        given = time.process_time()
        optimizer.tell_slice(part, errors)
        times["judge"].append(time.process_time() - given)
        if part.begins_stint:
            times["choose"].append(chosen - begin)
    return times


def main() -> None:
    """Run everything that is not on disk yet and write the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--rules", nargs="+", choices=CONTENDERS)
    parser.add_argument("--no-summary", action="store_true", help="append runs only")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "early_termination")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.problems:
        labels = arguments.rules or (ON_STRICT if name in STRICT else list(CONTENDERS))
        measure(PROBLEMS[name](), labels, arguments.seeds, arguments.out)
    if arguments.no_summary:
        return
    summarise(arguments.out)
    calibrate(arguments.out)
    write_tables(arguments.out)
    measure_speed(arguments.out)


if __name__ == "__main__":
    main()
