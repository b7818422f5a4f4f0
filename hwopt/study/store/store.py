"""Store of a study in one SQLite file. No finished trial is lost if the process is killed.

    meta          identity of the study: space, budgets, objectives, seed, versions
    trials        trainings: running, paused, complete, stopped or failed
    epochs        error after each epoch
    stints        with freeze-thaw: runs of epochs of one training, in the order in which they began
    rejections    configs that a strategy selected and a budget refused
    queue         configs to train before any proposal
    checks        further facts about a trial: predicted intervals, seconds of its slices, results of its
                  retraining and measurement

Every method that writes is one transaction.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import numpy as np

from hwopt.errors import StudyError
from hwopt.search.freeze_thaw import Stint
from hwopt.space.search_space import Config
from hwopt.study.store.sqlite import FORMAT as FORMAT
from hwopt.study.store.sqlite import Database
from hwopt.train.result import Epoch

_EpochRow = tuple[float, float, float | None]  # error, seconds up to its end, joules
STOPPED_AT = "stopped_at_epoch"  # metric of a stopped trial with epochs beyond the one that it was stopped at
_COLUMNS = (
    "number, config, costs, is_feasible, seed, source, n_priced, n_infeasible, broken, ask_s, status, error, "
    "metrics, reason, started, train_s, told, attempts, elapsed_s, failure, traceback"
)
_COLUMNS_OF = {  # in files of earlier formats, which can be read without being changed
    1: _COLUMNS.replace("attempts, elapsed_s, failure, traceback", "0, NULL, NULL, NULL"),
    2: _COLUMNS.replace("failure, traceback", "NULL, NULL"),
}


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
    train_s: float | None  # of a running trial: so far
    told: int | None  # position in the order in which trials ended
    curve: tuple[float, ...] = ()  # error after each epoch
    attempts: int = 0  # that ended with the death of a worker
    elapsed_s: float | None = None  # that the search had run when the trial ended
    energy_j: float | None = None  # of the epochs, if it was measured
    failure: str | None = None  # of a failed trial: name of the exception's class, such as "OutOfMemory"
    traceback: str | None = None  # of a failed trial: where the exception came from


@dataclass(frozen=True)
class StintRow:
    """A stored stint of a trial, with its first epoch, counted from 1."""

    trial: int
    first_epoch: int
    stint: Stint


@dataclass(frozen=True)
class Rejected:
    """A stored rejection: the trial of its ask, its predicted costs, and the violated budgets."""

    trial: int
    config: Config
    costs: dict[str, float]
    broken: tuple[str, ...]


class Store:
    """The file of one study.

    Args:
        path: of the file; created with its folder if it does not exist.
        read_only: open for reading beside a running study; nothing is created or locked.

    Raises:
        StudyError: if the file cannot be opened, is not a study, is damaged, or another process drives it.
    """

    def __init__(self, path: str | Path, read_only: bool = False) -> None:
        self.path = Path(path)
        self._database = Database(self.path, read_only)

    def close(self) -> None:
        """Close the file and let another process drive the study; what it holds can still be read."""
        self._database.close()

    def check_open(self) -> None:
        """Raise StudyError if the store is closed, or its file was deleted or replaced."""
        self._database.check_open()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # -- what the study is

    def meta(self) -> dict[str, Any]:
        """Return everything that describes the study."""
        return {key: json.loads(value) for key, value in self._database.rows("SELECT key, value FROM meta")}

    def set_meta(self, **entries: Any) -> None:
        """Write entries that describe the study; each must be JSON-safe."""
        rows = [(key, _dump(value)) for key, value in entries.items()]
        with self._database.write() as connection:
            connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)

    def set_elapsed(self, elapsed_s: float) -> None:
        """Write how many seconds the search has run, in all its processes; it waits for no disk."""
        with self._database.write(durable=False) as connection:
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('elapsed_s', ?)", (_dump(elapsed_s),))

    def elapsed_s(self) -> float:
        """Return how many seconds the search has run, in all its processes."""
        ended = self._database.rows("SELECT MAX(elapsed_s) FROM trials") if self._database.version > 1 else []
        kept = self._database.rows("SELECT value FROM meta WHERE key = 'elapsed_s'")
        return max([0.0, *(float(row[0]) for row in (*ended, *kept) if row[0] is not None)])

    # -- what was priced, by what the prices depend on

    def prices(self, key: str) -> bytes | None:
        """Return the prices that are kept under a key, or None."""
        if not self._database.rows("SELECT 1 FROM sqlite_master WHERE name = 'prices'"):
            return None
        rows = self._database.rows("SELECT prices FROM prices WHERE key = ?", (key,))
        return bytes(rows[0][0]) if rows else None

    def set_prices(self, prices: Mapping[str, bytes]) -> None:
        """Keep prices under their keys, and no others."""
        with self._database.write(durable=False) as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS prices (key TEXT PRIMARY KEY, prices BLOB NOT NULL)"
            )
            connection.execute("DELETE FROM prices")
            connection.executemany("INSERT INTO prices VALUES (?, ?)", prices.items())

    # -- trials

    def start_trial(
        self,
        trial: Trial,
        rejections: Sequence[Rejected] = (),
        queued: int | None = None,
        intervals: Mapping[str, Any] | None = None,
        stint: Stint | None = None,
    ) -> None:
        """Write a trial as running, with the rejections of its ask, and take its config from the queue.

        `intervals` of its predicted costs, {"confidence": c, metric: [low, high]}, are a check "predicted";
        `stint` is the first one of a training that can be paused.
        """
        row = _row(trial) | {"status": "running", "error": None, "metrics": "{}", "told": None}
        refused = [(r.trial, _dump(r.config), _dump(r.costs), _dump(r.broken)) for r in rejections]
        with self._database.write() as connection:
            connection.execute(_INSERT, row)
            connection.executemany(
                "INSERT INTO rejections (trial, config, costs, broken) VALUES (?, ?, ?, ?)", refused
            )
            connection.execute("DELETE FROM queue WHERE id = ?", (queued,))
            if intervals:
                connection.execute(_INSERT_CHECK, (trial.number, "predicted", 0, _dump(dict(intervals))))
            if stint is not None:
                connection.execute(_INSERT_STINT, _stint_row(trial.number, 1, stint))

    def pause_trial(self, number: int) -> None:
        """Write a running trial as paused."""
        with self._database.write() as connection:
            self._change_status(connection, number, "running", "paused")

    def resume_trial(self, number: int, first_epoch: int, stint: Stint) -> None:
        """Write a paused trial as running again, from this epoch on, counted from 1."""
        with self._database.write() as connection:
            self._change_status(connection, number, "paused", "running")
            connection.execute(_INSERT_STINT, _stint_row(number, first_epoch, stint))

    def describe_paused(self, number: int, reason: str, expected: Mapping[str, float]) -> None:
        """Write the predicted metrics of a paused trial and the reason of the pause."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE trials SET reason = ?, metrics = ? WHERE number = ? AND status = 'paused'",
                (reason, _dump(dict(expected)), number),
            )

    def _change_status(self, connection: Connection, number: int, then: str, now: str) -> None:
        changed = connection.execute(
            "UPDATE trials SET status = ?, reason = NULL, metrics = '{}' WHERE number = ? AND status = ?",
            (now, number, then),
        ).rowcount
        if changed != 1:
            raise StudyError(f"{self.path}: trial {number} is not {then}, so it cannot be {now}")

    def stints(self) -> list[StintRow]:
        """Return all stints in the order in which they began; none of a file of an earlier format."""
        if self._database.version < 4:
            return []
        query = "SELECT trial, first_epoch, alternative, shift, mean, std FROM stints ORDER BY id"
        return [
            StintRow(trial, first, Stint(*values)) for trial, first, *values in self._database.rows(query)
        ]

    def restart_trial(self, number: int, n_epochs: int = 0) -> None:
        """Forget the epochs of a running trial after the first `n_epochs`: it goes on from there."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM epochs WHERE trial = ? AND epoch > ?", (number, n_epochs))

    def add_attempt(self, number: int) -> None:
        """Count an attempt of a running trial that ended with the death of its worker."""
        with self._database.write() as connection:
            connection.execute("UPDATE trials SET attempts = attempts + 1 WHERE number = ?", (number,))

    def add_epochs(self, number: int, first: int, epochs: Sequence[Epoch]) -> None:
        """Write epochs of a running trial, the first of which is epoch `first`, counted from 1."""
        query = "SELECT elapsed_s FROM epochs WHERE trial = ? AND epoch = ?"
        with self._database.write(durable=False) as connection:
            before = connection.execute(query, (number, first - 1)).fetchone()
            rows = _epoch_rows(number, first, epochs, 0.0 if before is None else before[0])
            connection.executemany(_INSERT_EPOCH, rows)

    def end_trial(self, trial: Trial) -> None:
        """Write the end of a running trial: everything except its epochs, which are stored already."""
        with self._database.write() as connection:
            changed = connection.execute(
                "UPDATE trials SET status = ?, error = ?, metrics = ?, reason = ?, train_s = ?, "
                "elapsed_s = ?, is_feasible = ?, failure = ?, traceback = ?, "
                "told = (SELECT COALESCE(MAX(told), 0) + 1 FROM trials) "
                "WHERE number = ? AND status IN ('running', 'paused')",
                (
                    *(trial.status, trial.error, _dump(trial.metrics), trial.reason, trial.train_s),
                    *(trial.elapsed_s, trial.is_feasible, trial.failure, trial.traceback, trial.number),
                ),
            ).rowcount
        if changed != 1:
            raise StudyError(f"{self.path}: trial {trial.number} is not running or paused, so it cannot end")

    def copy_trials(self, trials: Sequence[Trial], meta: Mapping[str, Any]) -> None:
        """Write trials of another study as they are, with entries that describe this one."""
        with self._database.write() as connection:
            for trial in trials:
                connection.execute(_INSERT, _row(trial))
                epochs = [Epoch(error, 0.0) for error in trial.curve]
                connection.executemany(_INSERT_EPOCH, _epoch_rows(trial.number, 1, epochs))
            rows = [(key, _dump(value)) for key, value in meta.items()]
            connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)

    def trials(self) -> list[Trial]:
        """Return all trials by number."""
        version = self._database.version
        energy, columns = "NULL" if version == 1 else "energy_j", _COLUMNS_OF.get(version, _COLUMNS)
        # epochs last: another process may write in between, and an ended trial has all of its own
        rows = self._database.rows(f"SELECT {columns} FROM trials ORDER BY number")
        epochs: dict[int, list[_EpochRow]] = {}
        query = f"SELECT trial, error, elapsed_s, {energy} FROM epochs ORDER BY trial, epoch"
        for number, *values in self._database.rows(query):
            epochs.setdefault(number, []).append((*values,))
        parsed = {name: _loaded([row[i] for row in rows]) for i, name in enumerate(_NAMES) if name in _JSON}
        return [
            _trial(dict(zip(_NAMES, row, strict=True)) | dict(zip(parsed, json_values, strict=True)), epochs)
            for row, json_values in zip(rows, zip(*parsed.values(), strict=True), strict=True)
        ]

    def epochs(self, number: int) -> list[Epoch]:
        """Return the epochs of a trial."""
        query = "SELECT error, elapsed_s, energy_j FROM epochs WHERE trial = ? ORDER BY epoch"
        rows = self._database.rows(query, (number,))
        begins = [0.0, *(elapsed_s for _, elapsed_s, _ in rows)]
        return [
            Epoch(error, elapsed_s - begin, energy_j)
            for (error, elapsed_s, energy_j), begin in zip(rows, begins, strict=False)
        ]

    def rejections(self) -> list[Rejected]:
        """Return all rejections in the order in which they happened."""
        rows = self._database.rows("SELECT trial, config, costs, broken FROM rejections ORDER BY id")
        parsed = [_loaded([row[column] for row in rows]) for column in (1, 2, 3)]
        numbers = [row[0] for row in rows]
        return [
            Rejected(number, config, costs, tuple(broken))
            for number, config, costs, broken in zip(numbers, *parsed, strict=True)
        ]

    def n_rejections(self) -> int:
        """Return the number of rejections."""
        return int(self._database.rows("SELECT COUNT(*) FROM rejections")[0][0])

    def rejected_configs(self) -> list[Config]:
        """Return the configs of all rejections in the order in which they happened."""
        return _loaded([row[0] for row in self._database.rows("SELECT config FROM rejections ORDER BY id")])

    # -- queued configs, and facts found after a training

    def enqueue(self, configs: Sequence[Config], **meta: Any) -> None:
        """Add configs that are trained before any proposal, together with entries of `meta`."""
        with self._database.write() as connection:
            connection.executemany("INSERT INTO queue (config) VALUES (?)", [(_dump(c),) for c in configs])
            rows = [(key, _dump(value)) for key, value in meta.items()]
            connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)

    def queued(self) -> tuple[int, Config] | None:
        """Return the first of the queue with its identity, or None."""
        row = next(iter(self._database.rows("SELECT id, config FROM queue ORDER BY id LIMIT 1")), None)
        return None if row is None else (row[0], json.loads(row[1]))

    def add_check(
        self, number: int, kind: str, seed: int, found: Mapping[str, Any], durable: bool = True
    ) -> None:
        """Write a further fact about a trial, such as its error on a fresh seed."""
        with self._database.write(durable) as connection:
            connection.execute(_INSERT_CHECK, (number, kind, seed, _dump(dict(found))))

    def checks(self, kind: str) -> dict[int, list[dict[str, Any]]]:
        """Return the checks of a kind by trial."""
        found: dict[int, list[dict[str, Any]]] = {}
        query = "SELECT trial, found FROM checks WHERE kind = ? ORDER BY trial, seed"
        for number, text in self._database.rows(query, (kind,)):
            found.setdefault(number, []).append(json.loads(text))
        return found


_NAMES = _COLUMNS.split(", ")
_JSON = ("config", "costs", "broken", "metrics")
_INSERT = f"INSERT INTO trials ({_COLUMNS}) VALUES ({', '.join(f':{name}' for name in _NAMES)})"
_INSERT_CHECK = "INSERT OR REPLACE INTO checks VALUES (?, ?, ?, ?)"
_INSERT_STINT = (
    "INSERT INTO stints (trial, first_epoch, alternative, shift, mean, std) VALUES (?, ?, ?, ?, ?, ?)"
)
_INSERT_EPOCH = (
    "INSERT OR REPLACE INTO epochs (trial, epoch, error, elapsed_s, energy_j) VALUES (?, ?, ?, ?, ?)"
)


def _row(trial: Trial) -> dict[str, Any]:
    row = {name: getattr(trial, name) for name in _NAMES}
    return row | {name: _dump(row[name]) for name in _JSON}


def _stint_row(number: int, first_epoch: int, stint: Stint) -> tuple[Any, ...]:
    return (number, first_epoch, stint.alternative, stint.shift, stint.mean, stint.std)


def _epoch_rows(
    number: int, first: int, epochs: Sequence[Epoch], elapsed_s: float = 0.0
) -> list[tuple[Any, ...]]:
    """Return epochs as rows, with the seconds of training up to the end of each."""
    ends = np.cumsum([elapsed_s, *(one.seconds for one in epochs)])[1:].tolist()
    return [
        (number, epoch, one.error, end, one.energy_j)
        for (epoch, one), end in zip(enumerate(epochs, first), ends, strict=True)
    ]


def _trial(fields: dict[str, Any], all_epochs: Mapping[int, Sequence[_EpochRow]]) -> Trial:
    epochs = all_epochs.get(fields["number"], [])
    fields["is_feasible"] = bool(fields["is_feasible"])
    if fields["train_s"] is None and epochs:
        fields["train_s"] = epochs[-1][1]
    measured = [energy_j for _, _, energy_j in epochs if energy_j is not None]
    curve, energy_j = tuple(error for error, _, _ in epochs), sum(measured) if measured else None
    return Trial(**fields, curve=curve, energy_j=energy_j)


def _loaded(texts: Sequence[str]) -> list[Any]:
    """Parse many JSON texts at once: a tenth of the time of one by one."""
    return list(json.loads(f"[{','.join(texts)}]"))


def _dump(value: Any) -> str:
    return json.dumps(value, allow_nan=True)
