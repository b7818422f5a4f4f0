"""A profile with few rows and a prior: errors fall, other kinds of device are refused."""

import json

import numpy as np
import pytest

from hwopt.errors import InvalidInput, UnknownName
from hwopt.predict import load_device
from hwopt.predict.layer_models.hybrid import Hybrid
from hwopt.predict.layer_models.registry import make_model
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
    by_call = load_device(folder, prior=tmp_path / "older").model().predict_layers(TEST).values["time_s"]
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
