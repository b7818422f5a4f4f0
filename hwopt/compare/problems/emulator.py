"""A frozen emulator of recorded trainings, so that a search may propose configs outside the table.

    config --> mean of extremely random trees and small perceptrons --> logit of the error, every epoch
                    + deviation of one of the table's repeated trainings from its mean, every epoch

Nothing is stored: it is fitted from the committed rows with fixed seeds, the same for every strategy. The
noise is the table's own: a curve of deviations between seeds, drawn from the 40 repeats of nearest mean
error, so that its size depends on the error and its course over the epochs is real. No Gaussian
process is involved: none of the searches' surrogates has an advantage. Costs are smooth formulas fitted to
the table's: they are the emulated truth, and exact.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwopt.arrays import Array
from hwopt.compare.problems.noise import generator_of
from hwopt.compare.problems.training_table import TrainingTable
from hwopt.space.dimensions import Integer
from hwopt.space.search_space import SearchSpace
from hwopt.train.result import TrainingResult

_N_TREES = 150
_N_PERCEPTRONS = 3
_N_STEPS = 120  # of fitting a perceptron; not to the end, which also keeps it smooth
_N_NEAREST = 40  # curves of deviations to draw from


@dataclass(frozen=True)
class Emulator:
    """Errors and seconds of any config of a space, [n, n_epochs], fitted to a table (see `fit_emulator`).

    `deviations` [k, n_epochs] are of logits, of repeated trainings; `levels` [k] the mean last logit of each.
    """

    space: SearchSpace
    side: int
    curves: Sequence[
        Any
    ]  # regressors of logit(error) after each epoch and the logarithm of an epoch's seconds
    failures: Any  # regressor of the share of trainings that fail
    deviations: Array
    levels: Array
    n_epochs: int

    def expected_errors(self, configs: Sequence[Mapping[str, Any]]) -> Array:
        """Return the final errors [n] that trainings have on average, over the noise."""
        last = self.predict(configs)[:, self.n_epochs - 1]
        return np.array([_share(logit + self.deviations[self._near(logit), -1]).mean() for logit in last])

    def train(self, config: Mapping[str, Any], seed: int) -> TrainingResult:
        """Return a training: the same for the same config and seed. A failed one has no epochs."""
        rng = generator_of(config, seed)
        if rng.random() < self.failures.predict(features_of(self.space, [config], self.side))[0]:
            return TrainingResult.whole((), (), "diverged, as emulated")
        prediction = self.predict([config])[0]
        logits, log_second = prediction[: self.n_epochs], prediction[-1]
        deviation = self.deviations[rng.choice(self._near(logits[-1]))]
        second = float(np.exp(log_second))
        return TrainingResult.whole(tuple(map(float, _share(logits + deviation))), (second,) * self.n_epochs)

    def predict(self, configs: Sequence[Mapping[str, Any]]) -> Array:
        """Return the logits after every epoch and the logarithm of an epoch's seconds, [n, n_epochs + 1]."""
        features = features_of(self.space, configs, self.side)
        return np.asarray(np.mean([model.predict(features) for model in self.curves], axis=0))

    def _near(self, logit: float) -> Any:
        """Return the indices of the deviations nearest to the level of an error."""
        return np.argsort(np.abs(self.levels - logit), kind="stable")[:_N_NEAREST]


def fit_emulator(table: TrainingTable, side: int) -> Emulator:
    """Return the emulator of a table whose images have this side."""
    from sklearn.exceptions import ConvergenceWarning

    features = features_of(table.space, table.configs, side)
    done = [i for i, one in enumerate(table.recorded) if one.complete]
    targets = np.array([_targets(table, i) for i in done])
    share = np.array([1 - len(one.complete) / len(one.trainings) for one in table.recorded])
    deviations, levels = _deviations(table)
    models = [_trees(min_samples_leaf=2), _perceptrons()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the steps are few on purpose
        curves = tuple(model.fit(features[done], targets) for model in models)
    return Emulator(
        space=table.space,
        side=side,
        curves=curves,
        failures=_trees(min_samples_leaf=3).fit(features, share),
        deviations=deviations,
        levels=levels,
        n_epochs=table.n_epochs,
    )


def positions_of(space: SearchSpace, configs: Sequence[Mapping[str, Any]]) -> Array:
    """Return encoded configs, [n, d] in [0, 1], whole numbers from low at 0 to high at 1.

    A benchmark problem has an encoding of its own, independent of that of the search.
    """
    X = space.encode(configs)
    for column, group in enumerate(space.groups):
        dimension = space.dimensions[group]
        if isinstance(dimension, Integer):
            scale = np.log if dimension.log else np.asarray
            low, high = scale([dimension.low, dimension.high])
            active = [i for i, config in enumerate(configs) if dimension.name in config]
            values = scale([float(configs[i][dimension.name]) for i in active])
            X[active, column] = (values - low) / (high - low)
    return X


def features_of(space: SearchSpace, configs: Sequence[Mapping[str, Any]], side: int) -> Array:
    """Return the features of errors, [n, d]: encoded config, counts of the network, size of a step."""
    rate, momentum, decay = (
        np.array([config[name] for config in configs], dtype=float)
        for name in ("learning_rate", "momentum", "weight_decay")
    )
    batch = np.array([config.get("train_batch_size", 1) for config in configs], dtype=float)
    step = np.log(rate / (1 - momentum))
    work = np.log(cnn_counts(configs, side)[:, [0, 3]])
    return np.column_stack(
        [positions_of(space, configs), step, step - np.log(batch), np.log(rate * decay), work]
    )


def fit_costs(table: TrainingTable, side: int) -> Any:
    """Return emulated costs: a function from configs to a dict of arrays [n], smooth and deterministic.

    The logarithm of each cost is a quadratic polynomial of the logarithms of the work and of the structure.
    """
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    def fitted(values: Array) -> Any:
        model = make_pipeline(StandardScaler(), PolynomialFeatures(2), StandardScaler(), Ridge(1.0))
        return model.fit(_cost_features(table.space, table.configs, side), np.log(values))

    models = {metric: fitted(values) for metric, values in table.costs.items()}

    def costs(configs: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
        features = _cost_features(table.space, configs, side)
        return {metric: np.exp(model.predict(features)) for metric, model in models.items()}

    return costs


def _cost_features(space: SearchSpace, configs: Sequence[Mapping[str, Any]], side: int) -> Array:
    structural = [{name: c[name] for name in space.structural if name in c} for c in configs]
    return np.hstack([np.log(cnn_counts(configs, side)), positions_of(space, structural)])


def logit(errors: Any, n_validation: int) -> Array:
    """Return logits; an error of nothing or everything counts as half an image from it."""
    share = np.clip(np.asarray(errors, dtype=float), 0.5 / n_validation, 1 - 0.5 / n_validation)
    return np.asarray(np.log(share / (1 - share)))


def _share(logits: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-logits)))


def _targets(table: TrainingTable, i: int) -> Array:
    """Return the targets of a config: mean logits after every epoch, and log seconds of an epoch."""
    complete = table.recorded[i].complete
    curves = logit([one.errors for one in complete], table.n_validation).mean(axis=0)
    return np.append(curves, np.log(np.median([one.seconds for one in complete])))


def _deviations(table: TrainingTable) -> tuple[Array, Array]:
    """Return deviations of repeated trainings from the mean of their config, and its level.

    The mean of k trainings takes a part of the spread with it, hence the factor sqrt(k / (k - 1)).
    """
    found, levels = [np.zeros((0, table.n_epochs))], [np.zeros(0)]
    for one in table.recorded:
        if len(one.complete) > 1:
            curves = logit([training.errors for training in one.complete], table.n_validation)
            k, mean = len(curves), curves.mean(axis=0)
            found.append((curves - mean) * np.sqrt(k / (k - 1)))
            levels.append(np.full(k, mean[-1]))
    if len(found) == 1:  # nothing was repeated: no noise
        return np.zeros((1, table.n_epochs)), np.zeros(1)
    return np.vstack(found), np.concatenate(levels)


def _trees(min_samples_leaf: int) -> Any:
    from sklearn.ensemble import ExtraTreesRegressor

    return ExtraTreesRegressor(
        _N_TREES, min_samples_leaf=min_samples_leaf, max_features=0.6, random_state=0, n_jobs=1
    )


def _perceptrons() -> Any:
    """Return the mean of small perceptrons, strongly regularised, on standardised inputs and outputs."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.ensemble import BaggingRegressor
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    small = MLPRegressor(hidden_layer_sizes=(40, 40), alpha=10.0, solver="lbfgs", max_iter=_N_STEPS)
    every = BaggingRegressor(small, _N_PERCEPTRONS, bootstrap=False, random_state=0)
    return TransformedTargetRegressor(
        make_pipeline(StandardScaler(), every), transformer=StandardScaler(), check_inverse=False
    )


def cnn_counts(configs: Sequence[Mapping[str, Any]], side: int) -> Array:
    """Return counts of n networks for one image, [n, 6], all above 0.

    Columns: FLOPs of the convolutions, elements of their unfolded inputs, elements of their outputs, weights,
    the most elements that a layer reads and writes, hidden units.

    Args:
        configs: with n_convs, features1, features2, ... (the last one goes on), kernel or kernel1, ..., pool
            (a window's side, or a kind with windows of two) and fc_units.
        side: of an input image, which has one channel.
    """
    return np.array([_counts(config, side) for config in configs], dtype=float).reshape(-1, 6)


def _counts(config: Mapping[str, Any], side: int) -> list[float]:
    channels, flops, unfolded, outputs, weights, peak = 1, 0, 0, 0, 0, 0
    pool = config["pool"] if isinstance(config["pool"], int) else 2
    for number in range(1, config["n_convs"] + 1):
        features = config.get(f"features{number}", config.get("features2"))
        kernel = config.get(f"kernel{number}", config.get("kernel"))
        after = side + 2 * (kernel // 2) - kernel + 1
        unfolded += kernel**2 * channels * after**2
        flops += 2 * kernel**2 * channels * features * after**2
        outputs += features * after**2
        weights += kernel**2 * channels * features
        norm = 2 * features * after**2 if config["batch_norm"] else 0
        peak = max(peak, channels * side**2 + features * after**2, norm)
        channels, side = features, after // pool
    weights += (channels * side**2 + 10) * config["fc_units"]
    return [flops, unfolded, outputs, weights, peak, config["fc_units"]]
