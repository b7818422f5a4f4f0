"""Dominance and hypervolume; every objective is minimised.

Notation: Y [n, m] objective values of n points, r [m] the reference point. With the first objective as a
height over the others, a front is a staircase: the lowest height h(t) of the points whose other objectives
are at most t, constant on boxes. The hypervolume is the sum over the boxes of (r_1 - h) times their size.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array

T = TypeVar("T")

_CHUNK = 500  # rows of more than two objectives that are compared at once


def log_outcomes(values: Sequence[Mapping[str, float]], objectives: Sequence[str]) -> Array:
    """Return the error, and the logarithms of all other objectives, of points as rows [n, m]."""
    Y = np.array([[point[name] for name in objectives] for point in values], dtype=float)
    Y = Y.reshape(-1, len(objectives))
    is_cost = [name != "error" for name in objectives]
    Y[:, is_cost] = np.log(Y[:, is_cost])
    return Y


def nondominated(Y: Array) -> NDArray[np.bool_]:
    """Return whether each row of Y [n, m] is nondominated, [n]; of equal rows the first is.

    A row dominates another if it is nowhere larger and somewhere smaller; one with a NaN is not compared.
    Rows are processed in lexicographic order, in which no row dominates an earlier one (Kung et al. 1975), so
    that memory grows with the front only.
    """
    Y = np.asarray(Y, dtype=float)
    if len(Y) == 0:
        return np.zeros(0, dtype=bool)
    keep = np.asarray(np.isnan(Y).any(axis=1))
    compared = np.flatnonzero(~keep)
    order = compared[np.lexsort(Y[compared].T[::-1])]  # equal rows stay in their order
    keep[order] = _is_first_below(Y[order]) if Y.shape[1] <= 2 else _is_below_front(Y[order])
    return keep


def front_members(items: Sequence[T], Y: Array) -> list[T]:
    """Return the items whose rows of Y [n, m] are nondominated, in their order; of equal rows the first."""
    return [item for item, is_member in zip(items, nondominated(Y), strict=True) if is_member]


def nondominated_rows(Y: Array) -> Array:
    """Return the distinct nondominated finite rows of Y [n, m] by rising last objective, for very large n.

    Of more than two objectives, rows are taken in the order of their summed ranks, so that the strongest come
    first and few of them dominate most others; memory is proportional to n.
    """
    Y = Y[np.isfinite(Y).all(axis=1)]
    if Y.shape[1] <= 2:
        front = Y[nondominated(Y)]
    else:
        ranks = np.argsort(np.argsort(Y, axis=0, kind="stable"), axis=0)
        waiting, front = Y[np.argsort(ranks.sum(axis=1), kind="stable")], Y[:0]
        while len(waiting):
            new, waiting = waiting[:_CHUNK], waiting[_CHUNK:]
            new = new[~is_dominated(new, front)]
            new = new[nondominated(new)]
            front = np.vstack([front, new])  # a later row has a larger sum of ranks: it dominates none before
            waiting = waiting[~is_dominated(waiting, new)]
    return front[np.argsort(front[:, -1], kind="stable")]


def is_dominated(Y: Array, front: Array) -> NDArray[np.bool_]:
    """Return which rows of Y [n, m] are nowhere smaller than some row of a front [k, m], shape [n]."""
    found = np.zeros(len(Y), dtype=bool)
    for row in front:
        left = np.flatnonzero(~found)
        found[left] = np.all(row <= Y[left], axis=1)
    return found


def hypervolume(Y: Array, reference: Array) -> float:
    """Return the volume that the rows of Y [n, m] dominate below the reference point [m]: exact, any m.

    Points that are not below the reference point in every objective add nothing.
    """
    Y, reference = np.asarray(Y, dtype=float), np.asarray(reference, dtype=float)
    Y = Y[np.all(Y < reference, axis=1)] if len(Y) else Y
    if len(Y) == 0:
        return 0.0
    lower, upper, heights = staircase(Y[nondominated(Y)], reference)
    is_reached = heights < reference[0]
    sizes = np.prod(upper[is_reached] - lower[is_reached], axis=1)
    return float((reference[0] - heights[is_reached]) @ sizes)


def staircase(front: Array, reference: Array) -> tuple[Array, Array, Array]:
    """Return boxes of the other objectives on which the lowest first objective of a front is constant.

    Points are processed by rising first objective; each takes the remaining boxes above its other objectives,
    and the boxes that it cuts are sliced along the axes: far fewer boxes than cells of a grid.

    Args:
        front: error and known costs of the front's points, shape [f, 1 + k].
        reference: reference point, shape [1 + k].

    Returns:
        Lower and upper corners, shape [boxes, k], and heights h, shape [boxes]; the boxes are disjoint and
        fill all costs below the reference, from -inf.
    """
    k = len(reference) - 1
    inside = front[np.all(front < reference, axis=1)] if len(front) else front.reshape(0, k + 1)
    inside = inside[np.argsort(inside[:, 0], kind="stable")]
    if k == 1:
        return _steps(inside, reference)
    lower, upper = np.full((1, k), -np.inf), np.asarray(reference[None, 1:], dtype=float)
    claimed: list[tuple[Array, Array, Array]] = []
    for point in inside:
        (own_lower, own_upper), (lower, upper) = _cut(lower, upper, point[1:])
        claimed.append((own_lower, own_upper, np.full(len(own_lower), point[0])))
    claimed.append((lower, upper, np.full(len(lower), reference[0])))
    lowers, uppers, heights = (np.concatenate(parts) for parts in zip(*claimed, strict=True))
    return lowers, uppers, heights


def errors_to_beat(front: Array, costs: Array, reference: Array) -> Array:
    """Return the errors below which points of known costs [n, k] enter a front [f, 1 + k], shape [n].

    It is the lowest error on the front among points whose costs are all no larger, and at most the reference
    [1 + k]; 0 for costs that are not below the reference, with which nothing enters.
    """
    reached = np.all(front[None, :, 1:] <= costs[:, None, :], axis=2)  # [n, f]
    lowest = np.min(np.where(reached, front[:, 0], reference[0]), axis=1, initial=reference[0])
    return np.asarray(np.where(np.all(costs < reference[1:], axis=1), lowest, 0.0))


def _steps(points: Array, reference: Array) -> tuple[Array, Array, Array]:
    """Return the boxes of one other objective, of points [f, 2] by rising first one: its intervals."""
    edges = np.minimum.accumulate(np.append(reference[1], points[:, 1]))
    is_step = np.append(edges[1:] < edges[:-1], True)
    lower = np.append(points[:, 1], -np.inf)[is_step]
    heights = np.append(points[:, 0], reference[0])[is_step]
    return lower[:, None], edges[is_step][:, None], heights


def _is_first_below(Y: Array) -> NDArray[np.bool_]:
    """Return which rows of Y [n, m], m <= 2, in lexicographic order, are below all before in the last."""
    lowest = np.minimum.accumulate(np.append(np.inf, Y[:, -1]))[:-1]
    is_below = np.asarray(Y[:, -1] < lowest)
    is_below[:1] = True  # also if it is infinite
    return is_below


def _is_below_front(Y: Array) -> NDArray[np.bool_]:
    """Return which rows of Y [n, m], in lexicographic order, no row before them is nowhere larger than."""
    front, n = np.empty_like(Y), 0
    is_kept = np.zeros(len(Y), dtype=bool)
    for i, row in enumerate(Y):
        if not np.any(np.all(front[:n] <= row, axis=1)):
            front[n], is_kept[i], n = row, True, n + 1
    return is_kept


def _cut(lower: Array, upper: Array, corner: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Split boxes [b, k] into their parts above a corner [k] in every axis, and the rest of them.

    A box that reaches above the corner loses, axis by axis, the slice below it; the rest is above.
    """
    is_cut = np.all(upper > corner, axis=1)
    rest_lower, rest_upper = [lower[~is_cut]], [upper[~is_cut]]
    lower, upper = lower[is_cut].copy(), upper[is_cut].copy()
    for axis in range(len(corner)):
        below = lower[:, axis] < corner[axis]
        slice_upper = upper[below].copy()
        slice_upper[:, axis] = corner[axis]
        rest_lower.append(lower[below].copy())
        rest_upper.append(slice_upper)
        lower[below, axis] = corner[axis]
    return (lower, upper), (np.concatenate(rest_lower), np.concatenate(rest_upper))
