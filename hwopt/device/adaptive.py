"""Which operators to measure next: those on whose time an ensemble disagrees most, no two for one reason.

    measured rows --> trees, each on rows drawn anew --> predictions of the candidates, [n, n_trees]
                                                              |
    pick the candidate with the largest variance <------------+
    and take out what it explains of all others: near ones then have little left

The trees predict the logarithm of time over roofline, so a disagreement is a relative one. Trees alone agree
where there are no rows at all, each repeating the nearest: so each learns what is to be added to a random
linear function of its own, which then shows where no row corrects it (Osband et al. 2018). Taking out what
a pick explains is conditioning a Gaussian process whose covariance is that of the trees' predictions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwopt.device.ceilings import Ceilings, estimate_ceilings
from hwopt.device.rows import LAYER_KEY
from hwopt.device.sampling import Operator
from hwopt.errors import InvalidInput

Array = NDArray[np.float64]

_LEAST_ROWS = 20  # measured, from which an ensemble can be learned
_N_TREES = 200
_BELIEF = 0.5  # size of what a tree believes where it has seen nothing, in deviations of the residuals
_NOISE = 0.03  # of a measured time, relative: what a pick leaves of its own variance
_SIZES = (
    *("batch", "in_channels", "in_h", "in_w", "out_channels", "out_h", "out_w", "kernel_h", "stride_h"),
    *("dilation_h", "groups", "flops", "elementwise_ops", "input_bytes", "weight_bytes", "output_bytes"),
)


def adaptive_picks(
    candidates: Sequence[Operator],
    measured_rows: Sequence[Mapping[str, Any]],
    n: int,
    rng: np.random.Generator,
) -> list[Operator]:
    """Choose the operators whose times tell most, given what was measured.

    Args:
        candidates: operators to choose from; those that were measured are left out.
        measured_rows: layer rows with `time_s`, shapes and work; rows without a time are skipped.
        n: how many to choose; fewer come back where there are not that many candidates.
        rng: source of all randomness.

    Returns:
        The picks, the most telling first, with source `adaptive`. With fewer than 20 measured rows there is
        no ensemble, and they are chosen at random.

    Raises:
        InvalidInput: for n below zero.
    """
    if n < 0:
        raise InvalidInput(f"n = {n} picks; it must be a whole number, at least 0")
    known = {_key(row) for row in measured_rows}
    waiting = [operator for operator in candidates if operator.key not in known]
    timed = [row for row in measured_rows if _is_timed(row)]
    n = min(n, len(waiting))
    if n == 0 or len(timed) < _LEAST_ROWS:
        chosen: Sequence[int] = list(rng.permutation(len(waiting))[:n])
    else:
        chosen = most_telling(_predictions(timed, waiting, max(_N_TREES, 2 * n), rng), n)
    return [replace(waiting[i], source="adaptive") for i in chosen]


def most_telling(predictions: Array, n: int, noise: float = _NOISE) -> list[int]:
    """Return n positions in turn of largest variance, each given the ones before.

    Args:
        predictions: of each candidate by each member of an ensemble, shape [n_candidates, n_members].
        n: how many, at most n_candidates.
        noise: standard deviation of a measurement, in the predictions' unit.
    """
    left = (predictions - predictions.mean(axis=1, keepdims=True)) / np.sqrt(predictions.shape[1])
    is_free, chosen = np.ones(len(left), dtype=bool), []
    for _ in range(n):
        variance = np.where(is_free, np.sum(left**2, axis=1), -1.0)
        best = int(np.argmax(variance))
        chosen.append(best)
        is_free[best] = False
        direction = left[best]
        explained = left @ direction / (variance[best] + noise**2)  # [n_candidates]
        left = left - explained[:, None] * direction
    return chosen


def _predictions(
    rows: Sequence[Mapping[str, Any]], operators: Sequence[Operator], n_trees: int, rng: np.random.Generator
) -> Array:
    """Return what each tree says of ln(time / roofline) of each operator, [n, n_trees]."""
    import pandas as pd
    from sklearn.tree import ExtraTreeRegressor

    measured = pd.DataFrame([dict(row) for row in rows])
    waiting = pd.DataFrame([operator.layer.row() for operator in operators])
    ceilings, kinds = estimate_ceilings(measured), sorted(set(measured["kind"]) | set(waiting["kind"]))
    residual = np.log(measured["time_s"].to_numpy(dtype=float) / _bound_s(measured, ceilings))
    X, X_new = (_features(table, kinds, ceilings) for table in (measured, waiting))
    scale = _belief_scale(X, len(kinds)) * residual.std()
    predictions = np.empty((len(X_new), n_trees))
    for i in range(n_trees):
        belief = rng.standard_normal(X.shape[1]) * scale
        drawn = rng.integers(len(X), size=len(X))
        tree = ExtraTreeRegressor(min_samples_leaf=2, max_features=0.5, random_state=int(rng.integers(2**31)))
        tree.fit(X[drawn], residual[drawn] - X[drawn] @ belief)
        predictions[:, i] = tree.predict(X_new) + X_new @ belief
    return predictions


def _belief_scale(X: Array, n_kinds: int) -> Array:
    """Return the deviations of a belief's slopes, [d]: sizes share one, a kind without rows has one whole."""
    n_sizes = X.shape[1] - n_kinds
    deviation = X[:, :n_sizes].std(axis=0)
    slopes = np.where(deviation > 0, _BELIEF / np.maximum(deviation, 1e-9) / np.sqrt(n_sizes), 0.0)
    return np.concatenate([slopes, ~X[:, n_sizes:].any(axis=0)])


def _features(rows: Any, kinds: Sequence[str], ceilings: Ceilings) -> Array:
    """Return logarithms of sizes and work, the intensity, how far above the floor, and the kind, [n, d]."""
    logs = [np.log2(np.maximum(rows[name].to_numpy(dtype=float), 1.0)) for name in _SIZES]
    flops, moved = rows["flops"].to_numpy(dtype=float), _moved(rows)
    above = np.log2(_bound_s(rows, ceilings) / ceilings.launch_s)
    is_kind = [rows["kind"].to_numpy() == kind for kind in kinds]
    return np.stack([*logs, np.log2((flops + 1) / moved), above, *is_kind], axis=1).astype(float)


def _bound_s(rows: Any, ceilings: Ceilings) -> Array:
    """Return the roofline and the launch floor on top, [n], in seconds."""
    flops = rows["flops"].to_numpy(dtype=float)
    bound = np.maximum(flops / ceilings.flops_per_s, _moved(rows) / ceilings.bytes_per_s)
    return np.asarray(bound + ceilings.launch_s, dtype=float)


def _moved(rows: Any) -> Array:
    moved = rows[["input_bytes", "weight_bytes", "output_bytes"]].to_numpy(dtype=float).sum(axis=1)
    return np.asarray(np.maximum(moved, 1.0), dtype=float)


def _is_timed(row: Mapping[str, Any]) -> bool:
    time_s = row.get("time_s")
    return time_s is not None and time_s == time_s and time_s > 0


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the row's key as an operator has it: whole numbers, though a table may hold them as floats."""
    values = (row[column] for column in LAYER_KEY)
    return tuple(value if isinstance(value, str) else int(value) for value in values)
