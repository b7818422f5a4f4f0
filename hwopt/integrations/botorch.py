"""BoTorch's noisy expected hypervolume improvement as a strategy: "botorch:qlognehvi".

    within budgets   error: SingleTaskGP      costs: known, deterministic      candidates: feasible ones only
    unaware          error, costs and excess over each budget: a SingleTaskGP each, constraints learned
    both             outcome budgets: a SingleTaskGP each

The acquisition function (qLogNEHVI, Daulton et al. 2021, Ament et al. 2023; qLogNEI with the error alone) is
maximised over about 1500 configs and then around the best of them, or over all rows of a table, in hwopt's
encoding. BoTorch maximises, so outcomes have their sign changed. Its default priors, transforms and
quasi-random samples are used.
"""

import atexit
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.acquisition.multi_objective import logei
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.acquisition.multi_objective.objective import IdentityMCMultiOutputObjective
from botorch.acquisition.objective import GenericMCObjective
from botorch.fit import fit_gpytorch_mll
from botorch.models import ModelList, SingleTaskGP
from botorch.models.deterministic import GenericDeterministicModel
from botorch.models.model import Model
from botorch.models.transforms.input import FilterFeatures
from gpytorch.mlls import ExactMarginalLogLikelihood
from numpy.typing import NDArray
from torch import Tensor

from hwopt.arrays import Array
from hwopt.costs import price
from hwopt.integrations.shared import excesses, maximise, outcome_excesses, outcomes
from hwopt.search.strategies import SearchState, Selection, register_strategy
from hwopt.space.search_space import Config

N_STARTUP = 4  # observations before the first model; earlier configs are drawn at random
_BATCH = 256  # candidates per evaluation, which limits memory
EXTENSIONS = "TORCH_EXTENSIONS_DIR"


def register() -> None:
    """Make the strategy available by name.

    BoTorch compiles a kernel, for about a minute. A process that is killed meanwhile leaves a lock behind, on
    which all later ones wait forever, so this process uses its own folder for it, which its workers
    inherit. It is compiled here, so that the time is no proposal's.
    """
    if EXTENSIONS not in os.environ:
        os.environ[EXTENSIONS] = tempfile.mkdtemp(prefix="hwopt-botorch-")
        atexit.register(shutil.rmtree, os.environ[EXTENSIONS], ignore_errors=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without a compiler BoTorch falls back to Python
        logei._try_load_fused_kernel()
    register_strategy("botorch:qlognehvi", qlognehvi)


def qlognehvi(state: SearchState, rng: np.random.Generator) -> Selection:
    """Maximise qLogNEHVI over many configs, or over feasible ones if the budgets are known."""
    is_aware = bool(state.budgets) or not state.limits
    if np.sum(_keeps_limits(state) | (not is_aware)) < N_STARTUP:
        return maximise(state, lambda configs: rng.random(len(configs)), rng)
    with _deterministic(int(rng.integers(2**31))):
        acquisition = _aware(state) if is_aware else _unaware(state)

        def value(configs: Sequence[Config]) -> Array:
            costs = state.log_costs(price(state.costs, configs)) if is_aware else None
            parts = torch.split(_inputs(state, configs, costs).unsqueeze(1), _BATCH)
            with torch.no_grad():
                return np.concatenate([acquisition(part).numpy() for part in parts])  # [n]

        return maximise(state, value, rng)


def _aware(state: SearchState) -> AcquisitionFunction:
    """Return the acquisition function with known costs, which its inputs have after the encoding."""
    d = state.space.encode([state.observations[0].config]).shape[1]
    Y = outcomes(state)
    X = _inputs(state, [o.config for o in state.observations], Y[:, 1:])
    models: list[Model] = [_fitted(X, -Y[:, 0], FilterFeatures(torch.arange(d)))]
    if Y.shape[1] > 1:
        models.append(GenericDeterministicModel(lambda X: -X[..., d:], num_outputs=Y.shape[1] - 1))
    revealed = outcome_excesses(state)
    models += [_fitted(X, column, FilterFeatures(torch.arange(d))) for column in revealed.T]
    baseline = X[torch.from_numpy(_keeps_limits(state))]
    pending = _inputs_of_pending(state, known=True)
    return _acquisition(state, models, baseline, pending, revealed.shape[1])


def _unaware(state: SearchState) -> AcquisitionFunction:
    """Return the acquisition function with costs and constraints learned from observations."""
    configs = [o.config for o in state.observations]
    X = _inputs(state, configs, None)
    broken = np.hstack([excesses(state, configs), outcome_excesses(state)])
    columns = [*-outcomes(state).T, *broken.T]
    models: list[Model] = [_fitted(X, column, None) for column in columns]
    pending = _inputs_of_pending(state, known=False)
    return _acquisition(state, models, X, pending, broken.shape[1])


def _keeps_limits(state: SearchState) -> NDArray[np.bool_]:
    """Return a mask of the observed configs within the budgets on known costs, [n]."""
    broken = excesses(state, [o.config for o in state.observations])
    return np.asarray(np.all(broken <= 0, axis=1))


def _acquisition(
    state: SearchState,
    models: Sequence[Model],
    baseline: Tensor,
    pending: Tensor | None,
    n_constraints: int,
) -> AcquisitionFunction:
    """Return qLogNEHVI of the first outputs under constraints on the last ones; qLogNEI for one objective."""
    m = len(state.objectives)
    model = models[0] if len(models) == 1 else ModelList(*models)
    constraints: list[Callable[[Tensor], Tensor]] = [_Output(m + i) for i in range(n_constraints)]
    if m == 1:
        objective = GenericMCObjective(_first)
        return qLogNoisyExpectedImprovement(
            model, baseline, objective=objective, constraints=constraints or None, X_pending=pending
        )
    return qLogNoisyExpectedHypervolumeImprovement(
        model,
        (-state.reference).tolist(),
        baseline,
        objective=IdentityMCMultiOutputObjective(outcomes=list(range(m))),
        constraints=constraints or None,
        X_pending=pending,
        prune_baseline=True,
    )


def _first(Y: Tensor, X: Tensor | None = None) -> Tensor:
    return Y[..., 0]


class _Output:
    """Output of a model as a constraint, which must not be positive."""

    def __init__(self, index: int) -> None:
        self._index = index

    def __call__(self, Y: Tensor) -> Tensor:
        return Y[..., self._index]


def _fitted(X: Tensor, y: Array, features: FilterFeatures | None) -> SingleTaskGP:
    """Return a Gaussian process with BoTorch's default priors, fitted to X [n, d] and y [n]."""
    target = torch.from_numpy(np.ascontiguousarray(y)).unsqueeze(-1)
    model = SingleTaskGP(X, target, input_transform=features)
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    return model


def _inputs(state: SearchState, configs: Sequence[Config], log_costs: Array | None) -> Tensor:
    """Return encoded configs, followed by their known costs if given, [n, d + m - 1]."""
    X = state.space.encode(configs)
    return torch.from_numpy(X if log_costs is None else np.hstack([X, log_costs]))


def _inputs_of_pending(state: SearchState, known: bool) -> Tensor | None:
    if not state.pending:
        return None
    if not known:
        return _inputs(state, state.pending, None)
    costs = state.log_costs(price(state.costs, state.pending))
    costs = np.where(np.isfinite(costs), costs, state.reference[1:])  # for configs without a price
    return _inputs(state, state.pending, costs)


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    """Seed torch for one proposal, on one thread, and restore its state afterwards."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # known costs are inputs outside the unit cube
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(n_threads)
