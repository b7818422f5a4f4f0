"""Profiles that lack something, and networks that they know little of: a clear error, or wide bounds."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from torch import nn

from hwopt import Budget, load_device
from hwopt.costs import check_confidence
from hwopt.errors import Infeasible, InvalidInput
from hwopt.network import trace
from hwopt.predict import shipped_devices
from hwopt.predict.device import Device
from hwopt.predict.uncertainty.families import family
from hwopt.predict.validation.report import validate_networks
from hwopt.profile.device_profile import DeviceProfile

NETWORK = nn.Sequential(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 64, 1))
GRAPH = trace(NETWORK, (32, 28, 28), 32)


@pytest.fixture(scope="module", params=["nvidia-h200", "law"])
def profile(request, tmp_path_factory):
    """A GPU's shipped profile, and one of a law that the summed layers fit."""
    if request.param == "nvidia-h200":
        return load_device("nvidia-h200").profile
    from tests.profile.profiles import write_profile

    folder = tmp_path_factory.mktemp("poor") / "law"
    return load_device(write_profile(folder, 120, 24, has_power=True, host_s=1e-4)).profile


def chain(n):
    return nn.Sequential(*[layer for _ in range(n) for layer in (nn.Conv2d(32, 32, 3, padding=1), nn.ReLU())])


def with_networks(profile, chosen):
    return Device(replace(profile, networks=profile.networks.loc[chosen].reset_index(drop=True)))


def bound(prediction, metric="time_s", confidence=0.9):
    return float(prediction.costs.upper(metric, confidence)[0])


def factor(prediction, metric="time_s", confidence=0.9):
    return bound(prediction, metric, confidence) / prediction.total[metric]


def test_without_networks_there_is_a_prediction_and_no_bound(profile):
    device = with_networks(profile, profile.networks["network"] == "none")
    prediction = device.predict(GRAPH)
    assert all(np.isfinite(value) for value in prediction.total.values())
    assert bound(prediction) == np.inf
    assert any("time_s: no measured network to calibrate on" in note for note in device.model().notes)
    assert any("networks to fit on" in note for note in device.model().notes)
    with pytest.raises(Infeasible, match="calibrated on 0 networks, which allow at most 0.000"):
        check_confidence(Budget("time_s", 1.0), prediction.costs)
    with pytest.raises(InvalidInput, match="no networks measured as CUDA graphs; use 'eager'"):
        device.predict(GRAPH, mode="graph")


def test_three_networks_bound_what_three_can(profile):
    names = list(dict.fromkeys(profile.networks.query("mode == 'graph' and power_w.notna()")["network"]))[:3]
    device = with_networks(profile, profile.networks["network"].isin(names))
    prediction = device.predict(GRAPH, mode="graph")
    assert bound(prediction, confidence=0.75) < np.inf and bound(prediction) == np.inf
    with pytest.raises(Infeasible, match="calibrated on 3 networks, which allow at most 0.750; lower the"):
        check_confidence(Budget("power_w", 1.0), prediction.costs)


@pytest.mark.parametrize(("mode", "other"), [("graph", "eager"), ("eager", "graph")])
def test_with_one_mode_that_one_is_predicted_and_the_other_refused(profile, mode, other):
    device = with_networks(profile, profile.networks["mode"] == mode)
    assert bound(device.predict(GRAPH, mode=mode), confidence=0.8) < np.inf
    with pytest.raises(InvalidInput, match=f"mode '{other}': .* use '{mode}'"):
        device.predict(GRAPH, mode=other)
    with pytest.raises(InvalidInput, match=f"mode '{other}'"):
        validate_networks(device, ("hybrid",), (other,))


def test_networks_whose_layers_are_missing_are_left_out(profile):
    names = list(dict.fromkeys(profile.networks["network"]))
    layers = profile.network_layers[profile.network_layers["network"].isin(names[1::2])]
    device = Device(replace(profile, network_layers=layers.reset_index(drop=True)))
    assert set(device.model(mode="graph").networks.frame["network"]) <= set(names[1::2])
    none = Device(replace(profile, network_layers=profile.network_layers.head(0)))
    assert bound(none.predict(GRAPH, mode="graph")) == np.inf


def test_one_architecture_at_many_batch_sizes_counts_once(profile):
    graphs = profile.networks[profile.networks["mode"] == "graph"].head(6).reset_index(drop=True)
    names = {name: f"vgg11-b{i + 1}" for i, name in enumerate(graphs["network"])}
    layers = profile.network_layers[profile.network_layers["network"].isin(names)]
    renamed = (table.assign(network=table["network"].map(names)) for table in (graphs, layers))
    networks, network_layers = (table.reset_index(drop=True) for table in renamed)
    device = Device(replace(profile, networks=networks, network_layers=network_layers))
    costs = device.predict(GRAPH, mode="graph").costs
    assert costs.n_calibration("time_s") == (6, pytest.approx(1.0))
    with pytest.raises(Infeasible, match="6 networks of 1 families, which allow at most 0.500"):
        check_confidence(Budget("time_s", 1.0), costs)
    assert set(device.model(mode="graph").validation()["n_groups"]) == {1}


def test_rows_of_one_kind_only_leave_the_others_to_networks_or_to_what_is_shared(profile):
    layers = profile.layers.query("kind == 'conv2d'").reset_index(drop=True)
    device, whole = Device(replace(profile, layers=layers)), Device(profile)
    errors = device.model(mode="graph").validation().query("fold_kind == 'out_of_group'").set_index("metric")
    assert errors.loc["time_s", "mape"] < 0.4 and errors.loc["time_s", "coverage_90"] > 0.8
    alone = Device(replace(profile, layers=layers, networks=profile.networks.head(0)))
    prediction = alone.predict(GRAPH)
    assert prediction.layers["is_fallback"].tolist() == [False, True, True, False]
    assert any("fallback, too few measured rows of the kind: " in note for note in prediction.notes)
    ratio = prediction.layers["time_s"] / whole.predict(GRAPH).layers["time_s"]
    assert ratio.between(0.2, 5).all()


def test_without_a_power_column_there_is_neither_power_nor_energy(tmp_path):
    folder = shutil.copytree(shipped_devices()["nvidia-h200"], tmp_path / "gpu")
    for name in ("layers", "networks"):
        table = pd.read_csv(folder / f"{name}.csv", dtype=str, keep_default_na=False)
        dropped = [column for column in table.columns if column.startswith(("power", "energy", "idle_sub"))]
        table.drop(columns=dropped).to_csv(folder / f"{name}.csv", index=False)
    device = Device(DeviceProfile.load(folder))
    assert set(device.predict(GRAPH, mode="graph").total) == {"time_s", "memory_bytes"}
    assert set(validate_networks(device, ("hybrid",), ("graph",))["metric"]) == {"time_s", "memory_bytes"}


@pytest.mark.parametrize("n", [1, 2])
def test_few_operators_with_power_leave_time_and_memory_however_many_networks_have_power(profile, n):
    layers = profile.layers.copy()
    with_power = layers.index[layers["power_w"].notna()]
    layers.loc[with_power[n:], ["power_w", "energy_j"]] = np.nan
    device = Device(replace(profile, layers=layers))
    prediction = device.predict(GRAPH, mode="graph")
    assert {"time_s", "memory_bytes"} <= set(prediction.total)
    assert prediction.costs.n_calibration("time_s")[0] > 5
    assert set(device.model(mode="graph").validation()["metric"]) == set(prediction.total)


def test_a_profile_of_another_precision_is_refused(profile):
    halves = profile.layers.assign(dtype="bfloat16")
    device = Device(replace(profile, layers=halves))
    with pytest.raises(InvalidInput, match="dtype 'float32': profile .* has rows of bfloat16 only"):
        device.predict(GRAPH, mode="graph")


def test_operators_that_were_never_measured_are_marked_and_widen_the_bound(profile):
    strange = nn.Sequential(
        nn.Conv2d(32, 64, 3, padding=1), nn.Softplus(), nn.Softplus(), nn.Conv2d(64, 64, 1)
    )
    device = Device(profile)
    known, unknown = (
        device.predict(trace(network, (32, 28, 28), 32), mode="graph") for network in (NETWORK, strange)
    )
    assert unknown.layers["is_fallback"].tolist() == [False, True, True, False]
    assert factor(unknown) > factor(known)


def test_a_profile_of_small_networks_bounds_large_ones_more_widely(profile):
    graphs = profile.networks.query("mode == 'graph'")
    small = graphs[graphs["time_s"] <= graphs["time_s"].quantile(0.6)]["network"]
    device = with_networks(profile, profile.networks["network"].isin(set(small)))
    like, large = (
        device.predict(trace(chain(n), (32, side, side), batch), mode="graph")
        for n, side, batch in ((4, 28, 8), (40, 112, 256))
    )
    for metric in ("time_s", "energy_j"):
        assert large.costs.widening[metric][0] > 1.2 * like.costs.widening[metric][0]


def test_a_higher_confidence_than_the_families_allow_says_how_many_it_takes():
    profile = load_device("nvidia-h200").profile
    networks = profile.networks.query("mode == 'graph' and source in ('neuralpower', 'torchvision')")
    n, n_families = len(networks), networks["network"].map(family).nunique()
    assert n > n_families >= 9  # for the confidence of 0.9 that is the default, and fewer than 0.95 takes
    costs = with_networks(profile, networks.index).predict(GRAPH, mode="graph").costs
    most = f"{n} networks of {n_families} families, which allow at most {n_families / (n_families + 1):.3f}"
    with pytest.raises(Infeasible, match=f"{most}; lower .* or measure networks of 19"):
        check_confidence(Budget("time_s", 1.0, confidence=0.95), costs)
    check_confidence(Budget("time_s", 1.0), costs)
