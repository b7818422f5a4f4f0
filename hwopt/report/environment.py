"""Tables of `hwopt env`: versions, devices, sensors."""

from rich.table import Table

from hwopt.measure.energy.sensors.registry import probe_sensors
from hwopt.measure.system_info import cpu_model, describe_software


def environment_tables() -> list[Table]:
    """Return tables of the software, the devices and the energy sensors of this machine."""
    return [_software(), _devices(), _sensors()]


def _software() -> Table:
    table = Table("software", "version", title="versions", title_justify="left")
    for name, version in describe_software().items():
        table.add_row(name, version)
    return table


def _devices() -> Table:
    import os

    import torch

    from hwopt.predict.device import shipped_devices

    table = Table("device", "description", title="devices", title_justify="left")
    table.add_row("cpu", f"{cpu_model()}, {os.cpu_count()} cores")
    for index in range(torch.cuda.device_count()):
        table.add_row(f"cuda:{index}", torch.cuda.get_device_name(index))
    for name in shipped_devices():
        table.add_row(name, "profile shipped with hwopt")
    return table


def _sensors() -> Table:
    table = Table("sensor", "readable", "how, or why not", title="energy sensors", title_justify="left")
    for status in probe_sensors():
        table.add_row(status.name, "yes" if status.readable else "no", status.reason)
    return table
