"""Prediction methods by name; each can be fitted to a device profile and any subset of its networks.

method          layers alone                       network
hybrid, a GPU   `hwopt.predict.gpu`: one vector of parameters for both
others          a layer model, fitted once to      sums with a few coefficients, fitted to networks
                operators measured alone           (`hwopt.predict.layer_aggregation`)
"""

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hwopt.arrays import Array
from hwopt.predict.gpu.facts import GpuFacts, idle_w
from hwopt.predict.gpu.prior import TYPICAL, GpuPrior
from hwopt.predict.layer_aggregation import (
    MIN_NETWORKS,
    NetworkModel,
    SummedLayers,
    fit_network_model,
    with_host,
)
from hwopt.predict.layer_models.hybrid import Hybrid
from hwopt.predict.layer_models.interface import LayerModel, LayerPrediction
from hwopt.predict.layer_models.registry import Factory, make_model
from hwopt.predict.measured_networks import Mask, MeasuredNetworks
from hwopt.predict.network_table import NetworkTable
from hwopt.predict.prior import OFF, prior_profile
from hwopt.predict.shipped import load_profile, shipped_devices
from hwopt.profile.device_profile import DeviceProfile

if TYPE_CHECKING:
    import pandas as pd


_NO_CHIP = (
    "device.json has no hardware.n_multiprocessors: this GPU's layers are predicted with the CPU's model, a "
    "roofline with a learned factor; measure the device again, or add the number"
)


class Fit(Protocol):
    """A method, fitted to operators and some networks; `layers` is the result of the method's `prepare`."""

    def alone(self, layers: Any) -> dict[str, Array]:
        """Return time and power of each layer measured alone, [n]."""
        ...

    def layers(self, layers: Any) -> dict[str, Array]:
        """Return the time that each layer adds to its network, and its mean power within the network, [n]."""
        ...

    def busy(self, layers: Any) -> Array:
        """Return the share of each network's time in which the device is busy, [m]."""
        ...

    def totals(self, layers: Any) -> dict[str, Array]:
        """Return the metrics of each network, [m]."""
        ...


class Method(Protocol):
    """A method for one device, fitted to its operators.

    Attributes:
        notes: caveats about the predictions.
        learns_layers: whether the layer model is fitted to networks too, not only the sums.
        layer_model: fitted to the operators; None if the layer model is fitted to networks too.
    """

    notes: list[str]
    learns_layers: bool
    layer_model: LayerModel | None

    def prepare(self, table: NetworkTable) -> Any:
        """Return the inputs of m networks that all fits share."""
        ...

    def is_fallback(self, layers: Any) -> Mask:
        """Return a mask of the layers with too few measured rows of their kind, [n]."""
        ...

    def fit(self, kept: Mask, mode: str) -> tuple[Fit, list[str]]:
        """Return the fit to the kept measured networks, [m], and notes on missing data."""
        ...


def make_method(
    profile: DeviceProfile, name: str, networks: MeasuredNetworks, layer_model: LayerModel | None = None
) -> Method:
    """Return a method for a device.

    Args:
        profile: the measurements.
        name: of the method.
        networks: measured, of the profile.
        layer_model: of that name, already fitted to the profile's layers; None fits one if needed.

    Raises:
        UnknownName: for an unknown method.
    """
    facts, prior = (GpuFacts.of(profile), _prior_of(profile)) if name == "hybrid" else (None, None)
    method: Method
    if facts is None:
        if layer_model is None:
            layer_model = layer_factory(profile, name, networks)()
            layer_model.fit(profile.measured_layers, profile.ceilings)
        method = Summed(profile, layer_model, networks, prior.method if prior else None)
        if name == "hybrid" and profile.info.get("kind") == "gpu":
            method.notes.append(_NO_CHIP)
    else:
        from hwopt.predict.gpu.model import GpuMethod

        method = GpuMethod(profile.measured_layers, facts, networks, _gpu_prior(prior, facts))
    if prior is not None:
        n = len(profile.measured_layers)
        method.notes.append(
            f"{n} measured layers: profile {prior.name!r} serves as a prior of the predictions"
        )
    return method


def layer_factory(profile: DeviceProfile, name: str, networks: MeasuredNetworks) -> Factory:
    """Return a function that makes the unfitted layer model of a method for a device.

    The layer model of a GPU's hybrid is fitted to all measured networks as well as to the rows.
    """
    if name != "hybrid":
        return partial(make_model, name)
    facts, prior = GpuFacts.of(profile), _prior_of(profile)
    if facts is not None:
        from hwopt.predict.gpu.model import GpuLayerModel

        return partial(GpuLayerModel, facts, networks, _gpu_prior(prior, facts))
    if prior is None:
        return partial(make_model, name)
    assert isinstance(prior.method.layer_model, Hybrid)
    return partial(Hybrid, prior.method.layer_model)


@dataclass(frozen=True)
class _Prior:
    """Profile that serves as a prior: its name, its chip if it is a GPU, and its fitted method."""

    name: str
    facts: GpuFacts | None
    method: Method


def _prior_of(profile: DeviceProfile) -> _Prior | None:
    """Return the prior of a profile; None if it names none."""
    prior = prior_profile(profile)
    if prior is None:
        return None
    if shipped_devices().get(str(profile.info["prior"])) is not None:
        return _shipped_prior(str(profile.info["prior"]))
    return _fitted_prior(prior)


@lru_cache(maxsize=2)
def _shipped_prior(name: str) -> _Prior:
    """Return a shipped profile as a prior; fitted once per process."""
    return _fitted_prior(load_profile(name))


def _fitted_prior(prior: DeviceProfile) -> _Prior:
    alone = replace(prior, info={**prior.info, "prior": OFF})
    return _Prior(prior.name, GpuFacts.of(prior), make_method(alone, "hybrid", MeasuredNetworks.of(alone)))


def _gpu_prior(prior: _Prior | None, facts: GpuFacts) -> GpuPrior:
    """Return the prior of a GPU's parameters."""
    if prior is None or prior.facts is None:
        return TYPICAL
    from hwopt.predict.gpu.model import GpuMethod

    assert isinstance(prior.method, GpuMethod)
    return prior.method.as_prior(facts)


class Summed:
    """Layer model fitted to a profile's operators, with sums of layers fitted to networks."""

    learns_layers = False
    layer_model: LayerModel | None

    def __init__(
        self,
        profile: DeviceProfile,
        layer_model: LayerModel,
        networks: MeasuredNetworks,
        prior: Method | None = None,
    ) -> None:
        self._profile, self._networks = profile, networks
        self._prior = prior.whole() if isinstance(prior, Summed) else None
        self.layer_model = self._model = layer_model
        self.notes = list(layer_model.notes)
        self._layers = self.prepare(networks.table)

    def prepare(self, table: NetworkTable) -> SummedLayers:
        """Return the layers of networks, each predicted alone."""
        return SummedLayers(table, self.predict(table.layers))

    def predict(self, rows: "pd.DataFrame") -> LayerPrediction:
        """Predict layer rows, [n], each measured alone."""
        if not len(rows):
            return LayerPrediction({"time_s": np.empty(0)}, np.empty(0, dtype=bool))
        return self._model.predict(rows)

    def is_fallback(self, layers: SummedLayers) -> Mask:
        """Return a mask of the layers with too few measured rows of their kind, [n]."""
        return layers.predicted.is_fallback

    def whole(self) -> NetworkModel:
        """Return the fit to all eager networks."""
        return self.fit(np.ones(len(self._networks), dtype=bool), "eager")[0]

    def fit(self, kept: Mask, mode: str) -> tuple[NetworkModel, list[str]]:
        """Fit the device's coefficients to CUDA graphs, if any, then the host's to eager networks."""
        graphs, eager = (self._networks.only(kept, name) for name in ("graph", "eager"))
        launch_s = self._profile.ceilings.launch_s
        if np.isfinite(graphs["time_s"]).sum() < MIN_NETWORKS:
            own = graphs if mode == "graph" else eager
            return fit_network_model(self._layers, own, launch_s, self._prior)
        model, notes = fit_network_model(self._layers, graphs, launch_s, self._prior)
        if mode == "eager":
            model = with_host(model, self._layers, eager, idle_w(self._profile))
        return model, notes
