"""Network regression: what is chosen by networks left out, and what lies outside the fitted networks."""

import numpy as np
import pytest
import torch
from torch import nn

from hwopt.errors import InvalidInput
from hwopt.network import trace
from hwopt.predict.totals.distance_width import DistanceWidth
from hwopt.predict.totals.network_regression import NetworkRegression, traced_features
from hwopt.predict.totals.second_opinion import unknown_share

RNG = np.random.default_rng(0)


def network(rng, activation=nn.ReLU, depth=None):
    """A chain of convolutions of random widths, each with an activation."""
    widths = [3, *rng.integers(4, 48, size=depth or int(rng.integers(2, 6)))]
    with torch.device("meta"):
        layers = [
            [nn.Conv2d(a, b, int(rng.choice([1, 3])), padding=1), activation()]
            for a, b in zip(widths[:-1], widths[1:], strict=True)
        ]
        return trace(
            nn.Sequential(*[one for pair in layers for one in pair]), (3, *[int(rng.integers(8, 32))] * 2)
        )


GRAPHS = [network(RNG) for _ in range(100)]
KNOWN, NEW = GRAPHS[:60], GRAPHS[60:]
STRANGE = [network(RNG, nn.GELU) for _ in range(20)]  # an operator that no fitted network has
X, CLASSES = traced_features(KNOWN)
X_NEW, X_STRANGE = (traced_features(graphs, CLASSES)[0] for graphs in (NEW, STRANGE))


def seconds(graphs, rng=None, noise=0.0):
    """A law that adds up; noise of the logarithm on top."""
    sums = [sum(2e-10 * one.flops + 1e-10 * one.bytes + 1e-5 for one in graph.layers) for graph in graphs]
    return np.array(sums) * np.exp(noise * (rng or RNG).standard_normal(len(graphs)))


def bent(graphs):
    """A metric that does not add up: a root of the work."""
    return np.array([graph.flops for graph in graphs], dtype=float) ** 0.3


def error(predicted, truth):
    return float(np.abs(predicted / truth - 1).mean())


def test_operators_of_no_class_have_the_last_columns():
    assert X.shape[1] == 6 + 3 * len(CLASSES) and not X[:, -3:].any()
    gelus = [sum(one.kind == "gelu" for one in graph.layers) for graph in STRANGE]
    assert X_STRANGE[:, -3].tolist() == gelus
    assert X_STRANGE[:, :3] == pytest.approx(X_STRANGE[:, 3:].reshape(20, -1, 3).sum(axis=1))
    assert (unknown_share(X_STRANGE) >= np.array(gelus) / X_STRANGE[:, 0]).all()
    assert not unknown_share(X_NEW).any()


def test_bytes_are_those_that_windows_touch():
    plain, skipping = (
        trace(nn.Conv2d(4, 8, 1, stride=stride, bias=False).to("meta"), (4, 32, 32)) for stride in (1, 4)
    )
    moved = [traced_features([graph], ["conv2d 1x1"])[0][0, 2] for graph in (plain, skipping)]
    assert moved[0] == plain.layers[0].bytes
    assert moved[1] == 4 * (4 * 32 * 32 / 4 + 4 * 8 + 8 * 8 * 8)  # a quarter of the rows, whole cache lines


def test_a_sum_is_chosen_for_what_adds_up_and_none_for_what_does_not():
    adds_up, does_not = (NetworkRegression.fit(X, y) for y in (seconds(KNOWN, noise=0.01), bent(KNOWN)))
    assert adds_up.weights[1:].any() and not does_not.weights[1:].any()
    assert error(adds_up.predict(X_NEW), seconds(NEW)) < 0.02
    assert error(does_not.predict(X_NEW), bent(NEW)) < 0.02


def test_extra_features_are_used_if_and_only_if_they_help():
    flags = RNG.integers(0, 2, size=(100, 2)).astype(float)
    time_s = seconds(GRAPHS, noise=0.01) * (1 + 0.5 * flags[:, 0])
    known, new = flags[:60], flags[60:]
    model = NetworkRegression.fit(X, time_s[:60], extra=known)
    assert model.n_features == X.shape[1] + 2
    assert error(model.predict(X_NEW, new), time_s[60:]) < 0.05
    with pytest.raises(
        InvalidInput, match="features and 0 extra ones; the fit used .*: pass the same features"
    ):
        model.predict(X_NEW)
    time_s, useless = seconds(KNOWN, noise=0.01), 1e6 * RNG.random((60, 8))
    assert NetworkRegression.fit(X, time_s, extra=useless).n_features == X.shape[1]


def test_operators_that_no_fit_has_seen_are_marked_and_widen_and_are_not_priced_wildly():
    model = NetworkRegression.fit(X, seconds(KNOWN, noise=0.02))
    assert model.is_extrapolated(X_STRANGE).all() and np.isinf(model.distance(X_STRANGE)).all()
    assert model.is_extrapolated(X_NEW).mean() < 0.5
    assert error(model.predict(X_STRANGE), seconds(STRANGE)) < 0.3
    (low, high), (near_low, near_high) = model.interval(X_STRANGE), model.interval(X_NEW)
    assert np.median(high / low) > 1.2 * np.median(near_high / near_low)


def test_intervals_hold_like_networks_and_larger_ones():
    rng = np.random.default_rng(1)
    larger = [network(rng, depth=9) for _ in range(40)]
    slowed = [seconds(graphs, rng, 0.05) * (traced_features(graphs, CLASSES)[0][:, 0] / 8) ** 0.5
            for graphs in (KNOWN, NEW, larger)]  # fmt: skip
    model = NetworkRegression.fit(X, slowed[0])
    for graphs, truth in ((NEW, slowed[1]), (larger, slowed[2])):
        low, high = model.interval(traced_features(graphs, CLASSES)[0], 0.9)
        assert ((low <= truth) & (truth <= high)).mean() >= 0.85


def test_a_width_grows_with_the_distance_where_errors_do():
    features = np.sort(np.random.default_rng(2).uniform(0, 1, size=(200, 1)), axis=0)
    alone = 0.01 * np.random.default_rng(3).standard_normal(200)
    grows = DistanceWidth.fit(features, alone, lambda fold: 30 * alone)
    level = DistanceWidth.fit(features, alone, lambda fold: alone)
    new = np.array([[0.5], [1.3]])
    near, far = grows.half_width(new, 0.9)
    assert far > 3 * near
    near, far = level.half_width(new, 0.9)
    assert far < 1.5 * near
    assert np.isinf(
        DistanceWidth.fit(features[:9], alone[:9], lambda fold: alone[:9]).half_width(new, 0.99)
    ).all()


def test_a_confidence_is_between_0_and_1():
    model = NetworkRegression.fit(X, seconds(KNOWN))
    with pytest.raises(InvalidInput, match="confidence = 90; it must be between 0 and 1"):
        model.interval(X_NEW, 90)
