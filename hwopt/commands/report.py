"""`hwopt report`: a study's front, tables and figure."""

from pathlib import Path
from typing import Annotated

import typer

from hwopt.commands.console import console
from hwopt.errors import StudyError


def report(
    study: Annotated[Path, typer.Argument(help="A study.db.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write into; the study's own if absent.")] = None,
    rank: Annotated[str | None, typer.Option(help="Rank the front by epr: error^alpha x energy.")] = None,
    alpha: Annotated[float, typer.Option(min=0.0, help="How much the error counts in --rank epr.")] = 1.0,
) -> None:
    """Print a study's front and write its tables and figure; also while the study runs."""
    print_report(study, out or study.parent)
    if rank is not None:
        _write_ranking(study, out or study.parent, rank, alpha)


def print_report(study: Path, folder: Path) -> None:
    """Print the front of a study, and write its tables and figure into a folder."""
    from hwopt.report.study import write_report
    from hwopt.study.store.store import Store

    with Store(study, read_only=True) as store:
        if "identity" not in store.meta():
            raise StudyError(f"{study} holds no trials yet")
        for part in write_report(store, folder):
            console.print(part, highlight=False)


def _write_ranking(study: Path, folder: Path, rank: str, alpha: float) -> None:
    from hwopt.report.ranking import batch_size, ranking_rows, ranking_table
    from hwopt.report.tables import write_csv
    from hwopt.study.store.store import Store

    with Store(study, read_only=True) as store:
        rows, n_items = ranking_rows(store, rank, alpha), batch_size(store)
    console.print(ranking_table(rows, alpha, n_items is not None))
    write_csv(folder / "ranking.csv", rows)
    console.print(f"written to {folder}: ranking.csv", highlight=False)
