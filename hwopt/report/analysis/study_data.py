"""Contents of a study's file, as the reports read them.

    Study, Store, path of study.db --read_studies--> StudyData: trials and their fates, front, budgets, checks

No space, cost model or objective is needed. The study may be running in another process.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hwopt.errors import InvalidInput, StudyError
from hwopt.study.store.results import FrontPoint, front_of, hypervolume_of
from hwopt.study.store.store import Rejected, Store, Trial
from hwopt.study.store.table_columns import ConfigColumns

FATES = {  # in the order in which they are drawn and listed
    "front": "front",
    "dominated": "feasible, dominated",
    "infeasible": "trained, over a budget",
    "stopped": "stopped early",
    "paused": "paused",
    "failed": "failed",
    "running": "running",
}
Bounds = tuple[float, float]


@dataclass(frozen=True)
class StudyData:
    """Contents of a study's file.

    Attributes:
        name: name in legends, distinct among studies that are read together.
        path: path of the file.
        meta: description of the study.
        trials: trials by number.
        rejections: configs that a strategy selected and a budget excluded.
        retrained: trial -> results of trainings on fresh seeds.
        measured: trial -> measured costs.
        intervals: trial -> predicted intervals as {"confidence": c, metric: [low, high]}.
    """

    name: str
    path: Path
    meta: dict[str, Any]
    trials: tuple[Trial, ...]
    rejections: tuple[Rejected, ...]
    retrained: dict[int, list[dict[str, Any]]]
    measured: dict[int, list[dict[str, Any]]]
    intervals: dict[int, list[dict[str, Any]]]

    @cached_property
    def objectives(self) -> tuple[str, ...]:
        """Objectives, including "error"."""
        return tuple(self.meta["identity"]["objectives"])

    @cached_property
    def costs(self) -> tuple[str, ...]:
        """Cost metrics: objectives first, then all other predicted ones."""
        own = [name for name in self.objectives if name != "error"]
        return tuple(dict.fromkeys([*own, *(name for trial in self.trials for name in trial.costs)]))

    @cached_property
    def limits(self) -> dict[str, float]:
        """Budgets: metric -> limit."""
        return {budget["metric"]: budget["limit"] for budget in self.meta["identity"]["budgets"]}

    @cached_property
    def front(self) -> list[FrontPoint]:
        """Feasible and nondominated trainings by decreasing error, each config once."""
        return front_of(self.trials, self.objectives)

    @cached_property
    def front_numbers(self) -> set[int]:
        """Numbers of the trials whose configs are on the front."""
        return {number for point in self.front for number in point.numbers}

    @cached_property
    def hypervolume(self) -> float:
        """Hypervolume of the front with the study's reference point; NaN without one."""
        reference = self.meta.get("reference")
        return hypervolume_of(self.trials, reference) if reference else math.nan

    @cached_property
    def by_number(self) -> dict[int, Trial]:
        """Trials by their numbers."""
        return {trial.number: trial for trial in self.trials}

    @cached_property
    def dimensions(self) -> list[dict[str, Any]]:
        """Descriptions of the hyperparameters: type, name, and low and high or choices."""
        return list(self.meta["identity"]["space"]["dimensions"])

    @cached_property
    def columns(self) -> ConfigColumns:
        """Names of the hyperparameters' columns in tables."""
        return ConfigColumns({m for trial in self.trials for m in (*trial.costs, *trial.metrics)})

    @cached_property
    def ended(self) -> list[Trial]:
        """Ended trials, in the order of their ends."""
        return sorted((trial for trial in self.trials if trial.told is not None), key=lambda t: t.told or 0)

    def fate(self, trial: Trial) -> str:
        """Return the fate of a trial, a key of FATES."""
        if trial.status != "complete":
            return trial.status
        if not trial.is_feasible:
            return "infeasible"
        return "front" if trial.number in self.front_numbers else "dominated"

    def error(self, trial: Trial) -> float:
        """Return the error of a trial: the last one if stopped, paused or running; NaN if failed."""
        if trial.error is not None:
            return trial.error
        return trial.curve[-1] if trial.curve and trial.status != "failed" else math.nan

    def interval(self, number: int, metric: str) -> Bounds | None:
        """Return the predicted interval of a trial's cost, or None if none was stored."""
        found = self.intervals.get(number, [{}])[0].get(metric)
        return None if found is None else (float(found[0]), float(found[1]))

    def confidence(self, number: int) -> float:
        """Return the confidence of a trial's intervals; NaN if none was stored."""
        return float(self.intervals.get(number, [{}])[0].get("confidence", math.nan))

    def measured_cost(self, number: int, metric: str) -> float:
        """Return the measured cost of a trial, or NaN."""
        found = self.measured.get(number, [{}])[0].get(metric)
        return math.nan if found is None else float(found)

    def test_errors(self, number: int) -> list[float]:
        """Return the test errors of a trial's trainings on fresh seeds."""
        return [found["test_error"] for found in self.retrained.get(number, []) if "test_error" in found]


def read_studies(sources: Any) -> list[StudyData]:
    """Read one or several studies.

    Args:
        sources: a `Study`, the path of a study.db or of its folder, a `StudyData`; or a list of these.

    Raises:
        InvalidInput: for other types, or an empty list.
        StudyError: for a file that is not a study.
    """
    several = sources if isinstance(sources, Sequence) and not isinstance(sources, str) else [sources]
    studies = [_read(source) for source in several]
    if not studies:
        raise InvalidInput("no study given; pass a Study, or the path of a study.db")
    names = _distinct_names([study.path for study in studies])
    return [replace(study, name=name) for study, name in zip(studies, names, strict=True)]


def _read(source: Any) -> StudyData:
    if isinstance(source, StudyData):
        return source
    if isinstance(source, str | Path):
        path = Path(source)
        path = path / "study.db" if path.is_dir() else path
        with Store(path, read_only=True) as opened:
            return study_data(opened)
    store: Any = getattr(source, "store", source)
    if not isinstance(store, Store):
        raise InvalidInput(
            f"{source!r} is not a study; pass a Study, the path of a study.db, or a list of these"
        )
    return study_data(store)


def study_data(store: Store) -> StudyData:
    """Return the contents of a store.

    Raises:
        StudyError: for a file without a study so far.
    """
    meta = store.meta()
    if "identity" not in meta:
        raise StudyError(f"{store.path} holds no trials yet")
    return StudyData(
        name=_name(store.path),
        path=store.path,
        meta=meta,
        trials=tuple(store.trials()),
        rejections=tuple(store.rejections()),
        retrained=store.checks("retrained"),
        measured=store.checks("measured"),
        intervals=store.checks("predicted"),
    )


def _name(path: Path) -> str:
    """Return the name of a study: that of its folder if the file is called study.db, else the file's."""
    return path.resolve().parent.name or path.stem if path.name == "study.db" else path.stem


def _distinct_names(paths: Sequence[Path]) -> list[str]:
    """Return short distinct names of files, with as many parent folders as needed."""
    names = [_name(path) for path in paths]
    parts = [path.resolve().with_suffix("").parts for path in paths]
    for depth in range(2, max(map(len, parts))):
        twice = {name for name in names if names.count(name) > 1}
        if not twice:
            break
        names = [
            "/".join(part[-depth - (path.name == "study.db") :]).removesuffix("/study")
            if name in twice
            else name
            for name, part, path in zip(names, parts, paths, strict=True)
        ]
    return [f"{name} ({i + 1})" if names.count(name) > 1 else name for i, name in enumerate(names)]
