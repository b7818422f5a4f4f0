"""Search space of a study's trials: given, or inferred from their suggestions.

An inferred space has the parameters of all trials, and a condition for each parameter that some complete
trials lack: on a parameter that was always suggested earlier, and whose values separate the trials with it
from those without.

    n_layers = 1               units2 absent        condition of units2: n_layers nearer to 3 than to 1
    n_layers = 3, ...          units2 = 64

If the costs of some configs need a parameter that no trial has suggested, and others have the same name
except for a number, it gets their range: units3, after units0 and units2.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from hwopt.costs import Costs, price
from hwopt.errors import HwoptError, InvalidInput, did_you_mean
from hwopt.integrations.optuna.parameters import Parameter, of_dimension, parameter_of
from hwopt.integrations.optuna.pricing import Pricing
from hwopt.space.dimensions import Categorical, Value
from hwopt.space.search_space import Config, SearchSpace

_N_TRIED = 64  # sampled configs in the search for parameters that no trial has suggested


@dataclass(frozen=True)
class Condition:
    """Condition of a parameter on the value of an earlier one; an unseen value counts as the nearest one.

    An unseen unordered choice counts as active.
    """

    parent: str
    present: frozenset[Value]
    absent: frozenset[Value]
    is_ordered: bool

    def __call__(self, config: Config) -> bool:
        """Return whether the parameter is active."""
        value = config[self.parent]
        if value in self.present or value in self.absent or not self.is_ordered:
            return value not in self.absent
        return _distance(value, self.present) <= _distance(value, self.absent)

    def decoded(self, parameters: Mapping[str, Parameter]) -> "Condition":
        """Return the same condition for configs with the trials' values."""
        decode = parameters[self.parent].decode
        present, absent = (frozenset(map(decode, values)) for values in (self.present, self.absent))
        return replace(self, present=present, absent=absent)


@dataclass(frozen=True)
class Needed:
    """Condition of a parameter that no trial has suggested: active if the costs need it."""

    name: str
    parameters: Mapping[str, Parameter]
    pricing: Pricing

    def __call__(self, config: Config) -> bool:
        """Return whether the parameter is active; raise KeyError if another one has to be decided first."""
        while True:
            missing = self.pricing.missing(_decoded(self.parameters, config))
            first = next((name for name in missing if name != self.name and name in self.parameters), None)
            if first is None:
                return self.name in missing
            _ = config[first]


@dataclass(frozen=True)
class TrialSpace:
    """Search space, and the map between its configs and the parameters of trials."""

    space: SearchSpace
    parameters: Mapping[str, Parameter]
    is_inferred: bool
    key: Any = None  # equal for equal spaces

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Distributions of all parameters."""
        return {name: parameter.distribution for name, parameter in self.parameters.items()}

    def decode(self, config: Mapping[str, Value]) -> dict[str, Any]:
        """Return the parameters of a config."""
        return _decoded(self.parameters, config)

    def encode(self, parameters: Mapping[str, Any]) -> Config | None:
        """Return the config of a trial's parameters; None if a value is outside the space.

        What a trial lacks has the middle of its range: it was not needed, or the trial did not get so far.
        """
        values = dict(self.space.defaults)
        for name, value in parameters.items():
            if name in self.parameters:
                try:
                    values[name] = self.parameters[name].encode(value)
                except ValueError:
                    return None
        return self.space.activate(values)

    def holds(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return those of the parameters that the space has such values of."""
        return {name: value for name, value in parameters.items() if self.encode({name: value}) is not None}

    def valid(self, config: Mapping[str, Any]) -> Config | None:
        """Return a validated config; None if it is not in the space."""
        try:
            return self.space.validate(config)
        except HwoptError:
            return None

    def price(self, pricing: Pricing, configs: Sequence[Mapping[str, Value]]) -> Costs:
        """Return the costs of n configs; NaN if a parameter is missing that no trial has suggested."""
        many = [self.decode(config) for config in configs]
        return pricing(many) if self.is_inferred else price(pricing.costs, many)

    def unexplored(self, pricing: Pricing, rng: np.random.Generator) -> Config | None:
        """Return a config whose costs need a parameter that no trial has suggested; None without one."""
        if not self.is_inferred:
            return None
        tried = self.space.sample(_N_TRIED, rng)
        return next((config for config in tried if pricing.known(self.decode(config)) is None), None)


def given_space(space: SearchSpace | Mapping[str, BaseDistribution]) -> TrialSpace:
    """Return the trial space of a given space of hwopt, or of Optuna's distributions by name.

    Raises:
        InvalidInput: for anything else.
    """
    if isinstance(space, SearchSpace):
        own = {dimension.name: of_dimension(dimension) for dimension in space.dimensions}
        return TrialSpace(space, own, is_inferred=False)
    if not isinstance(space, Mapping) or not all(isinstance(d, BaseDistribution) for d in space.values()):
        raise InvalidInput(
            f"space = {space!r}; give a hwopt.SearchSpace, or a dict from name to a distribution of Optuna"
        )
    parameters = {name: parameter_of(name, distribution) for name, distribution in space.items()}
    return TrialSpace(SearchSpace([p.dimension for p in parameters.values()]), parameters, is_inferred=False)


def inferred_space(
    trials: Sequence[FrozenTrial], pricing: Pricing, last: TrialSpace | None = None
) -> TrialSpace | None:
    """Return the space of the trials' suggestions, in their order; None without any.

    Args:
        trials: trials that have begun.
        pricing: cost function that determines the needed parameters.
        last: space of fewer trials, returned if the others suggest nothing new.

    Raises:
        InvalidInput: if the costs read a parameter that a complete trial did not suggest.
    """
    distributions: dict[str, BaseDistribution] = {}
    for trial in trials:
        distributions.update(trial.distributions)  # ranges may change; the latest one is used
    if not distributions:
        return None
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    _check_complete(pricing, complete)
    parameters = {name: parameter_of(name, distribution) for name, distribution in distributions.items()}
    conditions = _conditions(parameters, complete)
    key = (tuple(distributions.items()), tuple(conditions.items()))
    if last is not None and last.key == key:
        return last
    active: dict[str, Condition | Needed] = {**conditions}
    while True:
        space = SearchSpace([p.dimension for p in parameters.values()], active=active)
        found = TrialSpace(space, parameters, is_inferred=True, key=key)
        more = _numbered(found, pricing)
        if not more:
            return found
        parameters |= more
        active |= {name: Needed(name, parameters, pricing) for name in more}


def _check_complete(pricing: Pricing, trials: Sequence[FrozenTrial]) -> None:
    """Raise InvalidInput if the costs read a parameter that a complete trial did not suggest."""
    for trial in trials[-1:]:
        missing = pricing.missing(trial.params)
        if missing:
            raise InvalidInput(
                f"costs reads {missing[0]!r}, which trial {trial.number} did not suggest"
                f"{did_you_mean(missing[0], trial.params)}"
            )


def _conditions(parameters: Mapping[str, Parameter], complete: Sequence[FrozenTrial]) -> dict[str, Condition]:
    """Return a condition for each parameter that some complete trials lack, if there is one."""
    found = {}
    for name in parameters:
        having = [list(trial.params) for trial in complete if name in trial.params]
        if having and len(having) < len(complete):
            earlier = [other for other in parameters if all(_is_before(other, name, own) for own in having)]
            by_size = sorted(earlier, key=lambda other: parameters[other].dimension.n_values)
            conditions = (_condition(parameters[other], name, complete) for other in by_size)
            condition = next((one for one in conditions if one is not None), None)
            if condition is not None:
                found[name] = condition
    return found


def _numbered(space: TrialSpace, pricing: Pricing) -> dict[str, Parameter]:
    """Return parameters that costs need and no trial has suggested, modelled on those of similar names."""
    alike = {_without_numbers(name): parameter for name, parameter in space.parameters.items()}
    tried = (space.decode(config) for config in space.space.sample(_N_TRIED, 0))
    missing = {name for parameters in tried for name in pricing.missing(parameters)}
    return {
        name: parameter_of(name, alike[_without_numbers(name)].distribution)
        for name in sorted(missing)
        if _without_numbers(name) in alike
    }


def _decoded(parameters: Mapping[str, Parameter], config: Mapping[str, Value]) -> dict[str, Any]:
    return {name: parameters[name].decode(value) for name, value in config.items()}


def _without_numbers(name: str) -> str:
    return re.sub(r"\d+", "#", name)


def _is_before(other: str, name: str, suggested: Sequence[str]) -> bool:
    return other in suggested and suggested.index(other) < suggested.index(name)


def _condition(parent: Parameter, name: str, complete: Sequence[FrozenTrial]) -> Condition | None:
    """Return the condition on one parent's values; None if they do not separate the trials."""
    values: dict[bool, set[Value]] = {True: set(), False: set()}
    for trial in complete:
        if parent.name in trial.params:
            try:
                values[name in trial.params].add(parent.encode(trial.params[parent.name]))
            except ValueError:  # outside the current range
                continue
    if values[True] & values[False] or not values[True]:
        return None
    is_ordered = not isinstance(parent.dimension, Categorical)
    return Condition(parent.name, frozenset(values[True]), frozenset(values[False]), is_ordered)


def _distance(value: Value, seen: frozenset[Value]) -> float:
    return min((abs(float(value or 0) - float(other or 0)) for other in seen), default=np.inf)


def others_of(study: Study, trial: FrozenTrial) -> list[FrozenTrial]:
    """Return the other trials of a study that have begun."""
    trials = study.get_trials(deepcopy=False)
    return [t for t in trials if t.number != trial.number and t.state != TrialState.WAITING]
