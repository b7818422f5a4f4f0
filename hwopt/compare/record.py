"""File of one run: a line of JSON for each finished training.

An incomplete last line, left by a killed process, is dropped and its training repeated.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hwopt.errors import StudyError
from hwopt.space.search_space import Config


@dataclass(frozen=True)
class BenchmarkTrial:
    """One training of one run.

    `ask_s` and `ask_cpu_s` are wall and processor seconds of the ask, 0 for a start point; `train_s` those of
    the training, measured or replayed. `rejected` configs were selected before and broke a budget.
    """

    number: int
    config: Config
    costs: dict[str, float]
    error: float | None  # None if the training failed
    is_feasible: bool
    is_start: bool
    train_s: float
    ask_s: float
    ask_cpu_s: float
    failure: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)  # further results of the training
    rejected: tuple[Config, ...] = ()


@dataclass(frozen=True)
class Run:
    """The trainings of one contender with one seed, in their order.

    `versions` are those of the code that made them, in order, each once; none for old files.
    """

    label: str
    seed: int
    trials: tuple[BenchmarkTrial, ...]
    versions: tuple[Mapping[str, str], ...] = ()


def run_path(folder: Path, label: str, seed: int) -> Path:
    """Return where the run of a contender with a seed is kept."""
    return folder / "runs" / label.replace(":", "-") / f"{seed}.jsonl"


def append_trial(path: Path, trial: BenchmarkTrial) -> None:
    """Append a training to the file of its run, so that a process killed afterwards loses nothing."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(trial)) + "\n")


def read_trials(path: Path) -> list[BenchmarkTrial]:
    """Return the trainings in a run's file; an empty list without a file."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [_trial(path, number, line) for number, line in enumerate(lines[:-1])]


def drop_half_line(path: Path) -> None:
    """Cut off an incomplete last line."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        path.write_bytes(whole)


def count_trials(paths: Sequence[Path]) -> int:
    """Return how many trainings the files of runs hold."""
    return sum(path.read_bytes().count(b"\n") for path in paths if path.exists())


def _trial(path: Path, number: int, line: str) -> BenchmarkTrial:
    try:
        fields: dict[str, Any] = json.loads(line)
        trial = BenchmarkTrial(**{**fields, "rejected": tuple(fields["rejected"])})
    except (ValueError, TypeError, KeyError) as error:
        raise StudyError(
            f"{path}, line {number + 1}, is not a training: {error}; delete the file to run it again"
        ) from None
    if trial.number != number:
        raise StudyError(f"{path}: training {number} is missing; delete the file to run it again")
    return trial
