"""A study: ask, train, write down, tell, until enough is trained. Starting and resuming are the same call.

    Optimizer.ask() --> trial `running` in the store --> objective(config, report, seed) --> trial ended
    --> tell()

The store comes first each time: what it holds is all that a new process needs to go on. Trials run in this
process or in local worker processes; the optimizer and the store stay here.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from hwopt.costs import Budget, CostFunction
from hwopt.errors import Infeasible, InvalidInput, StudyError
from hwopt.search.optimizer import Optimizer
from hwopt.search.region import Region
from hwopt.space import SearchSpace
from hwopt.study.results import FrontPoint, front_of
from hwopt.study.run import Objective, Outcome, run_objective
from hwopt.study.store import Rejected, Store, Trial

Listener = Callable[[str, Trial], None]  # "start", "epoch" or "end", and the trial as it is then

_PACKAGES = ("hwopt", "numpy", "scipy", "scikit-learn", "scikit-optimize", "torch")


class Study:
    """One search, kept in one file.

    Args:
        path: of the study's SQLite file; a file that exists is continued.
        space: the search space.
        costs: maps configs to a dict of arrays [n], one for each metric.
        objective: `objective(config, report)` or `objective(config, report, seed)`; it trains and returns
            the error, or a dict with "error" and other metrics. `report(epoch, error)` tells an epoch's
            error, epochs counted from 1, and answers whether to go on.
        budgets: limits that no proposal breaks.
        objectives: "error" and cost metrics, all minimised.
        strategy: name of a strategy.
        aware: if False, the budgets are ignored until after the training.
        reference: worst values that count, by objective.
        seed: of everything random; a trial's own seed follows from it and the trial's number.
        description: further JSON-safe facts that make the study what it is, such as an experiment file's
            content.

    Raises:
        StudyError: where the file belongs to another experiment, or cannot be used.
    """

    def __init__(
        self,
        path: str | Path,
        space: SearchSpace,
        costs: CostFunction,
        objective: Objective,
        budgets: Sequence[Budget] = (),
        objectives: Sequence[str] = ("error",),
        strategy: str = "ehvi",
        aware: bool = True,
        reference: Mapping[str, float] | None = None,
        seed: int = 0,
        description: Mapping[str, Any] | None = None,
    ) -> None:
        self.objective = objective
        self.optimizer = Optimizer(space, costs, budgets, objectives, strategy, aware, reference, seed)
        self._identity = {
            "space": space.describe(),
            "budgets": [asdict(budget) for budget in self.optimizer.budgets],
            "objectives": list(self.optimizer.objectives),
            "strategy": strategy,
            "aware": aware,
            "reference": dict(reference or {}),
            "seed": seed,
            "description": dict(description or {}),
        }
        self.store = Store(path)
        try:
            self._open()
        except BaseException:
            self.store.close()
            raise

    def __enter__(self) -> "Study":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and let another process drive the study."""
        self.store.close()

    # -- before and after

    def enqueue(self, config: Mapping[str, Any]) -> None:
        """Train this config before any proposal; a budget that it breaks is no obstacle."""
        self.store.enqueue([self.optimizer.space.validate(config)])

    def trials(self) -> list[Trial]:
        """Return all trials by number."""
        return self.store.trials()

    def front(self) -> list[FrontPoint]:
        """Return the feasible, nondominated trials by falling error."""
        return front_of(self.trials(), self.optimizer.objectives)

    def survey(self) -> Region:
        """Return the feasible region; what it says of the space is kept in the study.

        Raises:
            Infeasible: where no config keeps the budgets.
        """
        region = self.optimizer.region
        if "region" not in self.store.meta():
            facts = ("share", "n_priced", "broken", "n_unpriced", "refused")
            self.store.set_meta(region={fact: getattr(region, fact) for fact in facts})
        if "reference" not in self.store.meta():
            self.store.set_meta(reference=self.optimizer.reference)
        return region

    # -- the loop

    def run(self, n_trials: int, jobs: int = 1, listener: Listener | None = None) -> str:
        """Train until the study holds `n_trials` ended trials, and return why it stopped.

        Trials that were running when an earlier process died are trained first, from their start, with the
        same seed.

        Args:
            n_trials: number of ended trials of the whole study, not of this call.
            jobs: trials at a time; 1 trains in this process, more in local worker processes.
            listener: called in this process when a trial starts, has finished an epoch, and ends.

        Raises:
            Infeasible: where no config keeps the budgets and nothing was trained.
            StudyError: where the file cannot be written.
        """
        for name, value in (("n_trials", n_trials), ("jobs", jobs)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidInput(f"{name} = {value!r} must be a positive whole number")
        listener = listener or (lambda event, trial: None)
        waiting = [trial for trial in self.trials() if trial.status == "running"]
        for trial in waiting:
            self.store.restart_trial(trial.number)
        self.survey()
        loop = _run_here if jobs == 1 else _run_in_workers
        try:
            loop(self, n_trials, jobs, waiting, listener)
        except Infeasible as error:
            if not self.trials():
                raise
            return str(error)
        return f"{n_trials} trials have ended"

    def next_trial(self, waiting: list[Trial], n_trials: int, listener: Listener) -> Trial | None:
        """Return the next trial to train, written down as running; None when enough have begun."""
        if waiting:
            trial = waiting.pop(0)
        elif self.n_begun >= n_trials:
            return None
        else:
            trial = self._begin()
        listener("start", trial)
        return trial

    def end_trial(self, trial: Trial, outcome: Outcome, listener: Listener) -> None:
        """Write how a trial ended, tell the optimizer, and let the listener know."""
        error = outcome.values.get("error")
        metrics = {name: value for name, value in outcome.values.items() if name != "error"}
        self.store.end_trial(
            trial.number, outcome.status, error, metrics, outcome.reason, outcome.train_s, outcome.curve
        )
        ended = replace(
            trial,
            status=outcome.status,
            error=error,
            metrics=metrics,
            reason=outcome.reason,
            train_s=outcome.train_s,
            curve=tuple(error for error, _ in outcome.curve),
        )
        self._tell(ended)
        listener("end", ended)

    @property
    def n_begun(self) -> int:
        """Number of trials that have begun, ended ones included."""
        return self._n_begun

    def _begin(self) -> Trial:
        """Take the next config from the queue or the optimizer and write it down as a running trial."""
        begun, number = time.perf_counter(), self._n_begun
        queued = self.store.queued()
        rejections: list[Rejected] = []
        if queued is not None:
            config, source, n_priced, n_infeasible, broken = queued[1], "queue", 0, 0, {}
            self.optimizer.mark_pending(config)
        else:
            proposal = self.optimizer.ask()
            config, source = proposal.config, self.optimizer.strategy
            n_priced, n_infeasible, broken = proposal.n_priced, proposal.n_infeasible, proposal.broken
            rejections = [Rejected(number, r.config, r.costs, r.broken) for r in proposal.rejections]
        trial = Trial(
            number=number,
            config=config,
            costs=self.optimizer.price(config),
            is_feasible=self.optimizer.is_feasible(config),
            seed=trial_seed(self.optimizer.seed, number),
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
        self.store.start_trial(trial, rejections, None if queued is None else queued[0])
        self._n_begun += 1
        return trial

    def _tell(self, trial: Trial) -> None:
        """Tell the optimizer what training reveals; a cost that it measured stays in the store."""
        revealed = {k: v for k, v in trial.metrics.items() if k not in self.optimizer.metrics}
        values = None if trial.error is None else {"error": trial.error, **revealed}
        self.optimizer.tell(trial.config, values, status=trial.status, curve=trial.curve)

    def _open(self) -> None:
        """Continue what the file holds, or write down what a new study is."""
        meta, trials = self.store.meta(), self.store.trials()
        if "identity" in meta:
            _compare(self.store.path, meta["identity"], self._identity)
        else:
            self.store.set_meta(
                identity=self._identity,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                versions=_versions(),
            )
        self._n_begun = len(trials)
        self._check_costs(trials)
        for trial in sorted((t for t in trials if t.told is not None), key=lambda t: t.told or 0):
            self._tell(trial)
        for trial in trials:
            if trial.status == "running":
                self.optimizer.mark_pending(trial.config)

    def _check_costs(self, trials: Sequence[Trial]) -> None:
        """Refuse to go on with a cost model that predicts something else than it did."""
        for trial in trials[:3]:
            for metric, now in self.optimizer.price(trial.config).items():
                then = trial.costs.get(metric, np.nan)
                if not np.isclose(then, now, rtol=1e-6, equal_nan=True):
                    raise StudyError(
                        f"{self.store.path}: {metric} of trial {trial.number} was predicted as {then:.4g}, "
                        f"now {now:.4g}: the cost model has changed; use its old profile, or a new study"
                    )


def trial_seed(seed: int, number: int) -> int:
    """Return the seed of a trial, from the study's seed and the trial's number alone."""
    return int(np.random.SeedSequence([seed, 4, number]).generate_state(1)[0] >> 1)


def _run_here(study: Study, n_trials: int, jobs: int, waiting: list[Trial], listener: Listener) -> None:
    while (trial := study.next_trial(waiting, n_trials, listener)) is not None:
        on_epoch = partial(_write_epoch, study, trial, listener, [])
        study.end_trial(trial, run_objective(study.objective, trial.config, trial.seed, on_epoch), listener)


def _write_epoch(
    study: Study,
    trial: Trial,
    listener: Listener,
    curve: list[float],
    epoch: int,
    error: float,
    elapsed_s: float,
) -> None:
    study.store.add_epoch(trial.number, epoch, error, elapsed_s)
    curve.append(error)
    listener("epoch", replace(trial, curve=tuple(curve)))


def _run_in_workers(study: Study, n_trials: int, jobs: int, waiting: list[Trial], listener: Listener) -> None:
    """Keep `jobs` trials in training.

    A worker that dies takes those beside it along, and does not say which trial it was: each of them is tried
    again alone, and is failed where its worker dies then too.
    """
    running: dict[Future[Outcome], Trial] = {}
    suspects: list[Trial] = []
    alone: Trial | None = None  # the suspect in training

    def start(trial: Trial) -> None:
        running[_executor(jobs).submit(run_objective, study.objective, trial.config, trial.seed)] = trial

    try:
        while True:
            if suspects and not running:
                alone = suspects.pop(0)
                start(alone)
            while not suspects and alone is None and len(running) < jobs:
                trial = study.next_trial(waiting, n_trials, listener)
                if trial is None:
                    break
                start(trial)
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                trial, error = running.pop(future), future.exception()
                if error is None:
                    study.end_trial(trial, future.result(), listener)
                elif trial is alone:
                    reason = f"its worker process died twice: {type(error).__name__}: {error}"
                    study.end_trial(trial, Outcome("failed", {}, (), 0.0, reason), listener)
                else:
                    suspects.append(trial)
                alone = None if trial is alone else alone
    finally:
        _executor(jobs).shutdown(wait=True, kill_workers=True)


def _executor(jobs: int) -> Any:
    """Return loky's pool of workers, each with its share of the cores; a new one where a worker has died."""
    from loky import get_reusable_executor

    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return get_reusable_executor(max_workers=jobs, env=dict.fromkeys(names, threads))


def _compare(path: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to continue a study that is not this one."""
    differing = _first_difference(then, json.loads(json.dumps(now)))
    if differing:
        place, old, new = differing
        raise StudyError(
            f"{path} belongs to another experiment: its {place} is {_short(old)}, not {_short(new)}; "
            "choose another path to start anew"
        )


def _first_difference(then: Any, now: Any, place: str = "") -> tuple[str, Any, Any] | None:
    """Return where two JSON values first differ, as a dotted path, and the two values there."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*now, *then]):
            found = _first_difference(then.get(key), now.get(key), f"{place}.{key}" if place else key)
            if found:
                return found
        return None
    return None if then == now else (place, then, now)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found
