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


@pytest.mark.parametrize("name", ["seconds", "refusals", "repeats", "modes"])
def test_the_published_tables_are_those_of_the_shipped_rows(profile, name, tmp_path):
    _, make = gpu_measurement.TABLES[name]
    make(profile).to_csv(tmp_path / "now.csv", index=False, float_format="%.6g")
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "now.csv"), pd.read_csv(SHIPPED / f"{name}.csv"), rtol=1e-4
    )


def test_networks_whose_operators_were_measured_add_up_to_their_time(profile):
    table = gpu_measurement.additivity(profile).set_index("network")
    nin = table.loc["nin-b128"]
    assert (nin["n_layers"], nin["n_measured"]) == (28, 20)
    assert nin["measured_sum_s"] == pytest.approx(3331e-6, rel=1e-3)  # added up by hand elsewhere
    whole = table[table["n_measured"] == table["n_layers"]]
    assert len(whole) >= 4 and (whole["predicted_rest_s"] == 0).all()
    assert whole["ratio"].between(0.95, 1.05).all()
