"""List of the strategies of hwopt and of other libraries, and whether each is installed."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from rich.table import Table

from hwopt.search.registry import missing_package, peer_names
from hwopt.search.strategies import SHIPPED_STRATEGIES, STRATEGIES

_DESCRIPTIONS = {info.name: info.description for info in SHIPPED_STRATEGIES}


@dataclass(frozen=True)
class StrategyFacts:
    """A strategy: name, one-line description, and the command that installs it; None if it is installed."""

    name: str
    description: str
    install: str | None


def strategy_facts() -> list[StrategyFacts]:
    """Return all strategies, those of hwopt first."""
    peers = peer_names()
    own = [name for name in STRATEGIES if name not in peers]
    return [
        *(StrategyFacts(name, _description(name), None) for name in own),
        *(StrategyFacts(name, _description(name), _install(name)) for name in peers),
    ]


def strategies_json(facts: Iterable[StrategyFacts]) -> str:
    """Return the strategies as JSON, {"strategies": [{"name", "description", "install", "is_installed"}]}."""
    rows = [{**asdict(one), "is_installed": one.install is None} for one in facts]
    return json.dumps({"strategies": rows}, indent=2)


def strategies_table(facts: Iterable[StrategyFacts]) -> Table:
    """Return a table with one row per strategy."""
    table = Table("strategy", "chooses by", "installed", box=None, padding=(0, 2, 0, 0))
    for one in facts:
        table.add_row(one.name, one.description, "yes" if one.install is None else "no")
    return table


def install_lines(facts: Iterable[StrategyFacts]) -> list[str]:
    """Return one line for each command that installs missing libraries, with their strategies."""
    needed: dict[str, list[str]] = {}
    for one in facts:
        if one.install is not None:
            needed.setdefault(one.install, []).append(one.name)
    return [f"{', '.join(names)}: {line}" for line, names in needed.items()]


def _description(name: str) -> str:
    """Return a one-line description; for a strategy registered by a user, the first line of its docstring."""
    return _DESCRIPTIONS.get(name) or (STRATEGIES.get(name).__doc__ or "").partition("\n")[0]


def _install(name: str) -> str | None:
    package = missing_package(name)
    return None if package is None else f"pip install '{package}'"
