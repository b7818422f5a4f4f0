"""Read the idx files of MNIST and Fashion-MNIST, plain or gzipped, without unpacking anything to disk.

torchvision's own reader opens a path and cannot read gzip, so a read-only folder of `.gz` files (the way
Debian ships Fashion-MNIST) is out of its reach. The format: two zero bytes, one byte of type (8 is uint8),
one byte with the number of dimensions, then each dimension as a big-endian 32-bit integer, then the values.
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwopt.errors import InvalidInput

_UINT8 = 0x08


def read_idx(path: Path, n_dimensions: int) -> NDArray[np.uint8]:
    """Return the values of an idx file of unsigned bytes.

    Args:
        path: the file; a name that ends in `.gz` is decompressed in memory.
        n_dimensions: 3 for images ([n, h, w]), 1 for labels ([n]).

    Raises:
        InvalidInput: the file cannot be read, is truncated, is not idx, or has other dimensions; the message
            names it.
    """
    data = _read_bytes(path)
    header = 4 + 4 * n_dimensions
    wanted = bytes([0, 0, _UINT8, n_dimensions])
    if data[:4] != wanted:
        raise InvalidInput(
            f"{path}: begins with {data[:4].hex()}, an idx file of this kind with {wanted.hex()}"
        )
    if len(data) < header:
        raise InvalidInput(f"{path}: truncated within its header, after {len(data)} of {header} bytes")
    shape = struct.unpack(f">{n_dimensions}I", data[4:header])
    size = int(np.prod(shape, dtype=np.int64))
    if len(data) - header != size:
        raise InvalidInput(
            f"{path}: {_times(shape)} values announced, {len(data) - header:,} there instead of {size:,}; "
            "truncated or damaged, get it again"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _read_bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except EOFError as error:
        raise InvalidInput(f"{path}: truncated: {error}") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InvalidInput(f"{path}: damaged or not gzip: {error}") from error
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror or error}") from error


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in shape)
