"""Measured costs of one network beside its prediction, with an explanation of the two timings."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from hwopt.network.layer import METRICS
from hwopt.predict.device import Prediction
from hwopt.units import format_quantity, quantity_name

_INTERVAL = 0.9


@dataclass(frozen=True)
class Measured:
    """One network measured on one device.

    Attributes:
        network: name of the network.
        device: such as "cuda:0 (NVIDIA H200)".
        mode: "eager" or "graph".
        input_shape: shape of one batch.
        row: a row of `hwopt.measure.api.measure_networks`, with `warm_time_s`.
        prediction: of the same network, mode and batch; None without a profile of the device.
        profile: name of that profile.
    """

    network: str
    device: str
    mode: str
    input_shape: tuple[int, ...]
    row: Mapping[str, Any]
    prediction: Prediction | None = None
    profile: str = ""


def measurement_table(measured: Measured) -> Table:
    """Return a table with one row per metric: measured, warm loop, predicted, interval and ratio."""
    shape = "x".join(map(str, measured.input_shape))
    title = f"{measured.network} on {measured.device}, input {shape}, {measured.mode}"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for heading in ("metric", "measured", "warm loop", "predicted", f"{_INTERVAL:.0%} interval", "ratio"):
        table.add_column(heading, justify="left" if heading == "metric" else "right", no_wrap=True)
    for metric in METRICS:
        table.add_row(*_cells(measured, metric))
    return table


def _cells(measured: Measured, metric: str) -> list[str]:
    found = measured.row.get(metric)
    warm = measured.row.get("warm_time_s") if metric == "time_s" else None
    predicted, interval = _predicted(measured.prediction, metric)
    ratio = "" if found is None or predicted is None else f"{found / predicted:.2f}"
    bounds = [format_quantity(metric, bound) for bound in interval or ()]
    cells = [
        format_quantity(metric, found),
        format_quantity(metric, warm),
        format_quantity(metric, predicted),
    ]
    return [quantity_name(metric), *cells, " to ".join(bounds), ratio]


def _predicted(prediction: Prediction | None, metric: str) -> tuple[float | None, tuple[float, float] | None]:
    """Return the predicted total and its interval; None for missing ones."""
    if prediction is None or metric not in prediction.total:
        return None, None
    low, high = (float(bound[0]) for bound in prediction.costs.interval(metric, _INTERVAL))
    return prediction.total[metric], (low, high) if math.isfinite(high) else None


def measurement_lines(measured: Measured) -> list[str]:
    """Return the reasons of missing measurements, and an explanation of the two timings."""
    row, lines = measured.row, list[str]()
    if row.get("status") == "shared":
        lines.append("CPU contention: the times are too long; stop other processes and repeat")
    for figure, metric in (("time", "time_s"), ("energy", "energy_j"), ("memory", "memory_bytes")):
        if row.get(metric) is None and row.get(f"{figure}_reason"):
            lines.append(f"no {figure}: {row[f'{figure}_reason']}")
    lines += _difference(row)
    if measured.prediction is None:
        lines.append("no profile of this device: measure one with `hwopt profile`, then --profile FOLDER")
        return lines
    predicted, interval = _predicted(measured.prediction, "time_s")
    if interval is not None and row.get("time_s") is not None:
        inside = "inside" if interval[0] <= row["time_s"] <= interval[1] else "outside"
        lines.append(f"predicted from profile {measured.profile}: the measured time is {inside} its interval")
    return lines + [f"* {note}" for note in measured.prediction.notes]


def _difference(row: Mapping[str, Any]) -> list[str]:
    """Return lines that explain the difference between the measured pass and the warm loop."""
    time_s, warm_s = row.get("time_s"), row.get("warm_time_s")
    if time_s is None or warm_s is None:
        return []
    return [
        "measured: inputs rotate through more memory than the last-level cache holds, like new data; "
        "predictions refer to this",
        "warm loop: the same cached input repeatedly, as in a hand-written benchmark: "
        f"{warm_s / time_s:.2f} of the measured time (several threads or gradients change it further)",
    ]


def measurement_json(measured: Measured) -> str:
    """Return the measurement and its prediction as a JSON object, in SI units, null for missing values."""
    found = {name: measured.row.get(name) for name in (*METRICS, "warm_time_s")}
    reasons = {name: text for name, text in measured.row.items() if name.endswith("_reason") and text}
    content: dict[str, Any] = {
        "network": measured.network,
        "device": measured.device,
        "mode": measured.mode,
        "input_shape": list(measured.input_shape),
        "measured": found,
        "reasons": reasons,
        "predicted": None,
    }
    if measured.prediction is not None:
        pairs = {metric: _predicted(measured.prediction, metric) for metric in measured.prediction.total}
        content["predicted"] = {
            "profile": measured.profile,
            "total": {metric: value for metric, (value, _) in pairs.items()},
            "interval_90": {metric: interval for metric, (_, interval) in pairs.items()},
            "notes": list(measured.prediction.notes),
        }
    return json.dumps(content, indent=2)
