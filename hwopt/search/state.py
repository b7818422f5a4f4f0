"""Input and output types of a strategy: the state of a search, and the config that is chosen.

    SearchState --strategy--> Selection

A strategy satisfies every budget in `state.budgets`. Its constraint-unaware form is the same function without
budgets: violations are known after training, in `Observation.is_feasible`. The generator that is passed in is
the only source of randomness.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from hwopt.arrays import Array
from hwopt.costs import Budget, CostFunction, Costs, why_unpriced
from hwopt.errors import InvalidInput
from hwopt.search.feasible_region import FeasibleRegion
from hwopt.search.pareto import front_members, log_outcomes
from hwopt.space.search_space import Config, Key, SearchSpace


@dataclass(frozen=True)
class Observation:
    """Result of one training: config, error, predicted costs and status.

    The error of a stopped training is its expected final error, with standard deviation `error_std`.
    """

    config: Config
    error: float | None  # None if the training failed
    costs: dict[str, float]
    status: str  # complete, stopped, failed
    is_feasible: bool = True
    metrics: dict[str, float] = field(default_factory=dict)  # further results of the training
    error_std: float = 0.0
    curve: tuple[float, ...] = ()  # error after each epoch

    @property
    def is_priced(self) -> bool:
        """Whether every cost could be predicted."""
        return all(np.isfinite(cost) for cost in self.costs.values())


@dataclass(frozen=True)
class Unfinished:
    """A training with epochs left: median and central 68% of its final error, extrapolated from its curve.

    `is_running` tells whether it is in training now, so that nothing else should be chosen for the gain that
    is expected of it.
    """

    config: Config
    costs: dict[str, float]
    low: float
    median: float
    high: float
    is_running: bool = False

    def log_normal(self, shift: float) -> tuple[float, float]:
        """Return median and half of the central 68% of ln(error + shift)."""
        low, median, high = (float(np.log(error + shift)) for error in (self.low, self.median, self.high))
        return median, (high - low) / 2


@dataclass(frozen=True)
class Rejection:
    """A config that a strategy selected and that is infeasible, with its predicted costs."""

    config: Config
    costs: dict[str, float]
    broken: tuple[str, ...]  # metrics of the budgets that it breaks; empty if it cannot be priced
    reason: str | None = None  # why it cannot be priced

    @classmethod
    def of(cls, config: Config, costs: Costs, budgets: Sequence[Budget]) -> "Rejection":
        """Return the rejection of a config of these costs, [1]."""
        reason = why_unpriced(costs, 0)
        broken = [budget.metric for budget in budgets if reason is None and not budget.holds(costs)[0]]
        return cls(config, costs.at(0), tuple(broken), reason)


@dataclass(frozen=True)
class Selection:
    """Config that a strategy selected, number of configs that it priced, and of infeasible ones among them.

    `broken` counts those by metric; one config can break several budgets.
    """

    config: Config
    n_priced: int = 0
    n_infeasible: int = 0
    broken: dict[str, int] = field(default_factory=dict)
    rejections: tuple[Rejection, ...] = ()


@dataclass(frozen=True)
class SearchState:
    """State of a search: the input of a strategy.

    Args:
        space: the search space.
        costs: of configs, known before training.
        budgets: limits that the selection must satisfy; empty for a constraint-unaware search.
        limits: all budgets on known costs, also of a constraint-unaware search.
        outcome_budgets: limits on metrics that only a training reveals.
        objectives: "error", first, and known costs.
        reference: an error and logarithms of costs, in the order of the objectives, shape [m].
        observations: results of finished trainings, in order.
        pending: configs in training.
        rejected: infeasible configs that the strategy had selected, in order.
        candidates: the only configs to choose from; all of the space if None.
        repeats: whether a config that was trained may be chosen again, to average its noise.
        feasible_region: function that returns the feasible region of `budgets`.
        unfinished: trainings that have begun and have epochs left, with the final errors expected of them.
    """

    space: SearchSpace
    costs: CostFunction
    budgets: tuple[Budget, ...]
    limits: tuple[Budget, ...]
    outcome_budgets: tuple[Budget, ...]
    objectives: tuple[str, ...]
    reference: Array
    observations: tuple[Observation, ...]
    pending: tuple[Config, ...]
    rejected: tuple[Rejection, ...]
    candidates: tuple[Config, ...] | None
    repeats: bool
    feasible_region: Callable[[], FeasibleRegion]
    unfinished: tuple[Unfinished, ...] = ()

    @cached_property
    def unavailable(self) -> set[Key]:
        """Keys of the configs that cannot be selected: observed or pending; only pending ones with repeats.

        A config whose training failed is never chosen again.
        """
        barred = [o.config for o in self.observations if not self.repeats or o.status != "complete"]
        begun = [training.config for training in self.unfinished]
        return {self.space.key(config) for config in [*barred, *self.pending, *begun]}

    @property
    def n_known(self) -> int:
        """Number of configs that are observed, pending or unfinished."""
        return len(self.observations) + len(self.pending) + len(self.unfinished)

    @property
    def worst_error(self) -> float:
        """The largest error seen or expected, which is imputed for failed trainings; else the reference."""
        seen = [o.error for o in self.observations if o.error is not None] + [
            u.median for u in self.unfinished
        ]
        return max(seen, default=float(self.reference[0]))

    def complete(self) -> list[Observation]:
        """Return the complete, feasible, priced observations; repeats of a config as one, with mean error."""
        return list(self._complete)

    def front(self) -> list[Observation]:
        """Return the complete, feasible, nondominated observations."""
        return list(self._front)

    @cached_property
    def _complete(self) -> list[Observation]:
        groups: dict[Key, list[Observation]] = {}
        for o in self.observations:
            if o.status == "complete" and o.is_feasible and o.is_priced:
                groups.setdefault(self.space.key(o.config), []).append(o)
        return [
            g[0] if len(g) == 1 else replace(g[0], error=float(np.mean([o.error for o in g])))
            for g in groups.values()
        ]

    @cached_property
    def _front(self) -> list[Observation]:
        return front_members(self._complete, self.outcomes(self._complete))

    def outcomes(self, observations: Sequence[Observation]) -> Array:
        """Return error and log costs of complete observations, shape [n, m]."""
        return log_outcomes([{**o.costs, "error": o.error or 0.0} for o in observations], self.objectives)

    def log_costs(self, costs: Costs) -> Array:
        """Return the costs among the objectives on their logarithmic axes, shape [n, m - 1]."""
        columns = [log_axis(name, costs[name]) for name in self.objectives[1:]]
        return np.stack(columns, axis=1) if columns else np.zeros((costs.n, 0))


def log_axis(name: str, values: Array) -> Array:
    """Return costs on their logarithmic axis; raise InvalidInput if one is not positive."""
    if np.any(values <= 0):
        reason = "objectives are compared by their logarithms, so costs must be positive"
        raise InvalidInput(f"{name} = {np.nanmin(values):g}: {reason}; or leave {name} out of the objectives")
    return np.asarray(np.log(values))


Strategy = Callable[[SearchState, np.random.Generator], Selection]
