"""A user's own data as raw splits: from a function in a Python file, or a folder of images.

    "my_data.py:load"   load() --> a split, (train, test), (train, validation, test), or a dict of these
    "folder"            see `hwopt.train.image_folder`

A split is a pair (images [n, ...], labels [n]) of tensors or arrays, or a torch `Dataset` of pairs (image,
label); `load` may also return the path of an image folder, relative to its file. Classes are numbered 0 to
n_classes - 1. Every process that trains calls `load` again, so it must return the same data each time; it
is called with Python's, numpy's and torch's global random numbers seeded.
"""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwopt.errors import InvalidInput, UnknownName, did_you_mean
from hwopt.network.loading import call_function
from hwopt.train.image_folder import read_folder
from hwopt.train.sources import RawSplit

SPLITS = ("train", "validation", "test")
_WANTED = (
    "return (images, labels), a torch Dataset, or these as (train, test), (train, validation, test) or "
    '{"train": ..., "validation": ..., "test": ...}'
)


class RawSplits(NamedTuple):
    """The splits of a data set as they were given; None for one that is drawn from `train`."""

    train: RawSplit
    validation: RawSplit | None = None
    test: RawSplit | None = None


def read_source(source: str, input_shape: tuple[int, ...] | None = None) -> RawSplits:
    """Read and check a user's own data.

    Args:
        source: "FILE.py:FUNCTION", or the path of a folder of images.
        input_shape: (channels, height, width) that images of a folder are brought to; None leaves their size.

    Raises:
        InvalidInput, UnknownName: if nothing has that name, the function raises, or its result cannot be
            trained on; the message names the split and the remedy.
    """
    path, _, name = source.rpartition(":")
    if path.endswith(".py") and name:
        returned = _loaded(path, name)
        if not isinstance(returned, str | Path):
            return _checked(_named(returned, f"{name}()"), source)
        folder = Path(path).parent / returned
    elif source.endswith(".py"):
        raise InvalidInput(f"data: source = {source!r} names no function; write {source}:load")
    else:
        folder = Path(source)
    return _checked(read_folder(folder, input_shape), str(folder))


def _loaded(path: str, name: str) -> Any:
    with _seeded():
        return call_function(path, name)


@contextmanager
def _seeded() -> Iterator[None]:
    """Seed all global random numbers within a block, and restore them."""
    from hwopt.train.placement import seeded

    python, numpys = random.getstate(), np.random.get_state()
    random.seed(0)
    np.random.seed(0)
    try:
        with seeded(0):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpys)


# -- from returned values to raw splits


def _named(returned: Any, what: str) -> dict[str, RawSplit]:
    """Return the splits in the result of a function, by name."""
    if isinstance(returned, Mapping):
        for key in returned:
            if key not in SPLITS:
                raise UnknownName(f"{what} returned the split {key!r}{did_you_mean(str(key), SPLITS)}")
        given = dict(returned)
    elif _is_split(returned):
        given = {"train": returned}
    elif isinstance(returned, tuple | list) and len(returned) in (2, 3) and all(map(_is_split, returned)):
        names = SPLITS if len(returned) == 3 else ("train", "test")
        given = dict(zip(names, returned, strict=True))
    else:
        raise InvalidInput(f"{what} returned {_described(returned)}; {_WANTED}{_hint(returned)}")
    return {name: _raw(split, name, what) for name, split in given.items() if split is not None}


def _is_split(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return len(value) == 2 and _is_array(value[0]) and (_is_array(value[1]) or isinstance(value[1], list))
    return _is_dataset(value)


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _is_dataset(value: Any) -> bool:
    """Return whether a value can be read item by item, as a map-style torch Dataset."""
    is_plain = _is_array(value) or isinstance(value, Mapping | tuple | list | str | bytes)
    return not is_plain and hasattr(value, "__getitem__") and hasattr(value, "__len__")


def _hint(returned: Any) -> str:
    """Return advice on a value that is nearly data."""
    if hasattr(returned, "dataset") and hasattr(returned, "batch_size"):
        return "; of a DataLoader return its .dataset"
    if isinstance(returned, tuple | list):
        is_flat = len(returned) in (4, 6) and all(map(_is_array, returned))
        return "; put each split into a pair: (images, labels), (test_images, test_labels)" if is_flat else ""
    if hasattr(returned, "__iter__") and not _is_array(returned):
        return "; what is only iterated, without a length and items, cannot be shuffled"
    return ""


def _described(value: Any) -> str:
    """Return a short description of a value."""
    if value is None:
        return "None"
    if isinstance(value, tuple | list):
        return (
            f"a {type(value).__name__} of {len(value)} ({', '.join(type(one).__name__ for one in value[:4])})"
        )
    if _is_array(value):
        return f"one {type(value).__name__} of shape {tuple(value.shape)}, without labels"
    return f"a {type(value).__name__}"


def _raw(split: Any, name: str, what: str) -> RawSplit:
    """Return one split as arrays; labels are whole numbers, images are finite."""
    where = f"{what}: {name}"
    if not _is_split(split):
        raise InvalidInput(f"{where} is {_described(split)}; {_WANTED}{_hint(split)}")
    if isinstance(split, tuple | list):
        images, labels = _array(split[0], f"{where}: images"), _array(split[1], f"{where}: labels")
    else:
        images, labels = _collected(split, where)
    images = _checked_images(images, where)
    labels = _checked_labels(labels, where)
    if len(images) != len(labels):
        raise InvalidInput(
            f"{where} has {len(images):,} images and {len(labels):,} labels; wanted one label an image"
        )
    return RawSplit(images, labels)


def _array(value: Any, where: str) -> NDArray[Any]:
    """Return a tensor, an array or a list of numbers as an array."""
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
            value = (value.float() if value.is_floating_point() else value).numpy()  # numpy has no bfloat16
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # a sparse tensor, lists of different lengths
        raise InvalidInput(f"{where} cannot be an array: {error}") from None


def _collected(dataset: Any, where: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the items of a torch Dataset, stacked."""
    tensors = getattr(dataset, "tensors", None)  # of a TensorDataset
    if isinstance(tensors, tuple) and len(tensors) == 2:
        return _array(tensors[0], f"{where}: images"), _array(tensors[1], f"{where}: labels")
    images: list[NDArray[Any]] = []
    labels: list[NDArray[Any]] = []
    for position in range(len(dataset)):
        image, label = _item(dataset, position, where)
        if images and image.shape != images[0].shape:
            raise InvalidInput(
                f"{where}: item {position} has shape {image.shape}, the first {images[0].shape}; bring all "
                "images to one size"
            )
        images.append(image)
        labels.append(label)
    if not images:
        raise InvalidInput(f"{where} is empty")
    return np.stack(images), np.stack(labels)


def _item(dataset: Any, position: int, where: str) -> tuple[NDArray[Any], NDArray[Any]]:
    try:
        item = dataset[position]
    except Exception as error:
        raise InvalidInput(f"{where}: item {position} raised {type(error).__name__}: {error}") from error
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise InvalidInput(f"{where}: item {position} is {_described(item)}; wanted a pair (image, label)")
    image, label = item
    if hasattr(image, "getbands"):  # of PIL
        pixels = np.asarray(image.convert("RGB") if image.mode == "P" else image)
        image = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return _array(image, f"{where}: item {position}"), _array(label, f"{where}: label {position}")


# -- checks


def _checked_images(images: NDArray[Any], where: str) -> NDArray[Any]:
    """Return images as float32, bytes as they are."""
    if images.dtype.kind not in "biuf":
        raise InvalidInput(
            f"{where}: images are of type {images.dtype}; wanted numbers, such as float32 or uint8"
        )
    if images.ndim < 2:
        raise InvalidInput(
            f"{where}: images have shape {images.shape}; wanted [n, ...], such as [n, 3, 32, 32]"
        )
    if not images.size:
        raise InvalidInput(f"{where} is empty: its images have shape {images.shape}")
    if images.dtype != np.uint8:
        with np.errstate(over="ignore"):  # values too large for float32 become infinite
            images = images.astype(np.float32)
    is_finite = np.isfinite(images).reshape(len(images), -1).all(axis=1)
    if not is_finite.all():
        raise InvalidInput(
            f"{where}: {int((~is_finite).sum()):,} of {len(images):,} images have values that are not finite "
            f"(NaN or infinite); the first is number {int(np.argmin(is_finite))}"
        )
    return images


def _checked_labels(labels: NDArray[Any], where: str) -> NDArray[np.int64]:
    """Return labels as whole numbers, [n]."""
    if labels.dtype.kind not in "biuf":
        raise InvalidInput(f"{where}: labels are of type {labels.dtype}; number the classes 0, 1, 2, ...")
    if labels.ndim != 1:
        hint = ""
        if labels.ndim == 2:
            hint = "; squeeze(1) them" if labels.shape[1] == 1 else "; of one-hot labels give argmax(1)"
        raise InvalidInput(
            f"{where}: labels have shape {labels.shape}; wanted one whole number an image, [n]{hint}"
        )
    whole = labels.astype(np.int64, casting="unsafe") if np.isfinite(labels).all() else None
    if whole is None or not np.array_equal(whole, labels):
        raise InvalidInput(f"{where}: labels are not whole numbers; number the classes 0, 1, 2, ...")
    return whole


def _checked(splits: Mapping[str, RawSplit], source: str) -> RawSplits:
    """Return the splits; raise InvalidInput unless their classes and shapes agree."""
    if "train" not in splits:
        raise InvalidInput(f"{source}: there is no train split, only {', '.join(splits) or 'nothing'}")
    found = RawSplits(**splits)
    _check_classes(found.train.labels, source)
    n_classes, shape = int(found.train.labels.max()) + 1, found.train.images.shape[1:]
    for name, split in splits.items():
        if split.images.shape[1:] != shape:
            raise InvalidInput(
                f"{source}: images of {name} have shape {split.images.shape[1:]}, those of train {shape}"
            )
        low, high = int(split.labels.min()), int(split.labels.max())
        if low < 0 or high >= n_classes:
            raise InvalidInput(
                f"{source}: labels of {name} go from {low} to {high}, those of train from 0 to "
                f"{n_classes - 1}"
            )
    return found


def _check_classes(labels: NDArray[np.int64], source: str) -> None:
    """Refuse labels of train that are not 0 to n_classes - 1, or of a single class."""
    classes = np.unique(labels)
    if len(classes) == 1:
        raise InvalidInput(f"{source}: all labels of train are {classes[0]}; wanted two classes at least")
    if classes[0] < 0:
        raise InvalidInput(
            f"{source}: labels of train begin at {classes[0]}; number the classes 0, 1, 2, ..."
        )
    missing = next((i for i, label in enumerate(classes.tolist()) if i != label), None)
    if missing is not None:
        raise InvalidInput(
            f"{source}: no image of train has the label {missing}, and the labels go to {classes[-1]}; "
            "number the classes 0, 1, 2, ... without a gap"
        )
