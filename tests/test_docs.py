"""README and docs: Python runs, commands exist, experiments are valid, links lead somewhere."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer

from hwopt.cli import app
from hwopt.measure.energy.sensors.registry import SENSORS
from hwopt.network import RULES
from hwopt.predict.layer_models import registry
from hwopt.search.registry import STRATEGIES
from hwopt.study.experiment.experiment import load_experiment
from tests.profile.profiles import write_profile

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")] + sorted((ROOT / "docs").glob("*.md"))
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a device profile at results/demo/device, as `make demo` leaves it."""
    write_profile(tmp_path / "results" / "demo" / "device", n_networks=60)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def registries():
    """Restore the registries after a page has added to them."""
    registered = (RULES, STRATEGIES, SENSORS, registry._REGISTRY)
    before = [dict(one) for one in registered]
    yield
    for one, content in zip(registered, before, strict=True):
        one.clear()
        one.update(content)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name
)
def test_python_blocks_of_a_page_run_from_top_to_bottom(page, folder, registries, monkeypatch, capsys):
    monkeypatch.syspath_prepend(folder)
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks(page, "python"):
        file = re.match(r"# (\w+\.py)\n", block)
        if file:  # a block that begins with a file's name is that file
            (folder / file[1]).write_text(block)
        else:
            exec(compile(block, page.name, "exec"), names)  # noqa: S102


def options_of(command: list[str]) -> tuple[str, set[str]]:
    return command[0], {word.partition("=")[0] for word in command[1:] if word.startswith("--")}


@pages
def test_commands_of_a_page_exist_with_their_options(page):
    known = typer.main.get_command(app)
    for block in [*blocks(page, "console"), *blocks(page, "bash")]:
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if not words or words[0] != "hwopt" or len(words) == 1 or words[1].startswith("-"):
                continue
            name, options = options_of(words[1:])
            assert name in known.commands, line
            taken = {option for parameter in known.commands[name].params for option in parameter.opts}
            taken |= {
                option for parameter in known.commands[name].params for option in parameter.secondary_opts
            }
            assert options <= taken | {"--help"}, line


@pages
def test_toml_blocks_of_a_page_are_valid(page, tmp_path):
    for i, block in enumerate(blocks(page, "toml")):
        content = tomllib.loads(block)
        if "space" in content:
            (tmp_path / f"{i}.toml").write_text(block)
            load_experiment(tmp_path / f"{i}.toml")


@pages
def test_links_of_a_page_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_page_is_reached_from_the_readme():
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in seen or page.suffix != ".md" or not page.is_file():
            continue
        seen.add(page)
        links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        todo += [(page.parent / target).resolve() for target in links]
    assert set(PAGES) <= seen, sorted(page.name for page in set(PAGES) - seen)
