"""Read a CSV file of rows as a table and check every cell: numbers in range and in SI units, plain texts.

The index of a table has the line on which each row begins, until `one_row_per_key` replaces it.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.errors import InvalidInput, nearest
from hwopt.profile.schema import COLUMNS, Column
from hwopt.profile.text_file import FORMULA_STARTS, UNPRINTABLE, clean, not_a_formula, read_cells, shown

if TYPE_CHECKING:
    import pandas as pd

MAX_WORD = 200  # characters in a name or a word
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_SLOW = 60.0  # factor by which single times may exceed the largest plausible one, if the median does not
_LONGEST_PASS_S = 3600.0  # of a whole network


def read_table(
    path: Path, required: Sequence[str], is_network: bool = False, notes: list[str] | None = None
) -> "pd.DataFrame":
    """Read a CSV file of rows and check every cell.

    Args:
        path: the file, UTF-8.
        required: columns that must be filled in every line.
        is_network: whether times are of whole networks, which may take longer.
        notes: notes on omitted, changed or unused contents are appended.

    Returns:
        A row for each line, indexed by line; numbers as floats with NaN for empty cells, texts as str.

    Raises:
        InvalidInput: with file, line, the value and the accepted values.
    """
    notes = [] if notes is None else notes
    table = _read_texts(path, notes)
    for column in required:
        if column not in table.columns:
            wanted = f"wanted {', '.join(required)}{like(column, table.columns)}"
            raise InvalidInput(f"{path}: column {column} is missing; {wanted}")
        refuse(path, table[column] == "", table[column], "it must not be empty")
    for name in table.columns:
        known = COLUMNS.get(name)
        if known is None or known.kind == "text":
            table[name] = _made_plain(path, table[name], notes)
        elif known.is_text:
            _check_words(path, table[name], known.kind == "name")
        else:
            table[name] = _numbers(path, table[name])
            _check_range(path, table[name], known, is_network, notes)
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
    """Return the number of a cell; NaN if it is empty, infinity if it is not a finite number."""
    if not cell:
        return float("nan")
    return float(cell) if _NUMBER.fullmatch(cell) else float("inf")


def _hint(cell: str) -> str:
    """Return a hint for a cell that is not a number."""
    if "," in cell or "_" in cell or " " in cell:
        return "; write a decimal point and nothing between the digits"
    if cell.lower().lstrip("+-") in ("nan", "na", "n/a", "null", "none", "-", "#n/a"):
        return "; leave it empty if unknown"
    return "" if cell.isascii() else "; write the digits 0 to 9"


def _check_range(
    path: Path, values: "pd.Series[float]", column: Column, is_network: bool, notes: list[str]
) -> None:
    """Raise InvalidInput for values outside the range of their column, probably in another unit."""
    least, most = column.least, column.most
    if column.kind == "whole":
        wrong = (values < least) | ((values % 1 != 0) & values.notna())
        refuse(path, wrong, values, f"it must be a whole number, at least {least:g}")
        refuse(path, values > most, values, f"it must be at most {int(most):,}")
    elif column.unit:
        unit = column.unit
        refuse(path, values <= 0, values, f"it must be positive, in {unit}; leave it empty if unknown")
        wanted = f"than {{:g}} {unit} is not plausible; is it in another unit, such as {column.other_unit}?"
        refuse(path, values < least, values, "less " + wanted.format(least))
        if column.name.endswith("time_s"):
            most = _with_slow_ones(path, values, _LONGEST_PASS_S if is_network else most, notes)
        refuse(path, values > most, values, "more " + wanted.format(most))
    else:
        refuse(path, values < least, values, f"it must be at least {least:g}")
        refuse(path, values > most, values, f"it must be at most {most:g}")


def _with_slow_ones(path: Path, values: "pd.Series[float]", most: float, notes: list[str]) -> float:
    """Return the largest accepted time, and note times above `most`.

    If the unit is wrong most rows are above it, with a slow layer only a few.
    """
    is_slow = values > most
    if not is_slow.any() or values.median() > most / _SLOW:
        return most
    notes.append(
        f"{path.name}, line {values.index[is_slow][0]}: {int(is_slow.sum())} values of {values.name} above "
        f"{most:g} seconds, up to {values.max():g}; accepted, since the median is {values.median():.3g}"
    )
    return most * _SLOW


def _check_words(path: Path, cells: "pd.Series[str]", is_name: bool) -> None:
    """Raise InvalidInput for words that are unprintable, too long or formulas, and names that are paths."""
    for check in (word_fault, name_fault) if is_name else (word_fault,):
        faults = {cell: fault for cell in cells.unique() if (fault := check(cell))}
        if faults:
            wrong = cells.isin(list(faults))
            refuse(path, wrong, cells, faults[cells[wrong].iloc[0]])


def word_fault(text: str) -> str:
    """Return the fault of a word such as a kind; empty if there is none."""
    if not text.isprintable() or UNPRINTABLE in text:
        return "it has a character that is not printable; write plain text"
    if len(text) > MAX_WORD:
        return f"it has {len(text):,} characters; at most {MAX_WORD} are accepted"
    if text.startswith(FORMULA_STARTS):
        return f"a spreadsheet would run it as a formula; it must not begin with {' '.join(FORMULA_STARTS)}"
    return ""


def name_fault(text: str) -> str:
    """Return the fault of a name of a device or network, which must not be a path; empty if there is none."""
    parts = text.split("/")
    if "\\" in text or ".." in parts or text in (".", "~") or text.startswith(("/", "~/")):
        return "it must be a name, not a path; write it without .., \\ and a leading /"
    return ""


def _made_plain(path: Path, cells: "pd.Series[str]", notes: list[str]) -> "pd.Series[str]":
    """Return free texts, each as one printable line that a spreadsheet does not run as a formula."""
    import pandas as pd

    codes, texts = pd.factorize(cells)
    plain = [not_a_formula(clean(text)) for text in texts]
    is_changed = np.array([one != text for one, text in zip(plain, texts, strict=True)], dtype=bool)
    n_changed = int(is_changed[codes].sum())
    if n_changed:
        notes.append(f"{path.name}: {n_changed} cells of {clean(str(cells.name))} were changed to plain text")
    return pd.Series([plain[code] for code in codes], cells.index, dtype=str, name=cells.name)


def _note_unknown(path: Path, table: "pd.DataFrame", notes: list[str]) -> None:
    unknown = [shown(name) + like(name, COLUMNS) for name in table.columns if name not in COLUMNS]
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        notes.append(f"{path.name}: unused columns: {', '.join(unknown[:5])}{more}")


def like(word: str, known: Iterable[str]) -> str:
    """Return " (like 'x'?)" with the nearest known word, or an empty text."""
    match = nearest(word, known, cutoff=0.75)
    return f" (like {shown(match)}?)" if match else ""


def refuse(path: Path, wrong: Any, values: "pd.Series[Any]", wanted: str) -> None:
    """Raise InvalidInput for the first row where `wrong` is true; the index has lines or names."""
    positions = np.flatnonzero(np.asarray(wrong, dtype=bool))
    if len(positions):
        line, value = values.index[positions[0]], values.iloc[positions[0]]
        value = float(value) if isinstance(value, float) else value
        place = f"line {line}" if isinstance(line, int | np.integer) else line
        raise InvalidInput(f"{path}, {place}: {values.name} = {shown(value)}; {wanted}")


def one_row_per_key(path: Path, table: "pd.DataFrame", key: Sequence[str]) -> "pd.DataFrame":
    """Return one row of each key, indexed from 0; a row with a time replaces rows without.

    Raises:
        InvalidInput: if two rows of the same key both have a time, or the table has no times.
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
