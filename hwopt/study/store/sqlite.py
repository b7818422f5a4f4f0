"""SQLite file of a study: opening, locking, checks, queries and transactions.

The journal is a write-ahead log, so that another process can read while the study runs; a lock file beside
the study keeps a second driver out. Threads of this process take turns.
"""

import os
import re
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from filelock import FileLock, Timeout

from hwopt.errors import StudyError

APPLICATION_ID = 0x68776F70  # "hwop", in the file's header
FORMAT = 4

_TRIALS = """
CREATE TABLE trials (
    number INTEGER PRIMARY KEY, config TEXT NOT NULL, costs TEXT NOT NULL, is_feasible INTEGER NOT NULL,
    seed INTEGER NOT NULL, source TEXT NOT NULL, n_priced INTEGER NOT NULL, n_infeasible INTEGER NOT NULL,
    broken TEXT NOT NULL,
    ask_s REAL NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('running', 'paused', 'complete', 'stopped', 'failed')),
    error REAL, metrics TEXT NOT NULL DEFAULT '{}', reason TEXT, started TEXT NOT NULL, train_s REAL,
    told INTEGER UNIQUE, attempts INTEGER NOT NULL DEFAULT 0, elapsed_s REAL, failure TEXT,
    traceback TEXT
);
"""
_STINTS = """
CREATE TABLE IF NOT EXISTS stints (
    id INTEGER PRIMARY KEY, trial INTEGER NOT NULL REFERENCES trials, first_epoch INTEGER NOT NULL,
    alternative REAL NOT NULL, shift REAL NOT NULL, mean REAL, std REAL
);
"""
_SCHEMA = f"""
{_TRIALS}
{_STINTS}
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE epochs (
    trial INTEGER NOT NULL REFERENCES trials, epoch INTEGER NOT NULL, error REAL NOT NULL, elapsed_s REAL
    NOT NULL, energy_j REAL, PRIMARY KEY (trial, epoch)
) WITHOUT ROWID;
CREATE TABLE rejections (
    id INTEGER PRIMARY KEY, trial INTEGER NOT NULL REFERENCES trials, config TEXT NOT NULL, costs TEXT NOT
    NULL, broken TEXT NOT NULL
);
CREATE TABLE queue (id INTEGER PRIMARY KEY, config TEXT NOT NULL);
CREATE TABLE checks (
    trial INTEGER NOT NULL REFERENCES trials, kind TEXT NOT NULL, seed INTEGER NOT NULL, found TEXT NOT NULL,
    PRIMARY KEY (trial, kind, seed)
);
"""
_ADDED = {  # new columns of each format: table, name, type
    2: (("trials", "attempts", "INTEGER NOT NULL DEFAULT 0"), ("trials", "elapsed_s", "REAL"),
        ("epochs", "energy_j", "REAL")),
    3: (("trials", "failure", "TEXT"), ("trials", "traceback", "TEXT")),
    4: (),
}  # fmt: skip
_NAME_FAILURES = (
    "UPDATE trials SET failure = 'OutOfMemory' WHERE status = 'failed' AND reason LIKE '%out of memory%';"
)
_drivers: WeakValueDictionary[Path, "Database"] = WeakValueDictionary()  # open for writing, in this process


class Database:
    """File of one study; arguments and errors as for `hwopt.study.store.store.Store`.

    Attributes:
        version: format of the file; below `FORMAT` only for an older, read-only file.
    """

    def __init__(self, path: Path, read_only: bool) -> None:
        self.path, self._read_only = path, read_only
        self._turn = threading.RLock()
        self._lost: str | None = None  # message if the file was deleted or replaced while open
        self._lock = FileLock(f"{path}.lock", thread_local=False)
        if read_only and not path.exists():
            raise StudyError(f"no study at {path}; give the path of a study.db")
        if not read_only:
            self._acquire()
        try:
            self.connection: sqlite3.Connection | None = self._open(read_only)
        except BaseException:
            self._lock.release()
            raise
        self._file = _identity(path)
        if not read_only:
            self._pid = os.getpid()
            _drivers[path.resolve()] = self

    def close(self) -> None:
        """Close the file and release its lock; its contents can still be read."""
        with self._turn:
            connection, self.connection = self.connection, None
            if connection is not None:
                connection.close()
            self._lock.release()
            if _drivers.get(self.path.resolve()) is self:
                del _drivers[self.path.resolve()]

    def check_open(self) -> None:
        """Raise StudyError if the study is closed, or its file was deleted or replaced."""
        if self._lost is not None:
            raise StudyError(self._lost)
        if self.connection is None:
            raise StudyError(f"{self.path}: this study is closed; open it again with Study(path, ...)")
        if not self._read_only and _identity(self.path) != self._file:
            self._rescue(self.connection)

    @contextmanager
    def write(self, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Run one transaction, which is rolled back on an error.

        A transaction that is not durable does not wait for the disk: it survives the death of the process,
        but not always that of the machine.

        Raises:
            StudyError: if the study is closed, its file was deleted or replaced, or SQLite refuses.
        """
        with self._turn, self._explained():
            self.check_open()
            connection = self.connection
            assert connection is not None
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query; of a closed study from its current file."""
        with self._turn, self._explained():
            if self.connection is not None:
                return self.connection.execute(query, values).fetchall()
        reader = Database(self.path, read_only=True)
        try:
            return reader.rows(query, values)
        finally:
            reader.close()

    def _rescue(self, connection: sqlite3.Connection) -> None:
        """Save the contents of a deleted or replaced file, and raise StudyError."""
        happened = "was replaced by another file" if self.path.exists() else "was deleted or moved"
        saved = next(p for i in range(1, 10**6) if not (p := _beside(self.path, f"-rescued-{i}")).exists())
        try:
            saved.parent.mkdir(parents=True, exist_ok=True)
            connection.execute("VACUUM INTO ?", (str(saved),))
            advice = (
                f"its contents are in {saved}: move it to {self.path.name} and run the same command again"
            )
        except (sqlite3.Error, OSError) as error:
            advice = (
                f"its contents could not be saved ({error}); restore a copy and run the same command again"
            )
        self.close()
        for ending in ("-wal", "-shm"):  # of the lost file: SQLite would take them for the next one's
            with suppress(OSError):
                self.path.with_name(self.path.name + ending).unlink()
        self._lost = f"{self.path} {happened} while the study was open; {advice}"
        raise StudyError(self._lost)

    # -- opening

    def _acquire(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            other = _drivers.get(self.path.resolve())
            if other is not None and other._pid == os.getpid():
                who = "is open in this process already: close() it or use that object"
            else:
                who = "another process drives this study; wait for it or stop it"
            raise StudyError(f"{self.path}: {who}") from None
        except OSError as error:
            raise StudyError(
                f"{self.path}: cannot write here: {error.strerror}; choose another folder"
            ) from None

    def _open(self, read_only: bool) -> sqlite3.Connection:
        is_new = not self.path.exists() or self.path.stat().st_size == 0
        uri = f"{self.path.absolute().as_uri()}?{self._mode(read_only)}"
        with self._explained():
            connection = sqlite3.connect(
                uri, uri=True, isolation_level=None, timeout=30, check_same_thread=False
            )
            try:
                if is_new and not read_only:  # in one transaction, so that there is never half a study
                    connection.executescript(
                        f"BEGIN; {_SCHEMA} PRAGMA application_id = {APPLICATION_ID}; "
                        f"PRAGMA user_version = {FORMAT}; COMMIT;"
                    )
                self.version = self._check(connection)
                if not read_only:
                    self._upgrade(connection)
                    connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute(f"PRAGMA query_only = {int(read_only)}")
            except BaseException:
                connection.close()
                raise
        return connection

    def _mode(self, read_only: bool) -> str:
        """Return SQLite's mode for the file; a reader needs the journal's files and removes them again."""
        if not read_only:
            return "mode=rwc"
        has_journal = self.path.with_name(f"{self.path.name}-wal").exists()
        if os.access(self.path.parent, os.W_OK) and os.access(self.path, os.W_OK):
            return "mode=rw"
        return "mode=ro" if has_journal else "mode=ro&immutable=1"

    def _check(self, connection: sqlite3.Connection) -> int:
        """Return the format; refuse files that are not studies, from a newer version, or damaged."""
        if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise StudyError(f"{self.path} is not a study of hwopt; give another path")
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > FORMAT:
            raise StudyError(
                f"{self.path} has format {version}, this hwopt reads up to {FORMAT}; upgrade hwopt"
            )
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise StudyError(f"{self.path} is damaged: {found}; restore a copy or choose another path")
        return version

    def _upgrade(self, connection: sqlite3.Connection) -> None:
        if self.version < FORMAT:
            added = [column for version in range(self.version + 1, FORMAT + 1) for column in _ADDED[version]]
            steps = [
                f"ALTER TABLE {table} ADD COLUMN {name} {kind};"
                for table, name, kind in added
                if name not in _columns(connection, table)
            ]
            steps += [_NAME_FAILURES, *_allow_paused(), f"PRAGMA user_version = {FORMAT};"]
            connection.executescript(f"BEGIN; {' '.join(steps)} COMMIT;")
            self.version = FORMAT

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Convert SQLite's errors to StudyError with advice."""
        try:
            yield
        except sqlite3.ProgrammingError:
            raise  # a fault of hwopt, not of the file
        except sqlite3.DatabaseError as error:
            raise StudyError(f"{self.path}: {error}: {_advice(str(error))}") from error


def _allow_paused() -> list[str]:
    """Return the statements that recreate the table of trials with the new status of format 4."""
    columns = ", ".join(re.findall(r"(\w+) (?:INTEGER|TEXT|REAL)", _TRIALS))
    return [
        _TRIALS.replace("TABLE trials", "TABLE new_trials"),
        f"INSERT INTO new_trials ({columns}) SELECT {columns} FROM trials;",
        "DROP TABLE trials;",
        "ALTER TABLE new_trials RENAME TO trials;",
        _STINTS,
    ]


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


def _identity(path: Path) -> tuple[int, int] | None:
    """Return device and inode of a file; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.stem}{ending}{path.suffix}")


def _advice(text: str) -> str:
    """Return advice for an error of SQLite."""
    if "not a database" in text:
        return "it is not a study of hwopt; give another path"
    if "malformed" in text or "disk I/O" in text:
        return "the file is damaged; restore a copy or choose another path"
    if "full" in text:
        return "free some space and run the same command again; finished trainings are kept"
    if "locked" in text or "busy" in text:
        return "another program holds the file; close it and run the same command again"
    if "readonly" in text or "unable to open" in text:
        return "the file or its folder cannot be written; choose another path"
    return "the file may be damaged"
