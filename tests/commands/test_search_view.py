"""`hwopt search` on a terminal of its own: the live view, and Ctrl-C in the middle of it."""

import os
import pty
import re
import signal
import sys
import threading

import pytest
from rich.console import Console

from hwopt import cli
from hwopt.commands import console as console_module
from hwopt.commands import search as search_module
from hwopt.study.store.store import Store
from tests.profile.profiles import write_profile
from tests.test_cli import EXPERIMENT, SPACE


class Terminal:
    """A pseudo-terminal of 60 columns, and a user at its other end, who answers some words with Ctrl-C."""

    def __init__(self, interrupt_at):
        self._master, self._slave = pty.openpty()
        self.file = open(self._slave, "w", encoding="utf-8")
        self.console = Console(file=self.file, width=60, height=24, soft_wrap=True, markup=False)
        self._received, self._interrupt_at = bytearray(), interrupt_at
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        is_interrupted = False
        while True:
            try:
                self._received.extend(os.read(self._master, 65536))
            except OSError:  # the other end is closed
                return
            if not is_interrupted and self._interrupt_at in self._received:
                is_interrupted = True
                os.kill(os.getpid(), signal.SIGINT)

    def close(self):
        """Return all that arrived."""
        self.file.close()
        self._thread.join(timeout=10)
        os.close(self._master)
        return self._received.decode()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it may hit an open folder
def test_ctrl_c_in_the_live_view_leaves_the_terminal_and_the_trials(tmp_path, monkeypatch):
    (tmp_path / "space.py").write_text(SPACE)
    (tmp_path / "x.toml").write_text(EXPERIMENT.replace("n_trials = 5", "n_trials = 500"))
    write_profile(tmp_path / "device")
    monkeypatch.setenv("TERM", "xterm")
    terminal, before = Terminal(interrupt_at=b", hypervolume"), sys.stdout
    for module in (console_module, search_module):
        monkeypatch.setattr(module, "console", terminal.console)
    arguments = ["search", str(tmp_path / "x.toml"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["hwopt", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130 and sys.stdout is before
    text = terminal.close()
    words = " ".join(text.split())
    assert "mean error of paleo, out of group: time" in words
    assert re.search(r"front: \d+ network", text) and "left (estimated)" in text
    assert "stopped; finished trials are kept: the same command resumes from here" in words
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    with Store(tmp_path / "out" / "study.db", read_only=True) as store:
        assert store.trials()
