"""Report of a study: CSV files, the figure of the front, and the printed text."""

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from rich.console import Console

from hwopt.errors import InvalidInput
from hwopt.report.analysis.fronts import front_view
from hwopt.report.analysis.provenance import figure_title
from hwopt.report.analysis.study_data import study_data
from hwopt.report.draw.front import matplotlib_front
from hwopt.report.tables import (
    FittedTable,
    costs_source,
    front_table,
    summary_lines,
    write_csv,
)
from hwopt.study.store.results import summarise
from hwopt.study.store.store import Store
from hwopt.study.store.trial_tables import front_rows, trial_rows


def report_text(store: Store, folder: Path) -> str:
    """Write the report of a study into a folder, and return the text that `hwopt report` prints."""
    console = Console(file=StringIO(), width=160, markup=False, emoji=False)
    for part in write_report(store, folder):
        console.print(part, highlight=False, soft_wrap=isinstance(part, str))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def write_report(store: Store, folder: Path) -> Iterator[FittedTable | str]:
    """Write front.csv, trials.csv and front.png into a folder, and yield the parts to print.

    Raises:
        InvalidInput: if the folder cannot be written.
    """
    meta = store.meta()
    identity = meta["identity"]
    costs = [name for name in identity["objectives"] if name != "error"]
    summary, rows = summarise(store), front_rows(store)
    limited = [budget["metric"] for budget in identity.get("outcome_budgets", [])]
    metrics = [*(list(summary.front[0].values)[1:] if summary.front else costs), *limited]
    yield front_table(rows, metrics, costs_source(meta))
    yield from summary_lines(store, summary)
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_csv(folder / "front.csv", rows)
        write_csv(folder / "trials.csv", trial_rows(store))
        written += ["front.csv", "trials.csv"]
        study = study_data(store)
        for metric in costs or [None]:
            name = "front.png" if metric in (None, costs[0]) else f"front_{metric}.png"
            matplotlib_front(front_view([study], metric), [study], figure_title([study])).savefig(
                folder / name
            )
            written.append(name)
    except OSError as error:
        raise InvalidInput(f"{folder}: cannot write the report: {error.strerror}; choose --out") from None
    yield f"written to {folder}: {', '.join(written)}"
