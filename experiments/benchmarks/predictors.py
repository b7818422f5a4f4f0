"""Out-of-fold errors of all predictors on published measurements.

    python experiments/benchmarks/predictors.py --data PATH [--part conv|edge|blocks|cells|profile]

PATH is a folder with conv2d_latency_a100_v100_p4.csv.gz (NeuSight), fbnet_blocks_tx2_raspi4_pixel3.csv
(HW-NAS-Bench), nb201_latency_accuracy.csv.gz (HELP) and conv2d_power_edge_gpu.csv (NeurstrucEnergy). What is
absent is skipped. Each part writes a CSV. Rivals are learners of scikit-learn at their defaults, from
log2(1 + shape) or log2(1 + work of a network) to the logarithm of the metric, and HyperPower's linear model.
"""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hwopt.network import trace
from hwopt.network.layer import SHAPE_COLUMNS, SIZE_COLUMNS, LayerGraph
from hwopt.predict import load_device
from hwopt.predict.device import shipped_devices
from hwopt.predict.hyperpower import fit_linear
from hwopt.predict.layer_models.registry import Factory, make_model
from hwopt.predict.measured_networks import MeasuredNetworks
from hwopt.predict.methods import layer_factory
from hwopt.predict.totals.block_regression import BlockRegression, outline
from hwopt.predict.totals.layer_sum import LayerSum
from hwopt.predict.totals.network_regression import NetworkRegression, traced_features
from hwopt.predict.validation.error_metrics import error_figures
from hwopt.predict.validation.measurement_drift import Drift
from hwopt.profile.derived_columns import complete
from hwopt.profile.roofline import Ceilings, estimate_ceilings

try:
    from experiments.benchmarks import foreign_networks as foreign
except ModuleNotFoundError:  # run as a script
    import foreign_networks as foreign

Array = NDArray[np.float64]
Predictor = Callable[[Any, Any], dict[str, Array]]

FOLDS = 5
SAMPLE = 1500  # rows of a small campaign
N_NETWORKS = 300
FILES = {
    "edge": "conv2d_power_edge_gpu.csv",
    "conv": "conv2d_latency_a100_v100_p4.csv.gz",
    "blocks": "fbnet_blocks_tx2_raspi4_pixel3.csv",
    "cells": "nb201_latency_accuracy.csv.gz",
}
METHODS = ("paleo", "neuralpower", "hybrid")
RIVALS = ("boosted trees", "Gaussian process")
NETWORK_RIVALS = (*RIVALS, "linear (HyperPower)")
MOST_OF_A_PROCESS = 500  # rows that scikit-learn's Gaussian process is fitted on: it takes their cube
DRIFTS = ("ignored", "typical delay", "position known")  # the last alone knows where a tested row stands


def folds_of(groups: Any, seed: int) -> NDArray[np.intp]:
    """Return the fold of each row, [n]; equal groups share one."""
    codes, names = pd.factorize(np.asarray(groups))
    return np.asarray((np.random.default_rng(seed).permutation(len(names)) % FOLDS)[codes])


def out_of_fold(fold: NDArray[np.intp], predictor: Predictor) -> tuple[dict[str, Array], float, float]:
    """Return predictions of each row by a fit without its fold, CPU seconds of a fit and of 1,000 rows."""
    predicted: dict[str, Array] = {}
    fit_s = predict_s = 0.0
    for k in range(FOLDS):
        train, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        begun = time.process_time()
        predict = predictor(train, test)
        between = time.process_time()
        for name, values in predict().items():
            predicted.setdefault(name, np.full(len(fold), np.nan))[test] = values
        fit_s += between - begun
        predict_s += time.process_time() - between
    return predicted, fit_s / FOLDS, 1000 * predict_s / len(fold)


def figures(head: dict[str, Any], y: Array, p: Array, fit_s: float, predict_s: float) -> dict[str, Any]:
    """Return one row: the errors of one method, one metric, one seed."""
    errors = error_figures(y, p)
    kept = {name: errors[name] for name in ("n", "mape", "median_ape", "rmspe", "kendall_tau", "bias")}
    return {**head, **kept, "fit_s": fit_s, "predict_s_per_1000": predict_s}


# --- single convolutions -----------------------------------------------------------------------------------


def convolutions(path: Path, seeds: int) -> Iterator[dict[str, Any]]:
    """Yield the errors on NeuSight's convolutions, on all rows of a device and on samples of them."""
    table = pd.read_csv(path)
    for device, own in table.groupby("device", sort=True):
        rows = complete(own.reset_index(drop=True))
        rows["position"] = np.arange(len(rows), dtype=float)
        for seed in range(seeds):
            small = rows.sample(SAMPLE, random_state=seed).sort_index().reset_index(drop=True)
            for n, chosen in ((len(rows), rows), (SAMPLE, small)):
                for method in (*METHODS, *RIVALS) if seed == 0 else ("hybrid",):  # the others hardly vary
                    for drift in DRIFTS:
                        head = {"data": str(device), "n_rows": n, "method": method, "metric": "time_s"}
                        head |= {"drift": drift, "seed": seed}
                        yield _convolution_errors(head, chosen, seed)
        yield from noise_floor(str(device), rows)


def _convolution_errors(head: dict[str, Any], rows: pd.DataFrame, seed: int) -> dict[str, Any]:
    shapes = rows[["batch", "in_channels", "out_channels", "in_h"]].astype(str).agg("-".join, axis=1)
    position, time_s = rows["position"].to_numpy(), rows["time_s"].to_numpy()

    def predictor(train: Any, test: Any) -> Callable[[], dict[str, Array]]:
        known, unknown = rows.iloc[train].reset_index(drop=True), rows.iloc[test]
        drift = None
        if head["drift"] != "ignored":
            drift = Drift.fit(known, position[train], estimate_ceilings(known))
            known = known.assign(time_s=drift.without(time_s[train], position[train]))
        predict_layers = _layer_predictor(head["method"], known, estimate_ceilings(known))

        def predict() -> dict[str, Array]:
            clean_s = predict_layers(unknown)["time_s"]
            if drift is None:
                return {"time_s": clean_s}
            by_shape = head["drift"] == "typical delay"
            delay_s = drift.typical_delay_s(clean_s) if by_shape else drift.delay_s(position[test])
            return {"time_s": clean_s + delay_s}

        return predict

    predicted, fit_s, predict_s = out_of_fold(folds_of(shapes, seed), predictor)
    return figures(head, time_s, predicted["time_s"], fit_s, predict_s)


def noise_floor(device: str, rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield lower bounds of the error of a model of the shape: from drift alone, and from near twins.

    Drift: measured times minus the drift, plus the delay that fits rows of similar times best.
    Twins: pairs of rows whose roofline and shape differ by less than 3% in every dimension, drift taken out;
    one predicts the other, scaled by the operations, and the error is divided by sqrt 2.
    """
    position, time_s = rows["position"].to_numpy(), rows["time_s"].to_numpy()
    drift = Drift.fit(rows, position, estimate_ceilings(rows))
    clean_s = drift.without(time_s, position)
    head = {"data": device, "n_rows": len(rows), "metric": "time_s"}
    head |= {"drift": f"up to {1e3 * drift.delays_s.max():.3f} ms"}
    best_s = clean_s + drift.typical_delay_s(clean_s)
    yield figures({**head, "method": "floor: drift alone", "seed": 0}, time_s, best_s, 0.0, 0.0)
    logs = np.log(rows[["batch", "in_channels", "out_channels", "in_h"]].to_numpy(dtype=float))
    from scipy.spatial import cKDTree

    one, other = np.array(sorted(cKDTree(logs).query_pairs(0.03, p=np.inf))).reshape(-1, 2).T
    flops = rows["flops"].to_numpy(dtype=float)
    twin_s = clean_s[other] * flops[one] / flops[other]
    error = (twin_s / clean_s[one] - 1) / np.sqrt(2)
    row = figures({**head, "method": "floor: near twins"} | {"seed": 0}, np.ones(len(error)), 1 + error, 0, 0)
    yield row


# --- blocks ------------------------------------------------------------------------------------------------


def blocks(path: Path, seeds: int) -> Iterator[dict[str, Any]]:
    """Yield the errors on FBNet's blocks: time, energy and power on a TX2, time on a Pi and a Pixel."""
    table = pd.read_csv(path)
    table = table[table["type"] != "Skip"].reset_index(drop=True)
    built = [foreign.on_meta(foreign.fbnet_block, row) for row in table.itertuples()]
    graphs = [trace(module, shape) for module, shape in built]
    work = np.hstack([traced_features(graphs)[0], np.exp2(outline(graphs)) - 1])
    columns = {"time_s": "tx2_latency_ms", "energy_j": "tx2_energy_mj"}
    measured = {metric: table[column].to_numpy() / 1000 for metric, column in columns.items()}
    measured["power_w"] = measured["energy_j"] / measured["time_s"]
    for seed in range(seeds):
        fold = folds_of(table["block"], seed)
        for device, values in (
            ("tx2", measured),
            ("raspi4", {"time_s": table["raspi4_latency_ms"].to_numpy() / 1000}),
            ("pixel3", {"time_s": table["pixel3_latency_ms"].to_numpy() / 1000}),
        ):
            for method in ("layer sum", "block regression", "mean of both", *NETWORK_RIVALS):
                if method in NETWORK_RIVALS:
                    predictor = _network_rivals(work, values, method)
                else:
                    predictor = _block_predictor(graphs, values, method)
                predicted, fit_s, predict_s = out_of_fold(fold, predictor)
                for metric, p in predicted.items():
                    head = {"data": device, "n_rows": len(table), "method": method, "metric": metric}
                    yield figures({**head, "seed": seed}, values[metric], p, fit_s, predict_s)


def _block_predictor(graphs: list[LayerGraph], values: dict[str, Array], method: str) -> Predictor:
    def layer_sum(train: Any, test: Any) -> dict[str, Array]:
        known, unknown = [graphs[i] for i in train], [graphs[i] for i in test]
        additive = [metric for metric in values if metric != "power_w"]
        predicted = {m: LayerSum().fit(known, values[m][train]).predict(unknown) for m in additive}
        if "power_w" in values:
            predicted["power_w"] = predicted["energy_j"] / predicted["time_s"]
        return predicted

    def regression(train: Any, test: Any) -> dict[str, Array]:
        known, unknown = [graphs[i] for i in train], [graphs[i] for i in test]
        return {
            metric: BlockRegression.fit(known, y[train], metric != "power_w").predict(unknown)
            for metric, y in values.items()
        }

    def predictor(train: Any, test: Any) -> Callable[[], dict[str, Array]]:
        parts = []
        if method != "block regression":
            parts.append(layer_sum(train, test))
        if method != "layer sum":
            parts.append(regression(train, test))
        mean = {m: np.exp(np.mean([np.log(part[m]) for part in parts], axis=0)) for m in values}
        return lambda: mean

    return predictor


def _network_rivals(X: Array, values: dict[str, Array], method: str) -> Predictor:
    """Return the predictor of a learner that sees the work of networks, X [m, d]."""

    def predictor(train: Any, test: Any) -> Callable[[], dict[str, Array]]:
        found = {metric: _network_rival(method, X[train], y[train])(X[test]) for metric, y in values.items()}
        return lambda: found

    return predictor


def _network_rival(method: str, X: Array, y: Array) -> Callable[[Array], Array]:
    """Fit a learner at its defaults, or HyperPower's linear model, on the work of networks, X [m, d]."""
    if method in RIVALS:
        predict = _learner(method, np.log2(1 + X), y)
        return lambda X_new: predict(np.log2(1 + X_new))
    return fit_linear(X, y).predict


# --- cells -------------------------------------------------------------------------------------------------


def cells(path: Path, seeds: int) -> Iterator[dict[str, Any]]:
    """Yield the errors on NAS-Bench-201 of fits on 300 networks of 300 classes, on all other classes.

    Networks with the accuracy of chance have no path from input to output. They are excluded on the phones,
    which skip dead operators. Counts and indicators of live operators are extra features, used if they reduce
    the error on held-out networks.
    """
    table = pd.read_csv(path)
    operations = [foreign.cell_operations(arch) for arch in table["arch"]]
    classes = np.array([foreign.canonical(one) for one in operations])
    alive = [foreign.alive(one) for one in operations]
    X, extra = cell_features(operations), np.hstack([cell_features(alive), _one_hot(alive)])
    learns = table["acc12ep_pct_cifar10_test"].to_numpy() > 10.5
    for column in [name for name in table.columns if name.startswith("latency_ms_")]:
        is_compiled = column.endswith(("raspi4", "pixel3"))
        y, usable = table[column].to_numpy() / 1000, learns if is_compiled else np.ones(len(table), bool)
        for seed in range(seeds):
            train, test = split(classes, usable, seed)
            for method in ("network regression", *NETWORK_RIVALS):
                begun = time.process_time()
                predict = _cell_predictor(method, X[train], extra[train], y[train])
                fit_s = time.process_time() - begun
                begun = time.process_time()
                p = predict(X[test], extra[test])
                predict_s = 1000 * (time.process_time() - begun) / len(test)
                head = {"data": column.removeprefix("latency_ms_"), "n_rows": len(train)}
                head |= {"method": method, "metric": "time_s", "seed": seed}
                yield figures(head, y[test], p, fit_s, predict_s)


def _cell_predictor(method: str, X: Array, extra: Array, y: Array) -> Callable[[Array, Array], Array]:
    """Fit on m networks' work X [m, d] and features of live operators [m, e]; rivals get both joined."""
    if method == "network regression":
        return NetworkRegression.fit(X, y, extra=extra).predict
    predict = _network_rival(method, np.hstack([X, extra]), y)
    return lambda X_new, extra_new: predict(np.hstack([X_new, extra_new]))


def split(classes: Any, usable: Any, seed: int) -> tuple[Any, Any]:
    """Return the indices of 300 networks, each of another class, and of all networks of the other classes."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(np.flatnonzero(usable))
    _, first = np.unique(classes[shuffled], return_index=True)
    train = shuffled[np.sort(first)[:N_NETWORKS]]
    return train, np.flatnonzero(usable & ~np.isin(classes, classes[train]))


def _one_hot(operations: list[tuple[str, ...]]) -> Array:
    """Return an indicator of each operation on each edge, [n, 6 * 5]."""
    return np.array(
        [[own == name for own in one for name in foreign.OPERATIONS] for one in operations], float
    )


def cell_features(operations: list[tuple[str, ...]]) -> Array:
    """Return traced features of each cell's network, [n, d]; one trace for all cells of the same operations.

    The edge of an operation does not matter: all nodes of a cell have the same shape.
    """
    keys = [tuple(sorted(one)) for one in operations]
    known = sorted(set(keys))
    graphs = [trace(foreign.on_meta(foreign.nas_bench_201, key), (3, 32, 32)) for key in known]
    X, _ = traced_features(graphs)
    return X[[known.index(key) for key in keys]]


# --- layers: shipped profiles, an edge GPU ------------------------------------------------------------------


def profile(_: Path, seeds: int) -> Iterator[dict[str, Any]]:
    """Yield the errors on the layers of the shipped profiles, by kind.

    On a GPU, hybrid is fitted to all measured networks and the layers of the other folds.
    """
    for name in shipped_devices():
        device = load_device(name).profile
        hybrid = layer_factory(device, "hybrid", MeasuredNetworks.of(device))
        rows = device.measured_layers.reset_index(drop=True)
        yield from _layer_errors(name, rows, device.ceilings, seeds, {"hybrid": hybrid})


def edge(path: Path, seeds: int) -> Iterator[dict[str, Any]]:
    """Yield the errors on an edge GPU's convolutions: time and power."""
    yield from _layer_errors("edge GPU", complete(pd.read_csv(path)), None, seeds)


def _layer_errors(
    name: str,
    rows: pd.DataFrame,
    ceilings: Ceilings | None,
    seeds: int,
    factories: Mapping[str, Factory] | None = None,
) -> Iterator[dict[str, Any]]:
    shapes = pd.util.hash_pandas_object(rows[list(SHAPE_COLUMNS)], index=False)
    kinds = rows["kind"].to_numpy(dtype=str)
    for seed in range(seeds):
        for method in (*METHODS, *RIVALS):

            def predictor(train: Any, test: Any, method: str = method) -> Callable[[], dict[str, Array]]:
                known, unknown = rows.iloc[train].reset_index(drop=True), rows.iloc[test]
                factory = (factories or {}).get(method)
                predict = _layer_predictor(method, known, ceilings or estimate_ceilings(known), factory)
                return lambda: predict(unknown)

            predicted, fit_s, predict_s = out_of_fold(folds_of(shapes, seed), predictor)
            for metric, p in predicted.items():
                y = rows[metric].to_numpy(dtype=float)
                for kind in ("all", *np.unique(kinds)):
                    chosen = ((kinds == kind) | (kind == "all")) & np.isfinite(y)
                    head = {"data": name, "n_rows": len(rows), "method": method, "kind": kind}
                    head |= {"metric": metric, "seed": seed}
                    yield figures(head, y[chosen], p[chosen], fit_s, predict_s)


def _layer_predictor(
    method: str, known: pd.DataFrame, ceilings: Ceilings, factory: Factory | None = None
) -> Callable[[pd.DataFrame], dict[str, Array]]:
    """Fit a layer model, or a rival on shapes and kinds alone."""
    if method not in RIVALS:
        model = (factory or partial(make_model, method))().fit(known, ceilings)
        return lambda unknown: dict(model.predict(unknown).values)
    kinds = sorted(set(known["kind"]))

    def seen(rows: pd.DataFrame) -> Array:
        logs = np.log2(1 + rows[list(SIZE_COLUMNS)].to_numpy(dtype=float))
        return np.hstack([logs, rows[["kind"]].to_numpy() == kinds]).astype(float)

    fitted = {}
    for metric in ("time_s", "power_w"):
        if metric in known.columns and known[metric].notna().sum() >= FOLDS:
            has = known[metric].notna().to_numpy()
            fitted[metric] = _learner(method, seen(known)[has], known[metric].to_numpy(dtype=float)[has])
    return lambda unknown: {metric: predict(seen(unknown)) for metric, predict in fitted.items()}


def _learner(method: str, X: Array, y: Array) -> Callable[[Array], Array]:
    """Fit a learner of scikit-learn, at its defaults, to the logarithm of y [n] on X [n, d]."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, WhiteKernel
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if method == "boosted trees":
        learner = HistGradientBoostingRegressor(random_state=0)
    else:
        chosen = np.random.default_rng(0).permutation(len(y))[:MOST_OF_A_PROCESS]
        X, y = X[chosen], y[chosen]
        process = GaussianProcessRegressor(RBF() + WhiteKernel(), normalize_y=True, random_state=0)
        learner = make_pipeline(StandardScaler(), process)
    fitted = learner.fit(X, np.log(y))
    return lambda X_new: np.asarray(np.exp(fitted.predict(X_new)), dtype=float)


PARTS = {"conv": convolutions, "edge": edge, "blocks": blocks, "cells": cells, "profile": profile}


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return means over seeds, with the minimum and maximum of the mean error."""
    keys = [name for name in ("data", "n_rows", "drift", "kind", "method", "metric") if name in rows.columns]
    groups = rows.groupby(keys, sort=True, dropna=False)
    table = groups.mean(numeric_only=True).drop(columns="seed")
    table["mape_least"], table["mape_most"] = groups["mape"].min(), groups["mape"].max()
    table["seeds"] = groups.size()
    return table.reset_index()


def main() -> None:
    """Run the parts with available data and write a table for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("results/predictors"))
    parser.add_argument("--part", choices=sorted(PARTS), action="append")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for part in arguments.part or PARTS:
        path = arguments.data / FILES.get(part, ".")
        if not path.exists():
            print(f"{part}: skipped, {path} is absent")
            continue
        table = summary(pd.DataFrame(PARTS[part](path, arguments.seeds)))
        table.to_csv(arguments.out / f"{part}.csv", index=False, float_format="%.4g")
        print(table.to_string())


if __name__ == "__main__":
    main()
