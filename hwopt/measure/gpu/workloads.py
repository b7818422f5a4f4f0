"""GPU workloads: a single operator, a whole network, the reference operators of a campaign."""

from collections.abc import Sequence
from typing import Any

from hwopt.measure.gpu.accelerator import GpuWorkload
from hwopt.measure.operators.build import recipe_of, trace_recipe
from hwopt.measure.sampling.networks import NetworkSpec
from hwopt.measure.sampling.operators import Operator
from hwopt.network.layer import Layer, LayerGraph


def operator_workload(operator: Operator) -> GpuWorkload:
    """Return the workload of a single operator."""
    recipe = operator.recipe
    return GpuWorkload(
        text_key(operator.key),
        graph_of_layer(operator.layer),
        lambda: recipe.call,
        recipe.inputs,
        recipe.weights,
    )


def network_workload(spec: NetworkSpec, graph: LayerGraph) -> GpuWorkload:
    """Return the workload of a traced network."""
    return GpuWorkload(spec.name, graph, spec.build, (spec.input_shape,))


def reference_operators(dtype: str) -> list[Operator]:
    """Return the operators of the reference workloads: bound by arithmetic, memory and launch latency."""
    conv = {"batch": 32, "in_channels": 128, "out_channels": 128, **_square("in", 56), **_square("out", 56)}
    sides = {**_square("in", 112), **_square("out", 112)}
    shapes = {
        "conv2d": {**conv, **_square("kernel", 3), **_square("padding", 1)},
        "relu": {"batch": 64, "in_channels": 64, "out_channels": 64, **sides},
        "linear": {"batch": 16, "in_channels": 256, "out_channels": 256},
    }
    found = []
    for kind, shape in shapes.items():
        row = {**Layer("", kind, "", 1, 1, 1, 1, 1, 1, 1).row(), **shape, "dtype": dtype}
        recipe = recipe_of(row)
        found.append(Operator(trace_recipe(recipe, kind, dtype), recipe, "reference"))
    return found


def _square(name: str, side: int) -> dict[str, Any]:
    return {f"{name}_h": side, f"{name}_w": side}


def graph_of_layer(layer: Layer) -> LayerGraph:
    """Return the graph of a network that consists of one layer."""
    return LayerGraph(
        layers=(layer,),
        n_parameters=0,
        parameter_bytes=layer.weight_bytes,
        buffer_bytes=0,
        input_bytes=layer.input_bytes,
        output_bytes=layer.output_bytes,
        peak_activation_bytes=layer.input_bytes + layer.output_bytes,
        batch_size=layer.batch,
        dtype=layer.dtype,
    )


def text_key(key: Sequence[Any]) -> str:
    """Return a key as text for a CSV cell."""
    return " ".join(str(value) for value in key)
