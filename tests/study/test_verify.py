"""A search measures its front on the device that its costs are of, or not at all."""

import json

import pytest

from hwopt.measure import api as measuring
from hwopt.measure.local_device import LocalDevice
from hwopt.measure.sampling.architectures.described import Architecture
from hwopt.measure.sampling.networks import NetworkSpec
from hwopt.measure.system_info import cpu_model
from hwopt.study.store.store import Store
from tests.profile.profiles import write_profile
from tests.test_cli import EXPERIMENT, SPACE


@pytest.fixture
def folder(tmp_path):
    write_profile(tmp_path / "device")
    (tmp_path / "space.py").write_text(SPACE)
    (tmp_path / "x.toml").write_text(EXPERIMENT.replace("retrain_seeds = 1", "measure = true"))
    return tmp_path


def of_model(folder, **changes):
    path = folder / "device" / "device.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def measured(monkeypatch):
    """Replace measuring by a recorder of where and how it is done."""
    calls = []

    def record(candidates, progress, device, on_busy, mode):
        calls.append((device, mode, [candidate.input_shape for candidate in candidates]))
        return [{"time_s": 1e-3, "time_reason": ""} for _ in candidates]

    monkeypatch.setattr(measuring, "measure_networks", record)
    return calls


def checks(folder):
    with Store(folder / "out" / "study.db", read_only=True) as store:
        return store.checks("measured")


def test_a_front_is_measured_on_this_cpu_if_the_profile_is_of_its_model(folder, measured, command_line):
    of_model(folder, hardware={"model": cpu_model()})
    code, out, _ = command_line("search", folder / "x.toml", "--out", folder / "out")
    assert code == 0 and f"measured on cpu ({cpu_model()}), the device of the costs" in " ".join(out.split())
    ((device, mode, shapes),) = measured
    assert (device.device, mode, set(shapes)) == ("cpu", "eager", {(16, 1, 8, 8)})
    assert len(checks(folder)) == len(shapes) > 0


def test_a_front_of_another_device_is_not_measured_and_that_is_said_first(folder, measured, command_line):
    of_model(folder, kind="gpu", hardware={"model": "NVIDIA Z9"})
    code, out, _ = command_line("search", folder / "x.toml", "--out", folder / "out")
    said = out.index("no networks will be measured: profile 'law' is of NVIDIA Z9")
    assert code == 0 and said < out.index("of the space")
    assert measured == [] and checks(folder) == {}


def test_a_simulated_gpu_is_measured_in_the_mode_of_the_experiment():
    one = NetworkSpec(
        "one", "user", "test", (8, 32, 14, 14), Architecture.of("separable", channels=32, kernel=3)
    )
    local = LocalDevice("simulated")
    rows = {
        mode: measuring.measure_networks([one], device=local, mode=mode, with_warm=True)[0]
        for mode in ("eager", "graph")
    }
    assert {mode: row["mode"] for mode, row in rows.items()} == {"eager": "eager", "graph": "graph"}
    assert rows["graph"]["time_s"] < 1.02 * rows["eager"]["time_s"]
    assert 0 < rows["graph"]["warm_time_s"] <= 1.05 * rows["graph"]["time_s"]
