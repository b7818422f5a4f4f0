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

from hwopt.network.layer import METRICS, SHAPE_COLUMNS, WORK_COLUMNS

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
