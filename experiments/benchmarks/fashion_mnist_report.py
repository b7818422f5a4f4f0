"""Join the files of a table of trainings into table.csv, one row per config, and describe it in README.md.

configs.csv + trainings.csv (seed 0) + costs.csv (one device) + predicted costs --> table.csv
trainings.csv (all seeds), curves.csv ----------------------------> README.md
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fashion_mnist_grid import LEVELS, SPACE, config_of
from scipy.stats import kendalltau

from hwopt import load_device
from hwopt.errors import InvalidInput
from hwopt.search.pareto import nondominated
from hwopt.units import format_quantity

BUDGET_QUANTILE = 0.75  # of the configs drawn
METRICS = ("time_s", "power_w", "energy_j", "memory_bytes")
REASONS = ("time_reason", "energy_reason", "memory_reason")
OUTCOME = ["status", "reason", "error", "test_error", "n_epochs", "seconds", "cpu_seconds"]

FILES = """## Files

Errors are shares, 0 to 1; times in seconds, power in watts, energy in joules, memory in bytes. An empty cell
is a value that there is not; the reason is in a column of its own.

- `table.csv`, a row a config: all below joined, with the training of seed 0, the predicted costs, and
  `feasible`: whether `{metric}` keeps the budget.
- `configs.csv`, a row a config: `config` (0 is the first drawn and trained), `structure` (the first config
  with the same network), the hyperparameters, empty where inactive.
- `trainings.csv`, a row a training: `config`, `seed`, `status` (`complete` or `failed`), `reason`, `error`
  (validation) and `test_error` (whole test set) after the last epoch, `n_epochs`, `seconds` and
  `cpu_seconds` of the whole training.
- `curves.csv`, a row an epoch, those before a failure too: `config`, `seed`, `epoch` (from 1),
  `validation_error`, `test_error` (of as many test images as plan.json tells), `seconds` and `cpu_seconds` of
  training and validation.
- `costs.csv`, a row a measurement: `structure`, `device`, `batch`, `time_s`, `power_w`, `energy_j`,
  `memory_bytes` and a reason for each that is missing.
- `plan.json`: sizes of the subsets, seeds, machine, versions.

The grid (`search_spaces/fashion_mnist_grid.py`; its `config_of` turns a row into a config). Each level is as
likely, the configs are distinct and in random order:
"""


def write_report(out: Path, device: str, profile: str | None) -> pd.DataFrame:
    """Write table.csv and README.md into the folder of a table, and return the table.

    Args:
        out: the folder, with configs.csv, trainings.csv and curves.csv; costs.csv may be missing.
        device: whose costs to join, as in the column `device` of costs.csv.
        profile: a device profile whose predictions to add, or None for no predictions.

    Raises:
        InvalidInput: if the folder has no trainings.
    """
    for name in ("trainings.csv", "curves.csv"):
        if not (out / name).exists():
            raise InvalidInput(f"{out / name}: no such file; run --phase train first")
    plan = json.loads((out / "plan.json").read_text())
    configs = pd.read_csv(out / "configs.csv")
    trainings, curves = pd.read_csv(out / "trainings.csv"), pd.read_csv(out / "curves.csv")
    table = configs.merge(trainings.query("seed == 0")[["config", *OUTCOME]], on="config", how="left")
    table = table.merge(_measured(out, device), on="structure", how="left")
    if profile is not None:
        table = _predict(table, profile, plan["plan"]["cost_batch_size"])
    metric, limit = budget(table)
    if metric:
        known = table[metric].notna()
        table["feasible"] = np.where(known, (table[metric] <= limit).astype(str), "")
    table.to_csv(out / "table.csv", index=False, lineterminator="\n", float_format="%.6g")
    parts = [
        _heading(plan, device, profile),
        _amounts(table, trainings, metric, limit),
        _seeds(trainings),
        _epochs(curves, trainings, plan["plan"]["epochs"]),
        _front(table, metric),
        _files(metric),
    ]
    (out / "README.md").write_text("\n\n".join(part for part in parts if part) + "\n")
    return table


def budget(table: pd.DataFrame) -> tuple[str, float]:
    """Return metric and limit of the budget: measured energy, else measured time, else predicted time."""
    for metric in ("energy_j", "time_s", "predicted_time_s"):
        if metric in table and table[metric].notna().any():
            return metric, float(f"{table[metric].quantile(BUDGET_QUANTILE):.3g}")
    return "", float("nan")


def _measured(out: Path, device: str) -> pd.DataFrame:
    """Return the costs of each network on a device; a later attempt replaces one without a time."""
    columns = ["structure", *METRICS, *REASONS]
    if not (out / "costs.csv").exists():
        return pd.DataFrame(columns=columns).astype({"structure": int})
    costs = pd.read_csv(out / "costs.csv").query("device == @device")
    costs = costs.sort_values("time_s", na_position="first", kind="stable")
    return costs.drop_duplicates("structure", keep="last")[columns]


def _predict(table: pd.DataFrame, profile: str, batch_size: int) -> pd.DataFrame:
    model = load_device(profile).cost_model(SPACE, batch_size=batch_size)
    costs = model([config_of(row) for row in table.to_dict("records")])
    return table.assign(**{f"predicted_{metric}": values for metric, values in costs.items()})


def _heading(about: Mapping[str, Any], device: str, profile: str | None) -> str:
    plan, machine, software = about["plan"], about["machine"], about["software"]
    predictions = f" Predictions are of the profile `{profile}`." if profile else ""
    option = f" --profile {profile}" if profile else ""
    n_validation, n_cores, torch = plan["n_validation"], machine["n_cores"], software["torch"]
    return f"""# Real trainings on {plan["dataset"]}, to replay searches on

    python experiments/benchmarks/fashion_mnist_table.py --phase train --jobs 2
    python experiments/benchmarks/fashion_mnist_table.py --phase costs
    python experiments/benchmarks/fashion_mnist_table.py --phase report{option}

Every config was really trained: {plan["epochs"]} epochs of SGD with a cosine schedule and batches of
{plan["train_batch_size"]}, on {plan["n_train"]:,} images. Validation errors are of {n_validation:,} other
images of the training set, test errors of the test set. All subsets are stratified and the same for all.

Machine of the trainings: {machine["device"]}, {n_cores} cores, one thread a training, PyTorch {torch}. It did
other work as well, so compare CPU seconds, not seconds. Costs are of one pass of {plan["cost_batch_size"]}
images, one network at a time, on: {device}.{predictions}"""


def _amounts(table: pd.DataFrame, trainings: pd.DataFrame, metric: str, limit: float) -> str:
    trained = table[table["status"].notna()]
    complete = trained["error"].dropna()
    rows = [
        ("configs drawn / distinct networks", f"{len(table):,} / {table['structure'].nunique():,}"),
        ("configs trained: complete / failed", f"{len(complete):,} / {len(trained) - len(complete):,}"),
        ("further seeds: trainings", f"{(trainings['seed'] > 0).sum():,}"),
        ("validation error: lowest, median, highest", _three(complete)),
        ("test error: lowest, median, highest", _three(trained["test_error"].dropna())),
        ("complete trainings with an error of 85% or more", f"{(complete >= 0.85).sum():,}"),
        ("CPU seconds of a training: median, mean, highest", _seconds(trained["cpu_seconds"])),
        ("networks with measured time / memory / energy", _n_measured(table)),
    ]
    if metric:
        kept = (trained["feasible"] == "True").sum(), (trained["feasible"] == "False").sum()
        limited = f"{metric} <= {format_quantity(metric.removeprefix('predicted_'), limit)}"
        rows += [
            (f"budget ({BUDGET_QUANTILE:.0%} quantile of the configs drawn)", limited),
            ("trained configs: feasible / not", f"{kept[0]:,} / {kept[1]:,}"),
            ("cost of the dearest over the cheapest", f"{table[metric].max() / table[metric].min():.0f}"),
        ]
    rows += [_accuracy(table, name) for name in ("time_s", "memory_bytes") if _has_both(table, name)]
    return _markdown(("what", "how much"), rows)


def _three(values: pd.Series) -> str:
    return " , ".join(f"{values.quantile(q):.2%}" for q in (0, 0.5, 1)).replace(" ,", ",")


def _seconds(values: pd.Series) -> str:
    return f"{values.median():.1f}, {values.mean():.1f}, {values.max():.1f}"


def _n_measured(table: pd.DataFrame) -> str:
    networks = table.drop_duplicates("structure")
    return " / ".join(f"{networks[name].notna().sum():,}" for name in ("time_s", "memory_bytes", "energy_j"))


def _has_both(table: pd.DataFrame, metric: str) -> bool:
    return f"predicted_{metric}" in table and bool(table[metric].notna().any())


def _accuracy(table: pd.DataFrame, metric: str) -> tuple[str, str]:
    networks = table.drop_duplicates("structure").dropna(subset=[metric, f"predicted_{metric}"])
    predicted, measured = networks[f"predicted_{metric}"], networks[metric]
    error = (predicted / measured - 1).abs()
    tau = kendalltau(predicted, measured).statistic
    what = f"predicted {metric}: mean and median error, Kendall's tau (n = {len(networks):,})"
    return what, f"{error.mean():.1%}, {error.median():.1%}, {tau:.3f}"


def _seeds(trainings: pd.DataFrame) -> str:
    """Return the spread of a config's error over seeds."""
    several = trainings.groupby("config").filter(lambda group: len(group) > 1)
    if several.empty:
        return ""
    by_config = several.groupby("config")
    failed = by_config["status"].agg(lambda status: (status == "failed").mean())
    always = several[several["config"].isin(failed.index[failed == 0])].groupby("config")
    rows = [
        (name, len(always), *(f"{always[column].std().quantile(q):.2%}" for q in (0, 0.5, 0.9, 1)))
        for name, column in (("validation error", "error"), ("test error", "test_error"))
    ]
    n_sometimes = ((failed > 0) & (failed < 1)).sum()
    return (
        f"Of {len(failed)} configs with several seeds, {(failed == 1).sum()} failed with each of them, "
        f"{n_sometimes} with some. Standard deviation over the seeds of the others:\n\n"
        + _markdown(("error", "n configs", "lowest", "median", "90% quantile", "highest"), rows)
    )


def _epochs(curves: pd.DataFrame, trainings: pd.DataFrame, n_epochs: int) -> str:
    """Return the correlation of each epoch's error with the last one's."""
    keys = ["config", "seed"]
    done = trainings.query("status == 'complete'")[[*keys, "error"]]
    joined = curves.merge(done, on=keys)
    rows = []
    for epoch in range(1, n_epochs + 1):
        at = joined[joined["epoch"] == epoch]
        tau = kendalltau(at["validation_error"], at["error"]).statistic if len(at) > 1 else float("nan")
        quantiles = (f"{at['validation_error'].quantile(q):.2%}" for q in (0, 0.5))
        rows.append((epoch, f"{len(at):,}", *quantiles, f"{tau:.3f}"))
    names = ("epoch", "n", "lowest validation error", "median", "Kendall's tau with the last epoch's")
    return "Complete trainings, all seeds:\n\n" + _markdown(names, rows)


def _front(table: pd.DataFrame, metric: str) -> str:
    """Return the nondominated trainings of seed 0, by validation error and the metric of the budget."""
    known = table.dropna(subset=["error", metric]) if metric else table.iloc[:0]
    if known.empty:
        return ""
    front = known[nondominated(known[["error", metric]].to_numpy(dtype=float))].sort_values(metric)
    rows = [
        (
            row["config"],
            format_quantity(metric.removeprefix("predicted_"), row[metric]),
            f"{row['error']:.2%}",
            f"{row['test_error']:.2%}",
            row["feasible"] == "True",
        )
        for row in front.to_dict("records")
    ]
    names = ("config", metric, "validation error", "test error", "feasible")
    return f"The front of all {len(known):,} complete configs:\n\n" + _markdown(names, rows)


def _files(metric: str) -> str:
    grid = [(f"`{name}`", ", ".join(map(str, values))) for name, values in LEVELS.items()]
    return f"{FILES.format(metric=metric or 'the cost')}\n{_markdown(('hyperparameter', 'levels'), grid)}"


def _markdown(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
