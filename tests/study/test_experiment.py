"""Experiment files: what they mean and what is refused."""

import re
from pathlib import Path

import numpy as np
import pytest

from hwopt import Budget, Costs, HwoptError, Study, StudyError
from hwopt.study.experiment.experiment import Experiment, load_experiment
from hwopt.train.settings import TrainingSettings
from tests.search.problem import costs, make_space

ROOT = Path(__file__).parent.parent.parent
CONTENT = """
space = "space.py"
objectives = ["error", "time_s"]
n_trials = 24
[device]
measure = "cpu"
batch_size = 32
[budgets]
time_s = "0.5 ms"
memory_bytes = {quantile = 0.3, confidence = 0.9}
[data]
name = "digits"
[training]
epochs = 3
"""


SPACE = """
from skopt.space import Real
from hwopt import SearchSpace
SPACE = SearchSpace([Real(0, 1, name="x")])
"""


def write(tmp_path, content=CONTENT):
    path = tmp_path / "x.toml"
    path.write_text(content)
    return path


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.toml")), ids=lambda path: path.name)
def test_the_experiments_that_ship_are_valid(path):
    experiment = load_experiment(path)
    space = experiment.load_space()
    assert space.build is not None
    assert len(space) >= 6 and experiment.settings().epochs >= 3


def test_limits_and_quantiles_become_budgets(tmp_path):
    experiment = load_experiment(write(tmp_path))
    budgets = experiment.resolve_budgets(make_space(), costs)
    assert [(b.metric, b.confidence) for b in budgets] == [("time_s", 0.9), ("memory_bytes", 0.9)]
    assert budgets[0].limit == pytest.approx(5e-4)
    sample = Costs(costs(make_space().sample(4000, np.random.default_rng(1))))
    assert budgets[1].holds(sample).mean() == pytest.approx(0.3, abs=0.04)


def test_a_quantile_is_taken_of_the_bound_at_the_budgets_confidence(tmp_path):
    def uncertain(configs):
        return Costs(costs(configs), {"memory_bytes": np.log(np.linspace(1.0, 2.0, 39))})

    experiment = load_experiment(write(tmp_path))
    exact = experiment.resolve_budgets(make_space(), costs)[1].limit
    assert experiment.resolve_budgets(make_space(), uncertain)[1].limit == pytest.approx(
        1.92 * exact, rel=0.02
    )


def test_paths_are_relative_to_the_file(tmp_path):
    experiment = load_experiment(write(tmp_path, CONTENT.replace('"digits"', '"mnist"\ndata_dir = "here"')))
    assert experiment.dataset().data_dir == str((tmp_path / "here").resolve())
    (tmp_path / "space.py").write_text("from tests.search.problem import make_space\nSPACE = make_space()\n")
    assert experiment.load_space().names == make_space().names


def test_limits_on_outcomes_are_written_like_budgets(tmp_path):
    for text in ("calibration_error = 0.05", "calibration_error = {limit = 0.05}"):
        experiment = load_experiment(write(tmp_path, f"{CONTENT}[outcome_budgets]\n{text}\n"))
        assert experiment.outcome_limits() == [Budget("calibration_error", 0.05)]
        assert Experiment.restored(experiment.stored()).outcome_limits() == experiment.outcome_limits()
    assert load_experiment(write(tmp_path)).outcome_limits() == []


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (
            "calibration_eror = 0.1",
            "calibration_eror: trainings do not report it; did you mean calibration_error",
        ),
        ("test_error = 0.1", "outcome_budgets.test_error: trainings do not report it"),
        ("worst_class_error = 0", "positive, finite number"),
        ("worst_class_error = true", "outcome_budgets.worst_class_error: write 0.05"),
        (
            "worst_class_error = {quantile = 0.3}",
            "worst_class_error.limit: missing; every [outcome_budgets.worst_class_error] needs it",
        ),
    ],
)
def test_a_limit_on_what_no_training_reveals_is_refused_with_the_place(tmp_path, line, text):
    path = write(tmp_path, f"{CONTENT}[outcome_budgets]\n{line}\n")
    with pytest.raises(HwoptError) as caught:
        load_experiment(path)
    assert text in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("n_trials", "n_trails", "n_trails: unknown key; did you mean n_trials?"),
        ("n_trials = 24", "", "n_trials: missing; every experiment needs it"),
        ("n_trials = 24", "n_trials = 24\nverify = 'yes'", "verify: write true, or {retrain_seeds = 1"),
        ('name = "digits"', "", 'data: give either name = "digits" or source = "my_data.py:load"'),
        ('name = "digits"', 'name = "digits"\nsource = "x"', 'data: give either name = "digits" or source'),
        (
            'name = "digits"',
            'source = "x"\ndata_dir = "y"',
            "data: data_dir is the folder of a known data set",
        ),
        ('name = "digits"', 'name = "digits"\nnormalise = false', "data: normalise = false needs source"),
        ("n_trials = 24", "n_trials = 0", "n_trials: input should be greater than 0; got 0"),
        ("n_trials = 24", "n_trials = '24'", "valid integer"),
        ("[budgets]", "[budget]", "budget: unknown key; did you mean budgets?"),
        ("batch_size", "batchsize", "device.batchsize: unknown key; did you mean batch_size?"),
        ('measure = "cpu"', "", "device: give either profile"),
        ("quantile", "quantil", "budgets.memory_bytes.quantil: unknown key; did you mean quantile?"),
        ("{quantile = 0.3, confidence = 0.9}", "true", "budgets.memory_bytes: write 250"),
        ('"0.5 ms"', '"0.5 W"', "unit 'W' of '0.5 W' does not measure time_s"),
        ('"0.5 ms"', "-1", "positive, finite number"),
        ("epochs = 3", "epoch = 3", "training.epoch: unknown key; did you mean epochs?"),
        ("epochs = 3", "epochs = 0", "epochs"),
        ("epochs = 3", "optimizer = 'sdg'", "did you mean sgd?"),
        ("[data]", "[data", "not valid TOML"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_place(tmp_path, old, new, text):
    assert old in CONTENT
    path = write(tmp_path, CONTENT.replace(old, new, 1))
    with pytest.raises(HwoptError) as caught:
        load_experiment(path)
    assert text in str(caught.value) and str(path) in str(caught.value)


def test_a_missing_file_and_one_that_is_no_text(tmp_path):
    with pytest.raises(HwoptError, match="no experiment file"):
        load_experiment(tmp_path / "none.toml")
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(HwoptError, match=r"not UTF-8 \(byte 0\); save it as UTF-8"):
        load_experiment(tmp_path / "x.toml")
    with pytest.raises(HwoptError, match="is a folder; give the path of a TOML file"):
        load_experiment(tmp_path)


def test_files_that_begin_with_a_byte_order_mark_are_read(tmp_path):
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xef\xbb\xbf" + CONTENT.replace("\n", "\r\n").encode())
    (tmp_path / "space.py").write_bytes(b"\xef\xbb\xbf" + SPACE.encode())
    experiment = load_experiment(path).changed(space="space.py")
    assert experiment.load_space().names == ("x",)


@pytest.mark.parametrize("line", ["n_trials = 99999999999999999999", "n_trials = 3\njobs = 99999999"])
def test_numbers_beyond_reason_are_refused(tmp_path, line):
    content = re.sub("n_trials = .*", line, CONTENT)
    with pytest.raises(HwoptError, match="less than or equal to"):
        load_experiment(write(tmp_path, content))


def test_a_space_whose_file_has_changed_is_told_from_another_cost_model(tmp_path):
    experiment = load_experiment(write(tmp_path)).changed(space="space.py")

    def open_study(content):
        (tmp_path / "space.py").write_text(content)
        fingerprint = experiment.space_fingerprint()
        objective = lambda config, report: config["x"]  # noqa: E731
        flat = lambda configs: {"time_s": [1.0] * len(configs)}  # noqa: E731
        return Study(tmp_path / "s.db", experiment.load_space(), flat, objective, space_code=fingerprint)

    open_study(SPACE).close()
    open_study("# a comment\n" + SPACE).close()
    with pytest.raises(StudyError, match="the space has changed since the study began: the code of its file"):
        open_study(SPACE + "WIDTH = 3\n")


def test_a_budget_on_an_unknown_metric_names_the_nearest(tmp_path):
    experiment = load_experiment(write(tmp_path, CONTENT.replace("time_s = ", "times_s = ")))
    with pytest.raises(HwoptError, match="no metric 'times_s'; did you mean time_s, in seconds?"):
        experiment.resolve_budgets(make_space(), costs)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("import nothing_of_that_name", "nothing_of_that_name"),
        ("SPAC = 1", "SPACE"),
        ("SPACE = 1", "SPACE is a int; it must be a SearchSpace"),
        ("def broken(:", "line 1"),
    ],
)
def test_a_space_file_that_cannot_be_used_is_explained(tmp_path, content, text):
    (tmp_path / "space.py").write_text(content)
    with pytest.raises(HwoptError) as caught:
        load_experiment(write(tmp_path)).load_space()
    assert text in str(caught.value) and "space.py" in str(caught.value)


def test_a_missing_space_file_is_explained(tmp_path):
    with pytest.raises(HwoptError, match=r"space\.py"):
        load_experiment(write(tmp_path)).load_space()


def test_the_reference_experiment_names_every_key_there_is():
    path = ROOT / "experiments" / "every_key.toml"
    experiment = load_experiment(path)
    assert experiment.stopping.rule == "front"
    written = set(re.findall(r"^\W*([a-z_]+) = ", path.read_text(), flags=re.MULTILINE))
    tables = set(re.findall(r"^\W*\[+([a-z_]+)\]+", path.read_text(), flags=re.MULTILINE))
    fields = Experiment.model_fields
    sections = [type(getattr(experiment, name)) for name in ("device", "data", "verify", "stop", "stopping")]
    keys = {key for section in sections for key in section.model_fields} | {*TrainingSettings.__annotations__}
    assert {*fields, *keys} <= written | tables
