"""From a configuration to a network to its layers: shapes, work, traffic, memory; nothing is run.

    config --build--> nn.Module --trace--> LayerGraph

`Layer` and the cost rules are plain Python; what needs PyTorch is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hwopt.network.cost_rules import FREE, RULES, Operation, Rule, elementwise, reduction
from hwopt.network.layer import METRICS, SHAPE_COLUMNS, WORK_COLUMNS, Layer, LayerGraph

if TYPE_CHECKING:
    from hwopt.network.build import Recorded, build_network, run_recorded, trace_config, trace_recorded
    from hwopt.network.loading import load_attribute, load_model, load_python_file
    from hwopt.network.space_check import SpaceCheck, check_space, never_read
    from hwopt.network.tracing import UnknownOperator, trace
    from hwopt.network.training_memory import training_memory_bytes

_LAZY = {
    "SpaceCheck": "hwopt.network.space_check",
    "Recorded": "hwopt.network.build",
    "UnknownOperator": "hwopt.network.tracing",
    "build_network": "hwopt.network.build",
    "check_space": "hwopt.network.space_check",
    "never_read": "hwopt.network.space_check",
    "run_recorded": "hwopt.network.build",
    "load_attribute": "hwopt.network.loading",
    "load_model": "hwopt.network.loading",
    "load_python_file": "hwopt.network.loading",
    "trace_config": "hwopt.network.build",
    "trace_recorded": "hwopt.network.build",
    "training_memory_bytes": "hwopt.network.training_memory",
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
    "SpaceCheck",
    "Recorded",
    "UnknownOperator",
    "build_network",
    "check_space",
    "elementwise",
    "load_attribute",
    "load_model",
    "load_python_file",
    "never_read",
    "reduction",
    "run_recorded",
    "trace",
    "trace_config",
    "trace_recorded",
    "training_memory_bytes",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
