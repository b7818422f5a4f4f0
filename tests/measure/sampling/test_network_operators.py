"""Operators of a GPU's campaign: drawn from networks by their share of the time, the biggest first."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from hwopt.measure.gpu.profile_gpu import limits_of, make_selector
from hwopt.measure.sampling.network_operators import NetworkOperators, least_times_s
from hwopt.measure.sampling.operator_selection import SOBOL_EVERY, OperatorSelector
from hwopt.measure.sampling.operators import GPU_PLAN, key_of
from hwopt.measure.sampling.sobol import OperatorLimits, family_of
from hwopt.network import trace
from hwopt.profile.roofline import Ceilings

CEILINGS = Ceilings(flops_per_s=1e13, bytes_per_s=1e12, launch_s=1e-6)


def network(*channels):
    pairs = zip((3, *channels), channels, strict=False)
    layers = [part for c_in, c_out in pairs for part in (nn.Conv2d(c_in, c_out, 3, padding=1), nn.ReLU())]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], 10))


@pytest.fixture(scope="module")
def graphs():
    with torch.no_grad():
        return [
            trace(network(*c), (3, 32, 32), 8) for c in ((32, 64, 64), (64, 128), (8, 16, 16, 16), (24, 24))
        ]


@pytest.fixture(scope="module")
def operators(graphs):
    return NetworkOperators.of(graphs, CEILINGS, GPU_PLAN.limits)


def rows_of(operators):
    times = least_times_s([one.layer for one in operators], CEILINGS)
    return [
        {**one.layer.row(), "source": one.source, "time_s": 2 * time_s}
        for one, time_s in zip(operators, times, strict=True)
    ]


def choice_of(graphs, n=10**6, limits=GPU_PLAN.limits):
    info = {"settings": {"dtype": "float32", "seed": 0}}
    info["ceilings"] = {"flops_per_s": 1e13, "bytes_per_s": 1e12, "launch_s": 1e-6}
    return make_selector(graphs, info, n, limits)


def test_shares_are_of_the_least_time_of_each_network_and_repeated_layers_count_as_often(graphs, operators):
    assert operators.shares.sum(axis=1) == pytest.approx(np.ones(4))
    position = {key_of(layer): i for i, layer in enumerate(operators.layers)}
    assert len(position) == len(operators.layers)
    times = least_times_s(graphs[2].layers, CEILINGS)
    own = [layer for layer in graphs[2].layers if key_of(layer) == key_of(graphs[2].layers[4])]
    assert len(own) == 2  # the convolution of 16 by 16 channels
    expected = 2 * least_times_s(own[:1], CEILINGS)[0] / sum(times)
    assert operators.shares[2, position[key_of(own[0])]] == pytest.approx(expected)


def test_layers_come_by_their_share_and_within_the_limits(graphs, operators):
    total = operators.shares.sum(axis=0)
    assert (np.diff(total) <= 1e-12).all()
    small = NetworkOperators.of(graphs, CEILINGS, OperatorLimits(flops=1e6))
    assert 0 < len(small.layers) < len(operators.layers)
    assert all(layer.flops <= 1e6 for layer in small.layers)


def test_the_first_operators_cover_most_of_the_time_of_the_networks(graphs, operators):
    n = len(operators.layers) // 3
    picks = OperatorSelector(operators, [], CEILINGS, GPU_PLAN.limits).pick([], [], n)
    total = {
        key_of(layer): share for layer, share in zip(operators.layers, operators.shares.sum(0), strict=True)
    }
    assert sum(total[one.key] for one in picks) > 0.7 * operators.shares.sum()
    assert {one.source for one in picks} == {"network"}
    kinds = Counter(one.layer.kind for one in picks)
    assert kinds["conv2d"] > len(picks) / 2


def test_operators_are_those_of_the_networks_and_each_comes_once(graphs, operators):
    choice, rows, found = OperatorSelector(operators, [], CEILINGS, GPU_PLAN.limits), [], []
    while picks := choice.pick(rows, [], 5):
        found += picks
        rows += rows_of(picks)
    assert {one.key for one in found} == {key_of(layer) for layer in operators.layers}
    assert len(found) == len(operators.layers)


def test_what_is_pending_is_not_chosen_again(operators):
    choice = OperatorSelector(operators, [], CEILINGS, GPU_PLAN.limits)
    first = choice.pick([], [], 6)
    second = choice.pick([], first, 6)
    assert not {one.key for one in first} & {one.key for one in second}


def test_every_eighth_operator_is_an_odd_one_until_there_are_enough(graphs):
    choice, rows = choice_of(graphs), []
    while picks := choice.pick(rows, [], 12):
        rows += rows_of(picks)
        if len(rows) <= SOBOL_EVERY * 3:
            sources = Counter(row["source"] for row in rows)
            assert sources["sobol"] == len(rows) // SOBOL_EVERY
    odd = [row for row in rows if row["source"] == "sobol"]
    assert 1 <= len(odd) <= 40


def test_odd_operators_of_an_older_folder_count(graphs):
    choice = choice_of(graphs)
    old = [{**row, "source": "sobol"} for row in rows_of(choice.pick([], [], 8))]
    assert {one.source for one in choice.pick(old, [], 8)} == {"network"}


def test_no_more_operators_are_chosen_than_a_profile_is_to_have(graphs):
    choice = choice_of(graphs, n=10)
    rows = rows_of(choice.pick([], [], 7))
    assert len(choice.pick(rows, [], 7)) == 3
    assert choice.pick(rows_of(choice_of(graphs).pick([], [], 10)), [], 7) == []


def test_a_layer_that_cannot_be_run_alone_is_passed_over(graphs, operators, monkeypatch):
    from hwopt.measure.operators.recipes.recipe import Unbuildable
    from hwopt.measure.sampling import operator_selection

    known = operator_selection.operator_of

    def without_relu(row, source, limits):
        if row["kind"] == "relu":
            raise Unbuildable("relu: not here")
        return known(row, source, limits)

    monkeypatch.setattr(operator_selection, "operator_of", without_relu)
    picks = OperatorSelector(operators, [], CEILINGS, GPU_PLAN.limits).pick([], [], 10**4)
    wanted = [layer for layer in operators.layers if layer.kind != "relu"]
    assert {one.key for one in picks} == {key_of(layer) for layer in wanted}


def test_operands_of_a_device_of_little_memory_are_smaller():
    assert limits_of({"hardware": {"memory_bytes": 8 * 2**30}}).n_elements == 2**29
    assert limits_of({"hardware": {"memory_bytes": 141e9}}) == GPU_PLAN.limits == limits_of({})


def test_operators_of_networks_have_the_channels_of_networks(graphs):
    rows = []
    choice = choice_of(graphs)
    while picks := choice.pick(rows, [], 24):
        rows += rows_of(picks)
    inner = [r for r in rows if r["kind"] == "conv2d" and r["source"] == "network" and r["in_channels"] > 3]
    assert inner and all(r["in_channels"] % 4 == r["out_channels"] % 4 == 0 for r in inner)
    assert (
        len({family_of(o.layer) for o in choice_of([]).pick([], [], 400)}) > 5
    )  # the range, without networks
