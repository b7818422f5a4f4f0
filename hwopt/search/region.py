"""The feasible region: which share of a space keeps the budgets, and points in it.

A scrambled Sobol sequence over the whole space is priced until enough feasible configs are found. Where
there is none, an evolutionary descent on the violation goes on from the least violating ones, so that thin
regions are found too; if that fails the error names the budget that binds. The region depends on the seed
and the budgets alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
from hwopt.space import Config, SearchSpace

N_WANTED = 512  # feasible configs to collect
N_SURVEYED = 4096  # configs to price for them at most
N_REFUSED = 256  # infeasible configs whose costs are kept, to be shown beside the front
_BATCH = 512
_PARENTS, _CHILDREN, _GENERATIONS = 32, 256, 40


@dataclass(frozen=True)
class Region:
    """What pricing a sample of the space has shown.

    `configs` are feasible, in the order of the sequence; `share` is the feasible share of the `n_priced`
    that were drawn from the whole space; `broken` counts those by the budgets that they break (one config
    can break several).
    """

    configs: tuple[Config, ...]
    costs: Costs  # of `configs`
    share: float
    n_priced: int
    broken: dict[str, int]
    n_unpriced: int  # of n_priced: configs that cannot be priced
    refused: tuple[dict[str, float], ...]  # costs of the first N_REFUSED that break a budget


def survey(space: SearchSpace, costs: CostFunction, budgets: Sequence[Budget], seed: int) -> Region:
    """Price the space until N_WANTED feasible configs are found, or N_SURVEYED priced.

    Raises:
        Infeasible: where descending on the violation finds no feasible config either.
    """
    from scipy.stats import qmc

    sequence = qmc.Sobol(len(space), scramble=True, rng=np.random.default_rng([seed, 0]))
    drawn: list[Config] = []
    priced: list[Costs] = []
    n_found = 0
    while n_found < N_WANTED and len(drawn) < N_SURVEYED:
        batch = space.from_unit(sequence.random(_BATCH))
        priced.append(price(costs, batch))
        drawn += batch
        for budget in budgets:
            check_confidence(budget, priced[-1])
        n_found += int(feasible(budgets, priced[-1]).sum())
    everything = Costs.joined(priced)
    check_priced(everything)
    mask = feasible(budgets, everything)
    broken = count_broken(budgets, everything)
    is_priced = feasible([], everything)
    refused = tuple(everything.at(i) for i in np.flatnonzero(is_priced & ~mask)[:N_REFUSED])
    found, found_costs = _distinct(space, drawn, everything, np.flatnonzero(mask))
    if not found:
        best = np.argsort(violation(budgets, everything), kind="stable")[:_PARENTS]
        parents = [drawn[i] for i in best]
        found, found_costs = _descend(space, costs, budgets, parents, everything, broken, seed)
    n_unpriced = int(np.sum(~is_priced))
    return Region(tuple(found), found_costs, float(mask.mean()), len(drawn), broken, n_unpriced, refused)


def count_broken(budgets: Sequence[Budget], costs: Costs) -> dict[str, int]:
    """Return by metric how many of the n configs break its budget; one config can break several."""
    return {budget.metric: int(np.sum(~budget.holds(costs))) for budget in budgets}


def _distinct(
    space: SearchSpace, configs: Sequence[Config], costs: Costs, indices: NDArray[np.intp]
) -> tuple[list[Config], Costs]:
    """Return the configs at these indices and their costs, each config once."""
    first = {space.key(configs[i]): int(i) for i in reversed(indices)}
    kept = sorted(first.values())
    return [configs[i] for i in kept], costs.take(kept)


def _descend(
    space: SearchSpace,
    costs: CostFunction,
    budgets: Sequence[Budget],
    parents: list[Config],
    surveyed: Costs,
    broken: dict[str, int],
    seed: int,
) -> tuple[list[Config], Costs]:
    """Mutate the least violating configs until some are feasible; keep the best of parents and children."""
    rng = np.random.default_rng([seed, 1])
    for generation in range(_GENERATIONS):
        children = [mutate(space, parents[rng.integers(len(parents))], rng) for _ in range(_CHILDREN)]
        family = parents + children
        priced = price(costs, family)
        order = np.argsort(violation(budgets, priced), kind="stable")
        is_feasible = feasible(budgets, priced)
        if is_feasible.sum() >= _PARENTS // 2 or (is_feasible.any() and generation == _GENERATIONS - 1):
            return _distinct(space, family, priced, np.flatnonzero(is_feasible))
        distinct = {space.key(family[i]): family[i] for i in order}
        parents = list(distinct.values())[:_PARENTS]
    raise Infeasible(_explain(budgets, surveyed, broken, parents[0], price(costs, parents[:1])))


def _explain(
    budgets: Sequence[Budget], surveyed: Costs, broken: dict[str, int], config: Config, costs: Costs
) -> str:
    """Say which budget binds, by how much, and show the least violating config."""
    excess = {budget.metric: float(budget.excess(costs)[0]) for budget in budgets}
    binding = max(budgets, key=lambda budget: excess[budget.metric])
    metric, bound = binding.metric, float(binding.bound(costs)[0])
    return (
        f"no feasible configuration among {surveyed.n:,}: {metric} <= {binding.limit:.4g} binds "
        f"(broken by {broken[metric] / surveyed.n:.1%}); the least violating needs {bound:.4g} "
        f"({bound / binding.limit:.3g} times the budget, with confidence {binding.confidence:g}): {config}"
    )


def mutate(space: SearchSpace, config: Config, rng: np.random.Generator, scale: float = 0.15) -> Config:
    """Change each active hyperparameter with probability 2/k, at least one; draw newly active ones."""
    names = [name for name in space.names if name in config]
    chosen = rng.random(len(names)) < 2 / len(names)
    chosen[rng.integers(len(names))] = True
    changed = {name for name, is_chosen in zip(names, chosen, strict=True) if is_chosen}
    values = {}
    for dimension in space.dimensions:
        if dimension.name not in config:
            values[dimension.name] = dimension.from_unit(rng.random())
        elif dimension.name in changed and dimension.n_values > 1:
            values[dimension.name] = dimension.neighbour(config[dimension.name], scale, rng)
        else:
            values[dimension.name] = config[dimension.name]
    return space.activate(values)
