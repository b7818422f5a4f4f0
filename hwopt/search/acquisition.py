"""Expected improvement and its hypervolume form for known costs and an uncertain error.

    Y  error of a candidate: Y ~ N(mean, std), or, with a shift, ln(Y + shift) ~ N(mean, std)
    c [n, k]    its known costs, such as ln joules
    r_f, r_c    reference point
    h(t)        lowest error of the front at costs <= t, or r_f

Everything is computed in the logarithm, so that candidates of vanishing value still have an order.
Improvements are in the unit of the error, volumes in that unit times those of the cost axes.
"""

import numpy as np
from scipy.special import log_ndtr, logsumexp, ndtr

from hwopt.arrays import Array
from hwopt.search.pareto import staircase

_LOG_SQRT_2PI = 0.5 * np.log(2 * np.pi)


def log_expected_improvement(
    mean: Array, std: Array, best: float | Array, shift: float | None = None
) -> Array:
    """Logarithm of the expected amount by which a point falls below `best`.

    Normal:      EI = std * (pdf(u) + u * cdf(u)),              u = (best - mean) / std  (Jones et al. 1998)
    Log-normal:  EI = a * cdf(z) - exp(mean + std^2 / 2) * cdf(z - std)
                    = a * pdf(z) * (m(z) - m(z - std)),         a = best + shift, z = (ln a - mean) / std,
                                                                m = cdf / pdf the Mills ratio

    Args:
        mean: posterior mean of the error, or of ln(error + shift), any shape.
        std: posterior standard deviation of that, same shape; zero is allowed.
        best: value to improve on, broadcast against `mean`.
        shift: of the log-normal form; normal if None.

    Returns:
        ln EI, broadcast shape; -inf if the improvement is impossible.
    """
    mean, std, best = np.broadcast_arrays(
        np.asarray(mean, float), np.asarray(std, float), np.asarray(best, float)
    )
    is_exact = std <= 0
    scale = np.where(is_exact, 1.0, std)
    certain = mean if shift is None else np.exp(mean) - shift
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = np.log(np.maximum(best - certain, 0.0))
        if shift is None:
            uncertain = np.log(scale) + _log_h((best - mean) / scale)
        else:
            log_best = np.log(np.maximum(best + shift, 0.0))
            uncertain = log_best + _log_g((log_best - mean) / scale, scale)
            uncertain = np.where(np.isneginf(log_best), -np.inf, uncertain)
    return np.where(is_exact, exact, uncertain)


def _log_g(z: Array, std: Array) -> Array:
    """Return ln(cdf(z) - exp(std^2 / 2 - std z) cdf(z - std)), stable for every z and std > 0.

    Up to 5 by the difference of Mills ratios, above it directly.
    """
    low, high = np.minimum(z, 5.0), np.maximum(z, 5.0)
    upper, lower = _log_mills(low), _log_mills(low - std)
    difference = upper + np.log(-np.expm1(np.minimum(lower - upper, -1e-300)))
    tail = ndtr(high) - ndtr(high - std) - np.expm1(std**2 / 2 - std * high) * ndtr(high - std)
    return np.asarray(np.where(z > 5.0, np.log(tail), difference - 0.5 * low**2 - _LOG_SQRT_2PI))


def _log_mills(z: Array) -> Array:
    """Return ln(cdf(z) / pdf(z)); below -30 by the asymptotic series, to double precision."""
    v = 1.0 / np.minimum(z, -30.0) ** 2
    far = -np.log(-np.minimum(z, -30.0)) + np.log1p(-v * (1 - v * (3 - v * (15 - v * 105))))
    near = np.maximum(z, -30.0)
    return np.asarray(np.where(z < -30.0, far, log_ndtr(near) + 0.5 * near**2 + _LOG_SQRT_2PI))


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
    mean: Array, std: Array, costs: Array, front: Array, reference: Array, shift: float | None = None
) -> Array:
    """Logarithm of the expected hypervolume that a candidate of known costs adds to a front.

    The volume that (Y, c) adds is the integral over t from c to r_c of (h(t) - Y)+ dt, and h is constant
    on boxes between the front's costs, so the expectation is exact:

        EHVI = sum over boxes of |box above c| * EI(h(box); mean, std)

    With one known cost it is a sum over the front's points, without any it is the expected improvement.

    Args:
        mean: posterior mean of the error, or of ln(error + shift), shape [n].
        std: posterior standard deviation of that (latent, without the noise of one training), shape [n].
        costs: known costs on the axes of the hypervolume, shape [n, k], k = 0, 1, 2, ...
        front: error and known costs of the front's points, shape [f, 1 + k]; f may be 0.
        reference: reference error and costs, shape [1 + k].
        shift: of the log-normal form; normal if None.

    Returns:
        ln EHVI, shape [n]; -inf if a cost is not below the reference.
    """
    lower, upper, heights = staircase(front, reference)  # [boxes, k], [boxes, k], [boxes]
    if costs.shape[1] == 0:
        return log_expected_improvement(mean, std, np.min(heights), shift)
    log_size = np.zeros((len(mean), len(heights)))  # [n, boxes]
    with np.errstate(divide="ignore"):
        for axis in range(costs.shape[1]):
            start = np.maximum(lower[None, :, axis], costs[:, axis, None])
            log_size += np.log(np.maximum(upper[None, :, axis] - start, 0.0))
    log_gain = log_expected_improvement(mean[:, None], std[:, None], heights[None, :], shift)
    return np.asarray(logsumexp(log_size + log_gain, axis=1))


def log_integrated_improvement(
    mean: Array,
    std: Array,
    covariance: Array,
    candidate_std: Array,
    noise_std: float,
    best: float,
    weights: Array,
    shift: float | None = None,
) -> Array:
    """Logarithm of the reduction of expected improvement by an observation, integrated over reference points.

    IECI (Gramacy and Lee 2010): the weighted mean over reference points y of EI(mean(y), s(y)) - EI(mean(y),
    s(y|x)), where observing x leaves s^2(y|x) = s^2(y) - k(y, x)^2 / (k(x, x) + noise^2).

    Args:
        mean: posterior mean of the error, or of ln(error + shift), at the reference points, shape [r].
        std: its standard deviation there, shape [r].
        covariance: posterior covariance of reference points and candidates, shape [r, n].
        candidate_std: standard deviation at the candidates, shape [n].
        noise_std: of one training.
        best: lowest feasible error so far, held fixed.
        weights: probability that each reference point is feasible, shape [r].
        shift: of the log-normal form; normal if None.

    Returns:
        Its logarithm, shape [n]; -inf if nothing is expected.
    """
    taken = covariance**2 / (candidate_std**2 + noise_std**2)  # [r, n]
    left = np.sqrt(np.maximum(std[:, None] ** 2 - taken, 0.0))
    before = np.exp(log_expected_improvement(mean, std, best, shift))[:, None]
    after = np.exp(log_expected_improvement(mean[:, None], left, best, shift))
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.maximum(weights @ (before - after) / len(weights), 0.0)))
