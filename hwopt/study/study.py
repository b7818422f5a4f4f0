"""Studies: a search in one file, started and resumed by the same call.

    Study --run--> Driver: ask, train in slices, store, tell, until a limit is reached

The file is sufficient for a new process to continue: the optimizer is told the ended trials again, and
running trainings continue from their checkpoints. The loop itself is in `hwopt.study.run.loop`.
"""

from __future__ import annotations  # help() shows the names of types

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from rich import get_console

from hwopt.costs import CostFunction, price
from hwopt.errors import InvalidInput, StudyError
from hwopt.report.live_view import View, open_view
from hwopt.scalars import whole_number
from hwopt.search.feasible_region import FeasibleRegion
from hwopt.search.optimizer import Budgets, Optimizer
from hwopt.search.pricing_steps import OnPriced
from hwopt.signatures import also_by_position
from hwopt.space.search_space import SearchSpace
from hwopt.study.constructor_arguments import optimizer_of, resolved_arguments
from hwopt.study.reader import LoadedStudy, StudyReader, outline
from hwopt.study.run.executors import InProcess, LocalWorkers
from hwopt.study.run.export import Rerun, repeat_trial
from hwopt.study.run.limits import LARGEST_JOBS, LARGEST_STUDY, Stop
from hwopt.study.run.loop import Driver
from hwopt.study.run.objective_call import Objective
from hwopt.study.run.objective_check import check_objective
from hwopt.study.run.running_trial import RunOptions
from hwopt.study.run.schedule import Listener
from hwopt.study.run.seeds import trial_seed as trial_seed
from hwopt.study.run.state import OnTold, StudyState
from hwopt.study.run.stopping_argument import AUTOMATIC, RuleMaker, automatic_rule, stopping_from
from hwopt.study.store.copied_trials import copy_priced, ended_trials
from hwopt.study.store.files import IN_MEMORY, KEEP_WEIGHTS, check_path, temporary_file
from hwopt.study.store.identity import code_of, compare, versions
from hwopt.study.store.price_cache import keep_prices, restore_prices
from hwopt.study.store.store import Store, Trial
from hwopt.study.store.table_columns import check_metric_names
from hwopt.train.failure import check_catch
from hwopt.train.stopping import StoppingRule

Stopping = StoppingRule | RuleMaker | str | Mapping[str, Any]
Exceptions = type[Exception] | Iterable[type[Exception]]
_LOG = logging.getLogger("hwopt")
_N_UNPRICED = 3  # first trials that may not have become priceable; later ones may, as limits are learned
_NO_PARTS = ("self", "path", "__class__")  # local names in `Study.__init__`: `super()` makes the last one


class Study(StudyReader):
    """A search in one file; starting and resuming are the same call.

        with Study("results/mine/study.db", space, costs, objective, budgets={"time_s": "5 ms"}) as study:
            study.run(n_trials=40)
            print(study.best(time_s="3 ms").config)

    `Study(path, optimizer, objective)` takes space, costs, budgets and so on from a new `Optimizer`;
    `Study.load(path)` reads a study, also one that another process writes.

    Args:
        path: path of the study's SQLite file; an existing file is continued. Checkpoints and weights are in
            folders beside it. ":memory:" is a temporary study, which is removed with this object.
        space: search space; or an optimizer, followed by the objective.
        costs: function from configs to a dict of arrays [n] by metric; None without known costs.
        objective: `objective(config, report)` or `objective(config, report, seed)`; it trains and returns
            the error, or a dict with "error" and other metrics. `report(epoch, error)` takes an epoch's
            error, epochs counted from 1, and returns whether to continue. A resumable objective also has
            `run_slice` (`hwopt.train.ResumableObjective`).
        budgets: limits on the costs of proposals: a list of `Budget`, or a dict as in an experiment file,
        such
            as {"time_s": "5 ms", "memory_bytes": {"quantile": 0.4}}.
        objectives: "error" and cost metrics, all minimised.
        strategy: name of a strategy.
        aware: if False, the strategy does not know the budgets.
        reference: reference point by objective; missing values are inferred, see `Optimizer`, and stored.
        seed: random seed; the seed of a trial is derived from it and the trial's number.
        description: further JSON-safe parts of the study's identity, such as an experiment file.
        stopping: rule that stops or pauses trainings: its name ("median"), a dict with its options, a rule,
        or
            a function that makes it from `reference=`; None trains all to their end. By default trainings
            with checkpoints and at least four epochs are paused and resumed (freeze_thaw).
        on_told: called with the study's state and each trial that the optimizer is told, in order, including
            those of earlier processes; see `hwopt.study.experiment.online_calibration`.
        outcome_budgets: limits on outcomes that the objective returns. They are learned, so trainings may
            exceed them, but networks of the front do not.
        repeats: whether a config may be trained again to average its noise; its error is then the mean.
        catch: exceptions of the objective that fail one training while the search continues; others end the
            run. A training without a finite error fails in any case.
        space_code: fingerprint of the file of the space; see `hwopt.study.store.code_identity`.
        optimizer: instead of space, costs, budgets and other arguments of `Optimizer`.

    Raises:
        StudyError: if the file belongs to another experiment, or cannot be used.
    """

    @also_by_position
    def __init__(
        self,
        path: str | Path,
        space: SearchSpace | Optimizer | None = None,
        costs: CostFunction | Objective | None = None,
        objective: Objective | None = None,
        *,
        budgets: Budgets = (),
        objectives: Sequence[str] = ("error",),
        strategy: str = "ehvi",
        aware: bool = True,
        reference: Mapping[str, float] | None = None,
        seed: int = 0,
        description: Mapping[str, Any] | None = None,
        stopping: Stopping | None = AUTOMATIC,
        on_told: OnTold | None = None,
        outcome_budgets: Budgets = (),
        repeats: bool = False,
        catch: Exceptions = (Exception,),
        space_code: str | None = None,
        optimizer: Optimizer | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in _NO_PARTS}
        self._arguments = resolved_arguments(given)
        self.is_in_memory = isinstance(path, str) and path == IN_MEMORY
        path = temporary_file(self) if self.is_in_memory else check_path(path)
        self.objective: Any = self._arguments["objective"]
        self._catch = check_catch(catch)
        self.optimizer = optimizer_of(given, self._arguments)
        if "error" in self.optimizer.metrics:
            raise InvalidInput("costs returned a metric named error, the result of training; rename it")
        if not path.exists():  # only for a new study
            check_metric_names([*self.optimizer.metrics, *(b.metric for b in self.optimizer.outcome_budgets)])
        self._stopping = None if stopping == AUTOMATIC else self._stopping_from(stopping)
        self._is_rule_automatic = isinstance(stopping, str) and stopping == AUTOMATIC
        if self._is_rule_automatic:
            automatic_rule(self.objective, self.optimizer.strategy)  # raises before there is a file
        self._identity = self._make_identity(stopping, description, space_code)
        self._keeps_prices = self._is_running = False
        super().__init__(Store(path))
        self.state = StudyState(self.optimizer, self.store, self.objective, on_told)
        self.files = self.state.files
        try:
            self._open()
        except BaseException:
            self.store.close()
            raise

    def _export_options(self) -> dict[str, Any]:
        return {"needs_weights": self.state.is_resumable, "space": self.optimizer.space}

    @staticmethod
    def load(path: str | Path) -> LoadedStudy:
        """Return a read-only study, without its space and objective; also while another process runs it.

        Raises:
            StudyError: if there is no study at the path, or it is damaged.
        """
        return LoadedStudy(Store(check_path(path), read_only=True))

    def __enter__(self) -> Study:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, so that another process can run the study."""
        self.store.close()

    # -- before and after

    def enqueue(self, config: Mapping[str, Any]) -> None:
        """Train this config before any proposal, even if it is over a budget."""
        self.store.enqueue([self.optimizer.space.validate(config)])

    def hypervolume(self) -> float:
        """Return the hypervolume of the front in error and log costs, with the study's reference point."""
        return self.state.front.hypervolume(self.optimizer.reference)

    def survey(self, on_priced: OnPriced | None = None) -> FeasibleRegion:
        """Return the feasible region, and store its summary in the study.

        Args:
            on_priced: called with the number of priced configs and the largest number to price.

        Raises:
            Infeasible: if no config is feasible.
        """
        self.optimizer.on_priced = on_priced
        region = self.optimizer.feasible_region
        self.optimizer.on_priced = None
        if on_priced is not None:
            on_priced(region.n_priced, region.n_priced)
        if not self._keeps_prices:
            self._keeps_prices = True
            keep_prices(self.store, self.optimizer.costs, self.optimizer.space)
        if "region" not in self.store.meta():
            facts = ("share", "share_low", "share_high", "n_priced", "broken", "n_unpriced", "refused")
            unpriced = [asdict(one) for one in region.unpriced]
            freed = {metric: asdict(one) for metric, one in region.freed.items()}
            kept = {fact: getattr(region, fact) for fact in facts}
            self.store.set_meta(region={**kept, "unpriced": unpriced, "freed": freed})
        self.state.keep_reference()
        return region

    # -- running

    @also_by_position
    def run(
        self,
        n_trials: int,
        *,
        jobs: int | None = None,
        listener: Listener | None = None,
        show_progress: bool = False,
        executor: Executor | None = None,
        stop: Stop | None = None,
        retries: int = 1,
        slice_epochs: int = 1,
        keep_weights: str = "front",
        catch: Exceptions | None = None,
    ) -> str:
        """Train until the study has `n_trials` ended trials, and return the reason of the end.

        Trials that were running when an earlier process died are trained first: from their last checkpoint
        or, if the objective cannot be resumed, from their start with the same seed.

        Args:
            n_trials: number of trials of the whole study, not of this call: ended ones or, with freeze_thaw,
                begun ones, some of which are paused at the end.
            jobs: parallel trials; 1 trains in this process, more in local worker processes. By default 1, or
                the number of the executor's workers.
            listener: called in this process when a trial starts, finishes an epoch, is paused or resumed,
                and ends.
            show_progress: show a live view on a terminal or in a notebook, and one line per trial elsewhere.
                An objective may have `n_epochs`, the epochs of a whole training, for "epoch 3 of 10".
            executor: any `concurrent.futures.Executor`, such as that of a cluster in `hwopt.integrations`. It
                stays open.
            stop: further limits of the search; the first one that is reached ends it.
            retries: retries of a trial whose worker process died.
            slice_epochs: epochs between checkpoints of a resumable training. A stopping rule judges each
            epoch,
                so the stopped trainings do not depend on it.
            keep_weights: trials whose trained weights are kept: "front", "all" or "none".
            catch: exceptions of the objective that fail one training, instead of the study's own.

        Raises:
            Infeasible: if no config is feasible and nothing was trained.
            InvalidInput: for an objective that does not take (config, report).
            StudyError: if the file cannot be written, or was deleted; if the objective cannot be sent to the
                workers, or lacks a module there.
            TrainingFailed: if the first three trainings fail for the same reason.
            Exception: an uncaught exception of the objective.
        """
        self.store.check_open()
        check_objective(self.objective)
        jobs = jobs if jobs is not None else getattr(executor, "n_workers", 1)
        n_trials = whole_number("n_trials", n_trials, lowest=1, highest=LARGEST_STUDY)
        jobs = whole_number("jobs", jobs, lowest=1, highest=LARGEST_JOBS)
        slice_epochs = whole_number("slice_epochs", slice_epochs, lowest=1)
        retries = whole_number("retries", retries)
        caught = self._catch if catch is None else check_catch(catch)
        if keep_weights not in KEEP_WEIGHTS:
            raise InvalidInput(f"keep_weights = {keep_weights!r}; wanted one of {', '.join(KEEP_WEIGHTS)}")
        options = RunOptions(n_trials, jobs, stop or Stop(), retries, slice_epochs, keep_weights, caught)
        shown = self._view(n_trials, options.stop) if show_progress else nullcontext()
        with self._alone(), shown as view:
            self.survey(None if view is None else view.priced)
            waiting = [trial for trial in self.trials() if trial.told is None]
            self.state.begin_run(waiting)
            own = InProcess() if jobs == 1 else LocalWorkers(jobs)
            with nullcontext(executor) if executor is not None else own as used:
                reason = Driver(self.state, used, options, both_listeners(listener, view), waiting).run()
            self.store.set_meta(ended=reason)
            return reason

    def _view(self, n_trials: int, stop: Stop) -> View:
        n_epochs = getattr(self.objective, "n_epochs", None)
        return open_view(get_console(), self.store, n_trials, n_epochs, stop.wall_s)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Refuse a concurrent run of this object, which would train the same trials."""
        if self._is_running:
            raise StudyError(
                f"{self.store.path}: this study is already running, in another thread or from its objective; "
                "for parallel trainings use run(..., jobs=N)"
            )
        self._is_running = True
        try:
            yield
        finally:
            self._is_running = False

    # -- what comes after

    def report(self, out: str | Path | None = None, *, html: str | Path | None = None) -> str:
        """Write tables and figures; see `StudyReader.report`."""
        if out is None and self.is_in_memory:
            raise InvalidInput("a study in memory has no folder to write its report into; give out=")
        return super().report(out, html=html)

    def run_again(self, number: int, keep: bool = False) -> Rerun:
        """Train a trial again with its seed, and return the errors of both trainings.

        Args:
            number: of the trial.
            keep: keep its weights, if the errors are equal and the objective returns weights.

        Raises:
            InvalidInput: if there is no such trial, or it has no epoch.
        """
        return repeat_trial(self.objective, self.store.path, whole_number("number", number), keep)

    @also_by_position
    def retarget(
        self,
        path: str | Path,
        costs: CostFunction,
        *,
        budgets: Budgets | None = None,
        reference: Mapping[str, float] | None = None,
    ) -> Study:
        """Return a new study with these trials and new costs, without training.

        Args:
            path: path of the new study's file.
            costs: costs on the other device: `load_device(NAME).cost_model(space, batch_size=...)`, or a
                function.
            budgets: instead of the study's budgets.
            reference: instead of the study's reference point.

        Raises:
            InvalidInput: for an existing file, or costs that are not a function.
            StudyError: if no training has ended.
            UnknownName: if the new costs lack a metric of a budget or an objective.
        """
        to = check_path(path)
        if to.exists():
            raise InvalidInput(f"{to} exists already; choose another path for the study of the other device")
        if not callable(costs):
            raise InvalidInput(
                f"costs = {costs!r}; write load_device(NAME).cost_model(space, batch_size=...), or a function"
            )
        ended = ended_trials(self.store.path)
        given = {"budgets": budgets, "reference": reference}
        changed = {name: value for name, value in given.items() if value is not None}
        arguments = {**self._arguments, "costs": costs, "on_told": None, **changed}
        with Study(to, **arguments) as study:
            copy_priced(self.store.path, ended, study.store, study.optimizer)
        return Study(to, **arguments)

    # -- opening

    def _make_identity(self, stopping: Any, description: Any, space_code: str | None) -> dict[str, Any]:
        """Return the identity of the study, without default values that earlier versions do not have."""
        optimizer = self.optimizer
        identity = {
            "space": optimizer.space.describe(),
            "budgets": [asdict(budget) for budget in optimizer.budgets],
            "objectives": list(optimizer.objectives),
            "strategy": optimizer.strategy,
            "aware": optimizer.aware,
            "reference": optimizer.given_reference,
            "seed": optimizer.seed,
            "description": dict(description or {}),
            "code": code_of(optimizer.space, space_code),
        }
        if isinstance(stopping, str | Mapping) and stopping != AUTOMATIC:
            identity["stopping"] = stopping if isinstance(stopping, str) else _plain(stopping)
        if optimizer.outcome_budgets:
            identity["outcome_budgets"] = [asdict(budget) for budget in optimizer.outcome_budgets]
        if optimizer.repeats:
            identity["repeats"] = True
        return identity

    @property
    def _place(self) -> str:
        return "in memory" if self.is_in_memory else super()._place

    def _outline(self) -> str:
        n_trials = Counter(trial.status for trial in self.trials())
        return outline(n_trials, self.state.front.points)

    def _stopping_from(self, given: Any) -> Any:
        """Return the stopping rule of an argument, or a function that makes it."""
        return stopping_from(given, self.objective, self.optimizer.objectives, self.optimizer.strategy)

    def _keep_automatic_rule(self, meta: Mapping[str, Any]) -> None:
        """Choose the rule of a study that names none; an existing study keeps its rule."""
        kept = meta.get("automatic_rule", "none" if "identity" in meta else None)
        name = kept or automatic_rule(self.objective, self.optimizer.strategy)
        if kept is None:
            self.store.set_meta(automatic_rule=name)
        self._stopping = self._stopping_from(name)

    def _open(self) -> None:
        """Continue the study of the file, or write the identity of a new study."""
        meta, trials = self.store.meta(), self.store.trials()
        if "identity" in meta:
            compare(self.store.path, meta["identity"], self._identity)
        else:
            self.store.set_meta(
                identity=self._identity,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                versions=versions(),
            )
        if self._is_rule_automatic:
            self._keep_automatic_rule(meta)
        self.state.stopping = self._stopping
        if "reference" in meta:  # what was learned of costs since would change it
            is_set = meta.get("is_reference_set", False)  # before that, the error's follows what is told
            kept = {n: value for n, value in meta["reference"].items() if is_set or n != "error"}
            self.optimizer.keep_reference(kept)
        self.state.n_begun = len(trials)
        self.state.measured = {number: found[0] for number, found in self.store.checks("measured").items()}
        if "identity" in meta:
            restore_prices(self.store, self.optimizer.costs, self.optimizer.space)
        self._check_costs(trials)
        for trial in sorted((t for t in trials if t.told is not None), key=lambda t: t.told or 0):
            self.state.tell(trial)
        unfinished = [trial for trial in trials if trial.told is None]
        for trial in unfinished:
            self.state.note(trial)
        self.files.keep_checkpoints({trial.number for trial in unfinished})

    def _check_costs(self, trials: Sequence[Trial]) -> None:
        """Refuse a cost model whose predictions differ from the stored ones, on which verdicts depend.

        All trials are priced at once, as a cost model remembers them. The bounds of predictions may change
        during a study, by what is measured, but not those of its first trial.
        """
        if not trials:
            return
        costs = price(self.optimizer.costs, [trial.config for trial in trials])
        for i, trial in enumerate(trials):
            for metric in costs:
                then, now = trial.costs.get(metric, np.nan), float(costs[metric][i])
                if _is_same(then, now) or (np.isnan(then) and i >= _N_UNPRICED):
                    continue
                now = self.optimizer.price(trial.config)[metric]  # rounded otherwise among others
                if not _is_same(then, now):
                    raise StudyError(
                        f"{self.store.path}: {metric} of trial {trial.number} was predicted as {then:.4g}, "
                        f"now {now:.4g}: the cost model has changed, or a module that the space imports; use "
                        "the profile and the code that it began with, or a new study: `hwopt retarget STUDY "
                        "--device PROFILE --out FOLDER` prices its trainings anew, and a search goes on"
                    )
        first = trials[0]
        (known,) = self.store.checks("predicted").get(first.number, [{}])
        confidence = known.get("confidence")
        bounds = {} if confidence is None else self.optimizer.intervals(first.config, confidence)
        for metric, bound in bounds.items():
            stored = known.get(metric)
            if stored is not None and not all(_is_same(*pair) for pair in zip(stored, bound, strict=True)):
                _LOG.warning(
                    "%s: the bounds of %s of trial %d were %.4g to %.4g, now %.4g to %.4g: the calibration "
                    "of the cost model has changed; trials so far keep their verdicts on the budgets, and "
                    "new ones are judged by the new bounds",
                    *(self.store.path, metric, first.number, *stored, *bound),
                )


def _is_same(then: float, now: float) -> bool:
    """Return whether two predictions are the same up to rounding; two unknown ones are."""
    return bool(np.isclose(then, now, rtol=1e-6, atol=0.0, equal_nan=True))


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with numpy's numbers as Python's, which JSON can hold."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in options.items()}


def both_listeners(first: Listener | None, second: Listener | None) -> Listener | None:
    """Return a listener that passes events on to two others, of which one may be None."""
    if first is None or second is None:
        return first or second

    def listen(event: str, trial: Trial) -> None:
        first(event, trial)
        second(event, trial)

    return listen
