"""Learned factor of a kernel's time: the residual of the parametric model.

    t = t(theta) * exp(r(shape, kernel)),    r learned from ln(measured / t(theta)) of the rows

theta is first fitted to all rows without networks, and again, with networks, once r is known. One r is for
convolutions and matrix products, where it learns a library's choices for single shapes, and one for all other
operators; kinds with many rows have their own part (`hwopt.predict.layer_models.pooled_residual`). A group
has an r from 100 rows on, if r reduces the error of held-out rows by a tenth; kinds without rows have r = 0.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwopt.arrays import Array
from hwopt.predict.gpu.kernels import Kernels
from hwopt.predict.gpu.parameters import PARAMETERS, PLACE
from hwopt.predict.layer_models.hybrid import row_classes, shape_features, tile_features
from hwopt.predict.layer_models.interface import is_matrix_kind
from hwopt.predict.layer_models.pooled_residual import PooledResidual, View
from hwopt.predict.layer_models.residual import left_out_error
from hwopt.profile.roofline import Ceilings

if TYPE_CHECKING:
    import pandas as pd

MIN_ROWS = 100
_MIN_OWN = 50  # rows of a kind, for its own part
_MOST = 0.9  # largest allowed ratio of the errors of held-out rows with and without r
_SHORTEST_S = 1e-9  # below this a term counts as none
_STEP_S = 1e-8  # of a reduction, about
_RATES = [PLACE[one.name] for one in PARAMETERS if one.name.startswith("u_")]


@dataclass(frozen=True)
class LearnedFactors:
    """Learned factors of kernel times.

    Attributes:
        models: r for matrix products (True) and for other operators (False).
        kinds: kinds with rows.
        ceilings: ceilings of the device, for the features.
    """

    models: dict[bool, PooledResidual]
    kinds: tuple[str, ...]
    ceilings: Ceilings

    @classmethod
    def none(cls, ceilings: Ceilings) -> "LearnedFactors":
        """Return factors of 1."""
        return cls({}, (), ceilings)

    @classmethod
    def fit(
        cls, rows: "pd.DataFrame", kernels: Kernels, above: Array, ceilings: Ceilings
    ) -> "LearnedFactors":
        """Fit on complete layer rows, their kernels, and ln(measured / t(theta)) of each, [n]."""
        kinds, classes, models = rows["kind"].to_numpy(dtype=str), row_classes(rows), {}
        for is_matrix in (True, False):
            own = np.flatnonzero(is_matrix_kind(kinds) == is_matrix)
            if len(own) < MIN_ROWS:
                continue
            X, y = _features(rows.iloc[own], kernels.take(own), ceilings, is_matrix), above[own]
            model = PooledResidual.fit([View.plain(X)], y, classes[own], _MIN_OWN)
            process = model.pooled.process
            error = process.loo_error if process is not None else left_out_error(X, y)
            if error < _MOST * float(np.mean(np.abs(y - np.median(y)))):
                models[is_matrix] = model
        return cls(models, tuple(np.unique(kinds)), ceilings)

    def factor(self, rows: "pd.DataFrame", kernels: Kernels) -> Array:
        """Return exp(r) of each row, [n]; 1 for kinds without r."""
        found = np.ones(len(rows))
        if not self.models:
            return found
        kinds, classes = rows["kind"].to_numpy(dtype=str), row_classes(rows)
        for is_matrix, model in self.models.items():
            own = np.flatnonzero((is_matrix_kind(kinds) == is_matrix) & np.isin(kinds, self.kinds))
            if len(own):
                X = _features(rows.iloc[own], kernels.take(own), self.ceilings, is_matrix)
                found[own] = np.exp(model.predict([View.plain(X)], classes[own]))
        return found


def _features(rows: "pd.DataFrame", kernels: Kernels, ceilings: Ceilings, is_matrix: bool) -> Array:
    """Return the features of r: shapes, tiles of matrix products, and the terms of the kernels' times."""
    seconds = (kernels.work_s, kernels.steps * _STEP_S, kernels.moved_s, kernels.copy_s)
    features = [np.log2(np.maximum(term, _SHORTEST_S)) for term in seconds]
    features += [kernels.is_copied, kernels.has_extra, np.log2(kernels.fill)]
    features += [kernels.rate == place for place in _RATES] if is_matrix else []
    shapes = [shape_features(rows, ceilings), *([tile_features(rows)] if is_matrix else [])]
    return np.hstack([*shapes, np.stack([np.asarray(one, dtype=float) for one in features], axis=1)])
