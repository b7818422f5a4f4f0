"""The whole way of a GPU's profile in virtual time: sensor, rows, resuming, loading, fitting; no GPU."""

import json
import shutil
from dataclasses import replace
from functools import partial

import pytest

from hwopt.errors import InvalidInput
from hwopt.measure.api import measure_networks, profile_device
from hwopt.measure.energy.sensors.simulated import H200_LATENCIES, Fault
from hwopt.measure.gpu.campaign import CampaignStopped
from hwopt.measure.gpu.campaign_session import RowShares
from hwopt.measure.gpu.open_gpu import open_gpu, parse_device
from hwopt.measure.gpu.precision import Precision
from hwopt.measure.gpu.profile_gpu import measure_gpu_networks, profile_gpu
from hwopt.measure.gpu.simulated import CAP_W, IDLE_W, LAUNCH_S, eager_time_s, simulated_time_and_power
from hwopt.measure.local_device import LocalDevice
from hwopt.measure.sampling.architectures.small import Block, SmallCNN
from hwopt.measure.sampling.networks import NetworkSpec
from hwopt.predict.device import load_device
from hwopt.profile.device_profile import DeviceProfile
from hwopt.report.device import profile_report

PRECISION = Precision.named("default")
SPLITS = ("fit", "calibrate", "test")


def network(i):
    blocks = (
        Block("residual", 16 + 8 * i, 3, True, "ReLU", "max"),
        Block("separable", 32, 3, True, "ReLU", "none"),
    )
    build = partial(SmallCNN, (3, 32, 32), blocks[: 1 + i % 2], (16 * (i + 1),))
    return NetworkSpec(f"net-{i}", "random", SPLITS[i % 3], (4 * (i + 1), 3, 32, 32), build)


NETWORKS = [network(i) for i in range(9)]


def profiled(folder, budget_s=400.0, opened=None, precision=PRECISION):
    messages = []
    with open_gpu("simulated", precision) as fresh:
        profile_gpu(
            folder, opened or fresh, budget_s, precision, NETWORKS, NETWORKS, lambda *m: messages.append(m),
            n_operators=40, row_shares=RowShares(energy_share=0.3, eager_share=1.0),
        )  # fmt: skip
    return messages


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu") / "simulated"
    profiled(folder)
    return folder


def test_a_profile_holds_the_sensor_its_plan_and_the_ceilings(folder):
    info = json.loads((folder / "device.json").read_text())
    assert info["is_simulated"] and info["kind"] == "gpu" and info["name"] == "simulated-gpu"
    sensor = info["sensor"]
    assert sensor["period_s"] == pytest.approx(0.1, rel=0.02)
    assert sensor["known"] == "Simulated GPU, driver simulated" and sensor["sampling_share"] == 1.0
    assert sensor["plan"]["idle_w"] == pytest.approx(IDLE_W, rel=0.02)
    assert info["ceilings"]["launch_s"] == LAUNCH_S and "flops_per_s_bfloat16" in info["ceilings"]
    assert info["settings"]["precision"] == "default" and info["settings"]["cudnn_benchmark"] is False


def test_every_part_was_measured_and_a_model_fits(folder):
    profile = DeviceProfile.load(folder)
    assert len(profile.layers) == 40 and set(profile.layers["source"]) == {"network", "sobol"}
    assert set(profile.networks["mode"]) == {"eager", "graph"} and len(profile.networks) == 18
    assert len(profile.held_out) and set(profile.repeats["role"]) == {"sentinel", "repeat"}
    assert profile.layers["power_w"].dropna().between(IDLE_W, CAP_W).all()
    device = load_device(folder)
    table = device.model("paleo").validation()
    assert {"time_s", "power_w", "energy_j", "memory_bytes"} == set(table["metric"])
    assert "- known: Simulated GPU, driver simulated" in profile_report(profile)


def test_a_profile_goes_on_where_it_was_and_never_twice(folder, tmp_path):
    for n_runs in range(1, 30):
        profiled(tmp_path / "gpu", budget_s=60.0 if n_runs == 1 else 15.0)
        loaded = DeviceProfile.load(tmp_path / "gpu")
        if len(loaded.held_out) == len(DeviceProfile.load(folder).held_out):
            break
    assert n_runs > 2
    assert len(loaded.networks) == 18 and len(loaded.layers) == 40


def test_another_precision_or_model_does_not_go_on_in_the_same_folder(folder):
    with pytest.raises(
        InvalidInput, match="precision 'default', but this run has 'bfloat16'; measure into another"
    ):
        profiled(folder, precision=Precision.named("bfloat16"))


def test_bfloat16_is_a_campaign_of_its_own(tmp_path):
    profiled(tmp_path / "gpu", budget_s=60.0, precision=Precision.named("bfloat16"))
    profile = DeviceProfile.load(tmp_path / "gpu")
    assert set(profile.layers["dtype"]) == {"bfloat16"} == set(profile.networks["dtype"])


def test_a_lost_device_says_what_is_kept(tmp_path):
    with open_gpu("simulated", PRECISION) as opened:
        opened.accelerator.lost_at_s = 40.0
        with pytest.raises(CampaignStopped, match=r"Simulated GPU was lost: .* the same command continues"):
            profiled(tmp_path / "gpu", opened=opened)
    assert len(DeviceProfile.load(tmp_path / "gpu").layers) > 0


def test_networks_are_measured_outside_any_profile(monkeypatch):
    one = NETWORKS[1]
    (row,) = measure_networks([one], device="simulated")
    from hwopt.measure.campaign import trace_spec

    times, _ = simulated_time_and_power(trace_spec(one).layers, PRECISION)
    host_s = eager_time_s(times, H200_LATENCIES.operator_s)  # whose pace comes and goes
    assert 1 / H200_LATENCIES.spread < row["time_s"] / host_s < H200_LATENCIES.spread
    assert row["energy_j"] > 0 and row["memory_bytes"] > 0 and row["time_reason"] == ""
    assert measure_gpu_networks(LocalDevice("simulated"), [], lambda *m: None) == []


@pytest.mark.parametrize("text", ["tpu", "cuda:x", "cuda:-1", "gpu0", ""])
def test_a_device_that_is_none_is_refused(text):
    with pytest.raises(InvalidInput, match="wanted cpu, cuda, cuda:1 or simulated"):
        parse_device(text)


def test_arguments_are_checked_before_anything_is_opened(tmp_path):
    for change, message in (
        ({"precision": "tf64"}, "no precision 'tf64'"),
        ({"on_busy": "wait"}, "on_busy = 'wait'; wanted refuse or accept"),
        ({"budget_s": 1e12}, "at most 604800"),
        ({"device": "cuda:7"}, "device 'cuda:7': torch sees no GPU here"),
    ):
        with pytest.raises(InvalidInput, match=message):
            profile_device(tmp_path / "out", **{"device": "simulated", **change})
    assert not (tmp_path / "out").exists()


def test_a_folder_is_continued_only_as_it_was_begun(folder, tmp_path):
    for change, message in (
        ({"seed": 3}, "with seed 0, but this run has 3; measure into another folder"),
        ({"name": "other"}, "with name 'simulated-gpu', but this run has 'other'"),
    ):
        with pytest.raises(InvalidInput, match=message):
            profile_device(folder, device="simulated", **change)
    (tmp_path / "README.md").write_text("# mine")
    with pytest.raises(InvalidInput, match="has other files and no device.json"):
        profile_device(tmp_path, device="simulated")
    assert (tmp_path / "README.md").read_text() == "# mine"


@pytest.mark.parametrize("name", ["../../etc", "=cmd()", "", 7])
def test_a_name_that_is_none_is_refused_before_anything_is_measured(tmp_path, name):
    with pytest.raises(InvalidInput, match="name = "):
        profile_device(tmp_path / "out", device="simulated", name=name)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("change", [{"seed": -1}, {"seed": 1.5}, {"budget_s": "2m"}, {"batch_size": 0}])
def test_arguments_of_another_kind_are_refused(tmp_path, change):
    (name,) = change
    with pytest.raises(InvalidInput, match=f"{name} = "):
        profile_device(tmp_path / "out", device="simulated", **change)


def test_files_that_a_crash_left_without_a_line_are_begun_again(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "layers.csv").write_bytes(b"")
    (copy / "repeats.csv").write_bytes(b"")
    profiled(copy, budget_s=5.0)
    assert len(DeviceProfile.load(copy).layers) > 0


def test_a_profile_without_networks_gives_no_bound(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    lines = (copy / "networks.csv").read_text().splitlines(keepends=True)
    (copy / "networks.csv").write_text(lines[0])
    model = load_device(copy).model("paleo")
    assert {metric: len(found) for metric, found in model.residuals.items()} == {
        "time_s": 0, "power_w": 0, "energy_j": 0, "memory_bytes": 0,
    }  # fmt: skip
    assert any(note.startswith("energy_j: no measured network to calibrate on") for note in model.notes)


def test_what_is_simulated_says_so_wherever_it_is_used(folder):
    assert any(note.startswith("simulated: ") for note in DeviceProfile.load(folder).notes)


def test_a_first_run_too_short_for_an_unknown_sensor_is_made_up_for(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "hwopt.measure.energy.characterization.describe_sensor.known_sensor", lambda model, driver: None
    )
    profiled(tmp_path / "gpu", budget_s=40.0)
    assert not json.loads((tmp_path / "gpu" / "device.json").read_text())["sensor"]["waves"]
    profiled(tmp_path / "gpu", budget_s=400.0)
    sensor = json.loads((tmp_path / "gpu" / "device.json").read_text())["sensor"]
    assert sensor["waves"] and sensor["idle_before_context_w"] == pytest.approx(IDLE_W, rel=0.02)


def test_a_gpu_on_which_others_compute_is_refused_before_the_first_row(tmp_path):
    with open_gpu("simulated", PRECISION) as opened:
        opened.meter._nvml.module.faults = (Fault("other_process"),)
        with pytest.raises(CampaignStopped, match=r"1 other process computes on it, wanted none; end them"):
            profiled(tmp_path / "gpu", opened=opened)
    assert not (tmp_path / "gpu").exists()


def test_a_gpu_without_an_energy_counter_is_measured_for_time_and_memory(tmp_path, folder):
    with open_gpu("simulated", PRECISION) as opened:
        without = replace(opened, meter=None, no_energy="not_supported: energy of nvml:0 Old GPU")
        messages = profiled(tmp_path / "gpu", budget_s=30.0, opened=without)
    assert any("times and memory only, no energy: not_supported" in message[-1] for message in messages)
    profile = DeviceProfile.load(tmp_path / "gpu")
    assert profile.layers["time_s"].notna().all() and profile.layers["energy_j"].isna().all()
    assert profile.layers["energy_reason"].str.startswith("no_sensor: not_supported").all()
