"""Samples of operators to measure: layers of networks, perturbed layers, and Sobol points over shapes.

    graphs -+-> their own layers             ---.
            |-> perturbed layers, by family  ---- recipe --> trace --> within limits and new? --> sample
    Sobol points over shapes, by family      ---'

Operators are distinct. The shares of sources and families hold at every length, since the next operator is of
the source, and of its family, that is furthest below its share. A sample is the beginning of every longer one
from the same generator state.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from hwopt.errors import InvalidInput
from hwopt.measure.operators.build import Recipe, Unbuildable, fits, recipe_of, trace_recipe
from hwopt.measure.sampling.perturbation import Row, perturb
from hwopt.measure.sampling.sobol import FAMILIES, OTHER, OperatorLimits, family_of, sobol_rows
from hwopt.network.layer import Layer, LayerGraph
from hwopt.profile.schema import LAYER_KEY

_MAX_TRIES = 300  # in a row without a new operator, after which a stream counts as exhausted


@dataclass(frozen=True, slots=True)
class SamplePlan:
    """Composition of a sample.

    Attributes:
        limits: largest operators.
        sources: share of `network` (layers as they are), `perturbed` and `sobol`.
        families: share of each family among the perturbed layers and among the Sobol points.
    """

    limits: OperatorLimits
    sources: Mapping[str, float]
    families: Mapping[str, float]


CPU_PLAN = SamplePlan(
    OperatorLimits(),
    {"network": 0.35, "perturbed": 0.4, "sobol": 0.25},
    dict(zip((*FAMILIES, OTHER), (0.32, 0.09, 0.08, 0.05, 0.10, 0.08, 0.16, 0.12, 0.05), strict=True)),
)
GPU_PLAN = SamplePlan(
    OperatorLimits(batch=256, channels=2048, side=224, flops=2e12, n_elements=1e9),
    {"sobol": 1.0},  # operators of networks are added by `hwopt.measure.sampling.operator_selection`
    dict(zip((*FAMILIES, OTHER), (170, 45, 40, 25, 50, 25, 40, 25, 15), strict=True)),
)


@dataclass(frozen=True, slots=True)
class Operator:
    """Operator to measure: its layer, and the recipe to run it."""

    layer: Layer
    recipe: Recipe
    source: str  # network, perturbed or sobol

    @property
    def key(self) -> tuple[Any, ...]:
        """Values of the columns of `LAYER_KEY`, which identify it."""
        return key_of(self.layer)


@dataclass(slots=True)
class OperatorSample:
    """Distinct operators in the order of measuring, and counts of skipped candidates by reason."""

    operators: list[Operator] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def key_of(layer: Layer) -> tuple[Any, ...]:
    """Return the key of a layer: its shapes and operand bytes."""
    return tuple(getattr(layer, column) for column in LAYER_KEY)


def key_of_row(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the key of a layer row, floats converted to whole numbers."""
    values = (row[column] for column in LAYER_KEY)
    return tuple(value if isinstance(value, str) else int(value) for value in values)


def sample_operators(
    n: int,
    rng: np.random.Generator,
    graphs: Sequence[LayerGraph] = (),
    dtype: str = "float32",
    plan: SamplePlan = CPU_PLAN,
) -> OperatorSample:
    """Sample operators to measure.

    Args:
        n: number of operators; fewer are returned if there are not that many distinct ones.
        rng: random generator.
        graphs: networks of the same dtype, whose layers are sampled and perturbed; without any, all operators
            are Sobol points.
        dtype: data type of the Sobol points.
        plan: limits and shares.
    """
    if n < 1:
        raise InvalidInput(f"n = {n} operators; sample at least one")
    streams = _streams(graphs, rng, dtype, plan)
    shares = {**plan.families, "any": 1.0}
    sample, seen = OperatorSample(), set[tuple[Any, ...]]()
    n_of_source, n_of_family = Counter[str](), Counter[tuple[str, str]]()
    while len(sample.operators) < n and streams:
        source = _furthest_behind({name: plan.sources[name] for name in streams}, n_of_source)
        taken = Counter({family: n_of_family[source, family] for family in streams[source]})
        family = _furthest_behind({name: shares[name] for name in streams[source]}, taken)
        operator = _next_new(streams[source][family], source, plan.limits, seen, sample.skipped)
        if operator is None:
            del streams[source][family]
            streams = {name: families for name, families in streams.items() if families}
            continue
        seen.add(operator.key)
        sample.operators.append(operator)
        n_of_source[source] += 1
        n_of_family[source, family] += 1
    return sample


def _streams(
    graphs: Sequence[LayerGraph], rng: np.random.Generator, dtype: str, plan: SamplePlan
) -> dict[str, dict[str, Iterator[Row]]]:
    """Return the candidates of each source and family, each with its own random numbers."""
    layers = list({key_of(layer): layer for graph in graphs for layer in graph.layers}.values())
    order = np.random.default_rng(rng.integers(2**63)).permutation(len(layers))
    by_family: dict[str, list[Layer]] = {}
    for i in order:
        by_family.setdefault(family_of(layers[i]), []).append(layers[i])
    seeds = {name: rng.integers(2**63, size=2) for name in (*FAMILIES, OTHER)}
    streams: dict[str, dict[str, Iterator[Row]]] = {
        "network": {"any": (layers[i].row() for i in order)} if layers else {},
        "perturbed": {
            name: _perturbed(by_family[name], np.random.default_rng(seeds[name][0]))
            for name in by_family
            if plan.families.get(name)
        },
        "sobol": {
            name: sobol_rows(name, np.random.default_rng(seeds[name][1]), dtype, plan.limits)
            for name in FAMILIES
            if plan.families.get(name)
        },
    }
    return {source: streams[source] for source in plan.sources if streams[source] and plan.sources[source]}


def _perturbed(layers: Sequence[Layer], rng: np.random.Generator) -> Iterator[Row]:
    """Yield perturbed layers without end, each layer in turn."""
    while True:
        for layer in layers:
            yield perturb(layer, rng)


def _furthest_behind(shares: Mapping[str, float], taken: Counter[str]) -> str:
    """Return the name that is furthest below its target share."""
    whole = sum(shares.values())
    n = 1 + sum(taken[name] for name in shares)
    return max(shares, key=lambda name: n * shares[name] / whole - taken[name])


def _next_new(
    rows: Iterator[Row],
    source: str,
    limits: OperatorLimits,
    seen: set[tuple[Any, ...]],
    skipped: Counter[str],
) -> Operator | None:
    """Return the next operator that is new and within the limits; None if the stream is exhausted."""
    for row in islice(rows, _MAX_TRIES):
        try:
            operator = operator_of(row, source, limits)
        except Unbuildable as reason:
            skipped[str(reason)] += 1
            continue
        if operator.key not in seen:
            return operator
    return None


def operator_of(row: Row, source: str, limits: OperatorLimits) -> Operator:
    """Return the operator of a row.

    Raises:
        Unbuildable: if it cannot be run alone, or is beyond the limits.
    """
    recipe = recipe_of(row)
    try:
        layer = trace_recipe(recipe, row["kind"], row["dtype"])
    except InvalidInput as error:
        raise Unbuildable(f"{row['kind']}: its shapes do not fit together") from error
    if source == "network" and not fits(layer, row):
        raise Unbuildable(f"{row['kind']}: its trace differs from its row")
    if not limits.allow(layer):
        raise Unbuildable(f"{row['kind']}: beyond the limits")
    return Operator(layer, recipe, source)
