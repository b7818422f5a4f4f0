"""Axes of figures: units, and limits without outliers at chance level."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hwopt.arrays import Array
from hwopt.report.analysis.study_data import StudyData
from hwopt.units import unit_for

_LOG_FROM = 8.0  # ratio of the largest to the smallest value above which an axis is logarithmic
_FENCE = 1.5  # interquartile ranges above the upper quartile
_MARGIN = 0.05  # at both ends, as a share of the shown range


@dataclass(frozen=True)
class Axis:
    """Axis from `low` to `high` in SI units; shown values are divided by `factor` and have the unit `unit`.

    `n_above` values are larger than `high`.
    """

    low: float
    high: float
    factor: float
    unit: str
    is_log: bool
    n_above: int = 0

    def shown(self, values: ArrayLike) -> Array:
        """Return values in the unit of the axis."""
        return np.asarray(np.asarray(values, dtype=float) / self.factor)

    def at(self, share: float) -> float:
        """Return the value at a share of the axis from its lower end."""
        if self.is_log:
            return float(self.low * (self.high / self.low) ** share)
        return self.low + share * (self.high - self.low)

    @property
    def shown_ends(self) -> tuple[float, float]:
        """Ends in the unit of the axis."""
        return self.low / self.factor, self.high / self.factor


def error_unit(studies: Iterable[StudyData]) -> tuple[float, str]:
    """Return factor and unit of errors: percent, or none for losses (if any is above 1)."""
    errors = (trial.error for study in studies for trial in study.trials if trial.error is not None)
    return (1.0, "") if any(error > 1 for error in errors) else (0.01, "%")


def cost_axis(metric: str, values: ArrayLike) -> Axis:
    """Return the axis of a cost that covers all finite, positive values; logarithmic if possible."""
    numbers = _finite(values)
    if not len(numbers):
        return Axis(0.0, 1.0, 1.0, "", is_log=False)
    factor, unit = unit_for(metric, float(np.max(numbers)))
    low, high, is_log = _ends(float(numbers.min()), float(numbers.max()), is_log=True)
    return Axis(low, high, factor, unit, is_log)


def error_axis(values: ArrayLike, needed: ArrayLike, unit: tuple[float, str]) -> Axis:
    """Return the axis of errors that covers `needed` and `values` without outliers.

    Outliers are more than 1.5 interquartile ranges above the upper quartile (Tukey 1977), such as networks at
    chance level.
    """
    numbers, kept = _finite(values), _finite(needed)
    if not len(numbers):
        return Axis(0.0, 1.0, *unit, is_log=False)
    lower, upper = np.quantile(numbers, [0.25, 0.75])
    fence = max(float(upper + _FENCE * (upper - lower)), float(np.max(kept, initial=-np.inf)))
    shown = np.append(numbers[numbers <= fence], kept)
    low, high = float(shown.min()), float(shown.max())
    low, high, is_log = _ends(low, high, is_log=low > 0 and high > _LOG_FROM * low)
    return Axis(low, high, *unit, is_log, n_above=int(np.sum(numbers > high)))


def _ends(low: float, high: float, is_log: bool) -> tuple[float, float, bool]:
    """Return the ends of an axis around a range, and whether it is logarithmic, as only positive ones are."""
    if is_log and low > 0:
        margin = max(np.log(high / low) * _MARGIN, 0.02)
        return float(low * np.exp(-margin)), float(high * np.exp(margin)), True
    margin = _MARGIN * (high - low) or 0.05 * abs(high) or 0.05
    return (low - margin if low - margin >= 0 or low < 0 else 0.0), high + margin, False


def _finite(values: ArrayLike) -> Array:
    numbers = np.asarray(values, dtype=float).ravel()
    return np.asarray(numbers[np.isfinite(numbers)])
