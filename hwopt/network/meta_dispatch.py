"""Run one operator on meta tensors, quickly.

PyTorch works out the shape of a result in Python for many operators, which takes 50 to 600 microseconds each;
a search prices thousands of networks made of the same few layers. So the commonest have shortcuts, and what
another returned for operands of some shapes, strides and types is remembered, and next time empty tensors of
that description are returned instead. What a forward makes on the host has values, and is made each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from hwopt.network.cost_rules import FREE, RULES, Rule, elementwise, reduction
from hwopt.network.meta_functions import META_FUNCTIONS

_MAX_REMEMBERED = 20_000  # descriptions, under a kilobyte each
_PLAIN = (Tensor, torch.nn.Parameter)
_HARMLESS = {"alpha", "approximate"}  # arguments that do not change what is returned
COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd
_SELF = "self"  # an operator that returns its first argument, which it changed in place


_MARKED: dict[Any, Rule] = {
    getattr(torch.Tag, word): rule
    for word, rule in (("pointwise", elementwise("pointwise")), ("reduction", reduction("reduction")))
    if hasattr(torch.Tag, word)
}


class Operator:
    """What does not change from call to call of an operator.

    Attributes:
        name: for example "aten.relu_".
        is_composite: PyTorch makes it of other operators.
        is_in_place: it writes to its first argument and returns it.
        is_functional: it returns new tensors and changes none.
        writes: it writes to one of its arguments.
        meta_function: knows what it returns in plain cases, where there is one.
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
        """Whether it moves no data and does no work."""
        return self.name in FREE or self._base in FREE or (self._is_view and self.rule is None)

    @property
    def rule(self) -> Rule | None:
        """Its cost rule; an in-place operator without one of its own has that of the plain operator.

        What PyTorch marks as pointwise or as a reduction has the rule of those.
        """
        return RULES.get(self.name) or RULES.get(self._base) or self._marked


_operators: dict[Any, Operator] = {}
_remembered: dict[Any, Any] = {}


def operator_of(function: Any) -> Operator:
    """Return the description of an operator, looked up once."""
    operator = _operators.get(function)
    if operator is None:
        operator = _operators[function] = Operator(function)
    return operator


def run_on_meta(operator: Operator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what an operator other than a view returns on meta: new tensors, or its first argument."""
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
    """Return what the result's description depends on, or None where that is not certain."""
    if not (operator.is_functional or operator.is_in_place):
        return None
    # The default type decides what integers divided by integers give.
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
            parts.append(value.__class__)  # 1, 1.0 and True are equal but do not give the same type
    return True


def _remember(key: Any, operator: Operator, args: tuple[Any, ...], out: Any) -> None:
    if operator.is_in_place:
        found: Any = _SELF if out is args[0] else None
    else:
        results = [out] if isinstance(out, Tensor) else list(out)
        found = [(tuple(x.shape), x.stride(), x.dtype) for x in results]
        # Only results without values that own their memory whole can be made again from a description.
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
    """Whether one of the first tensors, the results, shares its memory with another tensor of the list."""
    addresses = [tensor.untyped_storage()._cdata for tensor in tensors]
    return any(addresses.count(address) > 1 for address in addresses[:n_results])


def _owns_all(tensor: Tensor) -> bool:
    """Whether the tensor's memory is all from its first to its last element."""
    last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    extent = (last + 1) * tensor.element_size() if tensor.numel() else 0
    return bool(tensor.storage_offset() == 0 and tensor.untyped_storage().nbytes() == extent)
