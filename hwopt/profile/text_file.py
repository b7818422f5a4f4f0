"""Read untrusted text files: CSV and JSON, checked and cleaned before use.

    path --regular? small enough?--> bytes --UTF-8? no NUL?--> text --rows as long as the header--> cells

Only regular files are read, so that a pipe or a device never blocks. Sizes are checked before reading.
Nothing is executed: the parsers are `csv` and `json`. Contents quoted in messages are escaped and shortened.
"""

import csv
import io
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwopt.errors import InvalidInput

MAX_CSV_BYTES = 256 * 2**20
MAX_ROWS = 2_000_000
MAX_CELLS = 60_000_000
MAX_COLUMNS = 1_000
MAX_LINE_BYTES = 2**20
MAX_JSON_BYTES = 2**20
MAX_JSON_DEPTH = 32
MAX_DIGITS = 18  # in a whole number in JSON
FORMULA_STARTS = ("=", "+", "-", "@")  # first characters of formulas in a spreadsheet
UNPRINTABLE = "\ufffd"
_SHOWN = 60  # characters of a value quoted in a message
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class Cells:
    """Cells of a CSV file, stripped of surrounding spaces.

    Attributes:
        names: names of the columns, shape [d], distinct.
        lines: first line of each row, shape [n], counted from 1.
        rows: the cells, shape [n, d].
    """

    names: list[str]
    lines: list[int]
    rows: list[list[str]]


def clean(text: str) -> str:
    """Return the text on one line, with U+FFFD for unprintable characters such as terminal escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else UNPRINTABLE for c in text).strip()


def not_a_formula(text: str) -> str:
    """Return the text, with a leading apostrophe if a spreadsheet would run it as a formula."""
    if not text.startswith(FORMULA_STARTS):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def shown(value: object) -> str:
    """Return a value for a message: texts are quoted and escaped, long values are cut."""
    if isinstance(value, float):
        return f"{value:g}"
    text = repr(value[: _SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN + 2 else f"{text[:_SHOWN]}..."


def read_cells(path: Path, notes: list[str] | None = None) -> Cells:
    """Read a CSV file with a header. An incomplete last line is left out.

    Args:
        path: the file, UTF-8 with or without byte-order mark; lines end in LF, CRLF or CR.
        notes: a note on an omitted line is appended.

    Raises:
        InvalidInput: with file, line, the value and the accepted values.
    """
    content = _without_cut_line(path, read_bytes(path, MAX_CSV_BYTES), notes)
    _check_sizes(path, content)
    reader = csv.reader(io.StringIO(_decode(path, content), newline=""), strict=True)
    lines, rows, begin = [], [], 1
    try:
        for row in reader:
            if row:
                lines.append(begin)
                rows.append([cell.strip() for cell in row])
            begin = reader.line_num + 1
    except csv.Error as error:
        raise InvalidInput(f"{path}, line {begin}: invalid CSV: {error}") from None
    if not rows:
        raise InvalidInput(f"{path}: empty; wanted at least a line of column names")
    _check_names(path, rows[0])
    for line, row in zip(lines, rows, strict=True):
        if len(row) != len(rows[0]):
            wanted = f"the header has {len(rows[0])}; quote cells with a comma"
            raise InvalidInput(f"{path}, line {line}: {len(row)} cells, {wanted}")
    return Cells(rows[0], lines[1:], rows[1:])


def read_json(path: Path) -> Any:
    """Read a JSON file with finite numbers, unique keys and limited nesting; texts are made printable.

    Raises:
        InvalidInput: with file, line if known, the value and the accepted values.
    """
    text = _decode(path, read_bytes(path, MAX_JSON_BYTES))
    try:
        content = json.loads(
            text,
            parse_int=_whole,
            parse_float=_finite,
            parse_constant=_finite,
            object_pairs_hook=_distinct,
        )
        return _cleaned(content, MAX_JSON_DEPTH)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{path}, line {error.lineno}: invalid JSON: {error.msg}") from None
    except RecursionError:
        raise InvalidInput(f"{path}: nested deeper than {MAX_JSON_DEPTH} levels") from None
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from None


def read_bytes(path: Path, most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes; it never blocks.

    Raises:
        InvalidInput: if the file is missing, larger, or not a regular file.
    """
    try:
        _check_regular(path, os.stat(path), most)  # before opening, which would block on a pipe
        with open(os.open(path, _FLAGS), "rb") as file:
            _check_regular(path, os.fstat(file.fileno()), most)
            content = file.read(most + 1) or b""
    except FileNotFoundError:
        raise InvalidInput(f"{path}: no such file; a device profile has one") from None
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(content) > most:
        raise InvalidInput(f"{path}: more than {most:,} bytes, the largest accepted size")
    return content


def _check_regular(path: Path, status: os.stat_result, most: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
        raise InvalidInput(f"{path}: {kind}; wanted a regular file")
    if status.st_size > most:
        raise InvalidInput(f"{path}: {status.st_size:,} bytes; at most {most:,} are read; split the profile")


def _decode(path: Path, content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = f"{error.reason} at byte {error.start}"
        raise InvalidInput(f"{path}: not UTF-8 text ({place}); save it as UTF-8") from None
    if "\0" in text:
        raise InvalidInput(f"{path}: it has NUL characters: binary, or UTF-16; save it as UTF-8 text")
    return text


def _without_cut_line(path: Path, content: bytes, notes: list[str] | None) -> bytes:
    """Return the content without an unterminated last line, unless that is a whole row."""
    end = content.rfind(b"\n") + 1
    if end == 0 or end == len(content) or content.endswith(b"\r"):
        return content
    if _is_whole_row(content[: content.find(b"\n")], content[end:]):
        return content
    if notes is not None:
        line = content.count(b"\n") + 1
        cut = shown(content[end : end + 4 * _SHOWN].decode("utf-8", "replace"))
        notes.append(f"{path.name}, line {line}: left out, as it is incomplete: {cut}")
    return content[:end]


def _is_whole_row(header: bytes, row: bytes) -> bool:
    """Return whether a row has all cells of the header, a nonempty last one, and closed quotes."""
    try:
        names, cells = (next(csv.reader([text.decode("utf-8-sig")], strict=True)) for text in (header, row))
    except (UnicodeDecodeError, csv.Error, StopIteration):
        return False
    return len(cells) == len(names) and (len(cells) == 1 or bool(cells[-1].strip()))


def _check_sizes(path: Path, content: bytes) -> None:
    """Raise InvalidInput, before parsing, for contents that would need a multiple of their size in memory."""
    lines = content.split(b"\n")
    n_cells = content.count(b",") + len(lines)
    if len(lines) > MAX_ROWS or n_cells > MAX_CELLS:
        most = f"at most {MAX_ROWS:,} and {MAX_CELLS:,} are read"
        raise InvalidInput(f"{path}: {len(lines):,} lines of {n_cells:,} cells; {most}; split the profile")
    longest = max(range(len(lines)), key=lambda i: len(lines[i]))
    if len(lines[longest]) > MAX_LINE_BYTES:
        wanted = f"at most {MAX_LINE_BYTES:,} are read"
        raise InvalidInput(f"{path}, line {longest + 1}: {len(lines[longest]):,} bytes in a line; {wanted}")


def _check_names(path: Path, names: list[str]) -> None:
    if len(names) > MAX_COLUMNS:
        raise InvalidInput(f"{path}: {len(names):,} columns; at most {MAX_COLUMNS:,} are read")
    for i, name in enumerate(names):
        if not name:
            hint = "name it, or omit row numbers (index=False in pandas)"
            raise InvalidInput(f"{path}: column {i + 1} has no name; {hint}")
        if not name.isprintable() or name.startswith(FORMULA_STARTS):
            raise InvalidInput(f"{path}: column {i + 1} is called {shown(name)}; wanted a plain word")
    if len(set(names)) < len(names):
        again = next(name for i, name in enumerate(names) if name in names[:i])
        raise InvalidInput(f"{path}: two columns are called {shown(again)}; keep one of them")


def _whole(text: str) -> int:
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise InvalidInput(f"a whole number of {len(text):,} digits; at most {MAX_DIGITS} are read")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not abs(value) < float("inf"):
        raise InvalidInput(f"the number {text[:_SHOWN]}; every number must be finite")
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        again = next(key for i, key in enumerate(keys) if key in keys[:i])
        raise InvalidInput(f"the key {shown(again)} occurs twice; keep one of them")
    return content


def _cleaned(value: Any, depth: int) -> Any:
    """Return JSON content with printable texts.

    Raises:
        RecursionError: if it is nested deeper than `depth`.
    """
    if depth == 0:
        raise RecursionError
    if isinstance(value, dict):
        return {clean(key): _cleaned(one, depth - 1) for key, one in value.items()}
    if isinstance(value, list):
        return [_cleaned(one, depth - 1) for one in value]
    return clean(value) if isinstance(value, str) else value
