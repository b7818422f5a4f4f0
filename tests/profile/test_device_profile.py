"""Profiles are checked when they are read: file, line, what came, what was wanted."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwopt.errors import InvalidInput
from hwopt.profile.derived_columns import complete
from hwopt.profile.device_json import read_info, write_info
from hwopt.profile.device_profile import DeviceProfile, read_layers
from hwopt.profile.roofline import Ceilings, estimate_ceilings
from hwopt.profile.row_file import RowFile

from .profiles import CEILINGS, layer_rows, vars_of, write_profile

COLUMNS = "device,kind,batch,in_channels,in_h,in_w,out_channels,time_s"


def layers_file(tmp_path, *lines, columns=COLUMNS):
    path = tmp_path / "layers.csv"
    path.write_text("\n".join([columns, *lines]) + "\n")
    return path


def test_a_profile_that_was_written_is_read_back(tmp_path):
    profile = DeviceProfile.load(write_profile(tmp_path / "law"))
    assert profile.name == "law"
    assert profile.ceilings == CEILINGS
    assert len(profile.measured_layers) > 100
    assert profile.network_layers["position"].iloc[0] == 0
    assert set(profile.networks["split"]) == {"fit", "calibrate", "test"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "cpu,relu,1,8,4,4,8,3000",
            r"layers.csv, line 2: time_s = 3000; more than 60 seconds .* another unit",
        ),
        ("cpu,relu,1,8,4,4,8,-1e-3", "line 2: time_s = -0.001; it must be positive, in seconds"),
        ("cpu,relu,1,8,4,4,8,0", "line 2: time_s = 0; it must be positive.*leave it empty"),
        ("cpu,relu,1,8,4,4,8,fast", "line 2: time_s = 'fast'; it must be a finite number or empty"),
        ("cpu,relu,1,8,4,4,8,inf", "line 2: time_s = 'inf'"),
        ("cpu,relu,0,8,4,4,8,1e-3", "line 2: batch = 0; it must be a whole number, at least 1"),
        ("cpu,relu,1,8.5,4,4,8,1e-3", "line 2: in_channels = 8.5"),
        ("cpu,,1,8,4,4,8,1e-3", "line 2: kind = ''; it must not be empty"),
    ],
)
def test_a_wrong_cell_is_named_with_its_line(tmp_path, line, message):
    with pytest.raises(InvalidInput, match=message):
        read_layers(layers_file(tmp_path, line))


def test_two_measurements_of_one_layer_are_refused(tmp_path):
    path = layers_file(
        tmp_path, "cpu,relu,1,8,4,4,8,1e-3", "cpu,relu,1,9,4,4,9,1e-3", "cpu,relu,1,8,4,4,8,2e-3"
    )
    with pytest.raises(InvalidInput, match="line 4: the same key as line 2 .*keep one"):
        read_layers(path)


def test_layers_of_one_shape_whose_operands_differ_in_bytes_are_two_layers(tmp_path):
    columns = COLUMNS.replace(",time_s", ",input_bytes,time_s")
    scaled, whole = "cpu,mul,1,8,4,4,8,544,1e-3", "cpu,mul,1,8,4,4,8,1024,2e-3"
    assert len(read_layers(layers_file(tmp_path, scaled, whole, columns=columns))) == 2
    with pytest.raises(InvalidInput, match="line 3: the same key as line 2"):
        read_layers(layers_file(tmp_path, scaled, scaled, columns=columns))


def test_a_measurement_replaces_an_earlier_attempt_without_a_time(tmp_path):
    path = layers_file(tmp_path, "cpu,relu,1,8,4,4,8,", "cpu,relu,1,8,4,4,8,2e-3", "cpu,relu,1,9,4,4,9,")
    rows = read_layers(path)
    assert rows["time_s"].tolist()[0] == 2e-3
    assert len(rows) == 2 and np.isnan(rows["time_s"].iloc[1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\xff\xfe\x00kind", "not UTF-8"),
        (b'kind,batch\n"conv2d,1\n', "invalid CSV"),
        (b"kind,batch,in_channels,time_s\nrelu,1,1,1\n", "column out_channels is missing"),
        (b"kind,batch,in_channels,out_channels\nrelu,1,1,1\n", "column time_s is missing"),
    ],
)
def test_a_file_that_is_no_table_of_layers_says_what_is_wrong(tmp_path, content, message):
    path = tmp_path / "layers.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        read_layers(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidInput, match="device.json: no such file"):
        DeviceProfile.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "device.json, line 1: invalid JSON"),
        ("[]", "wanted an object"),
        ('{"name": "x"}', "key protocol_version is missing"),
        ('{"name": "x", "protocol_version": 99, "ceilings": {}}', "reads up to 1; upgrade hwopt"),
        ('{"name": "x", "protocol_version": "1", "ceilings": {}}', "must be a whole number"),
        ('{"name": "x", "protocol_version": 1, "ceilings": {}}', "ceilings lack flops_per_s"),
        ('{"name": "x", "protocol_version": 1, "ceilings": 3}', "wanted an object of numbers"),
    ],
)
def test_a_broken_device_file_says_what_is_wrong(tmp_path, content, message):
    path = tmp_path / "device.json"
    path.write_text(content)
    with pytest.raises(InvalidInput, match=message):
        read_info(path)


def test_a_ceiling_that_is_no_positive_number_is_refused(tmp_path):
    info = {"name": "x", "protocol_version": 1, "ceilings": {**vars_of(CEILINGS), "launch_s": 0}}
    write_info(tmp_path, info)
    with pytest.raises(InvalidInput, match="ceiling launch_s = 0; it must be positive"):
        read_info(tmp_path / "device.json")
    with pytest.raises(InvalidInput, match="must be a number"):
        Ceilings(1.0, 1.0, "fast")


def test_an_unknown_split_is_refused(tmp_path):
    folder = write_profile(tmp_path / "law")
    text = (folder / "networks.csv").read_text().replace(",calibrate,", ",train,", 1)
    (folder / "networks.csv").write_text(text)
    with pytest.raises(
        InvalidInput, match="networks.csv, line 3: split = 'train'; wanted fit, calibrate, test"
    ):
        DeviceProfile.load(folder)


def test_reading_a_profile_runs_nothing_that_is_in_it(tmp_path):
    folder = write_profile(tmp_path / "law")
    (folder / "device.json").write_text(
        json.dumps({"name": "__import__('os')", "protocol_version": 1, "ceilings": vars_of(CEILINGS)})
    )
    assert DeviceProfile.load(folder).name == "__import__('os')"


def test_a_line_that_was_cut_while_it_was_written_is_dropped(tmp_path):
    path = tmp_path / "rows.csv"
    with RowFile(path, ("a", "b")) as file:
        file.append({"a": 1, "b": 2.5})
    with path.open("a") as raw:
        raw.write("3,")
    with RowFile(path, ("a", "b")) as file:
        file.append({"a": 5, "b": None, "c": "not a column"})
    assert path.read_text() == "a,b\n1,2.5\n5,\n"


def test_rows_are_there_before_the_file_is_closed(tmp_path):
    with RowFile(tmp_path / "rows.csv", ("a",)) as file:
        file.append({"a": "x"})
        assert (tmp_path / "rows.csv").read_text() == "a\nx\n"


def test_a_file_with_other_columns_is_not_continued(tmp_path):
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InvalidInput, match="lacks c; measure into a new folder"):
        RowFile(tmp_path / "rows.csv", ("a", "c"))


@settings(deadline=None)
@given(
    st.integers(1, 64), st.integers(1, 64), st.integers(1, 64), st.sampled_from([1, 3, 5]), st.integers(1, 3)
)
def test_what_follows_from_the_shapes_is_what_the_tracer_says(batch, c_in, c_out, kernel, stride):
    import torch

    from hwopt.network import trace

    conv = torch.nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False, device="meta")
    row = trace(conv, (c_in, 16, 16), batch).layers[0].row()
    kept = ["kind", "batch", "in_channels", "in_h", "in_w", "out_channels", "kernel_h", "kernel_w"]
    kept += ["stride_h", "stride_w", "padding_h", "padding_w"]
    completed = complete(pd.DataFrame([{name: row[name] for name in kept}])).iloc[0]
    for name in ("out_h", "out_w", "flops", "elementwise_ops", "input_bytes", "weight_bytes", "output_bytes"):
        assert completed[name] == row[name], name


def test_energy_is_power_times_time_and_the_other_way_round():
    rows = pd.DataFrame(
        {
            "kind": "relu",
            "batch": 1,
            "in_channels": 4,
            "out_channels": 4,
            "time_s": [2.0, 2.0],
            "power_w": [3.0, None],
        }
    )
    assert complete(rows)["energy_j"].tolist()[0] == 6.0
    rows = rows.drop(columns="power_w").assign(energy_j=[8.0, 6.0])
    assert complete(rows)["power_w"].tolist() == [4.0, 3.0]


def test_ceilings_of_rows_are_the_best_rates_among_them():
    rows = layer_rows(50, np.random.default_rng(0))
    ceilings = estimate_ceilings(rows)
    assert ceilings.flops_per_s == (rows["flops"] / rows["time_s"]).max()
    assert ceilings.flops_per_s <= CEILINGS.flops_per_s
    assert ceilings.launch_s == rows["time_s"].min()
