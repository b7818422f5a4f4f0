"""Sensors, the measuring protocol and campaigns: the only place that touches a device.

Names are imported when they are first used, so that `import hwopt.measure` loads nothing heavy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwopt.measure.api import profile_device
    from hwopt.measure.energy.sensors.probe import SensorStatus, probe_sensors

_HOME = {
    "SensorStatus": "hwopt.measure.energy.sensors.probe",
    "probe_sensors": "hwopt.measure.energy.sensors.probe",
    "profile_device": "hwopt.measure.api",
}
__all__ = ["SensorStatus", "probe_sensors", "profile_device"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
