"""Campaign on one thread of a CPU: operators in groups, networks, operators of the test networks."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwopt.measure.campaign import (
    Deadline,
    identity_columns,
    measured_keys,
    measured_test_networks,
    rows_of_graph,
    trace_spec,
)
from hwopt.measure.cpu.peak_memory import MemoryMeter, Unmeasurable
from hwopt.measure.cpu.reference_workloads import MonitoredTimer, choose_repeats
from hwopt.measure.cpu.timing import Timing, TimingProtocol, Workload
from hwopt.measure.energy.sensors.registry import no_energy_reason
from hwopt.measure.operators.build import OperandPool, Recipe
from hwopt.measure.sampling.held_out_operators import operators_of_networks
from hwopt.measure.sampling.networks import NetworkSpec
from hwopt.measure.sampling.operators import Operator
from hwopt.network.layer import LayerGraph
from hwopt.profile.device_profile import (
    HELD_OUT_FILE,
    LAYER_FILE,
    NETWORK_FILE,
    NETWORK_LAYER_FILE,
    REPEAT_FILE,
    read_layers,
    read_network_layers,
    read_networks,
)
from hwopt.profile.row_file import RowFile
from hwopt.profile.schema import LAYER_COLUMNS, LAYER_KEY, NETWORK_COLUMNS, NETWORK_LAYER_COLUMNS
from hwopt.progress import Progress

OPERATOR_SHARE = 0.5  # of the budget, ceilings included
_NETWORK_SHARE = 0.85  # of the budget, operators included; the rest is for the held-out operators
_OPERATOR_GROUP = 12  # timed interleaved
_NETWORK_GROUP = 4
_N_ATTEMPTS = 2  # groups for a contended row, each with the protocol's own retries
_PATIENCE = 0.2  # share of the budget for waits and further attempts
_REPEAT_RESERVE = 0.94  # of a stage's share; the rest is for repeats
_LEAST_NETWORKS = 44  # of a space: enough calibration networks for a bound at 95%
_OVERRUN = 1.6  # times the budget: allowed on a slow machine to reach that number
_MAX_PASS_S = 0.1  # networks that take longer are left out


@dataclass
class CpuCampaign:
    """One run of `profile_device` on a CPU.

    Args:
        folder: folder of the profile, with its device.json.
        info: contents of device.json.
        deadline: time budget of the run.
        progress: called with stage, rows done, rows planned, message.
        accepts_busy: whether times of a shared machine are kept, with the status `shared`.
        has_held_out: whether held-out operators get a share of the time. Otherwise networks get it, and a
            slow machine may overrun the budget until enough networks are measured to calibrate a bound.
    """

    folder: Path
    info: Mapping[str, Any]
    deadline: Deadline
    progress: Progress
    accepts_busy: bool = False
    has_held_out: bool = True

    def __post_init__(self) -> None:
        rotation_bytes = self.info["settings"]["protocol"]["rotation_bytes"]
        self.protocol = TimingProtocol(rotation_bytes=rotation_bytes)
        self.pool = OperandPool(rotation_bytes, self.protocol.max_sets)
        patience_s = _PATIENCE * self.deadline.budget_s
        self.network_share = _NETWORK_SHARE if self.has_held_out else 1.0
        self.timer = MonitoredTimer(self.folder / REPEAT_FILE, self.protocol, patience_s, self.accepts_busy)
        reason = no_energy_reason("cpu") or "the counter is of the whole package, and one core was used"
        self.energy_reason = f"no_sensor: {reason}"

    def __enter__(self) -> "CpuCampaign":
        return self

    def __exit__(self, *exception: object) -> None:
        self.timer.__exit__()

    def measure_operators(self, operators: Sequence[Operator]) -> None:
        """Time operators in groups until their share of the budget is spent, and write their rows."""
        self._operators("operators", LAYER_FILE, operators, OPERATOR_SHARE)

    def measure_held_out_operators(self, specs: Sequence[NetworkSpec]) -> None:
        """Time the operators of the test networks one by one."""
        graphs = map(trace_spec, measured_test_networks(specs, self.folder / NETWORK_FILE))
        self._operators("held-out operators", HELD_OUT_FILE, operators_of_networks(graphs), 1.0)

    def _operators(self, stage: str, file_name: str, operators: Sequence[Operator], share: float) -> None:
        path = self.folder / file_name
        done = measured_keys(path, read_layers, LAYER_KEY)
        waiting = [operator for operator in operators if operator.key not in done]
        with RowFile(path, LAYER_COLUMNS) as file:
            self._in_groups(
                stage,
                file_name,
                waiting,
                _OPERATOR_GROUP,
                share,
                lambda operator: Workload(
                    operator.key, operator.recipe.call, self.pool.sets(operator.recipe)
                ),
                lambda operator, timing: file.append(self._layer_row(operator, timing)),
            )

    def measure_networks(self, specs: Sequence[NetworkSpec]) -> None:
        """Time networks in groups until their share of the budget is spent; write their rows and layers."""
        path, layer_path = self.folder / NETWORK_FILE, self.folder / NETWORK_LAYER_FILE
        done = {key[0] for key in measured_keys(path, read_networks, ("network",))}
        has_layers = {key[0] for key in measured_keys(layer_path, read_network_layers, ("network",), None)}
        waiting = [spec for spec in specs if spec.name not in done]
        with RowFile(path, NETWORK_COLUMNS) as file, RowFile(layer_path, NETWORK_LAYER_COLUMNS) as layers:
            with MemoryMeter() as meter:

                def write(spec: NetworkSpec, timing: Timing) -> None:
                    graph = trace_spec(spec)
                    row = self._network_row(spec, timing, graph, meter)
                    if spec.name not in has_layers:
                        layers.append_all(rows_of_graph(spec.name, graph))
                    file.append(row)

                self._in_groups(
                    "networks",
                    NETWORK_FILE,
                    waiting,
                    _NETWORK_GROUP,
                    self.network_share,
                    self._network_workload,
                    write,
                )

    def _in_groups(
        self,
        stage: str,
        file_name: str,
        items: Sequence[Any],
        size: int,
        share: float,
        workload_of: Callable[[Any], Workload],
        write: Callable[[Any, Timing], None],
    ) -> None:
        """Time items in groups, then contended ones again, then a share of the measured ones as repeats."""
        queue = [(item, 1) for item in items]
        left_over: list[tuple[Any, Timing]] = []
        measured: list[tuple[Any, float]] = []
        n_done, seconds = 0, 0.0
        least = _LEAST_NETWORKS if stage == "networks" and not self.has_held_out else 1
        while queue and (
            self.deadline.allows(seconds, _REPEAT_RESERVE * share)
            or not seconds
            or (n_done < least and self.deadline.allows(seconds, _OVERRUN))
        ):
            begin = time.monotonic()
            group, queue = queue[:size], queue[size:]
            timings = self.timer.time([workload_of(item) for item, _ in group])
            for (item, attempt), timing in zip(group, timings, strict=True):
                if timing.status == "contended" and attempt < _N_ATTEMPTS:
                    queue.append((item, attempt + 1))
                    left_over.append((item, timing))
                    continue
                left_over = [(other, last) for other, last in left_over if other is not item]
                write(item, timing)
                n_done += 1
                if timing.time_s is not None:
                    measured.append((item, timing.time_s))
            seconds = max(0.7 * seconds, time.monotonic() - begin)
            self.progress(stage, n_done, len(items), f"{len(left_over)} contended")
        for item, timing in left_over:
            write(item, timing)
        if measured and self.deadline.allows(seconds, share):
            self._repeat(measured, size, workload_of, file_name)

    def _repeat(
        self,
        measured: Sequence[tuple[Any, float]],
        size: int,
        workload_of: Callable[[Any], Workload],
        file_name: str,
    ) -> None:
        """Measure a share of the rows again, to estimate repeatability."""
        rng = np.random.default_rng([int(self.info["settings"]["seed"]), len(measured)])
        again = [measured[i] for i in choose_repeats(len(measured), rng)]
        for begin in range(0, len(again), size):
            group = again[begin : begin + size]
            self.timer.repeat(
                [workload_of(item) for item, _ in group], [time_s for _, time_s in group], file_name
            )

    def _network_workload(self, spec: NetworkSpec) -> Workload:
        network = spec.build().eval()
        recipe = Recipe(network, (spec.input_shape,))
        inputs = self.pool.sets(recipe)[:16]
        begin = time.perf_counter()
        network(*inputs[0])
        if time.perf_counter() - begin > 1.5 * _MAX_PASS_S:
            return Workload(spec.name, _too_slow)
        return Workload(spec.name, network, inputs)

    def _layer_row(self, operator: Operator, timing: Timing) -> dict[str, Any]:
        row = {**operator.layer.row(), "device": self.info["name"], "source": operator.source}
        return {**row, **self._quality(timing), "memory_reason": "not measured for single operators"}

    def _network_row(
        self, spec: NetworkSpec, timing: Timing, graph: LayerGraph, meter: MemoryMeter
    ) -> dict[str, Any]:
        memory_bytes, memory_reason = memory_of(spec, meter)
        return {
            **identity_columns(spec, graph),
            "mode": "eager",
            "memory_bytes": memory_bytes,
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


def memory_of(spec: NetworkSpec, meter: MemoryMeter) -> tuple[int | None, str]:
    """Return the peak memory of a network in bytes and an empty reason, or None and the reason."""
    try:
        return meter.measure(spec.build, spec.input_shape), ""
    except Unmeasurable as reason:
        return None, str(reason)
