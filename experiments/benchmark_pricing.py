"""Time pricing: configs into costs with tracing, layer rows into predictions, a profile into fitted models.

    python experiments/benchmark_pricing.py --out results/benchmarks

On one core, in one process. Writes pricing.csv: what was done, how often, seconds in all and for each, and
seconds of processor time, which a busy machine lengthens less. The naive ways price fewer configs and say how
many.
"""

import argparse
import csv
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np
import torch
from skopt.space import Categorical, Integer
from torch import nn

from hwopt import SearchSpace, load_device
from hwopt.network import operators, trace, tracing
from hwopt.predict.device import Device
from hwopt.predict.tables import NetworkTable

SIDE = 32


def build(config: dict[str, Any]) -> nn.Module:
    """Return ten layers: three convolutions with their activations, two poolings, two linear layers."""
    layers: list[nn.Module] = []
    channels, side = 3, SIDE
    for i in range(3):
        kernel = config[f"kernel{i}"]
        layers += [nn.Conv2d(channels, config[f"width{i}"], kernel, padding=kernel // 2), nn.ReLU()]
        channels = config[f"width{i}"]
        if i < 2:
            layers.append(nn.MaxPool2d(2) if config["pool"] == "max" else nn.AvgPool2d(2))
            side //= 2
    layers += [nn.Flatten(), nn.Linear(channels * side**2, config["units"]), nn.Linear(config["units"], 10)]
    return nn.Sequential(*layers)


SPACE = SearchSpace(
    [
        *(Integer(8, 128, name=f"width{i}") for i in range(3)),
        *(Categorical([1, 3, 5, 7], name=f"kernel{i}") for i in range(3)),
        Categorical(["max", "avg"], name="pool"),
        Integer(32, 512, name="units"),
    ],
    build=build,
    input_shape=(3, SIDE, SIDE),
)


def main() -> None:
    """Time everything and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="amd-epyc")
    parser.add_argument("--configs", type=int, default=10_000)
    parser.add_argument("--naive", type=int, default=500, help="Configs that the naive ways price.")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    load_device(arguments.device).model("paleo")  # imports are not timed
    device, load_s = timed(lambda: load_device(arguments.device))
    rows = [("load a profile", "", 1, load_s)]
    for method in ("hybrid", "neuralpower", "paleo"):
        _, seconds = timed(lambda method=method: device.model(method))
        rows.append(("fit", method, 1, seconds))
    configs = distinct(arguments.configs)
    device.cost_model(SPACE)(
        SPACE.sample(2, np.random.default_rng(9))
    )  # the first trace loads parts of torch
    costs, seconds = timed(lambda: device.cost_model(SPACE)(configs))
    rows.append(("price configs", "built on meta, traced, predicted together", len(configs), seconds))
    for text, way in (
        ("allocated, traced plainly, predicted together", price_plainly),
        ("built on meta, traced, predicted one by one", price_one_by_one),
    ):
        few = configs[: arguments.naive]
        found, seconds = timed(lambda way=way, few=few: way(device, few))
        assert np.allclose(found, costs["time_s"][: len(few)], rtol=1e-9), text
        rows.append(("price configs", text, len(few), seconds))
    layers = NetworkTable.of_graphs(
        [trace(build(config), SPACE.input_shape) for config in configs[:2000]]
    ).layers
    _, seconds = timed(lambda: device.model().predict_layers(layers))
    rows.append(("predict layer rows", "hybrid", len(layers), seconds))
    write(arguments.out / "pricing.csv", rows)


def timed(work: Callable[[], Any]) -> tuple[Any, tuple[float, float]]:
    """Return what the work returns, and its seconds: wall, processor."""
    begun = time.perf_counter(), time.process_time()
    found = work()
    return found, (time.perf_counter() - begun[0], time.process_time() - begun[1])


def distinct(n: int) -> list[dict[str, Any]]:
    """Return n configs of distinct networks."""
    configs = SPACE.sample(2 * n, np.random.default_rng(0))
    return list({SPACE.structural_key(config): config for config in configs}.values())[:n]


def price_plainly(device: Device, configs: Sequence[dict[str, Any]]) -> np.ndarray:
    """Build networks with their weights, and let PyTorch work out every operator's result each time."""

    def plain(operator: operators.Operator, args: Any, kwargs: Any) -> Any:
        return operator.function(*args, **kwargs)

    remembered, tracing.run_on_meta = tracing.run_on_meta, plain
    try:
        graphs = [trace(build(config), SPACE.input_shape) for config in configs]
    finally:
        tracing.run_on_meta = remembered
    return device.model().predict_networks(NetworkTable.of_graphs(graphs))["time_s"]


def price_one_by_one(device: Device, configs: Sequence[dict[str, Any]]) -> np.ndarray:
    """Price each config by itself."""
    costs = device.cost_model(SPACE)
    return np.array([costs([config])["time_s"][0] for config in configs])


def write(path: Path, rows: Sequence[tuple[str, str, int, tuple[float, float]]]) -> None:
    """Write and print the table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["what", "how", "n", "seconds", "seconds_each", "processor_seconds"])
        for what, how, n, (wall, processor) in rows:
            row = [what, how, n, f"{wall:.4g}", f"{wall / n:.4g}", f"{processor:.4g}"]
            writer.writerow(row)
            print(*row, sep=", ")


if __name__ == "__main__":
    main()
