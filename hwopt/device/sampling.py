"""Which operators to measure: layers of given networks, those layers perturbed, and a log-uniform spread.

    graphs -+-> their own layers     ---.
           |-> perturbed layers      --- recipe --> trace --> within limits, not yet there? --> sample
    Sobol points over shapes, in log ---'

Every distinct operator comes once. The same generator state gives the same sample.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwopt.device.operators import Recipe, Unbuildable, recipe_of, trace_recipe
from hwopt.device.rows import LAYER_KEY
from hwopt.errors import InvalidInput
from hwopt.network.layer import Layer, LayerGraph

Row = dict[str, Any]

# Share of each family in the Sobol part.
_SHARES = {
    "conv": 0.32, "conv1x1": 0.09, "depthwise": 0.08, "grouped": 0.05, "linear": 0.10, "pool": 0.08,
    "unary": 0.16, "binary": 0.12,
}  # fmt: skip
_UNARY = (
    *("batch_norm", "relu", "hardtanh", "silu", "gelu"),
    *("hardswish", "hardsigmoid", "sigmoid", "softmax"),
)
_BINARY = ("add", "mul", "cat", "cat", "upsample_nearest", "upsample_bilinear")
_POOLS = ("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d")
_N_DIMENSIONS = 8  # of a Sobol point: family, member, batch, channels in and out, side, kernel, stride


@dataclass(frozen=True, slots=True)
class Limits:
    """What an operator may be at most, so that measuring it stays short."""

    batch: int = 64
    channels: int = 1024
    side: int = 224
    flops: float = 1e9
    n_elements: float = 4e7  # of all operands and the result


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator to measure: the row that names it and the way to run it."""

    layer: Layer
    recipe: Recipe
    source: str  # network, perturbed or sobol

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes it distinct: the values of the columns of `LAYER_KEY`."""
        return key_of(self.layer)


@dataclass(slots=True)
class OperatorSample:
    """Distinct operators in random order, and how many candidates could not be run, by reason."""

    operators: list[Operator] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def key_of(layer: Layer) -> tuple[Any, ...]:
    """Return what makes an operator distinct: the values of a layer's shape columns and operand bytes."""
    return tuple(getattr(layer, column) for column in LAYER_KEY)


def sample_operators(
    n: int,
    rng: np.random.Generator,
    graphs: Sequence[LayerGraph] = (),
    dtype: str = "float32",
    limits: Limits | None = None,
    shares: tuple[float, float] = (0.35, 0.4),
) -> OperatorSample:
    """Choose operators to measure.

    Args:
        n: how many; fewer come back where the networks and limits do not have that many distinct ones.
        rng: source of all randomness.
        graphs: networks whose layers are taken and perturbed; without any, all is log-uniform.
        dtype: of the operators.
        limits: bounds on size.
        shares: of layers as they are, and of perturbed ones; the rest is log-uniform.
    """
    if n < 1:
        raise InvalidInput(f"n = {n} operators; sample at least one")
    limits = limits or Limits()
    sample, seen = OperatorSample(), set[tuple[Any, ...]]()
    layers = _distinct([layer for graph in graphs for layer in graph.layers])
    n_network = min(len(layers), round(shares[0] * n)) if layers else 0
    n_perturbed = round(shares[1] * n) if layers else 0
    own = [layers[i].row() for i in rng.permutation(len(layers))]
    _take(sample, seen, n_network, "network", iter(own), limits)
    perturbed = (perturb(layers[int(rng.integers(len(layers)))], rng) for _ in range(20 * n_perturbed))
    _take(sample, seen, n_perturbed, "perturbed", perturbed, limits)
    _take(sample, seen, n - len(sample.operators), "sobol", _spread(n, rng, dtype, limits), limits)
    sample.operators = [sample.operators[i] for i in rng.permutation(len(sample.operators))]
    return sample


def _distinct(layers: Sequence[Layer]) -> list[Layer]:
    return list({key_of(layer): layer for layer in layers}.values())


def _take(
    sample: OperatorSample,
    seen: set[tuple[Any, ...]],
    n: int,
    source: str,
    rows: Iterator[Mapping[str, Any]],
    limits: Limits,
) -> None:
    """Add up to n new operators from rows."""
    n_wanted = len(sample.operators) + n
    while len(sample.operators) < n_wanted:
        row = next(rows, None)
        if row is None:
            return
        try:
            operator = _operator(row, source, limits)
        except Unbuildable as reason:
            sample.skipped[str(reason)] += 1
            continue
        if operator.key not in seen:
            seen.add(operator.key)
            sample.operators.append(operator)


def _operator(row: Mapping[str, Any], source: str, limits: Limits) -> Operator:
    recipe = recipe_of(row)
    try:
        layer = trace_recipe(recipe, row["kind"], row["dtype"])
    except InvalidInput as error:
        raise Unbuildable(f"{row['kind']}: shapes that do not fit together") from error
    if layer.flops > limits.flops or layer.bytes > 4 * limits.n_elements:
        raise Unbuildable(f"{row['kind']}: beyond the limits")
    return Operator(layer, recipe, source)


def perturb(layer: Layer, rng: np.random.Generator) -> Row:
    """Return a row near a layer: batch, channels, side and kernel changed by up to a factor of two.

    What is tied stays tied: channels of element-wise operators, groups of depthwise convolutions, biases.
    """
    row = layer.row()
    factors = 2.0 ** rng.uniform(-1, 1, size=3)
    changes_batch, changes_kernel = rng.random(2) < (0.25, 0.2)
    groups = layer.groups
    is_depthwise = groups > 1 and groups == layer.in_channels == layer.out_channels
    row["in_channels"] = _scaled(layer.in_channels, factors[0], 1 if is_depthwise else groups)
    is_tied = is_depthwise or layer.in_channels == layer.out_channels
    row["out_channels"] = row["in_channels"] if is_tied else _scaled(layer.out_channels, factors[1], groups)
    if layer.kind == "cat":
        row["out_channels"] = row["in_channels"] + max(1, layer.out_channels - layer.in_channels)
    if is_depthwise:
        row["groups"] = row["in_channels"]
    if changes_batch:
        row["batch"] = _scaled(layer.batch, factors[1])
    if layer.in_h > 1 and layer.in_w > 1:
        row["in_h"], row["in_w"] = (_scaled(side, factors[2]) for side in (layer.in_h, layer.in_w))
        if not layer.kind.startswith("adaptive"):
            row["out_h"], row["out_w"] = _scaled(layer.out_h, factors[2]), _scaled(layer.out_w, factors[2])
        if layer.kind in ("max_pool2d", "avg_pool2d"):
            row["out_h"], row["out_w"] = 1, 1  # the window tells; more would ask for rounding up
    if layer.kind == "conv2d" and layer.kernel_h == layer.kernel_w and changes_kernel:
        kernel = int(rng.choice([k for k in (1, 2, 3, 4, 5, 7) if k != layer.kernel_h]))
        padding = kernel // 2 if layer.padding_h else 0
        row.update(kernel_h=kernel, kernel_w=kernel, padding_h=padding, padding_w=padding)
    return _with_bytes(row, layer)


def _scaled(value: int, factor: float, multiple: int = 1) -> int:
    return max(1, round(value * factor / multiple)) * multiple


def _with_bytes(row: Row, layer: Layer) -> Row:
    """Keep in the row's bytes what they tell of operands: a bias, the shape of a second operand."""
    item = layer.output_bytes // max(1, layer.batch * layer.out_channels * layer.out_h * layer.out_w) or 4
    matrix = row["in_channels"] // row["groups"] * row["out_channels"] * row["kernel_h"] * row["kernel_w"]
    old = layer.in_channels // layer.groups * layer.out_channels * layer.kernel_h * layer.kernel_w
    if layer.kind in ("conv2d", "linear"):
        bias = row["out_channels"] if layer.weight_bytes > item * old else 0
        row["weight_bytes"] = item * (matrix + bias)
    else:
        n_pixels = row["in_h"] * row["in_w"]
        n_new = row["batch"] * row["in_channels"] * n_pixels
        n_old = layer.batch * layer.in_channels * layer.in_h * layer.in_w
        is_whole = layer.input_bytes >= 2 * item * n_old
        has_second = layer.input_bytes > item * (n_old + 1)
        second = (n_new if is_whole else n_new // n_pixels) if has_second else 0
        row["input_bytes"], row["weight_bytes"] = item * (n_new + second), 0
    return row


def _spread(n: int, rng: np.random.Generator, dtype: str, limits: Limits) -> Iterator[Row]:
    """Yield rows from a randomly shifted Sobol sequence, log-uniform over shapes; some break the limits."""
    from scipy.stats import qmc

    n_points = max(64, 16 * n)
    points = qmc.Sobol(_N_DIMENSIONS, scramble=False).random_base2(int(np.ceil(np.log2(n_points))))
    families = list(_SHARES)
    edges = np.cumsum(list(_SHARES.values()))
    for u in (points + rng.random(_N_DIMENSIONS)) % 1.0:
        family = families[min(int(np.searchsorted(edges, u[0] * edges[-1], side="right")), len(families) - 1)]
        yield {**_row_at(family, u, limits), "dtype": dtype}


def _row_at(family: str, u: NDArray[np.float64], limits: Limits) -> Row:
    """Return the row of one family at a point of the unit cube."""
    batch, c_in, c_out = (_log(u[2], limits.batch), _log(u[3], limits.channels), _log(u[4], limits.channels))
    side = _log(u[5], limits.side)
    row: Row = {
        "batch": batch, "in_channels": c_in, "out_channels": c_in, "in_h": side, "in_w": side, "out_h": side,
        "out_w": side, "kernel_h": 1, "kernel_w": 1, "stride_h": 1, "stride_w": 1, "padding_h": 0,
        "padding_w": 0, "dilation_h": 1, "dilation_w": 1, "groups": 1,
    }  # fmt: skip
    if family == "linear":  # weights of linear layers are the largest of many networks
        row["in_channels"], c_out = (_log(v, 4 * limits.channels) for v in u[3:5])
        return {**row, "kind": "linear", "out_channels": c_out, "in_h": 1, "in_w": 1, "out_h": 1, "out_w": 1}
    if family in ("unary", "binary"):
        return _elementwise(row, _pick(_UNARY if family == "unary" else _BINARY, u[1]), u)
    if family == "pool":
        kind = _pick(_POOLS, u[1])
        kernel = 2 + int(2 * u[6])
        row.update(_square("out", 1 if kind.startswith("adaptive") else max(1, side // kernel)))
        return {**row, "kind": kind, **_square("kernel", kernel), **_square("stride", 1 + int(2 * u[7]))}
    return _convolution(row, family, c_out, u)


def _convolution(row: Row, family: str, c_out: int, u: NDArray[np.float64]) -> Row:
    kernel = 1 if family == "conv1x1" else _pick((2, 3, 3, 3, 4, 5, 5, 7), u[6])
    dilation = 2 if family == "grouped" and u[1] < 0.4 else 1
    padding = dilation * (kernel // 2)
    groups = {"depthwise": row["in_channels"], "grouped": _pick((2, 4, 8, 16), u[1])}.get(family, 1)
    if family == "grouped":
        row["in_channels"], c_out = (_scaled(c, 1.0, groups) for c in (row["in_channels"], c_out))
    row.update(kind="conv2d", groups=groups)
    row["out_channels"] = row["in_channels"] if family == "depthwise" else c_out
    row.update(_square("kernel", kernel) | _square("stride", 2 if u[7] > 0.75 else 1))
    return row | _square("padding", padding) | _square("dilation", dilation)


def _elementwise(row: Row, kind: str, u: NDArray[np.float64]) -> Row:
    row["kind"] = kind
    n_pixels = row["in_h"] * row["in_w"]
    n = row["batch"] * row["in_channels"] * n_pixels
    if kind in ("add", "mul"):  # half of the products scale whole channels, as squeeze-and-excitation does
        row["input_bytes"] = 4 * (n + (n // n_pixels if kind == "mul" and u[6] < 0.5 else n))
    elif kind == "cat":
        row["out_channels"] = row["in_channels"] + max(1, round(row["in_channels"] * 2 ** (2 * u[6] - 1)))
    elif kind.startswith("upsample"):
        row.update(_square("out", 2 * row["in_h"]))
    elif kind == "softmax":
        row.update(in_w=1, out_w=1)
    return row


def _square(name: str, value: int) -> Row:
    return {f"{name}_h": value, f"{name}_w": value}


def _pick(choices: Sequence[Any], u: float) -> Any:
    return choices[min(int(u * len(choices)), len(choices) - 1)]


def _log(u: float, high: int) -> int:
    """Return a whole number in [1, high], uniform in the logarithm."""
    return min(high, int((high + 1) ** u))
