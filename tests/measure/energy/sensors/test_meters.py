"""Meters answer one protocol: NVML on a simulated driver, RAPL on a fake powercap folder, a recording."""

import os
import types

import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwopt.errors import InvalidInput
from hwopt.measure.energy.sensors.meter import SensorError
from hwopt.measure.energy.sensors.nvml import NvmlMeter
from hwopt.measure.energy.sensors.rapl import RaplMeter
from hwopt.measure.energy.sensors.simulated import Fault, SimulatedGpu, SimulatedNvml, Thermal, VirtualClock
from hwopt.measure.energy.sensors.unwrapped_counter import UnwrappedCounter
from hwopt.profile.reasons import REASONS
from tests.measure.energy.sensors.replayed_meter import Recording, ReplayedMeter, record


@pytest.fixture
def gpu():
    return SimulatedGpu(VirtualClock(), idle_w=100.0)


def code_of(read):
    with pytest.raises(SensorError) as caught:
        read()
    return caught.value.code


# -- the counter --------------------------------------------------------------------------------------------


@given(
    steps=st.lists(st.integers(0, 999), max_size=40),
    start=st.integers(0, 999),
    wraps_at=st.sampled_from([1000, 2**32]),
)
def test_unwrapping_gives_the_sum_of_the_steps_wherever_the_counter_began(steps, start, wraps_at):
    counter, total = UnwrappedCounter(0.5, wraps_at), start
    counter.advance(start)
    for step in steps:
        total += step
        assert counter.advance(total % wraps_at) == pytest.approx(0.5 * (total - start))


def test_going_back_without_a_known_range_is_a_reset_and_the_counter_goes_on():
    counter = UnwrappedCounter(1e-3)
    counter.advance(5000)
    before = counter.advance(6000)
    assert code_of(lambda: counter.advance(10)) == "counter_reset"
    assert counter.advance(2010) - before == pytest.approx(2.0)


def test_a_count_outside_of_the_known_range_is_a_reset():
    counter = UnwrappedCounter(1.0, wraps_at=100)
    counter.advance(5)
    assert code_of(lambda: counter.advance(101)) == "counter_reset"


@pytest.mark.parametrize(("unit_j", "wraps_at", "word"), [(0, None, "unit_j"), (1, 1, "wraps_at")])
def test_a_counter_without_a_unit_or_a_range_is_refused(unit_j, wraps_at, word):
    with pytest.raises(InvalidInput, match=word):
        UnwrappedCounter(unit_j, wraps_at)


def test_every_reason_has_a_meaning_and_no_other_can_be_raised():
    assert all(REASONS.values())
    with pytest.raises(ValueError, match="no reason code 'tired'"):
        SensorError("tired")


# -- the simulated GPU --------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(1e-4, 3), st.floats(50, 700), st.floats(0, 2)), max_size=20))
def test_true_energy_is_the_sum_of_power_times_time(pieces):
    gpu = SimulatedGpu(VirtualClock(), idle_w=60.0)
    expected = 0.0
    for seconds, power_w, pause_s in pieces:
        gpu.run(seconds, power_w)
        gpu.clock.sleep(pause_s)
        expected += seconds * power_w + pause_s * 60.0
    assert gpu.energy_j() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_work_is_queued_behind_work(gpu):
    gpu.submit(0.3, 400.0)
    assert gpu.submit(0.2, 200.0) == pytest.approx(0.5)
    assert gpu.queued_s() == pytest.approx(0.5)
    gpu.clock.sleep(1.0)
    assert gpu.queued_s() == 0
    assert gpu.energy_j() == pytest.approx(0.3 * 400 + 0.2 * 200 + 0.5 * 100)


def test_heat_approaches_its_end_exponentially_and_slows_down():
    thermal = Thermal(ambient_c=30, c_per_w=0.1, tau_s=5, power_per_c=0.001, slowdown_per_c=0.002)
    gpu = SimulatedGpu(VirtualClock(), idle_w=0.0, thermal=thermal)
    gpu.run(5.0, 400.0)
    assert gpu.temperature_c() == pytest.approx(30 + 40 * (1 - 2.718281828**-1))
    begin, warmer_c = gpu.clock.now(), gpu.temperature_c() - 30
    gpu.run(1.0, 400.0)
    assert gpu.clock.now() - begin == pytest.approx(1 + 0.002 * warmer_c)


# -- NVML ---------------------------------------------------------------------------------------------------


def test_energy_comes_in_steps_of_the_drivers_period(gpu):
    meter = NvmlMeter(nvml=SimulatedNvml(gpu, period_s=0.1))
    readings = []
    for _ in range(25):
        gpu.run(0.02, 300.0)
        readings.append(meter.energy_j())
    assert len(set(readings)) == 6
    assert readings[-1] == pytest.approx(0.5 * 300, abs=1e-3)


def test_part_time_sampling_counts_the_sampled_power_for_the_whole_period(gpu):
    meter = NvmlMeter(nvml=SimulatedNvml(gpu, period_s=0.1, sampling_share=0.25))
    meter.energy_j()
    for _ in range(10):
        gpu.run(0.025, 500.0)
        gpu.clock.sleep(0.075)
    gpu.clock.sleep(1e-6)
    assert meter.energy_j() == pytest.approx(1.0 * 500.0, rel=1e-4)
    assert gpu.energy_j() == pytest.approx(1.0 * 200.0, rel=1e-4)


def test_jitter_moves_the_steps_and_keeps_the_energy(gpu):
    nvml = SimulatedNvml(gpu, period_s=0.1, jitter=0.3)
    meter, moments, last = NvmlMeter(nvml=nvml), [], 0.0
    for _ in range(3000):
        gpu.run(1e-3, 300.0)
        if meter.energy_j() != last:
            last = meter.energy_j()
            moments.append(gpu.clock.now())
            assert last == pytest.approx(gpu.energy_j(), abs=0.31)
    intervals = {round(b - a, 3) for a, b in zip(moments, moments[1:], strict=False)}
    assert len(intervals) > 5 and min(intervals) > 0.06 and max(intervals) < 0.14


def test_state_is_in_si_units(gpu):
    meter = NvmlMeter(nvml=SimulatedNvml(gpu, faults=[Fault("throttle", 1.0, 1.5, "power_cap")]))
    gpu.run(2.0, 650.0)
    state = meter.state()
    assert state.power_w == pytest.approx(650.0) == meter.power_w()
    assert (state.core_clock_hz, state.memory_clock_hz) == (1.98e9, 3.201e9)
    assert state.memory_used_bytes == gpu.memory_used_bytes
    assert state.temperature_c == 30
    assert state.throttled_s["power_cap"] == pytest.approx(0.5)
    assert set(state.throttled_s) == {"power_cap", "thermal", "hardware_thermal", "power_brake"}
    assert state.throttled_s["thermal"] == 0


@pytest.mark.parametrize("kind", ["device_lost", "not_supported", "no_permission"])
def test_an_error_of_the_driver_has_its_own_code(gpu, kind):
    meter = NvmlMeter(nvml=SimulatedNvml(gpu, faults=[Fault(kind, at_s=1.0, until_s=2.0)]))
    meter.energy_j()
    gpu.run(1.5, 300.0)
    assert code_of(meter.energy_j) == kind
    gpu.run(1.0, 300.0)
    assert meter.energy_j() > 0


def test_a_lost_device_raises_where_a_missing_reading_is_none(gpu):
    faults = [Fault("no_power", 0.0), Fault("device_lost", at_s=1.0)]
    meter = NvmlMeter(nvml=SimulatedNvml(gpu, faults=faults))
    assert meter.state().power_w is None
    assert code_of(meter.power_w) == "not_supported"
    gpu.run(1.5, 300.0)
    assert code_of(meter.state) == "device_lost"


def test_an_error_that_tells_nothing_is_read_failed(gpu):
    nvml = SimulatedNvml(gpu)
    meter = NvmlMeter(nvml=nvml)

    def fail(handle):
        raise nvml.NVMLError(nvml.NVML_ERROR_UNKNOWN)

    nvml.nvmlDeviceGetTotalEnergyConsumption = fail
    assert code_of(meter.energy_j) == "read_failed"


def test_the_count_starting_again_is_a_reset(gpu):
    meter = NvmlMeter(nvml=SimulatedNvml(gpu, faults=[Fault("reset", at_s=1.0)]))
    gpu.run(0.9, 300.0)
    meter.energy_j()
    gpu.run(0.2, 300.0)
    assert code_of(meter.energy_j) == "counter_reset"


def test_a_stalled_counter_keeps_its_count_and_catches_up(gpu):
    meter = NvmlMeter(nvml=SimulatedNvml(gpu, faults=[Fault("stall", 1.0, 2.0)]))
    meter.energy_j()
    readings = []
    for _ in range(5):
        gpu.run(0.5, 300.0)
        gpu.clock.sleep(1e-6)
        readings.append(meter.energy_j())
    assert readings[1] == readings[2] < readings[3]
    assert readings[4] == pytest.approx(2.5 * 300, rel=1e-3)


@pytest.mark.parametrize("device_id", ["GPU-5177", "5177", "0000:3b:00.0"])
def test_a_gpu_can_be_named_by_what_every_library_calls_it(gpu, device_id):
    assert device_id in NvmlMeter(device_id=device_id, nvml=SimulatedNvml(gpu)).name


@pytest.mark.parametrize("wanted", [{"index": 3}, {"device_id": "GPU-1"}, {"device_id": "0:0"}])
def test_a_gpu_that_is_not_there_is_no_sensor(gpu, wanted):
    assert code_of(lambda: NvmlMeter(**wanted, nvml=SimulatedNvml(gpu))) == "no_sensor"


def test_without_a_driver_there_is_no_sensor(gpu):
    nvml = SimulatedNvml(gpu)

    def fail():
        raise nvml.NVMLError(nvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    nvml.nvmlInit = fail
    assert code_of(lambda: NvmlMeter(nvml=nvml)) == "no_sensor"


@pytest.mark.parametrize("own_pid", [os.getpid(), 4711], ids=["own", "other"])
def test_this_process_is_none_of_the_others_under_whatever_id_it_is_listed(gpu, own_pid):
    nvml = SimulatedNvml(gpu, own_pid=own_pid, faults=[Fault("other_process", at_s=2.0)])
    meter = NvmlMeter(nvml=nvml)
    assert meter.state().n_other_processes == 0
    gpu.run(1.0, 300.0)
    meter.mark_own_process()
    assert meter.state().n_other_processes == 0
    gpu.run(1.5, 300.0)
    assert meter.state().n_other_processes == 1


def test_a_second_meter_of_this_process_knows_the_id_that_the_first_one_found(gpu):
    nvml = SimulatedNvml(gpu, own_pid=4711)
    first = NvmlMeter(nvml=nvml)
    gpu.run(1.0, 300.0)
    first.mark_own_process()
    second = NvmlMeter(nvml=nvml)
    second.mark_own_process()
    assert second.state().n_other_processes == 0


def test_a_process_that_worked_on_the_gpu_before_its_meter_was_opened_is_none_of_the_others(gpu):
    nvml = SimulatedNvml(gpu, own_pid=4711, faults=[Fault("other_process", at_s=2.0)])
    gpu.run(1.0, 300.0)  # a training, in a container: the driver lists it under the host's id
    meter = NvmlMeter(nvml=nvml, is_in_use=True)
    assert meter.state().n_other_processes == 0
    meter.mark_own_process()
    assert meter.state().n_other_processes == 0
    gpu.run(1.5, 300.0)
    assert meter.state().n_other_processes == 1


def test_of_two_processes_that_were_there_before_none_is_taken_for_this_one(gpu):
    nvml = SimulatedNvml(gpu, own_pid=4711, faults=[Fault("other_process")])
    gpu.run(1.0, 300.0)
    meter = NvmlMeter(nvml=nvml, is_in_use=True)
    meter.mark_own_process()
    assert meter.state().n_other_processes == 2


def test_a_process_that_was_there_before_counts_as_another(gpu):
    meter = NvmlMeter(nvml=SimulatedNvml(gpu, own_pid=4711, faults=[Fault("other_process")]))
    gpu.run(1.0, 300.0)
    meter.mark_own_process()
    assert meter.state().n_other_processes == 1


def test_two_newcomers_cannot_both_be_this_process(gpu):
    meter = NvmlMeter(nvml=SimulatedNvml(gpu, own_pid=4711, faults=[Fault("other_process", at_s=0.5)]))
    gpu.run(1.0, 300.0)
    assert code_of(meter.mark_own_process) == "other_process"


def test_where_processes_cannot_be_seen_their_number_is_unknown_not_zero(gpu):
    meter = NvmlMeter(nvml=SimulatedNvml(gpu, own_pid=None))
    gpu.run(1.0, 300.0)
    meter.mark_own_process()
    assert meter.state().n_other_processes is None


def test_a_gpu_that_mig_splits_has_no_energy_of_one_process(gpu):
    with pytest.raises(SensorError, match="not_supported: MIG is enabled on nvml:0.*disable MIG"):
        NvmlMeter(nvml=SimulatedNvml(gpu, faults=[Fault("mig")]))


def test_a_driver_without_fields_measures_and_says_what_it_does_not_tell(gpu):
    meter = NvmlMeter(nvml=SimulatedNvml(gpu, faults=[Fault("no_fields")]))
    gpu.run(0.3, 300.0)
    meter.energy_j()
    state = meter.state()
    assert (state.power_w, state.throttled_s) == (None, {}) and state.core_clock_hz == 1.98e9
    causes = ("power_cap", "thermal", "hardware_thermal", "power_brake")
    assert meter.settings()["not_told"] == ["power", *(f"throttling ({cause})" for cause in causes)]
    assert NvmlMeter(nvml=SimulatedNvml(gpu)).settings()["not_told"] == []


def library_without(*parts):
    """Return a module as other packages named pynvml are: without the names of the last years, or any."""
    module = types.ModuleType("pynvml")
    for name, value in vars(pynvml).items():
        if not any(part in name for part in parts):
            setattr(module, name, value)
    module.nvmlInit = module.nvmlShutdown = lambda: None
    module.nvmlDeviceGetHandleByIndex = lambda index: index
    module.nvmlDeviceGetName = lambda handle: b"Tesla V100"
    module.nvmlDeviceGetCount = lambda: 1
    module.nvmlDeviceGetTotalEnergyConsumption = lambda handle: 5000
    module.nvmlDeviceGetComputeRunningProcesses = lambda handle: []
    return module


NEWER = (
    "CLOCKS_EVENT",
    "POWER_INSTANT",
    "ARGUMENT_VERSION_MISMATCH",
    "RESET_REQUIRED",
    "GPU_NOT_FOUND",
    "Mig",
)


def test_an_older_pynvml_measures_what_it_can():
    meter = NvmlMeter(nvml=library_without(*NEWER))
    assert meter.name == "nvml:0 Tesla V100" and meter.energy_j() == 0
    assert code_of(meter.power_w) == "not_supported"
    assert meter.state().power_w is None
    assert "power" in meter.settings()["not_told"]


@pytest.mark.parametrize(
    "part", ["Temperature", "ClockInfo", "FieldValues", "Processes", "MemoryInfo", "Version"]
)
def test_a_function_that_a_library_lacks_is_a_reading_that_is_not_there(part):
    module = library_without(part)
    for name in [name for name in vars(module) if part in name]:
        delattr(module, name)
    meter = NvmlMeter(nvml=module)
    assert meter.energy_j() == 0 and meter.state() is not None and meter.settings()


def test_a_library_without_the_counter_or_of_another_package_says_what_to_install():
    module = library_without()
    del module.nvmlDeviceGetTotalEnergyConsumption
    with pytest.raises(SensorError, match="has no nvmlDeviceGetTotalEnergyConsumption; pip uninstall pynvml"):
        NvmlMeter(nvml=module).energy_j()
    with pytest.raises(SensorError, match="no_sensor: .*lacks NVMLError.*then pip install nvidia-ml-py"):
        NvmlMeter(nvml=types.ModuleType("pynvml"))


def test_a_pynvml_that_fails_to_import_is_no_sensor(monkeypatch):
    def broken(name):
        raise SyntaxError("invalid syntax (pynvml.py, line 100)")

    monkeypatch.setattr("hwopt.measure.energy.sensors.nvml_library.import_module", broken)
    with pytest.raises(SensorError, match="no_sensor: pynvml cannot be imported .SyntaxError.*pip install"):
        NvmlMeter()


# -- RAPL ---------------------------------------------------------------------------------------------------


def zone(folder, name, count, range_uj=1000, label="package-0"):
    path = folder / name
    path.mkdir(exist_ok=True)
    (path / "name").write_text(f"{label}\n")
    (path / "energy_uj").write_text(f"{count}\n")
    (path / "max_energy_range_uj").write_text(f"{range_uj}\n")


def test_packages_are_unwrapped_one_by_one_and_summed(tmp_path):
    zone(tmp_path, "intel-rapl:0", 900)
    zone(tmp_path, "intel-rapl:1", 100, label="package-1")
    zone(tmp_path, "intel-rapl:2", 0, label="psys")
    zone(tmp_path, "intel-rapl:0:0", 0, label="core")
    meter = RaplMeter(tmp_path)
    assert meter.name == "rapl:intel-rapl:0+intel-rapl:1"
    for name, count in (("intel-rapl:0", 50), ("intel-rapl:1", 130), ("intel-rapl:2", 999)):
        (tmp_path / name / "energy_uj").write_text(str(count))
    assert meter.energy_j() == pytest.approx((150 + 30) * 1e-6)


def test_a_package_without_a_known_range_cannot_be_unwrapped(tmp_path):
    zone(tmp_path, "intel-rapl:0", 900)
    (tmp_path / "intel-rapl:0" / "max_energy_range_uj").unlink()
    meter = RaplMeter(tmp_path)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("5")
    assert code_of(meter.energy_j) == "counter_reset"


def test_rapl_says_why_it_cannot_be_read(tmp_path):
    assert code_of(lambda: RaplMeter(tmp_path)) == "no_sensor"
    zone(tmp_path, "intel-rapl:0", 900)
    meter = RaplMeter(tmp_path)
    assert code_of(meter.power_w) == "not_supported"
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("nonsense")
    assert code_of(meter.energy_j) == "read_failed"
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    assert code_of(meter.energy_j) == "device_lost"


# -- recordings ---------------------------------------------------------------------------------------------


def test_a_replayed_recording_says_what_the_meter_said_its_failures_included(gpu, tmp_path):
    faults = [Fault("no_permission", 0.5, 0.6), Fault("throttle", 0.2), Fault("other_process", 0.7)]
    meter = NvmlMeter(nvml=SimulatedNvml(gpu, period_s=0.05, faults=faults))
    gpu.submit(0.8, 321.0)
    recording = record(meter, gpu.clock, seconds=1.0, interval_s=0.01)
    recording.write(tmp_path / "recording.csv")
    read = Recording.read(tmp_path / "recording.csv")
    assert read.states == recording.states and read.counts == recording.counts
    clock = VirtualClock()
    replayed = ReplayedMeter(read, clock)
    again = record(replayed, clock, seconds=0.99, interval_s=0.01)
    assert list(again.counts) == list(recording.counts[: len(again.counts)])
    assert again.errors == recording.errors[: len(again.errors)]
    assert "no_permission" in again.errors
    clock.sleep(1.0)
    assert code_of(replayed.energy_j) == "read_failed"


def test_a_recording_wraps_where_it_says_so():
    clock = VirtualClock()
    meter = ReplayedMeter(Recording([0, 1, 2], [250, 254, 3], unit_j=2.0, wraps_at=256), clock)
    readings = []
    for pause_s in (0.99, 0.02, 0.98):
        readings.append(meter.energy_j())
        clock.sleep(pause_s)
    assert readings == [0, 0, 8]
    assert meter.energy_j() == 8
    clock.sleep(0.01)
    assert meter.energy_j() == 18  # from 254 by 256, which is 0, to 3
    assert code_of(meter.power_w) == "not_supported"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"times_s": [], "counts": []}, "no reading"),
        ({"counts": [1]}, "1 counts for 2 times"),
        ({"times_s": [0, 0]}, "must increase"),
        ({"counts": [1, None]}, "reading 2"),
        ({"errors": ["", "tired"], "counts": [1, None]}, "tired"),
    ],
)
def test_a_recording_that_contradicts_itself_is_refused(changes, words):
    with pytest.raises(InvalidInput, match=words):
        Recording(**{"times_s": [0, 1], "counts": [1, 2], "unit_j": 1.0, **changes})


def test_a_recording_file_that_cannot_be_used_names_the_line(tmp_path):
    path = tmp_path / "broken.csv"
    path.write_text("time_s,count,unit_j\n0,1,0.001\n1,many,0.001\n")
    with pytest.raises(InvalidInput, match="line 3.*many"):
        Recording.read(path)
    path.write_text("time_s,count\n0,1\n")
    with pytest.raises(InvalidInput, match="lacks unit_j"):
        Recording.read(path)
