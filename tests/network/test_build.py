"""From a configuration to its network and its layers; every error names the configuration."""

import re

import pytest
import torch
from skopt.space import Integer
from torch import nn

from hwopt import InvalidInput, SearchSpace
from hwopt.network import UnknownOperator, build_network, load_model, trace, trace_config

CONFIG = {"width": 6}


def space_of(build, input_shape=(4,)):
    return SearchSpace(
        [Integer(1, 64, name="width")], build=build, input_shape=input_shape, structural=["width"]
    )


def mlp(config):
    return nn.Sequential(nn.Linear(4, config["width"]), nn.ReLU(), nn.Linear(config["width"], 2))


def test_a_config_becomes_the_layers_of_its_network():
    graph = trace_config(space_of(mlp), CONFIG, batch_size=3)
    assert [layer.kind for layer in graph.layers] == ["linear", "relu", "linear"]
    assert graph.flops == 2 * 3 * (4 * 6 + 6 * 2) and graph.batch_size == 3
    assert graph == trace(mlp(CONFIG), (4,), 3)


def test_the_dtype_is_passed_on():
    assert trace_config(space_of(mlp), CONFIG, dtype="bfloat16").dtype == "bfloat16"


def test_a_network_is_built_on_the_meta_device_unless_another_is_asked_for():
    assert {p.device.type for p in build_network(space_of(mlp), CONFIG).parameters()} == {"meta"}
    assert {p.device.type for p in build_network(space_of(mlp), CONFIG, "cpu").parameters()} == {"cpu"}


def test_build_cannot_change_the_callers_config():
    def greedy(config):
        return nn.Linear(4, config.pop("width"))

    config = dict(CONFIG)
    trace_config(space_of(greedy), config)
    assert config == CONFIG


def test_a_build_that_needs_values_is_run_on_the_cpu_instead():
    places = []

    def needs_values(config):
        places.append(torch.empty(1).device.type)
        depth = int(torch.linspace(0, 1, config["width"]).sum().item())
        return nn.Sequential(*(nn.Linear(4, 4) for _ in range(depth)))

    graph = trace_config(space_of(needs_values), CONFIG)
    assert [layer.name for layer in graph.layers] == ["0", "1", "2"]  # 0 + 0.2 + ... + 1 = 3
    assert places == ["meta", "cpu"]


def test_a_build_that_raises_is_an_error_that_quotes_it_and_the_config():
    def fails(config):
        raise ZeroDivisionError(f"no width {config['width']}")

    text = "build raised ZeroDivisionError: no width 6 (config {'width': 6})"
    with pytest.raises(InvalidInput, match=re.escape(text)) as caught:
        build_network(space_of(fails), CONFIG)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_build_that_returns_no_module_is_an_error_that_shows_what_it_returned():
    text = "build returned 'a network', not a torch.nn.Module (config {'width': 6})"
    with pytest.raises(InvalidInput, match=re.escape(text)):
        build_network(space_of(lambda config: "a network"), CONFIG)
    with pytest.raises(InvalidInput, match="build returned None, not a torch.nn.Module"):
        trace_config(space_of(lambda config: None), CONFIG)


def test_a_space_without_build_or_input_shape_is_an_error_that_says_what_to_give():
    with pytest.raises(
        InvalidInput, match="the search space has no build=; give a function that maps a config"
    ):
        trace_config(space_of(None), CONFIG)
    with pytest.raises(InvalidInput, match="the search space has no input_shape=; give the shape"):
        trace_config(space_of(mlp, input_shape=None), CONFIG)


def test_a_network_that_does_not_fit_the_input_is_an_error_with_the_config():
    with pytest.raises(InvalidInput, match=r"input of shape \(1, 5\) \(in '0'\).*\(config {'width': 6}\)$"):
        trace_config(space_of(mlp, input_shape=(5,)), CONFIG)


def test_an_unknown_operator_is_an_error_with_the_config():
    class Spectrum(nn.Module):
        def forward(self, x):
            return torch.fft.rfft(x)

    with pytest.raises(UnknownOperator, match=r"aten._fft_r2c.*\(config {'width': 6}\)$"):
        trace_config(space_of(lambda config: Spectrum()), CONFIG, unknown="error")
    graph = trace_config(space_of(lambda config: Spectrum()), CONFIG)
    assert graph.unknown_operators == (("aten._fft_r2c", 1),)


def test_a_network_of_torchvision_is_made_without_its_weights():
    for name in ("regnet_y_400mf", "resnet18"):  # a RegNet works out its widths from values
        _, network, _ = load_model(f"torchvision:{name}")
        on_meta = sum(p.numel() for p in network.parameters() if p.is_meta)
        assert on_meta > 0.98 * sum(p.numel() for p in network.parameters())
