"""Layer and network rows as CSV: which columns there are, reading with checks, appending.

Reading executes nothing. Every complaint names file, line, what came and what was wanted.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from hwopt.errors import InvalidInput
from hwopt.network.layer import METRICS, SHAPE_COLUMNS, WORK_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

# What makes a measured operator another one than those in the file: its shapes, and its operands' bytes,
# which tell a product with a scale for each channel from one with a whole tensor, or a bias from none.
LAYER_KEY = (*SHAPE_COLUMNS, "input_bytes", "weight_bytes", "output_bytes")
_REASONS = ("time_reason", "energy_reason", "memory_reason")
_QUALITY = ("status", *_REASONS, "spread", "n_blocks", "n_passes")
LAYER_COLUMNS = ("device", *SHAPE_COLUMNS, *METRICS, *WORK_COLUMNS, "operator", "source", *_QUALITY)
NETWORK_COLUMNS = (
    "network", "source", "split", "batch", "dtype", "mode", *METRICS, "modelled_memory_bytes", "input_shape",
    *_QUALITY,
)  # fmt: skip
NETWORK_LAYER_COLUMNS = ("network", "position", "name", *SHAPE_COLUMNS, *WORK_COLUMNS, "operator")

TEXT_COLUMNS = frozenset(
    ("device", "kind", "dtype", "operator", "source", "network", "split", "mode", "name", "input_shape")
    + ("status", *_REASONS)
)
_NUMBER_COLUMNS = {*LAYER_COLUMNS, *NETWORK_COLUMNS, *NETWORK_LAYER_COLUMNS} - TEXT_COLUMNS
_WHOLE_COLUMNS = tuple(c for c in (*SHAPE_COLUMNS, *WORK_COLUMNS) if c not in TEXT_COLUMNS)
# largest believable value and its unit: what lies above is another unit, not another device
_LIMITS = {
    "time_s": (60.0, "seconds"),
    "power_w": (5e3, "watts"),
    "energy_j": (3e5, "joules"),
    "memory_bytes": (1e13, "bytes"),
}
_NETWORK_TIME = (3600.0, "seconds")


def read_table(path: Path, required: Sequence[str], is_network: bool = False) -> "pd.DataFrame":
    """Read a CSV file of rows and check every cell.

    Args:
        path: the file, UTF-8.
        required: columns that must be there and filled in every line.
        is_network: whether `time_s` is of whole networks, which may take longer.

    Returns:
        One row a line, numbers as floats with NaN for empty cells, texts as str.

    Raises:
        InvalidInput: with file, line, what came and what was wanted.
    """
    table = _read_text(path)
    for column in required:
        if column not in table.columns:
            raise InvalidInput(f"{path}: column {column} is missing; wanted {', '.join(required)}")
        _refuse(path, table[column] == "", table[column], column, "it must not be empty")
    for column in _NUMBER_COLUMNS & set(table.columns):
        table[column] = _numbers(path, table[column])
    limits = {**_LIMITS, "time_s": _NETWORK_TIME} if is_network else _LIMITS
    for column in set(limits) & set(table.columns):
        _check_metric(path, table[column], *limits[column])
    for column in set(_WHOLE_COLUMNS) & set(table.columns):
        _check_whole(path, table[column])
    return table


def _read_text(path: Path) -> "pd.DataFrame":
    import pandas as pd

    try:
        return pd.read_csv(path, encoding="utf-8", dtype=str, keep_default_na=False, skip_blank_lines=False)
    except FileNotFoundError:
        raise InvalidInput(f"{path}: no such file; a device profile has one") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except pd.errors.EmptyDataError:
        raise InvalidInput(f"{path}: empty; wanted at least a line of column names") from None
    except pd.errors.ParserError as error:
        raise InvalidInput(f"{path}: no valid CSV: {' '.join(str(error).split())}") from None


def _numbers(path: Path, cells: "pd.Series[str]") -> "pd.Series[float]":
    import pandas as pd

    numbers = pd.to_numeric(cells, errors="coerce").astype(float)
    wrong = (cells != "") & ~np.isfinite(numbers)
    _refuse(path, wrong, cells, str(cells.name), "it must be a finite number or empty")
    return numbers


def _check_metric(path: Path, values: "pd.Series[float]", limit: float, unit: str) -> None:
    name = str(values.name)
    _refuse(path, values <= 0, values, name, f"it must be positive, in {unit}; leave it empty where unknown")
    wanted = f"more than {limit:g} {unit} is not believable; is it in another unit?"
    _refuse(path, values > limit, values, name, wanted)


def _check_whole(path: Path, values: "pd.Series[float]") -> None:
    name = str(values.name)
    least = 0 if name.startswith("padding") or name in WORK_COLUMNS else 1
    wrong = (values < least) | ((values % 1 != 0) & values.notna())
    _refuse(path, wrong, values, name, f"it must be a whole number, at least {least}")


def _refuse(path: Path, wrong: Any, values: Any, column: str, wanted: str) -> None:
    """Raise for the first row where `wrong` is true; the first line of a file holds the names."""
    positions = np.flatnonzero(np.asarray(wrong, dtype=bool))
    if len(positions):
        value = values.iloc[positions[0]]
        shown = f"{value:g}" if isinstance(value, float) else repr(value)
        raise InvalidInput(f"{path}, line {positions[0] + 2}: {column} = {shown}; {wanted}")


def one_row_a_key(path: Path, table: "pd.DataFrame", key: Sequence[str]) -> "pd.DataFrame":
    """Return the rows with one of each key; a row with a time replaces attempts without.

    Raises:
        InvalidInput: where two rows of the same key both have a time, or rows have no time at all.
    """
    columns = list(key)
    is_measured = table["time_s"].notna() if "time_s" in table.columns else table[columns[0]].notna()
    measured = table[is_measured]
    again = measured[measured.duplicated(columns)]
    if len(again):
        same = (measured[columns] == again.iloc[0][columns]).all(axis=1)
        line, first = int(again.index[0]) + 2, int(measured.index[same.to_numpy()][0]) + 2
        values = ", ".join(f"{name}={again.iloc[0][name]}" for name in columns[:4])
        raise InvalidInput(f"{path}, line {line}: the same key as line {first} ({values}); keep one of them")
    order = np.argsort(~is_measured.to_numpy(), kind="stable")  # measured rows first
    return table.iloc[order].drop_duplicates(columns).sort_index().reset_index(drop=True)


class RowFile:
    """A CSV file that rows are appended to, each flushed: a killed run loses at most the row in work.

    A line that was cut while it was being written is dropped when the file is opened again.

    Args:
        path: the file; it is created with `columns` as its first line, or continued with its own.
        columns: names of the cells.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        if path.exists():
            drop_cut_line(path)
        is_new = not path.exists() or path.stat().st_size == 0
        self.columns = tuple(columns) if is_new else self._own_columns(columns)
        self._file: IO[str] = path.open("a", encoding="utf-8", newline="")
        self._writer = csv.DictWriter(self._file, self.columns, extrasaction="ignore", lineterminator="\n")
        if is_new:
            self._writer.writeheader()
            self._file.flush()

    def _own_columns(self, wanted: Sequence[str]) -> tuple[str, ...]:
        with self.path.open(encoding="utf-8", newline="") as file:
            own = tuple(next(csv.reader(file), ()))
        missing = [column for column in wanted if column not in own]
        if missing:
            hint = "measure into a new folder"
            raise InvalidInput(f"{self.path}: cannot be continued, it lacks {', '.join(missing)}; {hint}")
        return own

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row; None and NaN become empty cells."""
        self._writer.writerow({key: _cell(value) for key, value in row.items()})
        self._file.flush()

    def append_all(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write several rows that belong together."""
        self._writer.writerows([{key: _cell(value) for key, value in row.items()} for row in rows])
        self._file.flush()

    def __enter__(self) -> "RowFile":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value


def drop_cut_line(path: Path) -> None:
    """Remove a last line that does not end: writing it was interrupted."""
    with path.open("rb+") as file:
        content = file.read()
        if not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)
