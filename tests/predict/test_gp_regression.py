"""Gaussian process regression of features against scikit-learn, and rows left out one by one."""

import numpy as np
import pytest
from sklearn.gaussian_process.kernels import Matern

from hwopt.predict.layer_models import residual
from hwopt.predict.layer_models.gp_regression import GPRegression
from hwopt.predict.layer_models.residual import Residual

RNG = np.random.default_rng(0)
X = RNG.standard_normal((80, 5)) * [1, 100, 1e-3, 1, 0] + [0, 5, 0, -2, 7]
Y = np.sin(2 * X[:, 0]) + 0.01 * X[:, 1] + 0.01 * RNG.standard_normal(80)
FITTED = GPRegression.fit(X, Y)


def covariance(A, B):
    """Covariance of latent values in the target's unit, with scikit-learn's kernel."""
    lengths, signal = np.exp(FITTED.process.theta[:4]), np.exp(FITTED.process.theta[4])
    A, B = ((points[:, :4] - X[:, :4].mean(axis=0)) / X[:, :4].std(axis=0) / lengths for points in (A, B))
    return Y.var() * signal * Matern(nu=1.5)(A, B)


NOISE = Y.var() * (np.exp(FITTED.process.theta[5]) + 1e-8)


def test_predictions_are_those_of_a_kernel_ridge_with_scikit_learns_kernel():
    new = RNG.standard_normal((30, 5)) * [1, 100, 1e-3, 1, 0] + [0, 5, 0, -2, 7]
    K = covariance(X, X) + NOISE * np.eye(80)
    oracle = Y.mean() + covariance(new, X) @ np.linalg.solve(K, Y - Y.mean())
    assert FITTED.predict(new) == pytest.approx(oracle, abs=1e-6)
    assert FITTED.predict(new[:0]).shape == (0,)


def test_leave_one_out_errors_are_those_of_leaving_each_row_out():
    K = covariance(X, X) + NOISE * np.eye(80)
    y, errors = Y - Y.mean(), []
    for i in range(80):
        kept = np.arange(80) != i
        errors.append(y[i] - K[i, kept] @ np.linalg.solve(K[np.ix_(kept, kept)], y[kept]))
    assert FITTED.loo_errors == pytest.approx(np.array(errors), rel=1e-6)
    assert FITTED.loo_error == pytest.approx(np.mean(np.abs(errors)), rel=1e-6)


def test_irrelevant_features_fade_out_and_constant_ones_are_ignored():
    relevance = np.exp(-FITTED.process.theta[:4])
    assert relevance[0] > 3 * relevance[[2, 3]].max()
    assert FITTED.used.tolist() == [True, True, True, True, False]


def test_a_constant_target_is_predicted_as_it_is():
    assert GPRegression.fit(X, np.full(80, 3.0)).predict(X) == pytest.approx(np.full(80, 3.0))


def test_constant_features_predict_the_mean():
    assert GPRegression.fit(np.ones((80, 2)), Y).predict(np.zeros((3, 2))) == pytest.approx(
        np.full(3, Y.mean())
    )


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
