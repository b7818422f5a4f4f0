"""Networks of a GPU's campaign: each architecture before any a second time, the test never drawn from."""

from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from skopt.space import Integer
from torch import nn

from hwopt.measure.campaign import trace_spec
from hwopt.measure.sampling.gpu_networks import choose_gpu_networks, operator_sources
from hwopt.network import trace
from hwopt.network.build import EmptyOnMeta
from hwopt.space.search_space import SearchSpace

from .test_networks import described


@pytest.fixture(scope="module")
def measured():
    return choose_gpu_networks(np.random.default_rng(0))


@pytest.fixture(scope="module")
def sources():
    return operator_sources(np.random.default_rng(1))


def architecture(candidate):
    return candidate.name.rpartition("-b")[0]


def dense_convolutions(candidates):
    layers = {layer for one in candidates for layer in trace_spec(one).layers}
    return [layer for layer in layers if layer.kind == "conv2d" and layer.groups == 1]


def test_no_architecture_comes_twice_before_all_came_once(measured):
    names = [architecture(candidate) for candidate in measured]
    n_distinct = len(set(names))
    assert n_distinct >= 100 and len(set(names[:n_distinct])) == n_distinct
    torchvision = Counter(architecture(c) for c in measured if c.source == "torchvision")
    assert set(torchvision.values()) == {4}


def test_the_first_networks_are_of_every_source_split_and_batch_size_and_neuralpower_is_among_them(measured):
    first = measured[:25]
    assert Counter(c.source for c in first)["neuralpower"] == 5
    assert {c.source for c in first} == {"torchvision", "random", "block", "neuralpower"}
    assert min(Counter(c.split for c in first).values()) >= 4
    assert {c.input_shape[0] for c in first} >= {1, 8, 32, 128}
    table = {c.name: c.input_shape for c in measured if c.source == "neuralpower"}
    assert table == {
        "vgg16-b64": (64, 3, 224, 224),
        "alexnet-b128": (128, 3, 224, 224),
        "nin-b128": (128, 3, 224, 224),
        "overfeat-b128": (128, 3, 231, 231),
        "cifar10_6conv-b128": (128, 3, 32, 32),
    }


def test_networks_are_the_same_for_a_seed_and_their_names_mean_one_network_each(measured):
    assert described(measured) == described(choose_gpu_networks(np.random.default_rng(0)))
    other = choose_gpu_networks(np.random.default_rng(5))
    by_name = {c.name: (c.config, c.input_shape) for c in measured}
    assert len(by_name) == len(measured)
    assert all(by_name.get(c.name, (c.config, c.input_shape)) == (c.config, c.input_shape) for c in other)
    random = {c.name for c in measured if c.source == "random"}
    assert random.isdisjoint(c.name for c in other)


def test_a_network_is_in_one_split_at_all_batch_sizes(measured):
    splits, by_source = defaultdict(set), defaultdict(set)
    for candidate in measured:
        splits[architecture(candidate)].add(candidate.split)
        by_source[candidate.source].add(candidate.split)
    assert all(len(found) == 1 for found in splits.values())
    assert by_source["block"] == {"fit"} and by_source["neuralpower"] == {"test"}
    assert by_source["torchvision"] == by_source["random"] == {"fit", "calibrate", "test"}


def test_no_operator_is_drawn_from_a_network_of_the_test(measured, sources):
    held_out = {architecture(c) for c in measured if c.split == "test"}
    assert held_out.isdisjoint(architecture(c) for c in sources)
    assert {c.source for c in sources} == {"torchvision", "random"} and len(sources) > 80
    assert {c.input_shape[0] for c in sources} >= {1, 8, 32, 128}


def test_channels_are_mostly_multiples_of_eight_as_networks_have_them(sources):
    random = [c for c in sources if c.source == "random"]
    inner = [layer for layer in dense_convolutions(random) if layer.in_channels > 3]
    assert np.mean([layer.in_channels % 4 == layer.out_channels % 4 == 0 for layer in inner]) > 0.8
    assert any(layer.out_channels % 4 for layer in inner)  # a search tries any width


def test_random_networks_and_blocks_run(measured):
    for candidate in [
        c for c in measured if c.source in ("random", "block") and np.prod(c.input_shape[1:]) < 2e4
    ][:4]:
        x = torch.rand(1, *candidate.input_shape[1:])
        with torch.no_grad():
            assert torch.isfinite(candidate.build().eval()(x)).all()


def test_a_batch_size_is_that_of_every_network_but_those_of_the_table():
    chosen = choose_gpu_networks(np.random.default_rng(0), 4, 4, (16,))
    assert {c.input_shape[0] for c in chosen if c.source != "neuralpower"} == {16}
    assert {c.input_shape[0] for c in operator_sources(np.random.default_rng(0), None, 16)} == {16}


def build(config):
    return nn.Sequential(
        nn.Conv2d(1, config["features"], 3), nn.Flatten(), nn.Linear(config["features"] * 4, 2)
    )


def test_operators_around_a_space_are_drawn_from_its_networks():
    space = SearchSpace([Integer(1, 500, name="features")], build=build, input_shape=(1, 4, 4))
    found = operator_sources(np.random.default_rng(0), space, 32)
    assert {c.source for c in found} == {"space"} and {c.input_shape for c in found} == {(32, 1, 4, 4)}


def test_every_network_that_is_measured_can_be_traced(measured):
    smallest = {}
    for candidate in sorted(measured, key=lambda c: c.input_shape[0]):
        if candidate.source != "random":
            smallest.setdefault(candidate.name.rsplit("-b", 1)[0], candidate)
    for candidate in smallest.values():
        with EmptyOnMeta():
            network = candidate.build()
        batch, *shape = candidate.input_shape
        assert trace(network, tuple(shape), batch).flops > 0, candidate.name
