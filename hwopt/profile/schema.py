"""Layer and network rows as CSV: which columns there are, and appending rows.

Each file is UTF-8 CSV with a header, in any order of columns; lines end in LF, CRLF or CR. Units are SI; work
and costs are of one pass of the whole batch. A metric that was not measured is an empty cell, never 0, and
its reason column says why. Columns marked * are filled in every row, all others may be empty or missing; (c)
is completed from the others where it is (see `hwopt.profile.derived_columns`).

layers.csv, and oracle.csv with the operators of validation networks, which no fit sees:
    device                      name of the device; "unknown" where empty
    kind *                      conv2d, linear, relu, ...; others are accepted and stated
    batch *                     items
    in_channels *, out_channels *    whole numbers from 1
    in_h, in_w                  sides of the input; 1 where empty
    out_h, out_w                (c) sides of the output
    kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, groups    1 where empty
    padding_h, padding_w        0 where empty
    dtype                       float32 where empty
    time_s                      seconds; the column is there, a cell of it may be empty
    power_w, energy_j           watts and joules, gross; (c) one from the other and the time: a pass took
                                `loop_time_s` while energy was read, `time_s` where that is empty
    memory_bytes                peak bytes that a pass held, operands included
    workspace_bytes             (c) those beside operands and result
    flops, elementwise_ops      (c) a multiply-add counts two
    input_bytes, weight_bytes, output_bytes    (c) bytes of the operands and the result
    operator, source            name of the operator; why it was chosen
    status                      ok, contended, failed, ...
    time_reason, memory_reason  why there is no figure
    energy_reason               why there is no power and no energy: a code of
                                `hwopt.profile.reasons`, then ": detail"
    spread                      disagreement of the rounds, a share of the time
    n_blocks, n_passes          how many blocks were timed; passes in each
    mode                        how it was run: graph or eager
    eager_time_s                seconds of a pass called operator by operator
    loop_time_s                 seconds of a pass while energy was read
    idle_subtracted_energy_j    joules above those of the idle device
    energy_uncertainty          a share of energy_j
    core_clock_hz               hertz, while energy was read
    temperature_c               degrees Celsius, while energy was read
    throttled                   what held the clocks down
    elapsed_s                   seconds since the campaign began
    energy_status               ok, or why energy is doubtful
networks.csv, each network once a mode:
    network *                   its name; another one for each batch size and dtype
    source                      where it comes from
    split *                     fit, calibrate or test
    batch *, dtype *, mode *    items; data type; eager or graph
    modelled_memory_bytes       parameters, buffers and live activations, bytes
    bound                       of an eager row, what sets its pace: device or host
    input_shape                 batch first, such as 8x3x224x224
    config                      JSON object that the network can be built from again: the hyperparameters of a
                                space's network, otherwise see
                                `hwopt.measure.sampling.architectures.described`
    and as above                time_s to memory_bytes, status to n_passes, eager_time_s to energy_status
network_layers.csv, every operator of those networks:
    network *, position *       whose, and where in running order, from 0
    name                        path of the module that ran it
    live_bytes                  inputs and results of the network that are alive while it runs, no weights
    and as above                kind to dtype, flops to output_bytes, operator
repeats.csv, what was measured again during a campaign:
    role *                      sentinel (the same operators time and again) or repeat (a row of a file)
    elapsed_s                   seconds since the campaign began
    file, key                   which row was repeated; text, never opened
    time_s, power_w, status     as above
    ratio                       this time over the first one
Other columns are accepted, stated and not used.
"""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from hwopt.errors import InvalidInput
from hwopt.network.layer import METRICS, SHAPE_COLUMNS, WORK_COLUMNS
from hwopt.profile.text_file import clean, not_a_formula, read_cells

# What makes a measured operator another one than those in the file: its shapes, and its operands' bytes,
# which tell a product with a scale for each channel from one with a whole tensor, or a bias from none.
LAYER_KEY = (*SHAPE_COLUMNS, "input_bytes", "weight_bytes", "output_bytes")
MODES = ("eager", "graph")
BOUNDS = ("device", "host")
_REASONS = ("time_reason", "energy_reason", "memory_reason")
_QUALITY = ("status", *_REASONS, "spread", "n_blocks", "n_passes")
_CAMPAIGN = (
    "mode", "eager_time_s", "loop_time_s", "idle_subtracted_energy_j", "energy_uncertainty", "core_clock_hz",
    "temperature_c", "throttled", "elapsed_s", "energy_status",
)  # fmt: skip
# Columns that came later: a file without them is continued with them empty.
LATER_COLUMNS = frozenset((*_CAMPAIGN, "config", "bound", "live_bytes", "workspace_bytes"))
LAYER_COLUMNS = (
    "device", *SHAPE_COLUMNS, *METRICS, *WORK_COLUMNS, "operator", "source", *_QUALITY, *_CAMPAIGN,
    "workspace_bytes",
)  # fmt: skip
NETWORK_COLUMNS = (
    "network", "source", "split", "batch", "dtype", "mode", *METRICS, "modelled_memory_bytes", "input_shape",
    *_QUALITY, *_CAMPAIGN[1:], "config", "bound",
)  # fmt: skip
NETWORK_LAYER_COLUMNS = (
    "network", "position", "name", *SHAPE_COLUMNS, *WORK_COLUMNS, "operator", "live_bytes",
)  # fmt: skip
REPEAT_COLUMNS = ("role", "elapsed_s", "file", "key", "time_s", "power_w", "status", "ratio")

NAME_COLUMNS = frozenset(("device", "network"))  # which might be taken for paths
FREE_TEXT_COLUMNS = frozenset((*_REASONS, "key", "config"))
TEXT_COLUMNS = NAME_COLUMNS | FREE_TEXT_COLUMNS | frozenset(
    ("kind", "dtype", "operator", "source", "split", "mode", "bound", "name", "input_shape")
    + ("status", "energy_status", "throttled", "role", "file")
)  # fmt: skip
_COLUMNS = {*LAYER_COLUMNS, *NETWORK_COLUMNS, *NETWORK_LAYER_COLUMNS, *REPEAT_COLUMNS}
NUMBER_COLUMNS = frozenset(_COLUMNS - TEXT_COLUMNS)


class RowFile:
    """A CSV file that rows are appended to, each flushed: a killed run loses at most the row in work.

    A line that was cut while it was being written is dropped when the file is opened again.

    Args:
        path: the file; it is created with `columns` as its first line, or continued with its own. Where it is
            from before one of `LATER_COLUMNS` was added, it gets that one, empty.
        columns: names of the cells.

    Raises:
        InvalidInput: where the file lacks other columns, or is no regular file.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        check_own_file(path)
        if path.exists():
            drop_cut_line(path)
        is_new = not path.exists() or path.stat().st_size == 0
        self.columns = tuple(columns) if is_new else self._own_columns(columns)
        self._file: IO[str] = path.open("a", encoding="utf-8", newline="")
        self._writer = csv.DictWriter(self._file, self.columns, extrasaction="ignore", lineterminator="\n")
        if is_new:
            self._writer.writeheader()
            self._file.flush()

    def _own_columns(self, wanted: Sequence[str]) -> tuple[str, ...]:
        cells = read_cells(self.path)
        missing = [column for column in wanted if column not in cells.names]
        if not missing:
            return tuple(cells.names)
        if not set(missing) <= LATER_COLUMNS:
            hint = "measure into a new folder"
            raise InvalidInput(f"{self.path}: cannot be continued, it lacks {', '.join(missing)}; {hint}")
        columns = [*cells.names, *missing]
        write_cells(self.path, columns, [[*row, *[""] * len(missing)] for row in cells.rows])
        return tuple(columns)

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row; None and NaN become empty cells, texts one printable line that is no formula."""
        self.append_all([row])

    def append_all(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write several rows that belong together."""
        self._writer.writerows([{key: _cell(value) for key, value in row.items()} for row in rows])
        self._file.flush()

    def __enter__(self) -> "RowFile":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, str):
        return not_a_formula(clean(value))
    return f"{value:.6g}" if isinstance(value, float) else value


def write_cells(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a whole file anew, at once or not at all."""
    unfinished = path.with_suffix(".part")
    unfinished.unlink(missing_ok=True)
    with unfinished.open("x", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def drop_cut_line(path: Path) -> None:
    """Remove a last line that does not end: writing it was interrupted."""
    check_own_file(path)
    with path.open("rb+") as file:
        content = file.read()
        if not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)


def check_own_file(path: Path) -> None:
    """Refuse to write where there is a link, a folder, a pipe or a device."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise InvalidInput(f"{path} is a link or no file; rows are appended to a regular file of the folder")
