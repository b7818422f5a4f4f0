"""`hwopt search`: run of an experiment."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwopt.commands.console import console, interruptible
from hwopt.commands.report import print_report
from hwopt.errors import StudyError

if TYPE_CHECKING:
    from hwopt.report.live_view import View
    from hwopt.report.progress import ProgressDisplay
    from hwopt.study.experiment.experiment import Experiment
    from hwopt.study.experiment.search import Search
    from hwopt.study.store.store import Trial


def search(
    experiment: Annotated[Path, typer.Argument(help="Experiment file, TOML.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the results; results/NAME if absent.")] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Number of trainings, instead of the file's.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Trainings in parallel.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed, instead of the file's.")] = None,
    strategy: Annotated[
        str | None, typer.Option(help="Instead of the file's; random:unaware ignores the budgets.")
    ] = None,
    executor: Annotated[str | None, typer.Option(help="Where to train: local, dask or ray.")] = None,
    address: Annotated[
        str | None, typer.Option(help="Address of the cluster, such as tcp://HOST:8786.")
    ] = None,
) -> None:
    """Search for networks within budgets; the same command resumes a search.

    EXPERIMENT may also be a study.db, whose experiment is resumed.

    Example: hwopt search mine.toml
    """
    from hwopt.report.progress import ProgressDisplay
    from hwopt.study.experiment.search import (
        measure_front,
        measure_trained,
        open_search,
        retrain_front,
        run_search,
    )
    from hwopt.study.run.executors import open_executor

    loaded, folder = _load(experiment, out)
    if strategy is not None:
        from hwopt.compare.contender import parse_contenders

        contender = parse_contenders([strategy])[0]
        loaded = loaded.changed(strategy=contender.strategy, aware=contender.aware)
    changes = {"n_trials": trials, "jobs": jobs, "seed": seed, "executor": executor, "address": address}
    loaded = loaded.changed(**{key: value for key, value in changes.items() if value is not None})
    with (
        interruptible("finished trials") as check,
        open_executor(loaded.executor, loaded.jobs, loaded.address) as used,
    ):
        with ProgressDisplay(console) as progress:
            opened = open_search(loaded, folder, progress)
        with opened.study:
            opened.study.store.set_meta(command=shlex.join(["hwopt", *sys.argv[1:]]))
            with ProgressDisplay(console) as progress:
                _print_setting(opened, progress)
            with _view_of(opened) as view:
                run_search(opened, used, _Listener(view, check), view.quiet)
            with ProgressDisplay(console) as progress:
                measure_trained(opened, progress)
                retrain_front(opened, progress)
                measure_front(opened, progress)
    print_report(folder / "study.db", folder)
    _check_completed(folder / "study.db")


def _load(path: Path, out: Path | None) -> "tuple[Experiment, Path]":
    """Return the experiment of a file, or of a study, and the folder of its results."""
    from hwopt.study.experiment.experiment import load_experiment
    from hwopt.study.experiment.retarget import experiment_of

    if path.suffix == ".db":
        return experiment_of(path), out or path.parent
    return load_experiment(path), out or Path("results") / path.stem


def _view_of(search: "Search") -> "View":
    """Return the view of the trainings; its last frame is removed, as the report follows."""
    from hwopt.report.live_view import open_view

    experiment = search.experiment
    n_epochs, wall_s = getattr(search.study.objective, "n_epochs", None), experiment.stop.limits().wall_s
    return open_view(console, search.study.store, experiment.n_trials, n_epochs, wall_s, is_kept=False)


class _Listener:
    """Listener that shows events, and raises KeyboardInterrupt if Ctrl-C was pressed."""

    def __init__(self, view: "View", check: Callable[[], None]) -> None:
        self._view, self._check = view, check

    def __call__(self, event: str, trial: "Trial") -> None:
        self._check()
        self._view(event, trial)


def _print_setting(search: "Search", progress: "ProgressDisplay") -> None:
    """Print the error of the cost model, the budgets, and the feasible share of the space."""
    from hwopt.predict.hyperpower import HyperPower
    from hwopt.report.prediction import validation_line
    from hwopt.study.experiment.search import pricing
    from hwopt.units import format_quantity

    if isinstance(search.model, HyperPower):
        for line in search.model.lines():
            console.print(line, highlight=False)
    else:
        section = search.experiment.device
        console.print(validation_line(search.device, section.method, section.mode), highlight=False)
    if search.local_device is not None:
        console.print(f"measured on {search.local_device}, the device of the costs", highlight=False)
    if search.not_measured:
        console.print(f"no networks will be measured: {search.not_measured}", highlight=False)
    for budget in search.budgets:
        limit = format_quantity(budget.metric, budget.limit)
        console.print(
            f"budget: {budget.metric} <= {limit} with confidence {budget.confidence:g}", highlight=False
        )
    for budget in search.study.optimizer.outcome_budgets:
        limit = format_quantity(budget.metric, budget.limit)
        console.print(
            f"limit: {budget.metric} <= {limit}, learned from the outcomes of trainings", highlight=False
        )
    region = search.study.survey(pricing(progress))
    broken = ", ".join(f"{metric} excludes {n / region.n_priced:.0%}" for metric, n in region.broken.items())
    console.print(
        f"{_percent(region.share)} of the space is feasible (95% interval {_percent(region.share_low)} to "
        f"{_percent(region.share_high)}; {region.n_priced} configs priced"
        f"{'; ' + broken if broken else ''})",
        highlight=False,
    )
    for note in [*region.notes(), *getattr(search.model, "notes", ())]:
        console.print(note, highlight=False)


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def _check_completed(study: Path) -> None:
    """Raise StudyError, with the first reason, if all trainings failed."""
    from hwopt.study.store.store import Store

    with Store(study, read_only=True) as store:
        trials = store.trials()
    if trials and all(trial.status == "failed" for trial in trials):
        raise StudyError(f"all {len(trials)} trainings failed; the first: {trials[0].reason}")
