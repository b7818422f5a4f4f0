"""Data sets as three splits of tensors: train, validation, test.

They are small enough to stay in memory, so there is no loader. The test set is the published one (a fixed
fifth for digits, which has none) and never depends on a seed; the validation set is drawn from the rest,
stratified, with the seed. Images are normalised with the mean and the standard deviation of each channel of
the train split.
"""

import math
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwopt.errors import InvalidInput
from hwopt.train.sources import RawSplit, Source, find_source, read_raw

if TYPE_CHECKING:
    import torch

_DIGITS_TEST_SHARE = 0.2
_DIGITS_TEST_SEED = 0
_LARGEST_SEED = 2**32 - 1  # of numpy's RandomState, with which scikit-learn draws


class Split(NamedTuple):
    """Images, float32, normalised, shape [n, c, h, w], and their labels, int64, shape [n]."""

    images: "torch.Tensor"
    labels: "torch.Tensor"


@dataclass(frozen=True)
class DatasetSpec:
    """What to load, without the images: small to pickle. Fields as the arguments of `load_dataset`."""

    name: str
    data_dir: str | Path | None = None
    validation_share: float | None = None
    subset: int | None = None
    seed: int = 0
    download: bool = True

    def load(self) -> "Dataset":
        """Return the data set; an equal spec in the same process gives the same object."""
        return _load_once(self)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory: three splits and what a network and a study need to know of them."""

    name: str
    n_classes: int
    input_shape: tuple[int, int, int]  # channels, height, width
    chance_error: float  # of always naming the largest class of the train split, 0 to 1
    train: Split = field(repr=False)
    validation: Split = field(repr=False)
    test: Split = field(repr=False)
    spec: DatasetSpec | None = field(default=None, repr=False)  # None: made by hand, travels with its tensors


def load_dataset(
    name: str,
    data_dir: str | Path | None = None,
    validation_share: float | None = None,
    subset: int | None = None,
    seed: int = 0,
    download: bool = True,
) -> Dataset:
    """Load "digits", "mnist", "fashion_mnist" or "cifar10".

    Args:
        name: the data set. "digits" is scikit-learn's, 1x8x8, and needs no files.
        data_dir: a folder with its files, plain or `.gz`, which may be read-only; else the environment
            variable HWOPT_DATA_DIR, else the cache folder, into which torchvision downloads what is missing.
        validation_share: share of the images outside the test set, 0 to 1; by default 10,000 images
            (digits: a fifth of all, so that train, validation and test are 60, 20 and 20%).
        subset: number of training images to keep, stratified, for quick runs; validation and test stay whole.
        seed: of the draw of validation set and subset.
        download: whether anything may be fetched.

    Raises:
        UnknownName: no such data set.
        InvalidInput: no such folder, nothing found, a damaged file, or a share or subset that leaves a class
            empty.
    """
    return _load(DatasetSpec(name, data_dir, validation_share, subset, seed, download))


@lru_cache(maxsize=2)
def _load_once(spec: DatasetSpec) -> Dataset:
    return _load(spec)


def _load(spec: DatasetSpec) -> Dataset:
    source = find_source(spec.name)
    _check_seed(spec.seed)
    rest, test = _read_digits() if source.name == "digits" else read_raw(source, spec.data_dir, spec.download)
    share = source.validation_share if spec.validation_share is None else spec.validation_share
    _check_share(share, rest)
    train, validation = _divide(rest, round(share * len(rest.labels)), spec.seed, f"validation_share {share}")
    if spec.subset is not None and spec.subset != len(train.labels):
        _check_subset(spec.subset, train)
        _, train = _divide(train, spec.subset, spec.seed, f"subset {spec.subset}")
    return _normalised(source, spec, train, validation, test)


def _check_seed(seed: object) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed <= _LARGEST_SEED:
        raise InvalidInput(f"data: seed = {seed!r} must be a whole number from 0 to {_LARGEST_SEED}")


def _check_share(share: float, split: RawSplit) -> None:
    """Raise InvalidInput where the share leaves one part with fewer images than there are classes."""
    n, n_classes = len(split.labels), len(np.unique(split.labels))
    is_number = isinstance(share, int | float) and not isinstance(share, bool)
    if not is_number or not 0 < share < 1 or not n_classes <= round(share * n) <= n - n_classes:
        low = math.ceil(1e4 * n_classes / n) / 1e4
        raise InvalidInput(
            f"validation_share {share!r} must lie between {low:g} and {1 - low:g}: both parts of the {n:,} "
            f"images need one of each of the {n_classes} classes"
        )


def _check_subset(subset: int, train: RawSplit) -> None:
    """Raise InvalidInput where the subset, or what it leaves, has fewer images than there are classes."""
    n, n_classes = len(train.labels), len(np.unique(train.labels))
    is_whole = isinstance(subset, int | np.integer) and not isinstance(subset, bool)
    if not is_whole or not n_classes <= subset <= n - n_classes:
        raise InvalidInput(
            f"subset {subset!r} must lie between {n_classes}, one image of each class, and {n - n_classes}; "
            f"leave it out for all {n} training images"
        )


def _read_digits() -> tuple[RawSplit, RawSplit]:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    every = RawSplit(images.reshape(-1, 1, 8, 8), labels.astype(np.int64))
    return _divide(every, round(_DIGITS_TEST_SHARE * len(labels)), _DIGITS_TEST_SEED, "digits")


def _divide(split: RawSplit, n_second: int, seed: int, what: str) -> tuple[RawSplit, RawSplit]:
    """Divide into two stratified parts, the second with `n_second` images."""
    from sklearn.model_selection import train_test_split

    indices = np.arange(len(split.labels))
    try:
        parts = train_test_split(indices, test_size=n_second, random_state=seed, stratify=split.labels)
    except ValueError as error:
        raise InvalidInput(
            f"{what} of {len(indices)} images cannot be drawn from every class: {error}"
        ) from error
    first, second = (np.sort(part) for part in parts)
    return RawSplit(split.images[first], split.labels[first]), RawSplit(
        split.images[second], split.labels[second]
    )


def _normalised(
    source: Source, spec: DatasetSpec, train: RawSplit, validation: RawSplit, test: RawSplit
) -> Dataset:
    mean, std = _channel_statistics(train.images)
    largest = np.bincount(train.labels).max() / len(train.labels)
    return Dataset(
        name=source.name,
        n_classes=source.n_classes,
        input_shape=source.input_shape,
        chance_error=float(1 - largest),
        train=_tensors(train, mean, std),
        validation=_tensors(validation, mean, std),
        test=_tensors(test, mean, std),
        spec=spec,
    )


def _channel_statistics(images: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and deviation of each channel, shape [c, 1, 1]; a constant channel has deviation 1."""
    mean = images.mean(axis=(0, 2, 3), dtype=np.float64)
    square = np.array(
        [np.square(images[:, c], dtype=np.float32).mean(dtype=np.float64) for c in range(len(mean))]
    )
    std = np.sqrt(np.maximum(square - mean**2, 0))
    std[std < 1e-6] = 1
    return mean.astype(np.float32)[:, None, None], std.astype(np.float32)[:, None, None]


def _tensors(split: RawSplit, mean: NDArray[np.float32], std: NDArray[np.float32]) -> Split:
    import torch

    images = split.images.astype(np.float32)  # a copy, so the arithmetic may be in place
    images -= mean
    images /= std
    return Split(torch.from_numpy(images), torch.from_numpy(split.labels))
