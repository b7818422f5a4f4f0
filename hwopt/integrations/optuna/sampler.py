"""Sampler of an Optuna study with hwopt's optimizer.

    trials of the study --tell--> Optimizer --ask--> all parameters of the next trial

The state is read from the study at each trial, so the study can be resumed or shared by several processes.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from optuna import TrialPruned
from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from hwopt.costs import Budget, CostFunction, feasible
from hwopt.errors import HwoptError, InvalidInput, UnknownName, did_you_mean
from hwopt.integrations.optuna.base import GivenSpace, KnownCosts
from hwopt.integrations.optuna.objectives import Objectives, recognise
from hwopt.integrations.optuna.parameters import parameter_of
from hwopt.integrations.optuna.pricing import Pricing
from hwopt.integrations.optuna.trial_space import TrialSpace, others_of
from hwopt.integrations.shared import FAR
from hwopt.scalars import whole_number
from hwopt.search.optimizer import Budgets, Optimizer
from hwopt.space.search_space import Config

PROPOSAL = "hwopt:proposal"  # attribute of a running trial: its config
_N_COMPLETED = 2048  # candidate configs with fixed parameters
_KEPT = 1.0  # value of a constraint of 0, as limits are positive


class HwoptSampler(KnownCosts):
    """Sampler that knows the costs of a trial before it runs, and creates no trial over a budget.

    The study has one learned objective and any number of known costs: objectives that equal a predicted cost
    in all trials, or have its name (`Study.set_metric_names`). Both may be minimised or maximised.
    Constraints of trials (`Trial.set_constraint`) are learned.

    Without `space` it is inferred from the trials. A trial with new parameters, as the first one, is drawn at
    random; if it is over a budget, it is pruned at its last `suggest`. From the second trial on, no trial is
    created over a budget. Trials of `Study.enqueue_trial` run whatever their costs.

    Args:
        costs: function from a list of dicts of parameters to a dict of arrays [n] by metric, or a cost model.
        budgets: limits on costs: `Budget`s, or a dict such as {"time_s": "5 ms"}.
        space: a `hwopt.SearchSpace`, or a dict from name to a distribution of Optuna; None takes that of a
        cost
            model, or infers it.
        seed: random seed; None for a random one.

    Raises:
        InvalidInput: for invalid arguments; on a trial, if not exactly one objective is not a known cost, or
        if
            the trial's suggestions do not match the space.
        Infeasible: on a trial, if no parameters are within the budgets.
    """

    def __init__(
        self,
        costs: CostFunction,
        budgets: Budgets = (),
        *,
        space: GivenSpace = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(costs, budgets, space)
        drawn = int(np.random.default_rng().integers(2**31))
        self._seed = drawn if seed is None else whole_number("seed", seed)
        self._last: _Search | None = None  # with a priced feasible region

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_last": None}

    def reseed_rng(self) -> None:
        """Do nothing: proposals depend on the trials of the study, including running ones."""

    def parameters(self, study: Study, trial: FrozenTrial, space: TrialSpace) -> dict[str, Any]:
        """Return the parameters that the optimizer proposes."""
        config = self._chosen(study, space, trial)
        study._storage.set_trial_system_attr(trial._trial_id, PROPOSAL, json.dumps(config))
        return space.decode(config)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw a parameter unknown at the beginning of the trial, within the budgets so far."""
        if self._given is not None:
            raise _not_in(self._given, param_name, param_distribution)
        parameter = parameter_of(param_name, param_distribution)
        rng = np.random.default_rng([self._seed, 4, trial.number, *param_name.encode()])

        def draw() -> Any:
            return parameter.decode(parameter.dimension.from_units(rng.random(1))[0])

        return self.within_budgets(study, trial, param_name, param_distribution, draw)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Store the trial's excess over each budget as its constraints."""
        super().after_trial(study, trial, state, values)
        costs = self._pricing.known(trial.params)
        if costs is None:
            return
        for budget in self._pricing.budgets:
            excess = float(np.clip(budget.excess(costs)[0], -FAR, FAR))
            study._storage.set_trial_system_attr(trial._trial_id, f"constraints:{budget.metric}", excess)

    def _chosen(self, study: Study, space: TrialSpace, trial: FrozenTrial) -> Config:
        """Return the config of the next trial."""
        new = space.unexplored(self._pricing, np.random.default_rng([self._seed, 5, trial.number]))
        if new is not None:
            return new
        others = others_of(study, trial)
        optimizer = self._search(study, space, others).told(others)
        fixed = trial.system_attrs.get("fixed_params", {})
        if not fixed:
            return optimizer.ask().config
        candidates = self._around(space, fixed, np.random.default_rng([self._seed, 6, trial.number]))
        return optimizer.ask(candidates=candidates).config

    def _search(self, study: Study, space: TrialSpace, others: Sequence[FrozenTrial]) -> "_Search":
        """Return the current search of the study; the last one if it is equal."""
        complete = [other for other in others if other.state == TrialState.COMPLETE]
        costs = self._pricing([trial.params for trial in complete])
        objectives = recognise(study, complete, costs)
        search = _Search(self._pricing, space, objectives, _revealed(complete, costs), self._seed)
        if self._last is None or self._last.key != search.key:
            self._last = search
        return self._last

    def _around(self, space: TrialSpace, fixed: Mapping[str, Any], rng: np.random.Generator) -> list[Config]:
        """Return feasible configs with the enqueued parameters; prune the trial if there are none."""
        configs = []
        for config in space.space.sample(_N_COMPLETED, rng):
            own = space.encode({**space.decode(config), **space.holds(fixed)})
            configs += [] if own is None else [own]
        many = [{**space.decode(config), **fixed} for config in configs]
        keep = feasible(self._pricing.budgets, self._pricing(many))
        kept = [config for config, is_kept in zip(configs, keep, strict=True) if is_kept]
        if not kept:
            raise TrialPruned(f"no parameters with the enqueued {dict(fixed)} are within the budgets")
        return kept


class _Search:
    """Search of a study: space, objectives, and learned constraints."""

    def __init__(
        self, pricing: Pricing, space: TrialSpace, objectives: Objectives, revealed: Sequence[str], seed: int
    ) -> None:
        self._pricing, self._space, self._objectives = pricing, space, objectives
        self._revealed, self._seed = tuple(revealed), seed

    @property
    def key(self) -> Any:
        """Key that is equal for equal searches."""
        return self._space.key, self._objectives, self._revealed

    @cached_property
    def _untold(self) -> Optimizer:
        return Optimizer(
            self._space.space,
            lambda configs: self._objectives.with_inverses(self._space.price(self._pricing, configs)),
            budgets=self._pricing.budgets,
            objectives=self._objectives.names,
            seed=self._seed,
            outcome_budgets=[Budget(name, _KEPT) for name in self._revealed],
        )

    def told(self, trials: Sequence[FrozenTrial]) -> Optimizer:
        """Return an optimizer with the observations of these trials."""
        optimizer = self._untold.untold()
        outcomes = self._objectives.outcomes(trials)
        for trial in trials:
            config = self._config(trial)
            if config is None:
                continue
            outcome = outcomes.get(trial.number)
            if trial.state == TrialState.RUNNING:
                optimizer.mark_pending(config)
            elif outcome is None:
                optimizer.tell(config, None, status="failed")
            elif trial.state == TrialState.COMPLETE:
                revealed = {name: _KEPT + trial.constraints[name] for name in self._revealed}
                optimizer.tell(config, {"error": outcome.error, **revealed})
            else:
                optimizer.tell(config, error=outcome.error, status="stopped", error_std=outcome.std)
        return optimizer

    def _config(self, trial: FrozenTrial) -> Config | None:
        """Return the config of a trial; None if it is incomplete or outside the space."""
        if trial.state == TrialState.RUNNING and PROPOSAL in trial.system_attrs:
            return self._space.valid(json.loads(trial.system_attrs[PROPOSAL]))
        config = self._space.encode(trial.params)
        if config is None or trial.state == TrialState.COMPLETE:
            return config
        return config if set(config) <= set(trial.params) else None


def _revealed(complete: Sequence[FrozenTrial], metrics: Collection[str]) -> list[str]:
    """Return the constraints that all complete trials have, without those on predicted metrics."""
    names = set.intersection(*(set(trial.constraints) for trial in complete)) if complete else set()
    return sorted(names - set(metrics) - {"error"})


def _not_in(space: TrialSpace, name: str, distribution: BaseDistribution) -> HwoptError:
    """Return the error for a suggested parameter that the given space lacks or has differently."""
    if name not in space.parameters:
        return UnknownName(
            f"the trial suggests {name!r}, which space= lacks{did_you_mean(name, space.parameters)}"
        )
    return InvalidInput(
        f"the trial suggests {name} from {distribution}, but space= has "
        f"{space.parameters[name].distribution}, or a condition under which it is not active; make them agree"
    )
