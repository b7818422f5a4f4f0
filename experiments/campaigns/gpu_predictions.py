"""Networks that were measured after a profile was fitted, predicted beside measured.

    python experiments/campaigns/gpu_predictions.py --device nvidia-h200 --out results/measurement/nvidia-h200

The rows of a profile's file are in the order of measurement, so its first rows are the profile of its first
campaign. Predictions:

    by the first rows    the networks that the profile measured later, of families absent from the first rows
    and by all rows      the networks of OUT/fronts and OUT/hyperpower, which are in no profile

Three methods beside each other, with the 90% bound of the first; HyperPower's linear models of the two spaces
in ten folds, which is no prospective test: they are fitted to the other networks of the same space. Writes
present.csv (errors by source) and present_predictions.csv (a row for each network, mode and metric) by the
present model, whose form was chosen with these networks in sight. prospective.csv and its predictions are
by the model that was there before they were measured; this script at commit 4e54f4c writes them again, as
prospective.csv and predictions.csv. The costs of results/fashion_mnist_h200/front.csv, as its search had
them, are written beside what was measured (measured.csv there). No GPU is needed.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.campaigns.gpu_run import SPACES
from hwopt.arrays import Array
from hwopt.network.layer import METRICS
from hwopt.predict.device import Device, load_device
from hwopt.predict.hyperpower import encode, fit_linear
from hwopt.predict.measured_networks import MeasuredNetworks
from hwopt.predict.uncertainty.families import family
from hwopt.predict.validation.error_metrics import error_figures
from hwopt.profile.device_profile import (
    NETWORK_FILE,
    NETWORK_LAYER_FILE,
    DeviceProfile,
    read_network_layers,
    read_networks,
)
from hwopt.study.experiment.experiment import SpaceFile

METHODS = ("hybrid", "neuralpower", "paleo")
GROUPS = ("fronts", "hyperpower")
LINEAR = "hyperpower"
CONFIDENCE = 0.9
N_FOLDS = 10
# Rows of a shipped profile's first campaign; those of later ones come after them in each file.
FIRST = {"nvidia-h200": {"layers": 162, "networks": 45, "held_out": 11, "repeats": 14}}
FRONT = Path("results/fashion_mnist_h200/front.csv")
ERRORS = ("n", "mape", "median_ape", "rmspe", "bias")


@dataclass(frozen=True)
class Measured:
    """Networks outside a fit, with the names of their sources and of the fit."""

    fit: str
    device: Device
    networks: MeasuredNetworks
    sources: list[str]


def first_campaign(profile: DeviceProfile) -> DeviceProfile:
    """Return a shipped profile as it was after its first campaign."""
    heads = {name: getattr(profile, name).head(n) for name, n in FIRST[profile.name].items()}
    return replace(profile, **heads)


def later_networks(profile: DeviceProfile, first: DeviceProfile) -> DeviceProfile:
    """Return the profile with only the networks of families absent from the first rows."""
    known = set(first.networks["network"].map(family))
    is_new = ~profile.networks["network"].map(family).isin(known)
    return replace(profile, networks=profile.networks[is_new].reset_index(drop=True))


def networks_of(folder: Path, profile: DeviceProfile) -> DeviceProfile:
    """Return the profile with the networks of a folder in place of its own."""
    layers = read_network_layers(folder / NETWORK_LAYER_FILE)
    return replace(profile, networks=read_networks(folder / NETWORK_FILE), network_layers=layers)


def measured(profile: DeviceProfile, folder: Path) -> Iterator[Measured]:
    """Yield the measurements outside the rows of a fit, for both fits."""
    first = first_campaign(profile)
    later = MeasuredNetworks.of(later_networks(profile, first))
    beside = [MeasuredNetworks.of(networks_of(folder / group, profile)) for group in GROUPS]
    for fit, fitted, groups in (("first", first, [later, *beside]), ("all", profile, beside)):
        device = Device(fitted)
        for networks in groups:
            yield Measured(fit, device, networks, [_source(row) for row in networks.frame.itertuples()])


def _source(row: tuple[str, ...]) -> str:
    """Return the source of a network: for one of a search space, the space's name, its prefix."""
    return row.network.partition("-")[0] if row.source == "space" else row.source


def predictions(given: Measured) -> Iterator[pd.DataFrame]:
    """Yield measured and predicted values, a table for each existing mode and metric."""
    networks, device = given.networks, given.device
    for mode in networks.figures:
        costs = {name: device.checked_model(name, mode).costs(networks.table) for name in METHODS}
        for metric in METRICS:
            found = networks.frame[["network", "batch"]].assign(
                fit=given.fit, source=given.sources, mode=mode, metric=metric,
                measured=networks.measured(mode, metric),
            )  # fmt: skip
            for name, own in costs.items():
                found[name] = own[metric]
            found["upper"] = costs[METHODS[0]].upper(metric, CONFIDENCE)
            yield found[found["measured"].notna()]


def with_linear(rows: pd.DataFrame, networks: pd.DataFrame) -> pd.DataFrame:
    """Add a column of HyperPower's linear models, fitted to the other nine tenths of a space's networks."""
    keys = ["network", "mode", "metric"]
    tables = []
    for name, path in SPACES.items():
        space = SpaceFile(str(path))()
        for _, same in networks[networks["network"].str.startswith(name)].groupby("mode"):
            own = same.dropna(subset=list(METRICS))
            Z = encode(space, [json.loads(config) for config in own["config"]])
            found = {m: out_of_fold(Z, own[m].to_numpy()) for m in METRICS if m != "energy_j"}
            found["energy_j"] = found["time_s"] * found["power_w"]
            tables += [own[keys[:2]].assign(metric=m, **{LINEAR: values}) for m, values in found.items()]
    return rows.merge(pd.concat(tables), on=keys, how="left", validate="many_to_one")


def out_of_fold(Z: Array, y: Array) -> Array:
    """Return out-of-fold predictions of linear models for each network, [n]."""
    fold = np.random.default_rng(0).permutation(len(y)) % N_FOLDS
    found = np.empty(len(y))
    for k in range(N_FOLDS):
        found[fold == k] = fit_linear(Z[fold != k], y[fold != k]).predict(Z[fold == k])
    return found


def errors(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the errors of every method by fit, source and mode, and over all sources."""
    table = []
    everything = pd.concat([rows, rows.assign(source="all")])
    for keys, own in everything.groupby(["fit", "source", "mode", "metric"], sort=False):
        holds = float((own["measured"] <= own["upper"]).mean())
        for method in (*METHODS, LINEAR):
            known = own.dropna(subset=method)
            if len(known):
                figures = error_figures(known["measured"], known[method])
                kept = {name: figures[name] for name in ERRORS}
                cover = holds if method == METHODS[0] else np.nan
                table.append([*keys, method, *kept.values(), cover])
    names = ["fit", "source", "mode", "metric", "method", *ERRORS, "coverage_90"]
    found = pd.DataFrame(table, columns=names).astype({"n": int})
    return found.sort_values(["fit", "source", "mode"], ascending=[False, True, False], kind="stable")


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean errors of the three methods, a row for each fit, mode and source, in percent.

    `in bounds` is the share of networks within the 90% bound of hybrid, in the order of the metrics.
    """
    found = []
    for (fit, mode, source), own in table.groupby(["fit", "mode", "source"], sort=False):
        by = own.set_index(["metric", "method"])
        cells = [_cell([by["mape"].get((metric, m), np.nan) for m in METHODS]) for metric in METRICS]
        covered = _cell([by["coverage_90"].get((metric, METHODS[0]), np.nan) for metric in METRICS])
        found.append([fit, mode, source, own["n"].max(), *cells, covered])
    return pd.DataFrame(found, columns=["fit", "mode", "source", "n", *METRICS, "in bounds"])


def _cell(shares: list[float]) -> str:
    return " / ".join("-" if share != share else f"{100 * share:.3g}" for share in shares)


def beside_front(front: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the costs of a front's file, predicted in the search, and those measured as graphs.

    Args:
        front: the file, in a folder called after its experiment.
        rows: measured networks, of fronts.
    """
    table, name = pd.read_csv(front), front.parent.name
    own = rows[(rows["mode"] == "graph") & rows["network"].str.startswith(f"{name}-")]
    own = own.assign(trial=own["network"].str.extract(r"-(\d+)-b\d+$")[0].astype(int))
    both = table[["trial", *METRICS]].merge(own[["trial", *METRICS]], on="trial", suffixes=("", "_measured"))
    return both[["trial", *(name for metric in METRICS for name in (metric, f"{metric}_measured"))]]


def main() -> None:
    """Predict and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="nvidia-h200", choices=list(FIRST))
    parser.add_argument("--out", type=Path, default=Path("results/measurement/nvidia-h200"))
    asked = parser.parse_args()
    profile = load_device(asked.device).profile
    parts = measured(profile, asked.out)
    rows = pd.concat([table for part in parts for table in predictions(part)], ignore_index=True)
    rows = with_linear(rows, read_networks(asked.out / "hyperpower" / NETWORK_FILE))
    table = errors(rows)
    rows.to_csv(asked.out / "present_predictions.csv", index=False, float_format="%.5g")
    table.to_csv(asked.out / "present.csv", index=False, float_format="%.4g")
    beside = beside_front(FRONT, read_networks(asked.out / "fronts" / NETWORK_FILE))
    beside.to_csv(FRONT.with_name("measured.csv"), index=False, float_format="%.5g")
    print(summary(table).to_string())


if __name__ == "__main__":
    main()
