"""Non-negative least squares of relative errors."""

import numpy as np

from hwopt.arrays import Array

_RIDGE = 1e-3  # of the root mean square of a column, relative to one network


def relative_least_squares(X: Array, y: Array, ridge: float = _RIDGE) -> Array:
    """Return w >= 0, [1 + d], that minimises sum ((w0 + X w) / y - 1)^2 plus a small ridge; X is [m, d]."""
    from scipy.optimize import nnls

    A = np.hstack([np.ones((len(y), 1)), X]) / y[:, None]
    scale = np.sqrt(np.mean(A**2, axis=0))
    used = scale > 0
    slight = np.sqrt(len(y)) * ridge * np.eye(int(used.sum()))
    found, _ = nnls(
        np.vstack([A[:, used] / scale[used], slight]), np.concatenate([np.ones(len(y)), 0 * slight[0]])
    )
    weights = np.zeros(A.shape[1])
    weights[used] = found / scale[used]
    return weights
