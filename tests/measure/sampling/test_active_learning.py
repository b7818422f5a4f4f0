"""Active learning measures what reduces the doubt about networks most, and nothing twice."""

import numpy as np
import pytest

from hwopt.errors import InvalidInput
from hwopt.measure.sampling.active_learning import greedy_selection, select_informative
from hwopt.measure.sampling.operators import GPU_PLAN, key_of_row, sample_operators
from hwopt.profile.roofline import Ceilings

CEILINGS = Ceilings(flops_per_s=1e13, bytes_per_s=2e12, launch_s=3e-6)


@pytest.fixture(scope="module")
def layers():
    return [o.layer for o in sample_operators(500, np.random.default_rng(0), plan=GPU_PLAN).operators]


def time_s(layer):
    """A law whose utilisation falls with few output channels and rises with the batch."""
    rate = 1e13 * layer.out_channels / (layer.out_channels + 64) * layer.batch / (layer.batch + 16)
    return layer.flops / rate + layer.bytes / 2e12 * (1 + 4 / layer.batch) + 3e-6


def rows_of(layers):
    return [{**layer.row(), "time_s": time_s(layer)} for layer in layers]


def picked(candidates, rows, n, seed=0, **options):
    positions = select_informative(candidates, rows, n, np.random.default_rng(seed), CEILINGS, **options)
    return [candidates[i] for i in positions]


def is_conv_of_few(layer):
    return layer.kind == "conv2d" and layer.batch <= 4


def test_picks_go_to_the_region_that_was_left_out(layers):
    measured, candidates = [one for one in layers[:300] if not is_conv_of_few(one)], layers[300:]
    share = np.mean([is_conv_of_few(one) for one in candidates])
    picks = [pick for seed in range(3) for pick in picked(candidates, rows_of(measured), 20, seed)]
    assert np.mean([is_conv_of_few(pick) for pick in picks]) > 1.5 * share


def test_a_kind_without_a_measured_row_is_picked_first(layers):
    measured = [one for one in layers[:300] if one.kind != "linear"]
    assert "linear" in {pick.kind for pick in picked(layers[300:], rows_of(measured), 3)}


@pytest.mark.parametrize("n_rows", [0, 10, 100])
def test_picks_are_distinct_new_and_the_same_for_the_same_seed(layers, n_rows):
    measured, candidates = layers[:n_rows], layers[n_rows // 2 : 250]
    first, second = (picked(candidates, rows_of(measured), 30, 3) for _ in range(2))
    assert first == second and len(set(first)) == 30
    assert not set(first) & set(measured)


def test_measured_rows_that_come_from_a_table_of_floats_are_recognised(layers):
    rows = [
        {name: float(value) if isinstance(value, int) else value for name, value in row.items()}
        for row in rows_of(layers[:40])
    ]
    assert picked(layers[:40], rows, 5) == []


@pytest.mark.parametrize("n_rows", [0, 60])
def test_what_takes_the_time_of_networks_is_picked_before_what_does_not(layers, n_rows):
    candidates = layers[100:200]
    shares = np.zeros((3, 100))
    shares[:, :10] = 0.09
    shares[:, 10:] = 0.1 / 90
    picks = picked(candidates, rows_of(layers[:n_rows]), 8, shares=shares)
    assert len(set(picks) & set(candidates[:10])) >= 7


def test_what_no_network_has_is_picked_last(layers):
    candidates, shares = layers[:40], np.full((2, 40), 1 / 20)
    shares[:, ::2] = 0.0
    assert set(picked(candidates, [], 20, shares=shares)) == set(candidates[1::2])


def test_what_was_chosen_before_counts_as_known(layers):
    candidates = layers[:60]
    first = picked(candidates, [], 10)
    then = picked(candidates, [], 10, pending=first)
    assert not set(first) & set(then)
    kinds = {one.kind for one in first}
    assert sum(one.kind not in kinds for one in then) >= 0 and len({key_of_row(o.row()) for o in then}) == 10


def test_copies_of_one_disagreement_are_picked_once():
    rng = np.random.default_rng(0)
    corner, other = 3 * rng.standard_normal(50), rng.standard_normal(50)
    predictions = np.stack([*(corner + 0.01 * rng.standard_normal((6, 50))), other, 0.3 * other])
    assert set(greedy_selection(predictions, 2)) & {6}
    assert greedy_selection(predictions, 8)[0] < 6 and len(set(greedy_selection(predictions, 8))) == 8


@pytest.mark.parametrize("own", [0.0, 0.7])
def test_picks_take_most_variance_of_the_networks_by_conditioning_a_gaussian(own):
    rng = np.random.default_rng(1)
    predictions, noise = rng.standard_normal((6, 400)) * np.array([[1, 2, 3, 4, 5, 1]]).T, 0.5
    predictions[5] += predictions[0]
    shares = rng.random((3, 6))
    centred = predictions - predictions.mean(axis=1, keepdims=True)
    covariance = centred @ centred.T / 400 + own**2 * np.eye(6)
    expected = []
    for _ in range(4):  # the plain way: condition on each candidate, look at what is left
        left = []
        for i in range(6):
            given = np.outer(covariance[i], covariance[i]) / (covariance[i, i] + noise**2)
            left.append(np.trace(shares @ (covariance - given) @ shares.T) if i not in expected else np.inf)
        best = int(np.argmin(left))
        covariance = covariance - np.outer(covariance[best], covariance[best]) / (
            covariance[best, best] + noise**2
        )
        expected.append(best)
    found = greedy_selection(predictions, 4, shares, noise, own)
    assert found[:2] == expected[:2]
    assert own or found == expected


def test_the_first_candidates_may_be_given():
    rng = np.random.default_rng(2)
    predictions = rng.standard_normal((5, 300))
    predictions[1] = predictions[0] + 0.01 * rng.standard_normal(300)
    predictions[0] *= 3
    assert greedy_selection(predictions, 2, None, 0.03, 0.0, 1)[-1] != 1
    assert 0 not in greedy_selection(predictions, 3, None, 0.03, 0.0, 1)


def test_rows_without_a_time_teach_nothing_and_are_not_measured_again(layers):
    rows = [{**row, "time_s": None} for row in rows_of(layers[:60])]
    picks = picked(layers[:100], rows, 50)
    assert len(picks) == 40 and not set(picks) & set(layers[:60])


def test_no_more_are_picked_than_there_are(layers):
    assert len(picked(layers[:7], rows_of(layers[100:140]), 20)) == 7
    with pytest.raises(InvalidInput, match="n = -1 operators"):
        select_informative(layers[:7], [], -1, np.random.default_rng(0), CEILINGS)
