"""Studies of hwopt as studies of Optuna and back; what optuna-dashboard and Optuna's plots show of them."""

import json
import threading
import urllib.request
from wsgiref.simple_server import WSGIRequestHandler, make_server

import numpy as np
import pytest

optuna = pytest.importorskip("optuna")

from hwopt import Budget, Categorical, Integer, Real, SearchSpace, Study  # noqa: E402
from hwopt.errors import InvalidInput, StudyError  # noqa: E402
from hwopt.integrations.optuna import FrontStopper, HwoptSampler, from_optuna, to_optuna  # noqa: E402
from tests.integrations.optuna_problem import conditional, costs, flat, flat_costs, studied  # noqa: E402

BUDGETS = [Budget("time_s", "0.5 ms")]
N_TRIALS = 10


def make_space():
    return SearchSpace(
        [
            Integer(1, 4, name="depth"),
            Integer(4, 64, log=True, name="width"),
            Real(1e-4, 1.0, log=True, name="learning_rate"),
            Categorical(["adam", "sgd"], name="optimizer"),
            Real(0.5, 0.99, name="momentum"),
        ],
        active={"momentum": lambda c: c["optimizer"] == "sgd"},
    )


def objective(config, report, seed):
    """Three epochs, of which the rule stops some; high momentum fails."""
    if config["optimizer"] == "sgd" and config["momentum"] > 0.9:
        raise FloatingPointError("diverged")
    for epoch in (1, 2, 3):
        error = 0.9 / (config["width"] * epoch) ** 0.3 + 0.01 * config["learning_rate"]
        if not report(epoch, error):
            break
    return {"error": error, "calibration_error": error / 10}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("mine") / "study.db"
    with Study(
        path, make_space(), flat_costs, objective, budgets=BUDGETS, objectives=("error", "time_s"),
        strategy="random", seed=0, stopping={"rule": "median", "min_complete": 3},
        outcome_budgets={"calibration_error": 0.5},
    ) as made:  # fmt: skip
        made.enqueue({"depth": 4, "width": 64, "learning_rate": 0.1, "optimizer": "adam"})  # over the budget
        made.enqueue({"depth": 1, "width": 9, "learning_rate": 0.1, "optimizer": "sgd", "momentum": 0.95})
        made.run(n_trials=N_TRIALS)
        yield made


@pytest.fixture(scope="module")
def theirs(study):
    return to_optuna(study)


def test_every_trial_is_there_with_its_values_curve_and_costs(study, theirs):
    own = study.trials()
    assert {trial.status for trial in own} == {"complete", "stopped", "failed"}
    states = {"complete": "COMPLETE", "stopped": "PRUNED", "failed": "FAIL"}
    for trial, copied in zip(own, theirs.trials, strict=True):
        assert copied.params == trial.config and copied.state.name == states[trial.status]
        assert copied.values == ([trial.error, trial.costs["time_s"]] if trial.status == "complete" else None)
        assert list(copied.intermediate_values.values()) == list(trial.curve)
        assert copied.user_attrs["time_s"] == trial.costs["time_s"]
        assert copied.duration.total_seconds() == pytest.approx(trial.train_s, abs=1e-5)
    assert theirs.metric_names == ["error", "time_s"] and theirs.study_name == study.store.path.parent.name


def test_the_fronts_are_the_same(study, theirs):
    assert {trial.number for trial in theirs.best_trials} == {point.number for point in study.front()}
    over = theirs.trials[0]
    assert over.constraints["broken"] == 1 and over.constraints["time_s"] == pytest.approx(
        np.log(4 * 64e-5 / 5e-4)
    )


def test_there_and_back_again(study, theirs, tmp_path):
    with from_optuna(
        theirs, tmp_path / "back.db", flat_costs, objective, space=make_space(), budgets=BUDGETS,
        outcome_budgets={"calibration_error": 0.5}, strategy="random",
    ) as back:  # fmt: skip
        for one, other in zip(study.trials(), back.trials(), strict=True):
            for name in ("config", "costs", "is_feasible", "seed", "status", "error", "metrics", "curve",
                         "reason", "told", "source", "started"):  # fmt: skip
                assert getattr(one, name) == getattr(other, name), name
        assert [p.config for p in back.front()] == [p.config for p in study.front()]
        back.run(n_trials=N_TRIALS + 1)  # and it goes on
        assert len(back.trials()) == N_TRIALS + 1


def test_a_loaded_study_goes_into_any_storage_once(study, tmp_path):
    journal = optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal"))
    storage = optuna.storages.JournalStorage(journal)
    to_optuna(Study.load(study.store.path), storage=storage, study_name="mine")
    assert len(optuna.load_study(study_name="mine", storage=storage).trials) == N_TRIALS
    with pytest.raises(InvalidInput, match="has a study 'mine' already; give another study_name"):
        to_optuna(study, storage=storage, study_name="mine")
    with pytest.raises(InvalidInput, match="'study.db' is not a study of hwopt"):
        to_optuna("study.db")


def test_plots_of_optuna_work_on_it(theirs):
    from optuna import visualization

    front = visualization.plot_pareto_front(theirs)
    assert [front.layout.xaxis.title.text, front.layout.yaxis.title.text] == ["error", "time_s"]
    for plot in (visualization.plot_parallel_coordinate, visualization.plot_slice):
        assert plot(theirs, target=lambda trial: trial.values[0], target_name="error").data
    assert visualization.plot_timeline(theirs).data


class Quiet(WSGIRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::optuna.exceptions.ExperimentalWarning")
def test_optuna_dashboard_shows_the_trials(study):
    dashboard = pytest.importorskip("optuna_dashboard")
    storage = optuna.storages.InMemoryStorage()
    copied = to_optuna(study, storage=storage)
    with make_server("127.0.0.1", 0, dashboard.wsgi(storage), handler_class=Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def get(path):
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}{path}", timeout=20) as answer:
                return answer.read()

        assert b"Optuna Dashboard" in get("/dashboard/")
        assert json.loads(get("/api/studies"))["study_summaries"][0]["study_name"] == copied.study_name
        shown = json.loads(get("/api/studies/0"))
        server.shutdown()
    assert [trial["state"] for trial in shown["trials"]] == [
        {"PRUNED": "Pruned", "FAIL": "Fail", "COMPLETE": "Complete"}[trial.state.name]
        for trial in copied.trials
    ]
    assert shown["objective_names"] == ["error", "time_s"]
    first = next(trial for trial in copied.trials if trial.state.name == "COMPLETE")
    assert shown["trials"][first.number]["values"] == first.values


def test_a_study_of_optuna_alone_is_taken_over_with_its_conditions_and_steps(tmp_path):
    def suggested(trial):
        trial.suggest_int("unit", 8, 64, step=8)
        error, time_s = conditional(trial)
        return time_s, 100 * (1 - error)

    theirs = studied(HwoptSampler(costs, seed=0), suggested, 8, ["minimize", "maximize"])
    with from_optuna(theirs, tmp_path / "study.db", costs, budgets={"time_s": "1 ms"}) as study:
        assert study.objectives == ("error", "time_s")
        for trial, one in zip(study.trials(), theirs.trials, strict=True):
            assert trial.config == {name: one.params[name] for name in trial.config}
            assert trial.error == pytest.approx(1 - one.values[1] / 100)
        space = study.optimizer.space
        assert all(c["unit"] % 8 == 0 for c in space.sample(20, 0))
        assert any("width3" not in config for config in space.sample(20, 0))
        assert study.optimizer.ask().costs["time_s"] <= 1e-3


def test_what_a_stopped_trial_was_expected_to_end_at_is_taken_over(tmp_path):
    stopper = FrontStopper(flat_costs, 4, min_complete=2)

    def trained(trial):
        error, time_s = flat(trial)
        for epoch in range(1, 5):
            stopper.report(trial, epoch, error * (4 / epoch) ** 0.3)
            if stopper.should_stop(trial):
                raise optuna.TrialPruned
        return error, time_s

    theirs = studied(optuna.samplers.RandomSampler(seed=1), trained, 16)
    stopped = [trial for trial in theirs.trials if trial.state.name == "PRUNED"]
    with from_optuna(theirs, tmp_path / "study.db", flat_costs) as study:
        taken = study.trials()[stopped[0].number]
    assert taken.status == "stopped" and "probability" in taken.reason
    assert taken.metrics["expected_error"] == stopped[0].user_attrs["hwopt:expected"][0]
    assert taken.metrics["expected_error_std"] == pytest.approx(stopped[0].user_attrs["hwopt:expected"][1])


def told(values, direction="minimize"):
    study = optuna.create_study(direction=direction)
    for value in values:
        study.add_trial(
            optuna.trial.create_trial(
                value=value,
                params={"x": 0.5},
                distributions={"x": optuna.distributions.FloatDistribution(0, 1)},
            )
        )
    return study


@pytest.mark.parametrize(
    ("study", "message"),
    [
        (told([-1.0]), "the objective falls to -1; give error_of"),
        (
            told([3.0, 250.0], "maximize"),
            "maximised, from 3 to 250; give error_of, such as lambda value: ",
        ),
    ],
)
def test_values_that_are_no_errors_need_a_map(study, message, tmp_path):
    def work(many):
        return {"time_s": [1.0 for _ in many]}

    with pytest.raises(InvalidInput, match=message):
        from_optuna(study, tmp_path / "study.db", work)
    with from_optuna(study, tmp_path / "mapped.db", work, error_of=lambda value: 250 - value) as taken:
        assert taken.trials()[0].error == 250 - study.trials[0].value


def test_what_cannot_be_taken_over_is_an_error(tmp_path):
    with pytest.raises(StudyError, match="has no complete trial"):
        from_optuna(told([]), tmp_path / "study.db", flat_costs)
    (tmp_path / "there.db").touch()
    with pytest.raises(InvalidInput, match="exists already; choose another path"):
        from_optuna(told([0.5]), tmp_path / "there.db", flat_costs)
    space = SearchSpace([Real(0, 1, name="y")])
    with pytest.raises(InvalidInput, match="trial 0 has 'x', which is not in the space"):
        from_optuna(told([0.5]), tmp_path / "s.db", lambda many: {"time_s": [1.0] * len(many)}, space=space)
