"""The folder of a profile before measuring: its device.json, and what an interrupted run left in it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from hwopt.errors import InvalidInput
from hwopt.measure.cpu.contention import describe_counters
from hwopt.measure.cpu.timing import TimingProtocol, Workload, time_workloads
from hwopt.measure.energy.sensors.probe import probe_sensors
from hwopt.measure.system_info import describe_cpu, describe_software, last_level_cache_bytes
from hwopt.predict.prior import default_prior, prior_profile
from hwopt.profile.device_json import DEVICE_FILE, PROTOCOL_VERSION, read_info, write_info
from hwopt.profile.device_profile import (
    HELD_OUT_FILE,
    LAYER_FILE,
    NETWORK_FILE,
    NETWORK_LAYER_FILE,
    REPEAT_FILE,
    DeviceProfile,
    read_layers,
    read_network_layers,
    read_networks,
    read_repeats,
)
from hwopt.profile.roofline import Ceilings
from hwopt.profile.row_file import drop_cut_line, write_cells
from hwopt.profile.text_file import Cells, read_cells, shown

Info = dict[str, Any]

AUTO = "auto"  # prior: the one that suits what is measured

_ROW_FILES = (LAYER_FILE, NETWORK_FILE, NETWORK_LAYER_FILE, HELD_OUT_FILE, REPEAT_FILE)
_MAX_ROTATION_BYTES = 512 * 2**20
_MATRIX_SIDE = 1024


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Settings of a run: model and power limit of the device, precision, name if one was given, seed."""

    model: str
    precision: str
    name: str | None
    seed: int
    power_limit_w: float | None = None


def open_folder(folder: Path, describe: Callable[[], dict[str, Any]], asked: RunSettings) -> Info:
    """Create the folder with its device.json, or check that this device goes on with the one that is there.

    Args:
        folder: of the profile.
        describe: measures what device.json holds; called for a new folder only.
        asked: what the run wants; a folder of anything else is not continued.

    Returns:
        The contents of device.json.

    Raises:
        InvalidInput: for a folder of something else than this profile.
    """
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{folder} is a file; a profile is a folder")
    folder.mkdir(parents=True, exist_ok=True)
    _drop_empty_files(folder)
    if (folder / DEVICE_FILE).exists():
        info = read_info(folder / DEVICE_FILE)
        _check_same_device(folder, info, asked)
        _check_rotation(folder / DEVICE_FILE, info)
        drop_orphans(folder)
        return info
    if any(path.name != f"{DEVICE_FILE}.part" for path in folder.iterdir()):
        raise InvalidInput(f"{folder} holds other files and no {DEVICE_FILE}; measure into its own folder")
    info = describe()
    write_info(folder, info)
    return info


def keep_prior(folder: Path, prior: str) -> DeviceProfile:
    """Write into device.json which profile predictions start from, and return the profile.

    Args:
        folder: of the profile.
        prior: a name or a folder, or "none"; "auto" chooses by what is measured by now, unless an earlier run
            was told.

    Raises:
        InvalidInput: for a prior that does not suit.
        UnknownName: for one that is no profile.
    """
    profile = DeviceProfile.load(folder)
    info = dict(profile.info)
    if prior == AUTO and "prior" in info and info.get("prior_chosen") != AUTO:
        return profile
    chosen = default_prior(profile) if prior == AUTO else prior
    kept = {} if chosen is None else {"prior": chosen, "prior_chosen": AUTO if prior == AUTO else "asked for"}
    changed = {key: value for key, value in info.items() if not key.startswith("prior")} | kept
    prior_profile(replace(profile, info=changed))
    if changed != info:
        write_info(folder, changed)
    return replace(profile, info=changed)


def check_rows(folder: Path) -> None:
    """Refuse to go on with rows that cannot be read, before a second is spent; they stay as they are.

    Raises:
        InvalidInput: with file, line, what came and what was wanted.
    """
    readers = {
        LAYER_FILE: read_layers,
        HELD_OUT_FILE: read_layers,
        NETWORK_FILE: read_networks,
        NETWORK_LAYER_FILE: read_network_layers,
        REPEAT_FILE: read_repeats,
    }
    for name, read in readers.items():
        path = folder / name
        if path.exists():
            drop_cut_line(path)
            read(path)


def _drop_empty_files(folder: Path) -> None:
    """Remove the files of rows that a run left without even their first line."""
    for name in _ROW_FILES:
        path = folder / name
        if path.is_file() and path.stat().st_size == 0:
            path.unlink()


def describe_cpu_device(name: str | None, seed: int, protocol: TimingProtocol, allocator: str) -> Info:
    """Measure the ceilings and return what device.json holds."""
    hardware = describe_cpu()
    cache_bytes = last_level_cache_bytes() or 0
    rotation_bytes = min(max(protocol.rotation_bytes, 2 * cache_bytes), _MAX_ROTATION_BYTES)
    protocol = replace(protocol, rotation_bytes=rotation_bytes)
    return {
        "name": name or "-".join(str(hardware["model"]).lower().split()),
        "protocol_version": PROTOCOL_VERSION,
        "kind": "cpu",
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": hardware,
        "software": describe_software(),
        "sensors": [asdict(sensor) for sensor in probe_sensors()],
        "settings": {
            "n_threads": 1,
            "allocator": allocator,
            "dtype": "float32",
            "mode": "eager",
            "precision": "default",
            "seed": seed,
            "protocol": asdict(protocol),
            "counters": describe_counters(),
        },
        "ceilings": asdict(measure_ceilings(protocol)),
    }


def improve_ceilings(folder: Path, info: Info) -> Info:
    """Measure a CPU's ceilings once more and keep the best of all runs: a busy machine shows lower ones."""
    protocol = TimingProtocol(rotation_bytes=info["settings"]["protocol"]["rotation_bytes"])
    before, now = info["ceilings"], asdict(measure_ceilings(protocol))
    best = {name: (min if name == "launch_s" else max)(before[name], value) for name, value in now.items()}
    if best == {name: before[name] for name in best}:
        return info
    info = {**info, "ceilings": {**before, **best}}
    write_info(folder, info)
    return info


def measure_ceilings(protocol: TimingProtocol) -> Ceilings:
    """Time a large copy, a large matrix product and the smallest operator on the current thread."""
    source = torch.rand(protocol.rotation_bytes // 4)
    copy = torch.empty_like(source)
    a, b = torch.rand(_MATRIX_SIDE, _MATRIX_SIDE), torch.rand(_MATRIX_SIDE, _MATRIX_SIDE)
    workloads = [
        Workload("copy", copy.copy_, [(source,)]),
        Workload("matrix product", torch.mm, [(a, b)]),
        Workload("smallest", torch.relu, [(torch.ones(1),)]),
    ]
    timings = time_workloads(
        workloads, replace(protocol, agreement=float("inf"))
    )  # the best of all blocks counts
    copy_s, product_s, launch_s = (timing.time_s or float("nan") for timing in timings)
    return Ceilings(
        flops_per_s=2 * _MATRIX_SIDE**3 / product_s,
        bytes_per_s=2 * source.nbytes / copy_s,
        launch_s=launch_s,
    )


def _check_same_device(folder: Path, info: Mapping[str, Any], asked: RunSettings) -> None:
    here = {
        "protocol": PROTOCOL_VERSION,
        "processor": asked.model,
        "torch": describe_software().get("torch"),
        "precision": asked.precision,
        "seed": asked.seed,
        "name": asked.name or info["name"],
    }
    there = {
        "protocol": info["protocol_version"],
        "processor": info.get("hardware", {}).get("model"),
        "torch": info.get("software", {}).get("torch"),
        "precision": info.get("settings", {}).get("precision", "default"),
        "seed": info.get("settings", {}).get("seed", asked.seed),
        "name": info["name"],
    }
    limit_w = info.get("limits", {}).get("power_limit_w")
    if limit_w is not None and asked.power_limit_w is not None:
        here["power limit in watts"], there["power limit in watts"] = asked.power_limit_w, limit_w
    for what, value in here.items():
        if there[what] != value:
            raise InvalidInput(
                f"{folder} holds measurements with {what} {there[what]!r}, and this is {value!r}; "
                "measure into another folder"
            )


def _check_rotation(path: Path, info: Mapping[str, Any]) -> None:
    """Refuse to go on where device.json does not tell how far a CPU's operands rotate, or too far."""
    protocol = info.get("settings", {}).get("protocol")
    value = protocol.get("rotation_bytes") if isinstance(protocol, dict) else None
    is_size = isinstance(value, int) and 1 <= value <= _MAX_ROTATION_BYTES and value is not True
    if info.get("kind") == "cpu" and not is_size:
        wanted = f"wanted a whole number from 1 to {_MAX_ROTATION_BYTES:,}; measure into another folder"
        raise InvalidInput(f"{path}: settings.protocol.rotation_bytes = {shown(value)}; {wanted}")


def drop_orphans(folder: Path) -> None:
    """Drop layers of networks whose own row was not written: a run ended between the two."""
    path, layer_path = folder / NETWORK_FILE, folder / NETWORK_LAYER_FILE
    if not layer_path.exists():
        return
    for existing in (path, layer_path):
        if existing.exists():
            drop_cut_line(existing)
            if not existing.stat().st_size:
                existing.unlink()
    if not layer_path.exists():
        return
    known = set(_networks(path, read_cells(path))) if path.exists() else set()
    cells = read_cells(layer_path)
    networks = _networks(layer_path, cells)
    kept = [row for row, network in zip(cells.rows, networks, strict=True) if network in known]
    if len(kept) < len(cells.rows):
        write_cells(layer_path, cells.names, kept)


def _networks(path: Path, cells: Cells) -> list[str]:
    """Return the network of each row, [n]."""
    if "network" not in cells.names:
        raise InvalidInput(f"{path}: column network is missing; measure into another folder")
    position = cells.names.index("network")
    return [row[position] for row in cells.rows]
