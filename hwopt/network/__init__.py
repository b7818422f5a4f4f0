"""Layers of a config's network: shapes, work, traffic and memory, without running the network.

    config --build--> nn.Module --trace--> LayerGraph

`Layer` and the cost rules are plain Python; names that need PyTorch are imported when first used.
"""

from typing import TYPE_CHECKING

from hwopt.lazy_names import lazy_names
from hwopt.network.cost_rules import FREE, RULES, Operation, Rule, elementwise, reduction
from hwopt.network.layer import METRICS, SHAPE_COLUMNS, WORK_COLUMNS, Layer, LayerGraph

if TYPE_CHECKING:
    from hwopt.network.build import Recorded, build_network, run_recorded, trace_config, trace_recorded
    from hwopt.network.loading import load_attribute, load_model, load_python_file
    from hwopt.network.space_check import SpaceCheck, check_space, never_read
    from hwopt.network.tracing import UnknownOperator, trace
    from hwopt.network.training_memory import training_memory_bytes

__all__ = [
    "FREE", "METRICS", "RULES", "SHAPE_COLUMNS", "WORK_COLUMNS", "Layer", "LayerGraph", "Operation", "Rule",
    "SpaceCheck", "Recorded", "UnknownOperator", "build_network", "check_space", "elementwise",
    "load_attribute", "load_model", "load_python_file", "never_read", "reduction", "run_recorded", "trace",
    "trace_config", "trace_recorded", "training_memory_bytes",
]  # fmt: skip
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "hwopt.network.build": "Recorded build_network run_recorded trace_config trace_recorded",
        "hwopt.network.loading": "load_attribute load_model load_python_file",
        "hwopt.network.space_check": "SpaceCheck check_space never_read",
        "hwopt.network.tracing": "UnknownOperator trace",
        "hwopt.network.training_memory": "training_memory_bytes",
    },
)
