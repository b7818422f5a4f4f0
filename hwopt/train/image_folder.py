"""A folder of images as raw splits: one folder a class, classes numbered in the order of their names.

    folder/cat/*.png, folder/dog/*.png          one split, of which validation and test are drawn
    folder/train/cat/*.png, folder/test/...     splits of their own; validation/ (or val/) as well

Every image is turned upright as its EXIF data say, brought to one channel or to three, scaled until it
covers the height and width of the network's input, and cut at the centre.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwopt.errors import InvalidInput
from hwopt.train.sources import RawSplit

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
_SPLITS = {"train": "train", "test": "test", **dict.fromkeys(("validation", "val", "valid"), "validation")}
_MODES = {1: "L", 3: "RGB"}  # by number of channels
_8_BITS = frozenset("1 L LA La P PA RGB RGBA RGBa RGBX CMYK YCbCr HSV LAB".split())  # modes of PIL
_FLOAT_BYTES = 4
_N_THREADS = 4


def read_folder(folder: Path, input_shape: tuple[int, ...] | None = None) -> dict[str, RawSplit]:
    """Read the images of a folder as splits by name: train, and test and validation if they are there.

    Args:
        folder: see above.
        input_shape: (1 or 3, height, width) of the network's input; None takes three channels, and the size
            of the first image for all of them.

    Raises:
        InvalidInput: for no such folder, folders without images, a file that is not an image or has more than
            8 bits a channel, images that do not fit into memory, an input shape that is none of images.
    """
    if not folder.is_dir():
        raise InvalidInput(f"data: source {str(folder)!r} is not a folder of images, nor FILE.py:FUNCTION")
    roots = _roots(folder)
    classes = [path.name for path in _subfolders(roots["train"])]
    files = {name: _files(root, classes) for name, root in roots.items()}
    n_channels, size = _size(input_shape, files["train"][0][0])
    _check_memory(folder, sum(len(of_split) for of_split in files.values()), n_channels, size)
    return {name: _read(of_split, n_channels, size) for name, of_split in files.items()}


def _roots(folder: Path) -> Mapping[str, Path]:
    """Return the folders of the splits by name; the folder itself if it is not divided."""
    inner = _subfolders(folder)
    named = [path for path in inner if path.name.lower() in _SPLITS]
    if not any(_SPLITS[path.name.lower()] == "train" for path in named):
        return {"train": folder}
    others = [path.name for path in inner if path not in named]
    if others:
        raise InvalidInput(
            f"{folder} has train/ beside {others[0]}/; wanted train/, test/ and validation/ alone, or one "
            "folder a class"
        )
    roots: dict[str, Path] = {}
    for path in named:
        name = _SPLITS[path.name.lower()]
        if name in roots:
            raise InvalidInput(f"{folder} has {roots[name].name}/ and {path.name}/; keep one of them")
        roots[name] = path
    return roots


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _files(root: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    """Return the images of a split with the number of their class, in the order of classes and names."""
    found: list[tuple[Path, int]] = []
    if len(classes) < 2:
        raise InvalidInput(
            f"{root} has {len(classes)} folders, and two are needed at least, one for each class: "
            f"{root}/CLASS/IMAGE.png"
        )
    for folder in _subfolders(root):
        if folder.name not in classes:
            raise InvalidInput(
                f"{folder}: the train split has no class {folder.name!r}; it has {', '.join(classes)}"
            )
        images = sorted(
            path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file()
        )
        if not images:
            raise InvalidInput(
                f"{folder} holds no image ({', '.join(ENDINGS)}); remove the folder or fill it"
            )
        found += [(path, classes.index(folder.name)) for path in images]
    if not found:
        raise InvalidInput(f"{root} holds no image: wanted {root}/CLASS/IMAGE.png")
    return found


def _size(input_shape: tuple[int, ...] | None, first: Path) -> tuple[int, tuple[int, int]]:
    """Return the number of channels and (height, width) that all images are brought to."""
    if input_shape is None:
        with _opened(first) as image:
            return 3, (image.height, image.width)
    if len(input_shape) != 3 or input_shape[0] not in _MODES:
        raise InvalidInput(
            f"SPACE takes inputs of shape {input_shape}; a folder of images gives (1, height, width) or "
            "(3, height, width): for other data write a function that loads them"
        )
    return input_shape[0], (input_shape[1], input_shape[2])


def _check_memory(folder: Path, n: int, n_channels: int, size: tuple[int, int]) -> None:
    """Refuse images that, as float32, do not fit into the memory of this machine."""
    wanted = n * n_channels * size[0] * size[1] * _FLOAT_BYTES
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else wanted
    if wanted > there:
        raise InvalidInput(
            f"{folder}: {n:,} images of {n_channels}x{size[0]}x{size[1]} take {wanted / 1e9:.1f} GB, this "
            f"machine has {there / 1e9:.1f} GB; take smaller inputs or fewer images"
        )


def _read(files: Sequence[tuple[Path, int]], n_channels: int, size: tuple[int, int]) -> RawSplit:
    """Return images, bytes [n, c, h, w], and their classes [n]."""
    images = np.empty((len(files), n_channels, *size), dtype=np.uint8)

    def fill(position: int) -> None:
        images[position] = _pixels(files[position][0], n_channels, size)

    with ThreadPoolExecutor(_N_THREADS) as threads:
        for _ in threads.map(fill, range(len(files))):
            pass
    return RawSplit(images, np.array([label for _, label in files], dtype=np.int64))


def _pixels(path: Path, n_channels: int, size: tuple[int, int]) -> NDArray[Any]:
    """Return an image as bytes, [c, h, w]."""
    from PIL import Image, ImageOps

    with _opened(path) as image:
        if image.mode not in _8_BITS:
            raise InvalidInput(
                f"{path} has the mode {image.mode}, more than 8 bits a channel, which would be cut off; "
                "convert it, or write a function that loads the images"
            )
        upright = ImageOps.exif_transpose(image).convert(_MODES[n_channels])
    pixels = np.asarray(ImageOps.fit(upright, size[::-1], Image.Resampling.BILINEAR))
    return pixels[None] if n_channels == 1 else pixels.transpose(2, 0, 1)


@contextmanager
def _opened(path: Path) -> "Iterator[Image]":
    """Open an image within a block; errors name the file."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"{path} cannot be read as an image: {error}; remove it or get it again") from None
