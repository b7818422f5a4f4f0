"""The search spaces that ship as files: every configuration must build, above all at the corners."""

from importlib import util
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hwopt import load_device
from hwopt.train.settings import HYPERPARAMETERS

FOLDER = Path(__file__).parents[2] / "search_spaces"
N_HYPERPARAMETERS = {
    "digits_cnn": 16,
    "digits_mixed": 13,
    "fashion_mnist_grid": 14,
    "hyperpower_mnist": 6,
    "hyperpower_cifar10": 13,
}
BY_ARCHITECTURE = {"vgg": 14, "resnet": 9, "mobilenet": 10, "nas_bench_201": 10, "vision_transformer": 9}


def load_space(name):
    spec = util.spec_from_file_location(f"search_spaces_{name}", FOLDER / f"{name}.py")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SPACE


@pytest.fixture(params=N_HYPERPARAMETERS)
def named_space(request):
    return request.param, load_space(request.param)


def test_the_number_of_hyperparameters_and_which_of_them_change_the_network(named_space):
    name, space = named_space
    assert len(space) == N_HYPERPARAMETERS[name]
    assert set(space.names) - set(space.structural) <= {*HYPERPARAMETERS, "dropout"}


def test_every_configuration_builds_and_gives_ten_logits(named_space):
    _, space = named_space
    for config in [*corners(space), *space.sample(15, np.random.default_rng(0))]:
        with torch.device("meta"):
            logits = space.build(config)(torch.zeros(2, *space.input_shape))
        assert logits.shape == (2, 10), config


def corners(space):
    """Return the corners of the unit cube, at most 64 of them, drawn at random where there are more."""
    rng = np.random.default_rng(1)
    every = product([0.0, 1.0], repeat=len(space)) if len(space) < 7 else rng.integers(0, 2, (64, len(space)))
    return space.from_unit(np.array(list(every), dtype=float))


def test_costs_of_the_digits_networks_differ_by_far_more_than_ten_times():
    space = load_space("digits_cnn")
    flops = []
    for config in space.sample(40, np.random.default_rng(0)):
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            space.build(config)(torch.zeros(1, 1, 8, 8))
        flops.append(counter.get_total_flops())
    assert max(flops) > 20 * min(flops)


def test_the_other_hyperparameters_do_not_change_the_network(named_space):
    _, space = named_space
    config, *others = space.sample(20, np.random.default_rng(2))
    shapes = set()
    for other in others:
        changes = {name: value for name, value in other.items() if name not in space.structural}
        with torch.device("meta"):
            network = space.build({**config, **changes})
        shapes.add(tuple(parameter.shape for parameter in network.parameters()))
    assert len(shapes) == 1


@pytest.fixture(scope="module")
def device():
    return load_device("amd-epyc")


@pytest.mark.parametrize("name", BY_ARCHITECTURE)
def test_twenty_networks_of_an_architecture_are_priced_and_train_a_step(name, device):
    space = load_space(name)
    assert len(space) == BY_ARCHITECTURE[name]
    assert set(space.names) & set(HYPERPARAMETERS) >= {"learning_rate", "weight_decay"}
    configs = space.sample(20, np.random.default_rng(0))
    costs = device.cost_model(space, batch_size=8)
    times = costs(configs)["time_s"]
    assert np.all(np.isfinite(times)) and times.max() > 2 * times.min() and costs.notes == []
    torch.manual_seed(0)
    images, labels = torch.randn(2, *space.input_shape), torch.tensor([3, 7])
    for config in configs:
        network = space.build(config)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        loss.backward()
        before = [parameter.detach().clone() for parameter in network.parameters()]
        optimizer.step()
        assert torch.isfinite(loss), config
        assert any(not torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))
