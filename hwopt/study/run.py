"""Run one training: call the objective, catch what it raises, and say how it ended. Runs in any process."""

import inspect
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwopt.errors import TrainingFailed
from hwopt.space import Config

Objective = Callable[..., Any]  # (config, report) or (config, report, seed) -> error or {"error": ..., ...}
EpochListener = Callable[[int, float, float], None]  # epoch from 1, error, seconds since the training began


@dataclass(frozen=True)
class Outcome:
    """How a training ended: status, values ("error" and others), (error, elapsed seconds) of each epoch."""

    status: str
    values: dict[str, float]
    curve: tuple[tuple[float, float], ...]
    train_s: float
    reason: str | None = None


def run_objective(
    objective: Objective, config: Config, seed: int, on_epoch: EpochListener | None = None
) -> Outcome:
    """Train one config; what the objective raises makes a failed trial with a reason, not an exception."""
    begun = time.perf_counter()
    curve: list[tuple[float, float]] = []

    def report(epoch: int, error: float) -> bool:
        if epoch != len(curve) + 1:
            raise TrainingFailed(f"report(epoch={epoch!r}): epochs count 1, 2, ...; next is {len(curve) + 1}")
        if not math.isfinite(error):
            raise TrainingFailed(f"diverged: error {error} after epoch {epoch}")
        curve.append((float(error), time.perf_counter() - begun))
        if on_epoch is not None:
            on_epoch(int(epoch), *curve[-1])
        return True

    def ended(status: str, values: dict[str, float], reason: str | None = None) -> Outcome:
        return Outcome(status, values, tuple(curve), time.perf_counter() - begun, reason)

    try:
        keywords = {"seed": seed} if _takes_seed(objective) else {}
        return ended("complete", _values(objective(dict(config), report, **keywords)))
    except TrainingFailed as error:
        return ended("failed", {}, str(error))
    except MemoryError as error:
        return ended("failed", {}, f"out of memory: {error}")
    except Exception as error:
        return ended("failed", {}, f"{type(error).__name__}: {error}")


def _takes_seed(objective: Objective) -> bool:
    parameters = inspect.signature(objective).parameters.values()
    return any(p.name == "seed" or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def _values(result: Any) -> dict[str, float]:
    """Check what the objective returned and return it as plain floats."""
    values = dict(result) if isinstance(result, Mapping) else {"error": result}
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise TrainingFailed(f"the objective returned {name} = {value!r}, which is no number")
        if not math.isfinite(value):
            raise TrainingFailed(f"diverged: {name} is {value}")
    if "error" not in values:
        raise TrainingFailed(f"the objective returned {sorted(values)}; it must return its error")
    return {name: float(value) for name, value in values.items()}
