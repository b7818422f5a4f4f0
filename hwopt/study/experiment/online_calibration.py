"""Calibration of costs during a study, from measured networks and from trainings that ran out of memory.

    ended trial --> measured on this machine --> ln(measured / predicted) joins the calibration errors
                --> out of memory -------------> its memory estimate becomes an upper limit

Point predictions do not change, so a resumed study prices its trials as before; only the bounds change. The
facts are in the store and are replayed in the same order when the study is opened.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.costs import CostFunction, Costs, price
from hwopt.errors import OutOfMemory
from hwopt.predict.cost_model import key_names
from hwopt.predict.price_serialization import as_config, packed, unpacked
from hwopt.space.recorded_config import ABSENT, ReadTree, RecordedConfig
from hwopt.space.search_space import SearchSpace
from hwopt.study.run.state import StudyState
from hwopt.study.store.store import Trial
from hwopt.train.settings import TrainingSettings

if TYPE_CHECKING:
    from torch import nn


TRAINING_MEMORY = "training_memory_bytes"

_STATES = {"adam": 2, "adamw": 2}  # state values per parameter


class Recalibrated:
    """Cost function with the additional calibration errors of networks measured during the study."""

    def __init__(self, costs: CostFunction) -> None:
        self.costs = costs
        self._errors: dict[str, list[float]] = {}

    def __call__(self, configs: Sequence[Mapping[str, Any]]) -> Costs:
        """Price configs."""
        priced = price(self.costs, configs)
        residuals, weights = dict(priced.residuals), dict(priced.weights)
        for metric in residuals.keys() & self._errors.keys():
            own = np.array(self._errors[metric])
            known = residuals[metric]
            residuals[metric] = np.concatenate(
                [known, np.broadcast_to(own, (*known.shape[:-1], len(own)))], axis=-1
            )
            weights[metric] = np.concatenate([weights[metric], np.ones(len(own))])
        return Costs(dict(priced), residuals, priced.reasons, priced.widening, weights, priced.caps)

    def add(self, predicted: Mapping[str, float], measured: Mapping[str, Any]) -> None:
        """Add the predicted and measured costs of a network, in SI units; None is left out."""
        for metric, value in predicted.items():
            found = measured.get(metric)
            if found is not None and found > 0 and value > 0:
                self._errors.setdefault(metric, []).append(float(np.log(found / value)))


class TrainingMemory:
    """Cost function with the additional metric `training_memory_bytes`, the memory of a training step.

    It counts parameters, gradients, buffers, activations and the optimizer's state, but not the memory of the
    process and the kernels, so it is a lower estimate. A config at or above the estimate of one that ran out
    of memory cannot be priced, so no strategy proposes it.
    """

    def __init__(self, costs: CostFunction, space: SearchSpace, settings: TrainingSettings) -> None:
        self.costs, self._space, self._settings = costs, space, settings
        self._known: dict[tuple[int, str], ReadTree[float]] = {}
        self._key_names = key_names(space)
        self.usable_bytes = np.inf

    def __call__(self, configs: Sequence[Mapping[str, Any]]) -> Costs:
        """Price configs."""
        priced = price(self.costs, configs)
        estimates = np.array([self.estimate(config) for config in configs])
        is_too_large = estimates >= self.usable_bytes
        reason = f"a training of {self.usable_bytes:.4g} bytes ran out of memory"
        reasons = [
            reason if large else known for large, known in zip(is_too_large, priced.reasons, strict=True)
        ]
        values = dict(priced) | {TRAINING_MEMORY: np.where(is_too_large, np.nan, estimates)}
        return Costs(values, priced.residuals, reasons, priced.widening, priced.weights, priced.caps)

    def estimate(self, config: Mapping[str, Any]) -> float:
        """Return the estimated bytes of a training step of a config; NaN if unknown."""
        settings = self._settings.with_config(config)
        has_states = settings.optimizer != "sgd" or settings.momentum > 0
        optimizer = settings.optimizer if has_states else "sgd-without-momentum"
        known = self._known.setdefault((settings.batch_size, optimizer), ReadTree())
        estimate = known.find(config)
        if estimate is None:
            recorded = RecordedConfig(config, self._space.names)
            estimate = self._estimated(recorded, settings)
            listed = {name: config.get(name, ABSENT) for name in self._key_names}
            known.add(config, {**listed, **recorded.reads}, estimate)
        return estimate

    def identity(self) -> dict[str, Any]:
        """Return the dependencies of the estimates besides the space."""
        return {"settings": asdict(self._settings)}

    def kept(self) -> bytes:
        """Return all estimates, as bytes."""
        keys = [key for key, tree in self._known.items() for _ in tree.items()]
        found = [one for tree in self._known.values() for one in tree.items()]
        kinds = [f"{batch_size} {optimizer}" for batch_size, optimizer in keys]
        return packed([reads for reads, _ in found], kinds, estimates=np.array([n for _, n in found]))

    def keep(self, kept: bytes) -> bool:
        """Load estimates that `kept` returned."""
        reads, kinds, arrays = unpacked(kept)
        for own, kind, estimate in zip(reads, kinds, arrays["estimates"].tolist(), strict=True):
            batch_size, optimizer = str(kind).split()
            known = self._known.setdefault((int(batch_size), optimizer), ReadTree())
            known.add(as_config(own), own, estimate)
        return True

    def learn(self, config: Mapping[str, Any]) -> None:
        """Record that a training of this config ran out of memory."""
        estimate = self.estimate(config)
        if np.isfinite(estimate):
            self.usable_bytes = min(self.usable_bytes, estimate)

    def _estimated(self, config: Mapping[str, Any], settings: TrainingSettings) -> float:
        """Return the estimate of a network, built on the meta device."""
        from hwopt.network import run_recorded, training_memory_bytes

        shape = self._space.input_shape
        n_states = _STATES.get(settings.optimizer, int(settings.momentum > 0))  # momentum of sgd
        if self._space.build is None or shape is None:
            return float("nan")

        def taken(network: "nn.Module") -> float:
            weights = sum(weight.numel() * weight.element_size() for weight in network.parameters())
            return float(training_memory_bytes(network, shape, settings.batch_size) + n_states * weights)

        estimate = run_recorded(self._space, config, taken).result
        return float("nan") if estimate is None else estimate


class Feedback:
    """Callback for ended trials, in order: when they end, and when their study is opened again.

    Args:
        recalibrated: cost function to recalibrate; None if nothing is measured.
        memory: cost function with training memory; None without a budget on it.
        measure: function that measures the network of a trial; None if this machine trains in parallel.
    """

    def __init__(
        self,
        recalibrated: Recalibrated | None = None,
        memory: TrainingMemory | None = None,
        measure: Callable[[Trial], Mapping[str, Any]] | None = None,
    ) -> None:
        self.recalibrated, self._memory, self.measure = recalibrated, memory, measure

    def __call__(self, state: StudyState, trial: Trial) -> None:
        """Learn from a trial; the feasible region is surveyed again if the costs have changed."""
        if self._memory is not None and trial.failure == OutOfMemory.__name__:
            self._memory.learn(trial.config)
            state.optimizer.costs_changed()
        if self.recalibrated is not None and trial.status == "complete":
            self._take_measured(state, trial, self.recalibrated)

    def _take_measured(self, state: StudyState, trial: Trial, recalibrated: Recalibrated) -> None:
        found = state.measured.get(trial.number)
        if found is None and self.measure is not None:
            found = dict(self.measure(trial))
            state.store.add_check(trial.number, "measured", 0, found)
        if found is not None:
            recalibrated.add(trial.costs, found)
            state.optimizer.costs_changed()
