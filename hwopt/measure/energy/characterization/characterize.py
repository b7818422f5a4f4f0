"""Characterize an energy sensor before measurements.

    idle, no context | idle, context | busy: period, jitter, drift | instantaneous power | idle after load
    square waves of power at several periods and phases: sampled share of a period, periods with errors

Meter, clock and a loop of constant power are passed in. The window plan of all later measurements follows
from the characteristics.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from hwopt.measure.energy.characterization.measurements import STALL_S, SensorMeasurements, resolution_j
from hwopt.measure.energy.characterization.sensor_characteristics import SensorCharacteristics, WaveResponse
from hwopt.measure.energy.characterization.square_wave import WaveMaker, tail_s
from hwopt.measure.energy.sensors.meter import Clock, Meter
from hwopt.measure.gpu.accelerator import Loop

__all__ = ["SensorCharacteristics", "WaveResponse", "characterize"]
WAVE_PERIODS_S = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_OWN_PERIODS = (1.0, 0.5, 1.5, 2.5)  # periods of waves with the largest errors, in periods of the sensor


def characterize(
    make_loop: Callable[[], Loop],
    meter: Meter,
    clock: Clock,
    open_context: Callable[[], None] | None = None,
    budget_s: float = 90.0,
    busy_s: float = 6.0,
    wave_periods_s: Sequence[float] = WAVE_PERIODS_S,
) -> SensorCharacteristics:
    """Return the characteristics of a sensor.

    Args:
        make_loop: returns a loop of constant, high power with short replays, such as a large matrix product;
            it is closed at the end.
        meter: the sensor, opened before this process created a context on the device.
        clock: clock of the device.
        open_context: creates this process's context; None if it exists, so that the idle power without a
            context is not measured.
        budget_s: seconds after which no further wave is started.
        busy_s: seconds of load to estimate period and drift.
        wave_periods_s: periods of square waves, in addition to some multiples of the sensor's own period.

    Raises:
        SensorError: if the counter cannot be read, or does not advance.
    """
    sensor = SensorMeasurements(meter, clock, budget_s)
    before_w = context_w = None
    if open_context is not None:
        before_w = sensor.timed("idle before context", sensor.idle_w)
        open_context()
        sensor.timed("settle", lambda: clock.sleep(1.0))
    context_w = sensor.timed("idle with context", sensor.idle_w)
    loop = make_loop()
    try:
        busy = sensor.timed("busy", lambda: sensor.busy(loop, busy_s))
        ratio = sensor.timed("instantaneous power", lambda: sensor.instant_ratio(loop, busy.period_s))
        after_w = sensor.timed("idle after load", sensor.idle_w)
        stall_s = max(STALL_S, 8 * busy.period_s)
        maker = WaveMaker(loop, meter, clock, stall_s, tail_s(loop, clock), busy.timeline)
        share = sensor.timed("sampled share", lambda: sensor.share(maker, busy))
        periods = _wave_periods(wave_periods_s, busy.period_s, maker.tail_s)
        low_w = after_w if after_w is not None else context_w or 0.0
        waves = sensor.timed("waves", lambda: sensor.waves(maker, busy, low_w, periods))
    finally:
        loop.close()
    report = SensorCharacteristics(
        meter=meter.name,
        period_s=busy.period_s,
        jitter_s=busy.jitter_s,
        scatter_s=busy.scatter_s,
        poll_s=busy.poll_s,
        read_s=sensor.read_s(),
        resolution_j=resolution_j(busy.ticks, meter.resolution_j),
        busy_w=busy.power_w,
        idle_before_context_w=before_w,
        idle_context_w=context_w,
        idle_after_load_w=after_w,
        instant_ratio=ratio,
        sampling_share=share,
        waves=waves,
        unsafe_band_s=None,
        drift_s=busy_s,
        power_drift=busy.power_drift,
        time_drift=busy.time_drift,
        warming_c=busy.warming_c,
        seconds=sensor.seconds,
        tick_s=busy.tick_s,
    )
    return replace(report, unsafe_band_s=report.misjudged_band_s())


def _wave_periods(wanted_s: Sequence[float], period_s: float, tail_s: float) -> list[float]:
    """Return the periods of waves, the sensor's own first; none too short for the device to follow."""
    periods = [share * period_s for share in _OWN_PERIODS]
    periods += [one for one in sorted(wanted_s) if all(abs(one / other - 1) > 0.02 for other in periods)]
    return [one for one in periods if one >= max(4 * tail_s, 4e-3)]
