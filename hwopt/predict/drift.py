"""A delay that grows while a table is measured: seen in the rows, and taken out.

    t_i = f(shape_i) + rate * position_i

A process that slows down adds the same delay to small and to large layers. Where rows were measured in random
order, it shows in pairs of nearly equal layers: scaled by their rooflines they would take the same time, and
what is left goes with the distance between their positions. The rate is its least absolute deviation in
relation to the time, so that no layer model is needed to find it, and no layer counts more for being large.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwopt.device.ceilings import Ceilings
from hwopt.errors import InvalidInput
from hwopt.network.layer import SHAPE_COLUMNS
from hwopt.predict.models import bound_s

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

MIN_ROWS = 20
_N_NEIGHBOURS = 6
_N_STEPS = 30
_ROUNDING = 0.02  # relative deviations below count alike
_LEAST = 0.3  # of a measured time stays when the drift is taken out


def drift_rate(rows: "pd.DataFrame", position: Array, ceilings: Ceilings) -> float:
    """Return the delay that a step of position adds, in seconds; negative where a process became faster.

    Args:
        rows: complete layer rows of one device, with `time_s`, [n].
        position: when each was measured, such as its row in the table, shape [n]; in any unit.
        ceilings: of the device.

    Raises:
        InvalidInput: for fewer rows than 20, or positions that are all the same.
    """
    if len(rows) < MIN_ROWS or np.ptp(position) == 0:
        raise InvalidInput(
            f"{len(rows)} rows at {len(np.unique(position))} positions; "
            f"drift needs {MIN_ROWS} rows, in their order"
        )
    time_s = rows["time_s"].to_numpy(dtype=float)
    base_s = bound_s(rows, ceilings) + ceilings.launch_s
    one, other = _neighbours(rows)
    scale = base_s[one] / base_s[other]
    middle_s = np.sqrt(time_s[one] * time_s[other] * scale)
    slope = (position[one] - position[other] * scale) / middle_s
    difference = (time_s[one] - time_s[other] * scale) / middle_s
    return _least_absolute(slope, difference)


def without_drift(time_s: Array, position: Array, rate: float) -> Array:
    """Return the times, [n], in seconds, less the delay; at least 0.3 of what was measured stays."""
    return np.maximum(time_s - rate * position, _LEAST * time_s)


def _neighbours(rows: "pd.DataFrame") -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the places of pairs of rows of one kind that are nearest in the logarithms of their shapes."""
    from scipy.spatial import cKDTree

    numbers = [name for name in SHAPE_COLUMNS if name not in ("kind", "dtype")]
    logs = np.log2(1 + rows[numbers].to_numpy(dtype=float))
    kinds, pairs = rows["kind"].to_numpy(dtype=str), []
    for kind in np.unique(kinds):
        own = np.flatnonzero(kinds == kind)
        n_nearest = min(_N_NEIGHBOURS, len(own) - 1)
        if n_nearest < 1:
            continue
        nearest = cKDTree(logs[own]).query(logs[own], n_nearest + 1)[1][:, 1:]
        pairs.append(np.stack([np.repeat(own, n_nearest), own[nearest.ravel()]]))
    one, other = np.concatenate([np.empty((2, 0), dtype=np.intp), *pairs], axis=1)
    return one, other


def _least_absolute(slope: Array, difference: Array) -> float:
    """Return r of least sum |difference - r slope|, by reweighted least squares."""
    rate, weight = 0.0, np.ones(len(slope))
    for _ in range(_N_STEPS):
        rate = float((weight * slope) @ difference / max(float((weight * slope) @ slope), 1e-300))
        weight = 1 / np.maximum(np.abs(difference - rate * slope), _ROUNDING)
    return rate
