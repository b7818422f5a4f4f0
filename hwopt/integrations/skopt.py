"""scikit-optimize's Gaussian process as a strategy: "skopt:gp".

Its optimizer is constructed at each ask from all observations. It minimises one number: with costs among the
objectives an augmented Chebyshev scalarisation with new weights at each ask (ParEGO, Knowles 2006). The
budgets are its `space_constraint`, so that it draws and proposes feasible configs only; in the unaware form
it ignores budgets, and in both forms outcome budgets. It does not support conditional hyperparameters:
inactive ones are set to the middle of their range. It does not support tables: the nearest row is proposed.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import skopt
from skopt.space import Categorical as SkoptCategorical
from skopt.space import Integer as SkoptInteger
from skopt.space import Real as SkoptReal

from hwopt.arrays import Array
from hwopt.costs import feasible, price
from hwopt.integrations.shared import completed, first_that_fits, outcomes
from hwopt.search.candidates import from_region
from hwopt.search.random_search import SMALLEST_SHARE
from hwopt.search.strategies import SearchState, Selection, register_strategy
from hwopt.space.dimensions import Categorical, Dimension, Integer, Value
from hwopt.space.search_space import Config, SearchSpace

N_POINTS = 1000  # points over which the acquisition function is maximised if each has to be priced
_AUGMENTATION = 0.05  # weight of the sum in the scalarisation


def register() -> None:
    """Make the strategy available by name."""
    register_strategy("skopt:gp", gp)


def gp(state: SearchState, rng: np.random.Generator) -> Selection:
    """Expected improvement under scikit-optimize's Gaussian process, of a feasible config with budgets."""
    is_table, within = state.candidates is not None, bool(state.budgets)
    if within and not is_table and state.feasible_region().share < SMALLEST_SHARE:
        # a space_constraint draws points until they are feasible, which takes too long here
        order = rng.permutation(len(state.feasible_region().configs))
        return Selection(from_region(state, order, rng))
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # scikit-learn's on convergence, and on a point that was proposed before
        optimizer = _optimizer(state, within and not is_table, rng)
        first = True

        def ask() -> Config:
            nonlocal first
            point = optimizer.ask() if first or is_table else optimizer.space.rvs(1, optimizer.rng)[0]
            first = False  # it would repeat the same point
            return _config(state.space, point)

        return first_that_fits(state, ask, lambda config: None, rng)


def _optimizer(state: SearchState, is_constrained: bool, rng: np.random.Generator) -> Any:
    """Return scikit-optimize's optimizer with all observations; pending ones as the best seen ("cl_min")."""
    space = state.space

    def fits(point: list[Any]) -> bool:
        return bool(feasible(state.budgets, price(state.costs, [_config(space, point)]))[0])

    optimizer = skopt.Optimizer(
        [_dimension(dimension) for dimension in _free(space)],
        base_estimator="GP",
        acq_func="EI",
        acq_optimizer_kwargs={"n_points": N_POINTS} if is_constrained else None,
        space_constraint=fits if is_constrained else None,
        random_state=int(rng.integers(2**31)),
    )
    values = _scalarised(outcomes(state), rng)
    if len(values):
        values = np.append(values, np.full(len(state.pending), values.min()))
        configs = [o.config for o in state.observations] + list(state.pending)
        pairs = [
            (_point(space, config), float(value))
            for config, value in zip(configs, values, strict=True)
            if space.is_possible(config)
        ]
        kept = [pair for pair in pairs if not is_constrained or fits(pair[0])]  # it refuses others
        if kept:
            optimizer.tell([point for point, _ in kept], [value for _, value in kept])
    return optimizer


def _scalarised(Y: Array, rng: np.random.Generator) -> Array:
    """Return one number for each row of Y [n, m], [n], smaller is better."""
    if len(Y) == 0 or Y.shape[1] == 1:
        return Y[:, 0] if len(Y) else np.zeros(0)
    low, high = Y.min(axis=0), Y.max(axis=0)
    weighted = rng.dirichlet(np.ones(Y.shape[1])) * (Y - low) / np.where(high > low, high - low, 1.0)
    return np.asarray(weighted.max(axis=1) + _AUGMENTATION * weighted.sum(axis=1))


def _free(space: SearchSpace) -> list[Dimension]:
    """Return the dimensions that can vary; scikit-optimize supports no others."""
    return [dimension for dimension in space.dimensions if dimension.n_values > 1]


def _dimension(dimension: Dimension) -> Any:
    if isinstance(dimension, Categorical):  # by their numbers: its transformers take no mixed types
        return SkoptCategorical(range(len(dimension.possible)), name=dimension.name)
    kind = SkoptInteger if isinstance(dimension, Integer) else SkoptReal
    prior = "log-uniform" if dimension.log else "uniform"
    return kind(dimension.low, dimension.high, prior=prior, name=dimension.name)


def _point(space: SearchSpace, config: Config) -> list[Value]:
    values = completed(space, config)
    return [_coordinate(dimension, values) for dimension in _free(space)]


def _coordinate(dimension: Dimension, values: Mapping[str, Value]) -> Value:
    value = values[dimension.name]
    return dimension.possible.index(value) if isinstance(dimension, Categorical) else value


def _config(space: SearchSpace, point: list[Any]) -> Config:
    values = completed(space, {})
    for dimension, coordinate in zip(_free(space), point, strict=True):
        if isinstance(dimension, Categorical):
            values[dimension.name] = dimension.possible[int(coordinate)]
        else:
            value = min(max(coordinate, dimension.low), dimension.high)  # its transforms round
            values[dimension.name] = int(value) if isinstance(dimension, Integer) else float(value)
    return space.activate(values)
