"""The functions that networks commonly use: each is traced, with its FLOPs, and moves bytes."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hwopt.network import trace

from .common_functions import COMMON, LINEAR_ALGEBRA
from .counting import Function, counted_flops

BATCH = 2
VIEWS = ("positive", "unbind")
# Products that PyTorch's flop counter leaves out: 2 for each multiply-add.
NOT_COUNTED = {"addbmm": 2 * BATCH * 10 * 16 * 10, "conv_tbc": 2 * BATCH * 8 * 3 * 16 * 5}


def network_of(name):
    function = COMMON[name][0]
    return function if isinstance(function, nn.Module) else Function(function)


def flops_of(name):
    """FLOPs by PyTorch's counter, on values; attention is counted on meta tensors only."""
    network, shape = network_of(name), COMMON[name][1]
    if "atten" in name or "transformer" in name:
        return counted_flops(network, (BATCH, *shape))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(torch.rand(BATCH, *shape))
    return counter.get_total_flops()


@pytest.mark.filterwarnings("ignore")  # of functions that PyTorch is about to rename
@pytest.mark.parametrize("name", COMMON)
def test_a_common_function_is_traced_with_its_flops_and_its_bytes(name):
    graph = trace(network_of(name), COMMON[name][1], BATCH)
    assert graph.unknown_operators == ()
    assert [layer.operator for layer in graph.layers if not layer.output_bytes] == []
    if name not in VIEWS:
        assert graph.layers
    assert graph.flops == (flops_of(name) or NOT_COUNTED.get(name, 0))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LINEAR_ALGEBRA)
def test_what_is_not_known_is_counted_and_moves_bytes(name):
    function, shape = LINEAR_ALGEBRA[name]
    graph = trace(Function(function), shape, BATCH)
    unknown = [layer for layer in graph.layers if layer.kind == "unknown"]
    assert len(unknown) == sum(n for _, n in graph.unknown_operators)
    assert all(layer.input_bytes and layer.output_bytes for layer in unknown)
