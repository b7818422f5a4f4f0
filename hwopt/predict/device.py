"""Devices by name or folder, and the costs of networks on them.

    load_device("amd-epyc") --> Device --cost_model(space)--> CostModel: configs --> Costs
                                  |----predict(graph)-------> Prediction: a table of layers, totals, intervals

Models are fitted to the profile's rows on first use, and kept in memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hwopt.costs import Costs
from hwopt.errors import InvalidInput
from hwopt.network.layer import LayerGraph
from hwopt.predict.asked_precision import check_precision
from hwopt.predict.cost_model import NO_WORK, CostModel, check_structural
from hwopt.predict.device_model import DeviceModel
from hwopt.predict.network_table import NetworkTable
from hwopt.predict.prior import prior_profile
from hwopt.predict.shipped import load_profile
from hwopt.predict.shipped import shipped_devices as shipped_devices
from hwopt.predict.uncertainty.unknown_operators import notes_on_unknown, shares_of_unknown
from hwopt.profile.device_profile import DeviceProfile
from hwopt.profile.schema import MODES
from hwopt.signatures import also_by_position

_BUSY = 0.9  # busy share of the time below which a device counts as waiting for its host

if TYPE_CHECKING:
    import pandas as pd

    from hwopt.predict.hyperpower import HyperPower
    from hwopt.space.search_space import SearchSpace


def load_device(name_or_path: str | Path, prior: str | Path | None = None) -> "Device":
    """Return a device by the name of a shipped profile or the path of a profile folder.

    Args:
        name_or_path: name or path of the profile.
        prior: name or path of the profile of a device of the same kind, whose fit serves as a prior and is
            scaled to this device's measurements; "none" for no prior. None takes the `prior` of
            device.json, if there is one.

    Raises:
        UnknownName: if it is neither.
        InvalidInput: if the profile is broken; the message has file, line and what to do.
    """
    profile = load_profile(name_or_path)
    if prior is not None:
        profile = replace(profile, info={**profile.info, "prior": str(prior)})
    prior_profile(profile)  # refuses one that cannot be used
    return Device(profile)


@dataclass(frozen=True)
class Prediction:
    """Predicted costs of one network.

    Attributes:
        layers: one row per layer, in running order: name, kind, shapes, FLOPs; time_s, its contribution to
            the network's time (the column sums to the total), and its share; power_w and energy_j if the
            device has power; memory_bytes of its operands, weights and result, which do not sum to the
            network's; output_shape; is_fallback, too few measured rows of its kind; is_extrapolated, outside
            their range.
        total: metric -> value of one pass of the batch, SI units.
        costs: predictive distribution of the totals, n = 1.
        notes: caveats, such as kinds without measured rows.
        unknown: operator without a cost rule -> share of the time; priced by the bytes it moves.
    """

    layers: "pd.DataFrame"
    total: dict[str, float]
    costs: Costs
    notes: tuple[str, ...]
    unknown: Mapping[str, float] = field(default_factory=dict)


class Device:
    """A device and its cost models, one for each method, fitted on first use."""

    def __init__(self, profile: DeviceProfile) -> None:
        self.profile = profile
        self._models: dict[tuple[str, str], DeviceModel] = {}

    def __repr__(self) -> str:
        return f"Device({self.profile.name!r}, {len(self.profile.measured_layers)} layer rows)"

    @property
    def name(self) -> str:
        """Name of the device."""
        return self.profile.name

    def model(self, method: str = "hybrid", mode: str = "eager") -> DeviceModel:
        """Return the fitted model of a method and a mode; the layers are fitted once for both modes."""
        if (method, mode) not in self._models:
            other = next((one for (name, _), one in self._models.items() if name == method), None)
            self._models[method, mode] = DeviceModel(self.profile, method, mode, other)
        return self._models[method, mode]

    def checked_model(self, method: str, mode: str) -> DeviceModel:
        """Return the fitted model of a method, after a check of the mode.

        Raises:
            InvalidInput: for a mode that no network was measured in.
        """
        self._check_mode(mode)
        return self.model(method, mode)

    def predict(
        self, graph: LayerGraph, method: str = "hybrid", mode: str = "eager", precision: str | None = None
    ) -> Prediction:
        """Predict a traced network, layer by layer.

        Args:
            graph: the network.
            method: name of a layer model.
            mode: "eager", or "graph" if the profile has CUDA graphs.
            precision: "default" (a GPU's convolutions in TF32), "ieee" or "bfloat16"; None takes the
                profile's.

        Raises:
            InvalidInput: if the profile has no rows of the network's dtype or of the mode, or has another
                precision; for a network that does no work.
        """
        self._check(graph.batch_size, graph.dtype, mode, precision)
        if not graph.layers:
            raise InvalidInput(NO_WORK)
        model = self.model(method, mode)
        table = NetworkTable.of_graphs([graph])
        prepared = model.method.prepare(table)
        layers = table.layers.drop(columns="live_bytes")
        added = model.full.layers(prepared)
        layers["time_s"] = added["time_s"]
        layers["share"] = layers["time_s"] / layers["time_s"].sum()
        if "power_w" in added:
            layers["power_w"] = added["power_w"]
            layers["energy_j"] = layers["power_w"] * layers["time_s"]
        layers["memory_bytes"] = layers[["input_bytes", "weight_bytes", "output_bytes"]].sum(axis=1)
        distance = model.unknown.measured.distance(table.layers)
        layers["is_fallback"] = model.method.is_fallback(prepared) | np.isinf(distance)
        layers["is_extrapolated"] = ~layers["is_fallback"] & (distance > 0)
        costs = model.costs(table, prepared)
        notes = [*self.profile.notes, *graph.notes, *_notes_on_layers(layers, costs)]
        notes += _notes_on_host(float(model.full.busy(prepared)[0]), costs.at(0)["time_s"])
        layers["output_shape"] = [layer.output_shape for layer in graph.layers]
        unknown = shares_of_unknown(graph, layers["share"].to_numpy(dtype=float))
        notes += notes_on_unknown(graph, unknown)
        return Prediction(layers, costs.at(0), costs, tuple(notes), unknown)

    @also_by_position
    def cost_model(
        self,
        space: "SearchSpace",
        *,
        batch_size: int = 1,
        method: str = "hybrid",
        dtype: str = "float32",
        mode: str = "eager",
        precision: str | None = None,
    ) -> "CostModel | HyperPower":
        """Return the cost model of a search space on this device.

        Args:
            space: a space with `build` and `input_shape`.
            batch_size: items per pass.
            method: name of a layer model; or "hyperpower", linear in the structural hyperparameters, which
                needs no `build` but measured networks of this space.
            dtype: of weights and activations; one that the profile measured.
            mode: "eager", or "graph" if the profile has CUDA graphs.
            precision: as for `predict`.

        Raises:
            InvalidInput: for a batch size, dtype, mode or precision without measured rows; for a space
                without `build`, or whose list of structural hyperparameters lacks one that changes the
                layers.
            UnknownName: for an unknown method.
        """
        self._check(batch_size, dtype, mode, precision)
        if method == "hyperpower":
            from hwopt.predict.hyperpower import HyperPower

            check_structural(space)
            return HyperPower(self.profile, space, int(batch_size), dtype)
        if space.build is None or space.input_shape is None:
            raise InvalidInput(
                "the space has no build or no input_shape; costs are predicted from its networks"
            )
        return CostModel(self.model(method, mode), space, batch_size, dtype)

    def _check(self, batch_size: object, dtype: str, mode: str, precision: str | None) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise InvalidInput(f"batch_size = {batch_size!r}; it must be a whole number from 1")
        dtypes = sorted(set(self.profile.measured_layers["dtype"]))
        if dtype not in dtypes:
            has = f"rows of {', '.join(dtypes)} only" if dtypes else "no measured layer"
            raise InvalidInput(f"dtype {dtype!r}: profile {self.name!r} has {has}")
        check_precision(self.profile, precision, dtype)
        self._check_mode(mode)

    def _check_mode(self, mode: str) -> None:
        if mode not in MODES:
            raise InvalidInput(f"mode {mode!r}; wanted {' or '.join(MODES)}")
        measured = set(self.profile.networks["mode"])
        if mode == "graph" and mode not in measured:
            raise InvalidInput(
                f"mode 'graph': profile {self.name!r} has no networks measured as CUDA graphs; use 'eager'"
            )
        if measured and mode not in measured:
            raise InvalidInput(
                f"mode 'eager': profile {self.name!r} has networks measured as CUDA graphs only; use 'graph'"
            )


def _notes_on_layers(layers: "pd.DataFrame", costs: Costs) -> list[str]:
    """Return notes on layers outside the measured range, and on the wider intervals that follow."""
    notes = []
    for column, reason in (
        ("is_fallback", "fallback, too few measured rows of the kind"),
        ("is_extrapolated", "extrapolation, outside the measured range of the kind"),
    ):
        shares = layers[layers[column]].groupby("kind")["share"].sum().sort_values(ascending=False)
        if len(shares):
            parts = ", ".join(f"{kind} {share:.1%}" for kind, share in shares.items())
            notes.append(f"{reason}: {parts} of the time")
    wider = [f"{metric} {factor[0]:.2g}" for metric, factor in costs.widening.items() if factor[0] > 1.05]
    if wider:
        notes.append(f"intervals are therefore wider, by these factors (on a log scale): {', '.join(wider)}")
    return notes


def _notes_on_host(busy: float, time_s: float) -> list[str]:
    """Return a note if the device waits for the host that launches the operators one by one."""
    if busy > _BUSY:
        return []
    return [
        f"the host is the bottleneck: it takes {1e3 * time_s:.3g} ms to launch the operators one by one, of "
        f"which the device is busy for {1e3 * busy * time_s:.3g} ms; as a CUDA graph (mode graph) the "
        "network would take about that"
    ]
