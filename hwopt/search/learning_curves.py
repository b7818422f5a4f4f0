"""Extrapolation of learning curves to their final errors, from their first epochs and the other curves.

    y [m]       log errors of a curve at the checkpoints (epochs 1, 2, 3, ...), NaN after its last epoch
    x [q]       features known in advance: log costs
    z           1, x and y, minus x of the extrapolated curve and its y at its last checkpoint k
    w [n]       exp(-y_k^2 / 2 (width^2 + 2 noise_k^2)): weights of the other curves, largest for equal errors
                at k
    M           moments: those of the prior plus the sum of w z z' over the n other curves

The log errors are jointly normal, locally: y_t given y_1 .. y_(t-1) is a linear regression with a conjugate
prior, and its posterior predictive is Student's t (Gelman et al. 2013, section 14.2),

    y_t ~ t(z' b, s^2 (1 + z' A^-1 z)),   b = A^-1 c,   s^2 = (M_tt - c' b) / n_t,

with A = M_(<t, <t), c = M_(<t, t) and n_t the weight of prior and curves. The prior has the weight of a few
curves that follow a power law of the epochs, each with its own level and exponent, a random walk in log
epochs, and the noise of an epoch, as large as all curves so far show (see `curve_prior`): where errors go up
and down, an early one says little. So with few curves the parametric law dominates (Domhan et al. 2015;
LC-PFN, Adriaensen et al. 2023), and with many the data, as in the joint models of Swersky et al. (2014) and
Klein et al. (2017), in a few milliseconds. `extrapolate` chains the steps by drawing paths; equal inputs give
equal draws.
`final_errors` does so for many curves at once by their first two moments, with

    E y_t = b' E z,   Var y_t = f^2 s^2 (1 + E z' A^-1 E z + tr A^-1 C) + b' C b,   C = Cov z,

f being half of the central 68% of Student's t, and returns quantiles, in a tenth of the time per curve.

**Stopped curves.** Complete curves are survivors, so a regression of the final error on the first epochs
would have a selection bias. Here each step is fitted to all curves that reached it. Whether a curve reached a
step was decided from its earlier errors and its costs, on all of which the step conditions (without the
costs, curves that continued after a poor start would mostly be those of cheap networks, which end higher). So
the data are missing at random with a monotone pattern, and the likelihood factorises into the steps (Anderson
1957; Little and Rubin 2002, chapter 7): stopped curves need no correction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from hwopt.arrays import Array
from hwopt.search.curve_prior import Population, Prior

_N_DRAWS = 512
_CHECKPOINT_RATIO = 1.26  # of consecutive checkpoints: every epoch up to the sixth, then ten per decade
_LOWER, _UPPER = 0.1587, 0.8413  # the central 68%
_N_STEPS, _SMALLEST, _LARGEST_OFFSET = 10, 1e-9, 0.02  # of the offset added to errors before the logarithm


@dataclass(frozen=True)
class Extrapolation:
    """Predictive distribution of a final error, as draws [s]."""

    draws: Array

    @property
    def median(self) -> float:
        """Median of the final error; the mean depends on the long upper tail."""
        return self.quantile(0.5)

    @property
    def std(self) -> float:
        """Standard deviation of a normal with the same central 68%."""
        return float(np.diff(np.quantile(self.draws, [_LOWER, _UPPER]))[0]) / 2

    def probability_below(self, error: float) -> float:
        """Probability that the final error is smaller than this value."""
        return float(np.mean(self.draws < error))

    def quantile(self, level: float) -> float:
        """Return the quantile of the final error at a probability `level`."""
        return float(np.quantile(self.draws, level))


@dataclass(frozen=True)
class FinalErrors:
    """Predictive distributions of the final errors of n curves: median and central 68%, each [n].

    They are approximated by a normal distribution of ln(error + offset).
    """

    low: Array
    median: Array
    high: Array
    offset: float

    def log_normal(self, shift: float) -> tuple[Array, Array]:
        """Return median and half of the central 68% of ln(error + shift), each [n]."""
        low, median, high = (np.log(error + shift) for error in (self.low, self.median, self.high))
        return median, (high - low) / 2

    def probability_below(self, error: float | Array) -> Array:
        """Return the probability that each final error is below the given error or errors, [n]."""
        median, std = self.log_normal(self.offset)
        bound = np.log(np.maximum(error, 0.0) + self.offset)
        return np.asarray(ndtr((bound - median) / np.maximum(std, 1e-12)))

    def take(self, rows: Sequence[int]) -> "FinalErrors":
        """Return some of the distributions."""
        chosen = np.array(rows, dtype=int)
        return FinalErrors(self.low[chosen], self.median[chosen], self.high[chosen], self.offset)


def checkpoints(n_epochs: int) -> tuple[int, ...]:
    """Return the epochs at which curves are modelled: 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, ..., the last."""
    epochs = [1]
    while epochs[-1] < n_epochs:
        step = round(epochs[-1] * _CHECKPOINT_RATIO)
        epochs.append(min(n_epochs, max(epochs[-1] + 1, step)))
    return tuple(epochs)


def extrapolate(
    errors: Sequence[float],
    others: Sequence[Sequence[float]],
    n_epochs: int,
    x: Sequence[float] = (),
    other_x: Sequence[Sequence[float]] | None = None,
    prior: Prior | None = None,
) -> Extrapolation:
    """Predict the error after the last epoch.

    Args:
        errors: errors after epochs 1, 2, ... so far, at least one; finite, non-negative.
        others: errors of the other curves by epoch, of any length, complete or not.
        n_epochs: epochs of a whole training.
        x: features of the curve known in advance, [q], such as log costs.
        other_x: features of the other curves, [n, q]; not needed if q is 0.
        prior: prior of curves.

    Returns:
        Draws [s] of the final error, at most the highest error of any curve; all equal to the last error if
        the training is complete.
    """
    k = len(errors)
    if k >= n_epochs:
        return Extrapolation(np.full(1, float(errors[-1])))
    epochs = np.array(sorted({*checkpoints(n_epochs), k}))
    curves = [np.asarray(curve[:n_epochs], dtype=float) for curve in (errors, *others)]
    values = np.concatenate(curves)
    offset = _offset(values)
    Y = _log_errors_at(epochs, curves, offset)  # [1 + n, m]
    k = int(np.searchsorted(epochs, k))
    X = np.array([x, *(other_x or [()] * len(others))], dtype=float).reshape(len(Y), len(x))  # [1 + n, q]
    population = (prior or Prior()).fitted(Y, epochs, n_epochs)
    ends = _draw_ends(Y[0, : k + 1], Y[1:], X[1:] - X[0], population)
    highest = np.log(np.max(values) + offset)
    return Extrapolation(np.maximum(np.exp(np.minimum(ends, highest)) - offset, 0.0))


def final_errors(
    curves: Sequence[Sequence[float]],
    n_epochs: int,
    x: Sequence[Sequence[float]],
    which: Sequence[int],
    prior: Prior | None = None,
) -> FinalErrors:
    """Predict the errors after the last epoch of several curves, from their epochs and all other curves.

    Args:
        curves: errors by epoch, finite, non-negative; at least one for the curves in `which`.
        n_epochs: epochs of a whole training.
        x: features of the curves known in advance, [n, q], such as log costs.
        which: indices of the curves to extrapolate; a complete one is certain.
        prior: prior of curves.

    Returns:
        Their distributions, in the order of `which`; quantiles are at most the highest error of any curve.
    """
    if not which:
        return FinalErrors(np.zeros(0), np.zeros(0), np.zeros(0), _LARGEST_OFFSET)
    known = [np.asarray(curve[:n_epochs], dtype=float) for curve in curves]
    values = np.concatenate(known)
    offset = _offset(values)
    median = np.array([known[i][-1] for i in which], dtype=float)
    logs, std = np.log(median + offset), np.zeros(len(which))
    X = np.array(x, dtype=float).reshape(len(known), len(x[0]))
    lengths = np.array([len(known[i]) for i in which], dtype=int)
    grid = checkpoints(n_epochs)
    groups = {k: {*grid} if k in grid else {*grid, k} for k in set(lengths.tolist()) if k < n_epochs}
    for epochs in {tuple(sorted(epochs)) for epochs in groups.values()}:
        rows = [
            r for r, k in enumerate(lengths.tolist()) if k < n_epochs and tuple(sorted(groups[k])) == epochs
        ]
        Y = _log_errors_at(np.array(epochs), known, offset)
        k = np.searchsorted(epochs, lengths[rows])
        population = (prior or Prior()).fitted(Y, np.array(epochs), n_epochs)
        logs[rows], std[rows] = _end_moments(Y, X, np.array([which[r] for r in rows]), k, population)
    highest = np.log(np.max(values, initial=0.0) + offset)
    low, median, high = (
        np.maximum(np.exp(np.minimum(logs + side * std, highest)) - offset, 0.0) for side in (-1, 0, 1)
    )
    return FinalErrors(low, median, high, offset)


def _offset(values: Array) -> float:
    """Return the offset that is added to errors [n] before the logarithm: a few of their smallest steps.

    A share of n images has steps of 1 / n and a noise of sqrt(error / n), so the noise of its plain logarithm
    would grow for small errors, and the logarithm is minus infinity at 0.
    """
    steps = np.diff(np.unique(np.append(values, 0.0)))
    return float(np.clip(_N_STEPS * np.min(steps, initial=np.inf), _SMALLEST, _LARGEST_OFFSET))


def _log_errors_at(epochs: NDArray[np.intp], curves: Sequence[Array], offset: float) -> Array:
    """Return the log errors of curves at these epochs, [n, m], NaN after the end of a curve."""
    Y = np.full((len(curves), epochs[-1]), np.nan)
    for row, curve in zip(Y, curves, strict=True):
        row[: len(curve)] = curve
    return np.asarray(np.log(Y[:, epochs - 1] + offset))


def _draw_ends(y: Array, Y: Array, X: Array, population: Population) -> Array:
    """Return draws [s] of the last log error of a curve, y [k + 1], given others, Y [n, m], X [n, q]."""
    rng = np.random.default_rng(0)
    k, q = len(y) - 1, X.shape[1]
    went_on = ~np.isnan(Y[:, k + 1])
    Y, X, level = Y[went_on] - y[k], X[went_on], float(y[k])
    w = _closeness(Y[:, k], population, k)
    Z = np.column_stack([np.ones(len(Y)), X, Y])  # [n, 1 + q + m]
    prior_moments, n_prior = population.moments(level, q), population.prior.n_spread
    start = np.concatenate([[1.0], np.zeros(q), y - level])
    paths = np.repeat(start[None, :], _N_DRAWS, axis=0)  # [s, q + k + 2]
    for t in range(q + k + 2, Z.shape[1]):
        made = ~np.isnan(Z[:, t])
        known = Z[made, : t + 1]
        M = prior_moments[: t + 1, : t + 1] + (known * w[made, None]).T @ known
        n_seen = n_prior + float(np.sum(w[made]))
        paths = np.column_stack([paths, _draw_next(paths, M, n_seen, rng)])
    return paths[:, -1] + level


def _draw_next(paths: Array, M: Array, n_seen: float, rng: np.random.Generator) -> Array:
    """Draw the next log error of paths [s, t] from the posterior predictive, given moments [t + 1, t + 1]."""
    inverse = np.linalg.inv(M[:-1, :-1])
    b = inverse @ M[:-1, -1]
    variance = max(float(M[-1, -1] - M[:-1, -1] @ b) / n_seen, 1e-12)
    scale = np.sqrt(variance * (1 + np.sum(paths @ inverse * paths, axis=1)))
    return np.asarray(paths @ b + scale * rng.standard_t(n_seen, len(paths)))


def _closeness(distances: Array, population: Population, k: int) -> Array:
    """Return the weights of curves at these distances in log error at checkpoint k, [n], 0 to 1."""
    width = population.width(k)
    if len(distances):
        nth = np.sort(np.abs(distances))[min(population.prior.n_near, len(distances)) - 1]
        width = max(width, float(nth) / 1.5)
    return np.asarray(np.exp(-0.5 * (distances / width) ** 2))


def _end_moments(
    Y: Array, X: Array, which: NDArray[np.intp], k: NDArray[np.intp], population: Population
) -> tuple[Array, Array]:
    """Return mean and standard deviation of the last log error of some curves, each [w].

    Args:
        Y: log errors of all curves, [n, m], NaN after their ends.
        X: features known in advance, [n, q].
        which: rows of the curves, [w].
        k: index of the last checkpoint of each, [w], below m - 1.
        population: prior of these curves.
    """
    q, m = X.shape[1], Y.shape[1]
    Z = np.column_stack([np.ones(len(Y)), X, np.nan_to_num(Y)])  # [n, 1 + q + m]
    made = np.column_stack([np.ones((len(Y), 1 + q), dtype=bool), ~np.isnan(Y)])
    at = Y[which, k]  # [w]
    w = _closeness_of_all(Y, which, k, population)  # [w, n]
    centre = np.concatenate([np.zeros((len(which), 1)), X[which], np.repeat(at[:, None], m, axis=1)], axis=1)
    M0 = np.array([population.moments(float(level), q) for level in at])  # [w, 1 + q + m, 1 + q + m]
    mean, cov = Z[which] - centre, np.zeros_like(M0)
    for t in range(q + 2 + int(np.min(k)), Z.shape[1]):
        due = np.flatnonzero(q + 1 + k < t)  # curves that this step predicts
        rows = np.flatnonzero(made[:, t])
        M = M0[due, : t + 1, : t + 1] + _moments(Z[rows, : t + 1], w[np.ix_(due, rows)], centre[due, : t + 1])
        n_seen = population.prior.n_spread + np.sum(w[np.ix_(due, rows)], axis=1)
        inverse = np.linalg.inv(M[:, :-1, :-1])  # [w, t, t]
        c, z, C = M[:, :-1, -1], mean[due, :t], cov[due, :t, :t]
        b = _times(inverse, c)
        variance = np.maximum((M[:, -1, -1] - np.sum(c * b, axis=1)) / n_seen, 1e-12)
        leverage = np.sum(z * _times(inverse, z), axis=1) + np.einsum("wij,wij->w", inverse, C)
        Cb = _times(C, b)
        mean[due, t] = np.sum(b * z, axis=1)
        cov[due, t, :t] = cov[due, :t, t] = Cb
        cov[due, t, t] = stdtrit(n_seen, _UPPER) ** 2 * variance * (1 + leverage) + np.sum(b * Cb, axis=1)
    return mean[:, -1] + at, np.sqrt(cov[:, -1, -1])


def _times(A: NDArray[Any], x: NDArray[Any]) -> Array:
    """Return the products of matrices A [w, t, t] and vectors x [w, t], [w, t]."""
    return np.asarray((A @ x[:, :, None])[:, :, 0])


def _moments(Z: Array, w: Array, centre: Array) -> Array:
    """Return the sums over rows of weights w [w, n] times (z - centre)(z - centre)', [w, t, t].

    The first column of Z [n, t] is 1, and that of centre [w, t] is 0.
    """
    products = (Z[:, :, None] * Z[:, None, :]).reshape(len(Z), Z.shape[1] ** 2)
    raw = (w @ products).reshape(len(w), Z.shape[1], Z.shape[1])
    first = raw[:, 0, :]  # sums of w z
    crossed = centre[:, :, None] * first[:, None, :]
    total = first[:, 0][:, None, None] * centre[:, :, None] * centre[:, None, :]
    return np.asarray(raw - crossed - crossed.transpose(0, 2, 1) + total)


def _closeness_of_all(
    Y: Array, which: NDArray[np.intp], k: NDArray[np.intp], population: Population
) -> Array:
    """Return the weight of each curve [n] for some curves, [w, n]; 0 for the curve itself."""
    w = np.zeros((len(which), len(Y)))
    for row, (i, at) in enumerate(zip(which, k, strict=True)):
        went_on = ~np.isnan(Y[:, at + 1])
        went_on[i] = False
        w[row, went_on] = _closeness(Y[went_on, at] - Y[i, at], population, int(at))
    return w
