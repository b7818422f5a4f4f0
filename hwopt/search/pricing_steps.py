"""A cost function that reports its progress: long batches are priced in steps."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hwopt.costs import CostFunction, Costs, price

OnPriced = Callable[[int, int], None]  # configs priced so far, and planned as far as is known
_STEP = 128  # configs between two calls


class InSteps:
    """A cost function that reports after each step the number of priced configs.

    Args:
        costs: the cost function.
        on_priced: called with the numbers of priced and of planned configs.
        planned: expected number of configs; larger if more are priced.
    """

    def __init__(self, costs: CostFunction, on_priced: OnPriced, planned: int) -> None:
        self._costs, self._on_priced, self._planned = costs, on_priced, planned
        self._n_priced = 0

    def __call__(self, configs: Sequence[Mapping[str, Any]]) -> Costs:
        """Price configs."""
        parts = []
        for i in range(0, max(len(configs), 1), _STEP):
            parts.append(price(self._costs, configs[i : i + _STEP]))
            self._n_priced += parts[-1].n
            self._on_priced(self._n_priced, max(self._planned, self._n_priced))
        return Costs.joined(parts)
