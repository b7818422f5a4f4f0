"""Layer breakdown of predictions: time and energy of each layer, with extrapolated layers marked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwopt.arrays import Array
from hwopt.predict.device import Prediction
from hwopt.report.prediction import Predicted
from hwopt.units import unit_for

if TYPE_CHECKING:
    import pandas as pd

METRICS = ("time_s", "energy_j")  # additive metrics
_LARGEST_RATIO = 8.0  # largest ratio of two bars on one scale
_MOST_KINDS = 8  # number of kinds with their own colour; the others share one
OTHER = "other kinds"


@dataclass(frozen=True)
class LayerBreakdown:
    """Layers of one or several predictions.

    Attributes:
        table: one row per layer: bar, position, layer, kind, time_s and, if all predictions have it,
            energy_j; share (of the time), is_fallback, is_extrapolated.
        bars: names of the predictions, in order.
        metrics: "time_s", and "energy_j" if all predictions have it.
        units: metric -> factor and unit.
        kinds: kinds of layers with their own colour by decreasing time, OTHER last if there are more.
    """

    table: "pd.DataFrame"
    bars: tuple[str, ...]
    metrics: tuple[str, ...]
    units: Mapping[str, tuple[float, str]]
    kinds: tuple[str, ...]

    def shown_kind(self, kind: str) -> str:
        """Return a kind, or OTHER for one without its own colour."""
        return kind if kind in self.kinds else OTHER

    def of_bar(self, bar: str) -> "pd.DataFrame":
        """Return the layers of one prediction in running order."""
        return self.table[self.table["bar"] == bar]

    def totals(self, metric: str) -> Array:
        """Return the sum over the layers of each bar, [len(bars)]."""
        return np.array([float(self.of_bar(bar)[metric].sum()) for bar in self.bars])

    def is_relative(self, metric: str) -> bool:
        """Return whether bars are shown in percent of their totals, because these differ too much."""
        totals = self.totals(metric)
        return bool(totals.max() > _LARGEST_RATIO * totals.min())

    def divisors(self, metric: str) -> Array:
        """Return the divisor of the shown values of each bar, [len(bars)]."""
        factor = np.full(len(self.bars), self.units[metric][0])
        return self.totals(metric) / 100 if self.is_relative(metric) else factor


def layer_breakdown(predictions: Mapping[str, Prediction]) -> LayerBreakdown:
    """Compute the layer breakdown of predictions by name."""
    import pandas as pd

    metrics = tuple(m for m in METRICS if all(m in one.layers for one in predictions.values()))
    columns = ["name", "kind", *metrics, "share", "is_fallback", "is_extrapolated"]
    tables = []
    for bar, one in predictions.items():
        table = one.layers[columns].rename(columns={"name": "layer"})
        table.insert(0, "bar", bar)
        table.insert(1, "position", range(len(table)))
        tables.append(table)
    joined = pd.concat(tables, ignore_index=True)
    largest = {m: float(joined.groupby("bar")[m].sum().max()) for m in metrics}
    return LayerBreakdown(
        table=joined,
        bars=tuple(predictions),
        metrics=metrics,
        units={metric: unit_for(metric, value) for metric, value in largest.items()},
        kinds=_kinds(joined),
    )


def named(predictions: Sequence[Predicted]) -> dict[str, Prediction]:
    """Return predictions by device and batch size, and by network if there are several."""
    several = len({one.network for one in predictions}) > 1
    names = [
        (f"{one.network}, " if several else "") + f"{one.device}, batch {one.batch_size:,}"
        for one in predictions
    ]
    distinct = [f"{name} ({i + 1})" if names.count(name) > 1 else name for i, name in enumerate(names)]
    return dict(zip(distinct, (one.prediction for one in predictions), strict=True))


def _kinds(table: "pd.DataFrame") -> tuple[str, ...]:
    by_time = table.groupby("kind")["time_s"].sum().sort_values(ascending=False, kind="stable")
    kinds = tuple(str(kind) for kind in by_time.index)
    return kinds if len(kinds) <= _MOST_KINDS + 1 else (*kinds[:_MOST_KINDS], OTHER)
