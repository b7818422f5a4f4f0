"""The former place of `hwopt.device.meters.probe`."""

from hwopt.device.meters.probe import SensorStatus, energy_reason, probe_nvml, probe_rapl, probe_sensors

__all__ = ["SensorStatus", "energy_reason", "probe_nvml", "probe_rapl", "probe_sensors"]
