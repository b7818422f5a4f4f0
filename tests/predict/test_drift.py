"""A drift that is put in is found, and none is found where there is none."""

import numpy as np
import pytest

from hwopt.errors import InvalidInput
from hwopt.predict.drift import drift_rate, without_drift
from tests.device.profiles import CEILINGS, layer_rows

ROWS = layer_rows(600, np.random.default_rng(0), noise=0.03)
POSITION = np.random.default_rng(1).permutation(600).astype(float)
RATE = float(ROWS["time_s"].median()) / 600  # at the end, a median layer takes twice its time


def test_a_delay_that_grows_with_the_position_is_found():
    drifting = ROWS.assign(time_s=ROWS["time_s"] + RATE * POSITION)
    rate = drift_rate(drifting, POSITION, CEILINGS)
    assert rate == pytest.approx(RATE, rel=0.15)
    clean = without_drift(drifting["time_s"].to_numpy(), POSITION, rate)
    before = np.median(np.abs(drifting["time_s"] / ROWS["time_s"] - 1))
    assert np.median(np.abs(clean / ROWS["time_s"] - 1)) < before / 4


def test_no_drift_is_found_where_there_is_none():
    assert abs(drift_rate(ROWS, POSITION, CEILINGS)) < 0.1 * RATE


def test_taking_a_drift_out_leaves_a_share_of_every_time():
    clean = without_drift(np.array([1.0, 1.0]), np.array([0.0, 10.0]), 1.0)
    assert clean.tolist() == [1.0, 0.3]


@pytest.mark.parametrize("n, position", [(5, np.arange(5.0)), (600, np.zeros(600))])
def test_too_few_rows_or_one_position_is_an_error(n, position):
    with pytest.raises(InvalidInput, match="drift needs 20 rows, in their order"):
        drift_rate(ROWS.head(n), position, CEILINGS)
