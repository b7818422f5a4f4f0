"""Prices kept in a study, so that resuming it prices nothing again that the same costs priced before.

    cost model, space, code, versions --> key --> what was priced under it, or nothing

A change of any of these is another key. What a key cannot see (a variable of a notebook) shows when a few of
the kept prices are computed anew: unless all are the same to the last digit, nothing that was kept is used.
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
    """A cost function that can write down what it has priced, and take it up again."""

    def identity(self) -> dict[str, Any]:
        """Return what its prices depend on, beside the space and code; JSON-safe."""
        ...

    def kept(self) -> bytes:
        """Return everything that it has priced."""
        ...

    def keep(self, kept: bytes) -> bool:
        """Take what `kept` returned, unless a few prices that are computed anew differ; say whether."""
        ...


def restore_prices(store: Store, costs: CostFunction, space: SearchSpace) -> None:
    """Give cost functions what a study keeps of their prices."""
    for one in _keepers(costs):
        kept = store.prices(_key(one, space))
        try:
            if kept is not None and not one.keep(kept):
                _LOG.info(
                    "%s: the prices that it keeps are not those of today; all is priced anew", store.path
                )
        except Exception as error:  # a damaged entry costs time, and nothing else
            _LOG.warning("%s: the prices that it keeps cannot be used: %r", store.path, error)


def keep_prices(store: Store, costs: CostFunction, space: SearchSpace) -> None:
    """Keep in a study what cost functions have priced, in place of what it kept before."""
    found = {_key(one, space): one.kept() for one in _keepers(costs)}
    if found:
        store.set_prices(found)


def _keepers(costs: Any) -> Iterator[KeepsPrices]:
    """Yield the cost function, and those that it wraps, that can keep prices."""
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
    """Return the files of all modules that are loaded and neither ours nor installed."""
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
    """Return the digest of the code that prices."""
    files = [file for part in _PRICING for file in ((_PACKAGE / part).rglob("*.py"))]
    files += [_PACKAGE / part for part in _PRICING if part.endswith(".py")]
    return _digest(file.read_bytes() for file in sorted(files))


def _digest(parts: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(hashlib.sha256(part).digest())
    return found.hexdigest()
