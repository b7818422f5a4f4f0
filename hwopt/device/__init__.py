"""Sensors, the measuring protocol and device profiles: the only place that touches sensors.

Names are imported when they are first used, so that `import hwopt.device` loads nothing heavy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwopt.device.ceilings import Ceilings
    from hwopt.device.measure import profile_device
    from hwopt.device.meters.probe import SensorStatus, probe_sensors
    from hwopt.device.profile import DeviceProfile

_HOME = {
    "Ceilings": "hwopt.device.ceilings",
    "DeviceProfile": "hwopt.device.profile",
    "SensorStatus": "hwopt.device.meters.probe",
    "probe_sensors": "hwopt.device.meters.probe",
    "profile_device": "hwopt.device.measure",
}
__all__ = ["Ceilings", "DeviceProfile", "SensorStatus", "probe_sensors", "profile_device"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
