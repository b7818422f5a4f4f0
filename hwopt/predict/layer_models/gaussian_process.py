"""Gaussian process regression with a length of its own for each feature.

    y ~ mean + GP(0, s^2 k) + noise,   k(d) = (1 + a) exp(-a),   a^2 = 3 sum_j (w_j (x_j - x'_j))^2

Matern-3/2 on standardised features. The weights w, the variance s^2 and the noise maximise the marginal
likelihood of some of the rows times a weak log-normal prior (MacKay 1992; Neal 1996), so that features that
say nothing fade out; the mean of the predictions then comes from all rows, by one Cholesky factor.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from hwopt.arrays import Array

_SPREAD = 1.5  # of the prior of each log weight
_SCALE_SPREAD = 2.0  # of the prior of the log variance and the log noise
_NOISE = 0.05  # of the target's variance, in the prior's middle
_FARTHEST = 6.0  # that a parameter's logarithm goes from the prior's middle
_BLOCK = 256  # rows that are predicted at once: their kernel stays in the cache


@dataclass(frozen=True, slots=True)
class GaussianProcess:
    """A fitted regression; its prediction is the posterior mean.

    Attributes:
        shift, weight: features are used as (x - shift) * weight, each shape [d]; 0 for constant ones.
        Z: weighted training rows, shape [n, d].
        alpha: shape [n].
        mean: of the target.
        unseen: mean absolute error of each row by a fit without it, in the target's unit: alpha_i / [K^-1]_ii
            (Craven and Wahba 1979), with the same parameters.
        left_out: measured less predicted by that fit, in the rows' order, shape [n]; NaN of rows that
            predictions do not come from.
    """

    shift: Array
    weight: Array
    Z: Array
    alpha: Array
    mean: float
    unseen: float
    left_out: Array

    @classmethod
    def fit(
        cls, X: Array, y: Array, n_choose: int = 300, n_steps: int = 20, n_most: int = 4000
    ) -> "GaussianProcess":
        """Fit y [n] on X [n, d].

        Args:
            X: features, finite.
            y: target.
            n_choose: rows that choose weights, variance and noise; drawn without replacement, always alike.
            n_steps: steps of the maximiser.
            n_most: rows that predictions come from; drawn in the same way where there are more.
        """
        from scipy.linalg import lapack

        order = np.random.default_rng(0).permutation(len(y))
        left_out = np.full(len(y), np.nan)
        X, y = X[order[:n_most]], y[order[:n_most]]
        scale = X.std(axis=0)
        varies = scale > 1e-9 * np.maximum(np.abs(X).max(axis=0), 1e-300)
        shift, mean, unit = X.mean(axis=0), float(y.mean()), float(y.std()) or 1.0
        standard = (X[:, varies] - shift[varies]) / scale[varies]
        with threadpool_limits(1):  # more threads than free cores make it many times slower
            theta = _choose(standard[:n_choose], ((y - mean) / unit)[:n_choose], n_steps)
            weight = np.zeros(X.shape[1])
            weight[varies] = np.exp(theta[:-2]) / scale[varies]
            Z = (X - shift) * weight
            K = _matern(Z, Z)
            K[np.diag_indices(len(y))] += np.exp(theta[-1] - theta[-2])
            L, _ = lapack.dpotrf(K.T, lower=1, overwrite_a=1)
            alpha, _ = lapack.dpotrs(L, y - mean, lower=1)
            inverse, _ = lapack.dpotri(L, lower=1)
        errors = alpha / np.diag(inverse)
        left_out[order[:n_most]] = errors
        unseen = float(np.mean(np.abs(errors)))
        return cls(shift, weight, Z, np.asarray(alpha, dtype=float), mean, unseen, left_out)

    def predict(self, X: Array) -> Array:
        """Return predictions [n] of features X [n, d]."""
        used = self.weight > 0
        Z, own = ((X - self.shift) * self.weight)[:, used], np.ascontiguousarray(self.Z[:, used])
        with threadpool_limits(1):
            parts = [_matern(Z[i : i + _BLOCK], own) @ self.alpha for i in range(0, len(Z), _BLOCK)]
        return self.mean + np.concatenate([np.empty(0), *parts])


def _matern(A: Array, B: Array) -> Array:
    """Return k of the rows of A [n, d] and B [m, d], [n, m]; works in place, it is what predicting costs."""
    a = A @ (-6.0 * B.T)
    a += 3 * (A**2).sum(axis=1)[:, None]
    a += 3 * (B**2).sum(axis=1)
    np.maximum(a, 0.0, out=a)
    np.sqrt(a, out=a)
    k = np.exp(-a)
    a += 1
    k *= a
    return np.asarray(k, dtype=float)


def _choose(X: Array, y: Array, n_steps: int) -> Array:
    """Return log weights, log variance and log noise, [d + 2], for y of unit variance."""
    from scipy.optimize import minimize

    n, d = X.shape
    middle = np.array([*np.full(d, -0.5 * np.log(max(d, 1))), 0.0, np.log(_NOISE)])
    spread = np.array([*np.full(d, _SPREAD), _SCALE_SPREAD, _SCALE_SPREAD])
    i, j = np.tril_indices(n, -1)
    squares = (X[i] - X[j]) ** 2  # [pairs, d]

    def objective(theta: Array) -> tuple[float, Array]:
        value, gradient = negative_log_likelihood(theta, squares, (i, j), y)
        away = (theta - middle) / spread
        return value + 0.5 * float(away @ away), gradient + away / spread

    found: Any = minimize(
        objective,
        middle,
        jac=True,
        method="L-BFGS-B",
        bounds=np.stack([middle - _FARTHEST, middle + _FARTHEST], axis=1),
        options={"maxiter": n_steps},
    )
    return np.asarray(found.x, dtype=float)


def negative_log_likelihood(
    theta: Array, squares: Array, pairs: tuple[NDArray[np.intp], NDArray[np.intp]], y: Array
) -> tuple[float, Array]:
    """Return -ln p(y) without its constant, and its gradient [d + 2].

        -ln p = y' K^-1 y / 2 + sum ln L_ii,   dK/dln w_j = -3 s^2 exp(-a) w_j^2 D_j

    Args:
        theta: log weights, log variance, log noise, shape [d + 2].
        squares: squared differences D of each pair of rows, one feature a column, shape [n(n - 1)/2, d].
        pairs: the places of the pairs below the diagonal of K, as `numpy.tril_indices(n, -1)`.
        y: target with mean 0, shape [n].
    """
    from scipy.linalg import lapack

    w2, variance, noise = np.exp(2 * theta[:-2]), np.exp(theta[-2]), np.exp(theta[-1])
    a = np.sqrt(3 * (squares @ w2))
    decay = np.exp(-a)
    k = (1 + a) * decay
    K = np.zeros((len(y), len(y)), order="F")
    K[pairs] = variance * k
    K[np.diag_indices(len(y))] = variance + noise + 1e-10 * variance
    L, _ = lapack.dpotrf(K, lower=1, overwrite_a=1)
    half_log_determinant = float(np.log(np.diag(L)).sum())
    alpha, _ = lapack.dpotrs(L, y, lower=1)
    inverse, _ = lapack.dpotri(L, lower=1)
    slope = inverse[pairs] - alpha[pairs[0]] * alpha[pairs[1]]  # of -ln p in K; a pair counts twice
    diagonal = 0.5 * float((np.diag(inverse) - alpha**2).sum())
    gradient = np.empty_like(theta)
    gradient[:-2] = -3 * variance * w2 * ((slope * decay) @ squares)
    gradient[-2] = variance * (float(slope @ k) + diagonal)
    gradient[-1] = noise * diagonal
    return 0.5 * float(y @ alpha) + half_log_determinant, gradient
