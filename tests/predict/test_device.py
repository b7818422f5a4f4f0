"""From a profile of a known law to the costs of a search space."""

import subprocess
import sys

import numpy as np
import pytest
from skopt.space import Categorical, Integer, Real
from torch import nn

from hwopt import load_device
from hwopt.errors import InvalidInput, UnknownName
from hwopt.network import LayerGraph, trace
from hwopt.network.layer import METRICS
from hwopt.predict import shipped_devices
from hwopt.predict.layer_aggregation import NetworkModel, SummedLayers, fit_network_model, memory_bytes
from hwopt.predict.layer_models.interface import LayerPrediction
from hwopt.predict.network_table import NetworkTable
from hwopt.space.search_space import SearchSpace
from tests.profile.profiles import CEILINGS, timed, write_profile


def build_chain(config):
    n = config["features"]
    if n == 13:
        raise RuntimeError("thirteen is unlucky")
    kernel = 20 if n == 14 else 3  # larger than the image
    return nn.Sequential(nn.Conv2d(1, n, kernel, padding=0), nn.ReLU(), nn.Conv2d(n, n, 3), nn.Flatten())


SPACE = SearchSpace(
    [
        Integer(4, 64, name="features"),
        Categorical(["sgd", "adam"], name="optimizer"),
        Real(1e-3, 1e-1, name="learning_rate"),
    ],
    build=build_chain,
    input_shape=(1, 16, 16),
    structural=["features"],
)


def config(features, learning_rate=0.01):
    return {"features": features, "optimizer": "sgd", "learning_rate": learning_rate}


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    folder = tmp_path_factory.mktemp("profiles") / "law"
    return load_device(write_profile(folder, n_layers=240, n_networks=80, has_power=True))


@pytest.fixture(scope="module")
def graph():
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2))
    return trace(model, (3, 16, 16), batch_size=4)


def test_an_unknown_device_names_those_that_are_shipped():
    shipped = ", ".join(shipped_devices()) or "none"
    with pytest.raises(UnknownName) as error:
        load_device("h200")
    assert str(error.value) == (
        f"no device profile 'h200'; shipped: {shipped}. Or give the path of a profile folder"
    )


def test_a_prediction_is_a_table_whose_times_sum_to_the_total(device, graph):
    prediction = device.predict(graph)
    layers, total = prediction.layers, prediction.total
    assert layers["kind"].tolist() == ["conv2d", "batch_norm", "relu", "max_pool2d"]
    assert layers["time_s"].sum() == pytest.approx(total["time_s"])
    assert layers["share"].sum() == pytest.approx(1)
    assert layers["energy_j"].sum() == pytest.approx(total["energy_j"])
    assert total["energy_j"] == pytest.approx(total["power_w"] * total["time_s"])
    assert total["memory_bytes"] >= graph.memory_bytes
    assert layers["is_fallback"].tolist() == [False, True, False, False]
    assert layers["is_extrapolated"].tolist() == [True, False, False, False]  # 3 channels, measured from 4
    assert [note.split(": ")[0] for note in prediction.notes] == [
        "fallback, too few measured rows of the kind",
        "extrapolation, outside the measured range of the kind",
        "intervals are therefore wider, by these factors (on a log scale)",
    ]
    assert prediction.notes[0].split(": ")[1].startswith("batch_norm ")
    assert prediction.costs.upper("time_s", 0.9)[0] > total["time_s"]


def summed(table, **values):
    return SummedLayers(table, LayerPrediction(values, np.zeros(len(table.layers), dtype=bool)))


def test_network_coefficients_of_the_law_are_found(device):
    """From the law's own times of the layers, so that no layer model's error hides in the coefficients."""
    profile = device.profile
    networks = profile.networks[profile.networks["split"] == "fit"].reset_index(drop=True)
    table = NetworkTable.of_profile(profile, networks)
    law = timed(table.layers, np.random.default_rng(0), 0.0, has_power=True)
    layers = summed(table, **{name: law[name].to_numpy() for name in ("time_s", "power_w")})
    measured = {name: networks[name].to_numpy() for name in METRICS}
    coefficients, notes = fit_network_model(layers, measured, CEILINGS.launch_s)
    assert notes == []
    assert coefficients.matrix_scale == pytest.approx(0.9, abs=0.06)
    assert coefficients.other_scale == pytest.approx(0.9, abs=0.15)
    assert coefficients.overhead == pytest.approx(5, abs=1.5)  # launch floors of 1 microsecond
    assert coefficients.power_scale == pytest.approx(1, abs=0.03)


def test_unseen_networks_are_predicted_within_the_noise_and_the_bound_covers_them(device):
    errors = device.model().validation().set_index(["metric", "fold_kind"])
    assert errors.loc[("time_s", "out_of_group"), "mape"] < 0.06
    assert errors.loc[("memory_bytes", "out_of_group"), "mape"] < 0.03
    assert errors.loc[("energy_j", "out_of_group"), "mape"] < 0.08
    assert errors.loc[("time_s", "out_of_group"), "kendall_tau"] > 0.9
    assert errors.loc[("time_s", "out_of_group"), "coverage_90"] == pytest.approx(0.9, abs=0.03)
    assert set(errors["n_groups"]) == {80} and set(errors["mode"]) == {"eager"}
    assert set(errors["level"]) == {"network"}


def test_configs_are_priced_together_and_each_network_once(device, monkeypatch):
    costs = device.cost_model(SPACE, batch_size=2)
    traced = []
    original = costs._graph
    monkeypatch.setattr(costs, "_graph", lambda config: traced.append(config) or original(config))
    priced = costs([config(8), config(8, 0.1), config(32), config(8)])
    assert len(traced) == 2
    assert set(priced) == {"time_s", "power_w", "energy_j", "memory_bytes"}
    assert priced["time_s"][0] == priced["time_s"][1] == priced["time_s"][3] != priced["time_s"][2]
    again = costs([config(32)])
    assert again["time_s"][0] == priced["time_s"][2] and len(traced) == 2
    assert costs([]).n == 0


def build_wide(config):
    layers = [nn.Conv2d(1, config["width"], 3), nn.ReLU(), nn.Conv2d(config["width"], config["features"], 3)]
    return nn.Sequential(*layers, nn.Dropout(config["dropout"]))


WIDE = [
    Integer(4, 64, name="features"),
    Integer(4, 64, name="width"),
    Real(0.0, 0.5, name="dropout"),
    Real(1e-3, 1e-1, name="learning_rate"),
]


def wide(width, dropout=0.1):
    return {"features": 8, "width": width, "dropout": dropout, "learning_rate": 0.01}


def test_without_a_list_costs_follow_what_build_reads(device):
    space = SearchSpace(WIDE, build_wide, (1, 16, 16))
    costs = device.cost_model(space)
    priced = costs([wide(4), wide(32), wide(4, 0.2), {**wide(4), "learning_rate": 0.1}])
    alone = [device.predict(trace(build_wide(wide(n)), (1, 16, 16))).total for n in (4, 32)]
    assert [priced.at(i)["time_s"] for i in range(4)] == pytest.approx(
        [alone[i]["time_s"] for i in (0, 1, 0, 0)]
    )
    assert priced["memory_bytes"][0] < priced["memory_bytes"][1]
    assert space.structural == ("features", "width", "dropout")  # learning_rate is not read


@pytest.mark.parametrize("method", ["hybrid", "hyperpower"])
def test_a_structural_hyperparameter_that_is_not_listed_is_refused_by_every_cost_model(device, method):
    with pytest.raises(InvalidInput, match="structural lacks 'width'"):
        device.cost_model(SearchSpace(WIDE, build_wide, (1, 16, 16), ["features"]), method=method)


def test_what_is_read_and_changes_no_layer_need_not_be_listed(device):
    costs = device.cost_model(SearchSpace(WIDE, build_wide, (1, 16, 16), ["features", "width"]), batch_size=3)
    priced = costs([wide(4), wide(4, 0.2), wide(5, 0.3), wide(4, 0.4)])
    assert priced["time_s"][0] == priced["time_s"][1] == priced["time_s"][3] < priced["time_s"][2]


def test_one_that_only_rarely_changes_the_layers_is_priced_rightly_and_named_when_it_shows(device):
    def build(config):
        n = config["width"] if config["features"] == 13 else 4
        return build_wide({**config, "width": n})

    space = SearchSpace(WIDE, build, (1, 16, 16), ["features"])
    costs = device.cost_model(space)  # too rare for the check at the beginning
    unlucky = [{**wide(width), "features": 13} for width in (4, 32)]
    with pytest.raises(InvalidInput, match="structural lacks 'width'"):
        costs([wide(4), wide(32), *unlucky])
    free = device.cost_model(SearchSpace(WIDE, build, (1, 16, 16)))(unlucky)
    assert free["memory_bytes"][0] < free["memory_bytes"][1]


def test_costs_of_a_config_are_those_of_its_network(device):
    alone = device.predict(trace(build_chain(config(20)), (1, 16, 16), 2)).total
    together = device.cost_model(SPACE, batch_size=2)([config(20), config(40)]).at(0)
    assert together == pytest.approx(alone)


def test_a_config_that_cannot_be_built_or_run_is_nan_with_its_reason(device):
    costs = device.cost_model(SPACE)([config(13), config(14), config(15)])
    assert np.isnan(costs["time_s"]).tolist() == [True, True, False]
    assert np.isnan(costs["memory_bytes"]).tolist() == [True, True, False]
    assert "thirteen is unlucky" in costs.reasons[0]
    assert "1, 1, 16, 16" in costs.reasons[1]
    assert costs.reasons[2] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size = 0; it must be a whole number from 1"),
        ({"batch_size": 2.5}, "batch_size = 2.5"),
        ({"dtype": "float16"}, "dtype 'float16': profile 'law' has rows of float32 only"),
        ({"mode": "graph"}, "profile 'law' has no networks measured as CUDA graphs; use 'eager'"),
        ({"mode": "fast"}, "mode 'fast'; wanted eager or graph"),
        ({"method": "hybird"}, "no cost model 'hybird'; did you mean hybrid"),
    ],
)
def test_what_the_profile_cannot_price_is_refused_at_once(device, arguments, message):
    with pytest.raises((InvalidInput, UnknownName), match=message):
        device.cost_model(SPACE, **arguments)


def test_a_batch_of_nothing_is_refused_before_anything_is_predicted(device):
    with pytest.raises(InvalidInput, match="batch_size and input_shape are whole numbers from 1, got 0"):
        device.predict(trace(nn.ReLU(), (4, 8, 8), batch_size=0))


def test_a_space_without_networks_cannot_be_priced(device):
    with pytest.raises(InvalidInput, match="the space has no build or no input_shape"):
        device.cost_model(SearchSpace([Integer(1, 3, name="n")]))


def test_without_power_there_is_no_energy(tmp_path):
    device = load_device(write_profile(tmp_path / "law", has_power=False))
    assert set(device.cost_model(SPACE)([config(8)])) == {"time_s", "memory_bytes"}
    assert set(device.predict(trace(nn.ReLU(), (4, 8, 8))).total) == {"time_s", "memory_bytes"}


def test_without_networks_layers_are_summed_as_they_are(tmp_path):
    device = load_device(write_profile(tmp_path / "law", n_networks=0))
    model = device.model()
    assert model.full.matrix_scale == 1.0
    assert all(len(errors) == 0 for errors in model.residuals.values())  # and so no bound
    assert any("layers are summed without correction" in note for note in model.notes)
    assert any("time_s: no measured network to calibrate on" in note for note in model.notes)
    assert model.validation().empty


def test_a_profile_without_measured_layers_says_so(tmp_path):
    folder = write_profile(tmp_path / "law")
    lines = (folder / "layers.csv").read_text().splitlines()
    (folder / "layers.csv").write_text(lines[0] + "\n")
    with pytest.raises(InvalidInput, match="'law' has no measured layer; measure the device again"):
        load_device(folder).model()


def test_memory_of_a_convolution_holds_the_copies_in_blocks():
    graph = trace(nn.Conv2d(64, 64, 3, padding=1, bias=False), (64, 56, 56), 8)
    table = NetworkTable.of_graphs([graph, trace(nn.Conv2d(64, 64, 1), (64, 56, 56), 8)])
    plain, full = memory_bytes(table, 0.0), memory_bytes(table, 1.0)
    image, weight = 8 * 64 * 56 * 56 * 4, 64 * 64 * 9 * 4
    assert plain.tolist() == table.memory_bytes.tolist()
    assert full[0] == 3 * image + 2 * weight  # input, its copy, blocked output; weight and its copy
    assert full[1] == plain[1]  # without a window there is no copy


def test_sums_are_of_each_network_and_coefficients_need_networks():
    graphs = [trace(nn.Sequential(*[nn.ReLU()] * n), (2, 4, 4)) for n in (1, 3, 2)]
    empty = LayerGraph((), 0, 0, 0, 4, 4, 4, 1)
    table = NetworkTable.of_graphs([graphs[0], empty, *graphs[1:]])
    assert table.sum(np.ones(6)).tolist() == [1, 0, 3, 2]
    table = NetworkTable.of_graphs(graphs)
    totals = NetworkModel().totals(summed(table, time_s=np.ones(6)))
    assert totals["time_s"].tolist() == [1, 3, 2]
    measured = {metric: np.ones(3) for metric in METRICS}
    model, notes = fit_network_model(summed(table, time_s=np.ones(6)), measured, 1e-6)
    assert model.matrix_scale == 1.0 and "fewer than 4 measured networks" in notes[0]


def test_importing_loads_nothing_heavy():
    code = "import sys, hwopt.measure, hwopt.predict; print([m for m in sys.argv[1:] if m in sys.modules])"
    heavy = ["torch", "pandas", "sklearn", "scipy", "pynvml"]
    out = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_network_that_does_no_work_has_no_costs_and_says_so(device):
    with pytest.raises(InvalidInput, match="no operator that costs anything"):
        device.predict(trace(nn.Flatten(), (3, 8, 8)))
