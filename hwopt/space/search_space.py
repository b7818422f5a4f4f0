"""The search space: hyperparameters, conditions, and the function that builds a network from a config.

    SearchSpace:  point of [0, 1]^k --> config --> X [n, d], or a network

A config is a dict with a plain Python value for every *active* hyperparameter, in the order of the
dimensions; inactive ones are absent, and equality and hashing use this reduced dict.
"""

from __future__ import annotations  # help() shows the names of types

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwopt.arrays import Array
from hwopt.errors import InvalidInput, UnknownName, did_you_mean
from hwopt.scalars import whole_number
from hwopt.signatures import also_by_position
from hwopt.space.dimensions import Categorical, Dimension, Integer, Real, Value, convert_all

__all__ = ["Categorical", "Config", "Dimension", "Integer", "Key", "Real", "SearchSpace", "Value"]

Config = dict[str, Value]
Key = tuple[Any, ...]

_INACTIVE = "<inactive>"
_N_TRIED = 256  # points at which conditions are evaluated, to distinguish spaces


class SearchSpace:
    """A space of configurations and, optionally, a function that builds a network from one.

    Args:
        dimensions: `Real`, `Integer` and `Categorical`, of hwopt or scikit-optimize, each with its own name.
        build: maps a config to a `torch.nn.Module`; needed wherever costs are predicted from the network.
        input_shape: shape of one input without the batch, for example (1, 28, 28).
        structural: names of the hyperparameters that change the network. It may be left out: costs follow
            what `build` reads. A list is checked: one that lacks a hyperparameter that changes the layers is
            an error if costs are predicted.
        active: maps a name to a condition on the config; if it is false the hyperparameter is absent.

    Raises:
        InvalidInput: for dimensions without names or with the same name, or conditions that fail.
        UnknownName: where `structural` or `active` names no dimension.
    """

    @also_by_position
    def __init__(
        self,
        dimensions: Sequence[Any],
        *,
        build: Callable[[Config], Any] | None = None,
        input_shape: Sequence[int] | None = None,
        structural: Iterable[str] | None = None,
        active: Mapping[str, Callable[[Config], bool]] | None = None,
    ) -> None:
        self.dimensions: tuple[Dimension, ...] = convert_all(dimensions)
        self.names = tuple(dimension.name for dimension in self.dimensions)
        self.build = build
        self.input_shape = _check_shape(input_shape)
        self.is_listed = structural is not None
        self.structural = self._check_names("structural", self.names if structural is None else structural)
        self._listed = self.structural
        if active is not None and not isinstance(active, Mapping):
            raise InvalidInput(f"active = {active!r} must be a dict from name to condition")
        self.active = dict(active or {})
        self._check_names("active", self.active)
        self._check_conditions()

    def __len__(self) -> int:
        return len(self.dimensions)

    def __repr__(self) -> str:
        return f"SearchSpace({list(self.dimensions)})"

    def sample(self, n: int, rng: np.random.Generator | int) -> list[Config]:
        """Draw n configs independently from the prior; `rng` is a generator, or the seed of one."""
        n = whole_number("sample: n", n)
        if not isinstance(rng, np.random.Generator):
            rng = np.random.default_rng(whole_number("sample: rng", rng))
        return self.from_unit(rng.random((n, len(self))))

    def from_unit(self, U: Array) -> list[Config]:
        """Map points of the unit cube, [n, k] with k dimensions, to configs."""
        return [self.activate(values) for values in self.values_at(U)]

    def values_at(self, U: Array) -> list[Config]:
        """Map points of the unit cube, [n, k], to a value for every hyperparameter, active or not."""
        columns = [dim.from_units(u) for dim, u in zip(self.dimensions, np.transpose(U), strict=True)]
        return [dict(zip(self.names, row, strict=True)) for row in zip(*columns, strict=True)]

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
            UnknownName: for a key that is not a hyperparameter.
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

    def is_possible(self, config: Mapping[str, Value]) -> bool:
        """Return whether a config may be drawn: none of its choices has the prior probability 0."""
        return all(dim.is_possible(config[dim.name]) for dim in self.dimensions if dim.name in config)

    def key(self, config: Mapping[str, Value]) -> Key:
        """Return a hashable identity of a config: one entry for each dimension."""
        return tuple([config.get(name, _INACTIVE) for name in self.names])

    def found_structural(self, names: Iterable[str]) -> None:
        """Take these hyperparameters as the structural ones, if none were listed."""
        if not self.is_listed:
            self.structural = self._check_names("structural", names)

    def structural_key(self, config: Mapping[str, Value]) -> Key:
        """Return a hashable identity of the structural hyperparameters, which determine the costs."""
        return tuple([config.get(name, _INACTIVE) for name in self.structural])

    def encode(self, configs: Sequence[Mapping[str, Value]]) -> Array:
        """Encode configs as X [n, d] in [0, 1]: numbers on their scale, choices one-hot, inactive 0.5."""
        X = np.full((len(configs), len(self.groups)), 0.5)
        column = 0
        for dimension in self.dimensions:
            name = dimension.name
            active = [i for i, config in enumerate(configs) if name in config]
            X[active, column : column + dimension.width] = dimension.encode(
                [configs[i][name] for i in active]
            )
            column += dimension.width
        return X

    @property
    def groups(self) -> NDArray[np.intp]:
        """Dimension of each column of `encode`, shape [d]."""
        return np.repeat(np.arange(len(self)), [dimension.width for dimension in self.dimensions])

    def describe(self) -> dict[str, Any]:
        """Return the space as JSON-safe data, by which a study recognises its own space."""
        dimensions = [
            {
                "type": type(dim).__name__,
                **{k: list(v) if isinstance(v, tuple) else v for k, v in asdict(dim).items()},
            }
            for dim in self.dimensions
        ]
        return {
            "dimensions": dimensions,
            "structural": list(self._listed),
            "conditional": sorted(self.active),
            "input_shape": list(self.input_shape) if self.input_shape else None,
            **({"conditions": self._pattern_of_conditions} if self.active else {}),
        }

    @cached_property
    def _pattern_of_conditions(self) -> str:
        """Fingerprint of which hyperparameters are active at some points of the space, always the same."""
        configs = self.from_unit(np.random.default_rng(0).random((_N_TRIED, len(self))))
        pattern = "".join("01"[name in config] for config in configs for name in self.names)
        return hashlib.sha256(pattern.encode()).hexdigest()[:16]

    def _check_names(self, argument: str, names: Iterable[str]) -> tuple[str, ...]:
        if isinstance(names, str) or not isinstance(names, Iterable):
            raise InvalidInput(f"{argument} = {names!r} must be a list of names such as {[self.names[0]]}")
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
        whole = config if len(config) == len(self) else self.activate({**self.defaults, **config})
        for name in whole:
            if name not in config:
                raise InvalidInput(
                    f"config: {name} is missing; a config has a value for every active hyperparameter"
                )
        return reduced

    @cached_property
    def defaults(self) -> Config:
        """The middle value of every hyperparameter, active or not."""
        return self.values_at(np.full((1, len(self)), 0.5))[0]


def _check_shape(shape: Sequence[int] | None) -> tuple[int, ...] | None:
    if shape is None:
        return None
    try:
        return tuple(whole_number("input_shape", side, lowest=1) for side in shape)
    except (InvalidInput, TypeError):
        raise InvalidInput(
            f"input_shape must be positive whole numbers such as (1, 28, 28); got {shape!r}"
        ) from None
