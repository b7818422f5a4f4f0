"""Early stopping in studies of several objectives, of which one is learned and the others are known costs.

    report(trial, epoch, value) --curve, kept with the trial--> should_stop(trial)
                                        |
    curves of all trials, known costs --+--> Pr(the trial ends on the front) < risk

Optuna's `Trial.report` refuses studies of several objectives. If the costs are known before training, only
one objective has a curve, and the front gives the value that it must reach: see
`hwopt.train.stopping.front`. The end of a curve is predicted as in freeze-thaw.
"""

from collections.abc import Sequence

import numpy as np
from optuna.trial import FrozenTrial, Trial, TrialState

from hwopt.costs import CostFunction, feasible
from hwopt.errors import InvalidInput
from hwopt.integrations.optuna.objectives import CURVE, EXPECTED, STOPPED, Objectives, Scale, recognise
from hwopt.integrations.optuna.pricing import Pricing
from hwopt.scalars import as_number, whole_number
from hwopt.search.optimizer import Budgets
from hwopt.train.stopping import Curve
from hwopt.train.stopping.base import Setting
from hwopt.train.stopping.front import FrontRule, FrontRuleByMoments

_STATUSES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "stopped",
    TrialState.RUNNING: "running",
    TrialState.FAIL: "failed",
}


class FrontStopper:
    """Stopping rule for trials that are unlikely to enter the front, given first epochs and known costs.

        stopper.report(trial, epoch, error)
        if stopper.should_stop(trial):
            raise optuna.TrialPruned

    The objectives of the study are recognised as by `HwoptSampler`, which also uses the expected final values
    of stopped trials. Works with any sampler and several processes: the curves are attributes of the trials.

    Args:
        costs: function from a list of dicts of parameters to a dict of arrays [n] by metric, or a cost model.
        n_epochs: epochs of a whole training.
        budgets: limits on the costs; a trial over one is not on the front.
        risk: a trial stops if its probability of entering the front is below this.
        min_epochs: epochs before a trial is judged.
        min_complete: feasible complete trials before any trial is judged.

    Raises:
        InvalidInput: for invalid arguments.
    """

    def __init__(
        self,
        costs: CostFunction,
        n_epochs: int,
        *,
        budgets: Budgets = (),
        risk: float = FrontRule.risk,
        min_epochs: int = FrontRule.min_epochs,
        min_complete: int = FrontRule.min_complete,
    ) -> None:
        self._pricing = Pricing(costs, budgets)
        self._n_epochs = whole_number("n_epochs", n_epochs, lowest=1)
        self._options = (risk, min_epochs, min_complete)
        self._rule(("error",))  # checks the options

    def report(self, trial: Trial, epoch: int, value: float) -> None:
        """Record the learned objective after an epoch, in the study's unit and direction.

        Args:
            trial: running trial.
            epoch: epoch, counted from 1.
            value: value of the objective.

        Raises:
            InvalidInput: for an epoch that is not the next one, or a value that is not a number.
        """
        curve = list(trial.user_attrs.get(CURVE, []))
        wanted = len(curve) + 1
        if isinstance(epoch, bool) or epoch != wanted or wanted > self._n_epochs:
            last = f"of {self._n_epochs}" if wanted <= self._n_epochs else f"n_epochs is {self._n_epochs}"
            raise InvalidInput(f"report: epoch = {epoch!r}; the next one is {wanted}, {last}, counted from 1")
        number = as_number(value)
        if number is None:
            raise InvalidInput(f"report: value = {value!r} must be a number")
        trial.set_user_attr(CURVE, [*curve, number])

    def should_stop(self, trial: Trial) -> bool:
        """Return whether the trial is unlikely to enter the front, given the reported epochs.

        Raises:
            InvalidInput: if not exactly one objective of the study is not a known cost.
        """
        trials = [t for t in trial.study.get_trials(deepcopy=False) if t.user_attrs.get(CURVE)]
        own = next((t for t in trials if t.number == trial.number), None)
        complete = [t for t in trials if t.state == TrialState.COMPLETE]
        if own is None or not complete:
            return False
        objectives = recognise(trial.study, complete, self._pricing([t.params for t in complete]))
        assert objectives.error is not None
        scale = _scale(trials, objectives)
        curves = {t.number: self._curve(t, objectives, scale) for t in trials}
        others = [curve for number, curve in curves.items() if number != trial.number]
        verdict = self._rule(objectives.names).judge(curves[trial.number], others)
        if verdict.reason is None:
            return False
        assert verdict.final_error is not None and verdict.final_error_std is not None
        expected = [scale.value(verdict.final_error), verdict.final_error_std * scale.unit]
        trial.set_user_attr(EXPECTED, expected)
        trial.set_user_attr(STOPPED, verdict.reason)
        return True

    def _rule(self, objectives: Sequence[str]) -> FrontRule:
        return FrontRuleByMoments(Setting(self._n_epochs, None, tuple(objectives), ()), *self._options)

    def _curve(self, trial: FrozenTrial, objectives: Objectives, scale: Scale) -> Curve:
        """Return the curve of a trial; a complete one ends at its returned value."""
        values = list(trial.user_attrs[CURVE])
        if trial.state == TrialState.COMPLETE:
            values[-1] = trial.values[objectives.error or 0]
        costs = objectives.with_inverses(self._pricing([trial.params]))
        errors = tuple(scale.error(value) for value in values)
        is_feasible = bool(feasible(self._pricing.budgets, costs)[0])
        return Curve(errors, _STATUSES[trial.state], costs.at(0), is_feasible)


def _scale(trials: Sequence[FrozenTrial], objectives: Objectives) -> Scale:
    """Return the scale of errors for all reported and returned values."""
    i = objectives.error or 0
    told = [value for trial in trials for value in trial.user_attrs[CURVE]]
    told += [trial.values[i] for trial in trials if trial.state == TrialState.COMPLETE]
    return Scale.of(np.array(told, dtype=float), objectives.is_maximised[i])
