"""The whole path on this machine, with a tiny budget; contended rows are allowed, it may be busy."""

import csv
import json
from dataclasses import replace
from functools import partial
from itertools import chain, repeat

import numpy as np
import pytest
from skopt.space import Categorical, Integer
from torch import nn

from hwopt.errors import InvalidInput
from hwopt.measure import profile_device
from hwopt.measure.campaign import Deadline, trace_spec
from hwopt.measure.campaign_folder import drop_orphans
from hwopt.measure.cpu import reference_workloads
from hwopt.measure.cpu.campaign import CpuCampaign
from hwopt.measure.cpu.contention import ContentionLimits
from hwopt.measure.sampling.networks import NetworkSpec
from hwopt.measure.sampling.operators import key_of, sample_operators
from hwopt.measure.system_info import cpu_model, last_level_cache_bytes
from hwopt.network import trace
from hwopt.network.layer import SHAPE_COLUMNS
from hwopt.profile import DeviceProfile
from hwopt.profile.device_profile import read_layers, read_networks
from hwopt.profile.schema import LAYER_KEY
from hwopt.space.search_space import SearchSpace


def build(config):
    pool = nn.MaxPool2d(2) if config["pool"] == "max" else nn.AvgPool2d(2)
    conv = nn.Conv2d(1, config["features"], 3)
    return nn.Sequential(conv, nn.ReLU(), pool, nn.Flatten(), nn.Linear(config["features"] * 25, 10))


SPACE = SearchSpace(
    [Integer(4, 64, name="features"), Categorical(["max", "avg"], name="pool")],
    build=build,
    input_shape=(1, 12, 12),
)


@pytest.fixture(scope="module", autouse=True)
def a_load_beside_the_tests_refuses_nothing():
    anything = ContentionLimits(others_cores=float("inf"), own_cores=0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "hwopt.measure.cpu.campaign.MonitoredTimer",
            partial(reference_workloads.MonitoredTimer, limits=anything),
        )
        for name in reference_workloads.TOLERANCES:
            patch.setitem(reference_workloads.TOLERANCES, name, float("inf"))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("profile") / "here"
    messages = []
    profile_device(
        folder,
        budget_s=3,
        space=SPACE,
        batch_size=4,
        progress=lambda *message: messages.append(message),
        name="here",
    )
    assert {message[0] for message in messages} == {"operators", "networks"}
    assert all(done <= total for _, done, total, _ in messages)
    return folder


def test_a_measured_profile_is_complete_and_honest(folder):
    profile = DeviceProfile.load(folder)
    assert len(profile.layers) >= 8 and len(profile.networks) >= 4
    assert set(profile.layers["status"]) <= {"ok", "contended", "failed"}
    has_time = profile.layers["time_s"].notna()
    assert (has_time == (profile.layers["status"] == "ok")).all()
    assert (profile.layers.loc[~has_time, "time_reason"] != "").all()
    assert profile.layers["energy_j"].isna().all() and (profile.layers["energy_reason"] != "").all()
    assert profile.networks["batch"].eq(4).all()
    measured = profile.networks["memory_bytes"].notna()
    assert (profile.networks.loc[~measured, "memory_reason"] != "").all()
    assert set(profile.network_layers["network"]) == set(profile.networks["network"])
    assert {"conv2d", "relu", "linear"} <= set(profile.network_layers["kind"])


def read_repeats(folder, role):
    with (folder / "repeats.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["role"] == role]


def test_reference_workloads_were_measured_with_every_group(folder):
    reference_workloads = read_repeats(folder, "sentinel")
    assert {row["key"] for row in reference_workloads} == {"product", "stream", "overhead"}
    assert len(reference_workloads) > 3 * 5  # more than before the first group


def test_a_twentieth_of_the_rows_is_measured_again_at_the_end(folder, tmp_path):
    info = json.loads((folder / "device.json").read_text())
    graph = trace(build({"features": 8, "pool": "max"}), (1, 12, 12), 4)
    operators = sample_operators(8, np.random.default_rng(0), [graph]).operators
    deadline = Deadline(1e6)
    with CpuCampaign(tmp_path, info, deadline, lambda *message: None, accepts_busy=True) as campaign:
        campaign.timer.protocol = replace(campaign.timer.protocol, agreement=float("inf"))
        campaign.measure_operators(operators)
    (repeat,) = read_repeats(tmp_path, "repeat")
    assert float(repeat["ratio"]) > 0 and repeat["file"] == "layers.csv"
    assert any(repeat["key"].startswith(operator.layer.kind) for operator in operators)


def campaign_here(folder, here, deadline, **options):
    info = json.loads((here / "device.json").read_text())
    folder.mkdir()
    return CpuCampaign(folder, info, deadline, lambda *message: None, accepts_busy=True, **options)


def few_networks(n):
    builds = [partial(build, {"features": 4 + i, "pool": "max"}) for i in range(n)]
    return [NetworkSpec(f"net-{i}", "space", "test", (4, 1, 12, 12), one) for i, one in enumerate(builds)]


def test_held_out_operators_hold_each_operator_of_the_test_networks_once(folder, tmp_path):
    networks = few_networks(2)
    with campaign_here(tmp_path / "out", folder, Deadline(1e6)) as campaign:
        campaign.measure_networks(networks)
        campaign.measure_held_out_operators(networks)
        campaign.measure_held_out_operators(networks)
    found = read_layers(tmp_path / "out" / "oracle.csv")
    layers = [layer for network in networks for layer in trace_spec(network).layers]
    keys = {tuple(row) for row in found[list(LAYER_KEY)].itertuples(index=False, name=None)}
    assert keys == {key_of(layer) for layer in layers} and len(found) == len(keys)
    assert found["time_s"].notna().all() and set(found["source"]) == {"oracle"}


@pytest.mark.parametrize(("has_held_out", "n_measured"), [(True, 4), (False, 10)])
def test_around_a_space_a_spent_budget_is_overrun_for_the_networks_that_calibrate(
    folder, tmp_path, has_held_out, n_measured
):
    moments = chain([0.0], repeat(110.0))  # of a budget of 100 s, spent when the campaign begins
    deadline = Deadline(100.0, lambda: next(moments))
    with campaign_here(tmp_path / "out", folder, deadline, has_held_out=has_held_out) as campaign:
        campaign.measure_networks(few_networks(10))
    assert len(read_networks(tmp_path / "out" / "networks.csv")) == n_measured


def test_the_device_file_tells_the_machine_but_no_host_and_no_folder(folder):
    text = (folder / "device.json").read_text()
    info = json.loads(text)
    assert info["settings"]["n_threads"] == 1 and info["protocol_version"] == 1
    assert info["hardware"]["model"] and info["software"]["torch"]
    assert isinstance(info["settings"]["counters"]["others_cpu"], bool)
    assert {sensor["name"].split(":")[0] for sensor in info["sensors"]} == {"nvml", "rapl"}
    import os
    import socket

    assert socket.gethostname() not in text.split('"') and os.getcwd() not in text


def test_a_second_run_skips_what_is_there(folder):
    before = DeviceProfile.load(folder)
    profile_device(folder, budget_s=0.5, space=SPACE, batch_size=4, name="here")
    after = DeviceProfile.load(folder)  # loading refuses a key that was measured twice
    kept = before.measured_layers.merge(after.measured_layers, on=[*SHAPE_COLUMNS, "time_s"])
    assert len(kept) == len(before.measured_layers)
    assert len(after.layers) >= len(before.layers)


def test_layers_of_a_network_whose_row_was_not_written_are_dropped(folder):
    lines = (folder / "network_layers.csv").read_text().splitlines()
    orphan = ",".join(["orphan", *lines[1].split(",")[1:]])
    (folder / "network_layers.csv").write_text("\n".join([*lines, orphan, "cut off"]))
    drop_orphans(folder)
    assert (folder / "network_layers.csv").read_text().splitlines() == lines


def test_a_folder_of_another_machine_is_not_continued(folder, tmp_path):
    info = json.loads((folder / "device.json").read_text())
    info["hardware"]["model"] = "Z80"
    (tmp_path / "device.json").write_text(json.dumps(info))
    with pytest.raises(InvalidInput, match="processor 'Z80', but this run has .*another folder"):
        profile_device(tmp_path, budget_s=1, space=SPACE)


def test_what_cannot_be_measured_is_refused_at_once(tmp_path):
    with pytest.raises(InvalidInput, match="device 'cuda:0': torch sees no GPU here"):
        profile_device(tmp_path, device="cuda:0")
    with pytest.raises(InvalidInput, match="budget_s = 0"):
        profile_device(tmp_path, budget_s=0)
    with pytest.raises(InvalidInput, match="batch_size = 0"):
        profile_device(tmp_path, batch_size=0)
    with pytest.raises(InvalidInput, match="no build or no input_shape"):
        profile_device(tmp_path, space=SearchSpace([Integer(1, 3, name="n")]))
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="is a file; a profile is a folder"):
        profile_device(tmp_path / "file", space=SPACE)


def test_the_processor_is_read_from_what_linux_shows(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: Some  CPU @ 3 GHz\n")
    assert cpu_model(tmp_path / "cpuinfo") == "Some CPU @ 3 GHz"
    assert cpu_model(tmp_path / "absent")
    for index, size in enumerate(["32K", "1024K", "32M"]):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "size").write_text(size + "\n")
    assert last_level_cache_bytes(tmp_path) == 32 * 2**20
    assert last_level_cache_bytes(tmp_path / "absent") is None
