"""Errors of each method on layer rows of any source, and on a device profile.

    rows.csv --read_rows--> layer rows --validate_rows--> errors by kind, in sample and out of fold
    profile  --validate_device--> the same for its layers; errors of its networks beside the oracle

The oracle of a network is the sum of its own operators measured one by one: a layer model can have a lower
error only by modelling the difference between a network and this sum.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hwopt.arrays import Array
from hwopt.errors import InvalidInput
from hwopt.network.layer import METRICS
from hwopt.predict.device import Device
from hwopt.predict.layer_models.registry import Factory
from hwopt.predict.measured_networks import MeasuredNetworks
from hwopt.predict.methods import layer_factory
from hwopt.predict.validation.cross_validation import cross_validate
from hwopt.predict.validation.error_metrics import error_figures
from hwopt.profile.device_profile import DeviceProfile, read_layers
from hwopt.profile.operator_sums import operator_sums
from hwopt.profile.roofline import Ceilings

if TYPE_CHECKING:
    import pandas as pd

METHODS = ("neuralpower", "paleo", "hybrid")
_INTERVAL = 0.8


def read_rows(path: str | Path, notes: list[str] | None = None) -> "pd.DataFrame":
    """Read layer rows of any source; a layer may occur several times, from several devices.

    Args:
        path: CSV file with the columns of `hwopt.profile.schema`; derived columns may be missing.
        notes: list that caveats are appended to.

    Raises:
        InvalidInput: for a value out of range, with file and line, or if no row has a time.
    """
    notes = [] if notes is None else notes
    rows = read_layers(Path(path), notes, is_one_a_key=False)
    n_without = int(rows["time_s"].isna().sum())
    if n_without == len(rows):
        raise InvalidInput(f"{path}: none of {len(rows)} rows has a time_s; there is nothing to validate")
    if n_without:
        notes.append(f"{Path(path).name}: {n_without} rows without time_s are left out")
    return rows[rows["time_s"].notna()].reset_index(drop=True)


def validate_rows(
    rows: "pd.DataFrame",
    methods: Sequence[str] = METHODS,
    folds: int = 5,
    seed: int = 0,
    ceilings: Ceilings | None = None,
    drift: str = "delay",
    factories: Mapping[str, Factory] | None = None,
) -> "pd.DataFrame":
    """Return the tables and notes of `cross_validate` for each method, with `method` as the first column.

    Args:
        rows: measured layers.
        methods: names of cost models.
        folds: number of folds.
        seed: seed of the folds.
        ceilings: of the device; None estimates them.
        drift: kind of drift to detect, see `cross_validate`.
        factories: method -> factory of its layer model on a device; others are found by name.
    """
    import pandas as pd

    tables: list[pd.DataFrame] = []
    notes: dict[str, None] = {}
    for method in methods:
        factory = (factories or {}).get(method)
        table = cross_validate(
            rows, method=method, folds=folds, seed=seed, ceilings=ceilings, drift=drift, factory=factory
        )
        notes |= dict.fromkeys(table.attrs["notes"])
        table.insert(0, "method", method)
        tables.append(table)
    together = pd.concat(tables, ignore_index=True)
    together.attrs["notes"] = list(notes)
    return together


def validate_device(
    device: Device,
    methods: Sequence[str] = METHODS,
    folds: int = 5,
    seed: int = 0,
    modes: Sequence[str] | None = None,
    drift: str = "delay",
) -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """Return the errors of a profile's layers and of its networks.

    Layers are predicted by the same model as the device's networks: a GPU's hybrid is fitted to all measured
    networks besides the rows of the other folds.

    Returns:
        The table of `validate_rows`; and that of `validate_networks`.
    """
    profile, networks = device.profile, MeasuredNetworks.of(device.profile)
    factories = {method: layer_factory(profile, method, networks) for method in methods}
    rows = profile.measured_layers
    layers = validate_rows(rows, methods, folds, seed, profile.ceilings, drift, factories)
    return layers, validate_networks(device, methods, modes)


def validate_networks(
    device: Device, methods: Sequence[str] = METHODS, modes: Sequence[str] | None = None
) -> "pd.DataFrame":
    """Return the errors of whole networks.

    Returns:
        One row for each method, mode, metric and fold_kind (`in_sample`, `out_of_group`), with n_groups, the
        figures of `hwopt.predict.validation.error_metrics` and `coverage_90`; see `DeviceModel.validation`.
        The method `oracle` is the sum of operators measured one by one, for networks of the split `test`.

    Raises:
        InvalidInput: for a mode that no network was measured in.
    """
    import pandas as pd

    modes = modes or measured_modes(device)
    tables = [
        device.checked_model(method, mode).validation().assign(method=method)
        for mode in modes
        for method in methods
    ]
    oracle = oracle_errors(device.profile)
    networks = pd.concat(
        [*tables, oracle[oracle["mode"].isin(modes)]] if len(oracle) else tables, ignore_index=True
    )
    return networks[["method", *(column for column in networks.columns if column != "method")]]


def measured_modes(device: Device) -> tuple[str, ...]:
    """Return the modes that networks were measured in, eager first; ("eager",) if none was."""
    found = set(device.profile.networks["mode"])
    return tuple(mode for mode in ("eager", "graph") if mode in found) or ("eager",)


def network_predictions(
    device: Device, methods: Sequence[str] = METHODS, mode: str = "eager"
) -> "pd.DataFrame":
    """Return the measured and the predicted metrics of each network, by fits without its family.

    Returns:
        One row for each network and metric: network, source, batch, family, metric, measured, a column for
        each method, `low` and `high` of the 80% interval of the last of them (`high` is the 90% bound), and
        `oracle`, NaN if the network's operators were not measured one by one.
    """
    import pandas as pd

    keys = ["network", "source", "batch", "family"]
    records: dict[tuple[object, ...], dict[str, object]] = {}
    for method in methods:
        model = device.model(method, mode)
        for i, head in enumerate(model.networks.frame[keys].to_dict("records")):
            costs = model.left_out_costs(i)
            for metric in costs:
                measured = float(model.networks.measured(mode, metric)[i])
                if not np.isfinite(measured):
                    continue
                named: dict[str, object] = {key: head[key] for key in keys}
                row = records.setdefault((head["network"], metric), named)
                row |= {"metric": metric, "measured": measured}
                low, high = costs.interval(metric, _INTERVAL)
                row |= {"low": float(low[0]), "high": float(high[0]), method: float(costs[metric][0])}
    wide = pd.DataFrame(
        list(records.values()), columns=[*keys, "metric", "measured", *methods, "low", "high"]
    )
    wide = wide.merge(_oracle_sums(device.profile, mode), on=["network", "metric"], how="left")
    wide["oracle"] = wide["oracle"].astype(float)
    return wide.sort_values(["metric", "network"], ignore_index=True)


def _oracle_sums(profile: DeviceProfile, mode: str) -> "pd.DataFrame":
    """Return network, metric and oracle: the sum over the network's operators measured one by one."""
    import pandas as pd

    sums = operator_sums(profile) if len(profile.held_out) else pd.DataFrame({"mode": [], "network": []})
    own = sums[sums["mode"] == mode]
    tables = [
        pd.DataFrame({"network": own["network"], "metric": metric, "oracle": summed})
        for metric, _, summed in (_oracle_metrics(own) if len(own) else [])
    ]
    return pd.concat([pd.DataFrame({"network": [], "metric": [], "oracle": []}, dtype=object), *tables])


def oracle_errors(profile: DeviceProfile) -> "pd.DataFrame":
    """Return the errors of the oracle, one row per mode, metric and fold_kind (the split).

    Power is the mean of the operators weighted by their times.
    """
    import pandas as pd

    sums = operator_sums(profile) if len(profile.held_out) else pd.DataFrame({"mode": [], "split": []})
    rows = []
    for (mode, split), own in sums.groupby(["mode", "split"], sort=True):
        head = {"method": "oracle", "level": "network", "mode": str(mode), "fold_kind": str(split)}
        for metric, measured, summed in _oracle_metrics(own):
            known = np.isfinite(measured) & np.isfinite(summed)
            if known.any():
                figures = error_figures(measured[known], summed[known])
                rows.append({**head, "metric": metric, **figures, "coverage_90": np.nan})
    return pd.DataFrame(rows)


def _oracle_metrics(
    sums: "pd.DataFrame",
) -> list[tuple[str, Array, Array]]:
    """Return metric, measured and summed values, each [n]."""
    time_s, energy_j, total_s, total_j = (
        sums[name].to_numpy(dtype=float) for name in ("time_s", "energy_j", "sum_time_s", "sum_energy_j")
    )
    metrics = {
        "time_s": (time_s, total_s),
        "power_w": (energy_j / time_s, total_j / total_s),
        "energy_j": (energy_j, total_j),
    }
    return [(metric, *metrics[metric]) for metric in METRICS if metric in metrics]
