"""Tables of a validation: errors by kind of layer, and of whole networks."""

import json
import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from hwopt.errors import InvalidInput
from hwopt.units import format_quantity, quantity_name

if TYPE_CHECKING:
    import pandas as pd

_FIGURES = {
    "n": "n", "rmspe": "RMSPE", "mape": "mean", "median_ape": "median", "within_5pct": "<=5%",
    "within_10pct": "<=10%", "kendall_tau": "tau", "bias": "bias",
}  # fmt: skip
_FOLDS = {"in_sample": "in sample", "out_of_fold": "out of fold"}
_NETWORK_FOLDS = {"in_sample": "fitted", "out_of_group": "out of group", "test": "held out"}


def layer_tables(errors: "pd.DataFrame") -> list[Table]:
    """Return a table for each device, metric and fold kind of `validation.report.validate_rows`."""
    kinds_last_all = errors.sort_values("kind", kind="stable", key=lambda kinds: kinds.replace("all", "~"))
    return [
        _table(
            f"layers of {device}: {quantity_name(str(metric))}, {_FOLDS[str(fold)]}",
            ("kind", "method"),
            [((row["kind"], row["method"]), row) for row in own.to_dict("records")],
        )
        for (device, metric, fold), own in kinds_last_all.groupby(["device", "metric", "fold_kind"])
    ]


def network_tables(name: str, errors: "pd.DataFrame") -> list[Table]:
    """Return a table for each metric of the networks of `hwopt.predict.validation.report.validate_device`."""
    return [
        _table(
            f"networks of {name}, {mode}: {quantity_name(str(metric))}{_families(own)}",
            ("networks", "method", "in bound"),
            [(_network_cells(row), row) for row in rows],
        )
        for (mode, metric), own in errors.groupby(["mode", "metric"], sort=False)
        for rows in [own.sort_values("fold_kind", kind="stable", key=_in_order).to_dict("records")]
    ]


def paper_tables(name: str, rows: "pd.DataFrame", methods: Sequence[str]) -> list[Table]:
    """Return a table for each mode and metric of `hwopt.predict.validation.paper_networks`, means last."""
    return [
        _paper_table(
            f"NeuralPower's networks on {name}, {mode}, fitted without their families: "
            f"{quantity_name(str(metric))}",
            str(metric),
            own,
            methods,
        )
        for (mode, metric), own in rows.groupby(["mode", "metric"], sort=False)
    ]


def _paper_table(title: str, metric: str, rows: "pd.DataFrame", methods: Sequence[str]) -> Table:
    table = _empty_table(title, ("network", "measured", *methods, f"80% interval of {methods[-1]}"))
    for row in rows.to_dict("records"):
        errors = [_share(row[method] / row["measured"] - 1, "+") for method in methods]
        measured, interval = format_quantity(metric, row["measured"]), _interval(metric, row)
        table.add_row(row["network"], measured, *errors, interval)
    sizes = [(rows[method] / rows["measured"] - 1).abs().mean() for method in methods]
    table.add_row("mean error", "", *map(_share, sizes), "")
    return table


def _interval(metric: str, row: Mapping[Hashable, Any]) -> str:
    """Return the bounds of a row; too few families allow none, or only the limit that the device enforces."""
    low, high = (format_quantity(metric, row[name]) for name in ("low", "high"))
    if not math.isfinite(row["high"]):
        return "none" if not row["low"] > 0 else f"at least {low}"
    return f"{low} to {high}" if row["low"] > 0 else f"at most {high}"


def write_errors(folder: Path, tables: Mapping[str, "pd.DataFrame"]) -> list[Path]:
    """Write each table as a CSV file into a folder and return the paths.

    Raises:
        InvalidInput: if the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            table.to_csv(folder / name, index=False, float_format="%.6g", lineterminator="\n")
    except OSError as error:
        raise InvalidInput(f"{folder}: cannot write: {error.strerror}; choose another --out") from None
    return [folder / name for name in tables]


def networks_json(errors: "pd.DataFrame") -> str:
    """Return the out-of-group errors of networks as JSON, {"networks": [...]}, errors as fractions."""
    own = errors[errors["fold_kind"] == "out_of_group"]
    rows = [
        {
            **{name: row[name] for name in ("method", "mode", "metric")},
            **{name: int(row[name]) for name in ("n", "n_groups")},
            **{name: float(row[name]) for name in ("mape", "median_ape")},
        }
        for row in own.to_dict("records")
    ]
    return json.dumps({"networks": rows}, indent=2)


def _families(errors: "pd.DataFrame") -> str:
    """Return how many families the networks are of, and of which bound a share is shown; "" of neither."""
    most = errors["n_groups"].max()
    return "" if math.isnan(most) else f", {most:.0f} families; share within the 90% bound"


def _network_cells(row: Mapping[Hashable, Any]) -> tuple[str, ...]:
    return _NETWORK_FOLDS[row["fold_kind"]], row["method"], _share(row["coverage_90"])


def notes_by_method(notes: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the notes of each method once; one that is not of all methods begins with theirs.

    Args:
        notes: method -> what a reader of its predictions must know.
    """
    found: dict[str, list[str]] = {}
    for method, own in notes.items():
        for note in dict.fromkeys(own):
            found.setdefault(note, []).append(method)
    return [
        note if len(methods) == len(notes) else f"{', '.join(methods)}: {note}"
        for note, methods in found.items()
    ]


def _in_order(folds: "pd.Series[str]") -> "pd.Series[int]":
    return folds.map(list(_NETWORK_FOLDS).index)


def _table(title: str, heads: Sequence[str], rows: Sequence[tuple[tuple[str, ...], Any]]) -> Table:
    """Return a table of figures; a first cell that is the same as the one above stays empty."""
    table = _empty_table(title, heads)
    for heading in _FIGURES.values():
        table.add_column(heading, justify="right", no_wrap=True)
    above = None
    for cells, row in rows:
        first = "" if cells[0] == above else cells[0]
        above = cells[0]
        table.add_row(first, *cells[1:], *(_figure(name, row[name]) for name in _FIGURES))
    return table


def _empty_table(title: str, heads: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    for heading in heads:
        table.add_column(heading, no_wrap=True)
    return table


def _figure(name: str, value: float) -> str:
    """Return a value with its significant digits; "-" if there is none."""
    if name == "n":
        return str(int(value))
    if name == "kendall_tau":
        return "-" if math.isnan(value) else f"{value:.3f}"
    return _share(value, "+" if name == "bias" else "")


def _share(value: float, sign: str = "") -> str:
    if math.isnan(value):
        return "-"
    return f"{value:{sign}.0%}" if abs(value) >= 0.1 else f"{value:{sign}.1%}"
