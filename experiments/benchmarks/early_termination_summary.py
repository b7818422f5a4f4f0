"""Tables of what early termination saved, and of how often it was wrong, from the rows of its runs.

summary.csv       by problem and rule: what the hypervolume of full training took, over the seeds
calibration.csv   how many that a rule stopped would have been on the final front
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import beta

NEVER = 1e6  # a share that is larger than any


def summarise(out: Path) -> None:
    """Write summary.csv: medians and quartiles over the seeds, each run against full training of its seed."""
    runs, steps = pd.read_csv(out / "runs.csv"), pd.read_csv(out / "trajectories.csv")
    rows = []
    for (problem, rule), group in runs.groupby(["problem", "rule"], sort=False):
        full = runs.query("problem == @problem and rule == 'full'").set_index("seed")
        mine, its = (dict(list(steps[(steps.problem == problem) & (steps.rule == r)].groupby("seed")))
                     for r in (rule, "full"))  # fmt: skip
        saved = [shares(mine[seed], its[seed], full.loc[seed]) for seed in group.seed]
        row = {"problem": problem, "rule": rule, "n_seeds": len(group), "n_reached": int(group.reached.sum()),
               "trainings": group.trainings.median(), "complete": group.complete.median()}  # fmt: skip
        for name in saved[0]:
            values = np.array([share[name] for share in saved])
            for part, level in (("", 0.5), ("_q25", 0.25), ("_q75", 0.75)):
                row[name + part] = float(np.quantile(values, level))
        rows.append(row)
    pd.DataFrame(rows).to_csv(out / "summary.csv", index=False, float_format="%.4g")
    print(pd.DataFrame(rows).to_string())


def calibrate(out: Path) -> None:
    """Write calibration.csv: how many that each rule stopped would have been on the final front.

    By problem and over all; `upper` is that of the exact 95% interval (Clopper and Pearson 1934).
    """
    stopped, rows = pd.read_csv(out / "stopped.csv"), []
    everywhere = stopped.assign(problem="all")
    for (rule, problem), group in pd.concat([stopped, everywhere]).groupby(["rule", "problem"], sort=False):
        n, bad = len(group), int(group.on_front.sum())
        upper = float(beta.ppf(0.975, bad + 1, n - bad)) if n > bad else 1.0
        rows.append({"rule": rule, "problem": problem, "stopped": n, "mean_epoch": group.epoch.mean(),
                     "on_front": bad, "share": bad / n, "upper": upper})  # fmt: skip
    pd.DataFrame(rows).to_csv(out / "calibration.csv", index=False, float_format="%.4g")
    print(pd.DataFrame(rows).to_string())


def shares(steps: pd.DataFrame, full_steps: pd.DataFrame, full: pd.Series) -> dict[str, Any]:
    """Return what a run took to come to parts of full training's hypervolume; NEVER stands for never.

    As a share of all of full training, and (`_own`) of what full training itself took to come there.
    """
    row = {}
    for level in (1.0, 0.999, 0.99):
        wanted = level * full.hypervolume - 1e-9
        there, own = steps[steps.hypervolume >= wanted], full_steps[full_steps.hypervolume >= wanted]
        for what in ("epochs", "seconds"):
            taken = there[what].iloc[0] if len(there) else np.nan
            row[f"{what}_to_{level:g}"] = np.nan_to_num(taken / full[what], nan=NEVER)
            row[f"{what}_to_{level:g}_own"] = np.nan_to_num(taken / own[what].iloc[0], nan=NEVER)
    by_third = steps[steps.epochs <= full.epochs / 3].hypervolume.max()
    return {**row, "hypervolume_at_a_third": by_third / full.hypervolume}


def pair(out: Path) -> None:
    """Write paired.csv: epochs of each rule to a share of full training's hypervolume, and to TPE's.

    Each run is compared with full training (level 0.99, 0.995, 1) or TPE (level tpe) of the same seed; a run
    that never gets there counts as infinite. Only seeds with all rules count. Quantiles over the seeds are
    observed values (nearest).
    """
    runs, steps = pd.read_csv(out / "runs.csv"), pd.read_csv(out / "trajectories.csv")
    rules, rows = list(runs.rule.unique()), []
    for problem, group in runs.groupby("problem", sort=False):
        shares: dict[tuple[str, str], list[float]] = {}
        for seed, one in group.groupby("seed"):
            ends = one.set_index("rule")
            if set(ends.index) < set(rules):
                continue
            own = steps[(steps.problem == problem) & (steps.seed == seed)]
            for share in (0.99, 0.995, 1.0):
                level = share * ends.loc["full"].hypervolume
                whole = _epochs_to(own[own.rule == "full"], level)
                for rule in rules:
                    shares.setdefault((rule, f"{share:g}"), []).append(
                        _epochs_to(own[own.rule == rule], level) / whole
                    )
            for rule in rules:
                needed = _epochs_to(own[own.rule == rule], ends.loc["tpe"].hypervolume)
                shares.setdefault((rule, "tpe"), []).append(needed / ends.loc["tpe"].epochs)
        for (rule, level_name), values in shares.items():
            median, low, high = np.quantile(values, [0.5, 0.25, 0.75], method="nearest")
            rows.append(
                {"problem": problem, "rule": rule, "level": level_name, "n_seeds": len(values),
                 "epochs": median, "epochs_q25": low, "epochs_q75": high}
            )  # fmt: skip
    pd.DataFrame(rows).to_csv(out / "paired.csv", index=False, float_format="%.4g")


def _epochs_to(steps: pd.DataFrame, level: float) -> float:
    """Return the epochs of training after which the hypervolume is at least a level; inf if never."""
    reached = steps[steps.hypervolume >= level - 1e-12].epochs
    return float(reached.min()) if len(reached) else float("inf")


if __name__ == "__main__":
    pair(Path(sys.argv[1]))
