"""Training settings of a study, and the hyperparameters that override them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from hwopt.errors import InvalidInput, UnknownName, did_you_mean
from hwopt.train.schedule import SCHEDULES

OPTIMIZERS = ("sgd", "adam", "adamw")

# Standard names of hyperparameters -> the field that each overrides.
HYPERPARAMETERS = {
    "learning_rate": "learning_rate",
    "momentum": "momentum",
    "weight_decay": "weight_decay",
    "optimizer": "optimizer",
    "train_batch_size": "batch_size",
    "label_smoothing": "label_smoothing",
    "schedule": "schedule",
    "batch_size": "batch_size",  # the same as train_batch_size
}
# Their names in other programs.
_SYNONYMS = {
    "learning_rate": "lr eta alpha step_size stepsize base_lr initial_lr init_lr max_lr lr0 learningrate",
    "momentum": "mom mu beta beta1 nesterov",
    "weight_decay": "wd l2 l2_reg l2_penalty decay regularization weightdecay lambda",
    "optimizer": "optim opt optimiser algorithm solver optimizer_name optimizer_type",
    "train_batch_size": "bs batch batchsize minibatch mini_batch minibatch_size mini_batch_size n_batch",
    "label_smoothing": "smoothing ls smooth label_smooth",
    "schedule": "scheduler lr_schedule lr_scheduler sched annealing lr_policy learning_rate_schedule",
}
_STANDARD = {word: name for name, words in _SYNONYMS.items() for word in words.split()}


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of one training, checked at construction.

    Raises:
        UnknownName: an optimizer or schedule that there is not, with the closest known one.
        InvalidInput: a number out of its range.
    """

    __pydantic_config__ = {"use_attribute_docstrings": True, "extra": "forbid"}  # of the JSON schema

    epochs: int = 15
    """Passes over the training images."""
    batch_size: int = 128
    """Images in a step of training; that of the costs is the device's."""
    optimizer: str = "sgd"
    """The optimizer."""
    learning_rate: float = 0.05
    """The highest of the schedule."""
    momentum: float = 0.9
    """Of sgd; the others have their own moments."""
    weight_decay: float = 1e-4
    """Weight decay."""
    schedule: str = "cosine"
    """Of the learning rate; cosine goes to zero over all steps."""
    label_smoothing: float = 0.0
    """Share of the target that is spread over all classes."""
    auxiliary_weight: float = 0.3
    """Of the loss of each auxiliary classifier, in networks that have some."""
    device: str = "auto"
    """Device of the training: "auto" is a GPU if there is one, else "cpu"; or a name for torch.device."""
    threads: int | None = None
    """Of one training on a CPU; torch's number if absent."""
    deterministic: bool = False
    """Ask for deterministic kernels on a GPU too; a CPU repeats itself anyway."""
    channels_last: bool | None = None
    """Memory layout; if absent, channels last on a CPU if the network runs so: up to 1.6 times as fast."""
    mixed_precision: bool = False
    """Use bfloat16 where autocast allows it; helps large networks on a GPU."""
    flip: bool = False
    """Mirror training images left to right, each with probability a half."""
    crop: int = 0
    """Pixels by which training images move at random, at most, in each direction."""

    def __post_init__(self) -> None:
        _check_word("optimizer", self.optimizer, OPTIMIZERS)
        _check_word("schedule", self.schedule, SCHEDULES)
        for name in ("epochs", "batch_size", "threads"):
            _check_count(name, getattr(self, name))
        _check_count("crop", self.crop, at_least=0)
        if not isinstance(self.channels_last, bool | None):
            raise InvalidInput(f"channels_last = {self.channels_last!r}: write true or false")
        for name in ("deterministic", "mixed_precision", "flip"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidInput(f"{name} = {getattr(self, name)!r}: write true or false")
        _check_number("learning_rate", self.learning_rate, above_zero=True)
        _check_number("momentum", self.momentum, below=1)
        _check_number("weight_decay", self.weight_decay)
        _check_number("label_smoothing", self.label_smoothing, below=1)
        _check_number("auxiliary_weight", self.auxiliary_weight)

    def with_config(self, config: Mapping[str, Any]) -> "TrainingSettings":
        """Return these settings with the standard hyperparameters of `config` in place of their own.

        The standard names are learning_rate, momentum, weight_decay, optimizer, train_batch_size (or
        batch_size), label_smoothing and schedule; all else in a configuration is the network's business.

        Raises:
            InvalidInput: if both names of the batch size are there, or a value is out of its range.
        """
        check_batch_size(config)
        return replace(self, **{to: config[name] for name, to in HYPERPARAMETERS.items() if name in config})


def check_batch_size(names: Collection[str]) -> None:
    """Raise InvalidInput if both names of the batch size of training are among these."""
    if "batch_size" in names and "train_batch_size" in names:
        raise InvalidInput("batch_size and train_batch_size are the same hyperparameter; keep one of them")


def check_read(unread: Sequence[str], asked: Collection[str] = ()) -> None:
    """Raise UnknownName for hyperparameters that no one reads, each with the closest known name.

    Args:
        unread: hyperparameters that neither `build` nor the trainer reads.
        asked: keys that `build` asks for and that are not hyperparameters.
    """
    if unread:
        raise UnknownName("\n".join(f"{_unread(name, asked)}" for name in unread))


def standard_name(name: str) -> str | None:
    """Return the standard name of a hyperparameter that other programs call by this name, or None."""
    word = name.lower().replace("-", "_")
    return word if word in HYPERPARAMETERS else _STANDARD.get(word)


def _unread(name: str, asked: Collection[str]) -> str:
    known = list(dict.fromkeys([*HYPERPARAMETERS, *sorted(asked)]))
    standard = standard_name(name)
    hint = f"; did you mean {standard}?" if standard else did_you_mean(name.lower(), known)
    return f"`{name}` is read neither by build nor by the trainer{hint}"


def _check_word(name: str, word: str, known: tuple[str, ...]) -> None:
    if word not in known:
        raise UnknownName(f"{name} {word!r}{did_you_mean(str(word), known)}")


def _check_count(name: str, value: int | None, at_least: int = 1) -> None:
    if value is not None and (not _is_number(value) or value % 1 != 0 or value < at_least):
        raise InvalidInput(f"{name} {value!r} must be a whole number of at least {at_least}")


def _check_number(name: str, value: float, below: float = float("inf"), above_zero: bool = False) -> None:
    if not _is_number(value) or not 0 <= value < below or (above_zero and value == 0):
        limit = "finite" if below == float("inf") else f"below {below:g}"
        raise InvalidInput(f"{name} {value!r} must be {'above 0' if above_zero else '0 or more'} and {limit}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
