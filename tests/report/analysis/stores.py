"""Studies written trial by trial, for what a search would take long to come to."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwopt.report.analysis.study_data import StudyData, read_studies
from hwopt.study.store.store import Store, Trial

DIMENSIONS = [
    {"type": "Integer", "name": "depth", "low": 1, "high": 3, "log": False},
    {"type": "Real", "name": "rate", "low": 1e-4, "high": 1.0, "log": True},
    {"type": "Categorical", "name": "pool", "choices": ["max", "avg"], "weights": [0.5, 0.5]},
]


def identity(
    objectives: Sequence[str] = ("error", "time_s"),
    budgets: Mapping[str, float] | None = None,
    dimensions: Sequence[Mapping[str, Any]] = DIMENSIONS,
) -> dict[str, Any]:
    return {
        "space": {"dimensions": list(dimensions)},
        "budgets": [{"metric": m, "limit": limit, "confidence": 0.9} for m, limit in (budgets or {}).items()],
        "objectives": list(objectives),
        "strategy": "ehvi",
        "aware": True,
        "seed": 0,
        "description": {},
    }


def trial(
    number: int,
    error: float | None = 0.1,
    costs: Mapping[str, float] | None = None,
    status: str = "complete",
    curve: Sequence[float] = (),
    **more: Any,
) -> Trial:
    config = {"depth": 1 + number % 3, "rate": 1 / (1 + 0.1 * number), "pool": "max"}
    values: dict[str, Any] = {
        "config": config, "costs": dict({"time_s": 1e-3} if costs is None else costs), "is_feasible": True,
        "seed": number, "source": "ehvi", "n_priced": 0, "n_infeasible": 0, "broken": {}, "ask_s": 0.0,
        "metrics": {}, "reason": None, "started": "2026-01-01", "train_s": 1.0, "told": number + 1,
    }  # fmt: skip
    return Trial(number=number, error=error, status=status, curve=tuple(curve), **{**values, **more})


def write(
    path: Path, trials: Sequence[Trial], reference: Mapping[str, float] | None = None, **meta: Any
) -> None:
    kept = {"identity": identity(), **meta}
    if reference is not None:
        kept["reference"] = dict(reference)
    with Store(path) as store:
        store.copy_trials(trials, kept)


def read(path: Path, trials: Sequence[Trial], **meta: Any) -> StudyData:
    """Write a study and return what is read of it."""
    write(path, trials, **meta)
    return read_studies(path)[0]
