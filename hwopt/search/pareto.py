"""Dominance and hypervolume; every objective is minimised.

Notation: Y [n, m] objective values of n points, r [m] the reference point.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def nondominated(Y: Array) -> NDArray[np.bool_]:
    """Return which rows of Y [n, m] no other row dominates, [n]; of equal rows the first is kept.

    A row dominates another where it is nowhere larger and somewhere smaller.
    """
    Y = np.asarray(Y, dtype=float)
    if len(Y) == 0:
        return np.zeros(0, dtype=bool)
    no_larger = np.all(Y[:, None, :] <= Y[None, :, :], axis=2)  # [n, n]: row i against row j
    smaller = np.any(Y[:, None, :] < Y[None, :, :], axis=2)
    earlier_twin = no_larger & ~smaller & (np.arange(len(Y))[:, None] < np.arange(len(Y))[None, :])
    return np.asarray(~np.any((no_larger & smaller) | earlier_twin, axis=0))


def hypervolume(Y: Array, reference: Array) -> float:
    """Return the volume that the rows of Y [n, m] dominate below the reference point [m].

    Points that are not below the reference point in every objective add nothing. Exact: slices along the last
    objective, recursively; meant for fronts of up to a few hundred points and m up to 4.
    """
    Y, reference = np.asarray(Y, dtype=float), np.asarray(reference, dtype=float)
    Y = Y[np.all(Y < reference, axis=1)] if len(Y) else Y
    if len(Y) == 0:
        return 0.0
    if Y.shape[1] == 1:
        return float(reference[0] - Y.min())
    Y = Y[nondominated(Y)]
    Y = Y[np.argsort(Y[:, -1], kind="stable")]
    if Y.shape[1] == 2:
        heights = reference[0] - np.minimum.accumulate(Y[:, 0])
        widths = np.diff(np.append(Y[:, 1], reference[1]))
        return float(heights @ widths)
    edges = np.append(Y[:, -1], reference[-1])
    slices = [hypervolume(Y[: k + 1, :-1], reference[:-1]) for k in range(len(Y))]
    return float(np.diff(edges) @ slices)
