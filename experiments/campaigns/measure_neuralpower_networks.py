"""The five networks of NeuralPower's table on one thread of this CPU, measured and predicted.

    python experiments/campaigns/measure_neuralpower_networks.py --device amd-epyc

A pass takes up to half a minute, so each is timed a few times, after one warm-up pass; the minimum counts, as
elsewhere. No model was fitted to these networks, and most lie far outside the measured range of a profile.
Writes neuralpower_networks.csv, a row for each network as soon as it is measured.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from hwopt.measure.cpu.campaign import memory_of
from hwopt.measure.cpu.peak_memory import MemoryMeter
from hwopt.measure.sampling.networks import NetworkSpec, neuralpower_networks
from hwopt.network import trace
from hwopt.predict import load_device
from hwopt.predict.device import Device

METHODS = ("hybrid", "neuralpower", "paleo")


def passes(candidate: NetworkSpec, n: int) -> list[float]:
    """Return the seconds of each of n passes."""
    network, x = candidate.build().eval(), torch.randn(candidate.input_shape)
    seconds = []
    for _ in range(n + 1):
        begun = time.perf_counter()
        network(x)
        seconds.append(time.perf_counter() - begun)
    return seconds[1:]


def row_of(candidate: NetworkSpec, device: Device, n: int, meter: MemoryMeter) -> dict[str, Any]:
    """Measure a network and predict it: seconds, bytes, relative errors and 90% intervals."""
    seconds = passes(candidate, n)
    memory_bytes, reason = memory_of(candidate, meter)
    batch, *shape = candidate.input_shape
    row: dict[str, Any] = {"network": candidate.name, "batch": batch, "n_passes": n, "time_s": min(seconds)}
    row |= {"longest_s": max(seconds), "memory_bytes": memory_bytes, "memory_reason": reason}
    graph = trace(candidate.build().to("meta"), shape, batch)
    for method in METHODS:
        costs = device.predict(graph, method).costs
        for metric in ("time_s", "memory_bytes"):
            low, high = costs.interval(metric, 0.9)
            row[f"{method}_{metric}"], measured = float(costs[metric][0]), row[metric]
            row[f"{method}_{metric}_low"], row[f"{method}_{metric}_high"] = float(low[0]), float(high[0])
            row[f"{method}_{metric}_error"] = (
                row[f"{method}_{metric}"] / measured - 1 if measured else float("nan")
            )
    return row


def main() -> None:
    """Measure all five and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="amd-epyc")
    parser.add_argument("--out", type=Path, default=Path("results/predictors/amd-epyc"))
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--network", action="append", help="only these")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device, rows = load_device(arguments.device), []
    arguments.out.mkdir(parents=True, exist_ok=True)
    with torch.no_grad(), MemoryMeter() as meter:
        for candidate in neuralpower_networks():
            if arguments.network and candidate.name not in arguments.network:
                continue
            rows.append(row_of(candidate, device, arguments.passes, meter))
            print(
                {key: rows[-1][key] for key in ("network", "time_s", "longest_s", "hybrid_time_s")},
                flush=True,
            )
            path = arguments.out / "neuralpower_networks.csv"
            pd.DataFrame(rows).to_csv(path, index=False, float_format="%.5g")


if __name__ == "__main__":
    main()
