"""Tables of a comparison as rows: results of each contender, and its trainings to a peer's result."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from hwopt.arrays import Array
from hwopt.compare.comparison import Comparison
from hwopt.compare.curves import TIME_AXES, Curves, over_time, quartiles, volume_name
from hwopt.compare.record import BenchmarkTrial, Run
from hwopt.compare.statistics import median, trainings_to_target

Row = dict[str, Any]

CHECKPOINTS = (20, 40, 60)  # trainings
N_AT_ASK = 50  # trainings known to the asks whose seconds are shown
_FIXED = frozenset(
    "strategy seed number config error is_feasible is_start train_s ask_s ask_cpu_s n_rejected "
    "failure".split()
)
_ASKS_AROUND = 5  # as many before it and after it are taken as well: a single one varies


def checkpoints(curves: Sequence[Curves]) -> list[int]:
    """Return after how many trainings contenders are compared: 20, 40, 60 and the end of the longest run."""
    longest = max(one.n_trials for one in curves)
    return [*[k for k in CHECKPOINTS if k < longest], longest]


def trial_rows(comparison: Comparison) -> Iterator[Row]:
    """Yield one row for each training: contender, config, costs, error, times in seconds."""
    for run in comparison.runs:
        for trial in run.trials:
            yield _trial_row(run, trial)


def curve_rows(comparison: Comparison, curves: Sequence[Curves]) -> Iterator[Row]:
    """Yield quartiles of the hypervolume over seeds, against trainings, training time and wall time."""
    name = volume_name(comparison.problem)
    for one in curves:
        n_there = np.sum(~np.isnan(one.volumes), axis=0)
        trainings = np.arange(1, one.n_trials + 1, dtype=float)
        yield from _axis_rows(name, one.label, "trainings", trainings, n_there, quartiles(one))
        for axis in TIME_AXES:
            times, values = over_time(one, axis)
            yield from _axis_rows(name, one.label, axis, times, np.full(len(times), len(one.seeds)), values)


def summary_rows(comparison: Comparison, curves: Sequence[Curves]) -> list[Row]:
    """Return one row for each contender: hypervolumes with 95% intervals, and seconds."""
    return [_summary_row(comparison, one, checkpoints(curves)) for one in curves]


def target_rows(comparison: Comparison, curves: Sequence[Curves]) -> list[Row]:
    """Return the trainings of each contender to each peer's hypervolume at each checkpoint."""
    found = [
        trainings_to_target(one, peer, k)
        for k in checkpoints(curves)
        for one in curves
        for peer in curves
        if one.label != peer.label
    ]
    name = volume_name(comparison.problem)
    return [
        {
            "strategy": c.label,
            "peer": c.peer,
            "peer_trainings": c.k,
            "n_seeds": c.n_seeds,
            f"peer_{name}": c.target,
            "trainings": c.trainings.value,
            "trainings_low": c.trainings.low,
            "trainings_high": c.trainings.high,
            "training_s": c.training_s,
            "peer_training_s": c.peer_training_s,
            "wall_s": c.wall_s,
            "peer_wall_s": c.peer_wall_s,
            **({} if c.difference is None else {
                "difference": c.difference.value,
                "difference_low": c.difference.low,
                "difference_high": c.difference.high,
            }),
        }
        for c in found if c is not None
    ]  # fmt: skip


def ask_seconds(runs: Sequence[Run]) -> tuple[float, float, int] | None:
    """Return the median wall and processor seconds of an ask, and the number of trainings known to it.

    The number is N_AT_ASK, or that of the longest run if it is shorter; None if there was no ask.
    """
    n_known = min(N_AT_ASK, max((len(run.trials) for run in runs), default=0) - 1)
    near = [
        (trial.ask_s, trial.ask_cpu_s)
        for run in runs
        for trial in run.trials
        if not trial.is_start and abs(trial.number - n_known) <= _ASKS_AROUND
    ]
    if not near:
        return None
    wall, cpu = np.median(near, axis=0)
    return float(wall), float(cpu), n_known


def _trial_row(run: Run, trial: BenchmarkTrial) -> Row:
    return {
        "strategy": run.label,
        "seed": run.seed,
        "number": trial.number,
        "config": trial.config,
        **_apart("cost.", trial.costs),
        **_apart("metric.", {k: v for k, v in trial.metrics.items() if k not in trial.costs}),
        "error": trial.error,
        "is_feasible": trial.is_feasible,
        "is_start": trial.is_start,
        "train_s": trial.train_s,
        "ask_s": trial.ask_s,
        "ask_cpu_s": trial.ask_cpu_s,
        "n_rejected": len(trial.rejected),
        "failure": trial.failure,
    }


def _apart(prefix: str, values: Mapping[str, float]) -> dict[str, float]:
    """Return values by column, with a prefix if a fixed column has that name."""
    return {f"{prefix}{name}" if name in _FIXED else name: value for name, value in values.items()}


def _axis_rows(name: str, label: str, axis: str, at: Array, n: Array, values: Array) -> Iterator[Row]:
    for x, count, (lower, middle, upper) in zip(at, n, values, strict=True):
        yield {
            "strategy": label,
            "axis": axis,
            "at": float(x),
            "n_seeds": int(count),
            f"{name}_lower_quartile": float(lower),
            f"{name}_median": float(middle),
            f"{name}_upper_quartile": float(upper),
        }


def _summary_row(comparison: Comparison, curves: Curves, at: Sequence[int]) -> Row:
    runs = comparison.runs_of(curves.label)
    trials = [trial for run in runs for trial in run.trials]
    row: Row = {"strategy": curves.label, "n_seeds": len(curves.seeds), "n_trainings": len(trials)}
    for k in at:
        values = curves.at(k) if k <= curves.n_trials else np.zeros(0)
        if len(values):
            estimate = median(values)
            name = f"{volume_name(comparison.problem)}_at_{k}"
            row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
            row[f"n_seeds_at_{k}"] = len(values)
    asked = ask_seconds(runs)
    return row | {
        "infeasible_share": float(np.mean([not trial.is_feasible for trial in trials])),
        "failed_share": float(np.mean([trial.error is None for trial in trials])),
        "rejected_per_training": sum(len(trial.rejected) for trial in trials) / len(trials),
        "ask_s": asked[0] if asked else None,
        "ask_cpu_s": asked[1] if asked else None,
        "ask_n_known": asked[2] if asked else None,
        "training_s": float(np.median([sum(t.train_s for t in run.trials) for run in runs if run.trials])),
    }
