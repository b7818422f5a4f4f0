"""Maximisation of GPSampler's acquisition function over available configs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from optuna.samplers import GPSampler

from hwopt.arrays import Array
from hwopt.integrations.shared import completed
from hwopt.space.search_space import Config, SearchSpace

Acquisition = Callable[[Sequence[Config]], Array]


@contextmanager
def maximised_over(
    sampler: GPSampler,
    space: SearchSpace,
    choose: Callable[[Acquisition], Config],
    decode: Callable[[Config], dict[str, Any]] = dict,
) -> Iterator[list[Config]]:
    """Let `choose` maximise the sampler's acquisition function; yield the list of chosen configs.

    This overrides the sampler's method, which maximises over the whole space.

    Args:
        sampler: sampler of Optuna.
        space: space of the configs.
        choose: function of the acquisition function that returns the config of the highest value.
        decode: function that returns the parameters of a config with all hyperparameters.
    """
    chosen: list[Config] = []

    def optimize(acqf: Any, best_params: Any) -> Array:
        def encode(configs: Sequence[Config]) -> Array:
            parameters = [decode(completed(space, config)) for config in configs]
            return np.asarray(acqf.search_space.get_normalized_params(parameters, parameters))  # [n, d]

        chosen.append(choose(lambda configs: np.asarray(acqf.eval_acqf_no_grad(encode(configs)))))
        return np.asarray(encode(chosen[-1:])[0])

    sampler._optimize_acqf = optimize  # type: ignore[method-assign]
    try:
        yield chosen
    finally:
        del sampler._optimize_acqf
