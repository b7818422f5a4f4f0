"""Table of known energy sensors by model and driver, which need a short check only.

The table is `known_sensors.csv` in this folder: a line for each model and driver, named as by NVML.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_TABLE = Path(__file__).with_name("known_sensors.csv")


@dataclass(frozen=True, slots=True)
class KnownSensor:
    """Characteristics of a known sensor.

    Attributes:
        model: model of the GPU, for example "NVIDIA H200".
        driver: version of its driver, for example "580.159.04".
        period_s: exact period of the energy counter.
        sampling_share: share of a period that the sensor samples.
        scatter_s: standard deviation of the delay between a step and the energy it shows.
        source: date and method of the characterization.
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
    """Return the known sensor of a model with exactly this driver; None if there is none."""
    same = [one for one in known_sensors() if (one.model, one.driver) == (model, driver)]
    return same[0] if same else None
