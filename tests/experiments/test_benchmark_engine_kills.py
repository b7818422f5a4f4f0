"""Studies whose driver is killed; the same as the benchmark, with fewer kills."""

import pytest
from benchmark_engine_kills import Setting, kill_and_resume


@pytest.mark.parametrize(
    ("setting", "n_kills"),
    [
        (Setting("plain", "random", 1), 3),
        (Setting("sliced", "random", 1), 4),
        (Setting("sliced", "random", 2), 3),
    ],
)
def test_a_study_killed_at_any_moment_loses_nothing_and_goes_on_as_if_nothing_had_happened(
    tmp_path, setting, n_kills
):
    found = kill_and_resume(tmp_path, setting, n_kills)
    assert found["n_trials"] > 2 and found["n_rejections"] > 0
    assert found["n_lost_or_changed"] == found["n_missing_or_twice"] == found["n_rejections_wrong"] == 0
    assert found["is_as_if_never_killed"] in (True, "")
