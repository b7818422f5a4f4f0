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


def test_a_network_whose_operators_were_all_measured_adds_up_without_a_prediction(profile):
    (row,) = gpu_measurement.additivity(profile).to_dict("records")
    assert (row["network"], row["n_layers"], row["n_measured"]) == ("nin-b128", 28, 20)
    assert row["measured_sum_s"] == pytest.approx(3331e-6, rel=1e-3)  # added up by hand elsewhere
