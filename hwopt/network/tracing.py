"""Trace a network on the meta device: record every operator as a layer.

    input shape --> meta tensor --> network, operator by operator --> cost rule --> Layer --\
                                          |                                                  LayerGraph
                                          +--> storages alive ------------------> peak -----/

Nothing is allocated or computed: meta tensors have shapes and no data.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from hwopt.errors import HwoptError, InvalidInput, did_you_mean
from hwopt.network.cost_rules import RULES, UNKNOWN, Operation, Rule, columns, elementwise
from hwopt.network.fused_operators import FusedLayers
from hwopt.network.layer import Layer, LayerGraph
from hwopt.network.meta_dispatch import COMPOSITE, operator_of, run_on_meta
from hwopt.network.meta_module import MetaNetwork, on_meta_device
from hwopt.network.module_state import SavedState
from hwopt.network.nested_tensors import output_tensors, tensors_in
from hwopt.network.repeated_traces import notes_on, traced_repeatedly

_DTYPE_NAMES = {
    value: str(value).removeprefix("torch.")
    for value in vars(torch).values()
    if isinstance(value, torch.dtype)
}
_STATE_OPERATOR = "aten.zeros"
_UNKNOWN_RULE = elementwise(UNKNOWN)
_DTYPES = {name: value for value, name in _DTYPE_NAMES.items()}
_USUAL_DTYPES = ("float32", "float64", "float16", "bfloat16")  # the ones a message lists


class UnknownOperator(HwoptError, KeyError):
    """An operator without a cost rule. The message names it and the module that ran it."""

    __str__ = Exception.__str__  # KeyError would print the message in quotes


def trace(
    module: nn.Module,
    input_shape: Sequence[int],
    batch_size: int = 1,
    dtype: str = "float32",
    unknown: Literal["error", "count"] = "count",
    n_traces: int = 1,
) -> LayerGraph:
    """Return the layers of a network in inference, in running order, and its memory.

    The network may be on any device, meta included, and is left unchanged. It is traced in eval mode, with
    floating-point parameters and buffers in `dtype`. Conventions: `hwopt.network.cost_rules`.

    Args:
        module: the network; its forward takes one tensor [batch_size, *input_shape].
        input_shape: shape of one item, without the batch, for example (3, 224, 224).
        batch_size: items in a pass; work and bytes are of the whole batch.
        dtype: data type of the input, for example "float16"; with an integer type, parameters keep theirs.
        unknown: "error" raises for an operator without a cost rule; "count" makes it a layer of kind
            "unknown" with the bytes of its operands and results, counted in `unknown_operators`.
        n_traces: least number of traces; if they differ, there is a note in `notes`. A forward that draws
            random numbers on the host is traced seven times.

    Raises:
        UnknownOperator: an operator has no cost rule and `unknown` is "error".
        InvalidInput: the network does not run on such an input.
    """
    return traced_repeatedly(lambda: trace_once(module, input_shape, batch_size, dtype, unknown), n_traces)


def trace_once(
    module: nn.Module,
    input_shape: Sequence[int],
    batch_size: int = 1,
    dtype: str = "float32",
    unknown: Literal["error", "count"] = "count",
) -> LayerGraph:
    """Return a single trace; arguments and errors are those of `trace`."""
    torch_dtype = _check_arguments(module, input_shape, batch_size, dtype, unknown)
    return run_traced(module, (batch_size, *input_shape), torch_dtype, unknown == "count").graph


class Traced(NamedTuple):
    """A trace with the input, a meta tensor, and the output of the network."""

    graph: LayerGraph
    x: Tensor
    out: Any


def run_traced(
    module: nn.Module, shape: tuple[int, ...], dtype: torch.dtype, tolerates_unknown: bool = False
) -> Traced:
    """Trace a network on an input of this shape, batch included; errors are those of `trace`."""
    whole, module = module, getattr(module, "_orig_mod", module)  # torch.compile wraps it
    with on_meta_device(module, dtype if dtype.is_floating_point else None) as meta:
        meta.is_compiled |= whole is not module
        x = torch.empty(shape, dtype=dtype, device="meta")
        recorder = Recorder(meta, tolerates_unknown)
        recorder.memory.hold([x])
        try:
            with recorder, FusedLayers(recorder.record) as layers:
                out = module(x)
            meta.is_autocast = layers.is_autocast
        except HwoptError:
            raise
        except Exception as error:
            raise InvalidInput(_why_it_failed(module, shape, meta, error)) from error
        graph = LayerGraph(
            layers=tuple(recorder.layers),
            n_parameters=meta.n_parameters,
            parameter_bytes=meta.parameter_bytes,
            buffer_bytes=meta.buffer_bytes,
            input_bytes=x.nbytes,
            output_bytes=sum(tensor.nbytes for tensor in output_tensors(out)),
            peak_activation_bytes=recorder.memory.peak_bytes,
            batch_size=shape[0],
            dtype=_DTYPE_NAMES[dtype],
            unknown_operators=tuple(recorder.unknown.items()),
            notes=notes_on(meta),
        )
        return Traced(graph, x, out)


def recorder_of(leaf: nn.Module) -> Recorder:
    """Return a recorder of a leaf module whose weights are float32 and on the meta device."""
    meta = MetaNetwork(torch.float32, False, SavedState())
    for tensor in (*leaf._parameters.values(), *leaf._buffers.values()):
        if tensor is not None:
            meta.weights.add(tensor.untyped_storage()._cdata)
    return Recorder(meta, False)


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Dispatch mode that records one layer per operator that computes or moves data."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # skipping would load the compiler, which takes a second

    def __init__(self, meta: MetaNetwork, tolerates_unknown: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.layers: list[Layer] = []
        self.unknown: dict[str, int] = {}
        self.memory = meta.memory
        self._meta = meta
        self._tolerates_unknown = tolerates_unknown

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        operator = operator_of(func)
        if operator.is_composite:  # in inference mode; otherwise PyTorch decomposes it
            with self:
                return func._op_dk(COMPOSITE, *args, **kwargs or {})
        is_free, rule = operator.is_free, operator.rule
        if rule is None and not is_free:
            rule = self._meet_unknown(operator.name)
        args, kwargs, operands = self._meta.on_one_device(operator.name, args, kwargs or {})
        if operator.writes:
            self._meta.keep_written(operands)
        if is_free:
            out = func(*args, **kwargs)
        else:
            out = run_on_meta(operator, args, kwargs)
        results = [out] if isinstance(out, Tensor) else list(tensors_in(out))
        self.memory.hold(results)
        if rule is not None and not is_free and results:
            self._write(rule, operator.name, args, kwargs, operands, results)
        return out

    def dispatch(self, func: Any, *args: Any) -> Any:
        """Record an operator as if it had been called, and return its result."""
        return self.__torch_dispatch__(func, (), args)

    def record(self, name: str, args: tuple[Any, ...], operands: list[Tensor], results: list[Tensor]) -> None:
        """Record a layer that devices run as one operator, although PyTorch decomposes it.

        Zero states that a recurrent module has just created are part of it.
        """
        path = self._meta.path[-1] if self._meta.path else ""
        while self.layers and (self.layers[-1].operator, self.layers[-1].name) == (_STATE_OPERATOR, path):
            self.layers.pop()
        rule = RULES.get(name)
        if rule is None:
            rule = self._meet_unknown(name)
        self._write(rule, name, args, {}, operands, results)

    def _write(
        self,
        rule: Rule,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        operands: list[Tensor],
        results: list[Tensor],
    ) -> None:
        operation = Operation(name, args, kwargs, operands, results, self._meta.weights)
        self.layers.append(self._layer(operation, rule(operation)))

    def _meet_unknown(self, name: str) -> Rule:
        if not self._tolerates_unknown:
            raise UnknownOperator(_unknown_operator_message(name, self._meta.path))
        self.unknown[name] = self.unknown.get(name, 0) + 1
        return _UNKNOWN_RULE

    def _layer(self, operation: Operation, fields: dict[str, Any]) -> Layer:
        weights, input_bytes, weight_bytes = self._meta.weights, 0, 0
        for tensor in operation.operands:
            storage = tensor.untyped_storage()
            n_bytes = min(tensor.nbytes, storage.nbytes())  # expanded tensors are read once
            if storage._cdata in weights:
                weight_bytes += n_bytes
            else:
                input_bytes += n_bytes
        out = operation.out
        if "batch" not in fields:
            shape = columns(operation.x.shape if operation.operands else out.shape)
            fields["batch"], fields["in_channels"], fields["in_h"], fields["in_w"] = shape
            _, fields["out_channels"], fields["out_h"], fields["out_w"] = columns(out.shape)
        fields.setdefault("output_bytes", sum(result.nbytes for result in operation.results))
        return Layer(
            name=self._meta.path[-1] if self._meta.path else "",
            operator=operation.name,
            dtype=_DTYPE_NAMES[out.dtype],
            input_bytes=input_bytes,
            weight_bytes=weight_bytes,
            live_bytes=self.memory.now_bytes,
            output_shape=tuple(out.shape),
            **fields,
        )


def _place(path: str) -> str:
    return f"in '{path}'" if path else "in the network's own forward"


def _unknown_operator_message(name: str, path: list[str]) -> str:
    known = ", ".join(
        ("conv2d", "linear", "matmul", "attention", "max_pool2d", "batch_norm", "relu", "add", "cat")
    )
    where = _place(path[-1] if path else "")
    return (
        f"no cost rule for operator '{name}' ({where}); known: {known}, ... "
        f"({len(RULES)} operators). Add one to hwopt.network.RULES"
    )


def _why_it_failed(module: nn.Module, shape: tuple[int, ...], meta: MetaNetwork, error: Exception) -> str:
    name, where = type(module).__name__, _place(meta.failed_in or "")
    reason = str(error).strip().split("\n")[0][:300] or type(error).__name__
    if isinstance(error, NotImplementedError) or "meta" in reason.lower():
        hint = "a trace has shapes and no values, so forward must not depend on the values of tensors"
    else:
        hint = "give the input_shape of the network, without the batch"
    return f"{name} does not run on an input of shape {shape} ({where}): {reason}; {hint}"


def _check_arguments(
    module: object, input_shape: Sequence[int], batch_size: int, dtype: str, unknown: str
) -> torch.dtype:
    if not isinstance(module, nn.Module):
        raise InvalidInput(f"only a torch.nn.Module can be traced, got {module!r:.200}")
    sizes = (batch_size, *input_shape)
    if not all(isinstance(n, Integral) and not isinstance(n, bool) and n >= 1 for n in sizes):
        raise InvalidInput(
            f"batch_size and input_shape are whole numbers from 1, got {batch_size!r} and {input_shape!r}"
        )
    if dtype not in _DTYPES:
        raise InvalidInput(f"unknown dtype {dtype!r}{did_you_mean(str(dtype), _USUAL_DTYPES)}")
    if unknown not in ("error", "count"):
        raise InvalidInput(f"unknown={unknown!r}: wanted 'error' or 'count', for operators without a rule")
    return _DTYPES[dtype]
