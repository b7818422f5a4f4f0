"""Classes of rows: shared and own models without a jump between them, views chosen by rows left out."""

import numpy as np
import pytest

from hwopt.predict.layer_models.convolution_paths import ConvolutionPaths
from hwopt.predict.layer_models.hybrid import row_classes
from hwopt.predict.layer_models.pooled_residual import PooledResidual, View
from hwopt.predict.layer_models.registry import make_model
from hwopt.profile.derived_columns import complete
from hwopt.profile.roofline import Ceilings, flops_and_bytes, touched_share
from tests.profile.profiles import CEILINGS, layer_rows, timed

RNG = np.random.default_rng(0)
X = RNG.standard_normal((120, 4))
CLASSES = np.array(["common"] * 100 + ["rare"] * 20)
LEVELS = np.where(CLASSES == "rare", 1.0, 0.0)
Y = 0.5 * X[:, 0] + LEVELS


def conv_rows(**columns):
    """Complete rows of convolutions; scalars are repeated."""
    import pandas as pd

    plain = {"kind": "conv2d", "batch": 1, "in_channels": 32, "out_channels": 32, "in_h": 32, "in_w": 32}
    windows = {"kernel_h": 1, "kernel_w": 1, "stride_h": 1, "stride_w": 1, "groups": 1}
    n = max(len(values) if isinstance(values, list) else 1 for values in columns.values())
    return complete(pd.DataFrame({**plain, **windows, **columns}, index=range(n)))


def error_with(n_rare):
    rows = np.r_[0:100, 100 : 100 + n_rare]
    model = PooledResidual.fit([View.plain(X[rows])], Y[rows], CLASSES[rows])
    new = RNG.standard_normal((50, 4))
    found = model.predict([View.plain(new)], np.full(50, "rare"))
    return np.abs(found - 0.5 * new[:, 0] - 1.0).mean()


def test_a_class_with_few_rows_takes_what_the_others_know_and_its_own_level():
    errors = {n: error_with(n) for n in (2, 5, 6, 8, 20)}
    assert errors[5] < 0.25 and errors[20] < 0.1
    assert abs(errors[6] - errors[5]) < 0.15  # no jump where its own model begins


def test_a_class_that_no_fit_has_seen_is_predicted_by_what_is_shared():
    model = PooledResidual.fit([View.plain(X[:100])], Y[:100], np.array(["a", "b"])[np.arange(100) % 2])
    found = model.predict([View.plain(X[:100])], np.full(100, "c"))
    assert np.abs(found - Y[:100]).mean() < 0.1


def test_the_view_that_errs_least_on_rows_left_out_is_used_and_its_base_with_it():
    step = RNG.standard_normal(120) > 0
    noise = View.plain(np.hstack([X, RNG.standard_normal((120, 10))]))
    telling = View(X, 3.0 * step)
    model = PooledResidual.fit([View.plain(X), noise, telling], Y + 3.0 * step, CLASSES)
    assert model.view == 2
    found = model.predict([View.plain(X), noise, telling], CLASSES)
    assert np.abs(found - Y - 3.0 * step).mean() < 0.1


def test_convolutions_are_classes_by_their_shape():
    rows = conv_rows(groups=[1, 1, 32, 4], kernel_h=[1, 3, 3, 3], kernel_w=[1, 3, 3, 3])
    shapes = ("1x1", "windowed", "depthwise", "grouped")
    assert row_classes(rows).tolist() == [f"conv2d {shape}" for shape in shapes]


def test_paths_of_convolutions_by_hand():
    rows = conv_rows(
        batch=[8, 16, 1, 1, 2, 1], kernel_h=[1, 1, 3, 3, 3, 5], kernel_w=[1, 1, 3, 3, 3, 5],
        in_channels=[32, 32, 20, 21, 20, 20], stride_h=1,
    )  # fmt: skip
    paths = ConvolutionPaths.of(rows)
    assert paths.is_native.tolist() == [True, False, True, False, False, False]  # 20 * 32 * 32 = 20,480
    assert paths.flops[3] / rows["flops"][3] == pytest.approx(32 / 21)  # blocks of 16 channels
    assert paths.flops[2] == rows["flops"][2]
    assert paths.copied_bytes[0] == 0  # a 1x1 convolution copies no windows
    assert paths.copied_bytes[2] == 4 * 20 * 9 * 30 * 30
    assert paths.copied_bytes[3] == 4 * (32 * 32 * 32 + 32 * 30 * 30) + rows["weight_bytes"][3]


def test_a_window_smaller_than_its_stride_reads_a_share_of_its_input():
    rows = conv_rows(
        stride_h=[1, 2, 4, 4], stride_w=[1, 2, 4, 32], kernel_h=[3, 1, 2, 1], kernel_w=[3, 1, 2, 1]
    )
    assert touched_share(rows) == pytest.approx([1, 0.5, 0.5, 0.25 * 0.5])
    assert (
        flops_and_bytes(rows)[1][1]
        == rows["input_bytes"][1] / 2 + rows["weight_bytes"][1] + rows["output_bytes"][1]
    )
    relu = rows.assign(kind="relu")
    assert touched_share(relu).tolist() == [1.0] * 4


def test_strided_pools_are_predicted_by_what_they_read():
    rng = np.random.default_rng(1)
    rows = layer_rows(500, rng)
    pools = rows["kind"] == "max_pool2d"
    rows.loc[pools, ["kernel_h", "kernel_w"]] = 1
    strides = rng.integers(1, 6, size=int(pools.sum()))
    rows.loc[pools, "stride_h"], rows.loc[pools, "stride_w"] = strides, strides
    rows = complete(rows[["kind", "batch", "in_channels", "in_h", "in_w", "out_channels", *_windows(rows)]])
    slow = Ceilings(CEILINGS.flops_per_s, CEILINGS.bytes_per_s / 100, CEILINGS.launch_s)
    moved = flops_and_bytes(rows)[1]
    rows["time_s"] = 2.5 * np.maximum(rows["flops"] / slow.flops_per_s, moved / slow.bytes_per_s)
    known, new = np.arange(len(rows)) % 2 == 0, pools.to_numpy() & (np.arange(len(rows)) % 2 == 1)
    model = make_model("hybrid").fit(rows[known].reset_index(drop=True), slow)
    predicted = model.predict(rows[new]).values["time_s"]
    assert np.abs(predicted / rows["time_s"][new] - 1).mean() < 0.05


def _windows(rows):
    return [name for name in rows.columns if name.startswith(("kernel", "stride", "padding"))]


def test_seven_rows_with_power_do_not_get_the_mean_power():
    rng = np.random.default_rng(2)
    rows = layer_rows(300, rng, 0.02, has_power=True)
    linear = np.flatnonzero(rows["kind"] == "linear")
    train = rows.drop(index=linear[7:]).reset_index(drop=True)
    model = make_model("hybrid").fit(train, CEILINGS)
    power = model.predict(rows.iloc[linear[7:]]).values["power_w"]
    truth = timed(rows, rng, 0.0, has_power=True)["power_w"].to_numpy()[linear[7:]]
    assert np.abs(power / truth - 1).mean() < 0.5 * np.abs(train["power_w"].mean() / truth - 1).mean()
