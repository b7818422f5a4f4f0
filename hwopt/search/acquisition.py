"""Expected improvement and its hypervolume form where the costs are known and only the error is uncertain.

    Y ~ N(mean, std)  error of a candidate        c [n, k]  its known costs, such as ln joules
    r_f, r_c          reference point             h(t)      lowest error of the front at costs <= t, or r_f

Everything is computed in the logarithm, so that hopeless candidates still have an order. Improvements are
in the unit of the error, volumes in that unit times those of the cost axes.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, logsumexp

Array = NDArray[np.float64]

_LOG_SQRT_2PI = 0.5 * np.log(2 * np.pi)


def log_expected_improvement(mean: Array, std: Array, best: float | Array) -> Array:
    """Logarithm of the expected amount by which a point falls below `best`.

    EI = std * (pdf(u) + u * cdf(u)),  u = (best - mean) / std   (Jones et al. 1998)

    Args:
        mean: posterior mean of the error, any shape.
        std: posterior standard deviation, same shape; zero is allowed and gives ln max(best - mean, 0).
        best: value to improve on, broadcast against `mean`.

    Returns:
        ln EI, broadcast shape; -inf where the improvement is impossible.
    """
    mean, std, best = np.broadcast_arrays(
        np.asarray(mean, float), np.asarray(std, float), np.asarray(best, float)
    )
    is_exact = std <= 0
    scale = np.where(is_exact, 1.0, std)
    with np.errstate(divide="ignore"):
        exact = np.log(np.maximum(best - mean, 0.0))
    return np.where(is_exact, exact, np.log(scale) + _log_h((best - mean) / scale))


def _log_h(u: Array) -> Array:
    """Return ln(pdf(u) + u * cdf(u)), stable for every u (after Ament et al. 2023).

    For u < 0 it is ln pdf + ln(1 - |u| * m(u)) with m = cdf / pdf the Mills ratio; below -1000 the bracket is
    1/u^2 to double precision.
    """
    log_pdf = -0.5 * u**2 - _LOG_SQRT_2PI
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        middle = log_pdf + np.log1p(u * np.exp(log_ndtr(u) - log_pdf))
        upper = np.log(np.exp(log_pdf) + u * np.exp(log_ndtr(u)))
        # 1 - |u| m(u) cancels for large |u|: its asymptotic series is 1/u^2 - 3/u^4 + 15/u^6 - 105/u^8
        v = 1.0 / np.where(u == 0, 1.0, u) ** 2
        lower = log_pdf + np.log(v) + np.log1p(-v * (3 - v * (15 - v * (105 - v * 945))))
    return np.asarray(np.where(u > -1, upper, np.where(u > -40, middle, lower)))


def log_expected_hypervolume_improvement(
    mean: Array, std: Array, costs: Array, front: Array, reference: Array
) -> Array:
    """Logarithm of the expected hypervolume that a candidate of known costs adds to a front.

    The volume that (Y, c) adds is the integral over t from c to r_c of (h(t) - Y)+ dt, and h is constant
    on the cells between the front's costs, so the expectation is exact:

        EHVI = sum over cells of |cell above c| * EI(h(cell); mean, std)

    With one known cost it is a sum over the front's points, without any it is the expected improvement.

    Args:
        mean: posterior mean of the error, shape [n].
        std: posterior standard deviation of the error (latent, without the noise of one training), shape [n].
        costs: known costs on the axes of the hypervolume, shape [n, k], k = 0, 1, 2, ...
        front: error and known costs of the front's points, shape [f, 1 + k]; f may be 0.
        reference: reference error and costs, shape [1 + k].

    Returns:
        ln EHVI, shape [n]; -inf where a cost is not below the reference.
    """
    lower, upper, heights = staircase(front, reference)  # [cells, k], [cells, k], [cells]
    if costs.shape[1] == 0:
        return log_expected_improvement(mean, std, heights[0])
    log_size = np.zeros((len(mean), len(heights)))  # [n, cells]
    with np.errstate(divide="ignore"):
        for axis in range(costs.shape[1]):
            start = np.maximum(lower[None, :, axis], costs[:, axis, None])
            log_size += np.log(np.maximum(upper[None, :, axis] - start, 0.0))
    log_gain = log_expected_improvement(mean[:, None], std[:, None], heights[None, :])
    return np.asarray(logsumexp(log_size + log_gain, axis=1))


def staircase(front: Array, reference: Array) -> tuple[Array, Array, Array]:
    """Return the cells of the known costs on which the lowest error of the front is constant.

    Args:
        front: error and known costs of the front's points, shape [f, 1 + k].
        reference: reference point, shape [1 + k].

    Returns:
        Lower and upper corners, shape [cells, k], and heights h, shape [cells]; the lowest cells reach to
        -inf.
    """
    k = len(reference) - 1
    inside = front[np.all(front < reference, axis=1)] if len(front) else front.reshape(0, k + 1)
    edges = [np.concatenate([[-np.inf], np.unique(inside[:, 1 + a]), [reference[1 + a]]]) for a in range(k)]
    corners = [product(*[edge[part] for edge in edges]) for part in (slice(None, -1), slice(1, None))]
    starts, ends = (np.array(list(corner), dtype=float) for corner in corners)  # k = 0: one cell, [1, 0]
    reached = np.all(inside[None, :, 1:] <= starts[:, None, :], axis=2)  # [cells, f]
    errors = np.where(reached, inside[None, :, 0], np.inf)
    return starts, ends, np.min(errors, axis=1, initial=reference[0])
