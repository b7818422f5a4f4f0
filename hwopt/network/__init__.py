"""From a configuration to a network to its layers: shapes, work, traffic, memory; nothing is run.

    config --build--> nn.Module --trace--> LayerGraph

`Layer` and the cost rules are plain Python; what needs PyTorch is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hwopt.network.layer import METRICS, SHAPE_COLUMNS, WORK_COLUMNS, Layer, LayerGraph
from hwopt.network.rules import FREE, RULES, Operation, Rule, elementwise, reduction

if TYPE_CHECKING:
    from hwopt.network.build import build_network, trace_config
    from hwopt.network.source import load_attribute, load_model, load_python_file
    from hwopt.network.tracing import UnknownOperator, trace
    from hwopt.network.training import training_memory_bytes

_LAZY = {
    "UnknownOperator": "hwopt.network.tracing",
    "build_network": "hwopt.network.build",
    "load_attribute": "hwopt.network.source",
    "load_model": "hwopt.network.source",
    "load_python_file": "hwopt.network.source",
    "trace_config": "hwopt.network.build",
    "training_memory_bytes": "hwopt.network.training",
    "trace": "hwopt.network.tracing",
}

__all__ = [
    "FREE",
    "METRICS",
    "RULES",
    "SHAPE_COLUMNS",
    "WORK_COLUMNS",
    "Layer",
    "LayerGraph",
    "Operation",
    "Rule",
    "UnknownOperator",
    "build_network",
    "elementwise",
    "load_attribute",
    "load_model",
    "load_python_file",
    "reduction",
    "trace",
    "trace_config",
    "training_memory_bytes",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
