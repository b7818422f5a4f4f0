"""Operators of test networks, to be measured alone; `hwopt.profile.operator_sums` adds them up."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from hwopt.measure.operators.build import Unbuildable, recipe_of
from hwopt.measure.sampling.operators import Operator, key_of
from hwopt.network.layer import LayerGraph


def operators_of_networks(graphs: Iterable[LayerGraph]) -> list[Operator]:
    """Return the distinct operators of networks that can be run alone, in running order."""
    operators: dict[tuple[Any, ...], Operator] = {}
    for layer in (layer for graph in graphs for layer in graph.layers):
        if key_of(layer) not in operators:
            with suppress(Unbuildable):  # counted as unmeasured in operator sums
                operators[key_of(layer)] = Operator(layer, recipe_of(layer.row()), "oracle")
    return list(operators.values())
