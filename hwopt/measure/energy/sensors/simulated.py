"""Simulated GPU with known power, and a simulated NVML for it, for tests and dry runs.

    power of the GPU    ____|####|____|########|___      its exact integral is `SimulatedGpu.energy_j`
    sampled by NVML     **      **      **      **       the first `sampling_share` of every period
    counter steps         |       |       |       |      at the end of a period: mean sampled power x period

A100 and H100 sample a quarter of a period of 100 ms ("Part-time Power Measurements", arXiv 2312.02741).
`Latencies` of the driver and the host are 0, or those measured on a machine with an H200.
"""

import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from math import exp, inf
from types import SimpleNamespace
from typing import Any

import numpy as np

from hwopt.errors import InvalidInput
from hwopt.measure.energy.sensors.nvml import THROTTLE_FIELDS
from hwopt.measure.energy.sensors.virtual_clock import VirtualClock

__all__ = [
    "FAULTS", "H200_LATENCIES", "Fault", "Latencies", "SimulatedGpu", "SimulatedNvml", "Thermal",
    "VirtualClock",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Latencies:
    """Latencies of the machine around a GPU. All are 0 by default, which no real machine reaches.

    Attributes:
        read_s: shortest and longest reading of the energy counter, sampled in the middle of the reading.
        state_s: all calls of one device state together.
        operator_s: call of one operator in eager mode, on the host.
        spread: ratio of the host's slowest pace to its fastest.
        pace_s: seconds after which the host's pace changes.
        build_s: building a network on the host.
        prepare_s: preparing a workload on the device: operands, warm-up, capture of graphs.
    """

    read_s: tuple[float, float] = (0.0, 0.0)
    state_s: float = 0.0
    operator_s: float = 6e-6
    spread: float = 1.0
    pace_s: float = 0.2
    build_s: float = 0.0
    prepare_s: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.read_s[0] <= self.read_s[1]:
            raise InvalidInput(f"read_s = {self.read_s}: wanted the shortest and the longest time, from 0")
        for name in ("state_s", "operator_s", "build_s", "prepare_s"):
            if getattr(self, name) < 0:
                raise InvalidInput(f"{name} = {getattr(self, name)}: it must be at least 0 seconds")
        if self.spread < 1 or self.pace_s <= 0:
            wanted = "wanted a spread of at least 1 and a positive pace_s"
            raise InvalidInput(f"spread = {self.spread}, pace_s = {self.pace_s}: {wanted}")


# A virtual machine with 16 cores and one H200, driver 580.159.04.
H200_LATENCIES = Latencies((4e-3, 10e-3), 30e-3, operator_s=30e-6, spread=1.8, build_s=1.0, prepare_s=0.17)
_STATE_CALLS = 7  # of one device state


@dataclass(frozen=True, slots=True)
class Thermal:
    """Thermal model of a GPU.

    Attributes:
        ambient_c: temperature without power, degrees Celsius.
        c_per_w: steady-state temperature rise per watt.
        tau_s: time constant of temperature changes.
        power_per_c: relative increase of power per degree above ambient (leakage).
        slowdown_per_c: relative increase of time per degree above ambient.
    """

    ambient_c: float = 30.0
    c_per_w: float = 0.08
    tau_s: float = 10.0
    power_per_c: float = 0.0
    slowdown_per_c: float = 0.0


class SimulatedGpu:
    """Device with piecewise constant power, so that its energy is known exactly.

    Args:
        clock: virtual clock.
        idle_w: idle power, watts.
        thermal: thermal model; None keeps temperature, power and speed constant.
        latencies: latencies of driver and host.
    """

    name = "Simulated GPU"

    def __init__(
        self,
        clock: VirtualClock,
        idle_w: float = 75.0,
        thermal: Thermal | None = None,
        latencies: Latencies | None = None,
    ) -> None:
        self.clock, self.idle_w = clock, idle_w
        self.latencies = latencies or Latencies()
        self.thermal = thermal or Thermal(c_per_w=0.0)
        self.memory_used_bytes = 600 * 2**20
        self.has_context = False
        self._begins = [0.0]  # of the segments of constant power; the last one is open
        self._powers = [idle_w]
        self._energies = [0.0]  # joules at their beginning
        self._temperatures = [self.thermal.ambient_c + self.thermal.c_per_w * idle_w]  # at their beginning
        self._busy_until = 0.0

    def submit(self, seconds: float, power_w: float) -> float:
        """Queue work of some seconds at a power, and return the time of its end."""
        self.has_context = True
        begin = max(self._busy_until, self.clock.now())
        warmer_c = self.temperature_c(begin) - self.thermal.ambient_c
        power_w *= 1 + self.thermal.power_per_c * warmer_c
        self._busy_until = begin + seconds * (1 + self.thermal.slowdown_per_c * warmer_c)
        self._change(begin, power_w)
        self._change(self._busy_until, self.idle_w)
        return self._busy_until

    def run(self, seconds: float, power_w: float) -> None:
        """Queue work of some seconds at a power, and wait for the end of all queued work."""
        self.clock.sleep(self.submit(seconds, power_w) - self.clock.now())

    def queued_s(self) -> float:
        """Return the seconds until the end of all queued work."""
        return max(0.0, self._busy_until - self.clock.now())

    def energy_j(self, at_s: float | None = None) -> float:
        """Return the true joules from the beginning until a moment; None means now."""
        at_s = self.clock.now() if at_s is None else at_s
        i = bisect_right(self._begins, at_s) - 1
        return self._energies[i] + self._powers[i] * (at_s - self._begins[i])

    def temperature_c(self, at_s: float | None = None) -> float:
        """Return the temperature at a moment; None means now."""
        at_s = self.clock.now() if at_s is None else at_s
        i = bisect_right(self._begins, at_s) - 1
        final = self.thermal.ambient_c + self.thermal.c_per_w * self._powers[i]
        return final + (self._temperatures[i] - final) * exp((self._begins[i] - at_s) / self.thermal.tau_s)

    def _change(self, at_s: float, power_w: float) -> None:
        """Change the power from a moment on, which is not before the last change."""
        if power_w == self._powers[-1]:
            return
        energy, temperature = self.energy_j(at_s), self.temperature_c(at_s)
        if at_s == self._begins[-1]:
            for values in (self._begins, self._powers, self._energies, self._temperatures):
                values.pop()
            if self._powers and self._powers[-1] == power_w:
                return
        self._begins.append(at_s)
        self._powers.append(power_w)
        self._energies.append(energy)
        self._temperatures.append(temperature)


@dataclass(frozen=True, slots=True)
class Fault:
    """Fault of the simulated driver.

    Attributes:
        kind: one of `FAULTS`.
        at_s: start of the fault.
        until_s: end of the fault.
        cause: cause of "throttle", one of `hwopt.measure.energy.sensors.nvml.THROTTLE_FIELDS`.
    """

    kind: str
    at_s: float = 0.0
    until_s: float = inf
    cause: str = "thermal"

    def __post_init__(self) -> None:
        if self.kind not in FAULTS:
            raise InvalidInput(f"no fault {self.kind!r}; known: {', '.join(FAULTS)}")


FAULTS = {
    "stall": "the counter keeps its count",
    "reset": "the counter restarts from 0",
    "not_supported": "the counter is not supported",
    "no_power": "the instantaneous power is not supported",
    "no_permission": "the counter may not be read",
    "device_lost": "every call fails",
    "other_process": "another process computes",
    "throttle": "a throttle counter advances",
    "mig": "MIG is enabled",
    "no_fields": "the driver does not support field values",
}
_ERROR_OF = {
    "device_lost": "GPU_IS_LOST",
    "not_supported": "NOT_SUPPORTED",
    "no_permission": "NO_PERMISSION",
    "no_fields": "FUNCTION_NOT_FOUND",
}


class SimulatedNvml:
    """Simulated NVML of a simulated GPU, in place of the module pynvml.

    Args:
        gpu: the simulated GPU.
        period_s: period of the energy counter.
        sampling_share: share of a period that is sampled, from its beginning.
        jitter: largest deviation of a step from its time, as a share of the period.
        faults: faults of the driver.
        own_pid: listed id of this process; None lists no processes.
        seed: seed of the jitter and of the durations of readings.
    """

    def __init__(
        self,
        gpu: SimulatedGpu,
        period_s: float = 0.1,
        sampling_share: float = 1.0,
        faults: Sequence[Fault] = (),
        jitter: float = 0.0,
        own_pid: int | None = os.getpid(),
        seed: int = 0,
    ) -> None:
        if not (period_s > 0 and 0 < sampling_share <= 1 and 0 <= jitter < 1):
            raise InvalidInput(f"period_s = {period_s}, sampling_share = {sampling_share}, jitter = {jitter}")
        self.gpu, self.period_s, self.sampling_share = gpu, period_s, sampling_share
        self.faults, self.jitter, self.own_pid = tuple(faults), jitter, own_pid
        self._rng = np.random.default_rng(seed)
        self._read_rng = np.random.default_rng([seed, 1])
        self._steps_s, self._sums_j, self._power_w = [0.0], [0.0], gpu.idle_w
        self._next_s = self._plan_step(1)

    def __getattr__(self, name: str) -> Any:
        """Return pynvml's own constants and errors."""
        if name.startswith("NVML"):
            return getattr(import_module("pynvml"), name)
        raise AttributeError(name)

    def nvmlInit(self) -> None:  # noqa: D102 - names and meanings are NVML's
        self._check("device_lost")

    def nvmlShutdown(self) -> None:  # noqa: D102
        pass

    def nvmlDeviceGetCount(self) -> int:  # noqa: D102
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: D102
        if index != 0:
            raise self.NVMLError(self.NVML_ERROR_INVALID_ARGUMENT)
        return 0

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:  # noqa: D102
        return self._find(uuid == "GPU-5177")

    def nvmlDeviceGetHandleByPciBusId(self, bus_id: str) -> int:  # noqa: D102
        return self._find(bus_id == "0000:3b:00.0")

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: D102
        return self.gpu.name

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: D102
        half_s = float(self._read_rng.uniform(*self.gpu.latencies.read_s)) / 2
        self.gpu.clock.sleep(half_s)
        count = self._count()
        self.gpu.clock.sleep(half_s)
        return count

    def _count(self) -> int:
        self._check("device_lost", "not_supported", "no_permission")
        now = self.gpu.clock.now()
        stalls = [fault.at_s for fault in self._active("stall")]
        counted_j = self._counted_j(min([now, *stalls]))
        resets = [fault.at_s for fault in self.faults if fault.kind == "reset" and fault.at_s <= now]
        return int((counted_j - self._counted_j(max(resets, default=0.0))) * 1e3 + 1e-6)

    def nvmlDeviceGetFieldValues(self, handle: int, fields: Sequence[int]) -> list[Any]:  # noqa: D102
        self._answer()
        self._check("no_fields")
        return [self._field(number) for number in fields]

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:  # noqa: D102
        self._answer()
        return round(self.gpu.temperature_c())

    def nvmlDeviceGetClockInfo(self, handle: int, kind: int) -> int:  # noqa: D102
        self._answer()
        return 1980 if kind == self.NVML_CLOCK_SM else 3201

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: D102
        return "simulated"

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: int) -> int:  # noqa: D102
        return 700_000

    def nvmlDeviceGetMaxClockInfo(self, handle: int, kind: int) -> int:  # noqa: D102
        return self.nvmlDeviceGetClockInfo(handle, kind)

    def nvmlDeviceGetPersistenceMode(self, handle: int) -> int:  # noqa: D102
        return 1

    def nvmlDeviceGetEccMode(self, handle: int) -> list[int]:  # noqa: D102
        raise self.NVMLError(self.NVML_ERROR_NOT_SUPPORTED)

    def nvmlDeviceGetMigMode(self, handle: int) -> list[int]:  # noqa: D102
        return [1, 1] if self._active("mig") else [0, 0]

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: D102
        self._answer()
        return SimpleNamespace(used=self.gpu.memory_used_bytes)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Any]:  # noqa: D102
        self._answer()
        if self.own_pid is None:
            return []
        own = [self.own_pid] if self.gpu.has_context else []
        return [SimpleNamespace(pid=pid) for pid in (*own, *(10**7 for _ in self._active("other_process")))]

    def _answer(self) -> None:
        """Take the time of one call, and raise if the device is lost."""
        self.gpu.clock.sleep(self.gpu.latencies.state_s / _STATE_CALLS)
        self._check("device_lost")

    def _find(self, is_there: bool) -> int:
        if not is_there:
            raise self.NVMLError(self.NVML_ERROR_NOT_FOUND)
        return 0

    def _active(self, kind: str) -> list[Fault]:
        now = self.gpu.clock.now()
        return [fault for fault in self.faults if fault.kind == kind and fault.at_s <= now < fault.until_s]

    def _check(self, *kinds: str) -> None:
        """Raise NVML's error of the first of these faults that is active."""
        for kind in kinds:
            if self._active(kind):
                raise self.NVMLError(getattr(self, f"NVML_ERROR_{_ERROR_OF[kind]}"))

    def _counted_j(self, at_s: float) -> float:
        """Return the joules counted by the sensor at a moment."""
        while self._next_s <= self.gpu.clock.now():
            self._step()
        return self._sums_j[bisect_right(self._steps_s, at_s) - 1]

    def _step(self) -> None:
        """Count the energy of the period that has ended."""
        begin, end = self._steps_s[-1], self._next_s
        sampled_s = self.sampling_share * (end - begin)
        power_w = (self.gpu.energy_j(begin + sampled_s) - self.gpu.energy_j(begin)) / sampled_s
        self._steps_s.append(end)
        self._sums_j.append(self._sums_j[-1] + power_w * (end - begin))
        self._power_w = power_w
        self._next_s = self._plan_step(len(self._steps_s))

    def _plan_step(self, k: int) -> float:
        """Return the time of step k."""
        return (k + self.jitter * (float(self._rng.random()) - 0.5)) * self.period_s

    def _field(self, number: int) -> Any:
        """Return one field in the form of NVML's c_nvmlFieldValue_t."""
        if number == self.NVML_FI_DEV_POWER_INSTANT:
            self._counted_j(self.gpu.clock.now())
            value, kind = round(self._power_w * 1e3), self.NVML_VALUE_TYPE_UNSIGNED_INT
            code = self.NVML_ERROR_NOT_SUPPORTED if self._active("no_power") else self.NVML_SUCCESS
        else:
            causes = [cause for cause, name in THROTTLE_FIELDS.items() if getattr(self, name) == number]
            value, kind = round(self._throttled_s(causes) * 1e9), self.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG
            code = self.NVML_SUCCESS if causes else self.NVML_ERROR_INVALID_ARGUMENT
        union = SimpleNamespace(uiVal=value, ullVal=value)
        return SimpleNamespace(fieldId=number, nvmlReturn=code, valueType=kind, value=union)

    def _throttled_s(self, causes: Sequence[str]) -> float:
        now = self.gpu.clock.now()
        faults = [fault for fault in self.faults if fault.kind == "throttle" and fault.cause in causes]
        return sum(max(0.0, min(now, fault.until_s) - fault.at_s) for fault in faults)
