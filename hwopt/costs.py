"""Predicted costs with the distribution of their errors, and budgets on them. numpy only.

    configs --> Costs: metric -> values [n] and their distribution --> Budget: upper bound <= limit?

The predictive distribution is conformal (`hwopt.conformal`): the logarithmic errors ln(measured / predicted)
of models on networks that they were not fitted to. A quantile of them is added to the prediction's logarithm.
Predictions beyond the measurements have a wider distribution, never a narrower one.
"""

from __future__ import annotations  # help() shows the names of types

import math
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwopt.arrays import Array
from hwopt.conformal import CalibrationErrors
from hwopt.errors import Infeasible, InvalidInput, UnknownName, nearest
from hwopt.scalars import as_number
from hwopt.signatures import also_by_position
from hwopt.units import parse_quantity, quantity_of

CostFunction = Callable[[Sequence[Mapping[str, Any]]], Mapping[str, ArrayLike]]

_NUMERIC = "biufO"  # kinds of arrays; numpy would also read numbers from texts, dates and complex numbers
CONFIDENCE = 0.9  # default of a budget


class Costs(Mapping[str, Array]):
    """Predicted costs of n configs: a mapping from metric to values [n], with a predictive distribution.

    NaN means that a config cannot be priced, infinity that it cannot run; `reasons` says why. Without any
    metric no cost is known before a training.

    Args:
        values: point predictions, metric -> shape [n], in SI units.
        residuals: metric -> ln(measured / predicted) of calibration networks in any order, [n_calibration];
            or [n, n_calibration] for CV+ (Barber et al. 2021): each residual plus ln(prediction of the config
            by the model fitted without that calibration network / point prediction). A metric without an
            entry is exact; one with an empty entry has no finite bound.
        reasons: for each config why it could not be priced, or None.
        widening: metric -> factor, at least 1, on the distance of a config's residuals from their median,
            shape [n]; 1 without an entry.
        weights: metric -> weight of each calibration network, shape [n_calibration]; their sum is the number
            of independent groups. 1 without an entry.
        caps: metric -> limit that the device itself enforces, such as its power limit: upper bounds are at
            most this value. None without an entry.
    """

    def __init__(
        self,
        values: Mapping[str, ArrayLike],
        residuals: Mapping[str, ArrayLike] | None = None,
        reasons: Sequence[str | None] | None = None,
        widening: Mapping[str, ArrayLike] | None = None,
        weights: Mapping[str, ArrayLike] | None = None,
        caps: Mapping[str, float] | None = None,
    ) -> None:
        self._values = {metric: _numbers(metric, value) for metric, value in values.items()}
        shapes = {metric: value.shape for metric, value in self._values.items()}
        if any(len(shape) != 1 for shape in shapes.values()) or len(set(shapes.values())) > 1:
            raise InvalidInput(
                f"costs must be one array [n] for each metric, all of one length; got {shapes}"
            )
        self.n = next(iter(shapes.values()))[0] if shapes else len(reasons or ())
        self.residuals = {m: np.asarray(r, dtype=np.float64) for m, r in (residuals or {}).items()}
        self.weights = {
            m: np.asarray((weights or {}).get(m, np.ones(r.shape[-1])), dtype=np.float64)
            for m, r in self.residuals.items()
        }
        _check_residuals(self.residuals, self.weights, self.n)
        self.caps = {metric: float(cap) for metric, cap in (caps or {}).items()}
        self._errors: dict[str, CalibrationErrors] = {}
        self.reasons: tuple[str | None, ...] = tuple(reasons) if reasons is not None else (None,) * self.n
        self.widening = {m: np.asarray(w, dtype=np.float64) for m, w in (widening or {}).items()}
        if any(w.shape != (self.n,) or not np.all(w >= 1) for w in self.widening.values()):
            raise InvalidInput(f"widening must be factors from 1, one for each of the {self.n} configs")

    def __getitem__(self, metric: str) -> Array:
        return self._values[check_metric(metric, list(self._values))]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def is_priced(self) -> NDArray[np.bool_]:
        """Whether all costs of each config are finite, [n]."""
        mask = np.ones(self.n, dtype=bool)
        for values in self.values():
            mask &= np.isfinite(values)
        return mask

    def __repr__(self) -> str:
        return f"Costs(n={self.n}, metrics={list(self._values)})"

    def n_calibration(self, metric: str) -> tuple[int, float]:
        """Return the number of calibration networks of a metric, and of independent groups among them."""
        weights = self.weights.get(metric, np.empty(0))
        return len(weights), float(weights.sum())

    def _calibration(self, metric: str) -> CalibrationErrors:
        if metric not in self._errors:
            self._errors[metric] = CalibrationErrors.of(self.residuals[metric], self.weights[metric])
        return self._errors[metric]

    def upper(self, metric: str, confidence: float) -> Array:
        """Return the upper bound [n] of a metric at a confidence; the inverse of `probability`.

        With n calibration groups the bound is infinite at confidences above n / (n + 1): no calibration error
        is large enough. If the device has a cap, the bound is at most the cap.
        """
        values = self[metric]
        if metric not in self.residuals:
            return values
        errors = self._calibration(metric)
        quantile = errors.quantile(confidence)
        if metric in self.widening:
            centre = errors.median()
            quantile = centre + self.widening[metric] * (quantile - centre)
        return np.minimum(values * np.exp(quantile), self.caps.get(metric, np.inf))

    def interval(self, metric: str, confidence: float) -> tuple[Array, Array]:
        """Return lower and upper bound, each [n], of the interval that has this confidence.

        Each side excludes half of the rest. With fewer than 2 / (1 - confidence) - 1 calibration errors a
        bound is 0 or infinite.
        """
        _check_confidence(metric, confidence)
        return self.upper(metric, (1 - confidence) / 2), self.upper(metric, (1 + confidence) / 2)

    def probability(self, metric: str, limit: float) -> Array:
        """Return the probability [n] that the metric is at most `limit`; NaN if it cannot be priced."""
        values = self[metric]
        if metric not in self.residuals:
            return np.where(np.isnan(values), np.nan, (values <= limit).astype(float))
        calibration = self._calibration(metric)
        with np.errstate(divide="ignore"):
            errors = np.log(limit / values)
        if metric in self.widening:
            centre = calibration.median()
            errors = centre + (errors - centre) / self.widening[metric]
        probability = calibration.probability(errors) if limit < self.caps.get(metric, np.inf) else 1.0
        return np.where(np.isnan(values), np.nan, probability)

    def take(self, indices: ArrayLike) -> Costs:
        """Return the costs of some of the configs."""
        index = np.asarray(indices, dtype=int)
        reasons = [self.reasons[i] for i in index]
        values, widening = (
            {metric: value[index] for metric, value in own.items()} for own in (self._values, self.widening)
        )
        residuals = {m: r if r.ndim == 1 else r[index] for m, r in self.residuals.items()}
        return Costs(values, residuals, reasons, widening, self.weights, self.caps)

    @staticmethod
    def joined(parts: Sequence[Costs]) -> Costs:
        """Return the concatenated costs of several batches of one cost function."""
        values, widening = (
            {metric: np.concatenate([own[metric] for own in owns]) for metric in owns[0]}
            for owns in ([part._values for part in parts], [part.widening for part in parts])
        )
        residuals = {
            m: r if r.ndim == 1 else np.concatenate([part.residuals[m] for part in parts])
            for m, r in parts[0].residuals.items()
        }
        reasons = [reason for part in parts for reason in part.reasons]
        return Costs(values, residuals, reasons, widening, parts[0].weights, parts[0].caps)

    def at(self, index: int) -> dict[str, float]:
        """Return the point predictions of one config as plain floats."""
        return {metric: float(value[index]) for metric, value in self._values.items()}


@dataclass(frozen=True)
class Budget:
    """A limit on a metric, which must be satisfied with a confidence.

    Args:
        metric: name of a predicted cost, such as "power_w".
        limit: a number in the metric's SI unit, or a text with a unit such as "250 W" or "5 ms".
        confidence: probability with which the cost must be at most the limit; it means something if the
            costs have a predictive distribution.
    """

    metric: str
    limit: float
    confidence: float = CONFIDENCE

    @also_by_position
    def __init__(self, metric: str, limit: float | str, *, confidence: float = CONFIDENCE) -> None:
        if not isinstance(metric, str):
            raise InvalidInput(
                f'budget: {metric!r} is not the name of a metric; write Budget("power_w", 250)'
            )
        object.__setattr__(self, "metric", metric)
        object.__setattr__(self, "limit", parse_quantity(metric, limit, label=f"budget {metric}"))
        object.__setattr__(self, "confidence", _check_confidence(metric, confidence))

    def bound(self, costs: Costs) -> Array:
        """Return the upper bound [n] of the metric at the budget's confidence."""
        return costs.upper(self.metric, self.confidence)

    def holds(self, costs: Costs) -> NDArray[np.bool_]:
        """Return whether the budget is satisfied, [n]; false if the config cannot be priced."""
        return self.bound(costs) <= self.limit

    def excess(self, costs: Costs) -> Array:
        """Return ln(bound / limit) [n]: positive if the budget is broken, infinite if unpriced."""
        with np.errstate(divide="ignore"):
            excess = np.log(self.bound(costs) / self.limit)
        return np.where(np.isnan(excess), np.inf, excess)


def feasible(budgets: Sequence[Budget], costs: Costs) -> NDArray[np.bool_]:
    """Return whether each config has finite costs and satisfies every budget, [n]."""
    mask = costs.is_priced
    for budget in budgets:
        mask &= budget.holds(costs)
    return mask


def why_unpriced(costs: Costs, index: int) -> str | None:
    """Return the reason for which a config cannot be priced, None if it can be priced."""
    lacking = [f"{metric} = {v[index]:g}" for metric, v in costs.items() if not np.isfinite(v[index])]
    return (costs.reasons[index] or f"costs returned {', '.join(lacking)}") if lacking else None


def no_costs(configs: Sequence[Mapping[str, Any]]) -> dict[str, ArrayLike]:
    """Return no costs: the cost function of a search without known costs."""
    return {}


def violation(budgets: Sequence[Budget], costs: Costs) -> Array:
    """Return the sum over the budgets of max(ln(bound / limit), 0), [n]; 0 if all are satisfied."""
    total = np.where(costs.is_priced, 0.0, np.inf)
    for budget in budgets:
        total = total + np.maximum(budget.excess(costs), 0.0)
    return total


def check_priced(costs: Costs) -> None:
    """Raise Infeasible, with a reason, if none of the n configs can be priced."""
    if not costs.is_priced.any():
        reason = next((reason for reason in costs.reasons if reason), why_unpriced(costs, 0))
        raise Infeasible(f"no configuration of {costs.n} could be priced: {reason}")


def check_confidence(budget: Budget, costs: Costs) -> None:
    """Raise Infeasible if no finite bound of the costs has the confidence of the budget."""
    n, n_groups = costs.n_calibration(budget.metric)
    highest = n_groups / (n_groups + 1)
    if budget.limit >= costs.caps.get(budget.metric, math.inf):
        return
    if budget.metric in costs.residuals and budget.confidence > highest * (1 + 1e-9):
        families = "" if n == n_groups else f" of {n_groups:.0f} families"
        least = math.ceil(budget.confidence / (1 - budget.confidence) - 1e-9)
        raise Infeasible(
            f"no upper bound of {budget.metric} has confidence {budget.confidence:g}: the cost model was "
            f"calibrated on {n} networks{families}, which allow at most {highest:.3f}; lower the confidence, "
            f"or measure networks of {least} families"
        )


def price(function: CostFunction, configs: Sequence[Mapping[str, Any]]) -> Costs:
    """Call a cost function and check what it returns: a mapping from metric to n non-negative values or NaN.

    An empty mapping means that no cost is known before a training.

    Raises:
        InvalidInput: if it returns something else, or arrays of another length than the configs.
    """
    if not callable(function):
        raise InvalidInput(
            f"costs = {function!r} is not a function; pass a cost model, or a function from configs to a dict"
        )
    costs = function(configs)
    if not isinstance(costs, Mapping):
        raise InvalidInput(f"costs must return a dict from metric to array; got {type(costs).__name__}")
    if not isinstance(costs, Costs):
        costs = Costs(costs, reasons=None if costs else [None] * len(configs))
    if costs.n != len(configs):
        raise InvalidInput(f"costs returned {costs.n} values for {len(configs)} configs")
    for metric, values in costs.items():
        if np.any(values < 0):  # false for NaN, which means that a config cannot be priced
            raise InvalidInput(
                f"costs: {metric} = {np.nanmin(values):g} must not be negative; "
                "return NaN for configs that cannot be priced"
            )
    return costs


def check_metric(metric: str, known: Sequence[str]) -> str:
    """Return the metric; raise UnknownName, with the closest known one, if it is unknown."""
    if metric in known:
        return metric
    match = nearest(metric, known)
    quantity = quantity_of(match or "")
    unit = f", in {quantity.si_unit}" if quantity else ""
    hint = f"did you mean {match}{unit}?" if match else f"predicted: {', '.join(known) or 'none'}"
    raise UnknownName(f"no metric {metric!r}; {hint}")


def _numbers(metric: str, values: ArrayLike) -> Array:
    if not isinstance(metric, str) or not metric:
        raise InvalidInput(f'costs: {metric!r} is not the name of a metric; write a text such as "time_s"')
    try:
        detach = getattr(values, "detach", None)  # of a tensor, which may have a gradient or lie elsewhere
        numbers = np.asarray(detach().cpu() if callable(detach) else values)
        if numbers.dtype.kind in _NUMERIC:
            return np.asarray(numbers, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError):
        pass
    raise InvalidInput(f"costs: {metric} = {reprlib.repr(values)} must be numbers, one for each config")


def _check_confidence(metric: str, confidence: float) -> float:
    number = as_number(confidence)
    if number is None or not 0 < number < 1:
        raise InvalidInput(f"{metric}: confidence {confidence!r} must lie between 0 and 1, such as 0.9")
    return number


def _check_residuals(residuals: Mapping[str, Array], weights: Mapping[str, Array], n: int) -> None:
    for metric, own in residuals.items():
        if own.ndim not in (1, 2) or (own.ndim == 2 and len(own) != n):
            raise InvalidInput(f"residuals of {metric} must be [n_calibration] or [{n}, n_calibration]")
        if weights[metric].shape != own.shape[-1:] or not np.all(weights[metric] > 0):
            raise InvalidInput(
                f"weights of {metric} must be positive, one for each of {own.shape[-1]} calibration networks"
            )
