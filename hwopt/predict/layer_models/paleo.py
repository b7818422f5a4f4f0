"""Paleo (Qi et al. 2017): analytic model with one calibrated parameter, the platform percent of peak."""

from typing import TYPE_CHECKING

import numpy as np

from hwopt.arrays import Array
from hwopt.errors import InvalidInput
from hwopt.predict.layer_models.interface import LayerPrediction
from hwopt.profile.roofline import Ceilings, flops_and_bytes

if TYPE_CHECKING:
    import pandas as pd


class Paleo:
    """Analytic time, t = (FLOPs / peak + bytes / bandwidth) / PPP: summed, without overlap.

    A pooling layer has 2 * kh * kw operations per output element, as published; other operators without
    matrix products have two FLOPs per element-wise operation. PPP, one value for the device, is the median
    over the measured rows. Power is the mean measured power, or absent.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.percent_of_peak = 1.0
        self._power_w: float | None = None
        self._ceilings: Ceilings | None = None

    def fit(self, rows: "pd.DataFrame", ceilings: Ceilings) -> "Paleo":
        """Calibrate PPP on measured rows, [n]."""
        if not len(rows):
            raise InvalidInput("no measured layer rows to calibrate on; measure the device first")
        self._ceilings = ceilings
        ideal_s = self._ideal_s(rows)
        self.percent_of_peak = float(np.median(ideal_s / rows["time_s"].to_numpy(dtype=float)))
        power = rows["power_w"].dropna() if "power_w" in rows.columns else rows["time_s"].iloc[:0]
        self._power_w = float(power.mean()) if len(power) else None
        return self

    def predict(self, rows: "pd.DataFrame") -> LayerPrediction:
        """Predict rows, [n]."""
        values = {"time_s": np.maximum(self._ideal_s(rows) / self.percent_of_peak, 1e-9)}
        if self._power_w is not None:
            values["power_w"] = np.full(len(rows), self._power_w)
        return LayerPrediction(values, np.zeros(len(rows), dtype=bool))

    def _ideal_s(self, rows: "pd.DataFrame") -> Array:
        assert self._ceilings is not None, "fit first"
        flops, moved = flops_and_bytes(rows)
        flops = flops + 2 * rows["elementwise_ops"].to_numpy(dtype=float)
        return np.asarray(flops / self._ceilings.flops_per_s + moved / self._ceilings.bytes_per_s)
