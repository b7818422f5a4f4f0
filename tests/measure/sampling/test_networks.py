"""The networks that are measured: the same for a seed, each in one split, and enough to calibrate on."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from skopt.space import Integer
from torch import nn

import hwopt
from hwopt.measure.sampling.architectures import blocks, neuralpower
from hwopt.measure.sampling.networks import choose_networks
from hwopt.network import trace
from hwopt.network.build import EmptyOnMeta
from hwopt.space.search_space import SearchSpace

ROOT = Path(hwopt.__file__).parent


def described(candidates):
    return [(c.name, c.source, c.split, c.input_shape) for c in candidates]


def test_random_networks_are_the_same_for_the_same_seed_and_fill_every_split():
    first, second = (choose_networks(20, np.random.default_rng(1)) for _ in range(2))
    assert described(first) == described(second)
    random = [c for c in first if c.source == "random"]
    assert {c.split for c in random} == {"fit", "calibrate", "test"}
    for candidate in random[:6]:
        with torch.no_grad():
            assert candidate.build().eval()(torch.rand(candidate.input_shape)).shape[1] == 10


def test_the_networks_of_a_shipped_cpu_profile_are_still_those_that_would_be_chosen():
    measured = pd.read_csv(ROOT / "devices" / "amd-epyc" / "networks.csv")
    chosen = choose_networks(70, np.random.default_rng([0, 0]))
    columns = measured[["network", "source", "split", "input_shape"]]
    assert set(columns.itertuples(index=False, name=None)) == {
        (name, source, split, "x".join(map(str, shape))) for name, source, split, shape in described(chosen)
    }


@pytest.mark.parametrize(
    ("build", "shape", "n_classes", "n_million"),
    [
        (neuralpower.nin, (3, 224, 224), 1000, 7.6),
        (neuralpower.overfeat, (3, 231, 231), 1000, 145.9),  # the paper says 145 million
        (neuralpower.cifar10_6conv, (3, 32, 32), 10, 14.0),
    ],
)
def test_the_networks_of_the_papers_have_their_size(build, shape, n_classes, n_million):
    with EmptyOnMeta():
        network = build()
    graph = trace(network, shape, 2)
    assert graph.n_parameters / 1e6 == pytest.approx(n_million, abs=0.06)
    assert graph.output_bytes == 4 * 2 * n_classes


def test_the_first_convolutions_of_overfeat_have_the_sides_of_its_table():
    with EmptyOnMeta():
        network = neuralpower.overfeat()
    sides = [layer.out_h for layer in trace(network, (3, 231, 231)).layers if layer.kind == "conv2d"]
    assert sides == [56, 24, 12, 12, 12]


@pytest.mark.parametrize("form", blocks.FORMS)
def test_a_block_keeps_the_shape_of_its_input(form):
    with torch.no_grad():
        assert blocks.FORMS[form](6, 3).eval()(torch.rand(2, 6, 7, 7)).shape == (2, 6, 7, 7)


def build_image(config):
    return nn.Sequential(nn.Conv2d(1, config["features"], 3), nn.Flatten(), nn.LazyLinear(10))


def build_vector(config):
    return nn.Sequential(nn.Linear(30, config["features"]), nn.ReLU(), nn.Linear(config["features"], 10))


@pytest.mark.parametrize(("build", "shape"), [(build_image, (1, 12, 16)), (build_vector, (30,))])
def test_a_space_with_few_networks_is_filled_up_with_random_ones_of_its_input(build, shape):
    space = SearchSpace([Integer(1, 3, name="features")], build=build, input_shape=shape)
    chosen = choose_networks(80, np.random.default_rng(0), space, (2,))
    assert Counter(c.source for c in chosen) == {"space": 3, "random": 37}
    assert sum(c.split == "calibrate" for c in chosen) >= 19
    assert {c.input_shape for c in chosen} == {(2, *shape)}
    assert len({c.name for c in chosen}) == 40
    for candidate in chosen[3:8]:
        with torch.no_grad():
            assert candidate.build().eval()(torch.rand(candidate.input_shape)).shape == (2, 10)


def test_a_space_with_many_networks_is_not_filled_up_and_a_short_run_not_beyond_its_length():
    space = SearchSpace([Integer(1, 500, name="features")], build=build_vector, input_shape=(30,))
    assert {c.source for c in choose_networks(50, np.random.default_rng(0), space, (2,))} == {"space"}
    few = SearchSpace([Integer(1, 3, name="features")], build=build_vector, input_shape=(30,))
    assert len(choose_networks(10, np.random.default_rng(0), few, (2,))) == 10
