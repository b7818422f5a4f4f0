"""A GPU's campaign on a simulated device in virtual time: every row can be held against the device's law."""

from functools import partial

import numpy as np
import pytest
from torch import nn

from hwopt.device.accelerator import DeviceLost, Job
from hwopt.device.architectures.small import Block, SmallCNN
from hwopt.device.bench import Bench
from hwopt.device.campaign import Deadline, trace_candidate
from hwopt.device.gpu_campaign import GpuCampaign, Policy, operator_job, sentinels
from hwopt.device.meters.nvml import NvmlMeter
from hwopt.device.meters.plan import SensorPlan
from hwopt.device.meters.simulated import Fault, SimulatedGpu, SimulatedNvml, VirtualClock
from hwopt.device.networks import Candidate
from hwopt.device.precision import Precision
from hwopt.device.profile import read_layers, read_network_layers, read_networks, read_repeats
from hwopt.device.sampling import GPU_PLAN, key_of, sample_operators
from hwopt.device.simulated import IDLE_W, SimulatedAccelerator, eager_time_s, job_law, workspace_bytes

PRECISION = Precision.named("default")
PLAN = SensorPlan(
    window_s=0.3, network_window_s=0.4, preroll_s=0.05, period_s=0.02, sampling_share=1.0, idle_w=IDLE_W
)


def candidate(name, split, channels, batch=8):
    block = Block("residual", channels, 3, True, "ReLU", "max")
    build = partial(SmallCNN, (3, 32, 32), (block,), (16,))
    return Candidate(name, "random", split, (batch, 3, 32, 32), build)


NETWORKS = [
    candidate("one", "fit", 32),
    candidate("two", "test", 64),
    candidate("huge", "test", 4096, batch=4096),
]
OPERATORS = sample_operators(
    12, np.random.default_rng(0), [trace_candidate(NETWORKS[0])], plan=GPU_PLAN
).operators


class Setting:
    """A simulated GPU and how its campaigns are run."""

    def __init__(self, folder, faults=(), lost_at_s=float("inf"), has_meter=True):
        self.folder, self.messages = folder, []
        folder.mkdir(exist_ok=True)
        gpu = SimulatedGpu(VirtualClock(), idle_w=IDLE_W)
        self.meter = NvmlMeter(nvml=SimulatedNvml(gpu, period_s=0.02, faults=faults)) if has_meter else None
        self.accelerator = SimulatedAccelerator(gpu, PRECISION, lost_at_s=lost_at_s)

    def campaign(self, budget_s=1e6, **policy):
        bench = Bench(self.accelerator, self.meter, PLAN, "" if self.meter else "no driver")
        return GpuCampaign(
            self.folder,
            {"name": "simulated", "settings": {"dtype": "float32"}},
            bench,
            Deadline(budget_s, self.accelerator.clock.now),
            lambda *message: self.messages.append(message),
            Policy(**{"energy_share": 1.0, "repeat_share": 0.5, "sentinel_every": 5, **policy}),
        )

    def run(self, operators=OPERATORS, networks=NETWORKS, **options):
        campaign = self.campaign(**options)
        campaign.measure_operators(operators, lambda rows: [])
        campaign.measure_networks(networks)
        campaign.measure_oracle(networks)
        return self

    def read(self):
        return (
            read_layers(self.folder / "layers.csv"),
            read_networks(self.folder / "networks.csv"),
            read_layers(self.folder / "oracle.csv"),
            read_repeats(self.folder / "repeats.csv"),
        )


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    return Setting(tmp_path_factory.mktemp("campaign") / "gpu").run()


def law(layers):
    times, powers = job_law(tuple(layers), PRECISION)
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
    from hwopt.device.rows import LAYER_KEY

    return LAYER_KEY


def test_networks_are_there_eager_and_as_graphs(measured):
    _, networks, *_ = measured.read()
    graph = trace_candidate(NETWORKS[1])
    times, _ = job_law(graph.layers, PRECISION)
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
    assert keys == {key_of(layer) for layer in trace_candidate(NETWORKS[1]).layers}
    assert oracle["energy_j"].notna().all()
    assert set(read_network_layers(measured.folder / "network_layers.csv")["network"]) == {
        "one",
        "two",
        "huge",
    }


def test_energy_of_the_oracle_is_of_the_first_networks_only(tmp_path):
    setting = Setting(tmp_path / "gpu").run(n_oracle_energy=0)
    *_, oracle, _ = setting.read()
    assert oracle["time_s"].notna().all() and oracle["energy_j"].isna().all()
    assert oracle["energy_reason"].str.startswith("not_planned: ").all()


def test_sentinels_come_throughout_and_a_share_of_rows_again(measured):
    *_, repeats = measured.read()
    counts = repeats["role"].value_counts()
    assert counts["sentinel"] == 3 * len(range(0, len(OPERATORS) + n_oracle(), 5))
    assert 2 <= counts["repeat"] <= 10
    assert repeats["ratio"].between(0.98, 1.02).all()
    assert repeats["elapsed_s"].is_monotonic_increasing
    assert repeats.loc[repeats["role"] == "sentinel", "key"].nunique() == len(sentinels("float32")) == 3


def n_oracle():
    return len({key_of(layer) for layer in trace_candidate(NETWORKS[1]).layers})


def test_a_campaign_in_many_short_runs_has_every_row_once(tmp_path, measured):
    setting = Setting(tmp_path / "gpu")
    for n_runs in range(1, 60):
        setting.run(budget_s=1.5)
        if n_runs == 2:  # killed while a row was written
            with (setting.folder / "layers.csv").open("a") as file:
                file.write("simulated,conv2d,1,3,22")
        if (setting.folder / "oracle.csv").exists() and len(setting.read()[2]) == n_oracle():
            break
    assert n_runs > 4
    for found, whole in zip(setting.read()[:3], measured.read()[:3], strict=True):
        assert len(found) == len(whole) and found["time_s"].notna().sum() == whole["time_s"].notna().sum()
    assert setting.read()[3]["elapsed_s"].is_monotonic_increasing
    assert any(message[3] == "time is up; the same command goes on" for message in setting.messages)


def test_rows_beside_another_process_are_refused_and_measured_again_later(tmp_path):
    setting = Setting(tmp_path / "gpu", faults=[Fault("other_process", until_s=3.0)])
    setting.campaign(budget_s=3.0, sentinel_every=1000).measure_operators(OPERATORS, lambda rows: [])
    first = read_layers(setting.folder / "layers.csv")
    assert (first["status"] == "contended").all() and first["time_s"].isna().all()
    assert (first["time_reason"] == "1 other processes computed on the device").all()
    assert first["energy_reason"].str.startswith("other_process: ").all()
    setting.accelerator.clock.sleep(3)
    setting.campaign(sentinel_every=1000).measure_operators(OPERATORS, lambda rows: [])
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

    loop = accelerator.prepare(Job("embedding", trace(Embedding(), (5,), 2), Embedding, ((2, 5),)))
    assert (loop.mode, loop.mode_reason[:9]) == ("eager", "no graph:")


class SlowMeter:
    """A meter whose readings keep the host from calling operators: the device waits meanwhile."""

    def __init__(self, meter, accelerator):
        self._meter, self._accelerator = meter, accelerator

    def __getattr__(self, name):
        return getattr(self._meter, name)

    def energy_j(self):
        self._accelerator.clock.sleep(5e-4)
        return self._meter.energy_j()


def test_energy_of_a_device_that_was_kept_waiting_is_refused(tmp_path):
    setting = Setting(tmp_path / "gpu")
    setting.meter = SlowMeter(setting.meter, setting.accelerator)
    row = setting.campaign().bench.measure(operator_job(OPERATORS[0]), "graph", True, 0.3)
    assert row["time_s"] is not None and "energy_j" not in row
    assert row["energy_reason"].startswith("unsteady: a pass took 1.") and row["energy_status"] == "suspect"


def test_rows_that_heat_slowed_have_no_figures(tmp_path):
    setting = Setting(tmp_path / "gpu", faults=[Fault("throttle", cause="hardware_thermal")])
    row = setting.campaign().bench.measure(operator_job(OPERATORS[0]), "graph", True, 0.3)
    assert (row["time_s"], row["energy_j"], row["status"]) == (None, None, "contended")
    assert row["time_reason"] == "hardware_thermal held the clocks down"


def test_a_power_limit_belongs_to_the_device_and_takes_nothing_away(tmp_path):
    setting = Setting(tmp_path / "gpu", faults=[Fault("throttle", cause="power_cap")])
    row = setting.campaign().bench.measure(operator_job(OPERATORS[0]), "graph", True, 0.3)
    assert row["time_s"] and row["energy_j"] and row["throttled"] == "power_cap"


def test_rows_without_energy_are_timed_on_a_device_that_is_as_warm(tmp_path):
    setting = Setting(tmp_path / "gpu")
    begin = setting.accelerator.clock.now()
    setting.campaign().bench.measure(operator_job(OPERATORS[0]), "graph", False, 0.3)
    assert setting.accelerator.clock.now() - begin > PLAN.preroll_s
