"""Files beside a study: checkpoints of running and paused trials, and weights of trained networks.

    study.db
    study.checkpoints/trial-17-epoch-4.pt     replaced after each slice, removed at the end of the trial
    study.weights/trial-17.pt                 while the trial is on the front, or permanently

A checkpoint is written before the store has its epochs, and removed after the store has later ones: there is
always one for the stored epochs, whenever the process dies.
"""

import errno
import logging
import os
import re
import shutil
import tempfile
import weakref
import zlib
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from hwopt.errors import InvalidInput, StudyError

IN_MEMORY = ":memory:"  # path of a temporary study, as in SQLite
KEEP_WEIGHTS = ("front", "all", "none")

_LOG = logging.getLogger("hwopt")
_EPOCH = re.compile(r"trial-\d+-epoch-(\d+)\.pt")
_NUMBER = re.compile(r"trial-(\d+)(-epoch-\d+)?\.pt")


def check_path(path: Any) -> Path:
    """Return the path of a study; raise InvalidInput for an invalid one."""
    wanted = f'give the path of a file, such as results/mine/study.db; "{IN_MEMORY}" keeps none'
    if isinstance(path, str) and (IN_MEMORY in path or not path.strip()):
        raise InvalidInput(f"a study is kept in a file, which {path!r} is not: {wanted}")
    if not isinstance(path, str | os.PathLike) or isinstance(os.fspath(path), bytes):
        raise InvalidInput(f"path of a study = {path!r}; {wanted}")
    if Path(path).is_dir():
        raise InvalidInput(f"{path} is a folder; {wanted}")
    return Path(path)


def temporary_file(owner: object) -> Path:
    """Return the path of a temporary study, whose folder is removed with the owner or at exit."""
    folder = tempfile.mkdtemp(prefix="hwopt-")
    weakref.finalize(owner, _remove, folder, os.getpid())
    return Path(folder) / "study.db"


def _remove(folder: str, pid: int) -> None:
    """Remove a folder of this process, unless the process was forked."""
    if os.getpid() == pid:
        shutil.rmtree(folder, ignore_errors=True)


class DiskFull(StudyError):
    """Error for a file that could not be written because the disk is full."""


class StudyFiles:
    """Checkpoints and weights of one study, by the path of its database."""

    def __init__(self, study: Path) -> None:
        self.checkpoints = study.with_name(f"{study.stem}.checkpoints")
        self.weights = study.with_name(f"{study.stem}.weights")

    def save_checkpoint(self, number: int, n_epochs: int, content: bytes) -> None:
        """Write the checkpoint of a trial after `n_epochs`; `drop_checkpoints` removes earlier ones."""
        _write(self.checkpoints / f"trial-{number}-epoch-{n_epochs}.pt", content)

    def checkpoint(self, number: int, n_epochs: int) -> bytes | None:
        """Return the checkpoint of a trial after `n_epochs`; None if it is missing or cannot be read."""
        path = self.checkpoints / f"trial-{number}-epoch-{n_epochs}.pt"
        try:
            return path.read_bytes()
        except OSError:
            return None

    def last_checkpoint(self, number: int, n_epochs: int) -> int:
        """Return the epoch of a trial's last checkpoint up to `n_epochs`; 0 if there is none."""
        matches = [
            _EPOCH.fullmatch(path.name) for path in self.checkpoints.glob(f"trial-{number}-epoch-*.pt")
        ]
        return max((int(m[1]) for m in matches if m and int(m[1]) <= n_epochs), default=0)

    def drop_checkpoints(self, number: int, keep: int | None = None) -> None:
        """Remove the checkpoints of a trial, except the one after `keep` epochs."""
        for path in self.checkpoints.glob(f"trial-{number}-epoch-*.pt"):
            if keep is None or path.name != f"trial-{number}-epoch-{keep}.pt":
                _unlink(path)

    def save_weights(self, number: int, content: bytes) -> Path:
        """Write the weights of a trial and return their path."""
        return _write(self.weights / f"trial-{number}.pt", content)

    def weights_of(self, number: int) -> Path | None:
        """Return the path of a trial's weights, or None."""
        path = self.weights / f"trial-{number}.pt"
        return path if path.exists() else None

    def keep_weights(self, numbers: Collection[int]) -> None:
        """Remove the weights of all other trials."""
        _keep(self.weights, numbers)

    def keep_checkpoints(self, numbers: Collection[int]) -> None:
        """Remove the checkpoints of all other trials, and partly written files."""
        _keep(self.checkpoints, numbers)
        for path in (*self.checkpoints.glob("*.part"), *self.weights.glob("*.part")):
            _unlink(path)


def fingerprint(content: bytes) -> int:
    """Return a checksum of a checkpoint, which differs if the file is cut short or another one."""
    return zlib.crc32(content)


def _unlink(path: Path) -> None:
    """Remove a file; one that cannot be removed is harmless, and is named in a warning."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _LOG.warning("%s cannot be removed: %s", path, error.strerror)


def _keep(folder: Path, numbers: Collection[int]) -> None:
    for path in folder.glob("trial-*.pt"):
        match = _NUMBER.fullmatch(path.name)
        if match and int(match[1]) not in numbers:
            _unlink(path)


def _write(path: Path, content: bytes) -> Path:
    """Write a file atomically."""
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(exist_ok=True)
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        kind = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StudyError
        raise kind(
            f"{path}: cannot be written: {error.strerror}; free some space or choose another folder, and run "
            "the same command again: finished trainings are kept"
        ) from error
    return path
