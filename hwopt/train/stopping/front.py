"""The rule that uses what is known before a training: its costs, and so the error that it must reach.

|  *                        * complete trainings; o the candidate, at its known cost
|     *    h ............   h = lowest error of those that cost no more: what it must get below
|     :----*    o       :
|               |       :   stops where Pr(final < h), from its first epochs, is too small
+-------------------------> cost
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hwopt.search.learning_curves import checkpoints
from hwopt.search.pareto import errors_to_beat
from hwopt.train.stopping.base import (
    Setting,
    check_between,
    check_count,
    complete,
    expected_end,
    expected_end_by_moments,
    is_judged,
)
from hwopt.train.stopping.curve import Curve, Verdict


@dataclass(frozen=True)
class FrontRule:
    """Stop as soon as the curve is unlikely to end below the error that the front asks of its costs.

    The front only gets better after that, so of the stopped trainings a share of at most `risk` would have
    been on the final front, as far as the probabilities are calibrated. Measured shares are larger where most
    trainings come close to the front, so the default is well below the 5% that it is to keep: see
    results/early_termination.

    Nothing stops before `min_epochs`, nor while fewer than `min_complete` feasible trainings are complete:
    the last epochs would be extrapolated by the prior alone. Demand two or three complete ones where a
    learning-rate schedule bends the curves at their end. Long
    trainings are judged at checkpoints that lie further apart as they go on: see
    `hwopt.search.learning_curves`.

    Args:
        setting: of the study.
        risk: a training stops where the probability of entering the front is below this.
        min_epochs: before a training is judged.
        min_complete: complete, feasible trainings before any is judged.
    """

    setting: Setting
    risk: float = 0.02
    min_epochs: int = 1
    min_complete: int = 1

    def __post_init__(self) -> None:
        """Check the options."""
        check_between("risk", self.risk, 0, 1)
        check_count("min_epochs", self.min_epochs)
        check_count("min_complete", self.min_complete)

    def judge(self, trial: Curve, others: Sequence[Curve]) -> Verdict:
        """Stop where Pr(final error < error_to_beat) < risk; the extrapolation is told in any case."""
        n_epochs = self.setting.n_epochs
        is_due = len(trial.errors) in checkpoints(n_epochs) and trial.is_finite
        if not is_judged(trial, self.min_epochs, n_epochs) or not is_due:
            return Verdict()
        final = self._expected_end(trial, others)
        if sum(other.is_feasible for other in complete(others)) < self.min_complete:
            return Verdict(None, final.median, final.std)
        target = error_to_beat(trial, others, self.setting)
        chance = final.probability_below(target)
        if chance >= self.risk:
            return Verdict(None, final.median, final.std)
        reason = (
            f"epoch {len(trial.errors)}: the final error is below {target:.4g} with probability {chance:.3f}"
        )
        return Verdict(reason, final.median, final.std)

    def _expected_end(self, trial: Curve, others: Sequence[Curve]) -> "_End":
        final = expected_end(trial, others, self.setting)
        return _End(final.median, final.std, final.probability_below)


@dataclass(frozen=True)
class FrontRuleByMoments(FrontRule):
    """The same with the final error as freeze-thaw predicts it: by moments instead of draws."""

    def _expected_end(self, trial: Curve, others: Sequence[Curve]) -> "_End":
        final = expected_end_by_moments(trial, others, self.setting)
        std = float(final.high[0] - final.low[0]) / 2
        return _End(float(final.median[0]), std, lambda error: float(final.probability_below(error)[0]))


@dataclass(frozen=True)
class _End:
    """Median, deviation and distribution function of a final error."""

    median: float
    std: float
    probability_below: Callable[[float], float]


def error_to_beat(trial: Curve, others: Sequence[Curve], setting: Setting) -> float:
    """Return the error below which the trial enters the front at its known costs.

    It is the lowest final error among complete, feasible trainings whose costs are all no larger, and at most
    the reference. It is 0 if the trial is infeasible or costs more than the reference.
    """
    names, reference = setting.known_costs, dict(setting.reference)
    if not trial.is_feasible:
        return 0.0
    rows = [
        [other.errors[-1], *[other.cost(name) for name in names]]
        for other in complete(others)
        if other.is_feasible
    ]
    front = np.array(rows, dtype=float).reshape(len(rows), 1 + len(names))
    costs = np.array([[trial.cost(name) for name in names]])
    corner = np.array([reference.get(name, np.inf) for name in ("error", *names)])
    return float(errors_to_beat(front, costs, corner)[0])
