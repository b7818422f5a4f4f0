"""Starting points: what `hwopt init` writes works as it stands, and nothing is ever written over."""

import tomllib

import numpy as np
import pytest
from PIL import Image

from hwopt.network import trace_config
from hwopt.study.experiment.checks import check_outputs, check_shapes, load_data
from hwopt.study.experiment.experiment import load_experiment
from hwopt.study.experiment.search import training_objective
from hwopt.study.experiment.templates import check_name, describe_templates, schema_path
from hwopt.study.run.unread_hyperparameters import check_unread

TEMPLATES = list(describe_templates())


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_default_is_digits_and_the_commands_to_type_are_printed(here, command_line):
    code, out, err = command_line("init", "mine")
    assert code == 0 and err == ""
    assert [line.strip() for line in out.splitlines()] == [
        "written: mine.toml, mine_space.py", "hwopt check mine.toml", "hwopt search mine.toml",
    ]  # fmt: skip
    assert sorted(path.name for path in here.iterdir()) == ["mine.toml", "mine_space.py"]
    assert load_experiment(here / "mine.toml").data.name == "digits"


def test_starting_points_are_listed_with_a_line_each(here, command_line):
    code, out, _ = command_line("init", "--list")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == TEMPLATES
    assert all(len(line.split()) > 5 for line in out.splitlines()) and not list(here.iterdir())


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_starting_point_is_a_valid_experiment_with_networks_that_fit_its_data(here, command_line, template):
    if template == "images":
        for name in ("cat", "dog"):
            for number in range(10):
                (here / "images" / name).mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (9, 7), (number, 0, 0)).save(here / "images" / name / f"{number}.png")
    assert command_line("init", "mine", "--from", template)[0] == 0
    text = (here / "mine.toml").read_text()
    assert text.startswith(f"#:schema {schema_path().as_uri()}\n")
    written = [path.read_text() for path in here.glob("mine*")]
    assert not any("NAME" in text for text in written)
    experiment = load_experiment(here / "mine.toml")
    space = experiment.load_space()
    for config in space.sample(5, np.random.default_rng(0)):
        trace_config(space, config)
    objective = training_objective(experiment)
    if template != "cifar10":  # whose images are not here
        dataset = load_data(experiment, space)
        if dataset is not None:
            check_outputs(space, dataset)
            check_shapes(space, dataset)
    if template in ("digits", "power", "own-data"):  # others are as much alike, and larger
        check_unread(space, objective.hyperparameters, is_new=True)


def test_a_training_of_ones_own_begins_as_one_that_reports_and_stops(here, command_line):
    assert command_line("init", "mine", "--from", "own-training")[0] == 0
    experiment = load_experiment(here / "mine.toml")
    config = experiment.load_space().sample(1, 0)[0]
    epochs = []
    final = training_objective(experiment)(config, lambda epoch, error: epochs.append(epoch), seed=1)
    assert epochs == [1] and 0 < final["error"] < 1 and final["loss"] > 0


@pytest.mark.parametrize("existing", ["mine.toml", "mine_space.py"])
@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_nothing_is_written_where_either_file_is_there_already(here, command_line, existing, kind):
    path = here / existing
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(here / "nowhere")
    code, out, err = command_line("init", "mine")
    assert code == 2 and f"{existing} exists already, and nothing was written" in err
    assert [one.name for one in here.iterdir()] == [existing]
    assert kind != "file" or path.read_text() == "precious"


def test_a_file_that_appears_meanwhile_is_kept_and_the_other_one_taken_back(here, command_line, monkeypatch):
    monkeypatch.setattr("hwopt.study.experiment.templates.os.path.lexists", lambda path: False)
    (here / "mine_space.py").write_text("precious")
    code, _, err = command_line("init", "mine")
    assert code == 2 and "cannot be written: File exists" in err
    assert [one.name for one in here.iterdir()] == ["mine_space.py"]
    assert (here / "mine_space.py").read_text() == "precious"


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("", "mine"), ("a/b", "b"), ("../x", "x"), ("my net", "my_net"), ("my-net", "my_net"),
        ("x.toml", "x"),
        ("x.y", "x_y"), ("class", "class_1"), ("None", "None_1"), ("3d", "net_3d"), ("NAME", "NAME_1"),
        ("café", "caf"), ("...", "mine"), ("x" * 200, "x" * 60), ("a\\b", "b"), ("a\nb", "a_b"),
        ("~", "mine"),
    ],
    ids=lambda text: ascii(text[:10]),
)  # fmt: skip
def test_a_name_that_files_cannot_have_is_refused_with_one_that_they_can(here, command_line, name, instead):
    code, _, err = command_line("init", name)
    assert code == 2 and f"such as {instead!r}" in err and not list(here.iterdir())
    assert check_name(instead) == instead


def test_other_mistakes_end_with_code_2_and_one_message(here, command_line):
    assert "init: a name is missing" in command_line("init")[2]
    code, _, err = command_line("init", "mine", "--from", "digit")
    assert code == 2 and "no starting point 'digit'; did you mean digits?" in err
    assert command_line("init", "mine", "--from", "../digits")[0] == 2
    assert not list(here.iterdir())


def test_init_asks_nothing_where_there_is_no_terminal(here, command_line, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("it asks")

    monkeypatch.setattr("builtins.input", refuse)
    monkeypatch.setattr("typer.prompt", refuse)
    monkeypatch.setattr("typer.confirm", refuse)
    assert command_line("init", "mine")[0] == 0


def test_templates_ship_with_the_package():
    from pathlib import Path

    patterns = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    data = patterns["tool"]["setuptools"]["package-data"]["hwopt"]
    assert {"templates/*.json", "templates/*/*"} <= set(data)
