"""Neighbours of configs: mutations of a few hyperparameters, and steps of a random walk."""

from collections.abc import Sequence

import numpy as np

from hwopt.space.search_space import Config, SearchSpace


def mutate(
    space: SearchSpace, parents: Sequence[Config], rng: np.random.Generator, scale: float = 0.15
) -> list[Config]:
    """Mutate each active hyperparameter of n configs with probability 2/k, at least one.

    A choice of prior probability 0 changes in any case; hyperparameters that become active are sampled.

    Args:
        space: of the configs.
        parents: configs, n of them.
        rng: random number generator.
        scale: standard deviation of a number's change, in the unit interval.
    """
    is_active = np.array([[name in parent for name in space.names] for parent in parents])  # [n, k]
    order = np.where(is_active, rng.random(is_active.shape), np.inf)
    is_changed = rng.random(is_active.shape) < 2 / is_active.sum(axis=1, keepdims=True)
    is_changed[np.arange(len(parents)), np.argmin(order, axis=1)] = True
    children = space.values_at(rng.random(is_active.shape))
    for j, dimension in enumerate(space.dimensions):
        held = [int(i) for i in np.flatnonzero(is_active[:, j])]
        values = {i: parents[i][dimension.name] for i in held}
        may_move = is_changed[:, j] & (dimension.n_values > 1)
        moving = [i for i in held if may_move[i] or not dimension.is_possible(values[i])]
        moved = dimension.neighbours([values[i] for i in moving], scale, rng)
        values.update(zip(moving, moved, strict=True))
        for i, value in values.items():
            children[i][dimension.name] = value
    return [space.activate(child) for child in children]


def walk(
    space: SearchSpace, config: Config, rng: np.random.Generator, scale: float, n: int = 1
) -> list[Config]:
    """Return n normal steps of deviation `scale` in the unit cube from a config.

    A choice without order is sampled again with probability `scale`, and so are hyperparameters that become
    active.
    """
    children = space.values_at(rng.random((n, len(space))))
    for dimension in space.dimensions:
        if dimension.name in config:
            values = dimension.steps([config[dimension.name]] * n, scale, rng)
            for child, value in zip(children, values, strict=True):
                child[dimension.name] = value
    return [space.activate(child) for child in children]
