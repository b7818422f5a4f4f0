"""Sums over a network's operators measured one by one: the limit of additive predictions.

measured network            --------------------------- 1.00     reference of the prediction
its operators, measured     ------------------------- 0.95       error of adding up
its operators, predicted    -------------------- 0.90            further error of the layer model
"""

from typing import TYPE_CHECKING

from hwopt.profile.device_profile import DeviceProfile
from hwopt.profile.roofline import least_time_s
from hwopt.profile.schema import LAYER_KEY, NETWORK_KEY

if TYPE_CHECKING:
    import pandas as pd

_MOST_UNMEASURED = 0.1  # largest unmeasured share of a network's least time


def operator_sums(profile: DeviceProfile) -> "pd.DataFrame":
    """Return sums over the operators of test networks, one row a network and mode.

    Columns: network, split, batch, dtype, mode; time_s and energy_j of the network; sum_time_s and
    sum_energy_j over its operators; n_operators; n_unmeasured, the number of operators without a time;
    unmeasured_share, their share of the network's roofline time; time_ratio and energy_ratio, sum over
    network. A sum is scaled up for unmeasured operators if their share is at most a tenth, else it is NaN.
    """
    layers = profile.network_layers.copy()
    layers["least_s"] = least_time_s(layers, profile.ceilings)
    measured = profile.held_out[[*LAYER_KEY, "time_s", "energy_j"]]
    layers = layers.drop(columns=["time_s", "energy_j"], errors="ignore").merge(
        measured, on=list(LAYER_KEY), how="left"
    )
    grouped = layers.groupby("network", sort=False)
    sums = grouped.size().to_frame("n_operators")
    sums["n_unmeasured"] = grouped["time_s"].agg(lambda values: int(values.isna().sum()))
    for metric in ("time_s", "energy_j"):
        share = _share_without(layers, metric)
        scaled = grouped[metric].sum(min_count=1) / (1 - share)
        sums[f"sum_{metric}"] = scaled.where(share <= _MOST_UNMEASURED)
        sums["unmeasured_share"] = share if metric == "time_s" else sums["unmeasured_share"]
    table = profile.networks[[*NETWORK_KEY, "split", "time_s", "energy_j"]].merge(
        sums, left_on="network", right_index=True
    )
    has_rows = (table["split"] == "test") & (table["n_unmeasured"] < table["n_operators"])
    table = table[has_rows].reset_index(drop=True)
    for metric, column in (("time", "time_s"), ("energy", "energy_j")):
        table[f"{metric}_ratio"] = table[f"sum_{column}"] / table[column]
    return table


def _share_without(layers: "pd.DataFrame", metric: str) -> "pd.Series[float]":
    """Return for each network the share of layers without a value of the metric in its least time."""
    total = layers.groupby("network", sort=False)["least_s"].sum()
    missing = layers[layers[metric].isna()].groupby("network", sort=False)["least_s"].sum()
    return (missing.reindex(total.index).fillna(0.0) / total).astype(float)
