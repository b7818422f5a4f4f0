"""Expected improvement and the known-cost expected hypervolume improvement."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp
from scipy.integrate import trapezoid
from scipy.stats import norm

from hwopt.gp import GaussianProcess
from hwopt.search.acquisition import (
    log_expected_hypervolume_improvement,
    log_expected_improvement,
    log_integrated_improvement,
    staircase,
)
from hwopt.search.pareto import hypervolume


def ehvi(mean, std, costs, front, reference):
    costs = np.atleast_2d(np.asarray(costs, float))
    logs = log_expected_hypervolume_improvement(
        np.atleast_1d(float(mean)), np.atleast_1d(float(std)), costs, front, reference
    )
    return float(np.exp(logs[0]))


@pytest.mark.parametrize("u", [-1e4, -300, -41, -39.9, -20, -8, -1.0001, -0.9999, -0.2, 0, 0.5, 4, 30])
def test_log_expected_improvement_holds_deep_in_the_tail(u):
    with mp.workdps(60):
        x = mp.mpf(u)
        exact = float(mp.log(mp.npdf(x) + x * mp.ncdf(x)))
    assert log_expected_improvement(np.array(-u), np.array(1.0), 0.0) == pytest.approx(
        exact, rel=1e-9, abs=1e-9
    )


def test_without_uncertainty_expected_improvement_is_the_improvement():
    gain = log_expected_improvement(np.array([1.0, 3.0]), np.zeros(2), 2.0)
    assert np.exp(gain).tolist() == [1.0, 0.0]


def random_problem(seed: int, k: int):
    rng = np.random.default_rng(seed)
    front = rng.random((rng.integers(0, 7), 1 + k))
    reference = np.full(1 + k, 0.9)
    return rng, front, reference, rng.random(k) * 0.8


@pytest.mark.parametrize("k", [0, 1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_ehvi_matches_monte_carlo(k, seed):
    rng, front, reference, cost = random_problem(seed, k)
    mean, std, n = 0.4, 0.2, 1500
    errors = mean + std * rng.standard_normal(n)
    base = hypervolume(front, reference)
    gains = [hypervolume(np.vstack([front, [error, *cost]]), reference) - base for error in errors]
    spread = np.std(gains) / math.sqrt(n)
    assert ehvi(mean, std, cost, front, reference) == pytest.approx(np.mean(gains), abs=5 * spread + 1e-9)


@given(st.integers(0, 10**6), st.sampled_from([1, 2, 3]))
def test_ehvi_of_a_certain_error_is_the_hypervolume_that_it_adds(seed, k):
    rng, front, reference, cost = random_problem(seed, k)
    error = rng.random()
    added = hypervolume(np.vstack([front, [error, *cost]]), reference) - hypervolume(front, reference)
    assert ehvi(error, 0.0, cost, front, reference) == pytest.approx(added, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_derivative_of_ehvi_in_the_mean_is_minus_the_weighted_cdf(seed):
    _, front, reference, cost = random_problem(seed + 50, 1)
    mean, std, step = 0.45, 0.15, 1e-5
    lower, upper, heights = staircase(front, reference)
    widths = np.maximum(upper[:, 0] - np.maximum(lower[:, 0], cost[0]), 0)
    numeric = (
        ehvi(mean + step, std, cost, front, reference) - ehvi(mean - step, std, cost, front, reference)
    ) / (2 * step)
    assert numeric == pytest.approx(-widths @ norm.cdf((heights - mean) / std), rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_derivative_of_ehvi_in_the_deviation_is_the_weighted_density(seed):
    _, front, reference, cost = random_problem(seed + 70, 1)
    mean, std, step = 0.45, 0.15, 1e-5
    lower, upper, heights = staircase(front, reference)
    widths = np.maximum(upper[:, 0] - np.maximum(lower[:, 0], cost[0]), 0)
    numeric = (
        ehvi(mean, std + step, cost, front, reference) - ehvi(mean, std - step, cost, front, reference)
    ) / (2 * step)
    assert numeric == pytest.approx(widths @ norm.pdf((heights - mean) / std), rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_derivative_of_ehvi_in_the_cost_is_minus_the_improvement_there(seed):
    _, front, reference, cost = random_problem(seed + 90, 1)
    mean, std, step = 0.45, 0.15, 1e-6
    height = min([reference[0], *front[front[:, 1] <= cost[0], 0]])
    numeric = (
        ehvi(mean, std, cost + step, front, reference) - ehvi(mean, std, cost - step, front, reference)
    ) / (2 * step)
    expected = -math.exp(log_expected_improvement(np.array(mean), np.array(std), height))
    assert numeric == pytest.approx(expected, rel=1e-4)


def test_a_candidate_dearer_than_the_reference_gains_nothing():
    front, reference = np.array([[0.5, 0.5]]), np.array([1.0, 1.0])
    logs = log_expected_hypervolume_improvement(
        np.array([0.1, 0.1]), np.array([0.1, 0.1]), np.array([[1.0], [2.0]]), front, reference
    )
    assert logs.tolist() == [-math.inf, -math.inf]


def test_hopeless_candidates_still_have_an_order():
    front, reference = np.array([[0.01, 0.1]]), np.array([1.0, 1.0])
    mean, std = np.array([0.9, 0.8]), np.array([0.01, 0.01])
    logs = log_expected_hypervolume_improvement(mean, std, np.array([[0.2], [0.2]]), front, reference)
    assert np.isfinite(logs).all() and logs[1] > logs[0]


@given(st.integers(0, 10**6), st.sampled_from([1, 2, 3]))
def test_boxes_are_disjoint_fill_the_costs_and_have_the_lowest_error_there(seed, k):
    rng, front, reference, _ = random_problem(seed, k)
    lower, upper, heights = staircase(front, reference)
    costs = rng.random((50, k)) * 0.9
    inside = np.all((lower <= costs[:, None]) & (costs[:, None] < upper), axis=2)  # [50, boxes]
    assert (inside.sum(axis=1) == 1).all()
    for cost, own in zip(costs, inside, strict=True):
        reached = front[np.all(front[:, 1:] <= cost, axis=1) & np.all(front < reference, axis=1), 0]
        assert heights[own][0] == min([reference[0], *reached])


def test_boxes_are_far_fewer_than_the_cells_of_a_grid():
    front = np.random.default_rng(0).random((40, 4))
    assert len(staircase(front, np.full(4, 1.0))[2]) < 40**3 / 10


def test_integrated_improvement_is_what_simulated_observations_take_away():
    """EI at the reference points before, less after the candidate's variance is taken out of theirs."""
    rng = np.random.default_rng(4)
    X, new, places = rng.random((8, 2)), rng.random((3, 2)), rng.random((5, 2))
    process = GaussianProcess.fit(X, np.sin(5 * X[:, 0]) + X[:, 1])
    weights, best = rng.random(5), 0.4
    got = log_integrated_improvement(*process.joint(places, new), process.noise_std, best, weights)
    for i in range(3):
        mean, std = process.posterior(places)
        known = process.condition(new[i : i + 1], process.posterior(new[i : i + 1])[0])
        left = known.posterior(places)[1]
        gain = [
            math.exp(log_expected_improvement(mean[j], std[j], best))
            - math.exp(log_expected_improvement(mean[j], left[j], best))
            for j in range(5)
        ]
        assert math.exp(got[i]) == pytest.approx(np.mean(weights * gain), rel=1e-4)


@pytest.mark.parametrize(("mean", "std"), [(-2.0, 0.3), (-1.0, 1.2), (0.5, 0.05), (-6.0, 2.0)])
@pytest.mark.parametrize("best", [0.02, 0.2, 0.9])
def test_log_normal_expected_improvement_holds_at_eighty_digits(mean, std, best):
    with mp.workdps(80):
        a, m, s = mp.mpf(best) + mp.mpf(0.05), mp.mpf(mean), mp.mpf(std)
        z = (mp.log(a) - m) / s
        exact = float(mp.log(a * mp.ncdf(z) - mp.exp(m + s**2 / 2) * mp.ncdf(z - s)))
    got = log_expected_improvement(np.array(mean), np.array(std), best, 0.05)
    assert got == pytest.approx(exact, rel=1e-9, abs=1e-9)


def test_log_normal_expected_improvement_is_an_integral_over_the_error():
    mean, std, best, shift = -1.0, 0.7, 0.3, 0.05
    z = np.linspace(mean - 12 * std, np.log(best + shift), 400_001)
    area = trapezoid((best + shift - np.exp(z)) * norm.pdf(z, mean, std), z)
    got = log_expected_improvement(np.array(mean), np.array(std), best, shift)
    assert np.exp(got) == pytest.approx(area, rel=1e-6)


@given(st.floats(-8, 1), st.floats(1e-6, 3), st.floats(0, 1), st.floats(1e-4, 1))
def test_log_normal_improvement_is_finite_grows_with_the_best_and_falls_with_the_mean(mean, std, best, shift):
    def gain(m, b):
        return log_expected_improvement(np.array(m), np.array(std), b, shift)

    assert np.isfinite(gain(mean, best))
    assert gain(mean, best + 0.1) > gain(mean, best)
    assert gain(mean + 0.1, best) < gain(mean, best)


def test_no_error_lies_below_minus_the_shift_and_a_certain_one_improves_by_the_difference():
    assert log_expected_improvement(np.array(0.0), np.array(1.0), -0.2, 0.1) == -np.inf
    certain = log_expected_improvement(np.log(np.array(0.3)), np.array(0.0), 0.5, 0.1)
    assert np.exp(certain) == pytest.approx(0.5 - 0.2)


def test_log_normal_ehvi_matches_monte_carlo():
    rng, front, reference, cost = random_problem(3, 1)
    mean, std, shift = np.log(0.35), 0.3, 0.1
    errors = np.exp(mean + std * rng.standard_normal(4000)) - shift
    base = hypervolume(front, reference)
    gains = [hypervolume(np.vstack([front, [error, *cost]]), reference) - base for error in errors]
    got = log_expected_hypervolume_improvement(
        np.array([mean]), np.array([std]), cost[None], front, reference, shift
    )
    assert np.exp(got[0]) == pytest.approx(np.mean(gains), abs=5 * np.std(gains) / math.sqrt(4000))
