"""Energy windows against a truth that is known: a simulated driver, part-time sensors, faults, RAPL."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwopt.errors import InvalidInput
from hwopt.measure.energy.aliasing import alias_error, leaks
from hwopt.measure.energy.measurement import EnergyReading, WindowPlan, measure_energy
from hwopt.measure.energy.polling import Poller
from hwopt.measure.energy.sensors.nvml import NvmlMeter
from hwopt.measure.energy.sensors.rapl import RaplMeter
from hwopt.measure.energy.sensors.simulated import Fault, Latencies, SimulatedNvml, Thermal
from tests.measure.energy.pattern_loop import PatternLoop, alternating, new_gpu, steady
from tests.measure.energy.sensors.replayed_meter import Recording, ReplayedMeter, record

PERIODS_S = (0.01, 0.02, 0.05, 0.1)
START_S = 0.0371  # not on a step of any of these


def nvml_meter(gpu, period_s=0.1, share=1.0, faults=(), jitter=0.0):
    return NvmlMeter(nvml=SimulatedNvml(gpu, period_s, share, faults, jitter))


def plan(period_s=0.1, share=1.0, **changes):
    return WindowPlan(period_s=period_s, sampling_share=share, **changes)


def naive_power_w(gpu, meter, loop, seconds):
    """Read, run, read."""
    loop.synchronize()
    begin, energy_j = gpu.clock.now(), meter.energy_j()
    while gpu.clock.now() - begin < seconds:
        loop.replay()
    loop.synchronize()
    return (meter.energy_j() - energy_j) / (gpu.clock.now() - begin)


# -- the figures are right ----------------------------------------------------------------------------------


@pytest.mark.parametrize("period_s", PERIODS_S)
@pytest.mark.parametrize("share", [1.0, 0.25])
@pytest.mark.parametrize("jitter", [0.0, 0.2])
def test_steady_work_is_measured_within_a_half_percent(period_s, share, jitter):
    gpu = new_gpu(start_s=START_S)
    loop, meter = steady(gpu), nvml_meter(gpu, period_s, share, jitter=jitter)
    reading = measure_energy(loop, meter, gpu.clock, plan(period_s, share))
    assert (reading.status, reading.reason) == ("ok", "")
    assert reading.power_w == pytest.approx(loop.power_w, rel=0.005)
    assert reading.energy_j == pytest.approx(loop.energy_j, rel=0.005)
    assert reading.loop_time_s == pytest.approx(loop.pass_s, rel=0.005)
    assert reading.uncertainty < 0.008
    assert reading.window_s >= 0.6


def test_reading_running_and_reading_again_errs_where_the_window_does_not():
    errors = []
    for start_s in np.linspace(0.01, 0.09, 5):
        gpu = new_gpu(start_s=start_s)
        loop, meter = steady(gpu), nvml_meter(gpu, 0.1)
        gpu.clock.sleep(0.2)
        errors.append(abs(naive_power_w(gpu, meter, loop, 0.6) / loop.power_w - 1))
        assert measure_energy(loop, meter, gpu.clock, plan()).power_w == pytest.approx(400.0, rel=0.002)
    assert max(errors) > 0.05


@pytest.mark.parametrize("period_s", PERIODS_S)
@pytest.mark.parametrize("share", [1.0, 0.25])
@pytest.mark.parametrize("pass_s", [0.0005, 0.002, 0.01, 0.0333, 0.1, 0.23])
def test_alternating_work_is_right_wherever_the_status_is_ok(period_s, share, pass_s):
    gpu = new_gpu(start_s=START_S)
    loop, meter = alternating(gpu, pass_s), nvml_meter(gpu, period_s, share)
    reading = measure_energy(loop, meter, gpu.clock, plan(period_s, share), 3.0 if pass_s > 0.005 else 0.6)
    error = abs(reading.energy_j / loop.energy_j - 1)
    assert reading.status == "ok" and error < 0.01 or reading.reason == "aliased"
    assert error < 3 * reading.uncertainty + 0.001
    if share == 1.0:
        assert reading.status == "ok"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    pass_s=st.floats(5e-4, 0.15),
    duty=st.floats(0.1, 0.9),
    swing=st.floats(0, 1),
    period_s=st.sampled_from([0.02, 0.05, 0.1]),
    share=st.sampled_from([0.25, 0.5, 1.0]),
    start_s=st.floats(0, 0.2),
)
def test_no_work_misleads_a_window_that_is_ok_by_more_than_a_percent(
    pass_s, duty, swing, period_s, share, start_s
):
    gpu = new_gpu(start_s=start_s)
    loop = alternating(gpu, pass_s, 400 * (1 + swing / 2), 400 * (1 - swing / 2), duty)
    meter = nvml_meter(gpu, period_s, share)
    reading = measure_energy(loop, meter, gpu.clock, plan(period_s, share), 1.0)
    assert reading.status in ("ok", "suspect")
    if reading.status == "ok":
        assert reading.energy_j == pytest.approx(loop.energy_j, rel=0.01)


def test_work_in_step_with_a_part_time_sensor_misleads_one_window_and_not_the_mean_over_phases():
    errors = []
    for start_s in np.arange(0, 0.1, 0.0125):
        gpu = new_gpu(start_s=start_s)
        loop, meter = alternating(gpu, 0.1), nvml_meter(gpu, 0.1, 0.25)
        blind = measure_energy(loop, meter, gpu.clock, plan(share=1.0), 1.0)
        assert blind.status == "ok"  # it was told that the sensor sees everything
        errors.append(abs(blind.power_w / loop.power_w - 1))
    assert max(errors) > 0.3
    reading = measure_energy(loop, meter, gpu.clock, plan(share=0.25), 1.0)
    assert (reading.status, reading.reason) == ("suspect", "aliased")
    assert "phases differ" in reading.detail
    assert (reading.n_phases, reading.n_windows, len(reading.window_powers_w)) == (4, 4, 4)
    assert reading.spread > 0.3
    assert reading.power_w == pytest.approx(loop.power_w, rel=0.01)


def test_a_longer_window_does_not_help_where_phases_do():
    for window_s in (1.0, 10.0):
        gpu = new_gpu(start_s=START_S)
        loop, meter = alternating(gpu, 0.1), nvml_meter(gpu, 0.1, 0.25)
        reading = measure_energy(loop, meter, gpu.clock, plan(share=0.25, n_phases=2), window_s)
        assert reading.reason == "aliased"  # two phases cover one half of the work


def test_work_that_is_known_to_be_steady_needs_no_phases():
    gpu = new_gpu(start_s=START_S)
    loop, meter = PatternLoop(gpu, [(0.1, 400.0)]), nvml_meter(gpu, 0.1, 0.25)
    assert measure_energy(loop, meter, gpu.clock, plan(share=0.25), 1.0).n_phases == 4
    reading = measure_energy(loop, meter, gpu.clock, plan(share=0.25), 1.0, is_steady=True)
    assert (reading.status, reading.n_phases) == ("ok", 1)


def test_a_sensor_of_unknown_share_is_taken_for_a_bad_one():
    gpu = new_gpu(start_s=START_S)
    loop, meter = alternating(gpu, 0.1), nvml_meter(gpu, 0.1, 0.25)
    assert measure_energy(loop, meter, gpu.clock, WindowPlan(period_s=0.1), 1.0).reason == "aliased"


def test_the_window_ends_where_whole_passes_do():
    gpu = new_gpu(start_s=START_S)
    loop, meter = alternating(gpu, 0.4, duty=0.3), nvml_meter(gpu, 0.1)
    reading = measure_energy(loop, meter, gpu.clock, plan(), 1.0)
    assert reading.n_passes == pytest.approx(3.0, abs=0.01)
    assert reading.power_w == pytest.approx(loop.power_w, rel=0.005)


def test_where_no_end_fits_the_best_one_is_taken():
    gpu = new_gpu(start_s=START_S)
    loop, meter = alternating(gpu, 0.26), nvml_meter(gpu, 0.1)
    reading = measure_energy(loop, meter, gpu.clock, plan())
    assert reading.window_s == pytest.approx(0.8, abs=0.001)  # 3.1 passes; 0.6 s has 2.3, 0.7 s has 2.7
    assert (reading.status, reading.reason) == ("suspect", "too_short")


def test_idle_power_is_subtracted_in_a_field_of_its_own():
    gpu = new_gpu(idle_w=80.0, start_s=START_S)
    loop, meter = steady(gpu, 400.0), nvml_meter(gpu)
    reading = measure_energy(loop, meter, gpu.clock, plan(idle_w=80.0))
    assert reading.idle_subtracted_j == pytest.approx(320.0 * loop.pass_s, rel=0.005)
    assert reading.energy_j == pytest.approx(400.0 * loop.pass_s, rel=0.005)
    assert measure_energy(loop, meter, gpu.clock, plan()).idle_subtracted_j is None


def test_two_windows_agree_or_say_that_they_do_not():
    gpu = new_gpu(start_s=START_S)
    loop, meter = steady(gpu), nvml_meter(gpu)
    reading = measure_energy(loop, meter, gpu.clock, plan(), n_windows=2)
    assert (reading.status, reading.n_windows) == ("ok", 2)
    assert 0 <= reading.spread < 0.01
    warming = Thermal(c_per_w=0.1, tau_s=3.0, power_per_c=0.005)
    gpu = new_gpu(start_s=START_S, thermal=warming)
    reading = measure_energy(steady(gpu), nvml_meter(gpu), gpu.clock, plan(), n_windows=2)
    assert (reading.status, reading.reason) == ("suspect", "windows_disagree")
    assert reading.uncertainty > reading.spread / 3


def test_slow_readings_beside_the_work_cost_neither_time_nor_certainty():
    for read_s in (0.0, 0.01, 0.02):
        gpu = new_gpu(start_s=START_S)
        nvml = SimulatedNvml(gpu, 0.1)
        read = nvml.nvmlDeviceGetTotalEnergyConsumption
        nvml.nvmlDeviceGetTotalEnergyConsumption = lambda h, s=read_s, r=read, g=gpu: (
            g.clock.sleep(s),
            r(h),
        )[1]
        loop = PatternLoop(gpu, [(0.005, 400.0)], n_passes=10)
        reading = measure_energy(loop, NvmlMeter(nvml=nvml), gpu.clock, plan(), is_steady=True)
        assert abs(reading.power_w / 400.0 - 1) < 5e-4
        assert reading.loop_time_s == pytest.approx(0.005, rel=1e-3)
        assert reading.uncertainty < 1e-3


def test_steps_with_jitter_are_as_uncertain_as_polling_leaves_them():
    for read_s in (0.0, 0.02):
        gpu = new_gpu(start_s=START_S, latencies=Latencies(read_s=(read_s, read_s)))
        loop = PatternLoop(gpu, [(0.005, 400.0)], n_passes=10)
        meter = nvml_meter(gpu, jitter=0.8)
        reading = measure_energy(loop, meter, gpu.clock, plan(), is_steady=True)
        assert abs(reading.power_w / 400.0 - 1) < 3 * reading.uncertainty + 1e-4
        widths_s = 2 * [2 * read_s + 5e-4] + 2 * [2e-4]  # two ends of energy and of progress, uniform
        expected = math.sqrt(sum(width_s**2 / 12 for width_s in widths_s)) / reading.window_s
        assert reading.uncertainty == pytest.approx(expected, rel=0.3)


# -- what goes wrong is recognised --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("device_lost", "device_lost"),
        ("not_supported", "not_supported"),
        ("no_permission", "no_permission"),
        ("stall", "counter_stalled"),
        ("reset", "counter_reset"),
        ("other_process", "other_process"),
    ],
)
@pytest.mark.parametrize("at_s", [0.0, 0.7])  # before, and in the middle of the window
def test_a_fault_gives_its_reason_and_no_figure(kind, reason, at_s):
    gpu = new_gpu(start_s=START_S)
    fault = Fault(kind, START_S + at_s) if at_s or kind != "reset" else Fault(kind, START_S + 0.4)
    nvml = SimulatedNvml(gpu, 0.1, own_pid=1)
    meter = NvmlMeter(nvml=nvml)
    gpu.run(1e-3, 100.0)
    meter.mark_own_process()
    nvml.faults = (fault,)
    reading = measure_energy(steady(gpu), meter, gpu.clock, plan())
    assert (reading.status, reading.reason) == ("failed", reason)
    assert reading.detail
    figures = (reading.power_w, reading.energy_j, reading.idle_subtracted_j, reading.uncertainty)
    assert figures == (None,) * 4


@pytest.mark.parametrize(("cause", "status"), [("thermal", "suspect"), ("power_cap", "ok")])
def test_heat_makes_a_reading_suspect_and_the_power_limit_does_not(cause, status):
    gpu = new_gpu(start_s=START_S)
    meter = nvml_meter(gpu, faults=[Fault("throttle", 0.6, 0.8, cause)])
    reading = measure_energy(steady(gpu), meter, gpu.clock, plan())
    assert reading.status == status
    assert reading.throttled_s[cause] == pytest.approx(0.2, abs=1e-6)
    assert reading.reason == ("throttled" if status == "suspect" else "")
    assert reading.before.core_clock_hz == reading.after.core_clock_hz == 1.98e9


def test_a_window_with_few_steps_of_the_counter_is_too_short():
    gpu = new_gpu(start_s=START_S)
    reading = measure_energy(steady(gpu), nvml_meter(gpu, 1.0), gpu.clock, plan(period_s=1.0))
    assert (reading.status, reading.reason) == ("suspect", "too_short")


def test_work_whose_pass_does_not_fit_is_too_short():
    gpu = new_gpu(start_s=START_S)
    reading = measure_energy(PatternLoop(gpu, [(3.0, 300.0)]), nvml_meter(gpu), gpu.clock, plan())
    assert (reading.status, reading.reason) == ("failed", "too_short")


def test_a_refused_reading_says_why():
    reading = EnergyReading.refused("not_planned")
    assert (reading.status, reading.reason, reading.power_w) == ("failed", "not_planned", None)
    assert "time only" in reading.detail


# -- other meters -------------------------------------------------------------------------------------------


def test_a_recorded_measurement_gives_the_same_figures_when_it_is_replayed():
    gpu = new_gpu(start_s=START_S)
    gpu.submit(3.0, 345.0)
    recording = record(nvml_meter(gpu, 0.05), gpu.clock, 2.5, interval_s=1e-3)
    wrapped = Recording(
        recording.times_s, [c % 2**18 for c in recording.counts], recording.unit_j, wraps_at=2**18
    )
    for one in (recording, wrapped):
        other = new_gpu()
        meter = ReplayedMeter(one, other.clock)
        reading = measure_energy(steady(other, 1.0), meter, other.clock, plan(0.05))
        assert (reading.status, reading.reason) == ("ok", "")
        assert reading.power_w == pytest.approx(345.0, rel=0.005)


def test_rapl_is_measured_over_its_wraps(tmp_path):
    gpu = new_gpu(start_s=START_S)
    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    (zone / "max_energy_range_uj").write_text("50000000\n")

    class Rapl(RaplMeter):
        last = None

        def energy_j(self):
            step = math.floor(gpu.clock.now() / 0.01)
            if step != self.last:
                self.last = step
                (zone / "energy_uj").write_text(str(int(gpu.energy_j(step * 0.01) * 1e6) % 50_000_000))
            return super().energy_j()

    reading = measure_energy(steady(gpu, 120.0), Rapl(tmp_path), gpu.clock, plan(0.01), is_steady=True)
    assert (reading.status, reading.reason) == ("ok", "")
    assert reading.power_w == pytest.approx(120.0, rel=0.005)


# -- parts --------------------------------------------------------------------------------------------------


@given(st.floats(0.01, 3), st.floats(0.1, 1.0))
def test_with_everything_seen_only_the_incomplete_pass_leaks(pass_s, window_s):
    ticks = np.linspace(0, window_s, 11)
    expected = abs(np.sinc(window_s / pass_s))
    assert leaks([ticks], pass_s, 1.0)[0] == pytest.approx(expected, abs=1e-9)


@given(st.floats(0.05, 0.95), st.integers(1, 9))
def test_what_leaks_is_what_a_cosine_adds_to_the_sampled_mean(share, harmonic):
    ticks, pass_s = np.cumsum([0.0, 0.1, 0.11, 0.09, 0.1]), 0.234
    phases = np.linspace(0, 2 * np.pi, 33)
    means = []
    for phase in phases:
        total = 0.0
        for begin, end in zip(ticks, ticks[1:], strict=False):
            times = begin + (np.arange(4000) + 0.5) / 4000 * share * (end - begin)
            total += np.cos(2 * np.pi * harmonic * times / pass_s + phase).mean() * (end - begin)
        means.append(total / ticks[-1])
    assert max(means) == pytest.approx(leaks([ticks], pass_s, share)[harmonic - 1], abs=0.01)


def test_shifted_phases_cancel_what_one_window_leaves():
    windows = [0.025 * i + np.arange(8) * 0.1 for i in range(4)]
    assert alias_error(windows[:1], 0.1, 0.25) > 0.5
    assert alias_error(windows, 0.1, 0.25) < 1e-9


@pytest.mark.parametrize("read_s", [0.0, 0.007])
def test_a_step_lies_between_the_moments_that_polling_gives_it(read_s):
    gpu = new_gpu(start_s=START_S)
    nvml = SimulatedNvml(gpu, 0.1)
    read = nvml.nvmlDeviceGetTotalEnergyConsumption
    nvml.nvmlDeviceGetTotalEnergyConsumption = lambda handle: (read(handle), gpu.clock.sleep(read_s))[0]
    poller = Poller(
        NvmlMeter(nvml=nvml), gpu.clock
    )  # a step in the rest of a reading is seen by the next one
    poller.poll_for(1.0)
    assert len(poller.ticks) == 10
    for k, tick in enumerate(poller.ticks):
        assert tick.earliest_s < 0.1 * (k + 1) + 1e-9 and tick.latest_s >= 0.1 * (k + 1) - 1e-9
        assert tick.width_s == pytest.approx(5e-4 + 2 * read_s)


def test_a_plan_survives_its_file():
    plan = WindowPlan(period_s=0.02, sampling_share=0.25, idle_w=75.5)
    assert WindowPlan.from_mapping(plan.as_dict()) == plan
    assert WindowPlan.from_mapping({"period_s": 0.02}) == WindowPlan(period_s=0.02)
    with pytest.raises(InvalidInput, match="window_s"):
        WindowPlan.from_mapping({"windw_s": 1.0})
    with pytest.raises(InvalidInput, match="sampling_share = 2"):
        WindowPlan(sampling_share=2)
    with pytest.raises(InvalidInput, match="must be positive"):
        WindowPlan(window_s=0)
