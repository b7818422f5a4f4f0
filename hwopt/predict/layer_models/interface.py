"""Interface of layer models.

A layer model is fitted on measured rows and predicts rows; both are complete
(`hwopt.profile.derived_columns`). A metric that no measured row has is absent from its predictions: not zero,
and not guessed.
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
        values: metric -> shape [n], in SI units; `time_s` always, `power_w` where rows had power.
        is_fallback: layers whose kind had too few measured rows, shape [n].
    """

    values: dict[str, Array]
    is_fallback: NDArray[np.bool_]


class LayerModel(Protocol):
    """Predicts the cost of layers of one device."""

    notes: list[str]  # what a reader of the predictions must know, such as kinds that fell back

    def fit(self, rows: "pd.DataFrame", ceilings: Ceilings) -> "LayerModel":
        """Fit on measured rows, [n], with `time_s` and perhaps `power_w`; return self."""
        ...

    def predict(self, rows: "pd.DataFrame") -> LayerPrediction:
        """Predict rows, [n]; every time is positive."""
        ...


def is_matrix_kind(kinds: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Return which kinds are convolutions, matrix products, attention or recurrent layers, [n]."""
    return np.asarray(np.any([np.char.startswith(kinds, kind) for kind in _MATRIX_KINDS], axis=0))
