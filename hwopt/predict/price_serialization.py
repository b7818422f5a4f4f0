"""Serialization of prices to bytes: arrays without pickles, and the recorded reads of `build` as JSON."""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hwopt.space.recorded_config import ABSENT

Reads = Mapping[str, Any]


def packed(reads: Sequence[Reads], reasons: Sequence[str | None], **arrays: Any) -> bytes:
    """Return n prices as bytes: the reads of each, the reason of a missing price, and arrays [n, ...]."""
    text = json.dumps([[_pairs(one) for one in reads], list(reasons)])
    file = io.BytesIO()
    np.savez_compressed(file, text=np.frombuffer(text.encode(), dtype=np.uint8), **arrays)
    return file.getvalue()


def unpacked(content: bytes) -> tuple[list[Reads], list[str | None], dict[str, Any]]:
    """Return the arguments of `packed`."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    pairs, reasons = json.loads(arrays.pop("text").tobytes().decode())
    return [{name: rest[0] if rest else ABSENT for name, *rest in one} for one in pairs], reasons, arrays


def as_config(reads: Reads) -> dict[str, Any]:
    """Return the config of the recorded reads."""
    return {name: value for name, value in reads.items() if value is not ABSENT}


def _pairs(reads: Reads) -> list[list[Any]]:
    return [[name] if value is ABSENT else [name, value] for name, value in reads.items()]
