"""The surrogate against scikit-learn, by finite differences, and on awkward data."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Matern, WhiteKernel

from hwopt.gp import (
    GaussianProcess,
    LogNormal,
    Priors,
    linear,
    matern,
    negative_log_posterior,
    squared_differences,
)


def make_data(n=25, d=4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.random((n, d))
    return X, np.sin(3 * X[:, 0]) + X[:, 1] ** 2 + 0.05 * rng.standard_normal(n), rng.random((40, d))


def covariances(X):
    groups = np.arange(X.shape[1])
    return squared_differences(X, groups), linear(X, X, groups)


def reference_process(theta, X, y):
    lengths, (trend, signal, noise) = np.exp(theta[:-3]), np.exp(theta[-3:])
    slopes = ConstantKernel(trend * 12 / X.shape[1]) * DotProduct(0.0, "fixed")  # of inputs from -1/2 to 1/2
    kernel = slopes + ConstantKernel(signal) * Matern(lengths, nu=2.5) + WhiteKernel(noise + 1e-8)
    return GaussianProcessRegressor(kernel, optimizer=None, alpha=0).fit(X - 0.5, y)


def test_posterior_matches_scikit_learn_at_the_same_hyperparameters():
    X, y, X_new = make_data()
    theta = np.log([0.5, 0.8, 2.0, 3.0, 0.7, 1.3, 0.02])
    mean, std = GaussianProcess(X, y, theta, location=0.0, scale=1.0).posterior(X_new)
    expected, total = reference_process(theta, X, y).predict(X_new - 0.5, return_std=True)
    assert mean == pytest.approx(expected, abs=1e-8)
    assert std**2 == pytest.approx(total**2 - 0.02 - 1e-8, abs=1e-8)  # ours is latent, without the noise


def test_marginal_likelihood_matches_scikit_learn():
    X, y, _ = make_data()
    flat = LogNormal(0.0, 1e6, -10.0, 10.0)
    wide = Priors(flat, flat, flat, flat)
    thetas = [np.log([0.5, 0.8, 2.0, 3.0, 0.7, 1.3, 0.02]), np.log([1.0, 0.3, 0.7, 9.0, 0.1, 0.4, 0.2])]
    ours = [-negative_log_posterior(theta, *covariances(X), y, np.zeros(25), wide)[0] for theta in thetas]
    theirs = [reference_process(theta, X, y).log_marginal_likelihood_value_ for theta in thetas]
    assert ours[0] - ours[1] == pytest.approx(theirs[0] - theirs[1], abs=1e-6)


@pytest.mark.parametrize("nu", [1.5, 2.5])
@pytest.mark.parametrize("has_trend", [True, False])
def test_the_gradient_matches_finite_differences(nu, has_trend):
    X, y, _ = make_data()
    priors = Priors() if has_trend else Priors(trend=None)
    theta = np.random.default_rng(0).normal(-0.5, 0.4, size=7 if has_trend else 6)
    D, T = covariances(X)
    data = (D, T if has_trend else None, y, np.random.default_rng(0).random(25) * 0.1, priors, nu)
    numeric = approx_fprime(theta, lambda t: negative_log_posterior(t, *data)[0], 1e-6)
    assert negative_log_posterior(theta, *data)[1] == pytest.approx(numeric, abs=2e-4)


@pytest.mark.parametrize("nu", [1.5, 2.5])
def test_the_kernel_is_scikit_learns(nu):
    X, _, X_new = make_data()
    assert matern(X / 0.3, X_new / 0.3, nu) == pytest.approx(Matern(0.3, nu=nu)(X, X_new), abs=1e-9)


def test_fitting_finds_what_matters():
    X, y, X_new = make_data(n=60)
    process = GaussianProcess.fit(X, y)
    lengths = np.exp(process.theta[:4])
    assert max(lengths[:2]) < min(lengths[2:])
    mean, _ = process.posterior(X_new)
    assert np.abs(mean - np.sin(3 * X_new[:, 0]) - X_new[:, 1] ** 2).mean() < 0.05


def test_the_same_data_give_the_same_fit_to_the_bit():
    X, y, _ = make_data()
    assert (GaussianProcess.fit(X, y).theta == GaussianProcess.fit(X.copy(), y.copy()).theta).all()


def test_conditioning_is_a_process_with_the_further_points():
    X, y, X_new = make_data()
    process = GaussianProcess.fit(X[:20], y[:20])
    more = process.condition(X[20:], y[20:])
    whole = GaussianProcess(X, y, process.theta, None, None, process.location, process.scale)
    assert more.posterior(X_new)[0] == pytest.approx(whole.posterior(X_new)[0])
    assert (more.posterior(X_new)[1] <= process.posterior(X_new)[1] + 1e-9).all()


@pytest.mark.parametrize(
    ("X", "y"),
    [
        (np.array([[0.5, 0.5]]), np.array([0.3])),
        (np.random.default_rng(0).random((8, 2)), np.full(8, 0.9)),
        (np.random.default_rng(0).random((8, 2)), np.zeros(8)),
        (np.vstack([np.full((5, 2), 0.5), np.eye(2)]), np.array([0.1, 0.12, 0.11, 0.1, 0.1, 0.5, 0.4])),
    ],
    ids=["one observation", "all equal", "all zero", "repeats"],
)
def test_awkward_data_give_finite_posteriors(X, y):
    mean, std = GaussianProcess.fit(X, y).posterior(np.random.default_rng(1).random((5, 2)))
    assert np.isfinite(mean).all() and (std > 0).all()


def test_arguments_are_left_as_they_were():
    X, y, _ = make_data()
    before = X.copy(), y.copy()
    GaussianProcess.fit(X, y).condition(X[:2], y[:2])
    assert (X == before[0]).all() and (y == before[1]).all()


def test_two_choices_are_as_far_apart_as_the_ends_of_a_number():
    groups = np.array([0, 1, 1, 1])
    X = np.array([[0.0, 1, 0, 0], [0.0, 0, 1, 0], [1.0, 1, 0, 0]])
    D = squared_differences(X, groups)  # of the pairs (1, 0), (2, 0), (2, 1)
    assert D.tolist() == [[0, 1, 1], [1, 0, 1]]


def test_a_choice_has_one_length_scale_and_the_posterior_is_that_of_its_columns():
    rng = np.random.default_rng(0)
    choice = rng.integers(3, size=40)
    X = np.column_stack([rng.random(40), np.eye(3)[choice]])
    y = X[:, 0] + np.array([0.0, 0.5, -0.2])[choice]
    groups = np.array([0, 1, 1, 1])
    theta = GaussianProcess.fit(X, y, groups=groups).theta
    assert len(theta) == 5
    theta[2] = -30.0  # a trend would weigh the four columns of the other differently
    mean, std = GaussianProcess(X, y, theta, groups).posterior(X[:5] + 0.01)
    columns = np.concatenate([theta[:1], np.full(3, theta[1] + np.log(2) / 2), theta[2:]])
    expected = GaussianProcess(X, y, columns).posterior(X[:5] + 0.01)
    assert mean == pytest.approx(expected[0]) and std == pytest.approx(expected[1])


def test_a_guess_counts_less_than_a_measured_error():
    X = np.array([[0.0], [0.3], [0.6], [1.0]])
    y = np.array([0.5, 0.1, 0.45, 0.5])
    theta = np.log([0.3, 1e-4, 1.0, 1e-4])
    sure = GaussianProcess(X, y, theta).posterior(np.array([[0.3]]))
    guess = GaussianProcess(X, y, theta, std=np.array([0, 0.2, 0, 0])).posterior(np.array([[0.3]]))
    assert guess[0][0] > sure[0][0] + 0.05 and guess[1][0] > 5 * sure[1][0]


def test_many_points_are_fitted_on_some_and_the_best_are_kept():
    rng = np.random.default_rng(0)
    X = rng.random((2500, 2))
    y = np.sin(4 * X[:, 0]) + X[:, 1]
    process = GaussianProcess.fit(X, y)
    assert len(process.X) == 2000
    assert set(np.sort(y)[:1000]) <= set(process.y)
    new = rng.random((50, 2))
    assert process.posterior(new)[0] == pytest.approx(np.sin(4 * new[:, 0]) + new[:, 1], abs=0.02)


def test_a_trend_is_a_line_in_each_number_and_a_level_for_each_choice():
    rng = np.random.default_rng(0)
    choice = rng.integers(3, size=12)
    X = np.column_stack([rng.random((12, 2)), np.eye(3)[choice]])
    groups = np.array([0, 1, 2, 2, 2])

    def law(X):
        return 2 * X[:, 0] - X[:, 1] + X[:, 2:] @ np.array([0.4, 0.0, -0.3])

    theta = np.log([1.0, 1.0, 1.0, 10.0, 1e-6, 1e-6])
    X_new = np.column_stack([3 * rng.random((20, 2)), np.eye(3)[rng.integers(3, size=20)]])
    mean, std = GaussianProcess(X, law(X), theta, groups).posterior(X_new)
    assert mean == pytest.approx(law(X_new), abs=0.02) and (std < 0.05).all()
