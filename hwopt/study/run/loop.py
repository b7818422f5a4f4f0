"""Run loop of a study: submits slices to an executor and stores their results.

    schedule --> trial `running` in the store --> slice --> executor --> epochs to the store --> schedule
                                                    ^-------- checkpoint --------'       '-> end --> tell

The store is always written first, so that a new process can continue from it. The schedule selects trials
(`hwopt.study.run.schedule`), the executor only runs them. A training that cannot be resumed is one slice.
"""

import logging
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import replace
from functools import partial
from typing import Any

from hwopt.errors import CheckpointUnusable, OutOfMemory, TrainingFailed
from hwopt.study.run.executors import InProcess
from hwopt.study.run.failure_watch import FailureWatch, log_end
from hwopt.study.run.limits import SearchProgress, Stop
from hwopt.study.run.objective_call import ShippedRule, run_objective, run_slice
from hwopt.study.run.objective_check import check_in_worker
from hwopt.study.run.running_trial import Active, RunOptions
from hwopt.study.run.schedule import FreezeThaw, InOrder, Listener, Schedule, judged, restarted
from hwopt.study.run.state import StudyState
from hwopt.study.store.clock import Clock
from hwopt.study.store.files import DiskFull
from hwopt.study.store.results import energy_of
from hwopt.study.store.store import STOPPED_AT, Trial
from hwopt.train.failure import Failure, failure_of_transfer, first_line
from hwopt.train.result import Epoch, TrainingResult
from hwopt.train.stopping import Verdict
from hwopt.units import counted

_LOG = logging.getLogger("hwopt")
_NO_VERSION = (TrainingFailed.__name__, OutOfMemory.__name__)  # failures of any version of an objective
_TIMES = {1: "once", 2: "twice"}


class Driver:
    """Runs a study until a limit is reached; constructed for each `Study.run`.

    Args:
        state: state of the study.
        executor: executor of the slices.
        options: options of the run.
        listener: called with "start", "epoch", "pause", "resume" or "end", and the current trial.
        waiting: trials that have not ended.
    """

    def __init__(
        self,
        state: StudyState,
        executor: Executor,
        options: RunOptions,
        listener: Listener | None,
        waiting: list[Trial],
    ) -> None:
        self._state, self._executor, self._options, self._listener = state, executor, options, listener
        self._waiting = waiting
        self._running: dict[Future[Any], Active] = {}
        self._of_earlier_runs = {trial.number for trial in waiting}  # without a slice in this run
        self._begun_again: set[int] = set()  # trials whose checkpoints could not be used
        n_workers = getattr(executor, "n_workers", 1)  # an executor of unknown size has one at least
        # with more slices than workers, their transfer is not distinguished from waiting for a worker
        self._is_transfer_measured = not isinstance(executor, InProcess) and options.jobs <= n_workers
        self._schedule = self._make_schedule()
        self._clock = Clock(state.store)
        has_succeeded = any(trial.status != "failed" for trial in state.ended.values())
        self._watch = FailureWatch(has_succeeded)

    def _make_schedule(self) -> Schedule:
        rule = self._state.freeze_thaw
        if rule is None:
            return InOrder(self._state, self._options, self._tell_listener)

        def stop_paused(active: Active, verdict: Verdict) -> None:
            self._end(active, self._stopped(active, verdict))

        return FreezeThaw(self._state, self._options, self._tell_listener, rule, stop_paused)

    def run(self) -> str:
        """Train, and return the reason of the end."""
        if not isinstance(self._executor, InProcess) and self._has_work():
            check_in_worker(self._executor, self._state.objective)
        with self._clock:
            self._schedule.restore(self._waiting)
            try:
                return self._train()
            except BaseException:
                for future in self._running:  # trials that have not begun are trained in the next run
                    future.cancel()
                raise

    def _has_work(self) -> bool:
        return bool(self._waiting) or self._state.n_begun < self._options.n_trials

    def _train(self) -> str:
        """Search, then finish promising trainings, and return the reason of the end with any failures."""
        stop = self._options.stop
        reason = self._train_until(stop.reduced(self._schedule.share))
        if stop.reason(self._progress(stop)) is None and self._schedule.finish():
            self._train_until(stop)
        self._schedule.close(reason is not None)
        return f"{reason or self._schedule.reason()}{self._failures()}"

    def _failures(self) -> str:
        """Return the number of failed trainings and the first reason; "" if none failed."""
        failed = [trial for trial in self._state.ended.values() if trial.status == "failed"]
        if not failed:
            return ""
        first = min(failed, key=lambda trial: trial.number)
        reason = (first.reason or "no reason given").strip().partition("\n")[0]
        return f"; {counted(len(failed), 'training')} failed, the first is trial {first.number}: {reason}"

    def _train_until(self, stop: Stop) -> str | None:
        """Train until a limit is reached, whose message is returned, or nothing is left."""
        while True:
            reason = stop.reason(self._progress(stop))
            while reason is None and len(self._running) < self._options.jobs:
                active = self._schedule.next()
                if active is None:
                    break
                active.send()
                future = self._submit(active)
                future.add_done_callback(active.receive)
                self._running[future] = active
                del future
            if not self._running:
                return reason
            done = wait(self._running, return_when=FIRST_COMPLETED).done
            while done:  # without a reference to a future, a cluster can free its result
                future = done.pop()
                self._take(self._running.pop(future), future)
                del future

    def _progress(self, stop: Stop) -> SearchProgress:
        """Return the progress of the search; values without a limit are not computed."""
        state = self._state
        energy_j, volume = None, None
        if stop.training_energy_j is not None:
            running = [one.now() for one in self._running.values()]
            energy_j = energy_of([*state.ended.values(), *self._schedule.unfinished(), *running])
        if stop.hypervolume is not None:
            volume = state.front.hypervolume(state.optimizer.reference)
        return SearchProgress(self._clock.elapsed_s, energy_j, volume, state.front.n_since_progress)

    # -- to the executor and back

    def _submit(self, active: Active) -> Future[Any]:
        """Submit a slice to the executor; a plain objective is one slice, judged where it runs."""
        state, trial = self._state, active.trial
        if state.is_resumable:
            objective: Any = state.objective
            n_epochs = min(self._options.slice_epochs, active.n_epochs or self._options.slice_epochs)
            return self._executor.submit(
                run_slice,
                objective,
                trial.config,
                trial.seed,
                active.checkpoint,
                n_epochs,
                self._options.catch,
                state.records_reads,
            )
        on_epoch: Any = None
        if isinstance(self._executor, InProcess):
            on_epoch = partial(self._heard, active)
        elif state.rule is not None:
            on_epoch = ShippedRule(state.rule, active.curve(), state.other_curves(trial.number))
        return self._executor.submit(
            run_objective,
            state.objective,
            trial.config,
            trial.seed,
            on_epoch,
            self._options.catch,
            state.records_reads,
        )

    def _heard(self, active: Active, epoch: int, error: float, seconds: float) -> Verdict | None:
        """Store an epoch of a training in this process, and return the verdict on it."""
        self._write(active, [Epoch(error, seconds)])
        return judged(self._state, active)

    def _take(self, active: Active, future: Future[Any]) -> None:
        """Process the result of a slice or a whole training, or the death of a worker."""
        error = future.exception()
        if error is not None:
            self._retry(active, error)
            return
        result: TrainingResult = future.result()
        failure = result.failure
        if not self._state.is_resumable:
            self._write(active, result.epochs[len(active.errors) :])
            self._end(active, result)
        elif failure is None:
            self._take_slice(active, result)
        elif active.checkpoint is not None and self._may_be_unusable(active.number, failure):
            self._begun_again.add(active.number)
            _LOG.warning("trial %d: %s; it is trained again from its start", active.number, failure.reason)
            self._schedule.put_back(restarted(self._state, active.trial))
        else:
            self._end(active, result)
        self._state.note_reads(active.trial, result.reads)

    def _may_be_unusable(self, number: int, failure: Failure) -> bool:
        """Return whether a slice may have failed because its checkpoint cannot be used, for the first time.

        That is so if the objective says it, and for other exceptions in the first slice from a checkpoint of
        an earlier process, which may have had another version of the objective.
        """
        if number in self._begun_again or failure.uncaught is not None:
            return False
        if failure.kind == CheckpointUnusable.__name__:
            return True
        return number in self._of_earlier_runs and failure.kind not in _NO_VERSION

    def _take_slice(self, active: Active, result: TrainingResult) -> None:
        self._of_earlier_runs.discard(active.number)
        self._save(active, result)
        self._write(active, result.epochs)
        self._schedule.note_seconds(active, self._with_transfer(active, result))
        is_over = result.final is not None
        if not is_over:  # the last one is kept until the store has the end of the trial
            self._state.files.drop_checkpoints(active.number, keep=len(active.errors))
        endless = None if is_over else self._endless(active)
        if endless is not None:
            self._end(active, TrainingResult((), (), failure=endless))
            return
        verdict = self._schedule.after_slice(active, is_over)
        if verdict is not None and verdict.reason is not None:
            self._end(active, self._stopped(active, verdict))
        elif result.final is not None:
            self._end(active, result)

    def _endless(self, active: Active) -> Failure | None:
        """Return a failure of a training that does not end at twice its number of epochs."""
        rule, n_epochs = self._state.freeze_thaw, len(active.errors)
        if rule is None or n_epochs < 2 * rule.setting.n_epochs:
            return None
        return Failure(
            f"run_slice gave no final values after {n_epochs} epochs, where a whole training has "
            f'{rule.setting.n_epochs}; return final={{"error": ...}} with the last epoch'
        )

    def _with_transfer(self, active: Active, result: TrainingResult) -> TrainingResult:
        """Return a slice with the seconds for its checkpoint, from disk and to and from the worker."""
        read_s, active.read_s = active.read_s, 0.0
        if result.beside_s is None or result.worker_s is None:
            return result
        transfer_s = active.transfer_s(result.worker_s) if self._is_transfer_measured else 0.0
        return replace(result, beside_s=result.beside_s + read_s + transfer_s)

    def _stopped(self, active: Active, verdict: Verdict) -> TrainingResult:
        """Return the result of a stopped training, which ends at the epoch of the verdict."""
        n_epochs = verdict.epoch or len(active.errors)
        values = {"error": active.errors[n_epochs - 1]}
        if n_epochs < len(active.errors):
            values[STOPPED_AT] = float(n_epochs)
        return TrainingResult((), (), final=values, verdict=verdict)  # its epochs are written

    def _save(self, active: Active, result: TrainingResult) -> None:
        """Store the checkpoint of a training, or keep the weights of an ended one in memory."""
        active.checkpoint = result.checkpoint
        if result.checkpoint is None or result.final is not None:
            return
        n_epochs = len(active.errors) + len(result.errors)
        while True:
            try:
                self._state.save_checkpoint(active.number, n_epochs, result.checkpoint)
                return
            except DiskFull:
                if not self._schedule.make_room():
                    raise

    def _retry(self, active: Active, error: BaseException) -> None:
        """Count an attempt that ended with the death of a worker; fail the trial after the last one."""
        failure = failure_of_transfer(error)
        if failure is not None:
            self._end(active, TrainingResult((), (), failure=failure))
            return
        attempts = active.trial.attempts + 1
        self._state.store.add_attempt(active.number)
        active.trial = replace(active.trial, attempts=attempts)
        if attempts <= self._options.retries:
            self._schedule.put_back(active)
            return
        times = _TIMES.get(attempts, f"{attempts} times")
        reason = f"its worker process died {times}: {type(error).__name__}: {first_line(error)}"
        self._end(active, TrainingResult((), (), failure=Failure(reason, "WorkerDied")))

    def _checked(self, result: TrainingResult) -> TrainingResult:
        """Return a complete training as a failed one if it lacks a metric with a limit."""
        wanted = [budget.metric for budget in self._state.optimizer.outcome_budgets]
        final = result.final or {}
        missing = [metric for metric in wanted if metric not in final]
        if result.status != "complete" or not missing:
            return result
        reason = (
            f"the objective returned {', '.join(sorted(final))}; the study limits {missing[0]}: "
            f'return {{"error": ..., "{missing[0]}": ...}}{"; " + result.reason if result.reason else ""}'
        )
        return replace(result, final=None, failure=Failure(reason))

    # -- into the store

    def _write(self, active: Active, epochs: list[Epoch]) -> None:
        """Store epochs, and call the listener for each."""
        if not epochs:
            return
        self._state.store.add_epochs(active.number, len(active.errors) + 1, epochs)
        for epoch in epochs:
            active.add(epoch)
            if self._state.rule is not None:
                self._state.note(active.now())
            if self._listener is not None:
                self._listener("epoch", active.now())

    def _have_come_further(self, active: Active) -> bool:
        """Tell whether an unfinished trial has more epochs than one that has ended."""
        others = [*self._schedule.unfinished(), *(one.now() for one in self._running.values())]
        return any(len(trial.curve) > len(active.errors) for trial in others)

    def _tell_listener(self, event: str, trial: Trial) -> None:
        if self._listener is not None:
            self._listener(event, trial)

    def _end(self, active: Active, result: TrainingResult) -> None:
        """Store the end of a trial, tell the optimizer, keep or remove its weights, call the listener."""
        state, result = self._state, self._checked(result)
        failure, verdict, metrics = result.failure, result.verdict, result.metrics
        self._watch.check_set_up(active.number, failure)
        error = None if result.final is None else result.final["error"]
        if verdict is not None and verdict.final_error is not None:
            metrics["expected_error"] = verdict.final_error
            metrics["expected_error_std"] = verdict.final_error_std or 0.0
        ended = replace(
            active.now(),
            status=result.status,
            error=error,
            metrics=metrics,
            is_feasible=state.optimizer.is_feasible(
                active.trial.config, metrics, was_within_budgets=active.trial.is_feasible
            ),
            reason=result.reason,
            train_s=active.elapsed_s if result.elapsed_s is None else result.elapsed_s,
            elapsed_s=self._clock.elapsed_s,
            failure=None if failure is None else failure.kind,
            traceback=None if failure is None else failure.traceback,
        )
        if active.checkpoint is not None and self._options.keep_weights != "none":
            state.files.save_weights(active.number, active.checkpoint)
        state.store.end_trial(ended)
        log_end(ended)
        state.tell(ended)
        state.keep_reference()
        state.files.drop_checkpoints(active.number)
        if self._options.keep_weights == "front":
            state.files.keep_weights(state.front.numbers)
        if ended.status == "complete":
            self._schedule.after_end()
        self._tell_listener("end", ended)
        self._watch.check(failure, not self._have_come_further(active))
