"""Summary of device profiles: hardware, number of measurements, ceilings, errors of predictions."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from rich.table import Table

from hwopt.predict.device import Device
from hwopt.profile.device_profile import DeviceProfile
from hwopt.units import format_quantity, quantity_name

_METRICS = ("time_s", "power_w", "energy_j", "memory_bytes")


@dataclass(frozen=True)
class DeviceFacts:
    """Summary of one device profile, in SI units.

    Attributes:
        name: of the profile.
        kind: "cpu" or "gpu"; "" if unknown.
        model: of the hardware, as the device calls itself.
        date: of the measurement.
        n_operators: measured operators.
        n_networks: measured networks, each counted once.
        metrics: predicted metrics.
        modes: modes in which networks were measured.
        dtypes: types of the measured operators.
        flops_per_s: FLOP/s of a large matrix product.
        bytes_per_s: bytes read and written per second in a large copy.
        launch_s: time of the smallest operator, in seconds.
        median_errors: mode -> metric -> median relative error on networks, out of group; None if not
            requested.
    """

    name: str
    kind: str
    model: str
    date: str
    n_operators: int
    n_networks: int
    metrics: tuple[str, ...]
    modes: tuple[str, ...]
    dtypes: tuple[str, ...]
    flops_per_s: float
    bytes_per_s: float
    launch_s: float
    median_errors: dict[str, dict[str, float]] | None = None


def device_facts(device: Device, with_errors: bool = False) -> DeviceFacts:
    """Return the summary of a device; `with_errors` fits its cost model in each mode (takes seconds)."""
    profile = device.profile
    info, ceilings, networks = profile.info, profile.ceilings, profile.networks
    modes = tuple(sorted(set(networks["mode"])))
    return DeviceFacts(
        name=profile.name,
        kind=str(info.get("kind", "")),
        model=str(info.get("hardware", {}).get("model", "")),
        date=str(info.get("date", "")),
        n_operators=len(profile.measured_layers),
        n_networks=len(networks.drop_duplicates(["network", "batch", "dtype"])),
        metrics=_measured_metrics(profile),
        modes=modes,
        dtypes=tuple(sorted(set(profile.measured_layers["dtype"]))),
        flops_per_s=ceilings.flops_per_s,
        bytes_per_s=ceilings.bytes_per_s,
        launch_s=ceilings.launch_s,
        median_errors={mode: _median_errors(device, mode) for mode in modes} if with_errors else None,
    )


def devices_json(facts: Iterable[DeviceFacts]) -> str:
    """Return the summaries as JSON, {"devices": [...]}."""
    return json.dumps({"devices": [asdict(one) for one in facts]}, indent=2)


def devices_table(facts: Sequence[DeviceFacts]) -> Table:
    """Return a table with one column per device and one row per property."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=True)
    table.add_column("", no_wrap=True)
    for one in facts:
        table.add_column(one.name, overflow="fold")
    rows = [_cells(one) for one in facts]
    for heading in dict.fromkeys(heading for cells in rows for heading in cells):
        table.add_row(heading, *(cells.get(heading, "-") for cells in rows))
    return table


def _measured_metrics(profile: DeviceProfile) -> tuple[str, ...]:
    tables = (profile.measured_layers, profile.networks)
    return tuple(metric for metric in _METRICS if any(bool(table[metric].notna().any()) for table in tables))


def _median_errors(device: Device, mode: str) -> dict[str, float]:
    errors = device.model(mode=mode).validation()
    if not len(errors):
        return {}
    unseen = errors[errors["fold_kind"] == "out_of_group"]
    return {str(row["metric"]): float(row["median_ape"]) for row in unseen.to_dict("records")}


def _cells(one: DeviceFacts) -> dict[str, str]:
    """Return heading -> value of a device."""
    cells = {
        "kind": one.kind or "-",
        "hardware": one.model or "-",
        "measured on": one.date or "-",
        "operators": f"{one.n_operators:,}",
        "networks": f"{one.n_networks:,}",
        "predicts": ", ".join(map(quantity_name, one.metrics)),
        "modes": ", ".join(one.modes),
        "types": ", ".join(one.dtypes),
        "matrix product": f"{one.flops_per_s / 1e9:,.0f} GFLOP/s",
        "copy": f"{one.bytes_per_s / 1e9:,.1f} GB/s",
        "smallest operator": format_quantity("time_s", one.launch_s),
    }
    for mode, errors in (one.median_errors or {}).items():
        shown = ", ".join(f"{quantity_name(metric)} {error:.0%}" for metric, error in errors.items())
        cells[f"median error, {mode}"] = shown or "-"
    return cells
