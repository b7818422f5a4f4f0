"""A CSV file of rows as a table, every cell checked: numbers in range and in SI units, texts that are plain.

The index of a table is the line of the file on which each row begins, until `one_row_a_key` has done with it.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.errors import InvalidInput, nearest
from hwopt.network.layer import SHAPE_COLUMNS, WORK_COLUMNS
from hwopt.profile.schema import FREE_TEXT_COLUMNS, NAME_COLUMNS, NUMBER_COLUMNS, TEXT_COLUMNS
from hwopt.profile.text_file import FORMULA_STARTS, UNPRINTABLE, clean, not_a_formula, read_cells, shown

if TYPE_CHECKING:
    import pandas as pd

MAX_WORD = 200  # characters of a name or a word
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_BYTES_AND_WORK = (*WORK_COLUMNS, "live_bytes")
_WHOLE_COLUMNS = tuple(c for c in (*SHAPE_COLUMNS, *_BYTES_AND_WORK, "position") if c not in TEXT_COLUMNS)
_MAX_SIZE, _MAX_WORK = 10_000_000, 10**18  # of a column of shapes, of a column of work
# Least and largest believable value, the unit, and what else it may be in: what lies outside is another unit,
# not another device.
_TIME = (1e-9, 60.0, "seconds", "milliseconds or microseconds")
_NETWORK_TIME = (1e-9, 3600.0, "seconds", "milliseconds or microseconds")
_RANGES = {
    **dict.fromkeys(("time_s", "eager_time_s", "loop_time_s"), _TIME),
    "power_w": (1e-6, 5e3, "watts", "milliwatts"),
    "energy_j": (1e-15, 3e5, "joules", "millijoules"),
    "memory_bytes": (1.0, 1e13, "bytes", "bits"),
    "modelled_memory_bytes": (1.0, 1e13, "bytes", "bits"),
    "core_clock_hz": (1e6, 1e11, "hertz", "megahertz"),
}
_SLOW = 60.0  # by which a single time may be above the largest believable one, if the median is below
_NETWORK_RANGES = {**_RANGES, **{name: _NETWORK_TIME for name in _RANGES if name.endswith("time_s")}}
_NOT_NEGATIVE = (
    "energy_uncertainty",
    "elapsed_s",
    "spread",
    "n_blocks",
    "n_passes",
    "ratio",
    "workspace_bytes",
)
_LARGEST = 1e15  # of any other number


def read_table(
    path: Path, required: Sequence[str], is_network: bool = False, notes: list[str] | None = None
) -> "pd.DataFrame":
    """Read a CSV file of rows and check every cell.

    Args:
        path: the file, UTF-8.
        required: columns that must be there and filled in every line.
        is_network: whether times are of whole networks, which may take longer.
        notes: sentences on what was left out, changed or not understood are appended.

    Returns:
        One row a line, indexed by its line; numbers as floats with NaN for empty cells, texts as str.

    Raises:
        InvalidInput: with file, line, what came and what was wanted.
    """
    notes = [] if notes is None else notes
    table = _read_texts(path, notes)
    for column in required:
        if column not in table.columns:
            wanted = f"wanted {', '.join(required)}{like(column, table.columns)}"
            raise InvalidInput(f"{path}: column {column} is missing; {wanted}")
        refuse(path, table[column] == "", table[column], "it must not be empty")
    for column in table.columns:
        if column in NUMBER_COLUMNS:
            table[column] = _numbers(path, table[column])
            _check_range(path, table[column], (_NETWORK_RANGES if is_network else _RANGES).get(column), notes)
        elif column in TEXT_COLUMNS and column not in FREE_TEXT_COLUMNS:
            _check_words(path, table[column])
        else:
            table[column] = _made_plain(path, table[column], notes)
    _note_unknown(path, table, notes)
    return table


def _read_texts(path: Path, notes: list[str]) -> "pd.DataFrame":
    import pandas as pd

    cells = read_cells(path, notes)
    columns = zip(*cells.rows, strict=True) if cells.rows else [()] * len(cells.names)
    content = {name: list(column) for name, column in zip(cells.names, columns, strict=True)}
    return pd.DataFrame(content, index=cells.lines, dtype=str)


def _numbers(path: Path, cells: "pd.Series[str]") -> "pd.Series[float]":
    import pandas as pd

    codes, texts = pd.factorize(cells)
    values = np.array([_number(text) for text in texts], dtype=float)
    numbers = pd.Series(values[codes], cells.index, name=cells.name)
    wrong = np.isinf(numbers)
    if wrong.any():
        wanted = f"it must be a finite number or empty{_hint(cells[wrong].iloc[0])}"
        refuse(path, wrong, cells, wanted)
    return numbers


def _number(cell: str) -> float:
    """Return the number, NaN for an empty cell, infinity for what is no finite number."""
    if not cell:
        return float("nan")
    return float(cell) if _NUMBER.fullmatch(cell) else float("inf")


def _hint(cell: str) -> str:
    """Say what to do about a cell that is no number."""
    if "," in cell or "_" in cell or " " in cell:
        return "; write a decimal point and nothing between the digits"
    if cell.lower().lstrip("+-") in ("nan", "na", "n/a", "null", "none", "-", "#n/a"):
        return "; leave it empty where unknown"
    return "" if cell.isascii() else "; write the digits 0 to 9"


def _check_range(
    path: Path, values: "pd.Series[float]", believable: tuple[float, float, str, str] | None, notes: list[str]
) -> None:
    name = str(values.name)
    if name in _WHOLE_COLUMNS:
        _check_whole(path, values)
    elif believable is not None:
        least, most, unit, other = believable
        refuse(path, values <= 0, values, f"it must be positive, in {unit}; leave it empty where unknown")
        wanted = f"than {{:g}} {unit} is not believable; is it in another unit, such as {other}?"
        refuse(path, values < least, values, "less " + wanted.format(least))
        if name.endswith("time_s"):
            most = _with_slow_ones(path, values, most, notes)
        refuse(path, values > most, values, "more " + wanted.format(most))
    else:
        least = 0.0 if name in _NOT_NEGATIVE else -_LARGEST
        refuse(path, values < least, values, f"it must be at least {least:g}")
        refuse(path, values > _LARGEST, values, f"it must be at most {_LARGEST:g}")


def _with_slow_ones(path: Path, values: "pd.Series[float]", most: float, notes: list[str]) -> float:
    """Return the largest time that is accepted: another unit shows in most rows, a slow layer in few.

    Rows above `most` are stated.
    """
    is_slow = values > most
    if not is_slow.any() or values.median() > most / _SLOW:
        return most
    notes.append(
        f"{path.name}, line {values.index[is_slow][0]}: {int(is_slow.sum())} values of {values.name} above "
        f"{most:g} seconds, up to {values.max():g}; the median is {values.median():.3g}: taken as they are"
    )
    return most * _SLOW


def _check_whole(path: Path, values: "pd.Series[float]") -> None:
    name = str(values.name)
    least = 0 if name.startswith("padding") or name in (*_BYTES_AND_WORK, "position") else 1
    most = _MAX_WORK if name in _BYTES_AND_WORK else _MAX_SIZE
    wrong = (values < least) | ((values % 1 != 0) & values.notna())
    refuse(path, wrong, values, f"it must be a whole number, at least {least}")
    refuse(path, values > most, values, f"it must be at most {most:,}")


def _check_words(path: Path, cells: "pd.Series[str]") -> None:
    """Refuse words that are not printable, too long, or formulas; names that are paths."""
    for check in (word_fault, name_fault) if cells.name in NAME_COLUMNS else (word_fault,):
        faults = {cell: fault for cell in cells.unique() if (fault := check(cell))}
        if faults:
            wrong = cells.isin(list(faults))
            refuse(path, wrong, cells, faults[cells[wrong].iloc[0]])


def word_fault(text: str) -> str:
    """Return what is wrong with a word such as a kind; empty where nothing is."""
    if not text.isprintable() or UNPRINTABLE in text:
        return "it holds a character that is not printable; write plain text"
    if len(text) > MAX_WORD:
        return f"it has {len(text):,} characters; at most {MAX_WORD} are read"
    if text.startswith(FORMULA_STARTS):
        return f"a spreadsheet would run it; it must not begin with {' '.join(FORMULA_STARTS)}"
    return ""


def name_fault(text: str) -> str:
    """Return what is wrong with the name of a device or network that is no path; empty where nothing is."""
    parts = text.split("/")
    if "\\" in text or ".." in parts or text in (".", "~") or text.startswith(("/", "~/")):
        return "it is a name, not a path; write it without .. and \\ and with no / at its beginning"
    return ""


def _made_plain(path: Path, cells: "pd.Series[str]", notes: list[str]) -> "pd.Series[str]":
    """Return free text in one printable line each, and no formula."""
    import pandas as pd

    codes, texts = pd.factorize(cells)
    plain = [not_a_formula(clean(text)) for text in texts]
    is_changed = np.array([one != text for one, text in zip(plain, texts, strict=True)], dtype=bool)
    n_changed = int(is_changed[codes].sum())
    if n_changed:
        notes.append(f"{path.name}: {n_changed} cells of {clean(str(cells.name))} were made plain text")
    return pd.Series([plain[code] for code in codes], cells.index, dtype=str, name=cells.name)


def _note_unknown(path: Path, table: "pd.DataFrame", notes: list[str]) -> None:
    known = {*NUMBER_COLUMNS, *TEXT_COLUMNS}
    unknown = [shown(name) + like(name, known) for name in table.columns if name not in known]
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        notes.append(f"{path.name}: columns that are not used: {', '.join(unknown[:5])}{more}")


def like(word: str, known: Iterable[str]) -> str:
    """Return " (like 'x'?)" for the nearest known word, or nothing."""
    match = nearest(word, known, cutoff=0.75)
    return f" (like {shown(match)}?)" if match else ""


def refuse(path: Path, wrong: Any, values: "pd.Series[Any]", wanted: str) -> None:
    """Raise for the first row where `wrong` is true; the index of `values` holds the lines, or names."""
    positions = np.flatnonzero(np.asarray(wrong, dtype=bool))
    if len(positions):
        line, value = values.index[positions[0]], values.iloc[positions[0]]
        value = float(value) if isinstance(value, float) else value
        place = f"line {line}" if isinstance(line, int | np.integer) else line
        raise InvalidInput(f"{path}, {place}: {values.name} = {shown(value)}; {wanted}")


def one_row_a_key(path: Path, table: "pd.DataFrame", key: Sequence[str]) -> "pd.DataFrame":
    """Return the rows with one of each key, indexed from 0; a row with a time replaces attempts without.

    Raises:
        InvalidInput: where two rows of the same key both have a time, or rows have no time at all.
    """
    columns = list(key)
    is_measured = table["time_s"].notna() if "time_s" in table.columns else table[columns[0]].notna()
    measured = table[is_measured]
    again = measured[measured.duplicated(columns)]
    if len(again):
        same = (measured[columns] == again.iloc[0][columns]).all(axis=1)
        line, first = again.index[0], measured.index[same.to_numpy()][0]
        values = ", ".join(f"{name}={again.iloc[0][name]}" for name in columns[:4])
        raise InvalidInput(f"{path}, line {line}: the same key as line {first} ({values}); keep one of them")
    order = np.argsort(~is_measured.to_numpy(), kind="stable")  # measured rows first
    return table.iloc[order].drop_duplicates(columns).sort_index().reset_index(drop=True)
