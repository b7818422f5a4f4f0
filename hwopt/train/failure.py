"""Why a training failed: its reason, where in the code, and whether the study may go on."""

import pickle
import re
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from hwopt.errors import HwoptError, InvalidInput, TrainingFailed, is_out_of_memory

Catch = tuple[type[Exception], ...]  # exceptions that are failures of one training

_LONGEST = 20_000  # characters of a traceback that are kept, the last ones
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?|\b(nan|inf)\b")
_OBJECT = re.compile(r"0x[0-9a-fA-F]+")


class WorkerTraceback(Exception):
    """Traceback of another process, or of an earlier one, as the cause of an exception of this one."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


@dataclass(frozen=True)
class Failure:
    """Why a training gave no error.

    Attributes:
        reason: one line for tables.
        kind: name of the exception's class.
        traceback: traceback of the exception; None if the objective raised none.
        is_import: whether an import failed, which affects all configs.
        uncaught: the exception, if the study does not catch its class.
    """

    reason: str
    kind: str = "TrainingFailed"
    traceback: str | None = None
    is_import: bool = False
    uncaught: BaseException | None = None

    @property
    def group(self) -> str:
        """Reason without the parts that differ between trials."""
        return grouped(self.reason)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for another process; an exception that cannot be pickled is replaced."""
        return {**self.__dict__, "uncaught": _sendable(self.uncaught, self.reason)}

    def raised(self) -> BaseException:
        """Return the uncaught exception with the traceback of the process in which it was raised."""
        error = self.uncaught or TrainingFailed(self.reason)
        if error.__traceback__ is None and self.traceback is not None:
            error.__cause__ = WorkerTraceback(self.traceback)
        return error


def check_catch(given: type[Exception] | Iterable[type[Exception]]) -> Catch:
    """Return a class of exceptions, or several, as a tuple; raise InvalidInput for anything else."""
    listed: tuple[Any, ...] = tuple(given) if isinstance(given, list | tuple | set | frozenset) else (given,)
    if not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in listed):
        raise InvalidInput(
            f"catch = {given!r} must be exception classes, such as catch=ValueError or catch=()"
        )
    return listed


def failure_of(error: Exception, catch: Catch) -> Failure:
    """Return the failure that an exception of an objective describes."""
    is_declared = isinstance(error, TrainingFailed)
    text = str(error) if is_declared else f"{type(error).__name__}: {error}".removesuffix(": ")
    failure = Failure(
        reason=text,
        kind=type(error).__name__,
        traceback=_text_of(error),
        is_import=isinstance(error, ImportError) or isinstance(error.__cause__, ImportError),
        uncaught=None if is_declared or isinstance(error, catch) else error,
    )
    if is_out_of_memory(error):
        reason = text if is_declared else f"out of memory: {error}"
        return replace(failure, reason=reason, kind="OutOfMemory")
    return failure


def failure_of_transfer(error: BaseException) -> Failure | None:
    """Return the failure of an objective or a result that cannot be sent; None if a worker died."""
    is_pickling = isinstance(error, pickle.PicklingError) or "pickle" in str(error).lower()
    if not is_pickling and not isinstance(error, HwoptError):
        return None
    return Failure(f"{type(error).__name__}: {first_line(error)}", type(error).__name__, _text_of(error))


def grouped(reason: str) -> str:
    """Return a reason without its numbers, the key by which failures are grouped."""
    return _NUMBER.sub("#", _OBJECT.sub("#", reason))


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message."""
    return str(error).strip().partition("\n")[0]


def _text_of(error: BaseException) -> str:
    text = "".join(traceback.format_exception(error))
    return text if len(text) <= _LONGEST else "...\n" + text[-_LONGEST:]


def _sendable(error: BaseException | None, reason: str) -> BaseException | None:
    if error is None:
        return None
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever a user's exception does when it is pickled
        return TrainingFailed(reason)
    return error
