"""Tables of the savings and the wrong stops of early termination, from the rows of its runs.

summary.csv       by problem and rule: epochs and seconds to the hypervolume of full training, and of TPE
paired.csv        by rule: epochs relative to those of `front` and of full training, same problem and seed
calibration.csv   share of stopped, or paused, trainings that would have been on the final front
tables.md         tables of summary.csv and paired.csv as README.md shows them
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import beta

NEVER = 1e6  # a share that is larger than any
LEVELS = (1.0, 0.995, 0.99)  # of full training's hypervolume
PARTS = {"a_tenth": 10, "a_fifth": 5, "a_third": 3}  # of full training's epochs
N_RESAMPLED = 10_000


def summarise(out: Path) -> None:
    """Write summary.csv and paired.csv: each run against full training and TPE of its problem and seed."""
    runs, steps = pd.read_csv(out / "runs.csv"), pd.read_csv(out / "trajectories.csv")
    own = {key: group for key, group in steps.groupby(["problem", "rule", "seed"])}
    by_key = runs.set_index(["problem", "rule", "seed"])
    found = []
    for problem, rule, seed in by_key.index:
        known = [(problem, name, seed) for name in ("full", "tpe")]
        if all(key in by_key.index for key in known):
            mine = own.get((problem, rule, seed), steps[:0])
            row = shares(mine, own[known[0]], by_key.loc[known[0]], by_key.loc[known[1]])
            found.append({"problem": problem, "rule": rule, "seed": seed, **row})
    table = pd.DataFrame(found)
    rows = []
    for (problem, rule), group in table.groupby(["problem", "rule"], sort=False):
        own_runs = runs[(runs.problem == problem) & (runs.rule == rule) & runs.seed.isin(group.seed)]
        row = {"problem": problem, "rule": rule, "n_seeds": len(group)}
        row |= {"n_reached": int(own_runs.reached.sum())}
        row |= {name: own_runs[name].median() for name in ("trainings", "complete", "stints")}
        for name in group.columns[3:]:
            for part, level in (("", 0.5), ("_q25", 0.25), ("_q75", 0.75)):
                row[name + part] = float(np.quantile(group[name], level))
        rows.append(row)
    pd.DataFrame(rows).to_csv(out / "summary.csv", index=False, float_format="%.4g")
    pd.DataFrame(paired(table)).to_csv(out / "paired.csv", index=False, float_format="%.3g")
    print(pd.DataFrame(rows).to_string())


def paired(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return geometric means of ratios of epochs, paired by problem and seed, with bootstrap 95% intervals.

    A run that does not reach the hypervolume counts as all of full training's epochs.
    """
    rng, rows = np.random.default_rng(0), []
    columns = [f"epochs_to_{level:g}" for level in LEVELS] + ["epochs_to_tpe"]
    logs = table.set_index(["problem", "seed", "rule"])[columns].clip(upper=1.0).apply(np.log)
    rules = list(table.rule.unique())
    for base in [name for name in ("front", "full") if name in rules]:
        for rule in rules:
            for what, chosen in (("as given", False), ("strict", True)):
                both = [logs.xs(name, level="rule") for name in (rule, base)]
                differences = (both[0] - both[1]).dropna()
                is_strict = differences.index.get_level_values("problem").str.endswith("_strict")
                differences = differences[is_strict == chosen]
                if rule == base or len(differences) < 2:
                    continue
                row = {"rule": rule, "against": base, "references": what, "n": len(differences)}
                for name in columns:
                    values = differences[name].to_numpy()
                    means = rng.choice(values, (N_RESAMPLED, len(values))).mean(axis=1)
                    low, high = np.exp(np.quantile(means, [0.025, 0.975]))
                    row |= {name: np.exp(values.mean()), f"{name}_low": low, f"{name}_high": high}
                rows.append(row)
    return rows


def calibrate(out: Path) -> None:
    """Write calibration.csv: share of stopped trainings that would have been on the final front, by rule.

    For paused trainings also after the promising ones were finished. By problem and over all; `upper` is the
    upper end of the exact 95% interval (Clopper and Pearson 1934).
    """
    stopped, rows = pd.read_csv(out / "stopped.csv"), []
    everywhere = stopped.assign(problem="all")
    for (rule, problem), group in pd.concat([stopped, everywhere]).groupby(["rule", "problem"], sort=False):
        n, bad = len(group), int(group.on_front.sum())
        upper = float(beta.ppf(0.975, bad + 1, n - bad)) if n > bad else 1.0
        row = {"rule": rule, "problem": problem, "stopped": n, "mean_epoch": group.epoch.mean(),
               "on_front": bad, "share": bad / n, "upper": upper}  # fmt: skip
        if "finished" in group:
            n_left = n - int(group.finished.sum())
            row |= {"left": n_left, "on_front_after": int(group.on_front_after.sum()),
                    "share_after": group.on_front_after.sum() / max(n_left, 1)}  # fmt: skip
        rows.append(row)
    pd.DataFrame(rows).to_csv(out / "calibration.csv", index=False, float_format="%.4g")
    print(pd.DataFrame(rows).to_string())


LABELS = {
    "full": "full training",
    "tpe": "TPE, full training",
    "freeze_thaw": "**freeze_thaw**",
    "front": "front",
    "oracle": "oracle",
    "pareto_rank": "Pareto ranks",
    "tpe, pareto_rank": "TPE, Pareto ranks",
    "asha": "asha",
}


def write_tables(out: Path) -> None:
    """Write tables.md from summary.csv, stopped.csv and paired.csv."""
    summary, stopped = pd.read_csv(out / "summary.csv"), pd.read_csv(out / "stopped.csv")
    lines = [
        "| | n | to .99 | to .995 | to 1.00 | to TPE's | after 1/10, 1/5, 1/3 | trainings, complete "
        "| would be on the front |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for problem, group in summary.groupby("problem", sort=False):
        lines.append(f"| **{problem}** |  |  |  |  |  |  |  |  |")
        for row in group.set_index("rule").reindex(LABELS).dropna(how="all").reset_index().to_dict("records"):
            of = stopped[(stopped.problem == problem) & (stopped.rule == row["rule"])]
            wrong = f"{of.on_front.sum()} of {len(of)}" if len(of) else ""
            if row["rule"] == "freeze_thaw":
                wrong += f"; {of.on_front_after.sum()} of {len(of) - of.finished.sum()}"
            cells = [_spread(row, f"epochs_to_{one}") for one in ("0.99", "0.995", "1", "tpe")]
            volumes = " ".join(f"{row[f'hypervolume_at_{part}']:.3f}" for part in PARTS)
            counts = f"{row['trainings']:g}, {row['complete']:g}"
            cells = [LABELS[row["rule"]], f"{row['n_seeds']:g}", *cells, volumes, counts, wrong]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| freeze_thaw against | references | n | to .99 | to .995 | to 1.00 | to TPE's |",
              "|---|---|---|---|---|---|---|"]  # fmt: skip
    for row in pd.read_csv(out / "paired.csv").query("rule == 'freeze_thaw'").to_dict("records"):
        names = [f"epochs_to_{one}" for one in ("0.99", "0.995", "1", "tpe")]
        cells = [f"{row[one]:.2f} ({row[one + '_low']:.2f}, {row[one + '_high']:.2f})" for one in names]
        cells = [LABELS[row["against"]], row["references"], f"{row['n']:g}", *cells]
        lines.append(f"| {' | '.join(cells)} |")
    (out / "tables.md").write_text("\n".join(lines) + "\n")


def _spread(row: dict[Any, Any], name: str) -> str:
    """Return median and quartiles of a share; "never" if the median is."""
    low, median, high = (
        "never" if value >= NEVER / 2 else f"{value:.2f}".removeprefix("0")
        for value in (row[f"{name}_q25"], row[name], row[f"{name}_q75"])
    )
    return median if median == "never" else f"{median} ({low}, {high})"


def shares(steps: pd.DataFrame, full_steps: pd.DataFrame, full: pd.Series, tpe: pd.Series) -> dict[str, Any]:
    """Return the effort of a run to parts of full training's hypervolume, and to TPE's; NEVER if not reached.

    Relative to all of full training (for TPE's hypervolume: to TPE's trainings), and (`_own`) to the effort
    of full training to the same hypervolume.
    """
    row: dict[str, Any] = {}
    for level in LEVELS:
        wanted = level * full.hypervolume - 1e-9
        own = full_steps[full_steps.hypervolume >= wanted]
        for what in ("epochs", "seconds"):
            taken = _first(steps, wanted, what)
            row[f"{what}_to_{level:g}"] = np.nan_to_num(taken / full[what], nan=NEVER)
            row[f"{what}_to_{level:g}_own"] = np.nan_to_num(taken / own[what].iloc[0], nan=NEVER)
    for what in ("epochs", "seconds"):
        taken = _first(steps, tpe.hypervolume - 1e-9, what)
        row[f"{what}_to_tpe"] = np.nan_to_num(taken / tpe[what], nan=NEVER)
    for name, part in PARTS.items():
        there = steps[steps.epochs <= full.epochs / part].hypervolume.max()
        row[f"hypervolume_at_{name}"] = np.nan_to_num(there / full.hypervolume)
    return row


def _first(steps: pd.DataFrame, wanted: float, what: str) -> float:
    """Return the epochs or seconds to a hypervolume; NaN if it was not reached."""
    there = steps[steps.hypervolume >= wanted]
    return float(there[what].iloc[0]) if len(there) else float("nan")
