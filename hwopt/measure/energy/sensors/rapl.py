"""Energy meter of the CPU packages (RAPL), from Linux's powercap files.

    /sys/class/powercap/intel-rapl:0/  name: package-0  energy_uj: 612345678  max_energy_range_uj: 262143328

Packages are summed; each is unwrapped separately. Zones below a package (cores, DRAM: two colons) are part of
it, and `psys` is the whole platform, packages included: neither is added.
"""

from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from hwopt.measure.energy.sensors.meter import DeviceState, SensorError
from hwopt.measure.energy.sensors.unwrapped_counter import UnwrappedCounter

POWERCAP = Path("/sys/class/powercap")


def package_zones(folder: Path = POWERCAP) -> list[Path]:
    """Return the folders of the CPU packages, sorted; a zone without a readable name counts as a package."""
    zones = sorted(path for path in folder.glob("*rapl:*") if path.name.count(":") == 1)
    return [zone for zone in zones if _name(zone).startswith("package")]


def _name(zone: Path) -> str:
    try:
        return (zone / "name").read_text().strip()
    except OSError:
        return "package"


class RaplMeter:
    """Energy meter of all CPU packages. Read it at least every few minutes, otherwise a wrap is missed.

    Args:
        folder: folder of the powercap zones.

    Raises:
        SensorError: `no_sensor` without a package, `no_permission` if one may not be read.
    """

    def __init__(self, folder: Path = POWERCAP) -> None:
        self._zones = package_zones(folder)
        if not self._zones:
            raise SensorError("no_sensor", f"{folder} has no RAPL package: no driver, or a virtual machine")
        self.name = "rapl:" + "+".join(zone.name for zone in self._zones)
        self.resolution_j = 1e-6
        self._lock = Lock()
        self._counters = [UnwrappedCounter(self.resolution_j, _range_uj(zone)) for zone in self._zones]
        self.energy_j()

    def energy_j(self) -> float:
        """Return the joules of all packages since the meter was opened."""
        with self._lock:  # so that all packages are read at one time
            return sum(
                counter.read(partial(_read_uj, zone / "energy_uj"))
                for counter, zone in zip(self._counters, self._zones, strict=True)
            )

    def power_w(self) -> float:
        """Raise SensorError: RAPL has no instantaneous power."""
        raise SensorError("not_supported", f"{self.name} counts energy only")

    def state(self) -> DeviceState:
        """Return a state without readings."""
        return DeviceState()

    def settings(self) -> dict[str, Any]:
        """Return an empty dict: no setting is read."""
        return {}

    def mark_own_process(self) -> None:
        """Do nothing: processes are not listed."""

    def close(self) -> None:
        """Do nothing: no resource is held."""


def _range_uj(zone: Path) -> int | None:
    path = zone / "max_energy_range_uj"
    return _read_uj(path) if path.exists() else None


def _read_uj(path: Path) -> int:
    try:
        return int(path.read_text())
    except PermissionError as error:
        detail = f"no permission to read {path}; an administrator can allow it"
        raise SensorError("no_permission", detail) from error
    except FileNotFoundError as error:
        raise SensorError("device_lost", f"{path} is absent") from error
    except (OSError, ValueError) as error:
        raise SensorError("read_failed", f"{path}: {error}") from error
