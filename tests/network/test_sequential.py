"""Networks that are traced without running them have the very graph of a plain trace, or none."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from hwopt.network import load_attribute, trace_config
from hwopt.network.leaf_modules import RULES
from hwopt.network.sequential import trace_sequential
from hwopt.network.tracing import trace_once
from hwopt.network.weightless_modules import building_on_meta, fast_constructors

SPACES = sorted((Path(__file__).parent.parent.parent / "search_spaces").glob("*.py"))


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_networks_of_every_space_have_the_layers_memory_and_parameters_of_plain_tracing(path):
    space = load_attribute(str(path), "SPACE")
    for i, config in enumerate(space.sample(12, np.random.default_rng(3))):
        plain = trace_once(space.build(dict(config)), space.input_shape, 1 + i % 3)
        assert trace_config(space, config, 1 + i % 3) == plain


def chains():
    shared = nn.Conv2d(4, 4, 3, padding=1)
    tied = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    tied[1].weight = tied[0].weight
    yield nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(6 * 36, 3))
    yield nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(4, 2, (1, 3), padding=(0, 1), bias=False))
    inner = nn.Sequential(nn.Conv2d(4, 16, 3, padding="same"), nn.Sequential(nn.BatchNorm2d(16), nn.SiLU()))
    yield nn.Sequential(inner, nn.MaxPool2d(2), nn.Sequential(), nn.Conv2d(16, 2, 2, padding="valid"))
    yield nn.Sequential(shared, nn.Tanh(), shared, nn.AvgPool2d(3, 1, 1), shared)
    yield nn.Sequential(nn.Flatten(), nn.Linear(256, 8), tied, nn.GELU(), nn.Softmax(1))
    yield nn.Sequential(nn.BatchNorm2d(4, affine=False), nn.BatchNorm2d(4, track_running_stats=False))
    yield nn.Sequential(nn.Conv2d(4, 8, 3, groups=2, dilation=2), nn.GroupNorm(2, 8), nn.AdaptiveAvgPool2d(1))
    yield nn.Sequential(nn.Dropout(0.5), nn.Identity(), nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.LeakyReLU())
    yield nn.Sequential(nn.Linear(8, 5), nn.LayerNorm(5), nn.Linear(5, 7, bias=False), nn.Sigmoid())
    twice = nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 1))
    yield nn.Sequential(twice, nn.Tanh(), nn.Sequential(twice, twice))


@pytest.mark.parametrize("network", list(chains()), ids=range(10))
def test_chains_of_all_sorts_have_the_graph_of_a_plain_trace_and_stay_as_they_are(network):
    before = {name: id(value) for name, value in network.named_parameters()}
    shape = (4, 8, 8)
    for batch_size in (3, 1, 3):
        assert trace_sequential(network, shape, batch_size, "float32") == trace_once(
            network, shape, batch_size
        )
    assert {name: id(value) for name, value in network.named_parameters()} == before
    assert all(module.training and "forward" not in vars(module) for module in network.modules())


class Doubled(nn.ReLU):
    def forward(self, x):
        return 2 * super().forward(x)


class Backwards(nn.Sequential):
    def forward(self, x):
        for module in reversed(self):
            x = module(x)
        return x


def hooked(module):
    module.register_forward_hook(lambda module, args, out: out * 2)
    return module


def replaced(module):
    module.forward = lambda x: x * 2
    return module


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(Doubled()),
        Backwards(nn.ReLU(), nn.Conv2d(4, 4, 1)),
        nn.Sequential(hooked(nn.ReLU())),
        hooked(nn.Sequential(nn.ReLU())),
        nn.Sequential(replaced(nn.ReLU())),
        nn.Sequential(parametrizations.weight_norm(nn.Conv2d(4, 4, 1))),
        nn.Sequential(nn.Conv2d(4, 4, 1)).double(),
        nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")),
        nn.Sequential(nn.MaxPool2d([2, 2])),
        nn.Sequential(nn.Conv2d(4, 4, 2, padding="same")),
        nn.Sequential(nn.Conv2d(5, 4, 1)),
        nn.Conv2d(4, 4, 1),
    ],
    ids=lambda network: str(network)[:40],
)
def test_everything_else_is_traced_plainly(network):
    assert trace_sequential(network, (4, 8, 8), 2, "float32") is None
    assert trace_sequential(nn.Sequential(nn.ReLU()), (4, 8, 8), 2, "float16") is None


def test_a_cost_rule_that_is_changed_counts_from_then_on(monkeypatch):
    network = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())
    before = trace_sequential(network, (4, 8, 8), 1, "float32")
    rule = RULES["aten.relu"]
    monkeypatch.setitem(RULES, "aten.relu", lambda operation: {**rule(operation), "elementwise_ops": 7})
    assert trace_sequential(network, (4, 8, 8), 1, "float32").layers[1].elementwise_ops == 7
    monkeypatch.undo()
    assert trace_sequential(network, (4, 8, 8), 1, "float32") == before


MADE = [
    lambda: nn.Conv2d(4, 6, 3),
    lambda: nn.Conv2d(4, 8, kernel_size=(1, 3), groups=2, bias=False),
    lambda: nn.Conv2d(8, 8, 3, padding="same", dilation=2),
    lambda: nn.Linear(5, 3),
    lambda: nn.Linear(5, 3, bias=False),
    lambda: nn.BatchNorm2d(7),
    lambda: nn.BatchNorm2d(7, affine=False, momentum=0.2),
    lambda: nn.BatchNorm2d(7, track_running_stats=False),
    lambda: nn.MaxPool2d(2, stride=1),
    lambda: nn.AvgPool2d(2),
    lambda: nn.Flatten(),
    lambda: nn.Dropout(0.25),
    lambda: nn.ReLU(inplace=True),
    lambda: nn.AdaptiveAvgPool2d((1, 2)),
    lambda: nn.GELU("tanh"),
]


def described(module):
    def of(value):
        if isinstance(value, torch.Tensor):
            return type(value), value.shape, value.dtype, value.device, value.requires_grad
        return (type(value), {k: of(v) for k, v in value.items()}) if isinstance(value, dict) else value

    return {name: of(value) for name, value in vars(module).items()}


@pytest.mark.parametrize("make", MADE)
def test_modules_that_are_made_quickly_are_as_if_made_plainly_each_with_weights_of_its_own(make):
    with torch.device("meta"):
        plain = described(make())
        with fast_constructors(), building_on_meta():
            quick = [make() for _ in range(3)]
    assert [described(module) for module in quick] == [plain] * 3
    weights = [tensor for module in quick for tensor in (*module.parameters(), *module.buffers())]
    assert len({id(tensor) for tensor in weights}) == len(weights)
    quick[0].register_forward_hook(print)
    assert described(quick[1]) == plain and described(quick[2]) == plain


def test_modules_of_other_threads_of_no_meta_build_and_of_subclasses_are_made_as_always():
    class Own(nn.Linear):
        def reset_parameters(self):
            nn.init.ones_(self.weight)

    before = nn.Linear.__init__
    made = []
    with fast_constructors(), building_on_meta():
        thread = threading.Thread(target=lambda: made.append(nn.Linear(2, 2)))
        thread.start()
        thread.join()
        assert torch.equal(Own(2, 2, device="cpu").weight.detach(), torch.ones(2, 2))
    with fast_constructors():
        made.append(nn.Linear(2, 2))
    assert [module.weight.device.type for module in made] == ["cpu", "cpu"]
    assert all(module.weight.abs().max() < 1 and module.weight.std() > 0 for module in made)
    assert nn.Linear.__init__ is before


def test_arguments_that_are_wrong_fail_as_always():
    with fast_constructors(), building_on_meta(), torch.device("meta"):
        nn.Conv2d(4, 4, 3, groups=2)
        for wrong in (
            lambda: nn.Conv2d(3, 4, 3, groups=2),
            lambda: nn.Linear("a", 3),
            lambda: nn.Conv2d(3, 4),
        ):
            with pytest.raises((ValueError, TypeError)):
                wrong()
