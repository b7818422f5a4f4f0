"""Snapshot and restoration of the state that running a network may change.

    attributes of modules      restored, with the lists, dicts, sets, arrays and objects in them
    classes of modules         attributes restored; function caches cleared if entries were added
    shared containers          of hooks, or dictionaries in a class's file: meta tensors removed
    host tensors               values restored if an operator wrote to them

Containers are restored in place, so that every reference to them sees the old content.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Mapping
from functools import _lru_cache_wrapper as _Cached
from functools import partial
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hwopt.space.recorded_config import RecordedConfig

_ATOMS = frozenset(
    (int, float, bool, complex, str, bytes, type(None), type, range, slice, torch.dtype, torch.device)
    + (torch.Size, torch.layout, torch.memory_format, BuiltinFunctionType, ModuleType, nn.Parameter, Tensor)
    + (RecordedConfig,)  # searching it would record reads
)
_MAX_ITEMS = 10_000  # in a searched container, and searched containers of a network
_MAX_BYTES = 2**20  # of a saved array
_SHARED = {*sys.stdlib_module_names, "torch", "numpy"} - {"__main__", "argparse", "types"}
_CALLABLES = (FunctionType, MethodType, partial)  # objects that they reference count as shared
_ABSENT = object()
_EMPTY: dict[Any, Any] = {}


class SavedState:
    """State of a network before it runs.

    Args:
        known: modules of the network.

    Attributes:
        modules: further modules found in containers or closures.
        containers: containers of the network, with their content.
    """

    def __init__(self, known: Iterable[nn.Module] = ()) -> None:
        self.modules: list[nn.Module] = []
        self.containers: list[tuple[Any, Any]] = []
        self._others: list[tuple[Any, Any]] = []
        self._seen = {id(module) for module in known}
        self._classes: list[tuple[type, dict[str, Any]]] = []
        self._caches: list[tuple[Any, int]] = []
        self._tensors: list[tuple[Tensor, Tensor]] = []

    def keep(self, values: Iterable[Any]) -> None:
        """Save the content of all containers reachable from some values."""
        stack = [(value, self.containers) for value in values]
        while stack:
            value, place = stack.pop()
            kind = type(value)
            if kind in _ATOMS or id(value) in self._seen:
                continue
            if isinstance(value, nn.Module):
                self._seen.add(id(value))
                self.modules.append(value)
                continue
            content, items = _content(value, kind)
            if content is not None:
                self._seen.add(id(value))
                place.append((value, content))
            if len(items) <= _MAX_ITEMS and len(place) <= _MAX_ITEMS:
                place = self._others if kind in _CALLABLES else place
                stack += [(item, place) for item in items]

    def keep_class(self, kind: type) -> None:
        """Save the attributes of a network's class and its bases, and the state of cached functions."""
        for one in kind.__mro__:
            if id(one) in self._seen or _is_shared(one):
                continue
            self._seen.add(id(one))
            attributes = dict(vars(one))
            self._classes.append((one, attributes))
            self.keep(value for value in attributes.values() if type(value) is not FunctionType)
            self._keep_caches(attributes)
            file = sys.modules.get(one.__module__)
            if file is not None and id(file) not in self._seen:
                self._seen.add(id(file))
                self._keep_caches(vars(file))
                tables = (v for k, v in vars(file).items() if isinstance(v, dict) and not k.startswith("__"))
                self._others += [(table, dict(table)) for table in tables if len(table) <= _MAX_ITEMS]

    def _keep_caches(self, names: Mapping[str, Any]) -> None:
        self._caches += [(f, f.cache_info().misses) for f in names.values() if isinstance(f, _Cached)]

    def keep_tensor(self, tensor: Tensor) -> None:
        """Save the values of a tensor that is about to be written to."""
        self._tensors.append((tensor, tensor.detach().clone()))

    def restore(self) -> None:
        """Restore everything."""
        with torch.inference_mode(False), torch.no_grad():
            for tensor, values in reversed(self._tensors):
                tensor.detach().copy_(values)
        for container, content in reversed(self.containers):
            _put_back(container, content)
        for kind, attributes in self._classes:
            _put_back_attributes(kind, attributes)
        for container, content in self._others:
            _drop_meta(container, content)
        for function, n_misses in self._caches:
            if function.cache_info().misses != n_misses:
                function.cache_clear()


def _content(value: Any, kind: type) -> tuple[Any, Any]:
    """Return a copy of a container's content, or None for other values, and the items to search."""
    if isinstance(value, dict):
        return dict(value) if value else _EMPTY, value.values()
    if isinstance(value, (list, set, deque)):
        return list(value), value
    if isinstance(value, (tuple, frozenset)):
        return None, value
    if kind in _CALLABLES:
        return None, _referred_to(value)
    if kind is np.ndarray:
        return (value.copy() if value.nbytes <= _MAX_BYTES else None), ()
    if kind is CellType:
        return _cell_content(value)
    if isinstance(value, (Tensor, type)) or _is_shared(kind):
        return None, ()
    slots = _slots(value)
    return slots or None, (*slots.values(), getattr(value, "__dict__", None))


def _referred_to(function: Any) -> tuple[Any, ...]:
    if isinstance(function, MethodType):
        return (function.__self__,)
    if isinstance(function, partial):
        return (function.func, *function.args, *function.keywords.values())
    return function.__closure__ or ()


def _cell_content(cell: CellType) -> tuple[Any, Any]:
    try:
        return [cell.cell_contents], (cell.cell_contents,)
    except ValueError:  # an empty cell
        return None, ()


def _slots(value: Any) -> dict[str, Any]:
    names = [name for one in type(value).__mro__ for name in vars(one).get("__slots__", ())]
    return {name: getattr(value, name) for name in names if name != "__weakref__" and hasattr(value, name)}


def _is_shared(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in _SHARED


def _put_back(container: Any, content: Any) -> None:
    if isinstance(container, dict):
        if len(container) != len(content) or not _same_items(container, content):
            container.clear()
            container.update(content)
    elif isinstance(container, np.ndarray):
        container[...] = content
    elif isinstance(container, CellType):
        container.cell_contents = content[0]
    elif isinstance(container, (list, set, deque)):
        if len(container) != len(content) or any(a is not b for a, b in zip(container, content, strict=True)):
            container.clear()
            (container.update if isinstance(container, set) else container.extend)(content)
    else:
        for name, value in content.items():
            object.__setattr__(container, name, value)


def _same_items(table: dict[Any, Any], content: dict[Any, Any]) -> bool:
    return all(a is b and table[a] is content[b] for a, b in zip(table, content, strict=True))


def _put_back_attributes(kind: type, attributes: dict[str, Any]) -> None:
    now = vars(kind)
    for name in [name for name in now if name not in attributes]:
        delattr(kind, name)
    for name, value in attributes.items():
        if now.get(name, _ABSENT) is not value:
            setattr(kind, name, value)


def _drop_meta(container: Any, content: Any) -> None:
    """Remove meta tensors from a shared container; its other changes are kept."""
    if isinstance(container, dict):
        for key, value in list(container.items()):
            if value is not content.get(key, _ABSENT) and _holds_meta(value):
                if key in content:
                    container[key] = content[key]
                else:
                    del container[key]
    elif isinstance(container, (list, deque, set)):
        old = {id(value) for value in content}
        if any(id(value) not in old and _holds_meta(value) for value in container):
            _put_back(container, content)
    elif not isinstance(container, np.ndarray):
        now = container.cell_contents if isinstance(container, CellType) else _slots(container)
        if _holds_meta(now):
            _put_back(container, content)


def _holds_meta(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.is_meta
    if isinstance(value, dict):
        return any(map(_holds_meta, value.values()))
    return isinstance(value, (list, tuple)) and any(map(_holds_meta, value))
