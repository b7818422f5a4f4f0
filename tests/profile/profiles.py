"""Profiles made from a known law, for the tests of devices and of predictions."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from hwopt.profile.derived_columns import complete
from hwopt.profile.roofline import Ceilings
from hwopt.profile.row_file import RowFile
from hwopt.profile.schema import LAYER_COLUMNS, NETWORK_COLUMNS, NETWORK_LAYER_COLUMNS

CEILINGS = Ceilings(flops_per_s=1e11, bytes_per_s=3e10, launch_s=1e-6)


def layer_rows(n: int, rng: np.random.Generator, noise: float = 0.0, has_power: bool = False) -> pd.DataFrame:
    """Return n rows whose time is 2.5 times the roofline plus the floor, log-normal noise on top."""
    kinds = rng.choice(["conv2d", "linear", "relu", "max_pool2d"], size=n, p=[0.5, 0.2, 0.2, 0.1])
    side = rng.integers(4, 64, size=n)
    is_linear, is_pool = kinds == "linear", kinds == "max_pool2d"
    channels = np.exp(rng.uniform(np.log(4), np.log(256), size=n)).astype(int)
    kernel = np.select([kinds == "conv2d", is_pool], [rng.choice([1, 3, 5], size=n), 2], 1)
    rows = pd.DataFrame(
        {
            "device": "law",
            "kind": kinds,
            "batch": rng.integers(1, 16, size=n),
            "in_channels": channels,
            "in_h": np.where(is_linear, 1, side),
            "in_w": np.where(is_linear, 1, side),
            "out_channels": np.where(
                np.isin(kinds, ["relu", "max_pool2d"]), channels, rng.integers(4, 256, size=n)
            ),
            "kernel_h": kernel,
            "kernel_w": kernel,
            "stride_h": np.where(is_pool, 2, 1),
            "stride_w": np.where(is_pool, 2, 1),
            "padding_h": np.where(kinds == "conv2d", kernel // 2, 0),
            "padding_w": np.where(kinds == "conv2d", kernel // 2, 0),
        }
    )
    return timed(complete(rows), rng, noise, has_power)


def timed(
    rows: pd.DataFrame, rng: np.random.Generator, noise: float, has_power: bool = False
) -> pd.DataFrame:
    """Return rows with the law's time, and its power: 20 W plus up to 30 W for compute-bound layers."""
    rows = rows.copy()
    moved = rows[["input_bytes", "weight_bytes", "output_bytes"]].sum(axis=1)
    bound_s = np.maximum(rows["flops"] / CEILINGS.flops_per_s, moved / CEILINGS.bytes_per_s)
    rows["time_s"] = (2.5 * bound_s + CEILINGS.launch_s) * np.exp(noise * rng.standard_normal(len(rows)))
    if has_power:
        intensity = rows["flops"] / moved
        rows["power_w"] = 20 + 30 * intensity / (intensity + 10)
        rows["energy_j"] = rows["power_w"] * rows["time_s"]
    return rows


def write_profile(
    folder: Path,
    n_layers: int = 160,
    n_networks: int = 30,
    noise: float = 0.03,
    has_power: bool = False,
    seed: int = 0,
    host_s: float = 0.0,
) -> Path:
    """Write a profile of the law: a network takes 0.9 times its layers and 5 microseconds an operator.

    With `host_s` it is a GPU's: that is a network's time as a graph, and eager it takes at least `host_s` an
    operator, in which the device waits at 20 W.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    info = {"name": "law", "protocol_version": 1, "kind": "cpu", "ceilings": vars_of(CEILINGS)}
    if host_s:
        info |= {"kind": "gpu", "sensor": {"idle_after_load_w": 20.0}}
    (folder / "device.json").write_text(json.dumps(info))
    rows = layer_rows(n_layers, rng, noise, has_power).drop_duplicates(
        [
            c
            for c in LAYER_COLUMNS
            if c in ("kind", "batch", "in_channels", "in_h", "out_channels", "kernel_h")
        ]
    )
    with RowFile(folder / "layers.csv", LAYER_COLUMNS) as file:
        file.append_all(rows.assign(status="ok").to_dict("records"))
    splits = ["fit", "calibrate", "test", "calibrate", "fit", "calibrate"]
    with (
        RowFile(folder / "networks.csv", NETWORK_COLUMNS) as networks,
        RowFile(folder / "network_layers.csv", NETWORK_LAYER_COLUMNS) as layers,
    ):
        for i in range(n_networks):
            own = layer_rows(int(rng.integers(4, 15)), rng, 0.0, has_power).assign(network=f"net-{i}")
            own["position"], own["name"] = range(len(own)), "layer"
            layers.append_all(own.to_dict("records"))
            time_s = (0.9 * own["time_s"].sum() + 5e-6 * len(own)) * np.exp(noise * rng.standard_normal())
            row = {
                "network": f"net-{i}",
                "split": splits[i % 6],
                "batch": 1,
                "dtype": "float32",
                "mode": "eager",
            }
            memory = float(own["weight_bytes"].sum() + own["output_bytes"].max())
            row |= {"time_s": time_s, "modelled_memory_bytes": memory, "memory_bytes": 1.02 * memory}
            if has_power:
                row["power_w"] = float((own["power_w"] * own["time_s"]).sum() / own["time_s"].sum())
                row["energy_j"] = row["power_w"] * time_s
            if host_s:
                networks.append({**row, "mode": "graph"})
                row |= _eager(row, host_s * len(own))
            networks.append(row)
    return folder


def _eager(graph: dict, host_s: float) -> dict:
    """Return the time, power and energy of a network that the host calls in so many seconds."""
    time_s = max(graph["time_s"], host_s)
    if "energy_j" not in graph:
        return {"time_s": time_s}
    energy_j = graph["energy_j"] + 20.0 * (time_s - graph["time_s"])
    return {"time_s": time_s, "energy_j": energy_j, "power_w": energy_j / time_s}


def vars_of(ceilings: Ceilings) -> dict[str, float]:
    """Return the ceilings as device.json has them."""
    return {name: getattr(ceilings, name) for name in Ceilings.__dataclass_fields__}
