"""Error metrics of predictions, for layers, networks and cross-validation."""

import numpy as np
from numpy.typing import ArrayLike

from hwopt.arrays import Array

FIGURES = (
    "n", "rmspe", "mape", "median_ape", "within_5pct", "within_10pct", "kendall_tau", "bias",
)  # fmt: skip


def error_figures(measured: ArrayLike, predicted: ArrayLike) -> dict[str, float]:
    """Return the error metrics of n predictions; errors are fractions of the measured value.

    rmspe = sqrt(mean(((p - y) / y)^2)); mape = mean |p - y| / y; bias = exp(mean ln(p / y)) - 1; Kendall's
    tau is tau-b of the two orders. All except n are NaN without rows, tau also with one row.
    """
    y, p = np.asarray(measured, dtype=float), np.asarray(predicted, dtype=float)
    if not len(y):
        return {name: 0.0 if name == "n" else float("nan") for name in FIGURES}
    error = (p - y) / y
    size = np.abs(error)
    return {
        "n": len(y),
        "rmspe": float(np.sqrt(np.mean(error**2))),
        "mape": float(size.mean()),
        "median_ape": float(np.median(size)),
        "within_5pct": float((size <= 0.05).mean()),
        "within_10pct": float((size <= 0.10).mean()),
        "kendall_tau": kendall_tau(y, p),
        "bias": float(np.expm1(np.mean(np.log(p / y)))),
    }


def kendall_tau(x: Array, y: Array) -> float:
    """Return Kendall's tau-b of two arrays [n]; NaN if one of them does not vary."""
    from scipy.stats import kendalltau

    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(kendalltau(x, y).statistic)
