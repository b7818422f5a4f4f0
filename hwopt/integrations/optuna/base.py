"""Base class of the samplers with known costs."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from threading import RLock
from typing import Any

from optuna import TrialPruned
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from hwopt.costs import CostFunction
from hwopt.errors import InvalidInput
from hwopt.integrations.optuna.pricing import Pricing
from hwopt.integrations.optuna.trial_space import TrialSpace, given_space, inferred_space, others_of
from hwopt.search.optimizer import Budgets
from hwopt.space.search_space import SearchSpace

N_DRAWN = 32  # draws of one parameter before a trial is pruned
GivenSpace = SearchSpace | Mapping[str, BaseDistribution] | None


class KnownCosts(BaseSampler):
    """Sampler that samples all parameters of a trial at once, given their costs.

    Args:
        costs: function from a list of dicts of parameters to a dict of arrays [n] by metric, or a cost model.
        budgets: limits on these metrics.
        space: space of the study; None takes that of a cost model, or infers it from the trials.
    """

    def __init__(self, costs: CostFunction, budgets: Budgets, space: GivenSpace) -> None:
        self._pricing = Pricing(costs, budgets)
        own = getattr(costs, "space", None) if space is None else space
        self._given = None if own is None else given_space(own)
        self._inferred: TrialSpace | None = None  # the last one
        self._spaces: dict[int, TrialSpace] = {}  # of running trials, by their identifiers
        self._proposed: dict[int, dict[str, Any]] = {}  # their parameters
        self._lock = RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_inferred": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=RLock())

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the distributions of all known parameters."""
        with self._lock:
            space = self._given or inferred_space(others_of(study, trial), self._pricing, self._inferred)
            if space is None:
                return {}
            self._spaces[trial._trial_id] = self._inferred = space
            return space.distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return parameters within the budgets; empty while no trial has suggested any."""
        space = self._spaces.pop(trial._trial_id, None)
        if space is None:
            return {}
        fixed = [name for name in space.parameters if name not in search_space]
        if fixed:
            raise InvalidInput(
                f"another sampler around {self} fixes {fixed[0]!r}, so costs are not known beforehand; give "
                "it a distribution of one value, or put HardConstraint around the other sampler"
            )
        with self._lock:
            self._proposed[trial._trial_id] = self.parameters(study, trial, space)
        return self._proposed[trial._trial_id]

    def within_budgets(
        self,
        study: Study,
        trial: FrozenTrial,
        name: str,
        distribution: BaseDistribution,
        draw: Callable[[], Any],
    ) -> Any:
        """Return a value of a parameter that was not proposed, within the budgets so far.

        Raises:
            TrialPruned: if none of N_DRAWN values is; the trial has the last one.
        """
        known = {**self._proposed.get(trial._trial_id, {}), **trial.params}
        for _ in range(N_DRAWN):
            known[name] = draw()
            if self._pricing.keeps(known) is not False:
                return known[name]
        internal = distribution.to_internal_repr(known[name])
        study._storage.set_trial_param(trial._trial_id, name, internal, distribution)
        raise TrialPruned(f"over budget, whatever {name} is: {self._pricing.explain(known)}")

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Forget the proposal of a trial."""
        self._proposed.pop(trial._trial_id, None)

    @abstractmethod
    def parameters(self, study: Study, trial: FrozenTrial, space: TrialSpace) -> dict[str, Any]:
        """Return the parameters of a trial of this space."""
