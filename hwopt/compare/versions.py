"""Versions of the code that made the runs of a comparison: runs of different code are not comparable.

out/runs/LABEL/SEED.versions.json    a list: versions of each part of the run, in order
"""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path

import hwopt
from hwopt.compare.record import Run
from hwopt.study.store.identity import versions

_DECIDING = (
    "hwopt",
    "code",
    "numpy",
    "scipy",
    "scikit-learn",
    "scikit-optimize",
    "torch",
    "optuna",
    "botorch",
)
_UNKNOWN = {"versions": "not kept"}  # of runs of old versions
_CHOOSING = ("space", "search", "integrations", "compare")  # packages that determine a run


def add_versions(run: Path, goes_on: bool) -> None:
    """Record the versions with which a run begins or continues."""
    known, now = read_versions(run) if goes_on else [], _current()
    if goes_on and not known:
        known = [_UNKNOWN]  # its first trainings
    if not known or known[-1] != now:
        _path(run).write_text(json.dumps([*known, now], indent=1) + "\n", encoding="utf-8")


def read_versions(run: Path) -> list[dict[str, str]]:
    """Return the versions that made a run; none for runs of old versions."""
    try:
        found: list[dict[str, str]] = json.loads(_path(run).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return found


def mixture_notes(runs: Iterable[Run]) -> list[str]:
    """Return a note on differing versions of runs; none if they agree."""
    groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for run in runs:
        for used in run.versions or (_UNKNOWN,):
            key = tuple(
                sorted((name, value) for name, value in used.items() if name in (*_DECIDING, "versions"))
            )
            groups.setdefault(key, []).append(f"{run.label} {run.seed}")
    if len(groups) < 2:
        return []
    shared = set.intersection(*(set(key) for key in groups))
    parts = [
        f"{', '.join(f'{name} {value}' for name, value in key if (name, value) not in shared)}: "
        f"{len(names)} runs, such as {names[0]}"
        for key, names in groups.items()
    ]
    return [
        f"runs of different versions are compared: {'; '.join(parts)}; a new folder compares like with like"
    ]


@cache
def _current() -> Mapping[str, str]:
    return {**versions(("optuna", "botorch")), "code": _code()}


def _code() -> str:
    """Return a fingerprint of the code that determines the trainings of a run."""
    root = Path(hwopt.__file__).parent
    files = [path for part in _CHOOSING for path in sorted((root / part).rglob("*.py"))]
    files += [root / name for name in ("conformal.py", "costs.py", "gp.py")]
    digest = sha256()
    for path in files:
        digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()[:12]


def _path(run: Path) -> Path:
    return run.with_suffix(".versions.json")
