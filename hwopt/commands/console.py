"""Shared parts of the commands: console, Ctrl-C, parsing of arguments."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import typer
from rich.console import Console

from hwopt import __version__
from hwopt.errors import InvalidInput

console = Console(soft_wrap=True, markup=False, emoji=False)  # brackets and colons are printed as they are


def print_version(is_wanted: bool) -> None:
    """Print the version and exit, if `--version` was given."""
    if is_wanted:
        print(f"hwopt {__version__}")
        raise typer.Exit


def fail(message: str) -> None:
    """Print an error without a traceback and exit with code 2."""
    Console(stderr=True, soft_wrap=True, markup=False, emoji=False).print(
        f"error: {message}", style="red", highlight=False
    )
    sys.exit(2)


@contextmanager
def interruptible(kept: str) -> Iterator[Callable[[], None]]:
    """On Ctrl-C, print what is kept and exit with code 130.

    Yields a function that raises KeyboardInterrupt if Ctrl-C was pressed: an interrupt that arrives in a
    destructor or a callback is swallowed there.
    """
    presses: list[int] = []

    def remember(signal_number: int, frame: FrameType | None) -> None:
        presses.append(signal_number)
        raise KeyboardInterrupt

    def check() -> None:
        if presses:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield check
    except KeyboardInterrupt:
        console.show_cursor(True)
        console.print(f"\nstopped; {kept} are kept: the same command resumes from here")
        sys.exit(130)
    finally:
        signal.signal(signal.SIGINT, before)


def parse_shape(text: str) -> tuple[int, ...]:
    """Return a shape from '3,224,224'."""
    try:
        shape = tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise InvalidInput(f"{text!r} is not an input shape; write 3,224,224")
    return shape
