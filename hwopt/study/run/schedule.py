"""Schedules, which select the trial of the next slice and decide on it afterwards.

    InOrder      trials one after another; a stopping rule may stop a trial permanently
    FreezeThaw   the training of the largest value; others are paused, and resumed from their checkpoints by
                 any free worker: see `hwopt.search.freeze_thaw`

Training and storing are done by the run loop.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

from hwopt.errors import Infeasible
from hwopt.search.freeze_thaw import PartialTraining, Stint
from hwopt.search.optimizer import LARGEST_ERROR
from hwopt.search.slices import Slice, Slices
from hwopt.search.state import Selection
from hwopt.study.run.restart_costs import RestartCosts, SliceSeconds
from hwopt.study.run.running_trial import Active, RunOptions
from hwopt.study.run.seeds import trial_seed
from hwopt.study.run.state import StudyState
from hwopt.study.store.store import Rejected, StintRow, Trial
from hwopt.train.result import TrainingResult
from hwopt.train.stopping import Verdict
from hwopt.train.stopping.freeze_thaw import FreezeThawRule
from hwopt.units import counted

Listener = Callable[[str, Trial], None]  # event and current trial

_LOG = logging.getLogger("hwopt")
_INTERVAL = 0.8  # confidence of stored intervals, so that their upper ends have that of budgets, 0.9
_HOPELESS = 1e-3  # probability of entering the front below which a training is stopped
_PROMISING = 0.05  # probability above which a paused training is finished at the end


class Schedule(Protocol):
    """Interface of a schedule."""

    @property
    def share(self) -> float:
        """Share of the limits on time and energy for the search."""
        ...

    def restore(self, waiting: Sequence[Trial]) -> None:
        """Restore trials of earlier processes that have not ended."""
        ...

    def next(self) -> Active | None:
        """Return the trial of the next slice; None if there is none at present."""
        ...

    def put_back(self, active: Active) -> None:
        """Return a trial whose slice was lost, to be trained before any other."""
        ...

    def note_seconds(self, active: Active, result: TrainingResult) -> None:
        """Record the seconds of a slice whose epochs the trial already has."""
        ...

    def after_slice(self, active: Active, is_over: bool) -> Verdict | None:
        """Decide on a trial after a slice; return a verdict with a reason if it is to be stopped.

        `is_over` is true if no epochs are left.
        """
        ...

    def after_end(self) -> None:
        """Update the schedule after a complete trial."""
        ...

    def make_room(self) -> bool:
        """Remove a checkpoint on a full disk; return whether there was one."""
        ...

    def unfinished(self) -> list[Trial]:
        """Return trials with epochs left that are not in training."""
        ...

    def reason(self) -> str:
        """Return the reason why nothing is left to train."""
        ...

    def finish(self) -> bool:
        """End the search; return whether trainings remain to be finished."""
        ...

    def close(self, is_limited: bool) -> None:
        """Store the state of the trials that have not ended.

        `is_limited` is true if a limit has ended the search, so that it may be continued.
        """
        ...


class InOrder:
    """Schedule of trials one after another, each to its end or until a stopping rule stops it.

    Args:
        state: state of the study.
        options: options of the run.
        tell_listener: called with events.
    """

    def __init__(self, state: StudyState, options: RunOptions, tell_listener: Listener) -> None:
        self._state, self._options, self._tell = state, options, tell_listener
        self._ready: list[Active] = []
        self._exhausted: str | None = None  # reason why no config can be proposed

    share = 1.0

    def restore(self, waiting: Sequence[Trial]) -> None:
        """Resume trials whose process died, from their checkpoints or from their starts."""
        for trial in waiting:
            active = loaded(self._state, trial)
            active.n_judged = max(0, len(active.errors) - self._options.slice_epochs)
            self._tell("start", active.now())
            self._ready.append(active)

    def next(self) -> Active | None:
        """Return the trial of the next slice; a new one is stored as running."""
        if self._ready:
            return self._ready.pop(0)
        if self._exhausted is not None or self._state.n_begun >= self._options.n_trials:
            return None
        begun, state = time.perf_counter(), self._state
        queued = state.store.queued()
        try:
            if queued is not None:
                state.optimizer.mark_pending(queued[1])
                selection, source = Selection(queued[1]), "queue"
            else:
                p = state.optimizer.ask()
                selection = Selection(p.config, p.n_priced, p.n_infeasible, p.broken, p.rejections)
                source = state.optimizer.strategy
        except Infeasible as error:
            if not state.n_begun:
                raise
            self._exhausted = str(error)
            return None
        trial = begin_trial(state, selection, source, begun, None if queued is None else queued[0])
        self._tell("start", trial)
        return Active(trial)

    def put_back(self, active: Active) -> None:
        """Return a trial, to be trained before any other."""
        self._ready.insert(0, active)

    def note_seconds(self, active: Active, result: TrainingResult) -> None:
        """Do nothing: seconds are not needed."""

    def after_slice(self, active: Active, is_over: bool) -> Verdict | None:
        """Return the verdict of the stopping rule on the epochs since its last verdict."""
        verdict = judged(self._state, active, is_over)
        if not is_over and (verdict is None or verdict.reason is None):
            self._ready.append(active)
        return verdict

    def after_end(self) -> None:
        """Do nothing: no other trial is affected."""

    def make_room(self) -> bool:
        """Return False: all checkpoints belong to trials in training."""
        return False

    def unfinished(self) -> list[Trial]:
        """Return trials with epochs left that are not in training."""
        return [active.now() for active in self._ready]

    def reason(self) -> str:
        """Return the reason why nothing is left to train."""
        return self._exhausted or f"{self._options.n_trials} trials have ended"

    def finish(self) -> bool:
        """Return False: unfinished trials continue in the next run."""
        return False

    def close(self, is_limited: bool) -> None:
        """Do nothing: unfinished trials are stored as running."""


class FreezeThaw:
    """Schedule that trains the training of the largest value, and pauses the others.

    Args:
        state: state of the study.
        options: options of the run.
        tell_listener: called with events.
        rule: stopping rule of the study.
        stop_paused: function that stops a paused trial permanently, with a verdict.
    """

    def __init__(
        self,
        state: StudyState,
        options: RunOptions,
        tell_listener: Listener,
        rule: FreezeThawRule,
        stop_paused: Callable[[Active, Verdict], None],
    ) -> None:
        self._state, self._options, self._tell, self._rule = state, options, tell_listener, rule
        self._stop_paused = stop_paused
        self._again: list[Active] = []  # trials whose slices were lost
        self._live: dict[int, Active] = {}  # trials ready to continue
        self._paused: dict[int, Trial] = {}
        self._restarts = RestartCosts()
        self._exhausted: str | None = None
        self._left: float | None = None  # epochs for promising trainings, once the search has ended
        self._is_over = False  # whether an earlier run ended with the planned number of trials

    @property
    def slices(self) -> Slices:
        """Unfinished trainings of the optimizer."""
        assert self._state.optimizer.slices is not None
        return self._state.optimizer.slices

    @property
    def share(self) -> float:
        """Share of the limits on time and energy for the search."""
        return 1.0 - (self._rule.finish_share if self._rule.finish == "promising" else 0.0)

    def restore(self, waiting: Sequence[Trial]) -> None:
        """Restore paused trials, and trials whose process died."""
        state = self._state
        is_enough = state.n_begun >= self._options.n_trials
        meta = state.store.meta()
        self._is_over = is_enough and meta.get("searched") == state.n_begun
        n_then, left = meta.get("finishing") or (0, 0.0)
        if is_enough and not self._is_over and n_then == state.n_begun:
            self._left = left
        slices = state.optimizer.use_slices(self._rule.setting.n_epochs, self._rule.restart_epochs or 0.0)
        self._restarts = RestartCosts.stored(state.store)
        slices.trainings.clear()
        stints = state.store.stints()
        slices.n_stints, slices.n_begun = len(stints), state.n_begun
        last = {row.trial: row for row in stints}
        for trial in waiting:
            row = last.get(trial.number, StintRow(trial.number, 1, Stint(-float("inf"))))
            is_paused = trial.status == "paused"
            slices.restore(
                PartialTraining(
                    trial.number,
                    trial.config,
                    trial.costs,
                    trial.curve,
                    "paused" if is_paused else "running",
                    None if is_paused else row.stint,
                )
            )
            if is_paused:
                self._paused[trial.number] = trial
        for trial in waiting:
            if trial.status != "paused":
                self._take_up(trial, last[trial.number].first_epoch if trial.number in last else 1)

    def _take_up(self, trial: Trial, first_epoch: int) -> None:
        """Continue a trial that was in training, or pause it by its last epoch."""
        active = loaded(self._state, trial)
        self._tell("start", active.now())
        self.slices.rewind(trial.number, len(active.errors))
        if len(active.errors) >= first_epoch:
            self._decide(active)
        else:
            self._go_on(active)

    def next(self) -> Active | None:
        """Return the trial of the largest value; a new one is stored as running."""
        if self._again:
            return self._again.pop(0)
        begun, store = time.perf_counter(), self._state.store
        queued = None
        if self._left is not None:
            self._expect_restarts()
            part = self._state.optimizer.finish_slice(_PROMISING, self._left)
        elif self._is_over:
            return None
        else:
            may_begin = self._state.n_begun < self._options.n_trials
            queued = store.queued() if may_begin and not self._live else None
            part = self._first_slice(queued[1]) if queued is not None else self._ask(may_begin)
        if part is None:
            return None
        if self._left is not None and part.begins_stint:
            self._keep_left(self._left - (self._rule.setting.n_epochs - part.first_epoch + 1))
        if part.number in self._live:
            active = self._live.pop(part.number)
        elif part.selection is None:
            active = self._resumed(part)
        else:
            source = self._state.optimizer.strategy if queued is None else "queue"
            number = None if queued is None else queued[0]
            trial = begin_trial(self._state, part.selection, source, begun, number, part.stint)
            self._tell("start", trial)
            active = Active(trial)
        active.n_epochs = part.n_epochs
        return active

    def _expect_restarts(self) -> None:
        """Use the costs of restarts that were measured so far, unless the rule has a number."""
        if self._rule.restart_epochs is None:
            self.slices.expect_restarts(*self._restarts.estimate(list(self._paused)))

    def _ask(self, may_begin: bool) -> Slice | None:
        self._expect_restarts()
        try:
            return self._state.optimizer.next_slice(may_begin=may_begin)
        except Infeasible as error:
            if not self._state.n_begun:
                raise
            self._exhausted = str(error)
            return None

    def _first_slice(self, config: Mapping[str, Any]) -> Slice:
        """Begin a queued config; like the first ones it is paused after its first decision."""
        costs = self._state.optimizer.price(config)
        return self.slices.begin(Selection(dict(config)), costs, Stint(float("inf")))

    def _resumed(self, part: Slice) -> Active:
        """Resume a paused trial from its checkpoint on disk, or from its start if that is missing."""
        trial = self._paused.pop(part.number)
        self._state.store.resume_trial(part.number, part.first_epoch, part.stint)
        begun = time.perf_counter()
        active = loaded(self._state, replace(trial, status="running"))
        active.read_s = time.perf_counter() - begun
        self.slices.rewind(part.number, len(active.errors))
        self._tell("resume", active.now())
        return active

    def put_back(self, active: Active) -> None:
        """Return a trial, to be trained before any other; a restarted one loses its epochs."""
        self.slices.rewind(active.number, len(active.errors))
        self._again.append(active)

    def note_seconds(self, active: Active, result: TrainingResult) -> None:
        """Store the seconds of a slice, to estimate the cost of restarts."""
        is_restart, active.is_restart = active.is_restart, False
        if result.final is None and result.beside_s is not None and self._rule.restart_epochs is None:
            first_epoch = len(active.errors) - len(result.errors) + 1
            one = SliceSeconds(active.number, first_epoch, is_restart, result.beside_s, result.seconds)
            self._restarts.keep(one, self._state.store)

    def after_slice(self, active: Active, is_over: bool) -> Verdict | None:
        """Continue or pause a trial; none is stopped permanently here."""
        if is_over:
            return None
        known = self.slices.trainings[active.number].errors
        self.slices.take(active.number, active.errors[len(known) :])
        self._decide(active)
        return None

    def _decide(self, active: Active) -> None:
        if self._state.optimizer.judge_slice(active.number):
            self._go_on(active)
        else:
            self._pause(active)

    def _go_on(self, active: Active) -> None:
        self.slices.make_ready(active.number)
        self._live[active.number] = active

    def _pause(self, active: Active) -> None:
        trial = replace(active.now(), status="paused")
        self._state.store.pause_trial(active.number)
        self._paused[active.number] = trial
        self._tell("pause", trial)

    def after_end(self) -> None:
        """Stop trainings permanently that can no longer enter the front, and remove their checkpoints."""
        chances = self._state.optimizer.paused_chances()
        for number, chance in chances.items():
            if chance < _HOPELESS:
                self._give_up(number, f"it would enter the front with probability {chance:.1g}")

    def make_room(self) -> bool:
        """Stop the least promising paused trial permanently; return False if none is paused."""
        chances = self._state.optimizer.paused_chances()
        if not chances:
            return False
        number = min(chances, key=lambda one: chances[one])
        self._give_up(number, "its checkpoint was removed on a full disk")
        _LOG.warning("trial %d cannot be resumed any more: its checkpoint was removed on a full disk", number)
        return True

    def _give_up(self, number: int, reason: str) -> None:
        trial, state = self._paused.pop(number), self._state
        median, std = self._expected(number)
        text = f"paused after {counted(len(trial.curve), 'epoch')} and not resumed: {reason}"
        active = Active(trial, state.store.epochs(number))
        self._stop_paused(active, Verdict(text, min(median, LARGEST_ERROR), std))

    def _expected(self, number: int) -> tuple[float, float]:
        """Return median and standard deviation of the expected final error of an unfinished trial."""
        ends = self._state.optimizer.expected_ends([number])
        return float(ends.median[0]), float(ends.high[0] - ends.low[0]) / 2

    def _pause_all(self) -> None:
        self._state.optimizer.pause_all()
        for active in self._live.values():
            self._pause(active)
        self._live.clear()

    def unfinished(self) -> list[Trial]:
        """Return trials with epochs left that are not in training."""
        return [*self._paused.values(), *(one.now() for one in (*self._again, *self._live.values()))]

    def reason(self) -> str:
        """Return the reason why nothing is left to train."""
        if self._exhausted is not None:
            return self._exhausted
        n_complete = sum(trial.status == "complete" for trial in self._state.ended.values())
        return (
            f"{counted(self._state.n_begun, 'trial')} begun, {n_complete} complete and "
            f"{len(self._paused)} paused"
        )

    def finish(self) -> bool:
        """End the search: pause all trials, and return whether promising ones are to be finished."""
        self._pause_all()
        if self._is_over or self._rule.finish != "promising" or not self._paused:
            return False
        if self._left is None:
            self._keep_left(self._rule.finish_epochs(self._options.n_trials))
        return True

    def _keep_left(self, left: float) -> None:
        """Store the epochs that are left for promising trainings."""
        self._left = left
        self._state.store.set_meta(finishing=[self._state.n_begun, left])

    def close(self, is_limited: bool) -> None:
        """Store the expected final error of each paused trial, and whether the search is complete."""
        self._pause_all()
        if not is_limited:
            self._state.store.set_meta(searched=self._state.n_begun)
            self._warn_of_none_complete()
        for number, chance in self._state.optimizer.paused_chances().items():
            if number not in self._paused:
                continue
            median, std = self._expected(number)
            expected = {"expected_error": median, "expected_error_std": std, "front_chance": chance}
            n_epochs, n_all = len(self._paused[number].curve), self._rule.setting.n_epochs
            reason = f"paused after {n_epochs} of {n_all} epochs: on the front with probability {chance:.2g}"
            self._state.store.describe_paused(number, reason, expected)

    def _warn_of_none_complete(self) -> None:
        """Warn if nothing that is paused was promising, as with errors in percent."""
        if self._rule.finish == "none" or not self._paused:
            return
        if any(trial.status == "complete" for trial in self._state.ended.values()):
            return
        reference = self._state.optimizer.reference
        _LOG.warning(
            "no training is complete: %d paused, and none is expected within the reference point (%s); set "
            "another reference, or check that errors are shares and not percent",
            *(len(self._paused), ", ".join(f"{name} = {value:.4g}" for name, value in reference.items())),
        )


def judged(state: StudyState, active: Active, is_over: bool = False) -> Verdict | None:
    """Return the verdict of the stopping rule on the epochs since its last verdict.

    The last epoch of a finished training is not judged.
    """
    if state.rule is None:
        return None
    trial, n_judged = active.now(), active.n_judged
    active.n_judged = len(active.errors)
    return state.judge(replace(trial, curve=trial.curve[:-1]) if is_over else trial, n_judged)


def loaded(state: StudyState, trial: Trial) -> Active:
    """Return a trial at its last checkpoint or, with a warning, at its start if it has no usable one."""
    n_epochs = len(trial.curve)
    n_kept = state.files.last_checkpoint(trial.number, n_epochs) if state.is_resumable else 0
    checkpoint = state.files.checkpoint(trial.number, n_kept) if n_kept else None
    fault = None
    if n_kept == 0:
        fault = "is missing"
    elif checkpoint is None:
        fault = "cannot be read"
    elif not state.is_checkpoint_of(trial.number, n_kept, checkpoint):
        fault = "is damaged or of another training"
    if fault is not None:
        if n_epochs and state.is_resumable:
            _LOG.warning(
                "trial %d: checkpoint after epoch %d %s in %s; it is trained again from its start",
                *(trial.number, n_kept or n_epochs, fault, state.files.checkpoints),
            )
        return restarted(state, trial)
    state.store.restart_trial(trial.number, n_kept)
    state.files.drop_checkpoints(trial.number, keep=n_kept)
    epochs = state.store.epochs(trial.number)
    return Active(replace(trial, curve=trial.curve[:n_kept]), epochs, checkpoint)


def restarted(state: StudyState, trial: Trial) -> Active:
    """Return a trial at its start; its seed reproduces the same epochs."""
    state.store.restart_trial(trial.number)
    state.files.drop_checkpoints(trial.number)
    return Active(replace(trial, curve=(), train_s=None, energy_j=None))


def begin_trial(
    state: StudyState,
    selection: Selection,
    source: str,
    begun: float,
    queued: int | None = None,
    stint: Stint | None = None,
) -> Trial:
    """Store a new trial as running, and return it.

    Args:
        state: state of the study.
        selection: selected config.
        source: name of the strategy, or "queue".
        begun: beginning of the selection by `time.perf_counter`.
        queued: identifier in the queue.
        stint: first stint, with freeze-thaw.
    """
    optimizer, number = state.optimizer, state.n_begun
    trial = Trial(
        number=number,
        config=selection.config,
        costs=optimizer.price(selection.config),
        is_feasible=optimizer.is_feasible(selection.config),
        seed=trial_seed(optimizer.seed, number),
        source=source,
        n_priced=selection.n_priced,
        n_infeasible=selection.n_infeasible,
        broken=selection.broken,
        ask_s=time.perf_counter() - begun,
        status="running",
        error=None,
        metrics={},
        reason=None,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        train_s=None,
        told=None,
    )
    rejections = [Rejected(number, r.config, r.costs, r.broken) for r in selection.rejections]
    intervals: dict[str, Any] = dict(optimizer.intervals(selection.config, _INTERVAL))
    if intervals:
        intervals["confidence"] = _INTERVAL
    state.store.start_trial(trial, rejections, queued, intervals, stint)
    state.n_begun += 1
    return trial
