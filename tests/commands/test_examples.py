"""Every command's help has an example, and it works: those that take seconds run in one folder, in turn."""

import re
import shlex

import pytest
import typer

from hwopt.cli import COMMANDS, app
from tests.profile.profiles import write_profile

EXAMPLES = {
    command.__name__: re.findall(r"^ *Example: (hwopt .+)$", command.__doc__, flags=re.MULTILINE)
    for command in COMMANDS
}
IN_TURN = ("init", "search", "report", "run", "export", "retarget", "devices", "strategies", "schema", "env")
SMALLER = (
    ("n_trials = 20", "n_trials = 2"),
    ("epochs = 8", "epochs = 1"),
    ('"digits" ', '"digits"\nsubset = 200 '),
)
SMALLER += (("batch_size = 32", 'method = "paleo"\nbatch_size = 32'), ('"amd-epyc" ', '"device"'))


def words_of(command):
    line, _, _ = EXAMPLES[command][0].partition(" > ")
    return shlex.split(line)[1:]


@pytest.mark.parametrize("command", list(EXAMPLES))
def test_every_command_has_an_example_with_arguments_that_it_takes(command):
    assert EXAMPLES[command], f"hwopt {command} --help has no example"
    words = words_of(command)
    assert words[0] == command
    typer.main.get_command(app).commands[command].make_context(command, words[1:])


def test_the_help_shows_the_example(command_line):
    _, out, _ = command_line("export", "--help")
    assert "Example: hwopt export results/mine/study.db --trial 0 --out taken" in " ".join(out.split())


def test_the_examples_work_one_after_another(command_line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_profile(tmp_path / "device", n_networks=30)
    for command in IN_TURN:
        code, _, err = command_line(*words_of(command))
        assert code == 0, f"hwopt {command}: {err}"
        if command == "init":
            text = (tmp_path / "mine.toml").read_text()
            for old, new in SMALLER:
                assert old in text, old
                text = text.replace(old, new)
            (tmp_path / "mine.toml").write_text(text)
    assert (tmp_path / "taken" / "weights.pt").exists() and (tmp_path / "report.html").exists()
    assert (tmp_path / "results" / "h200" / "study.db").exists()
