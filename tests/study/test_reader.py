"""A study from Python: made of an optimizer, kept or not, read while it runs, data frames, the best trial."""

import gc
import json

import numpy as np
import pandas as pd
import pytest

from hwopt import Budget, Infeasible, InvalidInput, Optimizer, Study, StudyError, UnknownName
from tests.report.studies import finish
from tests.search.problem import costs, error_of, make_space

pytestmark = pytest.mark.filterwarnings("ignore::hwopt.errors.UnreadHyperparameter")
LIMITS = {"budgets": [Budget("time_s", "0.6 ms")], "objectives": ("error", "time_s")}


def objective(config, report, seed=0):
    report(1, error_of(config))
    return {"error": error_of(config), "status": 3.0}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("studies") / "study.db"
    finish(path)
    return path


@pytest.fixture
def loaded(path):
    with Study.load(path) as study:
        yield study


# -- reading


def test_a_loaded_study_needs_neither_space_nor_objective(path, loaded):
    assert len(loaded.trials()) == 15 and loaded.objectives == ("error", "time_s")
    assert loaded.budgets == (Budget("time_s", 6e-4), Budget("memory_bytes", 7e3))
    front = loaded.front()
    assert front and loaded.hypervolume() > 0
    assert "front" in loaded.report(path.parent / "report", html=path.parent / "page" / "report.html")
    assert "plotly" in (path.parent / "page" / "report.html").read_text()
    written = loaded.export(front[0].number, path.parent / "best")
    assert json.loads((path.parent / "best" / "config.json").read_text()) == front[0].config
    assert [p.name for p in written] == ["config.json", "card.md"]


def test_a_loaded_study_cannot_be_changed(loaded):
    with pytest.raises(StudyError, match=r"read only and has no run; open it with Study\(path, space"):
        loaded.run(3)
    with pytest.raises(AttributeError, match="'LoadedStudy' object has no attribute 'rnu'"):
        _ = loaded.rnu


def test_a_study_is_read_while_it_is_written(tmp_path):
    seen = []

    def read(event, trial):
        with Study.load(tmp_path / "study.db") as loaded:
            seen.append((event, repr(loaded).partition(": ")[2], len(loaded.dataframe())))
            assert [len(one.curve) for one in loaded.trials()][:-1] == [1] * trial.number

    with Study(tmp_path / "study.db", make_space(), costs, objective, seed=1, **LIMITS) as study:
        assert "0 trials, 0 on the front" in repr(Study.load(tmp_path / "study.db"))
        study.run(2, listener=read)
    assert [event for event, _, _ in seen] == ["start", "epoch", "end"] * 2
    assert seen[0][1:] == ("1 trial (1 running), 0 on the front>", 1)
    assert seen[3][1].startswith("2 trials (1 complete, 1 running), 1 on the front, lowest error 0.")


def test_what_is_no_study_cannot_be_loaded(tmp_path):
    (tmp_path / "notes.db").write_text("none")
    for path, text in ((tmp_path / "none.db", "no study at"), (tmp_path / "notes.db", "is not a study")):
        with pytest.raises(StudyError, match=text):
            Study.load(path)
    with pytest.raises(InvalidInput, match="is a folder"):
        Study.load(tmp_path)


# -- the best


def test_the_best_is_of_the_lowest_error_within_the_limits(loaded):
    complete = [t for t in loaded.trials() if t.status == "complete" and t.is_feasible]
    assert loaded.best().values["error"] == min(t.error for t in complete)
    times = sorted(t.costs["time_s"] for t in complete)
    limit = times[len(times) // 2]
    within = [t for t in complete if t.costs["time_s"] <= limit and t.costs["memory_bytes"] <= 6000]
    best = loaded.best(time_s=f"{limit * 1e3 * (1 + 1e-9)} ms", memory_bytes="6 kB")
    assert best.values["error"] == min(t.error for t in within)
    assert best.config in [t.config for t in within]


def test_limits_that_nothing_keeps_say_what_is_nearest(loaded):
    with pytest.raises(Infeasible, match="no trained network has time_s <= 0.001 us; the lowest time_s is"):
        loaded.best(time_s="1 ns")
    with pytest.raises(UnknownName, match="no metric 'time_ms'; did you mean time_s"):
        loaded.best(time_ms=3)
    with pytest.raises(InvalidInput, match="unit 'W' of '3 W' does not measure time_s"):
        loaded.best(time_s="3 W")


# -- data frames


def test_a_data_frame_has_a_row_for_each_trial_and_plain_cells(loaded):
    frame, trials = loaded.dataframe(), loaded.trials()
    assert list(frame["trial"]) == [t.number for t in trials] and list(frame["status"]) == [
        t.status for t in trials
    ]
    assert frame["error"].dtype == float and frame["is_on_front"].sum() == len(loaded.front())
    assert np.isnan(frame.loc[frame["status"] == "failed", "error"]).all()
    assert {"time_s", "memory_bytes", "test_error", "width", "learning_rate", "elapsed_s"} <= set(frame)
    assert not any(isinstance(cell, dict | list | tuple) for cell in frame.to_numpy().ravel())


def test_the_data_frame_of_the_front_has_what_was_verified(loaded):
    frame = loaded.front_dataframe()
    assert list(frame["trial"]) == [point.number for point in loaded.front()]
    assert (frame["measured_time_s"] / frame["time_s"]).tolist() == pytest.approx([1.1] * len(frame))
    assert (frame["test_error"] == 0.25).all()


def test_values_of_a_training_that_are_called_like_columns_are_told_apart(tmp_path):
    with Study(tmp_path / "study.db", make_space(), costs, objective, seed=1, **LIMITS) as study:
        assert isinstance(study.dataframe(), pd.DataFrame) and study.dataframe().empty
        study.run(2)
        frame = study.dataframe()
    assert list(frame["status"]) == ["complete"] * 2 and list(frame["outcome.status"]) == [3.0, 3.0]


# -- a study that is not kept, and one of an optimizer


def test_a_study_in_memory_leaves_nothing():
    study = Study(":memory:", make_space(), costs, objective, seed=1, **LIMITS)
    assert repr(study) == "<Study in memory: 0 trials, 0 on the front>"
    with study:
        study.run(3)
    folder = study.store.path.parent
    assert len(study.trials()) == 3 and study.best().config  # it is closed, and still read
    with pytest.raises(InvalidInput, match="a study in memory has no folder .* give out="):
        study.report()
    assert folder.exists()
    del study
    gc.collect()
    assert not folder.exists()


def twice(configs):
    return {metric: np.multiply(values, 2) for metric, values in costs(configs).items()}


@pytest.mark.parametrize("form", ["positions", "keywords", "mixed"])
def test_a_study_of_an_optimizer_is_the_study_of_its_parts(tmp_path, form):
    arguments = {**LIMITS, "strategy": "random", "seed": 3, "reference": {"error": 0.9}}
    optimizer, path = Optimizer(make_space(), costs, **arguments), tmp_path / "study.db"
    study = {
        "positions": lambda: Study(path, optimizer, objective),
        "keywords": lambda: Study(path, optimizer=optimizer, objective=objective),
        "mixed": lambda: Study(path, optimizer, objective=objective),
    }[form]()
    with study:
        study.run(2)
        assert study.optimizer is optimizer
    with Study(path, make_space(), costs, objective, **arguments) as study:  # the same experiment
        study.run(3)
        study.retarget(tmp_path / "slower.db", twice).close()
    with Study.load(tmp_path / "slower.db") as slower:
        assert [t.costs["time_s"] for t in slower.trials()] == [2 * t.costs["time_s"] for t in study.trials()]


def used():
    optimizer = Optimizer(make_space(), costs)
    optimizer.ask()
    return optimizer


@pytest.mark.parametrize(
    ("arguments", "changes", "text"),
    [
        ((used(), objective), {}, "has been used before"),
        ((Optimizer(make_space(), costs), objective), {"seed": 3}, "seed = 3: pass it to the optimizer"),
        (
            (Optimizer(make_space(), costs), costs, objective),
            {},
            r"Study\(path, optimizer, objective\)",
        ),
        (
            (make_space(), costs, objective),
            {"optimizer": Optimizer(make_space())},
            "give either a space or an optimizer",
        ),
        (
            (make_space(), costs, objective),
            {"optimizer": "ehvi"},
            "'ehvi' must be an Optimizer",
        ),
        ((), {}, "space = None must be a SearchSpace"),
        ((objective,), {}, "must be a SearchSpace; write Study"),
    ],
)
def test_arguments_that_do_not_go_together_say_what_to_write(tmp_path, arguments, changes, text):
    with pytest.raises(InvalidInput, match=text):
        Study(tmp_path / "study.db", *arguments, **changes)
    assert list(tmp_path.iterdir()) == []


# -- what it says of itself


def test_a_study_says_how_far_it_is(path, loaded):
    assert repr(loaded).startswith(f"<LoadedStudy {path}: 15 trials (") and "on the front" in repr(loaded)
    with Study(":memory:", make_space(), costs, objective, seed=1, **LIMITS) as study:
        study.run(2)
        assert repr(study).startswith("<Study in memory: 2 trials (2 complete), ")
        assert "lowest error 0." in repr(study)


def test_a_study_whose_file_is_gone_has_a_name_still(tmp_path):
    finish(tmp_path / "study.db", n_trials=2)
    study = Study.load(tmp_path / "study.db")
    study.close()
    (tmp_path / "study.db").unlink()
    assert "no study at" in repr(study)
