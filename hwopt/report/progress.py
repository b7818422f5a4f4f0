"""Progress of long computations: a bar on a terminal, plain lines elsewhere.

Without a terminal, a line is printed at the beginning and the end of a stage, and every few seconds at most.
"""

import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

_SECONDS_BETWEEN_LINES = 5.0


class ProgressDisplay:
    """Display of progress: a callable of stage, done, planned and message, and a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stage, self._last_line = "", 0.0
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[count]}"))
        message = TextColumn("{task.fields[message]}")
        self._bar = Bar(*columns, TimeElapsedColumn(), message, console=console)
        self._task: TaskID | None = None
        self._is_redrawn = can_redraw(console)

    def __enter__(self) -> "ProgressDisplay":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._bar.stop()

    def __call__(self, stage: str, done: int, planned: int, message: str) -> None:
        """Show that `done` of `planned` steps of a stage are done."""
        if self._is_redrawn:
            self._move(stage, done, planned, message)
        else:
            self._line(stage, done, planned, message)

    def note(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        self._console.print(text, highlight=False)

    def _move(self, stage: str, done: int, planned: int, message: str) -> None:
        fields: dict[str, Any] = {"message": message, "count": count_of(done, planned)}
        if stage != self._stage or self._task is None:
            self._bar.start()
            self._stage = stage
            self._task = self._bar.add_task(stage, total=planned, **fields)
        self._bar.update(self._task, completed=done, total=planned, **fields)

    def _line(self, stage: str, done: int, planned: int, message: str) -> None:
        now = time.monotonic()
        is_due = now - self._last_line >= _SECONDS_BETWEEN_LINES
        if stage != self._stage or done >= planned or is_due:
            self._stage, self._last_line = stage, now
            self._console.print(f"{stage}: {count_of(done, planned)} {message}".rstrip(), highlight=False)


def can_redraw(console: Console) -> bool:
    """Return whether a console is a terminal that can redraw lines with Unicode characters."""
    return console.is_terminal and not console.is_dumb_terminal and console.encoding.startswith("utf")


def count_of(done: int, planned: int) -> str:
    """Return the progress as text: "3/50", or "768 of 4,096"."""
    return f"{done}/{planned}" if planned < 1000 else f"{done:,} of {planned:,}"
