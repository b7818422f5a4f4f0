"""Tracing: what becomes a layer, where, what is refused, and that the network stays as it was."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hwopt import InvalidInput
from hwopt.network import SHAPE_COLUMNS, WORK_COLUMNS, UnknownOperator, trace

from .counting import Function


def small_network():
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True)),
        nn.MaxPool2d(2), nn.Dropout(0.5), nn.Flatten(), nn.Linear(8 * 4 * 4, 10),
    )  # fmt: skip


def identity_of(network):
    """Everything about a network that tracing must leave: the objects, and the values of buffers."""
    return [
        (
            name,
            part.training,
            {k: id(v) for k, v in part._parameters.items()},
            {k: (id(v), v.clone()) for k, v in part._buffers.items() if v is not None},
            [id(child) for child in part._modules.values()],
            [len(getattr(part, k)) for k in vars(part) if k.endswith("hooks")],
            sorted(vars(part)),
            part.forward.__func__,
        )
        for name, part in network.named_modules()
    ]


def same(before, after):
    flat = [str(part) for part in before], [str(part) for part in after]
    return flat[0] == flat[1]


@pytest.mark.parametrize("mode", ["train", "eval", "mixed"])
def test_tracing_leaves_the_network_as_it_was(mode):
    network = small_network().train(mode != "eval")
    if mode == "mixed":
        network[0].eval()
    calls = []
    network[0].register_forward_hook(lambda *_: calls.append("hook"))
    before, weights = identity_of(network), [p.clone() for p in network.parameters()]
    trace(network, (3, 8, 8))
    assert same(before, identity_of(network))
    assert all(torch.equal(p, q) for p, q in zip(network.parameters(), weights, strict=True))
    assert all(p.requires_grad and p.grad is None and p.device.type == "cpu" for p in network.parameters())
    assert calls == ["hook"]  # the user's hooks run, as they would


def test_tracing_leaves_the_network_as_it_was_when_forward_raises():
    class Raises(nn.Module):
        def forward(self, x):
            self.seen = x
            raise RuntimeError("out of ideas")

    network = nn.Sequential(small_network(), Raises())
    before = identity_of(network)
    with pytest.raises(InvalidInput, match="in '1'.*out of ideas"):
        trace(network, (3, 8, 8))
    assert same(before, identity_of(network))


def test_what_forward_stores_on_a_module_is_taken_back():
    class Remembers(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.calls = None, 0

        def forward(self, x):
            self.last, self.calls, self.new = x, self.calls + 1, x
            return x + 1

    network = Remembers()
    trace(network, (4,))
    assert (network.last, network.calls) == (None, 0) and not hasattr(network, "new")


def test_a_traced_network_still_runs_and_trains():
    network = small_network()
    trace(network, (3, 8, 8), dtype="float16")
    loss = network(torch.randn(2, 3, 8, 8)).sum()
    loss.backward()
    assert loss.dtype == torch.float32 and all(p.grad is not None for p in network.parameters())


def test_tracing_is_repeatable_and_does_not_draw_random_numbers():
    network, state = small_network(), torch.get_rng_state()
    assert trace(network, (3, 8, 8)) == trace(network, (3, 8, 8))
    assert torch.equal(state, torch.get_rng_state())


def test_layers_bear_the_paths_of_their_modules_and_views_and_dropout_make_none():
    layers = trace(small_network(), (3, 8, 8)).layers
    assert [(layer.name, layer.kind) for layer in layers] == [
        ("0.0", "conv2d"), ("0.1", "batch_norm"), ("0.2", "relu"), ("1", "max_pool2d"), ("4", "linear"),
    ]  # fmt: skip


def test_work_in_a_networks_own_forward_has_the_empty_path():
    (layer,) = trace(Function(lambda x: x + x), (4,)).layers
    assert (layer.name, layer.kind) == ("", "add")


def test_work_between_the_parts_of_a_module_is_the_modules_own():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x):
            return self.inner(x) + x

    layers = trace(nn.Sequential(Block(), nn.ReLU()), (4,)).layers
    assert [(layer.name, layer.kind) for layer in layers] == [
        ("0.inner", "linear"),
        ("0", "add"),
        ("1", "relu"),
    ]


def test_a_view_makes_no_layer():
    def views(x):
        return x.transpose(1, 2).unsqueeze(1)[:, 0, 1:].permute(0, 2, 1).split(2, 1)[0].detach()

    graph = trace(Function(views), (4, 6))
    assert graph.layers == () and graph.flops == 0


def test_elementwise_work_is_counted_apart_from_flops():
    layers = trace(small_network(), (3, 8, 8), batch_size=2).layers
    by_kind = {layer.kind: layer for layer in layers}
    elements = 2 * 8 * 8 * 8
    assert by_kind["batch_norm"].elementwise_ops == 2 * elements
    assert by_kind["relu"].elementwise_ops == elements
    assert by_kind["max_pool2d"].elementwise_ops == 2 * 2 * elements // 4
    assert all(by_kind[kind].flops == 0 for kind in ("batch_norm", "relu", "max_pool2d"))
    assert by_kind["conv2d"].elementwise_ops == by_kind["linear"].elementwise_ops == 0


@pytest.mark.parametrize(
    ("function", "shape", "kind", "ops"),
    [
        (lambda x: F.softmax(x, -1), (6, 4), "softmax", 5 * 24),
        (lambda x: F.gelu(x), (6, 4), "gelu", 24),
        (lambda x: F.layer_norm(x, (4,)), (6, 4), "layer_norm", 5 * 24),
        (lambda x: x.sum(1), (6, 4), "sum", 24),
        (lambda x: torch.cat([x, x], 1), (6, 4), "cat", 0),
        (lambda x: F.avg_pool2d(x, 3, stride=1), (2, 5, 5), "avg_pool2d", 9 * 2 * 9),
        (lambda x: F.adaptive_avg_pool2d(x, 2), (2, 6, 6), "adaptive_avg_pool2d", 9 * 2 * 4),
        (lambda x: F.adaptive_avg_pool2d(x, 1), (2, 6, 6), "adaptive_avg_pool2d", 36 * 2),
        (lambda x: F.interpolate(x, scale_factor=2), (2, 3, 3), "upsample_nearest", 2 * 36),
        (lambda x: F.pad(x, (1, 1)), (6, 4), "pad", 0),
    ],
)
def test_elementwise_work_by_hand(function, shape, kind, ops):
    (layer,) = trace(Function(function), shape).layers
    assert (layer.kind, layer.elementwise_ops, layer.flops) == (kind, ops, 0)


def test_a_pool_over_everything_has_the_window_and_stride_of_the_whole_image():
    (layer,) = trace(nn.AdaptiveAvgPool2d(1), (2, 7, 5)).layers
    assert (layer.kernel_h, layer.kernel_w, layer.stride_h, layer.stride_w) == (7, 5, 7, 5)
    assert (layer.out_channels, layer.out_h, layer.out_w) == (2, 1, 1)


def test_training_mode_does_not_matter():
    network = small_network()
    assert trace(network.train(), (3, 8, 8)) == trace(network.eval(), (3, 8, 8))


def test_a_network_on_the_meta_device_is_traced_like_one_on_the_cpu():
    with torch.device("meta"):
        without_values = small_network()
    assert trace(without_values, (3, 8, 8)) == trace(small_network(), (3, 8, 8))


def test_a_tensor_that_is_no_parameter_may_be_on_the_cpu():
    scale = torch.ones(4)
    (layer,) = trace(Function(lambda x: x * scale), (4,)).layers
    assert layer.kind == "mul"


def test_integer_inputs_are_indices_into_an_embedding():
    network = nn.Sequential(nn.Embedding(100, 8), nn.Linear(8, 4))
    graph = trace(network, (5,), batch_size=2, dtype="int64")
    assert [layer.kind for layer in graph.layers] == ["embedding", "linear"]
    assert {layer.dtype for layer in graph.layers} == {"float32"}
    assert graph.layers[0].elementwise_ops == 0 and graph.parameter_bytes == 4 * (800 + 36)


def test_a_row_of_a_layer_has_the_columns_of_layers_csv():
    row = trace(nn.Linear(4, 2), (4,)).layers[0].row()
    assert set(SHAPE_COLUMNS) | set(WORK_COLUMNS) | {"name", "operator", "live_bytes"} == set(row)


class Spectrum(nn.Module):
    def forward(self, x):
        return torch.fft.rfft(x).abs()


def spectral_network():
    network = nn.Module()
    network.mixer = nn.Sequential(Spectrum(), nn.Linear(5, 2))
    network.forward = lambda x: network.mixer(x)
    return network


def test_an_operator_without_a_rule_is_an_error_that_says_where_it_is_and_what_to_do():
    with pytest.raises(UnknownOperator) as caught:
        trace(spectral_network(), (8,), unknown="error")
    text = str(caught.value)
    assert text.startswith("no cost rule for operator 'aten._fft_r2c' (in 'mixer.0'); known: conv2d, ")
    assert text.endswith("Add one to hwopt.network.RULES")
    assert isinstance(caught.value, KeyError)


def test_an_operator_without_a_rule_is_counted_with_the_bytes_of_its_operands():
    graph = trace(nn.Sequential(Spectrum(), nn.Linear(5, 8), Spectrum()), (8,), batch_size=2)
    assert graph.unknown_operators == (("aten._fft_r2c", 2),)
    assert [layer.kind for layer in graph.layers] == ["unknown", "abs", "linear", "unknown", "abs"]
    unknown = graph.layers[0]
    assert (unknown.operator, unknown.name) == ("aten._fft_r2c", "0")
    assert (unknown.input_bytes, unknown.output_bytes) == (4 * 2 * 8, 8 * 2 * 5)  # complex: eight bytes each
    assert unknown.elementwise_ops == 2 * 5 and unknown.flops == 0


def test_a_rule_of_the_users_own_prices_an_operator(rules):
    rules["aten._fft_r2c"] = lambda operation: {"kind": "fft", "elementwise_ops": 7 * operation.x.numel()}
    layer = trace(Spectrum(), (8,), batch_size=3).layers[0]
    assert (layer.kind, layer.operator, layer.elementwise_ops) == ("fft", "aten._fft_r2c", 7 * 24)
    assert (layer.batch, layer.in_channels, layer.out_channels) == (3, 8, 5)
    assert (layer.input_bytes, layer.output_bytes) == (4 * 24, 8 * 15)  # complex: eight bytes each


def test_an_input_of_the_wrong_shape_is_an_error_that_names_the_module_and_the_shapes():
    with pytest.raises(InvalidInput) as caught:
        trace(small_network(), (3, 12, 12), batch_size=2)
    text = str(caught.value)
    assert text.startswith("Sequential does not run on an input of shape (2, 3, 12, 12) (in '4'): ")
    assert "288" in text and "128" in text  # 8 channels of 6 x 6 places came, of 4 x 4 were wanted
    assert text.endswith("give the input_shape of the network, without the batch")


def test_a_forward_that_depends_on_values_is_an_error_that_says_so():
    with pytest.raises(InvalidInput, match="must not depend on the values of tensors"):
        trace(Function(lambda x: x if x.sum() > 0 else -x), (4,))


def test_a_lazy_module_must_have_run_once():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that lazy modules are new
        network = nn.Sequential(nn.LazyLinear(4))
    with pytest.raises(InvalidInput, match="parameter 'weight' has no shape yet .*run the network once"):
        trace(network, (8,))


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, True, "2"])
def test_a_batch_size_that_is_no_positive_whole_number_is_an_error(batch_size):
    with pytest.raises(InvalidInput, match="batch_size and input_shape are whole numbers from 1, got"):
        trace(nn.Linear(4, 2), (4,), batch_size=batch_size)


@pytest.mark.parametrize("shape", [(0,), (3, -1), (2.0,)])
def test_an_input_shape_that_is_not_of_positive_whole_numbers_is_an_error(shape):
    with pytest.raises(InvalidInput, match="batch_size and input_shape are whole numbers from 1, got 1 and"):
        trace(nn.Linear(4, 2), shape)


def test_an_unknown_dtype_is_an_error_with_the_nearest_known_one():
    with pytest.raises(InvalidInput, match="unknown dtype 'floaty16'; did you mean float16?"):
        trace(nn.Linear(4, 2), (4,), dtype="floaty16")


def test_only_a_module_can_be_traced():
    with pytest.raises(InvalidInput, match="only a torch.nn.Module can be traced, got 'resnet18'"):
        trace("resnet18", (3, 224, 224))


def test_what_to_do_with_the_unknown_is_error_or_count():
    with pytest.raises(InvalidInput, match="unknown='ignore'"):
        trace(nn.Linear(4, 2), (4,), unknown="ignore")
