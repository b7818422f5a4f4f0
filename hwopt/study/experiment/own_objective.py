"""Objective of a user in an experiment: `objective = "my_training.py:objective"`.

    function            objective(config, report) or objective(config, report, seed)
                        --> error, or {"error": ..., ...}
    object or class     with such a __call__, or with run_slice(config, seed, checkpoint, n_epochs)
                        --> SliceResult (`hwopt.train.ResumableObjective`): with checkpoints and weights

The file is imported in each process that trains; only its path is sent there.
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
    """Objective by the path of its file and its name, imported at the first use in each process.

    Raises:
        InvalidInput, UnknownName: at the first use, if the file cannot be imported or has no objective of
            this name.
    """

    def __init__(self, path: str, name: str) -> None:
        self.path, self.name = path, name

    @cached_property
    def loaded(self) -> Any:
        """Function or object that the file defines; for a class an instance."""
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
        """Hyperparameters that the objective declares to read; None if it declares none."""
        return getattr(self.loaded, "hyperparameters", None)

    def load_in_worker(self) -> None:
        """Import the file."""
        _ = self.loaded

    def __call__(self, config: Mapping[str, Any], report: Report, seed: int = 0) -> Any:
        """Train a config with the user's objective."""
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
                "objective is constructed without arguments"
            ) from error


class ResumableFileObjective(FileObjective):
    """File objective that trains in slices of epochs."""

    def run_slice(
        self, config: Mapping[str, Any], seed: int, checkpoint: bytes | None, n_epochs: int
    ) -> TrainingResult:
        """Train some epochs; see `ResumableObjective`.

        Raises:
            TrainingFailed: for a result that is not a `SliceResult`.
        """
        with importing_from(Path(self.path).parent):
            result = self.loaded.run_slice(config, seed, checkpoint, n_epochs)
        if not isinstance(result, TrainingResult):
            raise TrainingFailed(f"run_slice returned {result!r:.100}; wanted a hwopt.train.SliceResult")
        return result

    def __call__(self, config: Mapping[str, Any], report: Report, seed: int = 0) -> Any:
        """Train a config to its end, in slices of one epoch."""
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
        InvalidInput, UnknownName: as for `FileObjective`.
    """
    path, _, name = source.rpartition(":")
    if not path.endswith(".py") or not name:
        raise InvalidInput(
            f'objective = {source!r}; write "my_training.py:objective", a file and a name in it'
        )
    objective = FileObjective(path, name)
    is_resumable = isinstance(objective.loaded, ResumableObjective)
    return ResumableFileObjective(path, name) if is_resumable else objective
