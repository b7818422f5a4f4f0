"""Operators are built from rows of every kind, trace to the row again, and run on operands of any dtype."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hwopt.errors import InvalidInput
from hwopt.measure.operators.build import (
    RECIPES,
    WITHOUT_RECIPE,
    OperandPool,
    Unbuildable,
    recipe_of,
    trace_recipe,
)
from hwopt.network import RULES, trace
from hwopt.profile.schema import LAYER_KEY

from .examples import IMAGE, Run, layer_of

WORK = ("flops", "elementwise_ops", "input_bytes", "weight_bytes", "output_bytes")
# Operators with a cost rule that no plain call of PyTorch shows to the tracer, and what is seen instead.
UNSEEN = {
    "scaled_dot_product_attention": "runs as aten.mul",
    "avg_pool1d": "runs as aten.avg_pool2d",
    "_fused_rms_norm": "runs as aten.pow, aten.mean",
    "selu": "runs as aten.elu",
    "prelu": "missing value for argument",
    "rrelu": "runs as aten.rrelu_with_noise",
    "square": "runs as aten.pow",
    "isfinite": "runs as aten.abs",
    "norm": "runs as aten.linalg_vector_norm",
    "contiguous": "runs as aten.clone",
    "repeat_interleave": "runs as aten.clone",
    "native_channel_shuffle": "runs as aten.clone",
    "_embedding_bag": "runs as .*_embedding_bag_forward_only",
    "masked_select": "forward must not depend on the values of tensors|Meta",
}
# Operators of a kind that has a recipe, whose own row the columns do not determine.
OPEN = {
    "addbmm": "what it adds up over the batch has no batch",
    "block_diag": "two matrices along a diagonal",
    "view_copy": "a copy into another shape",
    "im2col": "its window is not in the columns",
    "col2im": "its window is not in the columns",
    "_scaled_dot_product_flash_attention": "a device's own; the tracer writes the CPU's",
    "_scaled_dot_product_efficient_attention": "a device's own; the tracer writes the CPU's",
    "_scaled_dot_product_cudnn_attention": "a device's own; the tracer writes the CPU's",
}


def key_and_work(layer):
    return {name: getattr(layer, name) for name in (*LAYER_KEY, *WORK)}


def round_trip(layer):
    """The layer again, from its row."""
    return trace_recipe(recipe_of(layer.row()), layer.kind, layer.dtype)


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_operator_with_a_cost_rule_is_run_from_its_row_or_has_a_reason(name):
    word, layer = name.removeprefix("aten."), layer_of(name)
    if word in UNSEEN:
        assert isinstance(layer, str) and re.search(UNSEEN[word], layer)
    elif layer.kind in WITHOUT_RECIPE:
        with pytest.raises(Unbuildable, match=re.escape(WITHOUT_RECIPE[layer.kind])):
            recipe_of(layer.row())
    elif word in OPEN:
        with pytest.raises(Unbuildable, match=f"{layer.kind}: no operator known to have these columns"):
            recipe_of(layer.row())
    else:
        assert key_and_work(round_trip(layer)) == key_and_work(layer)


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # oneDNN has none, PyTorch's own runs
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_every_recipe_runs_on_the_cpu_in_every_dtype_that_it_knows(dtype):
    pool, refused = OperandPool(2**14, max_sets=2, dtype=dtype), set()
    for name in sorted(RULES):
        layer = layer_of(name, dtype)
        if isinstance(layer, str) or layer.kind in WITHOUT_RECIPE or layer.dtype != dtype:
            continue
        if name.removeprefix("aten.") in OPEN or (name, dtype) == ("aten._to_copy", "float64"):
            continue
        recipe = recipe_of(layer.row())
        try:
            with torch.no_grad():
                out = recipe.call(*pool.sets(recipe)[-1])
        except NotImplementedError:
            refused.add(layer.kind)
            continue
        out = out if isinstance(out, torch.Tensor) else out[0]
        assert str(out.dtype) == f"torch.{dtype}", name
        assert out.numel() % (layer.out_channels * layer.out_h * layer.out_w) == 0, name
    assert refused <= {"avg_pool3d"}


X, TOKENS = (2, 8, 6, 6), (2, 5, 8)
FORMS = {
    "convolution in 1-d": (nn.Conv1d(8, 4, 3, 2, 1, bias=False), (2, 8, 9)),
    "convolution in 3-d": (nn.Conv3d(4, 6, 3, 2, 1), (2, 4, 8, 6, 6)),
    "convolution of each frame": (nn.Conv3d(4, 6, (1, 3, 3), padding=(0, 1, 1)), (2, 4, 8, 6, 6)),
    "transposed convolution in 1-d": (nn.ConvTranspose1d(8, 4, 3, 2, 1, output_padding=1), (2, 8, 9)),
    "transposed convolution in 2-d": (nn.ConvTranspose2d(8, 4, 3, 2, 1, 1, groups=2, bias=False), X),
    "transposed convolution in 3-d": (nn.ConvTranspose3d(4, 4, 3, 2, 1, 1), (2, 4, 5, 6, 6)),
    "linear on tokens": (nn.Linear(8, 5), TOKENS),
    "batch norm without scale": (nn.BatchNorm1d(8, affine=False), (2, 8)),
    "batch norm of tokens": (nn.BatchNorm1d(8), (2, 8, 5)),
    "instance norm": (nn.InstanceNorm2d(8, affine=True), X),
    "layer norm without weights": (nn.LayerNorm(8, elementwise_affine=False), TOKENS),
    "layer norm without shift": (nn.LayerNorm(8, bias=False), TOKENS),
    "attention with a mask": (Run(lambda x: F.scaled_dot_product_attention(x, x, x, x[0, 0] @ x[0, 0].T)), X),
    "product with one matrix for all": (Run(lambda x: x @ x[:1].transpose(1, 2).expand(2, 8, 5)), TOKENS),
    "product with a weight for each item": (Run(lambda x, w: torch.bmm(x, w), (2, 8, 3)), TOKENS),
    "a sum with one term for all": (
        Run(lambda x: torch.baddbmm(x[0, 0, :5], x, x.transpose(1, 2))),
        TOKENS,
    ),
    "matrix and weight vector": (Run(lambda x, w: torch.mv(x, w), (8,)), (4, 8)),
    "weight matrix and vector": (Run(lambda x, w: torch.mv(w, x), (4, 8)), (8,)),
    "scale by a weight": (Run(lambda x, w: x * w, (8, 1, 1)), X),
    "weight first": (Run(lambda x, w: w * x, (8, 1, 1)), X),
    "weight of tokens": (Run(lambda x, w: x + w, (1, 5, 8)), TOKENS),
    "scale of channels": (Run(lambda x: x * x.mean((2, 3), keepdim=True)), X),
    "scale of channels first": (Run(lambda x: x.mean((2, 3), keepdim=True) * x), X),
    "number": (Run(lambda x: x - 1.5), TOKENS),
    "in place": (nn.Hardswish(inplace=True), X),
    "addition in place": (Run(lambda x: (x * 2).add_(x)), X),
    "slope for all": (nn.PReLU(), X),
    "class token": (Run(lambda x, w: torch.cat([w.expand(2, 1, 8), x], 1), (1, 1, 8)), TOKENS),
    "concatenation of rows": (Run(lambda x: torch.cat([x, x[:1]])), X),
    "concatenation of sides": (Run(lambda x: torch.cat([x, x[:, :, :2]], 2)), X),
    "mean of tokens, kept": (Run(lambda x: x.mean(1, keepdim=True)), TOKENS),
    "mean of all": (Run(lambda x: x.mean()), X),
    "mean of channels": (Run(lambda x: x.mean(1)), X),
    "mean of volumes": (Run(lambda x: x.mean((2, 3, 4))), (2, 4, 3, 6, 6)),
    "global pooling": (Run(lambda x: x.mean((2, 3))), X),
    "largest of each row": (Run(lambda x: x.max(-1)), TOKENS),
    "largest of all": (Run(lambda x: x.max()), TOKENS),
    "crop": (Run(lambda x: F.pad(x, (-1, -1, -1, 0))), X),
    "padded channels": (Run(lambda x: F.pad(x, (0, 0, 0, 0, 2, 2))), X),
    "upsampled volumes": (Run(lambda x: F.interpolate(x, (4, 9, 9))), (2, 4, 3, 6, 6)),
    "softmax of scores": (Run(lambda x: x.softmax(-1)), (2, 3, 5, 5)),
    "numbers by one condition": (Run(lambda x: torch.where(x > 0, x, 0.0)), X),
}


def form_layer(form):
    module, (batch, *shape) = FORMS[form]
    return trace(module.eval(), tuple(shape), batch).layers[-1]


@pytest.mark.parametrize("form", FORMS)
def test_a_form_of_an_operator_traces_to_its_row_again(form):
    layer = form_layer(form)
    assert key_and_work(round_trip(layer)) == key_and_work(layer)
    recipe = recipe_of(layer.row())
    with torch.no_grad():
        recipe.call(*OperandPool(2**14, max_sets=2).sets(recipe)[0])


def test_every_kind_of_the_tracer_has_a_recipe_or_a_reason_and_none_has_both():
    kinds = {layer.kind for layer in map(layer_of, RULES) if not isinstance(layer, str)}
    kinds |= {form_layer(form).kind for form in FORMS}
    assert kinds <= RECIPES.keys() | WITHOUT_RECIPE.keys()
    assert not RECIPES.keys() & WITHOUT_RECIPE.keys()
    assert RECIPES.keys() <= kinds


def test_a_product_with_a_scale_and_one_with_a_tensor_have_one_shape_and_two_keys():
    graph = trace(Run(lambda x: x * x.mean((2, 3), keepdim=True) * x), X[1:], X[0])
    scaled, whole = graph.layers[1:]
    first, second = recipe_of(scaled.row()), recipe_of(whole.row())
    assert (first.inputs, second.inputs) == ((X, (2, 8, 1, 1)), (X, X))
    assert scaled.input_bytes < whole.input_bytes and "input_bytes" in LAYER_KEY


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("fft", {}, "no recipe for kind 'fft'"),
        ("relu", {"dtype": "int8"}, "no recipe for dtype 'int8'"),
        ("index", {}, "index: the positions of the elements"),
        ("selu", {}, "selu: PyTorch runs it as elu"),
        ("conv3d", {"in_h": 7}, "conv3d: its height column"),
        ("add", {"input_bytes": 4 * 579}, "add: no operator known to have these columns"),
    ],
)
def test_a_row_that_cannot_be_run_says_why(kind, change, message):
    with pytest.raises(Unbuildable, match=message):
        recipe_of({**trace(nn.ReLU(), X[1:], X[0]).layers[0].row(), "kind": kind, **change})


def test_a_traced_recipe_of_another_kind_is_refused():
    with pytest.raises(Unbuildable, match="relu runs as sigmoid"):
        trace_recipe(recipe_of(trace(nn.Sigmoid(), IMAGE[1:]).layers[0].row()), "relu", "float32")


def linear_recipe():
    return recipe_of(trace(nn.Linear(100, 50), (100,), 4).layers[0].row())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_operand_sets_are_different_memory_and_span_the_block(dtype):
    pool = OperandPool(2**20, max_sets=1000, dtype=dtype)
    sets = pool.sets(linear_recipe())
    assert sum(tensor.nbytes for tensor in sets[0]) * len(sets) >= 2**20
    starts = {operands[1].data_ptr() for operands in sets}
    assert len(starts) > 0.9 * len(sets)
    assert all(start % 64 == sets[0][0].data_ptr() % 64 for start in starts)
    assert all(tensor.dtype == getattr(torch, dtype) and (tensor > 0).all() for tensor in sets[0])


def test_operands_larger_than_the_block_still_come_twice():
    assert len(OperandPool(2**12, max_sets=8).sets(linear_recipe())) == 2


def test_places_are_within_the_table_and_masks_are_truths():
    pool = OperandPool(2**14, max_sets=4)
    table, places = pool.sets(recipe_of(layer_of("aten.embedding").row()))[0]
    assert places.dtype == torch.int64 and 0 <= places.min() and places.max() < len(table)
    x, mask = pool.sets(recipe_of(layer_of("aten.masked_fill").row()))[0]
    assert mask.dtype == torch.bool and mask.any() and not mask.all()


def test_operands_lie_on_the_device_that_was_asked_for():
    assert OperandPool(2**12, 2, device="cpu").sets(linear_recipe())[0][0].device.type == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises((RuntimeError, AssertionError), match="(?i)cuda"):
            OperandPool(2**12, 2, device="cuda:0")


def test_operands_of_an_unknown_dtype_are_refused():
    with pytest.raises(InvalidInput, match="no operands of dtype 'int8'; known: float32"):
        OperandPool(2**12, 2, dtype="int8")
