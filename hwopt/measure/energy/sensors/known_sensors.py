"""Energy sensors that were characterized before, by model and driver, so that they need a check only.

The table is `known_sensors.csv` beside this module: a line for each model and driver, as NVML names them.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_TABLE = Path(__file__).with_name("known_sensors.csv")


@dataclass(frozen=True, slots=True)
class KnownSensor:
    """One line of the table.

    Attributes:
        model: of the GPU, for example "NVIDIA H200".
        driver: version of its driver, for example "580.159.04".
        period_s: between two steps of the energy counter, exact.
        sampling_share: of a period that the sensor looks at.
        scatter_s: standard deviation of the moment of a step from that of the energy it shows.
        source: when and how that was found.
    """

    model: str
    driver: str
    period_s: float
    sampling_share: float
    scatter_s: float
    source: str

    @property
    def label(self) -> str:
        """Model and driver in words."""
        return f"{self.model}, driver {self.driver}"


@cache
def known_sensors() -> Sequence[KnownSensor]:
    """Return every known sensor."""
    with _TABLE.open(encoding="utf-8", newline="") as file:
        return tuple(
            KnownSensor(
                line["model"],
                line["driver"],
                float(line["period_s"]),
                float(line["sampling_share"]),
                float(line["scatter_s"]),
                line["source"],
            )
            for line in csv.DictReader(file)
        )


def known_sensor(model: object, driver: object) -> KnownSensor | None:
    """Return the known sensor of a model with this very driver; None where there is none."""
    same = [one for one in known_sensors() if (one.model, one.driver) == (model, driver)]
    return same[0] if same else None
