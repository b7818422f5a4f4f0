"""Report of a comparison: tables, figures and terminal output."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from hwopt.compare.comparison import Comparison
from hwopt.compare.curves import all_curves, volume_name
from hwopt.compare.figure import AXES, draw_curves
from hwopt.compare.summary import Row, checkpoints, curve_rows, summary_rows, target_rows, trial_rows
from hwopt.errors import InvalidInput, StudyError
from hwopt.report.tables import write_csv
from hwopt.units import format_quantity


def write_comparison(comparison: Comparison, folder: str | Path) -> Iterator[Table | str]:
    """Write runs.csv, hypervolume.csv, summary.csv, needs.csv and figures, and yield the terminal output.

    Raises:
        StudyError: if nothing has been trained.
        InvalidInput: if the folder cannot be written.
    """
    folder, curves = Path(folder), all_curves(comparison)
    if not curves:
        raise StudyError("; ".join(["nothing has been trained", *comparison.notes]))
    summary, needs = summary_rows(comparison, curves), target_rows(comparison, curves)
    volumes = list(curve_rows(comparison, curves))
    yield summary_table(comparison, summary, checkpoints(curves))
    if needs:
        yield needs_table(needs, curves[0].label)
    yield from comparison.notes
    tables = {"summary.csv": summary, "needs.csv": needs, "hypervolume.csv": volumes}
    trials = [{**row, "config": json.dumps(row["config"])} for row in trial_rows(comparison)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in {**tables, "runs.csv": trials}.items():
            write_csv(folder / name, [_rounded(row) for row in rows])
        figures = [f"hypervolume_{axis}.png" for axis in AXES]
        for axis, name in zip(AXES, figures, strict=True):
            draw_curves(
                volumes, axis, volume_name(comparison.problem), comparison.problem.name, folder / name
            )
    except OSError as error:
        raise InvalidInput(f"{folder}: cannot write the report: {error.strerror}; choose --out") from None
    yield f"written to {folder}: {', '.join([*tables, 'runs.csv', *figures])}"


def summary_table(comparison: Comparison, rows: Sequence[Row], at: Sequence[int]) -> Table:
    """Return the results of the contenders, best first, for the terminal."""
    name = volume_name(comparison.problem)
    what = "hypervolume" if name == "hypervolume" else "hypervolume as a share of the best front's"
    judged = "" if comparison.problem.true_error is None else ", of true errors"
    title = (
        f"{comparison.problem.name}: {what}{judged}, median over seeds [95% interval]; CPU seconds of an ask"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("strategy", no_wrap=True)
    for heading in ["seeds", *[f"after {k}" for k in at], "infeasible", "failed", "an ask"]:
        table.add_column(heading, justify="right")
    for row in sorted(rows, key=lambda row: [-row.get(f"{name}_at_{k}", 0.0) for k in reversed(at)]):
        cells = [_interval(row, f"{name}_at_{k}") for k in at]
        shares = [f"{row[share]:.0%}" for share in ("infeasible_share", "failed_share")]
        table.add_row(
            row["strategy"],
            str(row["n_seeds"]),
            *cells,
            *shares,
            format_quantity("ask_cpu_s", row["ask_cpu_s"]),
        )
    return table


def needs_table(rows: Sequence[Row], label: str) -> Table:
    """Return the trainings that one contender needs for each peer's hypervolume; needs.csv has all."""
    title = f"{label}: trainings [95% interval] and training time to the hypervolume that a peer has after"
    table = Table(title=title, title_justify="left")
    found = {(row["peer"], row["peer_trainings"]): row for row in rows if row["strategy"] == label}
    at = sorted({k for _, k in found})
    table.add_column("peer", no_wrap=True)
    for k in at:
        table.add_column(f"after {k}", justify="right")
    for peer in dict.fromkeys(peer for peer, _ in found):
        table.add_row(peer, *[_need(found.get((peer, k))) for k in at])
    return table


def _need(row: Row | None) -> str:
    if row is None:
        return ""
    if np.isinf(row["trainings"]):
        return "not reached"
    low, high = (
        "not reached" if np.isinf(row[f"trainings_{end}"]) else f"{row[f'trainings_{end}']:.0f}"
        for end in ("low", "high")
    )
    own, peer = (format_quantity("train_s", row[name]) for name in ("training_s", "peer_training_s"))
    time = f"peer {peer}" if np.isinf(row["training_s"]) else f"{own}, peer {peer}"
    return f"{row['trainings']:.0f} [{low}, {high}]; {time}"


def _interval(row: Row, name: str) -> str:
    if name not in row:
        return ""
    return f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"


def _rounded(row: Row) -> Row:
    """Return a row with floats of six digits."""
    return {key: float(f"{v:.6g}") if isinstance(v, float) else v for key, v in row.items()}
