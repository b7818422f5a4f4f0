"""How a curve ends: calibrated on laws that are known, unbiased where poor curves were stopped."""

import numpy as np
import pytest

from hwopt.search.learning_curves import (
    Extrapolation,
    FinalErrors,
    Prior,
    checkpoints,
    extrapolate,
    final_errors,
)

N_EPOCHS = 8


def power_law_curves(n, rng, n_epochs=N_EPOCHS):
    """Curves e(t) = a t^-b times a random walk in log epochs, with noise of every epoch; a and b differ."""
    log_epochs = np.log(np.arange(1, n_epochs + 1))
    start = rng.normal(-1.0, 0.4, size=(n, 1))
    slope = 0.3 + 0.1 * (start + 1.0) + rng.normal(0, 0.1, size=(n, 1))
    walk = np.cumsum(rng.normal(size=(n, n_epochs)) * 0.08 * np.sqrt(np.diff(log_epochs, prepend=0)), axis=1)
    noise = rng.normal(0, 0.04, size=(n, n_epochs))
    return np.exp(start - slope * log_epochs + walk + noise)


def random_walks(n, rng, n_epochs=N_EPOCHS):
    """Curves whose log error falls by 0.04 an epoch, with a deviation of 0.2."""
    steps = rng.normal(-0.04, 0.2, size=(n, n_epochs))
    steps[:, 0] = rng.normal(-1.0, 0.3, size=n)
    return np.exp(np.cumsum(steps, axis=1))


def ranks(n_cases, n_others, k, rng, law=power_law_curves):
    """Where the true final errors fall in their predictive distributions, 0 to 1."""
    found = []
    for _ in range(n_cases // 20):
        curves = law(n_others + 20, rng)
        others = [tuple(curve) for curve in curves[20:]]
        for curve in curves[:20]:
            final = extrapolate(tuple(curve[:k]), others, N_EPOCHS)
            found.append(final.probability_below(curve[-1]))
    return np.array(found)


@pytest.mark.parametrize(("k", "n_others"), [(1, 10), (1, 40), (3, 40)])
def test_quantiles_hold_on_curves_of_a_known_law(k, n_others):
    found = ranks(800, n_others, k, np.random.default_rng(k + n_others))
    assert np.mean((found > 0.05) & (found < 0.95)) == pytest.approx(0.9, abs=0.03)
    assert np.mean(found < 0.1) == pytest.approx(0.1, abs=0.03)


def test_a_wrong_spread_would_show_in_the_coverage():
    found = ranks(400, 40, 1, np.random.default_rng(0))
    narrow = 0.5 + (found - 0.5) * 2  # what ranks look like where the spread is far too small
    assert abs(np.mean((narrow > 0.05) & (narrow < 0.95)) - 0.9) > 0.03


def test_stopped_curves_keep_the_survivors_from_looking_like_all():
    rng = np.random.default_rng(5)
    found, ignoring = [], []
    for _ in range(40):
        walks = random_walks(70, rng)
        others = [stopped_above(walk, 0.33) for walk in walks[10:]]
        whole = [errors for errors in others if len(errors) == N_EPOCHS]
        for walk in walks[:10]:
            found.append(extrapolate(tuple(walk[:1]), others, N_EPOCHS).probability_below(walk[-1]))
            ignoring.append(extrapolate(tuple(walk[:1]), whole, N_EPOCHS).probability_below(walk[-1]))
    assert np.mean(found) == pytest.approx(0.5, abs=0.04)
    assert np.mean(ignoring) > 0.56  # survivors alone promise lower errors than come


def test_curves_that_went_on_for_being_cheap_do_not_stand_for_the_dear_ones():
    rng = np.random.default_rng(6)
    found, ignoring = [], []
    for _ in range(40):
        x = rng.normal(0, 1, size=140)  # the dearer, the lower the end
        curves = power_law_curves(140, rng) * np.exp(-0.25 * x[:, None] * np.linspace(0, 1, N_EPOCHS))
        goes_on = (x < 0.5) | (curves[:, 0] < 0.3)  # of the dear ones only the best
        others = [tuple(c if goes else c[:1]) for c, goes in zip(curves[10:], goes_on[10:], strict=True)]
        for i in np.flatnonzero(x[:10] > 0.5):
            first, end = tuple(curves[i, :1]), curves[i, -1]
            known = extrapolate(first, others, N_EPOCHS, (x[i],), [(other,) for other in x[10:]])
            found.append(known.probability_below(end))
            ignoring.append(extrapolate(first, others, N_EPOCHS).probability_below(end))
    assert np.mean(found) == pytest.approx(0.5, abs=0.06)
    assert np.mean(ignoring) < 0.3


def stopped_above(walk, limit):
    """The errors up to the first that is above the limit, from the second epoch on."""
    above = np.flatnonzero(walk[1:] > limit)
    return tuple(walk[: above[0] + 2] if len(above) else walk)


def restless_curves(n, rng, noise=0.4, n_epochs=12):
    """Curves of different levels, whose noise of an epoch falls with the cosine of a schedule."""
    quiet = 0.5 * (1 + np.cos(np.pi * np.arange(1, n_epochs + 1) / n_epochs))
    levels = rng.normal(-1.5, 0.2, size=(n, 1)) - 0.15 * np.log(np.arange(1, n_epochs + 1))
    return np.exp(levels + noise * quiet * rng.normal(size=(n, n_epochs)))


def early_predictions(noise, k, n_complete, n_cases=20):
    """Log final errors of 20 curves of k epochs less their predicted medians, and the deviations."""
    found = []
    for seed in range(n_cases):
        whole = restless_curves(n_complete + 20, np.random.default_rng(seed), noise)
        curves = [tuple(c) if i < n_complete else tuple(c[:k]) for i, c in enumerate(whole)]
        which = list(range(n_complete, n_complete + 20))
        median, std = final_errors(curves, 12, [()] * len(curves), which).log_normal(0.0)
        found.append((np.log(whole[n_complete:, -1]) - median, std, np.log(whole[n_complete:, k - 1])))
    return tuple(np.array(part) for part in zip(*found, strict=True))  # each [n_cases, 20]


@pytest.mark.parametrize(("k", "n_complete", "rmse"), [(1, 3, 0.3), (1, 6, 0.26), (4, 3, 0.24)])
def test_the_end_of_restless_curves_is_as_uncertain_as_predicted(k, n_complete, rmse):
    misses, std, _ = early_predictions(0.4, k, n_complete)
    assert np.sqrt(np.mean(misses**2)) < rmse  # 0.2 is that of the levels
    assert np.mean(np.abs(misses) < std) > 0.68
    assert np.mean(np.abs(misses) < 1.645 * std) > 0.9
    assert np.median(std) < 2 * rmse


def test_what_looks_poor_on_a_restless_curve_ends_as_low_as_predicted():
    misses, _, last = early_predictions(0.4, 1, 3)
    looks_poor = last > np.quantile(last, 0.75)
    assert np.mean(misses[looks_poor]) > -0.17
    assert np.mean(misses[~looks_poor]) < 0.15


@pytest.mark.parametrize(("k", "widest"), [(1, 0.19), (4, 0.08)])
def test_steady_curves_are_taken_as_they_are(k, widest):
    misses, std, _ = early_predictions(0.02, k, 6)
    assert np.sqrt(np.mean(misses**2)) < 0.03 and np.median(std) < widest


def test_the_noise_shows_in_unfinished_curves():
    rng, epochs = np.random.default_rng(3), np.arange(1, 13)
    for noise in (0.03, 0.4):
        Y = np.log(restless_curves(20, rng, noise))
        Y[:, 5:] = np.nan
        fitted = Prior().fitted(Y, epochs, 12)
        assert fitted.noise[0] == pytest.approx(noise, rel=0.4)
        assert fitted.mean[0] == pytest.approx(-1.5, abs=0.2)


def test_a_diverged_curve_moves_the_mean_of_the_others_little():
    Y = np.log(restless_curves(20, np.random.default_rng(4), 0.05))
    Y[0] = np.log(0.9)
    fitted = Prior().fitted(Y, np.arange(1, 13), 12)
    assert np.allclose(fitted.mean, np.mean(Y[1:], axis=0), atol=0.06)


def test_without_other_curves_the_error_falls_as_a_power_of_the_epochs():
    stub = (0.4001,)  # no step to learn from, but errors that move in small steps
    final = extrapolate((0.4,), [stub], 8, prior=Prior(drop=0.3))
    assert final.quantile(0.5) == pytest.approx(0.4 * 8**-0.3, rel=0.05)


def test_more_epochs_make_the_end_more_certain():
    rng = np.random.default_rng(1)
    curves = [tuple(curve) for curve in power_law_curves(30, rng)]
    spreads = [extrapolate(curves[0][:k], curves[1:], N_EPOCHS).std for k in (1, 3, 6)]
    assert spreads[0] > spreads[1] > spreads[2] > 0


def test_a_whole_curve_ends_where_it_ended():
    final = extrapolate((0.5, 0.2), [(0.4, 0.1)], 2)
    assert (final.median, final.std, final.probability_below(0.2)) == (0.2, 0.0, 0.0)


def test_errors_of_zero_are_taken_and_stay_near_zero():
    others = [(0.1, 0.02, 0.0, 0.0), (0.2, 0.05, 0.01, 0.0), (0.1, 0.0, 0.0, 0.0)]
    assert 0 <= extrapolate((0.1, 0.0), others, 4).median < 0.05
    assert extrapolate((0.0, 0.0), [(0.0, 0.0, 0.0)], 3).median < 1e-6


def test_no_end_is_above_the_highest_error_of_any_curve():
    final = extrapolate((0.9,), [(0.5, 0.9), (0.9, 0.9)], 20)
    assert final.draws.max() == pytest.approx(0.9)


def test_a_tail_that_has_no_bound_stays_within_the_errors_that_were_seen():
    wild = Prior(noises=(300.0,), n_spread=1.0)
    final = extrapolate((0.5,), [(0.9, 0.1), (0.4, 0.9)], 20, prior=wild)
    assert np.all((final.draws >= 0) & (final.draws <= 0.9 + 1e-12))


def test_equal_curves_give_their_common_end():
    final = extrapolate((0.5, 0.4), [(0.5, 0.4, 0.3, 0.2)] * 30, 4)
    assert final.median == pytest.approx(0.2, rel=0.03)
    assert final.std < 0.03


def test_curves_of_other_lengths_are_read_as_far_as_they_go():
    others = [(0.5, 0.4, 0.3, 0.2, 0.01, 0.01), (), (0.5,), (0.5, 0.4, 0.3, 0.2)]
    final = extrapolate((0.5, 0.4), others, 4)
    assert final.quantile(0.5) == pytest.approx(
        extrapolate((0.5, 0.4), [o[:4] for o in others], 4).quantile(0.5)
    )


def test_the_same_input_gives_the_same_draws():
    others = [(0.5, 0.3, 0.2), (0.6, 0.5, 0.4)]
    first, second = (extrapolate((0.5,), others, 3) for _ in range(2))
    assert np.array_equal(first.draws, second.draws)


def test_checkpoints_lie_further_apart_as_they_go_on():
    assert checkpoints(8) == (1, 2, 3, 4, 5, 6, 8)
    assert checkpoints(1) == (1,)
    assert checkpoints(40) == (1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40)


def test_summaries_of_draws_by_hand():
    final = Extrapolation(np.array([0.1, 0.2, 0.3, 0.4, 0.9]))
    assert final.median == pytest.approx(0.3)
    assert final.probability_below(0.2) == 0.2
    assert final.quantile(1.0) == 0.9


def test_the_deviation_is_that_of_a_normal_whatever_the_tail():
    normal = np.random.default_rng(0).normal(0.3, 0.05, size=100_000)
    assert Extrapolation(normal).std == pytest.approx(0.05, rel=0.02)
    assert Extrapolation(np.append(normal, np.full(1000, 9.0))).std == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize("n_epochs", [16, 50])
def test_the_moments_of_many_curves_are_those_of_the_draws_of_each(n_epochs):
    rng = np.random.default_rng(7)
    lengths = [*rng.integers(1, 12, size=30).tolist(), *[n_epochs] * 10]
    curves = [tuple(c[:k]) for c, k in zip(power_law_curves(40, rng, n_epochs), lengths, strict=True)]
    x = [(float(value),) for value in rng.normal(size=40)]
    found = final_errors(curves, n_epochs, x, range(31))
    median, std = found.log_normal(found.offset)
    for i in range(30):
        others = (curves[:i] + curves[i + 1 :], n_epochs, x[i], x[:i] + x[i + 1 :])
        logs = np.log(extrapolate(curves[i], *others).draws + found.offset)
        low, middle, high = np.quantile(logs, [0.1587, 0.5, 0.8413])
        assert median[i] == pytest.approx(middle, abs=0.2 * std[i])
        assert std[i] == pytest.approx((high - low) / 2, rel=0.2)
    assert (found.median[30], std[30]) == (pytest.approx(curves[30][-1]), 0)  # it has ended


def test_the_probability_of_ending_below_an_error_follows_from_median_and_width():
    found = FinalErrors(np.array([0.1]), np.array([0.2]), np.array([0.4]), 1e-9)
    assert found.probability_below(0.2) == pytest.approx(0.5)
    assert found.probability_below(0.1) == pytest.approx(0.1587, abs=1e-4)
    assert found.probability_below(0.0) < 1e-9 and found.probability_below(1e9) == pytest.approx(1)
    assert found.take([0]).median[0] == 0.2


def test_no_curve_gives_no_final_error():
    assert len(final_errors([], 8, [], []).median) == 0
    alone = final_errors([(0.5,)], 8, [()], [0])
    assert 0 <= alone.low[0] < alone.median[0] < alone.high[0] <= 0.5
