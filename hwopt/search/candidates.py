"""Candidate generation: global samples, mutations of the front, or the rows of a table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwopt.costs import Costs, feasible, price, why_unpriced
from hwopt.errors import Infeasible
from hwopt.search.feasible_region import count_broken
from hwopt.search.neighbours import mutate
from hwopt.search.state import SearchState, Selection
from hwopt.space.search_space import Config, SearchSpace

N_NEW = 32  # candidates drawn from the whole space, an ask
N_GLOBAL = 64  # candidates that share their structure with a config of the feasible region, an ask
N_LOCAL = 384  # candidates mutated around the front, an ask
N_NEAR = 128  # candidates mutated around the most valuable ones, an ask


@dataclass(frozen=True)
class PricedCandidates:
    """Feasible candidates with their costs, [n], the number of priced ones, and infeasible ones by budget."""

    configs: list[Config]
    costs: Costs
    n_priced: int
    broken: dict[str, int]

    @classmethod
    def of(cls, state: SearchState, candidates: Sequence[Config]) -> "PricedCandidates":
        """Price candidates and keep the feasible ones."""
        costs = price(state.costs, candidates)
        keep = [int(i) for i in np.flatnonzero(feasible(state.budgets, costs))]
        broken = count_broken(state.budgets, costs)
        return cls([candidates[i] for i in keep], costs.take(keep), len(candidates), broken)

    def with_more(self, other: "PricedCandidates") -> "PricedCandidates":
        """Return both offers as one."""
        broken = {metric: n + other.broken[metric] for metric, n in self.broken.items()}
        costs = Costs.joined([self.costs, other.costs])
        return PricedCandidates(self.configs + other.configs, costs, self.n_priced + other.n_priced, broken)

    def selection(self, index: int) -> Selection:
        """Return the selection of one of the candidates."""
        n_refused = self.n_priced - len(self.configs)
        return Selection(self.configs[index], self.n_priced, n_refused, self.broken)


def generate_candidates(
    state: SearchState, parents: Sequence[Config], rng: np.random.Generator
) -> list[Config]:
    """Return distinct candidates that may be chosen, feasible or not.

    Args:
        state: of the search.
        parents: configs whose mutations most candidates are; configs of the region if there are none.
        rng: random number generator.

    Raises:
        Infeasible: if every candidate has been observed or is pending.
    """
    if state.candidates is not None:
        candidates = [state.candidates[i] for i in rng.permutation(len(state.candidates))]
    else:
        candidates = _global(state, rng) + _local(state, parents, rng)
        if state.repeats:
            candidates += [o.config for o in state.front() if state.space.is_possible(o.config)]
    left = available(state, candidates)
    if not left:
        raise Infeasible("every candidate has been told or is pending; stop here, or give more candidates")
    return left


def explain_no_candidate(state: SearchState, candidates: Sequence[Config]) -> str:
    """Return the reason for which no candidate is feasible: none can be priced, or all break a budget."""
    costs = price(state.costs, candidates)
    reason = why_unpriced(costs, 0) if len(candidates) and not costs.is_priced.any() else None
    if reason is not None:
        return f"none of the {len(candidates)} candidates left can be priced: {reason}"
    return f"none of the {len(candidates)} candidates left keeps the budgets; raise a limit or stop"


def around(state: SearchState, configs: Sequence[Config], rng: np.random.Generator) -> list[Config]:
    """Return distinct available mutations of these configs, feasible or not; perhaps none."""
    parents = [configs[i % len(configs)] for i in range(N_NEAR)]
    return available(state, mutate(state.space, parents, rng))


def available(state: SearchState, candidates: Sequence[Config]) -> list[Config]:
    """Return the available configs among these, each once."""
    fresh = {state.space.key(config): config for config in candidates}
    return [config for key, config in fresh.items() if key not in state.unavailable]


def from_region(state: SearchState, order: NDArray[np.intp], rng: np.random.Generator) -> Config:
    """Return the first available config of the region in this order; its non-structural part is new."""
    region = state.feasible_region().configs
    config: Config
    for i in order:
        for config in (*redraw(state.space, [region[i]], rng), region[i]):
            fits = feasible(state.budgets, price(state.costs, [config]))[0]
            if fits and state.space.key(config) not in state.unavailable:
                return config
    raise Infeasible("every feasible configuration that was found has been tried; stop here")


def redraw(space: SearchSpace, configs: Sequence[Config], rng: np.random.Generator) -> list[Config]:
    """Keep the structural hyperparameters, which determine the costs, and sample the others again."""
    drawn = space.values_at(rng.random((len(configs), len(space))))
    for values, config in zip(drawn, configs, strict=True):
        values.update({name: config[name] for name in space.structural if name in config})
    return [space.activate(values) for values in drawn]


def candidate_sampler(state: SearchState, rng: np.random.Generator) -> Callable[[], Config | None]:
    """Return a sampler of available configs, or of candidates without replacement; None at the end."""
    space = state.space
    if state.candidates is not None:
        left = [c for c in state.candidates if space.key(c) not in state.unavailable]
        order = iter(rng.permutation(len(left)))
        return lambda: next((left[i] for i in order), None)

    def draw() -> Config | None:
        tries = (space.sample(1, rng)[0] for _ in range(1000))
        return next((config for config in tries if space.key(config) not in state.unavailable), None)

    return draw


def _global(state: SearchState, rng: np.random.Generator) -> list[Config]:
    """Sample the whole space: new configs, and known feasible structures with the rest sampled again."""
    region = state.feasible_region().configs
    chosen = rng.choice(len(region), size=min(N_GLOBAL, len(region)), replace=False)
    known = redraw(state.space, [region[i] for i in chosen], rng)
    return state.space.sample(N_NEW, rng) + known


def _local(state: SearchState, parents: Sequence[Config], rng: np.random.Generator) -> list[Config]:
    parents = list(parents) or list(state.feasible_region().configs)
    chosen = [parents[i] for i in rng.integers(len(parents), size=N_LOCAL)]
    return mutate(state.space, chosen, rng)
