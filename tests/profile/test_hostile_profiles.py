"""A profile from a stranger is data: it runs nothing, blocks nothing, and breaks only with a message."""

import json
import os
import pickle
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwopt import cli
from hwopt.errors import InvalidInput
from hwopt.measure.campaign_folder import RunSettings, drop_orphans, open_folder
from hwopt.predict import load_device
from hwopt.profile import device_json as device_file
from hwopt.profile.device_json import check_device_name, read_info
from hwopt.profile.device_profile import DeviceProfile

from .profiles import CEILINGS, vars_of, write_profile

FILES = ("device.json", "layers.csv", "networks.csv", "network_layers.csv", "oracle.csv", "repeats.csv")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small profile with all files."""
    folder = write_profile(tmp_path_factory.mktemp("profiles") / "law", 8, 3, has_power=True)
    (folder / "oracle.csv").write_text((folder / "layers.csv").read_text())
    (folder / "repeats.csv").write_text("role,elapsed_s,file,key,time_s\nsentinel,1.5,layers.csv,relu,1e-4\n")
    return folder


@pytest.fixture
def copy(folder, tmp_path):
    """Another folder with the same files, to break."""
    for name in FILES:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    return tmp_path


def with_info(folder, **changes):
    info = {"name": "law", "protocol_version": 1, "ceilings": vars_of(CEILINGS)} | changes
    (folder / "device.json").write_text(json.dumps(info))
    return folder


HOSTILE_CODE = "open({!r}, 'w').write('ran')"
WATCH = """
import sys
from hwopt.profile.device_profile import DeviceProfile
benign, hostile = sys.argv[1:]
DeviceProfile.load(benign)  # what is imported at first use is imported now
seen, watching = [], [True]
RUNS = ("exec", "compile", "import", "marshal.", "pickle.", "subprocess.", "os.system", "os.exec", "os.fork",
        "os.posix_spawn", "socket.", "ctypes.", "code.", "os.remove", "os.rename", "shutil.", "os.mkdir")
def hook(event, arguments):
    if watching:
        writes = event == "open" and (set("wax+") & set(str(arguments[1])) or arguments[2] & 3)
        if writes or event.startswith(RUNS):
            seen.append((event, str(arguments)[:200]))
sys.addaudithook(hook)
exec("1")
assert seen, "the hook sees nothing"
seen.clear()
try:
    profile = DeviceProfile.load(hostile)
    profile.ceilings, profile.measured_layers
finally:
    watching.clear()
print(seen)
"""


def test_loading_runs_imports_and_writes_nothing(folder, copy, tmp_path_factory):
    ran = tmp_path_factory.mktemp("ran") / "ran"
    code = HOSTILE_CODE.format(str(ran))
    for name in (
        "device.py",
        "layers.csv.py",
        "sitecustomize.py",
        "__init__.py",
        "conftest.py",
        "csv.py",
        "x.pth",
    ):
        (copy / name).write_text(f"import os; {code}\n")

    class Payload:
        def __reduce__(self):
            return (exec, (code,))

    for name in ("layers.pkl", "device.pickle", "layers.csv.pkl", "model.joblib", "model.pt"):
        (copy / name).write_bytes(pickle.dumps(Payload()))
    text = (copy / "layers.csv").read_text().replace("relu", f"\"__import__('os') {code[:60]}\"")
    (copy / "layers.csv").write_text(text)
    with_info(
        copy, name=f"eval {code[:50]}".replace("/", " "), settings={"py/object": "os.system", "!!python": 1}
    )
    command = [sys.executable, "-P", "-c", WATCH, str(folder), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT.parent, env=environment())
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]" and not ran.exists()


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_pickles_is_no_table(copy, name):
    (copy / name).write_bytes(pickle.dumps({"kind": ["conv2d"]}))
    with pytest.raises(InvalidInput, match=f"{name}: (not UTF-8 text|it has NUL)"):
        DeviceProfile.load(copy)


def put_pipe(path):
    os.mkfifo(path)


def put_loop(path):
    path.symlink_to(path)


def put_device(path):
    path.symlink_to("/dev/zero")


def put_folder(path):
    path.mkdir()


def put_dangling_link(path):
    path.symlink_to(path.parent / "nowhere")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("put", "message"),
    [
        (put_pipe, "a pipe, socket or device; wanted a regular file"),
        (put_device, "a pipe, socket or device; wanted a regular file"),
        (put_folder, "a folder; wanted a regular file"),
        (put_loop, "cannot be read: Too many levels of symbolic links"),
        (put_dangling_link, "no such file"),
    ],
)
def test_only_regular_files_are_read_and_nothing_blocks(copy, name, put, message):
    (copy / name).unlink()
    put(copy / name)
    with pytest.raises(InvalidInput, match=f"{name}: {message}"):
        DeviceProfile.load(copy)


def test_a_file_where_the_folder_should_be_is_an_error(copy):
    with pytest.raises(InvalidInput, match="device.json: cannot be read: Not a directory"):
        DeviceProfile.load(copy / "layers.csv")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, "name = None; wanted the name of the device"),
        ("", "name = ''; wanted the name"),
        ("  ", "wanted the name of the device"),
        (["law"], "name = \\['law'\\]; wanted the name"),
        ("../../x", "it must be a name, not a path"),
        ("/etc/passwd", "it must be a name, not a path"),
        ("C:\\x", "it must be a name, not a path"),
        ("\x1b]0;owned\x07", "a character that is not printable"),
        ("a\u202eb", "a character that is not printable"),
        ("\ud800", "a character that is not printable"),
        ("=1+1", "a spreadsheet would run it as a formula"),
        ("x" * 1000, "it has 1,000 characters; at most 200 are accepted"),
    ],
)
def test_a_name_that_is_none_is_refused(tmp_path, name, message):
    with pytest.raises(InvalidInput, match=f"device.json: name = .*|{message}") as error:
        read_info(with_info(tmp_path, name=name) / "device.json")
    assert re.search(message, str(error.value)) and str(error.value).isprintable()


def test_names_of_real_devices_are_accepted():
    for name in (
        "Intel(R) Core(TM) i7 CPU @ 2.60GHz",
        "AMD Ryzen 5 w/ Radeon Graphics",
        "nvidia-h200",
        "[red]",
    ):
        check_device_name(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested deeper than 32 levels"),
        ('{"a":' * 200 + "1" + "}" * 200, "nested deeper than 32 levels"),
        ('{"protocol_version": ' + "1" * 100_000 + "}", "a whole number of 100,000 digits; at most 18"),
        ('{"protocol_version": 1e999}', "the number 1e999; every number must be finite"),
        ('{"ceilings": NaN}', "the number NaN; every number must be finite"),
        ('{"ceilings": -Infinity}', "the number -Infinity"),
        ('{"name": "a", "name": "b"}', "the key 'name' occurs twice"),
        ('{"name": "a\nb"}', "line 1: invalid JSON: Invalid control character"),
        ('{"name": "a"} x', "line 1: invalid JSON: Extra data"),
        ("NaN", "the number NaN"),
        ('"text"', "wanted an object with name"),
        (" " * 2_000_000, "2,000,000 bytes; at most 1,048,576 are read"),
        ("\0", "it has NUL"),
    ],
)
def test_json_that_would_break_a_reader_is_refused(tmp_path, text, message):
    (tmp_path / "device.json").write_text(text)
    with pytest.raises(InvalidInput, match=f"device.json.*{message}"):
        read_info(tmp_path / "device.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"ceilings": {**vars_of(CEILINGS), "flops_per_s": 60.0}},
            "flops_per_s = 60; plausible is 100000",
        ),
        ({"ceilings": {**vars_of(CEILINGS), "launch_s": 5.0}}, "launch_s = 5; plausible is .* seconds"),
        ({"ceilings": {**vars_of(CEILINGS), "bytes_per_s": True}}, "bytes_per_s = True; it must be a number"),
        ({"hardware": ["cpu"]}, "hardware = \\['cpu'\\]; it must be an object"),
        ({"settings": None}, "settings = None; it must be an object"),
        ({"protocol_version": True}, "protocol_version = True; it must be a whole number"),
        ({"protocol_version": 1.0}, "protocol_version = 1; it must be a whole number"),
    ],
)
def test_a_device_file_that_the_rest_could_not_rely_on_is_refused(tmp_path, changes, message):
    with pytest.raises(InvalidInput, match=message):
        read_info(with_info(tmp_path, **changes) / "device.json")


def test_texts_of_a_device_file_are_made_printable(tmp_path):
    sensors = [{"name": "nvml", "reason": "lost\n\x1b[2J"}]
    info = read_info(with_info(tmp_path, sensors=sensors) / "device.json")
    assert info["sensors"] == [{"name": "nvml", "reason": "lost \ufffd[2J"}]


def test_a_newer_protocol_is_refused_and_an_older_one_is_stated(copy, monkeypatch):
    with_info(copy, protocol_version=2)
    with pytest.raises(
        InvalidInput, match="protocol_version = 2; this version of hwopt reads up to 1; upgrade hwopt"
    ):
        DeviceProfile.load(copy)
    monkeypatch.setattr(device_file, "PROTOCOL_VERSION", 3)
    stated = DeviceProfile.load(copy).notes
    assert stated == (
        "device.json: measured with protocol 2, the newest is 3: columns added since are empty",
    )
    monkeypatch.setattr(device_file, "OLDEST_PROTOCOL", 3)
    with pytest.raises(
        InvalidInput, match="protocol_version = 2; the oldest that this version of hwopt reads"
    ):
        DeviceProfile.load(copy)


def test_networks_that_are_in_one_file_only_are_stated(copy):
    text = (copy / "networks.csv").read_text()
    (copy / "networks.csv").write_text(text.replace("net-1,", "other,"))
    assert DeviceProfile.load(copy).notes == (
        "networks.csv: 1 networks are not in network_layers.csv and not used: 'other'",
        "network_layers.csv: 1 networks are not in networks.csv and not used: 'net-1'",
    )


def test_a_profile_that_is_being_written_is_read_without_its_last_line(copy):
    for name in ("layers.csv", "networks.csv", "network_layers.csv"):
        (copy / name).write_bytes((copy / name).read_bytes()[:-9])
    profile = DeviceProfile.load(copy)
    assert [note.split(":")[0].split(",")[0] for note in profile.notes[:3]] == [
        "layers.csv", "networks.csv", "network_layers.csv",
    ]  # fmt: skip
    assert len(profile.networks) == 2 and "net-2" in profile.notes[-1]


def test_rows_of_another_device_are_stated(copy):
    with_info(copy, name="other")
    assert DeviceProfile.load(copy).notes == ("layers.csv: rows of 'law', but the profile is of 'other'",)


def test_notes_of_a_profile_begin_those_of_its_models_and_predictions(copy):
    from torch import nn

    from hwopt.network import trace

    device = load_device(with_info(copy, name="other"))
    assert device.profile.notes
    assert device.model("paleo").notes[: len(device.profile.notes)] == list(device.profile.notes)
    prediction = device.predict(trace(nn.ReLU(), (4, 8, 8)), "paleo")
    assert prediction.notes[: len(device.profile.notes)] == device.profile.notes


def test_markup_and_escapes_of_a_profile_do_not_reach_the_terminal(copy, monkeypatch, capsys):
    with_info(copy, name="[red]law[/blue]", sensors=["\x1b[2J"])
    text = (copy / "layers.csv").read_text()
    (copy / "layers.csv").write_text(
        text.replace("relu", "[bold]odd[/nothing]").replace(",ok,,", ",ok,\x1b[2J,")
    )
    arguments = ["predict", "torchvision:squeezenet1_1", "--device", str(copy), "--method", "paleo"]
    monkeypatch.setattr(sys, "argv", ["hwopt", *arguments])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    out = capsys.readouterr().out
    assert "[red]law[/blue]" in out and "'[bold]odd[/nothing]'" in out and "\x1b" not in out


def test_what_a_run_left_behind_is_read_with_the_same_checks(copy):
    (copy / "network_layers.csv").write_bytes(b"network,position\n\xff,1\n")
    with pytest.raises(InvalidInput, match="network_layers.csv: not UTF-8"):
        drop_orphans(copy)
    (copy / "network_layers.csv").write_bytes(b"net,position\nmine,1\n")
    with pytest.raises(InvalidInput, match="network_layers.csv: column network is missing"):
        drop_orphans(copy)
    assert (copy / "network_layers.csv").read_bytes() == b"net,position\nmine,1\n"
    for name in ("networks.csv", "network_layers.csv"):
        (copy / name).write_bytes(b"network,posi")  # ended while the names were written
    drop_orphans(copy)
    assert not (copy / "networks.csv").exists() and not (copy / "network_layers.csv").exists()


@pytest.mark.parametrize("settings", [{}, {"protocol": 3}, {"protocol": {"rotation_bytes": 10**15}}])
def test_a_folder_is_not_continued_with_operands_of_any_size(copy, settings):
    software = {"torch": version("torch")}
    with_info(copy, kind="cpu", hardware={"model": "here"}, software=software, settings=settings)
    with pytest.raises(
        InvalidInput, match="rotation_bytes = .*; it must be a whole number from 1 to 536,870,912"
    ):
        open_folder(copy, dict, RunSettings("here", "default", None, 0))


def mutated(content, changes):
    """Return bytes that were cut, deleted, inserted or replaced at places given as shares of the length."""
    content = bytearray(content)
    for place, kind, new in changes:
        at = int(place * len(content))
        if kind == "truncate":
            del content[at:]
        elif kind == "delete":
            del content[at : at + 1 + len(new)]
        elif kind == "insert":
            content[at:at] = new
        else:
            content[at : at + len(new)] = new
    return bytes(content)


SNIPPETS = [
    b",",
    b"\n",
    b'"',
    b"\r",
    b"-",
    b"e",
    b"9",
    b"0",
    b".",
    b"\0",
    b"\xff",
    b"{",
    b"[",
    b"]",
    b":",
    b"=",
    b"\t",
]
CHANGE = st.tuples(
    st.floats(0, 1, exclude_max=True),
    st.sampled_from(["truncate", "delete", "insert", "flip"]),
    st.one_of(st.sampled_from(SNIPPETS), st.binary(max_size=3)),
)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(FILES), changes=st.lists(CHANGE, min_size=1, max_size=4))
def test_a_damaged_profile_loads_or_says_what_is_wrong(folder, copy, name, changes):
    (copy / name).write_bytes(mutated((folder / name).read_bytes(), changes))
    try:
        profile = DeviceProfile.load(copy)
        assert all(note.isprintable() for note in profile.notes)
    except InvalidInput as error:
        assert str(error).isprintable() and name in str(error)
    finally:
        (copy / name).write_bytes((folder / name).read_bytes())
