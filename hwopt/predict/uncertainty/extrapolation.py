"""Widening of intervals for networks with layers outside the measured range.

    layer:    deviation d: 0 inside the measured range of its kind; one standard deviation of the rows or more
              outside, the deviation of ln(time / roofline) within the kind, and linear in between; for a kind
              with too few rows the deviation over all kinds
    network:  deviation D = sum of share * d over its layers: errors of one kind are correlated and add up
    factor:   sqrt(1 + max(0, D^2 - D0^2) / s^2), s: deviation of the calibration residuals, D0: 80% quantile
              of D of the calibration networks, which their residuals already include

For power, ln(power) replaces ln(time / roofline); energy has both. Memory needs no measured layer. All
deviations are computed from the device's own rows. Factors are at least 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array
from hwopt.predict.layer_models.interface import MIN_ROWS
from hwopt.predict.network_table import NetworkTable
from hwopt.predict.uncertainty.measured_range import COLUMNS, MeasuredRange
from hwopt.profile.roofline import Ceilings, least_time_s

if TYPE_CHECKING:
    import pandas as pd

_RANGE_COLUMNS = ("kind", *COLUMNS)
_VOUCHED = 0.8  # quantile of D of the calibration networks that is D0
_LEAST_DEVIATION = 0.01  # lower bound of the deviation of calibration residuals


@dataclass(frozen=True)
class Unknown:
    """Measured range of layers and the deviations outside it, from the measured rows of a device.

    Attributes:
        measured: ranges of the rows by kind.
        overall: metric -> deviation over all kinds, for "time_s" and, if measured, "power_w".
        within: metric -> kind -> deviation within the kind.
    """

    measured: MeasuredRange
    overall: Mapping[str, float]
    within: Mapping[str, Mapping[str, float]]

    @classmethod
    def of(cls, rows: "pd.DataFrame", ceilings: Ceilings, layers: "pd.DataFrame | None" = None) -> "Unknown":
        """Return ranges and deviations of measured rows, [n], and of fitted layers of networks."""
        import pandas as pd

        work_s = least_time_s(rows, ceilings)
        logs = {"time_s": np.log(rows["time_s"].to_numpy(dtype=float) / work_s)}
        if rows["power_w"].notna().any():
            logs["power_w"] = np.log(rows["power_w"].to_numpy(dtype=float))
        overall = {metric: float(np.nanstd(values)) for metric, values in logs.items()}
        kinds = rows["kind"].to_numpy(dtype=str)
        names = [str(kind) for kind in np.unique(kinds)]
        within = {
            metric: {kind: _deviation(values[kinds == kind], overall[metric]) for kind in names}
            for metric, values in logs.items()
        }
        known = (
            rows if layers is None else pd.concat([rows[list(_RANGE_COLUMNS)], layers[list(_RANGE_COLUMNS)]])
        )
        return cls(MeasuredRange.of(known), overall, within)

    def layers(self, rows: "pd.DataFrame", is_fallback: NDArray[np.bool_]) -> dict[str, Array]:
        """Return metric -> deviation of each layer, [n]."""
        distance = self.measured.distance(rows)
        weight = np.where(is_fallback, 1.0, np.minimum(distance, 1.0))
        is_strange = is_fallback | np.isinf(distance)
        kinds = rows["kind"].to_numpy(dtype=str)
        deviations = {}
        for metric, by_kind in self.within.items():
            own = np.array([by_kind.get(kind, 0.0) for kind in kinds], dtype=float)
            deviations[metric] = weight * np.where(is_strange, self.overall[metric], own)
        return deviations

    def networks(
        self, table: NetworkTable, is_fallback: NDArray[np.bool_], parts_s: Array
    ) -> dict[str, Array]:
        """Return metric -> deviation D of each network, [m], its layers weighted by their times, [n]."""
        deviations = self.layers(table.layers, is_fallback)
        total_s = table.sum(parts_s)
        found = {metric: table.sum(own * parts_s) / total_s for metric, own in deviations.items()}
        if "power_w" in found:
            found["energy_j"] = np.hypot(found["time_s"], found["power_w"])
        return found


def widening(
    deviations: Mapping[str, Array], calibration: Mapping[str, Array], residuals: Mapping[str, Array]
) -> dict[str, Array]:
    """Return metric -> widening factor of each network, [m].

    Args:
        deviations: metric -> D of the networks, [m].
        calibration: metric -> D of the calibration networks, [n_calibration].
        residuals: metric -> ln(measured / predicted) of those, [n_calibration].
    """
    factors = {}
    for metric, own in deviations.items():
        if len(residuals.get(metric, ())) and np.any(own > 0):
            vouched = float(np.quantile(calibration[metric], _VOUCHED))
            scale = max(float(np.std(residuals[metric])), _LEAST_DEVIATION)
            factors[metric] = np.sqrt(1 + np.maximum(own**2 - vouched**2, 0.0) / scale**2)
    return factors


def _deviation(values: Array, otherwise: float) -> float:
    """Return the standard deviation of a kind's values; `otherwise` for too few values."""
    known = values[np.isfinite(values)]
    return float(np.std(known)) if len(known) >= MIN_ROWS else otherwise
