"""Cache of prices in a study, so that a resumed study does not price configs again.

    cost model, space, code, versions --> key --> prices under this key, if any

A change of any of these changes the key. Changes that the key does not cover (a variable of a notebook) are
detected by recomputing a few of the stored prices: if one differs, none of them is used.
"""

import hashlib
import inspect
import json
import logging
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import hwopt
from hwopt.costs import CostFunction
from hwopt.space.search_space import SearchSpace
from hwopt.study.store.identity import versions
from hwopt.study.store.store import Store

_LOG = logging.getLogger("hwopt")
_PACKAGE = Path(hwopt.__file__).resolve().parent
_PRICING = ("space", "network", "profile", "predict", "conformal.py", "costs.py", "gp.py")


@runtime_checkable
class KeepsPrices(Protocol):
    """Cost function whose prices can be stored and restored."""

    def identity(self) -> dict[str, Any]:
        """Return the dependencies of the prices besides space and code, JSON-safe."""
        ...

    def kept(self) -> bytes:
        """Return all prices so far."""
        ...

    def keep(self, kept: bytes) -> bool:
        """Load prices that `kept` returned; return False if recomputed ones differ."""
        ...


def restore_prices(store: Store, costs: CostFunction, space: SearchSpace) -> None:
    """Load the stored prices of a study into its cost functions."""
    for one in _keepers(costs):
        kept = store.prices(_key(one, space))
        try:
            if kept is not None and not one.keep(kept):
                _LOG.info(
                    "%s: stored prices differ from recomputed ones; all configs are priced again", store.path
                )
        except Exception as error:  # a damaged entry only costs time
            _LOG.warning("%s: stored prices cannot be used: %r", store.path, error)


def keep_prices(store: Store, costs: CostFunction, space: SearchSpace) -> None:
    """Store the prices of cost functions in a study, in place of earlier ones."""
    found = {_key(one, space): one.kept() for one in _keepers(costs)}
    if found:
        store.set_prices(found)


def _keepers(costs: Any) -> Iterator[KeepsPrices]:
    """Yield the cost function and wrapped ones, if they can store prices."""
    while costs is not None:
        if isinstance(costs, KeepsPrices):
            yield costs
        costs = getattr(costs, "costs", None)


def _key(costs: KeepsPrices, space: SearchSpace) -> str:
    facts = {
        "costs": [type(costs).__name__, costs.identity()],
        "space": space.describe(),
        "code": [_code(space.build), *(_code(condition) for condition in space.active.values())],
        "files": _digest(path.read_bytes() for path in sorted(_own_files(space))),
        "hwopt": _own_code(),
        "versions": versions(),
    }
    return _digest([json.dumps(facts, sort_keys=True, default=repr).encode()])


def _code(function: Callable[..., Any] | None) -> str:
    code = getattr(function, "__code__", None)
    return "" if code is None else _digest([code.co_code, repr(code.co_names).encode()])


def _own_files(space: SearchSpace) -> set[Path]:
    """Return the files of loaded modules that are neither part of hwopt nor installed."""
    names = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    try:
        names.append(inspect.getsourcefile(inspect.unwrap(space.build)) if space.build else None)
    except TypeError:  # an object that is called
        names.append(inspect.getsourcefile(type(space.build)))
    installed = [Path(path) for path in {*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix}]
    files = {Path(name).resolve() for name in names if name and name.endswith(".py")}
    return {
        file
        for file in files
        if file.is_file() and not any(file.is_relative_to(folder) for folder in [*installed, _PACKAGE])
    }


@cache
def _own_code() -> str:
    """Return the digest of hwopt's code for pricing."""
    files = [file for part in _PRICING for file in ((_PACKAGE / part).rglob("*.py"))]
    files += [_PACKAGE / part for part in _PRICING if part.endswith(".py")]
    return _digest(file.read_bytes() for file in sorted(files))


def _digest(parts: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(hashlib.sha256(part).digest())
    return found.hexdigest()
