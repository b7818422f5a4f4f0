"""Plan of a comparison: the name of a problem, a function in a Python file, or a TOML file.

problem = "synthetic_cnn"                  a name of `hwopt.compare.problems`, or "file.py:function"
strategies = ["ehvi", "optuna:tpe"]        defaults of the command line
seeds = 10
n_trials = 60
[arguments]                                of the problem; those called path are relative to the file
path = "../data/table.csv"

A search experiment (`hwopt.study.experiment`) is a problem as well: its networks are really trained.
"""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hwopt.compare.comparison import N_START
from hwopt.compare.problem import Problem
from hwopt.compare.problems.registry import NamedProblem
from hwopt.compare.trained import prepare
from hwopt.errors import InvalidInput, did_you_mean
from hwopt.progress import Progress
from hwopt.study.experiment.experiment import load_experiment


class ComparisonPlan(BaseModel):
    """Content of a TOML file, or its defaults for a named problem."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    problem: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    strategies: list[str] = Field(default_factory=list)
    seeds: int = Field(10, ge=1)
    n_trials: int = Field(60, ge=1)
    n_start: int = Field(N_START, ge=0)


def open_problem(
    experiment: str, out: Path, progress: Progress
) -> tuple[Callable[[], Problem], ComparisonPlan]:
    """Return a function that makes the problem of a command-line argument, and the plan.

    Args:
        experiment: a TOML file, the name of a problem, or file.py:function.
        out: folder of the comparison; a search experiment that measures its device does that there, first.
        progress: called with the progress of measuring.

    Raises:
        InvalidInput, UnknownName: if the argument is none of these, or the file is invalid.
    """
    if not experiment.endswith(".toml"):
        return NamedProblem(experiment), ComparisonPlan.model_validate({"problem": experiment})
    path = Path(experiment)
    content = _read(path)
    if "problem" not in content and "space" in content:
        loaded = load_experiment(path)
        plan = ComparisonPlan.model_validate({"problem": path.stem, "n_trials": loaded.n_trials})
        return prepare(path, loaded, out, progress), plan
    plan = _check(path, content)
    arguments = {
        name: str((path.parent / value).resolve()) if name.endswith("path") else value
        for name, value in plan.arguments.items()
    }
    name = plan.problem
    if ".py:" in name:
        name = str((path.parent / name).resolve())
    return NamedProblem(name, tuple(sorted(arguments.items()))), plan


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InvalidInput(f"no experiment file {path}; give a TOML file or the name of a problem") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{path}: no valid TOML: {error}") from None


def _check(path: Path, content: Mapping[str, Any]) -> ComparisonPlan:
    for key in content:
        if key not in ComparisonPlan.model_fields:
            raise InvalidInput(f"{path}: {key}: unknown key{did_you_mean(key, ComparisonPlan.model_fields)}")
    try:
        return ComparisonPlan.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"][:1].lower() + first["msg"][1:]
        raise InvalidInput(f"{path}: {where}: {message}") from None
