"""Time pricing: networks traced without and with the shortcuts of pricing; new and known configs.

    python experiments/benchmarks/pricing.py --out results/benchmarks

One core, one process, CPU seconds, both ways alternating. Writes pricing.csv: networks per second, the ratio
with its minimum and maximum over rounds, the number of graphs equal in every layer, in memory and parameters,
and the rate if all modules were seen before. Plain: built on meta, every operator dispatched.
"""

import argparse
import csv
import os
import platform
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np
import torch
from skopt.space import Categorical, Integer
from torch import nn

from hwopt import SearchSpace, load_device
from hwopt.network import leaf_modules as leaves
from hwopt.network import load_attribute, trace_recorded
from hwopt.network.build import build_on
from hwopt.network.tracing import trace_once
from hwopt.network.weightless_modules import fast_constructors

SIDE = 32
SPACES = Path(__file__).parents[2] / "search_spaces"


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
    parser.add_argument("--configs", type=int, default=500, help="Of each space.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="amd-epyc")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    spaces = {path.stem: load_attribute(str(path), "SPACE") for path in sorted(SPACES.glob("*.py"))}
    rows = [
        compared(name, space, arguments.configs, arguments.rounds)
        for name, space in {"ten layers": SPACE, **spaces}.items()
    ]
    device = load_device(arguments.device)
    costs = device.cost_model(SPACE)
    configs = SPACE.sample(arguments.configs, np.random.default_rng(7))
    _, first = timed(lambda: costs(configs))
    known = [timed(lambda: costs(configs))[1][1] for _ in range(arguments.rounds)]
    rows.append(row("ten layers, priced, new", len(configs), [], [first[1]]))
    rows.append(row("ten layers, priced, known", len(configs), [], known))
    write(arguments.out / "pricing.csv", rows)


def compared(name: str, space: SearchSpace, n: int, n_rounds: int) -> dict[str, Any]:
    """Trace networks plainly and as in pricing, alternating, with empty caches; count equal graphs."""
    configs = space.sample(n, np.random.default_rng(0))
    trace_once(space.build(dict(configs[0])), space.input_shape)  # the first loads parts of torch
    plain_s, quick_s, n_equal = [], [], 0
    for _ in range(n_rounds):
        leaves._remembered.clear()
        plain, (_, seconds) = timed(
            lambda: [trace_once(build_on(partial(space.build, dict(c))), space.input_shape) for c in configs]
        )
        plain_s.append(seconds)
        with fast_constructors():
            quick, (_, seconds) = timed(lambda: [trace_recorded(space, c).result for c in configs])
        quick_s.append(seconds)
        n_equal = sum(a == b for a, b in zip(plain, quick, strict=True))
    with fast_constructors():
        _, (_, seen) = timed(lambda: [trace_recorded(space, c) for c in configs])
    return {**row(f"{name}, traced", n, plain_s, quick_s), "n_equal": n_equal, "seen_per_s": round(n / seen)}


def row(what: str, n: int, plain_s: list[float], quick_s: list[float]) -> dict[str, Any]:
    """Return a row of the table: CPU seconds of each round, rates of the median round."""
    ratios = [a / b for a, b in zip(plain_s, quick_s, strict=False)]
    return {
        "what": what,
        "n": n,
        "rounds": len(quick_s),
        "plain_per_s": round(n / np.median(plain_s)) if plain_s else "",
        "quick_per_s": round(n / np.median(quick_s)),
        "ratio": f"{np.median(ratios):.3g}" if ratios else "",
        "ratio_low": f"{min(ratios):.3g}" if ratios else "",
        "ratio_high": f"{max(ratios):.3g}" if ratios else "",
        "load": f"{os.getloadavg()[0]:.1f}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, shared",
    }


def timed(work: Callable[[], Any]) -> tuple[Any, tuple[float, float]]:
    """Return the result of the work and its wall and CPU seconds."""
    begun = time.perf_counter(), time.process_time()
    found = work()
    return found, (time.perf_counter() - begun[0], time.process_time() - begun[1])


def distinct(n: int) -> list[dict[str, Any]]:
    """Return n configs with distinct networks."""
    configs = SPACE.sample(2 * n, np.random.default_rng(0))
    return list({SPACE.structural_key(config): config for config in configs}.values())[:n]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write and print the table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(
            file, list(dict.fromkeys(k for one in rows for k in one)), lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(rows)
    print(path.read_text())


if __name__ == "__main__":
    main()
