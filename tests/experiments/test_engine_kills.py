"""Studies whose driver is killed; the same as the benchmark, with fewer kills."""

import random
import time
from pathlib import Path

import pytest
from engine_kills import Setting, kill_and_resume, kill_once


def workers_of(path):
    """Processes, but for this one and its children, whose environment names a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        if f"OF_STUDY={path}".encode() in environment:
            found.append(process.name)
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to see processes")
def test_the_workers_of_a_killed_driver_end(tmp_path, monkeypatch):
    monkeypatch.setenv("OF_STUDY", str(tmp_path))
    kill_once(tmp_path / "study.db", Setting("sliced", "random", 2), "in a report", random.Random(0))
    deadline = time.monotonic() + 60
    while (left := workers_of(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left


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
