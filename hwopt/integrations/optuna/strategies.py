"""Optuna's samplers as strategies: "optuna:tpe", "optuna:tpe_multivariate", "optuna:nsga2", "optuna:gp".

At each ask a study is constructed from the observations, the pending configs and the rejections, so proposals
depend on nothing else. Costs are log-transformed, and each budget, also on outcomes, is a constraint
(`Trial.set_constraint`, Optuna 5) of trained trials; with known budgets:

tpe     a proposal over a budget is pruned before training, with its constraints: TPE learns from
        pruned trials. Conditional hyperparameters are suggested if active (define by run).
        tpe_multivariate fits hyperparameters jointly, in groups that are active together: the settings that
        Optuna's documentation recommends for dependent and conditional hyperparameters.
nsga2   a child over a budget is pruned and another one is bred: pruned trials enter no population. The
        population is 12, since the default of 50 would be random search for most of a search.
gp      GPSampler ignores pruned trials and would repeat a proposal, so its acquisition function is
        maximised over feasible candidates, by overriding its method.

TPE and NSGA-II do not support tables: the nearest row replaces a proposal.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from hwopt.costs import Budget
from hwopt.integrations.optuna.over_pool import maximised_over
from hwopt.integrations.optuna.parameters import OnDemand, distribution_of
from hwopt.integrations.shared import (
    N_ASKED,
    completed,
    excesses,
    first_that_fits,
    maximise,
    outcome_excesses,
    outcomes,
)
from hwopt.search.strategies import SearchState, Selection, register_strategy
from hwopt.space.dimensions import Categorical, Dimension, Integer, Value
from hwopt.space.search_space import Config, SearchSpace

POPULATION = 12  # of NSGA-II
N_ASKED_GP = 3  # proposals of GPSampler in one ask, as it tends to repeat refused ones


def register() -> None:
    """Make the samplers available by name."""
    register_strategy("optuna:tpe", tpe)
    register_strategy("optuna:tpe_multivariate", tpe_multivariate)
    register_strategy("optuna:nsga2", nsga2)
    register_strategy("optuna:gp", gp)


def tpe(state: SearchState, rng: np.random.Generator) -> Selection:
    """Tree-structured Parzen estimator (Watanabe 2023); proposals over a budget are pruned."""
    return _tpe(state, rng)


def tpe_multivariate(state: SearchState, rng: np.random.Generator) -> Selection:
    """Multivariate TPE (Falkner et al. 2018) by groups of hyperparameters that are active together."""
    return _tpe(state, rng, multivariate=True, group=True)


def _tpe(state: SearchState, rng: np.random.Generator, **options: Any) -> Selection:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # of `multivariate` and `group`
        sampler = TPESampler(seed=_seed(rng), **options)
    with _quiet():
        study = _study(state, sampler)
        study.add_trials(_history(state, is_flat=False))
        return _ask(state, study, lambda trial: _suggest(state.space, trial), False, rng)


def nsga2(state: SearchState, rng: np.random.Generator) -> Selection:
    """NSGA-II (Deb et al. 2002) with small populations; proposals over a budget are pruned."""
    sampler = NSGAIISampler(population_size=POPULATION, seed=_seed(rng))
    key = sampler._get_generation_key()
    with _quiet():
        study = _study(state, sampler)
        # generations are numbered as by the sampler for consecutive trials
        study.add_trials(_history(state, True, lambda number: {key: number // POPULATION}))
        return _ask(state, study, lambda trial: _suggest_all(state.space, trial), True, rng)


def gp(state: SearchState, rng: np.random.Generator) -> Selection:
    """GPSampler; with budgets or a table its acquisition function is maximised over available configs."""
    sampler = GPSampler(seed=_seed(rng), warn_independent_sampling=False)
    # feasible candidates need no learned constraints
    known = replace(state, limits=()) if state.budgets else state
    is_limited = bool(state.budgets) or state.candidates is not None
    with _quiet(), ExitStack() as stack:
        study = _study(state, sampler)
        study.add_trials(_history(known, is_flat=True))
        chosen: list[Config] = []
        if is_limited:
            pool_rng = np.random.default_rng(_seed(rng))
            chosen = stack.enter_context(
                maximised_over(sampler, state.space, lambda value: maximise(state, value, pool_rng).config)
            )

        def propose(trial: Trial) -> Config:
            config = _suggest_all(state.space, trial)
            return chosen[-1] if chosen else config

        return _ask(state, study, propose, True, rng, N_ASKED_GP)


def _ask(
    state: SearchState,
    study: optuna.Study,
    propose: Callable[[Trial], Config],
    is_flat: bool,
    rng: np.random.Generator,
    n_asks: int = N_ASKED,
) -> Selection:
    """Ask until a proposal is feasible; infeasible ones are pruned, with their constraints."""

    def ask() -> Config:
        trial = study.ask()
        config = propose(trial)
        study.tell(trial, state=TrialState.FAIL)  # `refuse` adds it if it is infeasible
        return config

    def refuse(config: Config) -> None:
        study.add_trial(_pruned(state, [config], is_flat)[0])

    return first_that_fits(state, ask, refuse, rng, n_asks)


def _study(state: SearchState, sampler: BaseSampler) -> optuna.Study:
    return optuna.create_study(directions=["minimize"] * len(state.objectives), sampler=sampler)


def _history(
    state: SearchState, is_flat: bool, attributes: Callable[[int], dict[str, Any]] = lambda number: {}
) -> list[FrozenTrial]:
    """Return all observations, rejections and pending configs as trials, with system attributes by number.

    Rejections have no time, and TPE weighs by age: they are spread evenly among the observations.
    """
    state = _representable(state)
    space, configs = state.space, [o.config for o in state.observations]
    broken = np.hstack([excesses(state, configs), outcome_excesses(state)])
    trained = [
        create_trial(
            state=TrialState.COMPLETE,
            values=list(values),
            constraints=_constraints([*state.limits, *state.outcome_budgets], excess),
            system_attrs=attributes(number),
            **_parameters(space, config, is_flat),
        )
        for number, (config, values, excess) in enumerate(zip(configs, outcomes(state), broken, strict=True))
    ]
    refused = _pruned(state, [rejection.config for rejection in state.rejected], is_flat)
    placed = [((i + 1) / len(trained), 1, trial) for i, trial in enumerate(trained)]
    placed += [((i + 1) / len(refused), 0, trial) for i, trial in enumerate(refused)]
    pending = [_running(space, config, is_flat) for config in state.pending]
    return [trial for _, _, trial in sorted(placed, key=lambda item: item[:2])] + pending


def _representable(state: SearchState) -> SearchState:
    """Return the state without configs with choices of probability 0, which distributions lack."""
    is_possible = state.space.is_possible
    return replace(
        state,
        observations=tuple(o for o in state.observations if is_possible(o.config)),
        pending=tuple(config for config in state.pending if is_possible(config)),
        rejected=tuple(r for r in state.rejected if is_possible(r.config)),
    )


def _pruned(state: SearchState, configs: Sequence[Config], is_flat: bool) -> list[FrozenTrial]:
    return [
        create_trial(
            state=TrialState.PRUNED,
            constraints=_constraints(state.limits, excess),
            **_parameters(state.space, config, is_flat),
        )
        for config, excess in zip(configs, excesses(state, configs), strict=True)
    ]


def _running(space: SearchSpace, config: Config, is_flat: bool) -> FrozenTrial:
    return create_trial(state=TrialState.RUNNING, **_parameters(space, config, is_flat))


def _parameters(space: SearchSpace, config: Config, is_flat: bool) -> dict[str, Any]:
    """Return the parameters of a trial and their distributions; if flat, also inactive ones."""
    values = completed(space, config) if is_flat else config
    chosen = [dimension for dimension in space.dimensions if dimension.name in values]
    distributions = {dimension.name: distribution_of(dimension) for dimension in chosen}
    return {"params": dict(values), "distributions": distributions}


def _constraints(budgets: Sequence[Budget], excess: Sequence[float]) -> dict[str, float]:
    return {budget.metric: float(value) for budget, value in zip(budgets, excess, strict=True)}


def _suggest_one(trial: Trial, dimension: Dimension) -> Value:
    if isinstance(dimension, Categorical):
        chosen: Value = trial.suggest_categorical(dimension.name, dimension.possible)
        return chosen
    if isinstance(dimension, Integer):
        return trial.suggest_int(dimension.name, dimension.low, dimension.high, log=dimension.log)
    return trial.suggest_float(dimension.name, dimension.low, dimension.high, log=dimension.log)


def _suggest_all(space: SearchSpace, trial: Trial) -> Config:
    """Return a config of suggested values of all hyperparameters, active or not."""
    return space.activate({dimension.name: _suggest_one(trial, dimension) for dimension in space.dimensions})


def _suggest(space: SearchSpace, trial: Trial) -> Config:
    """Return a config of suggested values of the active hyperparameters."""
    return OnDemand(space, lambda dimension: _suggest_one(trial, dimension)).config()


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


@contextmanager
def _quiet() -> Iterator[None]:
    """Disable Optuna's log of created studies."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
