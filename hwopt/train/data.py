"""Data sets as three splits of tensors: train, validation, test.

    a name    digits, mnist, fashion_mnist, cifar10: see `hwopt.train.sources`
    a source  a user's own: see `hwopt.train.own_data`

They are small enough to stay in memory, so there is no loader. The test set is the published or given one
(a fixed fifth if there is none) and never depends on a seed; the validation set, if none is given, is
drawn from the rest, stratified, with the seed. Images are normalised with the mean and the standard
deviation of each channel of the train split.
"""

import hashlib
import math
import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwopt.errors import InvalidInput
from hwopt.train.own_data import RawSplits, read_source
from hwopt.train.sources import RawSplit, find_source, read_raw

if TYPE_CHECKING:
    import torch

_TEST_SHARE = 0.2
_TEST_SEED = 0
_VALIDATION_SHARE = 0.2  # of a user's own data outside the test set
_LARGEST_SEED = 2**32 - 1  # of numpy's RandomState, with which scikit-learn draws


class Split(NamedTuple):
    """Images, float32, shape [n, c, h, w], and their labels, int64, shape [n]; own data may be [n, ...]."""

    images: "torch.Tensor"
    labels: "torch.Tensor"


@dataclass(frozen=True)
class DatasetSpec:
    """Description of a data set without its images, small to pickle; fields are arguments of `load_dataset`.

    A user's own data has a `source` (see `hwopt.train.own_data`) beside a name of any kind, perhaps the
    `input_shape` that images of a folder are brought to, and `normalise`, whether values are normalised or
    taken as they are.
    """

    name: str
    data_dir: str | Path | None = None
    validation_share: float | None = None
    subset: int | None = None
    seed: int = 0
    download: bool = True
    source: str | None = None
    input_shape: tuple[int, ...] | None = None
    normalise: bool = True

    def load(self) -> "Dataset":
        """Return the data set; an equal spec in the same process gives the same object.

        A source whose file or folder was changed meanwhile is loaded again.
        """
        return _load_once(self, None if self.source is None else _changed_ns(self.source))


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory: three splits and their properties."""

    name: str
    n_classes: int
    input_shape: tuple[int, ...]  # of images channels, height, width
    chance_error: float  # of always naming the largest class of the train split, 0 to 1
    train: Split = field(repr=False)
    validation: Split = field(repr=False)
    test: Split = field(repr=False)
    spec: DatasetSpec | None = field(default=None, repr=False)  # None: made by hand, travels with its tensors
    digest: str | None = None  # fingerprint of the content of a user's own data


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
            variable HWOPT_DATA_DIR, else the cache folder, into which torchvision downloads missing files.
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
def _load_once(spec: DatasetSpec, changed_ns: int | None) -> Dataset:
    return _load(spec)


def _changed_ns(source: str) -> int | None:
    """Return when the file or folder of a source was changed; None if it is not there."""
    path, _, _ = source.rpartition(":")
    try:
        return os.stat(path if path.endswith(".py") else source).st_mtime_ns
    except OSError:
        return None


def _load(spec: DatasetSpec) -> Dataset:
    _check_seed(spec.seed)
    if spec.source is not None:
        given = read_source(spec.source, spec.input_shape)
        n_classes, digest = int(given.train.labels.max()) + 1, _digest(given)
        splits = _completed(given, spec)
        return _normalised(spec, n_classes, *_reduced(splits, spec), digest=digest)
    source = find_source(spec.name)
    rest, test = _read_digits() if source.name == "digits" else read_raw(source, spec.data_dir, spec.download)
    share = source.validation_share if spec.validation_share is None else spec.validation_share
    train, validation = _drawn_validation(rest, share, spec.seed)
    return _normalised(spec, source.n_classes, *_reduced((train, validation, test), spec))


def _completed(given: RawSplits, spec: DatasetSpec) -> tuple[RawSplit, RawSplit, RawSplit]:
    """Return the three splits of a user's own data; those that were not given are drawn from train."""
    train, validation, test = given
    if test is None:
        train, test = _divide(train, round(_TEST_SHARE * len(train.labels)), _TEST_SEED, "a test split")
    if validation is None:
        share = _VALIDATION_SHARE if spec.validation_share is None else spec.validation_share
        train, validation = _drawn_validation(train, share, spec.seed)
    elif spec.validation_share is not None:
        raise InvalidInput(
            "data: validation_share: the source gives a validation split already; leave it out"
        )
    return train, validation, test


def _drawn_validation(rest: RawSplit, share: float, seed: int) -> tuple[RawSplit, RawSplit]:
    _check_share(share, rest)
    return _divide(rest, round(share * len(rest.labels)), seed, f"validation_share {share}")


def _reduced(
    splits: tuple[RawSplit, RawSplit, RawSplit], spec: DatasetSpec
) -> tuple[RawSplit, RawSplit, RawSplit]:
    """Return the splits with the wanted subset of train."""
    train, validation, test = splits
    if spec.subset is not None and spec.subset != len(train.labels):
        _check_subset(spec.subset, train)
        _, train = _divide(train, spec.subset, spec.seed, f"subset {spec.subset}")
    return train, validation, test


def _digest(splits: RawSplits) -> str:
    """Return a fingerprint of all images and labels."""
    found = hashlib.sha256()
    for split in splits:
        for array in split or ():
            found.update(f"{array.dtype}{array.shape}".encode())
            found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()[:16]


def _check_seed(seed: object) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed <= _LARGEST_SEED:
        raise InvalidInput(f"data: seed = {seed!r} must be a whole number from 0 to {_LARGEST_SEED}")


def _check_share(share: float, split: RawSplit) -> None:
    """Raise InvalidInput if the share leaves one part with fewer images than there are classes."""
    n, n_classes = len(split.labels), len(np.unique(split.labels))
    is_number = isinstance(share, int | float) and not isinstance(share, bool)
    if not is_number or not 0 < share < 1 or not n_classes <= round(share * n) <= n - n_classes:
        low = math.ceil(1e4 * n_classes / n) / 1e4
        raise InvalidInput(
            f"validation_share {share!r} must lie between {low:g} and {1 - low:g}: both parts of the {n:,} "
            f"images need one of each of the {n_classes} classes"
        )


def _check_subset(subset: int, train: RawSplit) -> None:
    """Raise InvalidInput if the subset, or the rest, has fewer images than there are classes."""
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
    return _divide(every, round(_TEST_SHARE * len(labels)), _TEST_SEED, "digits")


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
    spec: DatasetSpec,
    n_classes: int,
    train: RawSplit,
    validation: RawSplit,
    test: RawSplit,
    digest: str | None = None,
) -> Dataset:
    mean, std = _channel_statistics(train.images) if spec.normalise else (np.float32(0), np.float32(1))
    largest = np.bincount(train.labels).max() / len(train.labels)
    return Dataset(
        name=spec.name,
        n_classes=n_classes,
        input_shape=train.images.shape[1:],
        chance_error=float(1 - largest),
        train=_tensors(train, mean, std),
        validation=_tensors(validation, mean, std),
        test=_tensors(test, mean, std),
        spec=spec,
        digest=digest,
    )


def _channel_statistics(images: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and deviation of each channel, shape [c, 1, 1]; a constant channel has deviation 1.

    Images [n, c, ...] of a user's own data may have any number of sides; the result has shape [c, 1, ...].
    """
    sides = tuple(range(2, images.ndim))
    mean = images.mean(axis=(0, *sides), dtype=np.float64)
    square = np.array(
        [np.square(images[:, c], dtype=np.float32).mean(dtype=np.float64) for c in range(len(mean))]
    )
    std = np.sqrt(np.maximum(square - mean**2, 0))
    std[std < 1e-6] = 1
    shape = (-1, *(1 for _ in sides))
    return mean.astype(np.float32).reshape(shape), std.astype(np.float32).reshape(shape)


def _tensors(split: RawSplit, mean: Any, std: Any) -> Split:
    import torch

    images = split.images.astype(np.float32)  # a copy, so the arithmetic may be in place
    images -= mean
    images /= std
    return Split(torch.from_numpy(images), torch.from_numpy(split.labels))
