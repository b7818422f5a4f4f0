"""State shared by the parts of a GPU campaign: folder, measurer, deadline, files of rows."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from hwopt.measure.background_work import BackgroundResult
from hwopt.measure.campaign import Deadline
from hwopt.measure.campaign_folder import drop_orphans
from hwopt.measure.energy.sensors.meter import Clock
from hwopt.measure.gpu.accelerator import GpuWorkload
from hwopt.measure.gpu.workload_measurer import Row, WorkloadMeasurer
from hwopt.measure.gpu.workloads import operator_workload, text_key
from hwopt.measure.sampling.operators import GPU_PLAN, Operator
from hwopt.measure.sampling.sobol import OperatorLimits
from hwopt.profile.device_profile import (
    HELD_OUT_FILE,
    LAYER_FILE,
    NETWORK_FILE,
    NETWORK_LAYER_FILE,
    REPEAT_FILE,
    read_repeats,
)
from hwopt.profile.row_file import RowFile
from hwopt.profile.schema import LAYER_COLUMNS, NETWORK_COLUMNS, NETWORK_LAYER_COLUMNS, REPEAT_COLUMNS

T = TypeVar("T")
_COLUMNS = {
    LAYER_FILE: LAYER_COLUMNS,
    NETWORK_FILE: NETWORK_COLUMNS,
    NETWORK_LAYER_FILE: NETWORK_LAYER_COLUMNS,
    HELD_OUT_FILE: LAYER_COLUMNS,
    REPEAT_FILE: REPEAT_COLUMNS,
}


@dataclass(frozen=True, slots=True)
class PartShares:
    """Share of a run's time for each part."""

    operators: float = 0.44
    networks: float = 0.44
    held_out: float = 0.06
    repeats: float = 0.03
    reference_workloads: float = 0.03


AROUND_A_SPACE = PartShares(
    operators=0.4, networks=0.54, held_out=0.0
)  # every second goes to its own networks


@dataclass(frozen=True, slots=True)
class RowShares:
    """Shares of rows measured for energy, in eager mode, or twice."""

    energy_share: float = 0.22  # of operators, measured for energy as well as for time
    eager_share: float = 0.05  # of networks, measured in eager mode too, in addition to NeuralPower's
    repeat_share: float = 0.05  # of operators, measured twice
    n_held_out_energy: int = 1  # test networks whose operators are measured for energy one by one


@dataclass
class CampaignSession:
    """One run of a campaign. A context manager that closes the files of rows.

    Args:
        folder: folder of the profile, with its device.json.
        info: contents of device.json.
        measurer: measures workloads.
        deadline: time budget of the run.
        row_shares: shares of rows measured for energy, in eager mode, or twice.
        part_shares: share of the time for each part.
        limits: largest operators.
    """

    folder: Path
    info: Mapping[str, Any]
    measurer: WorkloadMeasurer
    deadline: Deadline
    row_shares: RowShares = field(default_factory=RowShares)
    part_shares: PartShares = field(default_factory=PartShares)
    limits: OperatorLimits = GPU_PLAN.limits

    def __post_init__(self) -> None:
        self.dtype = str(self.info["settings"]["dtype"])
        self._begin_s = _elapsed_before(self.folder / REPEAT_FILE)
        self._files: dict[str, RowFile] = {}
        self._begun: list[BackgroundResult[Any]] = []
        self._stack = ExitStack()

    def __enter__(self) -> "CampaignSession":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def beside(self, folder: Path, row_shares: RowShares) -> "CampaignSession":
        """Return a session of the same run for another folder; it is closed with this one."""
        folder.mkdir(parents=True, exist_ok=True)
        drop_orphans(folder)
        other = replace(self, folder=folder, row_shares=row_shares)
        other._begin_s, other._begun = self._begin_s, self._begun
        return self._stack.enter_context(other)

    def start(self, make: Callable[[], T]) -> BackgroundResult[T]:
        """Start a computation in the background of the following measurements."""
        begun = BackgroundResult(self.clock, make)
        self._begun[:] = [*(one for one in self._begun if one.is_running), begun]
        begun.start()
        return begun

    def settle(self) -> None:
        """Wait for background work, which would slow the host down in eager mode."""
        for begun in self._begun:
            begun.wait()

    @property
    def clock(self) -> Clock:
        """Clock of the device."""
        return self.measurer.accelerator.clock

    def rows_of(self, file_name: str, read: Callable[[Path], Any], again: Sequence[str] = ()) -> list[Row]:
        """Return the rows of a file, except those with a status in `again`, which are measured again."""
        path = self.folder / file_name
        if not path.exists():
            return []
        table = read(path)
        kept = table[~table["status"].isin(again)]
        return [{str(name): cell for name, cell in row.items()} for row in kept.to_dict("records")]

    def write(self, file_name: str, *rows: Row) -> None:
        """Append rows that belong together to a file of the folder, and flush it."""
        if file_name not in self._files:
            file = RowFile(self.folder / file_name, _COLUMNS[file_name])
            self._files[file_name] = self._stack.enter_context(file)
        self._files[file_name].append_all(rows)

    def layer_row(self, operator: Operator, wants_energy: bool) -> Row:
        """Measure an operator and return its row."""
        measured = self._measured(operator, wants_energy)
        row = {**operator.layer.row(), "device": self.info["name"], "source": operator.source, **measured}
        held = row.get("memory_bytes")
        return row if held is None else {**row, "workspace_bytes": max(0, held - operator.layer.bytes)}

    def visit(self, workload: GpuWorkload, modes: Sequence[str]) -> dict[str, Row]:
        """Measure a network in several modes; return mode -> measured columns."""
        plan = self.measurer.plan
        windows = {mode: plan.network_window_s if mode == "eager" else plan.window_s for mode in modes}
        if "eager" in modes:
            self.settle()
        rows = self.measurer.visit(workload, True, windows)
        return {mode: self._stamped(_in_its_mode(row, mode)) for mode, row in rows.items()}

    def repeat(
        self, role: str, operator: Operator, file: str, wants_energy: bool, first_s: float | None
    ) -> float | None:
        """Measure an operator again, write a row of repeats.csv, and return the time."""
        row = self._measured(operator, wants_energy)
        time_s = row.get("time_s")
        ratio = None if time_s is None else time_s / (first_s or time_s)
        repeated = {"role": role, "elapsed_s": row["elapsed_s"], "file": file, "key": text_key(operator.key)}
        measured = {"time_s": time_s, "power_w": row.get("power_w"), "status": row["status"], "ratio": ratio}
        self.write(REPEAT_FILE, {**repeated, **measured})
        return time_s

    def _measured(self, operator: Operator, wants_energy: bool) -> Row:
        window_s = self.measurer.plan.window_s
        return self._stamped(
            self.measurer.measure(operator_workload(operator), "graph", wants_energy, window_s)
        )

    def _stamped(self, row: Row) -> Row:
        return row | {"elapsed_s": self._begin_s + self.deadline.elapsed_s}


def _in_its_mode(row: Row, mode: str) -> Row:
    """Return the row, without values if the device ran it in another mode."""
    if row["mode"] == mode:
        return row
    reason = row["time_reason"]
    none = {"time_s": None, "energy_j": None, "power_w": None, "status": "failed"}
    return {**row, **none, "energy_reason": f"not_run: {reason}"}


def _elapsed_before(path: Path) -> float:
    """Return the seconds of earlier runs of a campaign, the largest in its repeats.csv."""
    elapsed_s = read_repeats(path)["elapsed_s"].max() if path.exists() else 0.0
    return float(elapsed_s) if elapsed_s == elapsed_s else 0.0
