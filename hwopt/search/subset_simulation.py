"""Share of a space that satisfies the budgets, also if plain sampling finds no feasible point.

Subset simulation (Au and Beck 2001): the budgets are loosened until a tenth of a sample keeps them, chains
of a Metropolis walk fill that part evenly, and so on down to the budgets themselves:

    share = p_0 p_1 ... p_m,   p_i the part of level i's sample that reaches the next level

Points are uniform in the unit cube; each level lowers the allowed violation, the sum of ln(bound / limit).
It is used only if fewer than N_CHAINS of the surveyed configs are feasible.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array

N_CHAINS = 100  # points that go on from one level to the next
N_STEPS = 20  # of each chain, so that a level has N_CHAINS * N_STEPS points
N_LEVELS = 20  # at most: shares down to about 1e-20
_STEP, _P_MOVE, _P_REDRAW = 0.3, 0.5, 0.1
_Z = 1.96  # of a 95% interval


@dataclass(frozen=True)
class Subset:
    """Result of subset simulation.

    `share` is the estimated share; `low` and `high` hold it with at least 95% confidence. `points` [n, k] of
    the unit cube have no violation; they are empty if none was found: then the share is 0, and `high` is
    the share of the last level. `best` is the least violating point of all, [k].
    """

    share: float
    low: float
    high: float
    points: Array
    best: Array
    n_points: int  # number of evaluated points, without the first sample


def subset_simulation(
    points: Array, violations: Array, violation_of: Callable[[Array], Array], rng: np.random.Generator
) -> Subset:
    """Estimate the share of the unit cube without violation, and return points there.

    Args:
        points: a uniform sample of the unit cube, shape [n, k], larger than N_CHAINS.
        violations: of these points, shape [n]; 0 satisfies all budgets, infinity cannot be priced.
        violation_of: of other points.
        rng: of the chains.
    """
    share, variation, n_looked, scale = 1.0, 0.0, 0, _STEP
    chains = np.arange(len(points), dtype=np.intp)  # which each point belongs to: at first, its own
    for _ in range(N_LEVELS):
        level = _next_level(violations)
        inside = violations <= level
        part = float(inside.mean())
        variation += _variation(inside, chains)  # levels may be correlated: an upper bound
        if level == 0.0 or part > 0.9:  # reached, or no way down is left
            break
        share *= part
        seeds = rng.permutation(np.flatnonzero(inside))[:N_CHAINS]
        points, violations, chains, scale = _walk(points[seeds], violations[seeds], level, violation_of,
                                                  scale, rng)  # fmt: skip
        n_looked += len(points) - len(seeds)
    best = points[int(np.argmin(violations))]
    if level > 0.0:
        return Subset(0.0, 0.0, share, points[:0], best, n_looked)
    share, spread = share * part, np.sqrt(np.log1p(variation**2))
    low, high = share * np.exp(-_Z * spread), min(1.0, share * np.exp(_Z * spread))
    return Subset(share, float(low), float(high), points[inside], best, n_looked)


def _next_level(violations: Array) -> float:
    """Return the largest violation of the N_CHAINS best points; 0 if that many satisfy the budgets."""
    level = float(np.sort(violations)[min(N_CHAINS, len(violations)) - 1])
    if not np.isfinite(level):
        finite = violations[np.isfinite(violations)]
        return float(finite.max()) if len(finite) else level
    return level


def _walk(
    points: Array,
    violations: Array,
    level: float,
    violation_of: Callable[[Array], Array],
    scale: float,
    rng: np.random.Generator,
) -> tuple[Array, Array, NDArray[np.intp], float]:
    """Walk chains from each point, within the level; return all their points, violations, chains, and step.

    A step moves half of the coordinates by a normal of deviation `scale`, reflected at the faces, or draws
    them again; both are symmetric, so a move within the level is accepted. The step adapts to the share that
    is.
    """
    all_points, all_violations = [points], [violations]
    for _ in range(N_STEPS - 1):
        moved = points + scale * rng.standard_normal(points.shape)
        moved = 1 - np.abs(1 - np.mod(moved, 2))  # reflected into the cube
        moved = np.where(rng.random(points.shape) < _P_REDRAW, rng.random(points.shape), moved)
        moved = np.where(rng.random(points.shape) < _P_MOVE, moved, points)
        proposed = violation_of(moved)
        accepted = proposed <= level
        points = np.where(accepted[:, None], moved, points)
        violations = np.where(accepted, proposed, violations)
        scale = float(np.clip(scale * np.exp(accepted.mean() - 0.35), 1e-4, 0.5))
        all_points.append(points)
        all_violations.append(violations)
    chains = np.tile(np.arange(len(points), dtype=np.intp), N_STEPS)
    return np.concatenate(all_points), np.concatenate(all_violations), chains, scale


def _variation(inside: NDArray[np.bool_], chains: NDArray[np.intp]) -> float:
    """Return the coefficient of variation of the mean of an indicator [n] over chains [n].

    From the spread of the chains' means, which holds whatever the correlation within a chain.
    """
    mean = float(inside.mean())
    if mean == 0.0:
        return 0.0
    n_chains = int(chains.max()) + 1
    means = np.bincount(chains, weights=inside, minlength=n_chains) / np.bincount(chains)
    return float(means.std(ddof=1) / np.sqrt(n_chains) / mean)
