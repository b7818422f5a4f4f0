"""What one device can do at most: the two ceilings of the roofline and the floor below every operator.

time >= max(FLOPs / matrix rate, bytes / bandwidth) + launch floor: the roofline of Williams et al. (2009).
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Measured limits of a device with the settings of its profile (on a CPU: one thread).

    Attributes:
        flops_per_s: FLOPs a second of a large matrix product; a multiply-add counts two.
        bytes_per_s: bytes read plus bytes written a second by a large copy.
        launch_s: seconds that the smallest operator takes.
    """

    flops_per_s: float
    bytes_per_s: float
    launch_s: float

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InvalidInput(f"ceiling {name} = {value!r}; it must be a number")
            if not math.isfinite(value) or value <= 0:
                raise InvalidInput(f"ceiling {name} = {value!r}; it must be positive and finite")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "Ceilings":
        """Read ceilings from a mapping such as the `ceilings` of a device.json, which may hold more."""
        names = tuple(cls.__dataclass_fields__)
        missing = [name for name in names if name not in values]
        if missing:
            raise InvalidInput(f"ceilings lack {', '.join(missing)}; wanted {', '.join(names)}")
        return cls(**{name: values[name] for name in names})


def estimate_ceilings(rows: "pd.DataFrame") -> Ceilings:
    """Return the ceilings that measured rows show: the best rates and the shortest time among them.

    The rows must be complete (see `hwopt.profile.derived_columns`) and have `time_s`. A rate that no row
    shows is taken as so high that it binds nowhere.
    """
    time_s = rows["time_s"].to_numpy(dtype=float)
    flops = rows["flops"].to_numpy(dtype=float)
    moved = rows[["input_bytes", "weight_bytes", "output_bytes"]].to_numpy(dtype=float).sum(axis=1)
    return Ceilings(
        flops_per_s=float(np.max(flops / time_s)) or 1e18,
        bytes_per_s=float(np.max(moved / time_s)) or 1e18,
        launch_s=float(np.min(time_s)),
    )
