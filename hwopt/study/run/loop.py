"""The run loop: what is trained next, slice by slice, and what becomes of what comes back.

    ask --> trial `running` in the store --> slice --> executor --> epochs to the store --> go on, stop or end
                                               ^-------- checkpoint ------------------------'      |
                                                                                                  tell

The store comes first each time: what it holds is all that a new process needs to go on. The driver decides;
an executor only runs. An objective that cannot be resumed is one slice.
"""

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from hwopt.errors import Infeasible
from hwopt.study.run.executors import InProcess
from hwopt.study.run.failure_watch import FailureWatch, log_end
from hwopt.study.run.limits import Progress
from hwopt.study.run.objective_call import Outcome, ShippedRule, run_objective, run_slice
from hwopt.study.run.objective_check import check_in_worker
from hwopt.study.run.running_trial import Active, RunOptions
from hwopt.study.run.seeds import trial_seed
from hwopt.study.run.state import StudyState
from hwopt.study.store.clock import Clock
from hwopt.study.store.failure import Failure, failure_of_transfer, first_line
from hwopt.study.store.results import energy_of
from hwopt.study.store.store import STOPPED_AT, EpochRow, Rejected, Trial
from hwopt.train.slice import SliceResult
from hwopt.train.stopping import Verdict

Listener = Callable[[str, Trial], None]  # "start", "epoch" or "end", and the trial as it is then

_INTERVAL = 0.8  # confidence of the intervals that are kept: their upper ends have 0.9, as budgets have
_TIMES = {1: "once", 2: "twice"}


class Driver:
    """Runs a study until a limit is reached. Made anew for each `Study.run`."""

    def __init__(
        self,
        state: StudyState,
        executor: Executor,
        options: RunOptions,
        listener: Listener | None,
        waiting: list[Trial],
    ) -> None:
        self._state, self._executor, self._options, self._listener = state, executor, options, listener
        self._waiting, self._ready = waiting, list[Active]()
        self._running: dict[Future[Any], Active] = {}
        self._exhausted: str | None = None  # why no more can be proposed
        self._clock = Clock(state.store)
        has_succeeded = any(trial.status != "failed" for trial in state.ended.values())
        self._watch = FailureWatch(has_succeeded)

    def run(self) -> str:
        """Train, and return why it is over."""
        if not isinstance(self._executor, InProcess) and self._has_work():
            check_in_worker(self._executor, self._state.objective)
        with self._clock:
            self._ready = [self._resumed(trial) for trial in self._waiting]
            try:
                return self._train()
            except BaseException:
                for future in self._running:  # what has not begun need not; its trial is trained next time
                    future.cancel()
                raise

    def _has_work(self) -> bool:
        return bool(self._waiting) or self._state.n_begun < self._options.n_trials

    def _train(self) -> str:
        while True:
            reason = self._options.stop.reason(self._progress())
            while reason is None and len(self._running) < self._options.jobs:
                active = self._next()
                if active is None:
                    break
                self._running[self._submit(active)] = active
            if not self._running:
                return reason or self._exhausted or f"{self._options.n_trials} trials have ended"
            done = wait(self._running, return_when=FIRST_COMPLETED).done
            while done:  # a future that nobody holds any more lets a cluster forget its result
                future = done.pop()
                self._take(self._running.pop(future), future)
                del future

    # -- what is next

    def _progress(self) -> Progress:
        """Return how far the search is; what no limit asks for is not computed."""
        state, stop, under_way = self._state, self._options.stop, [*self._ready, *self._running.values()]
        energy_j, volume = None, None
        if stop.training_energy_j is not None:
            energy_j = energy_of([*state.ended.values(), *(one.now() for one in under_way)])
        if stop.hypervolume is not None:
            volume = state.front.hypervolume(state.optimizer.reference)
        return Progress(self._clock.elapsed_s, energy_j, volume, state.front.n_since_progress)

    def _next(self) -> Active | None:
        """Return the next trial to train a slice of; a new one is written down as running."""
        if self._ready:
            return self._ready.pop(0)
        if self._exhausted is not None or self._state.n_begun >= self._options.n_trials:
            return None
        try:
            active = Active(self._begin())
        except Infeasible as error:
            if not self._state.n_begun:
                raise
            self._exhausted = str(error)
            return None
        self._tell_listener("start", active.trial)
        return active

    def _resumed(self, trial: Trial) -> Active:
        """Go on with a trial whose process died: from its checkpoint, else from its start, with its seed."""
        state, n_epochs = self._state, len(trial.curve)
        checkpoint = state.files.checkpoint(trial.number, n_epochs) if state.is_resumable else None
        if checkpoint is None:
            state.store.restart_trial(trial.number)
            trial = replace(trial, curve=(), train_s=None, energy_j=None)
            n_epochs = 0
        state.files.drop_checkpoints(trial.number, keep=n_epochs)
        self._tell_listener("start", trial)
        n_judged = max(0, n_epochs - self._options.slice_epochs)  # the last may not have been judged
        return Active(trial, state.store.epochs(trial.number), checkpoint, n_judged)

    def _begin(self) -> Trial:
        """Take the next config from the queue or the optimizer and write it down as a running trial."""
        begun, state = time.perf_counter(), self._state
        optimizer, number = state.optimizer, state.n_begun
        queued = state.store.queued()
        rejections: list[Rejected] = []
        if queued is not None:
            config, source, n_priced, n_infeasible, broken = queued[1], "queue", 0, 0, {}
            optimizer.mark_pending(config)
        else:
            proposal = optimizer.ask()
            config, source = proposal.config, optimizer.strategy
            n_priced, n_infeasible, broken = proposal.n_priced, proposal.n_infeasible, proposal.broken
            rejections = [Rejected(number, r.config, r.costs, r.broken) for r in proposal.rejections]
        trial = Trial(
            number=number,
            config=config,
            costs=optimizer.price(config),
            is_feasible=optimizer.is_feasible(config),
            seed=trial_seed(optimizer.seed, number),
            source=source,
            n_priced=n_priced,
            n_infeasible=n_infeasible,
            broken=broken,
            ask_s=time.perf_counter() - begun,
            status="running",
            error=None,
            metrics={},
            reason=None,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            train_s=None,
            told=None,
        )
        intervals: dict[str, Any] = dict(optimizer.intervals(config, _INTERVAL))
        if intervals:
            intervals["confidence"] = _INTERVAL
        state.store.start_trial(trial, rejections, None if queued is None else queued[0], intervals)
        state.n_begun += 1
        return trial

    # -- to the executor and back

    def _submit(self, active: Active) -> Future[Any]:
        """Hand a slice to the executor; a plain objective is one slice, judged where it runs."""
        state, trial = self._state, active.trial
        if state.is_resumable:
            objective: Any = state.objective
            n_epochs = self._options.slice_epochs
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

    def _heard(self, active: Active, epoch: int, error: float, elapsed_s: float) -> Verdict | None:
        """Write down an epoch of a training in this process, and answer whether it goes on."""
        self._write(active, [EpochRow(error, elapsed_s)])
        return self._judged(active)

    def _take(self, active: Active, future: Future[Any]) -> None:
        """Take what came back: a slice, a whole training, or the death of a worker."""
        error = future.exception()
        if error is not None:
            self._retry(active, error)
            return
        result = future.result()
        if isinstance(result, SliceResult):
            self._take_slice(active, result)
        elif isinstance(result, Outcome):
            self._write(active, result.epochs[len(active.errors) :])
            self._end(active, result)
        else:
            self._end(active, self._failed(active, result))
        self._state.note_reads(active.trial, getattr(result, "reads", None))

    def _take_slice(self, active: Active, result: SliceResult) -> None:
        self._save(active, result)
        self._write(active, _rows(active.elapsed_s, result))
        self._state.files.drop_checkpoints(active.number, keep=len(active.errors))
        verdict = self._judged(active, is_over=result.final is not None)
        if verdict is not None and verdict.reason is not None:
            self._end(active, self._stopped(active, verdict))
        elif result.final is not None:
            self._end(active, self._outcome(active, "complete", dict(result.final), result.left_out))
        else:
            self._ready.append(active)

    def _judged(self, active: Active, is_over: bool = False) -> Verdict | None:
        """Return what the stopping rule says of the epochs that have come since it was last asked.

        Of a training that is over the last one is not judged: there is nothing left to stop.
        """
        if self._state.rule is None:
            return None
        trial, n_judged = active.now(), active.n_judged
        active.n_judged = len(active.errors)
        return self._state.judge(replace(trial, curve=trial.curve[:-1]) if is_over else trial, n_judged)

    def _stopped(self, active: Active, verdict: Verdict) -> Outcome:
        """Return how a stopped training ended: at the epoch of the verdict, where its slice has more."""
        n_epochs = verdict.epoch or len(active.errors)
        values = {"error": active.errors[n_epochs - 1]}
        if n_epochs < len(active.errors):
            values[STOPPED_AT] = float(n_epochs)
        return self._outcome(active, "stopped", values, verdict.reason, verdict)

    def _save(self, active: Active, result: SliceResult) -> None:
        """Write the checkpoint of a training that goes on; keep in mind the weights of one that has ended."""
        active.checkpoint = result.checkpoint
        if result.checkpoint is not None and result.final is None:
            n_epochs = len(active.errors) + len(result.errors)
            self._state.files.save_checkpoint(active.number, n_epochs, result.checkpoint)

    def _retry(self, active: Active, error: BaseException) -> None:
        """Count an attempt that ended with the death of a worker; fail the trial where it was the last."""
        failure = failure_of_transfer(error)
        if failure is not None:
            self._end(active, self._failed(active, failure))
            return
        attempts = active.trial.attempts + 1
        self._state.store.add_attempt(active.number)
        active.trial = replace(active.trial, attempts=attempts)
        if attempts <= self._options.retries:
            self._ready.insert(0, active)
            return
        times = _TIMES.get(attempts, f"{attempts} times")
        reason = f"its worker process died {times}: {type(error).__name__}: {first_line(error)}"
        self._end(active, self._failed(active, Failure(reason, "WorkerDied")))

    def _failed(self, active: Active, failure: Failure) -> Outcome:
        return replace(self._outcome(active, "failed", {}, failure.reason), failure=failure)

    def _outcome(
        self,
        active: Active,
        status: str,
        values: dict[str, float],
        reason: str | None = None,
        verdict: Verdict | None = None,
    ) -> Outcome:
        return Outcome(status, values, (), active.elapsed_s, reason, verdict)  # its epochs are written

    def _checked(self, outcome: Outcome) -> Outcome:
        """Return a complete training as a failed one where it lacks a metric that has a limit."""
        wanted = [budget.metric for budget in self._state.optimizer.outcome_budgets]
        missing = [metric for metric in wanted if metric not in outcome.values]
        if outcome.status != "complete" or not missing:
            return outcome
        reason = (
            f"the objective returned {', '.join(sorted(outcome.values))}; the study limits {missing[0]}: "
            f'return {{"error": ..., "{missing[0]}": ...}}{"; " + outcome.reason if outcome.reason else ""}'
        )
        return replace(outcome, status="failed", values={}, reason=reason, failure=Failure(reason))

    # -- into the store

    def _write(self, active: Active, rows: "list[EpochRow] | tuple[EpochRow, ...]") -> None:
        """Write epochs that have come, and let the listener know of each."""
        if not rows:
            return
        self._state.store.add_epochs(active.number, len(active.errors) + 1, rows)
        for row in rows:
            active.add(row)
            if self._state.rule is not None:
                self._state.note(active.now())
            if self._listener is not None:
                self._listener("epoch", active.now())

    def _tell_listener(self, event: str, trial: Trial) -> None:
        if self._listener is not None:
            self._listener(event, trial)

    def _end(self, active: Active, outcome: Outcome) -> None:
        """Write how a trial ended, tell the optimizer, keep its weights or not, let the listener know."""
        state, outcome = self._state, self._checked(outcome)
        failure = outcome.failure
        self._watch.check_set_up(active.number, failure)
        error = outcome.values.get("error")
        metrics = {name: value for name, value in outcome.values.items() if name != "error"}
        if outcome.verdict is not None and outcome.verdict.final_error is not None:
            metrics["expected_error"] = outcome.verdict.final_error
            metrics["expected_error_std"] = outcome.verdict.final_error_std or 0.0
        ended = replace(
            active.now(),
            status=outcome.status,
            error=error,
            metrics=metrics,
            is_feasible=active.trial.is_feasible and state.optimizer.keeps_outcomes(metrics),
            reason=outcome.reason,
            train_s=outcome.train_s,
            elapsed_s=self._clock.elapsed_s,
            failure=None if failure is None else failure.kind,
            traceback=None if failure is None else failure.traceback,
        )
        if active.checkpoint is not None and self._options.keep_weights != "none":
            state.files.save_weights(active.number, active.checkpoint)
        state.store.end_trial(
            active.number,
            outcome.status,
            error,
            metrics,
            outcome.reason,
            outcome.train_s,
            outcome.epochs,
            ended.elapsed_s,
            ended.is_feasible,
            ended.failure,
            ended.traceback,
        )
        log_end(ended)
        state.tell(ended)
        state.keep_reference()
        state.files.drop_checkpoints(active.number)
        if self._options.keep_weights == "front":
            state.files.keep_weights(state.front.numbers)
        self._tell_listener("end", ended)
        self._watch.check(failure)


def _rows(elapsed_s: float, result: SliceResult) -> list[EpochRow]:
    """Return the epochs of a slice that began after `elapsed_s` seconds of training."""
    rows = []
    energies = result.energies_j or (None,) * len(result.errors)
    for error, seconds, energy_j in zip(result.errors, result.seconds, energies, strict=True):
        elapsed_s += seconds
        rows.append(EpochRow(error, elapsed_s, energy_j))
    return rows
