"""State of a study while it runs: the optimizer, the store and the files, the front and the curves.

    Study --makes--> StudyState <--reads, writes-- Driver
                          '--on_told--> calibration of costs

The store comes first each time; what is here can be made again from what the store holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hwopt.errors import StudyError
from hwopt.search.optimizer import LARGEST_ERROR, Optimizer
from hwopt.study.run.unread_hyperparameters import Reads, check_unread, warn_of_unread
from hwopt.study.store.files import StudyFiles
from hwopt.study.store.results import FrontTracker
from hwopt.study.store.store import STOPPED_AT, Store, Trial
from hwopt.train.result import ResumableObjective
from hwopt.train.stopping import Curve, StoppingRule, Verdict, judge_epochs
from hwopt.train.stopping.freeze_thaw import FreezeThawRule

OnTold = Callable[["StudyState", Trial], None]


class StudyState:
    """State of a study while it runs.

    Args:
        optimizer: of the search.
        store: of the study.
        objective: that trains.
        on_told: called with this state and every trial that is told.

    Attributes:
        files: checkpoints and weights.
        front: of the trials that have ended.
        ended: trials that have ended, by number.
        measured: measured costs of networks, by trial.
        n_begun: number of trials that have begun.
        stopping: a stopping rule, a function that makes it from `reference=`, or None.
        rule: the stopping rule, made when the study runs.
        is_resumable: whether trainings have checkpoints.
        records_reads: whether the objective's next call records the hyperparameters that it reads.
    """

    def __init__(self, optimizer: Optimizer, store: Store, objective: Any, on_told: OnTold | None) -> None:
        self.optimizer, self.store, self.objective = optimizer, store, objective
        self.stopping: Any = None
        self._on_told = on_told
        self.files = StudyFiles(store.path)
        self.front = FrontTracker(optimizer.objectives)
        self.ended: dict[int, Trial] = {}
        self.measured: dict[int, dict[str, Any]] = {}
        self.n_begun = 0
        self.rule: StoppingRule | None = None
        self.is_resumable = isinstance(objective, ResumableObjective)
        self.records_reads = False
        self._curves: dict[int, Curve] = {}
        self._knows_rejected = self._is_reference_kept = False

    @property
    def freeze_thaw(self) -> FreezeThawRule | None:
        """The rule, if trainings are paused and resumed by it."""
        return self.rule if isinstance(self.rule, FreezeThawRule) and self.is_resumable else None

    def begin_run(self, waiting: Sequence[Trial]) -> None:
        """Check the hyperparameters, restore what earlier processes left, and make the rule.

        Args:
            waiting: trials that have not ended.

        Raises:
            StudyError: for paused trainings that cannot be resumed any more.
        """
        names = getattr(self.objective, "hyperparameters", None)
        if names is not None:
            check_unread(self.optimizer.space, names, not self.n_begun, self.optimizer.costs)
        self.records_reads = names is None
        for config in self.store.rejected_configs() if not self._knows_rejected else []:
            self.optimizer.mark_rejected(config)
        self._knows_rejected = True
        self.rule = self._make_rule()
        self._check_paused(waiting)
        if self.freeze_thaw is None:
            self.optimizer.set_pending([trial.config for trial in waiting])

    def _check_paused(self, waiting: Sequence[Trial]) -> None:
        """Refuse to go on where paused trainings could not be resumed, or only as other trainings."""
        n_paused, rule = sum(trial.status == "paused" for trial in waiting), self.freeze_thaw
        if n_paused and rule is None:
            raise StudyError(
                f"{self.store.path}: {n_paused} of its trainings are paused and would never be resumed: the "
                "objective has no run_slice, or the stopping rule is another one; go on with those that the "
                "study began with"
            )
        if rule is None:
            return
        then, now = self.store.meta().get("n_epochs"), rule.setting.n_epochs
        if then is None:
            self.store.set_meta(n_epochs=now)
        elif then != now:
            raise StudyError(
                f"{self.store.path}: its trainings have {then} epochs, those of the objective {now}: paused "
                f"ones cannot go on with another number; set it to {then} again, or begin a study at another "
                "path"
            )

    def note_reads(self, trial: Trial, reads: Reads | None) -> None:
        """Warn, once, of hyperparameters that no one reads, after the first call that gives an error."""
        if self.records_reads and reads is not None:
            self.records_reads = False
            warn_of_unread(self.optimizer.space, self.optimizer.costs, trial.config, reads)

    def judge(self, trial: Trial, n_judged: int) -> Verdict | None:
        """Return what the stopping rule says of epochs after the first `n_judged`; None without a rule."""
        if self.rule is None:
            return None
        return judge_epochs(self.rule, curve_of(trial), self.other_curves(trial.number), n_judged)

    def other_curves(self, number: int) -> list[Curve]:
        """Return what is known of the trainings of all other trials; those of one config as their mean."""
        known = {one: curve for one, curve in self._curves.items() if one != number}
        if not self.optimizer.repeats:
            return list(known.values())
        groups: dict[Any, list[Curve]] = {}
        for one, curve in known.items():
            of_config = self.optimizer.space.key(self.ended[one].config) if one in self.ended else one
            groups.setdefault((of_config, curve.status, len(curve.errors)), []).append(curve)
        return [mean_curve(curves) for curves in groups.values()]

    def note(self, trial: Trial) -> None:
        """Take the curve of a trial as it is now."""
        self._curves[trial.number] = curve_of(trial)

    def tell(self, trial: Trial) -> None:
        """Tell the optimizer what training reveals; a cost that it measured stays in the store.

        A stopped trial is told the error that it was expected to end at, with its deviation, if the stopping
        rule says so.
        """
        metrics = dict(trial.metrics)
        expected, std = None, None
        if trial.status == "stopped":
            expected, std = metrics.get("expected_error"), metrics.get("expected_error_std")
        error = trial.error if expected is None else min(max(expected, 0.0), LARGEST_ERROR)
        limited = {budget.metric for budget in self.optimizer.outcome_budgets}
        revealed = {name: value for name, value in metrics.items() if name in limited}
        values = None if error is None else {"error": error, **revealed}
        errors = curve_of(trial).errors
        if self.optimizer.slices is not None:
            self.optimizer.slices.end(trial.number)
        self.optimizer.tell(trial.config, values, status=trial.status, curve=errors, error_std=std)
        self.note(trial)
        self.front.add(trial)
        self.ended[trial.number] = trial
        if self._on_told is not None:
            self._on_told(self, trial)

    def keep_reference(self) -> None:
        """Write down the reference point until it is set: that of the error may follow what is told."""
        if self._is_reference_kept:
            return
        reference, is_set = self.optimizer.reference, self.optimizer.is_reference_set
        meta = self.store.meta()
        if meta.get("reference") != reference or meta.get("is_reference_set") != is_set:
            self.store.set_meta(reference=reference, is_reference_set=is_set)
            self.rule = self._make_rule() if self.rule is not None else None
        self._is_reference_kept = is_set

    def _make_rule(self) -> StoppingRule | None:
        given = self.stopping
        is_rule = given is None or hasattr(given, "judge")
        rule: StoppingRule | None = given if is_rule else given(reference=self.optimizer.reference)
        return rule


def curve_of(trial: Trial) -> Curve:
    """Return what a stopping rule sees of a trial: of a stopped one the epochs up to the stop."""
    n_epochs = int(trial.metrics.get(STOPPED_AT, len(trial.curve)))
    return Curve(trial.curve[:n_epochs], trial.status, trial.costs, trial.is_feasible)


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """Return the trainings of one config as one, with the mean of their errors."""
    if len(curves) == 1:
        return curves[0]
    errors = np.mean([curve.errors for curve in curves], axis=0)
    return Curve(tuple(errors.tolist()), curves[0].status, curves[0].costs, curves[0].is_feasible)
