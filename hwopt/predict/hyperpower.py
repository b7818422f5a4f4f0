"""HyperPower (Stamoulis et al. 2018): each cost is linear in the structural hyperparameters of a space.

    cost(z) = w_0 + sum_j w_j z_j

z holds numbers as they are and choices one-hot, 0 if a hyperparameter is inactive. w minimises the squared
relative error on measured networks of the space; its ridge penalty has the least root mean squared
percentage error in 10-fold cross-validation; the intercept and the penalty are additions to the
paper's form. Energy is power times time. All networks serve fit and calibration (CV+), as for other methods
(`hwopt.predict.device_model`): networks with equal z are one group. Nothing is traced: a config whose network
cannot be built has a price as well.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.arrays import Array
from hwopt.costs import Costs
from hwopt.errors import HwoptError, InvalidInput
from hwopt.network.layer import METRICS
from hwopt.predict.measured_networks import Mask, group_weights
from hwopt.profile.device_profile import DeviceProfile
from hwopt.space.search_space import Categorical, Config, SearchSpace

if TYPE_CHECKING:
    import pandas as pd

MIN_NETWORKS = 10  # to fit on: one per fold
MOST_FOLDS = 20  # refits for the calibration
_FITTED = ("time_s", "power_w", "memory_bytes")
_N_FOLDS = 10
_PENALTIES = (1e-6, 1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
_LOWEST = 0.5  # smallest prediction, as a share of the smallest measured value
_MAX_CONFIG = 10_000  # characters of a config in networks.csv


@dataclass(frozen=True)
class LinearCost:
    """One metric as a linear function of z.

    Attributes:
        weights: of z, shape [d], in the metric's unit per unit of the hyperparameter.
        intercept: in the metric's unit.
        penalty: of the squared weights of standardised columns.
        lowest: smallest prediction.
        rmspe: root mean squared percentage error out of fold, as a share.
    """

    weights: Array
    intercept: float
    penalty: float
    lowest: float
    rmspe: float

    def predict(self, Z: Array) -> Array:
        """Return the cost of configs Z [n, d], shape [n]."""
        return np.maximum(self.intercept + Z @ self.weights, self.lowest)


class HyperPower:
    """Linear cost model of a space: a callable from configs to `Costs`, fitted at construction.

    Args:
        profile: profile with measured networks of the space and their configs.
        space: their search space.
        batch_size: items per pass.
        dtype: of the networks.

    Attributes:
        models: metric -> fitted function, for each measured metric.
        residuals: metric -> ln(measured / predicted) of each network by the fit without its fold,
            [n_calibration].
        weights: metric -> 1 / size of its group for each of those, [n_calibration].
        notes: caveats about the predictions.

    Raises:
        InvalidInput: if the profile has too few networks of this space at this batch size and dtype.
    """

    def __init__(self, profile: DeviceProfile, space: SearchSpace, batch_size: int, dtype: str) -> None:
        self.space, self.batch_size, self.dtype = space, batch_size, dtype
        networks, configs, self.notes = networks_of_space(profile, space, batch_size, dtype)
        Z, y = encode(space, configs), {m: networks[m].to_numpy(dtype=float) for m in METRICS}
        fitted = {metric: y[metric] for metric in _FITTED}
        self.models = _fit(Z, fitted, np.ones(len(Z), dtype=bool), MIN_NETWORKS)
        for metric in _FITTED:
            n = int(np.isfinite(y[metric]).sum())
            if 0 < n < MIN_NETWORKS:
                self.notes.append(f"{metric}: {n} networks to fit on, fewer than {MIN_NETWORKS}")
        if not self.models:
            n = max(int(np.isfinite(y[metric]).sum()) for metric in _FITTED)
            raise InvalidInput(_too_few(profile, n, batch_size, dtype))
        self._leave_folds_out(Z, y)

    def _leave_folds_out(self, Z: Array, y: Mapping[str, Array]) -> None:
        """Refit without each fold of groups; the errors on the left-out fold calibrate."""
        group = np.unique(Z, axis=0, return_inverse=True)[1].ravel()
        n_groups = int(group.max()) + 1
        fold = (np.random.default_rng(0).permutation(n_groups) % min(MOST_FOLDS, n_groups))[group]
        fitted = {metric: y[metric] for metric in self.models}
        self._without = [_fit(Z, fitted, fold != k, MIN_NETWORKS // 2) for k in range(fold.max() + 1)]
        unseen = {metric: np.full(len(Z), np.nan) for metric in self.metrics}
        for k, models in enumerate(self._without):
            for metric, values in _values(models, Z[fold == k]).items():
                unseen[metric][fold == k] = values
        errors = {metric: np.log(y[metric] / values) for metric, values in unseen.items()}
        known = {metric: np.flatnonzero(np.isfinite(own)) for metric, own in errors.items()}
        self._fold = {metric: fold[own] for metric, own in known.items()}
        self.residuals = {metric: own[known[metric]] for metric, own in errors.items()}
        self.weights = {metric: group_weights(group[own].astype(str)) for metric, own in known.items()}

    @property
    def metrics(self) -> tuple[str, ...]:
        """Predicted metrics."""
        return tuple(_values(self.models, encode(self.space, [])))

    def lines(self) -> list[str]:
        """Return one line per metric with the error of its linear fit, and the notes."""
        d = len(encode(self.space, [{}])[0])
        return [
            f"{metric}: linear in {d} columns, RMSPE {model.rmspe:.1%} out of fold; "
            f"{len(self.residuals[metric])} calibration networks"
            for metric, model in self.models.items()
        ] + self.notes

    def __call__(self, configs: Sequence[Mapping[str, Any]]) -> Costs:
        """Return the costs of n configs."""
        Z = encode(self.space, configs)
        values, without = _values(self.models, Z), [_values(models, Z) for models in self._without]
        residuals = {}
        for metric, own in self.residuals.items():
            shifts = [np.log(other.get(metric, values[metric]) / values[metric]) for other in without]
            residuals[metric] = np.stack(shifts)[self._fold[metric]].T + own
        return Costs(values, residuals, weights=self.weights)


def _fit(Z: Array, y: Mapping[str, Array], kept: Mask, least: int) -> dict[str, LinearCost]:
    """Fit each metric, [n], that is measured for at least `least` of the kept networks, [n]."""
    chosen = {metric: kept & np.isfinite(own) for metric, own in y.items()}
    return {m: fit_linear(Z[own], y[m][own]) for m, own in chosen.items() if own.sum() >= least}


def _values(models: Mapping[str, LinearCost], Z: Array) -> dict[str, Array]:
    """Return the metrics of configs Z [n, d], each [n]."""
    values = {metric: model.predict(Z) for metric, model in models.items()}
    if "time_s" in values and "power_w" in values:
        values["energy_j"] = values["power_w"] * values["time_s"]
    return {metric: values[metric] for metric in METRICS if metric in values}


def networks_of_space(
    profile: DeviceProfile, space: SearchSpace, batch_size: int, dtype: str
) -> tuple["pd.DataFrame", list[Config], list[str]]:
    """Return the measured networks of a space, [n], their configs, and notes on those left out."""
    networks = profile.networks
    chosen = (networks["source"] == "space") & (networks["mode"] == "eager")
    chosen &= (networks["batch"] == batch_size) & (networks["dtype"] == dtype)
    kept, configs, reasons = [], [], []
    for row, text in networks.loc[chosen, "config"].items():
        try:
            configs.append(space.validate(_parse(text)))
            kept.append(row)
        except HwoptError as reason:
            reasons.append(str(reason))
    notes = [f"{len(reasons)} networks of another space are left out: {reasons[0]}"] if reasons else []
    if len(kept) < MIN_NETWORKS:
        raise InvalidInput(
            _too_few(profile, len(kept), batch_size, dtype) + "".join(f" ({n})" for n in notes)
        )
    return networks.loc[kept].reset_index(drop=True), configs, notes


def encode(space: SearchSpace, configs: Sequence[Mapping[str, Any]]) -> Array:
    """Return z of each config, shape [n, d]: numbers as they are, choices one-hot, 0 where inactive."""
    columns = []
    for dimension in (dimension for dimension in space.dimensions if dimension.name in space.structural):
        values = [config.get(dimension.name) for config in configs]
        if isinstance(dimension, Categorical):
            is_active = [dimension.name in config for config in configs]
            for choice in dimension.choices:
                columns.append([on and value == choice for on, value in zip(is_active, values, strict=True)])
        else:
            columns.append([0.0 if value is None else value for value in values])
    return np.array(columns, dtype=float).reshape(len(columns), len(configs)).T


def fit_linear(Z: Array, y: Array) -> LinearCost:
    """Fit y [n], positive, on Z [n, d], with the penalty of least error in 10-fold cross-validation."""
    fold = np.random.default_rng(0).permutation(len(y)) % min(_N_FOLDS, len(y))
    errors = []
    for penalty in _PENALTIES:
        unseen = np.empty(len(y))
        for k in np.unique(fold):
            weights, intercept = _ridge(Z[fold != k], y[fold != k], penalty)
            unseen[fold == k] = np.maximum(intercept + Z[fold == k] @ weights, _LOWEST * y[fold != k].min())
        errors.append(float(np.sqrt(np.mean((unseen / y - 1) ** 2))))
    best = int(np.argmin(errors))
    weights, intercept = _ridge(Z, y, _PENALTIES[best])
    return LinearCost(weights, intercept, _PENALTIES[best], _LOWEST * float(y.min()), errors[best])


def _ridge(Z: Array, y: Array, penalty: float) -> tuple[Array, float]:
    """Return weights [d] and intercept that minimise mean ((w_0 + Z w) / y - 1)^2 + penalty * |weights|^2.

    The penalty applies to the weights of standardised columns as shares of the mean cost.
    """
    mean, scale = Z.mean(axis=0), Z.std(axis=0)
    standard = np.where(scale > 0, (Z - mean) / np.where(scale > 0, scale, 1.0), 0.0)
    unit = float(np.mean(y))
    A = unit * np.column_stack([np.ones(len(y)), standard]) / y[:, None] / np.sqrt(len(y))  # [n, 1 + d]
    ridge = np.sqrt(penalty) * np.eye(A.shape[1])[1:]
    target = np.concatenate([np.full(len(y), 1 / np.sqrt(len(y))), np.zeros(len(ridge))])
    solution = unit * np.linalg.lstsq(np.vstack([A, ridge]), target, rcond=None)[0]
    weights = np.where(scale > 0, solution[1:] / np.where(scale > 0, scale, 1.0), 0.0)
    return weights, float(solution[0] - weights @ mean)


def _parse(text: str) -> Mapping[str, Any]:
    """Return the config of a network from its cell: a flat JSON object, or raise InvalidInput."""
    try:
        content = json.loads(text) if 0 < len(text) <= _MAX_CONFIG else None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise InvalidInput("networks.csv has no config of it")
    return content


def _too_few(profile: DeviceProfile, n: int, batch_size: int, dtype: str) -> str:
    own = profile.networks[profile.networks["source"] == "space"]
    others = sorted({(int(batch), str(kind)) for batch, kind in own[["batch", "dtype"]].to_numpy()})
    found = ", ".join(f"batches of {batch} in {kind}" for batch, kind in others)
    return (
        f"method 'hyperpower': profile {profile.name!r} has {n} measured networks of this space at batch "
        f"size {batch_size} in {dtype}; the fit needs {MIN_NETWORKS}. The profile has networks of a "
        f"space at: {found or 'none'}. Measure some: hwopt profile --space FILE --batch-size {batch_size}"
    )
