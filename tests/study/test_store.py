"""The store: what it keeps, what it refuses, and what it survives."""

import gc
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from hwopt import StudyError
from hwopt.study.store.store import FORMAT, Rejected, Store, Trial
from hwopt.train.result import Epoch


def make_trial(number: int, **changes) -> Trial:
    fields = dict(
        number=number, config={"width": 8, "pool": "max"}, costs={"time_s": 1e-3}, is_feasible=True, seed=5,
        source="ehvi", n_priced=10, n_infeasible=4, broken={"time_s": 4},
        ask_s=0.01, status="running", error=None, metrics={},
        reason=None, started="2026-01-01T00:00:00+00:00", train_s=None, told=None,
    )  # fmt: skip
    return Trial(**{**fields, **changes})


def ended(number, **changes):
    return make_trial(number, **{"status": "complete", "error": 0.2, "train_s": 1.0, **changes})


def test_what_is_written_is_read_back(tmp_path):
    with Store(tmp_path / "study.db") as store:
        store.set_meta(identity={"seed": 3})
        store.start_trial(make_trial(0), [Rejected(0, {"width": 64}, {"time_s": 9.0}, ("time_s",))])
        first, second, third = Epoch(0.5, 1.0, 30.0), Epoch(0.3, 0.75, 12.0), Epoch(0.2, 0.25)
        store.add_epochs(0, 1, [first])
        store.add_epochs(0, 2, [second, third])
        store.end_trial(ended(0, metrics={"test_error": 0.25}, train_s=2.5, elapsed_s=9.0))
        assert store.epochs(0) == [first, second, third]
    with Store(tmp_path / "study.db") as store:
        assert store.meta() == {"identity": {"seed": 3}}
        assert store.trials() == [
            make_trial(
                0,
                status="complete",
                error=0.2,
                metrics={"test_error": 0.25},
                train_s=2.5,
                told=1,
                curve=(0.5, 0.3, 0.2),
                elapsed_s=9.0,
                energy_j=42.0,
            )  # fmt: skip
        ]
        assert store.rejections() == [Rejected(0, {"width": 64}, {"time_s": 9.0}, ("time_s",))]


def test_trials_are_told_in_the_order_in_which_they_end(tmp_path):
    with Store(tmp_path / "study.db") as store:
        for number in (0, 1):
            store.start_trial(make_trial(number))
        for number in (1, 0):
            store.end_trial(ended(number))
        assert [trial.told for trial in store.trials()] == [2, 1]


def test_a_restarted_trial_forgets_its_epochs(tmp_path):
    with Store(tmp_path / "study.db") as store:
        store.start_trial(make_trial(0))
        store.add_epochs(0, 1, [Epoch(0.5, 1.0), Epoch(0.4, 1.0), Epoch(0.3, 1.0)])
        assert store.trials()[0].train_s == 3.0
        store.restart_trial(0, 2)
        assert store.trials()[0].curve == (0.5, 0.4)
        store.restart_trial(0)
        assert store.trials()[0].curve == ()


def test_an_ended_trial_cannot_end_again(tmp_path):
    with Store(tmp_path / "study.db") as store:
        store.start_trial(make_trial(0))
        store.end_trial(ended(0))
        with pytest.raises(StudyError, match="trial 0 is not running"):
            store.end_trial(ended(0, status="failed", error=None))
        assert store.trials()[0].status == "complete"


def test_starting_a_trial_takes_its_config_from_the_queue_or_changes_nothing(tmp_path):
    with Store(tmp_path / "study.db") as store:
        store.enqueue([{"width": 4}, {"width": 5}])
        queued = store.queued()
        assert queued is not None and queued[1] == {"width": 4}
        store.start_trial(make_trial(0), queued=queued[0])
        assert store.queued()[1] == {"width": 5}
        with pytest.raises(StudyError):
            store.start_trial(make_trial(0), queued=store.queued()[0])  # the number is taken: all is undone
        assert store.queued()[1] == {"width": 5} and len(store.trials()) == 1


def test_a_trial_whose_rejections_cannot_be_written_is_not_written_either(tmp_path):
    with Store(tmp_path / "study.db") as store:
        store.enqueue([{"width": 4}])
        of_another_trial = Rejected(99, {"width": 64}, {"time_s": 9.0}, ("time_s",))
        with pytest.raises(StudyError, match="FOREIGN KEY"):
            store.start_trial(make_trial(0), [of_another_trial], queued=1)
        assert store.trials() == [] and store.queued() is not None


def test_checks_are_kept_by_trial_and_kind(tmp_path):
    with Store(tmp_path / "study.db") as store:
        store.start_trial(make_trial(0))
        store.add_check(0, "retrained", 7, {"error": 0.2})
        store.add_check(0, "retrained", 8, {"error": 0.3})
        assert store.checks("retrained") == {0: [{"error": 0.2}, {"error": 0.3}]}
        assert store.checks("measured") == {}


def test_a_reader_sees_a_running_study_and_cannot_write(tmp_path):
    with Store(tmp_path / "study.db") as store:
        store.start_trial(make_trial(0))
        reader = Store(tmp_path / "study.db", read_only=True)
        store.start_trial(make_trial(1))
        assert len(reader.trials()) == 2
        with pytest.raises(StudyError, match="cannot be written"):
            reader.set_meta(x=1)
        reader.close()


def test_a_second_driver_is_kept_out(tmp_path):
    path = tmp_path / "study.db"
    holding = (
        f"from hwopt.study.store.store import Store; s = Store({str(path)!r}); print(1, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holding], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"1\n"
        with pytest.raises(StudyError, match="another process drives this study"):
            Store(path)
        other.stdin.close()
    Store(path).close()


def test_a_study_that_is_open_in_this_process_is_said_to_be(tmp_path):
    path = tmp_path / "study.db"
    with Store(path), pytest.raises(StudyError, match="is open in this process already: close"):
        Store(tmp_path / "x" / ".." / "study.db")
    Store(path)  # nobody holds it: it is closed with the object
    gc.collect()
    Store(path).close()


def test_what_a_closed_study_holds_can_be_read_and_nothing_written(tmp_path):
    store = Store(tmp_path / "study.db")
    store.start_trial(make_trial(0))
    store.close()
    assert [trial.number for trial in store.trials()] == [0]
    with pytest.raises(StudyError, match="this study is closed; open it again"):
        store.end_trial(ended(0))
    store.close()


def test_a_store_takes_turns_between_threads(tmp_path):
    with Store(tmp_path / "study.db") as store, ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: store.start_trial(make_trial(number)), range(40)))
        assert len(store.trials()) == 40


@pytest.mark.parametrize("kind", ["deleted or moved", "replaced by another file"])
def test_a_file_that_goes_while_it_is_open_is_noticed_and_what_it_held_is_saved(tmp_path, kind):
    path = tmp_path / "study.db"
    store = Store(path)
    store.start_trial(make_trial(0))
    path.unlink()
    if kind.startswith("replaced"):
        path.write_bytes(b"another")
    for _ in range(2):
        with pytest.raises(
            StudyError, match=f"was {kind}.*move it to study.db and run the same command again"
        ):
            store.start_trial(make_trial(1))
    store.close()
    (tmp_path / "study-rescued-1.db").replace(path)
    assert sorted(p.name for p in tmp_path.iterdir() if "-wal" in p.name or "-shm" in p.name) == []
    with Store(path) as store:
        assert [trial.number for trial in store.trials()] == [0]


def test_files_that_are_no_studies_are_left_alone(tmp_path):
    text, other = tmp_path / "notes.db", tmp_path / "other.db"
    text.write_text("my notes, long enough to be no database at all" * 10)
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    for path in (text, other):
        before = path.read_bytes()
        with pytest.raises(StudyError, match="not a study of hwopt"):
            Store(path)
        assert path.read_bytes() == before


def test_a_truncated_study_is_recognised(tmp_path):
    path = tmp_path / "study.db"
    with Store(path) as store:
        for number in range(60):
            store.start_trial(make_trial(number, reason="x" * 400))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(StudyError, match="damaged"):
        Store(path)


def test_a_newer_format_asks_for_a_newer_version(tmp_path):
    path = tmp_path / "study.db"
    Store(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
    connection.close()
    with pytest.raises(StudyError, match="upgrade hwopt"):
        Store(path)


def test_a_missing_study_cannot_be_read(tmp_path):
    with pytest.raises(StudyError, match="no study at"):
        Store(tmp_path / "none.db", read_only=True)


def test_a_folder_that_is_a_file_is_explained(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(StudyError, match="cannot write here"):
        Store(tmp_path / "taken" / "study.db")


def test_a_full_disk_leaves_the_study_as_it_was(tmp_path):
    path = tmp_path / "study.db"
    with Store(path) as store:
        store.start_trial(make_trial(0))
        n_pages = store._database.connection.execute("PRAGMA page_count").fetchone()[0]
        store._database.connection.execute(f"PRAGMA max_page_count = {n_pages}")
        with pytest.raises(StudyError, match="full.*free some space"):
            for number in range(1, 500):
                store.start_trial(make_trial(number, config={"note": "x" * 3000}))
        n_trials = len(store.trials())
    with Store(path) as store:
        assert len(store.trials()) == n_trials
        store.end_trial(ended(0))


def test_a_file_that_another_program_locks_is_explained_and_intact(tmp_path):
    path = tmp_path / "study.db"
    with Store(path) as store:
        store.start_trial(make_trial(0))
        store._database.connection.execute("PRAGMA busy_timeout = 1")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StudyError, match="another program holds the file"):
            store.end_trial(ended(0))
        other.close()
        assert store.trials()[0].status == "running"
        store.end_trial(ended(0))


def make_old(path):
    """Write a study as the first format had it."""
    with Store(path) as store:
        store.start_trial(make_trial(0))
        store.add_epochs(0, 1, [Epoch(0.3, 1.0), Epoch(0.2, 1.0)])
        store.end_trial(ended(0))
    connection = sqlite3.connect(path)
    columns = [("trials", name) for name in ("attempts", "elapsed_s", "failure", "traceback")]
    for table, column in (*columns, ("epochs", "energy_j")):
        connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    connection.execute("PRAGMA user_version = 1")
    connection.close()


def test_a_study_of_the_first_format_is_read_and_is_continued_in_the_new_one(tmp_path):
    path = tmp_path / "study.db"
    make_old(path)
    with Store(path, read_only=True) as store:
        before = store.trials()
    assert before[0].curve == (0.3, 0.2) and before[0].attempts == 0 and before[0].energy_j is None
    with Store(path) as store:
        assert store.trials() == before
        store.start_trial(make_trial(1))
        store.add_attempt(1)
        store.add_epochs(1, 1, [Epoch(0.5, 1.0, 3.0)])
        assert store.trials()[1].attempts == 1 and store.trials()[1].energy_j == 3.0
    with Store(path) as store:
        assert len(store.trials()) == 2 and store.trials()[1].attempts == 1


def test_trials_of_another_study_are_copied_whole(tmp_path):
    with Store(tmp_path / "old.db") as old, Store(tmp_path / "new.db") as new:
        old.start_trial(make_trial(0))
        old.add_epochs(0, 1, [Epoch(0.3, 1.0, 5.0), Epoch(0.2, 1.0, 5.0)])
        old.end_trial(ended(0, metrics={"test_error": 0.3}, train_s=2.0, elapsed_s=7.0))
        new.copy_trials(old.trials(), {"from": "old"})
        assert new.meta() == {"from": "old"}
        copied, original = new.trials()[0], old.trials()[0]
        assert (copied.config, copied.curve, copied.told) == (original.config, original.curve, original.told)
        new.start_trial(make_trial(1))
        new.end_trial(ended(1, error=0.1))
        assert new.trials()[1].told == 2
