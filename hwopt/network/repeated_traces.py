"""Repeated traces of a network, and notes on differences between traces or from the network."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hwopt.network.layer import LayerGraph

if TYPE_CHECKING:
    from hwopt.network.meta_module import MetaNetwork

_MORE_TRACES = 6  # further traces of a forward that draws random numbers on the host


def notes_on(meta: MetaNetwork) -> tuple[str, ...]:
    """Return notes on how a trace differs from the network."""
    notes = []
    if meta.dtype is not None and meta.dtypes - {meta.dtype}:
        own = " and ".join(sorted(_name(dtype) for dtype in meta.dtypes))
        wanted = _name(meta.dtype)
        notes.append(f"the weights are {own} and were traced as {wanted}; pass the dtype of inference")
    if meta.is_compiled:
        notes.append("torch.compile is ignored: traced in eager mode; the compiled network is faster")
    if meta.is_autocast and meta.dtype is not None:
        notes.append(
            f"torch.autocast is ignored: everything is traced as {_name(meta.dtype)}; pass the dtype of most "
            "operators"
        )
    return tuple(notes)


def traced_repeatedly(trace: Callable[[], LayerGraph], n_traces: int) -> LayerGraph:
    """Return the first of at least `n_traces` traces, with a note if they differ.

    A forward that draws random numbers on the host is traced more often, since they may change the layers.
    The random generators of Python, NumPy and PyTorch are restored.
    """
    with _random_states_kept():
        before = _random_states()
        graphs = [trace()]
        n_more = _MORE_TRACES if _random_states() != before else n_traces - 1
        graphs += [trace() for _ in range(n_more)]
    if all(graph == graphs[0] for graph in graphs):
        return graphs[0]
    return replace(graphs[0], notes=(*graphs[0].notes, _how_they_differ(graphs)))


def _how_they_differ(graphs: list[LayerGraph]) -> str:
    layers, flops = sorted(len(graph.layers) for graph in graphs), sorted(graph.flops for graph in graphs)
    return (
        f"the network differs from run to run: in {len(graphs)} traces {layers[0]:,} to "
        f"{layers[-1]:,} layers and {flops[0]:,} to {flops[-1]:,} FLOPs; the costs are those of the first"
    )


def _random_states() -> tuple[Any, ...]:
    own = np.random.get_state(legacy=False)["state"]
    return random.getstate(), own["key"].tobytes(), own["pos"], torch.get_rng_state().numpy().tobytes()


@contextmanager
def _random_states_kept() -> Iterator[None]:
    of_python, of_numpy, of_torch = (
        random.getstate(),
        np.random.get_state(legacy=False),
        torch.get_rng_state(),
    )
    try:
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)
        torch.set_rng_state(of_torch)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
