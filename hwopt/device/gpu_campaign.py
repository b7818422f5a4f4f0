"""A campaign on a GPU: the sensor, operators, networks, and the test networks' own operators one by one.

    |- sensor, ceilings -|-------- operators --------|------ networks ------|-- oracle --|
    once a folder         sentinels every 30 rows,     eager and as graphs    of split `test`
                          5% of rows again at the end

Every row is written when it is measured, so a campaign is as many runs of one command as it needs: each goes
on where the last one ended. Operators run as graphs, their eager time is beside; networks run both ways.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from hwopt.device.accelerator import Job
from hwopt.device.bench import Bench, Row
from hwopt.device.campaign import (
    Deadline,
    Progress,
    identity_columns,
    measured_keys,
    rows_of_graph,
    tested,
    trace_candidate,
)
from hwopt.device.networks import Candidate
from hwopt.device.operators import recipe_of, trace_recipe
from hwopt.device.oracle import oracle_operators
from hwopt.device.profile import (
    LAYER_FILE,
    NETWORK_FILE,
    NETWORK_KEY,
    NETWORK_LAYER_FILE,
    ORACLE_FILE,
    REPEAT_FILE,
    read_layers,
    read_network_layers,
    read_networks,
    read_repeats,
)
from hwopt.device.rows import (
    LAYER_COLUMNS,
    LAYER_KEY,
    NETWORK_COLUMNS,
    NETWORK_LAYER_COLUMNS,
    REPEAT_COLUMNS,
    RowFile,
)
from hwopt.device.sampling import Operator
from hwopt.errors import HwoptError
from hwopt.network.layer import Layer, LayerGraph


@dataclass(frozen=True, slots=True)
class Shares:
    """Up to which share of a run's time each part may go on; what a part leaves, the next ones have."""

    operators: float = 0.52
    networks: float = 0.87
    oracle: float = 1.0


@dataclass(frozen=True, slots=True)
class Policy:
    """Which rows are measured how."""

    energy_share: float = 0.53  # of operators that are measured for energy as well as for time
    repeat_share: float = 0.05
    sentinel_every: int = 30  # rows
    n_oracle_energy: int = 5  # networks whose operators are measured for energy one by one


class CampaignStopped(HwoptError):
    """The device was lost: what was measured is kept, and the same command goes on elsewhere or later."""


@dataclass
class GpuCampaign:
    """One run of a campaign into one folder.

    Args:
        folder: of the profile; device.json is there.
        info: contents of device.json.
        bench: what measures.
        deadline: when to stop.
        progress: called with stage, rows done, rows planned, message.
    """

    folder: Path
    info: Mapping[str, Any]
    bench: Bench
    deadline: Deadline
    progress: Progress
    policy: Policy = field(default_factory=Policy)
    shares: Shares = field(default_factory=Shares)

    def __post_init__(self) -> None:
        self._dtype = str(self.info["settings"]["dtype"])
        self._begin_s = _elapsed_before(self.folder / REPEAT_FILE)
        self._since_sentinel = 0
        self._references: dict[str, float] = {}

    # -- the parts -------------------------------------------------------------------------------------------

    def measure_operators(
        self, operators: Sequence[Operator], choose_more: Callable[[list[Row]], Sequence[Operator]]
    ) -> None:
        """Measure operators, then those that `choose_more` picks from the rows so far, then some again."""
        rows = self._operators("operators", LAYER_FILE, operators, self.shares.operators, self._wants_energy)
        picks = choose_more(rows) if len(rows) >= len(operators) else ()
        self._operators("picked operators", LAYER_FILE, picks, self.shares.operators, self._wants_energy)
        self._repeat([*operators, *picks])

    def measure_networks(self, candidates: Sequence[Candidate]) -> None:
        """Measure networks, eager and as graphs; write their rows and their layers."""
        path, layer_path = self.folder / NETWORK_FILE, self.folder / NETWORK_LAYER_FILE
        done = measured_keys(path, read_networks, NETWORK_KEY, None, again=("contended",))
        has_layers = {key[0] for key in measured_keys(layer_path, read_network_layers, ("network",), None)}
        waiting = [
            (candidate, mode)
            for candidate in candidates
            for mode in ("eager", "graph")
            if (candidate.name, candidate.input_shape[0], self._dtype, mode) not in done
        ]
        with RowFile(path, NETWORK_COLUMNS) as file, RowFile(layer_path, NETWORK_LAYER_COLUMNS) as layers:
            for candidate, mode in self._while_time("networks", waiting, self.shares.networks):
                graph = trace_candidate(candidate, self._dtype)
                if candidate.name not in has_layers:
                    layers.append_all(rows_of_graph(candidate.name, graph))
                    has_layers.add(candidate.name)
                file.append(self._network_row(candidate, graph, mode))

    def measure_oracle(self, candidates: Sequence[Candidate]) -> None:
        """Measure the operators of the test networks one by one: for energy those of the first few."""
        networks = tested(candidates, self.folder / NETWORK_FILE)
        graphs = [trace_candidate(candidate, self._dtype) for candidate in networks]
        first = {one.key for one in oracle_operators(graphs[: self.policy.n_oracle_energy])}
        operators = oracle_operators(graphs)
        self._operators("oracle", ORACLE_FILE, operators, self.shares.oracle, lambda one: one.key in first)

    def _operators(
        self,
        stage: str,
        file_name: str,
        operators: Sequence[Operator],
        share: float,
        wants_energy: Callable[[Operator], bool],
    ) -> list[Row]:
        """Measure those operators that the file lacks, and return all its rows."""
        path = self.folder / file_name
        done = measured_keys(path, read_layers, LAYER_KEY, None, again=("contended",))
        waiting = [operator for operator in operators if operator.key not in done]
        with RowFile(path, LAYER_COLUMNS) as file:
            for operator in self._while_time(stage, waiting, share):
                self._watch()
                file.append(self._layer_row(operator, wants_energy(operator)))
        if not path.exists():
            return []
        return [
            {str(name): cell for name, cell in row.items()} for row in read_layers(path).to_dict("records")
        ]

    def _wants_energy(self, operator: Operator) -> bool:
        """Whether an operator is measured for energy: the same answer in every run."""
        return _share_of(operator.key) < self.policy.energy_share

    def _while_time(self, stage: str, items: Sequence[Any], share: float) -> Iterator[Any]:
        """Yield items as long as another like the slower ones so far fits into the share of the budget."""
        seconds = 0.0
        for i, item in enumerate(items):
            if not self.deadline.allows(seconds, share):
                self.progress(stage, i, len(items), "time is up; the same command goes on")
                return
            begin = self.deadline.elapsed_s
            yield item
            seconds = max(0.8 * seconds, self.deadline.elapsed_s - begin)
            self.progress(stage, i + 1, len(items), "")

    # -- rows ------------------------------------------------------------------------------------------------

    def _layer_row(self, operator: Operator, wants_energy: bool) -> Row:
        window_s = self.bench.plan.window_s
        measured = self._stamped(self.bench.measure(operator_job(operator), "graph", wants_energy, window_s))
        row = {**operator.layer.row(), "device": self.info["name"], "source": operator.source, **measured}
        held = row.get("memory_bytes")
        return row if held is None else {**row, "workspace_bytes": max(0, held - operator.layer.bytes)}

    def _network_row(self, candidate: Candidate, graph: LayerGraph, mode: str) -> Row:
        job = Job(candidate.name, graph, candidate.build, (candidate.input_shape,))
        plan = self.bench.plan
        window_s = plan.network_window_s if mode == "eager" else plan.window_s
        measured = self._stamped(self.bench.measure(job, mode, True, window_s))
        if measured["mode"] != mode:
            measured |= {"time_s": None, "energy_j": None, "power_w": None, "status": "failed"}
            measured["energy_reason"] = f"not_run: {measured['time_reason']}"
        return {**identity_columns(candidate, graph), **measured, "mode": mode}

    def _stamped(self, row: Row) -> Row:
        return row | {"elapsed_s": self._begin_s + self.deadline.elapsed_s}

    # -- the same again --------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Measure the sentinels every so many rows, the first time before any."""
        if self._since_sentinel % self.policy.sentinel_every == 0:
            with RowFile(self.folder / REPEAT_FILE, REPEAT_COLUMNS) as file:
                for operator in sentinels(self._dtype):
                    self._references.setdefault(text_key(operator.key), self._first_time(operator))
                    file.append(self._repeat_row("sentinel", operator, "", wants_energy=True))
        self._since_sentinel += 1

    def _first_time(self, operator: Operator) -> float:
        """Return what a sentinel took when the folder was begun; NaN where this is the first time."""
        rows = read_repeats(self.folder / REPEAT_FILE)
        same = rows[(rows["role"] == "sentinel") & (rows["key"] == text_key(operator.key))]
        times = same["time_s"].dropna()
        return float(times.iloc[0]) if len(times) else float("nan")

    def _repeat(self, operators: Sequence[Operator]) -> None:
        """Measure a share of the operators that have a time once more."""
        table = read_layers(self.folder / LAYER_FILE)
        measured = table[table["time_s"].notna()]
        times = dict(
            zip(measured[list(LAYER_KEY)].itertuples(index=False, name=None), measured["time_s"], strict=True)
        )
        again = set(read_repeats(self.folder / REPEAT_FILE)["key"])
        known = [operator for operator in operators if operator.key in times]
        chosen = [one for one in known if _share_of(("repeat", *one.key)) < self.policy.repeat_share]
        waiting = [one for one in chosen if text_key(one.key) not in again]
        self._references |= {text_key(one.key): float(times[one.key]) for one in waiting}
        with RowFile(self.folder / REPEAT_FILE, REPEAT_COLUMNS) as file:
            for operator in self._while_time("repeats", waiting, self.shares.operators):
                wanted = self._wants_energy(operator)
                file.append(self._repeat_row("repeat", operator, LAYER_FILE, wanted))

    def _repeat_row(self, role: str, operator: Operator, file: str, wants_energy: bool) -> Row:
        window_s = self.bench.plan.window_s
        row = self._stamped(self.bench.measure(operator_job(operator), "graph", wants_energy, window_s))
        time_s, key = row.get("time_s"), text_key(operator.key)
        reference = self._references.get(key, float("nan"))
        if time_s is not None and reference != reference:
            reference = self._references[key] = time_s
        return {
            "role": role,
            "elapsed_s": row["elapsed_s"],
            "file": file,
            "key": key,
            "time_s": time_s,
            "power_w": row.get("power_w"),
            "status": row["status"],
            "ratio": None if time_s is None else time_s / reference,
        }


def operator_job(operator: Operator) -> Job:
    """Return the job of an operator alone."""
    recipe = operator.recipe
    return Job(
        text_key(operator.key),
        graph_of_layer(operator.layer),
        lambda: recipe.call,
        recipe.inputs,
        recipe.weights,
    )


def sentinels(dtype: str) -> list[Operator]:
    """Return the fixed operators measured throughout: bound by arithmetic, by memory, by the launch."""
    conv = {"batch": 32, "in_channels": 128, "out_channels": 128, **_square("in", 56), **_square("out", 56)}
    sides = {**_square("in", 112), **_square("out", 112)}
    shapes = {
        "conv2d": {**conv, **_square("kernel", 3), **_square("padding", 1)},
        "relu": {"batch": 64, "in_channels": 64, "out_channels": 64, **sides},
        "linear": {"batch": 16, "in_channels": 256, "out_channels": 256},
    }
    found = []
    for kind, shape in shapes.items():
        row = {**Layer("", kind, "", 1, 1, 1, 1, 1, 1, 1).row(), **shape, "dtype": dtype}
        recipe = recipe_of(row)
        found.append(Operator(trace_recipe(recipe, kind, dtype), recipe, "sentinel"))
    return found


def _square(name: str, side: int) -> Row:
    return {f"{name}_h": side, f"{name}_w": side}


def graph_of_layer(layer: Layer) -> LayerGraph:
    """Return an operator alone as a network of one layer."""
    return LayerGraph(
        layers=(layer,),
        n_parameters=0,
        parameter_bytes=layer.weight_bytes,
        buffer_bytes=0,
        input_bytes=layer.input_bytes,
        output_bytes=layer.output_bytes,
        peak_activation_bytes=layer.input_bytes + layer.output_bytes,
        batch_size=layer.batch,
        dtype=layer.dtype,
    )


def _elapsed_before(path: Path) -> float:
    """Return the seconds that earlier runs of a campaign took, as far as its rows tell."""
    return float(read_repeats(path)["elapsed_s"].max()) if path.exists() else 0.0


def text_key(key: Sequence[Any]) -> str:
    """Return a key as one cell of text."""
    return " ".join(str(value) for value in key)


def _share_of(key: Sequence[Any]) -> float:
    """Return a number in [0, 1) that is the same for a key in every run, and uniform over keys."""
    return int.from_bytes(blake2b(text_key(key).encode(), digest_size=8).digest(), "big") / 2**64
