"""Run time of a search over all its processes, written regularly for the case of a kill."""

import threading
import time
from types import TracebackType

from hwopt.errors import StudyError
from hwopt.study.store.store import Store

_EVERY_S = 0.5


class Clock:
    """Context manager that continues the count of an earlier process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._before = store.elapsed_s()
        self._begun = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="hwopt-clock", daemon=True)

    @property
    def elapsed_s(self) -> float:
        """Seconds so far."""
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
        """Write the seconds; an error of the file is left to the next write of a trial."""
        try:
            self._store.set_elapsed(self.elapsed_s)
        except StudyError:
            return False
        return True
