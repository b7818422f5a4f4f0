"""Draw the posterior and the acquisition function of the default strategy, for two hyperparameters.

    python experiments/benchmarks/draw_acquisition.py --out results/how_it_chooses/acquisition.png

Left: posterior mean of the error; right: expected hypervolume improvement of each config. Costs grow with the
width alone, so the budget is a line.
"""

import argparse
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from skopt.space import Real

from hwopt import Budget, Optimizer, SearchSpace
from hwopt.costs import Costs
from hwopt.search.acquisition import log_expected_hypervolume_improvement
from hwopt.search.surrogate import fit_surrogate

SPACE = SearchSpace(
    [
        Real(4, 256, prior="log-uniform", name="width"),
        Real(1e-4, 1.0, prior="log-uniform", name="learning_rate"),
    ]
)
LIMIT_S = 4e-3
N_TOLD = 14
N_GRID = 160


def costs(configs: Any) -> dict[str, Any]:
    """Return a time that grows with the width."""
    return {"time_s": [2e-5 * config["width"] ** 1.2 for config in configs]}


def error_of(config: Any) -> float:
    """Return an error that falls with the width and has a best learning rate, lower for wide networks."""
    best = -1.2 - 0.4 * np.log10(config["width"])
    return float(
        min(
            0.9,
            0.05 + 0.6 / np.sqrt(config["width"]) + 0.09 * (np.log10(config["learning_rate"]) - best) ** 2,
        )
    )


def searched() -> Optimizer:
    """Return an optimizer after N_TOLD observations."""
    optimizer = Optimizer(
        SPACE, costs, [Budget("time_s", LIMIT_S)], ("error", "time_s"), reference={"error": 0.9}, seed=2
    )
    for _ in range(N_TOLD):
        config = optimizer.ask().config
        optimizer.tell(config, error=error_of(config))
    return optimizer


def surfaces(optimizer: Optimizer) -> tuple[Any, Any, Any, Any]:
    """Return widths [w], learning rates [r], and on their grid [r, w] the mean and the acquisition value."""
    units = (np.arange(N_GRID) + 0.5) / N_GRID
    grid = np.stack(np.meshgrid(units, units), axis=-1).reshape(-1, 2)
    configs = SPACE.from_unit(grid)
    state = optimizer._search_state()
    surrogate = fit_surrogate(state)
    mean, std = surrogate.process.posterior(SPACE.encode(configs))
    log_costs = state.log_costs(Costs(costs(configs)))
    gain = np.exp(
        log_expected_hypervolume_improvement(
            mean, std, log_costs, surrogate.front, state.reference, surrogate.shift
        )
    )
    widths, rates = (
        [config[name] for config in SPACE.from_unit(np.stack([units, units], axis=1))]
        for name in ("width", "learning_rate")
    )
    errors = np.exp(mean) - surrogate.shift
    return widths, rates, errors.reshape(N_GRID, N_GRID), gain.reshape(N_GRID, N_GRID)


def draw(optimizer: Optimizer, path: Path) -> None:
    """Draw both surfaces, the trainings, the front, the budget and the next proposal."""
    widths, rates, mean, gain = surfaces(optimizer)
    told = [o.config for o in optimizer._search_state().observations]
    front = [point.config for point in optimizer.front()]
    proposal = optimizer.ask().config
    figure, axes = plt.subplots(1, 2, figsize=(10.5, 4.2), sharey=True, layout="constrained")
    labels = ("expected error", "expected gain of hypervolume")
    for axis, surface, label, colours in zip(axes, (mean, gain), labels, ("viridis_r", "magma"), strict=True):
        mesh = axis.pcolormesh(widths, rates, surface, cmap=colours, shading="nearest", rasterized=True)
        figure.colorbar(mesh, ax=axis, label=label)
        axis.plot(*_columns(told), "o", color="white", markeredgecolor="black", markersize=5, label="trained")
        axis.plot(*_columns(front), "o", color="tab:orange", markeredgecolor="black", label="on the front")
        axis.plot(
            *_columns([proposal]), "*", color="tab:cyan", markeredgecolor="black", markersize=15, label="next"
        )
        edge = (LIMIT_S / 2e-5) ** (1 / 1.2)
        axis.axvspan(edge, widths[-1], facecolor="grey", alpha=0.75, hatch="//", label="breaks the budget")
        axis.set(xscale="log", yscale="log", xlabel="width (cost grows with it)")
    axes[0].set_ylabel("learning rate")
    axes[0].legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=110)


def _columns(configs: Any) -> tuple[list[float], list[float]]:
    return [c["width"] for c in configs], [c["learning_rate"] for c in configs]


def main() -> None:
    """Search and draw the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/how_it_chooses/acquisition.png"))
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    draw(searched(), arguments.out)


if __name__ == "__main__":
    main()
