"""A front ranked by the energy-precision ratio."""

import csv
from functools import partial

import pytest

from hwopt import InvalidInput, Study, UnknownName
from hwopt.report.ranking import batch_size, ranking_rows
from hwopt.study.store.store import Store
from tests.report.studies import finish
from tests.search.problem import costs, error_of, make_space


def with_energy(configs):
    found = costs(configs)
    return {"energy_j": [100 * time_s for time_s in found["time_s"]], **found}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("ranking") / "study.db"
    arguments = {"objectives": ("error", "energy_j"), "description": {"device": {"batch_size": 16}}}
    with Study(
        path, make_space(), with_energy, lambda config, report, seed: error_of(config), seed=1, **arguments
    ) as study:
        study.run(10)
    return path


@pytest.fixture
def run(command_line):
    return partial(command_line, "report")


@pytest.mark.parametrize("alpha", [1.0, 4.0])
def test_the_front_is_ranked_by_error_to_the_alpha_times_the_energy_of_an_item(path, alpha):
    with Store(path, read_only=True) as store:
        rows = ranking_rows(store, "epr", alpha)
        assert batch_size(store) == 16
    assert len(rows) >= 2 and [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    assert [row["epr"] for row in rows] == sorted(row["epr"] for row in rows)
    for row in rows:
        assert row["energy_per_item_j"] == pytest.approx(row["energy_j"] / 16)
        assert row["epr"] == pytest.approx(row["error"] ** alpha * row["energy_j"] / 16)


def test_the_command_prints_and_writes_the_ranking(path, run, tmp_path):
    code, out, _ = run(path, "--out", tmp_path, "--rank", "epr", "--alpha", "2")
    assert code == 0 and "front by error^2 x energy" in out and "energy per item" in out
    rows = list(csv.DictReader((tmp_path / "ranking.csv").read_text().splitlines()))
    assert rows[0]["rank"] == "1" and float(rows[0]["epr"]) <= float(rows[-1]["epr"])


def test_what_cannot_be_ranked_says_why(path, run, tmp_path):
    finish(tmp_path / "study.db", n_trials=4)
    code, _, err = run(tmp_path / "study.db", "--rank", "epr")
    assert code == 2 and "epr needs energy_j, which is not among the costs of this study (time_s" in err
    code, _, err = run(path, "--out", tmp_path, "--rank", "erp")
    assert code == 2 and "no ranking 'erp'; known: epr" in err
    with Store(path, read_only=True) as store, pytest.raises(UnknownName, match="known: epr"):
        ranking_rows(store, "energy")
    with Store(path, read_only=True) as store, pytest.raises(InvalidInput, match="alpha = -1"):
        ranking_rows(store, "epr", -1)
