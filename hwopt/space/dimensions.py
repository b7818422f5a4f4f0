"""Dimensions of a search space: the values of one hyperparameter, as numbers of the unit interval.

    Real(1e-3, 0.1, log=True, name="learning_rate"), Integer(4, 64, name="width"), Categorical(["a", "b"], ..)
    u in [0, 1]  <-->  value  <-->  columns of X in [0, 1]

The column of a number is its u, so that a small step from a value is as likely up as down. Everything works
on n values at once.

Arguments have scikit-optimize's order, and its dimensions are converted: this is the one module that knows
them, and it only reads their attributes, so nothing heavy is imported here.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hwopt.arrays import Array
from hwopt.errors import InvalidInput
from hwopt.scalars import as_number

Value = str | int | float | bool | None
_LARGEST_INTEGER = 2**53  # beyond it floats skip whole numbers


class _Number(ABC):
    """Base of the dimensions of numbers: an axis from low to high, perhaps logarithmic."""

    name: str
    low: float
    high: float
    log: bool
    _margin = 0.0  # of the axis beyond both ends

    def __repr__(self) -> str:
        log = ", log=True" if self.log else ""
        return f"{type(self).__name__}({self.low!r}, {self.high!r}{log}, name={self.name!r})"

    def is_possible(self, value: Value) -> bool:
        """Return whether a value of the dimension may be drawn: any of a number's."""
        return True

    @property
    def width(self) -> int:
        """Number of columns of an encoded value."""
        return 1

    @abstractmethod
    def from_units(self, U: Array) -> list[Value]:
        """Map numbers of [0, 1], shape [n], to values."""

    def encode(self, values: Sequence[Value]) -> Array:
        """Return the positions of n values in [0, 1], shape [n, 1]: the inverse of `from_units`."""
        low, high = self._ends()
        numbers = np.array(values, dtype=float).reshape(-1, 1)
        return np.asarray(((np.log(numbers) if self.log else numbers) - low) / (high - low))

    def steps(self, values: Sequence[Value], scale: float, rng: np.random.Generator) -> list[Value]:
        """Draw near n values, perhaps themselves: normal in the unit interval, reflected at the ends."""
        stepped = self.encode(values)[:, 0] + scale * rng.standard_normal(len(values))
        return self.from_units(np.asarray(1 - np.abs(1 - np.mod(stepped, 2))))

    def _on_axis(self, U: Array) -> Array:
        """Map numbers of [0, 1], shape [n], to the axis from low to high."""
        low, high = self._ends()
        place = low + U * (high - low)
        return np.asarray(np.exp(place) if self.log else place)

    def _ends(self) -> tuple[float, float]:
        low, high = self.low - self._margin, self.high + self._margin
        return (math.log(low), math.log(high)) if self.log else (low, high)


@dataclass(frozen=True, init=False, repr=False)
class Real(_Number):
    """A real hyperparameter in [low, high]: `Real(1e-4, 1.0, log=True, name="learning_rate")`.

    Args:
        low: smallest value.
        high: largest value.
        prior: "uniform", or "log-uniform": uniform in the logarithm.
        name: of the hyperparameter, its key in a config.
        log: the same as prior="log-uniform".

    Raises:
        InvalidInput: unless the ends are finite numbers, low < high, and positive on a logarithmic axis.
    """

    name: str
    low: float
    high: float
    log: bool

    def __init__(
        self, low: float, high: float, prior: str = "uniform", *, name: str, log: bool = False
    ) -> None:
        ends = [_end("Real", name, end) for end in (low, high)]
        _set(self, name=_check_name(name), low=ends[0], high=ends[1], log=_is_log(name, prior, log))
        _check_ends(self.name, self.low, self.high, self.log)
        if self.low == self.high:
            raise InvalidInput(f"dimension {self.name}: low and high are both {self.low:g}; leave it out")

    @property
    def n_values(self) -> float:
        """Number of values: infinite."""
        return math.inf

    def from_units(self, U: Array) -> list[Value]:
        """Map numbers of [0, 1], shape [n], to values."""
        return list(np.clip(self._on_axis(U), self.low, self.high).tolist())

    def check(self, value: object) -> float:
        """Return the value as a float, or raise ValueError with the accepted values."""
        value = plain(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"a finite number in [{self.low:g}, {self.high:g}]")
        slack = 1e-12 * max(abs(self.low), abs(self.high))
        if not self.low - slack <= value <= self.high + slack:
            raise ValueError(f"a number in [{self.low:g}, {self.high:g}]")
        return min(max(float(value), self.low), self.high)

    def neighbours(self, values: Sequence[Value], scale: float, rng: np.random.Generator) -> list[Value]:
        """Draw another value near each of n."""
        return self.steps(values, scale, rng)


@dataclass(frozen=True, init=False, repr=False)
class Integer(_Number):
    """A whole hyperparameter in [low, high], both included: `Integer(4, 64, name="width")`.

    Args:
        low: smallest value.
        high: largest value.
        prior: "uniform", or "log-uniform": uniform in the logarithm.
        name: of the hyperparameter, its key in a config.
        log: the same as prior="log-uniform".

    Raises:
        InvalidInput: unless the ends are whole numbers, low <= high, and positive on a logarithmic axis.
    """

    name: str
    low: int
    high: int
    log: bool
    _margin = 0.5  # every value owns an interval

    def __init__(self, low: int, high: int, prior: str = "uniform", *, name: str, log: bool = False) -> None:
        ends = [_whole_end(name, end) for end in (low, high)]
        _set(self, name=_check_name(name), low=ends[0], high=ends[1], log=_is_log(name, prior, log))
        _check_ends(self.name, self.low, self.high, self.log)
        if max(abs(self.low), abs(self.high)) > _LARGEST_INTEGER:
            raise InvalidInput(
                f"dimension {self.name}: whole numbers to {_LARGEST_INTEGER:,} only; got {self.low} to "
                f"{self.high}"
            )

    @property
    def n_values(self) -> float:
        """Number of values."""
        return self.high - self.low + 1

    def from_units(self, U: Array) -> list[Value]:
        """Map numbers of [0, 1], shape [n], to values; every value owns an interval."""
        values = np.rint(self._on_axis(U))
        return list(np.clip(values, self.low, self.high).astype(int).tolist())

    def check(self, value: object) -> int:
        """Return the value as an int, or raise ValueError with the accepted values."""
        value = plain(value)
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            raise ValueError(f"a whole number in [{self.low}, {self.high}]")
        return value

    def neighbours(self, values: Sequence[Value], scale: float, rng: np.random.Generator) -> list[Value]:
        """Draw another value near each of n: at least one step away."""
        old, drawn = np.array(values, dtype=int), np.array(self.steps(values, scale, rng), dtype=int)
        one = old + np.where(rng.random(len(old)) < 0.5, 1, -1)
        inside = np.where((self.low <= one) & (one <= self.high), one, 2 * old - one)
        return list(np.where(drawn == old, inside, drawn).tolist())


@dataclass(frozen=True, init=False, repr=False)
class Categorical:
    """One of several choices without order: `Categorical(["max", "avg"], name="pool")`.

    Args:
        choices: values of str, int, float, bool or None, all distinct.
        prior: probability with which each choice is sampled; all the same if absent. A choice of
            probability 0 can be observed, but is never sampled.
        name: of the hyperparameter, its key in a config.

    Raises:
        InvalidInput: for choices that are not plain and distinct values, or a wrong number of probabilities.
    """

    name: str
    choices: tuple[Value, ...]
    weights: tuple[float, ...]

    def __init__(self, choices: Iterable[Value], prior: Iterable[float] | None = None, *, name: str) -> None:
        name, listed = _check_name(name), _listed(name, choices)
        _check_choices(name, listed)
        weights = (1 / len(listed),) * len(listed) if prior is None else _probabilities(name, prior)
        _set(self, name=name, choices=listed, weights=weights)
        _check_weights(self.name, self.choices, self.weights)

    def __repr__(self) -> str:
        is_even = len(set(self.weights)) == 1
        prior = "" if is_even else f", prior={list(self.weights)}"
        return f"Categorical({list(self.choices)}{prior}, name={self.name!r})"

    @property
    def n_values(self) -> float:
        """Number of values that may be drawn."""
        return len(self.possible)

    @cached_property
    def possible(self) -> tuple[Value, ...]:
        """The choices that may be drawn."""
        return tuple(c for c, weight in zip(self.choices, self.weights, strict=True) if weight > 0)

    @property
    def width(self) -> int:
        """Number of columns of an encoded value: one-hot; one column if there are two choices."""
        return 1 if len(self.choices) == 2 else len(self.choices)

    def is_possible(self, value: Value) -> bool:
        """Return whether a choice may be drawn."""
        return self.weights[self._index[_identity(value)]] > 0

    def from_units(self, U: Array) -> list[Value]:
        """Map numbers of [0, 1], shape [n], to choices that may be drawn."""
        indices = np.searchsorted(np.cumsum([w for w in self.weights if w > 0]), U, side="right")
        return [self.possible[i] for i in np.minimum(indices, len(self.possible) - 1)]

    def encode(self, values: Sequence[Value]) -> Array:
        """Return n one-hot vectors, shape [n, width]."""
        indices = np.array([self._index[_identity(value)] for value in values], dtype=int)
        if len(self.choices) == 2:
            return indices[:, None].astype(float)
        return np.asarray(np.eye(len(self.choices))[indices])

    def check(self, value: object) -> Value:
        """Return the choice as a plain value, or raise ValueError with the accepted values."""
        try:
            return self.choices[self._index[_identity(plain(value))]]
        except (KeyError, TypeError):  # a list has no hash
            raise ValueError(f"one of {list(self.choices)}") from None

    def steps(self, values: Sequence[Value], scale: float, rng: np.random.Generator) -> list[Value]:
        """Draw each of n choices again with probability `scale`; one that may not be drawn in any case."""
        drawn = self.from_units(rng.random(len(values)))
        is_drawn = (rng.random(len(values)) < scale) | [not self.is_possible(value) for value in values]
        return [new if is_new else old for new, old, is_new in zip(drawn, values, is_drawn, strict=True)]

    def neighbours(self, values: Sequence[Value], scale: float, rng: np.random.Generator) -> list[Value]:
        """Draw one of the other choices for each of n, by their weights; the same if there is no other."""
        own = np.array([self._index[_identity(value)] for value in values], dtype=int)
        weights = np.tile(self.weights, (len(own), 1))  # [n, choices]
        weights[np.arange(len(own)), own] = 0.0
        ends = np.cumsum(weights, axis=1)
        drawn = np.sum(ends <= rng.random((len(own), 1)) * ends[:, -1:], axis=1)
        return [self.choices[i if i < len(self.choices) else j] for i, j in zip(drawn, own, strict=True)]

    @cached_property
    def _index(self) -> dict[tuple[bool, Value], int]:
        return {_identity(choice): i for i, choice in enumerate(self.choices)}


Dimension = Real | Integer | Categorical


def convert_all(dimensions: Sequence[Any]) -> tuple[Dimension, ...]:
    """Return dimensions as ours, scikit-optimize's converted.

    Raises:
        InvalidInput: for anything else, for one without a name, or for two of one name.
    """
    if isinstance(dimensions, str | Mapping) or not isinstance(dimensions, Iterable):
        raise InvalidInput(
            f"dimensions must be a list of Real, Integer and Categorical; got {type(dimensions).__name__}"
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
    """Return a dimension, one of scikit-optimize converted into ours by its attributes."""
    if isinstance(dimension, Real | Integer | Categorical):
        return dimension
    kind = type(dimension).__name__
    if kind not in ("Real", "Integer", "Categorical") or not hasattr(dimension, "name"):
        raise InvalidInput(
            f"dimension {position}: {dimension!r} is not a Real, Integer or Categorical of hwopt or skopt"
        )
    if not isinstance(dimension.name, str) or not dimension.name:
        raise InvalidInput(f"dimension {position} ({dimension!r}) has no name; pass name=...")
    if kind == "Categorical":
        return Categorical(dimension.categories, getattr(dimension, "prior", None), name=dimension.name)
    number = Integer if kind == "Integer" else Real
    return number(dimension.low, dimension.high, dimension.prior, name=dimension.name)


def _set(dimension: Dimension, **fields: Any) -> None:
    """Set the fields of a frozen dimension."""
    for name, value in fields.items():
        object.__setattr__(dimension, name, value)


def _check_name(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise InvalidInput(f"name = {name!r} of a dimension must be a text such as 'width'")
    if not name.isprintable():
        raise InvalidInput(f"dimension {name!r}: the name cannot be printed; use visible characters")
    return name


def _end(kind: str, name: Any, end: Any) -> float:
    """Return an end of a dimension as a number."""
    number = as_number(end)
    if number is None:
        raise InvalidInput(f"dimension {name}: end {end!r} is not a number; write {kind}(1, 8, name='width')")
    return number


def _whole_end(name: Any, end: Any) -> int:
    number = _end("Integer", name, end)
    if not math.isfinite(number) or number != int(number):
        raise InvalidInput(f"dimension {name}: {end!r} must be a whole number; it is an end of an Integer")
    return int(end)


def _is_log(name: Any, prior: Any, log: Any) -> bool:
    """Return whether an axis is logarithmic, by either argument."""
    if prior not in ("uniform", "log-uniform"):
        raise InvalidInput(f'dimension {name}: prior = {prior!r}; write "uniform" or "log-uniform"')
    if not isinstance(log, bool | np.bool_):
        raise InvalidInput(f"dimension {name}: log = {log!r} must be True or False")
    return bool(log) or prior == "log-uniform"


def _listed(name: str, choices: Any) -> tuple[Any, ...]:
    """Return choices as plain values."""
    if isinstance(choices, str | Mapping) or not isinstance(choices, Iterable):
        raise InvalidInput(f"dimension {name}: choices = {choices!r} must be a list such as ['max', 'avg']")
    return tuple(plain(choice) for choice in choices)


def _probabilities(name: str, prior: Any) -> tuple[float, ...]:
    numbers = [as_number(p) for p in prior] if isinstance(prior, Iterable) else [None]
    if any(number is None for number in numbers):
        raise InvalidInput(f"dimension {name}: prior = {prior!r} must be probabilities, one a choice")
    return tuple(float(number or 0.0) for number in numbers)


def _check_ends(name: str, low: float, high: float, log: bool) -> None:
    """Raise InvalidInput unless low < high, both are finite, and positive if the axis is logarithmic."""
    if not (math.isfinite(low) and math.isfinite(high) and math.isfinite(high - low)):
        raise InvalidInput(f"dimension {name}: [{low:g}, {high:g}] must have finite ends")
    if low > high:
        raise InvalidInput(f"dimension {name}: low = {low:g} is above high = {high:g}; exchange them")
    if log and low <= 0:
        raise InvalidInput(
            f"dimension {name}: low = {low:g} has no logarithm; give a positive one, or leave out log-uniform"
        )


def _check_choices(name: str, choices: Sequence[Any]) -> None:
    """Raise InvalidInput unless there are choices, all plain and distinct values."""
    if not choices:
        raise InvalidInput(f"dimension {name}: no choices; give at least one")
    for choice in choices:
        if not isinstance(choice, str | int | float | bool | None):
            raise InvalidInput(
                f"dimension {name}: choice {choice!r} is a {type(choice).__name__}; wanted str, int, float, "
                "bool or None (name the choices and look them up in build)"
            )
        if choice != choice:
            raise InvalidInput(
                f"dimension {name}: choice nan is not equal to itself, so no config with it is found again; "
                "write None or a name"
            )
    if len(set(choices)) < len(choices):
        raise InvalidInput(f"dimension {name}: choices {list(choices)} are not distinct")


def _check_weights(name: str, choices: Sequence[Any], weights: Sequence[float]) -> None:
    """Raise InvalidInput unless the weights are probabilities of the choices."""
    if len(weights) != len(choices):
        raise InvalidInput(
            f"dimension {name}: prior has {len(weights)} probabilities for {len(choices)} choices"
        )
    if not all(0 <= weight <= 1 for weight in weights) or not math.isclose(sum(weights), 1, rel_tol=1e-6):
        raise InvalidInput(
            f"dimension {name}: prior = {list(weights)} must be probabilities that add up to 1"
        )


def plain(value: object) -> Any:
    """Return numpy's scalars as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def _identity(value: Any) -> tuple[bool, Any]:
    """Return the identity of a choice: 1 and 1.0 are the same choice, True is another."""
    return isinstance(value, bool), value
