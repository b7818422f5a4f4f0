"""Operators are built from rows, traced, run; samples of them are distinct, bounded and reproducible."""

import numpy as np
import pytest
import torch
from torch import nn

from hwopt.device.networks import choose_networks
from hwopt.device.operators import RECIPES, OperandPool, Unbuildable, recipe_of, trace_recipe
from hwopt.device.sampling import Limits, key_of, perturb, sample_operators
from hwopt.errors import InvalidInput
from hwopt.network import RULES, trace


class Everything(nn.Module):
    """A small network with the operators that sampling alone may not draw."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 16, 3, stride=2, padding=2, dilation=2, groups=4)
        self.norm, self.group_norm = nn.BatchNorm2d(16), nn.GroupNorm(4, 16)
        self.layer_norm, self.linear = nn.LayerNorm(16), nn.Linear(16, 10, bias=False)

    def forward(self, x):
        x = nn.functional.hardswish(self.group_norm(self.norm(self.conv(x))))
        gate = torch.sigmoid(nn.functional.adaptive_avg_pool2d(x, 1))
        x = torch.cat([x * gate, gate * x], 1) + 1.0
        x = nn.functional.max_pool2d(x, 3, 2, 1, ceil_mode=True)
        x = nn.functional.interpolate(x - x.relu(), scale_factor=2, mode="bilinear")
        tokens = self.layer_norm(x.flatten(2).transpose(1, 2)[..., :16])
        tokens = torch.bmm(torch.softmax(torch.bmm(tokens, tokens.transpose(1, 2)), -1), tokens)
        return torch.log_softmax(self.linear(tokens.mean(1)), -1)


def layers_of_everything():
    with torch.no_grad():
        return trace(Everything(), (8, 17, 17), batch_size=2).layers


@pytest.mark.parametrize("layer", layers_of_everything(), ids=lambda layer: layer.kind)
def test_an_operator_built_from_a_row_traces_to_the_same_row(layer):
    if layer.kind == "mean":
        with pytest.raises(Unbuildable, match="no recipe for kind 'mean'"):
            recipe_of(layer.row())
        return
    again = trace_recipe(recipe_of(layer.row()), layer.kind, layer.dtype)
    assert key_of(again) == key_of(layer)
    assert (again.flops, again.elementwise_ops) == (layer.flops, layer.elementwise_ops)
    assert (again.input_bytes, again.weight_bytes) == (layer.input_bytes, layer.weight_bytes)
    assert again.output_bytes == layer.output_bytes


def test_every_sampled_operator_runs_and_has_the_output_of_its_row():
    pool = OperandPool(2**22, max_sets=3)
    sample = sample_operators(150, np.random.default_rng(3), limits=Limits(flops=1e6, n_elements=1e5))
    assert len({operator.layer.kind for operator in sample.operators}) > 10
    for operator in sample.operators:
        operands = pool.sets(operator.recipe)
        with torch.no_grad():
            out = operator.recipe.call(*operands[-1])
        row = operator.layer.row()
        assert out.numel() == row["batch"] * row["out_channels"] * row["out_h"] * row["out_w"]
        assert torch.isfinite(out).all()


def test_every_recipe_is_of_a_kind_that_the_tracer_knows():
    known = {rule.removeprefix("aten.") for rule in RULES} | {
        "conv2d",
        "linear",
        "matmul",
        "batch_norm",
        "copy",
    }
    known |= {"max_pool2d", "adaptive_avg_pool2d", "layer_norm", "group_norm", "softmax", "log_softmax"}
    known |= {"upsample_nearest", "upsample_bilinear"}
    assert set(RECIPES) <= known


def test_operand_sets_are_different_memory_and_span_the_block():
    pool = OperandPool(2**20, max_sets=1000)
    recipe = recipe_of(trace(nn.Linear(100, 50), (100,), 4).layers[0].row())
    sets = pool.sets(recipe)
    assert sum(tensor.nbytes for tensor in sets[0]) * len(sets) >= 2**20
    starts = {operands[1].data_ptr() for operands in sets}
    assert len(starts) > 0.9 * len(sets)
    assert all(start % 64 == sets[0][0].data_ptr() % 64 for start in starts)


def test_operands_larger_than_the_block_still_come_twice():
    pool = OperandPool(2**12, max_sets=8)
    recipe = recipe_of(trace(nn.Linear(100, 50), (100,), 4).layers[0].row())
    assert len(pool.sets(recipe)) == 2


def test_a_kind_or_dtype_without_recipe_says_so():
    row = layers_of_everything()[0].row()
    with pytest.raises(Unbuildable, match="no recipe for kind 'fft'"):
        recipe_of({**row, "kind": "fft"})
    with pytest.raises(Unbuildable, match="no recipe for dtype 'int8'"):
        recipe_of({**row, "dtype": "int8"})


def test_a_sample_is_distinct_bounded_and_the_same_for_the_same_seed():
    with torch.no_grad():
        graphs = [
            trace(c.build(), c.input_shape[1:], 2) for c in choose_networks(4, np.random.default_rng(0))[:3]
        ]
    limits = Limits(flops=1e8, n_elements=2e6)
    first, second = (sample_operators(120, np.random.default_rng(7), graphs, limits=limits) for _ in range(2))
    keys = [operator.key for operator in first.operators]
    assert keys == [operator.key for operator in second.operators]
    assert len(set(keys)) == len(keys) == 120
    assert all(operator.layer.flops <= 1e8 and operator.layer.bytes <= 8e6 for operator in first.operators)
    assert {operator.source for operator in first.operators} == {"network", "perturbed", "sobol"}
    other = sample_operators(120, np.random.default_rng(8), graphs, limits=limits)
    assert set(keys) != {operator.key for operator in other.operators}


def test_a_small_world_is_sampled_without_repetition():
    sample = sample_operators(80, np.random.default_rng(0), limits=Limits(batch=2, channels=2, side=4))
    keys = [operator.key for operator in sample.operators]
    assert len(set(keys)) == len(keys) == 80


def test_what_cannot_be_run_is_counted_with_its_reason():
    sample = sample_operators(50, np.random.default_rng(0), limits=Limits(flops=1e5, n_elements=1e4))
    assert sample.skipped["conv2d: beyond the limits"] > 0


def test_a_sample_of_nothing_is_refused():
    with pytest.raises(InvalidInput, match="sample at least one"):
        sample_operators(0, np.random.default_rng(0))


def test_perturbing_keeps_what_is_tied_together():
    with torch.no_grad():
        depthwise = trace(nn.Conv2d(32, 32, 3, padding=1, groups=32), (32, 14, 14), 4).layers[0]
        relu = trace(nn.ReLU(), (32, 14, 14), 4).layers[0]
        biased = trace(nn.Conv2d(8, 24, 3), (8, 14, 14), 4).layers[0]
    rng = np.random.default_rng(0)
    for _ in range(50):
        row = perturb(depthwise, rng)
        assert row["in_channels"] == row["out_channels"] == row["groups"]
        row = perturb(relu, rng)
        assert (row["in_channels"], row["in_h"]) == (row["out_channels"], row["out_h"])
        assert len(recipe_of(perturb(biased, rng)).weights) == 2
        assert 4 <= row["in_h"] <= 28 and 16 <= row["in_channels"] <= 64


def test_random_networks_are_the_same_for_the_same_seed_and_fill_every_split():
    first, second = (choose_networks(20, np.random.default_rng(1)) for _ in range(2))
    assert [(c.name, c.split, c.input_shape) for c in first] == [
        (c.name, c.split, c.input_shape) for c in second
    ]
    random = [c for c in first if c.source == "random"]
    assert {c.split for c in random} == {"fit", "calibrate", "test"}
    for candidate in random[:6]:
        with torch.no_grad():
            assert candidate.build().eval()(torch.rand(candidate.input_shape)).shape[1] == 10
