"""The record of a GPU's energy sensor, and the measuring plan that follows, as device.json keeps them.

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
from hwopt.measure.energy.sensors.meter import SensorError
from hwopt.measure.energy.sensors.nvml import NvmlMeter
from hwopt.measure.energy.window_plan import WindowPlan
from hwopt.measure.gpu.accelerator import Accelerator, DeviceLost, Loop

CHARACTERIZE_S = 50.0  # that a full characterization may take
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
        budget_s: seconds that a full characterization may take.
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
) -> SensorCharacteristics:
    clock, note = accelerator.clock, ""
    known = known_sensor(accelerator.name, meter.settings()["driver"])
    if known is not None:
        say(f"checking the known energy counter of {known.label}")
        report, fault = check_known_sensor(known, make_loop, meter, clock, open_context)
        if report is not None:
            return report
        note = f"the known sensor of {known.label} was not confirmed: {fault}"
        say(f"{note}; characterizing it")
    else:
        say("characterizing the energy counter")
    full = characterize(make_loop, meter, clock, open_context, min(CHARACTERIZE_S, budget_s))
    return replace(full, note=note)


def plan_of(info: Mapping[str, Any]) -> WindowPlan:
    """Return the plan of a device.json; the default one, which expects the worst, where it has none.

    What an older version found out is planned anew: it knew the moments of steps by polling only.
    """
    sensor = info.get("sensor", {})
    if "period_s" in sensor and "tick_s" not in sensor:
        return SensorCharacteristics.from_mapping(sensor).plan()
    plan = sensor.get("plan")
    return WindowPlan.from_mapping(plan) if plan else WindowPlan()
