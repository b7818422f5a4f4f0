"""Search algorithm of Ray Tune with hwopt's optimizer; needs `pip install 'hwopt[ray-tune]'`.

Tune --suggest--> Optimizer.ask: a config within the budgets --> trial
Tune --on_trial_complete--> Optimizer.tell
"""

from collections.abc import Mapping, Sequence
from typing import Any

try:
    from ray.tune.search import Searcher
except ImportError as error:  # Ray's message names the missing part
    raise ImportError(
        f"hwopt.integrations.ray_tune needs Ray Tune: pip install 'hwopt[ray-tune]' ({error})"
    ) from None

from hwopt.costs import CostFunction
from hwopt.errors import Infeasible, InvalidInput, did_you_mean
from hwopt.scalars import as_number, whole_number
from hwopt.search.optimizer import LARGEST_ERROR, Budgets, Optimizer
from hwopt.space.search_space import Config, SearchSpace

_MODES = ("min", "max")


class HwoptSearch(Searcher):
    """Search algorithm that knows the costs of a trial before it runs, and suggests no trial over a budget.

        tuner = tune.Tuner(train, tune_config=tune.TuneConfig(
            search_alg=HwoptSearch(space, costs, {"time_s": "5 ms"}, objectives=("error", "time_s")),
            num_samples=40))

    Trials report one metric, the error; other objectives are known costs, which they need not report. A trial
    that a scheduler stops counts as stopped, one that fails as bad. Once no config is left that keeps the
    budgets, the search is finished.

    Args:
        space: the search space; Tune's `param_space` is left empty.
        costs: maps a list of configs to a dict of arrays [n], one a metric, or a cost model.
        budgets: limits that no trial breaks: `Budget`s, or a dict such as {"time_s": "5 ms"}.
        objectives: "error" and cost metrics, all minimised.
        metric: metric that trials report: the error, or a maximised one.
        mode: "min", or "max" for a share such as an accuracy, of which 1 - value is the error.
        n_epochs: reports of a whole trial; one that ends with fewer was stopped. None if none is stopped.
        options: others of `hwopt.Optimizer`, such as `seed` or `strategy`.

    Attributes:
        optimizer: the optimizer, with its front and hypervolume.

    Raises:
        InvalidInput: for arguments that cannot be used.
    """

    def __init__(
        self,
        space: SearchSpace,
        costs: CostFunction,
        budgets: Budgets = (),
        *,
        objectives: Sequence[str] = ("error",),
        metric: str = "error",
        mode: str = "min",
        n_epochs: int | None = None,
        **options: Any,
    ) -> None:
        if mode not in _MODES:
            raise InvalidInput(f"mode = {mode!r} must be one of {', '.join(_MODES)}")
        super().__init__(metric=metric, mode=mode)
        self.optimizer = Optimizer(space, costs, budgets=budgets, objectives=objectives, **options)
        self._n_epochs = None if n_epochs is None else whole_number("n_epochs", n_epochs, lowest=1)
        self._name = metric
        self._configs: dict[str, Config] = {}

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: Mapping[str, Any], **spec: Any
    ) -> bool:
        """Refuse a search space, metric or mode of Tune, since these are arguments of this class."""
        others = [name for name, own in (("metric", self._metric), ("mode", self._mode))
                  if {"metric": metric, "mode": mode}[name] not in (None, own)]  # fmt: skip
        return not config and not others

    def suggest(self, trial_id: str) -> Any:
        """Return a feasible config, or FINISHED if none is left."""
        try:
            config = self.optimizer.ask().config
        except Infeasible:
            if not self.optimizer.is_new:
                return Searcher.FINISHED
            raise
        self._configs[trial_id] = config
        return dict(config)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the optimizer the result of a trial."""
        config = self._configs.pop(trial_id, None)
        if config is None:
            return
        if error or not result:
            self.optimizer.tell(config, None, status="failed")
            return
        n_reports = result.get("training_iteration", self._n_epochs)
        self._tell(config, result, is_stopped=self._n_epochs is not None and n_reports < self._n_epochs)

    def add_evaluated_point(
        self,
        parameters: Mapping[str, Any],
        value: float,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: Sequence[float] | None = None,
    ) -> None:
        """Tell the optimizer of a trial that it did not suggest."""
        config = self.optimizer.space.validate(parameters)
        if error:
            self.optimizer.tell(config, None, status="failed")
        else:
            self._tell(config, {self._name: value}, is_stopped=pruned)

    def save(self, checkpoint_path: str) -> None:
        """Write the state to a file."""
        import cloudpickle  # type: ignore[import-untyped]

        with open(checkpoint_path, "wb") as file:
            cloudpickle.dump((self.optimizer, self._configs), file)

    def restore(self, checkpoint_path: str) -> None:
        """Restore the state that `save` wrote."""
        import cloudpickle

        with open(checkpoint_path, "rb") as file:
            self.optimizer, self._configs = cloudpickle.load(file)

    def _tell(self, config: Config, result: Mapping[str, Any], is_stopped: bool) -> None:
        """Tell the last reported value of a trial; a value that is not finite is a failed training."""
        if self._name not in result:
            raise InvalidInput(f"a trial reported no {self._name!r}{did_you_mean(self._name, result)}")
        value = as_number(result[self._name])
        if value is None or not abs(value) <= LARGEST_ERROR:
            self.optimizer.tell(config, None, status="failed")
            return
        if self._mode == "max" and not 0 <= value <= 1:
            raise InvalidInput(f"{self._name} = {value:g} is maximised and must be a share of [0, 1]")
        error = 1 - value if self._mode == "max" else value
        self.optimizer.tell(config, error=error, status="stopped" if is_stopped else "complete")
