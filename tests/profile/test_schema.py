"""Cells and columns of a profile's CSV files: what is refused, what is made plain, what is continued."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwopt.errors import InvalidInput
from hwopt.profile import schema, text_file
from hwopt.profile.cells import one_row_per_key, read_table
from hwopt.profile.device_profile import DeviceProfile, read_layers, read_networks, read_repeats
from hwopt.profile.row_file import RowFile
from hwopt.profile.schema import LATER_COLUMNS, LAYER_COLUMNS, NETWORK_COLUMNS, REPEAT_COLUMNS
from hwopt.profile.text_file import clean, not_a_formula, read_cells

from .profiles import write_profile

COLUMNS = "device,kind,batch,in_channels,in_h,in_w,out_channels,time_s"
ROW = "cpu,relu,1,8,4,4,8,1e-3"


def layers_file(tmp_path, text):
    path = tmp_path / "layers.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def with_cell(tmp_path, column, cell):
    return layers_file(tmp_path, f"{COLUMNS},{column}\n{ROW},{cell}\n")


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("1_000", "time_s = '1_000'; it must be a finite number or empty; write a decimal point"),
        ('"1,000"', "write a decimal point and nothing between the digits"),
        ('"0,001"', "write a decimal point and nothing between the digits"),
        ("1 000", "write a decimal point and nothing between the digits"),
        ("٣", "write the digits 0 to 9"),
        ("NaN", "leave it empty if unknown"),
        ("n/a", "leave it empty if unknown"),
        ("1e999", "time_s = '1e999'; it must be a finite number"),
        ("-inf", "time_s = '-inf'; it must be a finite number"),
        ("0x1p-3", "time_s = '0x1p-3'; it must be a finite number"),
        ("1e-320", "less than 1e-09 seconds is not plausible"),
        ("3000", "more than 60 seconds is not plausible; is it in another unit, such as milliseconds"),
    ],
)
def test_a_time_that_is_no_plain_number_is_refused_with_what_to_write(tmp_path, cell, message):
    path = layers_file(tmp_path, f"{COLUMNS}\n{ROW.removesuffix('1e-3')}{cell}\n")
    with pytest.raises(InvalidInput, match="layers.csv, line 2: time_s = ") as error:
        read_layers(path)
    assert message in str(error.value)


def test_a_slow_layer_among_fast_ones_is_stated_and_a_file_in_milliseconds_refused(tmp_path):
    fast = [f"cpu,relu,{batch},8,4,4,8,1e-3" for batch in range(2, 9)]
    notes = []
    rows = read_layers(
        layers_file(tmp_path, "\n".join([COLUMNS, ROW.replace("1e-3", "284"), *fast, ""])), notes
    )
    assert rows["time_s"].max() == 284
    assert any(
        "line 2: 1 values of time_s above 60 seconds, up to 284; accepted, since the median is 0.001" in n
        for n in notes
    )
    for slow, rest in (("4000", "1e-3"), ("284", "150")):
        text = "\n".join(
            [COLUMNS, ROW.replace("1e-3", slow), *(one.replace("1e-3", rest) for one in fast), ""]
        )
        with pytest.raises(InvalidInput, match="seconds is not plausible"):
            read_layers(layers_file(tmp_path, text))


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("power_w", "250000", "more than 5000 watts is not plausible; .* such as milliwatts"),
        ("core_clock_hz", "1980", "less than 1e.06 hertz is not plausible; .* such as megahertz"),
        ("elapsed_s", "-1", "elapsed_s = -1; it must be at least 0"),
        ("temperature_c", "1e300", "it must be at most 1e.15"),
        ("groups", "3", "groups = 3; it must be at most|groups = 3"),
        ("out_h", "1e300", "out_h = 1e.300; it must be at most 10,000,000"),
        ("mode", "grahp", "mode = 'grahp'; wanted eager or graph"),
        (
            "source",
            "=cmd|' /C calc'!A0",
            "would run it as a formula; it must not begin with = ",
        ),
        ("operator", "@SUM(A1)", "a spreadsheet would run it"),
        ("operator", "+1", "a spreadsheet would run it"),
        ("operator", "-1", "a spreadsheet would run it"),
        (
            "operator",
            "\x1b[31mred",
            r"operator = '\\x1b\[31mred'; it has a character that is not printable",
        ),
        ("operator", '"two\nlines"', "not printable"),
        ("operator", "a\u202eb", "not printable"),
        ("operator", "x" * 300, "it has 300 characters; at most 200"),
    ],
)
def test_a_cell_that_no_device_can_mean_is_refused(tmp_path, column, cell, message):
    path = with_cell(tmp_path, column, cell)
    if column == "groups":  # of a convolution they divide the channels
        path.write_text(path.read_text().replace("relu", "conv2d"))
        message = "groups = 3; it must divide in_channels"
    with pytest.raises(InvalidInput, match=f"line 2: {column} = .*|{message}") as error:
        read_layers(path)
    assert re.search(message, str(error.value)) and str(error.value).isprintable()


@pytest.mark.parametrize("name", ["../../x", "/etc", "~/x", "a\\b", "a/../b", "..", "~"])
def test_a_device_or_network_that_is_called_like_a_path_is_refused(tmp_path, name):
    path = layers_file(tmp_path, f"{COLUMNS}\n{ROW.replace('cpu', name)}\n")
    with pytest.raises(InvalidInput, match="it must be a name, not a path"):
        read_layers(path)


def test_free_text_is_made_plain_and_that_is_stated(tmp_path):
    reasons = ['"=1+1"', '"two\nlines"', "\x1b[31mred", "-1", "fine"]
    lines = [f"{ROW.replace(',8,4,4,8', f',{n},4,4,{n}')},{r}" for n, r in enumerate(reasons, 1)]
    notes = []
    path = layers_file(tmp_path, "\n".join([f"{COLUMNS},time_reason", *lines]) + "\n")
    texts = read_layers(path, notes)["time_reason"].tolist()
    assert texts == ["'=1+1", "two lines", "\ufffd[31mred", "-1", "fine"]
    assert notes == ["layers.csv: 3 cells of time_reason were changed to plain text"]


@given(st.text())
def test_clean_text_is_one_printable_line_that_no_spreadsheet_runs(text):
    plain = not_a_formula(clean(text))
    assert plain.isprintable()
    assert not plain.startswith(("=", "@")) and (not plain.startswith(("+", "-")) or float(plain) is not None)


def test_lines_are_counted_as_an_editor_does_also_after_blank_lines_and_quoted_ones(tmp_path):
    text = f'{COLUMNS},time_reason\n\n{ROW},"two\nlines"\n{ROW},x,y\n'
    with pytest.raises(InvalidInput, match="line 5: 10 cells, the header has 9; quote cells with a comma"):
        read_layers(layers_file(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{COLUMNS},kind\n{ROW},relu\n", "two columns are called 'kind'; keep one"),
        (f",{COLUMNS}\n0,{ROW}\n", "column 1 has no name; .*index=False in pandas"),
        (f"{COLUMNS},=x\n{ROW},1\n", "column 9 is called '=x'; wanted a plain word"),
        (f"{COLUMNS},\x1b[1m\n{ROW},1\n", "column 9 is called"),
        (f"{COLUMNS}\n{ROW.replace(',8,1e-3', '')}\n", "line 2: 6 cells, the header has 8"),
        (f'{COLUMNS}\n{ROW}\n"open', "left out"),
        (f'{COLUMNS}\n"open,{ROW}\n', "line 2: invalid CSV: unexpected end of data"),
        (COLUMNS.replace("time_s", "time_ms") + "\n", "time_s is missing; .* in seconds .like 'time_ms'"),
        (COLUMNS.replace("batch", "bacth") + "\n", "column batch is missing; .*like 'bacth'"),
        ("k\0nd\n", "NUL characters: binary, or UTF-16; save it as UTF-8"),
        ("kind,batch\n".encode("utf-16"), "not UTF-8 text .*; save it as UTF-8"),
        (f"{COLUMNS}\ncpu,relu\xe9".encode("latin-1") + b"\n", "not UTF-8 text .*at byte 68"),
        (b"\x93NUMPY\x01\0v\0", "not UTF-8"),
        ("\n\n", "empty; wanted at least a line of column names"),
        (",".join(f"c{i}" for i in range(100_000)) + "\n", "100,000 columns; at most 1,000 are read"),
        (f"{COLUMNS}\n{ROW},{'x' * 2_000_000}\n", "line 2: 2,000,024 bytes in a line; at most 1,048,576"),
        (f"{COLUMNS},a\n{ROW},{'x' * 200_000}\n", "line 2: invalid CSV: field larger than"),
    ],
)
def test_what_is_no_table_is_named_with_its_line(tmp_path, text, message):
    notes = []
    try:
        read_layers(layers_file(tmp_path, text), notes)
    except InvalidInput as error:
        notes.append(str(error))
    assert re.search(f"layers.csv.*{message}", " ".join(notes)), notes
    assert all(note.isprintable() and len(note) < 500 for note in notes)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text + "\n\n",
        lambda text: text.replace(",", " , "),
        lambda text: text.replace("relu", '"relu"'),
    ],
)
def test_what_editors_do_to_a_file_changes_nothing(tmp_path, change):
    wanted = read_layers(layers_file(tmp_path, f"{COLUMNS}\n{ROW}\n"))
    notes = []
    found = read_layers(layers_file(tmp_path, change(f"{COLUMNS}\n{ROW}\n")), notes)
    pd.testing.assert_frame_equal(found, wanted)
    assert notes == []


def test_a_last_line_that_does_not_end_is_left_out_and_shown(tmp_path):
    cut = "cpu,réseau".encode()[:6]  # in the middle of a character
    for end in (b"", b"\r"):
        notes = []
        path = layers_file(tmp_path, f"{COLUMNS}\n{ROW}".encode() + end + b"\n" + cut)
        assert len(read_layers(path, notes)) == 1
        assert notes == ["layers.csv, line 3: left out, as it is incomplete: 'cpu,r\ufffd'"]


def test_a_last_row_is_kept_without_a_newline_if_it_is_whole(tmp_path):
    rows = "".join(f"{ROW}\n" for _ in range(1))
    wanted = read_layers(layers_file(tmp_path, f"{COLUMNS}\n{rows}"))
    for text in (f"{COLUMNS}\n{ROW}", f"{COLUMNS}\r\n{ROW}", f"\ufeff{COLUMNS}\n{ROW}"):
        notes = []
        pd.testing.assert_frame_equal(read_layers(layers_file(tmp_path, text), notes), wanted)
        assert notes == []
    for cut in (ROW[: ROW.rindex(",")], ROW[: ROW.rindex(",") + 1], '"' + ROW):
        notes = []
        found = read_layers(layers_file(tmp_path, f"{COLUMNS}\n{ROW}\n{cut}"), notes)
        assert len(found) == 1 and "left out, as it is incomplete" in notes[0]


def test_columns_that_are_not_known_are_stated_with_the_nearest(tmp_path):
    notes = []
    found = read_layers(layers_file(tmp_path, f"{COLUMNS},powr_w,colour\n{ROW},5,-3\n"), notes)
    assert notes == ["layers.csv: unused columns: 'powr_w' (like 'power_w'?), 'colour'"]
    assert found["colour"].tolist() == ["-3"]


def test_unknown_kinds_and_types_are_accepted_and_stated(tmp_path):
    notes = []
    columns, row = f"{COLUMNS},dtype", ROW.replace("relu", "conv_2d") + ",float4"
    assert len(read_layers(layers_file(tmp_path, f"{columns}\n{row}\n"), notes)) == 1
    assert notes == [
        "layers.csv: kind 'conv_2d' is unknown to the tracer, 1 rows; did you mean conv2d?",
        "layers.csv: dtype 'float4' is unknown; 4 bytes an element are assumed if not given",
    ]


def test_sizes_are_checked_before_reading(tmp_path, monkeypatch):
    path = tmp_path / "layers.csv"
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse: no disk is used
    with pytest.raises(InvalidInput, match="1,099,511,627,776 bytes; at most 268,435,456 are read"):
        read_layers(path)
    layers_file(tmp_path, f"{COLUMNS}\n" + f"{ROW}\n" * 4)
    monkeypatch.setattr(text_file, "MAX_ROWS", 4)
    with pytest.raises(InvalidInput, match="6 lines of .* cells; at most 4 and 60,000,000 are read"):
        read_layers(path)
    monkeypatch.setattr(text_file, "MAX_ROWS", 100)
    monkeypatch.setattr(text_file, "MAX_CELLS", 10)
    with pytest.raises(InvalidInput, match="lines of 41 cells; at most 100 and 10 are read"):
        read_layers(path)


def test_every_column_of_a_file_is_in_the_table_with_its_meaning():
    assert set(schema.COLUMNS) == {
        *LAYER_COLUMNS, *NETWORK_COLUMNS, *schema.NETWORK_LAYER_COLUMNS, *REPEAT_COLUMNS
    }  # fmt: skip
    assert all(column.meaning for column in schema.COLUMNS.values())


def test_what_a_column_is_derived_from_are_columns():
    for column in schema.COLUMNS.values():
        words = re.findall(r"\w+", column.derived_from)
        assert set(words) <= {*schema.COLUMNS, "and", "or", "shape"}, column


def test_the_columns_of_a_campaign_are_read_back(tmp_path):
    row = {"device": "gpu", "kind": "relu", "batch": 1, "in_channels": 8, "in_h": 4, "in_w": 4}
    row |= {"out_channels": 8, "time_s": 1e-5, "mode": "graph", "eager_time_s": 3e-5, "loop_time_s": 2e-5}
    row |= {"power_w": 300.0, "energy_j": 6e-3, "idle_subtracted_energy_j": 4e-3, "energy_uncertainty": 0.01}
    row |= {"core_clock_hz": 1.98e9, "temperature_c": 61.0, "throttled": "power", "elapsed_s": 12.5}
    row |= {"energy_status": "ok", "memory_reason": "the device does not tell"}
    with RowFile(tmp_path / "layers.csv", LAYER_COLUMNS) as file:
        file.append(row)
    notes = []
    found = read_layers(tmp_path / "layers.csv", notes).iloc[0]
    assert notes == [] and {name: found[name] for name in row} == row


def test_metrics_without_reasons_and_unknown_codes_are_stated_where_a_campaign_wrote_them(tmp_path):
    columns = f"{COLUMNS},energy_reason,energy_status,memory_bytes,memory_reason"
    lines = [f"{ROW},no_sensor: none,failed,,x", f"{ROW.replace(',8,', ',9,')},dunno,failed,,"]
    notes = []
    read_layers(layers_file(tmp_path, "\n".join([columns, *lines]) + "\n"), notes)
    assert notes == [
        "layers.csv: 1 rows have neither memory_bytes nor memory_reason",
        "layers.csv: energy_reason begins with unknown codes: 'dunno'",
    ]


def test_a_network_is_there_once_for_each_mode(tmp_path):
    path, columns = tmp_path / "networks.csv", "network,split,batch,dtype,mode,time_s,power_w"
    lines = ["a,fit,1,float32,eager,1e-3,200", "a,fit,1,float32,graph,5e-4,300"]
    path.write_text("\n".join([columns, *lines]) + "\n")
    assert read_networks(path)["energy_j"].tolist() == pytest.approx([0.2, 0.15])
    path.write_text("\n".join([columns, *lines, lines[1].replace("5e-4", "6e-4")]) + "\n")
    with pytest.raises(InvalidInput, match="line 4: the same key as line 3"):
        read_networks(path)
    path.write_text("\n".join([columns, lines[0], lines[1].replace("1,float32", "8,float32")]) + "\n")
    with pytest.raises(
        InvalidInput, match="line 3: network = 'a'; another row .* another batch; use different names"
    ):
        read_networks(path)


def test_repeats_are_read_in_order_and_their_role_is_checked(tmp_path):
    path = tmp_path / "repeats.csv"
    assert list(read_repeats(path).columns) == list(REPEAT_COLUMNS) and len(read_repeats(path)) == 0
    with RowFile(path, REPEAT_COLUMNS) as file:
        for elapsed_s in (30.0, 1.0):
            file.append({"role": "sentinel", "elapsed_s": elapsed_s, "file": "layers.csv", "ratio": 1.01})
    assert read_repeats(path)["elapsed_s"].tolist() == [30.0, 1.0]
    path.write_text(path.read_text().replace("sentinel", "guard", 1))
    with pytest.raises(InvalidInput, match="line 2: role = 'guard'; wanted sentinel or repeat"):
        read_repeats(path)


def test_a_file_of_before_the_later_columns_is_continued_with_them_empty(tmp_path):
    old = [column for column in LAYER_COLUMNS if column not in LATER_COLUMNS]
    path = tmp_path / "layers.csv"
    path.write_text(",".join(old) + "\n" + ",".join(["x"] * len(old)) + "\n")
    with RowFile(path, LAYER_COLUMNS) as file:
        file.append({"device": "y", "mode": "eager", "elapsed_s": 2.0})
    cells = read_cells(path)
    assert cells.names == list(LAYER_COLUMNS) and [row[0] for row in cells.rows] == ["x", "y"]
    assert cells.rows[0][len(old) :] == [""] * (len(LAYER_COLUMNS) - len(old)) and "2" in cells.rows[1]


def test_a_profile_of_before_the_later_columns_is_read_with_them_empty(tmp_path):
    folder = write_profile(tmp_path / "law", n_layers=20, n_networks=4)
    for name in ("layers.csv", "networks.csv", "network_layers.csv"):
        table = pd.read_csv(folder / name)
        later = [column for column in table.columns if column in LATER_COLUMNS and column != "mode"]
        assert later
        table.drop(columns=later).to_csv(folder / name, index=False)
    profile = DeviceProfile.load(folder)
    assert profile.network_layers["live_bytes"].isna().all() and set(profile.networks["bound"]) == {""}
    assert profile.layers["workspace_bytes"].isna().all() and profile.notes == ()


def test_what_bounds_a_network_is_the_device_or_the_host(tmp_path):
    folder = write_profile(tmp_path / "law", n_layers=20, n_networks=4)
    table = pd.read_csv(folder / "networks.csv", dtype=str, keep_default_na=False)
    table["bound"] = ["device", "host", "", "memory"]
    table.to_csv(folder / "networks.csv", index=False)
    with pytest.raises(InvalidInput, match="line 5: bound = 'memory'; wanted device or host"):
        read_networks(folder / "networks.csv")


def test_rows_are_written_in_one_plain_line_each(tmp_path):
    with RowFile(tmp_path / "rows.csv", ("a", "b")) as file:
        file.append({"a": "error:\n\x1b[31mlost", "b": "=1+1"})
    assert (tmp_path / "rows.csv").read_text() == "a,b\nerror: \ufffd[31mlost,'=1+1\n"


def test_rows_are_appended_to_regular_files_of_the_folder_only(tmp_path):
    (tmp_path / "mine.txt").write_text("mine, cut")
    (tmp_path / "rows.csv").symlink_to(tmp_path / "mine.txt")
    with pytest.raises(InvalidInput, match="a link or not a file"):
        RowFile(tmp_path / "rows.csv", ("a",))
    assert (tmp_path / "mine.txt").read_text() == "mine, cut"
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidInput, match="a link or not a file"):
        RowFile(tmp_path / "folder", ("a",))


def test_one_row_per_key_keeps_measured_rows_and_the_order(tmp_path):
    table = pd.DataFrame({"key": list("abcab"), "time_s": [np.nan, 1, 2, 3, np.nan]}, index=range(2, 7))
    kept = one_row_per_key(tmp_path, table, ("key",))
    assert kept["key"].tolist() == ["b", "c", "a"] and kept["time_s"].tolist() == [1, 2, 3]


def test_a_table_of_names_only_has_no_rows(tmp_path):
    table = read_table(layers_file(tmp_path, f"{COLUMNS}\n"), ("kind",))
    assert len(table) == 0 and table["time_s"].dtype == float


def test_the_profile_that_ships_loads_without_notes_and_has_no_oracle():
    from hwopt.predict import shipped_devices

    for folder in shipped_devices().values():
        profile = DeviceProfile.load(folder)
        assert profile.notes == () and {"loop_time_s", "energy_status"} <= set(profile.held_out.columns)


def test_an_oracle_is_read_like_layers_and_kept_apart(tmp_path):
    folder = write_profile(tmp_path / "law")
    (folder / "oracle.csv").write_text((folder / "layers.csv").read_text())
    profile = DeviceProfile.load(folder)
    pd.testing.assert_frame_equal(profile.held_out, profile.layers)
    (folder / "oracle.csv").write_text((folder / "layers.csv").read_text().replace("relu", "=relu", 1))
    with pytest.raises(InvalidInput, match="oracle.csv, line .*: kind = '=relu'"):
        DeviceProfile.load(folder)
