"""A search experiment as a problem of a comparison: its networks are really trained."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hwopt.compare.problem import Problem
from hwopt.errors import InvalidInput
from hwopt.predict.device import load_device
from hwopt.progress import Progress
from hwopt.search.optimizer import Optimizer
from hwopt.space.search_space import Config
from hwopt.study.experiment.experiment import Experiment, load_experiment
from hwopt.study.experiment.search import open_search, training_objective
from hwopt.study.run.objective_call import Objective, run_objective
from hwopt.train.outcomes import OUTCOMES
from hwopt.train.result import TrainingResult


@dataclass(frozen=True)
class TrainedProblem:
    """A search experiment's file and the profile of its device: small to send to a worker process."""

    path: str
    profile: str  # a shipped name, or a folder

    def __call__(self) -> Problem:
        """Load the space, the device and the data set."""
        experiment = load_experiment(self.path)
        space, section = experiment.load_space(), experiment.device
        device = load_device(self.profile)
        costs = device.cost_model(space, **section.asked())
        budgets = experiment.resolve_budgets(space, costs)
        reference = dict(experiment.reference)
        if experiment.data is not None:
            reference = {"error": experiment.dataset(space).load().chance_error, **reference}
        optimizer = Optimizer(
            space, costs, budgets=budgets, objectives=experiment.objectives, reference=reference
        )
        return Problem(
            name=Path(self.path).stem,
            space=space,
            costs=costs,
            budgets=optimizer.budgets,
            objectives=optimizer.objectives,
            reference=optimizer.reference,
            train=_Trainer(training_objective(experiment), [*OUTCOMES, *experiment.outcome_budgets]),
            n_epochs=experiment.settings().epochs,
            outcome_budgets=tuple(experiment.outcome_limits()),
        )


def prepare(path: Path, experiment: Experiment, out: Path, progress: Progress) -> TrainedProblem:
    """Check an experiment, measure its device in `out` if requested, and return its problem.

    Raises:
        HwoptError: for any part of the experiment that cannot be used; all parts are checked before training.
    """
    if experiment.objective is not None and "epochs" not in experiment.training:
        raise InvalidInput("training.epochs: missing; a comparison needs the epochs of a whole training")
    if experiment.repeats:
        raise InvalidInput("repeats = true: a comparison trains each config once; leave it out")
    setup = out / "setup"
    with open_search(experiment, setup, progress).study:
        pass
    name = experiment.device.profile
    if name is None:
        return TrainedProblem(str(path.resolve()), str((setup / "device").resolve()))
    local = experiment.folder / name
    return TrainedProblem(str(path.resolve()), str(local.resolve()) if local.is_dir() else name)


class _Trainer:
    """Function that trains a config from a seed and returns its learning curve."""

    def __init__(self, objective: Objective, metrics: Iterable[str]) -> None:
        self._objective, self._metrics = objective, frozenset(metrics)

    def __call__(self, config: Config, seed: int) -> TrainingResult:
        result = run_objective(self._objective, config, seed)
        if result.failure is not None:
            return result
        return TrainingResult.whole(
            (*result.errors[:-1], result.error),
            result.seconds or (result.elapsed_s or 0.0,),
            metrics={name: value for name, value in result.metrics.items() if name in self._metrics},
        )
