"""The oracle: what a network's own operators, measured one by one, add up to.

network measured whole      --------------------------- 1.00     what a prediction is held against
its operators, measured     ------------------------- 0.95       what is lost by adding up: the protocol
its operators, predicted    -------------------- 0.90            what the layer model adds to that
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.device.operators import Unbuildable, recipe_of
from hwopt.device.profile import NETWORK_KEY, DeviceProfile
from hwopt.device.rows import LAYER_KEY
from hwopt.device.sampling import Operator, key_of
from hwopt.network.layer import LayerGraph

if TYPE_CHECKING:
    import pandas as pd


def oracle_operators(graphs: Iterable[LayerGraph]) -> list[Operator]:
    """Return the distinct operators of networks that can be run alone, in the order in which they come."""
    operators: dict[tuple[Any, ...], Operator] = {}
    for layer in (layer for graph in graphs for layer in graph.layers):
        if key_of(layer) not in operators:
            with suppress(Unbuildable):  # the network's sum is then incomplete, and has no ratio
                operators[key_of(layer)] = Operator(layer, recipe_of(layer.row()), "oracle")
    return list(operators.values())


def oracle_sums(profile: DeviceProfile) -> "pd.DataFrame":
    """Return the networks that have oracle rows, one row a network and mode.

    Columns: network, split, batch, dtype, mode; time_s and energy_j of the network; oracle_time_s and
    oracle_energy_j, sums over its operators, NaN where an operator's figure is missing; n_operators;
    n_unmeasured, those without a time of their own; time_ratio and energy_ratio, oracle over network.
    """
    key = list(LAYER_KEY)
    layers = profile.network_layers.merge(
        profile.oracle[[*key, "time_s", "energy_j"]], on=key, how="left", suffixes=("", "_oracle")
    )
    layers = layers.rename(columns={"time_s_oracle": "time_s", "energy_j_oracle": "energy_j"})
    grouped = layers.groupby("network", sort=False)
    sums = grouped[["time_s", "energy_j"]].sum(min_count=1).add_prefix("oracle_")
    sums["n_operators"] = grouped.size()
    sums["n_unmeasured"] = grouped["time_s"].agg(lambda values: int(values.isna().sum()))
    sums["n_without_energy"] = grouped["energy_j"].agg(lambda values: int(values.isna().sum()))
    table = profile.networks[[*NETWORK_KEY, "split", "time_s", "energy_j"]].merge(
        sums, left_on="network", right_index=True
    )
    table = table[table["n_unmeasured"] < table["n_operators"]].reset_index(drop=True)
    table.loc[table["n_unmeasured"] > 0, "oracle_time_s"] = np.nan
    table.loc[table["n_without_energy"] > 0, "oracle_energy_j"] = np.nan
    for metric in ("time", "energy"):
        unit = {"time": "s", "energy": "j"}[metric]
        table[f"{metric}_ratio"] = table[f"oracle_{metric}_{unit}"] / table[f"{metric}_{unit}"]
    return table.drop(columns="n_without_energy")
