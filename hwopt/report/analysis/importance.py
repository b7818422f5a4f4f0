"""Importance of hyperparameters: permutation importance of a random forest (Breiman 2001).

    trials --encode--> X [n, k] --> forest on 4 of 5 folds --> increase of its squared error on the fifth if
                                                               the values of one hyperparameter are permuted

The increase is divided by the variance of the target: 1 means that the target depends on this hyperparameter
alone. The forest is evaluated on held-out trials: without predictive power its R2 is about 0 or negative, and
so are all importances. Targets are logarithms of costs and of errors.

The values of a conditional hyperparameter are permuted among the trials in which it is active, so its
importance is weighted with their share.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.arrays import Array
from hwopt.report.analysis.study_data import StudyData
from hwopt.study.store.store import Trial
from hwopt.units import counted

if TYPE_CHECKING:
    import pandas as pd

N_LEAST = 10  # least number of trainings
_N_TREES, _N_REPEATS, _N_FOLDS = 50, 5, 5
_N_MOST = 500  # largest number of trainings, spread evenly over the search
_ABSENT = -1.0  # code of an inactive hyperparameter; codes of active ones start at 0
_SHIFT = 0.25  # quantile of the errors in ln(error + shift), as in the surrogate


@dataclass(frozen=True)
class Importance:
    """Importance of hyperparameters for the targets of one study.

    Attributes:
        study: its name.
        table: one row per target and hyperparameter: target, hyperparameter, importance, std (over
            repetitions and folds).
        r2: target -> R2 of the forest on held-out trials.
        n: target -> number of trainings.
        notes: target -> reason of missing importances.
    """

    study: str
    table: "pd.DataFrame"
    r2: dict[str, float]
    n: dict[str, int]
    notes: dict[str, str]

    def ranked(self, target: str) -> "pd.DataFrame":
        """Return the rows of a target, the most important first."""
        own = self.table[self.table["target"] == target]
        return own.sort_values(["importance", "hyperparameter"], ascending=[False, True])


def importance(study: StudyData, targets: Sequence[str] | None = None) -> Importance:
    """Compute the importance of hyperparameters for the error and for each cost.

    Args:
        study: study whose complete trainings are used.
        targets: "error" and costs; all if None.
    """
    import pandas as pd

    rows, r2, n, notes = [], {}, {}, {}
    for target in targets if targets is not None else ("error", *study.costs):
        X, y = _observations(study, target)
        n[target] = len(y)
        if len(y) < N_LEAST:
            notes[target] = f"{counted(len(y), 'complete training')}; at least {N_LEAST} are needed"
        elif np.ptp(y) <= 1e-9 * max(float(np.max(np.abs(y))), 1e-9):
            notes[target] = f"the same in all {len(y)} trainings"
        else:
            means, stds, r2[target] = permutation_importances(X, y)
            names = [dimension["name"] for dimension in study.dimensions]
            rows += [(target, *row) for row in zip(names, means, stds, strict=True)]
    table = pd.DataFrame(rows, columns=["target", "hyperparameter", "importance", "std"])
    return Importance(study.name, table, r2, n, notes)


def permutation_importances(X: Array, y: Array) -> tuple[Array, Array, float]:
    """Return importance and standard deviation of each column, [k], and the R2 on held-out rows.

    Args:
        X: encoded configs, [n, k]; _ABSENT for inactive hyperparameters.
        y: target, [n], not constant.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.model_selection import KFold

    rises, predicted = [], np.empty(len(y))
    for fold, (fitted, held) in enumerate(KFold(_N_FOLDS, shuffle=True, random_state=0).split(X)):
        forest = RandomForestRegressor(_N_TREES, random_state=0).fit(X[fitted], y[fitted])
        predicted[held] = forest.predict(X[held])
        permuted = _permuted(X[held], np.random.default_rng(fold))  # [repeats, k, held, k]
        errors = (forest.predict(permuted.reshape(-1, X.shape[1])).reshape(permuted.shape[:3]) - y[held]) ** 2
        rises.append(errors.mean(axis=2) - np.mean((predicted[held] - y[held]) ** 2))
    scaled = np.vstack(rises) / np.var(y)  # [folds * repeats, k]
    r2 = 1 - float(np.mean((predicted - y) ** 2) / np.var(y))
    return scaled.mean(axis=0), scaled.std(axis=0), r2


def _permuted(X: Array, rng: np.random.Generator) -> Array:
    """Return copies of X [n, k] with one column permuted among its active rows.

    Returns:
        Shape [repeats, k, n, k]; the second index is the permuted column.
    """
    n, k = X.shape
    copies = np.broadcast_to(X, (_N_REPEATS, k, n, k)).copy()
    for repeat in range(_N_REPEATS):
        for j in range(k):
            active = np.flatnonzero(X[:, j] != _ABSENT)
            copies[repeat, j, active, j] = X[rng.permutation(active), j]
    return copies


def _observations(study: StudyData, target: str) -> tuple[Array, Array]:
    """Return encoded configs [n, k] and the logarithms of a target [n], of complete trainings."""
    trained = [trial for trial in study.trials if trial.status == "complete" and trial.error is not None]
    values = np.array([_value(trial, target) for trial in trained], dtype=float)
    is_known = np.isfinite(values) & ((values > 0) | (target == "error"))
    kept = np.flatnonzero(is_known)
    if len(kept) > _N_MOST:
        kept = kept[np.linspace(0, len(kept) - 1, _N_MOST, dtype=int)]
    values = values[kept]
    if target == "error" and len(values):
        values = values + max(float(np.quantile(values, _SHIFT)), 1e-6)
    return encode([trained[i] for i in kept], study.dimensions), np.log(values)


def _value(trial: Trial, target: str) -> float:
    found = trial.error if target == "error" else trial.costs.get(target)
    return np.nan if found is None else float(found)


def encode(trials: Sequence[Trial], dimensions: Sequence[dict[str, Any]]) -> Array:
    """Encode configs as [n, k], one column per hyperparameter: ranks of numbers, indices of choices.

    Trees split at thresholds, so only the order matters.
    """
    X = np.full((len(trials), len(dimensions)), _ABSENT)
    for j, dimension in enumerate(dimensions):
        name = dimension["name"]
        active = [i for i, trial in enumerate(trials) if name in trial.config]
        values = [trials[i].config[name] for i in active]
        if "choices" in dimension:
            places = {(isinstance(c, bool), c): float(k) for k, c in enumerate(dimension["choices"])}
            X[active, j] = [places[isinstance(value, bool), value] for value in values]
        elif active:
            X[active, j] = np.unique(np.array(values, dtype=float), return_inverse=True)[1]
    return X
