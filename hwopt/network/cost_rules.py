"""Cost rules: a table of rules by operator, and the operators without cost.

A rule maps an `Operation` to the fields of its `Layer` that differ from the defaults. The tracer fills in name, operator,
dtype, bytes (`output_bytes` if not given) and, from the first operand and the first result, the shapes. A custom rule:

    from hwopt.network import RULES, Operation

    def fft(operation: Operation) -> dict[str, object]:
        n = operation.out.numel()
        return {"kind": "fft", "elementwise_ops": int(5 * n * math.log2(n))}

    RULES["aten._fft_r2c"] = fft                       # an in-place form (`aten.relu_`) falls back on `aten.relu`
    RULES["aten.erfinv"] = elementwise("erfinv")       # one operation for each element of the result

Conventions. `flops`: 2 for a multiply-add of a convolution, a matrix product or attention, without the bias, as in
PyTorch's flop counter. `elementwise_ops`, all other operations:

    pointwise function             1 for each element of the result
    pooling, interpolation         kernel_h * kernel_w (the elements combined) for each element of the result
    reduction                      1 for each element of the operand
    batch norm, stored statistics  2 for each element: scale and shift
    other normalisation            5 for each element: mean, variance, subtract, scale, shift
    softmax                        5 for each element: maximum, subtract, exponential, sum, divide
    matrix-vector product          2 for each multiply-add (not counted by PyTorch's flop counter)
    recurrent layer                13, 11 or 2 for each element of the state and step of an LSTM, GRU or RNN
    moving data                    0: cat, copy, pad, index, embedding, fill

Columns. Shapes [N, C, H, W] and [N, C] are unchanged; [N, L, C] is L tokens of C channels: channels C, height L, width 1.
With more than four dimensions the inner ones are folded into the height. Exceptions:

    conv1d, conv_transpose1d, batch_norm on [N, C, L]   height 1, width L, the kernel likewise
    conv3d, pooling in 3-d          depth folds into the height: in_h = D * H, kernel_h = kd * kh, stride_h = sd * sh
    linear                          batch = rows (all leading dimensions multiplied), height and width 1
    matmul [B, M, K] x [B, K, N]    batch B, in_channels K, out_channels N, in_h = out_h = M
    attention [B, heads, L, E]      batch B, groups = heads, in_channels = heads * E, in_h = out_h = L, kernel_h = number of keys
    lstm, gru, rnn [N, L, C]        one row a layer, both directions: groups = directions, in_h = out_h = L, kernel_h = size of
                                    the state, out_channels = directions * size of the result
    pointwise, reduction            operators with this tag in PyTorch and without a kind of their own
    unknown                         operator without a rule: bytes of operands and results, 1 operation per element
    layer_norm                      channels = normalised size, height = product of the dimensions in between
    adaptive pooling, mean over H, W  effective kernel and stride, in / out; the mean is an adaptive_avg_pool2d to 1 x 1
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

from hwopt.network.operation_counts import FORMULAS, POINTWISE, REDUCTIONS

if TYPE_CHECKING:
    from torch import Tensor

Fields = dict[str, Any]


class Operation:
    """One call of an operator, on the meta device.

    Attributes:
        name: for example "aten.convolution".
        args: positional arguments; trailing ones with their default value are absent.
        kwargs: keyword arguments.
        operands: all tensors in the arguments, lists flattened, in order.
        results: all returned tensors, in order.
    """

    __slots__ = ("args", "kwargs", "name", "operands", "results", "_weights")

    def __init__(
        self,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        operands: list[Tensor],
        results: list[Tensor],
        weights: set[int],
    ) -> None:
        self.name, self.args, self.kwargs = name, args, kwargs
        self.operands, self.results, self._weights = operands, results, weights

    @property
    def x(self) -> Tensor:
        """The first tensor operand."""
        return self.operands[0]

    @property
    def out(self) -> Tensor:
        """The first result."""
        return self.results[0]

    def argument(self, position: int, default: Any = None) -> Any:
        """Return a positional argument, or `default` if it is absent."""
        return self.args[position] if position < len(self.args) else default

    def is_weight(self, tensor: Tensor) -> bool:
        """Return whether a tensor is a parameter or buffer of the network, or a view of one."""
        return tensor.untyped_storage()._cdata in self._weights


Rule = Callable[[Operation], Fields]
UNKNOWN = "unknown"  # kind of an operator without a rule


def elementwise(kind: str, ops: int = 1) -> Rule:
    """Return a rule for an operator that does `ops` operations for each element of its result."""

    def rule(operation: Operation) -> Fields:
        return {"kind": kind, "elementwise_ops": ops * operation.out.numel()}

    return rule


def reduction(kind: str, ops: int = 1) -> Rule:
    """Return a rule for an operator that does `ops` operations for each element of its operand."""

    def rule(operation: Operation) -> Fields:
        return {"kind": kind, "elementwise_ops": ops * operation.x.numel()}

    return rule


def columns(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return (batch, channels, height, width) of a shape of unknown layout."""
    n = len(shape)
    if n == 4:
        return shape  # type: ignore[return-value]
    if n == 3:
        return shape[0], shape[2], shape[1], 1
    if n <= 2:
        batch, channels, *_ = (*shape, 1, 1)
        return batch, channels, 1, 1
    return shape[0], shape[1], prod(shape[2:-1]), shape[-1]


def planes(shape: tuple[int, ...], n_spatial: int) -> tuple[int, int, int, int]:
    """Return (batch, channels, height, width) of [N, C, *spatial] or [C, *spatial]; height includes depth."""
    batch = shape[0] if len(shape) == n_spatial + 2 else 1
    spatial = shape[len(shape) - n_spatial :]
    return batch, shape[-n_spatial - 1], prod(spatial[:-1]), spatial[-1] if spatial else 1


def _pair(values: Any, n_spatial: int, neutral: int, fold: bool = False) -> tuple[int, int]:
    """Return the values of height and width from one value for each spatial dimension, or one for all."""
    values = list(values) if isinstance(values, (list, tuple)) else [values]
    if len(values) == 1:
        values *= n_spatial
    if n_spatial == 1:
        return neutral, values[0]
    return (prod(values[:-1]) if fold else values[-2]), values[-1]


def _shape_fields(x: tuple[int, int, int, int], out: tuple[int, int, int, int]) -> Fields:
    names = ("batch", "in_channels", "in_h", "in_w", "out_channels", "out_h", "out_w")
    return dict(zip(names, (*x, *out[1:]), strict=True))


def _window(n_spatial: int, kernel: Any, stride: Any, padding: Any = 0, dilation: Any = 1) -> Fields:
    """Return the columns of a sliding window."""
    fields: Fields = {}
    fields["kernel_h"], fields["kernel_w"] = _pair(kernel, n_spatial, 1, fold=True)
    fields["stride_h"], fields["stride_w"] = _pair(stride, n_spatial, 1, fold=True)
    fields["padding_h"], fields["padding_w"] = _pair(padding, n_spatial, 0)
    fields["dilation_h"], fields["dilation_w"] = _pair(dilation, n_spatial, 1)
    return fields


def _convolution(operation: Operation) -> Fields:
    x, weight, _, stride, padding, dilation, transposed, _, groups = operation.args
    n_spatial = weight.dim() - 2
    return _with_flops(
        f"conv_transpose{n_spatial}d" if transposed else f"conv{n_spatial}d",
        groups=groups,
        **_shape_fields(planes(x.shape, n_spatial), planes(operation.out.shape, n_spatial)),
        **_window(n_spatial, weight.shape[2:], stride, padding, dilation),
    )


def _with_flops(kind: str, **fields: Any) -> Fields:
    """Return the fields of a layer, with its FLOPs added."""
    flops = FORMULAS[kind].flops
    assert flops is not None, kind
    return {"kind": kind, "flops": flops(fields), **fields}


def _matrix_product(operation: Operation, first: int) -> Fields:
    """Return the fields of [M, K] x [K, N], from argument `first` on: linear if the second is a weight."""
    a, b = operation.args[first : first + 2]
    (rows, inner), n = a.shape, b.shape[1]
    is_linear = operation.is_weight(b)
    batch, h = (rows, 1) if is_linear else (1, rows)
    shapes = _shape_fields((batch, inner, h, 1), (batch, n, h, 1))
    return _with_flops("linear" if is_linear else "matmul", groups=1, **shapes)


def _batched_matrix_product(operation: Operation, first: int) -> Fields:
    a, b = operation.args[first : first + 2]
    (batch, rows, inner), n = a.shape, b.shape[2]
    return _with_flops("matmul", **_shape_fields((batch, inner, rows, 1), (batch, n, rows, 1)))


def _convolution_of_lines(operation: Operation) -> Fields:
    """Return the fields of a convolution of [T, B, C] with weights [K, C, out]."""
    (length, batch, c_in), (kernel, _, c_out) = operation.x.shape, operation.args[1].shape
    out = (batch, c_out, 1, operation.out.shape[0])
    window = {"kernel_h": 1, "kernel_w": kernel, "padding_w": operation.argument(3, 0)}
    return _with_flops("conv1d", groups=1, **_shape_fields((batch, c_in, 1, length), out), **window)


def _trilinear(operation: Operation) -> Fields:
    """Return the fields of a sum of products of three tensors; arguments 3 to 5 are dimensions to expand."""
    shapes = []
    for tensor, expanded in zip(operation.args[:3], operation.args[3:6], strict=True):
        shape = list(tensor.shape)
        for dim in sorted(expanded):
            shape.insert(dim, 1)
        shapes.append(shape)
    n_products = prod(max(sizes) for sizes in zip(*shapes, strict=True))
    return {"kind": "bilinear", "elementwise_ops": 3 * n_products}


def _distances(operation: Operation) -> Fields:
    """Return the fields of distances between rows [.., P, M] and [.., R, M]: subtract, power, add."""
    return {"kind": "cdist", "elementwise_ops": 3 * operation.x.shape[-1] * operation.out.numel()}


def recurrent(kind: str) -> Rule:
    """Return the rule of a recurrent layer on [N, L, C].

    The operation has the positional arguments input, directions, state size, and size of the result in each
    direction; the operands include the weights.
    """

    def rule(operation: Operation) -> Fields:
        x, directions, state, size = operation.args[:4]
        batch, length, channels = x.shape
        shapes = _shape_fields((batch, channels, length, 1), (batch, directions * size, length, 1))
        fields = _with_flops(kind, groups=directions, kernel_h=state, **shapes)
        operations = FORMULAS[kind].operations
        assert operations is not None, kind
        return {**fields, "elementwise_ops": operations(fields)}

    return rule


def _attention(operation: Operation) -> Fields:
    query, key, value = operation.args[:3]
    batch, heads, length, features = query.shape
    keys, out_features = key.shape[2], value.shape[3]
    shapes = _shape_fields((batch, heads * features, length, 1), (batch, heads * out_features, length, 1))
    softmax = 5 * batch * heads * length * keys
    return _with_flops("attention", elementwise_ops=softmax, groups=heads, kernel_h=keys, **shapes)


def _pool(kind: str, n_spatial: int) -> Rule:
    is_max = kind.startswith("max")

    def rule(operation: Operation) -> Fields:
        kernel, padding = operation.args[1], operation.argument(3, 0)
        stride = operation.argument(2) or kernel  # an empty stride means the kernel
        dilation = operation.argument(4, 1) if is_max else 1
        fields = _window(n_spatial, kernel, stride, padding, dilation)
        taps = fields["kernel_h"] * fields["kernel_w"]
        shapes = _shape_fields(planes(operation.x.shape, n_spatial), planes(operation.out.shape, n_spatial))
        return {"kind": kind, "elementwise_ops": taps * operation.out.numel(), **shapes, **fields}

    return rule


def _adaptive_pool(kind: str, n_spatial: int) -> Rule:
    def rule(operation: Operation) -> Fields:
        shapes = _shape_fields(planes(operation.x.shape, n_spatial), planes(operation.out.shape, n_spatial))
        fields = {"kind": kind, **shapes, **_effective_window(shapes)}
        fields["elementwise_ops"] = fields["kernel_h"] * fields["kernel_w"] * operation.out.numel()
        return fields

    return rule


def _effective_window(shapes: Fields) -> Fields:
    """Return kernel and stride of an adaptive pool: in / out, rounded up and down."""
    h, w = (shapes["in_h"], shapes["out_h"]), (shapes["in_w"], shapes["out_w"])
    return {
        "kernel_h": -(-h[0] // h[1]), "kernel_w": -(-w[0] // w[1]),
        "stride_h": max(1, h[0] // h[1]), "stride_w": max(1, w[0] // w[1]),
    }  # fmt: skip


def _antialiased(radius: int) -> Rule:
    """Return the rule of an antialiased interpolation, whose kernel is scaled with the reduction factor."""

    def rule(operation: Operation) -> Fields:
        shapes = _shape_fields(planes(operation.x.shape, 2), planes(operation.out.shape, 2))
        taps = [2 * radius * max(1, -(-shapes[f"in_{side}"] // shapes[f"out_{side}"])) for side in ("h", "w")]
        # One pass along the width, then one along the height.
        ops = sum(taps) * operation.out.numel()
        return {"kind": "upsample_antialiased", "elementwise_ops": ops, **shapes}

    return rule


def _mean(operation: Operation) -> Fields:
    """Return the fields of a mean; over height and width it is global average pooling."""
    x, dims = operation.x, operation.argument(1) or ()
    if x.dim() != 4 or {d % 4 for d in dims} != {2, 3}:
        return {"kind": "mean", "elementwise_ops": x.numel()}
    n, c, h, w = x.shape
    shapes = _shape_fields((n, c, h, w), (n, c, 1, 1))
    return {
        "kind": "adaptive_avg_pool2d",
        "elementwise_ops": x.numel(),
        **shapes,
        **_effective_window(shapes),
    }


def _batch_norm(operation: Operation) -> Fields:
    shape = planes(operation.x.shape, operation.x.dim() - 2)
    has_statistics = operation.argument(3) is not None and not operation.argument(5, False)
    ops = (2 if has_statistics else 5) * operation.out.numel()
    fields = {"kind": "batch_norm", "elementwise_ops": ops, **_shape_fields(shape, shape)}
    if has_statistics:
        fields["output_bytes"] = operation.out.nbytes  # without the statistics, which are not written
    return fields


def _group_norm(operation: Operation) -> Fields:
    shape, ops = planes(operation.x.shape, operation.x.dim() - 2), 5 * operation.out.numel()
    fields = _shape_fields(shape, shape)
    return {"kind": "group_norm", "elementwise_ops": ops, "groups": operation.args[6], **fields}


def _layer_norm(operation: Operation) -> Fields:
    size = prod(operation.args[1])
    batch = operation.x.shape[0] if operation.x.dim() > len(operation.args[1]) else 1
    shape = (batch, size, operation.x.numel() // (batch * size), 1)
    return {"kind": "layer_norm", "elementwise_ops": 5 * operation.out.numel(), **_shape_fields(shape, shape)}


def _fractional_pool(operation: Operation) -> Fields:
    shapes = _shape_fields(planes(operation.x.shape, 2), planes(operation.out.shape, 2))
    kernel = dict(zip(("kernel_h", "kernel_w"), operation.args[1], strict=True))
    ops = prod(kernel.values()) * operation.out.numel()
    return {"kind": "fractional_max_pool2d", "elementwise_ops": ops, **shapes, **kernel}


def _matrix_vector(operation: Operation) -> Fields:
    return {"kind": "matrix_vector", "elementwise_ops": 2 * max(x.numel() for x in operation.operands)}


def _interpolation(kind: str, taps: int, n_spatial: int) -> Rule:
    def rule(operation: Operation) -> Fields:
        shapes = _shape_fields(planes(operation.x.shape, n_spatial), planes(operation.out.shape, n_spatial))
        return {"kind": kind, "elementwise_ops": taps * operation.out.numel(), **shapes}

    return rule


# Operators that move or create elements, by kind.
_MOVES = {
    "cat": "cat stack block_diag",
    "copy": "clone copy contiguous _to_copy repeat roll flip rot90 view_copy repeat_interleave",
    "pad": "constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d "
    "replication_pad2d replication_pad3d",
    "index": "index index_select gather take index_put index_add index_copy index_fill index_reduce nonzero "
    "scatter scatter_add scatter_reduce slice_scatter select_scatter diagonal_scatter masked_select "
    "masked_scatter max_unpool2d max_unpool3d bucketize searchsorted _pack_padded_sequence",
    "embedding": "embedding",
    "embedding_bag": "_embedding_bag _embedding_bag_forward_only",
    "shuffle": "pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle im2col col2im",
    "fill": "zeros ones full arange linspace eye scalar_tensor zeros_like ones_like full_like rand randn "
    "rand_like randn_like new_zeros new_ones new_full fill zero bernoulli normal uniform randint randperm "
    "tril_indices triu_indices logspace exponential geometric cauchy log_normal random diag_embed "
    "hann_window hamming_window blackman_window bartlett_window kaiser_window",
}

# Rare reductions and scans that PyTorch does not tag as reductions.
_OTHER_REDUCTIONS = """
    cummax cummin logcumsumexp median nanmedian mode kthvalue histc renorm dist multinomial
""".split()

RULES: dict[str, Rule] = {
    "aten.convolution": _convolution,
    "aten.addmm": lambda operation: _matrix_product(operation, 1),
    "aten.mm": lambda operation: _matrix_product(operation, 0),
    "aten.bmm": lambda operation: _batched_matrix_product(operation, 0),
    "aten.baddbmm": lambda operation: _batched_matrix_product(operation, 1),
    "aten.mv": _matrix_vector,
    "aten.addmv": _matrix_vector,
    "aten.dot": _matrix_vector,
    "aten.vdot": _matrix_vector,
    "aten.addbmm": lambda operation: _batched_matrix_product(operation, 1),
    "aten.conv_tbc": _convolution_of_lines,
    "aten._trilinear": _trilinear,
    "aten._cdist_forward": _distances,
    **{f"aten.{name}": recurrent(name[:4].rstrip("_")) for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")},
    "aten.scaled_dot_product_attention": _attention,
    "aten._scaled_dot_product_flash_attention": _attention,
    "aten._scaled_dot_product_flash_attention_for_cpu": _attention,
    "aten._scaled_dot_product_efficient_attention": _attention,
    "aten._scaled_dot_product_cudnn_attention": _attention,
    "aten.max_pool2d_with_indices": _pool("max_pool2d", 2),
    "aten.max_pool3d_with_indices": _pool("max_pool3d", 3),
    "aten.avg_pool1d": _pool("avg_pool1d", 1),
    "aten.avg_pool2d": _pool("avg_pool2d", 2),
    "aten.avg_pool3d": _pool("avg_pool3d", 3),
    "aten._adaptive_avg_pool2d": _adaptive_pool("adaptive_avg_pool2d", 2),
    "aten._adaptive_avg_pool3d": _adaptive_pool("adaptive_avg_pool3d", 3),
    "aten.adaptive_max_pool2d": _adaptive_pool("adaptive_max_pool2d", 2),
    "aten.adaptive_max_pool3d": _adaptive_pool("adaptive_max_pool3d", 3),
    "aten.mean": _mean,
    "aten.native_batch_norm": _batch_norm,
    "aten.native_layer_norm": _layer_norm,
    "aten.native_group_norm": _group_norm,
    "aten._fused_rms_norm": reduction("rms_norm", ops=5),
    "aten._weight_norm_interface": reduction("weight_norm", ops=5),
    "aten._softmax": elementwise("softmax", ops=5),
    "aten._safe_softmax": elementwise("softmax", ops=5),
    "aten._log_softmax": elementwise("log_softmax", ops=5),
    "aten.glu": elementwise("glu", ops=2),
    "aten._prelu_kernel": elementwise("prelu"),
    "aten.rrelu_with_noise": elementwise("rrelu"),
    "aten.rsub": elementwise("sub"),
    "aten.upsample_nearest1d": _interpolation("upsample_nearest", 1, 1),
    "aten.upsample_nearest2d": _interpolation("upsample_nearest", 1, 2),
    "aten.upsample_nearest3d": _interpolation("upsample_nearest", 1, 3),
    **{f"aten._upsample_nearest_exact{n}d": _interpolation("upsample_nearest", 1, n) for n in (1, 2, 3)},
    "aten._upsample_bilinear2d_aa": _antialiased(1),
    "aten._upsample_bicubic2d_aa": _antialiased(2),
    "aten.upsample_linear1d": _interpolation("upsample_linear", 2, 1),
    "aten.upsample_bilinear2d": _interpolation("upsample_bilinear", 4, 2),
    "aten.upsample_trilinear3d": _interpolation("upsample_trilinear", 8, 3),
    "aten.upsample_bicubic2d": _interpolation("upsample_bicubic", 16, 2),
    "aten.grid_sampler_2d": _interpolation("grid_sampler", 4, 2),
    "aten.grid_sampler_3d": _interpolation("grid_sampler_3d", 8, 3),
    "aten.affine_grid_generator": elementwise("affine_grid", ops=6),
    "aten.fractional_max_pool2d": _fractional_pool,
    "aten.complex": elementwise("pointwise"),
    "aten.polar": elementwise("pointwise", ops=2),
    "aten.linalg_cross": elementwise("pointwise", ops=5),
    **{f"aten.{word}": reduction("reduction") for word in _OTHER_REDUCTIONS},
    **{f"aten.{word}": elementwise(word) for word in POINTWISE},
    **{f"aten.{word}": reduction(word) for word in REDUCTIONS},
    **{f"aten.{word}": elementwise(kind, ops=0) for kind, words in _MOVES.items() for word in words.split()},
}

# Kinds of all rules.
KINDS = frozenset((*FORMULAS, UNKNOWN))

# Views, and operators that only allocate memory or read one number, which are not layers. Other operators
# that PyTorch marks as views are free as well, unless they have a rule.
FREE: set[str] = {
    f"aten.{word}"
    for word in """
    view _unsafe_view reshape _reshape_alias alias detach lift_fresh expand expand_as permute transpose t
    slice select squeeze unsqueeze split split_with_sizes unsafe_split unsafe_split_with_sizes chunk unbind
    as_strided diagonal unfold narrow movedim view_as real imag view_as_real view_as_complex conj _conj
    resolve_conj resolve_neg empty empty_like empty_strided new_empty new_empty_strided _local_scalar_dense
    is_same_size sym_size sym_numel sym_stride _assert_async _assert_scalar numpy_T mT mH positive
    requires_grad _linalg_check_errors
""".split()
} | {f"profiler._record_function_{word}" for word in ("enter", "enter_new", "exit")}
