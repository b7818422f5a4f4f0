"""A device profile: a folder of measurements of one device. Text files only, so loading one can run nothing.

device.json          identity, software, sensors, settings, ceilings, protocol version
layers.csv           measured operators, one a line
networks.csv         measured networks, each for fitting, calibrating or testing
network_layers.csv   every operator of those networks, so that calibration needs none of their code
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt.device.ceilings import Ceilings
from hwopt.device.complete import complete
from hwopt.device.rows import (
    LAYER_COLUMNS,
    LAYER_KEY,
    NETWORK_COLUMNS,
    NETWORK_LAYER_COLUMNS,
    TEXT_COLUMNS,
    one_row_a_key,
    read_table,
)
from hwopt.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd

PROTOCOL_VERSION = 1
SPLITS = ("fit", "calibrate", "test")
NETWORK_KEY = ("network", "batch", "dtype", "mode")

DEVICE_FILE = "device.json"
LAYER_FILE = "layers.csv"
NETWORK_FILE = "networks.csv"
NETWORK_LAYER_FILE = "network_layers.csv"


@dataclass(frozen=True, eq=False)
class DeviceProfile:
    """Measurements of one device, checked and complete.

    Attributes:
        folder: where they lie.
        info: contents of device.json.
        layers: one measured operator a row, shapes and work complete; NaN where a metric was not measured.
        networks: one measured network a row.
        network_layers: one operator of a measured network a row, in the order in which they ran.
    """

    folder: Path
    info: Mapping[str, Any]
    layers: "pd.DataFrame"
    networks: "pd.DataFrame"
    network_layers: "pd.DataFrame"

    @classmethod
    def load(cls, folder: str | Path) -> "DeviceProfile":
        """Read and check a profile.

        Raises:
            InvalidInput: with file, line, what came, what was wanted and what to do.
        """
        folder = Path(folder)
        info = read_info(folder / DEVICE_FILE)
        layers = read_layers(folder / LAYER_FILE)
        networks = read_networks(folder / NETWORK_FILE)
        network_layers = read_network_layers(folder / NETWORK_LAYER_FILE)
        return cls(folder, info, layers, networks, network_layers)

    @property
    def name(self) -> str:
        """Name of the device, as in device.json."""
        return str(self.info["name"])

    @property
    def ceilings(self) -> Ceilings:
        """Measured ceilings of the device."""
        return Ceilings.from_mapping(self.info["ceilings"])

    @property
    def measured_layers(self) -> "pd.DataFrame":
        """The layer rows that have a time."""
        return self.layers[self.layers["time_s"].notna()].reset_index(drop=True)


def read_info(path: Path) -> dict[str, Any]:
    """Read device.json and check what the rest relies on: name, protocol version, ceilings.

    Raises:
        InvalidInput: for a missing file, broken JSON, a newer protocol, or ceilings that are no ceilings.
    """
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidInput(f"{path}: no such file; a device profile has one") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{path}: not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{path}, line {error.lineno}: no valid JSON: {error.msg}") from None
    if not isinstance(info, dict):
        raise InvalidInput(f"{path}: wanted an object with name, protocol_version and ceilings")
    for key in ("name", "protocol_version", "ceilings"):
        if key not in info:
            raise InvalidInput(f"{path}: key {key} is missing; wanted name, protocol_version and ceilings")
    _check_version(path, info["protocol_version"])
    if not isinstance(info["ceilings"], dict):
        raise InvalidInput(f"{path}: ceilings = {info['ceilings']!r}; wanted an object of numbers")
    try:
        Ceilings.from_mapping(info["ceilings"])
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from None
    return info


def _check_version(path: Path, version: object) -> None:
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise InvalidInput(f"{path}: protocol_version = {version!r}; it must be a whole number from 1")
    if version > PROTOCOL_VERSION:
        raise InvalidInput(
            f"{path}: protocol_version = {version}; this hwopt knows up to {PROTOCOL_VERSION}; "
            "upgrade hwopt, or measure the device again"
        )


def write_info(folder: Path, info: Mapping[str, Any]) -> None:
    """Write device.json, at once or not at all."""
    unfinished = folder / f"{DEVICE_FILE}.part"
    unfinished.write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(folder / DEVICE_FILE)


def read_layers(path: Path) -> "pd.DataFrame":
    """Read a layers.csv, complete what follows from other columns, and keep one row a key.

    Raises:
        InvalidInput: with file, line, what came, what was wanted.
    """
    table = read_table(path, required=("kind", "batch", "in_channels", "out_channels"))
    table = complete(table)
    if "time_s" not in table.columns:
        raise InvalidInput(f"{path}: column time_s is missing; a layer row is a measured time, in seconds")
    return one_row_a_key(path, _with_columns(table, LAYER_COLUMNS), ("device", *LAYER_KEY))


def read_networks(path: Path) -> "pd.DataFrame":
    """Read a networks.csv; each network is in one of the splits."""
    table = read_table(path, required=("network", "split", "batch", "dtype", "mode"), is_network=True)
    for position, split in enumerate(table["split"]):
        if split not in SPLITS:
            raise InvalidInput(f"{path}, line {position + 2}: split = {split!r}; wanted {', '.join(SPLITS)}")
    return one_row_a_key(path, _with_columns(table, NETWORK_COLUMNS), NETWORK_KEY)


def read_network_layers(path: Path) -> "pd.DataFrame":
    """Read a network_layers.csv, sorted by network and position."""
    table = complete(read_table(path, required=("network", "position", "kind", "batch", "in_channels")))
    table = one_row_a_key(path, _with_columns(table, NETWORK_LAYER_COLUMNS), ("network", "position"))
    return table.sort_values(["network", "position"], kind="stable", ignore_index=True)


def _with_columns(table: "pd.DataFrame", columns: tuple[str, ...]) -> "pd.DataFrame":
    """Return the table with the columns that it lacks, empty."""
    for column in columns:
        if column not in table.columns:
            table[column] = "" if column in TEXT_COLUMNS else float("nan")
    return table
