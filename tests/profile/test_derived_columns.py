"""What follows from other columns: sizes, work, energy; and what contradicts itself."""

import numpy as np
import pandas as pd
import pytest
from torch import nn

from hwopt.errors import InvalidInput
from hwopt.network import SHAPE_COLUMNS, WORK_COLUMNS, trace
from hwopt.profile.derived_columns import complete, complete_energy, incomplete, note_incomplete
from hwopt.profile.device_profile import DeviceProfile, read_layers, read_networks
from hwopt.profile.plausibility import ENERGY_TOLERANCE, FASTEST, SLOWEST
from hwopt.profile.row_file import RowFile
from hwopt.profile.schema import LAYER_COLUMNS

from ..network.counting import Function
from .profiles import CEILINGS, write_profile

RELU = {"device": "d", "kind": "relu", "batch": 1, "in_channels": 8, "in_h": 4, "in_w": 4, "out_channels": 8}


def layers(tmp_path, *changes, ceilings=None):
    """Read layer rows that differ in their channels and in what is given."""
    path = tmp_path / "layers.csv"
    path.unlink(missing_ok=True)
    with RowFile(path, LAYER_COLUMNS) as file:
        for i, change in enumerate(changes):
            file.append(RELU | {"in_channels": 8 + i, "out_channels": 8 + i, "time_s": 1e-3} | change)
    return read_layers(path, None, ceilings)


def scaled(folder, name, **factors):
    """Multiply columns of a file of a profile."""
    table = pd.read_csv(folder / name)
    for column, factor in factors.items():
        table[column] *= factor
    table.to_csv(folder / name, index=False)


def test_energy_is_power_times_the_time_of_a_pass_while_energy_was_read():
    given = pd.DataFrame({"time_s": [1.0, 1.0], "loop_time_s": [2.0, np.nan], "power_w": [10.0, 10.0]})
    assert complete_energy(given)["energy_j"].tolist() == [20, 10]
    back = complete_energy(complete_energy(given).drop(columns="power_w"))
    assert back["power_w"].tolist() == [10, 10]
    assert "energy_j" not in given  # a copy


def test_energy_is_not_made_of_what_is_missing():
    given = pd.DataFrame({"time_s": [1.0, np.nan, 1.0], "power_w": [np.nan, 5.0, 5.0]})
    assert complete_energy(given)["energy_j"].isna().tolist() == [True, True, False]
    assert list(complete_energy(given[["power_w"]]).columns) == ["power_w"]


@pytest.mark.parametrize(
    ("dtype", "item_bytes"), [("float64", 8), ("bfloat16", 2), ("int8", 1), ("float8_e4m3fn", 1), ("odd", 4)]
)
def test_bytes_follow_from_the_type(dtype, item_bytes):
    row = complete(pd.DataFrame([RELU | {"dtype": dtype}])).iloc[0]
    assert row["input_bytes"] == row["output_bytes"] == item_bytes * 8 * 4 * 4


def test_a_workspace_is_the_memory_beside_operands_and_result(tmp_path):
    own = [2 * 4 * (8 + i) * 4 * 4 for i in range(4)]
    given = {"memory_bytes": own[3] + 4096, "workspace_bytes": 1024}
    found = layers(tmp_path, {"memory_bytes": own[0] + 512}, {"memory_bytes": own[1] / 2}, {}, given)
    assert found["workspace_bytes"].fillna(-1).tolist() == [512, 0, -1, 1024]


def test_energy_that_contradicts_power_and_time_is_refused(tmp_path):
    within = {"power_w": 100.0, "energy_j": 0.1 * (1 + 0.9 * ENERGY_TOLERANCE)}
    assert len(layers(tmp_path, within)) == 1
    with pytest.raises(
        InvalidInput, match="line 3: energy_j = 0.13; power_w x time_s differs by .* 1.3, more"
    ):
        layers(tmp_path, within, {"power_w": 100.0, "energy_j": 0.13})
    with pytest.raises(InvalidInput, match="factor of 1000, .* milliwatts, millijoules or milliseconds"):
        layers(tmp_path, {"power_w": 100.0, "energy_j": 100.0})
    slower_while_read = {"power_w": 100.0, "energy_j": 0.2, "loop_time_s": 2e-3}
    assert len(layers(tmp_path, slower_while_read)) == 1


@pytest.mark.parametrize(("factor", "unit"), [(1024, "kilobytes"), (1e6, "megabytes"), (2**30, "gigabytes")])
def test_memory_below_that_of_the_operands_names_the_likely_unit(tmp_path, factor, unit):
    held = {"in_h": 512, "in_w": 512, "in_channels": 4096, "out_channels": 4096, "batch": 8}
    own = 2 * 4 * 8 * 4096 * 512 * 512
    assert len(layers(tmp_path, held | {"memory_bytes": own})) == 1
    with pytest.raises(InvalidInput, match=f"line 2: memory_bytes = .* alone take .* bytes; is it in {unit}"):
        layers(tmp_path, held | {"memory_bytes": own / factor})


def test_memory_of_a_network_in_megabytes_is_refused(tmp_path):
    folder = write_profile(tmp_path / "law")
    scaled(folder, "networks.csv", memory_bytes=1e-6)
    with pytest.raises(InvalidInput, match="networks.csv, line 2: memory_bytes = .*is it in megabytes"):
        read_networks(folder / "networks.csv")


def test_a_layer_far_below_the_roofline_is_refused(tmp_path):
    bound_s = 2 * 8 * 64 * 4 * 4 / CEILINGS.bytes_per_s
    row = {"in_channels": 64, "out_channels": 64, "in_h": 4, "in_w": 8}
    assert len(layers(tmp_path, row | {"time_s": 1.1 * bound_s / FASTEST}, ceilings=CEILINGS)) == 1
    with pytest.raises(
        InvalidInput, match="line 2: time_s = .* at least 5.46e-07 s, 111 times as long; is it"
    ):
        layers(tmp_path, row | {"time_s": 0.9 * bound_s / FASTEST}, ceilings=CEILINGS)
    assert len(layers(tmp_path, row | {"time_s": 0.9 * bound_s / FASTEST})) == 1  # nothing to compare with


@pytest.mark.parametrize(("factor", "unit"), [(1e3, "milliseconds"), (1e6, "microseconds")])
def test_times_far_above_the_roofline_throughout_name_the_likely_unit(tmp_path, factor, unit):
    changes = [{"time_s": 2e-6 * factor}] * 7
    assert len(layers(tmp_path, *changes, ceilings=CEILINGS)) == 7  # too few to speak of all
    with pytest.raises(InvalidInput, match=f"the median of time_s is .* {SLOWEST:g}; is it in {unit}"):
        layers(tmp_path, *changes, changes[0], ceilings=CEILINGS)


def test_a_few_slow_layers_are_believed(tmp_path):
    changes = [{"time_s": 2e-6}] * 8 + [{"time_s": 2.0}] * 3
    assert len(layers(tmp_path, *changes, ceilings=CEILINGS)) == 11


@pytest.mark.parametrize("name", ["layers.csv", "networks.csv"])
def test_a_profile_in_other_units_of_time_is_refused_on_loading(tmp_path, name):
    folder = write_profile(tmp_path / "law", n_layers=40)
    scaled(folder, name, time_s=1e-3 if name == "layers.csv" else 1e3)
    with pytest.raises(InvalidInput, match=f"{name}.*time_s"):
        DeviceProfile.load(folder)


def test_a_network_far_below_the_roofline_of_its_layers_is_named(tmp_path):
    folder = write_profile(tmp_path / "law", n_layers=20, n_networks=4)
    scaled(folder, "networks.csv", time_s=1e-3)
    with pytest.raises(InvalidInput, match="networks.csv, 'net-0': time_s = .* as long; is it in seconds"):
        DeviceProfile.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"kind": "conv2d", "kernel_h": 9},
            "line 2: out_h = -4; the window does not fit into the padded input",
        ),
        ({"kind": "conv2d", "groups": 5}, "line 2: groups = 5; it must divide in_channels"),
        (
            {"input_bytes": 0, "weight_bytes": 0, "output_bytes": 0},
            "input_bytes . weight_bytes . output_bytes = 0; it must be at least 1",
        ),
    ],
)
def test_shapes_that_cannot_be_are_refused(tmp_path, change, message):
    with pytest.raises(InvalidInput, match=message):
        layers(tmp_path, change)


OPERATORS = {
    "conv1d": (nn.Conv1d(4, 6, 5, 2, 1, bias=False), (4, 20)),
    "conv2d": (nn.Conv2d(4, 6, 3, 2, 1, groups=2, bias=False), (4, 9, 9)),
    "conv3d": (nn.Conv3d(4, 6, 3, bias=False), (4, 5, 6, 7)),
    "conv_transpose1d": (nn.ConvTranspose1d(4, 6, 3, 2, bias=False), (4, 9)),
    "conv_transpose2d": (nn.ConvTranspose2d(4, 6, 3, 2, bias=False), (4, 5, 5)),
    "conv_transpose3d": (nn.ConvTranspose3d(4, 6, 3, bias=False), (4, 5, 5, 5)),
    "linear": (nn.Linear(7, 5, bias=False), (7,)),
    "matmul": (Function(lambda x: x @ x.transpose(1, 2)), (5, 6)),
    "attention": (Function(lambda x: nn.functional.scaled_dot_product_attention(x, x, x)), (2, 5, 8)),
    "lstm": (nn.LSTM(6, 8, bias=False, batch_first=True, bidirectional=True), (5, 6)),
    "gru": (nn.GRU(6, 8, bias=False, batch_first=True), (5, 6)),
    "rnn": (nn.RNN(6, 8, bias=False, batch_first=True), (5, 6)),
    "max_pool2d": (nn.MaxPool2d(3, 2, 1), (4, 9, 9)),
    "avg_pool1d": (nn.AvgPool1d(3), (4, 9)),
    "softmax": (nn.Softmax(-1), (4, 9, 9)),
    "relu": (nn.ReLU(), (4, 9, 9)),
    "add": (Function(lambda x: x + x.clone()), (4, 9, 9)),
}


@pytest.mark.parametrize("kind", OPERATORS)
def test_work_that_a_file_lacks_is_that_of_the_tracer(kind):
    network, shape = OPERATORS[kind]
    layer = trace(network, shape, 3).layers[-1]
    row = {**layer.row(), "kind": layer.kind}
    if kind != "avg_pool1d":  # runs as avg_pool2d
        assert layer.kind == kind
    given = pd.DataFrame([{name: row[name] for name in (*SHAPE_COLUMNS,)}])
    found = complete(given).iloc[0]
    assert {name: found[name] for name in WORK_COLUMNS} == {name: row[name] for name in WORK_COLUMNS}
    if layer.kind[-2:] != "3d":
        assert complete(given.drop(columns=["out_h", "out_w"])).iloc[0]["flops"] == row["flops"]


@pytest.mark.parametrize(
    ("kind", "given", "lacking"),
    [
        ("fused_block", {}, ["flops", "elementwise_ops"]),
        ("conv3d", {"kernel_h": 9, "kernel_w": 3}, ["out_h", "flops", "output_bytes"]),
        ("upsample_bilinear", {}, ["out_h", "out_w", "elementwise_ops", "output_bytes"]),
        ("embedding", {"out_h": 1, "out_w": 1}, ["input_bytes", "output_bytes"]),
    ],
)
def test_what_does_not_follow_is_missing_and_never_nought(kind, given, lacking):
    rows = complete(pd.DataFrame([RELU | {"kind": kind, "in_h": 27, "in_w": 9} | given]))
    derived = ["out_h", "out_w", *WORK_COLUMNS]
    assert set(lacking) <= {name for name in derived if np.isnan(rows[name].iloc[0])}
    assert incomplete(rows).tolist() == [True]
    (note,) = note_incomplete(rows)
    assert note.startswith(f"1 rows of {kind!r}") and "not used" in note and note.endswith("; add them")


def test_rows_whose_work_is_not_known_are_not_fitted_on_and_that_is_said(tmp_path):
    folder = write_profile(tmp_path / "law", n_layers=40)
    table = pd.read_csv(folder / "layers.csv")
    table.loc[0, "kind"] = "fused_block"
    table.loc[0, ["flops", "elementwise_ops"]] = np.nan
    table.to_csv(folder / "layers.csv", index=False)
    profile = DeviceProfile.load(folder)
    assert len(profile.layers) == len(profile.measured_layers) + 1
    assert any("1 rows of 'fused_block', an unknown kind: not used, flops" in n for n in profile.notes)
