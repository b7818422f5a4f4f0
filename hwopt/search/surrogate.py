"""Surrogate models: posterior of the error and of learned constraints, given all observations.

ln(error + shift) is a Gaussian process over encoded configs. The shift is the lower quartile of the observed
errors, so at any scale the model resolves ratios of small errors, and large errors are alike. The error of a
failed training is imputed as the worst observed one, so that its neighbourhood is avoided. A stopped or
unfinished training has its expected final error, with its uncertainty; a pending config its predicted error
(Kriging believer, Ginsbourger et al. 2010).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import log_ndtr

from hwopt.arrays import Array
from hwopt.costs import Costs, price
from hwopt.gp import GaussianProcess
from hwopt.search.pareto import nondominated
from hwopt.search.state import Observation, SearchState
from hwopt.space.search_space import Config

_LEAST_SHIFT = 1e-3  # of the worst error, so that an error of 0 has a logarithm
_TINY = 1e-300  # worst errors below count as 0
_MIN_OBSERVED = 4  # outcomes of a metric before its constraint is modelled


class Posterior(Protocol):
    """A posterior of ln(error + shift)."""

    def posterior(self, X: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation [n] of the latent error, without noise, at X [n, d]."""
        ...


@dataclass(frozen=True)
class Surrogate:
    """Fitted surrogate of ln(error + shift), and the front including pending configs, [f, m].

    `ceiling` is the error to improve on while no observation is feasible.
    """

    process: Posterior
    shift: float
    front: Array
    ceiling: float = np.inf

    def expected(self, X: Array) -> Array:
        """Return the posterior median of the error at X [n, d], shape [n]."""
        mean, _ = self.process.posterior(X)
        return np.asarray(np.exp(mean) - self.shift)

    @property
    def best(self) -> float:
        """Lowest error of the front; the ceiling if none is below it."""
        return float(np.min(self.front[:, 0], initial=self.ceiling))


def fit_surrogate(state: SearchState) -> Surrogate:
    """Fit the surrogate to all trainings, with pending configs at their predicted mean."""
    process, shift = fit_process(state)
    front = front_with_running(state)
    ceiling = float(state.reference[0]) if state.unfinished else np.inf
    surrogate = Surrogate(process, shift, front, ceiling)
    if state.repeats and state.front():
        X = state.space.encode([o.config for o in state.front()])
        front[: len(X), 0] = surrogate.expected(X)
    if state.pending:
        X = state.space.encode(state.pending)
        mean, _ = process.posterior(X)
        process = process.condition(X, mean)
        log_costs = state.log_costs(price(state.costs, state.pending))
        front = np.vstack([front, np.column_stack([surrogate.expected(X), log_costs])])
    return Surrogate(process, shift, front[nondominated(front)], ceiling)


def fit_process(state: SearchState) -> tuple[GaussianProcess, float]:
    """Return the process of ln(error + shift), fitted to finished and unfinished trainings, and the shift."""
    observations, unfinished = state.observations, state.unfinished
    worst = state.worst_error
    y = np.array(
        [worst if o.error is None else o.error for o in observations] + [u.median for u in unfinished]
    )
    X = state.space.encode([o.config for o in observations] + [u.config for u in unfinished])
    least = _LEAST_SHIFT * (worst if worst > _TINY else float(state.reference[0]))
    shift = max(float(np.quantile(y, 0.25)), least)
    std = np.array([o.error_std for o in observations]) / (y[: len(observations)] + shift)
    std = np.append(std, [u.log_normal(shift)[1] for u in unfinished])
    return GaussianProcess.fit(X, np.log(y + shift), groups=state.space.groups, std=std), shift


def front_with_running(state: SearchState) -> Array:
    """Return error and log costs of the front, then of running trainings with expected errors, [f, m]."""
    front = state.outcomes(state.front())
    running = [
        [u.median, *[np.log(u.costs[name]) for name in state.objectives[1:]]]
        for u in state.unfinished
        if u.is_running
    ]
    return np.vstack([front, np.array(running).reshape(-1, front.shape[1])])


def log_probability_of_outcomes(state: SearchState, configs: Sequence[Config]) -> Array:
    """Return ln Pr(outcome budgets are satisfied), [n]; a process for each metric (Gelbart et al. 2014)."""
    total = np.zeros(len(configs))
    for budget in state.outcome_budgets:
        seen = [o for o in state.observations if budget.metric in o.metrics]
        values = np.array([o.metrics[budget.metric] for o in seen])
        total += _log_probability_below(state, seen, values, budget.limit, configs)
    return total


def log_probability_of_limits(state: SearchState, configs: Sequence[Config]) -> Array:
    """Return ln Pr(all budgets are satisfied), [n], learned from the costs of trained configs."""
    total = np.zeros(len(configs))
    seen = [o for o in state.observations if o.is_priced]
    for budget in state.limits:
        costs = np.array([o.costs[budget.metric] for o in seen])
        logs = np.log(np.maximum(costs, 1e-300))
        total += _log_probability_below(state, seen, logs, np.log(budget.limit), configs)
    return total


def log_probability_of_budgets(state: SearchState, costs: Costs) -> Array:
    """Return ln Pr(all budgets are satisfied), [n], from the predictive distribution of the costs."""
    with np.errstate(divide="ignore"):
        logs = [np.log(costs.probability(budget.metric, budget.limit)) for budget in state.budgets]
    return np.sum(logs, axis=0) if logs else np.zeros(costs.n)


def _log_probability_below(
    state: SearchState,
    seen: Sequence[Observation],
    values: Array,
    limit: float,
    configs: Sequence[Config],
) -> Array:
    """Return ln Pr(value <= limit) at configs [n]; 0 while there are fewer than _MIN_OBSERVED values."""
    if len(seen) < _MIN_OBSERVED:
        return np.zeros(len(configs))
    space = state.space
    process = GaussianProcess.fit(space.encode([o.config for o in seen]), values, groups=space.groups)
    mean, std = process.posterior(space.encode(configs))
    return np.asarray(log_ndtr((limit - mean) / std))
