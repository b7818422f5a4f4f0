"""The published counts of the dry run, and that they are counted from rows."""

from pathlib import Path

import pandas as pd

from experiments.campaigns import dry_run
from experiments.campaigns.gpu_predictions import first_campaign
from hwopt import load_device

SHIPPED = Path(dry_run.__file__).parents[2] / "results" / "measurement" / "dry_run"


def test_rows_are_counted_by_what_they_have():
    found = dry_run.counts(first_campaign(load_device("nvidia-h200").profile), 540)
    assert (found["operators"], found["with_energy"], found["graphs"]) == (161, 93, 22)
    assert (found["architectures"], found["neuralpower"], found["oracle"]) == (19, 5, 11)
    assert (found["eager"], found["repeats"], found["sentinels"]) == (21, 2, 12)


def test_nine_minutes_are_enough():
    rows = pd.read_csv(SHIPPED / "rows.csv").set_index("budget_s")
    whole = rows.loc[540]
    assert whole["operators"] >= 290 and whole["with_energy"] >= 60 and whole["graphs"] >= 45
    assert whole["architectures"] >= 100 and 5 <= whole["eager"] <= 10
    for budget_s in (120, 240):  # no architecture twice before all are in
        assert rows.loc[budget_s, "architectures"] == rows.loc[budget_s, "graphs"]
    columns = ["operators", "with_energy", "graphs"]
    for budget_s, share in ((120, 0.15), (240, 0.35)):  # balanced at any time: each part has its share
        assert (rows.loc[budget_s, columns] > share * whole[columns]).all()
        assert rows.loc[budget_s, "neuralpower"] == 5
