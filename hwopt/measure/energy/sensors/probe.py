"""Status of the energy sensors of this machine. It changes no setting and runs no program.

An absent sensor has a status with a reason, which profiles state for their empty energy columns.
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwopt.measure.energy.sensors.meter import SensorError
from hwopt.measure.energy.sensors.nvml_library import NvmlLibrary, load_nvml
from hwopt.measure.energy.sensors.rapl import POWERCAP, package_zones

_STEP_S = 0.15
_STUCK = "the counter stays at 0, as on a virtual machine without access to it"


@dataclass(frozen=True, slots=True)
class SensorStatus:
    """Status of a sensor: whether it can be read, and the reason or the kind of counter."""

    name: str
    readable: bool
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {'readable' if self.readable else 'not readable'} ({self.reason})"


def probe_nvml(nvml: Any = None) -> list[SensorStatus]:
    """Return a status for each NVIDIA GPU, or a single one with the reason for having none.

    Args:
        nvml: module with pynvml's functions; None imports pynvml.
    """
    try:
        nvml = load_nvml(nvml)
    except SensorError as error:
        return [SensorStatus("nvml", False, str(error))]
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return [SensorStatus("nvml", False, f"{error}; is an NVIDIA driver installed?")]
    try:
        n_gpus = nvml.nvmlDeviceGetCount()
        if n_gpus == 0:
            return [SensorStatus("nvml", False, "the driver lists no GPU")]
        return [_probe_gpu(nvml, index) for index in range(n_gpus)]
    except (nvml.NVMLError, SensorError) as error:
        return [SensorStatus("nvml", False, str(error))]
    finally:
        nvml.nvmlShutdown()


def _probe_gpu(nvml: NvmlLibrary, index: int) -> SensorStatus:
    name = f"nvml:{index}"
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        model = nvml.nvmlDeviceGetName(handle)
        name = f"nvml:{index} {model.decode() if isinstance(model, bytes) else model}"
        if _stays_at_zero(lambda: int(nvml.nvmlDeviceGetTotalEnergyConsumption(handle))):
            return SensorStatus(name, False, f"total energy counter: {_STUCK}")
    except (nvml.NVMLError, SensorError) as error:
        return SensorStatus(name, False, f"total energy counter: {error}")
    return SensorStatus(name, True, "total energy counter, in millijoules")


def _stays_at_zero(count: Callable[[], int]) -> bool:
    """Return whether a counter is 0, and still 0 after the longest period of any sensor."""
    if count() != 0:
        return False
    time.sleep(_STEP_S)
    return count() == 0


def probe_rapl(folder: Path = POWERCAP, platform: str = sys.platform) -> list[SensorStatus]:
    """Return a status for each RAPL package, or a single one with the reason for having none.

    Args:
        folder: folder of the powercap zones.
        platform: as `sys.platform`; RAPL is read on Linux only.
    """
    if not platform.startswith("linux"):
        return [SensorStatus("rapl", False, f"it needs Linux's powercap, and this system is {platform}")]
    if not folder.is_dir():
        return [SensorStatus("rapl", False, f"{folder} is absent: no driver, or a virtual machine")]
    zones = package_zones(folder)
    if not zones:
        return [SensorStatus("rapl", False, f"{folder} has no RAPL zone of a package")]
    return [_probe_zone(zone) for zone in zones]


def _probe_zone(zone: Path) -> SensorStatus:
    counter = zone / "energy_uj"
    name = f"rapl:{zone.name}"
    if not counter.exists():
        return SensorStatus(name, False, f"{counter} is absent")
    if not os.access(counter, os.R_OK):
        return SensorStatus(name, False, f"no permission to read {counter}; an administrator can allow it")
    try:
        if _stays_at_zero(lambda: int(counter.read_text())):
            return SensorStatus(name, False, f"{counter}: {_STUCK}")
    except (OSError, ValueError) as error:
        return SensorStatus(name, False, f"{counter}: {error}")
    return SensorStatus(name, True, "package energy counter, in microjoules")
