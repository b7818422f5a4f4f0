"""State of a running study: optimizer, store, files, front and learning curves.

    Study --makes--> StudyState <--reads, writes-- Driver
                          '--on_told--> calibration of costs

The store is always written first; this state can be restored from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hwopt.errors import StudyError
from hwopt.search.optimizer import LARGEST_ERROR, Optimizer
from hwopt.study.run.unread_hyperparameters import Reads, check_unread, warn_of_unread
from hwopt.study.store.files import StudyFiles, fingerprint
from hwopt.study.store.results import FrontTracker
from hwopt.study.store.store import STOPPED_AT, Store, Trial
from hwopt.train.result import ResumableObjective
from hwopt.train.stopping import Curve, StoppingRule, Verdict, judge_epochs
from hwopt.train.stopping.freeze_thaw import FreezeThawRule
from hwopt.units import counted

_CHECKPOINT = "checkpoint"  # kind of the fingerprints in the store
OnTold = Callable[["StudyState", Trial], None]


class StudyState:
    """State of a running study.

    Args:
        optimizer: optimizer of the search.
        store: store of the study.
        objective: objective of the trainings.
        on_told: called with this state and each trial that the optimizer is told.

    Attributes:
        files: checkpoints and weights.
        front: front of the ended trials.
        ended: ended trials by number.
        measured: measured costs of networks, by trial.
        n_begun: number of trials that have begun.
        stopping: a stopping rule, a function that makes it from `reference=`, or None.
        rule: stopping rule, constructed when the study runs.
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
        """Stopping rule that pauses and resumes trainings, or None."""
        return self.rule if isinstance(self.rule, FreezeThawRule) and self.is_resumable else None

    def begin_run(self, waiting: Sequence[Trial]) -> None:
        """Check the hyperparameters, restore the state of earlier processes, and construct the rule.

        Args:
            waiting: trials that have not ended.

        Raises:
            StudyError: for paused trainings that cannot be resumed.
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
        """Refuse a run in which paused trainings could not be resumed unchanged."""
        n_paused, rule = sum(trial.status == "paused" for trial in waiting), self.freeze_thaw
        if n_paused and rule is None:
            raise StudyError(
                f"{self.store.path}: {counted(n_paused, 'training')} paused, which could not be resumed: the "
                "objective has no run_slice, or the stopping rule has changed; continue with the original "
                "objective and rule"
            )
        if rule is None:
            return
        then, now = self.store.meta().get("n_epochs"), rule.setting.n_epochs
        if then is None:
            self.store.set_meta(n_epochs=now)
        elif then != now:
            raise StudyError(
                f"{self.store.path}: its trainings have {then} epochs, those of the objective {now}: paused "
                f"ones cannot continue with another number; set it to {then} again, or use another path for "
                "a new study"
            )

    def save_checkpoint(self, number: int, n_epochs: int, checkpoint: bytes) -> None:
        """Write the checkpoint of a trial, and its fingerprint into the store."""
        self.files.save_checkpoint(number, n_epochs, checkpoint)
        found = {"n_epochs": n_epochs, "crc32": fingerprint(checkpoint)}
        self.store.add_check(number, _CHECKPOINT, 0, found, durable=False)

    def is_checkpoint_of(self, number: int, n_epochs: int, checkpoint: bytes) -> bool:
        """Return whether a file is the checkpoint that was written; True if its fingerprint is not stored."""
        (found,) = self.store.checks(_CHECKPOINT).get(number, [{}])
        return found.get("n_epochs") != n_epochs or found["crc32"] == fingerprint(checkpoint)

    def note_reads(self, trial: Trial, reads: Reads | None) -> None:
        """Warn once of hyperparameters that are never read, after the first successful call."""
        if self.records_reads and reads is not None:
            self.records_reads = False
            warn_of_unread(self.optimizer.space, self.optimizer.costs, trial.config, reads)

    def judge(self, trial: Trial, n_judged: int) -> Verdict | None:
        """Return the stopping rule's verdict on epochs after the first `n_judged`; None without a rule."""
        if self.rule is None:
            return None
        return judge_epochs(self.rule, curve_of(trial), self.other_curves(trial.number), n_judged)

    def other_curves(self, number: int) -> list[Curve]:
        """Return the curves of all other trials; those of one config as their mean."""
        known = {one: curve for one, curve in self._curves.items() if one != number}
        if not self.optimizer.repeats:
            return list(known.values())
        groups: dict[Any, list[Curve]] = {}
        for one, curve in known.items():
            of_config = self.optimizer.space.key(self.ended[one].config) if one in self.ended else one
            groups.setdefault((of_config, curve.status, len(curve.errors)), []).append(curve)
        return [mean_curve(curves) for curves in groups.values()]

    def note(self, trial: Trial) -> None:
        """Update the curve of a trial."""
        self._curves[trial.number] = curve_of(trial)

    def tell(self, trial: Trial) -> None:
        """Tell the optimizer the outcomes of a trial; measured costs stay in the store.

        A stopped trial has its expected final error with a standard deviation, if the stopping rule gives it.
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
        """Store the reference point until it is final; that of the error may depend on observations."""
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
    """Return the curve of a trial for a stopping rule; that of a stopped one up to the stop."""
    n_epochs = int(trial.metrics.get(STOPPED_AT, len(trial.curve)))
    return Curve(trial.curve[:n_epochs], trial.status, trial.costs, trial.is_feasible)


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """Return the mean curve of the trainings of one config."""
    if len(curves) == 1:
        return curves[0]
    errors = np.mean([curve.errors for curve in curves], axis=0)
    return Curve(tuple(errors.tolist()), curves[0].status, curves[0].costs, curves[0].is_feasible)
