"""Device profile: a folder of measurements of one device. It has text files only; loading executes nothing.

    device.json          identity, software, sensors, settings, ceilings, protocol version
    layers.csv           measured operators, one a line
    networks.csv         measured networks, each for fitting, calibrating or testing
    network_layers.csv   every operator of those networks, so that calibration needs none of their code
    oracle.csv           optional: operators of the test networks measured one by one; never fitted on
    repeats.csv          optional: repeated measurements and reference workloads of a campaign

The columns of the CSV files are listed in `hwopt.profile.schema`. Required keys of device.json:

    name                 name of the device: printable, not a path
    protocol_version     whole number; versions newer than `PROTOCOL_VERSION` are refused, older ones noted
    ceilings             {"flops_per_s": ..., "bytes_per_s": ..., "launch_s": ...}: FLOPs per second, bytes
                         per second and seconds, see `hwopt.profile.roofline`; further keys are allowed

Optional keys are `kind`, `date`, `hardware`, `software`, `sensors` and `settings`. Other files are not
opened. Remarks on the data that are not errors are in `DeviceProfile.notes`.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.errors import InvalidInput
from hwopt.profile.cells import like, one_row_per_key, read_table, refuse
from hwopt.profile.derived_columns import complete, complete_energy, incomplete, note_incomplete
from hwopt.profile.device_json import DEVICE_FILE, read_info
from hwopt.profile.plausibility import check_energy, check_memory, check_times, note_kinds, note_reasons
from hwopt.profile.roofline import Ceilings, bound_s, operand_bytes
from hwopt.profile.schema import (
    BOUNDS,
    ITEM_BYTES,
    LAYER_COLUMNS,
    LAYER_KEY,
    MODES,
    NETWORK_COLUMNS,
    NETWORK_KEY,
    NETWORK_LAYER_COLUMNS,
    REPEAT_COLUMNS,
    ROLES,
    SPLITS,
    TEXT_COLUMNS,
)
from hwopt.profile.text_file import shown

if TYPE_CHECKING:
    import pandas as pd

LAYER_FILE = "layers.csv"
NETWORK_FILE = "networks.csv"
NETWORK_LAYER_FILE = "network_layers.csv"
HELD_OUT_FILE = "oracle.csv"
REPEAT_FILE = "repeats.csv"


def _empty(columns: Sequence[str]) -> "pd.DataFrame":
    import pandas as pd

    return _with_columns(pd.DataFrame(), columns)


@dataclass(frozen=True, eq=False)
class DeviceProfile:
    """Measurements of one device, checked and complete.

    Attributes:
        folder: folder of the profile.
        info: contents of device.json.
        layers: measured operators, one a row, with complete shapes and work; NaN for metrics not measured.
        networks: measured networks, one row for each network and mode.
        network_layers: operators of the measured networks, one a row, in running order.
        held_out: operators of the test networks measured one by one, rows as in `layers`; never fitted on.
        repeats: repeated measurements and reference workloads.
        notes: remarks on the data.
    """

    folder: Path
    info: Mapping[str, Any]
    layers: "pd.DataFrame"
    networks: "pd.DataFrame"
    network_layers: "pd.DataFrame"
    held_out: "pd.DataFrame" = field(default_factory=lambda: _empty(LAYER_COLUMNS))
    repeats: "pd.DataFrame" = field(default_factory=lambda: _empty(REPEAT_COLUMNS))
    notes: tuple[str, ...] = ()

    def digest(self) -> str:
        """Return a hash of the whole contents."""
        found = hashlib.sha256(json.dumps(self.info, sort_keys=True, default=str).encode())
        for table in (self.layers, self.networks, self.network_layers, self.held_out, self.repeats):
            found.update(table.to_csv().encode())
        return found.hexdigest()

    @classmethod
    def load(cls, folder: str | Path) -> "DeviceProfile":
        """Read and check a profile.

        Raises:
            InvalidInput: with file, line, the value, the accepted values and a hint.
        """
        folder, notes = Path(folder), list[str]()
        info = read_info(folder / DEVICE_FILE, notes)
        ceilings = Ceilings.from_mapping(info["ceilings"])
        layers = read_layers(folder / LAYER_FILE, notes, ceilings)
        networks = read_networks(folder / NETWORK_FILE, notes)
        network_layers = read_network_layers(folder / NETWORK_LAYER_FILE, notes)
        _check_network_times(folder / NETWORK_FILE, networks, network_layers, ceilings)
        path = folder / HELD_OUT_FILE
        held_out = read_layers(path, notes, ceilings) if os.path.lexists(path) else _empty(LAYER_COLUMNS)
        repeats = read_repeats(folder / REPEAT_FILE, notes)
        if info.get("is_simulated"):
            notes.append(
                "simulated: the values come from formulas, not from a device; do not use them for predictions"
            )
        notes += [f"{LAYER_FILE}: {note}" for note in note_incomplete(layers)]
        notes += _note_devices(str(info["name"]), layers)
        notes += _note_network_layers(networks, network_layers)
        return cls(folder, info, layers, networks, network_layers, held_out, repeats, tuple(notes))

    @property
    def name(self) -> str:
        """Name of the device, as in device.json."""
        return str(self.info["name"])

    @property
    def ceilings(self) -> Ceilings:
        """Measured ceilings of the device."""
        return Ceilings.from_mapping(self.info["ceilings"])

    @property
    def measured_layers(self) -> "pd.DataFrame":
        """Layer rows with a time and complete work, without contended and failed ones."""
        refused = self.layers["status"].isin(("contended", "failed"))
        known = self.layers["time_s"].notna() & ~refused & ~incomplete(self.layers)
        return self.layers[known].reset_index(drop=True)


def read_layers(
    path: Path,
    notes: list[str] | None = None,
    ceilings: Ceilings | None = None,
    is_one_a_key: bool = True,
) -> "pd.DataFrame":
    """Read a layers.csv, fill derived columns, and keep one row of each key.

    Args:
        path: the file.
        notes: remarks on the data are appended.
        ceilings: ceilings of the device, to check the times.
        is_one_a_key: whether to keep one row of each key and refuse duplicates; otherwise keep all rows.

    Raises:
        InvalidInput: with file, line, the value and the accepted values.
    """
    notes = [] if notes is None else notes
    table = read_table(path, required=("kind", "batch", "in_channels", "out_channels"), notes=notes)
    if "time_s" not in table.columns:
        wanted = f"a layer row is a measured time, in seconds{like('time_s', table.columns)}"
        raise InvalidInput(f"{path}: column time_s is missing; {wanted}")
    check_energy(path, table)
    table = _complete(path, table, notes)
    table = _with_columns(table, LAYER_COLUMNS)
    _check_modes(path, table)
    check_memory(path, table, _series(table, operand_bytes(table)))
    if ceilings is not None:
        check_times(path, table["time_s"], bound_s(table, ceilings), np.full(len(table), ceilings.launch_s))
    notes += note_reasons(path.name, table)
    if not is_one_a_key:
        return table.reset_index(drop=True)
    own = [column for column in ("network", "position") if column in table.columns]
    return one_row_per_key(path, table, (*own, "device", *LAYER_KEY))


def read_networks(path: Path, notes: list[str] | None = None) -> "pd.DataFrame":
    """Read a networks.csv; each network is in one split and has one row for each mode."""
    notes = [] if notes is None else notes
    required = ("network", "split", "batch", "dtype", "mode")
    table = read_table(path, required=required, is_network=True, notes=notes)
    refuse(path, ~table["split"].isin(SPLITS), table["split"], f"wanted {', '.join(SPLITS)}")
    check_energy(path, table)
    table = _with_columns(complete_energy(table), NETWORK_COLUMNS)
    _check_modes(path, table)
    refuse(path, ~table["bound"].isin(("", *BOUNDS)), table["bound"], f"wanted {' or '.join(BOUNDS)}")
    check_memory(path, table, table["modelled_memory_bytes"])
    _check_one_network_a_name(path, table)
    notes += note_reasons(path.name, table)
    return one_row_per_key(path, table, NETWORK_KEY)


def read_network_layers(path: Path, notes: list[str] | None = None) -> "pd.DataFrame":
    """Read a network_layers.csv, sorted by network and position."""
    notes = [] if notes is None else notes
    required = ("network", "position", "kind", "batch", "in_channels", "out_channels")
    table = _complete(path, read_table(path, required=required, notes=notes), notes)
    lacks = _series(table, incomplete(table)).astype(bool)
    refuse(
        path, lacks, table["kind"], "its work cannot be derived; add the columns of sides, flops and bytes"
    )
    table = one_row_per_key(path, _with_columns(table, NETWORK_LAYER_COLUMNS), ("network", "position"))
    return table.sort_values(["network", "position"], kind="stable", ignore_index=True)


def read_repeats(path: Path, notes: list[str] | None = None) -> "pd.DataFrame":
    """Read a repeats.csv, in the order of the file; return an empty table if it does not exist."""
    if not os.path.lexists(path):
        return _empty(REPEAT_COLUMNS)
    table = read_table(path, required=("role",), is_network=True, notes=notes)
    refuse(path, ~table["role"].isin(ROLES), table["role"], f"wanted {' or '.join(ROLES)}")
    return _with_columns(table, REPEAT_COLUMNS).reset_index(drop=True)


def _complete(path: Path, table: "pd.DataFrame", notes: list[str]) -> "pd.DataFrame":
    """Fill the derived columns of layer rows, and check them."""
    notes += note_kinds(path.name, table)
    table = complete(table)
    for side in ("out_h", "out_w"):
        refuse(path, table[side] < 1, table[side], "the window does not fit into the padded input")
    grouped = (table["kind"] == "conv2d") & (table["in_channels"] % table["groups"] != 0)
    refuse(path, grouped, table["groups"], "it must divide in_channels")
    moved = _series(table, operand_bytes(table)).rename("input_bytes + weight_bytes + output_bytes")
    refuse(path, moved <= 0, moved, "it must be at least 1")
    unknown = sorted({str(dtype) for dtype in table["dtype"] if dtype not in ITEM_BYTES})
    if unknown:
        names = ", ".join(shown(dtype) for dtype in unknown[:5])
        notes.append(f"{path.name}: dtype {names} is unknown; 4 bytes an element are assumed if not given")
    return table


def _series(table: "pd.DataFrame", values: Any) -> "pd.Series[float]":
    import pandas as pd

    return pd.Series(values, index=table.index, dtype=float)


def _check_modes(path: Path, table: "pd.DataFrame") -> None:
    wrong = ~table["mode"].isin(("", *MODES))
    refuse(path, wrong, table["mode"], f"wanted {' or '.join(MODES)}")


def _check_one_network_a_name(path: Path, table: "pd.DataFrame") -> None:
    """Raise InvalidInput if networks of several batch sizes or dtypes have the same name."""
    firsts = table.drop_duplicates("network").set_index("network")
    for column in ("batch", "dtype", "split"):
        differs = table[column].to_numpy() != table["network"].map(firsts[column]).to_numpy()
        wanted = f"another row of this network has another {column}; use different names: net-b1, net-b8"
        refuse(path, differs, table["network"], wanted)


def _check_network_times(
    path: Path, networks: "pd.DataFrame", network_layers: "pd.DataFrame", ceilings: Ceilings
) -> None:
    """Raise InvalidInput for network times that contradict the ceilings."""
    parts = network_layers[["network"]].assign(bound_s=bound_s(network_layers, ceilings), n=1.0)
    sums = parts.groupby("network", sort=False)[["bound_s", "n"]].sum()
    known = networks[networks["network"].isin(sums.index)]
    bounds = known["network"].map(sums["bound_s"]).to_numpy(dtype=float)
    launches = known["network"].map(sums["n"]).to_numpy(dtype=float) * ceilings.launch_s
    times = known["time_s"].set_axis(known["network"].map(shown))
    check_times(path, times, bounds, launches)


def _note_devices(name: str, layers: "pd.DataFrame") -> list[str]:
    others = sorted({str(device) for device in layers["device"]} - {name, "unknown", ""})
    shown_names = ", ".join(shown(device) for device in others[:5])
    return [f"{LAYER_FILE}: rows of {shown_names}, but the profile is of {shown(name)}"] if others else []


def _note_network_layers(networks: "pd.DataFrame", network_layers: "pd.DataFrame") -> list[str]:
    """Return notes on networks that are in only one of the two files, as is normal during a campaign."""
    measured, with_layers = set(networks["network"]), set(network_layers["network"])
    notes = []
    for missing, here, there in (
        (measured - with_layers, NETWORK_FILE, NETWORK_LAYER_FILE),
        (with_layers - measured, NETWORK_LAYER_FILE, NETWORK_FILE),
    ):
        if missing:
            names = ", ".join(shown(name) for name in sorted(missing)[:3])
            more = ", ..." if len(missing) > 3 else ""
            notes.append(f"{here}: {len(missing)} networks are not in {there} and not used: {names}{more}")
    return notes


def _with_columns(table: "pd.DataFrame", columns: Sequence[str]) -> "pd.DataFrame":
    """Return the table with its missing columns added, empty."""
    import pandas as pd

    missing = [column for column in columns if column not in table.columns]
    empty: dict[bool, Any] = {
        True: pd.Series("", table.index, dtype=str),
        False: pd.Series(np.nan, table.index, dtype=float),
    }
    return table.assign(**{column: empty[column in TEXT_COLUMNS] for column in missing})
