"""The energy that a device uses while it trains, where this machine has a counter that may be read."""

from functools import cache
from typing import TYPE_CHECKING

from hwopt.device.meters.meter import Meter, SensorError
from hwopt.device.meters.nvml import NvmlMeter
from hwopt.device.meters.rapl import RaplMeter

if TYPE_CHECKING:
    import torch


def energy_used_j(device: "torch.device") -> float | None:
    """Return the joules that a device has used since the first reading in this process, or None.

    Of a GPU it is the whole board, of a CPU all packages, whoever uses them: with several trainings at a time
    on one device each of them sees the energy of all.
    """
    meter = _meter(str(device))
    try:
        return None if meter is None else meter.energy_j()
    except SensorError:
        return None


@cache
def _meter(device: str) -> Meter | None:
    """Return the device's meter, opened once a process; None where there is none that can be read."""
    try:
        meter = _opened(device)
        meter.energy_j()
    except (SensorError, OSError, ImportError):
        return None
    return meter


def _opened(device: str) -> Meter:
    if not device.startswith("cuda"):
        return RaplMeter()
    import torch

    return NvmlMeter(device_id=str(torch.cuda.get_device_properties(device).uuid))
