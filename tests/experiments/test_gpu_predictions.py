"""Networks measured after a fit share no family with it, and published figures follow from the rows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.campaigns import gpu_predictions
from hwopt import load_device
from hwopt.predict.measured_networks import MeasuredNetworks
from hwopt.predict.uncertainty.families import family
from hwopt.profile.device_profile import read_networks

ROOT = Path(gpu_predictions.__file__).parents[2]
SHIPPED = ROOT / "results" / "measurement" / "nvidia-h200"


@pytest.fixture(scope="module")
def profile():
    return load_device("nvidia-h200").profile


def families(profile):
    return set(profile.networks["network"].map(family))


def test_the_first_rows_and_the_networks_to_predict_have_no_family_in_common(profile):
    first = gpu_predictions.first_campaign(profile)
    later = gpu_predictions.later_networks(profile, first)
    assert len(first.layers) == 162 and (first.networks["mode"] == "graph").sum() == 22
    assert len(later.networks) >= 130 and not families(first) & families(later)
    assert families(first) | families(later) == families(profile)


def test_networks_of_a_folder_are_predicted_by_rows_of_another(profile):
    fronts = gpu_predictions.networks_of(SHIPPED / "fronts", profile)
    assert len(fronts.layers) == len(profile.layers) and not families(fronts) & families(profile)
    networks = MeasuredNetworks.of(fronts)
    assert len(networks) == 20 and set(networks.figures) == {"graph", "eager"}


def test_a_linear_model_out_of_fold_is_exact_for_a_linear_law_and_does_not_see_what_it_predicts():
    Z = np.random.default_rng(0).uniform(1, 2, (40, 2))
    y = 3 + Z @ [1.0, 2.0]
    found = gpu_predictions.out_of_fold(Z, y)
    assert found == pytest.approx(y, rel=1e-2)
    alone = gpu_predictions.out_of_fold(Z, np.where(np.arange(40) == 7, 2 * y, y))
    assert alone[7] == pytest.approx(found[7], rel=1e-9)


@pytest.mark.parametrize("name", ["prospective", "present"])
def test_published_errors_are_those_of_the_published_predictions(name):
    found = gpu_predictions.errors(pd.read_csv(SHIPPED / f"{name}_predictions.csv"))
    published = pd.read_csv(SHIPPED / f"{name}.csv")
    pd.testing.assert_frame_equal(found.reset_index(drop=True), published, rtol=2e-3, atol=1e-3)
    shown = gpu_predictions.summary(published).set_index(["fit", "mode", "source"])
    own = published.query("fit == 'first' and mode == 'graph' and source == 'all' and metric == 'time_s'")
    cell = shown.loc[("first", "graph", "all"), "time_s"].split(" / ")
    assert [float(part) / 100 for part in cell] == pytest.approx(own["mape"].tolist()[:3], rel=5e-3)


def test_the_front_beside_what_was_measured_says_that_one_network_is_over_the_budget_of_memory():
    front = ROOT / "results" / "fashion_mnist_h200" / "front.csv"
    rows = read_networks(SHIPPED / "fronts" / "networks.csv")
    found = gpu_predictions.beside_front(front, rows)
    published = pd.read_csv(front.with_name("measured.csv"))
    pd.testing.assert_frame_equal(found, published, rtol=1e-4)
    assert len(found) == len(pd.read_csv(front))
    assert found.loc[found["memory_bytes_measured"] > 5e6, "trial"].tolist() == [32]
    assert (found["power_w_measured"] <= 250).all()
