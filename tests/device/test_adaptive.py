"""What is measured next is what the rows so far say least about, and not the same thing twice."""

import numpy as np
import pytest

from hwopt.device.adaptive import adaptive_picks, most_telling
from hwopt.device.sampling import GPU_PLAN, sample_operators
from hwopt.errors import InvalidInput


@pytest.fixture(scope="module")
def operators():
    return sample_operators(500, np.random.default_rng(0), plan=GPU_PLAN).operators


def time_s(layer):
    """A law whose utilisation falls with few output channels and rises with the batch."""
    rate = 1e13 * layer.out_channels / (layer.out_channels + 64) * layer.batch / (layer.batch + 16)
    return layer.flops / rate + layer.bytes / 2e12 * (1 + 4 / layer.batch) + 3e-6


def rows_of(operators):
    return [{**operator.layer.row(), "time_s": time_s(operator.layer)} for operator in operators]


def is_conv_of_few(operator):
    return operator.layer.kind == "conv2d" and operator.layer.batch <= 4


def test_picks_go_to_the_region_that_was_left_out(operators):
    measured, candidates = [o for o in operators[:300] if not is_conv_of_few(o)], operators[300:]
    share = np.mean([is_conv_of_few(o) for o in candidates])
    picks = [
        pick
        for seed in range(3)
        for pick in adaptive_picks(candidates, rows_of(measured), 20, np.random.default_rng(seed))
    ]
    assert np.mean([is_conv_of_few(pick) for pick in picks]) > 1.5 * share
    assert {pick.source for pick in picks} == {"adaptive"}


def test_a_kind_without_a_measured_row_is_picked_first(operators):
    measured = [o for o in operators[:300] if o.layer.kind != "linear"]
    picks = adaptive_picks(operators[300:], rows_of(measured), 20, np.random.default_rng(0))
    assert "linear" in {pick.layer.kind for pick in picks[:3]}


def test_picks_are_distinct_new_and_the_same_for_the_same_seed(operators):
    measured, candidates = operators[:100], operators[50:250]
    first, second = (
        adaptive_picks(candidates, rows_of(measured), 30, np.random.default_rng(3)) for _ in range(2)
    )
    keys = [pick.key for pick in first]
    assert keys == [pick.key for pick in second]
    assert len(set(keys)) == 30
    assert not set(keys) & {operator.key for operator in measured}


def test_measured_rows_that_come_from_a_table_of_floats_are_recognised(operators):
    rows = [
        {name: float(value) if isinstance(value, int) else value for name, value in row.items()}
        for row in rows_of(operators[:40])
    ]
    assert adaptive_picks(operators[:40], rows, 5, np.random.default_rng(0)) == []


def test_copies_of_one_disagreement_are_picked_once():
    rng = np.random.default_rng(0)
    corner, other = 3 * rng.standard_normal(50), rng.standard_normal(50)
    predictions = np.stack([*(corner + 0.01 * rng.standard_normal((6, 50))), other, 0.3 * other])
    assert set(most_telling(predictions, 2)) & {6}
    assert most_telling(predictions, 8)[0] < 6 and len(set(most_telling(predictions, 8))) == 8


def test_the_variance_that_a_pick_leaves_is_that_of_a_conditioned_gaussian():
    rng = np.random.default_rng(1)
    predictions, noise = rng.standard_normal((5, 400)) * np.array([[1, 2, 3, 4, 5]]).T, 0.5
    centred = predictions - predictions.mean(axis=1, keepdims=True)
    covariance = centred @ centred.T / 400
    first = int(np.argmax(np.diag(covariance)))
    left = covariance - np.outer(covariance[first], covariance[first]) / (covariance[first, first] + noise**2)
    second = max((i for i in range(5) if i != first), key=lambda i: left[i, i])
    assert most_telling(predictions, 2, noise) == [first, second]


def test_with_few_measured_rows_the_picks_are_random(operators):
    picks = adaptive_picks(operators, rows_of(operators[:5]), 10, np.random.default_rng(0))
    assert len({pick.key for pick in picks}) == 10
    rows = [{**row, "time_s": None} for row in rows_of(operators[:60])]
    assert len(adaptive_picks(operators, rows, 10, np.random.default_rng(0))) == 10


def test_no_more_are_picked_than_there_are(operators):
    assert len(adaptive_picks(operators[:7], rows_of(operators[100:140]), 20, np.random.default_rng(0))) == 7
    with pytest.raises(InvalidInput, match="n = -1 picks"):
        adaptive_picks(operators[:7], [], -1, np.random.default_rng(0))
