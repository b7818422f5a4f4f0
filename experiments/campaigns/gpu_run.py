"""Measure for some minutes on an NVIDIA GPU without other load, with one command.

    python experiments/campaigns/gpu_run.py --seconds 540 --out results/gpu_run
    python experiments/campaigns/gpu_run.py --device simulated --seconds 540 --out /tmp/dry     (a dry run)

Measurements, interleaved, so that a run stopped at any second has rows of every group:

    neuralpower   the five networks of NeuralPower's table, as graphs and eager
    fronts        networks of the fronts in results/*/front.csv, both ways, predicted beside measured
    hyperpower    40 networks of the two HyperPower spaces as graphs, for that paper's linear models
    spaces        networks of the search spaces, both ways, predicted beside measured
    profile       more rows for the shipped profile of exactly this GPU and torch, or a new profile

Each group is a folder in --out; `--groups` takes some of them beside the profile, and another `--seed` draws
other networks for the spaces and the profile. A row is on disk as soon as it is measured; the same command
resumes the last run. At the end, or when interrupted, it prints a report; `--report` prints only the report,
without a GPU. Nothing is downloaded, and no clock, limit or mode of the GPU is changed.

On a bare machine (Python 3.12, a driver of CUDA 13, no network), from a machine with both:

    python3.12 -m pip wheel . --wheel-dir wheels            here; `wheels` and this checkout go there
    python3.12 -m venv venv && venv/bin/pip install --no-index --find-links wheels hwopt
    PYTHONPATH=. venv/bin/python experiments/campaigns/gpu_run.py --seconds 540 --out out
    tar czf out.tgz out                                     comes back; profile/ is a device profile
"""

import argparse
import json
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hwopt.errors import HwoptError, InvalidInput
from hwopt.measure.campaign import trace_spec
from hwopt.measure.gpu.campaign import CampaignStopped
from hwopt.measure.gpu.campaign_parts import NetworkPart
from hwopt.measure.gpu.campaign_session import CampaignSession
from hwopt.measure.gpu.open_gpu import open_gpu
from hwopt.measure.gpu.part_scheduler import CampaignPart
from hwopt.measure.gpu.precision import Precision
from hwopt.measure.gpu.profile_gpu import profile_gpu
from hwopt.measure.sampling.gpu_networks import choose_gpu_networks, operator_sources
from hwopt.measure.sampling.networks import NetworkSpec, neuralpower_networks
from hwopt.measure.system_info import describe_software
from hwopt.network.layer import METRICS
from hwopt.predict.device import Device, load_device, shipped_devices
from hwopt.predict.hyperpower import MIN_NETWORKS, encode, fit_linear
from hwopt.profile.device_json import DEVICE_FILE, read_info
from hwopt.profile.device_profile import NETWORK_FILE, DeviceProfile, read_networks
from hwopt.space.search_space import SearchSpace
from hwopt.study.experiment.experiment import SpaceFile, load_experiment

ROOT = Path(__file__).parents[2]
SPACES = {name: ROOT / "search_spaces" / f"{name}.py" for name in ("hyperpower_mnist", "hyperpower_cifar10")}
N_OF_A_SPACE, BATCH = 20, 128
SEARCHED = ("fashion_mnist_energy", "resnet", "vgg", "mobilenet", "nas_bench_201", "digits_cnn")
SEARCHED_BATCHES = (32, 256, 8, 128)
PROFILE = "profile"


@dataclass(frozen=True)
class Group:
    """A group of networks: its folder, its share of the time relative to the profile's, its modes."""

    name: str
    share: float
    eager_share: float  # of the networks, measured eager as well
    candidates: Sequence[NetworkSpec]


def groups(seed: int = 0) -> list[Group]:
    """Return all groups, the most important first."""
    return [
        Group("neuralpower", 0.10, 1.0, neuralpower_networks()),
        Group("fronts", 0.15, 1.0, front_networks()),
        Group("hyperpower", 0.30, 0.0, hyperpower_networks()),
        Group("spaces", 0.50, 0.5, space_networks(seed)),
    ]


def front_networks(results: Path = ROOT / "results") -> list[NetworkSpec]:
    """Return the networks of the fronts with an experiment file experiments/NAME.toml."""
    found = []
    for path in sorted(results.glob("*/front.csv")):
        file = ROOT / "experiments" / f"{path.parent.name}.toml"
        if not file.exists():
            continue
        experiment = load_experiment(file)
        space = SpaceFile(str((file.parent / experiment.space).resolve()))()
        for row in pd.read_csv(path).to_dict("records"):
            given = {name: row[name] for name in space.names if name in row and row[name] == row[name]}
            config = space.validate({name: _plain(value) for name, value in given.items()})
            name = f"{path.parent.name}-{row['trial']}"
            found.append(_candidate(name, space, config, experiment.device.batch_size, "test"))
    return found


def hyperpower_networks() -> list[NetworkSpec]:
    """Return random networks of HyperPower's spaces, interleaved."""
    rng, lists = np.random.default_rng(0), []
    for name, path in SPACES.items():
        space = SpaceFile(str(path))()
        configs = space.sample(N_OF_A_SPACE, rng)
        lists.append(
            [_candidate(f"{name}-{i}", space, config, BATCH, "fit") for i, config in enumerate(configs)]
        )
    return [candidate for pair in zip(*lists, strict=True) for candidate in pair]


def space_networks(seed: int) -> list[NetworkSpec]:
    """Return random networks of the search spaces, one of each space in turn, at several batch sizes."""
    rng, lists = np.random.default_rng([seed, 2]), []
    for name in SEARCHED:
        space = SpaceFile(str(ROOT / "search_spaces" / f"{name}.py"))()
        configs = space.sample(N_OF_A_SPACE, rng)
        batches = [SEARCHED_BATCHES[i % len(SEARCHED_BATCHES)] for i in range(len(configs))]
        named = zip(configs, batches, strict=True)
        lists.append([_candidate(f"{name}-{seed}-{i}", space, *pair, "test") for i, pair in enumerate(named)])
    return [candidate for turn in zip(*lists, strict=True) for candidate in turn]


def _candidate(name: str, space: SearchSpace, config: Any, batch: int, split: str) -> NetworkSpec:
    assert space.input_shape is not None
    build = _Build(space, config)
    return NetworkSpec(
        f"{name}-b{batch}", "space", split, (batch, *space.input_shape), build, json.dumps(config)
    )


class _Build:
    def __init__(self, space: SearchSpace, config: Any) -> None:
        self._space, self._config = space, config

    def __call__(self) -> Any:
        assert self._space.build is not None
        return self._space.build(dict(self._config))


def _plain(value: Any) -> Any:
    """Return a cell as a Python value, whole numbers as int."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value.item() if hasattr(value, "item") else value


def profile_folder(out: Path, model: str, precision: str) -> Path:
    """Return the folder of the profile: that in `out`, else a copy of a shipped one of this GPU, or new."""
    folder = out / PROFILE
    if (folder / DEVICE_FILE).exists():
        return folder
    for shipped in shipped_devices().values():
        info = read_info(shipped / DEVICE_FILE)
        is_same = (
            info.get("hardware", {}).get("model") == model
            and info.get("settings", {}).get("precision") == precision
            and info.get("software", {}).get("torch") == describe_software().get("torch")
        )
        if is_same:
            shutil.copytree(shipped, folder)
            print(f"going on with a copy of the shipped profile {shipped.name}")
            return folder
    print("no shipped profile is of this GPU and this torch: a new one")
    return folder


def measure(device: str, seconds: float, out: Path, wanted: Sequence[Group], seed: int = 0) -> None:
    """Measure all groups, interleaved, for `seconds` of the device's clock."""
    pinned, rng = Precision.named("default"), np.random.default_rng([seed, 0])

    def also(session: CampaignSession) -> list[CampaignPart]:
        parts: list[CampaignPart] = []
        for group in wanted:
            row_shares = replace(session.row_shares, eager_share=group.eager_share)
            part = NetworkPart(session.beside(out / group.name, row_shares), group.candidates, group.name)
            part.share = group.share
            parts.append(part)
        return parts

    with open_gpu(device, pinned) as opened:
        folder = profile_folder(out, opened.accelerator.name, pinned.name)
        networks, sources = choose_gpu_networks(rng), operator_sources(np.random.default_rng([seed, 1]))
        profile_gpu(folder, opened, seconds, pinned, networks, sources, _show, further_parts=also)


def _chosen(names: Sequence[str] | None, seed: int) -> list[Group]:
    """Return the groups of these names."""
    known = {group.name: group for group in groups(seed)}
    wrong = sorted({*(names or ())} - {*known})
    if wrong:
        raise InvalidInput(f"no group {', '.join(wrong)}; the groups are {', '.join(known)}")
    return [group for name, group in known.items() if names is None or name in names]


_shown = {"seconds": -30}


def _show(stage: str, done: int, planned: int, message: str) -> None:
    """Print a line every half minute, and the last one."""
    if stage != "measuring" or done - _shown["seconds"] >= 30 or done >= planned:
        _shown["seconds"] = done if stage == "measuring" else _shown["seconds"]
        print(f"{stage}: {done}/{planned} {message}", flush=True)


# -- what is there -------------------------------------------------------------------------------------------


def report(out: Path) -> None:
    """Print a summary of the folders of a run, and write predictions and measurements."""
    for show in (_profile_rows, _neuralpower, _fronts, _hyperpower, _spaces):
        try:
            show(out)
        except HwoptError as error:
            print(f"{show.__name__.strip('_')}: {error}")


def _profile_rows(out: Path) -> None:
    if not (out / PROFILE / DEVICE_FILE).exists():
        print("profile: nothing yet")
        return
    profile = DeviceProfile.load(out / PROFILE)
    counts = {"operators": profile.layers, "networks": profile.networks, "oracle": profile.held_out}
    for name, table in counts.items():
        n_timed, n_energy = table["time_s"].notna().sum(), table["energy_j"].notna().sum()
        print(f"profile: {len(table)} {name}, {n_timed} with a time, {n_energy} with energy")


def _neuralpower(out: Path) -> None:
    rows = _measured(out, "neuralpower")
    for row in rows.itertuples():
        figures = f"{_number(row.time_s, 1e3)} ms, {_number(row.power_w)} W, {_number(row.energy_j)} J"
        print(f"neuralpower: {row.network} {row.mode}: {figures} {row.bound}".rstrip())


def _fronts(out: Path) -> None:
    _predicted(out, "fronts", front_networks())


def _spaces(out: Path) -> None:
    seeds = {int(name.split("-")[1]) for name in _measured(out, "spaces")["network"]}
    _predicted(out, "spaces", [network for seed in sorted(seeds) for network in space_networks(seed)])


def _predicted(out: Path, group: str, candidates: Sequence[NetworkSpec]) -> None:
    """Print and write the networks of a group, predicted by the profile of this run and measured."""
    rows, device = _measured(out, group), None
    if len(rows):
        device = load_device(out / PROFILE)
    by_name = {candidate.name: candidate for candidate in candidates}
    table = [_beside(row, by_name[row["network"]], device) for row in rows.to_dict("records") if device]
    if table:
        pd.DataFrame(table).to_csv(out / group / "predicted.csv", index=False, float_format="%.6g")
    for row in table:
        pairs = (f"{m} {_number(row[f'predicted_{m}'])} / {_number(row[m])}" for m in METRICS)
        print(f"{group}: {row['network']} {row['mode']}, predicted / measured: {', '.join(pairs)}")


def _beside(row: dict[str, Any], candidate: NetworkSpec, device: Device) -> dict[str, Any]:
    found = {name: row[name] for name in ("network", "mode", *METRICS)}
    try:
        costs = device.predict(trace_spec(candidate, row["dtype"]), "hybrid", row["mode"]).costs
    except HwoptError as error:
        none = {f"predicted_{metric}": float("nan") for metric in METRICS}
        return {**found, **none, "reason": str(error)}
    return {**found, **{f"predicted_{m}": float(costs[m][0]) for m in METRICS if m in costs}, "reason": ""}


def _hyperpower(out: Path) -> None:
    """Print the error of linear models of each space's costs as graphs, root mean squared, in ten folds."""
    rows = _measured(out, "hyperpower")
    rows = rows[rows["mode"] == "graph"]
    for name, path in SPACES.items():
        own = rows[rows["network"].str.startswith(name)].dropna(subset=["power_w", "memory_bytes"])
        if len(own) < MIN_NETWORKS:
            print(f"hyperpower: {name}: {len(own)} networks; a linear model takes {MIN_NETWORKS}")
            continue
        Z = encode(SpaceFile(str(path))(), [json.loads(config) for config in own["config"]])
        errors = (f"{m} {fit_linear(Z, own[m].to_numpy()).rmspe:.1%}" for m in METRICS)
        print(f"hyperpower: {name}: {len(own)} networks; error of linear models: {', '.join(errors)}")


def _measured(out: Path, group: str) -> pd.DataFrame:
    path = out / group / NETWORK_FILE
    if not path.exists():
        raise InvalidInput(f"nothing was measured into {path.parent} yet")
    rows = read_networks(path)
    return rows[rows["time_s"].notna()]


def _number(value: float, factor: float = 1.0) -> str:
    return "-" if value != value else f"{factor * value:.4g}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the report, also after an interruption; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--seconds", type=float, default=540.0)
    parser.add_argument("--out", type=Path, default=Path("results/gpu_run"))
    parser.add_argument("--seed", type=int, default=0, help="draws the networks of spaces and profile")
    parser.add_argument("--groups", nargs="*", help="names; all if absent")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    asked = parser.parse_args(arguments)
    status = 0
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if not asked.report:
            measure(asked.device, asked.seconds, asked.out, _chosen(asked.groups, asked.seed), asked.seed)
    except KeyboardInterrupt:
        print("interrupted: every finished row is kept; the same command goes on", file=sys.stderr)
        status = 130
    except (CampaignStopped, HwoptError) as error:
        print(f"{error}", file=sys.stderr)
        status = 2
    finally:
        signal.signal(signal.SIGTERM, before)
    report(asked.out)
    return status


if __name__ == "__main__":
    sys.exit(main())
