"""Rows that a GPU campaign measures in 2, 4 and 9 minutes: dry runs on the simulated GPU in virtual time.

    python experiments/campaigns/dry_run.py --out results/measurement/dry_run

The simulated GPU reads its counter, builds networks and calls operators as slowly as an H200 and its host.
Writes rows.csv (a line per budget) and README.md.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hwopt.measure.api import profile_device
from hwopt.profile.device_profile import DeviceProfile

BUDGETS_S = (120, 240, 540)
_NOTE = """# What a GPU campaign measures in a few minutes: a dry run

**Simulated**: these are rows of the simulated GPU in virtual time, by the code that measures a real one. Its
readings, states, builds and eager calls take as long as on one H200 (`../nvidia-h200`), so the counts are
what a real machine like that has time for; their figures are of no device.

{table}

Graphs are networks with time, power, energy and memory; architectures are distinct ones among them.
`aligned` is the share of dense convolutions with both channel counts a multiple of 4.

    python experiments/campaigns/dry_run.py --out results/measurement/dry_run
"""


def counts(profile: DeviceProfile, budget_s: float) -> dict[str, Any]:
    """Return the number of rows of each kind in a profile."""
    layers, networks, repeats = profile.layers, profile.networks, profile.repeats
    graphs = networks[(networks["mode"] == "graph") & networks[_figures()].notna().all(axis=1)]
    names = graphs["network"].str.replace(r"-b\d+$", "", regex=True)
    eager = networks[(networks["mode"] == "eager") & networks["time_s"].notna()]
    dense = layers[(layers["kind"] == "conv2d") & (layers["groups"] == 1)]
    is_aligned = (dense["in_channels"] % 4 == 0) & (dense["out_channels"] % 4 == 0)
    return {
        "budget_s": budget_s,
        "operators": int(layers[["time_s", "memory_bytes"]].notna().all(axis=1).sum()),
        "with_energy": int(layers["energy_j"].notna().sum()),
        "graphs": len(graphs),
        "architectures": names.nunique(),
        "neuralpower": int((graphs["source"] == "neuralpower").sum()),
        "eager": len(eager),
        "oracle": len(profile.held_out),
        "repeats": int((repeats["role"] == "repeat").sum()),
        "sentinels": int((repeats["role"] == "sentinel").sum()),
        "aligned": round(float(is_aligned.mean()), 2),
    }


def _figures() -> list[str]:
    return ["time_s", "power_w", "energy_j", "memory_bytes"]


def table(rows: pd.DataFrame) -> str:
    """Return rows as a Markdown table."""
    lines = [list(rows.columns), ["---"] * len(rows.columns), *rows.astype(str).to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the campaign for each budget and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/measurement/dry_run"))
    parser.add_argument("--seconds", type=float, nargs="+", default=BUDGETS_S)
    asked, found = parser.parse_args(arguments), []
    with tempfile.TemporaryDirectory() as folder:
        for budget_s in asked.seconds:
            profile = profile_device(Path(folder) / str(budget_s), "simulated", budget_s)
            found.append(counts(profile, budget_s))
            print(found[-1], flush=True)
    rows = pd.DataFrame(found)
    asked.out.mkdir(parents=True, exist_ok=True)
    rows.to_csv(asked.out / "rows.csv", index=False)
    (asked.out / "README.md").write_text(_NOTE.format(table=table(rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
