"""Strategies by name: those of hwopt and those of other libraries, with whether they are installed."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from rich.table import Table

from hwopt.search.registry import missing_package, peer_names
from hwopt.search.strategies import STRATEGIES

DESCRIPTIONS = {
    "ehvi": "expected hypervolume improvement of the error, the costs known (default)",
    "ei": "expected improvement of the error, within the budgets (HyperPower's HW-IECI)",
    "cwei": "expected improvement times the probability that the budgets hold (HW-CWEI)",
    "ieci": "expected improvement integrated over the space (Gramacy and Lee 2010)",
    "random": "uniform draws; what breaks a budget is rejected before training",
    "random_walk": "normal steps from the best so far; rejected likewise (HyperPower's Rand-Walk)",
    "scalarized": "expected improvement of accuracy * cost^-0.07 (MnasNet, Tan et al. 2019)",
    "epr": "expected improvement of error * cost (NeuralPower, Cai et al. 2017)",
    "botorch:qlognehvi": "noisy expected hypervolume improvement (Daulton et al. 2021)",
    "optuna:tpe": "tree-structured Parzen estimators (Bergstra et al. 2011)",
    "optuna:tpe_multivariate": "the same over groups of hyperparameters jointly (Falkner et al. 2018)",
    "optuna:nsga2": "evolution by nondominated sorting (Deb et al. 2002)",
    "optuna:gp": "Optuna's Gaussian processes of objectives and budgets",
    "skopt:gp": "scikit-optimize's Gaussian process of one scalarised objective",
}


@dataclass(frozen=True)
class StrategyFacts:
    """A strategy: its name, what it does in a line, and the line that installs it (None where it can run)."""

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
    """Return a row for each strategy."""
    table = Table("strategy", "chooses by", "installed", box=None, padding=(0, 2, 0, 0))
    for one in facts:
        table.add_row(one.name, one.description, "yes" if one.install is None else "no")
    return table


def install_lines(facts: Iterable[StrategyFacts]) -> list[str]:
    """Return a line for each command that installs what is missing."""
    needed: dict[str, list[str]] = {}
    for one in facts:
        if one.install is not None:
            needed.setdefault(one.install, []).append(one.name)
    return [f"{', '.join(names)}: {line}" for line, names in needed.items()]


def _description(name: str) -> str:
    """Return a line on a strategy; of one that was registered the first line of its docstring."""
    return DESCRIPTIONS.get(name) or (STRATEGIES.get(name).__doc__ or "").partition("\n")[0]


def _install(name: str) -> str | None:
    package = missing_package(name)
    return None if package is None else f"pip install '{package}'"
