"""Operators without a cost rule are priced by their bytes, and it is said how much of the time they are."""

import numpy as np
import pytest
import torch
from skopt.space import Integer
from torch import nn

from hwopt import SearchSpace, load_device
from hwopt.network import trace
from hwopt.report.prediction import Predicted, layer_rows, prediction_content, prediction_lines


class Spectrum(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1)

    def forward(self, x):
        return torch.fft.irfft2(torch.fft.rfft2(self.conv(x)))


SHAPE = (3, 16, 16)


@pytest.fixture(scope="module")
def device():
    return load_device("amd-epyc")


def test_a_prediction_says_which_operators_are_unknown_and_their_share(device):
    found = device.predict(trace(Spectrum(), SHAPE))
    unknown = found.layers[found.layers["kind"] == "unknown"]
    assert list(found.unknown) and set(found.unknown) == {"aten._fft_r2c", "aten._fft_c2r"}
    assert sum(found.unknown.values()) == pytest.approx(unknown["share"].sum())
    assert (unknown["time_s"] > 0).all() and unknown["is_fallback"].all()
    (note,) = [note for note in found.notes if "no cost rule" in note]
    assert f"{unknown['share'].sum():.1%} of the time: 1 x aten._fft" in note
    plain = device.predict(trace(nn.Conv2d(3, 4, 3), SHAPE))
    assert found.costs.widening["time_s"][0] > 1
    assert plain.unknown == {} and not any("no cost rule" in note for note in plain.notes)


def test_the_costs_of_a_space_say_how_much_of_its_networks_is_unknown(device):
    space = SearchSpace([Integer(1, 8, name="w")], build=lambda c: Spectrum(c["w"]), input_shape=SHAPE)
    model = device.cost_model(space)
    assert model.notes == []
    costs = model([{"w": w} for w in (2, 4, 8)])
    assert np.isfinite(costs["time_s"]).all()
    assert len(model.notes) == 2 and all("in 3 of 3 networks, at most" in note for note in model.notes)


def test_the_costs_of_networks_of_another_type_say_so(device):
    space = SearchSpace(
        [Integer(1, 8, name="w")], build=lambda c: nn.Conv2d(3, c["w"], 3).half(), input_shape=SHAPE
    )
    model = device.cost_model(space)
    model([{"w": 2}, {"w": 3}])
    assert model.notes == [
        "2 of 2 networks: the weights are float16 and were traced as float32; pass the dtype of inference"
    ]


class Shapes(nn.Module):
    def forward(self, x):
        return torch.einsum("bchw,bdhw->bcd", x, x)


@pytest.mark.parametrize(
    ("network", "shape", "dtype", "expected"),
    [
        (nn.Embedding(100, 16), (20,), "int64", [4, 20, 16]),
        (nn.Conv3d(3, 8, 3), (3, 8, 8, 8), "float32", [4, 8, 6, 6, 6]),
        (nn.Linear(16, 5), (7, 16), "float32", [4 * 7, 5]),
        (Shapes(), SHAPE, "float32", [4, 3, 3]),
    ],
    ids=["embedding", "conv3d", "linear", "einsum"],
)
def test_the_shape_of_a_result_is_shown_as_it_is(device, network, shape, dtype, expected):
    graph = trace(network, shape, 4, dtype)
    (layer,) = [layer for layer in graph.layers if layer.kind != "copy"]
    assert list(layer.output_shape) == expected
    if dtype == "float32":
        one = Predicted("net", "d", 4, shape, device.predict(graph))
        (content,) = [row for row in prediction_content(one)["layers"] if row["kind"] != "copy"]
        assert content["output_shape"] == expected
        assert layer_rows([one])[-1]["output_shape"] == "x".join(map(str, expected))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_a_recurrent_layer_that_was_not_measured_is_marked_and_takes_its_steps(device, kind):
    short, long = (
        device.predict(trace(getattr(nn, kind)(32, 64, batch_first=True), (length, 32)))
        for length in (20, 400)
    )
    assert short.layers["is_fallback"].all() and short.costs.widening["time_s"][0] > 3
    assert long.total["time_s"] > 10 * short.total["time_s"]
    assert any(f"fallback, too few measured rows of the kind: {kind.lower()}" in note for note in short.notes)
    assert any("fallback" in line for line in prediction_lines(short))
