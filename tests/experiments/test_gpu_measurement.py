"""Tables of a GPU campaign from the rows of its profile."""

from pathlib import Path

import pandas as pd
import pytest

from experiments.campaigns import gpu_measurement
from hwopt import load_device

SHIPPED = Path(gpu_measurement.__file__).parents[2] / "results" / "measurement" / "nvidia-h200"


@pytest.fixture(scope="module")
def profile():
    return load_device("nvidia-h200").profile


@pytest.fixture(scope="module")
def beside():
    return gpu_measurement.beside_the_profile(SHIPPED)


def assert_published(name, table, tmp_path):
    table.to_csv(tmp_path / "now.csv", index=False, float_format="%.6g")
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "now.csv"), pd.read_csv(SHIPPED / f"{name}.csv"), rtol=1e-4
    )


@pytest.mark.parametrize("name", ["refusals", "repeats", "modes"])
def test_the_published_tables_are_those_of_the_shipped_rows(profile, name, tmp_path):
    _, make = gpu_measurement.TABLES[name]
    assert_published(name, make(profile), tmp_path)


def test_seconds_a_row_are_those_between_rows_of_one_campaign(profile, beside, tmp_path):
    found = gpu_measurement.seconds_a_row(profile, list(beside.values()))
    assert_published("seconds", found, tmp_path)
    n_rows = sum(map(len, (profile.layers, profile.networks, profile.held_out, profile.repeats)))
    assert found["n"].sum() == n_rows + sum(map(len, beside.values())) - 2  # the first row of each campaign
    assert (found["quarter"] >= 0).all() and set(found["campaign"]) == {1, 2}


def test_networks_measured_a_campaign_later_took_the_same_time(profile, beside, tmp_path):
    found = gpu_measurement.measured_again(profile, beside["neuralpower"])
    assert_published("again", found, tmp_path)
    assert len(found) == 10 and (found["time_s"] - 1).abs().max() < 0.02
    assert (found["power_w"].dropna() - 1).abs().max() < 0.05


def test_networks_whose_operators_were_measured_add_up_to_their_time(profile):
    table = gpu_measurement.additivity(profile).set_index("network")
    nin = table.loc["nin-b128"]
    assert (nin["n_layers"], nin["n_measured"]) == (28, 20)
    assert nin["measured_sum_s"] == pytest.approx(3331e-6, rel=1e-3)  # added up by hand elsewhere
    whole = table[table["n_measured"] == table["n_layers"]]
    assert len(whole) >= 4 and (whole["predicted_rest_s"] == 0).all()
    assert whole["ratio"].between(0.95, 1.05).all()
