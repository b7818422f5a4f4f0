"""Seconds that a search has run, in all its processes, written down as they pass: a kill loses none."""

import threading
import time
from types import TracebackType

from hwopt.errors import StudyError
from hwopt.study.store.store import Store

_EVERY_S = 0.5


class Clock:
    """Counts while it is used as a context manager, from where an earlier process left off."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._before = store.elapsed_s()
        self._begun = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="hwopt-clock", daemon=True)

    @property
    def elapsed_s(self) -> float:
        """Seconds until now."""
        return self._before + time.monotonic() - self._begun

    def __enter__(self) -> "Clock":
        self._begun = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._write()

    def _keep(self) -> None:
        while not self._ended.wait(_EVERY_S) and self._write():
            pass

    def _write(self) -> bool:
        """Write the seconds; whoever writes a trial next is told what is wrong with the file."""
        try:
            self._store.set_elapsed(self.elapsed_s)
        except StudyError:
            return False
        return True
