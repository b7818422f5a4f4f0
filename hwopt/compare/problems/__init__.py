"""Benchmark problems by name: formulas, tables of real trainings, and NAS-Bench-201 from its files.

    load_problem("synthetic_cnn")                 a formula
    load_problem("digits_emulator")               fitted to real trainings, once and for all
    load_problem("nas_bench_201", path="nb201.csv.gz", device="raspi4")
    load_problem("mine.py:problem")               a function of your own that returns a Problem

Every one has budgets on costs that are known before training, and the best front that there is.
"""

from collections.abc import Callable
from typing import Any

from hwopt.compare.problem import Problem
from hwopt.compare.problems.blocks_formula import synthetic_blocks
from hwopt.compare.problems.cnn_formula import synthetic_cnn
from hwopt.compare.problems.nas_bench import nas_bench_201
from hwopt.compare.problems.recorded import (
    digits_emulator,
    digits_table,
    fashion_mnist_emulator,
    fashion_mnist_table,
)

PROBLEMS: dict[str, Callable[..., Problem]] = {
    "synthetic_cnn": synthetic_cnn,
    "synthetic_blocks": synthetic_blocks,
    "digits_table": digits_table,
    "digits_emulator": digits_emulator,
    "fashion_mnist_table": fashion_mnist_table,
    "fashion_mnist_emulator": fashion_mnist_emulator,
    "nas_bench_201": nas_bench_201,
}

__all__ = ["PROBLEMS", "load_problem"]


def load_problem(name: str, **options: Any) -> Problem:
    """Return a problem by its name, or by file.py:function, made with these options.

    Raises:
        UnknownName: no such problem, with the nearest name.
        InvalidInput: it does not take these options, or its files are missing or damaged.
    """
    from hwopt.compare.plan_file import NamedProblem  # it looks names up here

    return NamedProblem(name, tuple(sorted(options.items())))()
