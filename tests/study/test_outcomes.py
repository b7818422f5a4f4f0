"""Limits on what only a training reveals, and configs that are trained repeatedly."""

import random

import pytest

from hwopt import Budget, SearchSpace, Study, StudyError, TrainingFailed
from hwopt.errors import InvalidInput
from hwopt.report.analysis.fronts import front_view
from hwopt.report.analysis.study_data import study_data
from hwopt.report.study import write_report
from hwopt.report.tables import summary_lines
from hwopt.space.search_space import Integer
from hwopt.study.experiment.online_calibration import TRAINING_MEMORY, Feedback, TrainingMemory
from hwopt.study.store.results import FrontTracker, front_of, summarise
from hwopt.study.store.store import Store
from hwopt.study.store.trial_tables import front_rows, trial_rows
from hwopt.train import TrainingSettings
from tests.search.problem import costs, error_of, make_space
from tests.study.test_store import make_trial

LIMIT = Budget("calibration_error", 0.05)
BUDGET = Budget("time_s", 6e-4)


def calibration_of(config):
    """Small networks are calibrated, others are not."""
    return 0.002 * config["width"]


def revealing(config, report):
    report(1, error_of(config))
    return {"error": error_of(config), "calibration_error": calibration_of(config)}


def few():
    return SearchSpace([Integer(4, 15, name="width")])


def times(configs):
    return {"time_s": [1e-5 * config["width"] for config in configs]}


def noisy(config, report, seed):
    return 1 / config["width"] + 0.1 * random.Random(seed).random()


def open_limited(path, objective=revealing, **changes):
    arguments = {"objectives": ("error", "time_s"), "seed": 3, "outcome_budgets": [LIMIT], **changes}
    return Study(path, make_space(), costs, objective, [BUDGET], **arguments)


def outline(study):
    return [(t.number, t.config, t.status, t.error, t.metrics, t.is_feasible, t.seed) for t in study.trials()]


def points(front):
    return [(point.config, pytest.approx(point.values)) for point in front]


def test_a_trial_that_breaks_a_limit_on_outcomes_is_infeasible_and_on_no_front(tmp_path):
    with open_limited(tmp_path / "study.db") as study:
        study.run(16)
        trials, front = study.trials(), study.front()
        assert {t.is_feasible for t in trials} == {True, False}
        assert all(t.is_feasible == (t.metrics["calibration_error"] <= 0.05) for t in trials)
        assert front and all(calibration_of(point.config) <= 0.05 for point in front)
        assert points(front) == [(p.config, p.values) for p in study.optimizer.front()]
        volume = summarise(study.store).hypervolume
        assert volume == pytest.approx(study.optimizer.hypervolume())
        assert volume == pytest.approx(study.state.front.hypervolume(study.optimizer.reference))


def test_limits_on_outcomes_are_learned(tmp_path):
    def share_kept(**changes):
        with open_limited(tmp_path / f"{len(changes)}.db", **changes) as study:
            study.run(24)
            late = study.trials()[10:]
            return sum(calibration_of(t.config) <= 0.05 for t in late) / len(late)

    assert share_kept() > share_kept(outcome_budgets=[]) + 0.1


def test_a_resumed_study_knows_the_outcomes_and_goes_on_as_one_run_at_once(tmp_path):
    for n_trials in (3, 7, 14):
        with open_limited(tmp_path / "parts.db") as study:
            study.run(n_trials)
            parts = outline(study)
    with open_limited(tmp_path / "whole.db") as study:
        study.run(14)
        assert outline(study) == parts
        assert {o.is_feasible for o in study.optimizer._observations} == {True, False}


def test_a_training_that_lacks_a_limited_metric_has_failed_and_says_what_was_wanted(tmp_path):
    with open_limited(tmp_path / "study.db", lambda config, report: error_of(config)) as study:
        study.run(2)
        trial = study.trials()[0]
    assert (trial.status, trial.error) == ("failed", None)
    assert trial.reason.startswith("the objective returned error; the study limits calibration_error: return")


@pytest.mark.parametrize("metric", ["error", "time_s"])
def test_a_limit_on_outcomes_of_what_is_known_otherwise_is_refused(tmp_path, metric):
    with pytest.raises(InvalidInput, match=f"outcome_budgets: {metric} is"):
        open_limited(tmp_path / "study.db", outcome_budgets=[Budget(metric, 0.1)])


@pytest.mark.parametrize("changes", [{"outcome_budgets": []}, {"repeats": True}])
def test_limits_on_outcomes_and_repeats_belong_to_what_a_study_is(tmp_path, changes):
    open_limited(tmp_path / "study.db").close()
    with pytest.raises(StudyError, match="belongs to another experiment: its (outcome_budgets|repeats)"):
        open_limited(tmp_path / "study.db", **changes)


def test_a_study_without_them_is_stored_as_by_earlier_versions(tmp_path):
    with open_limited(tmp_path / "study.db", outcome_budgets=[]) as study:
        assert not {"outcome_budgets", "repeats"} & set(study.store.meta()["identity"])


def test_the_report_has_the_limited_metric_and_says_how_often_it_was_kept(tmp_path):
    with open_limited(tmp_path / "study.db") as study:
        study.run(16)
        n_kept = sum(t.is_feasible for t in study.trials())
    with Store(tmp_path / "study.db", read_only=True) as store:
        rows, trials = front_rows(store), trial_rows(store)
        assert all(row["calibration_error"] == calibration_of(row) for row in rows + trials)
        view, summary = front_view([study_data(store)], "time_s"), summarise(store)
        lines = summary_lines(store, summary)
    assert f"calibration_error <= 5.00%: met by {n_kept} of 16 complete trainings" in lines
    assert any(f"{16 - n_kept} over a budget or a limit" in line for line in lines)
    assert (view.table["fate"] == "infeasible").sum() == summary.n_infeasible_trials == 16 - n_kept > 0


def test_a_study_none_of_whose_trainings_keeps_the_limit_has_a_report(tmp_path):
    with open_limited(tmp_path / "study.db", outcome_budgets=[Budget("calibration_error", 1e-9)]) as study:
        study.run(3)
    with Store(tmp_path / "study.db", read_only=True) as store:
        table, *lines = write_report(store, tmp_path)
    assert not table.rows and any("met by 0 of 3" in line for line in lines)
    assert lines[-1].endswith("front.csv, trials.csv, front.png")


# -- repeats


def open_repeating(path, **changes):
    arguments = {"objectives": ("error", "time_s"), "seed": 1, "repeats": True, **changes}
    return Study(path, few(), times, noisy, [Budget("time_s", 1.3e-4)], **arguments)


@pytest.fixture(scope="module")
def repeated(tmp_path_factory):
    """A study of 24 noisy trainings of ten configs, run in two parts."""
    path = tmp_path_factory.mktemp("repeats") / "study.db"
    for n_trials in (13, 24):
        with open_repeating(path) as study:
            study.run(n_trials)
    return path


def trained(path):
    """Return the trials of each config."""
    with Store(path, read_only=True) as store:
        groups = {}
        for trial in store.trials():
            groups.setdefault(few().key(trial.config), []).append(trial)
        return groups


def test_a_repeated_config_is_trained_with_another_seed_and_both_trials_are_stored(repeated):
    groups = [group for group in trained(repeated).values() if len(group) > 1]
    assert groups
    for group in groups:
        assert len({trial.seed for trial in group}) == len({trial.error for trial in group}) == len(group)


def test_without_repeats_no_config_is_trained_twice(tmp_path):
    with open_repeating(tmp_path / "study.db", repeats=False) as study:
        assert "candidates left" in study.run(24)
    assert all(len(group) == 1 for group in trained(tmp_path / "study.db").values())


def test_the_front_has_each_config_once_with_the_mean_error_as_the_optimizer_has_it(repeated):
    with open_repeating(repeated) as study:
        front = study.front()
        assert points(front) == [(p.config, p.values) for p in study.optimizer.front()]
        assert study.state.front.hypervolume(study.optimizer.reference) == pytest.approx(
            study.optimizer.hypervolume()
        )
    groups = trained(repeated)
    assert any(len(point.numbers) > 1 for point in front)
    for point in front:
        group = groups[few().key(point.config)]
        assert point.numbers == tuple(trial.number for trial in group) and point.number == point.numbers[0]
        assert point.values["error"] == pytest.approx(sum(t.error for t in group) / len(group))


def test_a_repeating_study_in_parts_is_one_run_at_once(repeated, tmp_path):
    with open_repeating(tmp_path / "whole.db") as study:
        study.run(24)
        whole = outline(study)
    with open_repeating(repeated) as study:
        assert outline(study) == whole


def test_tables_and_figure_show_a_repeated_config_once(repeated):
    with Store(repeated, read_only=True) as store:
        rows, trials = front_rows(store), trial_rows(store)
        fates = front_view([study_data(store)], "time_s").table["fate"]
        front = front_of(store.trials(), ("error", "time_s"))
    assert [(r["trial"], r["error"], r["n_trainings"]) for r in rows] == [
        (p.number, p.values["error"], len(p.numbers)) for p in front
    ]
    assert sum(row["is_on_front"] for row in trials) == sum(row["n_trainings"] for row in rows)
    assert (fates == "front").sum() == len(front)
    assert fates.isin(["dominated", "infeasible"]).sum() == 24 - sum(len(point.numbers) for point in front)


def ended(number, width, error):
    config, values = {"width": width}, {"time_s": width}
    return make_trial(number, config=config, costs=values, status="complete", error=error)


def test_what_a_lucky_training_dominated_is_back_when_its_repeat_is_worse():
    tracker = FrontTracker(("error", "time_s"))
    tracker.add(ended(0, 2.0, 0.2))
    tracker.add(ended(1, 1.0, 0.1))
    assert [point.number for point in tracker.points] == [1] and tracker.numbers == {1}
    tracker.add(ended(2, 1.0, 0.5))
    assert {p.number: round(p.values["error"], 9) for p in tracker.points} == {0: 0.2, 1: 0.3}
    assert tracker.numbers == {0, 1, 2} and tracker.n_since_progress == 0


def test_a_repeat_that_only_changes_the_mean_is_no_progress():
    tracker = FrontTracker(("error", "time_s"))
    for number in range(3):
        tracker.add(ended(number, 1.0, 0.1 + 0.01 * number))
    assert tracker.n_since_progress == 2


# -- what a resumed study must not lose


class CheapMemory(TrainingMemory):
    """Training memory by a formula."""

    def _estimated(self, config, settings):
        return 1000.0 * config["width"]


def test_a_study_that_runs_out_of_memory_keeps_its_rejections_and_its_reference_when_resumed(tmp_path):
    def objective(config, report):
        if config["width"] > 20:
            raise TrainingFailed("out of memory: DefaultCPUAllocator")
        return error_of(config)

    def run(path, n_trials):
        memory = CheapMemory(costs, make_space(), TrainingSettings(batch_size=8))
        arguments = {"objectives": ("error", "time_s"), "strategy": "random", "seed": 4}
        budgets = [Budget(TRAINING_MEMORY, 4e4)]
        arguments["on_told"] = Feedback(None, memory)
        with Study(path, make_space(), memory, objective, budgets, **arguments) as study:
            study.run(n_trials)
            volume = study.state.front.hypervolume(study.optimizer.reference)
            rejected = [rejection.config for rejection in study.optimizer._rejected]
            return outline(study), rejected, study.optimizer.reference, volume

    for n_trials in (1, 3, 8, 15):
        parts = run(tmp_path / "parts.db", n_trials)
    whole = run(tmp_path / "whole.db", 15)
    assert parts == whole
    assert len(whole[1]) > 0 and {trial[2] for trial in whole[0]} == {"complete", "failed"}
