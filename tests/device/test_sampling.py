"""Samples of operators are distinct, bounded and reproducible, and hold every family."""

import numpy as np
import pytest
import torch
from torch import nn

from hwopt.device.networks import choose_networks
from hwopt.device.operators import OperandPool, recipe_of
from hwopt.device.sampling import Limits, perturb, sample_operators
from hwopt.errors import InvalidInput
from hwopt.network import trace


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
