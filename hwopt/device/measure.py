"""Measure a device into a profile folder, within a time budget: ceilings, operators, whole networks.

    |- ceilings -|------ operators, in groups ------|------ networks, in groups ------|
    0            about 1 s                          55% of the budget                 the budget

Each row is written when it is measured, so a run that was cut short goes on where it was: what has a figure
is skipped, what was contended is tried again. Rows come in random order.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.device.cpu import (
    Protocol,
    Timing,
    Work,
    keep_freed_memory,
    one_thread_without_gradients,
    time_works,
)
from hwopt.device.folder import open_folder
from hwopt.device.memory import MemoryMeter, Unmeasurable
from hwopt.device.networks import Candidate, choose_networks
from hwopt.device.operators import OperandPool, Recipe
from hwopt.device.profile import (
    LAYER_FILE,
    NETWORK_FILE,
    NETWORK_LAYER_FILE,
    DeviceProfile,
    read_layers,
    read_network_layers,
    read_networks,
)
from hwopt.device.rows import LAYER_COLUMNS, LAYER_KEY, NETWORK_COLUMNS, NETWORK_LAYER_COLUMNS, RowFile
from hwopt.device.sampling import Operator, sample_operators
from hwopt.device.sensors import energy_reason, probe_sensors
from hwopt.errors import InvalidInput
from hwopt.network import trace
from hwopt.network.layer import LayerGraph

if TYPE_CHECKING:
    from hwopt.space import SearchSpace

Progress = Callable[[str, int, int, str], None]

_OPERATOR_SHARE = 0.55  # of the budget, ceilings included
_OPERATOR_GROUP = 12  # how many are timed interleaved
_NETWORK_GROUP = 4
_N_ATTEMPTS = 2  # groups that a contended row is in, each with the protocol's own retries
_MAX_PASS_S = 0.1  # a network that needs longer is left out
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
    deadline = _Deadline(budget_s)
    batch_sizes = (batch_size,) if batch_size else ((1,) if space else (1, 8))
    networks = choose_networks(
        _n_networks(budget_s, space), np.random.default_rng([seed, 0]), space, batch_sizes
    )
    with one_thread_without_gradients():
        info = open_folder(Path(out_dir), name, seed, Protocol(), keep_freed_memory())
        session = _Session(Path(out_dir), info, deadline, progress or _silent)
        session.measure_operators(_operators(budget_s, seed, space, batch_sizes, networks))
        session.measure_networks(networks)
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
    with one_thread_without_gradients(), MemoryMeter() as meter:
        for i, candidate in enumerate(candidates):
            progress("measuring", i, len(candidates), candidate.name)
            network = candidate.build().eval()
            inputs = pool.sets(Recipe(network, (candidate.input_shape,)))[:16]
            timing = time_works([Work(candidate.name, network, inputs)], protocol)[0]
            memory_bytes, memory_reason = _memory(candidate, meter)
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


def _memory(candidate: Candidate, meter: MemoryMeter) -> tuple[int | None, str]:
    """Return the peak memory of a network, or None and the reason."""
    try:
        return meter.measure(candidate.build, candidate.input_shape), ""
    except Unmeasurable as reason:
        return None, str(reason)


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
    graphs = [_trace(candidate) for candidate in around]
    n = max(8, int(_OPERATOR_SHARE * budget_s / _SECONDS_AN_OPERATOR))
    return sample_operators(n, rng, graphs).operators


def _trace(candidate: Candidate) -> LayerGraph:
    batch, *shape = candidate.input_shape
    return trace(candidate.build(), tuple(shape), batch)


class _Deadline:
    """How much of a budget is left, and whether a further group fits into a share of it."""

    def __init__(self, budget_s: float) -> None:
        self.budget_s = budget_s
        self._begin = time.monotonic()

    def allows(self, seconds: float, share: float) -> bool:
        """Whether `seconds` more end within a share of the budget."""
        return time.monotonic() - self._begin + seconds <= share * self.budget_s


@dataclass
class _Session:
    """One run of `profile_device`: where the rows go and when to stop."""

    folder: Path
    info: Mapping[str, Any]
    deadline: _Deadline
    progress: Progress
    protocol: Protocol = field(default_factory=Protocol)

    def __post_init__(self) -> None:
        rotation_bytes = self.info["settings"]["protocol"]["rotation_bytes"]
        self.protocol = Protocol(rotation_bytes=rotation_bytes)
        self.pool = OperandPool(rotation_bytes, self.protocol.max_sets)
        self.energy_reason = (
            energy_reason(probe_sensors(), "rapl") or "attribution of RAPL to one core is not done"
        )

    def measure_operators(self, operators: Sequence[Operator]) -> None:
        """Time operators in groups until the share of the budget is spent; write a row each."""
        path = self.folder / LAYER_FILE
        done = _keys(path, read_layers, LAYER_KEY)
        waiting = [operator for operator in operators if operator.key not in done]
        with RowFile(path, LAYER_COLUMNS) as file:
            self._in_groups(
                "operators",
                waiting,
                _OPERATOR_GROUP,
                _OPERATOR_SHARE,
                lambda operator: Work(operator.key, operator.recipe.call, self.pool.sets(operator.recipe)),
                lambda operator, timing: file.append(self._layer_row(operator, timing)),
            )

    def measure_networks(self, candidates: Sequence[Candidate]) -> None:
        """Time networks in groups until the budget is spent; write their row and their layers."""
        path, layer_path = self.folder / NETWORK_FILE, self.folder / NETWORK_LAYER_FILE
        done = {key[0] for key in _keys(path, read_networks, ("network",))}
        has_layers = {key[0] for key in _keys(layer_path, read_network_layers, ("network",), None)}
        waiting = [candidate for candidate in candidates if candidate.name not in done]
        with RowFile(path, NETWORK_COLUMNS) as file, RowFile(layer_path, NETWORK_LAYER_COLUMNS) as layers:
            with MemoryMeter() as meter:

                def write(candidate: Candidate, timing: Timing) -> None:
                    graph = _trace(candidate)
                    row = self._network_row(candidate, timing, graph, meter)
                    if candidate.name not in has_layers:
                        layers.append_all(_layer_rows(candidate.name, graph))
                    file.append(row)

                self._in_groups("networks", waiting, _NETWORK_GROUP, 1.0, self._network_work, write)

    def _in_groups(
        self,
        stage: str,
        items: Sequence[Any],
        size: int,
        share: float,
        work_of: Callable[[Any], Work],
        write: Callable[[Any, Timing], None],
    ) -> None:
        """Time items in groups; what is contended comes again at the end."""
        queue = [(item, 1) for item in items]
        left_over: list[tuple[Any, Timing]] = []
        n_done, seconds = 0, 0.0
        while queue and (n_done == 0 or self.deadline.allows(seconds, share)):
            begin = time.monotonic()
            group, queue = queue[:size], queue[size:]
            timings = time_works([work_of(item) for item, _ in group], self.protocol)
            for (item, attempt), timing in zip(group, timings, strict=True):
                if timing.status == "contended" and attempt < _N_ATTEMPTS:
                    queue.append((item, attempt + 1))
                    left_over.append((item, timing))
                    continue
                left_over = [(other, last) for other, last in left_over if other is not item]
                write(item, timing)
                n_done += 1
            seconds = max(0.7 * seconds, time.monotonic() - begin)
            self.progress(stage, n_done, len(items), f"{len(left_over)} contended")
        for item, timing in left_over:
            write(item, timing)

    def _network_work(self, candidate: Candidate) -> Work:
        network = candidate.build().eval()
        recipe = Recipe(network, (candidate.input_shape,))
        inputs = self.pool.sets(recipe)[:16]
        begin = time.perf_counter()
        network(*inputs[0])
        if time.perf_counter() - begin > 1.5 * _MAX_PASS_S:
            return Work(candidate.name, _too_slow)
        return Work(candidate.name, network, inputs)

    def _layer_row(self, operator: Operator, timing: Timing) -> dict[str, Any]:
        row = {**operator.layer.row(), "device": self.info["name"], "source": operator.source}
        return {**row, **self._quality(timing), "memory_reason": "not measured for single operators"}

    def _network_row(
        self, candidate: Candidate, timing: Timing, graph: LayerGraph, meter: MemoryMeter
    ) -> dict[str, Any]:
        memory_bytes, memory_reason = _memory(candidate, meter)
        return {
            "network": candidate.name,
            "source": candidate.source,
            "split": candidate.split,
            "batch": graph.batch_size,
            "dtype": graph.dtype,
            "mode": "eager",
            "memory_bytes": memory_bytes,
            "modelled_memory_bytes": graph.memory_bytes,
            "input_shape": "x".join(str(side) for side in candidate.input_shape),
            **self._quality(timing),
            "memory_reason": memory_reason,
        }

    def _quality(self, timing: Timing) -> dict[str, Any]:
        return {
            "time_s": timing.time_s,
            "status": timing.status,
            "time_reason": timing.reason,
            "energy_reason": self.energy_reason,
            "spread": timing.spread,
            "n_blocks": timing.n_blocks,
            "n_passes": timing.n_passes,
        }


def _too_slow() -> None:
    raise ValueError(f"one pass takes more than {_MAX_PASS_S:g} s: too slow to measure in a short run")


def _layer_rows(network: str, graph: LayerGraph) -> list[dict[str, Any]]:
    return [
        {**layer.row(), "network": network, "position": position}
        for position, layer in enumerate(graph.layers)
    ]


def _keys(
    path: Path, read: Callable[[Path], Any], columns: Sequence[str], with_value: str | None = "time_s"
) -> set[tuple[Any, ...]]:
    """Return the keys of the rows of a file that have a value, as plain Python values."""
    if not path.exists():
        return set()
    table = read(path)
    table = table if with_value is None else table[table[with_value].notna()]
    return {
        tuple(int(value) if isinstance(value, float) else value for value in row)
        for row in table[list(columns)].itertuples(index=False, name=None)
    }
