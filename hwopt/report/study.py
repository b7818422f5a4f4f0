"""The report of a study: tables into files, the figure of the front, and what to print."""

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hwopt.errors import InvalidInput
from hwopt.report.figures import draw_front, front_figure
from hwopt.report.tables import (
    costs_source,
    front_table,
    summary_lines,
    write_csv,
)
from hwopt.study.store.results import summarise
from hwopt.study.store.rows import front_rows, trial_rows
from hwopt.study.store.store import Store


def report_text(store: Store, folder: Path) -> str:
    """Write the report of a study into a folder, and return what `hwopt report` prints."""
    console = Console(file=StringIO(), width=160, markup=False)
    for part in write_report(store, folder):
        console.print(part, highlight=False, soft_wrap=isinstance(part, str))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def write_report(store: Store, folder: Path) -> Iterator[Table | str]:
    """Write front.csv, trials.csv and front.png into a folder, and yield what to print.

    Raises:
        InvalidInput: where the folder cannot be written.
    """
    meta = store.meta()
    identity = meta["identity"]
    costs = [name for name in identity["objectives"] if name != "error"]
    summary, rows = summarise(store), front_rows(store)
    limited = [budget["metric"] for budget in identity.get("outcome_budgets", [])]
    metrics = [*(list(summary.front[0].values)[1:] if summary.front else costs), *limited]
    yield front_table(rows, metrics, costs_source(meta))
    yield from summary_lines(store, summary)
    n_ended = sum(n for status, n in summary.n_trained.items() if status != "running")
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_csv(folder / "front.csv", rows)
        write_csv(folder / "trials.csv", trial_rows(store))
        written += ["front.csv", "trials.csv"]
        for metric in costs:
            name = "front.png" if metric == costs[0] else f"front_{metric}.png"
            title = f"{folder.name}: {n_ended} trainings, strategy {identity['strategy']}"
            draw_front(front_figure(store, metric), folder / name, title)
            written.append(name)
    except OSError as error:
        raise InvalidInput(f"{folder}: cannot write the report: {error.strerror}; choose --out") from None
    yield f"written to {folder}: {', '.join(written)}"
