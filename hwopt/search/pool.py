"""Where candidates come from: the whole space, the feasible region, neighbours of the front, or a table."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hwopt.costs import feasible, price
from hwopt.errors import Infeasible
from hwopt.search.region import mutate
from hwopt.search.situation import Situation
from hwopt.space import Config, SearchSpace

N_NEW = 128  # candidates drawn from the whole space, an ask
N_GLOBAL = 256  # candidates that share their structure with a config of the feasible region, an ask
N_LOCAL = 256  # candidates mutated around the front, an ask


def candidate_pool(situation: Situation, parents: Sequence[Config], rng: np.random.Generator) -> list[Config]:
    """Return distinct candidates that may be chosen, feasible or not.

    Args:
        situation: as the strategy sees it.
        parents: configs around which half of the candidates are; those of the region where there are none.
        rng: of what is drawn.

    Raises:
        Infeasible: where every candidate has been told or is pending.
    """
    if situation.candidates is not None:
        pool = [situation.candidates[i] for i in rng.permutation(len(situation.candidates))]
    else:
        pool = _global(situation, rng) + _local(situation, parents, rng)
        if situation.repeats:
            pool += [o.config for o in situation.front()]
    return untaken(situation, pool)


def untaken(situation: Situation, pool: Sequence[Config]) -> list[Config]:
    """Return the configs of a pool that may be chosen, each once."""
    fresh = {situation.space.key(config): config for config in pool}
    left = [config for key, config in fresh.items() if key not in situation.taken]
    if not left:
        raise Infeasible("every candidate has been told or is pending; stop here, or give more candidates")
    return left


def from_region(situation: Situation, order: NDArray[np.intp], rng: np.random.Generator) -> Config:
    """Return the first untaken config of the feasible region in this order, its non-structural part new."""
    region = situation.region().configs
    config: Config
    for i in order:
        for config in (*redraw(situation.space, [region[i]], rng), region[i]):
            fits = feasible(situation.budgets, price(situation.costs, [config]))[0]
            if fits and situation.space.key(config) not in situation.taken:
                return config
    raise Infeasible("every feasible configuration that was found has been tried; stop here")


def redraw(space: SearchSpace, configs: Sequence[Config], rng: np.random.Generator) -> list[Config]:
    """Keep the structural hyperparameters, which cost was paid to price, and draw the others anew."""
    drawn = space.values_at(rng.random((len(configs), len(space))))
    for values, config in zip(drawn, configs, strict=True):
        values.update({name: config[name] for name in space.structural if name in config})
    return [space.activate(values) for values in drawn]


def drawer(situation: Situation, rng: np.random.Generator) -> Callable[[], Config | None]:
    """Return a function that draws untaken configs, or candidates without replacement; None at the end."""
    space = situation.space
    if situation.candidates is not None:
        left = [c for c in situation.candidates if space.key(c) not in situation.taken]
        order = iter(rng.permutation(len(left)))
        return lambda: next((left[i] for i in order), None)

    def draw() -> Config | None:
        tries = (space.sample(1, rng)[0] for _ in range(1000))
        return next((config for config in tries if space.key(config) not in situation.taken), None)

    return draw


def _global(situation: Situation, rng: np.random.Generator) -> list[Config]:
    """Draw from the whole space: new configs, and the known feasible structures with the rest drawn anew."""
    region = situation.region().configs
    chosen = rng.choice(len(region), size=min(N_GLOBAL, len(region)), replace=False)
    known = redraw(situation.space, [region[i] for i in chosen], rng)
    return situation.space.sample(N_NEW, rng) + known


def _local(situation: Situation, parents: Sequence[Config], rng: np.random.Generator) -> list[Config]:
    parents = list(parents) or list(situation.region().configs)
    chosen = [parents[i] for i in rng.integers(len(parents), size=N_LOCAL)]
    return mutate(situation.space, chosen, rng)
