"""NeuralPower (Cai et al. 2017): sparse polynomial regression, one model of time and one of power per kind.

Lasso with the penalty of least squared error in 10-fold cross-validation; standardised, unpenalised
intercept. Extension: if the same base features in log space have a lower relative error out of fold than the
raw polynomials, they are used, as is needed for rows that span orders of magnitude. Time is at least the
launch floor of the device.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwopt.arrays import Array
from hwopt.errors import InvalidInput
from hwopt.predict.layer_models.interface import MIN_ROWS, LayerPrediction
from hwopt.predict.layer_models.lasso import SparsePolynomial, fit_lasso, out_of_fold
from hwopt.predict.layer_models.neuralpower_features import (
    family,
    log_features,
    power_features,
    time_features,
)
from hwopt.profile.roofline import Ceilings, Roofline

if TYPE_CHECKING:
    import pandas as pd

_BEYOND = 4.0  # largest prediction over the largest training time


@dataclass(frozen=True, slots=True)
class _TimeModel:
    """Time of one kind, in raw or in log space."""

    polynomial: SparsePolynomial
    family: str
    is_log: bool
    low_s: float
    high_s: float

    def time_s(self, rows: "pd.DataFrame") -> Array:
        if self.is_log:
            time_s = np.exp(np.clip(self.polynomial.predict(log_features(rows, self.family)), -40.0, 40.0))
        else:
            time_s = self.polynomial.predict(time_features(rows, self.family))
        return np.clip(time_s, self.low_s, self.high_s)


@dataclass(frozen=True, slots=True)
class _PowerModel:
    """Power of one kind, clipped to the range of the training rows."""

    polynomial: SparsePolynomial
    family: str
    low_w: float
    high_w: float

    def power_w(self, rows: "pd.DataFrame") -> Array:
        return np.clip(self.polynomial.predict(power_features(rows, self.family)), self.low_w, self.high_w)


class NeuralPower:
    """NeuralPower as published; kinds with fewer than 8 rows fall back to the calibrated roofline."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._times: dict[str, _TimeModel] = {}
        self._powers: dict[str, _PowerModel] = {}
        self._mean_power_w: float | None = None
        self._roofline: Roofline | None = None

    def fit(self, rows: "pd.DataFrame", ceilings: Ceilings) -> "NeuralPower":
        """Fit on measured rows, [n]."""
        if not len(rows):
            raise InvalidInput("no measured layer rows to fit on; measure the device first")
        self._roofline = Roofline(ceilings).fit(rows)
        has_power = rows["power_w"].notna() if "power_w" in rows.columns else rows["time_s"].isna()
        if has_power.any():
            self._mean_power_w = float(rows.loc[has_power, "power_w"].mean())
        for kind, of_kind in rows.groupby("kind", sort=True):
            if len(of_kind) < MIN_ROWS:
                self.notes.append(f"{kind}: {len(of_kind)} measured rows, fewer than {MIN_ROWS}: roofline")
                continue
            self._times[str(kind)] = _fit_time(of_kind, family(str(kind)), ceilings)
            powered = of_kind[has_power.loc[of_kind.index]]
            if len(powered) >= MIN_ROWS:
                self._powers[str(kind)] = _fit_power(powered, family(str(kind)))
        return self

    def predict(self, rows: "pd.DataFrame") -> LayerPrediction:
        """Predict rows, [n]."""
        assert self._roofline is not None, "fit first"
        time_s = self._roofline.time_s(rows)
        is_fallback = np.ones(len(rows), dtype=bool)
        power_w = np.full(len(rows), self._mean_power_w or np.nan)
        kinds = rows["kind"].to_numpy(dtype=str)
        for kind in np.unique(kinds):
            chosen = np.flatnonzero(kinds == kind)
            if kind in self._times:
                time_s[chosen] = self._times[kind].time_s(rows.iloc[chosen])
                is_fallback[chosen] = False
            if kind in self._powers:
                power_w[chosen] = self._powers[kind].power_w(rows.iloc[chosen])
        values = {"time_s": time_s}
        if self._mean_power_w is not None:
            values["power_w"] = power_w
        return LayerPrediction(values, is_fallback)


def _fit_time(rows: "pd.DataFrame", family: str, ceilings: Ceilings) -> _TimeModel:
    """Fit in raw and in log space, and return the model with the smaller relative error out of fold."""
    time_s = rows["time_s"].to_numpy(dtype=float)
    floor_s = min(ceilings.launch_s, float(time_s.min()))
    spaces = []
    for is_log in (False, True):
        X = log_features(rows, family) if is_log else time_features(rows, family)
        target = np.log(time_s) if is_log else time_s
        polynomial = fit_lasso(X, target)
        unseen = out_of_fold(X, target, polynomial.penalty)
        unseen_s = np.exp(np.clip(unseen, -40.0, 40.0)) if is_log else np.maximum(unseen, floor_s)
        error = float(np.mean(np.abs(unseen_s / time_s - 1)))
        model = _TimeModel(polynomial, family, is_log, floor_s, _BEYOND * float(time_s.max()))
        spaces.append((error, model))
    return min(spaces, key=lambda space: space[0])[1]


def _fit_power(rows: "pd.DataFrame", family: str) -> _PowerModel:
    power_w = rows["power_w"].to_numpy(dtype=float)
    polynomial = fit_lasso(power_features(rows, family), power_w)
    return _PowerModel(polynomial, family, float(power_w.min()), float(power_w.max()))
