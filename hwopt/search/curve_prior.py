"""Prior of learning curves: a power law whose noise, level and slope are learned from the curves of a search.

    y_i [m]   log errors of curve i at the checkpoints t, as far as it got
    h         hypotheses: the noise of an epoch, constant or falling with a cosine, and the spread of levels

    y_i ~ t_5(u - v ln t, V_h)
    V_h = level^2 + slope^2 ln t ln t' + walk^2 min(ln t, ln t') + [t = t'] noise_t^2
    p(h | Y) ~ p(h) prod_i t_5(y_i; u_h - v_h ln t, V_h)

u_h and v_h are generalised least squares over all curves so far, complete or not, v with a normal prior. A
curve has the weight (5 + m_i) / (5 + distance_i^2) that the t distribution gives it, so a diverged one does
not move them. Mean and covariance of the prior are the averages of mean and V_h over p(h | Y), with
u_h and v_h as if they were known: empirical Bayes with a grid. The tail of the t distribution serves to fit
only, so V_h is not scaled to its variance.

The noise is what matters. A high error after an epoch is that of a poor network, or of one whose error goes
up and down until a schedule lowers the learning rate. The first few epochs of any training tell them apart,
long before one is complete: noise makes a curve go back and forth, while a poor level stays. With little
noise an error is taken as it is; with much, the prediction shrinks to the mean of the curves (regression to
the mean), and the last few errors count as one level.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array

_N_STEPS = 2  # of reweighting curves
_FLAT = 1e-4  # precision of the prior of u


@dataclass(frozen=True)
class Prior:
    """Prior of learning curves; standard deviations are of log errors.

    Args:
        drop: expected exponent v of the mean curve, t^-v.
        drop_std: its standard deviation.
        levels: hypotheses of the standard deviation of the level between curves.
        slope: standard deviation of the exponent between curves.
        walk: standard deviation of the random walk per factor of e in epochs.
        noises: hypotheses of the standard deviation of the noise of an epoch, where it is largest.
        noise: median of the prior of the noise.
        noise_spread: standard deviation of the logarithm of the noise.
        quietest: least noise of an epoch under a cosine, as a share of the largest.
        tail: degrees of freedom of the distribution of curves.
        n_mean: weight of the prior of the mean curve, in curves.
        n_spread: weight of the prior of the covariance, in curves.
        width: width of the neighbourhood in log error without noise; wider if fewer than n_near curves are in
            it.
        n_near: least number of curves in the neighbourhood.
        known: standard deviation of the features x.
    """

    drop: float = 0.25
    drop_std: float = 0.15
    levels: tuple[float, ...] = (0.35, 0.8)
    slope: float = 0.08
    walk: float = 0.05
    noises: tuple[float, ...] = (0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
    noise: float = 0.06
    noise_spread: float = 1.0
    quietest: float = 0.1
    tail: float = 5.0
    n_mean: float = 0.5
    n_spread: float = 3.0
    width: float = 0.25
    n_near: int = 6
    known: float = 0.5

    def fitted(self, Y: Array, epochs: NDArray[np.intp], n_epochs: int) -> "Population":
        """Return the prior as the curves show it.

        Args:
            Y: log errors of all curves, [n, m], NaN after their ends; at least one curve has begun.
            epochs: epochs of the columns, [m].
            n_epochs: epochs of a whole training.
        """
        begun = Y[~np.isnan(Y[:, 0])]
        made = (~np.isnan(begun)).astype(float)  # [n, m]
        origin = float(np.median(begun[:, 0]))
        laws = _laws(self, tuple(epochs.tolist()), n_epochs)
        white = (np.nan_to_num(begun - origin) @ laws.whitening.transpose(0, 2, 1)) * made  # [h, n, m]
        products = laws.basis[:, :, :, None] * laws.basis[:, :, None, :]  # [h, m, 2, 2]
        precision = np.diag([_FLAT, self.drop_std**-2])
        lengths, weights = made.sum(axis=1), np.ones(white.shape[:2])
        for _ in range(_N_STEPS):
            A = np.einsum("hm,hmij->hij", weights @ made, products) + precision
            c = np.einsum("hm,hmi->hi", (weights[:, None] @ white)[:, 0], laws.basis)
            c = c + precision @ np.array([0.0, self.drop])
            coefficients = np.linalg.solve(A, c[:, :, None])[:, :, 0]  # u and v, [h, 2]
            rest = white - (laws.basis @ coefficients[:, :, None]).transpose(0, 2, 1) * made
            distances = np.sum(rest**2, axis=2)  # [h, n]
            weights = (self.tail + lengths) / (self.tail + distances)
        log_t = laws.log_scales @ made.T - (self.tail + lengths) / 2 * np.log1p(distances / self.tail)
        log_posterior = laws.log_prior + np.sum(log_t, axis=1)
        p = np.exp(log_posterior - np.max(log_posterior))
        p /= np.sum(p)
        u, v = p @ coefficients
        return Population(
            self,
            origin + u - v * np.log(epochs),
            np.tensordot(p, laws.covariances, axes=1),
            np.sqrt(p @ laws.noise**2),
        )


@dataclass(frozen=True)
class Population:
    """Prior of the curves of a search.

    Attributes:
        prior: its fixed part.
        mean: mean log errors at the checkpoints, [m].
        covariance: covariance of the log errors, [m, m].
        noise: standard deviation of their noise, [m].
    """

    prior: Prior
    mean: Array
    covariance: Array
    noise: Array

    def moments(self, level: float, q: int) -> Array:
        """Return the prior's part of M, [1 + q + m, 1 + q + m], for log errors from a `level` on."""
        prior = self.prior
        centre = np.concatenate([[1.0], np.zeros(q), self.mean - level])
        M = prior.n_mean * np.outer(centre, centre)
        M[1 : 1 + q, 1 : 1 + q] += prior.n_spread * prior.known**2 * np.eye(q)
        M[1 + q :, 1 + q :] += prior.n_spread * self.covariance
        return np.asarray(M, dtype=float)

    def width(self, k: int) -> float:
        """Return the width of the neighbourhood at checkpoint k; a difference has the noise of two curves."""
        return float(np.sqrt(self.prior.width**2 + 2 * self.noise[k] ** 2))


@dataclass(frozen=True)
class _Laws:
    """Hypotheses: covariances [h, m, m], noise [h, m] and log prior [h].

    `whitening` holds the inverse Cholesky factors L^-1, [h, m, m], `log_scales` the logarithms of their
    diagonals, [h, m], and `basis` L^-1 times the columns 1 and -ln t, [h, m, 2]. L^-1 is triangular, so its
    first k rows are those of a curve of k checkpoints.
    """

    covariances: Array
    noise: Array
    log_prior: Array
    whitening: Array
    log_scales: Array
    basis: Array


@lru_cache(maxsize=256)
def _laws(prior: Prior, epochs: tuple[int, ...], n_epochs: int) -> _Laws:
    t = np.array(epochs, dtype=float)
    cosine = np.maximum(0.5 * (1 + np.cos(np.pi * t / n_epochs)), prior.quietest)
    noise, covariances, log_prior = list[Array](), list[Array](), list[float]()
    log_t = np.log(t)
    smooth = prior.slope**2 * np.outer(log_t, log_t) + prior.walk**2 * np.minimum.outer(log_t, log_t)
    for scale, course, level in product(prior.noises, (np.ones(len(t)), cosine), prior.levels):
        noise.append(scale * course)
        covariances.append(level**2 + smooth + np.diag(noise[-1] ** 2))
        log_prior.append(-0.5 * (np.log(scale / prior.noise) / prior.noise_spread) ** 2)
    whitening = np.asarray(np.linalg.inv(np.linalg.cholesky(np.array(covariances))), dtype=float)
    return _Laws(
        np.array(covariances),
        np.array(noise),
        np.array(log_prior),
        whitening,
        np.log(np.diagonal(whitening, axis1=1, axis2=2)),
        whitening @ np.column_stack([np.ones(len(t)), -log_t]),
    )
