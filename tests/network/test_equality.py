"""What shortcuts, remembered results and unfilled parameters give is what plain tracing gives."""

import numpy as np
import pytest
import torch
from skopt.space import Categorical, Integer
from torch import nn

from hwopt import SearchSpace
from hwopt.network import trace, trace_config, tracing

N_CONFIGS = 60


class Branches(nn.Module):
    """Stages with a residual branch, a concatenation or a channel gate, as the config says."""

    def __init__(self, config):
        super().__init__()
        width, kernel = config["width"], config["kernel"]
        self.stem = nn.Conv2d(config["channels"], width, kernel, config["stride"], config["padding"])
        norm = {"batch": nn.BatchNorm2d(width), "group": nn.GroupNorm(1, width), "none": nn.Identity()}
        self.norm = norm[config["norm"]]
        self.body = nn.Conv2d(width, width, 3, padding=1, groups=width if config["depthwise"] else 1)
        self.pool = {"max": nn.MaxPool2d(2, ceil_mode=config["ceil"]), "avg": nn.AvgPool2d(3, 2, 1)}[
            config["pool"]
        ]
        self.act = {"relu": nn.ReLU(inplace=True), "silu": nn.SiLU(), "gelu": nn.GELU()}[config["act"]]
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, width, 1), nn.Sigmoid())
        self.head = nn.Linear(width * (2 if config["branch"] == "cat" else 1), 10, bias=config["ceil"])
        self.branch = config["branch"]

    def forward(self, x):
        x = self.act(self.norm(self.stem(x)))
        y = self.body(x)
        if self.branch == "add":
            y = self.pool(x + y)
        elif self.branch == "cat":
            y = torch.cat([self.pool(x), self.pool(y)], 1)
        elif self.branch == "gate":
            y = self.pool(y * self.gate(y))
        return self.head(y.mean((2, 3)))


SPACE = SearchSpace(
    [
        Integer(1, 24, name="width"),
        Integer(1, 5, name="kernel"),
        Integer(1, 3, name="stride"),
        Integer(0, 3, name="padding"),
        Categorical([3], name="channels"),
        Categorical(["batch", "group", "none"], name="norm"),
        Categorical([True, False], name="depthwise"),
        Categorical([True, False], name="ceil"),
        Categorical(["max", "avg"], name="pool"),
        Categorical(["relu", "silu", "gelu"], name="act"),
        Categorical(["add", "cat", "gate", "none"], name="branch"),
    ],
    build=Branches,
    input_shape=(3, 18, 15),
)


def plainly(config, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(
            tracing, "run_on_meta", lambda operator, args, kwargs: operator.function(*args, **kwargs)
        )
        return trace(Branches(config), SPACE.input_shape, 2)


@pytest.mark.parametrize("seed", [0])
def test_random_networks_with_branches_are_traced_as_they_are_plainly(seed, monkeypatch):
    for config in SPACE.sample(N_CONFIGS, np.random.default_rng(seed)):
        for _ in range(2):  # the second time from memory
            assert trace_config(SPACE, config, 2) == plainly(config, monkeypatch)


def test_parameters_that_are_built_on_the_cpu_keep_their_values():
    from hwopt.network import build_network

    torch.manual_seed(0)
    built = build_network(SPACE, SPACE.sample(1, np.random.default_rng(1))[0], "cpu")
    torch.manual_seed(0)
    own = Branches(SPACE.sample(1, np.random.default_rng(1))[0])
    for a, b in zip(built.parameters(), own.parameters(), strict=True):
        assert torch.equal(a, b)
