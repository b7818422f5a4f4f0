"""Benchmark problem: a space with known costs, and trainings that are real, replayed or computed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hwopt.arrays import Array
from hwopt.costs import Budget, CostFunction
from hwopt.errors import InvalidInput
from hwopt.space.search_space import Config, SearchSpace
from hwopt.train.result import TrainingResult

Training = TrainingResult.whole  # errors, seconds, reason of a failure, further metrics


@dataclass(frozen=True)
class Problem:
    """A benchmark problem.

    Args:
        name: of the problem.
        space: the search space.
        costs: known before training, by config.
        budgets: limits on known costs.
        objectives: "error", then known costs; all minimised.
        reference: reference point of the hypervolume, by objective.
        train: config and seed to a training; the same arguments give the same training.
        n_epochs: of a whole training.
        candidates: the only configs that there are, if the problem is a table; all of the space if None.
        true_error: a config's expected final error, if it is known: fronts are compared by it.
        reference_front: values of the best front that there is, [n, m] in the order of `objectives`, SI
            units, found by brute force; hypervolumes are relative to its own.
        outcome_budgets: limits on metrics that only a training reveals.
    """

    name: str
    space: SearchSpace
    costs: CostFunction
    budgets: tuple[Budget, ...]
    objectives: tuple[str, ...]
    reference: Mapping[str, float]
    train: Callable[[Config, int], TrainingResult]
    n_epochs: int
    candidates: tuple[Config, ...] | None = None
    true_error: Callable[[Config], float] | None = None
    reference_front: Array | None = None
    outcome_budgets: tuple[Budget, ...] = ()

    def __post_init__(self) -> None:
        """Check that there is one reference point for all contenders."""
        missing = [name for name in self.objectives if name not in self.reference]
        if missing:
            raise InvalidInput(
                f"problem {self.name}: reference has no {', '.join(missing)}; contenders are compared below "
                "one reference point, so give the worst value that counts of every objective"
            )
