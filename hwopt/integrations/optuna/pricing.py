"""Costs and feasibility of a trial's parameters, which may be incomplete."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hwopt.costs import CostFunction, Costs, check_metric, feasible, price, why_unpriced
from hwopt.errors import InvalidInput
from hwopt.search.checks import check_budgets
from hwopt.search.optimizer import Budgets
from hwopt.space.recorded_config import RecordedConfig

Parameters = Mapping[str, Any]


class Pricing:
    """Cost function and budgets for parameters of trials.

    Args:
        costs: function from a list of dicts of parameters to a dict of arrays [n] by metric.
        budgets: limits on these metrics.

    Raises:
        InvalidInput: for costs that are not a function, or invalid budgets.
    """

    def __init__(self, costs: CostFunction, budgets: Budgets) -> None:
        if not callable(costs):
            raise InvalidInput(f"costs = {costs!r} is not a function; pass a cost model, or a formula")
        self.costs, self.budgets = costs, check_budgets("budgets", budgets)
        self._priced: Costs | None = None  # an example with metrics and distribution

    def known(self, parameters: Parameters) -> Costs | None:
        """Return the costs, [1], or None if the function reads a missing parameter."""
        recorded = RecordedConfig(parameters, parameters)
        try:
            costs = price(self.costs, [recorded])
        except Exception:
            if recorded.unknown:
                return None
            raise
        for budget in self.budgets:
            check_metric(budget.metric, list(costs))
        self._priced = costs
        return costs

    def missing(self, parameters: Parameters) -> list[str]:
        """Return the missing parameters for which the function fails."""
        recorded = RecordedConfig(parameters, parameters)
        try:
            price(self.costs, [recorded])
        except KeyError as error:
            return [name for name in error.args[:1] if name in recorded.unknown]
        except Exception:
            return sorted(recorded.unknown)
        return []

    def __call__(self, many: Sequence[Parameters]) -> Costs:
        """Return the costs of n dicts of parameters; NaN if a parameter is missing."""
        try:
            return price(self.costs, many)
        except Exception:  # possibly for one of them only
            costs = [self.known(parameters) for parameters in many]
            return Costs.joined([self._unknown() if one is None else one for one in costs])

    def keeps(self, parameters: Parameters) -> bool | None:
        """Return whether the budgets hold; None if undecided."""
        costs = self.known(parameters)
        return None if costs is None else bool(feasible(self.budgets, costs)[0])

    def explain(self, parameters: Parameters) -> str:
        """Return a message on the budgets that the parameters are over."""
        costs = price(self.costs, [parameters])
        reason = why_unpriced(costs, 0)
        if reason is not None:
            return f"cannot be priced ({reason})"
        broken = [
            f"{b.metric} <= {b.limit:.4g} is violated by {b.bound(costs)[0]:.4g}"
            for b in self.budgets
            if not b.holds(costs)[0]
        ]
        return ", ".join(broken)

    def _unknown(self) -> Costs:
        """Return unknown costs, [1], with the metrics of the others."""
        like = self._priced or Costs({})
        nothing = {metric: np.full(1, np.nan) for metric in like}
        return Costs(nothing, like.residuals, ["a parameter is not known yet"], like.widening, like.weights)
