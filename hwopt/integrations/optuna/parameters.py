"""Correspondence of Optuna's parameters and hwopt's dimensions.

    distribution of Optuna  <-->  Parameter  <-->  dimension of hwopt

Steps, and choices that are not plain values, are searched by their index.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hwopt.errors import InvalidInput
from hwopt.space.dimensions import Categorical, Dimension, Integer, Real, Value
from hwopt.space.search_space import Config, SearchSpace

_MOST_STEPS = 64  # largest number of steps that become choices
_MIDDLE = np.full(1, 0.5)


@dataclass(frozen=True)
class Indexed:
    """Values searched by index: steps from `low`, or choices."""

    low: float = 0
    step: float = 1
    choices: tuple[Any, ...] | None = None

    def value(self, index: int) -> Any:
        """Return the value at an index."""
        return self.low + self.step * index if self.choices is None else self.choices[index]

    def index(self, value: Any) -> int:
        """Return the index of a value; raise ValueError if it is not among them."""
        return round((value - self.low) / self.step) if self.choices is None else self.choices.index(value)


@dataclass(frozen=True)
class Parameter:
    """Parameter of a study: its distribution in Optuna, its dimension in hwopt, and the map of values."""

    distribution: BaseDistribution
    dimension: Dimension
    indexed: Indexed | None = None

    @property
    def name(self) -> str:
        """Name of the parameter."""
        return self.dimension.name

    def decode(self, value: Value) -> Any:
        """Return the trial's value for a value of the dimension."""
        return value if self.indexed is None else self.indexed.value(int(value or 0))

    def encode(self, value: Any) -> Value:
        """Return the dimension's value for a value of a trial; raise ValueError if there is none."""
        return self.dimension.check(value if self.indexed is None else self.indexed.index(value))

    @cached_property
    def only_value(self) -> Any:
        """Value of a parameter with a single value, for which Optuna does not ask a sampler."""
        return self.decode(self.dimension.from_units(_MIDDLE)[0])


def parameter_of(name: str, distribution: BaseDistribution) -> Parameter:
    """Return the parameter of this name and distribution.

    Raises:
        InvalidInput: for a distribution without a corresponding dimension.
    """
    if isinstance(distribution, CategoricalDistribution):
        return _categorical(name, distribution)
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        raise InvalidInput(f"parameter {name}: no dimension for a {type(distribution).__name__}")
    low, high, step = distribution.low, distribution.high, distribution.step
    if isinstance(distribution, IntDistribution) and step == 1:
        return Parameter(distribution, Integer(int(low), int(high), log=distribution.log, name=name))
    if step is None and low < high:
        return Parameter(distribution, Real(float(low), float(high), log=distribution.log, name=name))
    n_steps = 0 if step is None else round((high - low) / step)
    return Parameter(distribution, Integer(0, n_steps, name=name), Indexed(low, step or 1))


def plain_dimension(parameter: Parameter) -> Dimension:
    """Return the dimension of a parameter's values, with steps as choices.

    Raises:
        InvalidInput: for choices that are not plain values, or more than `_MOST_STEPS` steps.
    """
    if parameter.indexed is None:
        return parameter.dimension
    n = int(parameter.dimension.n_values)
    if n > _MOST_STEPS:
        raise InvalidInput(
            f"parameter {parameter.name} has {n:,} steps; give space= with an Integer or a Real of that name"
        )
    return Categorical([parameter.indexed.value(i) for i in range(n)], name=parameter.name)


def of_dimension(dimension: Dimension) -> Parameter:
    """Return the parameter of a dimension."""
    return Parameter(distribution_of(dimension), dimension)


def distribution_of(dimension: Dimension) -> BaseDistribution:
    """Return the distribution of a dimension, without choices of probability 0."""
    if isinstance(dimension, Categorical):
        return CategoricalDistribution(dimension.possible)
    if isinstance(dimension, Integer):
        return IntDistribution(dimension.low, dimension.high, log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _categorical(name: str, distribution: CategoricalDistribution) -> Parameter:
    choices = tuple(distribution.choices)
    is_plain = all(isinstance(c, str | int | float | bool | None) and c == c for c in choices)
    if is_plain and len(set(choices)) == len(choices):
        return Parameter(distribution, Categorical(choices, name=name))
    return Parameter(distribution, Categorical(range(len(choices)), name=name), Indexed(choices=choices))


class OnDemand(dict[str, Value]):
    """Config whose values are drawn when read, as conditions read hyperparameters out of order.

    Args:
        space: space with the conditions of hyperparameters.
        draw: function that returns a value of a dimension.
    """

    def __init__(self, space: SearchSpace, draw: Callable[[Dimension], Value]) -> None:
        super().__init__()
        self._space, self._draw = space, draw

    def config(self) -> Config:
        """Return the config with a value drawn for each active hyperparameter."""
        for name in self._space.names:
            self.get(name)
        return self._space.activate(dict(self))

    def __missing__(self, name: str) -> Value:
        dimension = next((d for d in self._space.dimensions if d.name == name), None)
        condition = self._space.active.get(name)
        if dimension is None or (condition is not None and not self._holds(condition)):
            raise KeyError(name)
        self[name] = self._draw(dimension)
        return self[name]

    def __contains__(self, name: object) -> bool:
        return self.get(str(name), self) is not self

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a hyperparameter, drawn if necessary, or the default."""
        try:
            return self[name]
        except KeyError:
            return default

    def _holds(self, condition: Callable[[Config], bool]) -> bool:
        try:
            return bool(condition(self))
        except KeyError:  # it reads an inactive hyperparameter
            return False
