"""Build and trace the network of a config, with errors that name the config."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from hwopt.errors import HwoptError, InvalidInput
from hwopt.network.sequential import trace_sequential
from hwopt.network.tracing import run_traced, trace_once
from hwopt.network.weightless_modules import building_on_meta, fast_constructors
from hwopt.space.recorded_config import ABSENT, RecordedConfig

if TYPE_CHECKING:
    from hwopt.network.layer import LayerGraph
    from hwopt.space.search_space import SearchSpace

T = TypeVar("T")


class EmptyOnMeta(TorchFunctionMode):
    """Creates tensors of `torch.empty`, such as most parameters, on the meta device; others have values."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.empty and kwargs.get("device") is None:
            kwargs = {**kwargs, "device": "meta"}
        return func(*args, **kwargs)


class _Unfilled(TorchFunctionMode):
    """Skips the initialization of parameters on the meta device, which is half of the build time."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _FILLS:
            tensor = args[0] if args else (kwargs or {}).get("tensor")
            if isinstance(tensor, torch.Tensor) and tensor.is_meta:
                return tensor
        return func(*args, **(kwargs or {}))


_FILLS = frozenset(
    (nn.init.kaiming_uniform_, nn.init.kaiming_normal_, nn.init.uniform_, nn.init.normal_, nn.init.constant_)
    + (torch.Tensor.uniform_, torch.Tensor.normal_, torch.Tensor.fill_, torch.Tensor.zero_)
)


def build_on(build: Callable[[], Any], device: str = "meta") -> Any:
    """Call `build` with parameters on a device; if that fails on "meta", call it on the CPU."""
    try:
        if device != "meta":
            with torch.device(device):
                return build()
        with torch.device("meta"), _Unfilled(), building_on_meta():
            return build()
    except Exception:
        if device == "cpu":
            raise
    with torch.device("cpu"):
        return build()


def build_network(space: SearchSpace, config: Mapping[str, Any], device: str = "meta") -> nn.Module:
    """Return the network of a config.

    Args:
        space: search space with a `build`.
        config: values of the active hyperparameters.
        device: device of the parameters; a `build` that fails on "meta", since it needs their values, is
            called again on the CPU.

    Raises:
        InvalidInput: if there is no `build`, it raises, or it does not return a module.
    """
    return _built(space, config, lambda: dict(config), device)


def _built(
    space: SearchSpace, config: Mapping[str, Any], given: Callable[[], dict[str, Any]], device: str = "meta"
) -> nn.Module:
    """Return the network of a config; `given` returns a new copy of the config for each attempt."""
    build = space.build
    if build is None:
        raise InvalidInput("the search space has no build=; give a function that maps a config to a module")
    try:
        with fast_constructors():
            network = build_on(lambda: build(given()), device)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise InvalidInput(f"build raised {reason} (config {dict(config)})") from error
    if not isinstance(network, nn.Module):
        raise InvalidInput(f"build returned {network!r:.100}, not a torch.nn.Module (config {dict(config)})")
    return network


def trace_config(
    space: SearchSpace,
    config: Mapping[str, Any],
    batch_size: int = 1,
    dtype: str = "float32",
    unknown: Literal["error", "count"] = "count",
) -> LayerGraph:
    """Return the layers of a config's network at a batch size, without allocating memory.

    Raises:
        InvalidInput: if the network cannot be built, or does not run on the space's `input_shape`.
        UnknownOperator: if it uses an operator without a cost rule and `unknown` is "error".
    """
    return _run(space, config, lambda: dict(config), _tracer(space, batch_size, dtype, unknown))


def outputs_on_meta(space: SearchSpace, config: Mapping[str, Any]) -> Any:
    """Return the output of a config's network for one input in eval mode, on the meta device.

    Raises:
        InvalidInput: if the network cannot be built, or does not run on the space's `input_shape`.
    """
    shape = (1, *(space.input_shape or ()))
    return _run(
        space, config, lambda: dict(config), lambda net: run_traced(net, shape, torch.float32, True).out
    )


@dataclass(frozen=True)
class Recorded(Generic[T]):
    """Result of running a config's network, and the hyperparameters that it depends on.

    Attributes:
        result: result of the run; None if the network cannot be built or run.
        reason: reason for not having a result.
        reads: hyperparameters read while building and running, name -> value or `ABSENT`; configs that agree
            in these have the same result, or the same error.
        unknown: keys read by `build` that are not hyperparameters.
    """

    result: T | None
    reason: str | None
    reads: Mapping[str, Any]
    unknown: frozenset[str]

    def with_reads(self, names: Sequence[str], config: Mapping[str, Any]) -> Recorded[T]:
        """Return a copy that depends on further hyperparameters as well."""
        return replace(self, reads={**{name: config.get(name, ABSENT) for name in names}, **self.reads})


def trace_recorded(
    space: SearchSpace, config: Mapping[str, Any], batch_size: int = 1, dtype: str = "float32"
) -> Recorded[LayerGraph]:
    """Trace a config's network as `trace_config` does, and record the hyperparameters that it depends on."""
    return run_recorded(space, config, _tracer(space, batch_size, dtype))


def run_recorded(space: SearchSpace, config: Mapping[str, Any], run: Callable[[nn.Module], T]) -> Recorded[T]:
    """Build a config's network, call `run` on it, and record the hyperparameters that were read.

    If `build` fails with a recording config, it is called with a plain dict, and all hyperparameters count as
    read. A `RecordedConfig` continues to record.
    """
    recorded = config if isinstance(config, RecordedConfig) else RecordedConfig(config, space.names)
    config = recorded.unread()
    result, reason = _tried(lambda: _run(space, config, recorded.copy, run))
    if result is None:
        failed = reason
        result, reason = _tried(lambda: _run(space, config, lambda: dict(config), run))
        if reason != failed:
            recorded.read_all()
    return Recorded(result, reason, recorded.reads, frozenset(recorded.unknown))


def _tracer(
    space: SearchSpace, batch_size: int, dtype: str, unknown: Literal["error", "count"] = "count"
) -> Callable[[nn.Module], LayerGraph]:
    if space.input_shape is None:
        raise InvalidInput("the search space has no input_shape=; give the shape of one input, (1, 28, 28)")
    shape = space.input_shape

    def traced(network: nn.Module) -> LayerGraph:
        chain = trace_sequential(network, shape, batch_size, dtype)
        return chain or trace_once(network, shape, batch_size, dtype, unknown)

    return traced


def _run(
    space: SearchSpace,
    config: Mapping[str, Any],
    given: Callable[[], dict[str, Any]],
    run: Callable[[nn.Module], T],
) -> T:
    network = _built(space, config, given)
    try:
        return run(network)
    except HwoptError as error:
        raise type(error)(f"{error} (config {dict(config)})") from error


def _tried(action: Callable[[], T]) -> tuple[T | None, str | None]:
    try:
        return action(), None
    except HwoptError as error:
        return None, str(error)
