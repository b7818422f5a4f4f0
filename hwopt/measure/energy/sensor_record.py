"""The record of a GPU's energy sensor, and the measuring plan that follows, as device.json keeps them.

known model and driver --> check, 8 s --passed--> plan
|
unknown ----------------------failed--> characterisation, up to 50 s --> plan
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hwopt.measure.energy.sensor_characterization import characterise
from hwopt.measure.energy.sensor_check import check_known_sensor
from hwopt.measure.energy.sensor_plan import SensorPlan
from hwopt.measure.energy.sensor_report import SensorReport
from hwopt.measure.energy.sensors.known_sensors import known_sensor
from hwopt.measure.energy.sensors.meter import SensorError
from hwopt.measure.energy.sensors.nvml import NvmlMeter
from hwopt.measure.gpu.accelerator import Accelerator, DeviceLost, Loop

CHARACTERISE_S = 50.0  # that a full characterisation may take
_ENDS = ("device_lost", "other_process")  # no sensor of a device that is gone, or not ours


def describe_sensor(
    accelerator: Accelerator,
    meter: NvmlMeter,
    make_loop: Callable[[], Loop],
    open_context: Callable[[], None],
    budget_s: float,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Return what is found out about a sensor, or the reason for knowing nothing.

    Args:
        accelerator: the GPU.
        meter: reads its energy.
        make_loop: gives a loop of constant, high power.
        open_context: has this process use the device.
        budget_s: seconds that a full characterisation may take.
        say: told what is done.

    Raises:
        DeviceLost: the GPU does not answer any more.
        SensorError: `other_process`, where the GPU is not ours.
    """
    try:
        report = _report(accelerator, meter, make_loop, open_context, budget_s, say)
    except SensorError as error:
        if error.code == "device_lost":
            raise DeviceLost(str(error)) from error
        if error.code in _ENDS:
            raise
        return {"reason": str(error)}
    return report.as_dict()


def _report(
    accelerator: Accelerator,
    meter: NvmlMeter,
    make_loop: Callable[[], Loop],
    open_context: Callable[[], None],
    budget_s: float,
    say: Callable[[str], None],
) -> SensorReport:
    clock, note = accelerator.clock, ""
    known = known_sensor(accelerator.name, meter.settings()["driver"])
    if known is not None:
        say(f"checking the known energy counter of {known.label}")
        report, fault = check_known_sensor(known, make_loop, meter, clock, open_context)
        if report is not None:
            return report
        note = f"the known sensor of {known.label} was not confirmed: {fault}"
        say(f"{note}; characterising it")
    else:
        say("characterising the energy counter")
    full = characterise(make_loop, meter, clock, open_context, min(CHARACTERISE_S, budget_s))
    return replace(full, note=note)


def plan_of(info: Mapping[str, Any]) -> SensorPlan:
    """Return the plan of a device.json; the default one, which expects the worst, where it has none.

    What an older version found out is planned anew: it knew the moments of steps by polling only.
    """
    sensor = info.get("sensor", {})
    if "period_s" in sensor and "tick_s" not in sensor:
        return SensorReport.from_mapping(sensor).plan()
    plan = sensor.get("plan")
    return SensorPlan.from_mapping(plan) if plan else SensorPlan()
