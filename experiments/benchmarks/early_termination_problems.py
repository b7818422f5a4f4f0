"""Problems for early termination: three tables of real trainings, and curves of a published prior.

    fashion_mnist   results/fashion_mnist_table: 8 epochs; known cost: predicted time of a pass
    digits          results/digits_table: 16 epochs; the same
    residual        results/residual_table: 12 epochs of residual networks; known cost: energy on an H200
    mnist_like      a formula: HyperPower's MNIST space, 20 epochs, curves of the prior of LC-PFN
    mnist_noisy     the same with 40 epochs, a tenth of the validation images, and three times the scatter
    NAME_strict     with an error reference close to the errors, so that the front has to be filled

A table lists trained candidates; their epochs and CPU seconds are replayed.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "search_spaces"))

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from skopt.space import Integer, Real

from hwopt import Budget, SearchSpace
from hwopt.compare.problem import Problem
from hwopt.costs import feasible, price
from hwopt.space.search_space import Config
from hwopt.train.result import TrainingResult

N_VALIDATION = 10_000  # images of the formula
_CHANCE = 0.9
_TIME_LIMIT_S = 6e-3


def fashion_mnist() -> Problem:
    """Replay the Fashion-MNIST table within its budget on time."""
    from fashion_mnist_grid import SPACE, config_of

    folder = ROOT / "results" / "fashion_mnist_table"
    rows = pd.read_csv(folder / "table.csv").dropna(subset=["status"]).to_dict("records")
    renamed = [{**row, "time_s": row["predicted_time_s"]} for row in rows]
    return _table("fashion_mnist", folder, SPACE, config_of, renamed, {"time_s": 3.83e-3})


def digits() -> Problem:
    """Replay the digits table within its budget on time."""
    from digits_mixed import SPACE, config_of

    folder = ROOT / "results" / "digits_table"
    rows = pd.read_csv(folder / "configs.csv").to_dict("records")
    return _table("digits", folder, SPACE, config_of, rows, {"time_s": 2.6e-3})


def residual() -> Problem:
    """Replay the residual networks within their budgets of power and memory: error against energy."""
    from fashion_mnist_energy import SPACE
    from residual_table import Plan, config_of

    folder = ROOT / "results" / "residual_table"
    rows = pd.read_csv(folder / "configs.csv").to_dict("records")
    limits = {budget.metric: budget.limit for budget in Plan().budgets}
    return _table("residual", folder, SPACE, config_of, rows, limits, ("energy_j", 0.06))


def _table(
    name: str,
    folder: Path,
    space: SearchSpace,
    config_of: Callable[[Mapping[str, Any]], Config],
    rows: Sequence[Mapping[Any, Any]],
    limits: Mapping[str, float],
    objective: tuple[str, float] | None = None,
) -> Problem:
    """Return the problem of a table: its configs that were trained with seed 0, failed ones too.

    Args:
        name: of the problem.
        folder: the table's.
        space: of the configs.
        config_of: config of a row.
        rows: configs and their known costs.
        limits: budget of each known cost.
        objective: known cost that is the second objective, with its reference; the first budget if None.
    """
    cost, worst = objective or next(iter(limits.items()))
    known = tuple(dict.fromkeys((*limits, cost)))
    trainings = pd.read_csv(folder / "trainings.csv").query("seed == 0").set_index("config")
    curves = pd.read_csv(folder / "curves.csv").query("seed == 0").sort_values("epoch")
    epochs = {config: group for config, group in curves.groupby("config")}
    configs, replays = list[Config](), {}
    costs: dict[Any, dict[str, float]] = {}
    for row in rows:
        if row["config"] not in trainings.index:
            continue
        config = space.validate(config_of(row))
        key, training = space.key(config), trainings.loc[row["config"]]
        configs.append(config)
        costs[key] = {metric: float(row[metric]) for metric in known}
        replays[key] = _replay(training, epochs.get(row["config"]))
    budgets = tuple(Budget(metric, limit) for metric, limit in limits.items())

    def cost_of(asked: Sequence[Config]) -> dict[str, Any]:
        found = [costs.get(space.key(config), {}) for config in asked]
        return {metric: [one.get(metric, np.nan) for one in found] for metric in known}

    keeps = feasible(budgets, price(cost_of, configs))
    return Problem(
        name, space, cost_of, budgets, ("error", cost), {"error": _CHANCE, cost: worst},
        lambda config, seed: replays[space.key(config)], int(trainings.n_epochs.max()),
        tuple(c for c, keep in zip(configs, keeps, strict=True) if keep),
    )  # fmt: skip


def _replay(training: pd.Series, epochs: pd.DataFrame | None) -> TrainingResult:
    failure = None if training.status == "complete" else str(training.reason)
    if epochs is None:
        return TrainingResult.whole((), (), failure)
    return TrainingResult.whole(tuple(epochs.validation_error), tuple(epochs.cpu_seconds), failure)


def mnist_like(
    name: str = "mnist_like", n_epochs: int = 20, n_validation: int = N_VALIDATION, scatter: float = 0.05
) -> Problem:
    """Return the formula: HyperPower's six hyperparameters of MNIST and the error of each epoch.

    Args:
        name: of the problem.
        n_epochs: of a training.
        n_validation: number of validation images, which determines the noise of an epoch.
        scatter: standard deviation of the logarithm of the final error over seeds.
    """
    space = SearchSpace(
        [
            Integer(20, 80, name="features"),
            Integer(2, 5, name="kernel"),
            Integer(1, 3, name="pool"),
            Integer(200, 700, name="fc_units"),
            Real(1e-3, 1e-1, prior="log-uniform", name="learning_rate"),
            Real(0.8, 0.95, name="momentum"),
        ],
        structural=["features", "kernel", "pool", "fc_units"],
    )
    budget = Budget("time_s", _TIME_LIMIT_S)
    reference = {"error": _CHANCE, "time_s": _TIME_LIMIT_S}
    train = partial(lcpfn_curve, n_epochs=n_epochs, n_validation=n_validation, scatter=scatter)
    return Problem(name, space, _time_of, (budget,), ("error", "time_s"), reference, train, n_epochs)


def mnist_noisy() -> Problem:
    """Return the formula with longer and noisier trainings."""
    return mnist_like("mnist_noisy", 40, N_VALIDATION // 10, 0.15)


def strict(make: Callable[[], Problem], error: float) -> Problem:
    """Return a problem with another reference of the error."""
    problem = make()
    reference = {**problem.reference, "error": error}
    return replace(problem, name=f"{problem.name}_strict", reference=reference)


def _time_of(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a time that grows with the work: convolution, then two fully connected layers."""
    sides = [28 // c["pool"] for c in configs]
    work = [
        c["features"] * (784 * c["kernel"] ** 2 + side**2 * c["fc_units"])
        for c, side in zip(configs, sides, strict=True)
    ]
    return {"time_s": 2e-4 + 4e-10 * np.array(work, dtype=float)}


def lcpfn_curve(
    config: Mapping[str, Any],
    seed: int,
    n_epochs: int = 20,
    n_validation: int = N_VALIDATION,
    scatter: float = 0.05,
) -> TrainingResult:
    """Draw a curve: e(t) = e_inf + (e_1 - e_inf) s(t), s a mixture of three families, and binomial noise.

    s is a random mixture of a power law, Janoschek's curve and the inverse logarithm: the three families of
    the prior of LC-PFN (Adriaensen et al. 2023), which took them from Domhan et al. (2015). The asymptote
    falls with size and has a best learning rate; curves of high rates fall fast, and the highest diverge.
    """
    rng = np.random.default_rng([seed, *np.frombuffer(repr(sorted(config.items())).encode(), np.uint8)])
    rate = np.log10(config["learning_rate"] / (1 - config["momentum"]))  # -2.3 to 0.3
    limit = _asymptote(config, rate) * np.exp(rng.normal(0, scatter))
    first = limit + 0.06 * np.exp(-0.9 * (rate + 1) + rng.normal(0, 0.3))
    errors = limit + (first - limit) * _shape(np.arange(1, n_epochs + 1), rate, rng)
    if rng.random() < 1 / (1 + np.exp(-12 * rate)):
        errors = np.full(n_epochs, _CHANCE)
    seen = rng.binomial(n_validation, np.clip(errors, 0, _CHANCE)) / n_validation
    seconds = 4e3 * _time_of([config])["time_s"][0]
    return TrainingResult.whole(tuple(seen.tolist()), (seconds,) * n_epochs)


def _asymptote(config: Mapping[str, Any], rate: float) -> float:
    small = 0.5 * np.log(80 / config["features"]) + 0.3 * np.log(700 / config["fc_units"])
    form = 0.12 * (5 - config["kernel"]) ** 2 / 3 + 0.25 * abs(config["pool"] - 2)
    return float(0.006 * np.exp(small + form + 0.5 * (rate + 0.6) ** 2))


def _shape(t: Any, rate: float, rng: np.random.Generator) -> Any:
    """Return s at epochs t [n], 1 at the first; curves of higher rates fall faster."""
    pace = np.exp(0.3 * (rate + 1) + rng.normal(0, 0.2, size=3))
    power = t ** -(0.9 * pace[0])
    janoschek = np.exp(-0.4 * pace[1] * (t ** np.exp(rng.normal(-0.1, 0.15)) - 1))
    logarithm = (np.log(2) / np.log(t + 1)) ** pace[2]
    return rng.dirichlet(np.ones(3)) @ np.stack([power, janoschek, logarithm])


STRICT = {
    "fashion_mnist_strict": partial(strict, fashion_mnist, 0.3),
    "digits_strict": partial(strict, digits, 0.5),
    "mnist_like_strict": partial(strict, mnist_like, 0.1),
    "residual_strict": partial(strict, residual, 0.3),
}
PROBLEMS: dict[str, Callable[[], Problem]] = {
    "fashion_mnist": fashion_mnist, "digits": digits, "mnist_like": mnist_like, "mnist_noisy": mnist_noisy,
    "residual": residual, **STRICT,
}  # fmt: skip
