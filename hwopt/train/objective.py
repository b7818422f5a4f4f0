"""The objective of a study: a configuration in, the error of the trained network out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hwopt.errors import InvalidInput, TrainingFailed
from hwopt.space.search_space import Config, SearchSpace
from hwopt.train.data import Dataset, DatasetSpec
from hwopt.train.placement import seeded
from hwopt.train.result import Epoch, Report, TrainingResult
from hwopt.train.settings import HYPERPARAMETERS, TrainingSettings
from hwopt.train.trainer import Training, train


@dataclass(frozen=True)
class _Live:
    """A training of this process as its last slice left it, so that the next slice here need not load it."""

    settings: TrainingSettings
    config: Config
    seed: int
    dataset: Dataset
    checkpoint: bytes
    training: Training

    def continues(
        self, settings: TrainingSettings, config: Config, seed: int, dataset: Dataset, checkpoint: bytes
    ) -> bool:
        """Tell whether this is the training of a checkpoint."""
        same = (self.settings, self.config, self.seed) == (settings, config, seed)
        return same and self.dataset is dataset and self.checkpoint == checkpoint


_live: _Live | None = None


class TrainingObjective:
    """Build the network of a configuration, train it, return its error: `objective(config, report, seed)`.

    It trains in slices as well (`run_slice`), so that a study can stop a training, or go on with one whose
    process died. It pickles without its images and without a loaded space: a worker process loads both when
    it first needs them, and an equal data set only once however many objectives arrive.
    """

    hyperparameters = frozenset(HYPERPARAMETERS)  # that it reads, beside those of the network

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

    @property
    def n_epochs(self) -> int:
        """Epochs of a whole training."""
        return self.settings.epochs

    @cached_property
    def space(self) -> SearchSpace:
        """The search space, loaded at the first use in each process."""
        return self._space if isinstance(self._space, SearchSpace) else self._space()

    @property
    def dataset(self) -> Dataset:
        """The data set, loaded at the first use in each process."""
        return self._dataset.load() if isinstance(self._dataset, DatasetSpec) else self._dataset

    def load_in_worker(self) -> None:
        """Load the space and the data set, so that missing files are reported before the first training."""
        _ = self.space, self.dataset

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
            `error` (validation) and `test_error`, 0 to 1; `calibration_error` and `worst_class_error` of
            the validation split; `train_seconds`; `n_epochs`, those that ran.

        Raises:
            TrainingFailed: the network could not be built or trained; the message says why.
            InvalidInput, UnknownName: a standard hyperparameter has a value that no training can have.
        """
        settings = self.settings.with_config(config)
        result = train(self._build(dict(config), seed), self.dataset, settings, seed, report)
        final = dict(result.final or {})
        return {**final, "train_seconds": result.train_seconds, "n_epochs": result.n_epochs}

    def run_slice(
        self, config: Mapping[str, Any], seed: int, checkpoint: bytes | None, n_epochs: int
    ) -> TrainingResult:
        """Train some epochs, from a checkpoint or from the start; see `ResumableObjective`.

        Slices give the errors of one uninterrupted training, on a CPU bit by bit. `final` has `error`,
        `test_error`, `calibration_error` and `worst_class_error`.

        Raises:
            TrainingFailed, InvalidInput, UnknownName: as of a call.
        """
        global _live
        training = self._resumed(dict(config), seed, checkpoint)
        _live = None  # do not reuse a training whose slice fails
        epochs: list[Epoch] = []
        while len(epochs) < n_epochs and not training.has_ended:
            epochs.append(training.run_epoch())
        if training.has_ended:
            final = training.final_values(epochs[-1].error)
            return TrainingResult.of_epochs(epochs, checkpoint=training.weights(), final=final)
        saved = training.checkpoint()
        _live = _Live(training.settings, dict(config), seed, training.dataset, saved, training)
        return TrainingResult.of_epochs(epochs, checkpoint=saved)

    def _resumed(self, config: Config, seed: int, checkpoint: bytes | None) -> Training:
        """Return the training of a checkpoint, or a new one; that of the last slice here if it is that."""
        settings, dataset = self.settings.with_config(config), self.dataset
        if (
            checkpoint is not None
            and _live is not None
            and _live.continues(settings, config, seed, dataset, checkpoint)
        ):
            return _live.training
        training = Training(self._build(config, seed), dataset, settings, seed)
        if checkpoint is not None:
            training.restore(checkpoint)
        return training

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
