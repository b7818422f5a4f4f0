"""`hwopt measure`: one network measured with the protocol, in a warm loop, and as predicted."""

import json
import math
import re

import pytest

from hwopt.measure import api as measuring
from hwopt.measure.system_info import cpu_model
from tests.profile.profiles import write_profile

ROW = {"time_s": 2e-3, "time_reason": "", "status": "ok", "memory_bytes": 3e6, "memory_reason": "",
       "warm_time_s": 1e-3}  # fmt: skip


@pytest.fixture
def network(tmp_path):
    (tmp_path / "nets.py").write_text(
        "from torch import nn\nINPUT_SHAPE = (1, 8, 8)\n"
        "def make(): return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())\n"
    )
    return f"{tmp_path}/nets.py:make"


@pytest.fixture
def profile(tmp_path):
    path = write_profile(tmp_path / "device", n_networks=60)
    info = json.loads((path / "device.json").read_text())
    (path / "device.json").write_text(json.dumps({**info, "hardware": {"model": cpu_model()}}))
    return path


def measures(monkeypatch, **changes):
    monkeypatch.setattr(measuring, "measure_networks", lambda *a, **k: [ROW | changes])


def test_measured_warm_and_predicted_stand_side_by_side(monkeypatch, network, profile, command_line):
    measures(monkeypatch)
    code, out, _ = command_line("measure", network, "--profile", profile, "--batch-size", 2)
    assert code == 0 and f"make on cpu ({cpu_model()}), input 2x1x8x8, eager" in out
    time = next(line for line in out.splitlines() if line.startswith("time"))
    assert "2 ms" in time and "1 ms" in time and " to " in time
    assert "0.50 of the measured time" in out and "the same cached input repeatedly" in out
    assert "outside its interval" in out  # the law takes some 20 us


def test_the_same_as_json_and_nothing_else(monkeypatch, network, profile, command_line):
    measures(monkeypatch)
    code, out, _ = command_line("measure", network, "--profile", profile, "--json")
    content = json.loads(out)
    assert code == 0 and content["measured"]["time_s"] == 2e-3 and content["measured"]["warm_time_s"] == 1e-3
    low, high = content["predicted"]["interval_90"]["time_s"]
    assert low <= content["predicted"]["total"]["time_s"] <= high < math.inf


def test_what_could_not_be_measured_says_why(monkeypatch, network, command_line):
    measures(monkeypatch, time_s=None, time_reason="rounds disagree", warm_time_s=None)
    code, out, _ = command_line("measure", network)
    assert code == 0 and "no time: rounds disagree" in out and "warm loop:" not in out
    measures(monkeypatch, status="shared")
    assert "CPU contention" in command_line("measure", network)[1]


def test_a_device_without_a_profile_is_measured_all_the_same(network, command_line):
    code, out, _ = command_line("measure", network, "--device", "simulated", "--mode", "graph")
    assert code == 0 and "no profile of this device" in out
    power = next(line for line in out.splitlines() if line.startswith("power"))
    assert " W" in power


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--device", "cuda:7"), "torch sees"),
        (("--device", "tpu"), "wanted cpu, cuda"),
        (("--device", "simulated", "--mode", "grph"), "mode 'grph'; wanted eager or graph"),
        (("--profile", "nvidia-h200", "--device", "cpu"), "this machine has another|not of cpu"),
        (("--profile", "nowhere"), "no device profile 'nowhere'"),
        (("--mode", "graph"), "mode 'graph'"),
        (("--input-shape", "a"), "write 3,224,224"),
    ],
)
def test_what_cannot_be_measured_here_is_refused_in_words(network, command_line, arguments, said):
    code, _, err = command_line("measure", network, *arguments)
    assert code == 2
    assert re.search(said, err), err
