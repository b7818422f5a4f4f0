"""What is remembered of an operator's result must be what the operator returns."""

import pytest
import torch
from torch.nn import functional as F

from hwopt.network import trace
from hwopt.network.meta_dispatch import Operator, operator_of, run_on_meta

from .counting import Function

aten = torch.ops.aten


def on_meta(*shape, dtype=torch.float32):
    return torch.empty(shape, dtype=dtype, device="meta")


def description(out):
    results = out if isinstance(out, tuple) else [out]
    return [(tuple(t.shape), t.stride(), t.dtype, t.device.type) for t in results]


@pytest.mark.parametrize(
    ("function", "args"),
    [
        (
            aten.convolution.default,
            (on_meta(2, 3, 8, 8), on_meta(5, 3, 3, 3), None, [2], [1], [1], False, [0], 1),
        ),
        (aten.max_pool2d_with_indices.default, (on_meta(2, 3, 8, 8), [2, 2])),
        (aten.add.Tensor, (on_meta(2, 3).t(), on_meta(3, 1))),
        (aten.softplus.default, (on_meta(2, 3, 8, 8).to(memory_format=torch.channels_last),)),
        (aten.cat.default, ([on_meta(2, 3), on_meta(2, 4)], 1)),
    ],
)
def test_the_second_result_has_the_description_of_the_first_and_memory_of_its_own(function, args):
    first, second = (run_on_meta(operator_of(function), args, {}) for _ in range(2))
    assert description(first) == description(second) == description(function(*args))
    first, second = (out[0] if isinstance(out, tuple) else out for out in (first, second))
    assert first.untyped_storage()._cdata != second.untyped_storage()._cdata


def test_an_in_place_operator_returns_its_operand_the_second_time_too():
    for _ in range(2):
        x = on_meta(2, 3)
        assert run_on_meta(operator_of(aten.relu_.default), (x,), {}) is x


@pytest.mark.parametrize("numbers", [(2, 2.0), (1.0, 1), (True, 1, 1.0)])
def test_equal_numbers_of_different_type_are_not_taken_for_each_other(numbers):
    x = on_meta(4, dtype=torch.bool)
    for number in numbers:
        out = run_on_meta(operator_of(aten.mul.Scalar), (x, number), {})
        assert out.dtype == aten.mul.Scalar(x, number).dtype


def test_types_shapes_and_strides_are_not_taken_for_each_other():
    for x in (on_meta(4, 6), on_meta(4, 6, dtype=torch.float16), on_meta(6, 4), on_meta(6, 4).t()):
        out = run_on_meta(operator_of(aten.softplus.default), (x,), {})
        assert description(out) == description(aten.softplus.default(x))


def test_the_default_type_may_change_between_two_calls():
    network = Function(lambda x: F.relu(x / 2))
    before = torch.get_default_dtype()
    try:
        for dtype in (torch.float32, torch.float64):
            torch.set_default_dtype(dtype)
            assert trace(network, (4,), dtype="int64").layers[-1].dtype == str(dtype).removeprefix("torch.")
    finally:
        torch.set_default_dtype(before)


def test_an_operator_knows_whether_it_writes():
    plain, in_place = Operator(aten.relu.default), Operator(aten.relu_.default)
    assert plain.is_functional and not plain.is_in_place
    assert in_place.is_in_place and not in_place.is_functional
    assert not Operator(aten.view.default).is_functional and Operator(aten.view.default).is_free
    assert in_place.name == "aten.relu_" and in_place.rule is plain.rule
