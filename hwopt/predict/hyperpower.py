"""HyperPower (Stamoulis et al. 2018): every cost linear in the structural hyperparameters of a space.

    cost(z) = w_0 + sum_j w_j z_j

z holds the values of numbers as they are, choices one-hot, 0 where a hyperparameter is inactive. w has the
least squared relative error on profiled networks of the space (the split `fit`), with a ridge penalty of the
least root mean squared percentage error in 10-fold cross-validation; the intercept and the penalty are
additions to the paper's form. Energy is power times time. The split `calibrate` gives the distribution, as
for the other methods. Nothing is traced: a config whose network cannot be built has a price too.
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
from hwopt.profile.device_profile import DeviceProfile
from hwopt.space.search_space import Categorical, Config, SearchSpace

if TYPE_CHECKING:
    import pandas as pd

MIN_NETWORKS = 10  # to fit on: one a fold
_N_FOLDS = 10
_PENALTIES = (1e-6, 1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
_LOWEST = 0.5  # of the least measured value: no cost is predicted below
_MAX_CONFIG = 10_000  # characters of a config in networks.csv


@dataclass(frozen=True)
class LinearCost:
    """One metric as a linear function of z.

    Attributes:
        weights: of z, shape [d], in the metric's unit for one of the hyperparameter's.
        intercept: in the metric's unit.
        penalty: of the squared weights of standardised columns.
        lowest: what no prediction is below.
        rmspe: root mean squared percentage error out of fold, a share.
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
    """Prices configs of a space: a callable from configs to `Costs`, fitted when constructed.

    Args:
        profile: has measured networks of the space, with their configs.
        space: their search space.
        batch_size: items a pass.
        dtype: of the networks.

    Attributes:
        models: metric -> fitted function, for every metric that networks were measured for.
        residuals: metric -> ln(measured / predicted) of the calibration networks.
        notes: what a reader of the predictions must know.

    Raises:
        InvalidInput: where the profile has too few networks of this space at this batch size and dtype.
    """

    def __init__(self, profile: DeviceProfile, space: SearchSpace, batch_size: int, dtype: str) -> None:
        self.space, self.batch_size, self.dtype = space, batch_size, dtype
        networks, configs, self.notes = networks_of_space(profile, space, batch_size, dtype)
        Z, split = encode(space, configs), networks["split"].to_numpy(dtype=str)
        self.models: dict[str, LinearCost] = {}
        self.residuals: dict[str, Array] = {}
        for metric in ("time_s", "power_w", "memory_bytes"):
            y = networks[metric].to_numpy(dtype=float)
            fit = np.isfinite(y) & (split == "fit")
            if fit.sum() < MIN_NETWORKS:
                if np.isfinite(y).any():
                    self.notes.append(f"{metric}: {fit.sum()} networks to fit on, fewer than {MIN_NETWORKS}")
                continue
            self.models[metric] = fit_linear(Z[fit], y[fit])
        for metric, predicted in self._values(Z).items():
            errors = np.log(networks[metric].to_numpy(dtype=float) / predicted)
            self.residuals[metric] = errors[np.isfinite(errors) & (split == "calibrate")]
        if not self.models:
            raise InvalidInput(_too_few(profile, int((split == "fit").sum()), batch_size, dtype))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that are predicted."""
        return tuple(self._values(encode(self.space, [])))

    def lines(self) -> list[str]:
        """Say of each metric how well it is linear."""
        d = len(encode(self.space, [{}])[0])
        return [
            f"{metric}: linear in {d} columns, RMSPE {model.rmspe:.1%} out of fold; "
            f"{len(self.residuals[metric])} calibration networks"
            for metric, model in self.models.items()
        ] + self.notes

    def __call__(self, configs: Sequence[Mapping[str, Any]]) -> Costs:
        """Return the costs of n configs."""
        Z = encode(self.space, configs)
        return Costs(self._values(Z), self.residuals)

    def _values(self, Z: Array) -> dict[str, Array]:
        values = {metric: model.predict(Z) for metric, model in self.models.items()}
        if "time_s" in values and "power_w" in values:
            values["energy_j"] = values["power_w"] * values["time_s"]
        return {metric: values[metric] for metric in METRICS if metric in values}


def networks_of_space(
    profile: DeviceProfile, space: SearchSpace, batch_size: int, dtype: str
) -> tuple["pd.DataFrame", list[Config], list[str]]:
    """Return the measured networks of a space, [n], their configs and notes on those that were left out."""
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
    notes = [f"{len(reasons)} networks are of another space and left out: {reasons[0]}"] if reasons else []
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
    """Fit y [n], positive, on Z [n, d]: the penalty of the least error in 10-fold cross-validation."""
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
    """Return weights [d] and intercept of least mean ((w_0 + Z w) / y - 1)^2 + penalty * |weights|^2.

    Penalised are the weights of standardised columns as shares of the mean cost.
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
        raise InvalidInput("no config is kept with it")
    return content


def _too_few(profile: DeviceProfile, n: int, batch_size: int, dtype: str) -> str:
    own = profile.networks[profile.networks["source"] == "space"]
    others = sorted({(int(batch), str(kind)) for batch, kind in own[["batch", "dtype"]].to_numpy()})
    found = ", ".join(f"batches of {batch} in {kind}" for batch, kind in others)
    return (
        f"method 'hyperpower': profile {profile.name!r} has {n} networks of this space with a config, at "
        f"batches of {batch_size} in {dtype}, to fit on; it takes {MIN_NETWORKS}. It has networks of a space "
        f"at: {found or 'none'}. Measure some: hwopt profile --space FILE --batch-size {batch_size}"
    )
