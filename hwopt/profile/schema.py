"""Columns of the CSV files of a device profile.

Each file is UTF-8 CSV with a header, columns in any order; lines end in LF, CRLF or CR. Units are SI; work
and costs are of one pass of the whole batch. A metric that was not measured is an empty cell, never 0, with
the reason in its reason column. Unknown columns are accepted, noted and not used.

    layers.csv           measured operators, one a line: `LAYER_COLUMNS`
    oracle.csv           operators of the test networks, never fitted on: the same columns
    networks.csv         measured networks, a line for each network and mode: `NETWORK_COLUMNS`
    network_layers.csv   operators of the measured networks, one a line: `NETWORK_LAYER_COLUMNS`
    repeats.csv          repeated measurements and reference workloads: `REPEAT_COLUMNS`
"""

from dataclasses import dataclass
from typing import Any, Literal

from hwopt.network.layer import METRICS, SHAPE_COLUMNS, WORK_COLUMNS

MODES = ("eager", "graph")
BOUNDS = ("device", "host")
SPLITS = ("fit", "calibrate", "test")
REFERENCE_ROLE = "sentinel"  # of a reference workload, in files
ROLES = (REFERENCE_ROLE, "repeat")
ITEM_BYTES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1, "int64": 8,
    "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1, "complex64": 8, "complex128": 16,
}  # fmt: skip
_LARGEST = 1e15  # largest value of a column without a range


@dataclass(frozen=True, slots=True)
class Column:
    """Column of a CSV file.

    Attributes:
        name: name in the header.
        kind: "name" of a device or network, which must not be a path; "word"; free "text"; "whole" number; or
            "number".
        meaning: contents of a cell.
        least: smallest value accepted.
        most: largest value accepted.
        unit: SI unit; set for measured quantities, which must be positive.
        other_unit: likely unit of a value outside the range.
        default: value of an empty cell; None leaves it empty.
        derived_from: columns that an empty cell is computed from.
        is_later: whether it was added later: a file without it is continued with the column empty.
    """

    name: str
    kind: Literal["name", "word", "text", "whole", "number"]
    meaning: str
    least: float = -_LARGEST
    most: float = _LARGEST
    unit: str = ""
    other_unit: str = ""
    default: Any = None
    derived_from: str = ""
    is_later: bool = False

    @property
    def is_text(self) -> bool:
        """Whether cells are texts and not numbers."""
        return self.kind not in ("whole", "number")


def _size(name: str, meaning: str, least: int = 1, default: int | None = None, **others: Any) -> Column:
    return Column(name, "whole", meaning, least, 10_000_000, default=default, **others)


def _work(name: str, meaning: str, derived_from: str = "", **others: Any) -> Column:
    return Column(name, "whole", meaning, 0, 10**18, derived_from=derived_from, **others)


def _time(name: str, meaning: str, **others: Any) -> Column:
    other_unit = "milliseconds or microseconds"
    return Column(name, "number", meaning, 1e-9, 60.0, "seconds", other_unit, **others)


def _later(name: str, kind: Any, meaning: str, least: float = -_LARGEST) -> Column:
    return Column(name, kind, meaning, least, is_later=True)


_WINDOW = "in_{0}, kernel_{0}, stride_{0}, padding_{0}, dilation_{0}"
_SHAPE = "kind and shape"
COLUMNS = {column.name: column for column in (
    Column("device", "name", "name of the device", default="unknown"),
    Column("network", "name", "name of the network; a different one for each batch size and dtype"),
    _size("position", "position in running order, from 0", least=0),
    Column("name", "word", "path of the module that ran it"),
    Column("kind", "word", "conv2d, linear, relu, ...; other kinds are accepted and noted"),
    _size("batch", "items in a pass"),
    _size("in_channels", "channels of the first operand"),
    _size("in_h", "height of the first operand", default=1),
    _size("in_w", "width of the first operand", default=1),
    _size("out_channels", "channels of the result"),
    _size("out_h", "height of the result", derived_from=_WINDOW.format("h")),
    _size("out_w", "width of the result", derived_from=_WINDOW.format("w")),
    _size("kernel_h", "height of the window", default=1),
    _size("kernel_w", "width of the window", default=1),
    _size("stride_h", "rows between two windows", default=1),
    _size("stride_w", "columns between two windows", default=1),
    _size("padding_h", "rows of padding on each side", least=0, default=0),
    _size("padding_w", "columns of padding on each side", least=0, default=0),
    _size("dilation_h", "rows between two elements of a window", default=1),
    _size("dilation_w", "columns between two elements of a window", default=1),
    _size("groups", "groups of channels", default=1),
    Column("dtype", "word", "data type of the result", default="float32"),
    _time("time_s", "seconds of a pass"),
    Column("power_w", "number", "watts, gross", 1e-6, 5e3, "watts", "milliwatts",
           derived_from="energy_j, and loop_time_s or time_s"),
    Column("energy_j", "number", "joules of a pass, gross", 1e-15, 3e5, "joules", "millijoules",
           derived_from="power_w, and loop_time_s or time_s"),
    Column("memory_bytes", "number", "peak bytes of a pass, operands included", 1.0, 1e13, "bytes", "bits"),
    Column("modelled_memory_bytes", "number", "bytes of parameters, buffers and live activations",
           1.0, 1e13, "bytes", "bits"),
    Column("workspace_bytes", "number", "peak bytes of a pass, less operands and result", 0.0,
           derived_from="memory_bytes, input_bytes, weight_bytes, output_bytes", is_later=True),
    _work("flops", "FLOPs; a multiply-add counts two", _SHAPE),
    _work("elementwise_ops", "element-wise operations", _SHAPE),
    _work("input_bytes", "bytes of the operands that are not weights", _SHAPE),
    _work("weight_bytes", "bytes of the operands that are weights", _SHAPE),
    _work("output_bytes", "bytes of the result", _SHAPE),
    _work("live_bytes", "bytes of live inputs and results of the network, no weights", is_later=True),
    Column("operator", "word", "name of the operator"),
    Column("source", "word", "origin of the network or operator"),
    Column("split", "word", "fit, calibrate or test"),
    Column("input_shape", "word", "batch first, such as 8x3x224x224"),
    Column("status", "word", "ok, contended, failed, ..."),
    Column("time_reason", "text", "reason for a missing time"),
    Column("energy_reason", "text", "reason for a missing energy: code of `hwopt.profile.reasons`, details"),
    Column("memory_reason", "text", "reason for a missing memory"),
    Column("spread", "number", "relative difference between the rounds of timing", 0.0),
    Column("n_blocks", "number", "timed blocks", 0.0),
    Column("n_passes", "number", "passes in a block", 0.0),
    _later("mode", "word", "eager or graph"),
    _time("eager_time_s", "seconds of a pass in eager mode", is_later=True),
    _time("loop_time_s", "seconds of a pass while energy was measured", is_later=True),
    _later("idle_subtracted_energy_j", "number", "joules without those of the idle device"),
    _later("energy_uncertainty", "number", "relative standard uncertainty of energy_j", 0.0),
    Column("core_clock_hz", "number", "clock while energy was measured", 1e6, 1e11, "hertz", "megahertz",
           is_later=True),
    _later("temperature_c", "number", "degrees Celsius while energy was measured"),
    _later("throttled", "word", "causes of throttling"),
    _later("elapsed_s", "number", "seconds since the campaign began", 0.0),
    _later("energy_status", "word", "ok, suspect or failed"),
    _later("config", "text", "JSON object that the network is built from: hyperparameters, or a description "
           "as in `hwopt.measure.sampling.architectures.described`"),
    _later("bound", "word", "bound of the time of an eager row: device or host"),
    Column("role", "word", "sentinel: a reference workload; repeat: a repeated row"),
    Column("file", "word", "file of the repeated row; never opened"),
    Column("key", "text", "key of the repeated row"),
    Column("ratio", "number", "time over the first time", 0.0),
)}  # fmt: skip

TEXT_COLUMNS = frozenset(name for name, column in COLUMNS.items() if column.is_text)
LATER_COLUMNS = frozenset(name for name, column in COLUMNS.items() if column.is_later)
DERIVED_COLUMNS = tuple(name for name in (*SHAPE_COLUMNS, *WORK_COLUMNS) if COLUMNS[name].derived_from)
OPERAND_COLUMNS = ("input_bytes", "weight_bytes", "output_bytes")
# A measured operator is identified by its shapes and the bytes of its operands, which differ for example with
# and without a bias.
LAYER_KEY = (*SHAPE_COLUMNS, *OPERAND_COLUMNS)
NETWORK_KEY = ("network", "batch", "dtype", "mode")

_QUALITY = ("status", "time_reason", "energy_reason", "memory_reason", "spread", "n_blocks", "n_passes")
_CAMPAIGN = (
    "eager_time_s", "loop_time_s", "idle_subtracted_energy_j", "energy_uncertainty", "core_clock_hz",
    "temperature_c", "throttled", "elapsed_s", "energy_status",
)  # fmt: skip
LAYER_COLUMNS = (
    "device", *SHAPE_COLUMNS, *METRICS, *WORK_COLUMNS, "operator", "source", *_QUALITY, "mode", *_CAMPAIGN,
    "workspace_bytes",
)  # fmt: skip
NETWORK_COLUMNS = (
    "network", "source", "split", "batch", "dtype", "mode", *METRICS, "modelled_memory_bytes", "input_shape",
    *_QUALITY, *_CAMPAIGN, "config", "bound",
)  # fmt: skip
NETWORK_LAYER_COLUMNS = (
    "network", "position", "name", *SHAPE_COLUMNS, *WORK_COLUMNS, "operator", "live_bytes",
)  # fmt: skip
REPEAT_COLUMNS = ("role", "elapsed_s", "file", "key", "time_s", "power_w", "status", "ratio")
