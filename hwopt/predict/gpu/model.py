"""Base model of a GPU: one vector of parameters for operators, graphs and eager networks.

kernels of operators  --+                         +--> device time --+-- mode "graph" ------------> time_s
kernels of networks   --+--> fit --> parameters --+                  +-- host beside it, "eager" --> time_s
                                                  +--> rates --> power of kernels --> power of the network
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hwopt.arrays import Array
from hwopt.predict.gpu import times
from hwopt.predict.gpu.copies import best_rule, never_copied
from hwopt.predict.gpu.facts import GpuFacts
from hwopt.predict.gpu.kernels import Kernels
from hwopt.predict.gpu.learned_factors import LearnedFactors
from hwopt.predict.gpu.memory import peak_bytes
from hwopt.predict.gpu.parameters import PLACE
from hwopt.predict.gpu.powers import KernelPower, NetworkPower
from hwopt.predict.gpu.prior import TYPICAL, GpuPrior, scaled
from hwopt.predict.layer_models.interface import LayerModel, LayerPrediction
from hwopt.predict.measured_networks import Mask, MeasuredNetworks
from hwopt.predict.network_table import NetworkTable
from hwopt.profile.roofline import Ceilings

if TYPE_CHECKING:
    import pandas as pd

_LEAST_BUSY = 0.8  # least busy share of an eager network whose power is used
_N_FOLDS = 4  # folds of networks, for model selection
_GROUPS = {True: "matrix products", False: "other operators"}
_MIN_POWERS = 3  # rows with power, for a power model


@dataclass(frozen=True)
class GpuLayers:
    """The layers of m networks with their kernels, [n]."""

    table: NetworkTable
    kernels: Kernels

    @property
    def n_operators(self) -> Array:
        """Number of operators of each network, [m]."""
        return self.table.sum(np.ones(len(self.table.segment)))


@dataclass(frozen=True)
class GpuFit:
    """The base model, fitted to operators and some networks.

    Attributes:
        theta: parameters of the times, [p].
        mode: "graph" or "eager".
        kernel_power: power model of kernels; None if no row has power.
        network_power: correction of its sums for networks.
        idle_w: power while the device waits for its host.
    """

    theta: Array
    mode: str
    kernel_power: KernelPower | None = None
    network_power: NetworkPower | None = None
    idle_w: float = 0.0

    def alone(self, layers: GpuLayers) -> dict[str, Array]:
        """Return time and power of each layer measured alone, [n]."""
        values = {"time_s": times.kernel_s(self.theta, layers.kernels)}
        if self.kernel_power is not None:
            values["power_w"] = self.kernel_power.predict(layers.kernels, values["time_s"])
        return values

    def within_s(self, layers: GpuLayers) -> Array:
        """Return the seconds of each layer within its network, [n]."""
        return times.within_s(self.theta, layers.kernels)

    def busy(self, layers: GpuLayers) -> Array:
        """Return the share of each network's time in which the device works, [m]; 1 as a graph."""
        return self._busy(layers, layers.table.sum(self.within_s(layers)))

    def _busy(self, layers: GpuLayers, device_s: Array) -> Array:
        if self.mode == "graph":
            return np.ones_like(device_s)
        calls_s = layers.n_operators * np.exp(self.theta[PLACE["host"]])
        return device_s / times.eager_s(device_s, calls_s)

    def totals(self, layers: GpuLayers) -> dict[str, Array]:
        """Return the metrics of each network, [m]."""
        table, parts_s = layers.table, self.within_s(layers)
        device_s = table.sum(parts_s)
        busy = self._busy(layers, device_s)
        totals = {"time_s": device_s / busy}
        if self.network_power is not None:
            mean_w = table.sum(self.alone(layers)["power_w"] * parts_s) / device_s
            busy_w = self.network_power.predict(mean_w, device_s / layers.n_operators)
            totals["power_w"] = busy_w * busy + self.idle_w * (1 - busy)
            totals["energy_j"] = totals["power_w"] * totals["time_s"]
        totals["memory_bytes"] = peak_bytes(table, layers.kernels.copy_bytes)
        return totals

    def layers(self, layers: GpuLayers) -> dict[str, Array]:
        """Return each layer's contribution to its network's time, and its mean power in it, [n]."""
        alone, table, totals = self.alone(layers), layers.table, self.totals(layers)
        parts_s = self.within_s(layers)
        added = {"time_s": parts_s * (totals["time_s"] / table.sum(parts_s))[table.segment]}
        if self.network_power is not None:
            mean_w = table.sum(alone["power_w"] * parts_s) / table.sum(parts_s)
            busy = self._busy(layers, table.sum(parts_s))
            waiting_w = self.idle_w * (1 - busy)
            share = ((totals["power_w"] - waiting_w) / mean_w)[table.segment]
            added["power_w"] = alone["power_w"] * share + waiting_w[table.segment]
        return added


class GpuMethod:
    """Fit of a GPU's base model to its measured operators and a subset of its networks.

    Args:
        rows: measured operators, [n].
        facts: of the chip.
        networks: measured, [m].
        prior: prior mean of the fit.

    Attributes:
        notes: remarks for users of the predictions.
    """

    learns_layers = True
    layer_model: LayerModel | None = None

    def __init__(
        self,
        rows: "pd.DataFrame",
        facts: GpuFacts,
        networks: MeasuredNetworks,
        prior: GpuPrior = TYPICAL,
    ) -> None:
        self._facts, self._networks, self._prior = facts, networks, prior
        self.notes: list[str] = []
        self._rule = never_copied if facts.is_channels_last else best_rule(rows, prior.rule)
        self._row_s = rows["time_s"].to_numpy(dtype=float)
        self._kinds = [*set(rows["kind"]), *set(networks.table.layers["kind"])]
        self._use(rows, LearnedFactors.none(facts.ceilings))
        self._learn_factors(rows)
        self._power = self._fit_kernel_power(rows["power_w"].to_numpy(dtype=float))

    def _use(self, rows: "pd.DataFrame", learned: LearnedFactors) -> None:
        """Set the factors of some classes and refit the parameters to operators alone."""
        self._learned = learned
        self._rows, self._layers = self._kernels(rows), self.prepare(self._networks.table)
        self._known: dict[bytes, Array] = {}
        nothing = np.zeros(len(self._networks), dtype=bool)
        self._start = times.fit(self._data(nothing), mean=self._prior.mean)

    def _learn_factors(self, rows: "pd.DataFrame") -> None:
        """Learn the factors of classes with many rows, unless the error of held-out networks increases."""
        above = np.log(self._row_s / times.kernel_s(self._start, self._rows))
        before, found = self._learned, LearnedFactors.fit(rows, self._rows, above, self._facts.ceilings)
        if not found.models:
            return
        error = self._network_error()
        self._use(rows, found)
        if self._network_error() > error:
            self._use(rows, before)
            return
        names = " and of ".join(_GROUPS[group] for group in found.models)
        self.notes.append(f"a factor of the time of {names} was learned from the measured rows")

    def _network_error(self) -> float:
        """Return the mean of |ln(measured / predicted time)| of held-out networks; 0 without networks."""
        errors = [np.zeros(1)]
        for mode in self._networks.figures:
            fold = self._networks.folds(_N_FOLDS, mode)
            measured_s = self._networks.measured(mode, "time_s")
            for k in range(fold.max(initial=-1) + 1):
                fit = GpuFit(self._theta(fold != k), mode)
                above = np.log(measured_s / fit.totals(self._layers)["time_s"])
                errors.append(np.abs(above[(fold == k) & np.isfinite(above)]))
        return float(np.mean(np.concatenate(errors)))

    def _kernels(self, rows: "pd.DataFrame") -> Kernels:
        kernels = Kernels.of(rows, self._facts, self._rule)
        return replace(kernels, factor=self._learned.factor(rows, kernels))

    def prepare(self, table: NetworkTable) -> GpuLayers:
        """Return networks with the kernels of their layers."""
        return GpuLayers(table, self._kernels(table.layers))

    def is_fallback(self, layers: GpuLayers) -> Mask:
        """Return which layers, [n], are of an unmeasured kind, predicted by bytes or FLOPs."""
        return ~np.isin(layers.table.layers["kind"].to_numpy(dtype=str), self._kinds)

    def fit(self, kept: Mask, mode: str) -> tuple[GpuFit, list[str]]:
        """Fit to all operators and the networks in `kept`, [m]."""
        fit = GpuFit(self._theta(kept), mode, self._power, idle_w=self._facts.idle_w or 0.0)
        if self._power is not None:
            fit = replace(fit, network_power=self._fit_network_power(fit, kept))
        notes = [] if kept.any() else ["no measured networks to fit on: from operators and priors alone"]
        return fit, notes

    def as_prior(self, facts: GpuFacts) -> GpuPrior:
        """Return a prior for another GPU: the fit to all measurements of this one."""
        fit, _ = self.fit(np.ones(len(self._networks), dtype=bool), "graph")
        mean = scaled(fit.theta, self._facts, facts)
        return GpuPrior(mean, self._rule, fit.kernel_power, fit.network_power)

    def _theta(self, kept: Mask) -> Array:
        """Return the parameters, which both modes share."""
        key = kept.tobytes()
        if key not in self._known:
            found = self._start
            if kept.any():
                found = times.fit(self._data(kept), self._start, self._prior.mean)
            self._known[key] = found
        return self._known[key]

    def _data(self, kept: Mask) -> times.Data:
        network_s = {
            mode: np.where(kept, own["time_s"], np.nan) for mode, own in self._networks.figures.items()
        }
        segment = self._networks.table.segment
        return times.Data(self._rows, self._row_s, self._layers.kernels, segment, len(kept), network_s)

    def _fit_kernel_power(self, power_w: Array) -> KernelPower | None:
        known = np.isfinite(power_w)
        if known.sum() < _MIN_POWERS:
            return None
        rows, prior = self._rows.take(np.flatnonzero(known)), self._prior.kernel_power
        return KernelPower.fit(rows, self._row_s[known], power_w[known], self._facts, prior)

    def _fit_network_power(self, fit: GpuFit, kept: Mask) -> NetworkPower:
        """Fit on graphs, and on eager networks that were not measured as graphs and keep the device busy."""
        assert self._power is not None
        table, alone = self._networks.table, fit.alone(self._layers)
        parts_s = fit.within_s(self._layers)
        device_s = table.sum(parts_s)
        busy = replace(fit, mode="eager")._busy(self._layers, device_s)
        eager_w = (self._networks.measured("eager", "power_w") - fit.idle_w * (1 - busy)) / busy
        measured_w = self._networks.measured("graph", "power_w")
        measured_w = np.where(np.isnan(measured_w) & (busy > _LEAST_BUSY), eager_w, measured_w)
        known = kept & np.isfinite(measured_w)
        mean_w = (table.sum(alone["power_w"] * parts_s) / device_s)[known]
        kernel_s = (device_s / self._layers.n_operators)[known]
        prior = self._prior.network_power
        return NetworkPower.fit(self._power.scale, mean_w, kernel_s, measured_w[known], prior)


class GpuLayerModel:
    """The base model as a layer model, fitted to rows and measured networks.

    Args:
        facts: of the chip, with its ceilings.
        networks: measured, [m].
        prior: prior mean of the fit.
    """

    def __init__(self, facts: GpuFacts, networks: MeasuredNetworks, prior: GpuPrior = TYPICAL) -> None:
        self._facts, self._networks, self._prior = facts, networks, prior
        self.notes: list[str] = []

    def fit(self, rows: "pd.DataFrame", ceilings: Ceilings) -> "GpuLayerModel":
        """Fit on measured rows, [n]."""
        self._method = GpuMethod(rows, self._facts, self._networks, self._prior)
        self._fit, notes = self._method.fit(np.ones(len(self._networks), dtype=bool), "graph")
        self.notes = [*self._method.notes, *notes]
        return self

    def predict(self, rows: "pd.DataFrame") -> LayerPrediction:
        """Predict rows, [n], each measured alone."""
        layers = self._method.prepare(NetworkTable.of_layers(rows))
        return LayerPrediction(self._fit.alone(layers), self._method.is_fallback(layers))
