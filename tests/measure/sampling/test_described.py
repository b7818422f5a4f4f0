"""Architectures as text: what a profile measured is built again from its rows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import hwopt
from hwopt.errors import InvalidInput
from hwopt.measure.campaign import rows_of_graph, trace_spec
from hwopt.measure.sampling.architectures.described import Architecture
from hwopt.measure.sampling.architectures.small import Block
from hwopt.measure.sampling.gpu_networks import choose_gpu_networks, operator_sources
from hwopt.measure.sampling.networks import NetworkSpec, choose_networks
from hwopt.network.layer import SHAPE_COLUMNS, WORK_COLUMNS

H200 = Path(hwopt.__file__).parent / "devices" / "nvidia-h200"


def test_every_network_of_a_shipped_gpu_profile_is_built_again_from_its_config():
    networks = pd.read_csv(H200 / "networks.csv").drop_duplicates("network")
    layers = pd.read_csv(H200 / "network_layers.csv")
    columns = [*SHAPE_COLUMNS, *WORK_COLUMNS]
    assert len(networks) >= 23
    for row in networks.itertuples():
        shape = tuple(int(side) for side in row.input_shape.split("x"))
        again = NetworkSpec(row.network, row.source, row.split, shape, Architecture(row.config))
        built = pd.DataFrame(rows_of_graph(row.network, trace_spec(again)))
        measured = layers[layers["network"] == row.network].sort_values("position")
        assert built[columns].to_numpy().tolist() == measured[columns].to_numpy().tolist(), row.network


def test_every_candidate_of_a_campaign_says_how_to_build_it_again():
    for candidate in [
        *choose_gpu_networks(np.random.default_rng(0), 8, 8),
        *operator_sources(np.random.default_rng(0)),
        *choose_networks(8, np.random.default_rng(0)),
    ]:
        assert Architecture(candidate.config) == candidate.build


def test_an_input_that_is_not_an_image_has_an_architecture_too():
    described = Architecture.of("small_mlp", input_shape=(20,), hidden=(8,))
    assert [tuple(p.shape) for p in described().parameters()] == [(8, 20), (8,), (10, 8), (10,)]


def test_blocks_are_kept_by_the_names_of_their_fields():
    block = Block("plain", 4, 3, True, "ReLU", "max")
    described = Architecture.of("small_cnn", input_shape=(1, 8, 8), blocks=(block,), hidden=())
    assert '"channels": 4' in described.description
    assert sum(p.numel() for p in Architecture(described.description)().parameters()) == 36 + 8 + 50


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "wanted a JSON object"),
        ("[1]", "wanted a JSON object"),
        ('{"features": 3}', "wanted a JSON object"),
        ('{"architecture": "resnet18"}', "known architectures: .*torchvision"),
        ('{"architecture": "torchvision"}', "missing 1 required"),
        ('{"architecture": "torchvision", "model": "nonet"}', "nonet"),
        ('{"architecture": "separable", "channels": -3, "kernel": 3}', "cannot build a network"),
        ('{"architecture": "small_cnn", "input_shape": [3], "blocks": [], "hidden": []}', "unpack"),
    ],
)
def test_a_description_of_nothing_is_refused_with_the_reason(text, said):
    with pytest.raises(InvalidInput, match=said):
        Architecture(text)()
