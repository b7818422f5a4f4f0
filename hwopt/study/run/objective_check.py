"""Faults of the set-up, found before anything is trained: what no config can help burns no trial.

the objective's arguments   in this process
sending it, its imports     in a worker, where it is trained in workers
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
        return False  # a built-in function that does not say what it takes
    return any(p.name == "seed" or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def check_objective(objective: Any) -> None:
    """Raise InvalidInput for what cannot be called as `objective(config, report)`, with or without a seed."""
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
    """Send an objective to a worker and load there what it needs.

    Raises:
        StudyError: if it cannot be sent, an import fails there, or the worker dies of it.
    """
    try:
        executor.submit(_load, objective).result()
    except HwoptError as error:
        raise StudyError(f"the objective cannot be used in a worker process: {error}") from error
    except Exception as error:
        raise StudyError(
            f"the objective cannot be sent to a worker process: {_innermost(error)}; keep what cannot be "
            "pickled (locks, open files, connections) out of it or make it inside, have its modules where "
            "the workers are, or train in this process (jobs=1)"
        ) from error


def _load(objective: Any) -> None:
    """Load what an objective needs in a worker; arriving there, it has imported its modules."""
    load = getattr(objective, "load_in_worker", None)
    if callable(load):
        load()


def _innermost(error: BaseException) -> str:
    """Return what an exception says, and the last line of its remote cause: that names what is wrong."""
    cause = str(error.__cause__ or "").strip().strip('"').strip()
    last = cause.rpartition("\n")[2].strip()
    own = f"{type(error).__name__}: {first_line(error)}"
    return f"{own} ({last})" if last and last not in own else own
