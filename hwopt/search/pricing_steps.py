"""A cost function that says how far it is: long batches are priced in steps."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hwopt.costs import CostFunction, Costs, price

OnPriced = Callable[[int, int], None]  # configs priced so far, and planned as far as is known
_STEP = 128  # configs between two calls


class InSteps:
    """Prices configs as a cost function does, and tells after each step how many there were.

    Args:
        costs: the cost function.
        on_priced: told how many are priced, and how many are planned.
        planned: how many there will be; where it becomes more, that many.
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
