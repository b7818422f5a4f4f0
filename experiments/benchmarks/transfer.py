"""Error on a new device against the number of measurements, with and without a prior from another device.

    python experiments/benchmarks/transfer.py --older FOLDER --data PATH [--out results/transfer]

layers    rows of the shipped CPU profile in the order in which they were measured: the first n are fitted,
          those after the 600th tested; the prior is an older profile of this kind of machine, FOLDER
networks  NAS-Bench-201 on six devices (HELP): each is the new one in turn, regressions on 300 networks of the
          others are priors; n networks are fitted, all of other isomorphism classes tested
budgets   the shipped CPU profile reduced to the measurements of a shorter campaign: its first rows and
          networks are fitted, with the older profile as a prior and without; later rows and networks of
          other families are tested
gpus      single convolutions on three GPUs (NeuSight): n rows of one are fitted, from the parameters of
          another one or from typical values; other rows are tested
"""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hwopt.network.layer import SHAPE_COLUMNS
from hwopt.predict.device import Device
from hwopt.predict.gpu.facts import GpuFacts
from hwopt.predict.gpu.model import GpuMethod
from hwopt.predict.gpu.prior import TYPICAL
from hwopt.predict.layer_models.hybrid import Hybrid
from hwopt.predict.measured_networks import MeasuredNetworks
from hwopt.predict.network_table import NetworkTable
from hwopt.predict.prior import OFF
from hwopt.predict.shipped import load_profile
from hwopt.predict.totals.network_regression import NetworkRegression
from hwopt.predict.totals.network_transfer import NetworkTransfer
from hwopt.predict.uncertainty.families import family
from hwopt.predict.validation.error_metrics import error_figures
from hwopt.profile.derived_columns import complete
from hwopt.profile.roofline import Ceilings

try:
    from experiments.benchmarks import foreign_networks as foreign
    from experiments.benchmarks import predictors as benchmark
except ModuleNotFoundError:  # run as a script
    import foreign_networks as foreign
    import predictors as benchmark

N_ROWS, FIRST_TESTED = (10, 20, 50, 100, 200, 400, 600), 600
N_NETWORKS = (5, 10, 20, 50, 100, 200)
N_PRIOR = 300
BUDGETS_S = (15, 30, 60, 120, 300, 600)
ROW_S, NETWORK_S = 0.5, 5.0  # as a campaign took on a busy CPU: 60 rows and 4 networks in 60 s
N_GPU_ROWS, N_GPU_TESTED, N_GPU_PRIOR = (3, 5, 10, 20, 50, 100, 200), 600, 800
CHIPS = {  # multiprocessors, float32 FLOPs and bytes a second, clock; from data sheets
    "NVIDIA A100 80GB PCIe": (108, 19.5e12, 1.935e12, 1.41e9),
    "Tesla V100-PCIE-32GB": (80, 14e12, 0.9e12, 1.38e9),
    "Tesla P4": (20, 5.5e12, 0.192e12, 1.114e9),
}


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


def budgets(older: Path) -> Iterator[dict[str, Any]]:
    """Yield the errors of a CPU's layers and networks by the seconds of measurement."""
    profile = load_profile("amd-epyc")
    networks = profile.networks.dropna(subset="time_s").reset_index(drop=True)
    families = networks["network"].map(family)
    for budget_s in BUDGETS_S:
        n_rows, n_networks = (int(share * budget_s / s) for share, s in ((0.5, ROW_S), (0.35, NETWORK_S)))
        rest = networks[~families.isin(set(families[:n_networks]))].reset_index(drop=True)
        cut = replace(
            profile, layers=profile.measured_layers.head(n_rows), networks=networks.head(n_networks)
        )
        for method, prior in (("alone", OFF), ("with the prior", str(older))):
            device = Device(replace(cut, info={**profile.info, "prior": prior}))
            model = device.model()
            tested = profile.measured_layers.iloc[FIRST_TESTED:]
            predicted_s = model.predict_layers(tested).values["time_s"]
            head = {"seconds": budget_s, "rows": n_rows, "networks": n_networks, "method": method}
            head["layers_mape"] = _mape(tested["time_s"].to_numpy(), predicted_s)["mape"]
            totals = model.costs(NetworkTable.of_profile(profile, rest))
            for metric in ("time_s", "memory_bytes"):
                y = rest[metric].to_numpy(dtype=float)
                known = np.isfinite(y)
                head[f"networks_{metric}_mape"] = _mape(y[known], totals[metric][known])["mape"]
            yield {**head, "tested_layers": len(tested), "tested_networks": len(rest)}


def gpus(path: Path, seeds: int) -> Iterator[dict[str, Any]]:
    """Yield the errors on the convolutions of three GPUs, each as the new one in turn."""
    table = pd.read_csv(path)
    rows = {name: complete(table[table["device"] == name].reset_index(drop=True)) for name in CHIPS}
    rows = {name: own.assign(power_w=np.nan, memory_bytes=np.nan) for name, own in rows.items()}
    facts = {name: _facts(name, own) for name, own in rows.items()}
    shipped = load_profile("nvidia-h200")
    nothing = MeasuredNetworks.of(replace(shipped, networks=shipped.networks.head(0)))
    fitted = {
        name: GpuMethod(own.sample(N_GPU_PRIOR, random_state=1).reset_index(drop=True), facts[name], nothing)
        for name, own in rows.items()
    }
    for new, seed in itertools.product(CHIPS, range(seeds)):
        tested = rows[new].sample(N_GPU_TESTED, random_state=seed)
        for n in N_GPU_ROWS:
            few = rows[new].drop(tested.index).sample(n, random_state=seed).reset_index(drop=True)
            for old in ("typical values", *(name for name in CHIPS if name != new)):
                prior = TYPICAL if old not in fitted else fitted[old].as_prior(facts[new])
                method = GpuMethod(few, facts[new], nothing, prior)
                fit, _ = method.fit(np.ones(0, dtype=bool), "graph")
                predicted_s = fit.alone(method.prepare(NetworkTable.of_layers(tested)))["time_s"]
                head = {"data": new, "n": n, "seed": seed, "method": f"from {old}"}
                yield {**head, **_mape(tested["time_s"].to_numpy(), predicted_s)}


def _facts(name: str, rows: pd.DataFrame) -> GpuFacts:
    """Return the device facts of a chip, as in a device.json."""
    n, flops_per_s, bytes_per_s, clock_hz = CHIPS[name]
    ceilings = Ceilings(flops_per_s, bytes_per_s, float(rows["time_s"].min()))
    rates = {"float32": flops_per_s}
    return GpuFacts(n, ceilings, rates, rates, None, None, clock_hz, is_channels_last=False)


def _by_seed(rows: list[dict[str, Any]], out: Path, name: str) -> None:
    """Write a table of all rows and one of their means over seeds."""
    table = pd.DataFrame(rows)
    table.to_csv(out / f"{name}_by_seed.csv", index=False, float_format="%.4g")
    means = table.groupby(["data", "n", "method"])["mape"].agg(["mean", "min", "max", "count"]).reset_index()
    means.to_csv(out / f"{name}.csv", index=False, float_format="%.4g")
    print(means.to_string())


def _mape(y: Any, p: Any) -> dict[str, Any]:
    figures = error_figures(y, p)
    return {name: figures[name] for name in ("mape", "median_ape", "kendall_tau")}


def main() -> None:
    """Run the parts with available data and write a table for each."""
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
        table = pd.DataFrame(budgets(arguments.older))
        table.to_csv(arguments.out / "budgets.csv", index=False, float_format="%.4g")
        print(table.to_string())
    if arguments.data:
        rows = list(gpus(arguments.data / benchmark.FILES["conv"], arguments.seeds))
        _by_seed(rows, arguments.out, "gpus")
        rows = list(networks(arguments.data / benchmark.FILES["cells"], arguments.seeds))
        _by_seed(rows, arguments.out, "networks")


if __name__ == "__main__":
    main()
