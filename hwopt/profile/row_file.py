"""CSV files that rows are appended to during a campaign."""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from hwopt.errors import InvalidInput
from hwopt.profile.schema import LATER_COLUMNS
from hwopt.profile.text_file import clean, not_a_formula, read_cells


class RowFile:
    """CSV file that rows are appended to. Each row is flushed, so a killed run loses at most one row.

    An incomplete last line of a killed run is dropped when the file is opened again.

    Args:
        path: the file; created with `columns` as its header, or continued with its own columns. Missing
            columns in `LATER_COLUMNS` are added, empty.
        columns: names of the columns.

    Raises:
        InvalidInput: if the file lacks other columns, or is not a regular file.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        check_own_file(path)
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
        cells = read_cells(self.path)
        missing = [column for column in wanted if column not in cells.names]
        if not missing:
            return tuple(cells.names)
        if not set(missing) <= LATER_COLUMNS:
            hint = "measure into a new folder"
            raise InvalidInput(f"{self.path}: cannot be continued, it lacks {', '.join(missing)}; {hint}")
        columns = [*cells.names, *missing]
        write_cells(self.path, columns, [[*row, *[""] * len(missing)] for row in cells.rows])
        return tuple(columns)

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row; None and NaN become empty cells, texts become one printable line, not a formula."""
        self.append_all([row])

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
    if isinstance(value, str):
        return not_a_formula(clean(value))
    return f"{value:.6g}" if isinstance(value, float) else value


def write_cells(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Replace a whole file atomically."""
    unfinished = path.with_suffix(".part")
    unfinished.unlink(missing_ok=True)
    with unfinished.open("x", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def drop_cut_line(path: Path) -> None:
    """Remove an incomplete last line, left by an interrupted run."""
    check_own_file(path)
    with path.open("rb+") as file:
        content = file.read()
        if not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)


def check_own_file(path: Path) -> None:
    """Raise InvalidInput if a path is a link, a folder, a pipe or a device."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise InvalidInput(f"{path} is a link or not a file; rows are appended to regular files only")
