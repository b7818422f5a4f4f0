"""The optimizer: ask for a feasible config, tell the result of its training, read the front.

It is pure: no files, no clocks, no printing. Proposal k depends on the seed, k, the observations and what is
pending, and on nothing else, so a study goes on after a crash without replaying anything.
"""

from __future__ import annotations  # help() shows the names of types

import logging
import reprlib
import warnings
from collections.abc import Mapping, Sequence, Set
from copy import copy
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Self, overload

import numpy as np
from threadpoolctl import ThreadpoolController

from hwopt.arrays import Array
from hwopt.costs import Budget, CostFunction, Costs, check_metric, feasible, no_costs, price, why_unpriced
from hwopt.errors import Infeasible, InvalidInput, StrategyError, SuspiciousValue, UnknownName, did_you_mean
from hwopt.scalars import as_number, whole_number
from hwopt.search.checks import (
    check_budgets,
    check_objectives,
    check_outcome_budgets,
    check_reference,
    check_switch,
)
from hwopt.search.feasible_region import FeasibleRegion, find_feasible_region
from hwopt.search.freeze_thaw import FreezeThaw, strategy_with_values
from hwopt.search.learning_curves import FinalErrors
from hwopt.search.pareto import hypervolume
from hwopt.search.pricing_steps import OnPriced
from hwopt.search.reference import N_ERRORS, cost_reference, error_reference
from hwopt.search.slices import Slice, Slices, check_asked, check_errors, check_status
from hwopt.search.state import Observation, Rejection, SearchState, log_axis
from hwopt.search.strategies import find_strategy
from hwopt.search.suspicious_errors import ErrorChecks
from hwopt.signatures import also_by_position
from hwopt.space.search_space import Config, SearchSpace

_LOG = logging.getLogger("hwopt")
LARGEST_ERROR = 1e6  # a share of wrong answers, or any loss of a sensible size
STATUSES = ("complete", "stopped", "failed")
Budgets = Sequence[Budget] | Mapping[str, Any]  # a dict from metric to limit, as in an experiment file
_SAME = 1e-6  # relative difference within which two costs of a config are the same


@dataclass(frozen=True)
class Proposal:
    """A config to train, with its predicted costs and counts of its selection.

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
    """Bayesian optimizer that proposes configs within budgets on known costs.

    Args:
        space: the search space.
        costs: maps configs to a dict of arrays [n], one for each metric: a cost model or any formula that
            gives a config the same costs each time. None, or an empty dict: no cost is known.
        budgets: limits that no proposal breaks, each at its confidence; a dict such as {"time_s": "5 ms"}
            will do.
        objectives: "error" and any of the cost metrics; all are minimised.
        strategy: name of a strategy, such as "ehvi", "random" or "optuna:tpe".
        aware: if False, proposals ignore the budgets, and violations are known after training.
        reference: reference point of the hypervolume by objective, SI units; a missing value is inferred, see
            `hwopt.search.reference`.
        seed: of all random numbers.
        outcome_budgets: limits on metrics that only a training reveals, passed to `tell`. They are learned
            from
            observations: a proposal may break them, the front satisfies them.
        repeats: whether a config may be trained again to average its noise.

    Raises:
        UnknownName: for a metric, objective or strategy that does not exist.
        Infeasible: on the first ask, if no config satisfies the budgets.
    """

    @also_by_position
    def __init__(
        self,
        space: SearchSpace,
        costs: CostFunction | None = None,
        *,
        budgets: Budgets = (),
        objectives: Sequence[str] = ("error",),
        strategy: str = "ehvi",
        aware: bool = True,
        reference: Mapping[str, float] | None = None,
        seed: int = 0,
        outcome_budgets: Budgets = (),
        repeats: bool = False,
    ) -> None:
        find_strategy(strategy)
        self.space, self.costs = space, no_costs if costs is None else costs
        self.budgets, self.aware = check_budgets("budgets", budgets), check_switch("aware", aware)
        self.strategy, self.seed = strategy, whole_number("seed", seed)
        self.metrics = tuple(self._price_twice(space.sample(1, np.random.default_rng([self.seed, 2]))[0]))
        for budget in self.budgets:
            check_metric(budget.metric, self.metrics)
        self.objectives = check_objectives(objectives, self.metrics)
        self.outcome_budgets = check_outcome_budgets(outcome_budgets, self.metrics)
        self.repeats = check_switch("repeats", repeats)
        self._reference = check_reference({} if reference is None else reference, self.objectives)
        self.given_reference = dict(self._reference)
        self._inferred_costs: dict[str, float] = {}
        self._error_checks = ErrorChecks()
        self.on_priced: OnPriced | None = None  # called with the progress of the survey
        self.slices: Slices | None = None  # of trainings that are paused and resumed
        self._observations: list[Observation] = []
        self._pending: list[Config] = []
        self._rejected: list[Rejection] = []

    def __repr__(self) -> str:
        name = self.strategy if self.aware else f"{self.strategy}:unaware"
        limits = "".join(f", {budget.metric} <= {budget.limit:g}" for budget in self.budgets)
        known = f"{len(self._observations)} told, {len(self._pending)} pending"
        return f"<Optimizer {name} of {', '.join(self.objectives)}{limits}: {known}>"

    @property
    def is_new(self) -> bool:
        """Whether there is no proposal and no observation yet."""
        return not (self._observations or self._pending or self._rejected)

    @cached_property
    def feasible_region(self) -> FeasibleRegion:
        """The feasible region of the space, priced on first use; the whole space if nothing is limited.

        Raises:
            Infeasible: if no config satisfies the budgets; the message names the one that binds.
        """
        region = find_feasible_region(self.space, self.costs, self.budgets, self.seed, self.on_priced)
        for note in region.notes():
            _LOG.warning("%s", note)
        return region

    @property
    def region(self) -> FeasibleRegion:
        """Former name of `feasible_region`."""
        return self.feasible_region

    @property
    def reference(self) -> dict[str, float]:
        """Reference point of the hypervolume, by objective, SI units.

        If none is given for the error, it is inferred from the first N_ERRORS errors and constant afterwards.
        """
        return {name: self._reference.get(name) or self._inferred(name) for name in self.objectives}

    @property
    def is_reference_set(self) -> bool:
        """Whether the reference is constant, whatever is observed."""
        n_told = sum(observation.error is not None for observation in self._observations)
        return "error" in self._reference or n_told >= N_ERRORS

    def keep_reference(self, reference: Mapping[str, float]) -> None:
        """Take a reference that another process of this search inferred; given values have priority."""
        usable = {n: v for n, v in reference.items() if v is not None and np.isfinite(v) and v > 0}
        self._reference = {**check_reference(usable, self.objectives), **self._reference}

    @property
    def _first_errors(self) -> list[float]:
        """First N_ERRORS observed errors; if there are fewer, with first epochs of unfinished trainings."""
        found: list[float] = []
        for observation in self._observations:
            if len(found) == N_ERRORS:
                break
            if observation.error is not None:
                found.append(observation.error)
        begun = self.slices.partial if self.slices is not None else []
        return [*found, *(one.errors[0] for one in begun if one.errors)][:N_ERRORS]

    def _inferred(self, name: str) -> float:
        """Return the inferred reference of an objective."""
        if name == "error":
            return error_reference(self._first_errors)
        if name not in self._inferred_costs:
            limit = next((budget.limit for budget in self.budgets if budget.metric == name), None)
            try:
                self._inferred_costs[name] = cost_reference(self.feasible_region.costs[name], limit)
            except Infeasible:  # nothing can be proposed, but observations have a front
                if limit is None:
                    raise
                return limit
        return self._inferred_costs[name]

    @overload
    def ask(self, n: None = None, candidates: Sequence[Mapping[str, Any]] | None = None) -> Proposal: ...

    @overload
    def ask(self, n: int, candidates: Sequence[Mapping[str, Any]] | None = None) -> list[Proposal]: ...

    def ask(
        self, n: int | None = None, candidates: Sequence[Mapping[str, Any]] | None = None
    ) -> Proposal | list[Proposal]:
        """Propose a config, or `n` of them at once; each is pending until its result is told.

        Args:
            n: number of proposals; None returns one Proposal instead of a list.
            candidates: choose among these configs only, such as the rows of a table.

        Raises:
            Infeasible: if no config satisfies the budgets, or no candidate is left.
        """
        allowed = None if candidates is None else tuple(self.space.validate(c) for c in candidates)
        if n is None:
            return self._propose(allowed)
        return [self._propose(allowed) for _ in range(whole_number("ask: n", n, lowest=1))]

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
        """Report the result of a training; the config need not have been proposed.

        Args:
            config: a config of the space.
            values: "error", and other metrics that only training reveals; None with status "failed".
            status: "complete", "stopped" (early) or "failed".
            curve: error after each epoch; its last value is the error of a stopped training without one.
            error_std: standard deviation of the error, if it is the expected final error of a stopped
                training.
            metrics: the same as `values`, as keywords: tell(config, error=0.083).

        Raises:
            InvalidInput: for a value that is not finite, a missing error or a config outside the space.
            UnknownName: for an unknown hyperparameter or status.
        """
        config, errors = self.space.validate(config), _check_curve(curve)
        if values is not None and not isinstance(values, Mapping):
            raise InvalidInput(f"tell: values = {values!r}; write error={values!r}, or a dict with 'error'")
        given = {**(values or {}), **metrics}
        if status not in STATUSES:
            raise UnknownName(f"tell: no status {status!r}{did_you_mean(status, STATUSES)}")
        if status == "stopped" and "error" not in given and errors:
            given["error"] = errors[-1]
        checked = _check_values(given, status, self.metrics)
        self._check_outcomes(checked, status)
        error = checked.pop("error", None)
        costs = self._price_one([config])
        is_within = bool(feasible(self.budgets, costs)[0])
        is_feasible = self.is_feasible(config, checked, was_within_budgets=is_within)
        std = _check_std(error_std)
        self._observations.append(
            Observation(config, error, costs.at(0), status, is_feasible, checked, std, tuple(errors))
        )
        self._pending = _without(self._pending, config)
        if error is not None:
            for text in self._error_checks.warnings_for(error, errors, self._reference.get("error")):
                _LOG.warning("%s", text)
                warnings.warn(text, SuspiciousValue, stacklevel=2)

    def ask_slice(self, n_epochs: int, candidates: Sequence[Mapping[str, Any]] | None = None) -> Slice:
        """Return the epochs to train next: of a new config, or of a paused or running training.

        Trainings are paused if the expected improvement for each remaining epoch is larger elsewhere: see
        `hwopt.search.freeze_thaw`. Several workers each ask for a slice, train it and tell it.

        Args:
            n_epochs: of a whole training.
            candidates: begin trainings of these configs only, such as the rows of a table.

        Raises:
            Infeasible: if no config satisfies the budgets and no training is paused.
            InvalidInput: for another number of epochs than before, or a strategy without acquisition values.
        """
        self.use_slices(n_epochs)
        allowed = None if candidates is None else tuple(self.space.validate(c) for c in candidates)
        part = self.next_slice(allowed)
        assert part is not None
        return part

    def tell_slice(
        self,
        part: Slice,
        errors: Sequence[float] | None,
        *,
        status: str | None = None,
        **metrics: float,
    ) -> None:
        """Report the errors after the epochs of a slice that `ask_slice` returned.

        Args:
            part: the slice.
            errors: after each of its epochs; None if the training failed.
            status: "complete" if the training ended before its last epoch, "failed" if it failed.
            metrics: other metrics that a complete training reveals; not used before its end.

        Raises:
            InvalidInput: for invalid errors, another number of them than epochs of the slice, or a slice that
                is not in training: told before, or of another search.
            UnknownName: for an unknown status.
        """
        check_asked(self.slices, part)
        check_status(status, errors is None)
        slices = self._begun_slices()
        known = slices.trainings[part.number]
        if errors is None or status == "failed":
            slices.end(part.number)
            self.tell(part.config, None, status="failed")
            return
        given = _check_curve(errors, "tell_slice: errors")
        check_errors(part, given, status == "complete")
        if any(not 0 <= error <= LARGEST_ERROR for error in given):  # a NaN is neither
            raise InvalidInput(
                f"tell_slice: errors = {given} must be numbers from 0 to {LARGEST_ERROR:g}; a training "
                "without an error is told as tell_slice(part, None)"
            )
        if part.is_last or status == "complete":
            self.tell(part.config, {"error": given[-1], **metrics}, curve=(*known.errors, *given))
            slices.end(part.number)
        else:
            slices.take(part.number, given)
            self.judge_slice(part.number)

    def use_slices(self, n_epochs: int, restart_epochs: float = 0.0) -> Slices:
        """Return the unfinished trainings; the first call sets the number of epochs of a whole training."""
        n_epochs = whole_number("n_epochs", n_epochs, lowest=2)
        if self.slices is None:
            rule = FreezeThaw(strategy_with_values(self.strategy), n_epochs, restart_epochs)
            self.slices = Slices(rule, self.seed)
        if self.slices.rule.n_epochs != n_epochs:
            raise InvalidInput(
                f"n_epochs = {n_epochs}, but trainings of {self.slices.rule.n_epochs} epochs have begun; go "
                "on with that number, or with another optimizer"
            )
        return self.slices

    def next_slice(
        self, candidates: tuple[Config, ...] | None = None, may_begin: bool = True
    ) -> Slice | None:
        """Return the next slice, as `ask_slice`; None if no training may begin and none continues."""
        slices = self._begun_slices()
        with _blas().limit(limits=1):
            return slices.ask(self._slice_state(candidates), may_begin)

    def finish_slice(self, least_chance: float, most_epochs: float = np.inf) -> Slice | None:
        """Return a slice of the paused training that is most promising, or None; see `Slices.finish`."""
        return self._begun_slices().finish(self._slice_state(), least_chance, most_epochs)

    def pause_all(self) -> None:
        """Pause every training that is ready to continue, at the end of a search."""
        if self.slices is not None:
            self.slices.pause_all()

    def paused_chances(self) -> dict[int, float]:
        """Return the probabilities that paused trainings would enter the front if finished, by number."""
        if self.slices is None:
            return {}
        return self.slices.rule.chances(self._slice_state(), self.slices.partial)

    def expected_ends(self, numbers: Sequence[int]) -> FinalErrors:
        """Return the predictive distributions of the final errors of unfinished trainings, by number."""
        slices = self._begun_slices()
        for number in numbers:
            if number not in slices.trainings:
                raise InvalidInput(
                    f"training {number} is not unfinished; these are: {sorted(slices.trainings)}"
                )
        chosen = [slices.trainings[number] for number in numbers]
        return slices.rule.final_errors(self._slice_state(), slices.partial, chosen)

    def _begun_slices(self) -> Slices:
        """Return the unfinished trainings; raise InvalidInput before `ask_slice`."""
        if self.slices is None:
            raise InvalidInput("no training has begun in slices; begin with ask_slice(n_epochs)")
        return self.slices

    def _slice_state(self, candidates: tuple[Config, ...] | None = None) -> SearchState:
        return self._search_state(candidates, () if not self.aware else self.budgets)

    def judge_slice(self, number: int) -> bool:
        """Return whether a running training continues after the reported epochs; else it is paused."""
        slices = self._begun_slices()
        with _blas().limit(limits=1):
            return slices.judge(self._slice_state(), number)

    def mark_pending(self, config: Mapping[str, Any]) -> None:
        """Mark a config as in training, so that it is not proposed again; for resuming a study."""
        self._pending.append(self.space.validate(config))

    def set_pending(self, configs: Sequence[Mapping[str, Any]]) -> None:
        """Take these configs for those in training, and no others; for resuming a study."""
        self._pending = [self.space.validate(config) for config in configs]

    def mark_rejected(self, config: Mapping[str, Any]) -> None:
        """Mark a config as selected and infeasible; for resuming a study."""
        config = self.space.validate(config)
        self._rejected.append(Rejection.of(config, self._price_one([config]), self.budgets))

    def untold(self) -> Self:
        """Return an optimizer of the same search without observations; both share the priced region."""
        _ = self.feasible_region
        other = copy(self)
        other._observations, other._pending, other._rejected = [], [], []
        other._inferred_costs, other._error_checks, other.slices = (
            dict(self._inferred_costs),
            ErrorChecks(),
            None,
        )
        return other

    def costs_changed(self) -> None:
        """Discard the feasible region, because the cost function has changed; it is surveyed when needed."""
        self.__dict__.pop("feasible_region", None)
        self.__dict__.pop("_whole_region", None)

    def front(self) -> list[Point]:
        """Return the feasible, nondominated configs, by falling error."""
        points = [
            Point(o.config, {"error": float(o.error or 0.0), **o.costs}) for o in self._search_state().front()
        ]
        return sorted(points, key=lambda point: -point.values["error"])

    def hypervolume(self) -> float:
        """Return the volume between front and reference: error times logarithms of costs."""
        state = self._search_state()
        return hypervolume(state.outcomes(state.front()), state.reference)

    def is_feasible(
        self,
        config: Mapping[str, Any],
        metrics: Mapping[str, float] | None = None,
        *,
        was_within_budgets: bool | None = None,
    ) -> bool:
        """Return whether a config is feasible: it can be priced and satisfies every budget.

        Args:
            config: a config of the space.
            metrics: of its training; they must satisfy the outcome budgets, and missing ones do.
            was_within_budgets: whether its costs satisfied the budgets, if that was decided before, such as
                when it was proposed; None prices it now.
        """
        if was_within_budgets is None:
            was_within_budgets = bool(
                feasible(self.budgets, self._price_one([self.space.validate(config)]))[0]
            )
        return was_within_budgets and all(
            (metrics or {}).get(budget.metric, 0.0) <= budget.limit for budget in self.outcome_budgets
        )

    def price(self, config: Mapping[str, Any]) -> dict[str, float]:
        """Return the predicted costs of a config, SI units."""
        return self._price_one([self.space.validate(config)]).at(0)

    def intervals(self, config: Mapping[str, Any], confidence: float) -> dict[str, tuple[float, float]]:
        """Return the interval of each cost that has a predictive distribution, SI units."""
        costs = self._price_one([self.space.validate(config)])
        bounds = {m: costs.interval(m, confidence) for m in costs if m in costs.residuals}
        return {metric: (float(low[0]), float(high[0])) for metric, (low, high) in bounds.items()}

    def _propose(self, candidates: tuple[Config, ...] | None) -> Proposal:
        state = self._search_state(candidates, () if not self.aware else self.budgets)
        if self.slices is not None:
            state = self.slices.rule.with_unfinished(state, self.slices.partial)
        rng = np.random.default_rng([self.seed, 3, state.n_known])
        with _blas().limit(limits=1):  # the matrices are small: more threads only wait for each other
            selection = find_strategy(self.strategy)(state, rng)
        config = selection.config
        costs = self._price_one([config])
        if not feasible(state.budgets, costs)[0]:
            self._price_twice(selection.config)
            fault = why_unpriced(costs, 0)
            fault = "breaks a budget" if fault is None else f"cannot be priced ({fault})"
            raise StrategyError(f"strategy {self.strategy!r} proposed a config that {fault}: {config}")
        self._pending.append(selection.config)
        self._rejected += selection.rejections
        return Proposal(
            selection.config,
            costs.at(0),
            selection.n_priced,
            selection.n_infeasible,
            selection.broken,
            selection.rejections,
        )

    def _search_state(
        self, candidates: tuple[Config, ...] | None = None, budgets: tuple[Budget, ...] | None = None
    ) -> SearchState:
        return SearchState(
            space=self.space,
            costs=self.costs,
            budgets=self.budgets if budgets is None else budgets,
            limits=self.budgets,
            outcome_budgets=self.outcome_budgets,
            objectives=self.objectives,
            reference=self._log_reference(),
            observations=tuple(self._observations),
            pending=tuple(self._pending),
            rejected=tuple(self._rejected),
            candidates=candidates,
            repeats=self.repeats,
            feasible_region=lambda: self.feasible_region if self.aware else self._whole_region,
        )

    @cached_property
    def _whole_region(self) -> FeasibleRegion:
        return find_feasible_region(self.space, self.costs, (), self.seed)

    def _log_reference(self) -> Array:
        costs = [log_axis(name, np.array(self.reference[name])) for name in self.objectives[1:]]
        return np.array([self.reference["error"], *costs])

    def _check_outcomes(self, values: Mapping[str, float], status: str) -> None:
        missing = [b.metric for b in self.outcome_budgets if b.metric not in values]
        if missing and status == "complete":
            raise InvalidInput(
                f"tell: {missing[0]} has a budget, so a complete training needs it; told: {sorted(values)}"
            )

    def _price_twice(self, config: Config) -> Costs:
        """Price a config twice and check that its costs are the same."""
        first, again = (price(self.costs, [config]) for _ in range(2))
        for metric in {**first, **again}:
            if metric not in first or metric not in again:
                raise InvalidInput(f"costs gave {metric} of {config} in one call, and none in another")
            one, other = float(first[metric][0]), float(again[metric][0])
            if not np.isclose(one, other, rtol=_SAME, atol=0.0, equal_nan=True):
                raise InvalidInput(
                    f"costs differ from call to call: {metric} of {config} is {one:.6g}, then {other:.6g}; "
                    "they must depend on the config alone (cache measured or random values)"
                )
        return first

    def _price_one(self, configs: Sequence[Config]) -> Costs:
        """Return the costs of configs. Cost objectives must be positive: they are compared on a log scale."""
        costs = price(self.costs, configs)
        for name in self.objectives[1:]:
            log_axis(name, costs[name])
        return costs


@cache
def _blas() -> Any:
    """Return the handle of numpy's and scipy's linear algebra libraries."""
    return ThreadpoolController().select(user_api="blas")


def _check_curve(curve: Sequence[float], what: str = "tell: curve") -> list[float]:
    """Return the errors of a curve as floats."""
    is_ordered = not isinstance(curve, str | bytes | bytearray | Mapping | Set)
    try:
        given: Sequence[Any] = list(curve) if is_ordered else [None]
    except TypeError:  # a number, or an array of no dimension
        given = [None]
    numbers = [as_number(error) for error in given]
    errors = [number for number in numbers if number is not None]
    if len(errors) < len(numbers):
        raise InvalidInput(f"{what} = {reprlib.repr(curve)} must be a list of errors, one an epoch")
    return errors


def _check_std(std: float | None) -> float:
    if std is None:
        return 0.0
    number = as_number(std)
    if number is None or not 0 <= number < np.inf:
        raise InvalidInput(f"tell: error_std = {std!r} must be a finite number from 0")
    return number


def _check_values(values: Mapping[str, Any], status: str, predicted: Sequence[str]) -> dict[str, float]:
    """Return the values as floats; raise InvalidInput unless they are finite and fit the status."""
    checked = {}
    for name, value in values.items():
        if name in STATUSES:
            raise InvalidInput(f"tell: {name} = {value!r} is not a metric; write status={name!r}")
        if name in predicted:
            raise InvalidInput(
                f"tell: {name} is predicted before training; tell only metrics that training reveals"
            )
        number = as_number(value)
        if number is None or not np.isfinite(number):
            raise InvalidInput(f"tell: {name} = {value!r} is not a {_instead_of(name, value)}")
        if name == "error" and not 0 <= number <= LARGEST_ERROR:
            raise InvalidInput(f"tell: error = {number:g} must lie between 0 and {LARGEST_ERROR:g}")
        checked[name] = number
    if status == "failed" and checked:
        raise InvalidInput(f"tell: a failed training has no values; got {sorted(checked)}")
    if status != "failed" and "error" not in checked:
        near = did_you_mean("error", checked) if checked else ""
        raise InvalidInput(f"tell: a {status} training needs its 'error'{near}")
    return checked


def _instead_of(name: str, value: object) -> str:
    """Return the accepted form of a value that is not a number."""
    if isinstance(value, Mapping):
        return (
            f"number; write {', '.join(f'{key}={inner!r}' for key, inner in value.items()) or 'error=0.083'}"
        )
    if name == "error":
        return "finite number; a training without one is told as tell(config, None, status='failed')"
    return "finite number; leave it out, or tell a training without a result as status='failed'"


def _without(configs: list[Config], config: Config) -> list[Config]:
    """Return the list without the first entry that equals the config."""
    index = configs.index(config) if config in configs else len(configs)
    return configs[:index] + configs[index + 1 :]
