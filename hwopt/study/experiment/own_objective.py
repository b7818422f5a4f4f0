"""A user's own training in an experiment: `objective = "my_training.py:objective"`.

    a function       objective(config, report) or objective(config, report, seed) --> error, or {"error":
    ..., ...} an object,       with such a __call__, or with run_slice(config, seed, checkpoint, n_epochs)
    --> SliceResult or its class     (`hwopt.train.ResumableObjective`): then trainings have checkpoints and
    weights

The file is imported in each process that trains; what is sent there is its path.
"""

import inspect
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from hwopt.errors import InvalidInput, TrainingFailed
from hwopt.network.loading import importing_from, load_attribute
from hwopt.study.run.objective_check import check_objective, takes_seed
from hwopt.train.result import Report, ResumableObjective, TrainingResult


class FileObjective:
    """An objective by the path of its file and its name, imported at the first use in each process.

    Raises:
        InvalidInput, UnknownName: at the first use, where the file cannot be imported or defines nothing of
        this
            name that trains.
    """

    def __init__(self, path: str, name: str) -> None:
        self.path, self.name = path, name

    @cached_property
    def loaded(self) -> Any:
        """The function or object that the file defines; an object of a class."""
        found = load_attribute(self.path, self.name)
        if isinstance(found, type):
            found = self._made(found)
        try:
            check_objective(found)
            if isinstance(found, ResumableObjective):
                inspect.signature(found.run_slice).bind({}, 0, None, 1)
        except InvalidInput as error:
            raise InvalidInput(f"{self.path}: {error}") from None
        except TypeError as error:
            wanted = "run_slice(config, seed, checkpoint, n_epochs)"
            raise InvalidInput(f"{self.path}: run_slice of {self.name}: {error}; wanted {wanted}") from None
        return found

    @property
    def hyperparameters(self) -> Any:
        """Names that the objective says that it reads; None if it does not say."""
        return getattr(self.loaded, "hyperparameters", None)

    def load_in_worker(self) -> None:
        """Import the file."""
        _ = self.loaded

    def __call__(self, config: Mapping[str, Any], report: Report, seed: int = 0) -> Any:
        """Train a config as the user's objective does."""
        keywords = {"seed": seed} if takes_seed(self.loaded) else {}
        with importing_from(Path(self.path).parent):
            return self.loaded(config, report, **keywords)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "name": self.name}

    def _made(self, kind: type) -> Any:
        try:
            with importing_from(Path(self.path).parent):
                return kind()
        except Exception as error:
            raise InvalidInput(
                f"{self.path}: {self.name}() raised {type(error).__name__}: {error}; the class of an "
                "objective is made without arguments"
            ) from error


class ResumableFileObjective(FileObjective):
    """One that trains in slices of epochs."""

    def run_slice(
        self, config: Mapping[str, Any], seed: int, checkpoint: bytes | None, n_epochs: int
    ) -> TrainingResult:
        """Train some epochs; see `ResumableObjective`.

        Raises:
            TrainingFailed: for a result that is no `SliceResult`.
        """
        with importing_from(Path(self.path).parent):
            result = self.loaded.run_slice(config, seed, checkpoint, n_epochs)
        if not isinstance(result, TrainingResult):
            raise TrainingFailed(f"run_slice returned {result!r:.100}; wanted a hwopt.train.SliceResult")
        return result

    def __call__(self, config: Mapping[str, Any], report: Report, seed: int = 0) -> Any:
        """Train a config to its end, an epoch a slice."""
        checkpoint, n_epochs = None, 0
        while True:
            result = self.run_slice(config, seed, checkpoint, 1)
            for error in result.errors:
                n_epochs += 1
                goes_on = report(n_epochs, error)
            if result.final is not None:
                return result.final
            if not result.errors:
                raise TrainingFailed("run_slice returned neither an epoch nor a final error")
            if goes_on is False:
                return result.errors[-1]
            checkpoint = result.checkpoint


def file_objective(source: str) -> FileObjective:
    """Return the objective of "FILE.py:NAME", imported and checked.

    Raises:
        InvalidInput, UnknownName: as of `FileObjective`.
    """
    path, _, name = source.rpartition(":")
    if not path.endswith(".py") or not name:
        raise InvalidInput(
            f'objective = {source!r}; write "my_training.py:objective", a file and a name in it'
        )
    objective = FileObjective(path, name)
    is_resumable = isinstance(objective.loaded, ResumableObjective)
    return ResumableFileObjective(path, name) if is_resumable else objective
