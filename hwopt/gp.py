"""Gaussian process regression: Matern kernels, a linear trend, fit by the posterior mode, leave-one-out.

    X [n, d]   inputs                           y [n]   observed values
    g [d]      group of each column, 0 to h - 1: a hyperparameter with choices has several columns
    l [h]      length-scales, one for each group (ARD)
    b2, a2, s2 variances of the trend, of the deviation from it, and of the noise, for standardised values
    e2 [n]     known variances of single values, such as of an extrapolated error
    K = b2 t(x, x') + a2 k(r) + s2 I + diag(e2)
    k(r) = (1 + r) exp(-r)                 Matern-3/2
           (1 + r + r^2 / 3) exp(-r)       Matern-5/2
    r^2 = 2 nu sum_j w_j (x_j - x'_j)^2 / l_g(j)^2
    t(x, x') = 12 / h sum_j w_j (x_j - 1/2) (x'_j - 1/2)

Two choices are as far apart as the ends of a number: w_j is 1/2 for columns of a one-hot vector, else 1. The
trend, for inputs in the unit cube, is a line in each number and a level for each choice, all with the same
normal prior (Rasmussen and Williams 2006, section 2.7): ten observations show the slope of a surface long
before its shape. It is optional.

theta = (ln l_1, ..., ln l_h, [ln b2,] ln a2, ln s2) maximises the marginal likelihood times log-normal
priors, with analytic gradients (Rasmussen and Williams 2006, eq. 5.9). The same data give the same theta, to
the bit on one machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.optimize import minimize

from hwopt.arrays import Array

_JITTER = 1e-8  # added to the diagonal, in units of the standardised values
_STAGES = ((100, 60), (300, 15))  # (points, steps) of the hyperparameter fits: few points first
_MOST_LEFT_OUT = 1.5  # the next stage runs if there are more than this many times the points of a stage
_N_KEPT = 2000  # points of the posterior
_BLOCK = 256  # inputs whose mean is computed at once: their kernel stays in the cache


class LogNormal(NamedTuple):
    """Normal prior on the logarithm of a hyperparameter, and the bounds of that logarithm."""

    mean: float
    std: float
    low: float = -np.inf
    high: float = np.inf


@dataclass(frozen=True)
class Priors:
    """Priors on the hyperparameters; the defaults are those of the surrogate of a search.

    The mean of the length-scales is that of `n_groups` groups and grows with the square root of their number,
    as distances in the unit cube do (Hvarfner et al. 2024). Without a prior there is no trend.
    """

    length: LogNormal = LogNormal(np.log(0.4), 0.9, np.log(0.02), np.log(50.0))
    trend: LogNormal | None = LogNormal(np.log(0.2), 1.0, np.log(1e-4), np.log(20.0))
    signal: LogNormal = LogNormal(0.0, 1.0, np.log(0.02), np.log(20.0))
    noise: LogNormal = LogNormal(np.log(1e-2), 1.5, np.log(1e-5), np.log(1.0))
    n_groups: int = 2
    reach: float | None = None  # distance of the bounds from the means; those of each prior if None

    def arrays(self, h: int) -> Array:
        """Return mean, standard deviation, lowest and highest value of theta, each a row, shape [4, p]."""
        length = self.length._replace(mean=self.length.mean + 0.5 * np.log(max(h, 1) / self.n_groups))
        trend = [] if self.trend is None else [self.trend]
        rows = np.transpose([length] * h + [*trend, self.signal, self.noise])
        if self.reach is not None:
            rows[2:] = rows[0] - self.reach, rows[0] + self.reach
        return np.asarray(rows)

    def starts(self, h: int) -> list[Array]:
        """Return initial values of a fit: the means of theta, shape [p], and the same with more noise."""
        mean = self.arrays(h)[0]
        return [mean, mean + np.array([0.0] * (len(mean) - 2) + [-0.5, np.log(30.0)])]


def matern(X1: Array, X2: Array, nu: float) -> Array:
    """Matern correlation, nu = 3/2 or 5/2, of X1 [n1, d] and X2 [n2, d] in length-scales, shape [n1, n2]."""
    r = 2 * X1 @ X2.T
    np.subtract(np.sum(X1**2, axis=1)[:, None] + np.sum(X2**2, axis=1), r, out=r)
    np.maximum(r, 0.0, out=r)
    r *= 2 * nu
    return _matern(np.sqrt(r, out=r), nu)


def linear(X1: Array, X2: Array, groups: NDArray[np.intp]) -> Array:
    """Covariance of a linear trend of variance 1 at X1 [n1, d] and X2 [n2, d], shape [n1, n2]."""
    return np.asarray((X1 - 0.5) * _trend_weights(groups) @ (X2 - 0.5).T)


def negative_log_posterior(
    theta: Array, D: Array, T: Array | None, y: Array, extra: Array, priors: Priors, nu: float = 2.5
) -> tuple[float, Array]:
    """Return minus the log posterior of theta, up to a constant, and its gradient [p].

    Args:
        theta: logarithms of the length-scales and of the variances, shape [p].
        D: squared differences of the inputs by group, of the pairs below the diagonal, shape [h, n(n - 1)/2].
        T: covariance of a linear trend of variance 1, shape [n, n]; None without a trend.
        y: standardised values, shape [n].
        extra: their known variances, shape [n].
        priors: of theta.
        nu: smoothness of the kernel, 3/2 or 5/2.
    """
    h, n = len(D), len(y)
    pairs, diagonal = np.tril_indices(n, -1), np.diag_indices(n)
    weights, variances = np.exp(-2 * theta[:h]), np.exp(theta[h:])
    signal, noise = variances[-2:]
    trend = np.zeros((n, n)) if T is None else variances[0] * T
    r = np.sqrt(2 * nu * (weights @ D))
    k = signal * _matern(r, nu)  # [pairs]
    K = np.array(trend, order="F")
    K[pairs] += k
    K[diagonal] += signal + noise + _JITTER + extra
    L, info = dpotrf(K, lower=True, clean=True)
    if info != 0:
        return 1e25, np.zeros_like(theta)
    alpha = cho_solve((L, True), y)
    inverse, _ = dpotri(L, lower=True)
    # d(log likelihood) = tr(S dK) / 2, S = alpha alpha' - K^-1; a pair counts twice
    S, S_diagonal = alpha[pairs[0]] * alpha[pairs[1]] - inverse[pairs], alpha**2 - inverse[diagonal]
    gradient = np.empty_like(theta)
    # dK / d ln l_j = signal * 2 nu / (2 nu - 2) * k_(nu - 1)(r) * D_j / l_j^2
    slope = signal * 2 * nu / (2 * nu - 2) * _matern(r, nu - 1)
    gradient[:h] = -weights * (D @ (S * slope))
    if T is not None:
        gradient[h] = -(S @ trend[pairs] + 0.5 * S_diagonal @ trend[diagonal])
    gradient[-2:] = -(S @ k + 0.5 * signal * S_diagonal.sum()), -0.5 * noise * S_diagonal.sum()
    value = 0.5 * y @ alpha + np.sum(np.log(np.diag(L)))
    mean, std, _, _ = priors.arrays(h)
    z = (theta - mean) / std
    return float(value + 0.5 * z @ z), gradient + z / std


def fit_theta(
    X: Array,
    y: Array,
    groups: NDArray[np.intp],
    priors: Priors,
    starts: Sequence[Array],
    n_steps: int,
    *,
    std: Array | None = None,
    nu: float = 2.5,
    tolerance: float = 1e-7,
) -> Array:
    """Return the hyperparameters of largest posterior density that are found from the starts, shape [p].

    Args:
        X: inputs, shape [n, d].
        y: standardised values, shape [n].
        groups: group of each column of X, shape [d], rising from 0.
        priors: of the hyperparameters.
        starts: initial values, each shape [p].
        n_steps: steps of the maximiser from each start.
        std: known standard deviations of the values, shape [n]; 0 if None.
        nu: smoothness of the kernel, 3/2 or 5/2.
        tolerance: relative change of the density below which a fit ends.
    """
    extra = np.zeros(len(y)) if std is None else std**2
    D = squared_differences(X, groups)
    T = None if priors.trend is None else linear(X, X, groups)
    _, _, low, high = priors.arrays(len(D))
    results = [
        minimize(
            negative_log_posterior,
            np.clip(start, low, high),
            args=(D, T, y, extra, priors, nu),
            jac=True,
            bounds=np.column_stack([low, high]),
            method="L-BFGS-B",
            options={"maxiter": n_steps, "ftol": tolerance},
        )
        for start in starts
    ]
    return np.asarray(min(results, key=lambda result: float(result.fun)).x)


class GaussianProcess:
    """Posterior over a function, given hyperparameters.

    Args:
        X: inputs, shape [n, d], n >= 1.
        y: observed values, shape [n].
        theta: logarithms of length-scales and of the variances of trend, signal and noise, shape [h + 3], or
            [h + 2] without a trend.
        groups: group of each column of X, shape [d], rising from 0; each column its own group if None.
        std: known standard deviations of single values beside the common noise, shape [n]; 0 if None.
        location: subtracted from the values; their mean if None.
        scale: divisor of the values; their standard deviation if None.
        nu: smoothness of the kernel, 3/2 or 5/2.
    """

    def __init__(
        self,
        X: Array,
        y: Array,
        theta: Array,
        groups: NDArray[np.intp] | None = None,
        std: Array | None = None,
        location: float | None = None,
        scale: float | None = None,
        nu: float = 2.5,
    ) -> None:
        self.X, self.y, self.theta, self.nu = X, y, theta, nu
        self.std = np.zeros(len(y)) if std is None else std
        self.location = float(np.mean(y)) if location is None else location
        self.scale = standard_deviation(y) if scale is None else scale
        self.groups = np.arange(X.shape[1]) if groups is None else groups
        h = int(self.groups[-1]) + 1 if len(self.groups) else 0
        self._lengths = np.exp(theta[self.groups]) / np.sqrt(_weights(self.groups))  # of columns, [d]
        self._trend = float(np.exp(theta[h])) if len(theta) == h + 3 else 0.0
        self._signal, self._noise = np.exp(theta[-2:])
        self._Z = X / self._lengths
        K = self._covariance(X)
        K[np.diag_indices(len(X))] += self._noise + _JITTER + (self.std / self.scale) ** 2
        self._L = np.linalg.cholesky(K)
        self._alpha = cho_solve((self._L, True), (y - self.location) / self.scale)

    @classmethod
    def fit(
        cls,
        X: Array,
        y: Array,
        priors: Priors | None = None,
        groups: NDArray[np.intp] | None = None,
        std: Array | None = None,
    ) -> "GaussianProcess":
        """Fit the hyperparameters to X [n, d] and y [n] by their posterior mode, from two starts.

        With more than 100 points the hyperparameters are fitted to 100 of them, evenly spread over the values
        of y; with more than 150, a few further steps use 300. With more than 2,000 points the posterior uses
        the 1,000 lowest and 1,000 of the others, evenly spread.
        """
        std = np.zeros(len(y)) if std is None else std
        kept = _kept(y)
        X, y, std = X[kept], y[kept], std[kept]
        groups, priors = np.arange(X.shape[1]) if groups is None else groups, priors or Priors()
        starts = priors.starts(int(groups[-1]) + 1)
        for n, n_steps in _STAGES:
            chosen = _evenly_spread(y, n)
            part, scale = y[chosen], standard_deviation(y[chosen])
            standardised = (part - np.mean(part)) / scale
            deviations = std[chosen] / scale
            starts = [fit_theta(X[chosen], standardised, groups, priors, starts, n_steps, std=deviations)]
            if len(y) <= n * _MOST_LEFT_OUT:
                break
        return cls(X, y, starts[0], groups, std)

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise of one observation, in the unit of the values."""
        return float(self.scale * np.sqrt(self._noise))

    def posterior(self, X: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation [n] of the latent value, without noise, at X [n, d]."""
        mean, std, _ = self._posterior(X)
        return mean, std

    def mean(self, X: Array) -> Array:
        """Return the posterior mean [n] at X [n, d]."""
        blocks = [self._covariance(X[i : i + _BLOCK]) @ self._alpha for i in range(0, len(X), _BLOCK)]
        return self.location + self.scale * np.concatenate([np.empty(0), *blocks])

    def joint(self, X1: Array, X2: Array) -> tuple[Array, Array, Array, Array]:
        """Return mean and deviation at X1, each [n1], covariance [n1, n2], and the deviation at X2, [n2]."""
        mean, std1, V1 = self._posterior(X1)
        _, std2, V2 = self._posterior(X2)
        return mean, std1, self.scale**2 * (self._covariance(X1, X2) - V1.T @ V2), std2

    def log_share_learned(self, X: Array) -> Array:
        """Return ln(1 - noise / sqrt(std^2 + noise^2)), [n]: small if another observation at X adds little.

        The factor of augmented expected improvement (Huang et al. 2006).
        """
        _, std = self.posterior(X)
        total = np.sqrt(std**2 + self.noise_std**2)
        return np.asarray(np.log(np.maximum(1 - self.noise_std / total, 1e-300)))

    def condition(self, X: Array, y: Array) -> "GaussianProcess":
        """Return the process with further points X [n, d], y [n] and the same hyperparameters."""
        std = np.concatenate([self.std, np.zeros(len(y))])
        X, y = np.vstack([self.X, X]), np.concatenate([self.y, y])
        return GaussianProcess(X, y, self.theta, self.groups, std, self.location, self.scale, self.nu)

    def leave_one_out_errors(self) -> Array:
        """Return each observed value less its prediction without it, [n], with the same hyperparameters.

        alpha_i / [K^-1]_ii (Craven and Wahba 1979).
        """
        inverse, _ = dpotri(self._L, lower=True)
        return np.asarray(self.scale * self._alpha / np.diag(inverse))

    def _covariance(self, X1: Array, X2: Array | None = None) -> Array:
        """Return the prior covariance, standardised, of latent values [n1, n2]; X2 None: the observed X."""
        Z2 = self._Z if X2 is None else X2 / self._lengths
        K = self._signal * matern(X1 / self._lengths, Z2, self.nu)
        if self._trend == 0.0:
            return np.asarray(K)
        return np.asarray(self._trend * linear(X1, self.X if X2 is None else X2, self.groups) + K)

    def _posterior(self, X: Array) -> tuple[Array, Array, Array]:
        """Return mean and deviation [n], and L^-1 K(observed, X), [n_observed, n]."""
        K = self._covariance(X)  # [n, n_observed]
        V = solve_triangular(self._L, K.T, lower=True)
        prior = self._signal + self._trend * (X - 0.5) ** 2 @ _trend_weights(self.groups)
        variance = np.maximum(prior - np.sum(V**2, axis=0), 1e-12)
        return self.location + self.scale * (K @ self._alpha), self.scale * np.sqrt(variance), V


def squared_differences(X: Array, groups: NDArray[np.intp]) -> Array:
    """Return weighted squared differences of the pairs of X [n, d] by group, shape [h, n(n - 1)/2].

    The pairs are in the order of `numpy.tril_indices(n, -1)`.
    """
    i, j = np.tril_indices(len(X), -1)
    columns = (X[i] - X[j]).T ** 2 * _weights(groups)[:, None]
    if not len(groups):
        return np.asarray(columns)
    return np.asarray(np.add.reduceat(columns, np.searchsorted(groups, np.arange(groups[-1] + 1)), axis=0))


def standard_deviation(y: Array) -> float:
    """Return the standard deviation of y [n], or 1 if all are equal, so that nothing is divided by 0."""
    spread = float(np.std(y))
    return spread if spread > 1e-12 * max(1.0, float(np.max(np.abs(y)))) else 1.0


def _matern(r: Array, nu: float) -> Array:
    """Return the Matern correlation, nu = 1/2, 3/2 or 5/2, at distances scaled by sqrt(2 nu'), any shape."""
    decay = np.exp(-r)
    if nu == 0.5:
        return decay
    polynomial = 1 + r
    if nu == 2.5:
        polynomial += r**2 / 3
    polynomial *= decay
    return polynomial


def _weights(groups: NDArray[np.intp]) -> Array:
    """Return the weight of each column, [d]: half if its group has several."""
    return np.where(np.bincount(groups)[groups] > 1, 0.5, 1.0)


def _trend_weights(groups: NDArray[np.intp]) -> Array:
    """Return the weight of each column in a trend, [d]: the variance at uniform inputs is 1."""
    return np.asarray(12 * _weights(groups) / (groups[-1] + 1))


def _evenly_spread(y: Array, n: int) -> NDArray[np.intp]:
    """Return n indices of y, or all, evenly spaced in its order; in the order of the indices."""
    order = np.argsort(y, kind="stable")
    return np.sort(order[np.linspace(0, len(y) - 1, min(n, len(y))).round().astype(int)])


def _kept(y: Array) -> NDArray[np.intp]:
    """Return the indices of at most _N_KEPT values: the lower half of those, and others evenly spaced."""
    order = np.argsort(y, kind="stable")
    if len(y) <= _N_KEPT:
        return np.arange(len(y))
    best, rest = order[: _N_KEPT // 2], order[_N_KEPT // 2 :]
    return np.sort(np.concatenate([best, rest[_evenly_spread(y[rest], _N_KEPT - len(best))]]))
