"""Hyperparameters that no one reads, and configs that cannot be priced: never without a word."""

import json
import logging
import re
import warnings

import pytest
from skopt.space import Categorical, Integer, Real
from torch import nn

from hwopt import InvalidInput, SearchSpace, Study, UnknownName
from hwopt.errors import UnreadHyperparameter
from hwopt.search.optimizer import Optimizer
from hwopt.study.store.store import Store
from hwopt.train import SliceResult
from hwopt.train.objective import TrainingObjective
from hwopt.train.settings import TrainingSettings, check_read
from tests.profile.profiles import write_profile
from tests.search.problem import costs, error_of, make_space
from tests.test_cli import EXPERIMENT, SPACE


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    return write_profile(tmp_path_factory.mktemp("profiles") / "device")


@pytest.fixture
def folder(tmp_path, profile):
    (tmp_path / "space.py").write_text(SPACE)
    (tmp_path / "x.toml").write_text(EXPERIMENT)
    (tmp_path / "device").symlink_to(profile)
    return tmp_path


def add_dimension(folder, text):
    space = (folder / "space.py").read_text()
    (folder / "space.py").write_text(
        space.replace("    ],\n    build", f"        {text},\n    ],\n    build")
    )


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("lr", "learning_rate"),
        ("optim", "optimizer"),
        ("bs", "train_batch_size"),
        ("wd", "weight_decay"),
        ("learningrate", "learning_rate"),
        ("Learning_Rate", "learning_rate"),
        ("weight-decay", "weight_decay"),
        ("lr_scheduler", "schedule"),
        ("momentun", "momentum"),
    ],
)
def test_an_unread_hyperparameter_is_named_with_what_the_trainer_calls_it(name, meant):
    with pytest.raises(KeyError) as caught:
        check_read([name])
    text = f"`{name}` is read neither by build nor by the trainer; did you mean {meant}?"
    assert str(caught.value) == text


def test_what_a_build_asks_for_in_vain_is_a_candidate_too():
    with pytest.raises(KeyError, match="did you mean n_channels"):
        check_read(["n_chanels"], {"n_channels"})
    with pytest.raises(KeyError, match="known: learning_rate, momentum, weight_decay"):
        check_read(["xyzzy"])


@pytest.mark.parametrize("name", ["lr", "bs"])
def test_a_search_of_what_nobody_reads_ends_before_anything_is_measured_or_trained(
    folder, command_line, name
):
    add_dimension(folder, f'Real(1e-3, 1e-1, name="{name}")')
    code, output, errors = command_line("search", folder / "x.toml", "--out", folder / "out")
    assert code == 2 and f"`{name}` is read neither by build nor by the trainer; did you mean" in errors
    assert "Traceback" not in output + errors and not (folder / "out" / "study.db").exists()


def test_the_batch_size_of_training_may_be_called_batch_size_but_not_both(folder, command_line):
    assert TrainingSettings().with_config({"batch_size": 17}).batch_size == 17
    with pytest.raises(InvalidInput, match="batch_size and train_batch_size are the same"):
        TrainingSettings().with_config({"batch_size": 17, "train_batch_size": 18})
    add_dimension(folder, 'Integer(16, 64, name="batch_size")')
    code, _, errors = command_line("search", folder / "x.toml", "--out", folder / "out", "--trials", 1)
    assert code == 0, errors
    add_dimension(folder, 'Integer(16, 64, name="train_batch_size")')
    code, _, errors = command_line("search", folder / "x.toml", "--out", folder / "two", "--trials", 1)
    assert code == 2 and "batch_size and train_batch_size are the same hyperparameter" in errors


def test_a_list_that_lacks_a_structural_hyperparameter_ends_a_search_before_it_begins(folder, command_line):
    text = (folder / "space.py").read_text().replace('structural=["width"]', "structural=[]")
    (folder / "space.py").write_text(text)
    code, _, errors = command_line("search", folder / "x.toml", "--out", folder / "out")
    assert code == 2 and "structural lacks 'width'" in errors


def test_part_of_a_space_that_cannot_be_built_is_told_on_screen_and_in_the_report(folder, command_line):
    text = (folder / "space.py").read_text()
    broken = '    if width > 20:\n        raise ValueError(f"no such width [{width}]")\n'
    (folder / "space.py").write_text(
        text.replace("    return nn.Sequential", f"{broken}    return nn.Sequential")
    )
    code, output, errors = command_line("search", folder / "x.toml", "--out", folder / "out", "--trials", 1)
    assert code == 0, errors
    line = re.compile(
        r"([\d.]+)% of the space cannot be priced: build raised ValueError: no such width \[\d+\] "
        r"\(([\d,]+) of ([\d,]+) configurations, such as \{'width': \d+, 'learning_rate': [\d.]+\}\)"
    )
    told = line.search(output.partition("training:")[0])
    assert told, output
    share, n, of = (float(text.replace(",", "")) for text in told.groups())
    assert share == pytest.approx(100 * n / of, abs=0.06) and 25 < share < 45  # ln(64 / 20) / ln(64 / 2)
    code, output, _ = command_line("report", folder / "out" / "study.db")
    assert code == 0 and line.search(output).groups() == told.groups()
    with Store(folder / "out" / "study.db", read_only=True) as store:
        (one,) = store.meta()["region"]["unpriced"]
    assert one["n"] == n and "no such width" in one["reason"] and one["config"]["width"] > 20


def run_study(tmp_path, objective, space=None, n=2, cost=costs, **options):
    with Study(tmp_path / "study.db", space or make_space(), cost, objective) as study:
        study.run(n, **options)
        return study.trials()


def with_lr(build=None):
    shape = (1, 8, 8) if build else None
    return SearchSpace([Integer(2, 9, name="width"), Real(0.1, 1.0, name="lr")], build, shape)


def free(configs):
    return {"time_s": [1.0] * len(configs)}


class Sliced:
    def run_slice(self, config, seed, checkpoint, n_epochs):
        return SliceResult((0.1 / config["width"],), (0.1,), b"", {"error": 0.1 / config["width"]})


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("objective", [lambda config, report: 0.1 / config["width"], Sliced()])
def test_what_no_objective_reads_is_warned_of_once_after_its_first_call(tmp_path, objective, jobs, caplog):
    with pytest.warns(UnreadHyperparameter, match="`lr` is read neither by build nor by the objec") as warned:
        trials = run_study(tmp_path, objective, with_lr(), 3, free, jobs=jobs)
    assert len(warned) == 1 and all(trial.status == "complete" for trial in trials)
    assert caplog.text.count("`lr` is read neither") == 1


@pytest.mark.parametrize(
    "objective",
    [
        lambda config, report: 0.1 * config["lr"],  # the costs read the width
        lambda config, report: 0.1 * config.get("lr", 1),
        lambda config, report: 0.1 * dict(**config)["lr"],
        lambda config, report: 0.1 * len(json.dumps(config)) / 1000,
    ],
)
def test_what_costs_or_the_objective_read_in_any_way_is_not_warned_of(tmp_path, objective):
    def by_width(configs):
        return {"time_s": [config["width"] for config in configs]}

    run_study(tmp_path, objective, with_lr(), 2, by_width)


def test_what_build_or_a_condition_reads_is_not_warned_of(tmp_path):
    def build(config):
        return nn.Sequential(nn.Conv2d(1, config["width"], 3), nn.Dropout(config["lr"] / 2))

    run_study(tmp_path, lambda config, report: 0.1, with_lr(build), 2, free)
    space = SearchSpace(
        [Categorical(["a", "b"], name="kind"), Integer(1, 9, name="n")],
        active={"n": lambda c: c["kind"] == "a"},
    )
    run_study(tmp_path / "two", lambda config, report: 0.1 / config.get("n", 20), space, 2, free)


def test_a_name_that_the_objective_asks_for_in_vain_is_what_is_meant(tmp_path):
    def objective(config, report):
        return 0.1 / config["width"] * config.get("learning_rate", 0.5)

    with pytest.warns(
        UnreadHyperparameter, match="`lr`.*did you mean 'learning_rate', which the objective asks for"
    ):
        run_study(tmp_path, objective, with_lr(), 1, free)


def test_an_objective_that_wants_a_plain_dict_is_given_one(tmp_path):
    def objective(config, report):
        if type(config) is not dict:
            raise TypeError(f"expected a dict, got {type(config).__name__}")
        return 0.1

    assert [trial.status for trial in run_study(tmp_path, objective)] == ["complete"] * 2


def test_after_its_first_call_an_objective_is_given_plain_dicts_that_it_may_change(tmp_path):
    kinds = []

    def objective(config, report):
        kinds.append(type(config))
        return error_of({"width": config.pop("width"), **config})

    trials = run_study(tmp_path, objective, n=3)
    assert all("width" in trial.config for trial in trials) and kinds[1:] == [dict, dict]


def test_a_training_of_ours_in_python_is_refused_before_it_begins_and_goes_on_where_it_was_begun(tmp_path):
    def build(config):
        return nn.Sequential(
            nn.Conv2d(1, config["width"], 3), nn.Flatten(), nn.Linear(36 * config["width"], 10)
        )

    trainer = TrainingObjective(with_lr(build), "digits", TrainingSettings(epochs=1))
    with pytest.raises(UnknownName, match="`lr` is read neither.*did you mean learning_rate"):
        run_study(tmp_path, trainer, with_lr(build), 1, free)
    with Study(tmp_path / "study.db", with_lr(build), free, trainer) as study:
        assert not study.trials()

    def reads_lr(configs):
        return {"time_s": [config["lr"] for config in configs]}

    run_study(tmp_path / "two", trainer, with_lr(build), 1, reads_lr)


def costly(configs):
    """Costs of the test problem, that cannot be told where pooling is "avg"."""
    return {
        metric: [
            float("nan") if c["pool"] == "avg" else value for c, value in zip(configs, values, strict=True)
        ]
        for metric, values in costs(configs).items()
    }


def test_a_python_study_and_an_optimizer_log_what_cannot_be_priced(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="hwopt")
    with Study(tmp_path / "study.db", make_space(), costly, lambda config, report: error_of(config)) as study:
        study.run(1)
    lines = [record.getMessage() for record in caplog.records if "cannot be priced" in record.getMessage()]
    assert len(lines) == 1 and "costs returned time_s = nan" in lines[0] and "'pool': 'avg'" in lines[0]
    caplog.clear()
    Optimizer(make_space(), costly).ask()
    assert "cannot be priced" in caplog.text
    caplog.clear()
    Optimizer(make_space(), costs).ask()
    assert "cannot be priced" not in caplog.text


@pytest.mark.parametrize("objective", [lambda config, report: 0.1 / config["width"], Sliced()])
def test_where_warnings_are_errors_the_training_is_stored_before_one_is_raised(tmp_path, objective):
    with warnings.catch_warnings(), Study(tmp_path / "s.db", with_lr(), free, objective) as study:
        warnings.simplefilter("error", UnreadHyperparameter)
        for n in (1, 2):
            with pytest.raises(UnreadHyperparameter, match="`lr` is read neither"):
                study.run(2)
            assert [trial.status for trial in study.trials()] == ["complete"] * n


def test_an_objective_that_fails_for_another_reason_is_not_trained_again_with_a_plain_dict(tmp_path):
    calls = []

    def objective(config, report):
        calls.append(config["width"])
        report(1, 0.1)
        raise RuntimeError("Error(s) in loading state_dict for Net")

    with Study(tmp_path / "study.db", make_space(), costs, objective) as study:
        study.run(1)
        assert len(calls) == 1 and "loading state_dict" in study.trials()[0].reason


def test_an_objective_that_wants_a_plain_dict_after_its_epochs_is_not_failed_for_them(tmp_path):
    def objective(config, report):
        for epoch in range(1, 4):
            report(epoch, 1 / epoch)
        if type(config) is not dict:
            raise TypeError(f"cannot write {type(config).__name__}")
        return 0.1

    trial = run_study(tmp_path, objective, n=1)[0]
    assert trial.status == "complete" and trial.curve == (1, 1 / 2, 1 / 3)
