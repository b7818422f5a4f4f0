"""Input and output of a stopping rule: learning curves, and the verdict."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from hwopt.errors import InvalidInput


@dataclass(frozen=True)
class Curve:
    """State of a training when it, or another one, is judged.

    `errors` are the validation errors after epochs 1, 2, ...; `status` is running, complete, stopped or
    failed; `costs` are the predicted ones, SI units, by metric.
    """

    errors: tuple[float, ...]
    status: str
    costs: Mapping[str, float]
    is_feasible: bool = True

    def cost(self, metric: str) -> float:
        """Return a predicted cost; raise InvalidInput if the curve does not have it."""
        if metric not in self.costs:
            raise InvalidInput(f"curve: {metric} is an objective, but its costs are {sorted(self.costs)}")
        return float(self.costs[metric])

    def log_costs(self, metrics: Sequence[str]) -> tuple[float, ...]:
        """Return the logarithms of predicted costs; a cost of 0 counts as the smallest positive number."""
        return tuple(math.log(max(self.cost(metric), sys.float_info.min)) for metric in metrics)

    def has_costs(self, metrics: Sequence[str]) -> bool:
        """Whether all these costs could be predicted."""
        return all(math.isfinite(self.cost(metric)) for metric in metrics)

    @property
    def is_finite(self) -> bool:
        """Whether every error is a finite number."""
        return bool(np.all(np.isfinite(self.errors)))


@dataclass(frozen=True)
class Verdict:
    """Decision of a stopping rule on a training: to stop it if there is a `reason`, else to continue.

    Attributes:
        reason: why the training should stop; None to continue.
        final_error: median of the extrapolated final error; None if the rule does not extrapolate.
        final_error_std: its standard deviation.
        epoch: epoch after which the rule would have stopped, if later epochs are known already.
    """

    reason: str | None = None
    final_error: float | None = None
    final_error_std: float | None = None
    epoch: int | None = None


class StoppingRule(Protocol):
    """Judges a running training by its curve and those of the other trainings of the study.

    A pure function of its arguments that can be pickled, so that a worker may ask it too.
    """

    def judge(self, trial: Curve, others: Sequence[Curve]) -> Verdict:
        """Say whether the trial should stop, and what final error is to be expected."""
        ...


def judge_epochs(rule: StoppingRule, trial: Curve, others: Sequence[Curve], n_judged: int) -> Verdict:
    """Judge a training after each epoch that follows the first `n_judged`, as if they came one by one.

    A rule answers for the last epoch of a curve, and perhaps at some epochs only, so a slice of several is
    judged epoch by epoch: what stops does not depend on how many epochs a slice has.

    Returns:
        The first verdict to stop, else that on the last epoch.
    """
    verdict = Verdict()
    for epoch in range(n_judged + 1, len(trial.errors) + 1):
        verdict = rule.judge(replace(trial, errors=trial.errors[:epoch]), others)
        if verdict.reason is not None:
            return replace(verdict, epoch=epoch)
    return verdict
