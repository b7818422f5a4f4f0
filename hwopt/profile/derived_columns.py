"""Derived columns of layer rows: output size, FLOPs, bytes, energy or power, computed from other columns.

Files written by hand may omit them. The formulas are those of the tracer (`hwopt.network.operation_counts`),
applied to whole columns. Values that cannot be derived are NaN, never 0.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwopt.errors import InvalidInput
from hwopt.network.layer import SHAPE_COLUMNS, SIZE_COLUMNS
from hwopt.network.operation_counts import FORMULAS, Columns, Formulas, formulas_of
from hwopt.profile.roofline import operand_bytes
from hwopt.profile.schema import COLUMNS, DERIVED_COLUMNS, ITEM_BYTES
from hwopt.profile.text_file import shown

if TYPE_CHECKING:
    import pandas as pd


def complete(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Return a copy of layer rows, [n], with every shape and work column filled, or NaN.

    `workspace_bytes`, the memory beyond operands and result, is derived from `memory_bytes`. Energy or power
    is derived from the other and a time, see `complete_energy`.

    Raises:
        InvalidInput: if `kind`, `batch`, `in_channels` or `out_channels` is missing.
    """
    rows = rows.copy()
    for column in ("kind", "batch", "in_channels", "out_channels"):
        if column not in rows.columns:
            raise InvalidInput(f"layer rows lack the column {column}, which cannot be derived from others")
    for name in ("device", *SHAPE_COLUMNS):
        if COLUMNS[name].default is not None:
            _fill(rows, name, COLUMNS[name].default)
    for side in ("h", "w"):
        _fill(rows, f"out_{side}", _output_side(rows, side))
    for column, values in _work(rows).items():
        _fill(rows, column, values)
    if "memory_bytes" in rows.columns:
        _fill(rows, "workspace_bytes", (rows["memory_bytes"] - operand_bytes(rows)).clip(lower=0))
    return complete_energy(rows)


def complete_energy(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Return a copy of rows of layers or networks, [n], with energy derived from power or power from energy.

    The time is `loop_time_s` if the row has it, the time of a pass while energy was measured.
    """
    rows = rows.copy()
    if "time_s" not in rows.columns:
        return rows
    time_s = rows["loop_time_s"].fillna(rows["time_s"]) if "loop_time_s" in rows.columns else rows["time_s"]
    if "power_w" in rows.columns:
        _fill(rows, "energy_j", rows["power_w"] * time_s)
    if "energy_j" in rows.columns:
        _fill(rows, "power_w", rows["energy_j"] / time_s)
    return rows


def _fill(rows: "pd.DataFrame", column: str, values: Any) -> None:
    if column not in rows.columns:
        rows[column] = values
        return
    is_empty = rows[column].isna() | (rows[column] == "")
    if is_empty.any():
        rows[column] = rows[column].where(~is_empty, values)


def _output_side(rows: "pd.DataFrame", side: str) -> Any:
    """Return the output's height or width, [n]; if not derivable, 1 for an input side of 1, else NaN."""

    def of_kind(own: Formulas, columns: Columns) -> Any:
        formula = own.out_h if side == "h" else own.out_w
        if formula is not None:
            return formula(columns)
        return np.where(columns[f"in_{side}"] == 1, 1.0, np.nan)

    return _by_kind(rows, of_kind)


def _by_kind(rows: "pd.DataFrame", of_kind: Callable[[Formulas, Columns], Any]) -> "pd.Series[float]":
    """Return `of_kind` applied to the rows of each kind and its formulas, [n]."""
    import pandas as pd

    values = np.full(len(rows), np.nan)
    kinds = rows["kind"].to_numpy(dtype=str)
    columns = {name: rows[name].to_numpy(dtype=float) for name in SIZE_COLUMNS if name in rows.columns}
    for kind in np.unique(kinds):
        chosen = kinds == kind
        own = {name: column[chosen] for name, column in columns.items()}
        values[chosen] = of_kind(formulas_of(str(kind)), own)
    return pd.Series(values, index=rows.index)


def _work(rows: "pd.DataFrame") -> dict[str, Any]:
    """Return FLOPs, element-wise operations and bytes, each a Series [n]; NaN if they cannot be derived.

    Biases are not included, since they are not in the columns.
    """
    item = rows["dtype"].map(ITEM_BYTES).astype(float).fillna(4)
    place_bytes = _by_kind(rows, lambda own, columns: own.place_bytes)

    def of(name: str) -> "pd.Series[float]":
        def of_kind(own: Formulas, columns: Columns) -> Any:
            formula = getattr(own, name)
            return np.nan if formula is None else formula(columns)

        return _by_kind(rows, of_kind)

    return {
        "flops": of("flops"),
        "elementwise_ops": of("operations"),
        "input_bytes": item * of("inputs"),
        "weight_bytes": item * of("weights"),
        "output_bytes": (item + place_bytes) * of("outputs"),
    }


def incomplete(rows: "pd.DataFrame") -> NDArray[np.bool_]:
    """Return whether each completed row lacks a side or work that could not be derived, bool [n]."""
    return rows[[*DERIVED_COLUMNS]].isna().any(axis=1).to_numpy(dtype=bool)


def note_incomplete(rows: "pd.DataFrame") -> list[str]:
    """Return a note for each kind with incomplete rows, which are not used."""
    lacking = rows[incomplete(rows)]
    notes = []
    for kind, own in lacking.groupby("kind", sort=True):
        names = ", ".join(name for name in DERIVED_COLUMNS if own[name].isna().any())
        known = "" if str(kind) in FORMULAS else ", an unknown kind"
        missing = f"{names} cannot be derived; add them"
        notes.append(f"{len(own)} rows of {shown(kind)}{known}: not used, {missing}")
    return notes
