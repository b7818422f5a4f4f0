"""Do intervals cover what they promise? On a known law, on measured networks, and among what is proposed.

    python experiments/benchmark_coverage.py --device amd-epyc --out results/coverage

Writes law.csv, networks.csv and proposals.csv; see the README beside them.
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
sys.path.insert(0, str(Path(__file__).parent.parent))  # for the generated profiles of the tests

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from skopt.space import Categorical, Integer, Real

from hwopt import Budget, Costs, Optimizer, SearchSpace, load_device
from hwopt.predict.device import Device
from hwopt.predict.device_model import DeviceModel
from hwopt.predict.models import LayerModel, make_model
from hwopt.predict.tables import NetworkTable

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
        "law.csv": list(law_rows(arguments.networks)),
    }
    for name, rows in tables.items():
        table = pd.DataFrame(rows)
        table.to_csv(arguments.out / name, index=False, float_format="%.4g", lineterminator="\n")
        print(name, table.to_string(index=False), sep="\n")


def law_rows(n: int) -> Iterator[Row]:
    """Calibrate on one half of n networks of a known law and test on the other, and the reverse."""
    from tests.device.profiles import write_profile

    with tempfile.TemporaryDirectory() as folder:
        profile = load_device(write_profile(Path(folder) / "law", 300, n, 0.1, has_power=True)).profile
    index = np.arange(n)
    for method in METHODS:
        tested: list[tuple[pd.DataFrame, Costs]] = []
        layer_model = fitted(profile, method)
        for parity in (0, 1):
            split = np.select([index < 20, index % 2 == parity], ["fit", "calibrate"], "test")
            own = replace(profile, networks=profile.networks.assign(split=split))
            tested.append(price_split(own, method, layer_model))
        for row in coverage_rows(tested):
            yield {"method": method, **row}


def network_rows(device: Device) -> Iterator[Row]:
    """Hold out a tenth of the architectures at a time; of the others a third fits, two thirds calibrate."""
    networks = device.profile.networks
    architecture = networks["network"].str.replace(r"-b\d+$", "", regex=True)
    names = np.random.default_rng(0).permutation(np.unique(architecture.to_numpy(dtype=str)))
    place = architecture.map({name: i for i, name in enumerate(names)}).to_numpy()
    folder = device.profile.folder
    for method in METHODS:
        tested = []
        layer_model = fitted(device.profile, method)
        for fold in range(N_FOLDS):
            rest = np.where(place // N_FOLDS % 3 == 0, "fit", "calibrate")
            split = np.where(place % N_FOLDS == fold, "test", rest)
            own = replace(device.profile, networks=networks.assign(split=split))
            tested.append(price_split(own, method, layer_model))
        for row in coverage_rows(tested):
            yield {
                "profile": folder.parent.name if folder.name == "device" else folder.name,
                "method": method,
                **row,
            }


def fitted(profile: Any, method: str) -> LayerModel:
    """Return the layer model, which depends on no network."""
    return make_model(method).fit(profile.measured_layers, profile.ceilings)


def price_split(profile: Any, method: str, layer_model: LayerModel) -> tuple[pd.DataFrame, Costs]:
    """Return the measured networks of the split `test` and their costs."""
    model = DeviceModel(profile, method, layer_model)
    measured = model.networks("test")
    return measured, model.costs(NetworkTable.of_profile(profile, measured))


def coverage_rows(tested: Sequence[tuple[pd.DataFrame, Costs]]) -> Iterator[Row]:
    """Yield the coverage of bounds and intervals by metric and confidence.

    An architecture at several batch sizes is one observation: its networks' mean, and the binomial test is of
    the rounded number of covered architectures. Networks without a finite bound are left out and counted.
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
                clusters = table.groupby("architecture")["covered"].mean()
                hits = round(float(clusters.sum()))
                yield {
                    "metric": metric, "form": form, "confidence": confidence, "n_networks": len(table),
                    "n_architectures": len(clusters), "coverage": float(table["covered"].mean()),
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
            "architecture": measured["network"].str.replace(r"-b\d+$", "", regex=True),
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
    """What the model does not know: ln(true / predicted) = a wave over the space + noise of each config."""

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
    """Propose under a budget that binds, with an error that falls with cost, and count what breaks it."""
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
    """Return which proposals break the budget in truth, which are close to it; which configs pass a bound."""
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
