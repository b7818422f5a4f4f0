"""The surrogate of the error: a small Gaussian process with priors on its hyperparameters.

    X [n, d]   encoded configs in [0, 1]^d      y [n]   observed errors
    g [d]      which hyperparameter each column belongs to, 0 to h - 1: a choice has several columns
    l [h]      length-scales (ARD by hyperparameter)
    b2, a2, s2 variances of the trend, of what departs from it, and of the noise; errors standardised
    e2 [n]     known variances of single errors, such as of one that was extrapolated from a curve
    K = b2 t(x, x') + a2 k(r) + s2 I + diag(e2)
    k(r) = (1 + sqrt5 r + 5/3 r^2) exp(-sqrt5 r),   r^2 = sum_j w_j (x_j - x'_j)^2 / l_g(j)^2
    t(x, x') = 12 / h sum_j w_j (x_j - 1/2) (x'_j - 1/2)

Two choices are as far apart as the ends of a number: w_j is 1/2 for columns of a one-hot vector, else 1.
The trend is a line in each number and a level for each choice, all with the same normal prior (Rasmussen and
Williams 2006, section 2.7): ten trainings tell little of a surface, but which way it slopes.

theta = (ln l_1, ..., ln l_h, ln b2, ln a2, ln s2) maximises the marginal likelihood times log-normal priors,
with analytic gradients (the same, eq. 5.9). The same data give the same theta, to the bit on one machine. Of
more than 100 points theta is fitted to 100 that spread over the errors, of more than 150 then in a few steps
to 300; the posterior is exact to 2,000 points; of more the best half and every k-th of the others are kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.optimize import minimize

from hwopt.arrays import Array

_JITTER = 1e-8  # added to the diagonal, in units of the standardised errors
_BOUNDS_LENGTH = (np.log(0.02), np.log(50.0))
_BOUNDS_TREND = (np.log(1e-4), np.log(20.0))
_BOUNDS_SIGNAL = (np.log(0.02), np.log(20.0))
_BOUNDS_NOISE = (np.log(1e-5), np.log(1.0))
_STAGES = ((100, 60), (300, 15))  # points that the hyperparameters are fitted to, and steps; coarse first
_MOST_LEFT_OUT = 1.5  # times the points that theta is fitted to, more need the next stage
_N_KEPT = 2000  # points of the posterior


@dataclass(frozen=True)
class Priors:
    """Normal priors on the logarithms of the hyperparameters: (mean, standard deviation) of each.

    The length-scales of d dimensions grow with sqrt(d), as distances in the unit cube do (Hvarfner et al.
    2024).
    """

    length: tuple[float, float] = (np.log(0.4), 0.9)
    trend: tuple[float, float] = (np.log(0.2), 1.0)
    signal: tuple[float, float] = (0.0, 1.0)
    noise: tuple[float, float] = (np.log(1e-2), 1.5)

    def arrays(self, d: int) -> tuple[Array, Array]:
        """Return means and standard deviations of theta, each [d + 3]."""
        length = (self.length[0] + 0.5 * np.log(d / 2), self.length[1])
        mean, std = np.transpose([length] * d + [self.trend, self.signal, self.noise])
        return mean, std

    def starts(self, d: int) -> list[Array]:
        """Return where fitting begins: the means of theta, [d + 3], and the same with more noise."""
        centre, _ = self.arrays(d)
        return [centre, centre + np.array([0.0] * (d + 1) + [-0.5, np.log(30.0)])]


def matern52(X1: Array, X2: Array, lengths: Array) -> Array:
    """Matern-5/2 correlation of X1 [n1, d] and X2 [n2, d], shape [n1, n2]."""
    A, B = X1 / lengths, X2 / lengths
    squares = np.sum(A**2, axis=1)[:, None] + np.sum(B**2, axis=1)[None, :] - 2 * A @ B.T
    r = np.sqrt(5 * np.maximum(squares, 0.0))  # sqrt5 r
    return np.asarray((1 + r + r**2 / 3) * np.exp(-r))


def linear(X1: Array, X2: Array, groups: NDArray[np.intp]) -> Array:
    """Covariance of a linear trend of variance 1 at X1 [n1, d] and X2 [n2, d], shape [n1, n2]."""
    return np.asarray((X1 - 0.5) * _trend_weights(groups) @ (X2 - 0.5).T)


def negative_log_posterior(
    theta: Array, D2: Array, T: Array, y: Array, extra: Array, priors: Priors
) -> tuple[float, Array]:
    """Return minus the log posterior of theta, up to a constant, and its gradient [d + 3].

    Args:
        theta: ln length-scales, ln variances of trend, signal and noise, shape [d + 3].
        D2: squared differences of the inputs by dimension, shape [d, n, n].
        T: covariance of a linear trend of variance 1, shape [n, n].
        y: standardised errors, shape [n].
        extra: known variances of them, shape [n].
        priors: of theta.
    """
    d = D2.shape[0]
    weights, (trend, signal, noise) = np.exp(-2 * theta[:d]), np.exp(theta[d:])
    flat = D2.reshape(d, -1)
    r = np.sqrt((5 * weights @ flat).reshape(T.shape))  # sqrt5 r, [n, n]
    decay = np.exp(-r)
    K = signal * (1 + r + r**2 / 3) * decay  # [n, n]
    L, info = dpotrf(trend * T + K + np.diag(noise + _JITTER + extra), lower=True, clean=True)
    if info != 0:
        return 1e25, np.zeros_like(theta)
    alpha = cho_solve((L, True), y)
    inverse, _ = dpotri(L, lower=True)
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    S = np.outer(alpha, alpha) - inverse  # d(log likelihood) = tr(S dK) / 2
    gradient = np.empty_like(theta)
    # dK / d ln l_j = signal * 5/3 * (1 + sqrt5 r) exp(-sqrt5 r) * D2_j / l_j^2
    gradient[:d] = -0.5 * weights * (signal * 5 / 3) * (flat @ (S * (1 + r) * decay).ravel())
    gradient[d:] = -0.5 * np.array([trend * np.sum(S * T), np.sum(S * K), noise * np.trace(S)])
    value = 0.5 * y @ alpha + np.sum(np.log(np.diag(L)))
    mean, std = priors.arrays(d)
    z = (theta - mean) / std
    return float(value + 0.5 * z @ z), gradient + z / std


class GaussianProcess:
    """A posterior over the error, given hyperparameters.

    Args:
        X: encoded configs, shape [n, d], n >= 1.
        y: errors, shape [n].
        theta: ln length-scales, ln variances of trend, signal and noise, shape [h + 3].
        groups: which hyperparameter each column of X belongs to, shape [d], rising from 0; each its own if
            None.
        std: known standard deviations of single errors beside the common noise, shape [n]; 0 if None.
        location: what is subtracted from the errors; their mean where None.
        scale: what they are then divided by; their standard deviation where None.
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
    ) -> None:
        self.X, self.y, self.theta = X, y, theta
        self.std = np.zeros(len(y)) if std is None else std
        self.location = float(np.mean(y)) if location is None else location
        self.scale = _spread(y) if scale is None else scale
        self.groups = np.arange(X.shape[1]) if groups is None else groups
        self._lengths = np.exp(theta[self.groups]) / np.sqrt(_weights(self.groups))  # of columns, [d]
        self._trend, self._signal, self._noise = np.exp(theta[-3:])
        K = self._covariance(X, X)
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
        """Fit the hyperparameters to X [n, d] and y [n] by their posterior mode, from two starts."""
        std = np.zeros(len(y)) if std is None else std
        kept = _kept(y)
        X, y, std = X[kept], y[kept], std[kept]
        groups, priors = np.arange(X.shape[1]) if groups is None else groups, priors or Priors()
        starts = priors.starts(int(groups[-1]) + 1)
        for n, n_steps in _STAGES:
            chosen = _spread_over(y, n)
            D2, T = squared_differences(X[chosen], groups), linear(X[chosen], X[chosen], groups)
            starts = [_fit_theta(D2, T, y[chosen], std[chosen], priors, starts, n_steps)]
            if len(y) <= n * _MOST_LEFT_OUT:
                break
        return cls(X, y, starts[0], groups, std)

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise of one training, in the unit of the errors."""
        return float(self.scale * np.sqrt(self._noise))

    def posterior(self, X: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation [n] of the latent error, without noise, at X [n, d]."""
        mean, std, _ = self._posterior(X)
        return mean, std

    def joint(self, X1: Array, X2: Array) -> tuple[Array, Array, Array, Array]:
        """Return mean and deviation at X1, each [n1], covariance [n1, n2], and the deviation at X2, [n2]."""
        mean, std1, V1 = self._posterior(X1)
        _, std2, V2 = self._posterior(X2)
        return mean, std1, self.scale**2 * (self._covariance(X1, X2) - V1.T @ V2), std2

    def log_share_learned(self, X: Array) -> Array:
        """Return ln(1 - noise / sqrt(std^2 + noise^2)), [n]: small where training again tells little.

        The factor of augmented expected improvement (Huang et al. 2006).
        """
        _, std = self.posterior(X)
        total = np.sqrt(std**2 + self.noise_std**2)
        return np.asarray(np.log(np.maximum(1 - self.noise_std / total, 1e-300)))

    def condition(self, X: Array, y: Array) -> "GaussianProcess":
        """Return the process with further points X [n, d], y [n] and the same hyperparameters."""
        std = np.concatenate([self.std, np.zeros(len(y))])
        X, y = np.vstack([self.X, X]), np.concatenate([self.y, y])
        return GaussianProcess(X, y, self.theta, self.groups, std, self.location, self.scale)

    def _covariance(self, X1: Array, X2: Array) -> Array:
        """Return the prior covariance of latent errors, standardised, [n1, n2]."""
        trend = self._trend * linear(X1, X2, self.groups)
        return np.asarray(trend + self._signal * matern52(X1, X2, self._lengths))

    def _posterior(self, X: Array) -> tuple[Array, Array, Array]:
        """Return mean and deviation [n], and L^-1 K(observed, X), [n_observed, n]."""
        K = self._covariance(X, self.X)  # [n, n_observed]
        V = solve_triangular(self._L, K.T, lower=True)
        prior = self._signal + self._trend * (X - 0.5) ** 2 @ _trend_weights(self.groups)
        variance = np.maximum(prior - np.sum(V**2, axis=0), 1e-12)
        return self.location + self.scale * (K @ self._alpha), self.scale * np.sqrt(variance), V


def squared_differences(X: Array, groups: NDArray[np.intp]) -> Array:
    """Return weighted squared differences of X [n, d] by hyperparameter, shape [h, n, n]."""
    columns = (X.T[:, :, None] - X.T[:, None, :]) ** 2 * _weights(groups)[:, None, None]
    starts = np.searchsorted(groups, np.arange(groups[-1] + 1))
    return np.asarray(np.add.reduceat(columns, starts, axis=0))


def _weights(groups: NDArray[np.intp]) -> Array:
    """Return the weight of each column, [d]: half where a hyperparameter has several."""
    return np.where(np.bincount(groups)[groups] > 1, 0.5, 1.0)


def _trend_weights(groups: NDArray[np.intp]) -> Array:
    """Return the weight of each column in a trend, [d]: of uniform inputs the variance is 1."""
    return np.asarray(12 * _weights(groups) / (groups[-1] + 1))


def _fit_theta(
    D2: Array, T: Array, y: Array, std: Array, priors: Priors, starts: Sequence[Array], n_steps: int
) -> Array:
    """Return the hyperparameters of largest posterior density, [h + 3], that n_steps from the starts find."""
    standardised = (y - np.mean(y)) / _spread(y)
    bounds = [_BOUNDS_LENGTH] * len(D2) + [_BOUNDS_TREND, _BOUNDS_SIGNAL, _BOUNDS_NOISE]
    results = [
        minimize(
            negative_log_posterior,
            np.clip(start, *np.transpose(bounds)),
            args=(D2, T, standardised, (std / _spread(y)) ** 2, priors),
            jac=True,
            bounds=bounds,
            method="L-BFGS-B",
            options={"maxiter": n_steps, "ftol": 1e-7},
        )
        for start in starts
    ]
    return np.asarray(min(results, key=lambda result: float(result.fun)).x)


def _spread_over(y: Array, n: int) -> NDArray[np.intp]:
    """Return n indices of y, or all, evenly spaced in its order; in the order of the indices."""
    order = np.argsort(y, kind="stable")
    return np.sort(order[np.linspace(0, len(y) - 1, min(n, len(y))).round().astype(int)])


def _kept(y: Array) -> NDArray[np.intp]:
    """Return the indices of at most _N_KEPT errors: the lower half of those, and others evenly spaced."""
    order = np.argsort(y, kind="stable")
    if len(y) <= _N_KEPT:
        return np.arange(len(y))
    best, rest = order[: _N_KEPT // 2], order[_N_KEPT // 2 :]
    return np.sort(np.concatenate([best, rest[_spread_over(y[rest], _N_KEPT - len(best))]]))


def _spread(y: Array) -> float:
    """Return the standard deviation of y [n], or 1 where all are equal, so that nothing divides by 0."""
    spread = float(np.std(y))
    return spread if spread > 1e-12 * max(1.0, float(np.max(np.abs(y)))) else 1.0
