"""Run contenders side by side, and read the runs that a folder holds.

    out/comparison.json     identity of the comparison: a folder belongs to one problem
    out/runs/LABEL/SEED.jsonl   one run, a line for each training

The same call continues an earlier one, also with more trainings, seeds or contenders than before.
"""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hwopt.compare.contender import Contender, parse_contenders
from hwopt.compare.problem import Problem
from hwopt.compare.record import Run, count_trials, read_trials, run_path
from hwopt.compare.run import run
from hwopt.compare.versions import mixture_notes, read_versions
from hwopt.costs import price
from hwopt.errors import HwoptError, InvalidInput, StudyError
from hwopt.progress import Progress
from hwopt.scalars import whole_number
from hwopt.study.store.identity import known_now

ProblemSource = Problem | Callable[[], Problem]

N_START = 5  # start points
_SECONDS_BETWEEN_LOOKS = 1.0
_N_PRICED = 8  # configs whose costs identify a problem


@dataclass(frozen=True)
class Comparison:
    """A problem and all runs on it, in the order in which their labels were first given.

    `notes` name the runs that ended early, with the reason.
    """

    problem: Problem
    runs: tuple[Run, ...]
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> list[str]:
        """The contenders."""
        return list(dict.fromkeys(run.label for run in self.runs))

    def runs_of(self, label: str) -> list[Run]:
        """Return the runs of a contender by seed."""
        return sorted((run for run in self.runs if run.label == label), key=lambda run: run.seed)


def compare(
    problem: ProblemSource,
    strategies: Sequence[str],
    seeds: int | Sequence[int] = 10,
    n_trials: int = 60,
    jobs: int | None = None,
    out: str | Path = "results/comparison",
    n_start: int = N_START,
    progress: Progress | None = None,
) -> Comparison:
    """Run strategies on the same problem, seeds and start points.

    Args:
        problem: or a function without arguments that returns it; each process then calls it once.
        strategies: labels such as "ehvi", "random:unaware", "optuna:tpe".
        seeds: how many, from 0, or which.
        n_trials: trainings of each run.
        jobs: runs at a time; None takes the number of `joblib.parallel_config`, whose backend is used.
        out: folder that keeps the runs; runs that it holds are not repeated.
        n_start: random configs with which every run starts.
        progress: called with the number of finished trainings.

    Returns:
        Everything that the folder holds, earlier calls included.

    Raises:
        UnknownName: for a strategy that does not exist, with the closest known one.
        InvalidInput: if nothing can be compared, or a library is missing.
        StudyError: if the folder holds a comparison on another problem.
    """
    chosen, out = _check_seeds(seeds), Path(out)
    _check_counts(n_trials, n_start, jobs)
    n_trials, n_start = int(n_trials), int(n_start)
    loaded = _load(problem)  # first: its file may register strategies
    contenders = parse_contenders(strategies)
    with _locked(out):
        labels = _claim(out, loaded, n_start, [contender.label for contender in contenders])
        cases = [(contender, seed) for seed in chosen for contender in contenders]
        notes = _run_all(problem, cases, n_trials, n_start, jobs, out, progress or (lambda *_: None))
    runs = tuple(_read_runs(out, labels))
    return Comparison(loaded, runs, (*notes, *mixture_notes(runs), *_note_reference(loaded, runs)))


def _note_reference(problem: Problem, runs: Sequence[Run]) -> list[str]:
    """Return a note if no error is below the reference, so that all hypervolumes are 0."""
    errors = [trial.error for run in runs for trial in run.trials if trial.error is not None]
    worst = problem.reference["error"]
    if not errors or min(errors) < worst:
        return []
    return [
        f"no error of {len(errors)} trainings is below the reference of {worst:g}, the lowest is "
        f"{min(errors):.4g}: every hypervolume is 0; give the problem a larger reference"
    ]


def _run_all(
    problem: ProblemSource,
    cases: Sequence[tuple[Contender, int]],
    n_trials: int,
    n_start: int,
    jobs: int | None,
    out: Path,
    progress: Progress,
) -> list[str]:
    """Run all cases, and return notes on those that ended early."""
    from joblib import Parallel, delayed

    paths = [run_path(out, contender.label, seed) for contender, seed in cases]
    parallel = Parallel(n_jobs=jobs, return_as="generator_unordered")
    with _watching(paths, n_trials, progress):
        ended = parallel(
            delayed(_run_case)(problem, contender, seed, n_trials, n_start, path)
            for (contender, seed), path in zip(cases, paths, strict=True)
        )
        return sorted(note for note in ended if note is not None)


def _run_case(
    problem: ProblemSource, contender: Contender, seed: int, n_trials: int, n_start: int, path: Path
) -> str | None:
    """Run one case in a process of its own; a failure does not affect the others."""
    where = f"{contender.label}, seed {seed}"
    try:
        reason = run(_load(problem), contender, seed, n_trials, n_start, path)
    except HwoptError as error:
        reason = str(error)
    except Exception as error:  # a library's own fault: the next call tries it again
        reason = f"{type(error).__name__}: {error}"
    return None if reason is None else f"{where} ended after {len(read_trials(path))} trainings: {reason}"


def _load(problem: ProblemSource) -> Problem:
    return problem if isinstance(problem, Problem) else _load_once(problem)


@lru_cache(maxsize=4)
def _load_once(source: Callable[[], Problem]) -> Problem:
    problem = source()
    if not isinstance(problem, Problem):
        raise InvalidInput(f"{source} returned a {type(problem).__name__}; it must return a Problem")
    return problem


@contextmanager
def _watching(paths: Sequence[Path], n_trials: int, progress: Progress) -> Iterator[None]:
    """Report the number of trainings in the files during a block: independent of who runs them."""
    ended = threading.Event()

    def look() -> None:
        progress("comparing", min(count_trials(paths), total), total, f"trainings of {len(paths)} runs")

    def watch() -> None:
        while not ended.wait(_SECONDS_BETWEEN_LOOKS):
            look()

    total = n_trials * len(paths)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        look()


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Lock the folder against other processes."""
    from filelock import FileLock, Timeout

    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / "comparison.lock", timeout=0):
            yield
    except Timeout:
        raise StudyError(f"{out}: another process compares into this folder; choose another") from None


def _claim(out: Path, problem: Problem, n_start: int, labels: Sequence[str]) -> list[str]:
    """Write the identity of the comparison, or check that of the folder; return all labels so far."""
    path = out / "comparison.json"
    identity = json.loads(json.dumps(_identity(problem, n_start)))
    known: list[str] = []
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        known = found["labels"]
        known_identity = known_now(found, identity)  # without keys that older versions lack
        for key, value in known_identity.items():
            if found.get(key) != value and not (key == "costs" and key not in found):
                then, now = _short(found.get(key)), _short(value)
                raise StudyError(
                    f"{out} holds another comparison: its {key} is {then}, not {now}; choose another folder"
                )
    labels = list(dict.fromkeys([*known, *labels]))
    path.write_text(json.dumps({**identity, "labels": labels}, indent=1) + "\n", encoding="utf-8")
    return labels


def _identity(problem: Problem, n_start: int) -> dict[str, Any]:
    return {
        "problem": problem.name,
        "space": problem.space.describe(),
        "budgets": [asdict(budget) for budget in problem.budgets],
        "objectives": list(problem.objectives),
        "outcome_budgets": [asdict(budget) for budget in problem.outcome_budgets],
        "reference": dict(problem.reference),
        "n_epochs": problem.n_epochs,
        "n_candidates": None if problem.candidates is None else len(problem.candidates),
        "n_start": n_start,
        "costs": _prices(problem),
    }


def _prices(problem: Problem) -> dict[str, list[float | None]]:
    """Return the costs of a few configs, six digits, which identify the cost function."""
    sample = problem.space.sample(_N_PRICED, np.random.default_rng(0))
    configs = sample if problem.candidates is None else list(problem.candidates[:_N_PRICED])
    costs = price(problem.costs, configs)
    return {
        metric: [None if np.isnan(cost) else float(f"{cost:.6g}") for cost in costs[metric]]
        for metric in costs
    }


def _read_runs(out: Path, labels: Sequence[str]) -> Iterator[Run]:
    for label in labels:
        for path in sorted(run_path(out, label, 0).parent.glob("*.jsonl"), key=lambda path: int(path.stem)):
            yield Run(label, int(path.stem), tuple(read_trials(path)), tuple(read_versions(path)))


def _check_seeds(seeds: int | Sequence[int]) -> list[int]:
    wanted = f"seeds = {seeds!r}; give how many, at least 1, or a list of whole numbers from 0"
    try:
        if not isinstance(seeds, Iterable):
            return list(range(whole_number("seeds", seeds, lowest=1)))
        chosen = [whole_number("seeds", seed) for seed in seeds]
    except InvalidInput:
        raise InvalidInput(wanted) from None
    if not chosen:
        raise InvalidInput(wanted)
    return list(dict.fromkeys(chosen))


def _check_counts(n_trials: int, n_start: int, jobs: int | None) -> None:
    if n_trials < 1 or not 0 <= n_start <= n_trials:
        raise InvalidInput(
            f"{n_trials} trainings, {n_start} of them start points; wanted at least one training, and "
            "no more start points than trainings"
        )
    if jobs == 0:
        raise InvalidInput("jobs = 0; wanted a positive number, or -1 for all cores")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."
