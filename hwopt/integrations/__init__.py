"""Strategies of other libraries, by name: "optuna:tpe". Each is imported when it is first used.

Each keeps the budgets by the best means that its interface permits, and has the constraint-unaware form that
every strategy has. Nothing else needs them; what is missing is an error with the line that installs it.
"""

from importlib import import_module
from importlib.util import find_spec

from hwopt.errors import InvalidInput, UnknownName, did_you_mean
from hwopt.search.strategies import STRATEGIES

# library -> module here, what to install, its strategies
_LIBRARIES = {
    "botorch": ("hwopt.integrations.botorch", "hwopt[botorch]", ("qlognehvi",)),
    "optuna": ("hwopt.integrations.optuna", "hwopt[optuna]", ("tpe", "nsga2", "gp")),
    "skopt": ("hwopt.integrations.skopt", "scikit-optimize", ("gp",)),
}
PEERS = tuple(f"{library}:{name}" for library, (_, _, names) in _LIBRARIES.items() for name in names)


def missing_package(name: str) -> str | None:
    """Return what to install for a strategy of another library; None where the library is there."""
    library = name.partition(":")[0]
    return None if find_spec(library) is not None else _LIBRARIES[library][1]


def load(name: str) -> None:
    """Make the strategy of another library available; a name without a colon is one of ours: nothing to do.

    Raises:
        UnknownName: where nothing has this name, with the nearest.
        InvalidInput: where the library is not installed, with the line that installs it.
    """
    if ":" not in name or name.removesuffix(":unaware") in STRATEGIES:
        return
    if name not in PEERS:
        raise UnknownName(f"no strategy {name!r}{did_you_mean(name, [*STRATEGIES, *PEERS])}")
    library = name.partition(":")[0]
    module, package, _ = _LIBRARIES[library]
    try:
        import_module(module).register()
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("hwopt"):
            raise
        raise InvalidInput(f"strategy {name} needs {error.name}: pip install '{package}'") from None
