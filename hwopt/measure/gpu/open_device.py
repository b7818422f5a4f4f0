"""From a device's name to its campaign: open the GPU or the simulated one, describe it, run what is due.

"cuda:0"     CudaAccelerator + NvmlMeter, in the machine's own time
"simulated"  SimulatedAccelerator + NvmlMeter over SimulatedNvml, in virtual time: a dry run of the same code
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.errors import InvalidInput
from hwopt.measure.background_work import BackgroundResult
from hwopt.measure.campaign import Deadline, Progress, trace_candidate
from hwopt.measure.campaign_folder import RunSettings, check_rows, open_folder
from hwopt.measure.energy.sensor_record import CHARACTERISE_S, describe_sensor, plan_of
from hwopt.measure.energy.sensors.meter import SensorError
from hwopt.measure.energy.sensors.nvml import NvmlMeter
from hwopt.measure.energy.sensors.probe import probe_sensors
from hwopt.measure.gpu.accelerator import Accelerator, DeviceLost
from hwopt.measure.gpu.campaign import CampaignStopped, GpuCampaign
from hwopt.measure.gpu.campaign_session import CampaignSession, PartShares, RowShares
from hwopt.measure.gpu.job_measurement import JobMeasurer
from hwopt.measure.gpu.jobs import network_job, operator_job, sentinels
from hwopt.measure.gpu.precision import Precision
from hwopt.measure.gpu.time_shares import Part
from hwopt.measure.local_device import LocalDevice
from hwopt.measure.sampling.network_operators import NetworkOperators
from hwopt.measure.sampling.networks import Candidate
from hwopt.measure.sampling.operator_selection import N_SOBOL, OperatorSelector
from hwopt.measure.sampling.operators import GPU_PLAN, sample_operators
from hwopt.measure.sampling.sobol import OperatorLimits
from hwopt.measure.system_info import describe_software
from hwopt.network.layer import METRICS, LayerGraph
from hwopt.profile.device_json import DEVICE_FILE, PROTOCOL_VERSION, write_info
from hwopt.profile.roofline import Ceilings

if TYPE_CHECKING:
    from hwopt.measure.energy.sensors.simulated import Latencies

N_OPERATORS = 850
_BYTES_AN_ELEMENT = 16  # of memory that an operand may be of: in several sets, and copied by kernels
LEAST_NEW_S, LEAST_MORE_S = 30.0, 5.0  # budgets for a new folder, and to go on with one
_SENSOR_SHARE = 0.2  # of a run's budget that characterising may take
_SIMULATED = "simulated"


@dataclass(frozen=True, slots=True)
class OpenedGpu:
    """A GPU to be measured; `meter` is None where nothing reads its energy, and `no_energy` says why."""

    accelerator: Accelerator
    meter: NvmlMeter | None
    no_energy: str
    is_simulated: bool

    def open_context(self) -> None:
        """Have this process appear on the device, and the meter know that it is this one."""
        self.accelerator.wake()
        if self.meter is not None:
            self.meter.mark_own_process()


def parse_device(device: str) -> int | None:
    """Return the GPU's number of "cuda" or "cuda:1", or None for "simulated".

    Raises:
        InvalidInput: for any other text.
    """
    if device == _SIMULATED:
        return None
    name, _, index = device.partition(":")
    if name != "cuda" or (index and not index.isdecimal()):
        raise InvalidInput(f"device {device!r}; wanted cpu, cuda, cuda:1 or simulated (a dry run)")
    return int(index or 0)


@contextmanager
def open_gpu(
    device: str, precision: Precision, seed: int = 0, latencies: "Latencies | None" = None
) -> Iterator[OpenedGpu]:
    """Open a GPU for measuring, with its meter.

    Args:
        device: "cuda", "cuda:1", or "simulated".
        precision: what it computes in.
        seed: of the simulated device's noise.
        latencies: how long the simulated device's driver and host take to answer; None is as an H200's do.
    """
    index = parse_device(device)
    if index is None:
        with _open_simulated(precision, seed, latencies) as opened:
            yield opened
        return
    from hwopt.measure.gpu.cuda import CudaAccelerator

    cuda = CudaAccelerator(index, precision)
    meter, no_energy = _open_meter(lambda: NvmlMeter(device_id=cuda.uuid, is_in_use=cuda.is_in_use))
    try:
        with cuda:
            yield OpenedGpu(cuda, meter, no_energy, is_simulated=False)
    finally:
        if meter is not None:
            meter.close()


@contextmanager
def _open_simulated(precision: Precision, seed: int, latencies: "Latencies | None") -> Iterator[OpenedGpu]:
    from hwopt.measure.energy.sensors.simulated import (
        H200_LATENCIES,
        SimulatedGpu,
        SimulatedNvml,
        VirtualClock,
    )
    from hwopt.measure.gpu.simulated import IDLE_W, SimulatedAccelerator

    gpu = SimulatedGpu(VirtualClock(), idle_w=IDLE_W, latencies=latencies or H200_LATENCIES)
    meter = NvmlMeter(nvml=SimulatedNvml(gpu, seed=seed))
    with SimulatedAccelerator(gpu, precision, seed=seed) as accelerator:
        yield OpenedGpu(accelerator, meter, "", is_simulated=True)


def _open_meter(make: Callable[[], NvmlMeter]) -> tuple[NvmlMeter | None, str]:
    """Return the meter once its energy could be read, or None and the reason."""
    try:
        meter = make()
    except SensorError as error:
        return None, str(error)
    try:
        meter.energy_j()
    except SensorError as error:
        meter.close()
        hint = "; GPUs have an energy counter from Volta on" if error.code == "not_supported" else ""
        return None, f"{error}{hint}"
    return meter, ""


def profile_gpu(
    folder: Path,
    opened: OpenedGpu,
    budget_s: float,
    precision: Precision,
    networks: Sequence[Candidate],
    sources: Sequence[Candidate],
    progress: Progress,
    name: str | None = None,
    seed: int = 0,
    n_operators: int = N_OPERATORS,
    policy: RowShares | None = None,
    shares: PartShares | None = None,
    also: Callable[[CampaignSession], Sequence[Part]] | None = None,
) -> None:
    """Measure a GPU into a folder, or go on with one, for `budget_s` seconds of its clock.

    Args:
        folder: of the profile.
        opened: the GPU.
        budget_s: seconds.
        precision: what it computes in.
        networks: to measure whole, those that matter most first.
        sources: networks that operators are drawn from.
        progress: called with stage, done, planned, message.
        name: of the device.
        seed: of the choice of operators.
        n_operators: rows beyond which none is chosen.
        policy: which rows are measured how.
        shares: which share of the time each part has.
        also: returns further parts, which take their turns with the profile's.

    Raises:
        CampaignStopped: the device was lost; what was measured is kept.
        InvalidInput: the folder holds another device's measurements, or rows that are none.
    """
    accelerator = opened.accelerator
    _check_budget(folder, budget_s)
    deadline = Deadline(budget_s, accelerator.clock.now)
    _check_alone(opened, folder)
    graphs = BackgroundResult(
        accelerator.clock, lambda: [trace_candidate(one, precision.dtype) for one in sources]
    )

    def describe() -> dict[str, Any]:
        graphs.start()  # beside the sensor's characterisation
        return describe_gpu(opened, precision, name, seed, progress, _SENSOR_SHARE * budget_s)

    try:
        info = open_folder(
            folder,
            describe,
            RunSettings(accelerator.name, precision.name, name, seed, _power_limit_w(opened)),
        )
        check_rows(folder)
        graphs.start()
        opened.open_context()
        info = _with_waves(folder, info, opened, precision, _SENSOR_SHARE * budget_s, progress)
        bench = JobMeasurer(accelerator, opened.meter, plan_of(info), opened.no_energy, seed=seed)
        limits = limits_of(info)
        session = CampaignSession(
            folder, info, bench, deadline, policy or RowShares(), shares or PartShares(), limits
        )
        choice = make_selector(graphs.result(), info, n_operators, limits)
        GpuCampaign(session, choice, networks, progress, also).run()
    except DeviceLost as lost:
        raise CampaignStopped(
            f"{accelerator.name} was lost: {lost}. The rows so far are in {folder}; the same command goes on"
        ) from lost


def _check_budget(folder: Path, budget_s: float) -> None:
    """Refuse a budget that is too short for a single row."""
    too_short = f"budget of {budget_s:g} s is too short for anything"
    if (folder / DEVICE_FILE).exists():
        if budget_s < LEAST_MORE_S:
            wanted = f"at least {LEAST_MORE_S:g} s go on with a folder: a network takes up to 4 s"
            raise InvalidInput(f"{too_short}; {wanted}")
    elif budget_s < LEAST_NEW_S:
        raise InvalidInput(
            f"{too_short}; a new profile takes at least {LEAST_NEW_S:g} s: its energy counter 8 s if it is "
            f"known and up to {CHARACTERISE_S:g} s if not, ceilings 3 s, then the first rows; 2m give a "
            "balanced folder, 9m a whole one"
        )


def _power_limit_w(opened: OpenedGpu) -> float | None:
    limit_w = opened.meter.settings().get("power_limit_w") if opened.meter else None
    return None if limit_w is None else float(limit_w)


def make_selector(
    graphs: Sequence[LayerGraph], info: Mapping[str, Any], n: int, limits: OperatorLimits
) -> OperatorSelector:
    """Return what chooses the operators of a profile: from traced networks, and some odd ones beside."""
    settings, ceilings = info["settings"], Ceilings.from_mapping(info["ceilings"])
    seed, plan = int(settings.get("seed", 0)), replace(GPU_PLAN, limits=limits)
    rng = np.random.default_rng([seed, 1])
    odd = sample_operators(min(N_SOBOL, n), rng, dtype=settings["dtype"], plan=plan).operators
    return OperatorSelector(NetworkOperators.of(graphs, ceilings, limits), odd, ceilings, limits, seed, n)


def limits_of(info: Mapping[str, Any]) -> OperatorLimits:
    """Return the limits on an operator's work: two sets of its operands take a part of the memory."""
    memory_bytes = info.get("hardware", {}).get("memory_bytes", math.inf)
    n_elements = min(GPU_PLAN.limits.n_elements, memory_bytes / _BYTES_AN_ELEMENT)
    return replace(GPU_PLAN.limits, n_elements=n_elements)


def describe_gpu(
    opened: OpenedGpu, precision: Precision, name: str | None, seed: int, progress: Progress, budget_s: float
) -> dict[str, Any]:
    """Characterise the sensor, measure the ceilings, and return what device.json holds."""
    accelerator = opened.accelerator
    sensor = _describe_sensor(opened, precision, budget_s, progress)
    progress("sensor", 1, 2, "ceilings")
    opened.open_context()
    ceilings = accelerator.ceilings()
    progress("sensor", 2, 2, "")
    info: dict[str, Any] = {
        "name": name or "-".join(accelerator.name.lower().split()),
        "protocol_version": PROTOCOL_VERSION,
        "kind": "gpu",
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": accelerator.describe(),
        "limits": opened.meter.settings() if opened.meter else {},
        "software": describe_software(),
        "sensors": [asdict(sensor) for sensor in probe_sensors()],
        "settings": {**precision.settings(), "mode": "as graphs, some networks eager too", "seed": seed},
        "ceilings": ceilings,
        "sensor": sensor,
    }
    return {**info, "is_simulated": True} if opened.is_simulated else info


def _describe_sensor(
    opened: OpenedGpu, precision: Precision, budget_s: float, progress: Progress
) -> dict[str, Any]:
    """Return what is known of the sensor, or the reason for knowing nothing."""
    accelerator, meter = opened.accelerator, opened.meter
    if meter is None:
        progress("sensor", 0, 2, f"times and memory only, no energy: {opened.no_energy}")
        return {"reason": opened.no_energy}
    job = operator_job(sentinels(precision.dtype)[0])
    return describe_sensor(
        accelerator,
        meter,
        lambda: accelerator.prepare(job),
        opened.open_context,
        budget_s,
        lambda message: progress("sensor", 0, 2, message),
    )


def _check_alone(opened: OpenedGpu, folder: Path) -> None:
    """Refuse a GPU on which others compute now: every row would be refused, for the whole budget."""
    n_others = opened.meter.state().n_other_processes if opened.meter else 0
    if n_others:
        noun = "process computes" if n_others == 1 else "processes compute"
        raise CampaignStopped(
            f"{opened.accelerator.name}: {n_others} other {noun} on it, wanted none; end them (nvidia-smi "
            f"shows them) or wait. What was measured is kept in {folder}; the same command goes on"
        )


def _with_waves(
    folder: Path,
    info: dict[str, Any],
    opened: OpenedGpu,
    precision: Precision,
    budget_s: float,
    say: Progress,
) -> dict[str, Any]:
    """Characterise the sensor again where a first, short run had no time for square waves."""
    sensor = info.get("sensor", {})
    is_done = sensor.get("known") or sensor.get("waves")
    if opened.meter is None or is_done or budget_s < CHARACTERISE_S / 2:
        return info
    before_w = sensor.get("idle_before_context_w")
    again = {**_describe_sensor(opened, precision, budget_s, say), "idle_before_context_w": before_w}
    info = {**info, "sensor": again}
    write_info(folder, info)
    return info


def measure_gpu_networks(
    local: LocalDevice,
    candidates: Sequence[Candidate],
    progress: Progress,
    mode: str = "eager",
    with_warm: bool = False,
) -> list[dict[str, Any]]:
    """Measure networks on a GPU outside any profile; see `hwopt.measure.api.measure_networks`.

    A sensor that is not characterised is taken for one that looks at a part of every period.
    """
    pinned, found = Precision.named(local.precision), []
    columns = [f"{figure}_reason" for figure in ("time", "energy", "memory")]
    with open_gpu(local.device, pinned) as opened:
        opened.open_context()
        bench = JobMeasurer(
            opened.accelerator, opened.meter, plan_of({"sensor": local.sensor}), opened.no_energy
        )
        for i, candidate in enumerate(candidates):
            progress("measuring", i, len(candidates), candidate.name)
            graph = trace_candidate(candidate, pinned.dtype)
            job = network_job(candidate, graph)
            row = bench.measure(job, mode, True, bench.plan.network_window_s)
            if with_warm:
                row["warm_time_s"] = bench.warm_time_s(job, mode)
            found.append({name: row.get(name) for name in (*METRICS, *columns, "mode", "warm_time_s")})
    progress("measuring", len(candidates), len(candidates), "")
    return found
