"""NeuralPower's five networks are predicted by a model that saw none of them nor their families."""

from dataclasses import replace

import numpy as np
import pytest

from hwopt import load_device
from hwopt.predict.device import Device
from hwopt.predict.uncertainty.families import family
from hwopt.predict.validation.paper_networks import ARCHITECTURES, paper_networks
from hwopt.report.validation import paper_tables


@pytest.fixture(scope="module")
def device():
    return load_device("nvidia-h200")


@pytest.fixture(scope="module")
def rows(device):
    return paper_networks(device, ("hybrid",), ("graph",))


def test_all_five_are_there_with_every_metric(rows):
    assert set(rows["network"]) == {
        "vgg16-b64", "alexnet-b128", "nin-b128", "overfeat-b128", "cifar10_6conv-b128"
    }  # fmt: skip
    assert set(rows["metric"]) == {"time_s", "power_w", "energy_j", "memory_bytes"} and len(rows) == 20
    assert ((rows["low"] < rows["hybrid"]) & (rows["hybrid"] < rows["high"])).mean() > 0.8
    errors = (rows["hybrid"] / rows["measured"] - 1).abs().groupby(rows["metric"]).mean()
    assert errors["time_s"] < 0.2 and errors["power_w"] < 0.06 and errors["memory_bytes"] < 0.02


def test_no_figure_of_their_families_is_used(device, rows):
    """Other figures of VGG-11, of the same family, and of the five themselves change no prediction."""
    networks = device.profile.networks.copy()
    related = networks["network"].map(family).isin({family(name) for name in ARCHITECTURES})
    assert "vgg11-b8" in set(networks.loc[related, "network"])
    networks.loc[related, ["time_s", "energy_j"]] *= 3.0
    other = paper_networks(Device(replace(device.profile, networks=networks)), ("hybrid",), ("graph",))
    assert other["hybrid"].to_numpy() == pytest.approx(rows["hybrid"].to_numpy())
    assert np.isclose(other["measured"], 3 * rows["measured"]).mean() == 0.5  # times and energies


def test_the_table_shows_errors_and_their_mean(rows):
    time, power, *_ = paper_tables("nvidia-h200", rows, ("hybrid",))
    assert str(time.title).startswith(
        "NeuralPower's networks on nvidia-h200, graph, fitted without their fam"
    )
    assert time.row_count == 6 and list(time.columns[0].cells)[-1] == "mean error"
    assert str(power.title).endswith("power")


def test_a_bound_that_too_few_families_allow_is_said_to_be_none(rows):
    one = rows.query("metric == 'power_w'").head(1)
    for low, high, expected in (
        (500.0, 650.0, "500 W to 650 W"),
        (0.0, 762.0, "at most 762 W"),
        (0.0, np.inf, "none"),
    ):
        (table,) = paper_tables("nvidia-h200", one.assign(low=low, high=high), ("hybrid",))
        assert next(iter(table.columns[-1].cells)) == expected


def test_a_profile_without_them_has_no_such_table(device):
    networks = device.profile.networks.query("source == 'random'").reset_index(drop=True)
    rows = paper_networks(Device(replace(device.profile, networks=networks)), ("hybrid",), ("graph",))
    assert len(rows) == 0 and paper_tables("nvidia-h200", rows, ("hybrid",)) == []
