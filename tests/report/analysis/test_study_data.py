"""A study as the report reads it: from objects and paths, names, fates."""

import math

import pytest

from hwopt.errors import InvalidInput, StudyError
from hwopt.report.analysis.describe import describe_trial
from hwopt.report.analysis.study_data import FATES, read_studies
from hwopt.report.draw.style import FATE_COLORS, MATPLOTLIB_MARKERS, PLOTLY_MARKERS
from hwopt.study.store.store import Store
from tests.report.analysis.stores import identity, read, trial, write


def test_a_study_is_read_from_its_path_its_folder_its_store_and_again(tmp_path):
    write(tmp_path / "mine" / "study.db", [trial(0)])
    path = tmp_path / "mine" / "study.db"
    with Store(path, read_only=True) as store:
        found = [read_studies(source)[0] for source in (path, str(path), path.parent, store)]
    assert {study.name for study in found} == {"mine"}
    assert read_studies(found[:1])[0].trials == found[0].trials


def test_studies_of_the_same_name_are_told_apart_by_their_folders(tmp_path):
    paths = [tmp_path / folder / "out" / "study.db" for folder in ("a", "b")] + [tmp_path / "other.db"]
    for path in paths:
        write(path, [trial(0)])
    assert [study.name for study in read_studies(paths)] == ["a/out", "b/out", "other"]
    assert [study.name for study in read_studies([paths[0], paths[0]])][0] != "out"


def test_what_is_not_a_study_is_refused_with_what_to_pass(tmp_path):
    with pytest.raises(InvalidInput, match="17 is not a study; pass a Study, the path"):
        read_studies(17)
    with pytest.raises(InvalidInput, match="no study given"):
        read_studies([])
    with pytest.raises(StudyError, match="no study at"):
        read_studies(tmp_path / "absent.db")
    Store(tmp_path / "empty.db").close()
    with pytest.raises(StudyError, match="holds no trials yet"):
        read_studies(tmp_path / "empty.db")


def test_every_trial_has_a_fate(tmp_path):
    trials = [
        trial(0, 0.1), trial(1, 0.2), trial(2, 0.05, is_feasible=False),
        trial(3, 0.4, status="stopped", curve=(0.5, 0.4)), trial(4, None, status="failed"),
        trial(5, None, status="running", curve=(0.6,), told=None),
        trial(6, None, status="paused", curve=(0.7,), told=None),
    ]  # fmt: skip
    study = read(tmp_path / "study.db", trials)
    fates = [study.fate(one) for one in study.trials]
    assert fates == ["front", "dominated", "infeasible", "stopped", "failed", "running", "paused"]
    assert set(fates) == set(FATES) == set(FATE_COLORS) == set(PLOTLY_MARKERS) == set(MATPLOTLIB_MARKERS)
    errors = [study.error(one) for one in study.trials]
    assert errors[:4] == [0.1, 0.2, 0.05, 0.4] and math.isnan(errors[4]) and errors[5] == 0.6
    assert [one.number for one in study.ended] == [0, 1, 2, 3, 4]


def test_a_trial_is_described_with_intervals_measurements_and_test_errors(tmp_path):
    write(
        tmp_path / "study.db", [trial(0, 0.1), trial(1, None, status="failed", reason="out of memory\nat x")]
    )
    with Store(tmp_path / "study.db") as store:
        store.add_check(0, "predicted", 0, {"confidence": 0.8, "time_s": [0.9e-3, 1.2e-3]})
        store.add_check(0, "measured", 0, {"time_s": 1.1e-3})
        store.add_check(0, "retrained", 5, {"error": 0.1, "test_error": 0.12})
    study = read_studies(tmp_path / "study.db")[0]
    lines = describe_trial(study, study.by_number[0])
    assert lines[0] == "trial 0: front" and lines[-1] == "depth = 1, rate = 1, pool = max"
    assert "time 1 ms (80%: 900 us to 1.2 ms), measured 1.1 ms" in lines
    assert "test error 12.00% (1 fresh seed)" in lines
    assert describe_trial(study, study.by_number[1])[:2] == ["trial 1: failed", "out of memory"]


def test_costs_are_objectives_first(tmp_path):
    costs = {"memory_bytes": 1.0, "time_s": 2.0}
    study = read(tmp_path / "study.db", [trial(0, costs=costs)], identity=identity(("error", "time_s")))
    assert study.costs == ("time_s", "memory_bytes")
