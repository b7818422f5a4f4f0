"""A folder of recorded trainings, read and checked: the data of replays and emulators.

    configs.csv    config, the hyperparameters (empty if inactive), and their costs; or `structure`, and
    costs.csv      structure, time_s, memory_bytes: the last measurement with a time is used
    trainings.csv  config, seed, status (complete or failed), reason
    curves.csv     config, seed, epoch (from 1), validation_error, test_error, cpu_seconds
    plan.json      {"plan": {"epochs": ..., "n_validation": ...}}

Seconds are CPU seconds, which repeat better on a shared machine than wall time.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.arrays import Array
from hwopt.errors import InvalidInput
from hwopt.space.search_space import Config, Integer, SearchSpace
from hwopt.train.result import TrainingResult

if TYPE_CHECKING:
    import pandas as pd

METRICS = ("time_s", "memory_bytes")
_TRAININGS = ("config", "seed", "status", "reason")
_CURVES = ("config", "seed", "epoch", "validation_error", "test_error", "cpu_seconds")


@dataclass(frozen=True)
class RecordedTrainings:
    """The trainings of one config, by seed, and the test error after each epoch of those that ended."""

    trainings: Mapping[int, TrainingResult]
    test_errors: Mapping[int, tuple[float, ...]]

    def of_seed(self, seed: int) -> TrainingResult:
        """Return one of the trainings; further seeds go through them again."""
        seeds = sorted(self.trainings)
        return self.trainings[seeds[seed % len(seeds)]]

    @property
    def complete(self) -> list[TrainingResult]:
        """Complete trainings, by seed."""
        return [one for _, one in sorted(self.trainings.items()) if one.failure is None]


@dataclass(frozen=True, eq=False)
class TrainingTable:
    """Configs with their costs and trainings; `costs` has arrays [n], `recorded` an entry a config."""

    space: SearchSpace
    configs: tuple[Config, ...]
    costs: Mapping[str, Array]
    recorded: tuple[RecordedTrainings, ...]
    n_epochs: int
    n_validation: int


def read_table(folder: str | Path, space: SearchSpace) -> TrainingTable:
    """Return the configs of a folder that were trained and have costs.

    Raises:
        InvalidInput: a file or column is missing, a value is invalid, or no row is left.
    """
    folder = Path(folder)
    n_epochs, n_validation = _read_plan(folder / "plan.json")
    path = folder / "configs.csv"
    configs = _read(path, ("config",))
    columns = {name: f"config.{name}" if f"config.{name}" in configs else name for name in space.names}
    _check_columns(path, configs, list(columns.values()))
    if not set(METRICS) <= set(configs):
        configs = _with_costs(folder, configs)
    recorded = _recorded(folder, n_epochs)
    rows = [
        row for row in configs.dropna(subset=list(METRICS)).to_dict("records") if row["config"] in recorded
    ]
    if not rows:
        raise InvalidInput(f"{folder}: no config has both costs and a training; finish the table first")
    return TrainingTable(
        space=space,
        configs=tuple(_config(path, space, columns, row) for row in rows),
        costs={metric: np.array([row[metric] for row in rows], dtype=float) for metric in METRICS},
        recorded=tuple(recorded[row["config"]] for row in rows),
        n_epochs=n_epochs,
        n_validation=n_validation,
    )


def _read(path: Path, columns: Sequence[str]) -> "pd.DataFrame":
    import pandas as pd

    if not path.is_file():
        raise InvalidInput(f"no file {path}; a table of trainings has configs.csv, trainings.csv, curves.csv")
    try:
        table = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: no table: {error}") from None
    _check_columns(path, table, columns)
    return table


def _check_columns(path: Path, table: "pd.DataFrame", columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in table]
    if missing:
        raise InvalidInput(f"{path}: lacks the columns {', '.join(missing)}")


def _read_plan(path: Path) -> tuple[int, int]:
    if not path.is_file():
        raise InvalidInput(f"no file {path}; it says how many epochs a whole training has")
    try:
        plan = json.loads(path.read_text(encoding="utf-8-sig"))["plan"]
        n_epochs, n_validation = int(plan["epochs"]), int(plan["n_validation"])
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"{path}: wanted {{'plan': {{'epochs': 16, 'n_validation': 600}}}}: {error!r}"
        ) from None
    if n_epochs < 1:
        raise InvalidInput(f"{path}: epochs = {n_epochs}; a whole training has at least one")
    return n_epochs, n_validation


def _with_costs(folder: Path, configs: "pd.DataFrame") -> "pd.DataFrame":
    costs = _read(folder / "costs.csv", ("structure", *METRICS))
    if "structure" not in configs:
        raise InvalidInput(
            f"{folder / 'configs.csv'}: lacks {', '.join(METRICS)}, or structure to look them up by"
        )
    last = costs.dropna(subset=["time_s"]).drop_duplicates("structure", keep="last")
    return configs.merge(last[["structure", *METRICS]], on="structure", how="left")


def _recorded(folder: Path, n_epochs: int) -> dict[int, RecordedTrainings]:
    """Return the recorded trainings of each config."""
    path = folder / "curves.csv"
    curves: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in _read(path, _CURVES).to_dict("records"):
        for column in ("validation_error", "test_error"):
            if not 0 <= row[column] <= 1:
                raise InvalidInput(
                    f"{path}: {column} = {row[column]} of config {row['config']}; wanted a share"
                )
        curves.setdefault((row["config"], row["seed"]), []).append({str(k): v for k, v in row.items()})
    found: dict[int, tuple[dict[int, TrainingResult], dict[int, tuple[float, ...]]]] = {}
    for row in _read(folder / "trainings.csv", _TRAININGS).to_dict("records"):
        config, seed = row["config"], row["seed"]
        epochs = sorted(curves.get((config, seed), []), key=lambda one: int(one["epoch"]))
        trainings, tests = found.setdefault(config, ({}, {}))
        trainings[seed] = _training(path, {str(k): v for k, v in row.items()}, epochs, n_epochs)
        tests[seed] = tuple(epoch["test_error"] for epoch in epochs)
    return {config: RecordedTrainings(*parts) for config, parts in found.items()}


def _training(
    path: Path, row: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]], n_epochs: int
) -> TrainingResult:
    """Return one training, checked: a complete one has every epoch, each once."""
    what = f"config {row['config']} seed {row['seed']}"
    if row["status"] not in ("complete", "failed"):
        raise InvalidInput(
            f"{path.parent / 'trainings.csv'}: status {row['status']!r} of {what}; wanted complete or failed"
        )
    wanted = n_epochs if row["status"] == "complete" else len(epochs)
    if [epoch["epoch"] for epoch in epochs] != list(range(1, wanted + 1)):
        raise InvalidInput(f"{path}: {what} has {len(epochs)} epochs, not 1 to {wanted}, each once")
    return TrainingResult.whole(
        tuple(epoch["validation_error"] for epoch in epochs),
        tuple(epoch["cpu_seconds"] for epoch in epochs),
        None if row["status"] == "complete" else str(row["reason"]),
    )


def _config(path: Path, space: SearchSpace, columns: Mapping[str, str], row: Mapping[Any, Any]) -> Config:
    """Return the config of a row as pandas reads it: NaN for inactive values, and 16.0 for 16."""
    cells = {name: row[column] for name, column in columns.items()}
    given = {name: cell for name, cell in cells.items() if cell == cell}
    for dimension in space.dimensions:
        if isinstance(dimension, Integer) and isinstance(given.get(dimension.name), float):
            given[dimension.name] = int(given[dimension.name])
    try:
        return space.validate(given)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: row of config {row['config']}: {error}") from None
