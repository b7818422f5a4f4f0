"""The Gaussian process against scikit-learn, its gradient by differences, and rows left out one by one."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from sklearn.gaussian_process.kernels import Matern

from hwopt.predict.layer_models import residual
from hwopt.predict.layer_models.gaussian_process import GaussianProcess, negative_log_likelihood
from hwopt.predict.layer_models.residual import Residual

RNG = np.random.default_rng(0)
X = RNG.standard_normal((80, 5)) * [1, 100, 1e-3, 1, 0] + [0, 5, 0, -2, 7]
Y = np.sin(2 * X[:, 0]) + 0.01 * X[:, 1] + 0.01 * RNG.standard_normal(80)
PROCESS = GaussianProcess.fit(X, Y)


def kernel(A, B):
    return Matern(nu=1.5)(A * PROCESS.weight, B * PROCESS.weight)


def noise_ratio():
    """What stands on the diagonal beyond the kernel, from (K + noise) alpha = y - mean."""
    left = (Y - Y.mean())[np.random.default_rng(0).permutation(80)]
    K = Matern(nu=1.5)(PROCESS.Z)
    return float(np.median((left - K @ PROCESS.alpha) / PROCESS.alpha))


def test_predictions_are_those_of_a_kernel_ridge_with_scikit_learns_kernel():
    new = RNG.standard_normal((30, 5)) * [1, 100, 1e-3, 1, 0] + [0, 5, 0, -2, 7]
    K = kernel(X, X) + noise_ratio() * np.eye(80)
    oracle = Y.mean() + kernel(new, X) @ np.linalg.solve(K, Y - Y.mean())
    assert PROCESS.predict(new) == pytest.approx(oracle, abs=1e-6)
    assert PROCESS.predict(new[:0]).shape == (0,)


def test_gradient_of_the_likelihood_by_finite_differences():
    y = RNG.standard_normal(20)
    i, j = np.tril_indices(20, -1)
    squares = (RNG.standard_normal((20, 3))[i] - RNG.standard_normal((20, 3))[j]) ** 2
    points = RNG.standard_normal((20, 3))
    squares = (points[i] - points[j]) ** 2
    theta = np.array([0.1, -0.5, 0.3, 0.2, -1.0])
    numeric = approx_fprime(theta, lambda t: negative_log_likelihood(t, squares, (i, j), y)[0], 1e-6)
    assert negative_log_likelihood(theta, squares, (i, j), y)[1] == pytest.approx(numeric, abs=1e-4)


def test_likelihood_is_that_of_a_normal_distribution():
    from scipy.stats import multivariate_normal

    points, y = RNG.standard_normal((12, 2)), RNG.standard_normal(12)
    i, j = np.tril_indices(12, -1)
    theta = np.array([0.2, -0.3, 0.5, -1.5])
    K = np.exp(0.5) * Matern(nu=1.5)(points * np.exp(theta[:2])) + np.exp(-1.5) * np.eye(12)
    value, _ = negative_log_likelihood(theta, (points[i] - points[j]) ** 2, (i, j), y)
    assert value + 6 * np.log(2 * np.pi) == pytest.approx(-multivariate_normal(cov=K).logpdf(y))


def test_error_on_rows_left_out_is_that_of_leaving_each_out():
    K = kernel(X, X) + noise_ratio() * np.eye(80)
    y, errors = Y - Y.mean(), []
    for i in range(80):
        kept = np.arange(80) != i
        errors.append(y[i] - K[i, kept] @ np.linalg.solve(K[np.ix_(kept, kept)], y[kept]))
    assert PROCESS.unseen == pytest.approx(np.mean(np.abs(errors)), rel=1e-6)


def test_features_that_say_nothing_weigh_little_and_constant_ones_nothing():
    relevance = PROCESS.weight * X.std(axis=0)
    assert relevance[0] > 3 * relevance[[2, 3]].max()
    assert relevance[4] == 0


def test_a_constant_target_is_predicted_as_it_is():
    assert GaussianProcess.fit(X, np.full(80, 3.0)).predict(X) == pytest.approx(np.full(80, 3.0))


@pytest.mark.parametrize("n", [20, 400, 700])
def test_learners_change_with_the_number_of_rows_and_residuals_stay_in_range(n, monkeypatch):
    monkeypatch.setattr(residual, "_MANY", 600)
    points = RNG.standard_normal((n, 3))
    fitted = Residual.fit(points, points[:, 0] ** 2)
    assert (fitted.process is None) == (n > 600)
    far = fitted.predict(1e6 * points)
    assert (far >= (points[:, 0] ** 2).min() - 1.5).all() and (far <= (points[:, 0] ** 2).max() + 1.5).all()
    again = Residual.fit(points, points[:, 0] ** 2)
    assert (again.predict(points) == fitted.predict(points)).all()


@pytest.mark.parametrize("n", [100, 400])
def test_a_smooth_residual_is_predicted_better_than_by_trees_alone(n):
    points, new = RNG.standard_normal((n, 3)), RNG.standard_normal((200, 3))
    fitted = Residual.fit(points, np.sin(points[:, 0]) + points[:, 1])
    truth = np.sin(new[:, 0]) + new[:, 1]
    own, trees = fitted.predict(new), fitted.trees.predict(new)
    assert np.abs(own - truth).mean() < 0.6 * np.abs(trees - truth).mean()
