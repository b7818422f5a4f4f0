"""The front of very many points: what a benchmark's brute force is made of."""

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array
from hwopt.search.pareto import nondominated

_CHUNK = 500


def front_of(values: Array) -> Array:
    """Return the distinct nondominated rows of `values` [n, m], all minimised, by the last objective.

    Memory stays proportional to n: two objectives are sorted and scanned; of more, rows are taken in the
    order of their summed ranks, so that the strongest come first and most others fall to a few of them.
    """
    values = values[np.isfinite(values).all(axis=1)]
    if values.shape[1] == 2:
        values = values[np.lexsort((values[:, 0], values[:, 1]))]
        lowest = np.minimum.accumulate(np.append(np.inf, values[:, 0]))[:-1]
        return values[values[:, 0] < lowest]
    ranks = np.argsort(np.argsort(values, axis=0, kind="stable"), axis=0)
    waiting = values[np.argsort(ranks.sum(axis=1), kind="stable")]
    front = np.empty((0, values.shape[1]))
    while len(waiting):
        chunk, waiting = waiting[:_CHUNK], waiting[_CHUNK:]
        new = chunk[~dominated(chunk, front)]
        new = new[nondominated(new)]
        front = np.vstack([front, new])  # a later row has a higher sum of ranks: it dominates no earlier one
        waiting = waiting[~dominated(waiting, new)]
    return front[np.argsort(front[:, -1], kind="stable")]


def dominated(values: Array, front: Array) -> NDArray[np.bool_]:
    """Return which rows of `values` [n, m] some row of `front` [k, m] equals or betters everywhere, [n]."""
    found = np.zeros(len(values), dtype=bool)
    for row in front:
        left = np.flatnonzero(~found)
        found[left] = np.all(row <= values[left], axis=1)
    return found
