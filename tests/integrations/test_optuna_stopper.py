"""Early stopping in studies of two objectives: what cannot reach the front stops, what is cheap goes on."""

import numpy as np
import pytest

optuna = pytest.importorskip("optuna")

from hwopt.errors import InvalidInput  # noqa: E402
from hwopt.integrations.optuna import FrontStopper, HwoptSampler  # noqa: E402
from hwopt.integrations.optuna.objectives import CURVE, EXPECTED  # noqa: E402
from hwopt.search.learning_curves import final_errors  # noqa: E402
from tests.integrations.optuna_problem import numbers  # noqa: E402

N_EPOCHS = 8
DISTRIBUTIONS = {
    "width": optuna.distributions.IntDistribution(1, 64),
    "error": optuna.distributions.FloatDistribution(0.0, 1.0),
}


def costs(many):
    return {"time_s": [1e-5 * one["width"] for one in many]}


def curve(final):
    """Errors of a training that falls as a power law to its final error."""
    return [final * (N_EPOCHS / epoch) ** 0.3 for epoch in range(1, N_EPOCHS + 1)]


def train(stopper, trial, value_of=lambda error: error, order=1):
    error, time_s = trial.params["error"], costs([trial.params])["time_s"][0]
    for epoch, seen in enumerate(curve(error), start=1):
        stopper.report(trial, epoch, value_of(seen))
        if stopper.should_stop(trial):
            raise optuna.TrialPruned(trial.user_attrs["hwopt:stopped"])
    return [value_of(error), time_s][::order]


def study_of(trials, directions, stopper, **more):
    """A study of trials of these widths and final errors, in that order."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=directions, sampler=optuna.samplers.RandomSampler(seed=0))
    for width, error in trials:
        trial = study.ask()
        trial.storage.set_trial_param(trial._trial_id, "width", width, DISTRIBUTIONS["width"])
        trial.storage.set_trial_param(trial._trial_id, "error", error, DISTRIBUTIONS["error"])
        trial = optuna.Trial(study, trial._trial_id)
        try:
            study.tell(trial, train(stopper, trial, **more))
        except optuna.TrialPruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    return study


FRONT = [(10, 0.30), (20, 0.20), (30, 0.14), (40, 0.10), (12, 0.28), (22, 0.19)]


def test_a_training_that_cannot_reach_the_front_stops_and_a_cheap_one_goes_on():
    study = study_of(
        [*FRONT, (45, 0.40), (5, 0.40)],
        ["minimize", "minimize"],
        FrontStopper(costs, N_EPOCHS, min_complete=4),
    )
    assert numbers(study, "PRUNED") == [6]  # dearer and worse; the last is the cheapest of all
    stopped = study.trials[6]
    assert len(stopped.user_attrs[CURVE]) < N_EPOCHS
    expected, std = stopped.user_attrs[EXPECTED]
    assert abs(expected - 0.40) < 3 * std < 0.3


def test_the_end_of_a_curve_is_predicted_as_freeze_thaw_does():
    study = study_of([*FRONT, (45, 0.40)], ["minimize"] * 2, FrontStopper(costs, N_EPOCHS, min_complete=4))
    stopped = study.trials[6]
    known = [stopped, *study.trials[:6]]
    logs = [np.log(costs([trial.params])["time_s"]) for trial in known]
    end = final_errors([trial.user_attrs[CURVE] for trial in known], N_EPOCHS, logs, [0])
    assert stopped.user_attrs[EXPECTED] == pytest.approx(
        [end.median[0], (end.high[0] - end.low[0]) / 2], rel=1e-6
    )


def test_order_direction_and_unit_of_the_objectives_do_not_matter():
    study = study_of(
        [*FRONT, (45, 0.40), (5, 0.40)],
        ["minimize", "maximize"],
        FrontStopper(costs, N_EPOCHS, min_complete=4),
        value_of=lambda error: 100 - 100 * error,
        order=-1,
    )
    assert numbers(study, "PRUNED") == [6]
    assert study.trials[6].user_attrs[EXPECTED][0] == pytest.approx(60, abs=12)


def test_nothing_stops_before_enough_trainings_are_complete_within_the_budgets():
    few = FrontStopper(costs, N_EPOCHS, min_complete=7)
    assert numbers(study_of([*FRONT, (45, 0.40)], ["minimize"] * 2, few), "PRUNED") == []
    narrow = FrontStopper(costs, N_EPOCHS, budgets={"time_s": 2.1e-4}, min_complete=4)
    assert numbers(study_of([*FRONT, (15, 0.60)], ["minimize"] * 2, narrow), "PRUNED") == []


def test_a_training_over_a_budget_stops():
    stopper = FrontStopper(costs, N_EPOCHS, budgets={"time_s": "0.41 ms"}, min_complete=4)
    assert numbers(study_of([*FRONT, (45, 0.01)], ["minimize"] * 2, stopper), "PRUNED") == [6]


def test_the_sampler_learns_from_what_a_stopped_trial_was_expected_to_end_at():
    study = study_of([*FRONT, (45, 0.40)], ["minimize"] * 2, FrontStopper(costs, N_EPOCHS, min_complete=4))
    study.sampler = HwoptSampler(costs, space=DISTRIBUTIONS, seed=0)
    trial = study.ask(DISTRIBUTIONS)
    optimizer = study.sampler._last.told(study.trials[:-1])
    stopped = optimizer._observations[-1]
    assert stopped.status == "stopped" and stopped.error_std > 0
    assert stopped.error == study.trials[6].user_attrs[EXPECTED][0]
    assert trial.params["error"] < 0.4


def test_a_study_of_one_objective_stops_what_cannot_become_the_best():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    stopper = FrontStopper(costs, N_EPOCHS, min_complete=4)
    for error in (0.30, 0.20, 0.14, 0.10, 0.60, 0.05):
        trial = study.ask()
        trial.suggest_int("width", 1, 64)
        for epoch, seen in enumerate(curve(error), start=1):
            stopper.report(trial, epoch, seen)
            if stopper.should_stop(trial):
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, error)
    assert numbers(study, "PRUNED") == [4]


@pytest.mark.parametrize(
    ("reports", "message"),
    [
        ([(0, 0.5)], "epoch = 0; the next one is 1, of 8, counted from 1"),
        ([(1, 0.5), (3, 0.5)], "epoch = 3; the next one is 2"),
        ([(1, "low")], "value = 'low' must be a number"),
        ([(epoch, 0.5) for epoch in range(1, 10)], "epoch = 9; the next one is 9, n_epochs is 8"),
    ],
)
def test_reports_are_checked(reports, message):
    trial = optuna.create_study(directions=["minimize"] * 2).ask()
    stopper = FrontStopper(costs, N_EPOCHS, min_complete=4)
    with pytest.raises(InvalidInput, match=message):
        for epoch, value in reports:
            stopper.report(trial, epoch, value)


def test_numbers_of_other_libraries_may_be_reported():
    trial = optuna.create_study().ask()
    FrontStopper(costs, N_EPOCHS, min_complete=4).report(trial, np.int64(1), np.float32(0.5))
    assert trial.user_attrs[CURVE] == [0.5]


def test_arguments_are_checked():
    with pytest.raises(InvalidInput, match="n_epochs = 0 must be a positive whole number"):
        FrontStopper(costs, 0)
    with pytest.raises(InvalidInput, match="risk = 2 must be a number between 0 and 1"):
        FrontStopper(costs, 8, risk=2)
