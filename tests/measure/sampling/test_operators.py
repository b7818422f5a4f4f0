"""Samples of operators are distinct, bounded and reproducible, and keep the shares of their plan."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from hwopt.errors import InvalidInput
from hwopt.measure.operators.build import OperandPool, recipe_of, trace_recipe
from hwopt.measure.sampling.networks import choose_networks
from hwopt.measure.sampling.operators import CPU_PLAN, GPU_PLAN, sample_operators
from hwopt.measure.sampling.perturbation import perturb
from hwopt.measure.sampling.sobol import FAMILIES, OTHER, OperatorLimits, family_of
from hwopt.network import trace


def bounded(plan=CPU_PLAN, **limits):
    return replace(plan, limits=replace(plan.limits, **limits))


class Net(nn.Module):
    """A small network with layers of every family."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.depthwise, self.point = nn.Conv2d(32, 32, 3, padding=1, groups=32), nn.Conv2d(32, 64, 1)
        self.grouped, self.token_norm = (
            nn.Conv2d(64, 64, 3, padding=2, dilation=2, groups=4),
            nn.LayerNorm(64),
        )
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        x = self.point(self.depthwise(x))
        x = x * torch.sigmoid(x.mean((2, 3), keepdim=True)) + self.grouped(x)
        x = nn.functional.max_pool2d(x, 2)
        return self.linear(self.token_norm(x.flatten(2).transpose(1, 2))).mean(1)


@pytest.fixture(scope="module")
def graphs():
    with torch.no_grad():
        return [trace(Net(), (3, side, side), batch) for side, batch in ((16, 2), (24, 4), (32, 1))]


def keys(sample):
    return [operator.key for operator in sample.operators]


def test_every_sampled_operator_runs_and_has_the_output_of_its_row(graphs):
    pool = OperandPool(2**22, max_sets=3)
    sample = sample_operators(150, np.random.default_rng(3), graphs, plan=bounded(flops=1e6, n_elements=1e5))
    assert len({operator.layer.kind for operator in sample.operators}) > 10
    for operator in sample.operators:
        operands = pool.sets(operator.recipe)
        with torch.no_grad():
            out = operator.recipe.call(*operands[-1])
        out = out if isinstance(out, torch.Tensor) else out[0]
        row = operator.layer.row()
        n_batch = out.shape[0] if row["kind"] in ("mean", "layer_norm") else row["batch"]
        assert out.numel() == n_batch * row["out_channels"] * row["out_h"] * row["out_w"]
        assert torch.isfinite(out).all()


def test_a_sample_is_distinct_bounded_and_the_same_for_the_same_seed(graphs):
    plan = bounded(flops=1e8, n_elements=2e6)
    first, second = (sample_operators(120, np.random.default_rng(7), graphs, plan=plan) for _ in range(2))
    assert keys(first) == keys(second)
    assert len(set(keys(first))) == len(keys(first)) == 120
    assert all(operator.layer.flops <= 1e8 and operator.layer.bytes <= 8e6 for operator in first.operators)
    other = sample_operators(120, np.random.default_rng(8), graphs, plan=plan)
    assert set(keys(first)) != set(keys(other))


@pytest.mark.parametrize("plan", [CPU_PLAN, GPU_PLAN])
def test_a_larger_sample_begins_with_the_smaller_one(plan, graphs):
    small, large = (sample_operators(n, np.random.default_rng(1), graphs, plan=plan) for n in (40, 90))
    assert keys(large)[:40] == keys(small)


def test_a_gpu_sample_is_spread_and_keeps_the_shares_of_its_families(graphs):
    sample = sample_operators(180, np.random.default_rng(0), graphs, plan=GPU_PLAN)
    assert {operator.source for operator in sample.operators} == {"sobol"}
    shares = {name: GPU_PLAN.families[name] for name in FAMILIES}
    families = Counter(family_of(operator.layer) for operator in sample.operators)
    for name, share in shares.items():
        wanted = 180 * share / sum(shares.values())
        # A point of another family may turn out as its neighbour: a kernel of 1, one channel, no group.
        assert wanted - 8 <= families[name] <= wanted + 8, name


def test_a_cpu_sample_perturbs_layers_of_every_family(graphs):
    sample = sample_operators(300, np.random.default_rng(0), graphs, plan=CPU_PLAN)
    assert {family_of(o.layer) for o in sample.operators if o.source == "perturbed"} >= {*FAMILIES, OTHER}


def test_a_gpu_sample_reaches_large_batches_channels_and_sides():
    layers = [o.layer for o in sample_operators(300, np.random.default_rng(0), plan=GPU_PLAN).operators]
    assert 128 < max(layer.batch for layer in layers) <= 256
    assert 1024 < max(layer.in_channels for layer in layers if layer.kind == "conv2d") <= 2048
    assert 112 < max(layer.in_h for layer in layers) <= 224


def test_a_sample_in_another_dtype_has_operators_of_that_dtype_only():
    sample = sample_operators(60, np.random.default_rng(0), dtype="bfloat16", plan=GPU_PLAN)
    assert {operator.layer.dtype for operator in sample.operators} == {"bfloat16"}
    whole = [o.layer for o in sample.operators if o.layer.kind == "add"]
    assert whole and all(o.input_bytes == 2 * o.output_bytes for o in whole)


def test_a_small_world_is_sampled_without_repetition():
    plan = replace(CPU_PLAN, limits=OperatorLimits(batch=2, channels=2, side=4))
    sample = sample_operators(80, np.random.default_rng(0), plan=plan)
    assert len(set(keys(sample))) == len(keys(sample)) == 80


def test_a_world_without_enough_operators_gives_those_that_it_has():
    plan = replace(CPU_PLAN, limits=OperatorLimits(batch=1, channels=1, side=1), families={"linear": 1.0})
    sample = sample_operators(80, np.random.default_rng(0), plan=plan)
    assert 1 <= len(keys(sample)) <= 16  # in and out channels from 1 to 4


def test_what_cannot_be_run_is_counted_with_its_reason():
    plan = bounded(flops=1e5, n_elements=1e4)
    sample = sample_operators(50, np.random.default_rng(0), plan=plan)
    assert sample.skipped["conv2d: beyond the limits"] > 0


def test_a_sample_of_nothing_is_refused():
    with pytest.raises(InvalidInput, match="sample at least one"):
        sample_operators(0, np.random.default_rng(0))


def test_layers_of_the_networks_come_as_they_are(graphs):
    plan = replace(CPU_PLAN, sources={"network": 1.0})
    sample = sample_operators(500, np.random.default_rng(0), graphs, plan=plan)
    own = {
        tuple(layer.row()[name] for name in ("kind", "batch", "in_h")) for g in graphs for layer in g.layers
    }
    assert {(o.layer.kind, o.layer.batch, o.layer.in_h) for o in sample.operators} == own


def only_layer(module, shape, batch=4):
    with torch.no_grad():
        return trace(module, shape, batch).layers[-1]


def test_perturbing_keeps_what_is_tied_together():
    depthwise = only_layer(nn.Conv2d(32, 32, 3, padding=1, groups=32), (32, 14, 14))
    relu, biased = only_layer(nn.ReLU(), (32, 14, 14)), only_layer(nn.Conv2d(8, 24, 3), (8, 14, 14))
    rng = np.random.default_rng(0)
    for _ in range(50):
        row = perturb(depthwise, rng)
        assert row["in_channels"] == row["out_channels"] == row["groups"]
        row = perturb(relu, rng)
        assert (row["in_channels"], row["in_h"]) == (row["out_channels"], row["out_h"])
        assert len(recipe_of(perturb(biased, rng)).weights) == 2
        assert 4 <= row["in_h"] <= 28 and 16 <= row["in_channels"] <= 64


def test_perturbing_keeps_how_a_second_operand_is_to_the_first():
    class Gate(nn.Module):
        def forward(self, x):
            return x * x.mean((2, 3), keepdim=True)

    gate, rng = only_layer(Gate(), (32, 14, 14)), np.random.default_rng(0)
    for _ in range(20):
        row = perturb(gate, rng)
        x, scale = recipe_of(row).inputs
        assert scale == (*x[:2], 1, 1)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.BatchNorm2d(32), (32, 14, 14)), (nn.LayerNorm(32), (20, 32)), (nn.GroupNorm(4, 32), (32, 14, 14)),
        (nn.Conv1d(8, 16, 3), (8, 40)), (nn.PReLU(32), (32, 14, 14)), (nn.AdaptiveAvgPool2d(1), (32, 14, 14)),
    ],
)  # fmt: skip
def test_perturbed_layers_of_many_kinds_can_be_run(module, shape):
    layer, rng = only_layer(module, shape), np.random.default_rng(0)
    for _ in range(10):
        row = perturb(layer, rng)
        again = trace_recipe(recipe_of(row), layer.kind, "float32")
        assert again.in_channels == row["in_channels"] and again.batch == row["batch"]
        assert (again.weight_bytes > 0) == (layer.weight_bytes > 0)


def test_networks_of_a_cpu_campaign_can_be_sampled_around():
    with torch.no_grad():
        traced = [
            trace(c.build(), c.input_shape[1:], 2) for c in choose_networks(4, np.random.default_rng(0))[:3]
        ]
    sample = sample_operators(60, np.random.default_rng(7), traced, plan=bounded(flops=1e8))
    assert {operator.source for operator in sample.operators} == {"network", "perturbed", "sobol"}
