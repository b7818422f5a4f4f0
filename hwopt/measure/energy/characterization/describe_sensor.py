"""Describe a GPU's energy sensor for device.json: its characteristics and the window plan.

known model and driver --> check, 8 s --passed--> plan
                                 |
unknown ----------------------failed--> characterization, up to 50 s --> plan
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hwopt.measure.energy.characterization.characterize import characterize
from hwopt.measure.energy.characterization.known_sensor_check import check_known_sensor
from hwopt.measure.energy.characterization.sensor_characteristics import SensorCharacteristics
from hwopt.measure.energy.sensors.known_sensors import known_sensor
from hwopt.measure.energy.sensors.meter import Meter, SensorError
from hwopt.measure.energy.window_plan import WindowPlan
from hwopt.measure.gpu.accelerator import Accelerator, DeviceLost, Loop

CHARACTERIZE_S = 50.0  # longest duration of a full characterization
_ENDS = ("device_lost", "other_process")  # errors that end the run


def describe_sensor(
    accelerator: Accelerator,
    meter: Meter,
    make_loop: Callable[[], Loop],
    open_context: Callable[[], None],
    budget_s: float,
    report_progress: Callable[[str], None],
) -> dict[str, Any]:
    """Return the characteristics of a sensor as a dict for device.json, or the reason for their absence.

    Args:
        accelerator: the GPU.
        meter: its energy meter.
        make_loop: returns a loop of constant, high power.
        open_context: creates this process's context on the device.
        budget_s: longest duration of a full characterization, seconds.
        report_progress: called with messages on the progress.

    Raises:
        DeviceLost: if the GPU does not respond any more.
        SensorError: `other_process`, if other processes use the GPU.
    """
    clock, note = accelerator.clock, ""
    try:
        known = known_sensor(accelerator.name, meter.settings().get("driver"))
        if known is not None:
            report_progress(f"checking the known energy counter of {known.label}")
            report, fault = check_known_sensor(known, make_loop, meter, clock, open_context)
            if report is not None:
                return report.as_dict()
            note = f"the known sensor of {known.label} was not confirmed: {fault}"
            report_progress(f"{note}; characterizing it")
        else:
            report_progress("characterizing the energy counter")
        full = characterize(make_loop, meter, clock, open_context, min(CHARACTERIZE_S, budget_s))
    except SensorError as error:
        if error.code == "device_lost":
            raise DeviceLost(str(error)) from error
        if error.code in _ENDS:
            raise
        return {"reason": str(error)}
    return replace(full, note=note).as_dict()


def plan_of(info: Mapping[str, Any]) -> WindowPlan:
    """Return the window plan of a device.json; without one, the default plan, which is pessimistic.

    The plan is derived anew from characteristics of older versions, which timed steps by polling only.
    """
    sensor = info.get("sensor", {})
    if "period_s" in sensor and "tick_s" not in sensor:
        return SensorCharacteristics.from_mapping(sensor).plan()
    plan = sensor.get("plan")
    return WindowPlan.from_mapping(plan) if plan else WindowPlan()
