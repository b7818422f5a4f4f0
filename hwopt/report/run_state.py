"""State of a running study, updated by its events and shown by a live view.

    start, epoch, pause, end of a trial --RunState.take--> counts, front, hypervolume, priced, energy, time

The cost of an event does not depend on the number of trials, except for a trial that changes the front, which
is compared with the front.
"""

import time
from array import array
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwopt.report.text_plot import PlotPoints
from hwopt.study.store.results import FrontPoint, FrontTracker
from hwopt.study.store.store import Store, Trial

N_RECENT = 8  # number of remembered ended trials
_N_PACE = 20  # number of latest trainings that the pace is estimated from


@dataclass(frozen=True)
class Gain:
    """Increase of the hypervolume of the front by a trial."""

    volume: float
    trial: int


class RunState:
    """Progress and results of a running study.

    Args:
        store: store of the study.
        n_trials: planned number of trials.
        n_epochs: epochs of a whole training; None if unknown: the longest complete training so far.
        wall_s: limit on the run time in seconds; None for no limit.
        clock: function that returns seconds from any origin.

    Attributes:
        running: trials in training, the latest event last.
        paused: paused trials, by number.
        recent: the latest ended trials, each with a flag for being new on the front.
        volume: hypervolume of the front; None if no reference is known.
        gain: the last increase of the hypervolume.
        broken: number of priced configs over each budget.
        pricing: number of priced and of planned configs during the survey of the space.
    """

    def __init__(
        self,
        store: Store,
        n_trials: int,
        n_epochs: int | None = None,
        wall_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self.n_trials, self._clock = store, n_trials, clock
        self._n_epochs, self._longest, self._wall_s = n_epochs, 0, wall_s
        identity = store.meta()["identity"]
        self.objectives: list[str] = identity["objectives"]
        self.limits = {budget["metric"]: float(budget["limit"]) for budget in identity["budgets"]}
        self.pricing: tuple[int, int] | None = None
        self.running: dict[int, Trial] = {}
        self.paused: dict[int, Trial] = {}
        self.recent: deque[tuple[Trial, bool]] = deque(maxlen=N_RECENT)
        self.n_ended = Counter[str]()
        self.volume: float | None = None
        self.gain: Gain | None = None
        self.n_priced = self.n_infeasible = 0
        self.n_refused = store.n_rejections()
        self.broken = Counter[str]()
        self._reference: dict[str, float] = {}
        self._tracker = FrontTracker(self.objectives)
        self._feasible, self._infeasible = (array("d"), array("d")), (array("d"), array("d"))
        self._energy_j, self._measures_energy = 0.0, False
        self._elapsed_before, self._begun = store.elapsed_s(), clock()
        self._ends = deque([self._begun], maxlen=_N_PACE + 1)
        self._n_epochs_here = 0  # epochs of this run
        self._last, self._is_begun = -1, False
        known = store.trials()
        for trial in known:
            self._count_priced(trial)
            if trial.status == "paused":
                self.paused[trial.number] = trial
        for trial in sorted((one for one in known if one.told is not None), key=lambda one: one.told or 0):
            self._count_ended(trial)
        self._measure_front(None)

    def take(self, event: str, trial: Trial) -> None:
        """Update the state with an event: "start", "epoch", "pause", "resume" or "end" of a trial."""
        self.pricing = None
        if not self._is_begun:
            self._begin()
        self.paused.pop(trial.number, None)
        if event == "pause":
            self.running.pop(trial.number, None)
            self.paused[trial.number] = trial
            return
        if event == "end":
            self.running.pop(trial.number, None)
            self._ends.append(self._clock())
            self._count_ended(trial)
            if self._tracker.n_since_progress == 0:
                self._measure_front(trial)
            return
        if trial.number > self._last:
            self._count_priced(trial)
            self.n_refused = self._store.n_rejections()
        self._n_epochs_here += event == "epoch"
        self.running.pop(trial.number, None)
        self.running[trial.number] = trial

    @property
    def front(self) -> list[FrontPoint]:
        """Points of the front by decreasing error."""
        return sorted(self._tracker.points, key=lambda point: -point.values["error"])

    @property
    def n_epochs(self) -> int | None:
        """Epochs of a whole training, if known."""
        return self._n_epochs or self._longest or None

    @property
    def n_done(self) -> int:
        """Number of trials that have ended or are paused."""
        return self.n_ended.total() + len(self.paused)

    @property
    def energy_j(self) -> float | None:
        """Joules of the trainings; None if none was measured."""
        unfinished = [*self.running.values(), *self.paused.values()]
        under_way = [trial.energy_j for trial in unfinished if trial.energy_j is not None]
        return self._energy_j + sum(under_way) if self._measures_energy or under_way else None

    @property
    def elapsed_s(self) -> float:
        """Seconds that the study has run, earlier processes included."""
        return self._elapsed_before + self._clock() - self._begun

    def left_s(self) -> float | None:
        """Return an estimate of the seconds left, from the pace of the latest trainings; None before any."""
        n_left = self.n_trials - self.n_done
        estimates = [] if self._wall_s is None else [self._wall_s - self.elapsed_s]
        if len(self._ends) > 1:
            each = (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1)
            estimates.append(n_left * each - (self._clock() - self._ends[-1]))
        elif self._n_epochs is not None and self._n_epochs_here:
            each = (self._clock() - self._ends[0]) / self._n_epochs_here
            done = sum(len(trial.curve) for trial in self.running.values())
            estimates.append((n_left * self._n_epochs - done) * each)
        return max(min(estimates), 0.0) if estimates else None

    def plot_points(self) -> PlotPoints:
        """Return the complete trials as points of error against the first cost that is an objective."""
        metric = next(iter(self.objectives[1:]), None)
        on_front = [
            (point.values.get(metric or "", point.number), point.values["error"]) for point in self.front
        ]
        return PlotPoints(
            metric=metric,
            front=np.array(on_front, dtype=float).reshape(-1, 2),
            dominated=np.column_stack([np.array(values) for values in self._feasible]),
            infeasible=np.column_stack([np.array(values) for values in self._infeasible]),
            limit=self.limits.get(metric or ""),
        )

    def _begin(self) -> None:
        """Read the result of the survey of the space; training begins now."""
        self._is_begun = True
        self._ends[0] = self._clock()
        region: dict[str, Any] = self._store.meta().get("region", {})
        n_priced = int(region.get("n_priced", 0))
        self.n_priced += n_priced
        self.n_infeasible += round(n_priced * (1 - float(region.get("share", 1.0))))
        self.broken.update(region.get("broken", {}))

    def _count_priced(self, trial: Trial) -> None:
        """Count the configs that were priced to select a trial."""
        self._last = max(self._last, trial.number)
        self.n_priced += trial.n_priced
        self.n_infeasible += trial.n_infeasible
        self.broken.update(trial.broken)

    def _count_ended(self, trial: Trial) -> None:
        self.n_ended[trial.status] += 1
        self._tracker.add(trial)
        is_new_on_front = trial.status == "complete" and self._tracker.n_since_progress == 0
        self.recent.append((trial, is_new_on_front))
        if trial.energy_j is not None:
            self._energy_j, self._measures_energy = self._energy_j + trial.energy_j, True
        if trial.status != "complete":
            return
        self._longest = max(self._longest, len(trial.curve))
        metric = next(iter(self.objectives[1:]), None)
        costs, errors = self._feasible if trial.is_feasible else self._infeasible
        costs.append(trial.costs.get(metric or "", trial.number))
        errors.append(trial.error or 0.0)

    def _measure_front(self, trial: Trial | None) -> None:
        """Update the hypervolume after a change of the front; its gain if the reference is unchanged."""
        reference = self._store.meta().get("reference") or {}
        if not reference:
            return
        before = self.volume if reference == self._reference else None
        self.volume, self._reference = self._tracker.hypervolume(reference), reference
        if trial is not None and before is not None and self.volume > before:
            self.gain = Gain(self.volume - before, trial.number)
