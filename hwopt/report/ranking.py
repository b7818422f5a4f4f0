"""Front ranked by the energy-precision ratio."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from hwopt.errors import InvalidInput, UnknownName
from hwopt.predict.energy_precision import epr
from hwopt.study.store.store import Store
from hwopt.study.store.trial_tables import Row, front_rows
from hwopt.units import format_quantity

RANKINGS = ("epr",)


def ranking_rows(store: Store, ranking: str = "epr", alpha: float = 1.0) -> list[Row]:
    """Return the front by increasing energy-precision ratio: `front_rows` with rank, epr, energy_per_item_j.

    Energy is predicted, per item if the study records its batch size, otherwise per pass. The error is the
    validation error.

    Raises:
        UnknownName: for an unknown ranking.
        InvalidInput: if energy is not among the costs of the study.
    """
    if ranking not in RANKINGS:
        raise UnknownName(f"no ranking {ranking!r}; known: {', '.join(RANKINGS)}")
    rows, n_items = front_rows(store), batch_size(store) or 1
    if not rows:
        raise InvalidInput("the front is empty: no feasible training has finished; nothing to rank")
    if any("energy_j" not in row for row in rows):
        known = ", ".join(name for name in rows[0] if name.endswith(("_s", "_w", "_bytes")))
        raise InvalidInput(
            f"epr needs energy_j, which is not among the costs of this study ({known}); "
            "search with a device whose profile has energy"
        )
    energy = [row["energy_j"] / n_items for row in rows]
    ratios = epr([row["error"] for row in rows], energy, alpha)
    order = sorted(range(len(rows)), key=lambda i: float(ratios[i]))
    return [
        {"rank": rank, "epr": float(ratios[i]), "energy_per_item_j": energy[i], **rows[i]}
        for rank, i in enumerate(order, start=1)
    ]


def ranking_table(rows: Sequence[Row], alpha: float, is_per_item: bool) -> Table:
    """Return the ranked front for the terminal."""
    table = Table(title=f"front by error^{alpha:g} x energy, the lowest first", title_justify="left")
    energy = "energy per item" if is_per_item else "energy per pass"
    for heading in ("rank", "trial", "validation error", energy, "EPR"):
        table.add_column(heading, justify="right")
    for row in rows:
        cells = [
            format_quantity("error", row["error"]),
            format_quantity("energy_j", row["energy_per_item_j"]),
        ]
        table.add_row(str(row["rank"]), str(row["trial"]), *cells, format_quantity("epr_j", row["epr"]))
    return table


def batch_size(store: Store) -> int | None:
    """Return the batch size of a study's costs; None if the study does not record it."""
    description: Any = store.meta()["identity"].get("description") or {}
    device = description.get("device") if isinstance(description, dict) else None
    n_items = device.get("batch_size") if isinstance(device, dict) else None
    return n_items if isinstance(n_items, int) and n_items > 0 else None
