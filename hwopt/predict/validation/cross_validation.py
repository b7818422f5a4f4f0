"""Cross-validation of layer models: errors out of fold and in sample."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwopt.errors import InvalidInput, did_you_mean
from hwopt.network.layer import SHAPE_COLUMNS
from hwopt.predict.layer_models.registry import Factory, make_model
from hwopt.predict.validation.device_states import StateFactor, find_states
from hwopt.predict.validation.error_metrics import error_figures
from hwopt.predict.validation.measurement_drift import Drift, find_drift
from hwopt.profile.derived_columns import complete, incomplete, note_incomplete
from hwopt.profile.roofline import Ceilings, estimate_ceilings
from hwopt.signatures import also_by_position

if TYPE_CHECKING:
    import pandas as pd

_METRICS = ("time_s", "power_w", "energy_j")
_Finder = Callable[["pd.DataFrame", NDArray[np.float64], Ceilings], Drift | StateFactor | None]
_FINDERS: dict[str, _Finder] = {"none": lambda *_: None, "delay": find_drift, "factor": find_states}


@also_by_position
def cross_validate(
    rows: "pd.DataFrame",
    *,
    method: str = "hybrid",
    folds: int = 5,
    seed: int = 0,
    ceilings: Ceilings | None = None,
    drift: str = "delay",
    factory: Factory | None = None,
) -> "pd.DataFrame":
    """Return the errors of a method on layer rows, in sample and out of fold.

    Folds split distinct layers: repeated measurements of a layer stay together. If a delay grew during the
    measurement (`hwopt.predict.validation.measurement_drift`; the order is that of the table), or the device
    changed its state (`hwopt.predict.validation.device_states`), the drift is estimated from the training
    rows and removed from them before the fit; predictions then include a typical delay or factor, whatever
    the position of a tested row. The notes report it.

    Args:
        rows: measured layer rows with `time_s`; derived columns may be missing.
        method: name of a layer model.
        folds: number of folds, at least 2.
        seed: seed of the random split.
        ceilings: of the device; None estimates them from the training rows of each fold.
        drift: "delay" detects a delay that is common to all layers at a time; "factor" detects a factor,
            such as a clock or a power cap; "none" leaves all rows unchanged.
        factory: function that returns an unfitted layer model of the method; None uses `make_model`.

    Returns:
        One row for each device, kind (and "all"), metric and fold_kind (in_sample, out_of_fold), with the
        figures of `hwopt.predict.validation.error_metrics`, errors as fractions. `attrs["notes"]` reports
        removed drifts and fallbacks.

    Raises:
        InvalidInput: for an unknown drift, fewer than 2 folds, a device with fewer distinct layers than
            folds, or measured values that are not positive.
        UnknownName: for a method that is unknown or has no layer form.
    """
    import pandas as pd

    fitting = _Fitting(method, factory or partial(make_model, method), ceilings, drift)
    fitting.factory()
    if drift not in _FINDERS:
        names = sorted(_FINDERS)
        raise InvalidInput(f"unknown drift {drift!r}{did_you_mean(str(drift), names)}")
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 2:
        raise InvalidInput(f"folds = {folds!r}; cross-validation needs at least 2")
    if "time_s" not in rows.columns:
        raise InvalidInput("layer rows lack the column time_s, which is the predicted value")
    _check_positive(rows)
    rows = complete(rows[rows["time_s"].notna()].reset_index(drop=True))
    notes = note_incomplete(rows)
    rows = rows[~incomplete(rows)].reset_index(drop=True)
    tables: list[dict[str, object]] = []
    for device, own in rows.groupby("device", sort=True):
        own = own.reset_index(drop=True)
        fold = _folds(own, folds, seed)
        predictions = {
            "in_sample": fitting.predict(own, own, notes),
            "out_of_fold": fitting.out_of_fold(own, fold),
        }
        for fold_kind, predicted in predictions.items():
            tables += _figures(str(device), own, fold_kind, predicted)
    table = pd.DataFrame(tables)
    table.attrs["notes"] = notes
    return table


def _check_positive(rows: "pd.DataFrame") -> None:
    """Refuse measured values that are zero, negative or infinite; missing ones are left out later."""
    for metric in _METRICS:
        if metric not in rows.columns:
            continue
        values = rows[metric].to_numpy(dtype=float)
        wrong = np.flatnonzero(~np.isnan(values) & ~((values > 0) & np.isfinite(values)))
        if len(wrong):
            raise InvalidInput(
                f"row {wrong[0]}: {metric} = {values[wrong[0]]:g}; it must be positive and finite, "
                "in SI units; leave it empty if it was not measured"
            )


def _folds(rows: "pd.DataFrame", folds: int, seed: int) -> NDArray[np.intp]:
    """Return the fold of each row, [n]; equal shapes share one."""
    layer = rows.groupby(list(SHAPE_COLUMNS), sort=False, dropna=False).ngroup().to_numpy()
    n_layers = int(layer.max()) + 1
    if n_layers < folds:
        raise InvalidInput(
            f"{n_layers} distinct layers for {folds} folds; measure more, or ask for fewer folds"
        )
    shuffled = np.random.default_rng(seed).permutation(n_layers) % folds
    return np.asarray(shuffled[layer], dtype=np.intp)


@dataclass(frozen=True)
class _Fitting:
    """Arguments of `cross_validate` for a fit and its predictions."""

    method: str
    factory: Factory
    ceilings: Ceilings | None
    drift: str

    def predict(
        self, train: "pd.DataFrame", test: "pd.DataFrame", notes: list[str] | None = None
    ) -> dict[str, NDArray[np.float64]]:
        """Return metric -> predictions of the test rows, [n]; the index of a row is its position."""
        limits = self.ceilings or estimate_ceilings(train)
        position, device = train.index.to_numpy(dtype=float), train["device"].iloc[0]
        found = _FINDERS[self.drift](train, position, limits)
        if found is not None:
            clean_s = found.without(train["time_s"].to_numpy(dtype=float), position)
            train = train.assign(time_s=clean_s)
            limits = self.ceilings or estimate_ceilings(train)
        model = self.factory().fit(train, limits)
        values = dict(model.predict(test).values)
        if notes is not None:
            notes += [_drift_note(device, found)] if found is not None else []
            notes += [f"{device}, {self.method}: {note}" for note in model.notes]
        if found is not None:
            values["time_s"] = found.expected(values["time_s"])
        if "power_w" in values:
            values["energy_j"] = values["power_w"] * values["time_s"]
        return values

    def out_of_fold(self, rows: "pd.DataFrame", fold: NDArray[np.intp]) -> dict[str, NDArray[np.float64]]:
        """Return metric -> predictions of each row, [n], by a fit without its fold."""
        predicted = {metric: np.full(len(rows), np.nan) for metric in _METRICS}
        for k in np.unique(fold):
            held_out = fold == k
            for metric, one in self.predict(rows[~held_out], rows[held_out]).items():
                predicted[metric][held_out] = one
        return {metric: values for metric, values in predicted.items() if np.isfinite(values).any()}


def _drift_note(device: str, drift: Drift | StateFactor) -> str:
    return (
        f"{device}: {drift.description}; it is removed from the fitted rows, and "
        f"predictions include a typical {'delay' if isinstance(drift, Drift) else 'factor'}"
    )


def _figures(
    device: str, rows: "pd.DataFrame", fold_kind: str, predicted: dict[str, NDArray[np.float64]]
) -> list[dict[str, object]]:
    table: list[dict[str, object]] = []
    kinds = rows["kind"].to_numpy(dtype=str)
    for metric, values in predicted.items():
        measured = rows[metric].to_numpy(dtype=float)
        known = np.isfinite(measured) & np.isfinite(values)
        for kind in ("all", *np.unique(kinds)):
            chosen = known if kind == "all" else known & (kinds == kind)
            head = {"device": device, "kind": str(kind), "metric": metric, "fold_kind": fold_kind}
            table.append({**head, **error_figures(measured[chosen], values[chosen])})
    return table
