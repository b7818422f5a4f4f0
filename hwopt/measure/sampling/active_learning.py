"""Active learning: measure next the operators that reduce the variance of networks' times most.

    measured rows --> an ensemble of predictors --> predictions of the candidates, L: [n, n_members]
    networks      --> shares of their time ------------------------------------> S: [m, n]

    doubt of the networks    sum over k of var(sum over i of S_ki (L_i + own_i))
    pick the candidate whose measurement takes most of it; take out what it explains of all others; again

The predictions are of the logarithm of time over roofline, so a share times a deviation is a relative error
of a network. What dominates many networks comes first, unless its like are known; own_i is what no other
kernel tells of this one. An ensemble is of trees, each on rows drawn anew. Trees alone agree where there are
no rows at all, each repeating the nearest: so each learns what is to be added to a random linear function of
its own, which then shows where no row corrects it (Osband et al. 2018). With no rows there are only those
functions. Taking out what a pick explains is conditioning a Gaussian process of the predictions' covariance.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array
from hwopt.errors import InvalidInput
from hwopt.measure.sampling.operators import key_of_row
from hwopt.network.layer import Layer
from hwopt.profile.roofline import Ceilings, bound_s, operand_bytes

_LEAST_ROWS = 20  # measured, from which an ensemble can be learned
_N_MEMBERS = 100
_BELIEF = 0.5  # size of what a member believes where it has seen nothing, in deviations of the residuals
_PRIOR_DEVIATION = 0.8  # of the residuals, before there are any
_OWN = 0.3  # deviation of a kernel from what all others tell of it
_NOISE = 0.03  # of a measured time, relative: what a pick leaves of its own variance
_ALIGNED = 4  # channels: other kernels run where both counts are multiples of it
_SIZES = (
    *("batch", "in_channels", "in_h", "in_w", "out_channels", "out_h", "out_w", "kernel_h", "stride_h"),
    *("dilation_h", "groups", "flops", "elementwise_ops", "input_bytes", "weight_bytes", "output_bytes"),
)


def adaptive_picks(
    candidates: Sequence[Layer],
    measured_rows: Sequence[Mapping[str, Any]],
    n: int,
    rng: np.random.Generator,
    ceilings: Ceilings,
    shares: Array | None = None,
    pending: Sequence[Layer] = (),
) -> list[int]:
    """Choose the operators whose times tell most, given what was measured.

    Args:
        candidates: operators to choose from, [n_candidates]; those that were measured are left out.
        measured_rows: layer rows with `time_s`, shapes and work; rows without a time teach nothing.
        n: how many to choose; fewer come back where there are not that many candidates.
        rng: source of all randomness.
        ceilings: of the device.
        shares: of each network's time, shape [m, n_candidates]; None takes each candidate as a network.
        pending: operators that were chosen before and have no row yet.

    Returns:
        Positions of the picks, the most telling first.

    Raises:
        InvalidInput: for n below zero.
    """
    if n < 0:
        raise InvalidInput(f"n = {n} picks; it must be a whole number, at least 0")
    given: list[Mapping[str, Any]] = [layer.row() for layer in pending]
    known = {key_of_row(row) for row in (*measured_rows, *given)}
    waiting = [i for i, layer in enumerate(candidates) if key_of_row(layer.row()) not in known]
    if n == 0 or not waiting:
        return []
    timed: list[Mapping[str, Any]] = [row for row in measured_rows if _is_timed(row)]
    if len(timed) < _LEAST_ROWS:  # there is nothing to learn from yet but where they are
        timed, given = [], [*timed, *given]
    rows: list[Mapping[str, Any]] = [*given, *(candidates[i].row() for i in waiting)]
    predictions = _predictions(timed, rows, max(_N_MEMBERS, 2 * n), rng, ceilings)
    weights = np.eye(len(candidates)) if shares is None else shares
    weights = np.hstack([np.zeros((len(weights), len(given))), weights[:, waiting]])
    picks = most_telling(predictions, min(n, len(waiting)), weights, _NOISE, _OWN, len(given))
    return [waiting[i - len(given)] for i in picks]


def most_telling(
    predictions: Array,
    n: int,
    shares: Array | None = None,
    noise: float = _NOISE,
    own: float = 0.0,
    n_given: int = 0,
) -> list[int]:
    """Return n positions in turn that take most variance from the networks, each given the ones before.

    Args:
        predictions: of each candidate by each member of an ensemble, shape [n_candidates, n_members].
        n: how many, at most n_candidates.
        shares: weight of each candidate in each network, shape [m, n_candidates]; None is the identity.
        noise: standard deviation of a measurement, in the predictions' unit.
        own: standard deviation of a candidate from all that its prediction shares with others.
        n_given: so many candidates, the first, are chosen already.
    """
    left = (predictions - predictions.mean(axis=1, keepdims=True)) / np.sqrt(predictions.shape[1])
    weights = np.eye(len(left)) if shares is None else shares
    of_networks = weights @ left  # [m, n_members]
    covariance = of_networks @ left.T + own**2 * weights  # of network and candidate, [m, n_candidates]
    variance = np.sum(left**2, axis=1) + own**2 + noise**2  # of a measurement, [n_candidates]
    is_free, chosen = np.arange(len(left)) >= n_given, list[int]()
    for step in range(n_given + n):
        taken = np.sum(covariance**2, axis=0) / variance  # of the networks' variance, [n_candidates]
        best = step if step < n_given else int(np.argmax(np.where(is_free, taken, -1.0)))
        chosen.append(best)
        is_free[best] = False
        size = float(np.sum(left[best] ** 2))
        if size > 0:
            kept = _condition(left, of_networks, left[best] / np.sqrt(size), size / variance[best])
            covariance -= kept[0]
            variance = variance - kept[1]
    return chosen[n_given:]


def _condition(left: Array, of_networks: Array, direction: Array, share: float) -> tuple[Array, Array]:
    """Take a share of the variance along a direction of the members, [n_members], out of all, in place.

    Returns:
        What that takes from the covariances, [m, n_candidates], and from the variances, [n_candidates].
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
        slopes = _belief_scale(X_new, len(kinds), np.ones(len(kinds), dtype=bool)) * _PRIOR_DEVIATION
        return np.asarray(X_new @ (rng.standard_normal((n_members, len(slopes))) * slopes).T)
    residual = np.log(measured["time_s"].to_numpy(dtype=float) / _roofline_s(measured, ceilings))
    has_rows = X[:, -len(kinds) :].any(axis=0)
    slopes = _belief_scale(X, len(kinds), np.asarray(~has_rows)) * residual.std()
    predictions = np.empty((len(X_new), n_members))
    for i in range(n_members):
        belief = rng.standard_normal(X.shape[1]) * slopes
        drawn = rng.integers(len(X), size=len(X))
        tree = ExtraTreeRegressor(min_samples_leaf=2, max_features=0.5, random_state=int(rng.integers(2**31)))
        tree.fit(X[drawn], residual[drawn] - X[drawn] @ belief)
        predictions[:, i] = tree.predict(X_new) + X_new @ belief
    return predictions


def _belief_scale(X: Array, n_kinds: int, is_new: NDArray[np.bool_]) -> Array:
    """Return the deviations of a belief's slopes, [d]: sizes share one, a kind without rows has one whole."""
    n_sizes = X.shape[1] - n_kinds
    deviation = X[:, :n_sizes].std(axis=0)
    slopes = np.where(deviation > 0, _BELIEF / np.maximum(deviation, 1e-9) / np.sqrt(n_sizes), 0.0)
    return np.concatenate([slopes, is_new])


def _features(rows: Any, kinds: Sequence[str], ceilings: Ceilings) -> Array:
    """Return logarithms of sizes and work, intensity, height over the floor, alignment, and kind, [n, d]."""
    logs = [np.log2(np.maximum(rows[name].to_numpy(dtype=float), 1.0)) for name in _SIZES]
    flops, moved = rows["flops"].to_numpy(dtype=float), np.maximum(operand_bytes(rows), 1.0)
    above = np.log2(_roofline_s(rows, ceilings) / ceilings.launch_s)
    is_aligned = (rows["in_channels"] % _ALIGNED == 0) & (rows["out_channels"] % _ALIGNED == 0)
    is_kind = [rows["kind"].to_numpy() == kind for kind in kinds]
    sizes = [*logs, np.log2((flops + 1) / moved), above, is_aligned.to_numpy(dtype=float)]
    return np.stack([*sizes, *is_kind], axis=1).astype(float)


def _roofline_s(rows: Any, ceilings: Ceilings) -> Array:
    """Return the roofline with the launch floor on top, [n], in seconds."""
    return bound_s(rows, ceilings) + ceilings.launch_s


def _is_timed(row: Mapping[str, Any]) -> bool:
    time_s = row.get("time_s")
    return time_s is not None and time_s == time_s and time_s > 0
