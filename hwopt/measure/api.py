"""Measure a device profile within a time budget: ceilings, operators, whole networks.

    |- ceilings -|------ operators ------|------ networks ------|- held-out -|    a CPU
    0            about 1 s               50%                    85%          the budget

Held-out operators are those of the test networks, measured one by one. A profile of a search space has none;
networks get their share of the time. For the parts of a GPU campaign see `hwopt.measure.gpu.campaign`.

Each row is written as soon as it is measured, so an interrupted run can be continued: measured rows are
skipped and contended ones are measured again. Rows are measured in random order.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.errors import InvalidInput
from hwopt.measure.campaign import Deadline, trace_spec
from hwopt.measure.campaign_folder import (
    AUTO,
    RunSettings,
    describe_cpu_device,
    improve_ceilings,
    keep_prior,
    open_folder,
)
from hwopt.measure.cpu.campaign import OPERATOR_SHARE, CpuCampaign, memory_of
from hwopt.measure.cpu.peak_memory import MemoryMeter
from hwopt.measure.cpu.reference_workloads import MonitoredTimer
from hwopt.measure.cpu.timing import TimingProtocol, Workload, keep_freed_memory, one_thread_without_gradients
from hwopt.measure.gpu.precision import Precision
from hwopt.measure.local_device import LocalDevice
from hwopt.measure.operators.build import OperandPool, Recipe
from hwopt.measure.sampling.gpu_networks import BATCH_SIZES, choose_gpu_networks, operator_sources
from hwopt.measure.sampling.networks import NetworkSpec, choose_networks
from hwopt.measure.sampling.operators import Operator, sample_operators
from hwopt.measure.system_info import describe_cpu
from hwopt.predict.prior import OFF
from hwopt.predict.shipped import load_profile
from hwopt.profile.device_json import DEVICE_FILE, check_device_name
from hwopt.profile.device_profile import DeviceProfile
from hwopt.profile.schema import MODES
from hwopt.progress import Progress

if TYPE_CHECKING:
    from hwopt.space.search_space import SearchSpace

_MAX_BUDGET_S = 7 * 24 * 3600.0
_SECONDS_AN_OPERATOR = 0.04  # an estimate, used to choose the number of operators


def profile_device(
    out_dir: str | Path,
    device: str = "cpu",
    budget_s: float = 90.0,
    space: "SearchSpace | None" = None,
    batch_size: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    name: str | None = None,
    precision: str = "default",
    on_busy: str = "refuse",
    prior: str = "auto",
) -> DeviceProfile:
    """Measure a device into a new folder, or continue an existing profile, and return the profile.

    Args:
        out_dir: the folder of the profile; created if it does not exist.
        device: "cpu" (one thread), "cuda", "cuda:1", or "simulated": a GPU in virtual time, for dry runs.
        budget_s: time budget of this call, in seconds.
        space: measure random networks of this space, and operators similar to their layers. None measures
            random small CNNs and torchvision's networks, and the operators of the test networks one by one.
        batch_size: items in a pass. None means 1 with a space; otherwise 1 and 8 on a CPU, 1 to 128 on a GPU.
        seed: seed of the selection of operators and networks.
        progress: called with stage, rows done, rows planned, message.
        name: name of the device in device.json; None takes its model.
        precision: precision of a GPU: "default" (PyTorch's default: float32, convolutions in TF32), "ieee"
            (float32 without TF32) or "bfloat16".
        on_busy: if other processes use the CPU: "refuse" leaves rows without a time, "accept" keeps times
            with the status `shared`. A GPU used by other processes is always refused.
        prior: name or folder of a profile of the same kind of device, as the prior of predictions; "auto"
            takes the shipped one of that kind while few rows are measured (`hwopt.predict.prior`); "none"
            takes no prior. Recorded in device.json.

    Raises:
        InvalidInput: for an unknown device, or a folder with measurements of another device.
        CampaignStopped: if a GPU was lost; measured rows are kept.
    """
    _check_arguments(budget_s, batch_size, seed, on_busy)
    if prior not in (AUTO, OFF):
        load_profile(prior)  # reports an unknown name before any measurement
    if name is not None:
        check_device_name(name)
    if not str(out_dir):
        raise InvalidInput("out_dir is empty; give the folder of the profile")
    pinned = Precision.named(precision)
    report = progress or _silent
    rng = np.random.default_rng([seed, 0])
    if device != "cpu":
        from hwopt.measure.gpu.campaign_session import AROUND_A_SPACE, PartShares
        from hwopt.measure.gpu.open_gpu import open_gpu
        from hwopt.measure.gpu.profile_gpu import profile_gpu

        networks = (
            choose_networks(80, rng, space, (batch_size or 1,)) if space else _gpu_networks(rng, batch_size)
        )
        sources = operator_sources(np.random.default_rng([seed, 1]), space, batch_size)
        shares = AROUND_A_SPACE if space else PartShares()
        with open_gpu(device, pinned, seed) as opened:
            profile_gpu(
                Path(out_dir),
                opened,
                budget_s,
                pinned,
                networks,
                sources,
                report,
                name,
                seed,
                part_shares=shares,
            )
        return keep_prior(Path(out_dir), prior)
    if precision != "default":
        raise InvalidInput(f"precision {precision!r}: a CPU is measured in float32, precision 'default'")
    batch_sizes = (batch_size,) if batch_size else ((1,) if space else (1, 8))
    networks = choose_networks(_n_networks(budget_s, space), rng, space, batch_sizes)
    deadline = Deadline(budget_s)
    with one_thread_without_gradients():
        allocator = keep_freed_memory()
        is_resumed = (Path(out_dir) / DEVICE_FILE).exists()
        info = open_folder(
            Path(out_dir),
            lambda: describe_cpu_device(name, seed, TimingProtocol(), allocator),
            RunSettings(str(describe_cpu()["model"]), precision, name, seed),
        )
        info = improve_ceilings(Path(out_dir), info) if is_resumed else info
        accepts = on_busy == "accept"
        has_held_out = space is None  # a profile of a space spends all its time on the space's networks
        with CpuCampaign(Path(out_dir), info, deadline, report, accepts, has_held_out) as session:
            session.measure_operators(_operators(budget_s, seed, space, batch_sizes, networks))
            session.measure_networks(networks)
            if has_held_out:
                session.measure_held_out_operators(networks)
    return keep_prior(Path(out_dir), prior)


def _check_arguments(budget_s: float, batch_size: int | None, seed: int, on_busy: str) -> None:
    if (
        isinstance(budget_s, bool)
        or not isinstance(budget_s, int | float)
        or not 0 < budget_s <= _MAX_BUDGET_S
    ):
        wanted = f"it must be positive, in seconds, at most {_MAX_BUDGET_S:g} (a week)"
        raise InvalidInput(f"budget_s = {budget_s}: {wanted}")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InvalidInput(f"seed = {seed!r}: it must be a whole number from 0")
    if batch_size is not None and (isinstance(batch_size, bool) or batch_size < 1):
        raise InvalidInput(f"batch_size = {batch_size}: it must be a whole number from 1")
    if on_busy not in ("refuse", "accept"):
        raise InvalidInput(f"on_busy = {on_busy!r}; wanted refuse or accept")


def _gpu_networks(rng: np.random.Generator, batch_size: int | None) -> list[NetworkSpec]:
    return choose_gpu_networks(rng, batch_sizes=(batch_size,) if batch_size else BATCH_SIZES)


def measure_networks(
    specs: Sequence[NetworkSpec],
    progress: Progress | None = None,
    device: LocalDevice | str = "cpu",
    on_busy: str = "refuse",
    mode: str = "eager",
    with_warm: bool = False,
) -> list[dict[str, Any]]:
    """Measure networks without a profile: on one thread of this CPU, or on a GPU.

    Args:
        specs: networks to measure, shape [n].
        progress: called with stage, networks done, networks planned, message.
        device: as in `profile_device`, or the result of `find_local_device`.
        on_busy: as in `profile_device`.
        mode: "eager", or on a GPU "graph": replayed as a CUDA graph.
        with_warm: also time passes on a single input, whose operands stay in the caches.

    Returns:
        Dict for each network, shape [n]: `time_s`, `memory_bytes`, `warm_time_s`, and on a GPU `power_w` and
        `energy_j`; None for a missing value, with its cause in `time_reason`, `memory_reason` or
        `energy_reason`.

    Raises:
        InvalidInput: for a mode that the device does not support.
    """
    if mode not in MODES:
        raise InvalidInput(f"mode {mode!r}; wanted {' or '.join(MODES)}")
    progress = progress or _silent
    local = LocalDevice(device) if isinstance(device, str) else device
    if local.device != "cpu":
        from hwopt.measure.gpu.profile_gpu import measure_gpu_networks

        return measure_gpu_networks(local, specs, progress, mode, with_warm)
    if mode != "eager":
        raise InvalidInput(f"mode {mode!r}: a CPU runs networks in eager mode only; CUDA graphs need a GPU")
    found = []
    protocol = TimingProtocol(n_retries=5)
    pool = OperandPool(protocol.rotation_bytes, protocol.max_sets)
    timer = MonitoredTimer(None, protocol, accepts=on_busy == "accept")
    with one_thread_without_gradients(), MemoryMeter() as meter, timer:
        for i, spec in enumerate(specs):
            progress("measuring", i, len(specs), spec.name)
            network = spec.build().eval()
            inputs = pool.sets(Recipe(network, (spec.input_shape,)))[:16]
            workloads = [Workload(spec.name, network, inputs)]
            workloads += [Workload(f"{spec.name}, warm", network, inputs[:1])] if with_warm else []
            timing, *warm = timer.time(workloads)
            memory_bytes, memory_reason = memory_of(spec, meter)
            found.append(
                {
                    "time_s": timing.time_s,
                    "time_reason": timing.reason,
                    "status": timing.status,
                    "memory_bytes": memory_bytes,
                    "memory_reason": memory_reason,
                    "warm_time_s": warm[0].time_s if warm else None,
                }
            )
    progress("measuring", len(specs), len(specs), "")
    return found


def _silent(stage: str, done: int, total: int, message: str) -> None:
    """Ignore progress."""


def _n_networks(budget_s: float, space: object) -> int:
    """Return the number of networks to plan: 80 for a predictive distribution, fewer in a short run."""
    return int(np.clip(budget_s, 10, 80 if space is not None else 70))


def _operators(
    budget_s: float,
    seed: int,
    space: "SearchSpace | None",
    batch_sizes: Sequence[int],
    networks: Sequence[NetworkSpec],
) -> list[Operator]:
    """Sample operators from random networks that are not measured, and torchvision's of the split `fit`."""
    rng = np.random.default_rng([seed, 1])
    around = [c for c in choose_networks(60, rng, space, batch_sizes) if c.source != "torchvision"]
    around += [c for c in networks if c.source == "torchvision" and c.split == "fit"]
    graphs = [trace_spec(spec) for spec in around]
    n = max(8, int(OPERATOR_SHARE * budget_s / _SECONDS_AN_OPERATOR))
    return sample_operators(n, rng, graphs).operators
