"""Layer models on rows from a known law, against independent oracles, and where rows are missing."""

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from hwopt.errors import InvalidInput, UnknownName
from hwopt.predict import model_names, register_model
from hwopt.predict.layer_models.hybrid import tile_features
from hwopt.predict.layer_models.interface import LayerPrediction
from hwopt.predict.layer_models.lasso import fit_lasso
from hwopt.predict.layer_models.registry import make_model
from hwopt.predict.validation.error_metrics import error_figures, kendall_tau
from hwopt.profile.roofline import Ceilings, Roofline, bound_s
from tests.profile.profiles import CEILINGS, layer_rows

METHODS = ("hybrid", "neuralpower", "paleo")
TRAIN = layer_rows(400, np.random.default_rng(0), noise=0.02, has_power=True)
TEST = layer_rows(200, np.random.default_rng(1), has_power=True)
FITTED = {method: make_model(method).fit(TRAIN, CEILINGS) for method in METHODS}


def error(method, metric):
    predicted = FITTED[method].predict(TEST).values[metric]
    return error_figures(TEST[metric], predicted)["mape"]


def test_models_recover_a_law_in_the_order_of_their_means():
    assert error("hybrid", "time_s") < 0.06
    assert error("hybrid", "time_s") < error("neuralpower", "time_s") < error("paleo", "time_s")
    assert error("neuralpower", "time_s") < 0.35
    assert error("hybrid", "power_w") < 0.05 and error("neuralpower", "power_w") < 0.12


def test_paleo_is_exact_where_its_own_law_holds():
    flops, moved = TRAIN["flops"], TRAIN[["input_bytes", "weight_bytes", "output_bytes"]].sum(axis=1)
    operations = flops + 2 * TRAIN["elementwise_ops"]
    rows = TRAIN.assign(time_s=(operations / CEILINGS.flops_per_s + moved / CEILINGS.bytes_per_s) / 0.6)
    paleo = make_model("paleo").fit(rows, CEILINGS)
    assert paleo.percent_of_peak == pytest.approx(0.6)
    assert paleo.predict(rows).values["time_s"] == pytest.approx(rows["time_s"].to_numpy())


@pytest.mark.parametrize("method", METHODS)
def test_no_time_is_zero_or_negative_however_far_from_the_rows(method):
    far = TEST.assign(batch=TEST["batch"] * 1000, flops=0, input_bytes=0, weight_bytes=0, output_bytes=4)
    for rows in (far, far.assign(flops=1e15, input_bytes=1e12)):
        assert (FITTED[method].predict(rows).values["time_s"] > 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_power_is_absent_where_no_row_has_it(method):
    rows = TRAIN.drop(columns=["power_w", "energy_j"])
    prediction = make_model(method).fit(rows, CEILINGS).predict(TEST)
    assert set(prediction.values) == {"time_s"}


def test_predicted_power_stays_within_what_was_measured():
    power = FITTED["hybrid"].predict(TEST.assign(flops=1e14)).values["power_w"]
    assert TRAIN["power_w"].min() <= power.min() and power.max() <= TRAIN["power_w"].max()


@pytest.mark.parametrize("method", ["hybrid", "neuralpower"])
def test_kinds_with_few_rows_or_none_fall_back_and_say_so(method):
    rare = TRAIN[TRAIN["kind"] == "max_pool2d"].head(3)
    model = make_model(method).fit(pd.concat([TRAIN[TRAIN["kind"] != "max_pool2d"], rare]), CEILINGS)
    assert [note for note in model.notes if note.startswith("max_pool2d: 3 measured rows, fewer than 8")]
    rows = TEST.assign(kind=np.where(TEST["kind"] == "relu", "unheard_of", TEST["kind"]))
    prediction = model.predict(rows)
    assert (prediction.is_fallback == rows["kind"].isin(["max_pool2d", "unheard_of"])).all()
    assert error_figures(TEST["time_s"], prediction.values["time_s"])["median_ape"] < 0.4


@pytest.mark.parametrize("n_threads", [1, 2, 4])
@pytest.mark.parametrize("method", METHODS)
def test_the_same_rows_give_the_same_predictions_on_any_number_of_threads(method, n_threads):
    with threadpool_limits(n_threads):
        again = make_model(method).fit(TRAIN, CEILINGS).predict(TEST).values
        for metric, values in FITTED[method].predict(TEST).values.items():
            assert (again[metric] == values).all()


@pytest.mark.parametrize("method", METHODS)
def test_fitting_on_nothing_says_what_to_do(method):
    with pytest.raises(InvalidInput, match="measure the device first"):
        make_model(method).fit(TRAIN.head(0), CEILINGS)


def test_the_roofline_is_scaled_to_the_median_ratio():
    roofline = Roofline(CEILINGS).fit(layer_rows(100, np.random.default_rng(2)))
    assert roofline.scale == pytest.approx(2.5)
    assert (roofline.time_s(TEST) > bound_s(TEST, CEILINGS)).all()


def test_an_unknown_method_names_the_nearest():
    with pytest.raises(UnknownName, match="no cost model 'neural_power'; did you mean neuralpower"):
        make_model("neural_power")
    with pytest.raises(UnknownName, match="'hyperpower' prices whole configs, not layers"):
        make_model("hyperpower")


def test_a_model_of_ones_own_is_known_by_its_name():
    class Constant:
        notes: list[str] = []

        def fit(self, rows: pd.DataFrame, ceilings: Ceilings) -> "Constant":
            return self

        def predict(self, rows: pd.DataFrame) -> LayerPrediction:
            return LayerPrediction({"time_s": np.ones(len(rows))}, np.zeros(len(rows), dtype=bool))

    register_model("constant", Constant)
    assert "constant" in model_names()
    assert make_model("constant").fit(TRAIN, CEILINGS).predict(TEST).values["time_s"].sum() == len(TEST)


def test_lasso_finds_the_few_features_that_matter():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 30)) * 10.0 ** rng.uniform(-6, 6, size=30)
    y = 5 + 3 * X[:, 4] / X[:, 4].std() - 2 * X[:, 17] / X[:, 17].std()
    polynomial = fit_lasso(X, y)
    assert np.corrcoef(polynomial.predict(X), y)[0, 1] > 0.999
    assert (
        np.abs(polynomial.coefficients)[[4, 17]].min()
        > 10 * np.delete(polynomial.coefficients, [4, 17]).max()
    )


def test_lasso_of_a_constant_is_the_constant():
    X = np.random.default_rng(0).standard_normal((20, 3))
    assert fit_lasso(X, np.full(20, 7.0)).predict(X) == pytest.approx(np.full(20, 7.0))


def test_error_figures_by_hand():
    figures = error_figures([1.0, 2.0, 4.0], [1.1, 1.8, 4.0])
    assert figures["mape"] == pytest.approx(0.2 / 3)
    assert figures["rmspe"] == pytest.approx(np.sqrt(0.02 / 3))
    assert (figures["median_ape"], figures["within_5pct"]) == (pytest.approx(0.1), pytest.approx(1 / 3))
    assert figures["kendall_tau"] == 1.0
    assert figures["bias"] == pytest.approx((1.1 * 0.9) ** (1 / 3) - 1)
    assert error_figures([], [])["n"] == 0 and np.isnan(error_figures([], [])["mape"])
    assert np.isnan(kendall_tau(np.ones(3), np.arange(3.0)))


def test_tile_features_of_a_convolution_by_hand():
    row = (
        TRAIN[TRAIN["kind"] == "conv2d"]
        .head(1)
        .assign(batch=2, in_channels=24, out_channels=48, out_h=5, out_w=8, groups=1)
    )  # a matrix product of 80 rows and 48 columns
    vain = np.log2([64 / 48, 64 / 48, 128 / 48, 32 / 24, 128 / 80])
    squares = np.log2([6 / 5 * 1, 8 / 5 * 1, 6 / 5 * 12 / 8])
    blocks = np.log2([1 * 1, 2 * 1, 1 * 2, 1 * 2])  # 128 x 128, 64 x 64, 128 x 32; Winograd's 8 of 32 tiles
    expected = [*vain, *squares, *blocks, 1, 1, 1, 1]
    assert tile_features(row)[0] == pytest.approx(expected)
