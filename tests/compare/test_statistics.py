"""The bootstrap on known cases, and who catches whom, by hand."""

import numpy as np
import pytest

from hwopt.compare.curves import Curves
from hwopt.compare.statistics import bootstrap, median, trainings_to_target


def curves(label, volumes, seeds=None, seconds=1.0):
    """Curves with trainings that take so many seconds each, and asks half of that."""
    volumes = np.array(volumes, dtype=float)
    ends = seconds * np.where(np.isnan(volumes), np.nan, np.arange(1, volumes.shape[1] + 1))
    return Curves(label, tuple(seeds or range(len(volumes))), volumes, ends, 1.5 * ends)


def test_interval_of_a_mean_is_that_of_the_normal_distribution():
    sample = np.random.default_rng(0).normal(3.0, 2.0, 400)
    found = bootstrap(lambda batch: batch.mean(axis=1), sample)
    assert found.value == pytest.approx(sample.mean())
    half = 1.96 * sample.std() / np.sqrt(len(sample))
    assert found.low == pytest.approx(sample.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(sample.mean() + half, abs=0.1 * half)


def test_interval_of_a_median_covers_it_as_often_as_it_says():
    rng = np.random.default_rng(1)
    found = [median(rng.exponential(size=20)) for _ in range(200)]
    n_covered = sum(one.low <= np.log(2) <= one.high for one in found)
    assert 180 <= n_covered <= 199  # 95% of 200 is 190, three standard deviations are 9


def test_equal_values_and_a_single_one_have_no_spread():
    for values in ([0.3] * 5, [0.3]):
        found = median(np.array(values))
        assert (found.value, found.low, found.high) == (0.3, 0.3, 0.3)


def test_the_same_runs_give_the_same_interval():
    sample = np.random.default_rng(2).random(9)
    assert median(sample) == median(sample)


def test_trainings_for_the_same_hypervolume_by_hand():
    ours = curves(
        "a", [[0.1, 0.3, 0.5, 0.7], [0.1, 0.4, 0.6, 0.8], [0.2, 0.5, 0.7, 0.9]]
    )  # median .1 .4 .6 .8
    peer = curves("b", [[0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.5], [0.1, 0.2, 0.3, 0.6]], seconds=3.0)
    found = trainings_to_target(ours, peer, 4)
    assert (found.label, found.peer, found.k, found.n_seeds) == ("a", "b", 4, 3)
    assert found.target == pytest.approx(0.5)
    assert found.trainings.value == 3
    assert 2 <= found.trainings.low <= 3 <= found.trainings.high <= 4
    assert (found.training_s, found.peer_training_s) == (3.0, 12.0)
    assert (found.wall_s, found.peer_wall_s) == (4.5, 18.0)
    assert found.difference.value == pytest.approx(0.3)  # of 0.3, 0.3, 0.3
    assert found.difference.low == pytest.approx(0.3)


def test_what_is_never_reached_takes_infinitely_many_trainings():
    found = trainings_to_target(curves("b", [[0.1, 0.2]] * 3), curves("a", [[0.1, 0.9]] * 3), 2)
    assert found.trainings.value == found.trainings.low == found.trainings.high == np.inf
    assert found.training_s == found.wall_s == np.inf
    assert found.difference.value == pytest.approx(-0.7)


def test_a_tie_is_a_catch_in_spite_of_rounding():
    found = trainings_to_target(curves("a", [[0.1, 0.3]]), curves("b", [[0.2, 0.1 + 0.2]]), 2)
    assert found.trainings.value == 2


def test_resampling_keeps_pairs_together():
    volumes = np.linspace(0.1, 0.9, 9)[:, None]
    found = trainings_to_target(curves("a", volumes + 0.01), curves("b", volumes), 1)
    assert found.difference.low == pytest.approx(0.01)
    assert found.trainings.high == 1  # each resample's median of ours is above that of the same seeds


def test_only_seeds_that_both_have_and_the_peer_ran_far_enough_count():
    ours = curves("a", [[0.5, 0.6], [0.7, 0.8], [0.1, 0.2]], seeds=(0, 1, 2))
    peer = curves("b", [[0.3, 0.4], [0.9, np.nan], [0.3, 0.55]], seeds=(1, 0, 5))
    found = trainings_to_target(ours, peer, 2)
    assert (found.n_seeds, found.target) == (1, 0.4)
    assert found.trainings.value == 1
    assert found.difference.value == pytest.approx(0.8 - 0.4)
    assert trainings_to_target(ours, curves("b", [[0.3, 0.4]], seeds=(7,)), 2) is None
    assert trainings_to_target(ours, peer, 3) is None


def test_a_run_that_ended_early_keeps_what_it_had():
    ours = curves("a", [[0.5, np.nan, np.nan], [0.1, 0.2, 0.3], [0.1, 0.6, 0.7]])
    peer = curves("b", [[0.0, 0.0, 0.4]] * 3)
    found = trainings_to_target(ours, peer, 3)
    assert found.trainings.value == 2  # medians 0.1, 0.5, 0.5
    assert found.difference.value == pytest.approx(0.1)


def test_a_contender_with_fewer_trainings_than_its_peer_has_no_difference():
    found = trainings_to_target(curves("a", [[0.5]]), curves("b", [[0.1, 0.2]]), 2)
    assert found.difference is None
    assert found.trainings.value == 1
