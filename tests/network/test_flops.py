"""FLOPs: by hand, by formula, and against PyTorch's flop counter."""

from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torchvision import models

from hwopt.network import load_model, trace

from .counting import Function, count_parameters, counted_flops, torchvision_network

NETWORKS = [
    "alexnet", "vgg16", "resnet18", "resnet50", "googlenet", "mobilenet_v2", "densenet121", "efficientnet_b0",
    "squeezenet1_1", "shufflenet_v2_x1_0",
]  # fmt: skip


def test_first_convolution_of_alexnet():
    # 64 channels of 55 x 55 places, each a sum over 3 x 11 x 11 products: 70,276,800 multiply-adds
    layer = trace(torchvision_network("alexnet"), (3, 224, 224)).layers[0]
    assert (layer.name, layer.kind, layer.operator) == ("features.0", "conv2d", "aten.convolution")
    assert layer.flops == 2 * 70_276_800 == 2 * 64 * 55 * 55 * 3 * 11 * 11
    assert (layer.in_channels, layer.in_h, layer.in_w) == (3, 224, 224)
    assert (layer.out_channels, layer.out_h, layer.out_w) == (64, 55, 55)
    assert (layer.kernel_h, layer.stride_h, layer.padding_h, layer.dilation_h) == (11, 4, 2, 1)
    assert (layer.kernel_w, layer.stride_w, layer.padding_w, layer.dilation_w) == (11, 4, 2, 1)
    assert layer.input_bytes == 4 * 3 * 224 * 224
    assert layer.weight_bytes == 4 * (64 * 3 * 11 * 11 + 64)
    assert layer.output_bytes == 4 * 64 * 55 * 55
    assert layer.bytes == layer.input_bytes + layer.weight_bytes + layer.output_bytes


@pytest.mark.parametrize("name", NETWORKS)
def test_flops_and_parameters_of_a_known_network_equal_those_that_pytorch_counts(name):
    network = torchvision_network(name)
    graph = trace(network, (3, 224, 224), batch_size=2)
    assert graph.flops == counted_flops(network, (2, 3, 224, 224))
    assert graph.n_parameters == count_parameters(network)
    assert graph.parameter_bytes == 4 * graph.n_parameters
    assert graph.unknown_operators == ()


@pytest.mark.filterwarnings("ignore:torch.meshgrid")  # of older torchvisions
def test_every_classification_network_of_torchvision_is_counted_as_pytorch_counts_it():
    wrong = {}
    for name in models.list_models(module=models):
        _, network, shape = load_model(f"torchvision:{name}")
        graph = trace(network, shape)
        counted = counted_flops(network, (1, *shape)), count_parameters(network)
        if (graph.flops, graph.n_parameters) != counted:
            wrong[name] = (graph.flops, graph.n_parameters), counted
    assert not wrong


def test_vgg16_and_resnet50_have_their_published_sizes():
    # torchvision's own tables: 138,357,544 and 25,557,032 parameters; 15.47 and 4.09 billion multiply-adds
    vgg, resnet = (trace(torchvision_network(name), (3, 224, 224)) for name in ("vgg16", "resnet50"))
    assert vgg.n_parameters == 138_357_544 and resnet.n_parameters == 25_557_032
    assert vgg.flops / 2e9 == pytest.approx(15.47, abs=0.005)
    assert resnet.flops / 2e9 == pytest.approx(4.09, abs=0.005)


def test_work_and_traffic_grow_with_the_batch_and_weights_do_not():
    network = torchvision_network("resnet18")
    one, three = (trace(network, (3, 64, 64), batch_size=n) for n in (1, 3))
    for a, b in zip(one.layers, three.layers, strict=True):
        assert (b.flops, b.elementwise_ops) == (3 * a.flops, 3 * a.elementwise_ops)
        assert (b.input_bytes, b.output_bytes) == (3 * a.input_bytes, 3 * a.output_bytes)
        assert b.weight_bytes == a.weight_bytes
    assert three.parameter_bytes == one.parameter_bytes


@st.composite
def convolutions(draw):
    groups = draw(st.sampled_from([1, 2, 4, 8]))
    return {
        "in_channels": groups * draw(st.integers(1, 3)),
        "out_channels": groups * draw(st.integers(1, 3)),
        "kernel_size": draw(st.tuples(st.integers(1, 4), st.integers(1, 4))),
        "stride": draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        "padding": draw(st.tuples(st.integers(0, 2), st.integers(0, 2))),
        "dilation": draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        "groups": groups,
        "bias": draw(st.booleans()),
    }


sizes = st.tuples(st.integers(12, 20), st.integers(12, 20))


def only_layer(network, input_shape, batch_size=1):
    (layer,) = trace(network, input_shape, batch_size).layers
    return layer


@settings(max_examples=60, deadline=None)
@given(convolutions(), sizes, st.integers(1, 3))
def test_a_convolution_costs_two_flops_for_each_weight_at_each_place_of_its_output(options, size, batch):
    with torch.device("meta"):
        network = nn.Conv2d(**options)
    layer = only_layer(network, (options["in_channels"], *size), batch)
    padding, dilation, kernel, stride = (
        options[key] for key in ("padding", "dilation", "kernel_size", "stride")
    )
    out = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(size, padding, dilation, kernel, stride, strict=True)
    ]
    products = options["in_channels"] // options["groups"] * kernel[0] * kernel[1]
    assert layer.flops == 2 * batch * options["out_channels"] * out[0] * out[1] * products
    assert [layer.out_h, layer.out_w] == out
    assert (layer.kind, layer.groups, layer.batch) == ("conv2d", options["groups"], batch)
    assert (layer.kernel_h, layer.kernel_w) == kernel
    assert (layer.stride_h, layer.stride_w) == stride
    assert (layer.padding_h, layer.padding_w) == padding
    assert (layer.dilation_h, layer.dilation_w) == dilation


@settings(max_examples=40, deadline=None)
@given(convolutions(), sizes)
def test_a_transposed_convolution_costs_two_flops_for_each_weight_at_each_place_of_its_input(options, size):
    with torch.device("meta"):
        network = nn.ConvTranspose2d(**{**options, "padding": 0})
    layer = only_layer(network, (options["in_channels"], *size))
    products = options["out_channels"] // options["groups"] * prod(options["kernel_size"])
    assert layer.kind == "conv_transpose2d"
    assert layer.flops == 2 * options["in_channels"] * size[0] * size[1] * products
    assert layer.flops == counted_flops(network, (1, options["in_channels"], *size))


def test_a_depthwise_convolution_costs_its_kernel_once_for_each_element_of_its_output():
    layer = only_layer(nn.Conv2d(32, 32, 3, padding=1, groups=32, bias=False), (32, 14, 14))
    assert layer.flops == 2 * 9 * 32 * 14 * 14
    assert layer.weight_bytes == 4 * 32 * 9


@pytest.mark.parametrize(
    ("network", "shape", "kind", "flops"),
    [
        (nn.Conv1d(4, 6, 5), (4, 20), "conv1d", 2 * 4 * 6 * 5 * 16),
        (nn.Conv3d(2, 3, (1, 2, 3)), (2, 4, 5, 6), "conv3d", 2 * 2 * 3 * 6 * (4 * 4 * 4)),
        (nn.ConvTranspose1d(4, 6, 5, stride=2), (4, 20), "conv_transpose1d", 2 * 4 * 6 * 5 * 20),
    ],
    ids=["conv1d", "conv3d", "conv_transpose1d"],
)
def test_convolutions_in_one_and_three_dimensions_by_hand(network, shape, kind, flops):
    layer = only_layer(network, shape)
    assert (layer.kind, layer.flops) == (kind, flops)
    assert layer.flops == counted_flops(network, (1, *shape))


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_on_a_sequence_takes_each_token_as_a_row(bias):
    layer = only_layer(nn.Linear(16, 24, bias=bias), (7, 16), batch_size=3)
    assert (layer.kind, layer.batch, layer.in_channels, layer.out_channels) == ("linear", 3 * 7, 16, 24)
    assert layer.flops == 2 * 3 * 7 * 16 * 24
    assert layer.weight_bytes == 4 * (16 * 24 + 24 * bias)


class Attention(nn.Module):
    def __init__(self, dim, n_heads):
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, n_heads, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


def test_attention_equals_the_flop_counter():
    network = Attention(32, 4)
    batch, length, dim = 2, 10, 32
    graph = trace(network, (length, dim), batch)
    # four projections, and scores and weighted values of each token with each
    assert graph.flops == 2 * batch * (4 * length * dim * dim + 2 * length * length * dim)
    assert graph.flops == counted_flops(network, (batch, length, dim))


def test_scaled_dot_product_attention_is_one_layer_whose_scores_take_no_memory():
    batch, heads, length, dim = 2, 4, 128, 8
    network = Function(lambda x: F.scaled_dot_product_attention(x, x, x))
    graph = trace(network, (heads, length, dim), batch)
    (layer,) = graph.layers
    assert (layer.kind, layer.groups, layer.kernel_h) == ("attention", heads, length)
    assert layer.flops == 2 * 2 * batch * heads * length * length * dim
    assert layer.flops == counted_flops(network, (batch, heads, length, dim))
    assert graph.peak_activation_bytes < 4 * batch * heads * length * length


def test_a_transformer_layer_equals_the_flop_counter():
    network = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    assert trace(network, (9, 32), 3).flops == counted_flops(network, (3, 9, 32)) > 0
