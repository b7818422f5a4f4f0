"""Measurements of operators and networks on a CPU or GPU, with energy sensors; the only package that does so.

Names are imported when they are first used, so that `import hwopt.measure` does not load torch.
"""

from typing import TYPE_CHECKING

from hwopt.lazy_names import lazy_names

if TYPE_CHECKING:
    from hwopt.measure.api import profile_device
    from hwopt.measure.energy.sensors.probe import SensorStatus
    from hwopt.measure.energy.sensors.registry import probe_sensors

__all__ = ["SensorStatus", "probe_sensors", "profile_device"]
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "hwopt.measure.api": "profile_device",
        "hwopt.measure.energy.sensors.probe": "SensorStatus",
        "hwopt.measure.energy.sensors.registry": "probe_sensors",
    },
)
