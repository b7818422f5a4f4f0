"""Placement of a training: device, threads, kernels, random state."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from hwopt.errors import HwoptError, InvalidInput, OutOfMemory, TrainingFailed, is_out_of_memory


def check_device(name: str) -> torch.device:
    """Return the device of a name; "auto" is a GPU if there is one. Raises InvalidInput for others."""
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
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Seed torch's random numbers within a block, such as the building of a network, and restore them."""
    with torch.random.fork_rng(devices=_cuda_devices(device)):
        torch.default_generator.manual_seed(seed)
        if device is not None and device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@dataclass
class RandomState:
    """The random numbers of one training: torch's own state is as before after each block."""

    device: torch.device
    cpu: Tensor
    cuda: Tensor | None

    @classmethod
    def seeded(cls, seed: int, device: torch.device) -> "RandomState":
        """Return the state that a seed gives."""
        with seeded(seed, device):
            return cls(device, torch.get_rng_state(), _cuda_state(device))

    @contextmanager
    def used(self) -> Iterator[None]:
        """Draw from this state within a block, and keep it as it is at the end of the block."""
        with torch.random.fork_rng(devices=_cuda_devices(self.device)):
            torch.set_rng_state(self.cpu)
            if self.cuda is not None:
                torch.cuda.set_rng_state(self.cuda, self.device)
            try:
                yield
            finally:
                self.cpu, self.cuda = torch.get_rng_state(), _cuda_state(self.device)


def _cuda_devices(device: torch.device | None) -> list[torch.device]:
    return [device] if device is not None and device.type == "cuda" else []


def _cuda_state(device: torch.device) -> Tensor | None:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else None


@contextmanager
def threads(n: int | None) -> Iterator[None]:
    """Let torch use `n` threads within a block; None leaves their number as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(n or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def deterministic(wanted: bool, device: torch.device) -> Iterator[None]:
    """Ask for deterministic kernels on a GPU; if an operator has none, torch warns and goes on."""
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


@contextmanager
def failures_named() -> Iterator[None]:
    """Convert exceptions of torch or the network into TrainingFailed, so that a study continues."""
    try:
        yield
    except TrainingFailed:
        raise
    except HwoptError as error:
        raise TrainingFailed(str(error)) from error
    except Exception as error:
        first_line = str(error).strip().partition("\n")[0]
        if is_out_of_memory(error):
            raise OutOfMemory(f"out of memory: {first_line}") from error
        raise TrainingFailed(f"the network raised {type(error).__name__}: {first_line}") from error
