"""The dry run of a GPU campaign: every part has rows after any time, and what is there is printed."""

import json
from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest

from experiments.campaigns import gpu_run
from hwopt.errors import InvalidInput
from hwopt.measure.campaign import trace_spec
from hwopt.measure.gpu.part_scheduler import CampaignPart
from hwopt.measure.sampling.architectures.described import Architecture
from hwopt.measure.sampling.architectures.small import Block
from hwopt.measure.sampling.networks import NetworkSpec
from hwopt.measure.system_info import describe_software
from hwopt.profile.device_profile import DeviceProfile, read_networks


def small(n, split="fit"):
    blocks = (Block("residual", 8 * n, 3, True, "ReLU", "max"), Block("plain", 16, 3, True, "ReLU", "none"))
    built = Architecture.of("small_cnn", input_shape=(3, 32, 32), blocks=blocks, hidden=(32,))
    return NetworkSpec(f"small{n}-b8", "random", split, (8, 3, 32, 32), built, built.description)


@pytest.fixture
def quick(monkeypatch):
    """Few small networks in place of the campaign's own, so that tracing them takes no time."""
    splits = ("fit", "calibrate", "test")
    monkeypatch.setattr(
        gpu_run, "choose_gpu_networks", lambda rng: [small(n, splits[n % 3]) for n in range(1, 30)]
    )
    monkeypatch.setattr(gpu_run, "operator_sources", lambda rng: [small(n) for n in range(30, 36)])
    own = gpu_run.groups()
    table = [replace(small(n), source="neuralpower") for n in (40, 41)]
    few = [gpu_run.Group("neuralpower", 0.2, 1.0, table), *own[1:]]
    monkeypatch.setattr(gpu_run, "groups", lambda seed=0: few)


def run(out, seconds, *more):
    return gpu_run.main(["--device", "simulated", "--seconds", str(seconds), "--out", str(out), *more])


def test_a_dry_run_has_rows_of_every_part_says_what_is_there_and_goes_on(quick, tmp_path, capsys):
    assert run(tmp_path, 70) == 0
    printed = capsys.readouterr().out
    profile = DeviceProfile.load(tmp_path / "profile")
    assert len(profile.layers) > 8 and profile.layers["energy_j"].notna().any() and len(profile.networks) > 3
    modes = Counter(read_networks(tmp_path / "neuralpower" / "networks.csv")["mode"])
    assert modes == {"graph": 2, "eager": 2}
    table = pd.read_csv(tmp_path / "fronts" / "predicted.csv")
    assert len(table) and {"time_s", "predicted_time_s", "mode", "reason"} <= set(table.columns)
    spaces = pd.read_csv(tmp_path / "spaces" / "predicted.csv")
    assert len(spaces) and {"time_s", "predicted_time_s", "mode", "reason"} <= set(spaces.columns)
    hyperpower = read_networks(tmp_path / "hyperpower" / "networks.csv")
    assert set(hyperpower["mode"]) == {"graph"} and "kernel" in "".join(hyperpower["config"])
    assert hyperpower[["time_s", "power_w", "memory_bytes"]].notna().all(axis=None)
    for text in ("neuralpower: small40-b8 graph: ", "predicted / measured", "hyperpower_mnist: "):
        assert text in printed, text
    assert run(tmp_path, 12) == 0
    more = DeviceProfile.load(tmp_path / "profile")
    assert len(more.layers) > len(profile.layers)
    assert Counter(read_networks(tmp_path / "neuralpower" / "networks.csv")["mode"]) == modes


def test_an_interrupted_run_keeps_its_rows_and_prints_them(quick, tmp_path, capsys, monkeypatch):
    known, calls = gpu_run.NetworkPart.take, []

    def interrupted(part: CampaignPart):
        calls.append(part)
        if len(calls) > 12:
            raise KeyboardInterrupt
        return known(part)

    monkeypatch.setattr(gpu_run.NetworkPart, "take", interrupted)
    assert run(tmp_path, 300) == 130
    printed = capsys.readouterr()
    assert "every finished row is kept" in printed.err and "neuralpower: small40-b8 graph" in printed.out


def test_another_seed_draws_other_networks_of_the_search_spaces():
    first, other = (gpu_run.space_networks(seed) for seed in (0, 1))
    assert len({network.name for network in (*first, *other)}) == len(first) + len(other)
    assert all(a.config != b.config for a, b in zip(first[:6], other[:6], strict=True))
    assert {network.name.partition("-")[0] for network in first[:6]} == set(gpu_run.SEARCHED)
    assert {network.input_shape[0] for network in first} == set(gpu_run.SEARCHED_BATCHES)
    for network in first[:6]:
        assert trace_spec(network, "float32").layers


def test_groups_are_chosen_by_name(quick, tmp_path, capsys):
    assert run(tmp_path, 35, "--groups", "neuralpower") == 0
    assert (tmp_path / "neuralpower").exists() and not (tmp_path / "hyperpower").exists()
    capsys.readouterr()
    assert run(tmp_path, 35, "--groups", "neuralpowr") == 2
    assert (
        "no group neuralpowr; the groups are neuralpower, fronts, hyperpower, spaces"
        in capsys.readouterr().err
    )


def test_the_report_alone_needs_no_device(tmp_path, capsys):
    assert gpu_run.main(["--report", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "profile: nothing yet" in printed and "nothing was measured into" in printed


def test_a_gpu_that_is_not_there_is_an_error_and_not_a_traceback(quick, tmp_path, capsys):
    assert gpu_run.main(["--device", "cuda:9", "--out", str(tmp_path)]) == 2
    assert "device 'cuda:9'" in capsys.readouterr().err


def test_the_fronts_are_the_committed_ones_at_the_batch_of_their_experiment():
    found = gpu_run.front_networks()
    front = pd.read_csv(gpu_run.ROOT / "results" / "fashion_mnist_cpu" / "front.csv")
    own = [one for one in found if one.name.startswith("fashion_mnist_cpu-")]
    assert len(own) == len(front) and {one.input_shape for one in own} == {(32, 1, 28, 28)}
    assert json.loads(own[0].config)["fc_units"] == front["fc_units"].iloc[0]
    assert own[0].build()[0].out_channels == front["features"].iloc[0]


def test_forty_networks_of_both_spaces_come_in_turns():
    found = gpu_run.hyperpower_networks()
    assert len(found) == len({one.config for one in found}) == 40
    assert [one.name for one in found[:2]] == ["hyperpower_mnist-0-b128", "hyperpower_cifar10-0-b128"]


@pytest.mark.parametrize(
    ("model", "torch", "is_copied"),
    [("NVIDIA H200", "2.11.0", True), ("NVIDIA H200", "9.9", False), ("NVIDIA H100", "2.11.0", False)],
)
def test_a_shipped_profile_goes_on_only_on_its_own_gpu(tmp_path, monkeypatch, model, torch, is_copied):
    monkeypatch.setattr(gpu_run, "describe_software", lambda: describe_software() | {"torch": torch})
    folder = gpu_run.profile_folder(tmp_path, model, "default")
    assert (folder / "device.json").exists() == is_copied
    if is_copied:
        assert len(DeviceProfile.load(folder).networks) > 40
        assert gpu_run.profile_folder(tmp_path, "another", "default") == folder  # it is refused when opened


def test_a_front_without_its_space_is_refused_with_the_file(tmp_path):
    (tmp_path / "fashion_mnist_cpu").mkdir()
    (tmp_path / "fashion_mnist_cpu" / "front.csv").write_text("trial,features\n1,20\n")
    with pytest.raises(InvalidInput, match="kernel"):
        gpu_run.front_networks(tmp_path)
