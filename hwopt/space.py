"""The search space: what may vary, and how a network is built from it.

    skopt dimensions --(converted once)--> Real, Integer, Categorical
    SearchSpace:  point of [0, 1]^k --> config --> X [n, d], or a network

A config is a dict with a plain Python value for every *active* hyperparameter, in the order of the
dimensions; inactive ones are absent, and equality and hashing use this reduced dict. This is the one module
that knows scikit-optimize, and it only reads attributes of the dimensions that it is given: nothing heavy is
imported here.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwopt.errors import InvalidInput, UnknownName, did_you_mean

Value = str | int | float | bool | None
Config = dict[str, Value]
Key = tuple[Any, ...]
Array = NDArray[np.float64]

_INACTIVE = "<inactive>"


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

    def from_unit(self, u: float) -> float:
        """Map u in [0, 1] to a value."""
        if self.log:
            value = math.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + u * (self.high - self.low)
        return min(max(value, self.low), self.high)

    def encode(self, value: Value) -> list[float]:
        """Return the position of a value in [0, 1]."""
        assert isinstance(value, int | float)
        if self.log:
            return [(math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))]
        return [(value - self.low) / (self.high - self.low)]

    def check(self, value: object) -> float:
        """Return the value as a float, or raise ValueError with what is wanted."""
        value = _plain(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"a finite number in [{self.low:g}, {self.high:g}]")
        slack = 1e-12 * max(abs(self.low), abs(self.high))
        if not self.low - slack <= value <= self.high + slack:
            raise ValueError(f"a number in [{self.low:g}, {self.high:g}]")
        return min(max(float(value), self.low), self.high)

    def step(self, value: Value, scale: float, rng: np.random.Generator) -> float:
        """Draw near a value: normal in the unit interval with deviation `scale`, reflected at the ends."""
        return self.from_unit(_reflect(self.encode(value)[0] + scale * rng.standard_normal()))

    def neighbour(self, value: Value, scale: float, rng: np.random.Generator) -> float:
        """Draw another value near this one."""
        return self.step(value, scale, rng)


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

    def from_unit(self, u: float) -> int:
        """Map u in [0, 1] to a value; every value owns an interval of u."""
        low, high = self.low - 0.5, self.high + 0.5
        if self.log:
            low, high = math.log(max(low, 0.5)), math.log(high)
            value = math.exp(low + u * (high - low))
        else:
            value = low + u * (high - low)
        return min(max(round(value), self.low), self.high)

    def encode(self, value: Value) -> list[float]:
        """Return the position of a value in [0, 1]."""
        assert isinstance(value, int)
        if self.log:
            return [(math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))]
        return [(value - self.low) / (self.high - self.low)]

    def check(self, value: object) -> int:
        """Return the value as an int, or raise ValueError with what is wanted."""
        value = _plain(value)
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            raise ValueError(f"a whole number in [{self.low}, {self.high}]")
        return value

    def step(self, value: Value, scale: float, rng: np.random.Generator) -> int:
        """Draw near a value, perhaps itself: normal in the unit interval, reflected at the ends."""
        return self.from_unit(_reflect(self.encode(value)[0] + scale * rng.standard_normal()))

    def neighbour(self, value: Value, scale: float, rng: np.random.Generator) -> int:
        """Draw another value near this one: at least one step away."""
        assert isinstance(value, int)
        drawn = self.step(value, scale, rng)
        if drawn != value:
            return drawn
        step = 1 if rng.random() < 0.5 else -1
        return value + step if self.low <= value + step <= self.high else value - step


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

    def from_unit(self, u: float) -> Value:
        """Map u in [0, 1] to a choice."""
        index = int(np.searchsorted(np.cumsum(self.weights), u, side="right"))
        return self.choices[min(index, len(self.choices) - 1)]

    def encode(self, value: Value) -> list[float]:
        """Return a one-hot vector; one column where there are two choices."""
        if len(self.choices) == 2:
            return [float(self._index(value))]
        return [float(i == self._index(value)) for i in range(len(self.choices))]

    def check(self, value: object) -> Value:
        """Return the choice as a plain value, or raise ValueError with what is wanted."""
        try:
            return self.choices[self._index(_plain(value))]
        except ValueError:
            raise ValueError(f"one of {list(self.choices)}") from None

    def neighbour(self, value: Value, scale: float, rng: np.random.Generator) -> Value:
        """Draw one of the other choices."""
        others = [choice for choice in self.choices if choice is not self.choices[self._index(value)]]
        return others[int(rng.integers(len(others)))]

    def _index(self, value: object) -> int:
        for i, choice in enumerate(self.choices):
            if choice == value and isinstance(choice, bool) == isinstance(value, bool):
                return i
        raise ValueError(value)


Dimension = Real | Integer | Categorical


class SearchSpace:
    """A space of configurations and, where given, how a network is built from one.

    Args:
        dimensions: scikit-optimize's `Real`, `Integer` and `Categorical`, each with a name of its own.
        build: maps a config to a `torch.nn.Module`; needed wherever costs are predicted from the network.
        input_shape: shape of one input without the batch, for example (1, 28, 28).
        structural: names of the hyperparameters that change the network; all of them where None. Configs
            that agree in these share their predicted costs.
        active: maps a name to a condition on the config; where it is false the hyperparameter is absent.

    Raises:
        InvalidInput: for dimensions without names or with the same name, or conditions that fail.
        UnknownName: where `structural` or `active` names no dimension.
    """

    def __init__(
        self,
        dimensions: Sequence[Any],
        build: Callable[[Config], Any] | None = None,
        input_shape: Sequence[int] | None = None,
        structural: Iterable[str] | None = None,
        active: Mapping[str, Callable[[Config], bool]] | None = None,
    ) -> None:
        self.dimensions: tuple[Dimension, ...] = _convert_all(dimensions)
        self.names = tuple(dimension.name for dimension in self.dimensions)
        self.build = build
        self.input_shape = _check_shape(input_shape)
        self.structural = self._check_names("structural", self.names if structural is None else structural)
        self.active = dict(active or {})
        self._check_names("active", self.active)
        self._check_conditions()

    def __len__(self) -> int:
        return len(self.dimensions)

    def __repr__(self) -> str:
        return f"SearchSpace({list(self.dimensions)})"

    def sample(self, n: int, rng: np.random.Generator) -> list[Config]:
        """Draw n configs independently from the prior."""
        return self.from_unit(rng.random((n, len(self))))

    def sample_values(self, rng: np.random.Generator) -> dict[str, Value]:
        """Draw a value for every hyperparameter, active or not."""
        return {
            dim.name: dim.from_unit(u) for dim, u in zip(self.dimensions, rng.random(len(self)), strict=True)
        }

    def from_unit(self, U: Array) -> list[Config]:
        """Map points of the unit cube, [n, k] with k dimensions, to configs."""
        return [
            self.activate(
                {dim.name: dim.from_unit(float(u)) for dim, u in zip(self.dimensions, row, strict=True)}
            )
            for row in U
        ]

    def activate(self, values: Mapping[str, Value]) -> Config:
        """Drop the hyperparameters whose condition does not hold. A condition sees active values only."""
        config = {name: value for name, value in values.items() if name not in self.active}
        waiting = [name for name in self.names if name in self.active and name in values]
        while waiting:
            still_waiting = []
            for name in waiting:
                verdict = self._is_active(name, config, waiting)
                if verdict is None:
                    still_waiting.append(name)
                elif verdict:
                    config[name] = values[name]
            if len(still_waiting) == len(waiting):
                raise InvalidInput(
                    f"conditions of {still_waiting} wait for each other; break the circle in active="
                )
            waiting = still_waiting
        return {name: config[name] for name in self.names if name in config}

    def validate(self, config: Mapping[str, Any]) -> Config:
        """Return the config as plain values in the order of the dimensions; inactive ones must be absent.

        Raises:
            UnknownName: for a key that is no hyperparameter.
            InvalidInput: for a missing or inactive hyperparameter or a value outside its dimension.
        """
        if not isinstance(config, Mapping):
            raise InvalidInput(
                f"a config is a dict from hyperparameter to value; got {type(config).__name__}"
            )
        for name in config:
            if name not in self.names:
                raise UnknownName(
                    f"config: unknown hyperparameter {name!r}{did_you_mean(str(name), self.names)}"
                )
        checked: Config = {}
        for dimension in self.dimensions:
            if dimension.name in config:
                try:
                    checked[dimension.name] = dimension.check(config[dimension.name])
                except ValueError as wanted:
                    raise InvalidInput(
                        f"config: {dimension.name} = {config[dimension.name]!r}; it must be {wanted}"
                    ) from None
        return self._check_active(checked)

    def key(self, config: Mapping[str, Value]) -> Key:
        """Return a hashable identity of a config: one entry for each dimension."""
        return tuple([config.get(name, _INACTIVE) for name in self.names])

    def structural_key(self, config: Mapping[str, Value]) -> Key:
        """Return a hashable identity of what changes the network, and so the cost."""
        return tuple([config.get(name, _INACTIVE) for name in self.structural])

    def encode(self, configs: Sequence[Mapping[str, Value]]) -> Array:
        """Encode configs as X [n, d] in [0, 1]: numbers on their scale, choices one-hot, inactive 0.5."""
        widths = [len(dim.encode(dim.from_unit(0.0))) for dim in self.dimensions]
        X = np.full((len(configs), sum(widths)), 0.5)
        for i, config in enumerate(configs):
            column = 0
            for dimension, width in zip(self.dimensions, widths, strict=True):
                if dimension.name in config:
                    X[i, column : column + width] = dimension.encode(config[dimension.name])
                column += width
        return X

    def describe(self) -> dict[str, Any]:
        """Return the space as JSON-safe data, by which a study recognises its own space."""
        dimensions = [
            {
                "type": type(dim).__name__,
                **{k: list(v) if isinstance(v, tuple) else v for k, v in vars(dim).items()},
            }
            for dim in self.dimensions
        ]
        return {
            "dimensions": dimensions,
            "structural": list(self.structural),
            "conditional": sorted(self.active),
            "input_shape": list(self.input_shape) if self.input_shape else None,
        }

    def _check_names(self, argument: str, names: Iterable[str]) -> tuple[str, ...]:
        names = tuple(names)
        for name in names:
            if name not in self.names:
                raise UnknownName(f"{argument}: no dimension {name!r}{did_you_mean(str(name), self.names)}")
        return tuple(name for name in self.names if name in names)

    def _check_conditions(self) -> None:
        """Try the conditions on the corners and a few random points, so that a wrong one fails here."""
        rng = np.random.default_rng(0)
        self.from_unit(np.vstack([np.zeros(len(self)), np.ones(len(self)), rng.random((16, len(self)))]))

    def _is_active(self, name: str, config: Config, waiting: Sequence[str]) -> bool | None:
        """Return whether a hyperparameter is active, or None while its condition reads an undecided one."""
        try:
            return bool(self.active[name](config))
        except KeyError as error:
            read = error.args[0] if error.args else None
            if read in waiting and read != name:
                return None
            if read in self.names and read != name:
                return False  # it depends on a hyperparameter that is itself inactive
            raise InvalidInput(
                f"active[{name!r}] reads {read!r}, which it cannot{did_you_mean(str(read), self.names)}"
            ) from None
        except Exception as error:
            raise InvalidInput(
                f"active[{name!r}] failed on {config}: {type(error).__name__}: {error}"
            ) from error

    def _check_active(self, config: Config) -> Config:
        """Check that exactly the active hyperparameters are there."""
        reduced = self.activate(config)
        for name in config:
            if name not in reduced:
                raise InvalidInput(
                    f"config: {name} is inactive here (its condition does not hold); leave it out"
                )
        for name in self.names:
            if name not in config and name in self.activate({**self._defaults(), **config}):
                raise InvalidInput(
                    f"config: {name} is missing; a config has a value for every active hyperparameter"
                )
        return reduced

    def _defaults(self) -> Config:
        return {dimension.name: dimension.from_unit(0.5) for dimension in self.dimensions}


def _convert_all(dimensions: Sequence[Any]) -> tuple[Dimension, ...]:
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
    choices = tuple(_plain(choice) for choice in dimension.categories)
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


def _check_shape(shape: Sequence[int] | None) -> tuple[int, ...] | None:
    if shape is None:
        return None
    if isinstance(shape, str) or not all(isinstance(side, int) and side > 0 for side in shape):
        raise InvalidInput(f"input_shape must be positive whole numbers such as (1, 28, 28); got {shape!r}")
    return tuple(shape)


def _plain(value: object) -> Any:
    """Return numpy's scalars as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def _reflect(u: float) -> float:
    """Fold a number into [0, 1] by reflection at the ends."""
    u = abs(u) % 2.0
    return 2.0 - u if u > 1.0 else u
