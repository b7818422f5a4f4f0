"""The tables and the figure of a study, from its file alone."""

import csv

import numpy as np
import pytest
from rich.console import Console
from skopt.space import Real

from hwopt import InvalidInput, SearchSpace, Study
from hwopt.report.analysis.fronts import front_view
from hwopt.report.analysis.study_data import study_data
from hwopt.report.study import write_report
from hwopt.report.tables import summary_lines, write_csv
from hwopt.study.store.results import summarise
from hwopt.study.store.store import Store
from hwopt.study.store.trial_tables import front_rows, trial_rows
from tests.report.studies import finish
from tests.search.problem import costs, make_space


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "study.db"
    finish(path)
    with Store(path, read_only=True) as opened:
        yield opened


def printed(parts) -> str:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for part in parts:
        console.print(part)
    console.file.close()
    return console.export_text()


def test_the_front_has_predicted_and_measured_costs_and_a_fresh_test_error(store):
    rows = front_rows(store)
    assert len(rows) >= 3
    assert [row["error"] for row in rows] == sorted((row["error"] for row in rows), reverse=True)
    for row in rows:
        assert row["measured_time_s"] == pytest.approx(1.1 * row["time_s"])
        assert row["measured_memory_bytes"] is None
        assert (row["test_error"], row["error_retrained"], row["n_retrained"]) == (0.25, 0.3, 1)
        assert "learning_rate" in row


def test_every_trial_is_a_row_that_says_how_it_ended(store):
    rows = trial_rows(store)
    assert [row["trial"] for row in rows] == list(range(15))
    assert sum(row["is_on_front"] for row in rows) == len(front_rows(store))
    failed = [row for row in rows if row["status"] == "failed"]
    assert failed and {row["reason"] for row in failed} == {"RuntimeError: no averages today"}


def test_csv_has_the_columns_of_all_rows(tmp_path):
    write_csv(tmp_path / "x.csv", [{"a": 1}, {"b": "2, 3"}])
    with (tmp_path / "x.csv").open() as file:
        assert list(csv.DictReader(file)) == [{"a": "1", "b": ""}, {"a": "", "b": "2, 3"}]


def test_the_summary_adds_up(store):
    summary, trials = summarise(store), store.trials()
    region = store.meta()["region"]
    assert summary.n_priced == region["n_priced"] + sum(trial.n_priced for trial in trials)
    assert sum(summary.n_trained.values()) == 15
    assert summary.n_trained["failed"] == summary.failures["RuntimeError: no averages today"]
    assert summary.n_infeasible_trials == 0
    broken = region["broken"]["time_s"] + sum(trial.broken.get("time_s", 0) for trial in trials)
    assert summary.broken["time_s"] == broken
    infeasible = region["n_priced"] * (1 - region["share"]) + sum(trial.n_infeasible for trial in trials)
    assert summary.n_infeasible == pytest.approx(infeasible)


def test_the_figure_holds_each_trained_network_once(store):
    study = study_data(store)
    view = front_view([study], "time_s")
    complete = [trial for trial in store.trials() if trial.error is not None]
    assert len(view.rows(study.name, "front", "dominated", "infeasible")) == len(complete)
    assert (view.x.unit, view.limits[0].value, view.limits[0].is_shown) == ("us", pytest.approx(6e-4), True)
    assert len(view.refused) == len(store.meta()["region"]["refused"]) > 0
    steps = view.staircase(study.name)
    assert (np.diff(steps[:-1, 0]) > 0).all() and (np.diff(steps[:-1, 1]) < 0).all()


def test_an_unaware_search_shows_what_it_trained_over_the_budget(tmp_path):
    finish(tmp_path / "study.db", strategy="random", aware=False)
    with Store(tmp_path / "study.db", read_only=True) as store:
        view, summary = front_view([study_data(store)], "time_s"), summarise(store)
        assert (view.table["fate"] == "infeasible").any() and summary.n_infeasible_trials > 0
        assert summary.share is not None and summary.share < 1


def test_random_search_shows_its_rejections(tmp_path):
    finish(tmp_path / "study.db", strategy="random")
    with Store(tmp_path / "study.db", read_only=True) as store:
        summary = summarise(store)
        assert summary.n_rejected == len(store.rejections()) > 0


def test_the_report_is_written_and_says_so(store, tmp_path):
    text = printed(write_report(store, tmp_path / "out"))
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"front.csv", "trials.csv", "front.png"}
    assert (tmp_path / "out" / "front.png").read_bytes().startswith(b"\x89PNG")
    for part in ("front: ", "test error", "of the space is feasible", "RuntimeError: no averages"):
        assert part in text
    assert "above the budget of 600 us; mean error of the prediction 9.1%" in text


def test_a_study_without_trials_still_has_a_report(tmp_path):
    from hwopt import Study
    from tests.search.problem import costs, make_space

    Study(tmp_path / "study.db", make_space(), costs, None, objectives=("error", "time_s")).close()
    with Store(tmp_path / "study.db", read_only=True) as store:
        parts = list(write_report(store, tmp_path))
    assert not parts[0].rows


def test_a_folder_that_cannot_be_written_is_explained(store, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InvalidInput, match="cannot write the report"):
        list(write_report(store, tmp_path / "taken"))


CLASHING = ["error", "trial", "seed", "status", "time_s", "flips", "measured_time_s", "config.error", "plain"]


@pytest.mark.filterwarnings("ignore::hwopt.errors.UnreadHyperparameter")
def test_hyperparameters_called_like_columns_are_set_apart_in_every_table(tmp_path):
    space = SearchSpace([Real(0.5, 1, name=name) for name in CLASHING])

    def objective(config, report):
        return {"error": 0.25, "flips": 3}

    def two(configs):
        return {"time_s": [2.0] * len(configs)}

    with Study(tmp_path / "study.db", space, two, objective, objectives=("error", "time_s"), seed=1) as study:
        study.run(3)
        for rows in (front_rows(study.store), trial_rows(study.store)):
            row = rows[0]
            trial = study.trials()[row["trial"]]
            assert (row["error"], row["time_s"]) == (0.25, 2.0)
            names = [f"config.{name}" for name in CLASHING[:-1]]
            assert [row[name] for name in (*names, "plain")] == list(trial.config.values())
        assert [row["seed"] for row in rows] == [trial.seed for trial in study.trials()]
        assert [row["status"] for row in rows] == ["complete"] * 3


@pytest.mark.filterwarnings("ignore::hwopt.errors.UnreadHyperparameter")
def test_failures_that_differ_in_numbers_are_one_line_with_the_first_traceback(tmp_path):
    def objective(config, report):
        if len(study.trials()) > 1:
            raise ValueError(f"width {config['width']} does not fit")
        return {"error": 0.2, "note": "good"}

    with Study(tmp_path / "study.db", make_space(), costs, objective, seed=1) as study:
        study.run(6)
        text = printed(summary_lines(study.store, summarise(study.store)))
    failed = [line for line in text.splitlines() if line.startswith("failed")]
    assert len(failed) == 1 and failed[0].startswith("failed 5 times: ValueError: width ")
    assert failed[0].endswith("does not fit (trial 1)") and "raise ValueError(" in text
    assert "in 1 training left out, not a finite number: note = 'good'" in text
