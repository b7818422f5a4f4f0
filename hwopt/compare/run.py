"""One run: one contender on one problem with one seed, written after each training.

    start points, the same for every contender --> ask, train, write, ask, train, write, ...

All contenders take their start points from one sequence of configs that the seed determines: aware ones the
first feasible configs, unaware ones the first. A killed run continues from its file as if nothing had
happened.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hwopt.compare.contender import Contender
from hwopt.compare.problem import Problem
from hwopt.compare.record import BenchmarkTrial, append_trial, drop_half_line, read_trials
from hwopt.compare.versions import add_versions
from hwopt.costs import feasible, price
from hwopt.errors import Infeasible
from hwopt.search.optimizer import Optimizer
from hwopt.space.search_space import Config, Key
from hwopt.study.study import trial_seed

_BATCH = 256  # configs of the sequence that are priced at a time
_TRIED = 16384  # configs of the sequence among which start points are looked for


def run(
    problem: Problem, contender: Contender, seed: int, n_trials: int, n_start: int, path: Path
) -> str | None:
    """Train until the run's file holds `n_trials` trainings.

    Returns:
        Reason of an early end, if nothing more can be proposed; None otherwise.
    """
    contender.load()
    path.parent.mkdir(parents=True, exist_ok=True)
    drop_half_line(path)
    optimizer = _optimizer(problem, contender, seed)
    done = read_trials(path)
    for trial in done:
        for config in trial.rejected:
            optimizer.mark_rejected(config)
        _tell(optimizer, trial)
    try:
        starts = start_points(problem, optimizer, n_start, seed) if len(done) < n_start else []
        if len(done) < n_trials:
            add_versions(path, goes_on=bool(done))
        for number in range(len(done), n_trials):
            trial = _train_next(problem, optimizer, number, starts[number] if number < n_start else None)
            append_trial(path, trial)
            _tell(optimizer, trial)
    except Infeasible as error:
        return str(error)
    return None


def start_points(problem: Problem, optimizer: Optimizer, n: int, seed: int) -> list[Config]:
    """Return the n distinct configs that a run with this seed starts with.

    Raises:
        Infeasible: if there are fewer.
    """
    found: dict[Key, Config] = {}
    for config in _sequence(problem, optimizer, seed):
        if len(found) == n:
            break
        found.setdefault(problem.space.key(config), config)
    if len(found) < n:
        raise Infeasible(f"{problem.name} has {len(found)} of the {n} start points; ask for fewer")
    return list(found.values())


def _sequence(problem: Problem, optimizer: Optimizer, seed: int) -> Iterator[Config]:
    """Sample configs or candidates; for an aware optimizer feasible ones, at last those of the region."""
    rng = np.random.default_rng([seed, 7])
    budgets = problem.budgets if optimizer.aware else ()
    rows = None if problem.candidates is None else rng.permutation(len(problem.candidates))
    for begin in range(0, _TRIED if rows is None else len(rows), _BATCH):
        if rows is None or problem.candidates is None:
            batch = problem.space.sample(_BATCH, rng)
        else:
            batch = [problem.candidates[i] for i in rows[begin : begin + _BATCH]]
        keep = feasible(budgets, price(problem.costs, batch))
        yield from (config for config, is_kept in zip(batch, keep, strict=True) if is_kept)
    if rows is None:
        yield from optimizer.feasible_region.configs


def _optimizer(problem: Problem, contender: Contender, seed: int) -> Optimizer:
    return Optimizer(
        problem.space,
        problem.costs,
        budgets=problem.budgets,
        objectives=problem.objectives,
        strategy=contender.strategy,
        aware=contender.aware,
        reference=problem.reference,
        seed=seed,
        outcome_budgets=problem.outcome_budgets,
    )


def _train_next(problem: Problem, optimizer: Optimizer, number: int, start: Config | None) -> BenchmarkTrial:
    """Choose a config, unless it is a start point, and train it."""
    begun, begun_cpu = time.perf_counter(), time.process_time()
    rejected: tuple[Config, ...] = ()
    if start is not None:
        config, ask_s, ask_cpu_s = start, 0.0, 0.0
        optimizer.mark_pending(config)
    else:
        proposal = optimizer.ask(candidates=problem.candidates)
        config = proposal.config
        ask_s, ask_cpu_s = time.perf_counter() - begun, time.process_time() - begun_cpu
        rejected = tuple(rejection.config for rejection in proposal.rejections)
    training = problem.train(config, trial_seed(optimizer.seed, number))
    return BenchmarkTrial(
        number=number,
        config=config,
        costs=optimizer.price(config),
        error=None if training.failure else training.errors[-1],
        is_feasible=optimizer.is_feasible(config, training.metrics),
        is_start=start is not None,
        train_s=float(sum(training.seconds)),
        ask_s=ask_s,
        ask_cpu_s=ask_cpu_s,
        failure=training.reason,
        metrics=training.metrics,
        rejected=rejected,
    )


def _tell(optimizer: Optimizer, trial: BenchmarkTrial) -> None:
    if trial.error is None:
        optimizer.tell(trial.config, None, status="failed")
    else:
        optimizer.tell(trial.config, {"error": trial.error, **trial.metrics})
