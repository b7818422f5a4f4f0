"""Coverage of prediction intervals: costs from a formula, measured networks, and proposals of a search.

    python experiments/benchmarks/interval_coverage.py --device amd-epyc --device nvidia-h200

Writes law.csv, networks.csv, shift.csv and proposals.csv; see the README beside them.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
sys.path.insert(0, str(Path(__file__).parents[2]))  # for the generated profiles of the tests

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from skopt.space import Categorical, Integer, Real

from hwopt import Budget, Costs, Optimizer, SearchSpace, load_device
from hwopt.predict.device import Device
from hwopt.predict.device_model import DeviceModel
from hwopt.predict.layer_models.interface import LayerModel
from hwopt.predict.layer_models.registry import make_model
from hwopt.predict.network_table import NetworkTable
from hwopt.predict.uncertainty.families import family
from hwopt.predict.validation.report import measured_modes

CONFIDENCES = (0.8, 0.9, 0.95)
METHODS = ("hybrid", "neuralpower", "paleo")
N_FOLDS = 10
Row = dict[str, Any]


def main() -> None:
    """Run the three checks and write a table of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", action="append", help="Shipped name or profile folder; several.")
    parser.add_argument("--out", type=Path, default=Path("results/coverage"))
    parser.add_argument("--networks", type=int, default=1000, help="Generated networks of the known law.")
    parser.add_argument("--seeds", type=int, default=20, help="Searches for each line of proposals.csv.")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    devices = [load_device(name) for name in arguments.device or ["amd-epyc"]]
    tables = {
        "proposals.csv": list(proposal_rows(arguments.seeds)),
        "networks.csv": [row for device in devices for row in network_rows(device)],
        "shift.csv": [row for device in devices for row in shift_rows(device)],
        "law.csv": list(law_rows(arguments.networks)),
    }
    for name, rows in tables.items():
        table = pd.DataFrame(rows)
        table.to_csv(arguments.out / name, index=False, float_format="%.4g", lineterminator="\n")
        print(name, table.to_string(index=False), sep="\n")


def law_rows(n: int) -> Iterator[Row]:
    """Measure one half of n networks with costs from a formula, test on the other, and the reverse."""
    from tests.profile.profiles import write_profile

    with tempfile.TemporaryDirectory() as folder:
        profile = load_device(write_profile(Path(folder) / "law", 300, n, 0.1, has_power=True)).profile
    half = np.arange(n) % 2 == 0
    for method in METHODS:
        layer_model = fitted(profile, method)
        tested = [price_rest(profile, method, "eager", own, layer_model) for own in (half, ~half)]
        for row in coverage_rows(tested):
            yield {"method": method, **row}


def network_rows(device: Device) -> Iterator[Row]:
    """Hold out a tenth of the families at a time; all others fit and calibrate (cv_plus).

    The former method (split): of the others a third fits and two thirds calibrate.
    """
    for mode, method, layer_model in methods_of(device):
        rows = device.profile.networks
        place = place_of_families(rows)
        tested = [
            price_rest(device.profile, method, mode, place % N_FOLDS != fold, layer_model)
            for fold in range(N_FOLDS)
        ]
        parted = [
            price_parted(device.profile, method, mode, place, fold, layer_model) for fold in range(N_FOLDS)
        ]
        for calibration, found in (("cv_plus", tested), ("split", parted)):
            for row in coverage_rows(found):
                yield {
                    "profile": device.name,
                    "mode": mode,
                    "method": method,
                    "calibration": calibration,
                    **row,
                }


def shift_rows(device: Device) -> Iterator[Row]:
    """Test on known architectures, fitted to drawn networks, and on large ones, fitted to small ones."""
    networks = device.profile.networks
    families = np.array([family(name) for name in networks["network"]])
    is_drawn = networks["source"].isin(["random", "block", "space"]).to_numpy()
    size_s = networks.groupby("network")["time_s"].transform("max").to_numpy(dtype=float)
    splits = {"unseen architectures": is_drawn}
    for share in (0.5, 0.67):
        is_large = ~(size_s <= np.nanquantile(size_s, share))
        splits[f"larger than {share:.0%}"] = ~np.isin(families, families[is_large])
    for mode, method, layer_model in methods_of(device):
        for name, kept in splits.items():
            tested = [price_rest(device.profile, method, mode, kept, layer_model)]
            for row in coverage_rows(tested):
                yield {"profile": device.name, "mode": mode, "method": method, "asked_for": name, **row}


def place_of_families(networks: pd.DataFrame) -> np.ndarray:
    """Return a number for each network, [n], the same within its family, in random order."""
    families = networks["network"].map(family)
    names = np.random.default_rng(0).permutation(np.unique(families.to_numpy(dtype=str)))
    return families.map({name: i for i, name in enumerate(names)}).to_numpy()


def methods_of(device: Device) -> Iterator[tuple[str, str, LayerModel | None]]:
    """Yield mode, method and fitted layer model; None for hybrid on a GPU."""
    is_gpu = device.profile.info.get("kind") == "gpu"
    for method in METHODS:
        layer_model = None if is_gpu and method == "hybrid" else fitted(device.profile, method)
        for mode in measured_modes(device):
            yield mode, method, layer_model


def fitted(profile: Any, method: str) -> LayerModel:
    """Return the layer model, which is independent of the networks."""
    return make_model(method).fit(profile.measured_layers, profile.ceilings)


def price_rest(
    profile: Any, method: str, mode: str, kept: np.ndarray, layer_model: LayerModel | None
) -> tuple[pd.DataFrame, Costs]:
    """Return the networks outside `kept`, measured, and their costs by a model fitted to the kept ones."""
    networks = profile.networks
    own = replace(profile, networks=networks[kept].reset_index(drop=True))
    rest = networks[~kept & (networks["mode"] == mode) & has_layers(profile)].reset_index(drop=True)
    model = DeviceModel(own, method, mode, layer_model=layer_model)
    return rest, model.costs(NetworkTable.of_profile(profile, rest))


def price_parted(
    profile: Any, method: str, mode: str, place: np.ndarray, fold: int, layer_model: LayerModel | None
) -> tuple[pd.DataFrame, Costs]:
    """Return a fold's networks and costs, fitted on a third of the others and calibrated on the rest."""
    networks = profile.networks
    is_test, fits = place % N_FOLDS == fold, place // N_FOLDS % 3 == 0
    own = replace(profile, networks=networks[fits & ~is_test].reset_index(drop=True))
    model = DeviceModel(own, method, mode, layer_model=layer_model)
    parts = [is_test, ~is_test & ~fits]
    rest, calibration = (
        networks[part & (networks["mode"] == mode) & has_layers(profile)].reset_index(drop=True)
        for part in parts
    )
    tested, known = (model.costs(NetworkTable.of_profile(profile, part)) for part in (rest, calibration))
    errors = {m: np.log(calibration[m].to_numpy(dtype=float) / values) for m, values in known.items()}
    return rest, Costs(tested, {m: own[np.isfinite(own)] for m, own in errors.items()})


def has_layers(profile: Any) -> np.ndarray:
    """Return which rows of networks.csv have layers, [n]."""
    return profile.networks["network"].isin(set(profile.network_layers["network"])).to_numpy()


def coverage_rows(tested: Sequence[tuple[pd.DataFrame, Costs]]) -> Iterator[Row]:
    """Yield the coverage of bounds and intervals by metric and confidence.

    A family is one observation: its networks' mean, and the binomial test is of the rounded number of covered
    families. Networks without a finite bound are left out and counted.
    """
    for metric in tested[0][1]:
        for confidence in CONFIDENCES:
            for form in ("upper", "two-sided"):
                parts = [covered(measured, costs, metric, confidence, form) for measured, costs in tested]
                table = pd.concat(parts)
                n_unbounded = int(table["covered"].isna().sum())
                table = table.dropna()
                if not len(table):
                    continue
                clusters = table.groupby("family")["covered"].mean()
                hits = round(float(clusters.sum()))
                yield {
                    "metric": metric, "form": form, "confidence": confidence, "n_networks": len(table),
                    "n_families": len(clusters), "coverage": float(table["covered"].mean()),
                    "p_value": binomtest(hits, len(clusters), confidence).pvalue,
                    "median_width": float(table["width"].median()),
                    "share_widened": float(table["wider"].mean()),
                    "n_without_bound": n_unbounded,
                }  # fmt: skip


def covered(measured: pd.DataFrame, costs: Costs, metric: str, confidence: float, form: str) -> pd.DataFrame:
    """Return by network whether it is covered, NaN without a finite bound, and how wide ln(high / low) is."""
    values = measured[metric].to_numpy(dtype=float)
    low, high = costs.interval(metric, confidence)
    if form == "upper":
        low, high = np.zeros_like(values), costs.upper(metric, confidence)
    is_bounded = np.isfinite(high) & ((low > 0) | (form == "upper"))
    hits = np.where(is_bounded, (low <= values) & (values <= high), np.nan)
    base = low if form == "two-sided" else costs[metric]
    table = pd.DataFrame(
        {
            "family": measured["network"].map(family),
            "covered": hits,
            "width": np.log(np.maximum(high, 1e-300) / np.maximum(base, 1e-300)),
            "wider": costs.widening.get(metric, np.ones(len(values))) > 1,
        }
    )
    return table[np.isfinite(values)]


SPACE = SearchSpace(
    [
        *(Integer(4, 64, prior="log-uniform", name=f"width{i}") for i in range(4)),
        *(Categorical([1, 3, 5], name=f"kernel{i}") for i in range(2)),
        Integer(16, 512, prior="log-uniform", name="fc_units"),
        Real(1e-4, 1e-1, prior="log-uniform", name="learning_rate"),
    ],
    structural=[*(f"width{i}" for i in range(4)), "kernel0", "kernel1", "fc_units"],
)


def predicted_s(configs: Sequence[dict[str, Any]]) -> np.ndarray:
    """Return a time that grows with the widths, [n], seconds."""
    return np.array(
        [
            1e-7 * (c["width0"] * c["kernel0"] ** 2 + c["width0"] * c["width1"] * c["kernel1"] ** 2
                    + c["width1"] * c["width2"] + c["width2"] * c["width3"] + c["width3"] * c["fc_units"])
            for c in configs
        ]
    )  # fmt: skip


class Truth:
    """Error of the cost model: ln(true / predicted) = a wave over the space + noise of each config."""

    def __init__(self, seed: int, wave: float, noise: float) -> None:
        rng = np.random.default_rng([seed, 1])
        self.directions = rng.standard_normal((40, SPACE.encode(SPACE.sample(1, rng)).shape[1])) * 2
        self.phases, self.weights = rng.uniform(0, 2 * np.pi, 40), rng.standard_normal(40) / np.sqrt(20)
        self.seed, self.wave, self.noise = seed, wave, noise

    def errors(self, configs: Sequence[dict[str, Any]]) -> np.ndarray:
        """Return ln(true / predicted) of each config, [n]; the same each time."""
        smooth = np.cos(SPACE.encode(configs) @ self.directions.T + self.phases) @ self.weights
        own = [
            np.random.default_rng([self.seed, *(int(v) for v in SPACE.structural_key(c))]).standard_normal()
            for c in configs
        ]
        return self.wave * smooth + self.noise * np.array(own)


def proposal_rows(n_seeds: int, n_proposals: int = 20, n_calibration: int = 80) -> Iterator[Row]:
    """Propose under an active budget, with an error that falls with cost, and count violations."""
    for wave, noise in ((0.0, 0.15), (0.15, 0.05)):
        for strategy in ("random", "ehvi"):
            for confidence in CONFIDENCES:
                broken, close, free = [], [], []
                for seed in range(n_seeds):
                    found = search(
                        seed, Truth(seed, wave, noise), strategy, confidence, n_proposals, n_calibration
                    )
                    broken += found[0]
                    close += found[1]
                    free += found[2]
                yield {
                    "error_of_model": "noise" if wave == 0 else "mostly systematic", "strategy": strategy,
                    "confidence": confidence, "n_proposals": len(broken), "promised": 1 - confidence,
                    "violation_rate": np.mean(broken), "standard_error": np.std(
                        np.reshape(broken, (n_seeds, -1)).mean(axis=1), ddof=1) / np.sqrt(n_seeds),
                    "rate_of_any_config": np.mean(free), "share_within_20pct_of_limit": np.mean(close),
                    "rate_there": np.mean([b for b, c in zip(broken, close, strict=True) if c]),
                }  # fmt: skip


def search(
    seed: int, truth: Truth, strategy: str, confidence: float, n_proposals: int, n_calibration: int
) -> tuple[list[bool], list[bool], list[bool]]:
    """Return which proposals violate the budget, which are close to it, and which configs pass a bound."""
    rng = np.random.default_rng([seed, 2])
    residuals = {"time_s": truth.errors(SPACE.sample(n_calibration, rng))}

    def costs(configs: Sequence[dict[str, Any]]) -> Costs:
        return Costs({"time_s": predicted_s(configs)}, residuals)

    limit = float(np.quantile(costs(SPACE.sample(500, rng)).upper("time_s", confidence), 0.3))
    budget = Budget("time_s", limit, confidence)
    optimizer = Optimizer(SPACE, costs, [budget], ("error",), strategy, seed=seed)
    configs = []
    for _ in range(n_proposals):
        proposal = optimizer.ask()
        configs.append(proposal.config)
        rate = np.log10(proposal.config["learning_rate"]) + 2.2
        time_s = float(predicted_s([proposal.config])[0])
        error = 0.02 + 0.1 * (time_s / limit) ** -0.5 + 0.03 * rate**2
        optimizer.tell(proposal.config, error=float(np.clip(error, 0.01, 0.9)))
    true = predicted_s(configs) * np.exp(truth.errors(configs))
    others = SPACE.sample(200, rng)
    exceeded = predicted_s(others) * np.exp(truth.errors(others)) > costs(others).upper("time_s", confidence)
    bounds = costs(configs).upper("time_s", confidence)
    return list(true > limit), list(bounds > limit / 1.2), list(exceeded)


if __name__ == "__main__":
    main()
