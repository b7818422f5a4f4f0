"""Hard budgets on known costs for any sampler of Optuna: no trial is over a budget.

    trial --> the sampler suggests all parameters --> costs within the budgets? --yes--> the trial has them
                 ^                                               |
                 +------------------no: it is asked again--------+

Parameters follow the sampler's distribution, conditional on the budgets, and refused parameters leave no
trials. If the sampler does not find feasible parameters, known feasible ones near its last suggestion are
used.
"""

from collections import Counter, deque
from collections.abc import Container, Mapping, Sequence
from copy import copy
from functools import partial
from typing import Any, cast

import numpy as np
from optuna import TrialPruned
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, GridSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from hwopt.costs import CostFunction, feasible
from hwopt.errors import InvalidInput
from hwopt.integrations.optuna.base import GivenSpace, KnownCosts
from hwopt.integrations.optuna.over_pool import Acquisition, maximised_over
from hwopt.integrations.optuna.parameters import OnDemand, Parameter
from hwopt.integrations.optuna.trial_space import TrialSpace, others_of
from hwopt.integrations.shared import FAR, N_ASKED, maximise
from hwopt.search.feasible_region import FeasibleRegion, find_feasible_region
from hwopt.search.neighbours import mutate
from hwopt.search.optimizer import Budgets
from hwopt.search.pareto import nondominated
from hwopt.search.state import SearchState
from hwopt.space.dimensions import Dimension
from hwopt.space.search_space import Config, Key, Value

_N_REFUSED = 5  # refusals of the same parameters after which the sampler is not asked again
_N_SHOWN = 64  # latest refused parameters that TPE sees
_SEED = 0  # of the feasible region, independent of the sampler's draws


class HardConstraint(KnownCosts):
    """Sampler of Optuna within budgets on known costs: no trial is over a budget.

    Any sampler except GridSampler: TPE, GPSampler, NSGA-II, CMA-ES, QMC, random. It is asked for all
    parameters of a trial beforehand, until they are within the budgets. TPE, which learns from constraints,
    sees the refused parameters; GPSampler, which would repeat its suggestion, maximises its acquisition
    function over feasible parameters.

    Without `space` it is inferred from the trials. The first trial, and a trial with a new parameter, is
    pruned at its last `suggest` if it is over a budget. Trials of `Study.enqueue_trial` run whatever their
    costs.

    Args:
        sampler: sampler of Optuna.
        costs: function from a list of dicts of parameters to a dict of arrays [n] by metric, or a cost model.
        budgets: limits on costs: `Budget`s, or a dict such as {"time_s": "5 ms"}.
        space: a `hwopt.SearchSpace`, or a dict from name to a distribution of Optuna; None takes that of a
        cost
            model, or infers it.

    Raises:
        InvalidInput: for invalid arguments.
        Infeasible: on a trial, if no parameters are within the budgets.
    """

    def __init__(
        self,
        sampler: BaseSampler,
        costs: CostFunction,
        budgets: Budgets,
        *,
        space: GivenSpace = None,
    ) -> None:
        if not isinstance(sampler, BaseSampler):
            raise InvalidInput(f"sampler = {sampler!r} must be a sampler of Optuna, such as TPESampler()")
        if isinstance(sampler, GridSampler):
            raise InvalidInput("a GridSampler cannot skip points; use BruteForceSampler, with steps")
        super().__init__(costs, budgets, space)
        self._sampler = sampler
        self._region: tuple[Any, FeasibleRegion] | None = None
        self._refused: dict[str, deque[FrozenTrial]] = {}  # by study, seen by TPE

    def __str__(self) -> str:
        return f"HardConstraint({self._sampler})"

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_region": None}

    def reseed_rng(self) -> None:
        """Reseed the sampler."""
        self._sampler.reseed_rng()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Let the sampler prepare a trial."""
        self._sampler.before_trial(study, trial)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Pass the end of a trial on to the sampler."""
        super().after_trial(study, trial, state, values)
        self._sampler.after_trial(study, trial, state, values)

    def parameters(self, study: Study, trial: FrozenTrial, space: TrialSpace) -> dict[str, Any]:
        """Return parameters that the sampler suggests and that are within the budgets."""
        return space.decode(self._asked(_Ask(self._sampler, self._shown(study), trial, space)))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Let the sampler suggest a parameter unknown at the beginning of the trial, within the budgets."""

        def draw() -> Any:
            return self._sampler.sample_independent(study, trial, param_name, param_distribution)

        return self.within_budgets(study, trial, param_name, param_distribution, draw)

    def _asked(self, ask: "_Ask") -> Config:
        """Ask the sampler until the budgets hold, or are undecided because of a new parameter."""
        refused: Counter[Key] = Counter()
        while True:
            config = self._suggested(ask)
            if self._pricing.keeps(ask.parameters(config)) is not False:
                return config
            if isinstance(ask.study, _WithRefused):
                ask.study.refused.append(self._pruned(ask, config))
            refused[ask.space.space.key(config)] += 1
            if refused.total() >= N_ASKED or max(refused.values()) >= _N_REFUSED:
                return self._nearest(ask, config)

    def _shown(self, study: Study) -> Study:
        """Return the study for the sampler; for TPE with refused parameters as pruned trials."""
        if not isinstance(self._sampler, TPESampler):
            return study
        refused = self._refused.setdefault(study.study_name, deque(maxlen=_N_SHOWN))
        return cast("Study", _WithRefused(study, refused, self._sampler._n_startup_trials))

    def _pruned(self, ask: "_Ask", config: Config) -> FrozenTrial:
        """Return a refused config as a pruned trial, with its excess over the budgets as constraints."""
        costs = ask.space.price(self._pricing, [config])
        return create_trial(
            state=TrialState.PRUNED,
            params=ask.space.decode(config),
            distributions={name: ask.space.parameters[name].distribution for name in config},
            constraints={
                b.metric: float(np.clip(b.excess(costs)[0], -FAR, FAR)) for b in self._pricing.budgets
            },
        )

    def _suggested(self, ask: "_Ask") -> Config:
        """Return the sampler's suggestion; for GPSampler after its first trials the best feasible config."""
        if not isinstance(self._sampler, GPSampler):
            return ask.suggested()

        def choose(value: Acquisition) -> Config:
            rng = np.random.default_rng([_SEED, ask.trial.number])
            return maximise(self._search_state(ask), value, rng, _best(ask)).config

        with maximised_over(self._sampler, ask.space.space, choose, ask.parameters) as chosen:
            config = ask.suggested()
            return chosen[-1] if chosen else config

    def _nearest(self, ask: "_Ask", config: Config) -> Config:
        """Return the feasible config nearest to the sampler's suggestion."""
        space, rng = ask.space.space, np.random.default_rng([_SEED, ask.trial.number])
        region = [ask.with_fixed(one) for one in self._region_of(ask).configs]
        pool = [*region, *(ask.with_fixed(one) for one in mutate(space, [config] * len(region), rng))]
        keep = feasible(self._pricing.budgets, self._pricing([ask.parameters(one) for one in pool]))
        kept = [one for one, is_kept in zip(pool, keep, strict=True) if is_kept]
        if not kept:
            raise TrialPruned(f"no parameters with the enqueued {ask.fixed} are within the budgets")
        distances = np.sum((space.encode(kept) - space.encode([config])) ** 2, axis=1)
        return kept[int(np.argmin(distances))]

    def _region_of(self, ask: "_Ask") -> FeasibleRegion:
        """Return the feasible region of the space, priced once per space."""
        if self._region is None or self._region[0] != ask.space.key:
            costs = partial(ask.space.price, self._pricing)
            region = find_feasible_region(ask.space.space, costs, self._pricing.budgets, _SEED)
            self._region = (ask.space.key, region)
        return self._region[1]

    def _search_state(self, ask: "_Ask") -> SearchState:
        """Return a search state in which all feasible configs are available."""
        return SearchState(
            space=ask.space.space,
            costs=lambda configs: self._pricing([ask.parameters(config) for config in configs]),
            budgets=self._pricing.budgets,
            limits=self._pricing.budgets,
            outcome_budgets=(),
            objectives=("error",),
            reference=np.ones(1),
            observations=(),
            pending=(),
            rejected=(),
            candidates=None,
            repeats=True,
            feasible_region=lambda: self._region_of(ask),
        )


def _best(ask: "_Ask") -> list[Config]:
    """Return the configs of the nondominated complete trials."""
    complete = [t for t in others_of(ask.study, ask.trial) if t.state == TrialState.COMPLETE]
    signs = [-1.0 if d == StudyDirection.MAXIMIZE else 1.0 for d in ask.study.directions]
    is_best = nondominated(np.array([t.values for t in complete]) * signs)
    configs = [ask.space.encode(t.params) for t, is_one in zip(complete, is_best, strict=True) if is_one]
    return [config for config in configs if config is not None]


class _WithRefused:
    """Study with refused parameters as additional pruned trials.

    Args:
        study: study of Optuna.
        refused: pruned trials of refused parameters.
        n_random: number of the sampler's initial random trials, which exclude the refused ones.
    """

    def __init__(self, study: Study, refused: deque[FrozenTrial], n_random: int) -> None:
        self._study, self.refused, self._n_random = study, refused, n_random

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        trials = self._study._get_trials(deepcopy, states, use_cache)
        if len(trials) < self._n_random or (states is not None and TrialState.PRUNED not in states):
            return trials
        return [*self.refused, *trials]


class _Ask:
    """Trial for which a sampler is asked for all parameters except the enqueued ones."""

    def __init__(
        self,
        sampler: BaseSampler,
        study: Study,
        trial: FrozenTrial,
        space: TrialSpace,
    ) -> None:
        self._sampler, self.study, self.trial, self.space = sampler, study, trial, space
        self.fixed: dict[str, Any] = trial.system_attrs.get("fixed_params", {})
        self._held = space.holds(self.fixed)

    def suggested(self) -> Config:
        """Return a config of the sampler's suggestions, in the order of earlier trials."""
        trial = copy(self.trial)
        trial.params, trial.distributions = {}, {}
        distributions = self._sampler.infer_relative_search_space(self.study, trial)
        relative = self._sampler.sample_relative(self.study, trial, distributions)

        def draw(dimension: Dimension) -> Value:
            parameter = self.space.parameters[dimension.name]
            value = self._value(parameter, relative, trial)
            trial.params = {**trial.params, dimension.name: value}
            trial.distributions = {**trial.distributions, dimension.name: parameter.distribution}
            return parameter.encode(value)

        return OnDemand(self.space.space, draw).config()

    def with_fixed(self, config: Config) -> Config:
        """Return a config with the enqueued values."""
        return self.space.encode({**self.space.decode(config), **self._held}) or config

    def parameters(self, config: Mapping[str, Value]) -> dict[str, Any]:
        """Return the parameters of a config, with the enqueued values unchanged."""
        return {**self.space.decode(config), **self.fixed}

    def _value(self, parameter: Parameter, relative: Mapping[str, Any], trial: FrozenTrial) -> Any:
        name, distribution = parameter.name, parameter.distribution
        if name in self._held:
            return self._held[name]
        if distribution.single():
            return parameter.only_value
        if name in relative and distribution._contains(distribution.to_internal_repr(relative[name])):
            return relative[name]
        return self._sampler.sample_independent(self.study, trial, name, distribution)
