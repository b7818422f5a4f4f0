"""Sensors, the measuring protocol and campaigns: the only place that touches a device.

Names are imported when they are first used, so that `import hwopt.measure` loads nothing heavy.
"""

from typing import TYPE_CHECKING

from hwopt.lazy_names import lazy_names

if TYPE_CHECKING:
    from hwopt.measure.api import profile_device
    from hwopt.measure.energy.sensors.probe import SensorStatus, probe_sensors

__all__ = ["SensorStatus", "probe_sensors", "profile_device"]
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "hwopt.measure.api": "profile_device",
        "hwopt.measure.energy.sensors.probe": "SensorStatus probe_sensors",
    },
)
