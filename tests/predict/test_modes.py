"""A GPU's networks as graphs and eager: where the host is slower than the device, the device waits."""

import numpy as np
import pytest

from hwopt.errors import InvalidInput
from hwopt.network import trace
from hwopt.predict.device import load_device
from hwopt.predict.device_model import DeviceModel
from hwopt.predict.layer_aggregation import NetworkModel
from tests.profile.profiles import write_profile

HOST_S = 0.02  # about what the law's networks take themselves


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    folder = write_profile(
        tmp_path_factory.mktemp("gpu") / "law", 250, 60, 0.01, has_power=True, host_s=HOST_S
    )
    return load_device(folder)


def test_the_time_of_a_hosts_call_is_found(device):
    eager, graph = (device.model("paleo", mode).full for mode in ("eager", "graph"))
    assert eager.host_s == pytest.approx(HOST_S, rel=0.1) and eager.idle_w == 20.0
    assert graph.host_s == 0.0 and graph.matrix_scale == eager.matrix_scale


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("metric", ["time_s", "power_w", "energy_j"])
def test_held_out_networks_are_predicted_in_both_modes(device, mode, metric):
    table = device.model("hybrid", mode).validation()
    row = table[(table["metric"] == metric) & (table["fold_kind"] == "out_of_group")].iloc[0]
    assert row["mape"] < 0.08 and row["n"] == row["n_groups"] == 60


def test_a_model_that_knows_no_host_errs_on_eager_networks(device, monkeypatch):
    monkeypatch.setattr("hwopt.predict.methods.with_host", lambda model, *rest: model)
    table = DeviceModel(device.profile, "hybrid", "eager", device.model("hybrid", "graph")).validation()
    row = table[(table["metric"] == "time_s") & (table["fold_kind"] == "out_of_group")].iloc[0]
    assert row["mape"] > 0.15


def test_layers_add_up_to_the_total_though_the_device_waits(device):
    from torch import nn

    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
    prediction = device.predict(trace(network, (3, 16, 16), 1), "paleo")
    assert prediction.total["time_s"] == pytest.approx(4 * HOST_S, rel=0.1)
    assert prediction.layers["time_s"].sum() == pytest.approx(prediction.total["time_s"])
    assert prediction.layers["energy_j"].sum() == pytest.approx(prediction.total["energy_j"])
    assert prediction.total["power_w"] == pytest.approx(20.0, rel=0.1)
    as_graph = device.predict(trace(network, (3, 16, 16), 1), "paleo", mode="graph")
    assert as_graph.total["time_s"] < 0.1 * prediction.total["time_s"]


def test_without_a_host_nothing_is_stretched():
    assert NetworkModel().host_s == 0.0


def test_a_mode_that_was_not_measured_is_refused(tmp_path):
    device = load_device(write_profile(tmp_path / "law", 40, 10))
    network = trace(__import__("torch").nn.ReLU(), (3, 4, 4), 1)
    with pytest.raises(InvalidInput, match="no networks measured as CUDA graphs; use 'eager'"):
        device.predict(network, "paleo", mode="graph")


def test_both_modes_share_one_fitted_layer_model(device):
    assert device.model("hybrid", "eager").method is device.model("hybrid", "graph").method
    assert np.isfinite(device.model("hybrid", "graph").residuals["time_s"]).all()
