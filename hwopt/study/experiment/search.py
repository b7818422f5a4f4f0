"""Search from an experiment file: device loaded or measured, study opened, front verified.

    Experiment --open_search--> Search --study.run--> trials --retrain, measure--> checks of the front

Nothing here prints; a `Progress` is called with the finished and the total amount of work.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt.costs import Budget, CostFunction
from hwopt.errors import InvalidInput
from hwopt.predict.device import Device, load_device
from hwopt.progress import Progress
from hwopt.search.freeze_thaw import strategy_with_values
from hwopt.search.pricing_steps import OnPriced
from hwopt.space.search_space import SearchSpace
from hwopt.study.experiment.checks import (
    check_builds,
    check_enqueued,
    check_outputs,
    check_where_trained,
    load_data,
)
from hwopt.study.experiment.experiment import Experiment, SpaceFile
from hwopt.study.experiment.online_calibration import TRAINING_MEMORY, Feedback, Recalibrated, TrainingMemory
from hwopt.study.experiment.own_objective import FileObjective, file_objective
from hwopt.study.experiment.sections import resolved_source
from hwopt.study.run.executors import InProcess, threads_of_worker
from hwopt.study.run.objective_call import run_objective
from hwopt.study.run.schedule import Listener
from hwopt.study.run.seeds import fresh_seed
from hwopt.study.run.stopping_argument import AUTOMATIC
from hwopt.study.run.unread_hyperparameters import check_unread
from hwopt.study.store.price_cache import restore_prices
from hwopt.study.store.store import Store, Trial
from hwopt.study.study import Study
from hwopt.train.objective import TrainingObjective
from hwopt.train.result import ResumableObjective

if TYPE_CHECKING:
    from hwopt.measure.local_device import LocalDevice
    from hwopt.measure.sampling.networks import NetworkSpec


@dataclass(frozen=True)
class Search:
    """Experiment that is ready to run, with all its parts loaded and checked.

    Attributes:
        model: cost model of the device, without the study's recalibration.
        local_device: device of the costs, if this machine has it and the experiment measures.
        not_measured: reason why networks cannot be measured although the experiment asks for it, or "".
    """

    experiment: Experiment
    space: SearchSpace
    device: Device
    model: CostFunction
    budgets: list[Budget]
    study: Study
    feedback: Feedback
    local_device: "LocalDevice | None" = None
    not_measured: str = ""

    def front_trials(self) -> list[Trial]:
        """Return the trials of the front, by decreasing error."""
        trials = {trial.number: trial for trial in self.study.trials()}
        return [trials[point.number] for point in self.study.front()]


def open_search(experiment: Experiment, out: Path, progress: Progress) -> Search:
    """Load and check all parts of an experiment, measure its device if requested, open its study in `out`.

    Raises:
        HwoptError: for an invalid part; all parts are checked before training.
    """
    space = experiment.load_space()
    enqueued = check_enqueued(experiment, space)
    check_builds(space)
    dataset = load_data(experiment, space)
    objective = training_objective(experiment)
    if (names := getattr(objective, "hyperparameters", None)) is not None:
        check_unread(space, names, is_new=not (out / "study.db").exists())
    if experiment.stopping.rule == "freeze_thaw" and isinstance(objective, ResumableObjective):
        strategy_with_values(experiment.strategy)  # raises before anything is measured
    device = _open_device(experiment, space, out, progress)
    model, budgets, costs, feedback = _price(experiment, space, device, out, progress)
    if dataset is not None:
        check_outputs(space, dataset)
    check_where_trained(experiment, isinstance(objective, ResumableObjective))
    chance_error = None if dataset is None else dataset.chance_error
    study = Study(
        out / "study.db",
        space,
        costs,
        objective,
        budgets=budgets,
        description=experiment.identity(None if dataset is None else dataset.digest),
        stopping=_stopping(experiment, chance_error),
        on_told=feedback,
        space_code=experiment.space_fingerprint(),
        **experiment.optimizer_options(chance_error),
    )
    local_device, not_measured = _local_device(experiment, device)
    search = Search(experiment, space, device, model, budgets, study, feedback, local_device, not_measured)
    study.store.set_meta(experiment=experiment.stored())
    if "n_enqueued" not in study.store.meta():
        study.store.enqueue(enqueued, n_enqueued=len(enqueued))
    return search


def _stopping(experiment: Experiment, chance_error: float | None) -> Any:
    """Return the stopping rule of an experiment, or a function that makes it."""
    section = experiment.stopping
    if section.rule == AUTOMATIC:
        return AUTOMATIC
    return section.maker(experiment.settings().epochs, chance_error, experiment.objectives)


def pricing(progress: Progress) -> OnPriced:
    """Return a callback that reports priced configs as a stage of the progress."""
    return lambda done, planned: progress("pricing", done, planned, "")


def training_objective(experiment: Experiment) -> TrainingObjective | FileObjective:
    """Return the objective of an experiment: hwopt's trainer or the user's.

    Parallel trainings share the cores of this machine; their number of threads is then fixed, since it
    changes the rounding of results.
    """
    if experiment.objective is not None:
        return file_objective(resolved_source(experiment.objective, experiment.folder))
    settings, n_jobs = experiment.settings(), experiment.jobs or 1
    if settings.threads is None and experiment.executor == "local" and n_jobs > 1:
        settings = replace(settings, threads=threads_of_worker(n_jobs))
    loader = SpaceFile(str(experiment.space_path()))
    return TrainingObjective(loader, experiment.dataset(loader()), settings)


def run_search(
    search: Search,
    executor: Executor,
    listener: Listener | None = None,
    quiet: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> str:
    """Run the study of an experiment, and return the reason of its end.

    Args:
        search: opened search.
        executor: executor of the trainings.
        listener: called with each event and trial.
        quiet: function that returns a context without other computations in this process, for measuring.
    """
    experiment = search.experiment
    measures = experiment.verify.trained and search.local_device is not None
    if measures and isinstance(executor, InProcess):
        search.feedback.measure = partial(_measure_one, search, quiet)
    return search.study.run(
        experiment.n_trials,
        jobs=experiment.jobs,
        listener=listener,
        executor=executor,
        stop=experiment.stop.limits(),
        retries=experiment.retries,
        slice_epochs=experiment.slice_epochs,
        keep_weights=experiment.keep_weights,
    )


def retrain_front(search: Search, progress: Progress) -> None:
    """Train the networks of the front again on fresh seeds, and store the results."""
    trials, n_seeds = search.front_trials(), search.experiment.verify.retrain_seeds
    done = search.study.store.checks("retrained")
    for i, trial in enumerate(trials):
        for k in range(len(done.get(trial.number, [])), n_seeds):
            progress("retraining", i, len(trials), f"trial {trial.number}")
            seed = fresh_seed(search.experiment.seed, trial.number, k)
            result = run_objective(search.study.objective, trial.config, seed)
            found: dict[str, object] = {**(result.final or {}), "reason": result.reason}
            search.study.store.add_check(trial.number, "retrained", seed, found)
    progress("retraining", len(trials), len(trials), "")


def measure_front(search: Search, progress: Progress) -> None:
    """Measure the networks of the front on the local device, if any, and store the costs."""
    if search.experiment.verify.measure and search.local_device is not None:
        _measure(search, search.front_trials(), progress)


def measure_trained(search: Search, progress: Progress) -> None:
    """Measure all trained networks that were not measured during the search, if requested."""
    if search.experiment.verify.trained and search.local_device is not None:
        _measure(search, [t for t in search.study.trials() if t.status == "complete"], progress)


def _measure(search: Search, trials: Sequence[Trial], progress: Progress) -> None:
    done = search.study.store.checks("measured")
    trials = [trial for trial in trials if trial.number not in done]
    for trial, row in zip(trials, _measured(search, trials, progress), strict=True):
        search.study.store.add_check(trial.number, "measured", 0, row)


def _measured(search: Search, trials: Sequence[Trial], progress: Progress | None) -> list[dict[str, Any]]:
    """Return the measured costs of the networks of trials."""
    from hwopt.measure.api import measure_networks

    assert search.local_device is not None
    if not trials:
        return []
    candidates = [_candidate(search, trial) for trial in trials]
    section = search.experiment.device
    return measure_networks(candidates, progress, search.local_device, section.on_busy, section.mode)


def _measure_one(
    search: Search, quiet: Callable[[], AbstractContextManager[None]], trial: Trial
) -> dict[str, Any]:
    with quiet():
        return _measured(search, [trial], None)[0]


def _candidate(search: Search, trial: Trial) -> "NetworkSpec":
    """Return the network of a trial as a specification for measuring."""
    from hwopt.measure.sampling.networks import NetworkSpec

    build, shape = search.space.build, search.space.input_shape
    assert build is not None and shape is not None
    batch = search.experiment.device.batch_size
    return NetworkSpec(
        f"trial-{trial.number}", "study", "test", (batch, *shape), partial(build, trial.config)
    )


def _price(
    experiment: Experiment, space: SearchSpace, device: Device, out: Path, progress: Progress
) -> tuple[CostFunction, list[Budget], CostFunction, Feedback]:
    """Return the device's cost model, the budgets, the study's costs, and their calibration callback."""
    section = experiment.device
    model: CostFunction = device.cost_model(space, **section.asked())
    costs, memory, recalibrated = model, None, None
    if experiment.verify.trained:
        costs = recalibrated = Recalibrated(costs)
    if TRAINING_MEMORY in experiment.budgets:
        costs = memory = TrainingMemory(costs, space, experiment.settings())
    if (out / "study.db").exists():
        with Store(out / "study.db", read_only=True) as store:
            restore_prices(store, costs, space)
    budgets = experiment.resolve_budgets(space, costs, pricing(progress))
    return model, budgets, costs, Feedback(recalibrated, memory)


def _open_device(experiment: Experiment, space: SearchSpace, out: Path, progress: Progress) -> Device:
    """Load the device's profile; measure it first if the experiment requests it and the study is new."""
    section = experiment.device
    if section.measure is not None and not (out / "study.db").exists():  # a study keeps the one it began with
        from hwopt.measure.api import profile_device

        measure, budget_s, batch_size = section.measure, section.budget_s, section.batch_size
        on_busy = section.on_busy
        profile_device(
            out / "device", measure, budget_s, space, batch_size, progress=progress, on_busy=on_busy
        )
    return load_profile_of(experiment, out)


def load_profile_of(experiment: Experiment, out: Path) -> Device:
    """Load the device's profile that an experiment names, or that was measured into its folder `out`.

    Raises:
        HwoptError: for a missing or broken profile.
    """
    profile = experiment.device.profile
    if profile is None:
        return load_device(str(out / "device"))
    local = experiment.folder / profile
    return load_device(str(local) if local.is_dir() else profile)


def _local_device(experiment: Experiment, device: Device) -> "tuple[LocalDevice | None, str]":
    """Return the device to measure on, and the reason if there is none although it is requested."""
    from hwopt.measure.local_device import find_local_device

    if not (experiment.verify.measure or experiment.verify.trained):
        return None, ""
    try:
        return find_local_device(device.profile.info), ""
    except InvalidInput as error:
        return None, str(error)
