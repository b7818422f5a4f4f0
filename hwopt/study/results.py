"""What a study has found, read off its stored trials: no space, no cost model and no training needed."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwopt.search.pareto import hypervolume
from hwopt.space import Config
from hwopt.study.store import Store, Trial


@dataclass(frozen=True)
class FrontPoint:
    """A trial on the front, with its error and costs in `values`."""

    number: int
    config: Config
    values: dict[str, float]


@dataclass(frozen=True)
class Summary:
    """What a search took and gave.

    Of `n_priced` configs, `n_infeasible` were excluded before training, `broken` by which budgets (one
    config can break several); `n_rejected` of them had been selected by the strategy.
    """

    n_priced: int
    n_infeasible: int
    n_unpriced: int
    n_rejected: int
    broken: dict[str, int]
    n_trained: dict[str, int]  # trials by status
    failures: dict[str, int]  # reasons
    n_infeasible_trials: int
    share: float | None  # of the space that is feasible
    front: list[FrontPoint]
    hypervolume: float | None
    train_s: float
    ask_s: float
    energy_j: float | None  # of the trainings, where it was measured
    ended: str | None  # why the search ended, None where it has not


def front_of(trials: Sequence[Trial], objectives: Sequence[str]) -> list[FrontPoint]:
    """Return the complete, feasible, nondominated trials by falling error."""
    tracker = FrontTracker(objectives)
    for trial in trials:
        tracker.add(trial)
    points = [_point(trial) for trial in sorted(tracker.trials, key=lambda trial: trial.number)]
    return sorted(points, key=lambda point: -point.values["error"])


def hypervolume_of(trials: Sequence[Trial], reference: Mapping[str, float]) -> float:
    """Return the hypervolume of the feasible trials: error times logarithms of costs."""
    front = FrontTracker(list(reference))
    for trial in trials:
        front.add(trial)
    corner = [value if name == "error" else np.log(value) for name, value in reference.items()]
    return hypervolume(_outcomes(front.trials, list(reference)), np.array(corner))


def summarise(store: Store) -> Summary:
    """Summarise a study from its file."""
    meta, trials = store.meta(), store.trials()
    region: dict[str, Any] = meta.get("region", {})
    broken = Counter(region.get("broken", {}))
    for trial in trials:
        broken.update(trial.broken)
    surveyed = region.get("n_priced", 0)
    reference = meta.get("reference")
    return Summary(
        n_priced=surveyed + sum(trial.n_priced for trial in trials),
        n_infeasible=round(surveyed * (1 - region.get("share", 1.0))) + sum(t.n_infeasible for t in trials),
        n_unpriced=region.get("n_unpriced", 0),
        n_rejected=len(store.rejections()),
        broken=dict(broken),
        n_trained=dict(Counter(trial.status for trial in trials)),
        failures=dict(Counter(trial.reason or "" for trial in trials if trial.status == "failed")),
        n_infeasible_trials=sum(not trial.is_feasible for trial in trials),
        share=region.get("share"),
        front=front_of(trials, meta["identity"]["objectives"]),
        hypervolume=hypervolume_of(trials, reference) if reference else None,
        train_s=sum(trial.train_s or 0.0 for trial in trials),
        ask_s=sum(trial.ask_s for trial in trials),
        energy_j=energy_of(trials),
        ended=meta.get("ended"),
    )


def energy_of(trials: Iterable[Trial]) -> float | None:
    """Return the joules of those trainings that were measured, or None where none was."""
    measured = [trial.energy_j for trial in trials if trial.energy_j is not None]
    return sum(measured) if measured else None


class FrontTracker:
    """The front as trials end, one after another: which are on it, and how long it has not moved."""

    def __init__(self, objectives: Sequence[str]) -> None:
        self._objectives = list(objectives)
        self._outcomes = np.empty((0, len(self._objectives)))  # [k, m] of the front
        self.trials: list[Trial] = []  # the front, [k]
        self.n_since_progress = 0  # trials that have ended since the front last moved

    def add(self, trial: Trial) -> bool:
        """Take an ended trial, and return whether it is on the front; of equal trials the first one is."""
        self.n_since_progress += 1
        if trial.status != "complete" or not trial.is_feasible:
            return False
        outcome = _outcomes([trial], self._objectives)[0]  # [m]
        is_earlier = np.array([one.number < trial.number for one in self.trials], dtype=bool)
        is_smaller = np.any(self._outcomes < outcome, axis=1)
        if np.any(np.all(self._outcomes <= outcome, axis=1) & (is_smaller | is_earlier)):
            return False
        keep = ~np.all(outcome <= self._outcomes, axis=1)
        self.trials = [one for one, is_kept in zip(self.trials, keep, strict=True) if is_kept] + [trial]
        self._outcomes = np.vstack([self._outcomes[keep], outcome])
        self.n_since_progress = 0
        return True

    def hypervolume(self, reference: Mapping[str, float]) -> float:
        """Return the hypervolume of the front; see `hypervolume_of`."""
        return hypervolume_of(self.trials, reference)


def _point(trial: Trial) -> FrontPoint:
    assert trial.error is not None
    return FrontPoint(trial.number, trial.config, {"error": trial.error, **trial.costs})


def _outcomes(trials: Sequence[Trial], objectives: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return error and log costs, shape [n, m], in the order of the objectives."""
    rows = [[t.error if name == "error" else np.log(t.costs[name]) for name in objectives] for t in trials]
    return np.array(rows, dtype=float).reshape(-1, len(objectives))
