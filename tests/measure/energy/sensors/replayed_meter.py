"""Record a meter, and play a recording back as a meter: tests and reports need no hardware.

    meter --record(meter, clock, seconds)--> Recording --ReplayedMeter(recording, clock)--> meter
                                                 |  ^
                                            write()  read(): a CSV file, one line a reading

A reading that failed is part of the recording and fails again when it is played.
"""

import csv
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hwopt.errors import InvalidInput
from hwopt.measure.energy.sensors.meter import Clock, DeviceState, Meter, SensorError
from hwopt.measure.energy.sensors.unwrapped_counter import UnwrappedCounter
from hwopt.profile.reasons import REASONS

_STATE_COLUMNS = tuple(field.name for field in fields(DeviceState) if field.name != "throttled_s")
_THROTTLED = "throttled_s:"  # and the cause
_WHOLE = ("count", "wraps_at", "memory_used_bytes", "n_other_processes")


@dataclass(frozen=True)
class Recording:
    """Readings of one meter. All sequences are of shape [n].

    Attributes:
        times_s: of the readings, seconds, increasing.
        counts: of the energy counter; None where the reading failed.
        unit_j: joules of one count.
        wraps_at: count at which the counter starts again from 0, None for never.
        states: what the device told about itself; empty for nothing.
        errors: code of a failed reading, "" elsewhere; empty for no failure.
        name: of the meter.
    """

    times_s: Sequence[float]
    counts: Sequence[int | None]
    unit_j: float
    wraps_at: int | None = None
    states: Sequence[DeviceState] = ()
    errors: Sequence[str] = ()
    name: str = "recording"

    def __post_init__(self) -> None:
        n = len(self.times_s)
        if n == 0:
            raise InvalidInput(f"{self.name}: no reading; wanted at least one")
        for what, values in (("counts", self.counts), ("states", self.states), ("errors", self.errors)):
            if len(values) != n and (len(values) or what == "counts"):
                raise InvalidInput(f"{self.name}: {len(values)} {what} for {n} times; wanted as many")
        if any(b <= a for a, b in zip(self.times_s, self.times_s[1:], strict=False)):
            raise InvalidInput(f"{self.name}: times_s must increase")
        for i, count in enumerate(self.counts):
            error = self.errors[i] if self.errors else ""
            if (count is None) != bool(error) or (error and error not in REASONS):
                raise InvalidInput(
                    f"{self.name}: reading {i + 1} is {count!r} with error {error!r}; wanted one"
                )

    def write(self, path: Path) -> None:
        """Write the recording as CSV."""
        causes = sorted({cause for state in self.states for cause in state.throttled_s})
        header = ["time_s", "count", "error", "unit_j", "wraps_at", *_STATE_COLUMNS]
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*header, *(_THROTTLED + cause for cause in causes)])
            for i, (time_s, count) in enumerate(zip(self.times_s, self.counts, strict=True)):
                state = self.states[i] if self.states else DeviceState()
                error = self.errors[i] if self.errors else ""
                cells = [time_s, count, error, self.unit_j, self.wraps_at]
                cells += [getattr(state, column) for column in _STATE_COLUMNS]
                writer.writerow([*cells, *(state.throttled_s.get(cause) for cause in causes)])

    @classmethod
    def read(cls, path: Path) -> "Recording":
        """Read a recording from CSV; columns beside time_s, count and unit_j may be missing.

        Raises:
            InvalidInput: with the line of the first cell that cannot be used.
        """
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        missing = {"time_s", "count", "unit_j"} - set(rows[0] if rows else ())
        if missing:
            raise InvalidInput(f"{path}: lacks {', '.join(sorted(missing))}, or has no reading")
        numbers = [_parse(path, line, row) for line, row in enumerate(rows, start=2)]
        first = numbers[0]
        return cls(
            times_s=[row["time_s"] for row in numbers],
            counts=[row["count"] for row in numbers],
            unit_j=first["unit_j"],
            wraps_at=first.get("wraps_at"),
            states=[_state(row) for row in numbers],
            errors=[row.get("error") or "" for row in rows],
            name=path.name,
        )


def _parse(path: Path, line: int, row: dict[str, str]) -> dict[str, Any]:
    """Return the cells of a line as numbers; an empty one is None."""
    try:
        cells = {key: cell for key, cell in row.items() if key != "error"}
        return {key: _number(key, cell) if cell else None for key, cell in cells.items()}
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{path}, line {line}: {error}; wanted numbers or empty cells") from None


def _number(key: str, cell: str) -> float:
    return int(cell) if key in _WHOLE else float(cell)


def _state(row: dict[str, Any]) -> DeviceState:
    values = {column: row.get(column) for column in _STATE_COLUMNS}
    throttled = {
        key.removeprefix(_THROTTLED): value
        for key, value in row.items()
        if key.startswith(_THROTTLED) and value is not None
    }
    return DeviceState(**values, throttled_s=throttled)


class ReplayedMeter:
    """Plays a recording back, from the moment that it is opened; between two readings the earlier one holds.

    After the last reading it fails with `read_failed`.

    Args:
        recording: what to play.
        clock: in whose time.
    """

    def __init__(self, recording: Recording, clock: Clock) -> None:
        self.name, self.resolution_j = recording.name, recording.unit_j
        self._recording, self._clock = recording, clock
        self._begin_s = clock.now()
        self._counter = UnwrappedCounter(recording.unit_j, recording.wraps_at)

    def energy_j(self) -> float:
        """Return the joules since the first reading."""
        return self._counter.read(self._count)

    def _count(self) -> int:
        i = self._position()
        count = self._recording.counts[i]
        if count is None:
            raise SensorError(self._recording.errors[i], f"recorded in {self.name}")
        return count

    def power_w(self) -> float:
        """Return the recorded power in watts."""
        power_w = self.state().power_w
        if power_w is None:
            raise SensorError("not_supported", f"{self.name} has no power at this moment")
        return power_w

    def state(self) -> DeviceState:
        """Return the recorded state."""
        i = self._position()
        if self._recording.errors and self._recording.errors[i] == "device_lost":
            raise SensorError("device_lost", f"recorded in {self.name}")
        return self._recording.states[i] if self._recording.states else DeviceState()

    def close(self) -> None:
        """Nothing is held."""

    def _position(self) -> int:
        times = self._recording.times_s
        time_s = times[0] + self._clock.now() - self._begin_s
        if time_s > times[-1]:
            raise SensorError("read_failed", f"{self.name} ended {time_s - times[-1]:.3g} s ago")
        return max(0, bisect_right(times, time_s) - 1)


def record(meter: Meter, clock: Clock, seconds: float, interval_s: float = 1e-3) -> Recording:
    """Read a meter for some seconds and return what it said.

    Args:
        meter: its energy and its state are read each time, so the interval is at least what both take.
        clock: times of the readings.
        seconds: how long.
        interval_s: pause between two readings, seconds.
    """
    times: list[float] = []
    counts: list[int | None] = []
    states: list[DeviceState] = []
    errors: list[str] = []
    begin = clock.now()
    while not times or clock.now() - begin <= seconds:
        count, state, error = _read(meter)
        times.append(clock.now() - begin)
        counts.append(count)
        states.append(state)
        errors.append(error)
        clock.sleep(interval_s)
    return Recording(times, counts, meter.resolution_j, None, states, errors, meter.name)


def _read(meter: Meter) -> tuple[int | None, DeviceState, str]:
    try:
        return round(meter.energy_j() / meter.resolution_j), meter.state(), ""
    except SensorError as error:
        return None, DeviceState(), error.code
