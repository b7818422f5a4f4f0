"""Find the raw images of a data set in folders that are given or in the cache, else download them.

    data_dir argument, else HWOPT_DATA_DIR  ->  the cache folder  ->  download into the cache folder

Only the cache folder is ever written to; a given folder may be read-only. It may hold torchvision's layout
(`FashionMNIST/raw/`), a folder named like the data set (`fashion_mnist/`), or the files themselves.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwopt.errors import InvalidInput, UnknownName, did_you_mean
from hwopt.train.idx import read_idx

VARIABLE = "HWOPT_DATA_DIR"


class RawSplit(NamedTuple):
    """Images as bytes or small floats, shape [n, c, h, w], and labels, int64, shape [n]."""

    images: NDArray[Any]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class DatasetSource:
    """Origin of a data set, and its raw form."""

    name: str
    input_shape: tuple[int, int, int]  # channels, height, width
    validation_share: float  # of the images that are not the test set, if nobody asks for another
    torchvision_class: str | None = None
    first_test_labels: tuple[int, ...] = ()  # tells apart data sets whose files have the same names
    n_classes: int = 10


SOURCES = {
    source.name: source
    for source in (
        DatasetSource("digits", (1, 8, 8), 1 / 4),
        DatasetSource("mnist", (1, 28, 28), 1 / 6, "MNIST", (7, 2, 1, 0, 4, 1, 4, 9, 5, 9)),
        DatasetSource("fashion_mnist", (1, 28, 28), 1 / 6, "FashionMNIST", (9, 2, 1, 1, 6, 1, 4, 6, 5, 7)),
        DatasetSource("cifar10", (3, 32, 32), 1 / 5, "CIFAR10"),
    )
}


def find_source(name: str) -> DatasetSource:
    """Return the source of that name, or raise UnknownName with the closest known one."""
    if name not in SOURCES:
        raise UnknownName(f"no data set {name!r}{did_you_mean(name, SOURCES)}")
    return SOURCES[name]


def cache_dir() -> Path:
    """Return the folder of downloads: `hwopt/data` in XDG_CACHE_HOME, else in `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hwopt" / "data"


def read_raw(source: DatasetSource, data_dir: str | Path | None, download: bool) -> tuple[RawSplit, RawSplit]:
    """Return the training and the test images of a data set in files.

    Raises:
        InvalidInput: a given folder does not exist, a file is damaged, or nothing is found and it cannot be
            downloaded.
    """
    given = data_dir if data_dir is not None else os.environ.get(VARIABLE) or None
    if given is not None and not Path(given).is_dir():
        origin = "data_dir" if data_dir is not None else VARIABLE
        raise InvalidInput(
            f"{origin} {str(given)!r} is not a folder; give the folder that holds {source.name}"
        )
    roots = [Path(given)] if given is not None else []
    folder = _find(source, [*roots, cache_dir()])
    if folder is None:
        folder = _download(source, roots, download)
    return _read_cifar(folder) if source.name == "cifar10" else _read_idx_pair(source, folder)


def _find(source: DatasetSource, roots: list[Path]) -> Path | None:
    """Return the first folder with any of the data set's files; reading shows whether all are there."""
    markers = _file_names(source)
    for folder in _candidates(source, roots):
        if any((folder / f"{name}{ending}").exists() for name in markers for ending in ("", ".gz")):
            return folder
    return None


def _candidates(source: DatasetSource, roots: list[Path]) -> Iterator[Path]:
    inner = _inner_folder(source)
    for root in roots:
        own = (root / source.name, root / source.name.replace("_", "-"))
        yield from (root / inner, *(folder / inner for folder in own), *own, root)


def _inner_folder(source: DatasetSource) -> str:
    return "cifar-10-batches-py" if source.name == "cifar10" else f"{source.torchvision_class}/raw"


def _file_names(source: DatasetSource) -> list[str]:
    if source.name == "cifar10":
        return [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch", "batches.meta"]
    return [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


def _download(source: DatasetSource, roots: list[Path], download: bool) -> Path:
    reason: Exception | str = "downloading is switched off"
    if download:
        try:
            return _download_whole(source)
        except (OSError, RuntimeError) as error:  # URLError is an OSError
            reason = error
    raise InvalidInput(_not_found(source, roots, reason))


def _download_whole(source: DatasetSource) -> Path:
    """Download to a temporary folder, then move: killed or parallel downloads leave no partial data set."""
    inner = Path(_inner_folder(source))
    target = cache_dir() / inner.parts[0]
    cache_dir().mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=cache_dir(), prefix="download-") as temporary:
        _torchvision_class(source)(temporary, download=True)
        try:
            (Path(temporary) / inner.parts[0]).rename(target)
        except OSError:
            if not target.is_dir():  # else another process was first, with the same files
                raise
    return cache_dir() / inner


def _not_found(source: DatasetSource, roots: list[Path], reason: Exception | str) -> str:
    names = _file_names(source)
    files = ", ".join(names[:2]) + ", ..." + ("" if source.name == "cifar10" else " (plain or .gz)")
    places = ", ".join(str(root) for root in [*roots, cache_dir()])
    debian = " (Debian: apt-get install dataset-fashion-mnist, then /usr/share/datasets/fashion-mnist)"
    return (
        f"data set {source.name} not found: looked for {files} in {places}; "
        f"not downloaded: {' '.join(str(reason).split())}. "
        f"Set data_dir or {VARIABLE} to the folder of these files{debian * (source.name == 'fashion_mnist')}"
    )


def _torchvision_class(source: DatasetSource) -> Any:
    import torchvision

    return getattr(torchvision.datasets, str(source.torchvision_class))


def _read_idx_pair(source: DatasetSource, folder: Path) -> tuple[RawSplit, RawSplit]:
    train, test = (_read_idx_split(source, folder, part) for part in ("train", "t10k"))
    start = tuple(test.labels[: len(source.first_test_labels)].tolist())
    for other in SOURCES.values():
        if other is not source and start and start == other.first_test_labels:
            raise InvalidInput(
                f"{folder} holds {other.name}, not {source.name}: the files have the same names"
            )
    return train, test


def _read_idx_split(source: DatasetSource, folder: Path, part: str) -> RawSplit:
    image_path = _existing(folder / f"{part}-images-idx3-ubyte")
    label_path = _existing(folder / f"{part}-labels-idx1-ubyte")
    images, labels = read_idx(image_path, 3), read_idx(label_path, 1)
    if images.shape[1:] != source.input_shape[1:]:
        raise InvalidInput(
            f"{image_path}: images of {images.shape[1:]}, {source.name} has {source.input_shape[1:]}"
        )
    if len(images) != len(labels) or len(images) == 0:
        raise InvalidInput(
            f"{label_path}: {len(labels):,} labels for {len(images):,} images in {image_path.name}"
        )
    if labels.max() >= source.n_classes:
        raise InvalidInput(f"{label_path}: label {labels.max()} out of range 0 to {source.n_classes - 1}")
    return RawSplit(images[:, None], labels.astype(np.int64))


def _existing(path: Path) -> Path:
    for candidate in (path, path.with_name(f"{path.name}.gz")):
        if candidate.exists():
            return candidate
    raise InvalidInput(
        f"{path.parent}: {path.name} is missing (plain or .gz), though other files of the set are there"
    )


def _read_cifar(folder: Path) -> tuple[RawSplit, RawSplit]:
    """Read through torchvision's class, and unpickle nothing whose checksum is not the published one."""
    from torchvision.datasets.utils import check_integrity

    published = _torchvision_class(SOURCES["cifar10"])
    meta = [published.meta["filename"], published.meta["md5"]]
    for name, checksum in (*published.train_list, *published.test_list, meta):
        if not check_integrity(folder / name, checksum):
            raise InvalidInput(
                f"{folder / name}: missing or damaged (its MD5 is not {checksum}); get it again"
            )
    reader = type("CIFAR10", (published,), {"base_folder": folder.name})
    return _cifar_split(reader(folder.parent, train=True)), _cifar_split(reader(folder.parent, train=False))


def _cifar_split(part: Any) -> RawSplit:
    return RawSplit(part.data.transpose(0, 3, 1, 2), np.asarray(part.targets, dtype=np.int64))
