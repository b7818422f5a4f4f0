"""How much of the training early termination saves: epochs and seconds to the hypervolume of full training.

    python experiments/benchmarks/early_termination.py [--problems NAME ...] [--seeds 10]

For each problem and seed: 60 full trainings chosen by known-cost EHVI give a hypervolume and its price. Then
the same search, from the same seed, with each rule, until it has that hypervolume; it may take as many epochs
as full training did, and 120 trainings. A stopped training is told as its rule extrapolates it. Trainings are
replayed, so what a stopped one would have ended at is known: those that would have been on the run's final
front are counted. `oracle` is no rule but the floor of them: it knows every end before it comes.

Rows are appended when they are there, so the same command goes on where it was killed. It writes runs.csv (a
row a run), trajectories.csv (where the hypervolume rose), stopped.csv (a row a stopped training) and
speed.csv; then what `early_termination_summary` makes of them.
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
from early_termination_problems import PROBLEMS
from early_termination_summary import calibrate, summarise

from hwopt import Optimizer
from hwopt.compare.problem import Problem, Training
from hwopt.errors import Infeasible
from hwopt.profile.row_file import RowFile
from hwopt.search.pareto import nondominated
from hwopt.train.stopping import Curve, StoppingRule, Verdict, make_stopping_rule
from hwopt.train.stopping.base import Setting
from hwopt.train.stopping.front import error_to_beat

N_FULL, N_MOST = 60, 120  # trainings
RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "full": ("none", {}),
    "oracle": ("oracle", {}),
    "asha": ("asha", {}),
    "median": ("median", {}),
    "front 0.02": ("front", {"risk": 0.02}),
    "front 0.05": ("front", {"risk": 0.05}),
    "front 0.1": ("front", {"risk": 0.1}),
    "front 0.2": ("front", {"risk": 0.2}),
}
KEY = ("problem", "rule", "seed")
RUN_COLUMNS = (*KEY, "trainings", "complete", "failed", "stopped", "on_front", "epochs", "seconds",
               "hypervolume", "reached")  # fmt: skip
STEP_COLUMNS = (*KEY, "training", "epochs", "seconds", "hypervolume")
STOPPED_COLUMNS = (*KEY, "training", "epoch", "expected", "std", "error", "on_front")
Row = dict[str, Any]


@dataclass(frozen=True)
class Oracle:
    """Stops after the first epoch what will not enter the front as it is then, for it knows the end.

    It tells the end that it knows, so the search goes as if all had been trained, and only the price differs:
    a rule that never stops what would enter the front can save no more with the same proposals.
    """

    setting: Setting
    training: Training = Training((), ())

    def judge(self, trial: Curve, others: Sequence[Curve]) -> Verdict:
        """Stop at once what ends no lower than the front asks of its costs; what fails, fails."""
        if self.training.failure or self.training.errors[-1] < error_to_beat(trial, others, self.setting):
            return Verdict()
        return Verdict("its end is known", self.training.errors[-1], 0.0)


@dataclass
class Run:
    """One search: its curves as the rule sees them, where the hypervolume rose, what was stopped."""

    curves: list[Curve] = field(default_factory=list)
    steps: list[Row] = field(default_factory=list)
    stopped: list[tuple[int, Curve, Training, Verdict]] = field(default_factory=list)
    epochs: int = 0
    seconds: float = 0.0
    hypervolume: float = 0.0


def search(
    problem: Problem, rule: StoppingRule, seed: int, n_most: int, epochs: float, target: float
) -> tuple[Run, Optimizer]:
    """Train one config after the other until there are so many, or so many epochs, or the hypervolume."""
    optimizer = Optimizer(
        problem.space,
        problem.costs,
        problem.budgets,
        problem.objectives,
        reference=problem.reference,
        seed=seed,
    )
    run = Run()
    while len(run.curves) < n_most and run.epochs < epochs and run.hypervolume < target - 1e-9:
        try:
            proposal = optimizer.ask(candidates=problem.candidates)
        except Infeasible:
            break  # every candidate has been tried
        training = problem.train(proposal.config, seed)
        curve, verdict = trained(training, proposal.costs, rule, run.curves)
        n = len(curve.errors)
        run.epochs += max(n, 1)
        run.seconds += sum(training.seconds[:n])
        told(optimizer, proposal.config, curve, verdict)
        run.curves.append(curve)
        if curve.status == "stopped":
            run.stopped.append((len(run.curves), curve, training, verdict))
        note(run, optimizer.hypervolume())
    return run, optimizer


def trained(
    training: Training, costs: dict[str, float], rule: StoppingRule, others: Sequence[Curve]
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
    """Tell the optimizer a training as what it is."""
    if curve.status == "failed":
        optimizer.tell(config, None, status="failed")
    elif curve.status == "complete":
        optimizer.tell(config, error=curve.errors[-1], curve=curve.errors)
    elif verdict.final_error_std == 0:  # the oracle's: as good as trained
        optimizer.tell(config, error=verdict.final_error)
    else:
        expected, std = verdict.final_error, verdict.final_error_std
        optimizer.tell(config, error=expected, status="stopped", curve=curve.errors, error_std=std)


def note(run: Run, hypervolume: float) -> None:
    """Write down where the hypervolume rose."""
    if hypervolume > run.hypervolume:
        run.hypervolume = hypervolume
        run.steps.append({"training": len(run.curves), "epochs": run.epochs, "seconds": run.seconds,
                          "hypervolume": hypervolume})  # fmt: skip


def stopped_rows(run: Run, problem: Problem) -> Iterator[Row]:
    """Let each stopped training finish: would it be on the final front, beside the complete trainings?"""
    final = [point(c.costs, c.errors[-1], problem) for c in run.curves if c.status == "complete"]
    for number, curve, training, verdict in run.stopped:
        row = {"training": number, "epoch": len(curve.errors), "expected": verdict.final_error,
               "std": verdict.final_error_std, "on_front": 0}  # fmt: skip
        if training.failure is None:
            row["error"] = training.errors[-1]
            points = np.array([*final, point(curve.costs, training.errors[-1], problem)])
            is_inside = training.errors[-1] < problem.reference["error"]
            row["on_front"] = int(is_inside and nondominated(points)[-1])
        yield row


def point(costs: Any, error: float, problem: Problem) -> list[float]:
    """Return a training's objectives."""
    return [error, *[costs[name] for name in problem.objectives[1:]]]


def measure(problem: Problem, seeds: int, out: Path) -> None:
    """Run every seed with full training and then with each rule, less what is in runs.csv already."""
    runs = kept(out)
    done = {key: row for key, row in zip(runs[list(KEY)].itertuples(index=False, name=None),
                                         runs.to_dict("records"), strict=True)}  # fmt: skip
    for seed in range(seeds):
        for label, (name, options) in RULES.items():
            key = (problem.name, label, seed)
            if key not in done:
                full = done.get((problem.name, "full", seed))
                done[key] = one_run(problem, label, make(name, problem, options), seed, full, out)
                print(*key, *(done[key][c] for c in RUN_COLUMNS[3:]), flush=True)


def kept(out: Path) -> pd.DataFrame:
    """Return runs.csv; take out of the other files what belongs to a run that was killed while writing."""
    if not (out / "runs.csv").exists():
        return pd.DataFrame(columns=list(RUN_COLUMNS))
    runs = pd.read_csv(out / "runs.csv")
    for name in ("trajectories.csv", "stopped.csv"):
        rows = pd.read_csv(out / name)
        is_done = pd.MultiIndex.from_frame(rows[list(KEY)]).isin(pd.MultiIndex.from_frame(runs[list(KEY)]))
        rows[is_done].to_csv(out / name, index=False)
    return runs


def make(name: str, problem: Problem, options: Row) -> StoppingRule:
    """Return a rule for a problem; all have ten classes."""
    if name == "oracle":
        reference = tuple(problem.reference.items())
        return Oracle(Setting(problem.n_epochs, 0.9, problem.objectives, reference))
    return make_stopping_rule(
        name, n_epochs=problem.n_epochs, chance_error=0.9, objectives=problem.objectives,
        reference=problem.reference, **options,
    )  # fmt: skip


def one_run(problem: Problem, label: str, rule: StoppingRule, seed: int, full: Row | None, out: Path) -> Row:
    """Search once, append what came of it to the files, and return its row of runs.csv."""
    target = full["hypervolume"] if full else np.inf
    limits = (N_MOST, full["epochs"], target) if full else (N_FULL, np.inf, np.inf)
    run, _ = search(problem, rule, seed, *limits)
    key = dict(zip(KEY, (problem.name, label, seed), strict=True))
    stopped = [{**key, **row} for row in stopped_rows(run, problem)]
    count = [c.status for c in run.curves].count
    row = {**key, "trainings": len(run.curves), "complete": count("complete"), "failed": count("failed"),
           "stopped": len(stopped), "on_front": sum(row["on_front"] for row in stopped),
           "epochs": run.epochs, "seconds": run.seconds, "hypervolume": run.hypervolume,
           "reached": int(full is None or run.hypervolume >= target - 1e-9)}  # fmt: skip
    for name, columns, rows in (
        ("trajectories.csv", STEP_COLUMNS, [exact({**key, **step}) for step in run.steps]),
        ("stopped.csv", STOPPED_COLUMNS, stopped),
        ("runs.csv", RUN_COLUMNS, [exact(row)]),  # last: it says that the run is done
    ):
        with RowFile(out / name, columns) as file:
            file.append_all(rows)
    return row


def exact(row: Row) -> Row:
    """Return a row that tells its hypervolume with all digits: rounded up, it could not be reached again."""
    return {**row, "hypervolume": f"{row['hypervolume']:.12g}"}


def measure_speed(out: Path) -> None:
    """Write speed.csv: CPU milliseconds of judging one epoch against 200 curves, median of 100."""
    problem = PROBLEMS["mnist_like"]()
    configs = problem.space.sample(201, np.random.default_rng(0))
    costs = problem.costs(configs)["time_s"]
    errors = [problem.train(config, 0).errors for config in configs]
    others = [Curve(e[: 1 + i % 20], "stopped" if i % 20 < 19 else "complete", {"time_s": costs[i]})
              for i, e in enumerate(errors[1:])]  # fmt: skip
    rows = []
    for label, (name, options) in RULES.items():
        if name == "oracle":
            continue
        rule, times = make(name, problem, options), []
        for k in np.arange(100) % 5 + 1:
            begin = time.process_time()
            rule.judge(Curve(errors[0][:k], "running", {"time_s": costs[0]}), others)
            times.append(time.process_time() - begin)
        rows.append({"rule": label, "n_curves": len(others), "judge_ms": 1e3 * float(np.median(times))})
    pd.DataFrame(rows).to_csv(out / "speed.csv", index=False, float_format="%.3g")
    print(pd.DataFrame(rows).to_string())


def main() -> None:
    """Run what is not there yet, and write the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "early_termination")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.problems:
        measure(PROBLEMS[name](), arguments.seeds, arguments.out)
    summarise(arguments.out)
    calibrate(arguments.out)
    measure_speed(arguments.out)


if __name__ == "__main__":
    main()
