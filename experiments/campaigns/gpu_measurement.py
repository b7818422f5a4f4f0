"""Facts about a GPU campaign from its profile: sensor, seconds per row, repeatability, refusals, additivity.

    python experiments/campaigns/gpu_measurement.py --device nvidia-h200 --out results/measurement/nvidia-h200

Reads the rows of a profile, and of the folders of `gpu_run.py` in OUT, and needs no GPU. Writes README.md and
one CSV file a table; present.csv is written by `gpu_predictions.py`, and shown here beside prospective.csv.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.campaigns.gpu_predictions import FIRST, summary
from hwopt import load_device
from hwopt.network.layer import METRICS
from hwopt.profile.device_profile import NETWORK_FILE, DeviceProfile, read_networks
from hwopt.profile.schema import LAYER_KEY

SCRIPT = "python experiments/campaigns/gpu_measurement.py"
MOST_SHOWN = 30  # rows of a table in README.md


def sensor(profile: DeviceProfile) -> pd.DataFrame:
    """Return the results of the characterization of the energy counter, one per row."""
    found = profile.info["sensor"]
    facts = {name: value for name, value in found.items() if isinstance(value, int | float | str)}
    waves = {
        f"wave of {1e3 * w['period_s']:.0f} ms: {k}": w[k] for w in found["waves"] for k in ("error", "bias")
    }
    seconds = {f"seconds: {part}": spent for part, spent in found["seconds"].items()}
    return pd.DataFrame(
        {"fact": [*facts, *waves, *seconds], "value": [*facts.values(), *waves.values(), *seconds.values()]}
    )


def seconds_a_row(profile: DeviceProfile, beside: Sequence[pd.DataFrame] = ()) -> pd.DataFrame:
    """Return the seconds between the ends of successive rows, by campaign and kind of measurement.

    Args:
        profile: whose first rows are those of the first campaign (`gpu_predictions.FIRST`).
        beside: networks of the second campaign, measured interleaved with the profile.
    """
    firsts, ends = FIRST.get(profile.name, {}), []
    for name, what in (("layers", "operator"), ("networks", "network"), ("held_out", "oracle")):
        table = getattr(profile, name)
        own = table[["elapsed_s", "mode"]].assign(what=what, has_energy=table["energy_j"].notna())
        ends.append(own.assign(campaign=_campaign(table, firsts.get(name))))
    again = profile.repeats
    own = again[["elapsed_s"]].assign(what="sentinel or repeat", mode="graph")
    own = own.assign(has_energy=again["power_w"].notna(), campaign=_campaign(again, firsts.get("repeats")))
    others = [
        table[["elapsed_s", "mode"]].assign(
            what="network beside", has_energy=table["energy_j"].notna(), campaign=2
        )
        for table in beside
    ]
    rows = pd.concat([*ends, own, *others]).sort_values(["campaign", "elapsed_s"], kind="stable")
    rows["seconds"] = rows.groupby("campaign")["elapsed_s"].diff()
    groups = rows.dropna(subset="seconds").groupby(["campaign", "what", "mode", "has_energy"])["seconds"]
    found = groups.agg(
        n="size", median="median", quarter=lambda s: s.quantile(0.25),
        three_quarters=lambda s: s.quantile(0.75), mean="mean",
    )  # fmt: skip
    return found.reset_index()


def _campaign(table: pd.DataFrame, n_first: int | None) -> np.ndarray:
    """Return the campaign of each row, [n]: 1, and 2 after the first rows."""
    return np.where(np.arange(len(table)) < (len(table) if n_first is None else n_first), 1, 2)


def measured_again(profile: DeviceProfile, again: pd.DataFrame) -> pd.DataFrame:
    """Return networks that a later campaign measured again, as ratios to the profile's values."""
    keys = ["network", "mode"]
    both = again.merge(profile.networks, on=keys, suffixes=("_again", ""))
    ratios = {metric: both[f"{metric}_again"] / both[metric] for metric in METRICS}
    return both[keys].assign(**ratios)


def repeatability(profile: DeviceProfile) -> pd.DataFrame:
    """Return the deviations of repeated measurements from the first ones."""
    rows = profile.repeats[profile.repeats["ratio"].notna()]
    distance = (rows["ratio"] - 1).abs()
    named = rows.assign(distance=distance, kind=rows["key"].str.split().str[0])
    found = named.groupby(["role", "kind"])["distance"].agg(n="size", median="median", largest="max")
    return found.reset_index()


def refusals(profile: DeviceProfile) -> pd.DataFrame:
    """Return the number of rows without a value, by file, mode, metric and the first word of the reason."""
    tables = {"operators": profile.layers, "networks": profile.networks, "oracle": profile.held_out}
    found = []
    for name, table in tables.items():
        for figure, reason in (("time_s", "time_reason"), ("energy_j", "energy_reason")):
            for mode, rows in table.groupby("mode"):
                absent = rows[rows[figure].isna()]
                for why, alike in absent.groupby(absent[reason].str.split(":").str[0].str.slice(0, 30)):
                    found.append([name, mode, figure, len(rows), len(alike), why])
    return pd.DataFrame(found, columns=["file", "mode", "figure", "n_rows", "n_absent", "reason"])


def additivity(profile: DeviceProfile) -> pd.DataFrame:
    """Return sums of operators measured alone, the rest predicted, and the time of their network.

    The rest comes from the cost model of layers, fitted to operators only.
    """
    from hwopt.predict.layer_models.registry import make_model

    model = make_model("hybrid").fit(profile.measured_layers, profile.ceilings)
    rows = pd.concat([profile.measured_layers, profile.held_out[profile.held_out["time_s"].notna()]])
    times = rows.drop_duplicates(list(LAYER_KEY), keep="last").set_index(list(LAYER_KEY))["time_s"]
    found = []
    graphs = profile.networks[(profile.networks["mode"] == "graph") & profile.networks["time_s"].notna()]
    for network in graphs.itertuples():
        layers = profile.network_layers[profile.network_layers["network"] == network.network]
        keys = list(layers[list(LAYER_KEY)].itertuples(index=False, name=None))
        known = np.array([times.get(key, np.nan) for key in keys], dtype=float)
        has = np.isfinite(known)
        if has.mean() < 0.5:
            continue
        rest_s = float(model.predict(layers[~has]).values["time_s"].sum()) if (~has).any() else 0.0
        sum_s = float(known[has].sum())
        found.append([network.network, len(keys), int(has.sum()), sum_s, rest_s, network.time_s])
    columns = ["network", "n_layers", "n_measured", "measured_sum_s", "predicted_rest_s", "network_s"]
    table = pd.DataFrame(found, columns=columns)
    return table.assign(ratio=(table["measured_sum_s"] + table["predicted_rest_s"]) / table["network_s"])


def modes(profile: DeviceProfile) -> pd.DataFrame:
    """Return the eager times of each network, its time as a graph, and the disagreement of the eager times.

    Eager times come from the timed pass, from the loop in which energy was read, and from the pass timed
    beside the graph; a network is bound by the host if the smallest exceeds the graph's time by 15%.
    """
    found = []
    for name, rows in profile.networks.groupby("network"):
        graph, eager = rows[rows["mode"] == "graph"], rows[rows["mode"] == "eager"]
        figures = [*eager["time_s"], *eager["eager_time_s"], *eager["loop_time_s"], *graph["eager_time_s"]]
        figures = [figure for figure in figures if figure == figure]
        graph_s = float(graph["time_s"].iloc[0]) if len(graph) else np.nan
        if figures and graph_s == graph_s:
            bound = "host" if min(figures) > 1.15 * graph_s else "device"
            found.append(
                [name, graph_s, min(figures), max(figures), max(figures) / min(figures), len(figures), bound]
            )
    columns = ["network", "graph_s", "eager_lowest_s", "eager_highest_s", "eager_ratio", "n_figures", "bound"]
    return pd.DataFrame(found, columns=columns)


def beside_the_profile(folder: Path) -> dict[str, pd.DataFrame]:
    """Return the networks of the folders of `gpu_run.py`, by folder."""
    paths = sorted(folder.glob(f"*/{NETWORK_FILE}"))
    return {path.parent.name: read_networks(path) for path in paths}


TABLES = {
    "sensor": ("The energy counter", sensor),
    "seconds": ("Seconds a row, from the end of the row before", seconds_a_row),
    "repeats": ("What was measured again, relative distance from the first time", repeatability),
    "refusals": ("Figures that rows lack", refusals),
    "additivity": (
        "Operators measured alone, added up, over the time of their network as a graph",
        additivity,
    ),
    "modes": ("The same network as a graph and eager", modes),
}


def markdown(table: pd.DataFrame) -> str:
    """Return a table with three significant digits, only its first rows if it has many."""
    if not len(table):
        return "None."
    shown = table.head(MOST_SHOWN)
    cells = [
        [f"{v:.3g}" if isinstance(v, float) else str(v) for v in row] for row in shown.itertuples(index=False)
    ]
    lines = [list(table.columns), ["---"] * len(table.columns), *cells]
    text = "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
    return text if len(shown) == len(table) else f"{text}\n\nThe first {len(shown)} of {len(table)} rows."


def predicted(folder: Path) -> list[str]:
    """Return the section on predictions of networks that were measured after a fit, if they are there."""
    then, now = (folder / f"{name}.csv" for name in ("prospective", "present"))
    if not then.exists() or not now.exists():
        return []
    return [
        "## Networks measured after a fit, predicted",
        "Mean error in percent by hybrid, NeuralPower's method and Paleo. `first` is the profile of the "
        "first campaign, before any of these networks was measured; `all` the whole profile, which holds "
        "none of these. `in bounds`: percent of the networks within hybrid's 90% bound, in the order of the "
        "columns.",
        "**A prospective test**: the model is the one that was there before the networks were measured.",
        markdown(summary(pd.read_csv(then))),
        "**The present model**, on the same rows: its form was chosen with these networks in sight, though "
        "its parameters are fitted to none of them.",
        markdown(summary(pd.read_csv(now))),
        "`prospective.csv` and `present.csv` (median, root mean square, bias and HyperPower's linear models "
        "too), `..._predictions.csv` (every network); the present ones by",
        "    python experiments/campaigns/gpu_predictions.py",
        "and the prospective ones by the same command at commit 4e54f4c, as `prospective.csv` and "
        "`predictions.csv`.",
    ]


def main() -> None:
    """Write the tables of a profile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="nvidia-h200", help="shipped name or folder of a GPU's profile")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    profile = load_device(arguments.device).profile
    arguments.out.mkdir(parents=True, exist_ok=True)
    hardware, software = profile.info["hardware"], profile.info["software"]
    parts = [
        f"# {profile.name}: how its rows were measured, and how far they agree",
        f"Machine: {hardware['model']}, driver {profile.info['limits']['driver']}, "
        f"torch {software['torch']}; {profile.info['date']}; {len(profile.layers)} operators, "
        f"{len(profile.networks)} networks in a mode (the last row of each). Measured by `hwopt profile "
        "--device cuda:0`; these tables, from the rows that ship, by",
        f"    {SCRIPT} --device {arguments.device} --out {arguments.out}",
        "Seconds, watts, joules and shares.",
    ]
    beside = beside_the_profile(arguments.out)
    tables = {name: (title, make(profile)) for name, (title, make) in TABLES.items()}
    tables["seconds"] = (tables["seconds"][0], seconds_a_row(profile, list(beside.values())))
    if "neuralpower" in beside:
        title = "NeuralPower's networks a campaign later, as ratios to the profile"
        tables["again"] = (title, measured_again(profile, beside["neuralpower"]))
    for name, (title, table) in tables.items():
        table.to_csv(arguments.out / f"{name}.csv", index=False, float_format="%.6g")
        parts += [f"## {title}", markdown(table), f"`{name}.csv`"]
    parts += predicted(arguments.out)
    path = arguments.out / "README.md"
    kept = path.read_text().partition("## What to read from it")[2] if path.exists() else ""
    parts += ["## What to read from it" + (kept.rstrip("\n") or "\n")]
    path.write_text("\n\n".join(parts).rstrip("\n") + "\n")


if __name__ == "__main__":
    main()
