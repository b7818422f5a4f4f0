"""Share of networks' time in operators without a cost rule, which are priced by the bytes they move."""

from collections.abc import Mapping, Sequence

from hwopt.arrays import Array
from hwopt.network.cost_rules import UNKNOWN
from hwopt.network.layer import LayerGraph
from hwopt.predict.device_model import DeviceModel
from hwopt.predict.network_table import NetworkTable

_N_SHOWN = 5  # operators named in a note


def shares_of_unknown(graph: LayerGraph, shares: Array) -> dict[str, float]:
    """Return operator without a cost rule -> share of the network's time, the largest first.

    Args:
        graph: the traced network.
        shares: share of each layer in its time, [n].
    """
    found = dict.fromkeys((name for name, _ in graph.unknown_operators), 0.0)
    for layer, share in zip(graph.layers, shares, strict=True):
        if layer.kind == UNKNOWN:
            found[layer.operator] = found.get(layer.operator, 0.0) + float(share)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def notes_on_unknown(graph: LayerGraph, unknown: Mapping[str, float]) -> list[str]:
    """Return a note on the operators of a network without a cost rule and their share of the time."""
    if not unknown:
        return []
    counts = dict(graph.unknown_operators)
    parts = [f"{counts[name]} x {name} {share:.1%}" for name, share in list(unknown.items())[:_N_SHOWN]]
    more = f" and {len(unknown) - _N_SHOWN} more" if len(unknown) > _N_SHOWN else ""
    return [
        f"no cost rule, priced by the bytes they move, {sum(unknown.values()):.1%} of the time: "
        f"{', '.join(parts)}{more}. Add one to hwopt.network.RULES"
    ]


class UnknownOfMany:
    """Operators without a cost rule in the priced networks."""

    def __init__(self) -> None:
        self._n_networks = 0
        self._most: dict[str, float] = {}
        self._n_with: dict[str, int] = {}
        self._n_noted: dict[str, int] = {}

    def add(self, graphs: Sequence[LayerGraph], table: NetworkTable, model: DeviceModel) -> None:
        """Add traced networks with the table of their layers and the model that predicts it."""
        self._n_networks += len(graphs)
        for graph in graphs:
            for note in graph.notes:
                self._n_noted[note] = self._n_noted.get(note, 0) + 1
        if not any(graph.unknown_operators for graph in graphs):
            return
        layer_s = model.full.layers(model.method.prepare(table))["time_s"]
        shares = layer_s / table.sum(layer_s)[table.segment]
        for i, graph in enumerate(graphs):
            for name, share in shares_of_unknown(graph, shares[table.segment == i]).items():
                self._most[name] = max(self._most.get(name, 0.0), share)
                self._n_with[name] = self._n_with.get(name, 0) + 1

    def notes(self) -> list[str]:
        """Return one line per operator without a cost rule and per note of a trace."""
        n = f"of {self._n_networks:,} networks"
        lines = [
            f"{name}: no cost rule, priced by the bytes it moves; in {self._n_with[name]:,} {n}, at most "
            f"{most:.1%} of the time. Add one to hwopt.network.RULES"
            for name, most in sorted(self._most.items(), key=lambda item: -item[1])
        ]
        return lines + [f"{count:,} {n}: {note}" for note, count in self._n_noted.items()]


def notes_on_measured(model: DeviceModel) -> list[str]:
    """Return a note on the share of operators without a cost rule in the measured networks' time."""
    table = model.networks.table
    is_unknown = table.layers["kind"].to_numpy(dtype=str) == UNKNOWN
    if not is_unknown.any():
        return []
    layer_s = model.full.layers(model.method.prepare(table))["time_s"]
    shares = table.sum(layer_s * is_unknown) / table.sum(layer_s)
    n = f"{(shares > 0).sum()} of {table.n_networks} networks"
    return [f"operators without a cost rule in {n}: at most {shares.max():.1%} of the predicted time"]
