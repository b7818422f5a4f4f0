"""A sensor is characterized without knowing what it is: found is what the simulated driver was made of."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwopt.measure.energy.characterization.characterize import WaveResponse, characterize
from hwopt.measure.energy.characterization.sensor_characteristics import unsafe_band_s
from hwopt.measure.energy.characterization.square_wave import (
    PulsedLoop,
    WaveMaker,
    seen_variance,
    tail_s,
    width_of_variance,
)
from hwopt.measure.energy.counter_timeline import CounterTimeline
from hwopt.measure.energy.measurement import WindowPlan, measure_energy
from hwopt.measure.energy.sensors.meter import SensorError
from hwopt.measure.energy.sensors.nvml import NvmlMeter
from hwopt.measure.energy.sensors.simulated import Fault, SimulatedNvml, Thermal
from tests.measure.energy.pattern_loop import alternating, new_gpu, steady


def found(
    period_s=0.05,
    share=1.0,
    jitter=0.0,
    faults=(),
    thermal=None,
    budget_s=0.0,
    waves_s=(),
    read_s=0.0,
    busy_s=2.0,
):
    """Characterize a simulated sensor; without a budget no waves beside the one for the share."""
    gpu = new_gpu(start_s=0.0371, thermal=thermal)
    nvml = SimulatedNvml(gpu, period_s, share, faults, jitter)
    read = nvml.nvmlDeviceGetTotalEnergyConsumption
    nvml.nvmlDeviceGetTotalEnergyConsumption = lambda handle: (gpu.clock.sleep(read_s), read(handle))[1]

    def open_context():
        gpu.idle_w = 110.0
        gpu.run(0.1, 200.0)

    loops = []

    def make_loop():
        loops.append(steady(gpu, 500.0, replay_s=1e-3))
        return loops[-1]

    meter = NvmlMeter(nvml=nvml)
    try:
        report = characterize(make_loop, meter, gpu.clock, open_context, budget_s, busy_s, waves_s)
    finally:
        assert all(loop.is_closed for loop in loops)
    return report, gpu, meter


@pytest.mark.parametrize("period_s", [0.01, 0.02, 0.05, 0.1])
@pytest.mark.parametrize("share", [1.0, 0.25])
def test_the_period_the_power_and_the_resolution_are_found(period_s, share):
    report, _, meter = found(period_s, share)
    assert report.meter == meter.name
    assert report.period_s == pytest.approx(period_s, rel=0.005)
    assert report.jitter_s < 0.0002 and report.scatter_s < 0.0002
    assert report.busy_w == pytest.approx(500.0, rel=0.002)
    assert report.resolution_j / 1e-3 == pytest.approx(round(report.resolution_j / 1e-3))
    assert 1e-4 < report.poll_s < 6e-4
    assert report.waves == () and report.unsafe_band_s is None


@pytest.mark.parametrize("period_s", [0.02, 0.1])
@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.75, 1.0])
def test_the_sampled_share_is_found(period_s, share):
    assert found(period_s, share)[0].sampling_share == pytest.approx(share, abs=0.04)


def test_jitter_is_found_and_told_apart_from_late_steps():
    report, *_ = found(0.02, jitter=0.4)
    assert 0.001 < report.jitter_s < 0.006
    assert report.period_s == pytest.approx(0.02, rel=0.01)
    assert report.scatter_s < 0.001  # steps are where they should not be, but show the energy of that moment


def test_three_idle_states_are_told_apart():
    report, *_ = found()
    assert report.idle_before_context_w == pytest.approx(80.0, rel=0.01)
    assert report.idle_context_w == pytest.approx(110.0, rel=0.01)
    assert report.idle_after_load_w == pytest.approx(110.0, rel=0.01)
    assert report.plan().idle_w == report.idle_context_w


def test_where_the_context_is_there_already_nothing_is_known_about_before():
    gpu = new_gpu(start_s=0.0371)
    meter = NvmlMeter(nvml=SimulatedNvml(gpu, 0.05))
    report = characterize(lambda: steady(gpu), meter, gpu.clock, budget_s=0, busy_s=1.0)
    assert report.idle_before_context_w is None
    assert report.idle_context_w == pytest.approx(80.0, rel=0.01)


def test_instantaneous_power_agrees_with_the_counter_or_is_missing():
    assert found()[0].instant_ratio == pytest.approx(1.0, abs=0.005)
    assert found(faults=[Fault("no_power")])[0].instant_ratio is None


def test_drift_by_heat_is_found():
    thermal = Thermal(c_per_w=0.05, tau_s=4.0, power_per_c=0.002, slowdown_per_c=0.003)
    report, *_ = found(thermal=thermal, busy_s=6.0)
    assert report.warming_c > 5
    assert 0.005 < report.power_drift < 0.06
    assert 0.01 < report.time_drift < 0.09
    assert abs(found()[0].power_drift) < 0.002


def test_a_part_time_sensor_misjudges_waves_of_its_own_period_and_a_full_time_one_none():
    report, *_ = found(0.05, 0.25, budget_s=120, waves_s=(0.2,))
    errors = {round(wave.period_s, 3): wave.error for wave in report.waves}
    assert set(errors) == {0.025, 0.05, 0.075, 0.125, 0.2}
    assert errors[0.05] > 0.5
    assert report.unsafe_band_s[0] <= 0.05 <= report.unsafe_band_s[1]
    assert report.plan().n_phases == 4
    report, *_ = found(0.05, 1.0, budget_s=120, waves_s=(0.2,))
    assert all(wave.error < 0.01 and abs(wave.bias) < 0.01 for wave in report.waves)
    assert report.unsafe_band_s is None
    assert report.plan().sampling_share == 1.0 and not report.plan().is_part_time


def test_no_wave_is_begun_beyond_the_budget():
    report, *_ = found(budget_s=25.0, waves_s=(0.2, 1.0))
    assert 0 < len(report.waves) < 6
    assert set(report.seconds) >= {"idle with context", "busy", "sampled share", "waves"}
    assert 0 < sum(report.seconds.values()) < 40


def test_the_band_spans_the_waves_that_were_misjudged():
    errors = {1.0: 0.3, 2.0: 0.001, 3.0: 0.03, 4.0: 0.0}
    waves = [WaveResponse(period_s, error, 0.0, 0.5, 4) for period_s, error in errors.items()]
    assert unsafe_band_s(waves) == (1, 3)
    assert unsafe_band_s(waves[1:2]) is None


@pytest.mark.parametrize("read_s", [0.0, 2e-3, 10e-3])
def test_windows_are_as_long_as_their_ends_are_uncertain(read_s):
    report, *_ = found(read_s=read_s)
    assert report.read_s == pytest.approx(read_s)
    assert report.tick_s == 1e-3 and report.jitter_s == 0  # on a line, however slow the readings
    assert report.scatter_s < 2e-4 + read_s / 20
    assert 0.49 <= report.plan().window_s < 0.8
    jittered, *_ = found(jitter=0.4, read_s=read_s, period_s=0.1)
    plan = jittered.plan()
    assert jittered.tick_s == jittered.poll_s >= read_s
    assert (jittered.poll_s + 2 * jittered.scatter_s) / plan.window_s <= 0.003 + 1e-9
    assert plan.network_window_s >= max(3.0, plan.window_s)


def test_a_large_share_that_waves_contradict_or_do_not_confirm_counts_as_unknown():
    report, *_ = found(share=1.0)
    assert report.sampling_share > 0.9 and report.plan().sampling_share is None


def test_the_report_is_kept_as_json_with_the_plan_in_it():
    report, *_ = found(share=0.25, budget_s=30.0)
    kept = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert WindowPlan.from_mapping(kept["plan"]) == report.plan()
    assert kept["waves"][0]["period_s"] == report.waves[0].period_s


@pytest.mark.parametrize(("kind", "code"), [("stall", "counter_stalled"), ("device_lost", "device_lost")])
def test_a_sensor_that_fails_meanwhile_is_an_error_and_frees_the_loop(kind, code):
    with pytest.raises(SensorError) as caught:
        found(faults=[Fault(kind, at_s=8.0)])
    assert caught.value.code == code


def test_what_was_found_lets_alternating_work_be_measured():
    report, gpu, meter = found(0.05, 0.25)
    for pass_s in (0.05, 0.0002):
        loop = alternating(gpu, pass_s)
        reading = measure_energy(loop, meter, gpu.clock, report.plan(), 1.0)
        assert reading.power_w == pytest.approx(loop.power_w, rel=0.01)
        assert reading.reason == ("aliased" if pass_s == 0.05 else "")


# -- parts ---------------------------------------------------------------------------------------------------


@given(st.floats(0.01, 1.0))
def test_the_variance_of_a_wave_seen_through_a_part_is_that_of_its_average(width):
    n = 4000
    wave = (np.arange(n) < n // 2).astype(float)
    size = max(1, round(width * n))
    sums = np.concatenate([[0.0], np.cumsum(np.tile(wave, 3))])
    seen = (sums[size : size + n] - sums[:n]) / size
    assert seen_variance(size / n) == pytest.approx(seen.var(), abs=1e-3)


@given(st.floats(0.001, 0.999))
def test_the_width_follows_from_the_variance(width):
    assert width_of_variance(seen_variance(width)) == pytest.approx(width, abs=1e-6)


def test_a_variance_that_no_width_has_gives_an_end():
    assert (width_of_variance(0.3), width_of_variance(-1e-9)) == (0.0, 1.0)


def test_a_wave_works_for_half_of_the_time_and_knows_for_how_long():
    gpu = new_gpu(start_s=0.0371)
    loop = steady(gpu, 500.0, replay_s=1e-3)
    pulsed = PulsedLoop(loop, gpu.clock, 0.1, tail_s(loop, gpu.clock), begin_s=gpu.clock.now())
    begin_s, begin_j = gpu.clock.now(), gpu.energy_j()
    while gpu.clock.now() < begin_s + 1.0:
        pulsed.replay()
    duty = pulsed.duty(begin_s, gpu.clock.now())
    assert duty == pytest.approx(0.5, abs=0.02) and len(pulsed.pulses) == 10
    true_w = (gpu.energy_j() - begin_j) / (gpu.clock.now() - begin_s)
    assert true_w == pytest.approx(80 + duty * 420, rel=0.01)


def test_a_wave_is_read_over_whole_periods():
    gpu = new_gpu(start_s=0.0371)
    loop = steady(gpu, 500.0, replay_s=1e-3)
    meter = NvmlMeter(nvml=SimulatedNvml(gpu, 0.02))
    maker = WaveMaker(loop, meter, gpu.clock, 1.0, tail_s(loop, gpu.clock), CounterTimeline(0.02))
    wave = maker.wave(0.3, 1.8, shift_s=0.005)
    turns = (wave.ticks[-1].time_s - wave.ticks[0].time_s) / 0.3
    assert turns == pytest.approx(round(turns), abs=0.01) and round(turns) >= 4
    assert wave.power_w == pytest.approx(80 + 420 * wave.duty, rel=0.01)
