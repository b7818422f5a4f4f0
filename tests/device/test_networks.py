"""The networks that are measured: the same for a seed, in every split, and enough to calibrate on."""

import numpy as np
import torch

from hwopt.device.networks import choose_networks


def test_random_networks_are_the_same_for_the_same_seed_and_fill_every_split():
    first, second = (choose_networks(20, np.random.default_rng(1)) for _ in range(2))
    assert [(c.name, c.split, c.input_shape) for c in first] == [
        (c.name, c.split, c.input_shape) for c in second
    ]
    random = [c for c in first if c.source == "random"]
    assert {c.split for c in random} == {"fit", "calibrate", "test"}
    for candidate in random[:6]:
        with torch.no_grad():
            assert candidate.build().eval()(torch.rand(candidate.input_shape)).shape[1] == 10
