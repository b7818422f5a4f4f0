"""The objective of a study: a configuration in, the error of the trained network out."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from hwopt.errors import InvalidInput, TrainingFailed
from hwopt.space import Config, SearchSpace
from hwopt.train.data import Dataset, DatasetSpec
from hwopt.train.settings import TrainingSettings
from hwopt.train.trainer import Report, seeded, train


class TrainingObjective:
    """Build the network of a configuration, train it, return its error: `objective(config, report, seed)`.

    It pickles without its images and without a loaded space: a worker process loads both when it first needs
    them, and an equal data set only once however many objectives arrive.
    """

    def __init__(
        self,
        space: SearchSpace | Callable[[], SearchSpace],
        dataset: str | DatasetSpec | Dataset,
        settings: TrainingSettings | None = None,
    ) -> None:
        """Take a space and a data set.

        Args:
            space: a search space, or a function without arguments that returns it. Only picklable things
                reach other processes: for a space with lambdas give a function, such as one that loads its
                file.
            dataset: a name, a spec, or a data set; one from `load_dataset` is pickled as its spec.
            settings: those that the configuration does not override; None for the defaults.
        """
        self.settings = settings or TrainingSettings()
        self._dataset = DatasetSpec(dataset) if isinstance(dataset, str) else dataset
        self._space = space

    @cached_property
    def space(self) -> SearchSpace:
        """The search space, loaded at the first use in each process."""
        return self._space if isinstance(self._space, SearchSpace) else self._space()

    @property
    def dataset(self) -> Dataset:
        """The data set, loaded at the first use in each process."""
        return self._dataset.load() if isinstance(self._dataset, DatasetSpec) else self._dataset

    def __call__(
        self, config: Mapping[str, Any], report: Report | None = None, seed: int = 0
    ) -> dict[str, float]:
        """Train one configuration.

        Args:
            config: values of the active hyperparameters; the standard names (`TrainingSettings.with_config`)
                override the settings.
            report: as of `train`: called with the epoch, from 1, and its validation error; False stops the
                training.
            seed: of the first weights and of the training.

        Returns:
            `error` (validation) and `test_error`, 0 to 1; `train_seconds`; `n_epochs`, those that ran.

        Raises:
            TrainingFailed: the network could not be built or trained; the message says why.
            InvalidInput, UnknownName: a standard hyperparameter has a value that no training can have.
        """
        settings = self.settings.with_config(config)
        dataset = self.dataset
        result = train(self._build(dict(config), seed), dataset, settings, seed, report)
        return {
            "error": result.error,
            "test_error": result.test_error,
            "train_seconds": result.train_seconds,
            "n_epochs": result.n_epochs,
        }

    def _build(self, config: Config, seed: int) -> Any:
        build = self.space.build
        if build is None:
            raise InvalidInput("this search space has no build=, so there is no network to train")
        try:
            with seeded(seed):
                return build(config)
        except Exception as error:
            raise TrainingFailed(f"build raised {type(error).__name__}: {error} (config {config})") from error

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.pop("space", None)
        if isinstance(self._dataset, Dataset) and self._dataset.spec is not None:
            state["_dataset"] = self._dataset.spec
        return state
