"""Intervals cover what they promise, on networks of a known law, and widen beyond what was measured."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from torch import nn

from hwopt import load_device
from hwopt.network import trace
from hwopt.predict.device import Device
from hwopt.predict.network_table import NetworkTable
from hwopt.predict.uncertainty.extrapolation import widening
from hwopt.predict.uncertainty.measured_range import MeasuredRange
from tests.profile.profiles import layer_rows, write_profile

N_NETWORKS = 1000


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """Two devices of one law, each with half of the networks: what the one has measured, tests the other."""
    folder = tmp_path_factory.mktemp("profiles") / "law"
    write_profile(folder, n_layers=300, n_networks=N_NETWORKS, noise=0.1, has_power=True)
    profile = load_device(folder).profile
    return tuple(Device(replace(profile, networks=profile.networks.iloc[i::2])) for i in (0, 1))


@pytest.fixture(scope="module")
def device(halves):
    return halves[0]


@pytest.fixture(scope="module")
def tested(halves):
    """Measured networks that a half has not seen, with their costs, for each half."""
    pairs = []
    for half, other in (halves, halves[::-1]):
        measured = other.profile.networks
        pairs.append((measured, half.model("paleo").costs(NetworkTable.of_profile(half.profile, measured))))
    return pairs


@pytest.mark.parametrize("metric", ["time_s", "power_w", "energy_j"])
@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.95])
def test_bounds_and_intervals_cover_within_three_points(tested, metric, confidence):
    below, within = [], []
    for measured, costs in tested:
        values = measured[metric].to_numpy()
        low, high = costs.interval(metric, confidence)
        below += list(values <= costs.upper(metric, confidence))
        within += list((low <= values) & (values <= high))
    assert len(below) == N_NETWORKS
    assert np.mean(below) == pytest.approx(confidence, abs=0.03)
    assert np.mean(within) == pytest.approx(confidence, abs=0.03)


def test_networks_like_those_of_the_calibration_are_hardly_widened(tested):
    for _, costs in tested:
        factors = costs.widening["time_s"]
        assert (factors >= 1).all() and np.median(factors) < 1.05 and np.quantile(factors, 0.9) < 1.3


def test_a_kind_never_measured_and_shapes_far_outside_widen_the_interval_and_say_so(device):
    plain = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU())
    strange = nn.Sequential(nn.Conv2d(16, 4, 1), nn.GELU(), nn.GELU())
    inside = device.predict(trace(plain, (16, 16, 16), 4))
    unmeasured = device.predict(trace(strange, (16, 32, 32), 4))
    far = device.predict(trace(plain, (16, 512, 512), 4))
    assert inside.costs.widening["time_s"][0] < 1.1
    assert unmeasured.layers["is_fallback"].tolist() == [False, True, True]
    assert far.layers["is_extrapolated"].all() and not inside.layers["is_extrapolated"].any()
    for prediction, text in ((unmeasured, "of the kind: gelu"), (far, "measured range of the kind: conv2d")):
        factor = prediction.costs.widening["time_s"][0]
        assert factor > 1.2
        assert any(text in note for note in prediction.notes)
        assert any("intervals are therefore wider" in note and f"time_s {factor:.2g}" in note
                   for note in prediction.notes)  # fmt: skip
        assert relative_width(prediction.costs) > 1.1 * relative_width(inside.costs)


def relative_width(costs):
    low, high = costs.interval("time_s", 0.9)
    return float(np.log(high[0] / low[0]))


def test_the_distance_is_counted_in_deviations_of_the_rows_from_the_nearest_border():
    rows = layer_rows(50, np.random.default_rng(0))
    rows = rows[rows["kind"] == "conv2d"].reset_index(drop=True)
    ranges = MeasuredRange.of(rows)
    assert ranges.distance(rows).tolist() == [0.0] * len(rows)
    most = rows["batch"].max()
    moved = rows.head(2).assign(batch=[4 * most, most])
    assert ranges.distance(moved) == pytest.approx([2 / np.log2(rows["batch"]).std(ddof=0), 0.0])
    assert ranges.distance(rows.head(1).assign(dilation_h=2))[0] > 1e6  # never varied
    assert ranges.distance(rows.head(1).assign(kind="gelu")).tolist() == [np.inf]
    assert ranges.distance(rows.head(0)).shape == (0,)
    assert MeasuredRange.of(rows.head(0)).distance(rows.head(1)).tolist() == [np.inf]


def test_the_factor_by_hand():
    residuals = {"time_s": np.array([-0.1, 0.1]), "memory_bytes": np.zeros(2)}
    calibration = {"time_s": np.array([0.0, 0.0])}
    factors = widening({"time_s": np.array([0.0, 0.1, 0.3])}, calibration, residuals)
    assert factors["time_s"] == pytest.approx([1, 2**0.5, 10**0.5])
    vouched = {"time_s": np.full(9, 0.3)}
    assert widening({"time_s": np.array([0.3])}, vouched, residuals)["time_s"] == [1.0]
    assert widening({"time_s": np.array([0.3])}, calibration, {"time_s": np.empty(0)}) == {}


def test_power_and_energy_widen_by_what_power_varies(device):
    model = device.model("paleo")
    rows = layer_rows(30, np.random.default_rng(3), has_power=True).assign(kind="gelu")
    table = NetworkTable(rows, np.zeros(30, dtype=np.intp), np.ones(1), 1)
    deviations = model._deviations(model.method.prepare(table))
    layers = device.profile.measured_layers
    assert deviations["power_w"][0] == pytest.approx(np.std(np.log(layers["power_w"])))
    assert deviations["energy_j"][0] == pytest.approx(
        np.hypot(deviations["time_s"][0], deviations["power_w"][0])
    )


def test_configs_keep_their_own_widening_when_priced_together(device):
    from skopt.space import Integer

    from hwopt.space.search_space import SearchSpace

    space = SearchSpace(
        [Integer(8, 4096, name="n")],
        build=lambda config: nn.Sequential(nn.Conv2d(16, config["n"], 3), nn.ReLU()),
        input_shape=(16, 16, 16),
    )
    costs = device.cost_model(space, method="paleo", batch_size=4)
    priced = costs([{"n": 32}, {"n": 4096}])
    factors = priced.widening["time_s"]
    assert factors[0] < 1.2 and factors[1] > 1.2 * factors[0]
    again = costs([{"n": 4096}, {"n": 32}])
    assert again.widening["time_s"].tolist() == factors[::-1].tolist()
    assert isinstance(device.profile.networks, pd.DataFrame)
