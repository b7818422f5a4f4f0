"""Random numbers that depend on a config and a seed only: the same in every process."""

from collections.abc import Mapping
from typing import Any
from zlib import crc32

import numpy as np


def generator_of(config: Mapping[str, Any], seed: int) -> np.random.Generator:
    """Return the random numbers of one training."""
    return np.random.default_rng([seed, crc32(repr(sorted(config.items())).encode())])


def bounded_normal(rng: np.random.Generator, n: int | None = None) -> Any:
    """Draw from a standard normal cut at three deviations: symmetric, so its mean stays 0."""
    return np.clip(rng.standard_normal(n), -3.0, 3.0)
