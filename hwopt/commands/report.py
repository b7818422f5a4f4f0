"""`hwopt report`: front, tables, figures and HTML page of studies."""

from pathlib import Path
from typing import Annotated

import typer

from hwopt.commands.console import console, interruptible
from hwopt.errors import InvalidInput, StudyError, UnknownName

N_LAYERS = 100  # largest number of networks of a study that are shown by layers


def report(
    studies: Annotated[list[Path], typer.Argument(help="One or more study.db.", metavar="STUDY...")],
    out: Annotated[Path | None, typer.Option(help="Folder to write into; the study's own if absent.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write one HTML page that works offline.")] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Folder for all figures as PNG and SVG, and their data as CSV.")
    ] = None,
    watch: Annotated[bool, typer.Option(help="Serve the page on 127.0.0.1 while the study runs.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of --watch; 0 for a free one.")] = 8765,
    layers: Annotated[
        int,
        typer.Option(min=0, help="Networks per study to show by layers; this runs the space's file."),
    ] = N_LAYERS,
    rank: Annotated[str | None, typer.Option(help="Rank the front by epr: error^alpha x energy.")] = None,
    alpha: Annotated[float, typer.Option(min=0.0, help="Weight of the error in --rank epr.")] = 1.0,
) -> None:
    """Print a study's front and write its tables and figures; also while the study runs.

    Example: hwopt report results/mine/study.db --html report.html
    """
    paths = [path / "study.db" if path.is_dir() else path for path in studies]
    if len(paths) > 1 and out is not None:
        raise InvalidInput(
            "--out takes one study; without it each study's report goes into its own folder, or use --html"
        )
    if rank is not None:
        check_ranking(rank)
    if watch:
        _serve(paths, port, layers)
        return
    for path in paths if html is None and figures is None or out is not None or rank is not None else []:
        print_report(path, out or path.parent)
        if rank is not None:
            _write_ranking(path, out or path.parent, rank, alpha)
    if html is not None:
        _write_page(paths, html, layers)
    if figures is not None:
        _write_figures(paths, figures)


def check_ranking(rank: str) -> None:
    """Raise UnknownName for a ranking that does not exist."""
    from hwopt.report.ranking import RANKINGS

    if rank not in RANKINGS:
        raise UnknownName(f"no ranking {rank!r}; known: {', '.join(RANKINGS)}")


def print_report(study: Path, folder: Path) -> None:
    """Print the front of a study, and write its tables and figure into a folder."""
    from hwopt.report.study import write_report
    from hwopt.study.store.store import Store

    with Store(study, read_only=True) as store:
        if "identity" not in store.meta():
            raise StudyError(f"{study} holds no trials yet")
        for part in write_report(store, folder):
            console.print(part, highlight=False)


def _write_page(paths: list[Path], html: Path, layers: int) -> None:
    from hwopt.report.analysis.study_data import read_studies
    from hwopt.report.page.render import write_page
    from hwopt.study.experiment.networks import networks_of

    studies = read_studies(paths)
    networks = [networks_of(study, layers) for study in studies]
    write_page(studies, html, networks)
    console.print(f"written: {html}", highlight=False)
    for study, own in zip(studies, networks, strict=True):
        if own.why_none:
            console.print(f"{study.name}: {own.why_none}", highlight=False)


def _write_figures(paths: list[Path], folder: Path) -> None:
    from hwopt.report.analysis.study_data import read_studies
    from hwopt.report.files import write_figures

    written = write_figures(read_studies(paths), folder)
    console.print(f"written to {folder}: {', '.join(path.name for path in written)}", highlight=False)


def _serve(paths: list[Path], port: int, layers: int) -> None:
    from hwopt.report.page.watch import PageServer
    from hwopt.study.experiment.networks import networks_of

    with (
        interruptible("the studies"),
        PageServer(paths, port, lambda study: networks_of(study, layers)) as server,
    ):
        console.print(f"serving the studies at {server.url}; Ctrl-C ends it", highlight=False)
        server.serve_forever()


def _write_ranking(study: Path, folder: Path, rank: str, alpha: float) -> None:
    from hwopt.report.ranking import batch_size, ranking_rows, ranking_table
    from hwopt.report.tables import write_csv
    from hwopt.study.store.store import Store

    with Store(study, read_only=True) as store:
        rows, n_items = ranking_rows(store, rank, alpha), batch_size(store)
    console.print(ranking_table(rows, alpha, n_items is not None))
    write_csv(folder / "ranking.csv", rows)
    console.print(f"written to {folder}: ranking.csv", highlight=False)
