"""Energy of a device during training, if this machine has a readable energy counter.

An energy is never 0: a counter that does not advance, as on virtual machines, gives None, and the reason is
logged once.
"""

import logging
import time
from functools import cache
from typing import TYPE_CHECKING

from hwopt.measure.energy.sensors.meter import Meter, SensorError
from hwopt.measure.energy.sensors.registry import open_meter

if TYPE_CHECKING:
    import torch

_STALL_S = 0.5  # longer than any counter takes to step, the device being idle or not
_LOG = logging.getLogger("hwopt")


class _EnergyCounter:
    """A meter whose counter must advance, and the reason if it gives no value."""

    def __init__(self, meter: Meter | None, reason: str = "") -> None:
        self.meter, self.reason = meter, reason
        self._last_j: float | None = None
        self._moved_s = time.monotonic()
        if meter is not None:
            self.read()

    def read(self) -> float | None:
        """Return the joules since the first reading; None, with a warning once, if there is no value."""
        if self.meter is None:
            return None
        try:
            used_j = self.meter.energy_j()
        except SensorError as error:
            self._explain(str(error))
            return None
        now = time.monotonic()
        if used_j != self._last_j:
            self._last_j, self._moved_s = used_j, now
        elif now - self._moved_s > _STALL_S:
            still_s = now - self._moved_s
            self._explain(f"counter_stalled: {self.meter.name} has not moved for {still_s:.1f} s")
            return None
        self.reason = ""
        return used_j

    def _explain(self, reason: str) -> None:
        if reason.partition(":")[0] != self.reason.partition(":")[0]:
            _LOG.warning("no energy of trainings: %s", reason)
        self.reason = reason


def energy_used_j(device: "torch.device") -> float | None:
    """Return the joules that a device has used since the first reading in this process, or None.

    Of a GPU it is the whole board, of a CPU all packages, whoever uses them: with several trainings at a time
    on one device each of them sees the energy of all.
    """
    return _meter(str(device)).read()


def why_no_energy(device: "torch.device") -> str:
    """Return the reason for which `energy_used_j` gives None for a device; empty otherwise."""
    return _meter(str(device)).reason


def energy_spent_j(before_j: float | None, after_j: float | None) -> float | None:
    """Return the joules between two readings; None if one is missing or the counter did not step."""
    if before_j is None or after_j is None or after_j <= before_j:
        return None
    return after_j - before_j


@cache
def _meter(device: str) -> _EnergyCounter:
    """Return the device's meter, opened once a process; without one if none can be read."""
    try:
        return _EnergyCounter(open_meter(device))
    except (SensorError, OSError, ImportError) as error:
        return _EnergyCounter(None, str(error))
