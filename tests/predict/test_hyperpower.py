"""HyperPower: costs linear in the structural hyperparameters, fitted on profiled configs of a space."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from skopt.space import Categorical, Integer, Real

from hwopt import load_device
from hwopt.errors import InvalidInput, UnknownName
from hwopt.measure.sampling.networks import choose_networks
from hwopt.predict.device import Device
from hwopt.predict.hyperpower import HyperPower, encode, fit_linear
from hwopt.space.search_space import SearchSpace
from tests.profile.profiles import write_profile

SPACE = SearchSpace(
    [
        Integer(1, 3, name="n_fc"),
        Integer(16, 64, name="features"),
        Categorical(["max", "avg"], name="pool"),
        Integer(50, 200, name="fc2_units"),
        Real(1e-3, 1e-1, name="learning_rate"),
    ],
    structural=["n_fc", "features", "pool", "fc2_units"],
    active={"fc2_units": lambda c: c["n_fc"] > 1},
)


def law(config):
    return 1 + 0.02 * config["features"] + 0.3 * (config["pool"] == "avg") + 0.01 * config.get("fc2_units", 0)


@pytest.fixture
def profile(tmp_path):
    """Write a profile of the law with networks of the space; `change` edits networks.csv."""

    def write(n=80, noise=0.02, change=lambda table: table):
        folder, rng = write_profile(tmp_path / "law", n_layers=40, n_networks=2), np.random.default_rng(1)
        configs = SPACE.sample(n, rng)
        factors = np.exp(noise * rng.standard_normal((2, n)))
        cycle = ("fit", "calibrate", "calibrate", "test")
        table = pd.DataFrame(
            {
                "network": [f"config-{i}-b4" for i in range(n)],
                "source": "space",
                "split": [cycle[i % 4] for i in range(n)],
                "batch": 4,
                "dtype": "float32",
                "mode": "eager",
                "time_s": [1e-3 * law(c) for c in configs] * factors[0],
                "power_w": [20 + 10 * law(c) for c in configs] * factors[1],
                "config": [json.dumps(c) for c in configs],
            }
        )
        change(table).to_csv(folder / "networks.csv", index=False)
        return load_device(folder)

    return write


def test_the_law_is_found_and_unseen_configs_are_predicted_within_the_noise(profile):
    costs = profile().cost_model(SPACE, batch_size=4, method="hyperpower")
    assert isinstance(costs, HyperPower) and costs.metrics == ("time_s", "power_w", "energy_j")
    configs = SPACE.sample(200, np.random.default_rng(9))
    priced = costs(configs)
    assert priced["energy_j"] == pytest.approx(priced["power_w"] * priced["time_s"])
    error = priced["time_s"] / [1e-3 * law(c) for c in configs] - 1
    assert np.sqrt(np.mean(error**2)) < 0.03
    assert costs.models["time_s"].rmspe < 0.07 and costs.models["power_w"].rmspe < 0.07
    assert costs.models["time_s"].weights[1] == pytest.approx(2e-5, rel=0.15)  # of a feature
    for metric in ("time_s", "power_w", "energy_j"):
        assert priced.residuals[metric].shape == (200, 80)
        assert priced.n_calibration(metric) == (80, 78.0)  # two pairs are alike
    assert any("time_s: linear in 5 columns, RMSPE" in line for line in costs.lines())


def test_bounds_cover_configs_that_no_fit_has_seen(profile):
    device = profile(n=400, noise=0.1)
    networks = device.profile.networks
    tested, measured = networks[networks.index % 4 == 0], networks[networks.index % 4 != 0]
    known = Device(replace(device.profile, networks=measured.reset_index(drop=True)))
    costs = known.cost_model(SPACE, batch_size=4, method="hyperpower")
    priced = costs([json.loads(text) for text in tested["config"]])
    for metric in ("time_s", "energy_j"):
        assert np.mean(tested[metric] <= priced.upper(metric, 0.9)) == pytest.approx(0.9, abs=0.07)


def test_networks_alike_in_their_structure_are_one_group_and_left_out_together(profile):
    twice = profile(n=40, change=lambda t: pd.concat([t, t.assign(network=t["network"] + "-again")]))
    costs = twice.cost_model(SPACE, batch_size=4, method="hyperpower")
    n, n_groups = costs(SPACE.sample(3, np.random.default_rng(0))).n_calibration("time_s")
    assert n == 80 and 38 <= n_groups <= 40
    first, again = np.split(costs._fold["time_s"], 2)
    assert (first == again).all()


def test_choices_are_one_hot_and_what_is_inactive_is_zero():
    configs = [
        {"n_fc": 1, "features": 20, "pool": "avg", "learning_rate": 0.1},
        {"n_fc": 2, "features": 30, "pool": "max", "fc2_units": 60, "learning_rate": 0.1},
    ]
    assert encode(SPACE, configs).tolist() == [[1, 20, 0, 1, 0], [2, 30, 1, 0, 60]]
    assert encode(SPACE, []).shape == (0, 5)


def test_a_linear_law_is_exact_and_a_constant_column_has_no_weight():
    Z = np.column_stack([np.arange(20.0), np.full(20, 7.0)])
    model = fit_linear(Z, 3 + 2 * Z[:, 0])
    assert model.weights == pytest.approx([2, 0], rel=1e-3) and model.intercept == pytest.approx(3, rel=1e-2)
    assert model.rmspe < 1e-3
    assert (model.predict(-1e3 * Z[1:]) == 1.5).all()  # never below half of the least that was measured


def test_a_profile_keeps_the_configs_of_the_space_that_it_was_measured_for():
    space = SearchSpace(
        SPACE.dimensions, build=lambda config: None, input_shape=(1, 8, 8), active=SPACE.active
    )
    candidates = choose_networks(12, np.random.default_rng(0), space, (4,))
    own = [candidate for candidate in candidates if candidate.source == "space"]
    assert len(own) == 12
    for candidate in own:
        assert space.validate(json.loads(candidate.config)) == candidate.build.args[0]
    assert {candidate.config for candidate in candidates if candidate.source != "space"} <= {""}


@pytest.mark.parametrize(
    ("change", "n"),
    [
        (lambda t: t.drop(columns="config"), 0),
        (lambda t: t.assign(config=""), 0),
        (lambda t: t.assign(config=t["config"].where(t.index < 5, '{"features": 20}')), 5),
        (lambda t: t.assign(config=t["config"].where(t.index < 5, '["features", 20]')), 5),
        (lambda t: t.assign(config=t["config"].where(t.index < 5, "[" * 9000)), 5),
        (lambda t: t.assign(config=t["config"].where(t.index < 5, '{"features": NaN')), 5),
        (lambda t: t.assign(config=t["config"].where(t.index < 5, "__import__('os')")), 5),
        (lambda t: t.assign(source="random"), 0),
        (lambda t: t.assign(batch=8), 0),
    ],
)
def test_without_networks_of_the_space_it_says_what_to_measure(profile, change, n):
    device = profile(change=change)
    text = f"has {n} measured networks of this space at batch size 4 in float32.*hwopt profile --space"
    with pytest.raises(InvalidInput, match=text):
        device.cost_model(SPACE, batch_size=4, method="hyperpower")


def test_networks_of_another_space_are_left_out_and_said(profile):
    other = json.dumps({"width": 3})
    device = profile(change=lambda t: t.assign(config=t["config"].where(t.index % 8 != 0, other)))
    costs = device.cost_model(SPACE, batch_size=4, method="hyperpower")
    assert "10 networks of another space are left out" in costs.notes[0] and "width" in costs.notes[0]


def test_a_metric_with_too_few_figures_is_absent_and_said(profile):
    device = profile(change=lambda t: t.assign(power_w=t["power_w"].where(t.index < 9)))
    costs = device.cost_model(SPACE, batch_size=4, method="hyperpower")
    assert set(costs([])) == {"time_s"} and "power_w: 9 networks to fit on, fewer than 10" in costs.notes


def test_it_has_no_layer_form(profile):
    device = profile()
    with pytest.raises(UnknownName, match=r"not layers; .*.*device.cost_model\(space, method='hyperpower'\)"):
        device.model("hyperpower")
