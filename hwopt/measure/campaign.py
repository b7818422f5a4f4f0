"""What every campaign shares: how long it may go on, what is there already, how a network becomes rows."""

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

Progress = Callable[[str, int, int, str], None]


@lru_cache(maxsize=512)
def trace_spec(spec: NetworkSpec, dtype: str = "float32") -> LayerGraph:
    """Return a network as the tracer writes it."""
    batch, *shape = spec.input_shape
    return trace(build_on(spec.build), tuple(shape), batch, dtype)


def identity_columns(spec: NetworkSpec, graph: LayerGraph) -> dict[str, Any]:
    """Return the columns of networks.csv that say which network a row is of."""
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


def tested(specs: Sequence[NetworkSpec], path: Path) -> list[NetworkSpec]:
    """Return the specs of the split `test` that have a time in a networks.csv."""
    names = {key[0] for key in measured_keys(path, read_networks, ("network",))}
    return [spec for spec in specs if spec.split == "test" and spec.name in names]


class Deadline:
    """How much of a budget is left, and whether a further group fits into a share of it."""

    def __init__(self, budget_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self.budget_s = budget_s
        self._now, self._begin = now, now()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the campaign went on."""
        return self._now() - self._begin

    def allows(self, seconds: float, share: float) -> bool:
        """Whether `seconds` more end within a share of the budget."""
        return self.elapsed_s + seconds <= share * self.budget_s


def rows_of_graph(network: str, graph: LayerGraph) -> list[dict[str, Any]]:
    """Return the rows of network_layers.csv of one network."""
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
        path: the file; none is as an empty one.
        read: how it is read.
        columns: the key.
        with_value: only rows with a value in this column.
        again: only rows of another status than these.
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
