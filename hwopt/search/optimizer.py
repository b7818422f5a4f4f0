"""The optimizer: ask for a config that keeps the budgets, tell what its training gave, read off the front.

It is pure: no files, no clocks, no printing. Proposal k depends on the seed, k, what was told and what is
pending, and on nothing else, so a study goes on after a crash without replaying anything.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, overload

import numpy as np
from threadpoolctl import ThreadpoolController

from hwopt.costs import Array, Budget, CostFunction, Costs, check_metric, feasible, price
from hwopt.errors import InvalidInput, UnknownName, did_you_mean
from hwopt.search.arguments import (
    check_budgets,
    check_objectives,
    check_outcome_budgets,
    check_reference,
    check_seed,
    check_switch,
)
from hwopt.search.pareto import hypervolume
from hwopt.search.region import Region, survey
from hwopt.search.situation import Observation, Rejection, Situation, log_axis
from hwopt.search.steps import OnPriced
from hwopt.search.strategies import find_strategy
from hwopt.space import Config, SearchSpace

_LOG = logging.getLogger("hwopt")
LARGEST_ERROR = 1e6  # a share of wrong answers, or any loss of a sensible size
STATUSES = ("complete", "stopped", "failed")


@dataclass(frozen=True)
class Proposal:
    """A config to train, with its predicted costs and what choosing it took.

    `n_priced` configs were priced for it, of which `n_infeasible` were filtered out; `rejections` are
    configs that the strategy had selected and a budget refused.
    """

    config: Config
    costs: dict[str, float]
    n_priced: int
    n_infeasible: int
    broken: dict[str, int]  # the infeasible ones by the budgets that they break
    rejections: tuple[Rejection, ...] = ()


@dataclass(frozen=True)
class Point:
    """A trained config on the front: its error and all its predicted costs."""

    config: Config
    values: dict[str, float]


class Optimizer:
    """Choose what to train next under budgets on known costs.

    Args:
        space: the search space.
        costs: maps configs to a dict of arrays [n], one for each metric: a cost model or any formula.
        budgets: limits that no proposal breaks, each at its confidence.
        objectives: "error" and any of the cost metrics; all are minimised.
        strategy: name of a registered strategy, such as "ehvi" or "random".
        aware: if False, proposals ignore the budgets, and violations show in what is told.
        reference: worst values that count, by objective, SI units; where absent, of a cost its budget,
            else the 99% quantile of the feasible region, and 1.0 of the error.
        seed: of everything random.
        outcome_budgets: limits on metrics that only a training reveals and `tell` is told; learned from the
            outcomes, so no promise before a training, but the front keeps them.
        repeats: whether a config may be trained again to average its noise, where that pays.

    Raises:
        UnknownName: for a metric, objective or strategy that does not exist.
        Infeasible: on the first ask, where no config keeps the budgets.
    """

    def __init__(
        self,
        space: SearchSpace,
        costs: CostFunction,
        budgets: Sequence[Budget] = (),
        objectives: Sequence[str] = ("error",),
        strategy: str = "ehvi",
        aware: bool = True,
        reference: Mapping[str, float] | None = None,
        seed: int = 0,
        outcome_budgets: Sequence[Budget] = (),
        repeats: bool = False,
    ) -> None:
        self._strategy = find_strategy(strategy)
        self.space, self.costs, self.budgets = space, costs, check_budgets("budgets", budgets)
        self.strategy, self.aware, self.seed = strategy, check_switch("aware", aware), check_seed(seed)
        self.metrics = tuple(price(costs, space.sample(1, np.random.default_rng([seed, 2]))))
        for budget in self.budgets:
            check_metric(budget.metric, self.metrics)
        self.objectives = check_objectives(objectives, self.metrics)
        self.outcome_budgets = check_outcome_budgets(outcome_budgets, self.metrics)
        self.repeats = check_switch("repeats", repeats)
        self._given_reference = check_reference({} if reference is None else reference, self.objectives)
        self.on_priced: OnPriced | None = None  # told how far the survey of the space is
        self._told: list[Observation] = []
        self._pending: list[Config] = []
        self._rejected: list[Rejection] = []

    @cached_property
    def region(self) -> Region:
        """The feasible region of the space, priced on first use; the whole space where nothing is limited.

        Raises:
            Infeasible: where no config keeps the budgets; the message names the one that binds.
        """
        region = survey(self.space, self.costs, self.budgets, self.seed, self.on_priced)
        for note in region.notes():
            _LOG.warning("%s", note)
        return region

    @cached_property
    def reference(self) -> dict[str, float]:
        """Worst values that count for the hypervolume, by objective, SI units."""
        limits = {budget.metric: budget.limit for budget in self.budgets}
        reference = {}
        for name in self.objectives:
            if name in self._given_reference:
                reference[name] = self._given_reference[name]
            elif name == "error":
                reference[name] = 1.0
            else:
                reference[name] = limits.get(name) or float(np.quantile(self.region.costs[name], 0.99))
        return reference

    @overload
    def ask(self, n: None = None, candidates: Sequence[Mapping[str, Any]] | None = None) -> Proposal: ...

    @overload
    def ask(self, n: int, candidates: Sequence[Mapping[str, Any]] | None = None) -> list[Proposal]: ...

    def ask(
        self, n: int | None = None, candidates: Sequence[Mapping[str, Any]] | None = None
    ) -> Proposal | list[Proposal]:
        """Propose a config, or `n` of them at once; what is proposed is pending until it is told.

        Args:
            n: how many; None gives one Proposal instead of a list.
            candidates: choose among these configs only, such as the rows of a table.

        Raises:
            Infeasible: where no config keeps the budgets, or no candidate is left.
        """
        allowed = None if candidates is None else tuple(self.space.validate(c) for c in candidates)
        if n is None:
            return self._propose(allowed)
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise InvalidInput(f"ask({n!r}): n must be a positive whole number")
        return [self._propose(allowed) for _ in range(n)]

    def tell(
        self,
        config: Mapping[str, Any],
        values: Mapping[str, float] | None = None,
        *,
        status: str = "complete",
        curve: Sequence[float] = (),
        error_std: float | None = None,
        **metrics: float,
    ) -> None:
        """Report how the training of a config ended; the config need not have been proposed.

        Args:
            config: a config of the space.
            values: "error", and other metrics that only training reveals; None with status "failed".
            status: "complete", "stopped" (early) or "failed".
            curve: error after each epoch; of a stopped training its last one stands for the error, where
                none is given.
            error_std: standard deviation of the error, where it is not what the training ended at but what a
                stopped one was expected to end at.
            metrics: the same as `values`, as keywords: tell(config, error=0.083).

        Raises:
            InvalidInput: for what is no finite number, a missing error or a config outside the space.
            UnknownName: for an unknown hyperparameter or status.
        """
        config = self.space.validate(config)
        if values is not None and not isinstance(values, Mapping):
            raise InvalidInput(f"tell: values = {values!r}; write error={values!r}, or a dict with 'error'")
        given = {**(values or {}), **metrics}
        if status not in STATUSES:
            raise UnknownName(f"tell: no status {status!r}{did_you_mean(status, STATUSES)}")
        if status == "stopped" and "error" not in given and len(curve):
            given["error"] = curve[-1]
        checked = _check_values(given, status, self.metrics)
        self._check_outcomes(checked, status)
        error = checked.pop("error", None)
        costs = self._price_one([config])
        is_feasible = bool(feasible(self.budgets, costs)[0]) and self.keeps_outcomes(checked)
        std = _check_std(error_std)
        self._told.append(Observation(config, error, costs.at(0), status, is_feasible, checked, std))
        self._pending = _without(self._pending, config)

    def mark_pending(self, config: Mapping[str, Any]) -> None:
        """Say that a config is in training, so that it is not proposed again; for resuming a study."""
        self._pending.append(self.space.validate(config))

    def mark_rejected(self, config: Mapping[str, Any]) -> None:
        """Say that a strategy selected a config and a budget refused it; for resuming a study."""
        config = self.space.validate(config)
        costs = self._price_one([config])
        broken = tuple(budget.metric for budget in self.budgets if not budget.holds(costs)[0])
        self._rejected.append(Rejection(config, costs.at(0), broken))

    def costs_changed(self) -> None:
        """Survey the feasible region anew when it is next needed: the cost function has learned something."""
        self.__dict__.pop("region", None)
        self.__dict__.pop("_whole_region", None)

    def front(self) -> list[Point]:
        """Return the feasible, nondominated told configs, by falling error."""
        points = [
            Point(o.config, {"error": float(o.error or 0.0), **o.costs}) for o in self._situation().front()
        ]
        return sorted(points, key=lambda point: -point.values["error"])

    def hypervolume(self) -> float:
        """Return the volume between front and reference: error times logarithms of costs."""
        situation = self._situation()
        return hypervolume(situation.outcomes(situation.front()), situation.reference)

    def is_feasible(self, config: Mapping[str, Any]) -> bool:
        """Return whether a config can be priced and keeps every budget."""
        return bool(feasible(self.budgets, self._price_one([self.space.validate(config)]))[0])

    def keeps_outcomes(self, metrics: Mapping[str, float]) -> bool:
        """Return whether what a training revealed keeps the limits on it; what it did not reveal does."""
        return all(metrics.get(budget.metric, 0.0) <= budget.limit for budget in self.outcome_budgets)

    def price(self, config: Mapping[str, Any]) -> dict[str, float]:
        """Return the predicted costs of a config, SI units."""
        return self._price_one([self.space.validate(config)]).at(0)

    def _propose(self, candidates: tuple[Config, ...] | None) -> Proposal:
        situation = self._situation(candidates, () if not self.aware else self.budgets)
        rng = np.random.default_rng([self.seed, 3, situation.n_known])
        with _blas().limit(limits=1):  # the matrices are small: more threads only wait for each other
            choice = self._strategy(situation, rng)
        costs = self._price_one([choice.config])
        if not feasible(situation.budgets, costs)[0]:
            raise RuntimeError(f"strategy {self.strategy!r} proposed a config that breaks a budget: {choice}")
        self._pending.append(choice.config)
        self._rejected += choice.rejections
        return Proposal(
            choice.config, costs.at(0), choice.n_priced, choice.n_infeasible, choice.broken, choice.rejections
        )

    def _situation(
        self, candidates: tuple[Config, ...] | None = None, budgets: tuple[Budget, ...] | None = None
    ) -> Situation:
        return Situation(
            space=self.space,
            costs=self.costs,
            budgets=self.budgets if budgets is None else budgets,
            limits=self.budgets,
            outcome_budgets=self.outcome_budgets,
            objectives=self.objectives,
            reference=self._log_reference(),
            told=tuple(self._told),
            pending=tuple(self._pending),
            rejected=tuple(self._rejected),
            candidates=candidates,
            repeats=self.repeats,
            region=lambda: self.region if self.aware else self._whole_region,
        )

    @cached_property
    def _whole_region(self) -> Region:
        return survey(self.space, self.costs, (), self.seed)

    def _log_reference(self) -> Array:
        costs = [log_axis(name, np.array(self.reference[name])) for name in self.objectives[1:]]
        return np.array([self.reference["error"], *costs])

    def _check_outcomes(self, values: Mapping[str, float], status: str) -> None:
        missing = [b.metric for b in self.outcome_budgets if b.metric not in values]
        if missing and status == "complete":
            raise InvalidInput(
                f"tell: {missing[0]} has a budget, so a complete training needs it; told: {sorted(values)}"
            )

    def _price_one(self, configs: Sequence[Config]) -> Costs:
        """Price what is proposed or told: what is an objective must have a logarithm."""
        costs = price(self.costs, configs)
        for name in self.objectives[1:]:
            log_axis(name, costs[name])
        return costs


@cache
def _blas() -> Any:
    """Return the handle of numpy's and scipy's linear algebra libraries."""
    return ThreadpoolController().select(user_api="blas")


def _check_std(std: float | None) -> float:
    if std is None:
        return 0.0
    if isinstance(std, bool) or not isinstance(std, int | float | np.number) or not 0 <= std < np.inf:
        raise InvalidInput(f"tell: error_std = {std!r} must be a finite number from 0")
    return float(std)


def _check_values(values: Mapping[str, Any], status: str, predicted: Sequence[str]) -> dict[str, float]:
    """Return the told values as floats, where they are finite and belong to a training of this status."""
    checked = {}
    for name, value in values.items():
        if name in STATUSES:
            raise InvalidInput(f"tell: {name} = {value!r} is no metric; write status={name!r}")
        if name in predicted:
            raise InvalidInput(f"tell: {name} is predicted before training; tell only what training reveals")
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float | np.number)
            or not np.isfinite(value)
        ):
            raise InvalidInput(f"tell: {name} = {value!r} is no {_instead_of(name, value)}")
        if name == "error" and not 0 <= value <= LARGEST_ERROR:
            raise InvalidInput(f"tell: error = {value:g} must lie between 0 and {LARGEST_ERROR:g}")
        checked[name] = float(value)
    if status == "failed" and checked:
        raise InvalidInput(f"tell: a failed training has no values; got {sorted(checked)}")
    if status != "failed" and "error" not in checked:
        near = did_you_mean("error", checked) if checked else ""
        raise InvalidInput(f"tell: a {status} training needs its 'error'{near}")
    return checked


def _instead_of(name: str, value: object) -> str:
    """Return what was wanted where something told is no number, and how to write it."""
    if isinstance(value, Mapping):
        return (
            f"number; write {', '.join(f'{key}={inner!r}' for key, inner in value.items()) or 'error=0.083'}"
        )
    if name == "error":
        return "finite number; a training without one is told as tell(config, None, status='failed')"
    return "finite number; leave it out, or tell a training that gave none as status='failed'"


def _without(configs: list[Config], config: Config) -> list[Config]:
    """Return the list less the first entry that equals the config."""
    index = configs.index(config) if config in configs else len(configs)
    return configs[:index] + configs[index + 1 :]
