"""The device.json of a profile: who was measured, with what, and what it can do at most.

Read and checked is what the rest relies on; the other keys are kept as they are, their texts made printable.
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
OLDEST_PROTOCOL = 1  # whose figures still mean the same
DEVICE_FILE = "device.json"
# Between what a ceiling can be on any device: what lies outside is in another unit.
_CEILINGS = {
    "flops_per_s": (1e5, 1e19, "FLOPs a second"),
    "bytes_per_s": (1e5, 1e17, "bytes a second"),
    "launch_s": (1e-10, 1.0, "seconds"),
}


def read_info(path: Path, notes: list[str] | None = None) -> dict[str, Any]:
    """Read device.json and check what the rest relies on: name, protocol version, ceilings.

    Raises:
        InvalidInput: for a missing file, broken JSON, a newer protocol, or ceilings that are no ceilings.
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
            raise InvalidInput(f"{path}: {key} = {shown(info[key])}; wanted an object, or no such key")
    return info


def check_device_name(name: object) -> None:
    """Refuse what is no name of a device: no text, empty, a path, a formula, or not printable."""
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
            f"{path}: protocol_version = {version}; this hwopt knows up to {PROTOCOL_VERSION}; "
            "upgrade hwopt, or measure the device again"
        )
    if version < OLDEST_PROTOCOL:
        raise InvalidInput(
            f"{path}: protocol_version = {version}; its figures mean something else than those of "
            f"{OLDEST_PROTOCOL}, the oldest that this hwopt reads; measure the device again"
        )
    if version < PROTOCOL_VERSION and notes is not None:
        today = f"today's is {PROTOCOL_VERSION}: what it added is empty"
        notes.append(f"{path.name}: measured by protocol {version}, {today}")


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
            wanted = f"between {least:g} and {most:g} {unit} is believable; is it in another unit?"
            raise InvalidInput(f"{path}: ceiling {name} = {value:g}; {wanted}")


def write_info(folder: Path, info: Mapping[str, Any]) -> None:
    """Write device.json, at once or not at all."""
    unfinished = folder / f"{DEVICE_FILE}.part"
    unfinished.unlink(missing_ok=True)
    unfinished.write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(folder / DEVICE_FILE)
