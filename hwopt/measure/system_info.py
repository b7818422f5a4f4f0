"""Description of processor, system and software, without names of hosts, users or folders."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

CPU_INFO = Path("/proc/cpuinfo")


def describe_cpu(cpu_info: Path = CPU_INFO) -> dict[str, Any]:
    """Return the processor's model, number of logical cores, architecture and last-level cache."""
    return {
        "model": cpu_model(cpu_info),
        "n_cores": os.cpu_count(),
        "architecture": platform.machine(),
        "last_level_cache_bytes": last_level_cache_bytes(),
    }


def cpu_model(cpu_info: Path = CPU_INFO) -> str:
    """Return the processor's name from /proc/cpuinfo, or from `platform` on other systems than Linux."""
    if cpu_info.is_file():
        for line in cpu_info.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model") and value.strip():
                return " ".join(value.split())
    return platform.processor() or platform.machine() or "unknown processor"


def last_level_cache_bytes(folder: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> int | None:
    """Return the size of the largest cache of core 0, or None if the system does not report it."""
    sizes = []
    for path in sorted(folder.glob("index*/size")):
        text = path.read_text().strip()
        factor = {"K": 2**10, "M": 2**20}.get(text[-1:], 1)
        if text.rstrip("KM").isdigit():
            sizes.append(int(text.rstrip("KM")) * factor)
    return max(sizes, default=None)


def describe_software() -> dict[str, str]:
    """Return the versions of the system and the packages that measured times depend on."""
    software = {"system": f"{platform.system()} {platform.release()}", "python": platform.python_version()}
    for package in ("torch", "torchvision", "numpy", "hwopt"):
        try:
            software[package] = version(package)
        except PackageNotFoundError:
            continue
    return software
