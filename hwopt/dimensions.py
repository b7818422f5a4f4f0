"""Dimensions of a search space: what one hyperparameter may be, as numbers of the unit interval.

    skopt dimensions --(converted once)--> Real, Integer, Categorical
    u in [0, 1]  <-->  value  -->  columns of X in [0, 1]

This is the one module that knows scikit-optimize, and it only reads attributes of the dimensions that it is
given: nothing heavy is imported here. Everything works on n values at once.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwopt.errors import InvalidInput

Value = str | int | float | bool | None
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Real:
    """A real hyperparameter in [low, high]; uniform, or uniform in the logarithm."""

    name: str
    low: float
    high: float
    log: bool = False

    @property
    def n_values(self) -> float:
        """How many values it can take: infinitely many."""
        return math.inf

    @property
    def width(self) -> int:
        """Number of columns of an encoded value."""
        return 1

    def from_units(self, U: Array) -> list[Value]:
        """Map numbers of [0, 1], shape [n], to values."""
        if self.log:
            values = np.exp(math.log(self.low) + U * (math.log(self.high) - math.log(self.low)))
        else:
            values = self.low + U * (self.high - self.low)
        return list(np.clip(values, self.low, self.high).tolist())

    def encode(self, values: Sequence[Value]) -> Array:
        """Return the positions of n values in [0, 1], shape [n, 1]."""
        return _positions(values, self.low, self.high, self.log)

    def check(self, value: object) -> float:
        """Return the value as a float, or raise ValueError with what is wanted."""
        value = plain(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"a finite number in [{self.low:g}, {self.high:g}]")
        slack = 1e-12 * max(abs(self.low), abs(self.high))
        if not self.low - slack <= value <= self.high + slack:
            raise ValueError(f"a number in [{self.low:g}, {self.high:g}]")
        return min(max(float(value), self.low), self.high)

    def steps(self, values: Sequence[Value], scale: float, rng: np.random.Generator) -> list[Value]:
        """Draw near n values: normal in the unit interval with deviation `scale`, reflected at the ends."""
        return self.from_units(_stepped(self.encode(values)[:, 0], scale, rng))

    def neighbours(self, values: Sequence[Value], scale: float, rng: np.random.Generator) -> list[Value]:
        """Draw another value near each of n."""
        return self.steps(values, scale, rng)


@dataclass(frozen=True)
class Integer:
    """A whole hyperparameter in [low, high], both included; uniform, or uniform in the logarithm."""

    name: str
    low: int
    high: int
    log: bool = False

    @property
    def n_values(self) -> float:
        """How many values it can take."""
        return self.high - self.low + 1

    @property
    def width(self) -> int:
        """Number of columns of an encoded value."""
        return 1

    def from_units(self, U: Array) -> list[Value]:
        """Map numbers of [0, 1], shape [n], to values; every value owns an interval."""
        low, high = self.low - 0.5, self.high + 0.5
        if self.log:
            low, high = math.log(max(low, 0.5)), math.log(high)
            values = np.exp(low + U * (high - low))
        else:
            values = low + U * (high - low)
        return list(np.clip(np.rint(values), self.low, self.high).astype(int).tolist())

    def encode(self, values: Sequence[Value]) -> Array:
        """Return the positions of n values in [0, 1], shape [n, 1]."""
        return _positions(values, self.low, self.high, self.log)

    def check(self, value: object) -> int:
        """Return the value as an int, or raise ValueError with what is wanted."""
        value = plain(value)
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            raise ValueError(f"a whole number in [{self.low}, {self.high}]")
        return value

    def steps(self, values: Sequence[Value], scale: float, rng: np.random.Generator) -> list[Value]:
        """Draw near n values, perhaps themselves: normal in the unit interval, reflected at the ends."""
        return self.from_units(_stepped(self.encode(values)[:, 0], scale, rng))

    def neighbours(self, values: Sequence[Value], scale: float, rng: np.random.Generator) -> list[Value]:
        """Draw another value near each of n: at least one step away."""
        old, drawn = np.array(values, dtype=int), np.array(self.steps(values, scale, rng), dtype=int)
        one = old + np.where(rng.random(len(old)) < 0.5, 1, -1)
        inside = np.where((self.low <= one) & (one <= self.high), one, 2 * old - one)
        return list(np.where(drawn == old, inside, drawn).tolist())


@dataclass(frozen=True)
class Categorical:
    """One of several choices without order; `weights` are the probabilities with which they are sampled."""

    name: str
    choices: tuple[Value, ...]
    weights: tuple[float, ...]

    @property
    def n_values(self) -> float:
        """How many values it can take."""
        return len(self.choices)

    @property
    def width(self) -> int:
        """Number of columns of an encoded value: one-hot; one column where there are two choices."""
        return 1 if len(self.choices) == 2 else len(self.choices)

    def from_units(self, U: Array) -> list[Value]:
        """Map numbers of [0, 1], shape [n], to choices."""
        indices = np.searchsorted(np.cumsum(self.weights), U, side="right")
        return [self.choices[i] for i in np.minimum(indices, len(self.choices) - 1)]

    def encode(self, values: Sequence[Value]) -> Array:
        """Return n one-hot vectors, shape [n, width]."""
        indices = np.array([self._index[_identity(value)] for value in values], dtype=int)
        if len(self.choices) == 2:
            return indices[:, None].astype(float)
        return np.asarray(np.eye(len(self.choices))[indices])

    def check(self, value: object) -> Value:
        """Return the choice as a plain value, or raise ValueError with what is wanted."""
        try:
            return self.choices[self._index[_identity(plain(value))]]
        except (KeyError, TypeError):  # a list has no hash
            raise ValueError(f"one of {list(self.choices)}") from None

    def steps(self, values: Sequence[Value], scale: float, rng: np.random.Generator) -> list[Value]:
        """Draw each of n choices anew with probability `scale`."""
        drawn = self.from_units(rng.random(len(values)))
        is_drawn = rng.random(len(values)) < scale
        return [new if is_new else old for new, old, is_new in zip(drawn, values, is_drawn, strict=True)]

    def neighbours(self, values: Sequence[Value], scale: float, rng: np.random.Generator) -> list[Value]:
        """Draw one of the other choices for each of n."""
        n, shift = len(self.choices), rng.integers(1, len(self.choices), size=len(values))
        return [
            self.choices[(self._index[_identity(value)] + int(s)) % n]
            for value, s in zip(values, shift, strict=True)
        ]

    @cached_property
    def _index(self) -> dict[tuple[bool, Value], int]:
        return {_identity(choice): i for i, choice in enumerate(self.choices)}


Dimension = Real | Integer | Categorical


def convert_all(dimensions: Sequence[Any]) -> tuple[Dimension, ...]:
    """Convert dimensions of scikit-optimize into ours; raise InvalidInput for what is none, or nameless."""
    if isinstance(dimensions, str | Mapping) or not isinstance(dimensions, Iterable):
        raise InvalidInput(
            f"dimensions must be a list of skopt.space dimensions; got {type(dimensions).__name__}"
        )
    converted = tuple(_convert(dimension, position) for position, dimension in enumerate(dimensions))
    if not converted:
        raise InvalidInput("a search space needs at least one dimension; got an empty list")
    names = [dimension.name for dimension in converted]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(
                f"{names.count(name)} dimensions are called {name!r}; give each a name of its own"
            )
    return converted


def _convert(dimension: Any, position: int) -> Dimension:
    """Convert a dimension of scikit-optimize, read by its attributes, into ours."""
    if isinstance(dimension, Real | Integer | Categorical):
        return dimension
    kind = type(dimension).__name__
    if kind not in ("Real", "Integer", "Categorical") or not hasattr(dimension, "name"):
        raise InvalidInput(
            f"dimension {position}: {dimension!r} is no Real, Integer or Categorical of skopt.space"
        )
    name = dimension.name
    if not isinstance(name, str) or not name:
        raise InvalidInput(f"dimension {position} ({dimension!r}) has no name; pass name=...")
    if kind == "Categorical":
        return _convert_categorical(name, dimension)
    log = dimension.prior == "log-uniform"
    if kind == "Integer":
        return Integer(name, int(dimension.low), int(dimension.high), log)
    return Real(name, float(dimension.low), float(dimension.high), log)


def _convert_categorical(name: str, dimension: Any) -> Categorical:
    choices = tuple(plain(choice) for choice in dimension.categories)
    for choice in choices:
        if not isinstance(choice, str | int | float | bool | None):
            raise InvalidInput(
                f"dimension {name}: choice {choice!r} is a {type(choice).__name__}; wanted str, int, float, "
                "bool or None (name the choices and look them up in build)"
            )
    if len(set(choices)) < len(choices):
        raise InvalidInput(f"dimension {name}: choices {list(choices)} are not distinct")
    prior = getattr(dimension, "prior", None)
    weights = [1 / len(choices)] * len(choices) if prior is None else [float(p) for p in prior]
    return Categorical(name, choices, tuple(weights))


def plain(value: object) -> Any:
    """Return numpy's scalars as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def _identity(value: Any) -> tuple[bool, Any]:
    """Return what a choice is told by: 1 and 1.0 are one choice, True is another."""
    return isinstance(value, bool), value


def _positions(values: Sequence[Value], low: float, high: float, log: bool) -> Array:
    numbers = np.array(values, dtype=float).reshape(-1, 1)
    if log:
        return np.asarray((np.log(numbers) - math.log(low)) / (math.log(high) - math.log(low)))
    return np.asarray((numbers - low) / (high - low))


def _stepped(U: Array, scale: float, rng: np.random.Generator) -> Array:
    """Return numbers of [0, 1] after a normal step, folded back at the ends."""
    return np.asarray(1 - np.abs(1 - np.mod(U + scale * rng.standard_normal(len(U)), 2)))
