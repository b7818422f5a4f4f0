"""Benchmark problems by name, or by the function of a Python file."""

from collections.abc import Callable
from dataclasses import dataclass
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
from hwopt.errors import InvalidInput, UnknownName, did_you_mean
from hwopt.network.loading import load_attribute

PROBLEMS: dict[str, Callable[..., Problem]] = {
    "synthetic_cnn": synthetic_cnn,
    "synthetic_blocks": synthetic_blocks,
    "digits_table": digits_table,
    "digits_emulator": digits_emulator,
    "fashion_mnist_table": fashion_mnist_table,
    "fashion_mnist_emulator": fashion_mnist_emulator,
    "nas_bench_201": nas_bench_201,
}


@dataclass(frozen=True)
class NamedProblem:
    """A problem by name and arguments: small to send to a worker process."""

    name: str
    arguments: tuple[tuple[str, Any], ...] = ()

    def __call__(self) -> Problem:
        """Make the problem.

        Raises:
            UnknownName: if no problem has this name, with the closest known one.
            InvalidInput: if it does not take these arguments, or does not return a Problem.
        """
        try:
            problem = self._factory()(**dict(self.arguments))
        except TypeError as error:
            raise InvalidInput(
                f"problem {self.name}: {error}; give its arguments under [arguments]"
            ) from None
        if not isinstance(problem, Problem):
            raise InvalidInput(
                f"problem {self.name}: {type(problem).__name__} is not a Problem; "
                "return hwopt.compare.Problem"
            )
        return problem

    def _factory(self) -> Callable[..., Any]:
        path, _, function = self.name.rpartition(":")
        if path.endswith(".py"):
            found: Callable[..., Any] = load_attribute(path, function)
            return found
        if self.name not in PROBLEMS:
            hint = did_you_mean(self.name, PROBLEMS)
            raise UnknownName(f"no problem {self.name!r}{hint}, or give a TOML file, or file.py:function")
        return PROBLEMS[self.name]


def load_problem(name: str, **options: Any) -> Problem:
    """Return a problem by its name, or by file.py:function, made with these options.

    Raises:
        UnknownName: no such problem, with the closest known name.
        InvalidInput: it does not take these options, or its files are missing or damaged.
    """
    return NamedProblem(name, tuple(sorted(options.items())))()
