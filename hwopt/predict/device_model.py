"""Cost models of one device by one method, calibrated on networks that are left out of the fit.

    all operators, all networks ----------fit--> predictions
    all networks but one fold ------------fit--> predictions of that fold --> ln(measured / predicted)
    (a fold is a family, or several: `hwopt.predict.uncertainty.families`)                         |
                                                       CV+ bounds, validation() <------+

Every network serves both the fit and the calibration (CV+, Barber, Candes, Ramdas and Tibshirani 2021): the
bound of a new network is the quantile, over the measured networks i, of its prediction by the fit without
the fold of i times measured_i / predicted_i of that fit. Each family has the same total weight.

Coverage is 1 - alpha on average over profiles and over networks of new families similar to the measured
ones; with a single profile of n families it may be lower, by about sqrt(alpha (1 - alpha) / n). The
proven bound, whatever the method, is 1 - 2 alpha with folds of one family, with K folds of several families
1 - 2 alpha - min(2 (1 - 1/K) / (n/K + 1), (1 - K/n) / (K + 1)); interpolation takes 1 / (n + 1) from it.

The distribution is wider for networks unlike the measured ones and for layers outside the measured range: see
`hwopt.predict.uncertainty.shift` and `hwopt.predict.uncertainty.extrapolation`.
"""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.arrays import Array
from hwopt.costs import Costs
from hwopt.errors import InvalidInput
from hwopt.network.layer import METRICS
from hwopt.predict.gpu.facts import power_limit_w
from hwopt.predict.layer_models.interface import LayerModel, LayerPrediction
from hwopt.predict.measured_networks import Mask, MeasuredNetworks, group_weights
from hwopt.predict.methods import Method, make_method
from hwopt.predict.network_table import NetworkTable
from hwopt.predict.uncertainty.extrapolation import Unknown, widening
from hwopt.predict.uncertainty.left_out import LeftOut
from hwopt.predict.uncertainty.shift import Growth, Likeness
from hwopt.predict.validation.error_metrics import error_figures
from hwopt.profile.device_profile import DeviceProfile

if TYPE_CHECKING:
    import pandas as pd

MOST_FOLDS = 20  # refits; up to this number of families each is a fold of its own
MIN_FAMILIES = 4  # with fewer, the growth of errors with the distance from them cannot be fitted
_LEVEL = 0.9  # of the upper bound whose coverage is reported


class DeviceModel:
    """Cost models of one device by one method, fitted at construction.

    Args:
        profile: the measurements.
        method: name of a method, such as "hybrid".
        mode: "eager", or "graph" for networks replayed as CUDA graphs.
        other: model of the same profile and method in the other mode; its fitted layers are reused.
        layer_model: already fitted to the profile's layers; None fits one.

    Attributes:
        networks: the measured networks.
        method: the method, fitted to the operators.
        full: fit of the method to all networks.
        notes: caveats about the predictions.
        residuals: metric -> ln(measured / predicted) of each measured network by the fit without its fold,
            shape [n_calibration].
        weights: metric -> 1 / size of its family for each of those, [n_calibration].
        unknown: distance of layers from the measured range.
        caps: metric -> limit that the device enforces: the power limit of its board, or the largest measured
            value if that is more.
    """

    def __init__(
        self,
        profile: DeviceProfile,
        method: str = "hybrid",
        mode: str = "eager",
        other: "DeviceModel | None" = None,
        layer_model: LayerModel | None = None,
    ) -> None:
        self.profile, self.name, self.mode = profile, method, mode
        rows = profile.measured_layers
        if not len(rows):
            raise InvalidInput(f"profile {profile.name!r} has no measured layer; measure the device again")
        self.networks: MeasuredNetworks = other.networks if other else MeasuredNetworks.of(profile)
        self.method: Method = (
            other.method if other else make_method(profile, method, self.networks, layer_model)
        )
        everything = np.ones(len(self.networks), dtype=bool)
        self.full, notes = self.method.fit(everything, mode)
        self.notes = [*profile.notes, *self.method.notes, *notes]
        self.unknown = self._unknown_without(np.zeros(len(self.networks), dtype=bool))
        self._layers = self.method.prepare(self.networks.table)
        self._has_power = bool(rows["power_w"].notna().any())
        if self._has_power and len(self.networks):  # a method may need more rows with power than there are
            self._has_power = "power_w" in self.full.totals(self._layers)
        self.caps = self._power_cap()
        self._leave_families_out()
        self._learn_growth()

    def _power_cap(self) -> dict[str, float]:
        """Return the power limit of the board; empty if device.json has none."""
        limit_w = power_limit_w(self.profile)
        if limit_w is None or not self._has_power:
            return {}
        measured = [self.networks.measured(mode, "power_w") for mode in self.networks.figures]
        powers = np.concatenate([self.profile.measured_layers["power_w"].to_numpy(dtype=float), *measured])
        return {"power_w": max(limit_w, float(np.nanmax(powers)))}

    def _leave_families_out(self) -> None:
        """Refit without each fold of families; the errors on the left-out fold calibrate."""
        fold = self.networks.folds(MOST_FOLDS, self.mode)
        self._out = LeftOut.of(self.method, self.networks, self._layers, fold, self.mode)
        nothing = np.full(len(self.networks), np.nan)
        self._errors = {metric: self._out.errors.get(metric, nothing) for metric in self.metrics}
        self._known = {metric: np.flatnonzero(np.isfinite(own)) for metric, own in self._errors.items()}
        self.residuals = {metric: own[self._known[metric]] for metric, own in self._errors.items()}
        self.weights = {
            metric: group_weights(self.networks.families[known]) for metric, known in self._known.items()
        }
        self._vouched = self._own_deviations()
        for metric, errors in self.residuals.items():
            if not len(errors):
                self.notes.append(f"{metric}: no measured network to calibrate on, so it has no bound")

    def _learn_growth(self) -> None:
        """Fit the growth of errors with the distance from the measured networks (`uncertainty.shift`)."""
        self._growth = {metric: Growth() for metric in self.metrics}
        self._likeness: Likeness | None = None
        self._own_distance = np.zeros(len(self.networks))
        measured = np.flatnonzero(self.networks.has_mode(self.mode))
        if len(np.unique(self.networks.families[measured])) < MIN_FAMILIES:
            return
        parts_s = self.full.layers(self._layers)["time_s"]
        self._likeness = Likeness.of(self.networks.table, parts_s, measured)
        families = self.networks.families[measured]
        self._own_distance[measured] = self._likeness.to_others(families)
        typical = float(np.median(self._own_distance[measured]))
        divisions = [(self._out, self._own_distance)]
        for part in self._likeness.parts():
            fold, distance = np.full(len(self.networks), -1), np.zeros(len(self.networks))
            fold[measured], distance[measured] = part, self._likeness.to_others(part)
            divisions.append(
                (LeftOut.of(self.method, self.networks, self._layers, fold, self.mode), distance)
            )
        for metric, known in self._known.items():
            if len(known):
                errors = np.concatenate([out.errors[metric][known] for out, _ in divisions])
                distances = np.concatenate([distance[known] for _, distance in divisions])
                self._growth[metric] = Growth.fit(errors, distances, typical)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that this model predicts for networks."""
        return METRICS if self._has_power else ("time_s", "memory_bytes")

    def predict_layers(self, rows: "pd.DataFrame") -> LayerPrediction:
        """Predict complete layer rows, [n], each measured alone."""
        layers = self.method.prepare(NetworkTable.of_layers(rows))
        return LayerPrediction(self.full.alone(layers), self.method.is_fallback(layers))

    def costs(self, table: NetworkTable, layers: Any = None) -> Costs:
        """Return the predictive distribution of the metrics of m networks, in one vectorised call.

        Args:
            table: the networks.
            layers: the networks as returned by the method's `prepare`; None prepares them.
        """
        layers = self.method.prepare(table) if layers is None else layers
        values = self.full.totals(layers)
        residuals, widening = self._residuals_of(values, layers), self._widening(layers)
        return Costs(values, residuals, None, widening, self.weights, self.caps)

    def _residuals_of(self, values: dict[str, Array], layers: Any) -> dict[str, Array]:
        """Return metric -> residual i + ln(prediction without its fold / prediction), [m, n_calibration].

        The residual of a network far from the others is scaled down to the typical distance.
        """
        others = [fit.totals(layers) for fit in self._out.fits]
        found = dict(self.residuals)
        for metric, known in self._known.items():
            if not len(known):
                continue
            shifts = np.log(np.stack([own[metric] for own in others]) / values[metric])  # [folds, m]
            centre = float(np.median(self.residuals[metric]))
            factor = self._growth[metric].factor(self._own_distance[known])
            scaled = centre + (self.residuals[metric] - centre) / factor
            found[metric] = shifts[self._out.fold[known]].T + scaled
        return found

    def _widening(self, layers: Any) -> dict[str, Array]:
        """Return metric -> widening factor, [m], for networks unlike the measured ones and unknown layers."""
        factors = widening(self._deviations(layers), self._vouched, self.residuals)
        if self._likeness is None:
            return factors
        distance = self._likeness.distance(layers.table, self.full.layers(layers)["time_s"])
        ones = np.ones(len(distance))
        return {
            metric: np.sqrt(growth.factor(distance) ** 2 + factors.get(metric, ones) ** 2 - 1)
            for metric, growth in self._growth.items()
        }

    def _unknown_without(self, left_out: Mask) -> Unknown:
        """Return the measured range of layers without some of the networks, [m]."""
        rows, layers = self.profile.measured_layers, self.networks.table.layers
        kept = layers[~left_out[self.networks.table.segment]] if self.method.learns_layers else None
        return Unknown.of(rows, self.profile.ceilings, kept)

    def _deviations(self, layers: Any, unknown: Unknown | None = None) -> dict[str, Array]:
        parts_s = self.full.layers(layers)["time_s"]
        unknown = unknown or self.unknown
        return unknown.networks(layers.table, self.method.is_fallback(layers), parts_s)

    def _own_deviations(self) -> dict[str, Array]:
        """Return the deviations of the measured networks, [m], each without the networks of its fold."""
        if not len(self.networks):
            return {}
        found = self._deviations(self._layers)
        for k in range(len(self._out.fits)) if self.method.learns_layers else ():
            own = self._out.fold == k
            for metric, values in self._deviations(self._layers, self._unknown_without(own)).items():
                found[metric][own] = values[own]
        return found

    def left_out_costs(self, i: int) -> Costs:
        """Return the costs of the measured network i, predicted without its family, n = 1.

        The fit leaves its fold out; the calibration errors are those of the other families.
        """
        families = self.networks.families
        values, residuals, weights = {}, {}, {}
        for metric, errors in self._errors.items():
            others = np.isfinite(errors) & (families != families[i])
            values[metric] = self._out.predicted[metric][[i]]
            residuals[metric], weights[metric] = errors[others], group_weights(families[others])
        return Costs(values, residuals, weights=weights, caps=self.caps)

    @cached_property
    def _validation(self) -> "pd.DataFrame":
        import pandas as pd

        in_sample = self.full.totals(self._layers) if len(self.networks) else {}
        rows = self._figures("in_sample", in_sample) + self._figures("out_of_group", self._out.predicted)
        return pd.DataFrame(rows)

    def validation(self) -> "pd.DataFrame":
        """Return the errors on whole networks, one row for each metric and fold_kind.

        Columns: metric, level, mode, fold_kind, n_groups, the figures of
        `hwopt.predict.validation.error_metrics`, and coverage_90: the share of networks (each family has the
        same weight) below the 90% upper bound from the other families. Rows of `out_of_group` are predicted
        by fits without the network's family, rows of `in_sample` by the fit to all networks.
        """
        return self._validation.copy()

    def _figures(self, fold_kind: str, predicted: dict[str, Array]) -> list[dict[str, object]]:
        families = self.networks.families
        rows: list[dict[str, object]] = []
        for metric, values in predicted.items():
            measured = self.networks.measured(self.mode, metric)
            known = np.flatnonzero(np.isfinite(measured) & np.isfinite(values))
            if not len(known):
                continue
            is_unseen = fold_kind == "out_of_group"
            coverage = self._coverage(metric, known) if is_unseen else float("nan")
            head = {"metric": metric, "level": "network", "mode": self.mode, "fold_kind": fold_kind}
            figures = error_figures(measured[known], values[known])
            n_groups = len(np.unique(families[known]))
            rows.append({**head, "n_groups": n_groups, **figures, "coverage_90": coverage})
        return rows

    def _coverage(self, metric: str, known: np.ndarray[Any, Any]) -> float:
        """Return the share of networks below the other families' bound; NaN if a bound is infinite."""
        families = self.networks.families[known]
        bounds = np.array([self.left_out_costs(i).upper(metric, _LEVEL)[0] for i in known])
        if not np.isfinite(bounds).all():
            return float("nan")
        weights = group_weights(families)
        return float(weights @ (self.networks.measured(self.mode, metric)[known] <= bounds) / weights.sum())
