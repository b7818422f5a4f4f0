"""The feasible region: its share of a space, and configs in it.

A scrambled Sobol sequence over the whole space is priced until enough feasible configs are found. Where
they are rare, subset simulation walks down the violation to the budgets, so that regions of one in a million
are found, and their share estimated; if that fails the error names the budget that binds. The region depends
on the seed and the budgets alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array
from hwopt.costs import (
    Budget,
    CostFunction,
    Costs,
    check_confidence,
    check_priced,
    feasible,
    price,
    violation,
)
from hwopt.errors import Infeasible
from hwopt.search.neighbours import mutate
from hwopt.search.pricing_steps import InSteps, OnPriced
from hwopt.search.subset_simulation import N_CHAINS, subset_simulation
from hwopt.search.unpriceable import Unpriced, count_unpriced, describe_unpriced
from hwopt.space.search_space import Config, SearchSpace
from hwopt.units import format_quantity

N_WANTED = 512  # feasible configs to collect
N_SURVEYED = 4096  # configs to price for them at most
N_REFUSED = 256  # infeasible configs whose costs are kept, to be shown beside the front
N_FREED = 64  # configs of a budget that are kept, to show the effect of relaxing it
RELAXED = 1.1  # factor of a limit that is relaxed
_BATCH = 512
_N_MUTATED = 256  # mutations of the few known feasible configs at a time, if the region is thin
_ROUNDS = 8


@dataclass(frozen=True)
class Freed:
    """Configs that a budget alone excludes, and RELAXED times its limit would allow.

    `share` is that of the space; `configs`, with their costs, are the first N_FREED of the sample.
    """

    share: float
    configs: tuple[Config, ...]
    costs: tuple[dict[str, float], ...]


@dataclass(frozen=True)
class FeasibleRegion:
    """Results of pricing a sample of the space.

    `configs` are feasible; `share` is the feasible share of the space, between `share_low` and `share_high`
    with 95% confidence; `n_priced` were drawn from the whole space, and `broken` counts those by the budgets
    that they break (one config can break several).
    """

    configs: tuple[Config, ...]
    costs: Costs  # of `configs`
    share: float
    share_low: float
    share_high: float
    n_priced: int
    broken: dict[str, int]
    refused: tuple[dict[str, float], ...]  # costs of the first N_REFUSED that break a budget
    unpriced: tuple[Unpriced, ...] = ()  # those that cannot be priced, by reason
    freed: Mapping[str, Freed] = field(default_factory=dict)  # by the metric of the budget

    @property
    def n_unpriced(self) -> int:
        """Number of the `n_priced` configs that cannot be priced."""
        return sum(one.n for one in self.unpriced)

    def notes(self) -> list[str]:
        """Return notes on configs that cannot be priced, a line for each reason."""
        return describe_unpriced(self.unpriced, self.n_priced)


@dataclass(frozen=True)
class _Sample:
    """A uniform sample of the space: points of the unit cube, [n, k], their configs and costs."""

    points: Array
    configs: list[Config]
    costs: Costs


def find_feasible_region(
    space: SearchSpace,
    costs: CostFunction,
    budgets: Sequence[Budget],
    seed: int,
    on_priced: OnPriced | None = None,
) -> FeasibleRegion:
    """Price the space until N_WANTED feasible configs are found, or N_SURVEYED priced; then walk down.

    Args:
        space: the search space.
        costs: maps configs to their costs.
        budgets: limits that make configs feasible.
        seed: of the sample.
        on_priced: called with how many configs are priced, and how many at most will be as far as is known.

    Raises:
        Infeasible: if no feasible config is found.
    """
    costs = costs if on_priced is None else InSteps(costs, on_priced, N_SURVEYED)
    sample = _sample(space, costs, budgets, seed)
    mask = feasible(budgets, sample.costs)
    share, low, high = float(mask.mean()), *_binomial_interval(int(mask.sum()), len(mask))
    found, found_costs = _distinct(space, sample.configs, sample.costs, np.flatnonzero(mask))
    if mask.sum() < N_CHAINS < len(mask):
        rng = np.random.default_rng([seed, 1])
        excess = violation(budgets, sample.costs)
        subset = subset_simulation(
            sample.points, excess, lambda U: violation(budgets, price(costs, space.from_unit(U))), rng
        )
        if not len(subset.points) and not found:
            raise Infeasible(_explain(budgets, sample.costs, space.from_unit(subset.best[None])[0], costs))
        if len(subset.points):
            share, low, high = subset.share, subset.low, subset.high
        found, found_costs = _filled(space, costs, budgets, found + space.from_unit(subset.points), rng)
    is_refused = sample.costs.is_priced & ~mask
    refused = tuple(sample.costs.at(i) for i in np.flatnonzero(is_refused)[:N_REFUSED])
    return FeasibleRegion(
        configs=tuple(found),
        costs=found_costs,
        share=share,
        share_low=low,
        share_high=high,
        n_priced=len(mask),
        broken=count_broken(budgets, sample.costs),
        refused=refused,
        unpriced=count_unpriced(sample.configs, sample.costs),
        freed={budget.metric: _freed(budget, budgets, sample, mask) for budget in budgets},
    )


def _freed(budget: Budget, budgets: Sequence[Budget], sample: _Sample, mask: NDArray[np.bool_]) -> Freed:
    """Return the configs of a sample, feasible ones in `mask` [n], that relaxing one budget would add."""
    relaxed = Budget(budget.metric, RELAXED * budget.limit, confidence=budget.confidence)
    others = [relaxed if other is budget else other for other in budgets]
    is_freed = feasible(others, sample.costs) & ~mask
    kept = np.flatnonzero(is_freed)[:N_FREED]
    configs, costs = [sample.configs[i] for i in kept], [sample.costs.at(i) for i in kept]
    return Freed(float(is_freed.mean()), tuple(configs), tuple(costs))


def _sample(space: SearchSpace, costs: CostFunction, budgets: Sequence[Budget], seed: int) -> _Sample:
    """Price a Sobol sequence until enough of it is feasible, or all of it is priced."""
    from scipy.stats import qmc

    sequence = qmc.Sobol(len(space), scramble=True, rng=np.random.default_rng([seed, 0]))
    points: list[Array] = []
    configs: list[Config] = []
    priced: list[Costs] = []
    n_found = 0
    while n_found < N_WANTED and len(configs) < N_SURVEYED:
        points.append(sequence.random(_BATCH))
        batch = space.from_unit(points[-1])
        priced.append(price(costs, batch))
        configs += batch
        for budget in budgets:
            check_confidence(budget, priced[-1])
        n_found += int(feasible(budgets, priced[-1]).sum())
    everything = Costs.joined(priced)
    check_priced(everything)
    return _Sample(np.concatenate(points), configs, everything)


def _binomial_interval(n_found: int, n: int) -> tuple[float, float]:
    """Return the 95% interval of a share of which n_found of n were found (Clopper and Pearson 1934)."""
    from scipy.special import betaincinv

    low = float(betaincinv(n_found, n - n_found + 1, 0.025)) if n_found > 0 else 0.0
    high = float(betaincinv(n_found + 1, n - n_found, 0.975)) if n_found < n else 1.0
    return low, high


def _filled(
    space: SearchSpace,
    costs: CostFunction,
    budgets: Sequence[Budget],
    found: Sequence[Config],
    rng: np.random.Generator,
) -> tuple[list[Config], Costs]:
    """Return the distinct feasible configs found, filled up to about N_WANTED with their mutations."""
    family = list(found)
    for _ in range(_ROUNDS):
        priced = price(costs, family)
        configs, kept = _distinct(space, family, priced, np.flatnonzero(feasible(budgets, priced)))
        if len(configs) >= N_WANTED:
            break
        parents = [configs[i] for i in rng.integers(len(configs), size=_N_MUTATED)]
        family = configs + mutate(space, parents, rng)
    return configs, kept


def count_broken(budgets: Sequence[Budget], costs: Costs) -> dict[str, int]:
    """Return by metric how many of the n configs break its budget; one config can break several.

    A config that cannot be priced breaks none.
    """
    return {budget.metric: int(np.sum(costs.is_priced & ~budget.holds(costs))) for budget in budgets}


def _distinct(
    space: SearchSpace, configs: Sequence[Config], costs: Costs, indices: NDArray[np.intp]
) -> tuple[list[Config], Costs]:
    """Return the configs at these indices and their costs, each config once."""
    first = {space.key(configs[i]): int(i) for i in reversed(indices)}
    kept = sorted(first.values())
    return [configs[i] for i in kept], costs.take(kept)


def _explain(budgets: Sequence[Budget], surveyed: Costs, config: Config, costs: CostFunction) -> str:
    """Say which budget binds, by how much, and show the least violating config."""
    priced = price(costs, [config])
    excess = {budget.metric: float(budget.excess(priced)[0]) for budget in budgets}
    binding = max(budgets, key=lambda budget: excess[budget.metric])
    metric, bound = binding.metric, float(binding.bound(priced)[0])
    broken = count_broken(budgets, surveyed)[metric]
    limit, needed = (format_quantity(metric, value, 4) for value in (binding.limit, bound))
    return (
        f"no feasible configuration among {surveyed.n:,}: {metric} <= {limit} binds "
        f"(broken by {broken / surveyed.n:.1%}); the least violating needs {needed} "
        f"({bound / binding.limit:.3g} times the budget, with confidence {binding.confidence:g}): {config}; "
        "raise the budget, or widen the space"
    )
