"""Gaussian process regression on standardised features: Matern-3/2, a length-scale for each feature.

The length-scales, the variance and the noise maximise the marginal likelihood of a subset of the rows times a
weak log-normal prior (MacKay 1992; Neal 1996), which suppresses irrelevant features; predictions use all
rows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array
from hwopt.gp import GaussianProcess, LogNormal, Priors, fit_theta, standard_deviation
from hwopt.predict.one_thread import one_thread

_PRIORS = Priors(
    length=LogNormal(0.0, 1.5),
    trend=None,
    signal=LogNormal(0.0, 2.0),
    noise=LogNormal(np.log(0.05), 2.0),
    n_groups=1,
    reach=6.0,
)


@dataclass(frozen=True, slots=True)
class GPRegression:
    """A fitted regression; its prediction is the posterior mean.

    Attributes:
        used: whether each feature varies, shape [d]; the others are ignored.
        shift, scale: features are used as (x - shift) / scale, each shape [n_used].
        process: Gaussian process of the scaled features.
        loo_errors: leave-one-out errors, measured minus predicted, in the rows' order, shape [n], in the
            target's unit; NaN for rows that are not used.
        loo_error: mean of their absolute values.
    """

    used: NDArray[np.bool_]
    shift: Array
    scale: Array
    process: GaussianProcess
    loo_errors: Array
    loo_error: float

    @classmethod
    def fit(
        cls, X: Array, y: Array, n_choose: int = 300, n_steps: int = 20, n_most: int = 4000
    ) -> "GPRegression":
        """Fit y [n] on X [n, d].

        Args:
            X: features, finite.
            y: target.
            n_choose: number of rows that the hyperparameters are fitted to, drawn with a fixed seed.
            n_steps: steps of that fit.
            n_most: largest number of rows that predictions use, drawn likewise if there are more.
        """
        order = np.random.default_rng(0).permutation(len(y))[:n_most]
        loo_errors = np.full(len(y), np.nan)
        X, y = X[order], y[order]
        spread = X.std(axis=0)
        used = spread > 1e-9 * np.maximum(np.abs(X).max(axis=0), 1e-300)
        shift, scale = X.mean(axis=0)[used], spread[used]
        Z, n_used = (X[:, used] - shift) / scale, int(used.sum())
        standardised, groups = (y - y.mean()) / standard_deviation(y), np.arange(n_used)
        with one_thread():  # many times slower with more threads than free cores
            theta = fit_theta(
                Z[:n_choose],
                standardised[:n_choose],
                groups,
                _PRIORS,
                _PRIORS.starts(n_used)[:1],
                n_steps,
                nu=1.5,
                tolerance=2e-9,
            )
            process = GaussianProcess(Z, y, theta, nu=1.5)
            loo_errors[order] = process.leave_one_out_errors()
        return cls(used, shift, scale, process, loo_errors, float(np.nanmean(np.abs(loo_errors))))

    def predict(self, X: Array) -> Array:
        """Return predictions [n] of features X [n, d]."""
        with one_thread():
            return self.process.mean((X[:, self.used] - self.shift) / self.scale)
