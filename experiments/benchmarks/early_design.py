"""Initial designs: hypervolume of the first trainings of a search, compared with the former design.

    SCRIPT=experiments/benchmarks/early_design.py
    python $SCRIPT --runs runs --out results/optimizer --peers botorch:qlognehvi

half        the former design: a scrambled Sobol sequence over the feasible region, 4 to 8 configs (half the
            number of hyperparameters)
cost        the same number, in strata of equal probability of the known cost, in van der Corput's order
sobol_all   the sequence also over the hyperparameters without influence on the cost, instead of uniform draws
four        the present design: the former sequence, four configs

Designs differ in the first configs only; afterwards `ehvi` decides. Seeds are paired and there are no common
start points. `cost` was suggested by three problems of a prototype (synthetic_cnn, synthetic_blocks,
nas_bench_201), which are not run by default. early_design.csv has the mean paired difference from `half` of
the share of the best front's hypervolume (tables: of the hypervolume) after 5, 10 and 20 trainings, and its
standard error. Peers, with a start of their own, have fewer seeds.
"""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import pandas as pd
from early_termination_problems import PROBLEMS as TABLES

from hwopt.arrays import Array
from hwopt.compare import compare
from hwopt.compare.curves import all_curves
from hwopt.compare.plan_file import open_problem
from hwopt.compare.problem import Problem
from hwopt.search.candidates import from_region
from hwopt.search.model_based import ModelBased
from hwopt.search.registry import register_strategy
from hwopt.search.state import SearchState, Selection
from hwopt.search.strategies import hypervolume_improvement
from hwopt.space.search_space import Config

DEFAULT_PROBLEMS = ("digits_strict", "digits_emulator", "fashion_mnist_emulator")
AFTER = (5, 10, 20)  # trainings


@dataclass(frozen=True)
class Design(ModelBased):
    """Known-cost EHVI with another initial design.

    Args:
        acquisition: after the initial configs.
        n_initial: configs of the initial design; half the hyperparameters if None.
        by_cost: whether they come from strata of the known cost.
        redraws: whether hyperparameters without influence on the cost are drawn anew.
    """

    n_initial: int | None = None
    by_cost: bool = False
    redraws: bool = True

    def initial(self, state: SearchState, rng: np.random.Generator) -> Selection | None:
        """Return a config of the initial design; None after it."""
        n = self.n_initial or min(8, max(4, len(state.space) // 2))
        has_errors = any(o.error is not None for o in state.observations)
        if state.n_known >= n and has_errors:
            return None
        if state.candidates is not None:
            priced = self.candidates(state, rng)
            costs = priced.costs[state.objectives[1]]
            return priced.selection(int(self.order(costs, state.n_known, n)[0]))
        region = state.feasible_region()
        order = self.order(region.costs[state.objectives[1]], state.n_known, n)
        if self.redraws:
            return Selection(from_region(state, order, rng), 1)
        return Selection(first_available(state, [region.configs[i] for i in order]), 1)

    def order(self, costs: Array, k: int, n: int) -> Array:
        """Return the order in which configs with costs [m] are tried as the k-th of n initial ones."""
        everything = np.roll(np.arange(len(costs)), -k)
        if not self.by_cost:
            return everything
        stratum = np.floor(np.argsort(np.argsort(costs)) * n / len(costs))
        wanted = np.argsort([van_der_corput(i) for i in range(n)]).tolist().index(k % n)
        return np.concatenate(
            [everything[stratum[everything] == wanted], everything[stratum[everything] != wanted]]
        )


def first_available(state: SearchState, configs: list[Config]) -> Config:
    """Return the first config that has not been evaluated."""
    return next(config for config in configs if state.space.key(config) not in state.unavailable)


def van_der_corput(i: int) -> float:
    """Return the i-th number of van der Corput's sequence in base 2, in [0, 1)."""
    return sum(((i >> bit) & 1) / 2 ** (bit + 1) for bit in range(16))


DESIGNS = {
    "half": Design(hypervolume_improvement),
    "cost": Design(hypervolume_improvement, by_cost=True),
    "sobol_all": Design(hypervolume_improvement, redraws=False),
    "four": Design(hypervolume_improvement, n_initial=4),
}


def problems(names: list[str], runs: Path) -> dict[str, Problem | Callable[[], Problem]]:
    """Return the problems by name."""
    found: dict[str, Problem | Callable[[], Problem]] = {}
    for one in names:
        found[one] = TABLES[one]() if one in TABLES else open_problem(one, runs / one, lambda *_: None)[0]
    return found


def main() -> None:
    """Run everything that is not on disk yet and write early_design.csv."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--first-seed", type=int, default=400)
    parser.add_argument("--designs", nargs="+", choices=DESIGNS, default=list(DESIGNS))
    parser.add_argument("--peers", nargs="+", default=[], help="labels such as botorch:qlognehvi")
    parser.add_argument("--peer-seeds", type=int, default=10)
    parser.add_argument("--problems", nargs="+", default=list(DEFAULT_PROBLEMS))
    asked = parser.parse_args()
    for label, strategy in DESIGNS.items():
        register_strategy(label, strategy)
    rows = []
    seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
    for name, problem in problems(asked.problems, asked.runs).items():
        for labels, own in (
            ([*dict.fromkeys(["half", *asked.designs])], seeds),
            (asked.peers, seeds[: asked.peer_seeds]),
        ):
            if labels:
                comparison = compare(problem, labels, own, max(AFTER), 1, asked.runs / name, n_start=0)
        curves = {one.label: one for one in all_curves(comparison)}
        base = curves["half"]
        for label, one in curves.items():
            paired = base.volumes[[base.seeds.index(seed) for seed in one.seeds]]
            for k in AFTER:
                difference = one.volumes[:, k - 1] - paired[:, k - 1]
                rows.append({
                    "problem": name, "design": label, "trainings": k, "n": len(difference),
                    "mean": one.volumes[:, k - 1].mean(), "difference": difference.mean(),
                    "standard_error": difference.std(ddof=1) / np.sqrt(len(difference)),
                })  # fmt: skip
        asked.out.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_csv(asked.out / "early_design.csv", index=False, float_format="%.3g")
        print(pd.DataFrame(rows).query("problem == @name").to_string(), flush=True)


if __name__ == "__main__":
    main()
