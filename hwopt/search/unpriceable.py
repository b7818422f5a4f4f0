"""Configs that cannot be priced, counted by reason, each with an example."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwopt.costs import Costs, why_unpriced

_N_SHOWN = 4  # reasons that are shown
_EXAMPLE = re.compile(r" \(config \{.*\}\)$", flags=re.DOTALL)  # ends the reasons of a cost model
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?")


@dataclass(frozen=True)
class Unpriced:
    """Configs that cannot be priced for one reason: the reason of the first, how many, and the first."""

    reason: str
    n: int
    config: Mapping[str, Any]


def count_unpriced(configs: Sequence[Mapping[str, Any]], costs: Costs) -> tuple[Unpriced, ...]:
    """Return the configs that cannot be priced by reason, the most frequent first.

    Reasons that differ in their numbers only are one.
    """
    found: dict[str, Unpriced] = {}
    for i in np.flatnonzero(~costs.is_priced).tolist():
        reason = _EXAMPLE.sub("", why_unpriced(costs, i) or "")
        alike = _NUMBER.sub("#", reason)
        first = found.get(alike, Unpriced(reason, 0, dict(configs[i])))
        found[alike] = Unpriced(first.reason, first.n + 1, first.config)
    return tuple(sorted(found.values(), key=lambda one: -one.n))


def describe_unpriced(unpriced: Sequence[Unpriced], n_priced: int) -> list[str]:
    """Return a line for each of the commonest reasons: its share of the space, how many, an example.

    Args:
        unpriced: by reason.
        n_priced: number of configs sampled from the whole space.
    """
    lines = [
        f"{one.n / n_priced:.1%} of the space cannot be priced: {one.reason} ({one.n:,} of {n_priced:,} "
        f"configurations, such as {dict(one.config)})"
        for one in unpriced[:_N_SHOWN]
    ]
    others = unpriced[_N_SHOWN:]
    if others:
        n = sum(one.n for one in others)
        lines.append(f"{n / n_priced:.1%} cannot be priced for {len(others)} other reasons ({n:,})")
    return lines
