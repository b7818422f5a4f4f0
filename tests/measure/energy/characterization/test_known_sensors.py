"""Known sensors need a check of seconds; one that answers otherwise is characterized in full, and says so."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import hwopt
from hwopt.errors import InvalidInput
from hwopt.measure.energy.characterization import describe_sensor as sensor
from hwopt.measure.energy.characterization.describe_sensor import describe_sensor, plan_of
from hwopt.measure.energy.characterization.known_sensor_check import check_known_sensor
from hwopt.measure.energy.characterization.sensor_characteristics import SensorCharacteristics, WaveResponse
from hwopt.measure.energy.sensors.known_sensors import KnownSensor, known_sensor, known_sensors
from hwopt.measure.energy.sensors.nvml import NvmlMeter
from hwopt.measure.energy.sensors.simulated import H200_LATENCIES, SimulatedNvml
from hwopt.measure.gpu.open_gpu import open_gpu
from hwopt.measure.gpu.precision import Precision
from hwopt.measure.gpu.profile_gpu import describe_gpu
from tests.measure.energy.pattern_loop import new_gpu, steady

PRECISION = Precision.named("default")
H200 = Path(hwopt.__file__).parent / "devices" / "nvidia-h200" / "device.json"


def test_the_first_known_sensor_is_the_h200_with_what_was_measured_on_it():
    first = known_sensors()[0]
    assert (first.model, first.driver) == ("NVIDIA H200", "580.159.04")
    assert first.period_s == pytest.approx(0.099997) and first.sampling_share == 1.0
    assert known_sensor("NVIDIA H200", "580.159.04") is first
    for model, driver in (("NVIDIA H200", "550.1"), ("NVIDIA H100", "580.159.04"), (None, None)):
        assert known_sensor(model, driver) is None


def checked(known, share=1.0, period_s=0.1, jitter=0.0):
    gpu = new_gpu(start_s=0.0371, latencies=H200_LATENCIES)
    meter = NvmlMeter(nvml=SimulatedNvml(gpu, period_s, share, jitter=jitter))
    loops = []

    def make_loop():
        loops.append(steady(gpu, 500.0, replay_s=1e-3))
        return loops[-1]

    begin_s = gpu.clock.now()
    found = check_known_sensor(known, make_loop, meter, gpu.clock, lambda: gpu.run(0.1, 200.0))
    assert all(loop.is_closed for loop in loops)
    return *found, gpu.clock.now() - begin_s


KNOWN = KnownSensor("GPU", "1", 0.1, 1.0, 0.0, "")


def test_a_known_sensor_takes_a_check_of_eight_seconds_and_is_planned_at_one_phase():
    report, fault, seconds = checked(KNOWN)
    assert fault == "" and seconds < 9
    assert report.known == "GPU, driver 1" and report.busy_w == pytest.approx(500, rel=0.01)
    plan = report.plan()
    assert (plan.n_phases, plan.sampling_share, plan.period_s) == (1, 1.0, 0.1)
    assert plan.window_s < 0.55 and plan.network_window_s < 1.1
    assert plan.idle_w == pytest.approx(80.0, rel=0.01)


def test_a_known_part_time_sensor_is_planned_at_its_phases():
    report, fault, _ = checked(replace(KNOWN, sampling_share=0.25), share=0.25)
    assert fault == "" and report.plan().n_phases == 4 and report.plan().is_part_time


@pytest.mark.parametrize(
    ("truth", "words"),
    [
        ({"share": 0.25}, "a share of 0.2"),
        ({"period_s": 0.05}, "period is 0.05 s, expected 0.1 s"),
        ({"jitter": 0.4}, "period is not exact"),
    ],
)
def test_a_sensor_that_answers_otherwise_is_not_the_known_one(truth, words):
    report, fault, _ = checked(KNOWN, **truth)
    assert report is None and words in fault


def test_a_check_that_fails_falls_back_to_the_full_characterization_and_says_so(monkeypatch):
    monkeypatch.setattr(sensor, "known_sensor", lambda model, driver: replace(KNOWN, period_s=0.02))
    said = []
    with open_gpu("simulated", PRECISION) as opened:
        info = describe_gpu(opened, PRECISION, None, 0, lambda *message: said.append(message), 50.0)
    assert any("was not confirmed: its period is 0.1 s" in message[-1] for message in said)
    assert "was not confirmed" in info["sensor"]["note"] and not info["sensor"]["known"]
    assert info["sensor"]["waves"] and info["sensor"]["idle_before_context_w"] is not None
    assert plan_of(info).n_phases == 1


def test_a_known_sensor_is_not_characterized():
    said = []
    with open_gpu("simulated", PRECISION) as opened:
        begin_s = opened.accelerator.clock.now()
        info = describe_gpu(opened, PRECISION, None, 0, lambda *message: said.append(message), 50.0)
        assert opened.accelerator.clock.now() - begin_s < 12  # ceilings as well
    assert said[0][-1] == "checking the known energy counter of Simulated GPU, driver simulated"
    assert info["sensor"]["known"] == "Simulated GPU, driver simulated" and not info["sensor"]["waves"]


@pytest.mark.skipif(not H200.is_file(), reason="the profile of the H200 is not in this tree")
def test_the_record_of_the_h200_leads_to_one_phase():
    info = json.loads(H200.read_text())
    plan = plan_of(info)
    assert (plan.n_phases, plan.is_part_time) == (1, False)
    assert plan.window_s < 0.55 and plan.period_s == pytest.approx(0.1, rel=1e-3)


def record(**changes):
    """Return what polling alone found out about the H200's counter."""
    waves = (WaveResponse(0.1, 0.0244, 0.06, 0.496, 4), WaveResponse(0.15, 0.0082, 0.05, 0.497, 4))
    values = {
        "meter": "nvml:0", "period_s": 0.0999967, "jitter_s": 0.0, "scatter_s": 0.0072, "poll_s": 0.0069,
        "read_s": 0.0096, "resolution_j": 1e-3, "busy_w": 696.5, "idle_before_context_w": 83.2,
        "idle_context_w": 123.3, "idle_after_load_w": 125.5, "instant_ratio": 0.997, "sampling_share": 0.971,
        "waves": waves, "unsafe_band_s": (0.1, 0.1), "drift_s": 6.0, "power_drift": -0.015,
        "time_drift": 0.002, "warming_c": 5.0,
    }  # fmt: skip
    return SensorCharacteristics(**{**values, **changes})


def test_waves_are_judged_by_what_steps_can_be_known_to():
    assert record().plan().n_phases == 1  # steps known to 7 ms explain 2.4%
    assert record(poll_s=0.0005).plan().n_phases == 4  # those known to half a millisecond do not
    misjudged = (WaveResponse(0.1, 0.2, 0.06, 0.496, 4),)
    assert record(waves=misjudged).plan().n_phases == 4
    assert record(waves=()).plan().n_phases == 4  # a wave out of step alone decides nothing
    assert record(sampling_share=0.25).plan().n_phases == 4


def test_a_report_is_read_back_from_its_file_and_an_incomplete_one_is_refused():
    kept = json.loads(json.dumps(record().as_dict()))
    assert SensorCharacteristics.from_mapping(kept).plan() == record().plan()
    del kept["poll_s"]
    with pytest.raises(InvalidInput, match="poll_s.*measure the device again"):
        SensorCharacteristics.from_mapping(kept)


def test_a_plan_made_by_this_version_is_kept_as_it_is():
    kept = record(tick_s=1e-3).as_dict()
    kept["plan"]["window_s"] = 0.7
    assert plan_of({"sensor": kept}).window_s == 0.7
    assert plan_of({}).sampling_share is None


def test_a_sensor_that_cannot_be_read_leaves_its_reason():
    gpu = new_gpu()
    meter = NvmlMeter(nvml=SimulatedNvml(gpu))
    meter._nvml.nvmlDeviceGetTotalEnergyConsumption = lambda handle: 5

    class Accelerator:
        name, clock = "GPU", gpu.clock

    found = describe_sensor(Accelerator(), meter, lambda: steady(gpu), lambda: None, 20.0, lambda text: None)
    assert list(found) == ["reason"] and found["reason"].startswith("counter_stalled: ")
