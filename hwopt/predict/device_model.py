"""A profile and a method: layers and networks predicted, with the errors on networks that no fit has seen.

layers.csv --fit--> layer model --+
networks of "fit" --------------- +--> coefficients --+
networks of "calibrate" ----------------------------- +--> ln(measured / predicted): the distribution
networks of "test" ---------------------------------- +--> validation()

What lies beyond the measured rows widens the distribution: `hwopt.predict.unknown`.
"""

from typing import TYPE_CHECKING

import numpy as np

from hwopt.costs import Costs
from hwopt.device.profile import SPLITS, DeviceProfile
from hwopt.errors import InvalidInput
from hwopt.network.layer import METRICS
from hwopt.predict.accuracy import error_figures
from hwopt.predict.models import LayerModel, LayerPrediction, make_model
from hwopt.predict.network_model import MIN_NETWORKS, NetworkModel, fit_network_model, with_host
from hwopt.predict.tables import Array, NetworkTable
from hwopt.predict.unknown import Unknown, widening

if TYPE_CHECKING:
    import pandas as pd

_LEVEL = 0.9  # of the upper bound whose coverage is reported


class DeviceModel:
    """Cost models of one device by one method, fitted when constructed.

    Args:
        profile: the measurements.
        method: name of a layer model, such as "hybrid".
        layer_model: one that is fitted to the profile's layers already; None fits one.
        mode: "eager", or "graph" for networks replayed as CUDA graphs.

    Attributes:
        notes: what a reader of the predictions must know.
        residuals: metric -> ln(measured / predicted) of the calibration networks, shape [n_calibration].
        unknown: how far layers are from what was measured.
    """

    def __init__(
        self,
        profile: DeviceProfile,
        method: str = "hybrid",
        layer_model: LayerModel | None = None,
        mode: str = "eager",
    ) -> None:
        self.profile, self.method, self.mode = profile, method, mode
        self.layer_model = layer_model or make_model(method)
        rows = profile.measured_layers
        if not len(rows):
            raise InvalidInput(f"profile {profile.name!r} has no measured layer; measure the device again")
        if layer_model is None:
            self.layer_model.fit(rows, profile.ceilings)
        self.network_model, notes = self._fit_networks()
        self.notes = [*profile.notes, *self.layer_model.notes, *notes]
        self.unknown = Unknown.of(rows, profile.ceilings)
        self.residuals, self._vouched = self._calibrate()

    def _fit_networks(self) -> tuple[NetworkModel, list[str]]:
        """Fit on networks as graphs where there are such, then on eager ones what the host adds."""
        graphs = self.networks("fit", "graph")
        fit = graphs if len(graphs) >= MIN_NETWORKS else self.networks("fit")
        table = NetworkTable.of_profile(self.profile, fit)
        layers = self.predict_layers(table.layers).values
        model, notes = fit_network_model(table, layers, fit, self.profile.ceilings.launch_s)
        if fit is not graphs or self.mode == "graph":
            return model, notes
        eager = self.networks("fit")
        table = NetworkTable.of_profile(self.profile, eager)
        layers = self.predict_layers(table.layers).values
        return with_host(model, table, layers, eager, _idle_w(self.profile)), notes

    def predict_layers(self, rows: "pd.DataFrame") -> LayerPrediction:
        """Predict complete layer rows, [n], each measured alone."""
        if not len(rows):
            return LayerPrediction({"time_s": np.empty(0)}, np.empty(0, dtype=bool))
        return self.layer_model.predict(rows)

    def predict_networks(self, table: NetworkTable) -> dict[str, Array]:
        """Return the metrics of m networks, each shape [m], in one vectorised call."""
        return self.network_model.totals(table, self.predict_layers(table.layers).values)

    def costs(self, table: NetworkTable, predicted: LayerPrediction | None = None) -> Costs:
        """Return the metrics of m networks with their predictive distribution, in one vectorised call.

        Args:
            table: the networks.
            predicted: of their layers, where that is there already.
        """
        predicted = predicted or self.predict_layers(table.layers)
        values = self.network_model.totals(table, predicted.values)
        factors = widening(self._deviations(table, predicted), self._vouched, self.residuals)
        return Costs(values, self.residuals, widening=factors)

    def _deviations(self, table: NetworkTable, predicted: LayerPrediction) -> dict[str, Array]:
        parts_s = self.network_model.layer_time_s(table, predicted.values["time_s"])
        return self.unknown.networks(table, predicted, parts_s)

    def validation(self) -> "pd.DataFrame":
        """Return the errors on whole networks, one row for each metric and split.

        Columns: metric, level, split, the figures of `hwopt.predict.accuracy`, and coverage_90: the share of
        networks that stayed below the 90% upper bound. Only the rows of `test` speak of unseen networks.
        """
        import pandas as pd

        rows = [row for split in SPLITS for row in self._split_errors(split)]
        return pd.DataFrame(rows)

    def _split_errors(self, split: str) -> list[dict[str, object]]:
        measured = self.networks(split)
        costs = self.costs(NetworkTable.of_profile(self.profile, measured))
        rows: list[dict[str, object]] = []
        for metric in costs:
            values = measured[metric].to_numpy(dtype=float)
            known = np.isfinite(values)
            if not known.any():
                continue
            figures = error_figures(values[known], costs[metric][known])
            covered = values[known] <= costs.upper(metric, _LEVEL)[known]
            coverage = float(covered.mean()) if len(self.residuals[metric]) else float("nan")
            row = {"metric": metric, "level": "network", "split": split, **figures, "coverage_90": coverage}
            rows.append(row)
        return rows

    def _calibrate(self) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return residuals and deviations of the calibration networks, each metric -> [n_calibration]."""
        measured = self.networks("calibrate")
        table = NetworkTable.of_profile(self.profile, measured)
        predicted = self.predict_layers(table.layers)
        totals = self.network_model.totals(table, predicted.values)
        residuals: dict[str, Array] = {}
        for metric in self._metrics:
            if metric not in totals:  # no network was measured at all
                residuals[metric] = np.empty(0)
                self.notes.append(f"{metric}: no measured network to calibrate on; it has no bound")
                continue
            values = measured[metric].to_numpy(dtype=float)
            errors = np.log(values / totals[metric])
            if np.isfinite(errors).any():
                residuals[metric] = errors[np.isfinite(errors)]
            else:
                residuals[metric] = np.empty(0)
                self.notes.append(f"{metric}: no measured network to calibrate on; it has no bound")
        return residuals, self._deviations(table, predicted)

    @property
    def _metrics(self) -> tuple[str, ...]:
        """What this device's networks are predicted for."""
        has_power = bool(self.profile.measured_layers["power_w"].notna().any())
        return METRICS if has_power else ("time_s", "memory_bytes")

    def networks(self, split: str, mode: str | None = None) -> "pd.DataFrame":
        """Return the networks of a split, in the model's own mode or another, that have a figure, [m]."""
        networks = self.profile.networks
        has_layers = networks["network"].isin(set(self.profile.network_layers["network"]))
        has_figure = networks[list(METRICS)].notna().any(axis=1)
        chosen = (
            (networks["split"] == split) & (networks["mode"] == (mode or self.mode)) & has_layers & has_figure
        )
        return networks[chosen].reset_index(drop=True)


def _idle_w(profile: DeviceProfile) -> float | None:
    """Return the power that a device draws without work, in watts, where its sensor was characterised."""
    sensor = profile.info.get("sensor", {})
    for name in ("idle_after_load_w", "idle_context_w"):
        value = sensor.get(name) if isinstance(sensor, dict) else None
        if isinstance(value, int | float) and 0 < value < float("inf"):
            return float(value)
    return None
