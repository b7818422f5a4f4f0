"""Figures of studies as files: PNG and SVG by matplotlib, and their data as CSV."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hwopt.errors import InvalidInput
from hwopt.report.analysis.calibration import calibration
from hwopt.report.analysis.curves import learning_curves
from hwopt.report.analysis.fronts import front_view
from hwopt.report.analysis.history import history
from hwopt.report.analysis.importance import importance
from hwopt.report.analysis.parallel import parallel_coordinates
from hwopt.report.analysis.provenance import figure_title
from hwopt.report.analysis.study_data import StudyData
from hwopt.report.draw.calibration import matplotlib_calibration
from hwopt.report.draw.curves import matplotlib_curves
from hwopt.report.draw.front import matplotlib_front
from hwopt.report.draw.history import matplotlib_history
from hwopt.report.draw.importance import matplotlib_importance
from hwopt.report.draw.parallel import matplotlib_parallel

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Named = tuple[str, "Figure", "pd.DataFrame"]


def write_figures(studies: Sequence[StudyData], folder: Path) -> list[Path]:
    """Write all figures as PNG and SVG, and their data as CSV; return the files.

    Figures of all studies are named front_METRIC and history_AXIS, those of one study learning_curves,
    parallel, importance and calibration, with the position of the study if there are several.

    Raises:
        InvalidInput: for a folder that cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure, table in _figures(list(studies)):
            for ending in ("png", "svg"):
                figure.savefig(folder / f"{name}.{ending}")
            table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g", lineterminator="\n")
            written += [folder / f"{name}.{ending}" for ending in ("png", "svg", "csv")]
    except OSError as error:
        raise InvalidInput(f"{folder}: cannot write: {error.strerror}; choose another folder") from None
    return written


def _figures(studies: list[StudyData]) -> Iterator[Named]:
    title = figure_title(studies)
    for metric in front_view(studies).metrics:
        view = front_view(studies, metric)
        yield f"front_{metric}", matplotlib_front(view, studies, title), view.table
    found = history(studies)
    for axis in found.axes:
        drawn = matplotlib_history(found, studies, title, axis, found.measures[0])
        yield f"history_{axis}", drawn, found.table
    for i, study in enumerate(studies, start=1):
        ending = f"_{i}" if len(studies) > 1 else ""
        yield from ((f"{name}{ending}", figure, table) for name, figure, table in _of_one(study))


def _of_one(study: StudyData) -> Iterator[Named]:
    title = figure_title([study])
    curves = learning_curves([study])
    yield "learning_curves", matplotlib_curves(curves, study, title), curves.table
    lines = parallel_coordinates(study)
    yield "parallel", matplotlib_parallel(lines, title), lines.table
    bars = importance(study)
    yield "importance", matplotlib_importance(bars, title), bars.table
    verified = calibration(study)
    if verified.agreement:
        yield "calibration", matplotlib_calibration(verified, title), verified.table
