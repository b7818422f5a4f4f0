"""Energy meter of an NVIDIA GPU, through NVML. It changes no setting and runs no program.

| quantity | name in NVML | unit in NVML |
|---|---|---|
| energy | nvmlDeviceGetTotalEnergyConsumption | mJ since the driver was loaded |
| instantaneous power | field 186, NVML_FI_DEV_POWER_INSTANT | mW |
| throttled by the power limit | field 74, NVML_FI_DEV_PERF_POLICY_POWER | ns, cumulative |
| ... by heat (software) | field 269, NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN | ns, cumulative |
| ... by heat (hardware) | field 270, NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN | ns, cumulative |
| ... by supply | field 271, NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN | ns, cumulative |

nvmlDeviceGetPowerUsage is not used: it is the mean of the last second on recent GPUs. Fields are read by the
numbers of the installed pynvml; drivers of another series may number the last three differently (251 to 253
in one), so a cause that grew by more seconds than have passed is not reliable.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar
from weakref import WeakKeyDictionary

from hwopt.measure.energy.sensors.meter import DeviceState, SensorError
from hwopt.measure.energy.sensors.nvml_library import NvmlLibrary, load_nvml
from hwopt.measure.energy.sensors.unwrapped_counter import UnwrappedCounter

T = TypeVar("T")
# driver -> ids of this process in its list, for later meters of the same process
_OWN: WeakKeyDictionary[Any, frozenset[int]] = WeakKeyDictionary()
THROTTLE_FIELDS = {
    "power_cap": "NVML_FI_DEV_PERF_POLICY_POWER",
    "thermal": "NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN",
    "hardware_thermal": "NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN",
    "power_brake": "NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN",
}
_ERRORS = {
    "not_supported": ("NOT_SUPPORTED", "FUNCTION_NOT_FOUND", "DEPRECATED", "ARGUMENT_VERSION_MISMATCH"),
    "no_permission": ("NO_PERMISSION",),
    "device_lost": ("GPU_IS_LOST", "NOT_FOUND", "GPU_NOT_FOUND", "RESET_REQUIRED"),
    "no_sensor": ("UNINITIALIZED", "DRIVER_NOT_LOADED", "LIBRARY_NOT_FOUND", "LIB_RM_VERSION_MISMATCH"),
}
# Members of the union of a field's value, by NVML's valueType.
_VALUE_FIELDS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")


class NvmlMeter:
    """Energy meter of one NVIDIA GPU.

    Open it before this process creates a context on the GPU, and call `mark_own_process` afterwards: in a
    container the driver may list this process under the host's process id, or not at all.

    Args:
        index: the driver's index of the GPU, which CUDA_VISIBLE_DEVICES does not change.
        device_id: UUID ("GPU-..." or as in torch) or PCI bus id ("0000:3b:00.0"), the same in every library;
            replaces the index.
        nvml: module with pynvml's functions; None imports pynvml.
        is_in_use: whether this process already has a context on the GPU. If the driver lists a single
            process, it is taken for this one.

    Raises:
        SensorError: `no_sensor` without a driver or such a GPU, or if pynvml is another package;
            `not_supported` if MIG is enabled.
    """

    def __init__(
        self, index: int = 0, device_id: str = "", nvml: Any = None, is_in_use: bool = False
    ) -> None:
        self._nvml = nvml = load_nvml(nvml)
        self._codes = {
            nvml.constant(f"NVML_ERROR_{name}"): code for code, names in _ERRORS.items() for name in names
        }
        numbers = {cause: nvml.constant(name) for cause, name in THROTTLE_FIELDS.items()}
        self._fields = {cause: int(number) for cause, number in numbers.items() if number is not None}
        self._call("start NVML", nvml.nvmlInit)
        try:
            self._handle = _find(nvml, index, device_id)
            model = nvml.nvmlDeviceGetName(self._handle)
        except nvml.NVMLError as error:
            nvml.nvmlShutdown()
            wanted = device_id or f"index {index}"
            hint = "; is it a MIG instance? Those have no energy counter" if device_id else ""
            raise SensorError("no_sensor", f"no GPU with {wanted}: {error}{hint}") from error
        self.name = f"nvml:{device_id or index} {_text(model)}"
        self.resolution_j = 1e-3
        self._refuse_mig()
        self._counter = UnwrappedCounter(self.resolution_j)
        self._earlier = self._process_ids() or frozenset()
        self._own: frozenset[int] | None = _OWN.get(nvml.module)
        if is_in_use and not self._own and len(self._earlier) == 1:
            self._own, self._earlier = self._earlier, frozenset()

    def energy_j(self) -> float:
        """Return the joules used since the first reading."""
        read = self._nvml.nvmlDeviceGetTotalEnergyConsumption
        return self._counter.read(lambda: self._call("energy counter (Volta or newer)", read, self._handle))

    def power_w(self) -> float:
        """Return the instantaneous power in watts (field 186)."""
        field = self._nvml.NVML_FI_DEV_POWER_INSTANT
        (value,) = self._call("power", self._nvml.nvmlDeviceGetFieldValues, self._handle, [field])
        if value.nvmlReturn != self._nvml.NVML_SUCCESS:
            self._fail("instantaneous power (field 186)", self._nvml.NVMLError(value.nvmlReturn))
        return _value(value) * 1e-3

    def state(self) -> DeviceState:
        """Return the state of the GPU; failed readings are None.

        Raises:
            SensorError: `device_lost` if the GPU does not respond any more.
        """
        nvml, handle = self._nvml, self._handle
        temperature = self._try(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
        core = self._try(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM))
        memory_clock = self._try(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM))
        memory = self._try(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
        return DeviceState(
            power_w=self._optional(self.power_w),
            temperature_c=None if temperature is None else float(temperature),
            core_clock_hz=None if core is None else core * 1e6,
            memory_clock_hz=None if memory_clock is None else memory_clock * 1e6,
            memory_used_bytes=None if memory is None else int(memory.used),
            n_other_processes=self._n_other_processes(),
            throttled_s=self._throttled_s(),
        )

    def mark_own_process(self) -> None:
        """Register the process that appeared on the GPU since the meter was opened as this process.

        If the driver lists no new process, it hides processes, and the number of other processes is None from
        now on.

        Raises:
            SensorError: `other_process` if more than one appeared.
        """
        present = self._process_ids()
        new = frozenset() if present is None else present - self._earlier
        if self._own and present and self._own <= present:  # registered by an earlier meter
            return
        own = present & {os.getpid()} if present and os.getpid() in present else new
        if len(own) > 1:
            raise SensorError("other_process", f"{len(new)} processes appeared on {self.name}, wanted one")
        _OWN[self._nvml.module] = self._own = own

    def settings(self) -> dict[str, Any]:
        """Return driver version, power limit, largest clocks and modes of the GPU, for device.json.

        `not_told` lists values that this driver does not report, so that rows cannot be checked for them.
        """
        nvml, handle = self._nvml, self._handle
        limit_mw = self._try(lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle))
        core = self._try(lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM))
        memory = self._try(lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_MEM))
        return {
            "driver": _text(self._try(lambda: nvml.nvmlSystemGetDriverVersion())),
            "power_limit_w": None if limit_mw is None else limit_mw * 1e-3,
            "largest_core_clock_hz": None if core is None else core * 1e6,
            "largest_memory_clock_hz": None if memory is None else memory * 1e6,
            "persistence_mode": self._try(lambda: nvml.nvmlDeviceGetPersistenceMode(handle)),
            "ecc_mode": _first(self._try(lambda: nvml.nvmlDeviceGetEccMode(handle))),
            "not_told": self._not_told(),
        }

    def _not_told(self) -> list[str]:
        state = self.state()
        missing = [cause for cause in THROTTLE_FIELDS if cause not in state.throttled_s]
        told = {"clocks": state.core_clock_hz, "temperature": state.temperature_c, "power": state.power_w}
        others = {"other processes": state.n_other_processes}
        found = [name for name, value in {**told, **others}.items() if value is None]
        return found + [f"throttling ({cause})" for cause in missing]

    def _refuse_mig(self) -> None:
        """Raise SensorError if MIG is enabled, since the energy counter is of the whole GPU."""
        if _first(self._try(lambda: self._nvml.nvmlDeviceGetMigMode(self._handle))) != 1:
            return
        self._nvml.nvmlShutdown()
        raise SensorError(
            "not_supported",
            f"MIG is enabled on {self.name}: its energy counter is of the whole GPU, not of an instance; "
            "disable MIG, or measure times and memory only",
        )

    def close(self) -> None:
        """Shut NVML down."""
        self._nvml.nvmlShutdown()

    def _process_ids(self) -> frozenset[int] | None:
        listed = self._try(lambda: self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle))
        return None if listed is None else frozenset(int(process.pid) for process in listed)

    def _n_other_processes(self) -> int | None:
        present = self._process_ids()
        if present is None:
            return None
        others = present - {os.getpid()} - (self._own or frozenset())
        cannot_see = self._own is not None and not self._own
        return None if cannot_see and not others else len(others)

    def _throttled_s(self) -> Mapping[str, float]:
        numbers = list(self._fields.values())
        values = self._try(lambda: self._nvml.nvmlDeviceGetFieldValues(self._handle, numbers))
        named = zip(self._fields, values or (), strict=False)
        return {
            cause: _value(value) * 1e-9
            for cause, value in named
            if value.nvmlReturn == self._nvml.NVML_SUCCESS
        }

    def _try(self, read: Callable[[], T]) -> T | None:
        return self._optional(lambda: self._call("state", read))

    def _optional(self, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except SensorError as error:
            if error.code == "device_lost":
                raise
            return None

    def _call(self, what: str, function: Callable[..., T], *arguments: Any) -> T:
        try:
            return function(*arguments)
        except self._nvml.NVMLError as error:
            self._fail(what, error)

    def _fail(self, what: str, error: Any) -> NoReturn:
        name = getattr(self, "name", "NVML")
        raise SensorError(
            self._codes.get(error.value, "read_failed"), f"{what} of {name}: {error}"
        ) from error


def _find(nvml: NvmlLibrary, index: int, device_id: str) -> Any:
    """Return NVML's handle of a GPU."""
    if not device_id:
        return nvml.nvmlDeviceGetHandleByIndex(index)
    if ":" in device_id:
        return nvml.nvmlDeviceGetHandleByPciBusId(device_id)
    uuid = device_id if device_id.startswith(("GPU-", "MIG-")) else f"GPU-{device_id}"
    return nvml.nvmlDeviceGetHandleByUUID(uuid)


def _text(text: Any) -> Any:
    """Return a text, decoded if it is bytes as in older versions of pynvml."""
    return text.decode() if isinstance(text, bytes) else text


def _first(pair: Any) -> Any:
    """Return the current one of a pair of current and pending setting."""
    return pair[0] if isinstance(pair, list | tuple) else pair


def _value(field: Any) -> float:
    return float(getattr(field.value, _VALUE_FIELDS[field.valueType]))
