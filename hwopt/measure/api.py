"""Measure a device into a profile folder, within a time budget: ceilings, operators, whole networks.

    |- ceilings -|------ operators ------|------ networks ------|- held-out -|    a CPU
    0            about 1 s               50%                    85%          the budget

Held-out operators are those of the test networks, measured one by one. Around a search space there are none,
and networks have their time. A GPU's parts are in
`hwopt.measure.gpu.campaign`.

Each row is written when it is measured, so a run that was cut short goes on where it was: what has a figure
is skipped, what was contended is tried again. Rows come in random order.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.errors import InvalidInput
from hwopt.measure.campaign import Deadline, Progress, trace_spec
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

if TYPE_CHECKING:
    from hwopt.space.search_space import SearchSpace

_MAX_BUDGET_S = 7 * 24 * 3600.0
_SECONDS_AN_OPERATOR = 0.04  # a guess, from which the size of the sample follows


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
    """Measure a device into a folder, or go on with one, and return the profile.

    Args:
        out_dir: the folder of the profile; it is created where it is not there.
        device: "cpu" (one thread), "cuda", "cuda:1", or "simulated": a GPU in virtual time, for dry runs.
        budget_s: seconds to spend; each call measures what is due next.
        space: measure operators around the layers of this space's networks, and random networks of it;
            without one, random small CNNs and torchvision's, and the test networks' operators one by one.
        batch_size: items a pass; where it is None, 1 with a space, and without one 1 and 8 on a CPU and 1 to
            128 on a GPU.
        seed: of the random choice of operators and networks.
        progress: called with stage, rows done, rows planned, message.
        name: name of the device in device.json; its model where it is None.
        precision: of a GPU: "default" (float32 as PyTorch sets it first: convolutions in TF32), "ieee"
            (float32 without TF32) or "bfloat16".
        on_busy: what a CPU that others use as well gives: "refuse" leaves rows without a time, "accept" keeps
            the times with the status `shared`. A GPU that others use is always refused.
        prior: name or folder of a profile of the same kind that predictions start from; "auto" takes the
            shipped one of that kind as long as little is measured (`hwopt.predict.prior`), "none" none.
            device.json keeps it.

    Raises:
        InvalidInput: for another device, or a folder that holds another device's measurements.
        CampaignStopped: a GPU was lost; what was measured is kept.
    """
    _check_arguments(budget_s, batch_size, seed, on_busy)
    if prior not in (AUTO, OFF):
        load_profile(prior)  # an unknown name is an error before anything is measured
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
        has_held_out = space is None  # around one space every second goes into its own networks
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
    """Measure networks outside any profile: on one thread of this CPU, or on a GPU.

    Args:
        specs: what to measure, shape [n].
        progress: called with stage, networks done, networks planned, message.
        device: as of `profile_device`, or a device that `find_local_device` found.
        on_busy: as of `profile_device`.
        mode: "eager", or on a GPU "graph": replayed as a CUDA graph.
        with_warm: also time a loop over one input, whose operands stay in the caches.

    Returns:
        For each its `time_s`, `memory_bytes`, and on a GPU `power_w` and `energy_j`, None where there is no
        figure; with `time_reason`, `memory_reason` and `energy_reason`; and `warm_time_s`, shape [n].

    Raises:
        InvalidInput: for a mode that the device does not have.
    """
    if mode not in MODES:
        raise InvalidInput(f"mode {mode!r}; wanted {' or '.join(MODES)}")
    progress = progress or _silent
    local = LocalDevice(device) if isinstance(device, str) else device
    if local.device != "cpu":
        from hwopt.measure.gpu.profile_gpu import measure_gpu_networks

        return measure_gpu_networks(local, specs, progress, mode, with_warm)
    if mode != "eager":
        raise InvalidInput(f"mode {mode!r}: a CPU runs networks eager; CUDA graphs are a GPU's")
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
    """Report nothing."""


def _n_networks(budget_s: float, space: object) -> int:
    """Return how many networks to plan: all 80 that a distribution needs, fewer in a short run."""
    return int(np.clip(budget_s, 10, 80 if space is not None else 70))


def _operators(
    budget_s: float,
    seed: int,
    space: "SearchSpace | None",
    batch_sizes: Sequence[int],
    networks: Sequence[NetworkSpec],
) -> list[Operator]:
    """Choose operators around random networks not measured whole, and torchvision's of the fit split."""
    rng = np.random.default_rng([seed, 1])
    around = [c for c in choose_networks(60, rng, space, batch_sizes) if c.source != "torchvision"]
    around += [c for c in networks if c.source == "torchvision" and c.split == "fit"]
    graphs = [trace_spec(spec) for spec in around]
    n = max(8, int(OPERATOR_SHARE * budget_s / _SECONDS_AN_OPERATOR))
    return sample_operators(n, rng, graphs).operators
