"""Freeze-thaw: which training the next epochs go to, and that a search by it is taken up where it was."""

import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
from skopt.space import Integer, Real

from hwopt import Infeasible, InvalidInput, Optimizer, SearchSpace
from hwopt.gp import GaussianProcess
from hwopt.search.acquisition import log_expected_hypervolume_improvement
from hwopt.search.freeze_thaw import FreezeThaw, PartialTraining, Stint, decision_epochs
from hwopt.search.state import Selection
from hwopt.search.strategies import ehvi
from hwopt.search.surrogate import fit_surrogate

SPACE = SearchSpace([Real(0, 1, name="x"), Integer(1, 9, name="n")])
N_EPOCHS = 8


def costs(configs):
    return {"time_s": [float(c["n"]) for c in configs]}


def curve(config, n_epochs=N_EPOCHS):
    """Errors fall from about 0.9 to an end that depends on x and the size."""
    end = 0.05 + 0.6 * (config["x"] - 0.3) ** 2 + 0.2 / config["n"]
    return tuple(end + (0.9 - end) * k**-1.2 for k in range(1, n_epochs + 1))


def new_optimizer(**arguments):
    given = {"objectives": ("error", "time_s"), "reference": {"error": 0.9, "time_s": 10.0}, "seed": 3}
    return Optimizer(SPACE, costs, **{**given, **arguments})


def step(optimizer, n_epochs=N_EPOCHS, **arguments):
    """Train one slice and return it."""
    part = optimizer.ask_slice(n_epochs, **arguments)
    optimizer.tell_slice(part, curve(part.config, n_epochs)[part.first_epoch - 1 : part.last_epoch])
    return part


def steps(optimizer, n, **arguments):
    return [step(optimizer, **arguments) for _ in range(n)]


def outline(parts):
    return [(p.number, p.config, p.first_epoch, p.last_epoch, p.begins_stint) for p in parts]


@pytest.fixture(scope="module")
def searched():
    """An optimizer after 70 slices, the slices, and a copy from after 40 of them."""
    optimizer = new_optimizer()
    first = steps(optimizer, 40)
    copy = pickle.dumps(optimizer)
    return optimizer, first + steps(optimizer, 30), copy


def test_the_first_trainings_spread_and_stop_after_one_epoch(searched):
    _, parts, _ = searched
    assert [(p.number, p.first_epoch, p.last_epoch) for p in parts[:4]] == [(n, 1, 1) for n in range(4)]
    assert [p.config for p in parts[:4]] == [new_optimizer().feasible_region.configs[n] for n in range(4)]


def test_trainings_are_paused_resumed_and_completed(searched):
    optimizer, parts, _ = searched
    resumed = [p for p in parts if p.begins_stint and p.first_epoch > 1]
    complete = [o for o in optimizer._observations if o.status == "complete"]
    assert resumed and complete and optimizer.slices.partial
    assert all(o.curve == curve(o.config) and o.error == o.curve[-1] for o in complete)
    for one in optimizer.slices.partial:  # each epoch of a training once, in order
        trained = [(p.first_epoch, p.last_epoch) for p in parts if p.number == one.number]
        assert trained == [(k, k) for k in range(1, len(one.errors) + 1)]
    assert len(optimizer.slices.partial) + len(complete) == optimizer.slices.n_begun


def test_few_epochs_give_a_better_front_than_whole_trainings():
    for seed in range(3):
        optimizer, whole = new_optimizer(seed=seed), new_optimizer(seed=seed)
        steps(optimizer, 3 * N_EPOCHS)
        for _ in range(3):
            config = whole.ask().config
            whole.tell(config, error=curve(config)[-1])
        assert optimizer.hypervolume() > whole.hypervolume()


def test_a_search_that_is_taken_up_goes_on_as_if_nothing_had_happened(searched):
    _, parts, copy = searched
    assert outline(steps(pickle.loads(copy), 30)) == outline(parts[40:])


def trained(number, errors, x=0.5, n=5, state="paused", stint=None):
    return PartialTraining(number, {"x": x, "n": n}, {"time_s": float(n)}, errors, state, stint)


def told_optimizer(**arguments):
    optimizer = new_optimizer(**arguments)
    for x, n in ((0.1, 2), (0.3, 4), (0.6, 6), (0.9, 8), (0.5, 3)):
        config = {"x": x, "n": n}
        optimizer.tell(config, error=curve(config)[-1], curve=curve(config))
    return optimizer


def values_of(rule, state, trainings):
    state = rule.with_unfinished(state, trainings)
    surrogate = fit_surrogate(state)
    return rule._values(state, surrogate, trainings, 0.0, None), state, surrogate


def test_what_a_training_is_worth_is_its_improvement_for_each_epoch_left():
    rule, optimizer = FreezeThaw(ehvi, N_EPOCHS), told_optimizer()
    one = trained(0, curve({"x": 0.3, "n": 7})[:5], 0.3, 7)
    (value,), state, surrogate = values_of(rule, optimizer._search_state(), [one])
    mean, std = surrogate.process.posterior(SPACE.encode([one.config]))
    improvement = log_expected_hypervolume_improvement(
        mean, std, np.log([[7.0]]), state.outcomes(state.front()), state.reference, surrogate.shift
    )
    assert value == pytest.approx(improvement[0] - np.log(3))
    dearer = rule._values(state, surrogate, [one], 2.0, None)
    assert dearer[0] == pytest.approx(improvement[0] - np.log(5))


def test_only_complete_trainings_are_on_the_front_that_is_to_be_improved():
    rule, optimizer = FreezeThaw(ehvi, N_EPOCHS), told_optimizer()
    excellent = trained(0, (0.2, 0.1, 0.01), 0.2, 4)
    _, state, surrogate = values_of(rule, optimizer._search_state(), [excellent])
    assert len(surrogate.front) == len(optimizer.front()) and surrogate.front[:, 0].min() > 0.05
    running = replace(excellent, state="running", stint=Stint(0.0))
    _, state, surrogate = values_of(rule, optimizer._search_state(), [running])
    assert surrogate.front[:, 0].min() < 0.05  # its improvement is expected already


def goes_on(errors, alternative=-8.0, **arguments):
    rule, optimizer = FreezeThaw(ehvi, N_EPOCHS), told_optimizer()
    stint = Stint(alternative, **arguments)
    one = trained(0, errors, 0.3, 7, "running", stint)
    return rule.goes_on(optimizer._search_state(), [one], 0, np.random.default_rng(0))


def test_a_training_goes_on_while_it_is_worth_more_than_its_alternative():
    good, bad = curve({"x": 0.3, "n": 9})[:3], curve({"x": 1.0, "n": 1})[:3]
    assert goes_on(good) and not goes_on(bad)
    assert not goes_on(good, alternative=0.0) and goes_on(bad, alternative=-np.inf)
    assert not goes_on(good, alternative=np.inf)  # one of the first: paused after its first decision


def test_the_prediction_before_a_training_counts_beside_its_curve():
    errors = curve({"x": 0.6, "n": 3})[:1]
    pessimistic = {"shift": 0.2, "mean": np.log(0.9), "std": 0.05}
    optimistic = {"shift": 0.2, "mean": np.log(0.25), "std": 0.05}
    assert goes_on(errors, **optimistic) and not goes_on(errors, **pessimistic)


def test_a_resumed_training_is_predicted_without_its_own_curve_too():
    rule, optimizer = FreezeThaw(ehvi, N_EPOCHS), told_optimizer()
    one = trained(0, (0.9, 0.85), 0.3, 7)  # looks poor
    state = rule.with_unfinished(optimizer._search_state(), [one])
    surrogate = fit_surrogate(state)
    full = surrogate.process
    without = GaussianProcess(
        full.X[:-1], full.y[:-1], full.theta, full.groups, full.std[:-1], full.location, full.scale, full.nu
    )
    mean, std = without.posterior(SPACE.encode([one.config]))
    stint = rule._resumed(state, surrogate, one, -8.0)
    assert stint.mean == pytest.approx(mean[0], rel=1e-4)
    assert stint.std == pytest.approx(np.hypot(std[0], full.noise_std), rel=1e-4)
    assert stint.mean < full.posterior(SPACE.encode([one.config]))[0][0] - 0.01


def test_what_is_running_is_not_offered_and_its_improvement_is_not_counted_twice():
    optimizer = new_optimizer()
    steps(optimizer, 30)
    asked = [optimizer.ask_slice(N_EPOCHS) for _ in range(4)]
    assert len({part.number for part in asked}) == 4
    configs = [SPACE.key(part.config) for part in asked]
    assert len(set(configs)) == 4
    for part in reversed(asked):
        optimizer.tell_slice(part, curve(part.config)[part.first_epoch - 1 : part.last_epoch])
    states = {one.state for one in optimizer.slices.partial}
    assert states <= {"ready", "paused"}


def test_epochs_at_which_a_training_is_judged():
    assert decision_epochs(2) == (1,)
    assert decision_epochs(16) == tuple(range(1, 16))
    for n_epochs in (22, 50, 200, 1000):
        epochs = decision_epochs(n_epochs)
        assert epochs[0] == 1 and epochs[-1] < n_epochs and len(epochs) <= 20
        gaps = np.diff(epochs)
        assert np.all(gaps > 0) and gaps[-1] >= gaps[0]


def test_long_trainings_are_trained_to_the_next_decision():
    parts = steps(new_optimizer(), 60, n_epochs=100)
    assert {p.last_epoch for p in parts} <= {*decision_epochs(100), 100}
    assert any(p.n_epochs > 1 for p in parts)


@pytest.mark.parametrize("strategy", ["ei", "cwei", "scalarized", "epr"])
def test_other_acquisition_functions_pause_and_resume_too(strategy):
    optimizer = new_optimizer(strategy=strategy)
    parts = steps(optimizer, 40)
    assert any(o.status == "complete" for o in optimizer._observations)
    assert optimizer.slices.n_stints < len(parts) and optimizer.slices.partial


def test_one_objective_and_no_known_cost():
    optimizer = Optimizer(SPACE, strategy="ei", seed=0)
    steps(optimizer, 60)
    errors = [o.error for o in optimizer._observations]
    assert 0 < len(errors) <= 7 and optimizer.slices.n_begun > 10
    assert min(errors) < np.median([curve(c)[-1] for c in SPACE.sample(200, np.random.default_rng(0))])


def test_losses_above_one_have_a_reference():
    optimizer = Optimizer(SPACE, costs, objectives=("error", "time_s"), seed=0)
    for _ in range(40):
        part = optimizer.ask_slice(N_EPOCHS)
        errors = [50 * e for e in curve(part.config)[part.first_epoch - 1 : part.last_epoch]]
        optimizer.tell_slice(part, errors)
    assert optimizer.reference["error"] > 40 and optimizer.hypervolume() > 0


def test_learned_constraints_count():
    optimizer = new_optimizer(outcome_budgets={"unfairness": 0.5})
    for _ in range(80):
        part = optimizer.ask_slice(N_EPOCHS)
        errors = curve(part.config)[part.first_epoch - 1 : part.last_epoch]
        optimizer.tell_slice(part, errors, **({"unfairness": part.config["x"]} if part.is_last else {}))
    late = [o.metrics["unfairness"] for o in optimizer._observations][4:]
    assert late and np.mean(np.array(late) <= 0.5) > 0.7


def test_a_failed_training_is_told_and_another_one_begins():
    optimizer = new_optimizer()
    failed = optimizer.ask_slice(N_EPOCHS)
    optimizer.tell_slice(failed, None)
    parts = steps(optimizer, 30)
    assert failed.number not in {p.number for p in parts}
    assert [o.status for o in optimizer._observations][0] == "failed"


def test_a_training_may_end_before_its_last_epoch():
    optimizer = new_optimizer()
    part = optimizer.ask_slice(N_EPOCHS)
    optimizer.tell_slice(part, [0.3], status="complete")
    assert optimizer._observations[0].error == 0.3 and not optimizer.slices.partial
    steps(optimizer, 20)


def test_of_a_table_the_rows_are_trained_and_then_what_is_paused():
    table = [{"x": x, "n": n} for x in (0.1, 0.4, 0.8) for n in (2, 5)]
    optimizer = new_optimizer()
    for _ in range(len(table) * N_EPOCHS):
        step(optimizer, candidates=table)
    assert len(optimizer._observations) == len(table)
    with pytest.raises(Infeasible, match="every candidate has been told"):
        optimizer.ask_slice(N_EPOCHS, candidates=table)


def test_no_training_begins_where_none_may():
    optimizer = new_optimizer()
    steps(optimizer, 30)
    n_begun, parts = optimizer.slices.n_begun, []
    while (part := optimizer.next_slice(may_begin=False)) is not None:
        optimizer.tell_slice(part, curve(part.config)[part.first_epoch - 1 : part.last_epoch])
        parts.append(part)
    assert optimizer.slices.n_begun == n_begun
    assert all(part.number < n_begun for part in parts)


def test_what_cannot_be_told_is_an_error_that_says_what_to_do():
    optimizer = new_optimizer()
    part = optimizer.ask_slice(N_EPOCHS)
    for errors, message in (
        ([0.5, 0.4], "2 errors for epochs 1 to 1; tell one per epoch"),
        ([], "0 errors for epochs 1 to 1"),
        ([float("nan")], r"errors = \[nan\] must be numbers from 0"),
        (["a"], "must be a list of errors"),
    ):
        with pytest.raises(InvalidInput, match=message):
            optimizer.tell_slice(part, errors)
    optimizer.tell_slice(part, [0.5])
    with pytest.raises(InvalidInput, match="training 0 is not in training"):
        optimizer.tell_slice(part, [0.5])
    with pytest.raises(InvalidInput, match="n_epochs = 20, but trainings of 8 epochs have begun"):
        optimizer.ask_slice(20)
    with pytest.raises(InvalidInput, match=re.escape("n_epochs = 1 must be a whole number from 2")):
        new_optimizer().ask_slice(1)


@pytest.mark.parametrize("strategy", ["random", "ieci"])
def test_a_strategy_without_values_of_trainings_is_an_error(strategy):
    with pytest.raises(
        InvalidInput, match=f"strategy {strategy!r} has no values of unfinished.*choose one of ehvi, ei, cwei"
    ):
        new_optimizer(strategy=strategy).ask_slice(N_EPOCHS)


def test_a_training_of_unknown_cost_or_over_a_budget_is_worth_nothing():
    rule, optimizer = FreezeThaw(ehvi, N_EPOCHS), told_optimizer(budgets={"time_s": 6.0})
    inside, over = trained(0, (0.4, 0.3), 0.3, 5), trained(1, (0.4, 0.3), 0.2, 7)
    values, *_ = values_of(rule, optimizer._search_state(budgets=optimizer.budgets), [inside, over])
    assert np.isfinite(values[0]) and values[1] == -np.inf


@pytest.mark.parametrize(
    ("restart_epochs", "own", "number"),
    [
        (0.0, (None, None), 0),  # one epoch left, 0.3 per epoch
        (100.0, (None, None), 1),  # the epochs left hardly matter any more
        (0.0, (100.0, None), 1),
        (100.0, (0.0, None), 0),
    ],
)
def test_what_is_finished_first_depends_on_the_cost_of_resuming_it(monkeypatch, restart_epochs, own, number):
    monkeypatch.setattr(FreezeThaw, "chances", lambda *arguments: {0: 0.3, 1: 0.5})
    optimizer = told_optimizer()
    slices = optimizer.use_slices(N_EPOCHS, restart_epochs)
    for one, n_done in ((1, 4), (0, 7)):
        paused = trained(one, curve({"x": 0.5, "n": 5})[:n_done])
        slices.restore(replace(paused, restart_epochs=own[one]))
    assert optimizer.finish_slice(0.05).number == number


def test_a_queued_config_begins_like_one_of_the_first():
    optimizer = new_optimizer()
    slices = optimizer.use_slices(N_EPOCHS)
    part = slices.begin(Selection({"x": 0.2, "n": 3}), {"time_s": 3.0}, Stint(np.inf))
    optimizer.tell_slice(part, [0.5])
    assert slices.trainings[0].state == "paused"
    assert step(optimizer).number == 1
