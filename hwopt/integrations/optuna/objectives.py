"""Objectives of a study: one that is learned by training, and costs that are known before it.

    values  [n, k]   --equal to a predicted cost in all trials, or with its name-->  known
                     --the remaining one------------------------------------------>  the error

The optimizer minimises an error in [0, 1], or a loss on that scale, and known costs. Maximised objectives are
converted: a value to its difference from the best, and a cost to its inverse.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hwopt.arrays import Array
from hwopt.costs import Costs
from hwopt.errors import InvalidInput

CURVE = "hwopt:curve"  # attribute of a trial: values reported to `FrontStopper` after each epoch
EXPECTED = "hwopt:expected"  # attribute of a stopped trial: expected final value and its deviation
STOPPED = "hwopt:stopped"  # attribute of a stopped trial: reason
_SAME = 1e-6  # relative difference up to which a value equals the predicted one
_DIVERGED = 10.0  # larger multiples of the median loss are clipped
_MARGIN = 1.1  # factor on the worst value, so that it maps below 1


@dataclass(frozen=True)
class Objectives:
    """Objectives of a study.

    Args:
        error: position of the learned objective; None while no trial is complete.
        costs: position -> metric of the known ones.
        is_maximised: direction of each objective, in the study's order.
    """

    error: int | None
    costs: Mapping[int, str]
    is_maximised: tuple[bool, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the objectives in the optimizer."""
        return ("error", *(inverse(m) if self.is_maximised[i] else m for i, m in self.costs.items()))

    @property
    def inverted(self) -> tuple[str, ...]:
        """Maximised metrics."""
        return tuple(metric for i, metric in self.costs.items() if self.is_maximised[i])

    def with_inverses(self, costs: Costs) -> Costs:
        """Return the costs with the inverses of maximised metrics added."""
        if not self.inverted:
            return costs
        with np.errstate(divide="ignore"):
            values = {**costs, **{inverse(metric): 1 / costs[metric] for metric in self.inverted}}
        return Costs(values, costs.residuals, costs.reasons, costs.widening, costs.weights)

    def outcomes(self, trials: Sequence[FrozenTrial]) -> dict[int, "Outcome"]:
        """Return trial number -> error of the complete and the stopped trials."""
        if self.error is None:
            return {}
        told = {trial.number: value_of(trial, self.error) for trial in trials}
        finite = {number: value for number, value in told.items() if value is not None}
        scale = Scale.of(np.array([value for value, _ in finite.values()]), self.is_maximised[self.error])
        return {n: Outcome(scale.error(value), std / scale.unit) for n, (value, std) in finite.items()}


@dataclass(frozen=True)
class Outcome:
    """Error of a trial, and its standard deviation if it is the expectation for a stopped trial."""

    error: float
    std: float = 0.0


def value_of(trial: FrozenTrial, objective: int) -> tuple[float, float] | None:
    """Return the learned objective of a trial and its standard deviation.

    For a stopped trial: the final value that `FrontStopper` expected, or the last reported value.
    """
    if trial.state == TrialState.COMPLETE:
        found = (float(trial.values[objective]), 0.0)
    elif trial.state != TrialState.PRUNED:
        return None
    elif EXPECTED in trial.user_attrs:
        value, std = trial.user_attrs[EXPECTED]
        found = (float(value), float(std))
    elif trial.user_attrs.get(CURVE):
        found = (float(trial.user_attrs[CURVE][-1]), 0.0)
    elif trial.intermediate_values:
        found = (float(trial.intermediate_values[max(trial.intermediate_values)]), 0.0)
    else:
        return None
    return found if np.all(np.isfinite(found)) else None


@dataclass(frozen=True)
class Scale:
    """Increasing map from an objective's values to errors: (sign * value - origin) / unit.

    Minimised shares are unchanged, and maximised shares become 1 - value. Other values are divided by the
    worst, which keeps their ratios; if some are negative, they are shifted as well.
    """

    sign: float = 1.0
    origin: float = 0.0
    unit: float = 1.0

    @classmethod
    def of(cls, values: Array, is_maximised: bool) -> "Scale":
        """Return the scale of an objective with these values, [n]; without finite ones that of shares."""
        values = values[np.isfinite(values)]
        sign = -1.0 if is_maximised else 1.0
        if np.all((values >= 0) & (values <= 1)):
            return cls(sign, -1.0 if is_maximised else 0.0)
        signed = sign * values
        origin = min(float(np.min(signed)), 0.0)
        losses = signed - origin
        worst = _DIVERGED * float(np.median(losses[losses > 0])) if np.any(losses > 0) else 0.0
        unit = _MARGIN * float(np.max(losses, initial=0.0, where=losses <= worst))
        return cls(sign, origin, unit or 1.0)

    def error(self, value: float) -> float:
        """Return the error of a value, at least 0 and at most 1."""
        return float(np.clip((self.sign * value - self.origin) / self.unit, 0.0, 1.0))

    def value(self, error: float) -> float:
        """Return the value of an error: the inverse of `error`."""
        return self.sign * (error * self.unit + self.origin)


def inverse(metric: str) -> str:
    """Return the name of 1 / metric."""
    return f"1/{metric}"


def recognise(study: Study, complete: Sequence[FrozenTrial], costs: Costs) -> Objectives:
    """Return the roles of a study's objectives: the error and the costs.

    Args:
        study: study of Optuna.
        complete: its n complete trials.
        costs: predicted costs of these, [n].

    Raises:
        InvalidInput: if not exactly one objective is not a known cost.
    """
    is_maximised = tuple(d == StudyDirection.MAXIMIZE for d in study.directions)
    k = len(is_maximised)
    names = getattr(study, "metric_names", None) or [""] * k  # a bracket of Hyperband has no names
    called = {i: name for i, name in enumerate(names) if name in costs}
    if not complete:
        return Objectives(None, {}, is_maximised)
    values = np.array([trial.values for trial in complete], dtype=float).reshape(-1, k)
    known = {i: called.get(i) or _equal(values[:, i], costs) for i in range(k)}
    found = {i: metric for i, metric in known.items() if metric is not None}
    unknown = [i for i in range(k) if i not in found]
    if len(unknown) != 1:
        raise InvalidInput(_explain(unknown, names, values, costs))
    return Objectives(unknown[0], found, is_maximised)


def _equal(values: Array, costs: Costs) -> str | None:
    """Return the metric that the values, [n], are equal to in all trials with a price."""
    for metric, predicted in costs.items():
        is_priced = np.isfinite(predicted)
        if is_priced.any() and np.allclose(values[is_priced], predicted[is_priced], rtol=_SAME, atol=0.0):
            return metric
    return None


def _explain(unknown: Sequence[int], names: Sequence[str], values: Array, costs: Costs) -> str:
    predicted = ", ".join(f"{metric} = {value[-1]:.6g}" for metric, value in costs.items())
    if not unknown:
        return f"all objectives are known costs ({predicted}); one must be the result of training"
    told = ", ".join(f"{names[i] or f'objective {i}'} = {values[-1, i]:.6g}" for i in unknown)
    return (
        f"{len(unknown)} objectives are not known costs: {told} in the last trial; predicted: {predicted}. "
        "For a known cost, return the predicted value unchanged, or name it with study.set_metric_names. "
        "For several learned objectives, use HardConstraint around a sampler of Optuna"
    )
