"""Checks of an objective before training, for faults that affect all configs.

arguments              in this process
pickling, imports      in a worker, if trainings run in workers
"""

import inspect
from concurrent.futures import Executor
from typing import Any

from hwopt.errors import HwoptError, InvalidInput, StudyError
from hwopt.train.failure import first_line
from hwopt.train.result import ResumableObjective


def takes_seed(objective: Any) -> bool:
    """Return whether an objective takes the seed of its trial."""
    try:
        parameters = inspect.signature(objective).parameters.values()
    except (TypeError, ValueError):
        return False  # a built-in function without a signature
    return any(p.name == "seed" or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def check_objective(objective: Any) -> None:
    """Raise InvalidInput if it cannot be called as `objective(config, report)`, with or without a seed."""
    if isinstance(objective, ResumableObjective):
        return
    wanted = "wanted a function objective(config, report) or objective(config, report, seed)"
    if not callable(objective):
        raise InvalidInput(f"objective = {objective!r:.200}; {wanted}")
    try:
        signature = inspect.signature(objective)
    except (TypeError, ValueError):
        return
    keywords = {"seed": 0} if takes_seed(objective) else {}
    try:
        signature.bind({}, None, **keywords)
    except TypeError as error:
        name = getattr(objective, "__name__", type(objective).__name__)
        raise InvalidInput(f"objective {name}{signature}: {error}; {wanted}") from None


def check_in_worker(executor: Executor, objective: Any) -> None:
    """Send an objective to a worker and load its modules and files there.

    Raises:
        StudyError: if it cannot be pickled, an import fails there, or the worker dies.
    """
    try:
        executor.submit(_load, objective).result()
    except HwoptError as error:
        raise StudyError(f"the objective cannot be used in a worker process: {error}") from error
    except Exception as error:
        raise StudyError(
            f"the objective cannot be sent to a worker process: {_innermost(error)}; create objects that "
            "cannot be pickled (locks, open files, connections) inside the objective, make its modules "
            "available to the workers, or train in this process (jobs=1)"
        ) from error


def _load(objective: Any) -> None:
    """Load an objective's files in a worker; unpickling has imported its modules."""
    load = getattr(objective, "load_in_worker", None)
    if callable(load):
        load()


def _innermost(error: BaseException) -> str:
    """Return the message of an exception, and the last line of its remote cause, which names the fault."""
    cause = str(error.__cause__ or "").strip().strip('"').strip()
    last = cause.rpartition("\n")[2].strip()
    own = f"{type(error).__name__}: {first_line(error)}"
    return f"{own} ({last})" if last and last not in own else own
