"""Tensors in nested arguments and results of operators and networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import ModuleType
from typing import Any

from torch import Tensor, nn


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in lists, tuples and dicts, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)


def output_tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in the output of a network: in containers, dataclasses and other objects."""
    if isinstance(value, Tensor):
        yield value
    else:
        for item in _parts(value):
            yield from output_tensors(item)


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple, set)):
        yield from value
    elif isinstance(value, Mapping):
        yield from value.values()
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield getattr(value, field.name, None)
    elif not isinstance(value, (type, nn.Module, ModuleType)) and not callable(value):
        yield from getattr(value, "__dict__", {}).values()
