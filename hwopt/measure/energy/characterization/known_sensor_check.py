"""Check a known energy sensor against its recorded characteristics, in 8 seconds instead of 50.

    idle, context | busy: period, on a line | one wave with a slightly different period: sampled share

The results are compared with the table of `hwopt.measure.energy.sensors.known_sensors`; a sensor that differs
is characterized in full.
"""

from collections.abc import Callable

from hwopt.measure.energy.characterization.measurements import (
    STALL_S,
    BusyMeasurement,
    SensorMeasurements,
    resolution_j,
)
from hwopt.measure.energy.characterization.sensor_characteristics import ON_LINE_S, SensorCharacteristics
from hwopt.measure.energy.characterization.square_wave import WaveMaker, tail_s
from hwopt.measure.energy.sensors.known_sensors import KnownSensor
from hwopt.measure.energy.sensors.meter import Clock, Meter
from hwopt.measure.gpu.accelerator import Loop

_IDLE_S, _BUSY_S = 1.0, 2.5
_SWEEP_STEPS = 16
_PERIOD_ERROR, _SHARE_ERROR = 0.005, 0.12  # relative; absolute


def check_known_sensor(
    known: KnownSensor,
    make_loop: Callable[[], Loop],
    meter: Meter,
    clock: Clock,
    open_context: Callable[[], None] | None = None,
) -> tuple[SensorCharacteristics | None, str]:
    """Compare a sensor with the recorded characteristics of its model and driver.

    Args:
        known: recorded characteristics.
        make_loop: returns a loop of constant, high power with short replays; it is closed at the end.
        meter: the sensor.
        clock: clock of the device.
        open_context: creates this process's context on the device; None if it exists.

    Returns:
        The characteristics and an empty text, or None and the difference.

    Raises:
        SensorError: if the counter cannot be read, or does not advance.
    """
    sensor = SensorMeasurements(meter, clock, budget_s=0.0)
    if open_context is not None:
        open_context()
        sensor.timed("settle", lambda: clock.sleep(1.0))
    context_w = sensor.timed("idle with context", lambda: sensor.idle_w(_IDLE_S))
    loop = make_loop()
    try:
        busy = sensor.timed("busy", lambda: sensor.busy(loop, _BUSY_S))
        fault = _fault_of_period(busy, known)
        if fault:
            return None, fault
        maker = WaveMaker(loop, meter, clock, STALL_S, tail_s(loop, clock), busy.timeline)
        share = sensor.timed("sampled share", lambda: sensor.share(maker, busy, _SWEEP_STEPS))
    finally:
        loop.close()
    if share is None or abs(share - known.sampling_share) > _SHARE_ERROR:
        seen = "an unknown share" if share is None else f"a share of {share:.2f}"
        return None, f"it samples {seen} of a period, expected {known.sampling_share:g}"
    return _report(known, meter, sensor, busy, context_w), ""


def _fault_of_period(busy: BusyMeasurement, known: KnownSensor) -> str:
    if not busy.is_on_line:
        return f"its period is not exact (jitter {busy.jitter_s:.2g} s), expected an exact period"
    if abs(busy.period_s / known.period_s - 1) > _PERIOD_ERROR:
        return f"its period is {busy.period_s:.3g} s, expected {known.period_s:.3g} s"
    return ""


def _report(
    known: KnownSensor, meter: Meter, sensor: SensorMeasurements, busy: BusyMeasurement, context_w: float
) -> SensorCharacteristics:
    return SensorCharacteristics(
        meter=meter.name,
        period_s=known.period_s,
        jitter_s=busy.jitter_s,
        scatter_s=known.scatter_s,
        poll_s=busy.poll_s,
        read_s=sensor.read_s(n=10),
        resolution_j=resolution_j(busy.ticks, meter.resolution_j),
        busy_w=busy.power_w,
        idle_before_context_w=None,
        idle_context_w=context_w,
        idle_after_load_w=None,
        instant_ratio=None,
        sampling_share=known.sampling_share,
        waves=(),
        unsafe_band_s=None,
        drift_s=_BUSY_S,
        power_drift=busy.power_drift,
        time_drift=busy.time_drift,
        warming_c=busy.warming_c,
        seconds=sensor.seconds,
        tick_s=ON_LINE_S,
        known=known.label,
    )
