"""Train one network on a CPU or a GPU and report its validation error after every epoch.

    data to the device once | epoch: shuffled batches by index | validation error -> report -> go on? | ... |
    test error

There is no data loader: the sets fit in memory, and picking rows of a tensor costs less than collecting them.
The loop itself never waits for the device; the losses are looked at once in `_CHECK_EVERY` steps, all at a
time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

from hwopt.errors import InvalidInput, TrainingFailed
from hwopt.train.data import Dataset, Split
from hwopt.train.settings import TrainingSettings

Report = Callable[[int, float], bool | None]

_CHECK_EVERY = 20  # steps; each check waits for the device
_EXPLODED = 1e4  # nats; a network that knows nothing has ln(classes), about 2.3 for ten
_EVALUATION_BATCH = 1000


@dataclass(frozen=True)
class TrainingResult:
    """What one training gave. Errors are shares of wrong answers, 0 to 1."""

    error: float  # on the validation split, after the last epoch that ran
    curve: tuple[float, ...]  # validation error after each epoch
    test_error: float  # on the test split, after the last epoch that ran
    epoch_seconds: tuple[float, ...]  # training and validation of each epoch
    stopped: bool  # whether `report` ended it early

    @property
    def n_epochs(self) -> int:
        """Number of epochs that ran."""
        return len(self.curve)

    @property
    def train_seconds(self) -> float:
        """Seconds that all epochs took, validation included."""
        return sum(self.epoch_seconds)


def train(
    module: nn.Module, dataset: Dataset, settings: TrainingSettings, seed: int, report: Report | None = None
) -> TrainingResult:
    """Train `module` in place from the weights that it has (see `seeded`); it stays on the device.

    Args:
        module: network from images [n, c, h, w] to logits [n, n_classes].
        dataset: the three splits.
        settings: those of this training, hyperparameters included (`TrainingSettings.with_config`).
        seed: of the shuffling and of random layers such as dropout. On a CPU the same seed and number of
            threads give the same result; the global random state is as before afterwards.
        report: called as `report(epoch, error)` after every epoch, counted from 1, with the validation error;
            returns False to stop, True or None to go on. What it raises passes through.

    Raises:
        TrainingFailed: diverged, out of memory, or the network raised; the message says which.
        InvalidInput: there is no such device.
    """
    device = check_device(settings.device)
    with seeded(seed, device), _threads(settings.threads), _deterministic(settings.deterministic, device):
        with _failures_named():
            run = _Run(module, dataset, settings, seed, device)
        curve: list[float] = []
        seconds: list[float] = []
        stopped = False
        while len(curve) < settings.epochs and not stopped:
            start = perf_counter()
            with _failures_named():
                run.train_epoch(len(curve) + 1)
                curve.append(run.error(run.validation))
            seconds.append(perf_counter() - start)
            stopped = report is not None and report(len(curve), curve[-1]) is False
        with _failures_named():
            test_error = run.error(run.test)
    return TrainingResult(curve[-1], tuple(curve), test_error, tuple(seconds), stopped)


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Seed torch's random numbers within a block, such as the building of a network, and restore them."""
    cuda = device if device is not None and device.type == "cuda" else None
    with torch.random.fork_rng(devices=[] if cuda is None else [cuda]):
        torch.default_generator.manual_seed(seed)
        if cuda is not None:
            with torch.cuda.device(cuda):
                torch.cuda.manual_seed(seed)
        yield


@torch.no_grad()
def error_of(module: nn.Module, split: Split) -> float:
    """Return the share of a split's images that `module` names wrongly; it is left in evaluation mode.

    Raises:
        TrainingFailed: its outputs are not finite.
    """
    module.eval()
    wrong: list[Tensor] = []
    sums: list[Tensor] = []
    batches = (torch.split(part, _EVALUATION_BATCH) for part in split)
    for images, labels in zip(*batches, strict=True):
        logits = module(images)
        wrong.append((logits.argmax(1) != labels).sum())
        sums.append(logits.sum())
    if not all(isfinite(total) for total in torch.stack(sums).tolist()):
        raise TrainingFailed("diverged: the network's outputs are not finite numbers any more")
    return int(torch.stack(wrong).sum()) / len(split.labels)


class _Run:
    """One training under way: network, data on the device, optimizer and schedule."""

    def __init__(
        self, module: nn.Module, dataset: Dataset, settings: TrainingSettings, seed: int, device: torch.device
    ) -> None:
        self.device = device
        self.module = module.to(device)
        layout = self._choose_layout(dataset, settings)
        self.module.to(memory_format=layout)
        self.training, self.validation, self.test = (
            Split(split.images.to(device).contiguous(memory_format=layout), split.labels.to(device))
            for split in (dataset.train, dataset.validation, dataset.test)
        )
        self.batch_size = settings.batch_size
        self.generator = torch.Generator().manual_seed(seed)
        self.loss = nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing)
        self.optimizer = _optimizer(self.module, settings)
        self.schedule = _schedule(
            self.optimizer, settings, settings.epochs * len(self._divide(self.training.labels))
        )

    def train_epoch(self, epoch: int) -> None:
        """Train one epoch; `epoch`, counted from 1, is for the message of a failure."""
        module, loss_function, optimizer, schedule = self.module, self.loss, self.optimizer, self.schedule
        images, labels = self.training
        losses: list[Tensor] = []
        module.train()
        for step, batch in enumerate(self._batches(), start=1):
            loss = loss_function(module(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if schedule is not None:
                schedule.step()
            losses.append(loss.detach())
            if len(losses) == _CHECK_EVERY:
                _check_losses(losses, epoch, step)
                losses.clear()
        if losses:
            _check_losses(losses, epoch, step)

    def error(self, split: Split) -> float:
        """Return the share of wrong answers on a split."""
        return error_of(self.module, split)

    def _batches(self) -> list[Tensor]:
        """Return the rows of every batch of one epoch, shuffled."""
        order = torch.randperm(len(self.training.labels), generator=self.generator)
        return self._divide(order.to(self.device))

    def _divide(self, rows: Tensor) -> list[Tensor]:
        """Divide rows into batches, without a last one of a single image: batch normalisation rejects it."""
        batches = list(torch.split(rows, self.batch_size))
        return batches[:-1] if len(batches) > 1 and len(batches[-1]) == 1 else batches

    def _choose_layout(self, dataset: Dataset, settings: TrainingSettings) -> torch.memory_format:
        wanted = settings.channels_last
        if wanted is None:
            wanted = self.device.type == "cpu" and self._runs_channels_last(dataset.train.images[:2])
        return torch.channels_last if wanted else torch.contiguous_format

    @torch.no_grad()
    def _runs_channels_last(self, images: Tensor) -> bool:
        """Tell whether the network takes channels-last images: `x.view(...)` in a forward does not."""
        if not any(isinstance(layer, nn.Conv2d) for layer in self.module.modules()):
            return False
        try:
            self.module.to(memory_format=torch.channels_last).eval()
            self.module(images.to(self.device, memory_format=torch.channels_last))
        except Exception:  # any fault of the network's own comes again in training, and is named there
            return False
        return True


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


def _schedule(
    optimizer: torch.optim.Optimizer, settings: TrainingSettings, n_steps: int
) -> lr_scheduler.LRScheduler | None:
    if settings.schedule == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    if settings.schedule == "one_cycle":  # momentum is a hyperparameter of its own
        return lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, n_steps + 1, cycle_momentum=False)
    return None


@contextmanager
def _failures_named() -> Iterator[None]:
    """Turn what goes wrong in torch or the network into TrainingFailed, so that a study goes on."""
    try:
        yield
    except TrainingFailed:
        raise
    except Exception as error:
        first_line = str(error).strip().partition("\n")[0]
        what = "out of memory" if _is_out_of_memory(error) else f"the network raised {type(error).__name__}"
        raise TrainingFailed(f"{what}: {first_line}") from error


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def check_device(name: str) -> torch.device:
    """Return the device of a name, "auto" being a GPU where there is one; InvalidInput where it is not."""
    has_cuda = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda", torch.cuda.current_device()) if has_cuda else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InvalidInput(f"device {name!r} is not one of torch's; use auto, cpu, cuda or cuda:1") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InvalidInput(f"device {name!r}: {torch.cuda.device_count()} CUDA devices here; use auto or cpu")
    return device


@contextmanager
def _threads(n: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _deterministic(wanted: bool, device: torch.device) -> Iterator[None]:
    """Ask for deterministic kernels on a GPU; where an operator has none, torch warns and goes on."""
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    if wanted and device.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
