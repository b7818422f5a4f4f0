"""Folder of a profile before a run: create or check device.json, clean up after an interrupted run."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from hwopt.errors import InvalidInput
from hwopt.measure.cpu.contention import describe_counters
from hwopt.measure.cpu.timing import TimingProtocol, Workload, time_workloads
from hwopt.measure.energy.sensors.registry import probe_sensors
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

AUTO = "auto"  # the prior is chosen by the number of measured rows

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
    """Create the folder with its device.json, or check that an existing one can be continued.

    Args:
        folder: folder of the profile.
        describe: measures the contents of device.json; called for a new folder only.
        asked: settings of the run; an existing folder must have the same.

    Returns:
        The contents of device.json.

    Raises:
        InvalidInput: if the folder has other settings, or other contents than a profile.
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
        raise InvalidInput(f"{folder} has other files and no {DEVICE_FILE}; give a new or empty folder")
    info = describe()
    write_info(folder, info)
    return info


def keep_prior(folder: Path, prior: str) -> DeviceProfile:
    """Record the prior of predictions in device.json, and return the profile.

    Args:
        folder: folder of the profile.
        prior: a name, a folder, or "none"; "auto" chooses by the number of measured rows, unless an earlier
            run was given a prior.

    Raises:
        InvalidInput: if the prior is of another kind of device or precision.
        UnknownName: if there is no such profile.
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
    """Check that the rows of an existing profile can be read, before anything is measured.

    Raises:
        InvalidInput: with file, line, the value and the accepted values; the file is left unchanged.
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
    """Remove CSV files without a header, left by an interrupted run."""
    for name in _ROW_FILES:
        path = folder / name
        if path.is_file() and path.stat().st_size == 0:
            path.unlink()


def describe_cpu_device(name: str | None, seed: int, protocol: TimingProtocol, allocator: str) -> Info:
    """Measure the ceilings and return the contents of device.json."""
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
    """Measure a CPU's ceilings again and keep the best of all runs, since a busy machine has lower ones."""
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
                f"{folder} has measurements with {what} {there[what]!r}, but this run has {value!r}; "
                "measure into another folder"
            )


def _check_rotation(path: Path, info: Mapping[str, Any]) -> None:
    """Raise InvalidInput if the rotation size of a CPU's operands is missing in device.json, or too large."""
    protocol = info.get("settings", {}).get("protocol")
    value = protocol.get("rotation_bytes") if isinstance(protocol, dict) else None
    is_size = isinstance(value, int) and 1 <= value <= _MAX_ROTATION_BYTES and value is not True
    if info.get("kind") == "cpu" and not is_size:
        wanted = f"it must be a whole number from 1 to {_MAX_ROTATION_BYTES:,}; measure into another folder"
        raise InvalidInput(f"{path}: settings.protocol.rotation_bytes = {shown(value)}; {wanted}")


def drop_orphans(folder: Path) -> None:
    """Drop layers of networks without a row of their own, left by an interrupted run."""
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
