"""Factor of a kernel's time that many rows of a class teach beyond the parameters.

    t = t(theta) * exp(r(shape)),    r learned from ln(measured / t(theta)) of the class's rows

theta is that of all rows without networks; it is fitted again, with networks, once r is known. A class has an
r from 100 rows on, if r reduces the error of rows left out by a tenth.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwopt.arrays import Array
from hwopt.predict.layer_models.hybrid import row_classes, shape_features
from hwopt.predict.layer_models.residual import Residual, left_out_error
from hwopt.profile.roofline import Ceilings

if TYPE_CHECKING:
    import pandas as pd

MIN_ROWS = 100
_MOST = 0.9  # of the error of rows left out without r, that must be left with it


@dataclass(frozen=True)
class ClassResiduals:
    """Learned factors.

    Attributes:
        models: class of layers -> its r.
        ceilings: of the device, for the features.
    """

    models: dict[str, Residual]
    ceilings: Ceilings

    @classmethod
    def fit(cls, rows: "pd.DataFrame", above: Array, ceilings: Ceilings) -> "ClassResiduals":
        """Fit on complete layer rows and ln(measured / t(theta)) of each, [n]."""
        classes, models = row_classes(rows), {}
        for name, n in zip(*np.unique(classes, return_counts=True), strict=True):
            if n < MIN_ROWS:
                continue
            own = classes == name
            X, y = shape_features(rows[own], ceilings), above[own]
            if left_out_error(X, y) < _MOST * float(np.mean(np.abs(y - np.median(y)))):
                models[str(name)] = Residual.fit(X, y)
        return cls(models, ceilings)

    def factor(self, rows: "pd.DataFrame") -> Array:
        """Return exp(r) of each row, [n]; 1 for classes without r."""
        found = np.ones(len(rows))
        if not self.models:
            return found
        classes = row_classes(rows)
        for name, model in self.models.items():
            own = classes == name
            if own.any():
                found[own] = np.exp(model.predict(shape_features(rows[own], self.ceilings)))
        return found
