"""Cached dispatch of operators on meta tensors.

For many operators PyTorch infers the shape of the result in Python, which takes 50 to 600 microseconds each,
and a search prices thousands of networks with the same few layers. The most common operators have the fast
meta functions of `hwopt.network.meta_functions`. For all others, results are cached by shapes, strides and
types of the operands, and returned as empty tensors. Tensors created on the host have values and are not
cached.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from hwopt.network.cost_rules import FREE, RULES, Rule, elementwise, reduction
from hwopt.network.meta_functions import META_FUNCTIONS

_MAX_REMEMBERED = 20_000  # results, under a kilobyte each
_PLAIN = (Tensor, torch.nn.Parameter)
_HARMLESS = {"alpha", "approximate"}  # arguments that do not affect the result's shape
COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd
_SELF = "self"  # result of an in-place operator: its first argument


_MARKED: dict[Any, Rule] = {
    getattr(torch.Tag, word): rule
    for word, rule in (("pointwise", elementwise("pointwise")), ("reduction", reduction("reduction")))
    if hasattr(torch.Tag, word)
}


class Operator:
    """Properties of an operator.

    Attributes:
        name: for example "aten.relu_".
        is_composite: whether PyTorch decomposes it.
        is_in_place: whether it writes to its first argument and returns it.
        is_functional: whether it returns new tensors and changes none.
        writes: whether it writes to one of its arguments.
        meta_function: its meta function in plain cases, if there is one.
    """

    __slots__ = (
        "function",
        "is_composite",
        "is_functional",
        "is_in_place",
        "name",
        "meta_function",
        "writes",
        "_base",
        "_is_view",
        "_marked",
    )

    def __init__(self, function: Any) -> None:
        self.function = function
        schema = getattr(function, "_schema", None)
        own_name = function.name() if schema else ""
        self.is_composite = bool(schema) and torch._C._dispatch_has_kernel_for_dispatch_key(
            own_name, COMPOSITE
        )
        self.name = schema.name.replace("::", ".") if schema else str(function)
        self._base = self.name[:-1] if self.name.endswith("_") else self.name
        self.meta_function = META_FUNCTIONS.get(self.name)
        tags = getattr(function, "tags", ())
        self._marked = next((rule for tag, rule in _MARKED.items() if tag in tags), None)
        returns, arguments = (schema.returns, schema.arguments) if schema else ([], [])
        returns_tensors = bool(returns) and all(str(r.type) == "Tensor" for r in returns)
        writes = [a for a in arguments if a.alias_info is not None and a.alias_info.is_write]
        self.writes = bool(writes)
        aliases = [r for r in returns if r.alias_info is not None]
        self._is_view = bool(aliases) and not writes
        self.is_functional = returns_tensors and not writes and not aliases
        self.is_in_place = returns_tensors and len(writes) == len(returns) == 1 and writes[0].name == _SELF

    @property
    def is_free(self) -> bool:
        """Whether the operator moves no data and does no work."""
        return self.name in FREE or self._base in FREE or (self._is_view and self.rule is None)

    @property
    def rule(self) -> Rule | None:
        """Cost rule of the operator, else of its form that is not in place, else of its tag in PyTorch."""
        return RULES.get(self.name) or RULES.get(self._base) or self._marked


_operators: dict[Any, Operator] = {}
_remembered: dict[Any, Any] = {}


def operator_of(function: Any) -> Operator:
    """Return the properties of an operator."""
    operator = _operators.get(function)
    if operator is None:
        operator = _operators[function] = Operator(function)
    return operator


def run_on_meta(operator: Operator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the result on meta of an operator that is not a view: new tensors, or its first argument."""
    if operator.meta_function is not None and not (kwargs.keys() - _HARMLESS):
        out = operator.meta_function(args)
        if out is not None:
            return out
    key = _key(operator, args, kwargs)
    if key is None:
        return operator.function(*args, **kwargs)
    found = _remembered.get(key)
    if found is None:
        out = operator.function(*args, **kwargs)
        _remember(key, operator, args, out)
        return out
    if found is _SELF:
        return args[0]
    results = [torch.empty_strided(size, stride, dtype=dtype, device="meta") for size, stride, dtype in found]
    return results[0] if len(results) == 1 else tuple(results)


def _key(operator: Operator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the cache key of a call; None if its result must not be cached."""
    if not (operator.is_functional or operator.is_in_place):
        return None
    # The default dtype is the dtype of quotients of integers.
    parts: list[Any] = [operator.function, torch.get_default_dtype()]
    if not _describe(args, parts):
        return None
    for name, value in kwargs.items():
        parts.append(name)
        if not _describe((value,), parts):
            return None
    return tuple(parts)


def _describe(values: Any, parts: list[Any]) -> bool:
    for value in values:
        if isinstance(value, Tensor):
            if not value.is_meta or type(value) not in _PLAIN or value.is_complex():
                return False
            parts.append((value.shape, value.stride(), value.dtype))
        elif isinstance(value, (list, tuple)):
            parts.append(len(value))
            if not _describe(value, parts):
                return False
        elif isinstance(value, (torch.SymInt, torch.Generator)):
            return False
        else:
            parts.append(value)
            parts.append(value.__class__)  # 1, 1.0 and True are equal but may result in different dtypes
    return True


def _remember(key: Any, operator: Operator, args: tuple[Any, ...], out: Any) -> None:
    if operator.is_in_place:
        found: Any = _SELF if out is args[0] else None
    else:
        results = [out] if isinstance(out, Tensor) else list(out)
        found = [(tuple(x.shape), x.stride(), x.dtype) for x in results]
        # Only meta tensors that own their whole memory can be recreated from shape, strides and type.
        if not all(x.is_meta and _owns_all(x) for x in results):
            found = None
        elif _share_memory([*results, *_tensors(args)], len(results)):
            found = None
    if found is not None:
        if len(_remembered) >= _MAX_REMEMBERED:
            _remembered.clear()
        _remembered[key] = found


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


def _share_memory(tensors: list[Tensor], n_results: int) -> bool:
    """Return whether one of the first tensors, the results, shares its memory with another tensor."""
    addresses = [tensor.untyped_storage()._cdata for tensor in tensors]
    return any(addresses.count(address) > 1 for address in addresses[:n_results])


def _owns_all(tensor: Tensor) -> bool:
    """Return whether the tensor's memory extends from its first to its last element."""
    last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    extent = (last + 1) * tensor.element_size() if tensor.numel() else 0
    return bool(tensor.storage_offset() == 0 and tensor.untyped_storage().nbytes() == extent)
