"""Selection of the operators that a GPU campaign measures next: operators of networks, and some Sobol points.

    operators of networks + rows so far --> select_informative --+--> operators, the most informative first
    Sobol points over shapes, every eighth, 40 in all -----------+

Sobol points have sizes that no network has, so that a model covers the whole range.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hwopt.measure.operators.recipes.recipe import Unbuildable
from hwopt.measure.sampling.active_learning import select_informative
from hwopt.measure.sampling.network_operators import NetworkOperators
from hwopt.measure.sampling.operators import Operator, key_of_row, operator_of
from hwopt.measure.sampling.sobol import OperatorLimits
from hwopt.profile.roofline import Ceilings

N_SOBOL = 40
SOBOL_EVERY = 8
_SOBOL = "sobol"


class OperatorSelector:
    """Selects operators given the measured rows.

    Args:
        networks: operators of networks, with their shares.
        sobol: operators at Sobol points.
        ceilings: roofline of the device.
        limits: largest operators.
        seed: seed of the ensembles.
        n_most: largest number of rows.
    """

    def __init__(
        self,
        networks: NetworkOperators,
        sobol: Sequence[Operator],
        ceilings: Ceilings,
        limits: OperatorLimits,
        seed: int = 0,
        n_most: int = 10**9,
    ) -> None:
        self._networks, self._sobol = networks, list(sobol)
        self._ceilings, self._limits, self._seed, self.n_most = ceilings, limits, seed, n_most
        self._is_buildable = np.ones(len(networks.layers), dtype=bool)

    def pick(self, rows: Sequence[Mapping[str, Any]], pending: Sequence[Operator], n: int) -> list[Operator]:
        """Return up to n operators in the order in which to measure them.

        Args:
            rows: measured rows, with all columns of layers.csv.
            pending: operators selected before and not measured yet.
            n: largest number of operators.
        """
        n_before = len(rows) + len(pending)
        n = min(n, self.n_most - n_before)
        if n <= 0:
            return []
        n_sobol = sum(row.get("source") == _SOBOL for row in rows)
        n_sobol += sum(one.source == _SOBOL for one in pending)
        n_due = max(0, min((n_before + n) // SOBOL_EVERY, len(self._sobol)) - n_sobol)
        known = {key_of_row(row) for row in rows} | {one.key for one in pending}
        sobol = [operator for operator in self._sobol if operator.key not in known][:n_due]
        return _interleaved(self._informative(rows, [*pending, *sobol], n - len(sobol)), sobol)

    def _informative(
        self, rows: Sequence[Mapping[str, Any]], pending: Sequence[Operator], n: int
    ) -> list[Operator]:
        """Return n operators of the networks; those that cannot be run alone are left out from now on."""
        rng = np.random.default_rng([self._seed, len(rows), len(pending)])
        chosen = [operator.layer for operator in pending]
        found: list[Operator] = []
        while len(found) < n:
            where = np.flatnonzero(self._is_buildable)
            layers = [self._networks.layers[i] for i in where]
            shares = self._networks.shares[:, where]
            picks = select_informative(layers, rows, n - len(found), rng, self._ceilings, shares, chosen)
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


def _interleaved(operators: list[Operator], sobol: list[Operator]) -> list[Operator]:
    """Return both lists merged, Sobol points at even distances."""
    mixed = list(operators)
    for i, operator in enumerate(sobol):
        mixed.insert(round((i + 1) * len(operators) / len(sobol)) + i, operator)
    return mixed
