"""Interface of layer models.

A layer model is fitted to measured rows and predicts rows; both are complete
(`hwopt.profile.derived_columns`). A metric that no measured row has is absent from its predictions.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array
from hwopt.profile.roofline import RECURRENT_KINDS, Ceilings

if TYPE_CHECKING:
    import pandas as pd

_MATRIX_KINDS = ("conv", "linear", "matmul", "attention", *RECURRENT_KINDS)
MIN_ROWS = 8  # a kind with fewer measured rows is predicted by the calibrated roofline


@dataclass(frozen=True, slots=True)
class LayerPrediction:
    """Predictions of n layers.

    Attributes:
        values: metric -> shape [n], in SI units; `time_s` always, `power_w` if rows had power.
        is_fallback: mask of the layers whose kind had too few measured rows, shape [n].
    """

    values: dict[str, Array]
    is_fallback: NDArray[np.bool_]


class LayerModel(Protocol):
    """Model of the time and power of single layers on one device."""

    notes: list[str]  # caveats about the predictions, such as kinds with a fallback

    def fit(self, rows: "pd.DataFrame", ceilings: Ceilings) -> "LayerModel":
        """Fit to measured rows, [n], with `time_s` and optionally `power_w`; return self."""
        ...

    def predict(self, rows: "pd.DataFrame") -> LayerPrediction:
        """Predict rows, [n]; every time is positive."""
        ...


def is_matrix_kind(kinds: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Return a mask of convolutions, matrix products, attention and recurrent layers, [n]."""
    return np.asarray(np.any([np.char.startswith(kinds, kind) for kind in _MATRIX_KINDS], axis=0))
