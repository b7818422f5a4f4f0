"""Hyperparameters that no one reads, and configs that cannot be priced: never without a word."""

import logging
import re

import pytest

from hwopt import InvalidInput, Study
from hwopt.search.optimizer import Optimizer
from hwopt.study.store import Store
from hwopt.train.settings import TrainingSettings, check_read
from tests.device.profiles import write_profile
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
