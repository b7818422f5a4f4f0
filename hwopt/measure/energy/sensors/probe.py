"""Which energy sensors can be read here, and why the others cannot. Runs no program, changes nothing.

An absent sensor is an answer with a reason, so that a profile can say why its energy columns are empty.
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
_STUCK = "the counter stays at 0, as of a virtual machine that passes none on"


@dataclass(frozen=True, slots=True)
class SensorStatus:
    """One sensor: whether it can be read, and why or how."""

    name: str
    readable: bool
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {'readable' if self.readable else 'not readable'} ({self.reason})"


def probe_sensors() -> list[SensorStatus]:
    """Return the state of every energy sensor that this package knows: NVIDIA GPUs, then the CPU's."""
    return [*probe_nvml(), *probe_rapl()]


def probe_nvml(nvml: Any = None) -> list[SensorStatus]:
    """Return one status for each NVIDIA GPU, or a single one that says why there is none.

    Args:
        nvml: a module with pynvml's functions; None imports pynvml.
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
            return [SensorStatus("nvml", False, "the driver is there, but no GPU")]
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
    """Whether a counter that shows 0 still does after longer than any takes to step."""
    if count() != 0:
        return False
    time.sleep(_STEP_S)
    return count() == 0


def probe_rapl(folder: Path = POWERCAP, platform: str = sys.platform) -> list[SensorStatus]:
    """Return one status for each RAPL package counter, or a single one that says why there is none.

    Args:
        folder: where Linux shows its power counters.
        platform: as `sys.platform`; RAPL is read through Linux only.
    """
    if not platform.startswith("linux"):
        return [SensorStatus("rapl", False, f"read through Linux's powercap, and this system is {platform}")]
    if not folder.is_dir():
        return [SensorStatus("rapl", False, f"{folder} is absent: no driver, or a virtual machine")]
    zones = package_zones(folder)
    if not zones:
        return [SensorStatus("rapl", False, f"{folder} shows no RAPL zone of a package")]
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


def energy_reason(sensors: list[SensorStatus], prefix: str) -> str:
    """Return why no sensor whose name starts with `prefix` gives energy; empty where one does."""
    ours = [sensor for sensor in sensors if sensor.name.startswith(prefix)]
    if any(sensor.readable for sensor in ours):
        return ""
    return "; ".join(f"{sensor.name}: {sensor.reason}" for sensor in ours) or f"no {prefix} sensor"
