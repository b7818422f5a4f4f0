"""Figures of a comparison and how sure they are: percentile bootstrap over seeds (Efron and Tibshirani 1993).

Seeds are drawn with replacement, the same ones for both contenders of a pair, since a seed's start points are
shared. The resampling is seeded: the same runs give the same intervals. A run that ended early keeps the
hypervolume that it had.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hwopt.arrays import Array
from hwopt.compare.curves import Curves, volumes_at

N_RESAMPLES = 2000
_SEED = 0
_CONFIDENCE = 0.95
_SLACK = 1e-12  # hypervolumes that differ by rounding are the same


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval; infinite if the target is not reached."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class TrainingsToTarget:
    """Trainings and seconds of a contender to the median hypervolume of a peer after k trainings.

    The trainings and seconds after which the contender's median over the seeds is there; infinite if it
    never is. `difference` is the median over seeds of the hypervolumes after k trainings, contender less
    peer; None if the contender has no k trainings.
    """

    label: str
    peer: str
    k: int
    n_seeds: int  # that both have
    target: float
    trainings: Estimate
    training_s: float
    peer_training_s: float
    wall_s: float
    peer_wall_s: float
    difference: Estimate | None


def bootstrap(statistic: Callable[[Array], Array], sample: Array) -> Estimate:
    """Return a statistic with its interval over resampled rows.

    Args:
        statistic: of b samples at once, [b, n, ...] to [b].
        sample: one row for each seed, [n, ...].
    """
    rng = np.random.default_rng(_SEED)
    picks = rng.integers(len(sample), size=(N_RESAMPLES, len(sample)))
    tail = (1 - _CONFIDENCE) / 2
    resampled = statistic(sample[picks])
    low, high = np.quantile(resampled, [tail, 1 - tail], method="inverted_cdf")  # it may hold infinities
    return Estimate(float(statistic(sample[None])[0]), float(low), float(high))


def median(values: Array) -> Estimate:
    """Return the median of values [n], n >= 1, one for each seed."""
    return bootstrap(lambda batch: np.median(batch, axis=1), values)


def trainings_to_target(curves: Curves, peer: Curves, k: int) -> TrainingsToTarget | None:
    """Return the trainings and seconds of a contender to its peer's median hypervolume after k trainings.

    None if they have no seed in common on which the peer got there.
    """
    mine, theirs = _paired(curves, peer, k)
    if not len(mine):
        return None
    volumes, reached = _held(curves.volumes[mine]), peer.volumes[theirs, k - 1]
    target = float(np.median(reached))
    own = [_first_time(curves, axis, mine, target) for axis in ("training_s", "wall_s")]
    their = [_first_time(peer, axis, theirs, target) for axis in ("training_s", "wall_s")]
    return TrainingsToTarget(
        label=curves.label,
        peer=peer.label,
        k=k,
        n_seeds=len(mine),
        target=target,
        trainings=bootstrap(_first_training, np.column_stack([volumes, reached])),
        training_s=own[0],
        peer_training_s=their[0],
        wall_s=own[1],
        peer_wall_s=their[1],
        difference=median(volumes[:, k - 1] - reached) if curves.n_trials >= k else None,
    )


def _paired(curves: Curves, peer: Curves, k: int) -> tuple[list[int], list[int]]:
    """Return the rows of both on the seeds that both have, if the peer has k trainings."""
    if peer.n_trials < k:
        return [], []
    pairs = [
        (curves.seeds.index(seed), row)
        for row, seed in enumerate(peer.seeds)
        if seed in curves.seeds and not np.isnan(peer.volumes[row, k - 1])
    ]
    return [mine for mine, _ in pairs], [row for _, row in pairs]


def _held(volumes: Array) -> Array:
    """Return volumes [n, k] with the last value of each run continued beyond its end."""
    lengths = np.sum(~np.isnan(volumes), axis=1)
    last = volumes[np.arange(len(volumes)), lengths - 1]
    return np.where(np.isnan(volumes), last[:, None], volumes)


def _first_training(batch: Array) -> Array:
    """Return when the median is first at the peer's, [b] trainings; from [b, n, k + 1], the peer's last."""
    medians = np.median(batch, axis=1)  # [b, k + 1]
    is_there = medians[:, :-1] >= medians[:, -1:] - _SLACK
    return np.where(is_there.any(axis=1), 1.0 + np.argmax(is_there, axis=1), np.inf)


def _first_time(curves: Curves, axis: str, rows: list[int], target: float) -> float:
    """Return the first time at which the median over these runs is at the target, else infinity."""
    times = np.unique(getattr(curves, axis)[rows])
    times = times[~np.isnan(times)]
    medians = np.median(volumes_at(curves, axis, times)[rows], axis=0)
    reached = np.flatnonzero(medians >= target - _SLACK)
    return float(times[reached[0]]) if len(reached) else np.inf
