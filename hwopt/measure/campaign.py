"""Helpers of CPU and GPU campaigns: deadline, rows already measured, rows of a traced network."""

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from hwopt.measure.sampling.networks import NetworkSpec
from hwopt.network import trace
from hwopt.network.build import build_on
from hwopt.network.layer import LayerGraph
from hwopt.profile.device_profile import read_networks


@lru_cache(maxsize=512)
def trace_spec(spec: NetworkSpec, dtype: str = "float32") -> LayerGraph:
    """Return the trace of a network."""
    batch, *shape = spec.input_shape
    return trace(build_on(spec.build), tuple(shape), batch, dtype)


def identity_columns(spec: NetworkSpec, graph: LayerGraph) -> dict[str, Any]:
    """Return the columns of networks.csv that identify a network."""
    return {
        "network": spec.name,
        "source": spec.source,
        "split": spec.split,
        "batch": graph.batch_size,
        "dtype": graph.dtype,
        "modelled_memory_bytes": graph.memory_bytes,
        "input_shape": "x".join(str(side) for side in spec.input_shape),
        "config": spec.config,
    }


def measured_test_networks(specs: Sequence[NetworkSpec], path: Path) -> list[NetworkSpec]:
    """Return the networks of the split `test` that have a time in a networks.csv."""
    names = {key[0] for key in measured_keys(path, read_networks, ("network",))}
    return [spec for spec in specs if spec.split == "test" and spec.name in names]


class Deadline:
    """Time budget of a run.

    Args:
        budget_s: seconds.
        now: clock, in seconds.
    """

    def __init__(self, budget_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self.budget_s = budget_s
        self._now, self._begin = now, now()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return self._now() - self._begin

    def allows(self, seconds: float, share: float) -> bool:
        """Return whether work of this many seconds ends within a share of the budget."""
        return self.elapsed_s + seconds <= share * self.budget_s


def rows_of_graph(network: str, graph: LayerGraph) -> list[dict[str, Any]]:
    """Return the rows of a network in network_layers.csv."""
    return [
        {**layer.row(), "network": network, "position": position}
        for position, layer in enumerate(graph.layers)
    ]


def measured_keys(
    path: Path,
    read: Callable[[Path], Any],
    columns: Sequence[str],
    with_value: str | None = "time_s",
    again: Sequence[str] = (),
) -> set[tuple[Any, ...]]:
    """Return the keys of the rows of a file as plain Python values.

    Args:
        path: the file; it may be absent.
        read: reads the file as a table.
        columns: columns of the key.
        with_value: rows without a value in this column are left out; None keeps them.
        again: statuses of rows to measure again; these are left out.
    """
    if not path.exists():
        return set()
    table = read(path)
    table = table if with_value is None else table[table[with_value].notna()]
    table = table[~table["status"].isin(again)] if again else table
    return {
        tuple(int(value) if isinstance(value, float) else value for value in row)
        for row in table[list(columns)].itertuples(index=False, name=None)
    }
