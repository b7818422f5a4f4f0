"""The operators that a GPU's campaign measures next: of networks by what they tell, and a few odd ones.

    workload of networks + rows so far --> adaptive_picks --+--> operators, the most telling first
    Sobol points over shapes, every eighth, 40 in all ------+

The odd ones have sizes that no network has, so that a model knows the range and other searches' channels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hwopt.measure.operators.recipes.recipe import Unbuildable
from hwopt.measure.sampling.active_learning import adaptive_picks
from hwopt.measure.sampling.network_operators import NetworkOperators
from hwopt.measure.sampling.operators import Operator, key_of_row, operator_of
from hwopt.measure.sampling.sobol import OperatorLimits
from hwopt.profile.roofline import Ceilings

N_ODD = 40
ODD_EVERY = 8
_ODD = "sobol"


class OperatorChoice:
    """Chooses operators by the rows so far.

    Args:
        networks: operators of networks, with their shares.
        odd: operators beside them.
        ceilings: of the device.
        limits: on the work of an operator.
        seed: of the ensembles.
        n_most: rows of a profile beyond which none is chosen.
    """

    def __init__(
        self,
        networks: NetworkOperators,
        odd: Sequence[Operator],
        ceilings: Ceilings,
        limits: OperatorLimits,
        seed: int = 0,
        n_most: int = 10**9,
    ) -> None:
        self._networks, self._odd = networks, list(odd)
        self._ceilings, self._limits, self._seed, self.n_most = ceilings, limits, seed, n_most
        self._is_buildable = np.ones(len(networks.layers), dtype=bool)

    def pick(self, rows: Sequence[Mapping[str, Any]], pending: Sequence[Operator], n: int) -> list[Operator]:
        """Return up to n operators to measure next, the first first.

        Args:
            rows: measured so far, whole rows of layers.csv.
            pending: chosen before and not measured yet.
            n: how many.
        """
        n_before = len(rows) + len(pending)
        n = min(n, self.n_most - n_before)
        if n <= 0:
            return []
        n_odd = sum(row.get("source") == _ODD for row in rows) + sum(one.source == _ODD for one in pending)
        n_due = max(0, min((n_before + n) // ODD_EVERY, len(self._odd)) - n_odd)
        known = {key_of_row(row) for row in rows} | {one.key for one in pending}
        odd = [operator for operator in self._odd if operator.key not in known][:n_due]
        return _spread(self._telling(rows, [*pending, *odd], n - len(odd)), odd)

    def _telling(
        self, rows: Sequence[Mapping[str, Any]], pending: Sequence[Operator], n: int
    ) -> list[Operator]:
        """Return n operators of the workload; what cannot be run alone is passed over from then on."""
        rng = np.random.default_rng([self._seed, len(rows), len(pending)])
        chosen = [operator.layer for operator in pending]
        found: list[Operator] = []
        while len(found) < n:
            where = np.flatnonzero(self._is_buildable)
            layers = [self._networks.layers[i] for i in where]
            shares = self._networks.shares[:, where]
            picks = adaptive_picks(layers, rows, n - len(found), rng, self._ceilings, shares, chosen)
            if not picks:
                break
            for i in picks:
                operator = self._built(int(where[i]))
                if operator is not None:
                    found.append(operator)
                    chosen.append(operator.layer)
        return found

    def _built(self, i: int) -> Operator | None:
        try:
            return operator_of(self._networks.layers[i].row(), "network", self._limits)
        except Unbuildable:
            self._is_buildable[i] = False
            return None


def _spread(telling: list[Operator], odd: list[Operator]) -> list[Operator]:
    """Return both, the odd ones at even distances."""
    mixed = list(telling)
    for i, operator in enumerate(odd):
        mixed.insert(round((i + 1) * len(telling) / len(odd)) + i, operator)
    return mixed
