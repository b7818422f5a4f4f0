"""Cross-validation splits by distinct layer and reports both what was seen and what was not."""

import numpy as np
import pandas as pd
import pytest

from hwopt.errors import InvalidInput, UnknownName
from hwopt.predict import cross_validate
from hwopt.predict.validation.cross_validation import _folds
from hwopt.predict.validation.error_metrics import FIGURES
from tests.profile.profiles import CEILINGS, layer_rows

ROWS = layer_rows(150, np.random.default_rng(0), noise=0.05, has_power=True)


def test_the_table_has_every_kind_metric_and_fold_kind_and_all_figures():
    table = cross_validate(ROWS, method="paleo", ceilings=CEILINGS)
    assert list(table.columns) == ["device", "kind", "metric", "fold_kind", *FIGURES]
    assert set(table["kind"]) == {"all", *ROWS["kind"]}
    assert set(table["metric"]) == {"time_s", "power_w", "energy_j"}
    counts = table[table["kind"] == "all"].groupby("fold_kind")["n"].unique()
    assert counts["in_sample"].tolist() == counts["out_of_fold"].tolist() == [150]


def test_trees_repeat_what_they_have_seen_and_err_on_what_they_have_not():
    table = cross_validate(ROWS, method="hybrid").set_index(["kind", "metric", "fold_kind"])["mape"]
    assert table["all", "time_s", "in_sample"] < 0.5 * table["all", "time_s", "out_of_fold"]
    assert table["all", "time_s", "out_of_fold"] < 0.25


def test_repeated_measurements_of_a_layer_stay_in_one_fold():
    rows = pd.concat([ROWS, ROWS.iloc[::-1]]).reset_index(drop=True)
    fold = _folds(rows, 5, seed=0)
    assert (fold[:150] == fold[:149:-1]).all()
    assert set(fold) == set(range(5))
    assert (fold != _folds(rows, 5, seed=1)).any()


def test_devices_are_fitted_apart():
    rows = pd.concat([ROWS, ROWS.assign(device="slow", time_s=10 * ROWS["time_s"])])
    table = cross_validate(rows, method="paleo").set_index(["device", "kind", "metric", "fold_kind"])["mape"]
    assert table["slow", "all", "time_s", "in_sample"] == pytest.approx(
        table["law", "all", "time_s", "in_sample"]
    )


def test_columns_that_follow_from_others_may_be_missing():
    rows = ROWS[
        ["kind", "batch", "in_channels", "in_h", "in_w", "out_channels", "kernel_h", "kernel_w", "time_s"]
    ]
    table = cross_validate(rows, method="paleo")
    assert set(table["metric"]) == {"time_s"} and set(table["device"]) == {"unknown"}


def test_a_kind_of_two_rows_falls_back_and_the_table_says_so():
    two = ROWS.head(2).assign(kind="sigmoid")
    table = cross_validate(pd.concat([ROWS, two]), ceilings=CEILINGS)
    assert table.attrs["notes"] == ["law, hybrid: sigmoid: 2 measured rows, fewer than 8: fallback"]
    assert table.set_index(["kind", "metric", "fold_kind"])["n"]["sigmoid", "time_s", "out_of_fold"] == 2
    assert cross_validate(ROWS, ceilings=CEILINGS).attrs["notes"] == []


def test_a_column_that_never_varies_is_no_error():
    constant = ROWS[ROWS["kind"] == ROWS["kind"].iloc[0]].assign(batch=4, in_h=8, in_w=8, out_h=8, out_w=8)
    for method in ("hybrid", "neuralpower", "paleo"):
        assert np.isfinite(cross_validate(constant, method, folds=3, ceilings=CEILINGS)["mape"]).all()


def test_what_cannot_be_validated_says_why():
    with pytest.raises(InvalidInput, match="folds = 1; cross-validation needs at least 2"):
        cross_validate(ROWS, folds=1)
    with pytest.raises(InvalidInput, match="3 distinct layers for 5 folds"):
        cross_validate(ROWS.head(3))
    with pytest.raises(InvalidInput, match="lack the column time_s"):
        cross_validate(ROWS.drop(columns="time_s"))
    with pytest.raises(UnknownName, match="prices whole configs, not layers"):
        cross_validate(ROWS, method="hyperpower")
