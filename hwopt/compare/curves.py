"""Hypervolume of a run after each training, against trainings, training time and wall time; over seeds.

    n runs of one contender, k trainings each:   volumes [n, k]   training_s [n, k]   wall_s [n, k]

Only complete trainings that satisfy every budget enter the front; all trainings count. The front is chosen by
the observed errors; if the problem knows true errors, its configs are evaluated by those. If
it knows its best front, hypervolumes are relative to that front's. Wall time is that of a search with one
training at a time: asking and training.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwopt.arrays import Array
from hwopt.compare.comparison import Comparison
from hwopt.compare.problem import Problem
from hwopt.compare.record import BenchmarkTrial, Run
from hwopt.search.pareto import front_members, hypervolume, log_outcomes

QUARTILES = (0.25, 0.5, 0.75)
TIME_AXES = ("training_s", "wall_s")
_N_TIMES = 200  # points of a curve over time


@dataclass(frozen=True)
class Curves:
    """All runs of one contender, one row a seed; NaN beyond the end of a run."""

    label: str
    seeds: tuple[int, ...]
    volumes: Array  # hypervolume after each training, [n, k]
    training_s: Array  # seconds of training until then, [n, k]
    wall_s: Array  # seconds of choosing and training until then, [n, k]

    @property
    def n_trials(self) -> int:
        """Trainings of the longest run."""
        return int(self.volumes.shape[1])

    def at(self, k: int) -> Array:
        """Return the hypervolume after k trainings of the runs that got there, by seed."""
        column = self.volumes[:, k - 1]
        return np.asarray(column[~np.isnan(column)])


def all_curves(comparison: Comparison) -> list[Curves]:
    """Return the curves of every contender that has trainings."""
    found = [(label, comparison.runs_of(label)) for label in comparison.labels]
    return [
        curves_of(comparison.problem, label, runs) for label, runs in found if any(run.trials for run in runs)
    ]


def volume_name(problem: Problem) -> str:
    """Return the name of hypervolumes in tables."""
    return "hypervolume" if problem.reference_front is None else "hypervolume_share"


def curves_of(problem: Problem, label: str, runs: Sequence[Run]) -> Curves:
    """Compute the curves of a contender's runs, at least one of which has trainings."""
    runs = [run for run in runs if run.trials]
    length = max(len(run.trials) for run in runs)
    judge = _Hypervolumes(problem)

    def padded(rows: Sequence[Sequence[float] | Array]) -> Array:
        return np.array([np.append(row, np.full(length - len(row), np.nan)) for row in rows])

    return Curves(
        label,
        tuple(run.seed for run in runs),
        padded([judge.volumes(run.trials) for run in runs]),
        padded([np.cumsum([t.train_s for t in run.trials]) for run in runs]),
        padded([np.cumsum([t.train_s + t.ask_s for t in run.trials]) for run in runs]),
    )


def quartiles(curves: Curves) -> Array:
    """Return lower quartile, median and upper quartile over the runs that got there, [k, 3]."""
    return np.asarray(np.nanquantile(curves.volumes, QUARTILES, axis=0).T)


def over_time(curves: Curves, axis: str, n: int = _N_TIMES) -> tuple[Array, Array]:
    """Return n times and the quartiles there, [n] and [n, 3], up to the end of the first run.

    A run's hypervolume is that after its last training before the time; 0 before the first training.
    """
    times = getattr(curves, axis)
    end = float(np.min(np.nanmax(times, axis=1)))
    grid = np.linspace(0.0, end, n + 1)[1:]
    return grid, np.asarray(np.quantile(volumes_at(curves, axis, grid), QUARTILES, axis=0).T)


def volumes_at(curves: Curves, axis: str, times: Array) -> Array:
    """Return the hypervolume of each run at these times, [n_runs, n_times]."""
    rows = []
    for volumes, ends in zip(curves.volumes, getattr(curves, axis), strict=True):
        known = ~np.isnan(ends)
        steps = np.append(0.0, volumes[known])
        rows.append(steps[np.searchsorted(ends[known], times, side="right")])
    return np.array(rows)


class _Hypervolumes:
    """Hypervolumes of fronts on one problem; the true error of a config is computed once."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        names = problem.objectives
        self._corner = log_outcomes([problem.reference], names)[0]
        self._unit = 1.0
        if problem.reference_front is not None:
            front = [dict(zip(names, row, strict=True)) for row in problem.reference_front]
            self._unit = hypervolume(log_outcomes(front, names), self._corner)
        self._true: dict[object, float] = {}

    def volumes(self, trials: Sequence[BenchmarkTrial]) -> Array:
        """Return the hypervolume after each training, [k]."""
        volumes: list[float] = []
        front: list[BenchmarkTrial] = []
        for trial in trials:
            if trial.error is not None and trial.is_feasible:
                front = front_members([*front, trial], self._outcomes([*front, trial], is_true=False))
            volumes.append(hypervolume(self._outcomes(front, is_true=True), self._corner))
        return np.array(volumes) / self._unit

    def _outcomes(self, trials: Sequence[BenchmarkTrial], is_true: bool) -> Array:
        """Return error and log costs, [n, m]; the true error if it is known and wanted."""
        errors = [self._true_error(trial) if is_true else trial.error or 0.0 for trial in trials]
        values = [{**trial.costs, "error": error} for trial, error in zip(trials, errors, strict=True)]
        return log_outcomes(values, self._problem.objectives)

    def _true_error(self, trial: BenchmarkTrial) -> float:
        if self._problem.true_error is None:
            assert trial.error is not None
            return trial.error
        key = self._problem.space.key(trial.config)
        if key not in self._true:
            self._true[key] = float(self._problem.true_error(trial.config))
        return self._true[key]
