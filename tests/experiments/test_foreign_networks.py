"""Networks that others measured: their cells and blocks as published."""

from types import SimpleNamespace

import pytest

from experiments.benchmarks import foreign_networks as foreign
from hwopt.network import trace

ARCH = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|skip_connect~2|"


def test_a_cell_is_read_edge_by_edge_in_the_order_of_the_nodes():
    operations = foreign.cell_operations(ARCH)
    assert dict(zip(foreign.EDGES, operations, strict=True)) == {
        (0, 1): "nor_conv_3x3",
        (0, 2): "none",
        (1, 2): "skip_connect",
        (0, 3): "avg_pool_3x3",
        (1, 3): "nor_conv_1x1",
        (2, 3): "skip_connect",
    }


def test_cells_that_compute_the_same_have_one_text():
    through_two = ("nor_conv_3x3", "none", "skip_connect", "none", "none", "skip_connect")
    straight = ("nor_conv_3x3", "none", "none", "none", "skip_connect", "none")
    dead_end = ("nor_conv_3x3", "nor_conv_1x1", "none", "none", "skip_connect", "none")
    texts = {foreign.canonical(one) for one in (through_two, straight, dead_end)}
    assert texts == {"nor_conv_3x3(x)"}
    assert foreign.canonical(("nor_conv_1x1", *straight[1:])) not in texts


def test_an_edge_is_alive_between_input_and_output_only():
    dead_end = ("nor_conv_3x3", "nor_conv_1x1", "none", "none", "skip_connect", "none")
    assert foreign.alive(dead_end) == ("nor_conv_3x3", "none", "none", "none", "skip_connect", "none")


def test_which_edge_an_operation_is_on_changes_no_layer():
    operations = foreign.cell_operations(ARCH)
    graphs = [
        trace(foreign.on_meta(foreign.nas_bench_201, one), (3, 32, 32))
        for one in (operations, tuple(sorted(operations)))
    ]
    one, other = (sorted((row.kind, row.in_channels, row.out_h) for row in graph.layers) for graph in graphs)
    assert one == other


def test_parameters_of_a_nas_bench_201_network():
    only_3x3 = foreign.on_meta(foreign.nas_bench_201, ("nor_conv_3x3",) * 6)
    assert sum(p.numel() for p in only_3x3.parameters()) == pytest.approx(1.531546e6)  # its published most


def test_a_grouped_block_shuffles_and_a_block_of_one_shape_adds_its_input():
    row = SimpleNamespace(type="ConvBlock", H=8, W=8, Cin=16, Cout=16, exp=1, kernel=5, stride=1, group=2)
    module, shape = foreign.on_meta(foreign.fbnet_block, row)
    kinds = [layer.kind for layer in trace(module, shape).layers]
    assert kinds.count("conv2d") == 3 and kinds[-1] == "add" and "copy" in kinds
    assert not isinstance(
        foreign.fbnet_block(SimpleNamespace(**{**vars(row), "stride": 2}))[0], foreign.Residual
    )
