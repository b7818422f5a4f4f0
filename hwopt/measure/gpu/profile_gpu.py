"""Profile a GPU into a folder: describe the device, then run a campaign."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from hwopt.errors import InvalidInput
from hwopt.measure.background_work import BackgroundResult
from hwopt.measure.campaign import Deadline, trace_spec
from hwopt.measure.campaign_folder import RunSettings, check_rows, open_folder
from hwopt.measure.energy.characterization.describe_sensor import CHARACTERIZE_S, describe_sensor, plan_of
from hwopt.measure.energy.sensors.registry import probe_sensors
from hwopt.measure.gpu.accelerator import DeviceLost
from hwopt.measure.gpu.campaign import CampaignStopped, GpuCampaign
from hwopt.measure.gpu.campaign_session import CampaignSession, PartShares, RowShares
from hwopt.measure.gpu.open_gpu import OpenedGpu, open_gpu
from hwopt.measure.gpu.part_scheduler import CampaignPart
from hwopt.measure.gpu.precision import Precision
from hwopt.measure.gpu.workload_measurer import WorkloadMeasurer
from hwopt.measure.gpu.workloads import network_workload, operator_workload, reference_operators
from hwopt.measure.local_device import LocalDevice
from hwopt.measure.sampling.network_operators import NetworkOperators
from hwopt.measure.sampling.networks import NetworkSpec
from hwopt.measure.sampling.operator_selection import N_SOBOL, OperatorSelector
from hwopt.measure.sampling.operators import GPU_PLAN, sample_operators
from hwopt.measure.sampling.sobol import OperatorLimits
from hwopt.measure.system_info import describe_software
from hwopt.network.layer import METRICS, LayerGraph
from hwopt.profile.device_json import DEVICE_FILE, PROTOCOL_VERSION, write_info
from hwopt.profile.roofline import Ceilings
from hwopt.progress import Progress

N_OPERATORS = 850
_BYTES_AN_ELEMENT = 16  # memory of an operand's element: in several sets, and in copies made by kernels
LEAST_NEW_S, LEAST_MORE_S = 30.0, 5.0  # least budgets of a new folder, and of a continued one
_SENSOR_SHARE = 0.2  # largest share of a run's budget for characterizing the sensor


def profile_gpu(
    folder: Path,
    opened: OpenedGpu,
    budget_s: float,
    precision: Precision,
    networks: Sequence[NetworkSpec],
    sources: Sequence[NetworkSpec],
    progress: Progress,
    name: str | None = None,
    seed: int = 0,
    n_operators: int = N_OPERATORS,
    row_shares: RowShares | None = None,
    part_shares: PartShares | None = None,
    further_parts: Callable[[CampaignSession], Sequence[CampaignPart]] | None = None,
) -> None:
    """Measure a GPU into a new folder, or continue an existing profile.

    Args:
        folder: folder of the profile.
        opened: the GPU.
        budget_s: time budget in seconds of the device's clock.
        precision: precision of convolutions and matrix products.
        networks: networks to measure, the most important first.
        sources: networks whose operators are measured.
        progress: called with stage, done, planned, message.
        name: name of the device.
        seed: seed of the selection of operators.
        n_operators: largest number of operators in layers.csv.
        row_shares: shares of rows measured for energy, in eager mode, or twice.
        part_shares: share of the time for each part.
        further_parts: returns further parts of the campaign.

    Raises:
        CampaignStopped: if the device was lost, or other processes use it; measured rows are kept.
        InvalidInput: if the folder has measurements of another device, or rows that cannot be read.
    """
    accelerator = opened.accelerator
    _check_budget(folder, budget_s)
    deadline = Deadline(budget_s, accelerator.clock.now)
    _check_alone(opened, folder)
    graphs = BackgroundResult(
        accelerator.clock, lambda: [trace_spec(one, precision.dtype) for one in sources]
    )

    def describe() -> dict[str, Any]:
        graphs.start()  # in the background of the sensor's characterization
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
        measurer = WorkloadMeasurer(accelerator, opened.meter, plan_of(info), opened.no_energy, seed=seed)
        limits = limits_of(info)
        session = CampaignSession(
            folder, info, measurer, deadline, row_shares or RowShares(), part_shares or PartShares(), limits
        )
        choice = make_selector(graphs.result(), info, n_operators, limits)
        GpuCampaign(session, choice, networks, progress, further_parts).run()
    except DeviceLost as lost:
        raise CampaignStopped(
            f"{accelerator.name} was lost: {lost}. Measured rows are kept in {folder}; the same command "
            "continues"
        ) from lost


def _check_budget(folder: Path, budget_s: float) -> None:
    """Refuse a budget that is too short for a single row."""
    too_short = f"budget of {budget_s:g} s is too short"
    if (folder / DEVICE_FILE).exists():
        if budget_s < LEAST_MORE_S:
            wanted = f"continuing a profile takes at least {LEAST_MORE_S:g} s: a network takes up to 4 s"
            raise InvalidInput(f"{too_short}; {wanted}")
    elif budget_s < LEAST_NEW_S:
        raise InvalidInput(
            f"{too_short}; a new profile takes at least {LEAST_NEW_S:g} s: the energy sensor 8 s if it is "
            f"known and up to {CHARACTERIZE_S:g} s if not, ceilings 3 s, then the first rows; 2m give a "
            "balanced profile, 9m a complete one"
        )


def _power_limit_w(opened: OpenedGpu) -> float | None:
    limit_w = opened.meter.settings().get("power_limit_w") if opened.meter else None
    return None if limit_w is None else float(limit_w)


def make_selector(
    graphs: Sequence[LayerGraph], info: Mapping[str, Any], n: int, limits: OperatorLimits
) -> OperatorSelector:
    """Return the selector of a profile's operators: those of traced networks, and some Sobol points."""
    settings, ceilings = info["settings"], Ceilings.from_mapping(info["ceilings"])
    seed, plan = int(settings.get("seed", 0)), replace(GPU_PLAN, limits=limits)
    rng = np.random.default_rng([seed, 1])
    sobol = sample_operators(min(N_SOBOL, n), rng, dtype=settings["dtype"], plan=plan).operators
    return OperatorSelector(NetworkOperators.of(graphs, ceilings, limits), sobol, ceilings, limits, seed, n)


def limits_of(info: Mapping[str, Any]) -> OperatorLimits:
    """Return the largest operators of a device: two sets of operands must fit into its memory."""
    memory_bytes = info.get("hardware", {}).get("memory_bytes", math.inf)
    n_elements = min(GPU_PLAN.limits.n_elements, memory_bytes / _BYTES_AN_ELEMENT)
    return replace(GPU_PLAN.limits, n_elements=n_elements)


def describe_gpu(
    opened: OpenedGpu, precision: Precision, name: str | None, seed: int, progress: Progress, budget_s: float
) -> dict[str, Any]:
    """Characterize the sensor, measure the ceilings, and return the contents of device.json."""
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
    """Return the key `sensor` of device.json: characteristics of the sensor, or the reason for none."""
    accelerator, meter = opened.accelerator, opened.meter
    if meter is None:
        progress("sensor", 0, 2, f"times and memory only, no energy: {opened.no_energy}")
        return {"reason": opened.no_energy}
    workload = operator_workload(reference_operators(precision.dtype)[0])
    return describe_sensor(
        accelerator,
        meter,
        lambda: accelerator.prepare(workload),
        opened.open_context,
        budget_s,
        lambda message: progress("sensor", 0, 2, message),
    )


def _check_alone(opened: OpenedGpu, folder: Path) -> None:
    """Raise CampaignStopped if other processes compute on the GPU, since every row would be refused."""
    n_others = opened.meter.state().n_other_processes if opened.meter else 0
    if n_others:
        noun = "process computes" if n_others == 1 else "processes compute"
        raise CampaignStopped(
            f"{opened.accelerator.name}: {n_others} other {noun} on it, wanted none; end them (nvidia-smi "
            f"lists them) or wait. Measured rows are kept in {folder}; the same command continues"
        )


def _with_waves(
    folder: Path,
    info: dict[str, Any],
    opened: OpenedGpu,
    precision: Precision,
    budget_s: float,
    progress: Progress,
) -> dict[str, Any]:
    """Characterize the sensor again if the first run was too short for square waves."""
    sensor = info.get("sensor", {})
    is_done = sensor.get("known") or sensor.get("waves")
    if opened.meter is None or is_done or budget_s < CHARACTERIZE_S / 2:
        return info
    before_w = sensor.get("idle_before_context_w")
    again = {**_describe_sensor(opened, precision, budget_s, progress), "idle_before_context_w": before_w}
    info = {**info, "sensor": again}
    write_info(folder, info)
    return info


def measure_gpu_networks(
    local: LocalDevice,
    specs: Sequence[NetworkSpec],
    progress: Progress,
    mode: str = "eager",
    with_warm: bool = False,
) -> list[dict[str, Any]]:
    """Measure networks on a GPU without a profile; see `hwopt.measure.api.measure_networks`.

    A sensor that is not characterized is assumed to sample a part of every period only.
    """
    pinned, found = Precision.named(local.precision), []
    columns = [f"{figure}_reason" for figure in ("time", "energy", "memory")]
    with open_gpu(local.device, pinned) as opened:
        opened.open_context()
        measurer = WorkloadMeasurer(
            opened.accelerator, opened.meter, plan_of({"sensor": local.sensor}), opened.no_energy
        )
        for i, spec in enumerate(specs):
            progress("measuring", i, len(specs), spec.name)
            graph = trace_spec(spec, pinned.dtype)
            workload = network_workload(spec, graph)
            row = measurer.measure(workload, mode, True, measurer.plan.network_window_s)
            if with_warm:
                row["warm_time_s"] = measurer.warm_time_s(workload, mode)
            found.append({name: row.get(name) for name in (*METRICS, *columns, "mode", "warm_time_s")})
    progress("measuring", len(specs), len(specs), "")
    return found
