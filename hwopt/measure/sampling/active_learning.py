"""Active learning: measure next the operators that reduce the variance of networks' times most.

    measured rows --> an ensemble of predictors --> predictions of the candidates, L: [n, n_members]
    networks      --> shares of their time ------------------------------------> S: [m, n]

    variance of the networks   sum over k of var(sum over i of S_ki (L_i + own_i))
    select the candidate whose measurement reduces it most; condition all others on that; repeat

Predictions are of the logarithm of time over roofline, so a share times a deviation is a relative error of a
network. An operator that dominates many networks comes first, unless similar ones are measured; own_i is the
part of its time that no other operator predicts. Members of the ensemble are trees, each on a bootstrap
sample. Trees alone agree far from all rows, since each repeats the nearest one. So each member is a random
linear prior function plus a tree fitted to the residuals: far from all rows the prior functions are not
corrected, and members disagree (Osband et al. 2018). Without rows there are only the prior functions.
Conditioning is that of a Gaussian process with the covariance of the predictions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array
from hwopt.errors import InvalidInput
from hwopt.measure.sampling.operators import key_of_row
from hwopt.network.layer import Layer
from hwopt.profile.roofline import Ceilings, least_time_s, operand_bytes

_LEAST_ROWS = 20  # measured rows that an ensemble is fitted to
_N_MEMBERS = 100
_PRIOR = 0.5  # standard deviation of the prior functions, in standard deviations of the residuals
_PRIOR_DEVIATION = 0.8  # of the residuals, before there are any
_OWN = 0.3  # standard deviation of an operator given all others
_NOISE = 0.03  # relative, of a measured time
_ALIGNED = 4  # channels: kernels differ if both counts are multiples of it
_SIZES = (
    *("batch", "in_channels", "in_h", "in_w", "out_channels", "out_h", "out_w", "kernel_h", "stride_h"),
    *("dilation_h", "groups", "flops", "elementwise_ops", "input_bytes", "weight_bytes", "output_bytes"),
)


def select_informative(
    candidates: Sequence[Layer],
    measured_rows: Sequence[Mapping[str, Any]],
    n: int,
    rng: np.random.Generator,
    ceilings: Ceilings,
    shares: Array | None = None,
    pending: Sequence[Layer] = (),
) -> list[int]:
    """Select the operators whose measurement reduces the variance of networks' times most.

    Args:
        candidates: operators to select from, [n_candidates]; measured ones are left out.
        measured_rows: layer rows with `time_s`, shapes and work; rows without a time are ignored.
        n: how many to select; fewer are returned if there are not that many candidates.
        rng: source of all randomness.
        ceilings: roofline of the device.
        shares: of each network's time, shape [m, n_candidates]; None takes each candidate as a network.
        pending: operators that were selected before and have no row yet.

    Returns:
        Positions of the selected candidates, the most informative first.

    Raises:
        InvalidInput: if n is negative.
    """
    if n < 0:
        raise InvalidInput(f"n = {n} operators; it must be a whole number, at least 0")
    given: list[Mapping[str, Any]] = [layer.row() for layer in pending]
    known = {key_of_row(row) for row in (*measured_rows, *given)}
    waiting = [i for i, layer in enumerate(candidates) if key_of_row(layer.row()) not in known]
    if n == 0 or not waiting:
        return []
    timed: list[Mapping[str, Any]] = [row for row in measured_rows if (row.get("time_s") or 0) > 0]
    if len(timed) < _LEAST_ROWS:  # too few to fit: treated as pending, without their times
        timed, given = [], [*timed, *given]
    rows: list[Mapping[str, Any]] = [*given, *(candidates[i].row() for i in waiting)]
    predictions = _predictions(timed, rows, max(_N_MEMBERS, 2 * n), rng, ceilings)
    weights = np.eye(len(candidates)) if shares is None else shares
    weights = np.hstack([np.zeros((len(weights), len(given))), weights[:, waiting]])
    picks = greedy_selection(predictions, min(n, len(waiting)), weights, _NOISE, _OWN, len(given))
    return [waiting[i - len(given)] for i in picks]


def greedy_selection(
    predictions: Array,
    n: int,
    shares: Array | None = None,
    noise: float = _NOISE,
    own: float = 0.0,
    n_given: int = 0,
) -> list[int]:
    """Return n positions in turn, each of which reduces the networks' variance most given those before.

    Args:
        predictions: of each candidate by each member of an ensemble, shape [n_candidates, n_members].
        n: how many, at most n_candidates.
        shares: weight of each candidate in each network, shape [m, n_candidates]; None is the identity.
        noise: standard deviation of a measurement, in the predictions' unit.
        own: standard deviation of a candidate given all others.
        n_given: number of leading candidates that are selected already.
    """
    left = (predictions - predictions.mean(axis=1, keepdims=True)) / np.sqrt(predictions.shape[1])
    weights = np.eye(len(left)) if shares is None else shares
    of_networks = weights @ left  # [m, n_members]
    covariance = of_networks @ left.T + own**2 * weights  # of network and candidate, [m, n_candidates]
    variance = np.sum(left**2, axis=1) + own**2 + noise**2  # of a measurement, [n_candidates]
    is_free, chosen = np.arange(len(left)) >= n_given, list[int]()
    for step in range(n_given + n):
        reduction = np.sum(covariance**2, axis=0) / variance  # of the networks' variance, [n_candidates]
        best = step if step < n_given else int(np.argmax(np.where(is_free, reduction, -1.0)))
        chosen.append(best)
        is_free[best] = False
        size = float(np.sum(left[best] ** 2))
        if size > 0:
            explained = _condition(left, of_networks, left[best] / np.sqrt(size), size / variance[best])
            covariance -= explained[0]
            variance = variance - explained[1]
    return chosen[n_given:]


def _condition(left: Array, of_networks: Array, direction: Array, share: float) -> tuple[Array, Array]:
    """Remove a share of the variance along a direction of the members, [n_members], in place.

    Returns:
        Reductions of the covariances, [m, n_candidates], and of the variances, [n_candidates].
    """
    along, network_along = left @ direction, of_networks @ direction  # [n_candidates], [m]
    factor = 1 - np.sqrt(max(0.0, 1 - share))
    left -= factor * along[:, None] * direction
    of_networks -= factor * network_along[:, None] * direction
    return share * np.outer(network_along, along), share * along**2


def _predictions(
    rows: Sequence[Mapping[str, Any]],
    candidates: Sequence[Mapping[str, Any]],
    n_members: int,
    rng: np.random.Generator,
    ceilings: Ceilings,
) -> Array:
    """Return ln(time / roofline) of each candidate by each member, fitted to the rows, [n, n_members]."""
    import pandas as pd
    from sklearn.tree import ExtraTreeRegressor

    waiting = pd.DataFrame([dict(row) for row in candidates])
    measured = pd.DataFrame([dict(row) for row in rows]) if rows else waiting.iloc[:0]
    kinds = sorted(set(measured["kind"]) | set(waiting["kind"]))
    X, X_new = (_features(table, kinds, ceilings) for table in (measured, waiting))
    if not rows:
        slopes = _prior_slopes(X_new, len(kinds), np.ones(len(kinds), dtype=bool)) * _PRIOR_DEVIATION
        return np.asarray(X_new @ (rng.standard_normal((n_members, len(slopes))) * slopes).T)
    residual = np.log(measured["time_s"].to_numpy(dtype=float) / least_time_s(measured, ceilings))
    has_rows = X[:, -len(kinds) :].any(axis=0)
    slopes = _prior_slopes(X, len(kinds), np.asarray(~has_rows)) * residual.std()
    predictions = np.empty((len(X_new), n_members))
    for i in range(n_members):
        prior = rng.standard_normal(X.shape[1]) * slopes
        drawn = rng.integers(len(X), size=len(X))
        tree = ExtraTreeRegressor(min_samples_leaf=2, max_features=0.5, random_state=int(rng.integers(2**31)))
        tree.fit(X[drawn], residual[drawn] - X[drawn] @ prior)
        predictions[:, i] = tree.predict(X_new) + X_new @ prior
    return predictions


def _prior_slopes(X: Array, n_kinds: int, is_new: NDArray[np.bool_]) -> Array:
    """Return the standard deviations of a prior function's slopes, [d].

    All sizes together have the prior's variance; a kind without rows has a variance of 1 in addition.
    """
    n_sizes = X.shape[1] - n_kinds
    deviation = X[:, :n_sizes].std(axis=0)
    slopes = np.where(deviation > 0, _PRIOR / np.maximum(deviation, 1e-9) / np.sqrt(n_sizes), 0.0)
    return np.concatenate([slopes, is_new])


def _features(rows: Any, kinds: Sequence[str], ceilings: Ceilings) -> Array:
    """Return logarithms of sizes and work, intensity, time over launch latency, alignment, kind, [n, d]."""
    logs = [np.log2(np.maximum(rows[name].to_numpy(dtype=float), 1.0)) for name in _SIZES]
    flops, moved = rows["flops"].to_numpy(dtype=float), np.maximum(operand_bytes(rows), 1.0)
    above = np.log2(least_time_s(rows, ceilings) / ceilings.launch_s)
    is_aligned = (rows["in_channels"] % _ALIGNED == 0) & (rows["out_channels"] % _ALIGNED == 0)
    is_kind = [rows["kind"].to_numpy() == kind for kind in kinds]
    sizes = [*logs, np.log2((flops + 1) / moved), above, is_aligned.to_numpy(dtype=float)]
    return np.stack([*sizes, *is_kind], axis=1).astype(float)
