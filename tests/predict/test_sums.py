"""Regressions on traced networks: laws that they must find, layers that were never measured alone."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from hwopt.errors import InvalidInput
from hwopt.network import trace
from hwopt.predict.totals.block_regression import BlockRegression, outline
from hwopt.predict.totals.layer_sum import LayerSum
from hwopt.predict.totals.least_squares import relative_least_squares
from hwopt.predict.totals.network_regression import NetworkRegression, traced_features


def block(rng):
    c, wide, kernel = (int(rng.integers(4, 64)), int(rng.integers(4, 128)), int(rng.choice([3, 5])))
    with torch.device("meta"):
        depthwise = nn.Conv2d(wide, wide, kernel, padding=kernel // 2, groups=wide, bias=False)
        body = nn.Sequential(nn.Conv2d(c, wide, 1, bias=False), nn.ReLU(), depthwise, nn.Conv2d(wide, c, 1))
    return trace(body, (c, *[int(rng.integers(4, 32))] * 2))


RNG = np.random.default_rng(0)
GRAPHS = [block(RNG) for _ in range(90)]
KNOWN, NEW = GRAPHS[:60], GRAPHS[60:]


def law(layer):
    """Seconds of a layer: four times as slow an operation where it is depthwise."""
    per_flop = 4e-10 if layer.kind == "conv2d" and layer.groups > 1 else 1e-10
    return per_flop * layer.flops + 1e-10 * layer.bytes + 1e-5


LAYERS = [np.array([law(layer) for layer in graph.layers]) for graph in GRAPHS]
TOTALS = np.array([3e-4 + own.sum() for own in LAYERS])
FITTED = LayerSum().fit(KNOWN, TOTALS[:60])


def test_blocks_that_were_not_seen_are_predicted_from_totals():
    assert np.abs(FITTED.predict(NEW) / TOTALS[60:] - 1).mean() < 0.01
    assert FITTED.unseen < 0.01


def test_layers_that_were_never_measured_alone_are_told_apart():
    predicted = FITTED.predict_layers(NEW)
    share = np.array([own[2] / own.sum() for own in predicted])  # of the depthwise layer
    truth = np.array([own[2] / own.sum() for own in LAYERS[60:]])
    assert np.corrcoef(share, truth)[0, 1] > 0.9
    assert FITTED.predict(NEW) == pytest.approx([FITTED.constant + own.sum() for own in predicted])
    assert all((own > 0).all() for own in predicted)


def test_an_operator_that_no_block_had_takes_the_shared_coefficients():
    with torch.device("meta"):
        pool = trace(nn.AvgPool2d(2), (16, 8, 8))
    assert FITTED.predict([pool])[0] >= FITTED.constant > 0


def test_memory_is_that_of_distinct_layers_in_strips():
    rng = np.random.default_rng(3)
    chain = [one for graph in KNOWN for one in graph.layers]
    graphs = [
        replace(KNOWN[0], layers=tuple(rng.permutation(np.array(chain, dtype=object)))) for _ in range(40)
    ]
    totals = np.array([1e-3 + sum(law(one) for one in graph.layers) for graph in graphs])
    tracemalloc.start()
    fitted = LayerSum().fit(graphs, totals * np.exp(0.01 * rng.standard_normal(40)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    n = sum(len(graph.layers) for graph in graphs)
    assert peak < 8 * n**2 / 4  # a quarter of one kernel of all layers
    assert np.abs(fitted.predict(graphs) / totals - 1).mean() < 0.02


def test_the_process_is_that_of_a_dense_kernel_over_all_layers():
    bent = TOTALS[:20] * (1 + 0.3 * np.sin(np.arange(20)))
    fitted = LayerSum().fit(KNOWN[:20], bent)
    layers = [one for graph in KNOWN[:20] for one in graph.layers]
    share = np.concatenate(fitted.predict_layers(KNOWN[:20]))  # with g; k is between shares before g
    assert fitted.predict(KNOWN[:20]) == pytest.approx(
        [
            fitted.constant + own.sum()
            for own in np.split(share, np.cumsum([len(g.layers) for g in KNOWN[:19]]))
        ]
    )
    twice = LayerSum().fit([replace(g, layers=tuple(reversed(g.layers))) for g in KNOWN[:20]], bent)
    assert twice.predict(NEW) == pytest.approx(fitted.predict(NEW), rel=1e-6)  # no order of layers counts
    assert len(layers) == len(share)


def test_totals_bend_where_a_sum_does_not():
    bent = 3e-4 + np.array(
        [sum(law(one) * (1 + 0.5 * (one.kernel_h == 5)) for one in g.layers) for g in GRAPHS]
    )
    fitted = LayerSum().fit(KNOWN, bent[:60])
    assert np.abs(fitted.predict(NEW) / bent[60:] - 1).mean() < 0.04


def test_what_is_left_out_is_predicted_as_by_a_fit_without_it():
    bent = TOTALS[:60] * (1 + 0.3 * np.sin(np.arange(60)))
    fitted = LayerSum().fit(KNOWN, bent)
    for i in (3, 20, 41):
        without = LayerSum().fit([*KNOWN[:i], *KNOWN[i + 1 :]], np.delete(bent, i))
        assert fitted.left_out[i] == pytest.approx(without.predict([KNOWN[i]])[0], rel=0.1)
    assert fitted.unseen == pytest.approx(np.abs(fitted.left_out / bent - 1).mean())


def test_block_regression_learns_what_a_sum_cannot_hold():
    widest = np.array([max(one.out_channels for one in graph.layers) for graph in GRAPHS])
    together = TOTALS * (1 + 0.5 * np.log2(widest) / 7)  # the widest layer slows all others
    by_sum = np.abs(LayerSum().fit(KNOWN, together[:60]).predict(NEW) / together[60:] - 1).mean()
    fitted = BlockRegression.fit(KNOWN, together[:60])
    assert np.abs(fitted.predict(NEW) / together[60:] - 1).mean() < min(0.02, by_sum)


def test_block_regression_finds_a_power_that_does_not_add_up():
    power = 5 + np.log(np.array([graph.flops for graph in GRAPHS]))
    fitted = BlockRegression.fit(KNOWN, power[:60], is_additive=False)
    assert np.abs(fitted.predict(NEW) / power[60:] - 1).mean() < 0.01


def test_the_outline_is_what_goes_in_and_out_and_the_widest():
    with torch.device("meta"):
        depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        body = nn.Sequential(
            nn.Conv2d(4, 8, 1, groups=2, bias=False), depthwise, nn.Conv2d(8, 6, 1, bias=False)
        )
    graph = trace(body, (4, 10, 10))
    weights, moved = 4 * (16 + 72 + 48), 4 * 100 * (4 + 8 + 8 + 8 + 8 + 6)
    found = 2 ** outline([graph])[0] - 1
    assert found == pytest.approx([4, 6, 8, 100, 100, 3, 2, 3, graph.flops, weights, moved])


def test_network_regression_finds_a_law_of_counts_flops_and_bytes():
    X, classes = traced_features(KNOWN)
    X_new, _ = traced_features(NEW, classes)
    model = NetworkRegression.fit(X, TOTALS[:60])
    assert np.abs(model.predict(X_new) / TOTALS[60:] - 1).mean() < 0.01
    power = 5 + np.log(X[:, 1])
    fitted = NetworkRegression.fit(X, power, is_additive=False)
    assert np.abs(fitted.predict(X_new) / (5 + np.log(X_new[:, 1])) - 1).mean() < 0.02


def test_traced_features_are_counts_flops_and_bytes_of_all_and_of_each_class():
    X, classes = traced_features(KNOWN)
    assert classes == ("conv2d 1x1", "conv2d depthwise", "relu")
    graph = KNOWN[0]
    assert X[0, :3].tolist() == [4, graph.flops, sum(layer.bytes for layer in graph.layers)]
    assert X[:, 3].tolist() == [2] * 60 and X[:, 6].tolist() == [1] * 60
    assert X[:, 4:13:3].sum(axis=1) == pytest.approx(X[:, 1])


def test_rare_classes_count_among_all_layers_alone():
    with torch.device("meta"):
        rare = trace(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sigmoid()), (3, 4, 4))
    X, classes = traced_features([*KNOWN, rare])
    assert "sigmoid" not in classes and X[-1, 0] == 2


def test_least_squares_weigh_relative_errors_and_no_weight_is_negative():
    X = np.array([[1.0, 0.0], [2.0, 1.0], [1000.0, 3.0], [500.0, 2.0]])
    weights = relative_least_squares(X, 2 + 3 * X[:, 0])
    assert weights == pytest.approx([2, 3, 0], rel=0.01, abs=0.05)
    assert (relative_least_squares(X, 1e4 - 3 * X[:, 0]) >= 0).all()


@pytest.mark.parametrize("fit", [lambda y: LayerSum().fit(KNOWN[: len(y)], y),
                                 lambda y: BlockRegression.fit(KNOWN[: len(y)], y),
                                 lambda y: NetworkRegression.fit(np.ones((len(y), 2)), y)])  # fmt: skip
def test_too_few_or_impossible_measurements_are_errors(fit):
    with pytest.raises(InvalidInput, match="7 (networks|blocks) to fit on; at least 8 are needed"):
        fit(np.ones(7))
    with pytest.raises(InvalidInput, match="not positive and finite"):
        fit(np.array([1.0] * 9 + [0.0]))
