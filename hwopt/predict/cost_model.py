"""Costs of the configs of a search space: each distinct network is built, traced and predicted once.

config --seen--> ReadTree of the hyperparameters that `build` read --> costs
`-------new--> traced, recording the reads --> all new networks predicted in one call --^
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.arrays import Array
from hwopt.costs import Costs
from hwopt.network.layer import LayerGraph
from hwopt.predict.device_model import DeviceModel
from hwopt.predict.network_table import NetworkTable
from hwopt.predict.price_serialization import as_config, packed, unpacked
from hwopt.predict.uncertainty.unknown_operators import UnknownOfMany
from hwopt.space.recorded_config import ReadTree

if TYPE_CHECKING:
    from hwopt.network import Recorded, SpaceCheck
    from hwopt.space.search_space import Config, Key, SearchSpace

NO_WORK = "the network has no operator that costs anything"
_N_CHECKED = 8  # stored prices that are recomputed before the others are accepted
_N_COMPARED = 64  # largest number of compared networks with the same listed hyperparameters


@dataclass(frozen=True, slots=True)
class _Price:
    """Price of one network: costs and widening factors by metric, or the reason why it has none.

    `errors` are the calibration errors, metric after metric.
    """

    values: tuple[float, ...]
    widening: tuple[float, ...]
    errors: Array
    reason: str | None = None


def _same(one: _Price, other: _Price) -> bool:
    """Return whether two prices are equal up to the rounding of sums."""
    pairs = ((one.values, other.values), (one.widening, other.widening), (one.errors, other.errors))
    return all(np.allclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True) for a, b in pairs)


def check_structural(space: "SearchSpace") -> "SpaceCheck | None":
    """Check a space's list of structural hyperparameters, or find them; None if it builds no networks.

    Raises:
        InvalidInput: if the list lacks a hyperparameter that changes the layers.
    """
    from hwopt.network import check_space

    if space.build is None or space.input_shape is None:
        return None
    found = check_space(space)
    space.found_structural(found.read)
    return found


def key_names(space: "SearchSpace") -> tuple[str, ...]:
    """Return the hyperparameters that distinguish networks even if `build` is not seen to read them.

    Raises:
        InvalidInput: as of `check_structural`.
    """
    check = check_structural(space)
    if check is not None and not check.is_recorded:
        return space.names
    return space.structural if space.is_listed else ()


class CostModel:
    """Cost model of a search space: a callable from configs to `Costs`.

    Configs share a price if they agree in the hyperparameters that `build` (or the network's forward) reads
    and in those that the space lists as structural.

    Raises:
        InvalidInput: here or when configs are priced, for a hyperparameter that changes the layers and is
            not among the listed ones.
    """

    def __init__(self, model: DeviceModel, space: "SearchSpace", batch_size: int, dtype: str) -> None:
        self.model, self.space = model, space
        self.batch_size, self.dtype = batch_size, dtype
        self._key_names = key_names(space)
        self._known: ReadTree[_Price] = ReadTree()
        self._by_list: dict[Key, Config] = {}
        self._n_compared = 0
        self._kept = b""  # prices that `keep` accepted last
        self._unknown = UnknownOfMany()

    def __call__(self, configs: Sequence[Mapping[str, Any]]) -> Costs:
        """Return the costs of n configs; NaN with the reason if a network cannot be built or traced."""
        found = [self._known.find(config) for config in configs]
        if None in found:
            self._price_new([config for config, price in zip(configs, found, strict=True) if price is None])
            found = [self._known.find(config) for config in configs]
        priced = [price for price in found if price is not None]
        values = self._columns([price.values for price in priced])
        widening = self._columns([price.widening for price in priced])
        reasons = [price.reason for price in priced]
        return Costs(values, self._residuals(priced), reasons, widening, self.model.weights, self.model.caps)

    @property
    def notes(self) -> list[str]:
        """Caveats about the networks priced so far, such as unknown operators."""
        return self._unknown.notes()

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that this device predicts."""
        return self.model.metrics

    def identity(self) -> dict[str, Any]:
        """Return the dependencies of prices besides the space: profile, method, batch size, dtype, mode."""
        return {
            "profile": self.model.profile.digest(),
            "method": self.model.name,
            "mode": self.model.mode,
            "batch_size": int(self.batch_size),
            "dtype": self.dtype,
            "metrics": list(self.metrics),
        }

    def kept(self) -> bytes:
        """Return all prices so far, as bytes."""
        reads, prices = zip(*self._known.items(), strict=True) if self._known else ((), ())
        names = ("values", "widening", "errors")
        arrays = {name: np.array([getattr(price, name) for price in prices]) for name in names}
        return packed(reads, [price.reason for price in prices], **arrays)

    def keep(self, kept: bytes) -> bool:
        """Load prices that `kept` returned; return False if a recomputed sample of them differs."""
        if kept == self._kept:
            return True
        reads, reasons, arrays = unpacked(kept)
        rows = zip(arrays["values"].tolist(), arrays["widening"].tolist(), arrays["errors"], strict=True)
        prices = [
            _Price(tuple(v), tuple(w), e, reason) for (v, w, e), reason in zip(rows, reasons, strict=True)
        ]
        chosen = np.unique(np.linspace(0, len(reads) - 1, min(_N_CHECKED, len(reads)), dtype=int)).tolist()
        for i in chosen:
            one = self._graph(as_config(reads[i]))
            if dict(one.reads) != dict(reads[i]) or not _same(self._predicted([one])[0], prices[i]):
                return False
        for own, price in zip(reads, prices, strict=True):
            self._known.add(as_config(own), own, price)
        self._kept = kept
        return True

    def _residuals(self, priced: Sequence[_Price]) -> dict[str, Array]:
        """Return metric -> calibration errors of each config, [n, n_calibration]."""
        lengths = [len(self.model.residuals[metric]) for metric in self.metrics]
        errors = np.array([price.errors for price in priced]).reshape(len(priced), sum(lengths))
        parts = np.split(errors, np.cumsum(lengths)[:-1], axis=1)
        return dict(zip(self.metrics, parts, strict=True))

    def _columns(self, rows: Sequence[tuple[float, ...]]) -> dict[str, Array]:
        table = np.array(rows, dtype=float).reshape(len(rows), len(self.metrics))
        return dict(zip(self.metrics, table.T, strict=True))

    def _price_new(self, configs: Sequence[Mapping[str, Any]]) -> None:
        """Price new configs, each distinct network once."""
        from hwopt.network.weightless_modules import fast_constructors

        new: ReadTree[int] = ReadTree()
        traced: list[tuple[Mapping[str, Any], Recorded[LayerGraph]]] = []
        with fast_constructors():
            for config in configs:
                if new.find(config) is None:
                    one = self._graph(config)
                    new.add(config, one.reads, len(traced))
                    traced.append((config, one))
        for (config, one), price in zip(traced, self._predicted([one for _, one in traced]), strict=True):
            self._known.add(config, one.reads, price)

    def _graph(self, config: Mapping[str, Any]) -> "Recorded[LayerGraph]":
        """Trace a network; its recorded reads include the hyperparameters that the space lists."""
        from hwopt.network import trace_recorded

        one = trace_recorded(self.space, config, self.batch_size, self.dtype)
        self._check_listed(config, one)
        return one.with_reads(self._key_names, config)

    def _predicted(self, traced: "Sequence[Recorded[LayerGraph]]") -> list[_Price]:
        graphs = [one.result for one in traced if one.result is not None and one.result.layers]
        costs = iter(self._prices(graphs))
        n_errors = sum(len(own) for own in self.model.residuals.values())
        nothing = (np.nan,) * len(self.metrics), (1.0,) * len(self.metrics), np.zeros(n_errors)
        return [
            next(costs) if one.result and one.result.layers else _Price(*nothing, one.reason or NO_WORK)
            for one in traced
        ]

    def _prices(self, graphs: Sequence[LayerGraph]) -> list[_Price]:
        if not graphs:
            return []
        table = NetworkTable.of_graphs(graphs)
        costs = self.model.costs(table)
        self._unknown.add(graphs, table, self.model)
        ones = np.ones(len(graphs))
        values = zip(*(costs[metric].tolist() for metric in self.metrics), strict=True)
        factors = (costs.widening.get(metric, ones).tolist() for metric in self.metrics)
        shape = len(graphs), -1
        errors = np.hstack([np.reshape(costs.residuals[metric], shape) for metric in self.metrics])
        return [_Price(*one) for one in zip(values, zip(*factors, strict=True), errors, strict=True)]

    def _check_listed(self, config: Mapping[str, Any], one: "Recorded[LayerGraph]") -> None:
        """Compare the first networks that agree in listed hyperparameters but differ in one that is read."""
        from hwopt.network.space_check import changing, unlisted

        if not self.space.is_listed or self._n_compared >= _N_COMPARED:
            return
        before = self._by_list.setdefault(self.space.structural_key(config), dict(config))
        names = [n for n in one.reads if n not in self.space.structural and before.get(n) != config.get(n)]
        if names:
            self._n_compared += 1
            found = changing(self.space, dict(config), one, {**config, **before}, names)
            if found:
                raise unlisted(found, config, before[found])
