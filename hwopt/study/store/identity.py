"""Identity of a study: its file can be continued by the same experiment only."""

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hwopt.errors import StudyError
from hwopt.space.search_space import SearchSpace
from hwopt.study.store.code_identity import function_fingerprint, is_same

_PACKAGES = ("hwopt", "numpy", "scipy", "scikit-learn", "scikit-optimize", "torch")

_CHANGED = {  # messages for differences of fingerprints
    "description.data.digest": "the data differ from those that the study was started with; restore them (a "
    "function that loads them must return the same data each time)",
    "description.objective.code": "the code of the objective, or of a file beside it that it imports, has "
    "changed since the study began; restore it",
}


def compare(path: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to continue another study; entries that older versions did not write are not compared."""
    now = json.loads(json.dumps(now))
    code_then, code_now = then.get("code") or {}, now.get("code") or {}
    differing = first_difference(known_then(then), known_now(then, now))
    if differing:
        place, old, new = differing
        if place == "space.conditions":
            raise StudyError(_space_changed(path, "the conditions of its hyperparameters (active=)"))
        if place in _CHANGED:
            raise StudyError(f"{path}: {_CHANGED[place]}, or choose another path to start anew")
        raise StudyError(
            f"{path} belongs to another experiment: its {place} is {_short(old)}, not {_short(new)}; "
            "choose another path to start anew"
        )
    for what, text in (("file", "the code of its file"), ("build", "the function build")):
        if not is_same(code_then.get(what), code_now.get(what)):
            raise StudyError(_space_changed(path, text))
    for name, condition in (code_now.get("conditions") or {}).items():
        if not is_same((code_then.get("conditions") or {}).get(name), condition):
            raise StudyError(_space_changed(path, f"the condition of {name} (active=)"))


def code_of(space: SearchSpace, file: str | None) -> dict[str, Any]:
    """Return the fingerprints of a space's functions: `build` and the conditions."""
    conditions = {name: function_fingerprint(condition) for name, condition in space.active.items()}
    return {"file": file, "build": function_fingerprint(space.build), "conditions": conditions}


def known_then(then: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stored identity without the code, which is compared separately."""
    return {key: value for key, value in then.items() if key != "code"}


def known_now(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return the current identity without entries that older versions did not write."""
    known = known_then(now)
    space = dict(known.get("space") or {})
    if "conditions" not in (then.get("space") or {}):
        space.pop("conditions", None)
    return {**known, "space": space} if space else known


def _space_changed(path: Path, what: str) -> str:
    return (
        f"{path}: the space has changed since the study began: {what}; restore it, or choose another path to "
        "start anew"
    )


def first_difference(then: Any, now: Any, place: str = "") -> tuple[str, Any, Any] | None:
    """Return the first difference of two JSON values: a dotted path and the two values."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*now, *then]):
            found = first_difference(then.get(key), now.get(key), f"{place}.{key}" if place else key)
            if found:
                return found
        return None
    return None if then == now else (place, then, now)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."


def versions(more: Sequence[str] = ()) -> dict[str, str]:
    """Return the versions of Python, the system, the main packages, and `more`."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in (*_PACKAGES, *more):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found
