"""Benchmark problems by name: formulas with a known front.

    load_problem("synthetic_cnn")                 a formula
    load_problem("mine.py:problem")               a function of your own that returns a Problem

Every one has budgets on costs that are known before training, and the best front that there is.
"""

from collections.abc import Callable
from typing import Any

from hwopt.compare.problem import Problem
from hwopt.compare.problems.synthetic_blocks import MeasuredTraining, RevealingProblem, synthetic_blocks
from hwopt.compare.problems.synthetic_cnn import synthetic_cnn

PROBLEMS: dict[str, Callable[..., Problem]] = {
    "synthetic_cnn": synthetic_cnn,
    "synthetic_blocks": synthetic_blocks,
}

__all__ = ["PROBLEMS", "MeasuredTraining", "RevealingProblem", "load_problem"]


def load_problem(name: str, **options: Any) -> Problem:
    """Return a problem by its name, or by file.py:function, made with these options.

    Raises:
        UnknownName: no such problem, with the nearest name.
        InvalidInput: it does not take these options, or its files are missing or damaged.
    """
    from hwopt.compare.source import NamedProblem  # it looks names up here

    return NamedProblem(name, tuple(sorted(options.items())))()
