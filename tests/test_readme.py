"""The README's Python runs as it stands."""

import re
from pathlib import Path

from tests.profile.profiles import write_profile

README = Path(__file__).parent.parent / "README.md"


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    write_profile(tmp_path / "results" / "demo" / "device", n_networks=60)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) >= 3
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)  # noqa: S102
    assert "networks on the front" in capsys.readouterr().out


def test_the_commands_of_the_readme_exist():
    from hwopt.cli import app

    known = {command.callback.__name__ for command in app.registered_commands}
    used = set(re.findall(r"^hwopt (\w+)", README.read_text(), flags=re.MULTILINE))
    assert used and used <= known


def test_the_experiment_of_the_readme_is_valid(tmp_path):
    from hwopt.study.experiment.file import load_experiment

    block = re.search(r"```toml\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert block
    (tmp_path / "mine.toml").write_text(block[1])
    assert load_experiment(tmp_path / "mine.toml").stopping.rule == "front"
