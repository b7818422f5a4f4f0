"""The store: one SQLite file a study. It loses no finished trial, whatever kills the process.

    meta          what the study is: space, budgets, objectives, seed, versions
    trials        one training each: running, complete, stopped or failed
    epochs        the error after every epoch
    rejections    configs that a strategy selected and a budget refused
    queue         configs to train before any proposal
    checks        what was found about a trial afterwards: trained again, measured

Every method that writes is one transaction. The journal is a write-ahead log, so that another process can
read while the study runs; a lock file beside the study keeps a second driver out.
"""

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hwopt.errors import StudyError
from hwopt.space import Config

APPLICATION_ID = 0x68776F70  # "hwop", in the file's header
FORMAT = 1

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE trials (
    number INTEGER PRIMARY KEY, config TEXT NOT NULL, costs TEXT NOT NULL, is_feasible INTEGER NOT NULL,
    seed INTEGER NOT NULL, source TEXT NOT NULL, n_priced INTEGER NOT NULL, n_infeasible INTEGER NOT NULL,
    broken TEXT NOT NULL,
    ask_s REAL NOT NULL, status TEXT NOT NULL CHECK (status IN ('running', 'complete', 'stopped', 'failed')),
    error REAL, metrics TEXT NOT NULL DEFAULT '{}', reason TEXT, started TEXT NOT NULL, train_s REAL,
    told INTEGER UNIQUE
);
CREATE TABLE epochs (
    trial INTEGER NOT NULL REFERENCES trials, epoch INTEGER NOT NULL, error REAL NOT NULL, elapsed_s REAL
    NOT NULL, PRIMARY KEY (trial, epoch)
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
_COLUMNS = (
    "number, config, costs, is_feasible, seed, source, n_priced, n_infeasible, broken, ask_s, status, error, "
    "metrics, reason, started, train_s, told"
)


@dataclass(frozen=True)
class Trial:
    """One training as stored; costs are those predicted before it, in SI units, times in seconds."""

    number: int
    config: Config
    costs: dict[str, float]
    is_feasible: bool
    seed: int
    source: str  # name of the strategy, or "queue"
    n_priced: int
    n_infeasible: int
    broken: dict[str, int]  # the infeasible ones by the budgets that they break
    ask_s: float
    status: str
    error: float | None
    metrics: dict[str, float]
    reason: str | None
    started: str
    train_s: float | None
    told: int | None  # position in the order in which trials ended
    curve: tuple[float, ...] = ()  # error after each epoch


@dataclass(frozen=True)
class Rejected:
    """A rejection as it is stored: at which trial's ask, what it would have cost, which budgets it breaks."""

    trial: int
    config: Config
    costs: dict[str, float]
    broken: tuple[str, ...]


class Store:
    """The file of one study.

    Args:
        path: of the file; it is created with its folder where it does not exist.
        read_only: open for reading beside a running study; nothing is created or locked.

    Raises:
        StudyError: where the file cannot be opened, is not a study, is damaged, or another process drives it.
    """

    def __init__(self, path: str | Path, read_only: bool = False) -> None:
        self.path = Path(path)
        self._lock = FileLock(f"{self.path}.lock")
        if read_only and not self.path.exists():
            raise StudyError(f"no study at {self.path}; give the path of a study.db")
        if not read_only:
            self._acquire()
        try:
            self._connection = self._open(read_only)
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Close the file and let another process drive the study."""
        self._connection.close()
        self._lock.release()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # -- what the study is

    def meta(self) -> dict[str, Any]:
        """Return everything that describes the study."""
        return {key: json.loads(value) for key, value in self._rows("SELECT key, value FROM meta")}

    def set_meta(self, **entries: Any) -> None:
        """Write entries that describe the study; each must be JSON-safe."""
        rows = [(key, _dump(value)) for key, value in entries.items()]
        with self._write() as connection:
            connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)

    # -- trials

    def start_trial(
        self, trial: Trial, rejections: Sequence[Rejected] = (), queued: int | None = None
    ) -> None:
        """Write a trial as running, with the rejections of its ask, and take its config from the queue."""
        row = {
            "number": trial.number,
            "config": _dump(trial.config),
            "costs": _dump(trial.costs),
            "is_feasible": trial.is_feasible,
            "seed": trial.seed,
            "source": trial.source,
            "n_priced": trial.n_priced,
            "n_infeasible": trial.n_infeasible,
            "broken": _dump(trial.broken),
            "ask_s": trial.ask_s,
            "started": trial.started,
            "status": "running",
        }
        refused = [(r.trial, _dump(r.config), _dump(r.costs), _dump(r.broken)) for r in rejections]
        with self._write() as connection:
            connection.execute(
                f"INSERT INTO trials ({', '.join(row)}) VALUES ({', '.join(f':{name}' for name in row)})", row
            )
            connection.executemany(
                "INSERT INTO rejections (trial, config, costs, broken) VALUES (?, ?, ?, ?)", refused
            )
            connection.execute("DELETE FROM queue WHERE id = ?", (queued,))

    def restart_trial(self, number: int) -> None:
        """Forget the epochs of a trial that was running when its process died."""
        with self._write() as connection:
            connection.execute("DELETE FROM epochs WHERE trial = ?", (number,))

    def add_epoch(self, number: int, epoch: int, error: float, elapsed_s: float) -> None:
        """Write the error after an epoch of a running trial, and the seconds since the training began."""
        with self._write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO epochs VALUES (?, ?, ?, ?)", (number, epoch, error, elapsed_s)
            )

    def end_trial(
        self,
        number: int,
        status: str,
        error: float | None = None,
        metrics: Mapping[str, float] | None = None,
        reason: str | None = None,
        train_s: float = 0.0,
        curve: Sequence[tuple[float, float]] = (),
    ) -> None:
        """Write how a running trial ended; `curve`: (error, elapsed seconds) of every epoch."""
        epochs = [(number, epoch, *values) for epoch, values in enumerate(curve, start=1)]
        with self._write() as connection:
            connection.executemany("INSERT OR IGNORE INTO epochs VALUES (?, ?, ?, ?)", epochs)
            changed = connection.execute(
                "UPDATE trials SET status = ?, error = ?, metrics = ?, reason = ?, train_s = ?, "
                "told = (SELECT COALESCE(MAX(told), 0) + 1 FROM trials) "
                "WHERE number = ? AND status = 'running'",
                (status, error, _dump(metrics or {}), reason, train_s, number),
            ).rowcount
        if changed != 1:
            raise StudyError(f"{self.path}: trial {number} is not running, so it cannot end")

    def trials(self) -> list[Trial]:
        """Return all trials by number."""
        curves: dict[int, list[float]] = {}
        for number, error in self._rows("SELECT trial, error FROM epochs ORDER BY trial, epoch"):
            curves.setdefault(number, []).append(error)
        return [_trial(row, curves) for row in self._rows(f"SELECT {_COLUMNS} FROM trials ORDER BY number")]

    def rejections(self) -> list[Rejected]:
        """Return all rejections in the order in which they happened."""
        rows = self._rows("SELECT trial, config, costs, broken FROM rejections ORDER BY id")
        return [Rejected(r[0], json.loads(r[1]), json.loads(r[2]), tuple(json.loads(r[3]))) for r in rows]

    # -- configs to train first, and what is found out afterwards

    def enqueue(self, configs: Sequence[Config], **meta: Any) -> None:
        """Add configs that are trained before any proposal, together with entries of `meta`."""
        with self._write() as connection:
            connection.executemany("INSERT INTO queue (config) VALUES (?)", [(_dump(c),) for c in configs])
            rows = [(key, _dump(value)) for key, value in meta.items()]
            connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)

    def queued(self) -> tuple[int, Config] | None:
        """Return the first of the queue with its identity, or None."""
        row = next(iter(self._rows("SELECT id, config FROM queue ORDER BY id LIMIT 1")), None)
        return None if row is None else (row[0], json.loads(row[1]))

    def add_check(self, number: int, kind: str, seed: int, found: Mapping[str, Any]) -> None:
        """Write what was found about a trial afterwards, such as its error on a fresh seed."""
        with self._write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO checks VALUES (?, ?, ?, ?)", (number, kind, seed, _dump(dict(found)))
            )

    def checks(self, kind: str) -> dict[int, list[dict[str, Any]]]:
        """Return the checks of a kind by trial."""
        found: dict[int, list[dict[str, Any]]] = {}
        rows = self._rows("SELECT trial, found FROM checks WHERE kind = ? ORDER BY trial, seed", (kind,))
        for number, text in rows:
            found.setdefault(number, []).append(json.loads(text))
        return found

    # -- the file

    def _acquire(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise StudyError(
                f"{self.path}: another process drives this study; wait for it or stop it"
            ) from None
        except OSError as error:
            raise StudyError(
                f"{self.path}: cannot write here: {error.strerror}; choose another folder"
            ) from None

    def _open(self, read_only: bool) -> sqlite3.Connection:
        is_new = not self.path.exists() or self.path.stat().st_size == 0
        uri = f"{self.path.absolute().as_uri()}?{self._mode(read_only)}"
        with self._explained():
            connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30)
            try:
                if is_new and not read_only:  # in one transaction: there is no moment with half a study
                    connection.executescript(
                        f"BEGIN; {_SCHEMA} PRAGMA application_id = {APPLICATION_ID}; "
                        f"PRAGMA user_version = {FORMAT}; COMMIT;"
                    )
                self._check(connection)
                if not read_only:
                    connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute(f"PRAGMA query_only = {int(read_only)}")
            except BaseException:
                connection.close()
                raise
        return connection

    def _mode(self, read_only: bool) -> str:
        """Return how SQLite opens the file; a reader needs the journal's files and removes them again."""
        if not read_only:
            return "mode=rwc"
        has_journal = self.path.with_name(f"{self.path.name}-wal").exists()
        if os.access(self.path.parent, os.W_OK) and os.access(self.path, os.W_OK):
            return "mode=rw"
        return "mode=ro" if has_journal else "mode=ro&immutable=1"

    def _check(self, connection: sqlite3.Connection) -> None:
        """Refuse files that are not studies, from a newer version, or damaged."""
        if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise StudyError(f"{self.path} is no study of hwopt; give another path")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > FORMAT:
            raise StudyError(
                f"{self.path} has format {version}, this hwopt reads up to {FORMAT}; upgrade hwopt"
            )
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise StudyError(f"{self.path} is damaged: {found}; restore a copy or choose another path")

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """Run one transaction; it is undone where anything in it fails."""
        with self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._explained():
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn SQLite's errors into ours, which say what to do."""
        try:
            yield
        except sqlite3.ProgrammingError:
            raise  # ours, not the file's
        except sqlite3.DatabaseError as error:
            text = str(error)
            if "not a database" in text:
                advice = "it is no study of hwopt; give another path"
            elif "malformed" in text or "disk I/O" in text:
                advice = "the file is damaged; restore a copy or choose another path"
            elif "full" in text:
                advice = "free some space and run the same command again; what is finished is kept"
            elif "locked" in text or "busy" in text:
                advice = "another program holds the file; close it and run the same command again"
            elif "readonly" in text or "unable to open" in text:
                advice = "the file or its folder cannot be written; choose another path"
            else:
                advice = "the file may be damaged"
            raise StudyError(f"{self.path}: {text}: {advice}") from error


def _trial(row: Sequence[Any], curves: Mapping[int, list[float]]) -> Trial:
    fields = dict(zip(_COLUMNS.split(", "), row, strict=True))
    for name in ("config", "costs", "broken", "metrics"):
        fields[name] = json.loads(fields[name])
    fields["is_feasible"] = bool(fields["is_feasible"])
    return Trial(**fields, curve=tuple(curves.get(fields["number"], ())))


def _dump(value: Any) -> str:
    return json.dumps(value, allow_nan=True)
