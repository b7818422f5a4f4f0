"""A profile with few rows and a prior: errors fall, other kinds of device are refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwopt.errors import InvalidInput, UnknownName
from hwopt.measure.campaign_folder import AUTO, keep_prior
from hwopt.predict import load_device
from hwopt.predict.gpu.facts import GpuFacts
from hwopt.predict.gpu.model import GpuMethod
from hwopt.predict.gpu.parameters import PLACE
from hwopt.predict.layer_aggregation import NetworkModel, SummedLayers, fit_network_model
from hwopt.predict.layer_models.hybrid import Hybrid
from hwopt.predict.layer_models.interface import LayerPrediction
from hwopt.predict.layer_models.registry import make_model
from hwopt.predict.measured_networks import MeasuredNetworks
from hwopt.predict.network_table import NetworkTable
from hwopt.predict.prior import default_prior
from tests.profile.profiles import CEILINGS, layer_rows, write_profile


def error(model, rows):
    return float(np.abs(model.predict(rows).values["time_s"] / rows["time_s"] - 1).mean())


def law_of(rows, factor):
    """A device whose times bend by channels, as no roofline does."""
    return rows.assign(time_s=factor * rows["time_s"] * (1 + rows["in_channels"] % 16 / 16))


PRIOR = Hybrid().fit(law_of(layer_rows(500, np.random.default_rng(0), 0.02), 1.0), CEILINGS)
ROWS = law_of(layer_rows(400, np.random.default_rng(1), 0.02), 1.7)
TEST = ROWS.iloc[200:]


@pytest.mark.parametrize("n", [5, 20, 60])
def test_few_rows_with_a_prior_err_less_than_alone(n):
    few = ROWS.head(n)
    assert error(Hybrid(PRIOR).fit(few, CEILINGS), TEST) < error(
        make_model("hybrid").fit(few, CEILINGS), TEST
    )
    if n >= 20:
        assert error(Hybrid(PRIOR).fit(few, CEILINGS), TEST) < 0.1


def test_a_prior_that_tells_nothing_is_not_used():
    rng = np.random.default_rng(2)
    nonsense = Hybrid().fit(ROWS.assign(time_s=np.exp(rng.uniform(-14, -4, len(ROWS)))), CEILINGS)
    own = error(make_model("hybrid").fit(ROWS.head(200), CEILINGS), TEST)
    assert error(Hybrid(nonsense).fit(ROWS.head(200), CEILINGS), TEST) < 1.2 * own


def test_a_profile_names_its_prior_or_the_caller_does(tmp_path):
    write_profile(tmp_path / "older", n_layers=200, n_networks=12)
    folder = write_profile(tmp_path / "new", n_layers=30, n_networks=6, seed=1)
    model = load_device(folder, prior=tmp_path / "older").model()
    assert "30 measured layers: profile 'law' serves as a prior of the predictions" in model.notes
    by_call = model.predict_layers(TEST).values["time_s"]
    info = json.loads((folder / "device.json").read_text())
    (folder / "device.json").write_text(json.dumps({**info, "prior": str(tmp_path / "older")}))
    by_file = load_device(folder).model().predict_layers(TEST).values["time_s"]
    assert (by_call == by_file).all()


def test_a_prior_of_another_kind_or_none_at_all_is_an_error(tmp_path):
    folder = write_profile(tmp_path / "new", n_layers=30, n_networks=6)
    with pytest.raises(
        InvalidInput, match="'nvidia-h200' is of a device of kind 'gpu', 'law' of 'cpu'; .*same kind"
    ):
        load_device(folder, prior="nvidia-h200")
    with pytest.raises(UnknownName, match="no device profile 'nothing'; shipped"):
        load_device(folder, prior="nothing")
    with pytest.raises(InvalidInput, match="'law' is its own prior"):
        load_device(folder, prior=folder)


PROFILES = {name: load_device(name).profile for name in ("amd-epyc", "nvidia-h200")}


def few_of(name, n, **info):
    """A shipped profile's first layers, in another folder."""
    profile = PROFILES[name]
    return replace(
        profile, folder=Path("other"), layers=profile.layers.head(n), info={**profile.info, **info}
    )


def test_a_profile_of_few_rows_starts_from_the_shipped_one_of_its_kind_and_precision():
    assert default_prior(few_of("amd-epyc", 100)) == "amd-epyc"
    assert default_prior(few_of("nvidia-h200", 100)) == "nvidia-h200"
    for none in (
        PROFILES["nvidia-h200"],  # it is the shipped one itself
        few_of("amd-epyc", 2000),
        few_of("amd-epyc", 0),
        few_of("nvidia-h200", 100, is_simulated=True),
        few_of("nvidia-h200", 100, settings={"precision": "ieee"}),
        few_of("nvidia-h200", 100, hardware={"model": "NVIDIA H200"}),  # its multiprocessors are not known
    ):
        assert default_prior(none) is None


def test_the_prior_is_kept_in_the_file_until_there_are_enough_rows_or_another_is_named(tmp_path):
    folder = write_profile(tmp_path / "new", n_layers=30, n_networks=2)

    def kept():
        info = json.loads((folder / "device.json").read_text())
        return info.get("prior"), info.get("prior_chosen")

    assert keep_prior(folder, AUTO).info["prior"] == "amd-epyc" and kept() == ("amd-epyc", "auto")
    keep_prior(folder, "none")
    assert kept() == ("none", "asked for")
    keep_prior(folder, AUTO)  # an earlier run was told
    assert kept() == ("none", "asked for")
    assert load_device(folder).model().notes == load_device(folder, prior="none").model().notes
    with pytest.raises(InvalidInput, match="must be of the same kind"):
        keep_prior(folder, "nvidia-h200")
    assert kept() == ("none", "asked for")
    grown = write_profile(tmp_path / "grown", n_layers=620, n_networks=1)
    assert "prior" not in keep_prior(grown, AUTO).info


def test_coefficients_of_networks_shrink_to_those_of_the_prior():
    rows = layer_rows(12, np.random.default_rng(3))
    table = NetworkTable(rows.assign(live_bytes=0.0), np.repeat([0, 1, 2], 4), np.full(3, 1e6), 3)
    layers = SummedLayers(table, LayerPrediction({"time_s": rows["time_s"].to_numpy()}, np.zeros(12, bool)))
    prior, nothing = NetworkModel(0.8, 1.4, overhead=2.0, workspace=0.5), np.full(3, np.nan)
    measured = {metric: nothing for metric in ("time_s", "power_w", "memory_bytes")}
    model, notes = fit_network_model(layers, measured, 1e-6, prior)
    assert (model.matrix_scale, model.other_scale, model.overhead, model.workspace) == (0.8, 1.4, 2.0, 0.5)
    assert notes == ["fewer than 4 measured networks to fit on: layers are summed as on the prior"]
    doubled = 2 * replace(prior, launch_s=1e-6).totals(layers)["time_s"]
    one = measured | {"time_s": np.where(np.arange(3) == 0, doubled, np.nan)}
    between = fit_network_model(layers, one, 1e-6, prior)[0].totals(layers)["time_s"][0]
    assert doubled[0] / 2 < between < doubled[0]


def test_a_gpu_starts_from_another_scaled_by_launch_floor_and_clock():
    profile = PROFILES["nvidia-h200"]
    old, networks = GpuFacts.of(profile), MeasuredNetworks.of(profile)
    slower = replace(old.ceilings, launch_s=2 * old.ceilings.launch_s)
    new = replace(old, ceilings=slower, clock_hz=old.clock_hz / 1.5)
    fitted = GpuMethod(profile.measured_layers, old, networks)
    prior, everything = fitted.as_prior(new), np.ones(len(networks), dtype=bool)
    factors = np.exp(prior.mean - fitted.fit(everything, "graph")[0].theta)
    assert factors[PLACE["c_matrix"]] == pytest.approx(2)
    assert factors[PLACE["tau_copies"]] == pytest.approx(1.5)
    assert factors[PLACE["u_copies"]] == factors[PLACE["e_pool"]] == factors[PLACE["host"]] == 1
    nothing = MeasuredNetworks.of(replace(profile, networks=profile.networks.head(0)))
    few = profile.measured_layers.query("power_w.notna()").head(4)
    method = GpuMethod(few, new, nothing, prior)
    alone = GpuMethod(few, new, nothing)
    kernels, time_s = fitted._rows, fitted._row_s
    power_w = profile.measured_layers["power_w"].to_numpy()
    errors = [
        np.nanmean(np.abs(one._power.predict(kernels, time_s) / power_w - 1)) for one in (method, alone)
    ]
    assert errors[0] < 0.8 * errors[1]
