"""Scripts that compare searches: shares of seconds, designs of the first configs, and published tables."""

import early_design
import early_termination_summary as summary
import numpy as np
import pandas as pd
import pytest
import wall_seconds

RESULTS = wall_seconds.ROOT / "results"


def test_seconds_are_those_of_the_first_step_that_reaches_the_peers_hypervolume(tmp_path, capsys):
    rows = [
        ("full", 10, 1.0, 0.5), ("full", 20, 2.0, 0.992), ("full", 40, 4.0, 1.0),
        ("tpe", 30, 3.0, 0.6),
        ("freeze_thaw", 6, 0.6, 0.59), ("freeze_thaw", 9, 0.9, 0.991), ("freeze_thaw", 12, 1.2, 0.996),
    ]  # fmt: skip
    steps = [
        dict(zip(wall_seconds.STEP_COLUMNS, ("p", 0, name, 1, epochs, s, 2 * s, volume), strict=True))
        for name, epochs, s, volume in rows
    ]
    pd.DataFrame(steps).to_csv(tmp_path / "wall_steps.csv", index=False)
    wall_seconds.summarise(tmp_path)
    found = pd.read_csv(tmp_path / "wall.csv").set_index(["peer", "share"])
    assert found.loc[("full", 0.99), "wall_s_ratio"] == pytest.approx(0.9 / 2.0)
    assert found.loc[("full", 0.995), "cpu_s_ratio"] == pytest.approx(1.2 / 4.0)
    assert found.loc[("full", 1.0), "epochs_ratio"] == np.inf  # 0.996 is not 1
    assert found.loc[("tpe", 1.0), "epochs_ratio"] == pytest.approx(9 / 30)


def test_published_seconds_are_those_of_the_published_steps(tmp_path, capsys):
    folder = RESULTS / "early_termination"
    (tmp_path / "wall_steps.csv").write_text((folder / "wall_steps.csv").read_text())
    wall_seconds.summarise(tmp_path)
    assert (tmp_path / "wall.csv").read_text() == (folder / "wall.csv").read_text()


def test_published_tables_are_those_of_the_published_rows(tmp_path):
    folder = RESULTS / "early_termination"
    for name in ("summary.csv", "stopped.csv", "paired.csv"):
        (tmp_path / name).write_text((folder / name).read_text())
    summary.write_tables(tmp_path)
    written = (tmp_path / "tables.md").read_text()
    assert written == (folder / "tables.md").read_text()
    page = (folder / "README.md").read_text()
    rows = written.split("\n\n")[0].splitlines()
    assert len(rows) > 40 and all(row in page for row in rows)


def test_strata_of_the_cost_take_one_config_from_each_and_the_other_designs_keep_the_sequence():
    costs = np.random.default_rng(0).random(64)
    chosen = [int(early_design.DESIGNS["cost"].order(costs, k, 4)[0]) for k in range(4)]
    ranks = np.argsort(np.argsort(costs))[chosen]
    assert sorted(ranks // 16) == [0, 1, 2, 3]
    assert abs(int(ranks[0] // 16) - int(ranks[1] // 16)) == 2  # neighbours in time are far apart
    for name in ("half", "four", "sobol_all"):
        order = early_design.DESIGNS[name].order(costs, 3, 4)
        assert list(order[:3]) == [3, 4, 5] and sorted(order) == list(range(64))
