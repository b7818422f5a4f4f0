"""Train one network on a CPU or a GPU, an epoch at a time.

    data to the device once | epoch: shuffled batches by index | validation error -> report -> go on? | ... |
    test error

There is no data loader: the sets fit in memory, and picking rows of a tensor costs less than collecting them.
The loop itself never waits for the device; the losses are looked at once in `_CHECK_EVERY` steps, all at a
time. Between two epochs a training can be put into a checkpoint, from which another process goes on as if
nothing had happened: on a CPU bit by bit.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from math import isfinite
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from hwopt.errors import CheckpointUnusable, TrainingFailed
from hwopt.train.augmentation import augmented
from hwopt.train.data import Dataset, Split
from hwopt.train.energy import energy_spent_j, energy_used_j
from hwopt.train.network_outputs import main_and_auxiliary, main_logits
from hwopt.train.outcomes import outcomes_of
from hwopt.train.placement import RandomState, check_device, deterministic, failures_named, threads
from hwopt.train.result import Epoch, Report, TrainingResult
from hwopt.train.schedule import rate_factor
from hwopt.train.settings import TrainingSettings
from hwopt.train.stopping.curve import Verdict

_CHECK_EVERY = 20  # steps; each check waits for the device
_EXPLODED = 1e4  # nats; a network that knows nothing has ln(classes), about 2.3 for ten
_EVALUATION_BATCH = 1000


def train(
    module: nn.Module, dataset: Dataset, settings: TrainingSettings, seed: int, report: Report | None = None
) -> TrainingResult:
    """Train `module` in place from the weights that it has (see `seeded`); it stays on the device.

    Args:
        module: network from images [n, c, h, w] to logits [n, n_classes], perhaps with those of auxiliary
            classifiers; see `hwopt.train.network_outputs`.
        dataset: the three splits.
        settings: those of this training, hyperparameters included (`TrainingSettings.with_config`).
        seed: of the shuffling and of random layers such as dropout. On a CPU the same seed and number of
            threads give the same result; the global random state is as before afterwards.
        report: called as `report(epoch, error)` after every epoch, counted from 1, with the validation error;
            returns False to stop, True or None to continue. Its exceptions pass through.

    Raises:
        TrainingFailed: diverged, out of memory, or the network raised; the message says which.
        InvalidInput: there is no such device.
    """
    run = Training(module, dataset, settings, seed)
    epochs: list[Epoch] = []
    stopped = False
    while not run.has_ended and not stopped:
        epochs.append(run.run_epoch())
        stopped = report is not None and report(len(epochs), epochs[-1].error) is False
    verdict = Verdict("report answered False") if stopped else None
    return TrainingResult.of_epochs(epochs, final=run.final_values(epochs[-1].error), verdict=verdict)


class Training:
    """One training under way: network, data on the device, optimizer, position and random state.

    Args: as of `train`.

    Raises:
        TrainingFailed: network or data do not fit the device's memory.
        InvalidInput: there is no such device.
    """

    def __init__(self, module: nn.Module, dataset: Dataset, settings: TrainingSettings, seed: int) -> None:
        self.settings, self.dataset = settings, dataset
        self.device = check_device(settings.device)
        self.n_epochs = 0  # that have run
        self._random = RandomState.seeded(seed, self.device)
        self._generator = torch.Generator().manual_seed(seed)
        with self._set_up():
            self.module = module.to(self.device)
            layout = self._choose_layout()
            self.module.to(memory_format=layout)
            self._training, self._validation, self._test = _on_device(dataset, self.device, layout)
            self._optimizer = _optimizer(self.module, settings)
        self._loss = nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing)
        self._n_steps = settings.epochs * len(self._divide(self._training.labels))
        self._step = 0  # steps that have been made

    @property
    def has_ended(self) -> bool:
        """Whether all epochs have run."""
        return self.n_epochs >= self.settings.epochs

    def run_epoch(self) -> Epoch:
        """Train one epoch and return its validation error.

        Raises:
            TrainingFailed: as of `train`.
        """
        energy_j, start = energy_used_j(self.device), perf_counter()
        with self._set_up():
            self._train_epoch(self.n_epochs + 1)
            error = self._error(self._validation)
        seconds, after_j = perf_counter() - start, energy_used_j(self.device)
        self.n_epochs += 1
        return Epoch(error, seconds, energy_spent_j(energy_j, after_j))

    def test_error(self) -> float:
        """Return the share of wrong answers on the test split."""
        with self._set_up():
            return self._error(self._test)

    def final_values(self, error: float) -> dict[str, float]:
        """Return the last validation error, the test error, and the other metrics of the validation split."""
        return {"error": error, "test_error": self.test_error(), **self._outcomes()}

    def _outcomes(self) -> Mapping[str, float]:
        with self._set_up(), self._precision():
            logits = torch.cat(_logits(self.module, self._validation))
        return outcomes_of(logits.double().cpu().numpy(), self._validation.labels.cpu().numpy())

    # -- checkpoints

    def checkpoint(self) -> bytes:
        """Return all that another process needs to go on; torch loads it with `weights_only`."""
        return _saved(
            {
                "network": self.module.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "n_epochs": self.n_epochs,
                "step": self._step,
                "order": self._generator.get_state(),
                "random": self._random.cpu,
                "random_cuda": self._random.cuda,
            }
        )

    def weights(self) -> bytes:
        """Return the weights alone, in the form of a checkpoint."""
        return _saved({"network": self.module.state_dict(), "n_epochs": self.n_epochs})

    def restore(self, checkpoint: bytes) -> None:
        """Go on from a checkpoint of a training with the same network, settings and seed.

        Raises:
            CheckpointUnusable: if it is damaged or of another network.
        """
        try:
            state = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)
            self.module.load_state_dict(state["network"])
            self._optimizer.load_state_dict(state["optimizer"])
            self.n_epochs, self._step = state["n_epochs"], state["step"]
            self._generator.set_state(state["order"])
            self._random.cpu, self._random.cuda = state["random"], state["random_cuda"]
        except Exception as error:  # torch raises many kinds for a file that is cut short
            first_line = str(error).strip().partition("\n")[0]
            raise CheckpointUnusable(f"the checkpoint cannot be used: {first_line}") from error

    # -- one epoch

    def _train_epoch(self, epoch: int) -> None:
        """Train one epoch; `epoch`, counted from 1, is for the message of a failure."""
        optimizer = self._optimizer
        images, labels = self._training
        losses: list[Tensor] = []
        self.module.train()
        for step, batch in enumerate(self._batches(), start=1):
            self._set_rate()
            with self._precision():
                loss = self._loss_of(self.module(self._augmented(images[batch])), labels[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            self._step += 1
            losses.append(loss.detach())
            if len(losses) == _CHECK_EVERY:
                _check_losses(losses, epoch, step)
                losses.clear()
        if losses:
            _check_losses(losses, epoch, step)

    def _loss_of(self, out: Any, labels: Tensor) -> Tensor:
        """Return the loss of the outputs: the main one, and auxiliary ones, weighted."""
        main, auxiliary = main_and_auxiliary(out)
        loss: Tensor = self._loss(main, labels)
        for logits in auxiliary:
            loss = loss + self.settings.auxiliary_weight * self._loss(logits, labels)
        return loss

    def _set_rate(self) -> None:
        if self.settings.schedule != "constant":
            rate = self.settings.learning_rate * rate_factor(
                self.settings.schedule, self._step, self._n_steps
            )
            for group in self._optimizer.param_groups:
                group["lr"] = rate

    def _precision(self) -> Any:
        """Return the context of a forward pass; bfloat16, if it is asked for, needs no loss scaling."""
        if not self.settings.mixed_precision:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _augmented(self, images: Tensor) -> Tensor:
        flip, crop = self.settings.flip, int(self.settings.crop)
        return augmented(images, flip, crop, self._generator) if flip or crop else images

    def _error(self, split: Split) -> float:
        with self._precision():
            return error_of(self.module, split)

    def _batches(self) -> list[Tensor]:
        """Return the rows of every batch of one epoch, shuffled."""
        order = torch.randperm(len(self._training.labels), generator=self._generator)
        return self._divide(order.to(self.device))

    def _divide(self, rows: Tensor) -> list[Tensor]:
        """Divide rows into batches, without a last one of a single image: batch normalisation rejects it."""
        batches = list(torch.split(rows, self.settings.batch_size))
        return batches[:-1] if len(batches) > 1 and len(batches[-1]) == 1 else batches

    @contextmanager
    def _set_up(self) -> Iterator[None]:
        """Run a block under this training's settings; those of the caller are as before afterwards."""
        with (
            self._random.used(),
            threads(self.settings.threads),
            deterministic(self.settings.deterministic, self.device),
            failures_named(),
        ):
            yield

    def _choose_layout(self) -> torch.memory_format:
        wanted = self.settings.channels_last
        if wanted is None:
            wanted = self.device.type == "cpu" and self._runs_channels_last(self.dataset.train.images[:2])
        return torch.channels_last if wanted else torch.contiguous_format

    @torch.no_grad()
    def _runs_channels_last(self, images: Tensor) -> bool:
        """Return whether the network takes channels-last images: `x.view(...)` in a forward does not."""
        if not any(isinstance(layer, nn.Conv2d) for layer in self.module.modules()):
            return False
        try:
            self.module.to(memory_format=torch.channels_last).eval()
            self.module(images.to(self.device, memory_format=torch.channels_last))
        except Exception:  # any fault of the network's own comes again in training, and is named there
            return False
        return True


@torch.no_grad()
def error_of(module: nn.Module, split: Split) -> float:
    """Return the error rate of `module` on a split; it is left in evaluation mode.

    Raises:
        TrainingFailed: its outputs are not finite.
    """
    outputs = _logits(module, split)
    answers = zip(outputs, torch.split(split.labels, _EVALUATION_BATCH), strict=True)
    wrong = [(logits.argmax(1) != labels).sum() for logits, labels in answers]
    sums = [logits.sum() for logits in outputs]
    if not all(isfinite(total) for total in torch.stack(sums).tolist()):
        raise TrainingFailed("diverged: the network's outputs are not finite numbers any more")
    return int(torch.stack(wrong).sum()) / len(split.labels)


@torch.no_grad()
def _logits(module: nn.Module, split: Split) -> list[Tensor]:
    """Return the logits of a split, batch by batch; the network is left in evaluation mode."""
    module.eval()
    return [main_logits(module(images)) for images in torch.split(split.images, _EVALUATION_BATCH)]


@lru_cache(maxsize=1)
def _on_device(dataset: Dataset, device: torch.device, layout: torch.memory_format) -> tuple[Split, ...]:
    """Return the three splits on the device; the next training there finds them in place."""
    splits = (dataset.train, dataset.validation, dataset.test)
    return tuple(
        Split(split.images.to(device).contiguous(memory_format=layout), split.labels.to(device))
        for split in splits
    )


def _check_losses(losses: list[Tensor], epoch: int, step: int) -> None:
    """Raise TrainingFailed at the first of the losses, the last of them at `step`, that shows divergence."""
    for at, value in enumerate(torch.stack(losses).tolist(), start=step - len(losses) + 1):
        if not value < _EXPLODED:  # NaN compares false
            raise TrainingFailed(f"diverged: loss {value:.4g} at epoch {epoch}, step {at}")


def _optimizer(module: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    parameters = module.parameters()
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, rate, momentum=settings.momentum, weight_decay=decay)
    adaptive = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return adaptive(parameters, rate, weight_decay=decay)


def _saved(state: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()
