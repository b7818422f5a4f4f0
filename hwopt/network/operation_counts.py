"""Formulas of a layer's work as functions of its columns, used by the tracer and for derived columns.

    FLOPs        2 for a multiply-add of a convolution, a matrix product, attention or a recurrent layer
    operations   element-wise work, see `hwopt.network.cost_rules`
    elements     of inputs, of weights without biases, of the result
    side         height or width of the result

Columns are whole numbers of one layer, or arrays [n] of n layers of the same kind. A formula is None if the
value cannot be derived from the columns, such as the size of a result that differs from the operand's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

Columns = Mapping[str, Any]
Formula = Callable[[Columns], Any]

# Pointwise operators: "aten.<word>" has the kind <word>.
POINTWISE = tuple(
    """
    relu hardtanh silu gelu sigmoid hardsigmoid hardswish tanh elu leaky_relu log_sigmoid_forward mish
    softplus softshrink hardshrink threshold celu selu prelu rrelu add sub mul div pow sqrt rsqrt exp exp2
    expm1 log log2 log1p abs neg sign reciprocal square floor ceil round trunc frac clamp clamp_min clamp_max
    maximum minimum fmod remainder sin cos tan atan atan2 sinh cosh erf lerp addcmul addcdiv where masked_fill
    eq ne lt le gt ge logical_not logical_and logical_or logical_xor bitwise_not bitwise_and bitwise_or
    bitwise_xor isnan isinf isfinite tril triu floor_divide nan_to_num
    """.split()
)
# Reductions, likewise.
REDUCTIONS = tuple(
    """
    sum amax amin max min prod var std var_mean std_mean argmax argmin any all norm linalg_vector_norm
    logsumexp cumsum cumprod sort topk
    """.split()
)
# Kinds that move or create elements.
MOVES = ("cat", "copy", "pad", "index", "embedding", "embedding_bag", "shuffle", "fill")
_GATES = {"rnn": 1, "gru": 3, "lstm": 4}  # matrices of a recurrent layer for its input, and for its state
_STATE_OPS = {"rnn": 2, "gru": 11, "lstm": 13}  # element-wise operations of a step per element of the state


@dataclass(frozen=True, slots=True)
class Formulas:
    """Formulas of a kind; None for values that cannot be derived from the columns."""

    flops: Formula | None
    operations: Formula | None
    inputs: Formula | None
    weights: Formula | None
    outputs: Formula | None
    out_h: Formula | None
    out_w: Formula | None
    place_bytes: int = 0  # further bytes for each element of the result: the index of a maximum


def zero(columns: Columns) -> Any:
    """Return 0 for each layer."""
    return 0 * columns["batch"]


def n_in(columns: Columns) -> Any:
    """Return the number of elements of the first operand."""
    return columns["batch"] * columns["in_channels"] * columns["in_h"] * columns["in_w"]


def n_out(columns: Columns) -> Any:
    """Return the number of elements of the result."""
    return columns["batch"] * columns["out_channels"] * columns["out_h"] * columns["out_w"]


def window(columns: Columns) -> Any:
    """Return the number of elements in a window."""
    return columns["kernel_h"] * columns["kernel_w"]


def of_result(ops: int) -> Formula:
    """Return the formula for `ops` operations for each element of the result."""
    return lambda columns: ops * n_out(columns)


def _times(factor: int, formula: Formula) -> Formula:
    return lambda columns: factor * formula(columns)


def _same(side: str) -> Formula:
    return lambda columns: columns[f"in_{side}"]


def _slid(side: str) -> Formula:
    def formula(columns: Columns) -> Any:
        size, kernel, stride, padding, dilation = _along(columns, side)
        return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1

    return formula


def _spread(side: str) -> Formula:
    """Return the formula of a transposed convolution's output side, without output padding."""

    def formula(columns: Columns) -> Any:
        size, kernel, stride, padding, dilation = _along(columns, side)
        return (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1

    return formula


def _along(columns: Columns, side: str) -> tuple[Any, ...]:
    return tuple(columns[f"{name}_{side}"] for name in ("in", "kernel", "stride", "padding", "dilation"))


def _matrix(columns: Columns) -> Any:
    """Return in_channels * out_channels / groups."""
    return columns["in_channels"] * columns["out_channels"] // columns["groups"]


def _kernels(columns: Columns) -> Any:
    return _matrix(columns) * window(columns)


def _larger(a: Any, b: Any) -> Any:
    return (a + b + abs(a - b)) // 2


def _state(columns: Columns) -> Any:
    """Return the size of a recurrent layer's state in one direction, before a projection."""
    return _larger(columns["kernel_h"], columns["out_channels"] // columns["groups"])


def _recurrent_weights(n_gates: int) -> Formula:
    """Return the formula of a recurrent layer's weights: input, state and projection matrices."""

    def formula(columns: Columns) -> Any:
        state, size = _state(columns), columns["out_channels"] // columns["groups"]
        projection = state * size * (state > size)
        return columns["groups"] * (n_gates * state * (columns["in_channels"] + size) + projection)

    return formula


_ONE = of_result(1)


def _plain(operations: Formula | None = _ONE, **others: Any) -> Formulas:
    """Return the formulas of an operator with one operand and a result of the same size."""
    return replace(Formulas(zero, operations, n_in, zero, n_out, _same("h"), _same("w")), **others)


def _resized(operations: Formula | None = _ONE, **others: Any) -> Formulas:
    """Return the formulas of an operator whose result size cannot be derived from the columns."""
    return _plain(operations, **{"out_h": None, "out_w": None, **others})


def _convolution(n_spatial: int, is_transposed: bool = False) -> Formulas:
    side, place = (_spread, "in") if is_transposed else (_slid, "out")
    return _plain(
        zero,
        flops=lambda c: 2 * c["batch"] * c[f"{place}_h"] * c[f"{place}_w"] * _kernels(c),
        weights=_kernels,
        out_h=None if n_spatial == 3 else side("h"),  # depth and height are one column
        out_w=side("w"),
    )


def _recurrent(kind: str) -> Formulas:
    weights = _recurrent_weights(_GATES[kind])
    return _plain(
        lambda c: _STATE_OPS[kind] * c["batch"] * c["in_h"] * c["groups"] * _state(c),
        flops=lambda c: 2 * c["batch"] * c["in_h"] * weights(c),
        weights=weights,
    )


def _pool(n_spatial: int, place_bytes: int = 0) -> Formulas:
    out_h = None if n_spatial == 3 else _slid("h")
    operations = lambda c: window(c) * n_out(c)  # noqa: E731
    return _plain(operations, out_h=out_h, out_w=_slid("w"), place_bytes=place_bytes)


def _attention_flops(c: Columns) -> Any:
    return 2 * c["batch"] * c["in_h"] * c["kernel_h"] * (c["in_channels"] + c["out_channels"])


def _scores(columns: Columns) -> Any:
    return columns["batch"] * columns["groups"] * columns["in_h"] * columns["kernel_h"]


def _attention_operands(c: Columns) -> Any:
    keys_and_values = c["batch"] * c["kernel_h"] * (c["in_channels"] + c["out_channels"])
    return n_in(c) + keys_and_values


def _rows(columns: Columns) -> Any:
    return columns["batch"] * columns["in_h"] * columns["in_w"]


FORMULAS: dict[str, Formulas] = {
    **dict.fromkeys((*POINTWISE, "pointwise"), _plain()),
    **dict.fromkeys(("add", "sub", "mul", "div"), _plain(inputs=_times(2, n_in))),
    **dict.fromkeys(REDUCTIONS, _resized(n_in)),
    **dict.fromkeys(("reduction", "mean"), _resized(n_in)),
    **dict.fromkeys(("cumsum", "cumprod", "sort"), _plain(n_in)),
    **dict.fromkeys(MOVES, _resized(zero)),
    **dict.fromkeys(("cat", "copy"), _plain(zero, inputs=n_out)),
    "embedding_bag": _resized(zero, inputs=None, weights=lambda c: c["batch"] * c["in_channels"]),
    "embedding": _resized(zero, inputs=None, weights=lambda c: c["batch"] * c["in_channels"], outputs=None),
    **{f"conv{n}d": _convolution(n) for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": _convolution(n, is_transposed=True) for n in (1, 2, 3)},
    "linear": _plain(zero, flops=lambda c: 2 * _rows(c) * _matrix(c), weights=_matrix),
    "matmul": _plain(
        zero,
        flops=lambda c: 2 * _rows(c) * c["in_channels"] * c["out_channels"],
        inputs=lambda c: n_in(c) + c["batch"] * c["in_channels"] * c["out_channels"],
    ),
    "matrix_vector": _resized(_times(2, n_in), inputs=lambda c: n_in(c) + c["in_channels"]),
    "attention": _plain(
        _times(5, _scores),
        flops=_attention_flops,
        inputs=_attention_operands,
        outputs=lambda c: n_out(c) + c["batch"] * c["groups"] * c["in_h"],  # and the softmax normalisers
    ),
    **{kind: _recurrent(kind) for kind in _GATES},
    **{f"max_pool{n}d": _pool(n, place_bytes=8) for n in (1, 2, 3)},
    **{f"avg_pool{n}d": _pool(n) for n in (1, 2, 3)},
    **{
        f"adaptive_{word}_pool{n}d": _resized(lambda c: window(c) * n_out(c), place_bytes=size)
        for word, size in (("max", 8), ("avg", 0))
        for n in (1, 2, 3)
    },
    "batch_norm": _plain(of_result(2), weights=lambda c: 4 * c["in_channels"]),
    **dict.fromkeys(
        ("layer_norm", "group_norm"), _plain(of_result(5), weights=lambda c: 2 * c["in_channels"])
    ),
    "rms_norm": _plain(of_result(5), weights=lambda c: c["in_channels"]),
    **dict.fromkeys(("softmax", "log_softmax", "weight_norm"), _plain(of_result(5))),
    "affine_grid": _resized(of_result(6)),
    "upsample_antialiased": _resized(None),
    "bilinear": _resized(None),
    "cdist": _resized(lambda c: 3 * c["in_channels"] * n_out(c), inputs=None),
    "fractional_max_pool2d": _resized(lambda c: window(c) * n_out(c), place_bytes=8),
    "grid_sampler_3d": _resized(
        of_result(8), inputs=lambda c: n_in(c) + 3 * c["batch"] * c["out_h"] * c["out_w"]
    ),
    "glu": _resized(of_result(2)),
    "upsample_nearest": _resized(of_result(1)),
    "upsample_linear": _resized(of_result(2)),
    "upsample_bilinear": _resized(of_result(4)),
    "upsample_trilinear": _resized(of_result(8)),
    "upsample_bicubic": _resized(of_result(16)),
    "grid_sampler": _resized(
        of_result(4), inputs=lambda c: n_in(c) + 2 * c["batch"] * c["out_h"] * c["out_w"]
    ),
}

_NOTHING = Formulas(None, None, n_in, zero, n_out, _same("h"), _same("w"))


def formulas_of(kind: str) -> Formulas:
    """Return the formulas of a kind; those of an unknown kind assume a result of the operand's size."""
    return FORMULAS.get(kind, _NOTHING)
