"""Strategies by name. Those of other libraries are entry points of the group "hwopt.strategies".

A package adds a strategy by an entry point whose name is that of the strategy, with a colon after the
library's, and whose value is a function that calls `register_strategy`:

    [project.entry-points."hwopt.strategies"]
    "mine:greedy" = "my_package.strategies:register"
"""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec

from hwopt.errors import InvalidInput, UnknownName, did_you_mean
from hwopt.search.state import Strategy

STRATEGIES: dict[str, Strategy] = {}
_GROUP = "hwopt.strategies"
_UNAWARE = ":unaware"


def register_strategy(name: str, strategy: Strategy) -> None:
    """Make a strategy available by name.

    Raises:
        InvalidInput: if the name is taken.
    """
    if name in STRATEGIES:
        raise InvalidInput(f"strategy {name!r} exists already; choose another name")
    STRATEGIES[name] = strategy


def peer_names() -> tuple[str, ...]:
    """Return the names of the strategies of other libraries, such as "optuna:tpe", installed or not."""
    return tuple(_peers())


def missing_package(name: str) -> str | None:
    """Return the package to install for a strategy of another library; None if the library is installed."""
    library = name.partition(":")[0]
    if find_spec(library) is not None:
        return None
    extras = _peers()[name].extras
    return f"hwopt[{extras[0]}]" if extras else library


def load_strategy(name: str) -> None:
    """Make the strategy of another library available; one of hwopt's own needs no loading.

    Raises:
        UnknownName: if no strategy has this name, with the closest known one.
        InvalidInput: if the library is not installed, with the line that installs it.
    """
    bare = name.removesuffix(_UNAWARE)
    if bare in STRATEGIES:
        return
    if bare not in _peers():
        raise UnknownName(f"no strategy {name!r}{did_you_mean(bare, [*STRATEGIES, *_peers()])}")
    entry = _peers()[bare]
    try:
        entry.load()()
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("hwopt"):
            raise
        package = f"hwopt[{entry.extras[0]}]" if entry.extras else error.name
        raise InvalidInput(f"strategy {bare} needs {error.name}: pip install '{package}'") from None


def find_strategy(name: str) -> Strategy:
    """Return the strategy of this name; one of another library, such as "optuna:tpe", is loaded.

    Raises:
        InvalidInput: if `name` is not a text, or the library is not installed.
        UnknownName: if there is no such strategy, with the closest known one.
    """
    if not isinstance(name, str):
        raise InvalidInput(f"strategy = {name!r} must be the name of one: {', '.join(STRATEGIES)}")
    bare = name.removesuffix(_UNAWARE)  # the suffix of the constraint-unaware form in comparisons
    if bare != name and name not in STRATEGIES and bare in [*STRATEGIES, *_peers()]:
        raise UnknownName(f"no strategy {name!r}; write {bare!r}: aware=False leaves the budgets out")
    load_strategy(name)
    return STRATEGIES[name]


@cache
def _peers() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in sorted(entry_points(group=_GROUP), key=lambda entry: entry.name)}
