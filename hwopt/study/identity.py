"""What makes a study what it is: a file is continued by the same experiment only."""

import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hwopt.errors import StudyError

_PACKAGES = ("hwopt", "numpy", "scipy", "scikit-learn", "scikit-optimize", "torch")


def compare(path: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to continue a study that is not this one."""
    differing = _first_difference(then, json.loads(json.dumps(now)))
    if differing:
        place, old, new = differing
        raise StudyError(
            f"{path} belongs to another experiment: its {place} is {_short(old)}, not {_short(new)}; "
            "choose another path to start anew"
        )


def _first_difference(then: Any, now: Any, place: str = "") -> tuple[str, Any, Any] | None:
    """Return where two JSON values first differ, as a dotted path, and the two values there."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*now, *then]):
            found = _first_difference(then.get(key), now.get(key), f"{place}.{key}" if place else key)
            if found:
                return found
        return None
    return None if then == now else (place, then, now)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."


def versions() -> dict[str, str]:
    """Return the versions of Python, of the system and of the packages that matter."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found
