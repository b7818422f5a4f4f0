"""Asynchronous successive halving: only the best at each rung go on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array
from hwopt.search.pareto import nondominated
from hwopt.train.stopping.base import Setting, check_between, check_count, stop
from hwopt.train.stopping.curve import Curve, Verdict


@dataclass(frozen=True)
class HalvingRule:
    """Asynchronous successive halving in its stopping form (Li et al. 2020), for one objective or several.

    Rungs are at min_epochs, min_epochs * eta, ... A training that reaches a rung is ranked among all that
    have been there, and goes on if it is among the best 1 / eta of them; the first eta - 1 always go on.
    With known costs as further objectives the rank is the layer of nondominated sorting of the error at the
    rung and the logarithms of the costs, and within a layer the order of an epsilon-net, which spreads over
    it (multi-objective asynchronous successive halving, Schmucker et al. 2021).

    Args:
        setting: of the study.
        eta: one in eta goes on.
        min_epochs: the first rung.
    """

    setting: Setting
    eta: float = 3
    min_epochs: int = 1

    def __post_init__(self) -> None:
        """Check the options."""
        check_between("eta", self.eta, 1, float("inf"))
        check_count("min_epochs", self.min_epochs)

    @property
    def rungs(self) -> tuple[int, ...]:
        """The epochs at which trainings are ranked."""
        rungs, rung = [], float(self.min_epochs)
        while round(rung) < self.setting.n_epochs:
            rungs.append(round(rung))
            rung = max(rung * self.eta, round(rung) + 1)
        return tuple(rungs)

    def judge(self, trial: Curve, others: Sequence[Curve]) -> Verdict:
        """Stop at a rung where the training is not among the best 1 / eta."""
        k = len(trial.errors)
        there = [c for c in others if len(c.errors) >= k and c.is_finite and c.status != "failed"]
        n_kept = int((len(there) + 1) / self.eta)
        if k not in self.rungs or n_kept < 1:
            return Verdict()
        costs = self.setting.known_costs
        points = [[c.errors[k - 1], *[np.log(c.cost(name)) for name in costs]] for c in [*there, trial]]
        place = int(np.flatnonzero(spread_ranking(np.array(points)) == len(there))[0])
        if place < n_kept:
            return Verdict()
        reason = f"place {place + 1} of {len(points)} at epoch {k}, where the first {n_kept} go on"
        return stop(reason, trial, others, self.setting)


def spread_ranking(Y: Array) -> NDArray[np.intp]:
    """Return the rows of Y [n, m] from best to worst: by nondominated layers, within one by an epsilon-net.

    The net begins with the lowest first objective, then takes the point that is furthest from those taken,
    distances over the objectives' ranges.
    """
    span = np.ptp(Y, axis=0)
    scaled = (Y - Y.min(axis=0)) / np.where(span > 0, span, 1.0)
    left, order = np.arange(len(Y)), []
    while len(left):
        is_first = nondominated(Y[left])
        order.append(left[is_first][_net(scaled[left[is_first]])])
        left = left[~is_first]
    return np.concatenate(order) if order else left


def _net(points: Array) -> NDArray[np.intp]:
    """Return the order of points [n, m] in which each is the furthest from those before it."""
    order = [int(np.argmin(points[:, 0]))]
    distance = np.full(len(points), np.inf)
    while len(order) < len(points):
        distance = np.minimum(distance, np.linalg.norm(points - points[order[-1]], axis=1))
        distance[order] = -1.0
        order.append(int(np.argmax(distance)))
    return np.array(order)
