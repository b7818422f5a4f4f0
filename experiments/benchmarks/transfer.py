"""Error on a new device against what is measured on it, with and without a prior from another device.

    python experiments/benchmarks/transfer.py --older FOLDER --data PATH [--out results/transfer]

layers    rows of the shipped CPU profile in the order in which they were measured: the first n are fitted,
          those after the 600th tested; the prior is an older profile of this kind of machine, FOLDER
networks  NAS-Bench-201 on six devices (HELP): each is the new one in turn, regressions of 300 networks on the
          others are priors; n networks are fitted, all of other isomorphism classes tested
"""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hwopt.network.layer import SHAPE_COLUMNS
from hwopt.predict.layer_models.hybrid import Hybrid
from hwopt.predict.shipped import load_profile
from hwopt.predict.totals.network_regression import NetworkRegression
from hwopt.predict.totals.network_transfer import NetworkTransfer
from hwopt.predict.validation.error_metrics import error_figures

try:
    from experiments.benchmarks import foreign_networks as foreign
    from experiments.benchmarks import predictors as benchmark
except ModuleNotFoundError:  # run as a script
    import foreign_networks as foreign
    import predictors as benchmark

N_ROWS, FIRST_TESTED = (10, 20, 50, 100, 200, 400, 600), 600
N_NETWORKS = (5, 10, 20, 50, 100, 200)
N_PRIOR = 300


def layers(older: Path) -> Iterator[dict[str, Any]]:
    """Yield the errors on the layers of the shipped CPU profile that were measured last."""
    new, old = load_profile("amd-epyc"), load_profile(older)
    rows, ceilings = new.measured_layers, new.ceilings
    tested = rows.iloc[FIRST_TESTED:]
    prior = Hybrid().fit(old.measured_layers, old.ceilings)
    keys = list(SHAPE_COLUMNS)
    known = pd.MultiIndex.from_frame(old.measured_layers[keys])
    is_new = ~pd.MultiIndex.from_frame(tested[keys]).isin(known)
    yield {"method": "the older profile as it is", "n": 0, **_layer_figures(prior, tested, is_new)}
    for n in N_ROWS:
        few = rows.head(n).reset_index(drop=True)
        for method, model in (("alone", Hybrid()), ("with the prior", Hybrid(prior))):
            yield {"method": method, "n": n, **_layer_figures(model.fit(few, ceilings), tested, is_new)}


def _layer_figures(model: Hybrid, tested: pd.DataFrame, is_new: Any) -> dict[str, Any]:
    y, p = tested["time_s"].to_numpy(), model.predict(tested).values["time_s"]
    figures = error_figures(y, p)
    own = error_figures(y[is_new], p[is_new])
    head = {"tested": len(y), "mape": figures["mape"], "median_ape": figures["median_ape"]}
    return {**head, "tested_shapes_new_to_the_prior": int(is_new.sum()), "mape_of_these": own["mape"]}


def networks(path: Path, seeds: int) -> Iterator[dict[str, Any]]:
    """Yield the errors on the cells of NAS-Bench-201, each device as the new one in turn."""
    table = pd.read_csv(path)
    table = table[table["acc12ep_pct_cifar10_test"] > 10.5].reset_index(drop=True)
    operations = [foreign.cell_operations(arch) for arch in table["arch"]]
    classes = np.array([foreign.canonical(one) for one in operations])
    X = benchmark.cell_features(operations)
    columns = [name for name in table.columns if name.startswith("latency_ms_")]
    for seed in range(seeds):
        train, test = benchmark.split(classes, np.ones(len(table), bool), seed)
        priors = {name: NetworkRegression.fit(X[train], table[name].to_numpy()[train]) for name in columns}
        for name in columns:
            y, others = table[name].to_numpy(), [priors[one] for one in columns if one != name]
            for n in N_NETWORKS:
                few = train[:n]
                head = {"data": name.removeprefix("latency_ms_"), "n": n, "seed": seed}
                with_prior = NetworkTransfer.fit(others, X[few], y[few]).predict(X[test])
                yield {**head, "method": "with a prior", **_mape(y[test], with_prior)}
                if n >= 10:
                    alone = NetworkRegression.fit(X[few], y[few]).predict(X[test])
                    yield {**head, "method": "alone", **_mape(y[test], alone)}


def _mape(y: Any, p: Any) -> dict[str, Any]:
    figures = error_figures(y, p)
    return {name: figures[name] for name in ("mape", "median_ape", "kendall_tau")}


def main() -> None:
    """Run the parts whose data is there and write a table for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--older", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results/transfer"))
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.older:
        table = pd.DataFrame(layers(arguments.older))
        table.to_csv(arguments.out / "layers.csv", index=False, float_format="%.4g")
        print(table.to_string())
    if arguments.data:
        rows = pd.DataFrame(networks(arguments.data / benchmark.FILES["cells"], arguments.seeds))
        rows.to_csv(arguments.out / "networks_by_seed.csv", index=False, float_format="%.4g")
        keys = ["data", "n", "method"]
        table = rows.groupby(keys)["mape"].agg(["mean", "min", "max", "count"]).reset_index()
        table.to_csv(arguments.out / "networks.csv", index=False, float_format="%.4g")
        print(table.to_string())


if __name__ == "__main__":
    main()
