"""The device.json of a profile: identity, settings and ceilings of the device.

Required keys are checked; other keys are kept unchanged, with their texts made printable.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwopt.errors import InvalidInput
from hwopt.profile.cells import name_fault, word_fault
from hwopt.profile.roofline import Ceilings
from hwopt.profile.text_file import read_json, shown

PROTOCOL_VERSION = 1
OLDEST_PROTOCOL = 1  # oldest version with comparable values
DEVICE_FILE = "device.json"
# Plausible range of each ceiling; values outside are probably in another unit.
_CEILINGS = {
    "flops_per_s": (1e5, 1e19, "FLOPs a second"),
    "bytes_per_s": (1e5, 1e17, "bytes a second"),
    "launch_s": (1e-10, 1.0, "seconds"),
}


def read_info(path: Path, notes: list[str] | None = None) -> dict[str, Any]:
    """Read device.json and check its required keys: name, protocol version, ceilings.

    Raises:
        InvalidInput: for a missing file, invalid JSON, a newer protocol, or implausible ceilings.
    """
    info = read_json(path)
    if not isinstance(info, dict):
        raise InvalidInput(f"{path}: wanted an object with name, protocol_version and ceilings")
    for key in ("name", "protocol_version", "ceilings"):
        if key not in info:
            raise InvalidInput(f"{path}: key {key} is missing; wanted name, protocol_version and ceilings")
    try:
        check_device_name(info["name"])
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from None
    _check_version(path, info["protocol_version"], notes)
    _check_ceilings(path, info["ceilings"])
    for key in ("hardware", "software", "settings"):
        if not isinstance(info.get(key, {}), dict):
            raise InvalidInput(f"{path}: {key} = {shown(info[key])}; it must be an object, or absent")
    return info


def check_device_name(name: object) -> None:
    """Raise InvalidInput unless a name of a device is a nonempty printable text, not a path or formula."""
    if not isinstance(name, str) or not name.strip():
        raise InvalidInput(f"name = {shown(name)}; wanted the name of the device, such as 'nvidia-h200'")
    fault = word_fault(name) or name_fault(name)
    if fault:
        raise InvalidInput(f"name = {shown(name)}; {fault}")


def _check_version(path: Path, version: object, notes: list[str] | None) -> None:
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise InvalidInput(f"{path}: protocol_version = {shown(version)}; it must be a whole number from 1")
    if version > PROTOCOL_VERSION:
        raise InvalidInput(
            f"{path}: protocol_version = {version}; this version of hwopt reads up to {PROTOCOL_VERSION}; "
            "upgrade hwopt, or measure the device again"
        )
    if version < OLDEST_PROTOCOL:
        raise InvalidInput(
            f"{path}: protocol_version = {version}; the oldest that this version of hwopt reads is "
            f"{OLDEST_PROTOCOL}; measure the device again"
        )
    if version < PROTOCOL_VERSION and notes is not None:
        newest = f"the newest is {PROTOCOL_VERSION}: columns added since are empty"
        notes.append(f"{path.name}: measured with protocol {version}, {newest}")


def _check_ceilings(path: Path, values: object) -> None:
    if not isinstance(values, dict):
        raise InvalidInput(f"{path}: ceilings = {shown(values)}; wanted an object of numbers")
    try:
        ceilings = Ceilings.from_mapping(values)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from None
    for name, (least, most, unit) in _CEILINGS.items():
        value = getattr(ceilings, name)
        if not least <= value <= most:
            wanted = f"plausible is {least:g} to {most:g} {unit}; is it in another unit?"
            raise InvalidInput(f"{path}: ceiling {name} = {value:g}; {wanted}")


def write_info(folder: Path, info: Mapping[str, Any]) -> None:
    """Write device.json atomically."""
    unfinished = folder / f"{DEVICE_FILE}.part"
    unfinished.unlink(missing_ok=True)
    unfinished.write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(folder / DEVICE_FILE)
