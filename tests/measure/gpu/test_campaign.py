"""A GPU's campaign on a simulated device in virtual time: every row can be held against the device's law."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from torch import nn

from hwopt.measure.campaign import Deadline, trace_spec
from hwopt.measure.energy.sensors.nvml import NvmlMeter
from hwopt.measure.energy.sensors.simulated import Fault, Latencies, SimulatedGpu, SimulatedNvml, VirtualClock
from hwopt.measure.energy.window_plan import WindowPlan
from hwopt.measure.gpu.accelerator import DeviceLost, GpuWorkload
from hwopt.measure.gpu.campaign import GpuCampaign
from hwopt.measure.gpu.campaign_session import CampaignSession, PartShares, RowShares
from hwopt.measure.gpu.precision import Precision
from hwopt.measure.gpu.simulated import (
    IDLE_W,
    SimulatedAccelerator,
    SimulatedLoop,
    eager_time_s,
    simulated_time_and_power,
    workspace_bytes,
)
from hwopt.measure.gpu.workload_measurer import WorkloadMeasurer
from hwopt.measure.gpu.workloads import operator_workload, reference_operators
from hwopt.measure.sampling.architectures.small import Block, SmallCNN
from hwopt.measure.sampling.networks import NetworkSpec
from hwopt.measure.sampling.operators import GPU_PLAN, key_of, key_of_row, sample_operators
from hwopt.profile.device_profile import read_layers, read_network_layers, read_networks, read_repeats

PRECISION = Precision.named("default")
PLAN = WindowPlan(
    window_s=0.3, network_window_s=0.4, preroll_s=0.05, period_s=0.02, sampling_share=1.0, idle_w=IDLE_W
)


def candidate(name, split, channels, batch=8):
    block = Block("residual", channels, 3, True, "ReLU", "max")
    build = partial(SmallCNN, (3, 32, 32), (block,), (16,))
    return NetworkSpec(name, "random", split, (batch, 3, 32, 32), build)


NETWORKS = [
    candidate("one", "fit", 32),
    candidate("two", "test", 64),
    candidate("huge", "test", 4096, batch=4096),
]
OPERATORS = sample_operators(12, np.random.default_rng(0), [trace_spec(NETWORKS[0])], plan=GPU_PLAN).operators


SHARES = PartShares(reference_workloads=0.1)


class Fixed:
    """Chooses operators of a list in its order."""

    def __init__(self, operators):
        self.operators = operators

    def pick(self, rows, pending, n):
        known = {key_of_row(row) for row in rows} | {one.key for one in pending}
        return [one for one in self.operators if one.key not in known][:n]


class Setting:
    """A simulated GPU and how its campaigns are run."""

    def __init__(self, folder, faults=(), lost_at_s=float("inf"), has_meter=True, latencies=None, **plan):
        self.folder, self.messages = folder, []
        self.plan = replace(PLAN, **plan)
        folder.mkdir(exist_ok=True)
        gpu = SimulatedGpu(VirtualClock(), idle_w=IDLE_W, latencies=latencies)
        nvml = SimulatedNvml(gpu, period_s=self.plan.period_s, faults=faults)
        self.meter = NvmlMeter(nvml=nvml) if has_meter else None
        self.accelerator = SimulatedAccelerator(gpu, PRECISION, lost_at_s=lost_at_s)

    def measurer(self):
        return WorkloadMeasurer(self.accelerator, self.meter, self.plan, "" if self.meter else "no driver")

    def run(self, operators=OPERATORS, networks=NETWORKS, budget_s=1e6, shares=SHARES, **row_shares):
        everything = {"energy_share": 1.0, "eager_share": 1.0, "repeat_share": 0.5, "n_held_out_energy": 5}
        session = CampaignSession(
            self.folder,
            {"name": "simulated", "settings": {"dtype": "float32"}},
            self.measurer(),
            Deadline(budget_s, self.accelerator.clock.now),
            RowShares(**{**everything, **row_shares}),
            shares,
        )
        choice = operators if isinstance(operators, Fixed) else Fixed(operators)
        GpuCampaign(session, choice, networks, lambda *message: self.messages.append(message)).run()
        return self

    def read_layers(self):
        return read_layers(self.folder / "layers.csv")

    def read_networks(self):
        return read_networks(self.folder / "networks.csv")

    def read(self):
        return (
            read_layers(self.folder / "layers.csv"),
            read_networks(self.folder / "networks.csv"),
            read_layers(self.folder / "oracle.csv") if (self.folder / "oracle.csv").exists() else [],
            read_repeats(self.folder / "repeats.csv"),
        )


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    return Setting(tmp_path_factory.mktemp("campaign") / "gpu").run()


def law(layers):
    times, powers = simulated_time_and_power(tuple(layers), PRECISION)
    return times.sum(), (times * powers).sum()


def test_operators_have_the_time_power_and_memory_of_the_devices_law(measured):
    layers, *_ = measured.read()
    ok = layers[layers["status"] == "ok"]
    assert len(ok) >= 10
    by_key = {operator.key: operator.layer for operator in OPERATORS}
    for row in ok.to_dict("records"):
        layer = by_key[tuple(row[name] for name in key_columns())]
        time_s, energy_j = law([layer])
        assert row["time_s"] == pytest.approx(time_s, rel=0.01)
        assert row["loop_time_s"] == pytest.approx(time_s, rel=0.01)
        assert row["energy_j"] == pytest.approx(energy_j, rel=0.01)
        assert row["power_w"] * row["loop_time_s"] == pytest.approx(row["energy_j"], rel=1e-4)
        assert row["idle_subtracted_energy_j"] == pytest.approx(energy_j - IDLE_W * time_s, rel=0.02)
        held = layer.input_bytes + layer.weight_bytes + layer.output_bytes + workspace_bytes((layer,))
        assert row["memory_bytes"] == held
        assert row["core_clock_hz"] == 1.98e9 and row["mode"] == "graph"


def key_columns():
    from hwopt.profile.schema import LAYER_KEY

    return LAYER_KEY


def test_networks_are_there_eager_and_as_graphs(measured):
    _, networks, *_ = measured.read()
    graph = trace_spec(NETWORKS[1])
    times, _ = simulated_time_and_power(graph.layers, PRECISION)
    two = networks[networks["network"] == "two"].set_index("mode")
    assert two.loc["graph", "time_s"] == pytest.approx(times.sum(), rel=0.01)
    assert two.loc["eager", "time_s"] == pytest.approx(eager_time_s(times), rel=0.01)
    assert two.loc["eager", "time_s"] > 1.1 * two.loc["graph", "time_s"]
    assert two["energy_j"].notna().all() and (two["modelled_memory_bytes"] == graph.memory_bytes).all()


def test_what_does_not_fit_into_the_memory_has_no_figures_and_the_reason(measured):
    _, networks, *_ = measured.read()
    huge = networks[networks["network"] == "huge"]
    assert len(huge) == 2 and (huge["status"] == "failed").all()
    assert huge[["time_s", "energy_j", "memory_bytes"]].isna().all(axis=None)
    assert (huge["time_reason"] == "out of memory on the GPU").all()
    assert (huge["energy_reason"] == "not_run: out of memory on the GPU").all()


def test_the_oracle_holds_the_operators_of_measured_test_networks_only(measured):
    *_, oracle, _ = measured.read()
    keys = {tuple(row[name] for name in key_columns()) for row in oracle.to_dict("records")}
    assert keys == {key_of(layer) for layer in trace_spec(NETWORKS[1]).layers}
    assert oracle["energy_j"].notna().all()
    assert set(read_network_layers(measured.folder / "network_layers.csv")["network"]) == {
        "one",
        "two",
        "huge",
    }


def test_energy_of_the_oracle_is_of_the_first_networks_only(tmp_path):
    setting = Setting(tmp_path / "gpu").run(n_held_out_energy=0)
    *_, oracle, _ = setting.read()
    assert oracle["time_s"].notna().all() and oracle["energy_j"].isna().all()
    assert oracle["energy_reason"].str.startswith("not_planned: ").all()


def test_reference_workloads_come_throughout_and_a_share_of_rows_again(measured):
    *_, repeats = measured.read()
    counts, references = repeats["role"].value_counts(), repeats[repeats["role"] == "sentinel"]
    assert counts["sentinel"] >= 6 and references["elapsed_s"].min() < 5
    assert references["power_w"].notna().sum() == counts["sentinel"] / 3
    assert 2 <= counts["repeat"] <= 10
    assert repeats["ratio"].between(0.98, 1.02).all()
    assert repeats["elapsed_s"].is_monotonic_increasing
    assert references["key"].nunique() == len(reference_operators("float32")) == 3


def n_oracle():
    return len({key_of(layer) for layer in trace_spec(NETWORKS[1]).layers})


@pytest.mark.parametrize("budget_s", [20.0, 45.0])
def test_a_run_of_any_length_has_its_share_of_every_part(tmp_path, budget_s):
    setting = Setting(tmp_path / "gpu").run(many_operators(), many_networks(), budget_s, energy_share=0.2)
    layers, networks, oracle, repeats = setting.read()
    ends = {"layers": layers, "networks": networks, "repeats": repeats}
    for name, rows in ends.items():  # interleaved: each part goes on to the end
        assert rows["elapsed_s"].max() > 0.7 * budget_s, name
        assert rows["elapsed_s"].min() < 0.5 * budget_s, name
    assert len(oracle) and len(networks) > 4 and len(layers) > 2 * len(networks)
    assert setting.messages[-1][0] == "measuring" and setting.messages[-1][3].startswith("time is up")


def test_operators_with_energy_keep_their_share_at_any_moment(tmp_path):
    setting = Setting(tmp_path / "gpu").run(many_operators(), [], 30.0, energy_share=0.25)
    has_energy = setting.read_layers()["energy_j"].notna().to_numpy()
    assert len(has_energy) > 20
    for n in range(8, len(has_energy)):
        assert abs(has_energy[:n].mean() - 0.25) < 1.5 / n


def test_all_architectures_come_before_a_second_batch_size_also_in_a_folder_that_goes_on(tmp_path):
    batches = [candidate(f"{name}-b{batch}", "fit", 16 + 8 * i, batch)
               for batch in (8, 2) for i, name in enumerate("abcd")]  # fmt: skip
    setting = Setting(tmp_path / "gpu")
    setting.run([], [batches[0], batches[5]])  # a-b8 and b-b2
    setting.run([], batches)
    graphs = setting.read_networks().query("mode == 'graph'")["network"].tolist()
    assert graphs[:2] == ["a-b8", "b-b2"] and set(graphs[2:4]) == {"c-b8", "d-b8"}
    assert len(graphs) == len(set(graphs)) == 8


def test_eager_rows_are_of_the_same_visit_of_neuralpower_first_and_of_a_share_of_others(tmp_path):
    table = [replace(one, source="neuralpower") for one in many_networks()[:2]]
    setting = Setting(tmp_path / "gpu").run([], [*many_networks()[2:], *table], 12.0, eager_share=0.2)
    networks = setting.read_networks()
    eager = networks[networks["mode"] == "eager"]["network"].tolist()
    assert 0.1 < len(eager) / (networks["mode"] == "graph").sum() < 0.45
    setting = Setting(tmp_path / "table").run([], table, eager_share=0.0)
    assert setting.read_networks()["mode"].tolist() == ["graph", "eager"] * 2


def test_a_network_is_built_while_others_are_measured(tmp_path):
    latencies = Latencies(build_s=1.0)
    setting = Setting(tmp_path / "gpu", latencies=latencies).run(many_operators(), many_networks(), 20.0)
    networks = setting.read_networks()
    shown = networks[networks["mode"] == "graph"]["elapsed_s"].diff().dropna()
    quick = Setting(tmp_path / "quick").run(many_operators(), many_networks(), 20.0)
    assert len(networks) >= 0.8 * len(quick.read_networks()) and shown.median() > 1.0


def test_nothing_runs_beside_eager_passes(tmp_path, monkeypatch):
    setting, beside = Setting(tmp_path / "gpu", latencies=Latencies(build_s=3.0)), []
    build, time_eager = SimulatedAccelerator.build, SimulatedLoop.time_eager

    def noted(make, *arguments):
        beside.append(make)
        try:
            return make(*arguments)
        finally:
            beside.remove(make)

    class Slow(Fixed):
        def pick(self, rows, pending, n):
            return noted(
                lambda: setting.accelerator.clock.sleep(4.0) or super(Slow, self).pick(rows, pending, n)
            )

    def checked_passes(loop, n):
        assert loop.mode != "eager" or not beside
        return time_eager(loop, n)

    monkeypatch.setattr(SimulatedAccelerator, "build", lambda *arguments: noted(build, *arguments))
    monkeypatch.setattr(SimulatedLoop, "time_eager", checked_passes)
    setting.run(Slow(many_operators()[:40]), many_networks()[:12])
    assert (setting.read_networks()["mode"] == "eager").sum() == 12


def test_a_network_whose_code_fails_is_a_row_with_the_reason_and_the_others_go_on(tmp_path):
    def broken():
        raise KeyError("no such width")

    bad = NetworkSpec("bad-b8", "space", "fit", (8, 3, 32, 32), broken, "{}")
    networks = Setting(tmp_path / "gpu").run([], [bad, NETWORKS[0]]).read_networks().set_index("network")
    assert (networks.loc["bad-b8", "status"] == "failed").all()
    assert networks.loc["bad-b8", "time_reason"].str.contains("KeyError: 'no such width'").all()
    assert networks.loc["one", "time_s"].notna().all()


def many_operators():
    return sample_operators(150, np.random.default_rng(1), plan=GPU_PLAN).operators


def many_networks():
    splits = ("test", "fit", "calibrate")
    return [candidate(f"net{i}-b8", splits[i % 3], 8 + 8 * i) for i in range(30)]


def test_a_campaign_in_many_short_runs_has_every_row_once(tmp_path, measured):
    setting = Setting(tmp_path / "gpu")
    for n_runs in range(1, 60):
        setting.run(budget_s=7.0)
        if n_runs == 1:  # killed while a row was written
            with (setting.folder / "layers.csv").open("a") as file:
                file.write("simulated,conv2d,1,3,22")
        if setting.messages[-1][3] == "all is measured":
            break
    assert n_runs > 2 and len(setting.read()[2]) == n_oracle()
    for found, whole in zip(setting.read()[:3], measured.read()[:3], strict=True):
        assert len(found) == len(whole) and found["time_s"].notna().sum() == whole["time_s"].notna().sum()
    assert setting.read()[3]["elapsed_s"].is_monotonic_increasing
    assert any(message[3] == "time is up; the same command continues" for message in setting.messages)


def test_rows_beside_another_process_are_refused_and_measured_again_later(tmp_path):
    setting = Setting(tmp_path / "gpu", faults=[Fault("other_process", until_s=3.0)])
    setting.run(networks=[], budget_s=3.0)
    first = read_layers(setting.folder / "layers.csv")
    assert (first["status"] == "contended").all() and first["time_s"].isna().all()
    wanted = "1 other process used the device; end them and measure again"
    assert (first["time_reason"] == wanted).all()
    assert first["energy_reason"].str.startswith("other_process: ").all()
    setting.accelerator.clock.sleep(3)
    setting.run(networks=[])
    after = read_layers(setting.folder / "layers.csv")
    assert len(after) == len(OPERATORS) and (after["status"] != "contended").all()


def test_without_a_meter_times_are_there_and_energy_says_why_not(tmp_path):
    setting = Setting(tmp_path / "gpu", has_meter=False).run(networks=NETWORKS[:2])
    layers, networks, *_ = setting.read()
    assert networks["time_s"].notna().all() and networks["energy_j"].isna().all()
    assert (networks["energy_reason"] == "no_sensor: no driver").all()
    assert layers["core_clock_hz"].isna().all()


@pytest.mark.parametrize("fault", ["stall", "not_supported"])
def test_a_counter_that_fails_leaves_energy_empty_with_its_code(tmp_path, fault):
    setting = Setting(tmp_path / "gpu", faults=[Fault(fault, at_s=0.0)]).run(OPERATORS[:3], NETWORKS[:1])
    layers, networks, *_ = setting.read()
    code = {"stall": "counter_stalled", "not_supported": "not_supported"}[fault]
    assert layers["time_s"].notna().any() and layers["energy_j"].isna().all()
    ran = layers[layers["status"] == "ok"]
    assert ran["energy_reason"].str.startswith(f"{code}: ").all()
    assert networks["energy_reason"].str.startswith(f"{code}: ").all()


@pytest.mark.parametrize("who", ["driver", "accelerator"])
def test_a_device_that_disappears_ends_the_run_and_keeps_the_rows(tmp_path, who):
    faults = [Fault("device_lost", at_s=6.0)] if who == "driver" else []
    setting = Setting(tmp_path / "gpu", faults, lost_at_s=6.0 if who == "accelerator" else float("inf"))
    with pytest.raises(DeviceLost):
        setting.run()
    layers = read_layers(setting.folder / "layers.csv")
    assert 0 < len(layers) < len(OPERATORS) and layers["energy_j"].notna().any()


def test_an_operator_that_cannot_be_captured_is_timed_eagerly_and_says_so(tmp_path):
    class Embedding(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(100, 8)

        def forward(self, x):
            return self.table((x * 9).long())

    accelerator = Setting(tmp_path / "gpu").accelerator
    from hwopt.network import trace

    loop = accelerator.prepare(GpuWorkload("embedding", trace(Embedding(), (5,), 2), Embedding, ((2, 5),)))
    assert (loop.mode, loop.mode_reason[:9]) == ("eager", "no graph:")


def test_readings_of_ten_milliseconds_and_slow_states_do_not_keep_the_device_waiting(tmp_path):
    latencies = Latencies(read_s=(4e-3, 10e-3), state_s=0.03)
    setting = Setting(tmp_path / "gpu", latencies=latencies, period_s=0.1)
    row = setting.measurer().measure(operator_workload(OPERATORS[0]), "graph", True, 0.49)
    time_s, energy_j = law([OPERATORS[0].layer])
    assert row["energy_status"] == "ok", row["energy_reason"]
    assert row["loop_time_s"] == pytest.approx(time_s, rel=0.003)
    assert row["energy_j"] == pytest.approx(energy_j, rel=0.003)
    assert row["energy_uncertainty"] < 0.004


def test_energy_of_other_passes_than_those_that_were_timed_is_refused(tmp_path, monkeypatch):
    setting = Setting(tmp_path / "gpu")
    monkeypatch.setattr(SimulatedLoop, "n_replayed", lambda loop: int(loop._n_run / loop.n_passes / 1.2))
    row = setting.measurer().measure(operator_workload(OPERATORS[0]), "graph", True, 0.3)
    assert row["time_s"] is not None and "energy_j" not in row
    assert row["energy_reason"].startswith("unsteady: a pass took 1.2") and row["energy_status"] == "suspect"


def host_bound(tmp_path, **latencies):
    """Measure a network of many small operators, called by a host whose pace goes by 1.8."""
    realistic = {"read_s": (4e-3, 10e-3), "state_s": 0.03, "operator_s": 30e-6, "spread": 1.8}
    setting = Setting(
        tmp_path / "gpu",
        latencies=Latencies(**{**realistic, **latencies}),
        period_s=0.1,
        network_window_s=1.0,
    )
    return setting, GpuWorkload("one", trace_spec(NETWORKS[0]), NETWORKS[0].build, (NETWORKS[0].input_shape,))


def test_time_and_power_of_a_host_bound_row_are_of_one_window_with_the_spread_of_the_pace(tmp_path):
    setting, workload = host_bound(tmp_path)
    times, powers = simulated_time_and_power(workload.graph.layers, PRECISION)
    for _ in range(3):
        row = setting.measurer().measure(workload, "eager", True, 1.0)
        assert (row["bound"], row["status"], row["energy_status"]) == ("host", "ok", "ok"), row
        assert row["time_s"] == row["loop_time_s"]
        assert row["energy_j"] == pytest.approx(row["power_w"] * row["time_s"])
        at_work = (powers * times).sum() - IDLE_W * times.sum()  # joules of a pass above those of waiting
        assert row["energy_j"] == pytest.approx(IDLE_W * row["time_s"] + at_work, rel=0.02)
        mean_s = 30e-6 * len(times)
        assert 0.7 < row["time_s"] / mean_s < 1.4
        assert 0.02 < row["spread"] < 0.5 and row["energy_uncertainty"] >= row["spread"]


def test_a_host_bound_row_is_kept_without_a_counter_too(tmp_path):
    setting, workload = host_bound(tmp_path)
    setting.meter = None
    row = setting.measurer().measure(workload, "eager", True, 1.0)
    assert row["bound"] == "host" and row["time_s"] > 0 and row["energy_reason"].startswith("no_sensor")


def test_where_the_device_sets_the_pace_eager_rows_are_as_good_as_graphs(tmp_path):
    setting, workload = host_bound(tmp_path, operator_s=1e-6)
    rows = setting.measurer().visit(workload, True, {"eager": 1.0, "graph": 0.49})
    assert set(rows) == {"graph", "eager"} and rows["eager"]["bound"] == "device"
    assert "bound" not in rows["graph"]  # it is of the eager row that the host may set the pace
    for row in rows.values():
        assert (row["status"], row["energy_status"]) == ("ok", "ok"), row
        assert row["time_s"] == pytest.approx(rows["graph"]["time_s"], rel=0.02)
        assert row["memory_bytes"] == rows["graph"]["memory_bytes"] > 0
        assert row["eager_time_s"] == pytest.approx(row["time_s"], rel=0.02)


def test_a_visit_builds_a_network_once_for_both_modes(tmp_path):
    seconds = {}
    for build_s in (0.0, 1.0):
        setting, workload = host_bound(tmp_path, build_s=build_s)
        begin_s = setting.accelerator.clock.now()
        setting.measurer().visit(workload, True, {"eager": 1.0, "graph": 0.49})
        seconds[build_s] = setting.accelerator.clock.now() - begin_s
    assert seconds[1.0] - seconds[0.0] == pytest.approx(1.0, abs=0.4)


def test_a_workload_that_cannot_be_built_has_its_reason_in_every_mode(tmp_path):
    setting, workload = host_bound(tmp_path)
    huge = GpuWorkload("huge", trace_spec(NETWORKS[2]), NETWORKS[2].build, (NETWORKS[2].input_shape,))
    rows = setting.measurer().visit(huge, True, {"eager": 1.0, "graph": 0.49})
    assert {mode: row["time_reason"] for mode, row in rows.items()} == {
        "graph": "out of memory on the GPU", "eager": "out of memory on the GPU",
    }  # fmt: skip


def test_rows_that_heat_slowed_have_no_figures(tmp_path):
    setting = Setting(tmp_path / "gpu", faults=[Fault("throttle", cause="hardware_thermal")])
    row = setting.measurer().measure(operator_workload(OPERATORS[0]), "graph", True, 0.3)
    assert (row["time_s"], row["energy_j"], row["status"]) == (None, None, "contended")
    assert row["time_reason"].startswith("hardware_thermal held the clocks down for 0.")
    assert "wanted full clocks; cool the device" in row["time_reason"]


def test_a_power_limit_belongs_to_the_device_and_takes_nothing_away(tmp_path):
    setting = Setting(tmp_path / "gpu", faults=[Fault("throttle", cause="power_cap")])
    row = setting.measurer().measure(operator_workload(OPERATORS[0]), "graph", True, 0.3)
    assert row["time_s"] and row["energy_j"] and row["throttled"] == "power_cap"


def test_rows_without_energy_are_timed_on_a_device_that_is_as_warm(tmp_path):
    setting = Setting(tmp_path / "gpu")
    begin = setting.accelerator.clock.now()
    setting.measurer().measure(operator_workload(OPERATORS[0]), "graph", False, 0.3)
    assert setting.accelerator.clock.now() - begin > PLAN.preroll_s
