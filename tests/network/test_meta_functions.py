"""A meta_function gives what PyTorch gives, its errors included, and stands aside where it is not certain."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hwopt.network.meta_dispatch import operator_of, run_on_meta
from hwopt.network.meta_functions import META_FUNCTIONS

aten = torch.ops.aten
UNARY = "relu silu gelu sigmoid hardsigmoid hardswish tanh elu leaky_relu hardtanh".split()
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64]


def meta(*shape, dtype=torch.float32):
    return torch.empty(shape, dtype=dtype, device="meta")


def description(out):
    results = [out] if isinstance(out, torch.Tensor) else out
    return [(x.shape, x.stride(), x.dtype, x.device, x.untyped_storage().nbytes()) for x in results]


def outcome(run):
    try:
        return description(run())
    except Exception as error:
        return type(error), str(error)


def check(function, *args, **kwargs):
    """Twice: what a meta_function, or the first call, gives, and what is remembered of it."""
    expected = outcome(lambda: function(*args, **kwargs))
    for _ in range(2):
        assert outcome(lambda: run_on_meta(operator_of(function), args, kwargs)) == expected


def layouts(x):
    """A tensor as it is, transposed, with gaps, and expanded: only the first is dense in order."""
    return [x, x.transpose(0, -1), x[..., ::2], x[:1].expand(3, *x.shape[1:])]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", UNARY)
def test_a_pointwise_function_gives_what_pytorch_gives(name, dtype):
    for x in [*layouts(meta(2, 6, 4, 4, dtype=dtype)), meta(3, dtype=dtype), meta(dtype=dtype)]:
        check(getattr(aten, name).default, x)
    images = meta(2, 6, 4, 4, dtype=dtype).to(memory_format=torch.channels_last)
    check(getattr(aten, name).default, images)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div"])
def test_arithmetic_gives_what_pytorch_gives(name):
    function = getattr(aten, name).Tensor
    for x in layouts(meta(2, 6, 4)):
        for other in (x, meta(4), meta(2, 6, 4, dtype=torch.float16), meta(1, 6, 1), 2, 0.5, True, 2j):
            check(function, x, other)
    for dtype in (torch.int64, torch.float16, torch.bool):
        check(function, meta(3, dtype=dtype), 2)
        check(function, meta(3, dtype=dtype), meta(3, dtype=dtype))
    check(function, meta(2, 3), meta(2, 4))  # an error, and PyTorch's


def test_a_division_that_rounds_gives_what_pytorch_gives():
    check(aten.div.Tensor_mode, meta(3), meta(3), rounding_mode="floor")


@pytest.mark.parametrize("name", [name for name in META_FUNCTIONS if name.endswith("_")])
def test_an_in_place_operator_returns_the_tensor_that_it_changed(name):
    packet, x = getattr(aten, name.removeprefix("aten.")), meta(2, 3)
    is_binary = "Tensor" in packet.overloads()
    function = packet.Tensor if is_binary else packet.default
    args = (x, meta(2, 3)) if is_binary else (x,)
    assert run_on_meta(operator_of(function), args, {}) is x
    if is_binary:
        check(function, x, meta(2, 4))
        check(function, x, meta(3))


sides = st.integers(1, 5)


@settings(max_examples=80, deadline=None)
@given(sides, sides, sides, sides, sides, st.sampled_from(DTYPES))
def test_a_linear_layer_gives_what_pytorch_gives_fitting_or_not(bias, m, k, k2, n, dtype):
    weight = meta(n, k2).t()  # as nn.Linear keeps it
    for size in (bias, n):
        for inner in (k, k2):
            check(aten.addmm.default, meta(size), meta(m, inner, dtype=dtype), weight)


@pytest.mark.parametrize("dtype", DTYPES[:4], ids=str)
@pytest.mark.parametrize("is_training", [False, True])
def test_batch_normalisation_gives_what_pytorch_gives(is_training, dtype):
    for shape in ((2, 3), (2, 3, 4), (2, 3, 4, 5)):
        x = meta(*shape, dtype=dtype)
        for channels in (3, 4):
            statistics = [meta(channels, dtype=dtype)] * 4
            check(aten.native_batch_norm.default, x, *statistics, is_training, 0.1, 1e-5)
    no_weights = [None, None, *statistics[2:]]
    check(aten.native_batch_norm.default, meta(2, 4, 3, dtype=dtype), *no_weights, is_training, 0.1, 1e-5)


@pytest.mark.parametrize("dims", [[2, 3], [-1, -2], [1, 2], [2], []])
def test_a_mean_gives_what_pytorch_gives(dims):
    for x in [*layouts(meta(2, 6, 4, 4)), meta(2, 3, 4), meta(2, 3, 4, 5, dtype=torch.int64)]:
        for keeps in (True, False):
            check(aten.mean.dim, x, dims, keeps)
    check(aten.mean.dim, meta(2, 3, 4, 5), dims, True, dtype=torch.float64)


def test_a_result_that_shares_memory_is_not_remembered_as_one_of_its_own():
    x = meta(4, 6)
    for _ in range(2):
        out = run_on_meta(operator_of(aten._unsafe_view.default), (x, [24]), {})
        assert out.untyped_storage()._cdata == x.untyped_storage()._cdata


pairs = st.tuples(st.integers(0, 3), st.integers(0, 3))


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([(2, 4, 7, 9), (1, 4, 5, 5), (2, 1, 6, 6), (2, 4, 1, 1), (3, 8, 2, 3)]),
    st.integers(1, 4), st.integers(1, 4), pairs, pairs, pairs, st.sampled_from([1, 2, 4]), st.booleans(),
)  # fmt: skip
def test_a_convolution_gives_what_pytorch_gives(shape, c_in, k, stride, padding, dilation, groups, has_bias):
    x, weight = meta(*shape), meta(8, c_in, k, 3)
    bias = meta(8) if has_bias else None
    for images in (x, x.to(memory_format=torch.channels_last), x.half()):
        for is_transposed in (False, True):
            args = (list(stride), list(padding), list(dilation), is_transposed, [0, 0], groups)
            if min(*stride, *dilation) > 0:  # else PyTorch divides by zero, or takes it for a size
                check(aten.convolution.default, images, weight, bias, *args)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([(2, 4, 7, 9), (2, 1, 6, 6), (2, 4, 1, 1), (4, 6, 6)]),
    pairs, st.one_of(st.just(()), pairs), pairs, st.sampled_from([1, 2]), st.booleans(),
)  # fmt: skip
def test_a_pooling_gives_what_pytorch_gives(shape, kernel, stride, padding, dilation, ceil):
    if 0 in (*kernel, *stride):
        return
    window = (list(kernel), list(stride), list(padding))
    for x in (meta(*shape), meta(*shape, dtype=torch.float16), meta(*shape).transpose(-1, -2)):
        check(aten.max_pool2d_with_indices.default, x, *window[:2])
        check(aten.max_pool2d_with_indices.default, x, *window, [dilation, dilation], ceil)
        check(aten.avg_pool2d.default, x, list(kernel))
        check(aten.avg_pool2d.default, x, *window, ceil)
        check(aten.avg_pool2d.default, x, *window, False, True, 3)
