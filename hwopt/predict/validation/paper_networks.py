"""Predictions of the five networks of NeuralPower's table (Cai et al. 2017), with their families left out.

The five families are left out together, at all batch sizes, so that no network of the table serves the
prediction of another.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from hwopt.arrays import Array
from hwopt.network.layer import METRICS
from hwopt.predict.device import Device
from hwopt.predict.device_model import DeviceModel
from hwopt.predict.network_table import NetworkTable
from hwopt.predict.uncertainty.families import architecture, family
from hwopt.profile.device_profile import DeviceProfile

if TYPE_CHECKING:
    import pandas as pd

    from hwopt.costs import Costs

ARCHITECTURES = ("vgg16", "alexnet", "nin", "overfeat", "cifar10_6conv")
_INTERVAL = 0.8
_KEYS = ["network", "batch", "mode"]


def paper_networks(device: Device, methods: Sequence[str], modes: Sequence[str]) -> "pd.DataFrame":
    """Return the measured and predicted metrics of those of the five networks that the profile holds.

    Returns:
        One row for each mode, metric and network: network, batch, mode, metric, measured, a column for each
        method, `low` and `high` of the 80% interval of the last of them (`high` is the 90% bound). Empty if
        none of the five was measured.
    """
    import pandas as pd

    tables = [_of_mode(device, methods, mode) for mode in modes]
    filled = [table for table in tables if len(table)]
    if not filled:
        return pd.DataFrame(columns=[*_KEYS, "metric", "measured", *methods, "low", "high"])
    return pd.concat(filled, ignore_index=True)


def _of_mode(device: Device, methods: Sequence[str], mode: str) -> "pd.DataFrame":
    import pandas as pd

    asked, others = _divided(device.profile, mode)
    if not len(asked):
        return asked
    table = NetworkTable.of_profile(device.profile, asked)
    tables = [asked[_KEYS].assign(metric=metric, measured=asked[metric].to_numpy()) for metric in METRICS]
    for method in methods:
        model = device.checked_model(method, mode)
        costs = DeviceModel(others, method, mode, layer_model=model.method.layer_model).costs(table)
        for metric, own in zip(METRICS, tables, strict=True):
            own[method], own["low"], own["high"] = _predicted(costs, metric)
    rows = pd.concat(tables, ignore_index=True)
    return rows[rows["measured"].notna() & rows[list(methods)].notna().any(axis=1)]


def _divided(profile: DeviceProfile, mode: str) -> tuple["pd.DataFrame", DeviceProfile]:
    """Return the rows of the five networks in a mode, and the profile without their families."""
    networks = profile.networks
    names = networks["network"]
    is_asked = names.map(architecture).isin(ARCHITECTURES) & (networks["mode"] == mode)
    is_asked &= names.isin(set(profile.network_layers["network"])) & networks[list(METRICS)].notna().any(
        axis=1
    )
    is_related = names.map(family).isin({family(name) for name in ARCHITECTURES})
    asked = networks[is_asked].drop_duplicates("network").reset_index(drop=True)
    return asked, replace(profile, networks=networks[~is_related].reset_index(drop=True))


def _predicted(costs: "Costs", metric: str) -> tuple[Array, Array, Array]:
    """Return prediction, lower and upper bound of a metric, each [n]; NaN if the device has none."""
    if metric not in costs:
        nothing = np.full(costs.n, np.nan)
        return nothing, nothing, nothing
    return costs[metric], *costs.interval(metric, _INTERVAL)
