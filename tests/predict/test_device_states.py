"""Two states of a device: the factor between them is found if asked for, taken out, and said."""

import numpy as np
import pytest

from hwopt.errors import InvalidInput
from hwopt.predict import cross_validate
from hwopt.predict.validation.device_states import find_states
from tests.profile.profiles import CEILINGS, layer_rows

N = 600
ROWS = layer_rows(N, np.random.default_rng(0), noise=0.03).reset_index(drop=True)
POSITION = np.arange(N, dtype=float)
IS_SLOW = (POSITION >= 250) & (POSITION < 450)  # capped for a while
CAPPED = ROWS.assign(time_s=ROWS["time_s"] * np.where(IS_SLOW, 1.5, 1.0))


def out_of_fold(rows, **options):
    table = cross_validate(rows, folds=2, ceilings=CEILINGS, **options)
    own = table[(table["kind"] == "all") & (table["metric"] == "time_s")].set_index("fold_kind")
    return own["mape"]["out_of_fold"], table.attrs["notes"]


def test_the_factor_of_a_capped_device_is_found_and_taken_out():
    states = find_states(CAPPED, POSITION, CEILINGS)
    assert states is not None
    assert np.abs(states.factor(POSITION) / np.where(IS_SLOW, 1.5, 1.0) - 1).mean() < 0.04
    clean_s = states.without(CAPPED["time_s"].to_numpy(), POSITION)
    assert np.median(np.abs(clean_s / ROWS["time_s"] - 1)) < 0.04
    assert states.expected(np.ones(1))[0] == pytest.approx(1.0, abs=0.05)  # two thirds of the rows are fast


@pytest.mark.parametrize("seed", range(3))
def test_no_state_is_found_in_rows_without_one_in_any_order(seed):
    order = np.random.default_rng(seed).permutation(N).astype(float)
    assert find_states(ROWS, order, CEILINGS) is None
    assert find_states(CAPPED, order, CEILINGS) is None


def test_a_factor_is_taken_out_where_it_is_asked_for_and_said():
    by_factor, notes = out_of_fold(CAPPED, drift="factor")
    as_it_is, none = out_of_fold(CAPPED, drift="none")
    assert none == [] and len(notes) == 1
    assert "law: times change with the rows' order by a factor of up to 1.5" in notes[0]
    assert "include a typical factor" in notes[0]
    assert by_factor < as_it_is


def test_an_unknown_drift_names_the_nearest():
    with pytest.raises(InvalidInput, match="unknown drift 'delays'; did you mean delay"):
        cross_validate(ROWS, drift="delays")
