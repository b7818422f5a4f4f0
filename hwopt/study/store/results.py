"""Results of a study from its stored trials, without space, cost model or training."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from hwopt.search.pareto import front_members, hypervolume, log_outcomes
from hwopt.space.search_space import Config
from hwopt.study.store.store import Store, Trial
from hwopt.train.failure import grouped


@dataclass(frozen=True)
class FrontPoint:
    """Config on the front, with its error and costs in `values`.

    `number` is the first trial of the config, `numbers` are all of them; the error is their mean.
    """

    number: int
    config: Config
    values: dict[str, float]
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class FailureGroup:
    """Group of trainings that failed for the same reason, described by the first of them."""

    n: int
    number: int
    reason: str
    traceback: str | None


@dataclass(frozen=True)
class Summary:
    """Summary of a search.

    Of `n_priced` configs, `n_infeasible` were excluded before training, `broken` counts them by budget (a
    config can be over several); `n_rejected` of them had been selected by the strategy.
    """

    n_priced: int
    n_infeasible: int
    n_unpriced: int
    n_rejected: int
    broken: dict[str, int]
    n_trained: dict[str, int]  # trials by status
    failures: dict[str, int]  # reasons; those that differ in numbers only count as the first of them
    left_out: dict[str, int]  # values of complete trainings that are not numbers
    n_infeasible_trials: int
    share: float | None  # of the space that is feasible
    front: list[FrontPoint]
    hypervolume: float | None
    reference: dict[str, float] | None  # reference point, by objective
    train_s: float
    ask_s: float
    energy_j: float | None  # of the measured trainings
    ended: str | None  # reason of the end; None if the search has not ended


def front_of(trials: Sequence[Trial], objectives: Sequence[str]) -> list[FrontPoint]:
    """Return the complete, feasible and nondominated configs by decreasing error."""
    points = sorted(_tracked(trials, objectives).points, key=lambda point: point.number)
    return sorted(points, key=lambda point: -point.values["error"])


def hypervolume_of(trials: Sequence[Trial], reference: Mapping[str, float]) -> float:
    """Return the hypervolume of the feasible trials in error and log costs."""
    return _tracked(trials, list(reference)).hypervolume(reference)


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
        failures={group.reason: group.n for group in failure_groups(trials)},
        left_out=dict(Counter(grouped(t.reason) for t in trials if t.status == "complete" and t.reason)),
        n_infeasible_trials=sum(not trial.is_feasible for trial in trials),
        share=region.get("share"),
        front=front_of(trials, meta["identity"]["objectives"]),
        hypervolume=hypervolume_of(trials, reference) if reference else None,
        reference=reference,
        train_s=sum(trial.train_s or 0.0 for trial in trials),
        ask_s=sum(trial.ask_s for trial in trials),
        energy_j=energy_of(trials),
        ended=meta.get("ended"),
    )


def failure_groups(trials: Iterable[Trial]) -> list[FailureGroup]:
    """Return the failed trials grouped by reason, up to numbers in it."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.status == "failed":
            groups.setdefault(grouped(trial.reason or ""), []).append(trial)
    return [
        FailureGroup(len(alike), alike[0].number, alike[0].reason or "", alike[0].traceback)
        for alike in sorted(groups.values(), key=len, reverse=True)
    ]


def energy_of(trials: Iterable[Trial]) -> float | None:
    """Return the joules of the measured trainings; None if none was measured."""
    measured = [trial.energy_j for trial in trials if trial.energy_j is not None]
    return sum(measured) if measured else None


class FrontTracker:
    """Incremental front of ended trials, with the number of trials since its last change.

    Trainings of the same config count as one, with their mean error, as in the optimizer. Feasibility is a
    property of the trial, decided at its proposal and, for outcomes, at its end.
    """

    def __init__(self, objectives: Sequence[str]) -> None:
        self._objectives = list(objectives)
        self._trained: dict[str, list[Trial]] = {}  # complete and feasible ones by config
        self.points: list[FrontPoint] = []  # the front, [k]
        self.n_since_progress = 0  # ended trials since the last change of the front

    @property
    def numbers(self) -> set[int]:
        """Numbers of all trials whose configs are on the front."""
        return set(chain.from_iterable(point.numbers for point in self.points))

    def add(self, trial: Trial) -> None:
        """Add an ended trial; of configs with equal outcomes the first is on the front."""
        self.n_since_progress += 1
        if trial.status != "complete" or not trial.is_feasible:
            return
        before = {point.number for point in self.points}
        trained = self._trained.setdefault(json.dumps(trial.config, sort_keys=True), [])
        trained.append(trial)
        # the mean of a config that was trained again changes, so points that it dominated may return
        changed = (
            [*self.points, _point(trained)] if len(trained) == 1 else map(_point, self._trained.values())
        )
        points = sorted(changed, key=lambda point: point.number)
        outcomes = log_outcomes([point.values for point in points], self._objectives)
        self.points = front_members(points, outcomes)
        if before != {point.number for point in self.points}:
            self.n_since_progress = 0

    def hypervolume(self, reference: Mapping[str, float]) -> float:
        """Return the hypervolume of the front; see `hypervolume_of`."""
        objectives = list(reference)
        front = log_outcomes([point.values for point in self.points], objectives)
        return hypervolume(front, log_outcomes([reference], objectives)[0])


def _tracked(trials: Sequence[Trial], objectives: Sequence[str]) -> FrontTracker:
    tracker = FrontTracker(objectives)
    for trial in trials:
        tracker.add(trial)
    return tracker


def _point(trained: Sequence[Trial]) -> FrontPoint:
    """Return the trainings of one config as a point."""
    first = min(trained, key=lambda trial: trial.number)
    error = float(np.mean([trial.error for trial in trained]))
    numbers = tuple(sorted(trial.number for trial in trained))
    return FrontPoint(first.number, first.config, {"error": error, **first.costs}, numbers)
