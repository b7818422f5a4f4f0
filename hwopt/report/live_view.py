"""View of a running study: a live frame on a terminal or in a notebook, one line per trial elsewhere.

    study.run --event, trial--> view --> RunState
                                  '--> thread: a new frame after events, at most 2% of one core

An error inside a view turns the view off and never reaches the study. Frames are drawn in a separate thread,
so that an event only updates counts.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from hwopt.report.progress import can_redraw, count_of
from hwopt.report.run_frame import run_frame, trial_line
from hwopt.report.run_state import RunState
from hwopt.study.store.store import Store, Trial

_LOG = logging.getLogger("hwopt")
_CLOCK_S = 1.0  # seconds between frames without events
_FRAME_S = 0.25  # least seconds between frames
_SHARE = 0.02  # largest share of one core for drawing


def is_live(console: Console) -> bool:
    """Return whether a console, of a terminal or a notebook, can redraw its output."""
    if console.is_jupyter:
        return _has_widgets()
    return can_redraw(console)


def open_view(
    console: Console,
    store: Store,
    n_trials: int,
    n_epochs: int | None = None,
    wall_s: float | None = None,
    is_kept: bool = True,
) -> "View":
    """Return the view of a run for a console.

    Args:
        console: the console.
        store: store of the study.
        n_trials: planned number of trials.
        n_epochs: epochs of a whole training, if known.
        wall_s: limit on the run time in seconds, if any.
        is_kept: whether the last frame stays on the terminal; after an error it always stays.
    """
    make: Callable[[], RunState] = lambda: RunState(store, n_trials, n_epochs, wall_s)  # noqa: E731
    return LiveView(console, make, is_kept) if is_live(console) else LineView(console, make)


class View:
    """Listener of a run: call it with each event and trial; use it as a context manager.

    Args:
        console: the console.
        make_state: function that reads the state of the study.
    """

    def __init__(self, console: Console, make_state: Callable[[], RunState]) -> None:
        self.console, self._make_state = console, make_state
        self._state: RunState | None = None
        self._lock = threading.RLock()

    def __enter__(self) -> "View":
        try:
            with self._harmless():
                self._state = self._make_state()
                self._begin(self._state)
        except BaseException:  # Ctrl-C meanwhile: no `__exit__` follows
            self._abandon()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        state, self._state = self._state, None
        if state is not None:
            with self._harmless():
                self._end(state, error is not None)

    def __call__(self, event: str, trial: Trial) -> None:
        """Update the view with an event of the run."""
        with self._harmless(), self._lock:
            if self._state is not None:
                self._state.take(event, trial)
                self._show(self._state, event, trial)

    def priced(self, n_priced: int, n_planned: int) -> None:
        """Show the progress of the survey of the space."""
        with self._harmless(), self._lock:
            if self._state is not None:
                self._state.pricing = (n_priced, n_planned) if n_priced < n_planned else None
                self._show_pricing(self._state)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Suspend drawing during a measurement in this process."""
        with self._lock:
            yield

    @contextmanager
    def _harmless(self) -> Iterator[None]:
        """Turn the view off instead of raising."""
        try:
            yield
        except Exception as error:
            self._state = None
            with suppress(Exception):
                self._abandon()
            _LOG.warning("the view of the study failed and is off: %s: %s", type(error).__name__, error)
            _LOG.debug("the view failed", exc_info=error)

    def _begin(self, state: RunState) -> None: ...

    def _end(self, state: RunState, has_failed: bool) -> None: ...

    def _show(self, state: RunState, event: str, trial: Trial) -> None: ...

    def _show_pricing(self, state: RunState) -> None: ...

    def _abandon(self) -> None: ...


class LineView(View):
    """One plain line for each ended trial: for logs and pipes."""

    def _begin(self, state: RunState) -> None:
        n_ended = state.n_ended.total()
        if n_ended:
            self._print(f"training: {count_of(n_ended, state.n_trials)} had ended before")

    def _show(self, state: RunState, event: str, trial: Trial) -> None:
        if event == "end":
            self._print(trial_line(state, *state.recent[-1]))

    def _print(self, text: str) -> None:
        known = text.encode(self.console.encoding, "replace").decode(self.console.encoding)
        self.console.print(Text(known), soft_wrap=True)


class LiveView(View):
    """A frame that is redrawn while the study runs; printed and logged text appears above it."""

    def __init__(self, console: Console, make_state: Callable[[], RunState], is_kept: bool = True) -> None:
        super().__init__(console, make_state)
        self._is_kept = is_kept
        self._live = Live(
            console=console, auto_refresh=False, transient=not is_kept, vertical_overflow="crop"
        )
        self._news, self._has_ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep_drawing, name="hwopt-view", daemon=True)
        self._handlers: list[tuple[logging.StreamHandler, object]] = []  # type: ignore[type-arg]

    def _begin(self, state: RunState) -> None:
        before = sys.stdout, sys.stderr
        self._live.start()
        self._redirect_logging(before)
        self._draw()
        self._thread.start()

    def _show(self, state: RunState, event: str, trial: Trial) -> None:
        self._news.set()

    def _show_pricing(self, state: RunState) -> None:
        self._news.set()

    def _end(self, state: RunState, has_failed: bool) -> None:
        self._has_ended.set()
        self._news.set()
        try:
            self._thread.join()
            self._live.transient = not (self._is_kept or has_failed)
            self._live.update(self._frame(state))
        finally:
            self._close()

    def _abandon(self) -> None:
        self._has_ended.set()
        self._news.set()
        self._live.transient = True
        self._live.update(Text(""))
        self._close()

    def _close(self) -> None:
        """Restore the terminal and the log handlers."""
        try:
            self._live.stop()
        finally:
            for handler, stream in self._handlers:
                handler.setStream(stream)
            self._handlers = []

    def _redirect_logging(self, streams: tuple[object, object]) -> None:
        """Redirect log lines for the terminal to appear above the frame."""
        for logger in (_LOG, logging.getLogger()):
            for handler in logger.handlers:
                if isinstance(handler, logging.StreamHandler) and handler.stream in streams:
                    self._handlers.append((handler, handler.stream))
                    handler.setStream(sys.stderr if handler.stream is streams[1] else sys.stdout)

    def _keep_drawing(self) -> None:
        """Draw a frame after events, and each second for the elapsed time."""
        pause_s = _FRAME_S
        while not self._has_ended.wait(pause_s):
            self._news.wait(_CLOCK_S)
            self._news.clear()
            begun = time.thread_time()
            with self._harmless():
                self._draw()
            pause_s = max(_FRAME_S, (time.thread_time() - begun) / _SHARE)

    def _draw(self) -> None:
        with self._lock:
            if self._state is not None:
                self._live.update(self._frame(self._state), refresh=True)

    def _frame(self, state: RunState) -> Group:
        return run_frame(state, self.console.width, self.console.height - 1)


def _has_widgets() -> bool:
    """Return whether a notebook can update its output."""
    return all(find_spec(name) is not None for name in ("IPython", "ipywidgets"))
