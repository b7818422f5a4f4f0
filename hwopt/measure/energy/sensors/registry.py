"""Energy sensors by type of device: the only list of them.

    "cuda:0" --SENSORS["cuda"]--> Sensor --open("cuda:0")--> Meter
                                         --probe()---------> a SensorStatus for each device

To add a sensor, write a `Meter` in a module of this folder and list it in `SENSORS`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from hwopt.measure.energy.sensors.meter import Meter, SensorError
from hwopt.measure.energy.sensors.nvml import NvmlMeter
from hwopt.measure.energy.sensors.probe import SensorStatus, probe_nvml, probe_rapl
from hwopt.measure.energy.sensors.rapl import RaplMeter


@dataclass(frozen=True, slots=True)
class Sensor:
    """Energy sensor of one type of device.

    Attributes:
        open: returns the meter of a device, such as "cuda:0", given whether this process already has a
            context on it; raises SensorError.
        probe: returns the status of the sensor for each device of this machine.
    """

    open: Callable[[str, bool], Meter]
    probe: Callable[[], list[SensorStatus]]


def _open_nvml(device: str, is_in_use: bool) -> Meter:
    import torch

    uuid = torch.cuda.get_device_properties(device).uuid  # torch and NVML number GPUs differently
    return NvmlMeter(device_id=f"GPU-{uuid}", is_in_use=is_in_use)


def _open_rapl(device: str, is_in_use: bool) -> Meter:
    return RaplMeter()


SENSORS = {"cuda": Sensor(_open_nvml, probe_nvml), "cpu": Sensor(_open_rapl, probe_rapl)}


def open_meter(device: str, is_in_use: bool = False) -> Meter:
    """Return the energy meter of a device.

    Args:
        device: as in torch, "cpu" or "cuda:0".
        is_in_use: whether this process already has a context on the device.

    Raises:
        SensorError: if there is no sensor for this type of device, or it cannot be opened.
    """
    device_type = device.partition(":")[0]
    if device_type not in SENSORS:
        raise SensorError("no_sensor", f"no energy sensor for {device}; known: {', '.join(SENSORS)}")
    return SENSORS[device_type].open(device, is_in_use)


def open_readable_meter(device: str, is_in_use: bool = False) -> tuple[Meter | None, str]:
    """Return the meter of a device after a first reading and an empty text, or None and the reason."""
    try:
        meter = open_meter(device, is_in_use)
    except SensorError as error:
        return None, str(error)
    try:
        meter.energy_j()
    except SensorError as error:
        meter.close()
        return None, str(error)
    return meter, ""


def probe_sensors() -> list[SensorStatus]:
    """Return the status of every energy sensor."""
    return [status for sensor in SENSORS.values() for status in sensor.probe()]


def no_energy_reason(device_type: str) -> str:
    """Return the reason why no sensor of a type of device can be read; empty if one can."""
    statuses = SENSORS[device_type].probe()
    if any(status.readable for status in statuses):
        return ""
    return "; ".join(f"{status.name}: {status.reason}" for status in statuses)
