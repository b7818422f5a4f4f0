"""Parts of a GPU campaign: operators, networks, held-out operators, repeats, reference workloads.

Each part returns one item at a time, which measures one workload and writes its rows. Workloads that an
earlier run measured are skipped, except contended ones.
"""

from collections import Counter, deque
from collections.abc import Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, Protocol

from hwopt.errors import HwoptError
from hwopt.measure.background_work import BackgroundResult
from hwopt.measure.campaign import identity_columns, measured_keys, rows_of_graph, trace_spec
from hwopt.measure.gpu.accelerator import GpuWorkload, Unrunnable
from hwopt.measure.gpu.campaign_session import CampaignSession
from hwopt.measure.gpu.part_scheduler import CampaignPart, Item
from hwopt.measure.gpu.workload_measurer import Row
from hwopt.measure.gpu.workloads import network_workload, reference_operators, text_key
from hwopt.measure.sampling.held_out_operators import operators_of_networks
from hwopt.measure.sampling.networks import NetworkSpec
from hwopt.measure.sampling.operators import Operator, key_of_row, operator_of
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
    read_repeats,
)
from hwopt.profile.schema import LAYER_KEY, NETWORK_KEY, REFERENCE_ROLE

_AGAIN = ("contended",)
_PICKS = 24  # operators selected at once; the next ones while the second half is measured


class OperatorChoice(Protocol):
    """Selects operators given the measured rows; see `hwopt.measure.sampling.operator_selection`."""

    def pick(self, rows: Sequence[Row], pending: Sequence[Operator], n: int) -> list[Operator]:
        """Return up to n operators to measure next."""


class OperatorPart:
    """Operators of networks, the most informative first given the measured rows."""

    name = "operators"

    def __init__(self, session: CampaignSession, choice: OperatorChoice) -> None:
        self._session, self._choice = session, choice
        self.share, self.n_done = session.part_shares.operators, 0
        self.rows = session.rows_of(LAYER_FILE, read_layers, again=_AGAIN)
        self._n_energy = sum(_is_there(row.get("energy_j")) for row in self.rows)
        self._queue: deque[Operator] = deque()
        self._next: BackgroundResult[list[Operator]] | None = self._choose(())

    def take(self) -> Item | None:
        """Return the next item; more operators are selected while the second half of the last is measured."""
        if not self._queue and self._next is not None:
            self._queue.extend(self._next.result())
            self._next = None
        if not self._queue:
            return None
        operator = self._queue.popleft()
        if len(self._queue) < _PICKS // 2 and self._next is None:
            self._next = self._choose((operator, *self._queue))
        return partial(self._measure, operator)

    def _choose(self, pending: Sequence[Operator]) -> BackgroundResult[list[Operator]]:
        rows = list(self.rows)
        return self._session.start(lambda: self._choice.pick(rows, pending, _PICKS))

    def _measure(self, operator: Operator) -> None:
        wants_energy = self._n_energy < self._session.row_shares.energy_share * (len(self.rows) + 1)
        row = self._session.layer_row(operator, wants_energy)
        self._session.write(LAYER_FILE, row)
        self.rows.append(row)
        self._n_energy += _is_there(row.get("energy_j"))


class NetworkPart:
    """Networks, as graphs and some also in eager mode; each is built while operators are measured.

    Args:
        session: session of the folder that the rows are written to.
        specs: networks, the most important first.
        name: name in messages, in the plural.
    """

    def __init__(
        self, session: CampaignSession, specs: Sequence[NetworkSpec], name: str = "networks"
    ) -> None:
        self._session, self._specs, self.name = session, list(specs), name
        self.share, self.n_done = session.part_shares.networks, 0
        path, layer_path = session.folder / NETWORK_FILE, session.folder / NETWORK_LAYER_FILE
        done = measured_keys(path, read_networks, NETWORK_KEY, None, again=_AGAIN)
        self._done = {(name, mode) for name, batch, dtype, mode in done if dtype == session.dtype}
        self._timed = {name for (name,) in measured_keys(path, read_networks, ("network",))}
        self._has_layers = {
            key[0] for key in measured_keys(layer_path, read_network_layers, ("network",), None)
        }
        self._tried: set[tuple[str, str]] = set()
        self._next: BackgroundResult[_Built] | None = None
        self._begin_next()

    def take(self) -> Item | None:
        """Return the measurement of the next network; None if all are measured in both modes."""
        if self._next is None:
            self._begin_next()
        return None if self._next is None else self._visit

    def measured_tests(self) -> list[NetworkSpec]:
        """Return the test networks with a time, from any run, in the order of the list."""
        return [one for one in self._specs if one.split == "test" and one.name in self._timed]

    def _visit(self) -> None:
        assert self._next is not None
        built, self._next = self._next.result(), None
        rows = self._rows(built)
        if built.graph is not None and built.spec.name not in self._has_layers:
            layers = rows_of_graph(built.spec.name, built.graph)
            self._session.write(NETWORK_LAYER_FILE, *layers)
            self._has_layers.add(built.spec.name)
        for mode, row in rows.items():
            self._session.write(NETWORK_FILE, row)
            self._done.add((built.spec.name, mode))
            if _is_there(row.get("time_s")):
                self._timed.add(built.spec.name)
        self._begin_next()  # after the eager passes of this network, whose pace the host sets

    def _rows(self, built: "_Built") -> dict[str, Row]:
        if built.workload is None or built.graph is None:
            return {mode: _failed(built, mode, self._session.dtype) for mode in built.modes}
        identity = identity_columns(built.spec, built.graph)
        measured = self._session.visit(built.workload, built.modes)
        return {mode: {**identity, **row, "mode": mode} for mode, row in measured.items()}

    def _begin_next(self) -> None:
        """Select the next network, of the architecture with the fewest rows, and begin to build it."""
        waiting = [one for one in self._specs if self._is_due(one, "graph")]
        modes = ["graph"] if waiting else ["eager"]
        waiting = waiting or [one for one in self._specs if self._is_due(one, "eager")]
        if not waiting:
            return
        seen = Counter(_architecture(name) for name, mode in self._done | self._tried if mode == modes[0])
        spec = min(waiting, key=lambda one: seen[_architecture(one.name)])  # the first of the least
        if modes == ["graph"] and self._is_due(spec, "eager") and self._wants_eager(spec):
            modes.append("eager")
        self._tried |= {(spec.name, mode) for mode in modes}
        dtype, accelerator = self._session.dtype, self._session.measurer.accelerator
        self._next = self._session.start(lambda: _build(spec, modes, dtype, accelerator))

    def _is_due(self, spec: NetworkSpec, mode: str) -> bool:
        key = (spec.name, mode)
        return key not in self._done and key not in self._tried

    def _wants_eager(self, spec: NetworkSpec) -> bool:
        """Whether to measure a network in eager mode too: NeuralPower's always, since its table is eager."""
        if spec.source == "neuralpower":
            return True
        modes = Counter(mode for _, mode in self._done | self._tried)
        return modes["eager"] < self._session.row_shares.eager_share * modes["graph"]


class HeldOutPart:
    """Operators of the measured test networks one by one, networks with few operators first."""

    name = "held-out operators"

    def __init__(self, session: CampaignSession, networks: NetworkPart) -> None:
        self._session, self._networks = session, networks
        self.share, self.n_done = session.part_shares.held_out, 0
        path = session.folder / HELD_OUT_FILE
        self._done = measured_keys(path, read_layers, LAYER_KEY, None, again=_AGAIN)
        self._queue: deque[Operator] = deque()
        self._begun: set[str] = set()

    def take(self) -> Item | None:
        """Return the next item; None if no test network is measured yet, or all operators are."""
        while not self._queue:
            operators = {
                one.name: operators_of_networks([trace_spec(one, self._session.dtype)])
                for one in self._networks.measured_tests()
                if one.name not in self._begun
            }
            if not operators:
                return None
            name = min(operators, key=lambda one: len(operators[one]))
            self._begun.add(name)
            self._queue.extend(one for one in operators[name] if one.key not in self._done)
        return partial(self._measure, self._queue.popleft())

    def _measure(self, operator: Operator) -> None:
        wants_energy = len(self._begun) <= self._session.row_shares.n_held_out_energy
        self._session.write(HELD_OUT_FILE, self._session.layer_row(operator, wants_energy))
        self._done.add(operator.key)


class RepeatPart:
    """Repeated measurements of a share of the operators."""

    name = "repeats"

    def __init__(self, session: CampaignSession, operators: OperatorPart) -> None:
        self._session, self._operators = session, operators
        self.share, self.n_done = session.part_shares.repeats, 0
        self._done = set(read_repeats(session.folder / REPEAT_FILE)["key"])

    def take(self) -> Item | None:
        """Return the next item; None if the whole share is repeated."""
        for row in self._operators.rows:
            key = key_of_row(row)
            is_chosen = share_of(("repeat", *key)) < self._session.row_shares.repeat_share
            if is_chosen and _is_there(row.get("time_s")) and text_key(key) not in self._done:
                self._done.add(text_key(key))
                return partial(self._measure, row)
        return None

    def _measure(self, row: Row) -> None:
        try:
            operator = operator_of(row, "repeat", self._session.limits)
        except HwoptError:
            return  # a row of another version, or written by hand: it cannot be run again
        has_energy = _is_there(row.get("energy_j"))
        self._session.repeat("repeat", operator, LAYER_FILE, has_energy, row["time_s"])


class ReferencePart:
    """Reference workloads, measured throughout the campaign and before everything else."""

    name = "reference workloads"

    def __init__(self, session: CampaignSession, others: Sequence[CampaignPart]) -> None:
        self._session, self._others, self._n_before = session, others, -1
        self.share, self.n_done = session.part_shares.reference_workloads, 0
        self._operators = reference_operators(session.dtype)
        table = read_repeats(session.folder / REPEAT_FILE)
        rows = table[(table["role"] == REFERENCE_ROLE) & table["time_s"].notna()]
        firsts = rows.drop_duplicates("key").set_index("key")["time_s"]
        self._first_s: dict[str, float] = {str(key): float(time_s) for key, time_s in firsts.items()}

    def take(self) -> Item | None:
        """Return the measurement of all reference workloads; None if no other item followed the last one."""
        return None if self._n_others() == self._n_before else self._measure

    def _n_others(self) -> int:
        return sum(part.n_done for part in self._others)

    def _measure(self) -> None:
        """Measure all reference workloads; power of the first only, which draws the most."""
        self._n_before = self._n_others()
        for i, operator in enumerate(self._operators):
            key = text_key(operator.key)
            time_s = self._session.repeat(REFERENCE_ROLE, operator, "", i == 0, self._first_s.get(key))
            if time_s is not None:
                self._first_s.setdefault(key, time_s)


class _Built:
    """A network ready to be measured, or the reason why it cannot be."""

    def __init__(self, spec: NetworkSpec, modes: Sequence[str]) -> None:
        self.spec, self.modes = spec, tuple(modes)
        self.graph: LayerGraph | None = None
        self.workload: GpuWorkload | None = None
        self.reason = ""


def _build(spec: NetworkSpec, modes: Sequence[str], dtype: str, accelerator: Any) -> _Built:
    """Trace and build a network; any exception of its code becomes the reason."""
    built = _Built(spec, modes)
    try:
        built.graph = trace_spec(spec, dtype)
        built.workload = accelerator.build(network_workload(spec, built.graph))
    except Unrunnable as reason:
        built.reason = str(reason)
    except Exception as error:
        built.reason = f"{type(error).__name__}: {error}"
    return built


def _failed(built: _Built, mode: str, dtype: str) -> Row:
    """Return the row of a network that could not be built or traced."""
    spec = built.spec
    return {
        "network": spec.name,
        "source": spec.source,
        "split": spec.split,
        "batch": spec.input_shape[0],
        "dtype": dtype,
        "mode": mode,
        "input_shape": "x".join(str(side) for side in spec.input_shape),
        "config": spec.config,
        "status": "failed",
        "time_reason": built.reason,
        "energy_reason": f"not_run: {built.reason}",
        "memory_reason": built.reason,
    }


def _architecture(name: str) -> str:
    """Return the name of a network without its batch size."""
    return name.rpartition("-b")[0]


def _is_there(value: Any) -> bool:
    return value is not None and value == value


def share_of(key: Sequence[Any]) -> float:
    """Return a hash of a key, uniform in [0, 1) and the same in every run."""
    return int.from_bytes(blake2b(text_key(key).encode(), digest_size=8).digest(), "big") / 2**64
