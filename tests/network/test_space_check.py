"""Hyperparameters that networks are made from are found out; a list that says otherwise is an error."""

import json
from functools import partial

import numpy as np
import pytest
from skopt.space import Categorical, Integer, Real
from torch import nn

from hwopt import InvalidInput, SearchSpace
from hwopt.network import check_space, trace_recorded
from hwopt.network.space_check import never_read
from hwopt.space.recorded_config import ABSENT

DIMENSIONS = [
    Integer(4, 32, name="width"),
    Categorical([1, 3, 5], name="kernel"),
    Integer(1, 3, name="depth"),
    Real(0.0, 0.5, name="dropout"),
    Real(1e-3, 1e-1, name="lr"),
]
READ = {"width", "kernel", "depth", "dropout"}


def chain(config, features=None):
    kernel, n = config["kernel"], features or config["width"]
    layers = [nn.Conv2d(1, n, kernel, padding=kernel // 2)]
    layers += [nn.Conv2d(n, n, kernel, padding=kernel // 2) for _ in range(config["depth"] - 1)]
    return nn.Sequential(*layers, nn.Dropout(config["dropout"]), nn.Flatten())


class Chain(nn.Module):
    """Keeps its config, and reads some of it when it runs."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.first, self.net = nn.Conv2d(1, 1, 3, padding=1), chain({**dict.fromkeys(READ, 1), "width": 3})

    def forward(self, x):
        for _ in range(self.config["depth"]):
            x = self.first(x)
        return self.net(x)


class Builder:
    def __init__(self, features):
        self.features = features

    def __call__(self, config):
        return chain(config, self.features)

    def build(self, config):
        return chain(config)


def mutating(config):
    kernel = config.pop("kernel")
    config.update(kernel=2 * (kernel // 2) + 1, unused=3)
    del config["unused"]
    return chain(config)


def space_of(build=chain, structural=None, dimensions=DIMENSIONS, active=None):
    return SearchSpace(dimensions, build, (1, 8, 8), structural, active)


def closure(scale):
    return lambda config: chain({**dict(config), "width": scale * config["width"]})


@pytest.mark.parametrize(
    ("build", "read"),
    [
        (chain, READ),
        (partial(chain, features=7), READ - {"width"}),
        (Builder(None).build, READ),
        (Builder(5), READ - {"width"}),
        (Chain, {"depth"}),
        (mutating, READ),
        (lambda config: chain(config.copy()), READ),
        (closure(2), READ | {"lr"}),
        (lambda config: chain(dict(config)), READ | {"lr"}),
        (lambda config: chain(json.loads(json.dumps(config))), READ | {"lr"}),
        (lambda config: chain({k: v for k, v in config.items() if k != "lr"}), READ | {"lr"}),
    ],
)  # fmt: skip
def test_what_a_build_reads_is_found_however_it_reads(build, read):
    check = check_space(space_of(build))
    assert check.read == read and check.is_recorded


def test_a_build_that_wants_a_dict_and_nothing_else_is_given_one():
    def build(config):
        if type(config) is not dict:
            raise TypeError("a dict, please")
        return chain(config)

    one = trace_recorded(space_of(build), space_of().defaults)
    assert one.result is not None and set(one.reads) == READ | {"lr"}


def test_what_is_read_past_the_recording_is_found_by_comparing_layers():
    def build(config):  # as C code does
        return chain({name: dict.__getitem__(config, name) for name in READ})

    check = check_space(space_of(build))
    assert not check.is_recorded and check.read == READ | {"lr"}


@pytest.mark.parametrize("missing", ["width", "kernel", "depth"])
@pytest.mark.parametrize("build", [chain, lambda config: chain(dict(config)), mutating])
def test_a_hyperparameter_that_changes_the_layers_must_be_listed(missing, build):
    listed = [name for name in ("width", "kernel", "depth") if name != missing]
    with pytest.raises(InvalidInput, match=f"structural lacks '{missing}': networks that differ only in it"):
        check_space(space_of(build, listed))


def test_what_is_read_and_changes_no_layer_need_not_be_listed():
    assert check_space(space_of(structural=["width", "kernel", "depth"])).read == READ


def test_a_condition_that_a_list_shows_by_what_it_makes_absent_is_no_fault_of_the_list():
    dimensions = [Integer(1, 2, name="blocks"), Integer(4, 9, name="first"), Integer(4, 9, name="second")]

    def by_presence(config):
        n, m = config["first"], config.get("second")
        return nn.Sequential(nn.Conv2d(1, n, 1), *([nn.Conv2d(n, m, 1)] if m else []))

    active = {"second": lambda config: config["blocks"] == 2}
    check = check_space(space_of(by_presence, ["first", "second"], dimensions, active))
    assert check.read == {"blocks", "first", "second"}

    def by_number(config):
        n = config["first"]
        return nn.Sequential(*[nn.Conv2d(n if i else 1, n, 1) for i in range(config["blocks"])])

    with pytest.raises(InvalidInput, match="structural lacks 'blocks'"):
        check_space(space_of(by_number, ["first", "second"], dimensions, active))


def test_what_nobody_reads_is_found_and_a_rare_branch_is_not_mistaken_for_it():
    def build(config):
        if config["width"] == 17:  # one in 29
            return chain({**config, "depth": 1 + int(config["lr"] > 1)})
        return chain(config)

    space = space_of(build)
    assert never_read(space, check_space(space), frozenset()) == []
    assert never_read(space_of(), check_space(space_of()), frozenset()) == ["lr"]
    assert never_read(space_of(), check_space(space_of()), frozenset({"lr"})) == []


def test_a_space_that_builds_nothing_has_nothing_that_nobody_reads():
    def build(config):
        raise ValueError(config["width"])

    space = space_of(build)
    check = check_space(space)
    assert check.read == {"width"} and never_read(space, check, frozenset()) == []


def test_an_inactive_hyperparameter_that_is_asked_for_is_read_as_absent():
    one = trace_recorded(
        space_of(
            lambda config: chain({"width": 4, "depth": 1, "dropout": 0.0, "kernel": config.get("kernel", 1)})
        ),
        {"width": 4, "depth": 1, "lr": 0.1},
    )
    assert one.reads == {"kernel": ABSENT}


@pytest.mark.parametrize("structural", [None, ["width"]])
def test_a_build_that_draws_layers_at_random_is_warned_of(structural):
    rng = np.random.default_rng(0)

    def build(config):
        return nn.Sequential(*[nn.Conv2d(1, 1, 3) for _ in range(rng.integers(1, 4))], nn.Flatten())

    space = SearchSpace([Integer(4, 32, name="width")], build, (1, 16, 16), structural)
    with pytest.warns(UserWarning, match="has other layers each time it is built"):
        assert not check_space(space).is_recorded
