"""Signatures of the public interface: parameters that are keyword-only now and were not always."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def also_by_position(function: Callable[P, T]) -> Callable[P, T]:
    """Let keyword-only parameters of a function be passed by position as well, in their order.

    Code that was written for version 0.1 goes on; `help()` and type checkers show the parameters as
    keyword-only.
    """
    parameters = inspect.signature(function).parameters.values()
    n_positional = sum(one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for one in parameters)
    keywords = [one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY]

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> T:
        by_position = args[n_positional : n_positional + len(keywords)]
        too_many = args[n_positional + len(keywords) :]  # Python's own error says so
        named = dict(zip(keywords, by_position, strict=False))
        return function(*args[:n_positional], *too_many, **named, **kwargs)

    return call
