"""Errors that a user can act on, and the search for the nearest right word.

The command line prints these as one message and exits with code 2; any other exception is a bug and keeps its
traceback. Each also derives from the built-in exception that a Python programmer would expect to catch.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class HwoptError(Exception):
    """Base of every error that says what came, what was wanted and what to do."""


class InvalidInput(HwoptError, ValueError):
    """A value, file or object that cannot be used as it is."""


class UnknownName(HwoptError, KeyError):
    """A name that nothing is known by; the message names the nearest one."""

    __str__ = Exception.__str__  # KeyError would print the message in quotes


class Infeasible(HwoptError):
    """No configuration within the budgets was found."""


class StudyError(HwoptError):
    """A study file that cannot be opened, written or continued."""


class StrategyError(HwoptError, RuntimeError):
    """A strategy that proposed what it must not: a config that breaks a budget or cannot be priced."""


class SuspiciousValue(UserWarning):
    """A value that is taken as it is, and is probably meant to be something else, such as an accuracy."""


class TrainingFailed(HwoptError):
    """One training that cannot give an error: diverged or raised. Only where all do does the study end."""


class CheckpointUnusable(TrainingFailed):
    """A checkpoint that is damaged, or of another network: a study trains from the start instead."""


class OutOfMemory(TrainingFailed):
    """One training that needed more memory than its machine had."""


class UnreadHyperparameter(UserWarning):
    """A hyperparameter that is searched, while no one reads it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception, of Python's or of torch's, says that memory has run out."""
    if isinstance(error, OutOfMemory | MemoryError):
        return True
    if isinstance(error, TrainingFailed):
        return str(error).startswith("out of memory")  # of an objective that says so itself
    is_torchs = any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)
    return is_torchs or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error))


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known word closest to `word`, or None if none is close."""
    matches = get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return matches[0] if matches else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return '; did you mean X?' for the nearest known word, else the list of what is known."""
    known = list(known)
    match = nearest(word, known)
    return f"; did you mean {match}?" if match else f"; known: {', '.join(known) or 'none'}"
