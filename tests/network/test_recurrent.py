"""Recurrent layers: one row each, with the FLOPs that PyTorch's counter finds step by step."""

import warnings
from itertools import product

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.flop_counter import FlopCounterMode

from hwopt.network import trace, training_memory_bytes

LENGTH, CHANNELS, STATE, BATCH = 5, 6, 8, 3
FORMS = [
    (kind, n_layers, is_bidirectional, bias, batch_first)
    for kind, n_layers, is_bidirectional, bias, batch_first in product(
        ("LSTM", "GRU", "RNN"), (1, 3), (False, True), (True, False), (True, False)
    )
    if bias or batch_first
]


def counted(network, shape):
    """FLOPs of a pass on values; a type that the CPU has no fused kernel for is run step by step."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.double().eval()(torch.rand(BATCH, *shape, dtype=torch.float64))
    return counter.get_total_flops()


@pytest.mark.parametrize(("kind", "n_layers", "both", "bias", "batch_first"), FORMS)
def test_each_layer_is_one_row_with_the_flops_of_its_steps(kind, n_layers, both, bias, batch_first):
    network = getattr(nn, kind)(
        CHANNELS, STATE, n_layers, bias=bias, batch_first=batch_first, bidirectional=both
    )
    graph = trace(network, (LENGTH, CHANNELS), BATCH)
    assert [layer.kind for layer in graph.layers] == [kind.lower()] * n_layers
    assert sum(layer.weight_bytes for layer in graph.layers) == graph.parameter_bytes
    assert graph.flops == counted(network, (LENGTH, CHANNELS)) > 0
    first, directions = graph.layers[0], 1 + both
    items = (BATCH, LENGTH) if batch_first else (LENGTH, BATCH)
    assert (first.batch, first.in_h, first.in_channels) == (*items, CHANNELS)
    assert (first.out_channels, first.groups, first.kernel_h) == (directions * STATE, directions, STATE)
    assert first.output_bytes == 4 * BATCH * LENGTH * directions * STATE


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("both", [False, True])
def test_a_projection_is_counted(both):
    network = nn.LSTM(CHANNELS, STATE, 2, proj_size=3, bidirectional=both)
    graph = trace(network, (LENGTH, CHANNELS), BATCH)
    assert [layer.kind for layer in graph.layers] == ["lstm", "lstm"]
    assert graph.layers[0].out_channels == 3 * (1 + both) and graph.layers[0].kernel_h == STATE
    assert graph.flops == counted(network, (LENGTH, CHANNELS))


def test_an_lstm_by_hand():
    (layer,) = trace(nn.LSTM(28, 64, batch_first=True), (28, 28), 4).layers
    assert layer.flops == 4 * 28 * 2 * 4 * 64 * (28 + 64)
    assert layer.input_bytes == 4 * 4 * 28 * 28 and layer.weight_bytes == 4 * 4 * 64 * (28 + 64 + 2)


class Run(nn.Module):
    def __init__(self, network, function):
        super().__init__()
        self.network, self.function = network, function

    def forward(self, x):
        return self.function(self.network, x)


@pytest.mark.parametrize(
    "function",
    [
        lambda lstm, x: lstm(x, (x.new_zeros(1, 3, STATE), x.new_zeros(1, 3, STATE)))[0],
        lambda lstm, x: lstm(x)[1][0],
        lambda lstm, x: lstm(x[0])[0],
        lambda lstm, x: lstm(lstm(x)[0][..., :CHANNELS])[0],
        lambda lstm, x: lstm(pack_padded_sequence(x, [5, 3, 2], batch_first=True))[0].data,
    ],
    ids=["own states", "last state", "without a batch", "twice", "packed"],
)
def test_an_lstm_in_its_other_uses_has_the_flops_and_shapes_of_a_pass(function):
    network = Run(nn.LSTM(CHANNELS, STATE, batch_first=True), function)
    graph = trace(network, (LENGTH, CHANNELS), BATCH)
    assert all(layer.kind != "linear" for layer in graph.layers)
    assert graph.output_bytes == 4 * network(torch.rand(BATCH, LENGTH, CHANNELS)).numel()
    assert graph.flops == counted_packed(network)


def counted_packed(network):
    with torch.no_grad(), FlopCounterMode(display=False) as counter, warnings.catch_warnings():
        network.double().eval()(torch.rand(BATCH, LENGTH, CHANNELS, dtype=torch.float64))
    return counter.get_total_flops()


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "RNNCell"])
def test_a_cell_is_the_operators_of_one_step(kind):
    network = getattr(nn, kind)(CHANNELS, STATE)
    graph = trace(network, (CHANNELS,), BATCH)
    assert graph.unknown_operators == () and graph.flops == counted(network, (CHANNELS,)) > 0


def test_an_lstm_takes_the_memory_of_its_results_and_leaves_its_weights():
    network = nn.LSTM(CHANNELS, STATE, 2, batch_first=True)
    weights = [id(weight) for weight in network._flat_weights]
    graph = trace(network, (LENGTH, CHANNELS), BATCH)
    results = 4 * BATCH * STATE * (2 * LENGTH + 2 * 2 * 2)  # two layers, two states of each, before and after
    assert graph.peak_activation_bytes <= graph.input_bytes + results
    assert training_memory_bytes(network, (LENGTH, CHANNELS), BATCH) > graph.memory_bytes
    assert [id(weight) for weight in network._flat_weights] == weights
    assert not any(weight.is_meta for weight in network._flat_weights)


def test_an_input_that_does_not_fit_is_pytorchs_own_error():
    with pytest.raises(ValueError, match="input.size"):
        trace(nn.LSTM(CHANNELS, STATE), (LENGTH, CHANNELS + 1), BATCH)
