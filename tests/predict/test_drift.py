"""A drift that is put in is found, none where there is none; a prediction for a shape knows no position."""

import numpy as np
import pytest

from hwopt.errors import InvalidInput
from hwopt.predict import cross_validate, load_device
from hwopt.predict.validation.cross_validation import _folds
from hwopt.predict.validation.measurement_drift import Drift, find_drift
from tests.profile.profiles import CEILINGS, layer_rows

N = 600
ROWS = layer_rows(N, np.random.default_rng(0), noise=0.03).reset_index(drop=True)
POSITION = np.arange(N, dtype=float)
MEDIAN_S = float(ROWS["time_s"].median())
DELAY_S = MEDIAN_S * (POSITION / N) ** 2  # a curve: at the end, a median layer takes twice its time
DRIFTING = ROWS.assign(time_s=ROWS["time_s"] + DELAY_S)


def errors_of(rows, **options):
    table = cross_validate(rows, folds=2, ceilings=CEILINGS, **options)
    own = table[(table["kind"] == "all") & (table["metric"] == "time_s")].set_index("fold_kind")["mape"]
    return own["out_of_fold"], table.attrs["notes"]


def test_a_delay_that_grows_along_a_curve_is_found():
    drift = find_drift(DRIFTING, POSITION, CEILINGS)
    assert drift is not None
    assert np.abs(drift.delay_s(POSITION) - DELAY_S).mean() < 0.05 * MEDIAN_S
    clean = drift.without(DRIFTING["time_s"].to_numpy(), POSITION)
    before = np.median(np.abs(DRIFTING["time_s"] / ROWS["time_s"] - 1))
    assert np.median(np.abs(clean / ROWS["time_s"] - 1)) < before / 4


def test_a_process_that_became_faster_is_found_and_no_delay_is_negative():
    faster = ROWS.assign(time_s=ROWS["time_s"] + DELAY_S[::-1])
    drift = find_drift(faster, POSITION, CEILINGS)
    assert drift is not None and drift.delays_s.min() == 0
    assert drift.delays_s[0] > 0.8 * MEDIAN_S > 0.2 * MEDIAN_S > drift.delays_s[-1]


@pytest.mark.parametrize("seed", range(5))
def test_no_drift_is_found_in_rows_without_one_in_any_order(seed):
    order = np.random.default_rng(seed).permutation(N).astype(float)
    assert find_drift(ROWS, order, CEILINGS) is None
    assert find_drift(DRIFTING, order, CEILINGS) is None  # the delay is there, but not with this order


def test_no_drift_is_found_in_rows_that_stand_sorted_by_shape():
    kinds = ROWS[ROWS["kind"] == "conv2d"]
    rows = kinds.assign(time_s=1e-4 * (kinds["flops"] / kinds["flops"].median()) ** 0.5)  # off the roofline
    ordered = rows.sort_values("flops").reset_index(drop=True)
    assert len(ordered) >= 200
    assert find_drift(ordered, np.arange(len(ordered), dtype=float), CEILINGS) is None


def test_no_drift_is_found_in_the_shipped_profile():
    profile = load_device("amd-epyc").profile
    rows = profile.measured_layers
    assert find_drift(rows, np.arange(len(rows), dtype=float), profile.ceilings) is None


def test_cross_validation_takes_a_drift_out_and_says_so():
    error, notes = errors_of(DRIFTING)
    assert len(notes) == 1 and "law: times drift with the rows' order, by a delay of up to" in notes[0]
    order = np.random.default_rng(1).permutation(N)
    hidden, no_notes = errors_of(DRIFTING.iloc[order])  # the same rows, their order lost
    assert no_notes == [] and error < 0.9 * hidden
    assert errors_of(ROWS)[1] == []


def test_where_tested_rows_stand_changes_no_prediction(monkeypatch):
    predicted = []

    def figures(device, rows, fold_kind, values):
        if fold_kind == "out_of_fold":
            predicted.append(dict(zip(rows["number"], values["time_s"], strict=True)))
        return [{"device": device}]

    monkeypatch.setattr("hwopt.predict.validation.cross_validation._figures", figures)
    rows_in_order = DRIFTING.assign(number=POSITION)
    fold = _folds(DRIFTING, 2, 0)
    tested = np.flatnonzero(fold == 1)
    moved = np.arange(N)
    moved[tested] = np.random.default_rng(2).permutation(tested)
    monkeypatch.setattr("hwopt.predict.validation.cross_validation._folds", lambda rows, folds, seed: fold)
    for rows in (rows_in_order, rows_in_order.iloc[moved]):
        cross_validate(rows, folds=2, ceilings=CEILINGS)
    before, after = predicted
    assert [before[one] for one in tested] == pytest.approx([after[one] for one in tested], rel=1e-9)


def test_the_typical_delay_errs_least_of_all_constants():
    drift = find_drift(DRIFTING, POSITION, CEILINGS)
    assert drift is not None
    for clean_s in (0.1 * MEDIAN_S, MEDIAN_S, 100 * MEDIAN_S):
        true_s = clean_s + drift.known_s
        candidates = np.linspace(0, drift.known_s.max(), 400)
        errors = np.abs((clean_s + candidates[:, None]) / true_s - 1).mean(axis=1)
        own = float(drift.typical_delay_s(np.array([clean_s]))[0])
        assert np.abs((clean_s + own) / true_s - 1).mean() <= errors.min() * (1 + 1e-6)


def test_taking_a_drift_out_leaves_a_share_of_every_time():
    drift = Drift(np.array([0.0, 10.0]), np.array([0.0, 10.0]), np.linspace(0, 10, 201))
    assert drift.without(np.array([1.0, 1.0]), np.array([0.0, 10.0])).tolist() == [1.0, 0.3]


@pytest.mark.parametrize("n, position", [(150, np.arange(150.0)), (600, np.zeros(600))])
def test_too_few_rows_or_one_position_is_an_error_or_no_drift(n, position):
    with pytest.raises(InvalidInput, match="drift needs 200 rows, in their order"):
        Drift.fit(ROWS.head(n), position, CEILINGS)
    assert find_drift(ROWS.head(n), position, CEILINGS) is None
