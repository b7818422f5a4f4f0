"""Measure a device into a profile folder, within a time budget: ceilings, operators, whole networks.

    |- ceilings -|------ operators, in groups ------|------ networks, in groups ------|
    0            about 1 s                          55% of the budget                 the budget

Each row is written when it is measured, so a run that was cut short goes on where it was: what has a figure
is skipped, what was contended is tried again. Rows come in random order.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.device.campaign import Deadline, Progress, trace_candidate
from hwopt.device.cpu import Protocol, Work, keep_freed_memory, one_thread_without_gradients
from hwopt.device.cpu_campaign import OPERATOR_SHARE, CpuCampaign, memory_of
from hwopt.device.folder import describe_cpu_device, open_folder
from hwopt.device.machine import describe_cpu
from hwopt.device.memory import MemoryMeter
from hwopt.device.networks import Candidate, choose_networks
from hwopt.device.operators import OperandPool, Recipe
from hwopt.device.profile import DeviceProfile
from hwopt.device.sampling import Operator, sample_operators
from hwopt.device.watch import Watch
from hwopt.errors import InvalidInput

if TYPE_CHECKING:
    from hwopt.space import SearchSpace

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
) -> DeviceProfile:
    """Measure a device into a folder, or go on with one, and return the profile.

    Args:
        out_dir: the folder of the profile; it is created where it is not there.
        device: what to measure; this version measures "cpu", on one thread.
        budget_s: seconds of wall time to spend.
        space: measure operators around the layers of this space's networks, and random networks of it;
            without one, random small CNNs and torchvision's.
        batch_size: items a pass; 1 with a space, 1 and 8 without where it is None.
        seed: of the random choice of operators and networks.
        progress: called with stage, rows done, rows planned, message.
        name: name of the device in device.json; its model where it is None.

    Raises:
        InvalidInput: for another device, or a folder that holds another device's measurements.
    """
    if device != "cpu":
        raise InvalidInput(f"device {device!r}: this version measures the CPU; use device='cpu'")
    if not budget_s > 0:
        raise InvalidInput(f"budget_s = {budget_s}: it must be positive, in seconds")
    if batch_size is not None and (isinstance(batch_size, bool) or batch_size < 1):
        raise InvalidInput(f"batch_size = {batch_size}: it must be a whole number from 1")
    deadline = Deadline(budget_s)
    batch_sizes = (batch_size,) if batch_size else ((1,) if space else (1, 8))
    networks = choose_networks(
        _n_networks(budget_s, space), np.random.default_rng([seed, 0]), space, batch_sizes
    )
    with one_thread_without_gradients():
        allocator = keep_freed_memory()
        info = open_folder(
            Path(out_dir),
            lambda: describe_cpu_device(name, seed, Protocol(), allocator),
            str(describe_cpu()["model"]),
            "default",
        )
        with CpuCampaign(Path(out_dir), info, deadline, progress or _silent) as session:
            session.measure_operators(_operators(budget_s, seed, space, batch_sizes, networks))
            session.measure_networks(networks)
            session.measure_oracle(networks)
    return DeviceProfile.load(out_dir)


def measure_networks(
    candidates: Sequence[Candidate], progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Measure networks on this CPU, one thread, outside any profile.

    Args:
        candidates: what to measure, shape [n].
        progress: called with stage, networks done, networks planned, message.

    Returns:
        For each its `time_s` and `memory_bytes`, None where there is no figure, with `time_reason` and
        `memory_reason`, shape [n].
    """
    progress, found = progress or _silent, []
    protocol = Protocol(n_retries=5)
    pool = OperandPool(protocol.rotation_bytes, protocol.max_sets)
    with one_thread_without_gradients(), MemoryMeter() as meter, Watch(None, protocol) as watch:
        for i, candidate in enumerate(candidates):
            progress("measuring", i, len(candidates), candidate.name)
            network = candidate.build().eval()
            inputs = pool.sets(Recipe(network, (candidate.input_shape,)))[:16]
            timing = watch.time([Work(candidate.name, network, inputs)])[0]
            memory_bytes, memory_reason = memory_of(candidate, meter)
            found.append(
                {
                    "time_s": timing.time_s,
                    "time_reason": timing.reason,
                    "memory_bytes": memory_bytes,
                    "memory_reason": memory_reason,
                }
            )
    progress("measuring", len(candidates), len(candidates), "")
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
    networks: Sequence[Candidate],
) -> list[Operator]:
    """Choose operators around random networks not measured whole, and torchvision's of the fit split."""
    rng = np.random.default_rng([seed, 1])
    around = [c for c in choose_networks(60, rng, space, batch_sizes) if c.source != "torchvision"]
    around += [c for c in networks if c.source == "torchvision" and c.split == "fit"]
    graphs = [trace_candidate(candidate) for candidate in around]
    n = max(8, int(OPERATOR_SHARE * budget_s / _SECONDS_AN_OPERATOR))
    return sample_operators(n, rng, graphs).operators
