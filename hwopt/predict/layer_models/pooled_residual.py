"""Residual of a group of classes: one model of all rows of the group, and one per class.

    r(x) = (1 - w) * pooled(x) + w * own(x),    w = s * n / (n + n0),   n rows of the class

The weight w grows smoothly with the rows of a class; a class without rows is predicted by the pooled model
alone. Of several views (features and base times, such as those of one library's kernels) the one with the
least error on rows left out is used.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array
from hwopt.predict.layer_models.residual import Residual, left_out_error

MIN_OWN = 6  # rows that a class's own model needs
_HALF = 10.0  # rows at which a class's own model has half of its largest weight
_SHARE = 0.7  # largest weight of a class's own model


@dataclass(frozen=True, slots=True)
class View:
    """One set of features and base times of n rows.

    Attributes:
        X: features, shape [n, d].
        offset: ln of the base time in this view over the common base time, shape [n].
    """

    X: Array
    offset: Array

    @classmethod
    def plain(cls, X: Array) -> "View":
        """Return the view with the common base time."""
        return cls(X, np.zeros(len(X)))


@dataclass(frozen=True, slots=True)
class PooledResidual:
    """A fitted residual of a group.

    Attributes:
        view: index of the view that is used.
        classes: classes with rows, in the order of their indicator features.
        pooled: model of all rows, with an indicator of each class.
        own: class -> weight and model of the class.
    """

    view: int
    classes: tuple[str, ...]
    pooled: Residual
    own: dict[str, tuple[float, Residual]]

    @classmethod
    def fit(
        cls, views: Sequence[View], y: Array, classes: NDArray[np.str_], min_own: int = MIN_OWN
    ) -> "PooledResidual":
        """Fit y [n], ln of the measured time over the common base time, of rows of the given classes, [n].

        A class of fewer than `min_own` rows has no model of its own.
        """
        names = tuple(str(name) for name in np.unique(classes))
        wide = [_with_indicators(view.X, classes, names) for view in views]
        targets = [y - view.offset for view in views]
        chosen = 0
        if len(views) > 1:
            errors = [left_out_error(X, target) for X, target in zip(wide, targets, strict=True)]
            chosen = int(np.argmin(errors))
        X, target = views[chosen].X, targets[chosen]
        pooled = Residual.fit(wide[chosen], target)
        own: dict[str, tuple[float, Residual]] = {}
        for name in names if len(names) > 1 else ():
            rows = classes == name
            n = int(rows.sum())
            if n >= min_own:
                own[name] = (_SHARE * n / (n + _HALF), Residual.fit(X[rows], target[rows]))
        return cls(chosen, names, pooled, own)

    def predict(self, views: Sequence[View], classes: NDArray[np.str_]) -> Array:
        """Return predictions of rows, [n], in the same views; unknown classes are accepted."""
        view = views[self.view]
        found = self.pooled.predict(_with_indicators(view.X, classes, self.classes))
        for name, (weight, own) in self.own.items():
            rows = classes == name
            if rows.any():
                found[rows] += weight * (own.predict(view.X[rows]) - found[rows])
        return np.asarray(found + view.offset, dtype=float)


def _with_indicators(X: Array, classes: NDArray[np.str_], names: Sequence[str]) -> Array:
    if len(names) < 2:
        return X
    return np.hstack([X, classes[:, None] == np.array(names)])
