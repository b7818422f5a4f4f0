"""Problems of recorded trainings: a table's own rows, or an emulator of it over the whole space.

    digits_table, fashion_mnist_table          candidates are the rows; curves, failures and seconds are real
    digits_emulator, fashion_mnist_emulator    any config; errors and costs are those of a frozen emulator

Tables and spaces are in the repository, not in the package: elsewhere, give `path`, the folder of the table
in a checkout, in which ../../search_spaces has its space.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hwopt.arrays import Array
from hwopt.compare.problem import Problem
from hwopt.compare.problems.emulator import Emulator, fit_costs, fit_emulator
from hwopt.compare.problems.training_table import RecordedTrainings, TrainingTable, read_table
from hwopt.costs import Budget, Costs, feasible
from hwopt.errors import InvalidInput
from hwopt.network.loading import load_attribute
from hwopt.search.pareto import nondominated_rows
from hwopt.space.search_space import Config
from hwopt.train.result import TrainingResult

ROOT = Path(__file__).resolve().parents[3]
OBJECTIVES = ("error", "time_s")
FAILED_ERROR = 1.0  # imputed error of a config whose trainings all failed


@dataclass(frozen=True)
class TableSource:
    """Folder and space of a table, the side of its images, and the budgets of its problem."""

    folder: str
    space: str
    side: int
    budgets: tuple[Budget, ...]
    worst_error: float = 0.5


DIGITS = TableSource(
    "digits_table", "digits_mixed.py", 8, (Budget("time_s", 2.6e-3), Budget("memory_bytes", 4.2e6))
)
FASHION_MNIST = TableSource(
    "fashion_mnist_table",
    "fashion_mnist_grid.py",
    28,
    (Budget("time_s", 1.9e-3), Budget("memory_bytes", 3.2e6)),
    worst_error=0.3,
)


def digits_table(path: str | Path | None = None) -> Problem:
    """Return the trained digits networks: 1,000 rows, three quarters of them within the budgets."""
    return _table_problem("digits_table", DIGITS, path)


def fashion_mnist_table(path: str | Path | None = None) -> Problem:
    """Return the trained Fashion-MNIST networks with measured costs: 489 rows, a third within the budgets."""
    return _table_problem("fashion_mnist_table", FASHION_MNIST, path)


def digits_emulator(path: str | Path | None = None) -> Problem:
    """Return an emulator of the digits table over its whole space, about 30% of it within the budgets."""
    return _emulator_problem("digits_emulator", DIGITS, path)


def fashion_mnist_emulator(path: str | Path | None = None) -> Problem:
    """Return an emulator of the Fashion-MNIST table over its space, a third of it within the budgets."""
    return _emulator_problem("fashion_mnist_emulator", FASHION_MNIST, path)


def load_table(source: TableSource, path: str | Path | None = None) -> TrainingTable:
    """Return the table of a source.

    Raises:
        InvalidInput: it is not there, or damaged.
    """
    folder = folder_of(source, path)
    space = folder.resolve().parents[1] / "search_spaces" / source.space
    if not folder.is_dir() or not space.is_file():
        missing = space if folder.is_dir() else folder
        raise InvalidInput(
            f"no {missing}; give path=, the folder results/{source.folder} of a checkout of hwopt"
        )
    return _load_once(folder.resolve(), space)


def folder_of(source: TableSource, path: str | Path | None) -> Path:
    """Return the folder of a table: `path`, else the one in this checkout."""
    return Path(path) if path is not None else ROOT / "results" / source.folder


@cache
def _load_once(folder: Path, space: Path) -> TrainingTable:
    return read_table(folder, load_attribute(space, "SPACE"))


def _table_problem(name: str, source: TableSource, path: str | Path | None) -> Problem:
    table = load_table(source, path)
    space = table.space
    rows = {space.key(config): i for i, config in enumerate(table.configs)}

    def row_of(config: Mapping[str, Any]) -> int:
        if space.key(config) not in rows:
            raise InvalidInput(
                f"{name}: {dict(config)} is not a row of the table; choose among its candidates"
            )
        return rows[space.key(config)]

    def costs(configs: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
        found = np.array([rows.get(space.key(config), -1) for config in configs], dtype=int)
        return {m: np.where(found >= 0, values[found], np.nan) for m, values in table.costs.items()}

    def train(config: Config, seed: int) -> TrainingResult:
        return table.recorded[row_of(config)].of_seed(seed)

    def true_error(config: Config) -> float:
        return _mean_error(table.recorded[row_of(config)])

    return Problem(
        name=name,
        space=space,
        costs=costs,
        budgets=source.budgets,
        objectives=OBJECTIVES,
        reference={"error": source.worst_error, "time_s": source.budgets[0].limit},
        train=train,
        n_epochs=table.n_epochs,
        candidates=table.configs,
        true_error=true_error,
        reference_front=_table_front(table, source.budgets),
    )


def _mean_error(recorded: RecordedTrainings) -> float:
    """Return the mean final validation error over the complete trainings."""
    errors = [one.errors[-1] for one in recorded.complete]
    return float(np.mean(errors)) if errors else FAILED_ERROR


def _table_front(table: TrainingTable, budgets: Sequence[Budget]) -> Array:
    kept = feasible(budgets, Costs(table.costs))
    errors = np.array([_mean_error(one) for one in table.recorded])
    kept &= errors < FAILED_ERROR
    return nondominated_rows(np.column_stack([errors, table.costs["time_s"]])[kept])


def _emulator_problem(name: str, source: TableSource, path: str | Path | None) -> Problem:
    table = load_table(source, path)
    emulator, costs = fit_once(table, source.side)
    return Problem(
        name=name,
        space=table.space,
        costs=costs,
        budgets=source.budgets,
        objectives=OBJECTIVES,
        reference={"error": source.worst_error, "time_s": source.budgets[0].limit},
        train=emulator.train,
        n_epochs=table.n_epochs,
        true_error=lambda config: float(emulator.expected_errors([config])[0]),
        reference_front=_read_front(folder_of(source, path), name),
    )


@cache
def fit_once(table: TrainingTable, side: int) -> tuple[Emulator, Any]:
    """Return the emulators of errors and of costs; those of the same table are fitted once a process."""
    return fit_emulator(table, side), fit_costs(table, side)


def _read_front(folder: Path, name: str) -> Array | None:
    """Return the front written by experiments/benchmarks/emulator_fronts.py, None if there is none."""
    file = folder.parent / "emulators" / f"{name}_front.csv"
    return np.loadtxt(file, delimiter=",", skiprows=1, usecols=(0, 1), ndmin=2) if file.is_file() else None
