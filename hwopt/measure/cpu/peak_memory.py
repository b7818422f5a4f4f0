"""Peak resident memory of a network on the CPU, in a fresh process that has warmed up first.

    build, run, drop | trim | baseline | build, input | reset the mark | run | read the mark
                              ^ resident set                                   ^ minus the baseline

The first build and run load code, kernels and caches, so that the second shows the network alone: parameters,
buffers, input, activations and workspaces. The allocator's thresholds are fixed for the process, so that
freed tensors are returned to the system. One process measures many networks. The kernel counts pages in
batches, so the result is uncertain by some 0.2 MB; below 1 MiB it is refused.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from importlib.machinery import PathFinder
from typing import Any

from hwopt.errors import HwoptError
from hwopt.measure.cpu.peak_memory_worker import FRAME

_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "4096",  # larger tensors are mapped, and unmapped when freed
    "MALLOC_TRIM_THRESHOLD_": "4096",
    "MALLOC_TOP_PAD_": "0",
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1",
}
LEAST_BYTES = 2**20


class Unmeasurable(HwoptError):
    """A network whose memory cannot be measured here; the message says why."""


class MemoryMeter:
    """Fresh process that measures networks one after another. A context manager.

    Args:
        platform: as `sys.platform`; the peak resident set can be reset on Linux only.
    """

    def __init__(self, platform: str = sys.platform) -> None:
        self._platform = platform
        self._process: subprocess.Popen[bytes] | None = None

    def measure(self, build: Callable[[], Any], input_shape: Sequence[int]) -> int:
        """Return the peak resident bytes of one inference pass.

        Args:
            build: makes the network; cloudpickle sends it to the other process, which calls it twice.
            input_shape: with the batch, for example (8, 3, 32, 32).

        Raises:
            Unmeasurable: on another system than Linux, or if the network cannot be sent or run, or needs less
                memory than the resident set resolves.
        """
        if not self._platform.startswith("linux"):
            raise Unmeasurable(
                f"the peak of resident memory is measured on Linux only, and this system is {self._platform}"
            )
        answer = self._ask(_pickled(build, tuple(input_shape)))
        if "error" in answer:
            raise Unmeasurable(str(answer["error"]))
        memory_bytes = int(answer["memory_bytes"])
        if memory_bytes < LEAST_BYTES:
            raise Unmeasurable(
                f"less than {LEAST_BYTES / 2**20:g} MiB, below the resolution of the resident set"
            )
        return memory_bytes

    def _ask(self, request: bytes) -> dict[str, Any]:
        if self._process is None:
            self._process = _start()
        assert self._process.stdin is not None and self._process.stdout is not None
        line = b""
        with suppress(OSError):
            self._process.stdin.write(FRAME.pack(len(request)) + request)
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            self.close()
            raise Unmeasurable("the measuring process ended early; was it out of memory?")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Stop the process by closing its input."""
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> "MemoryMeter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _start() -> "subprocess.Popen[bytes]":
    environment = {**os.environ, **_ALLOCATOR, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-m", "hwopt.measure.cpu.peak_memory_worker"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


def _pickled(build: Callable[[], Any], input_shape: tuple[int, ...]) -> bytes:
    cloudpickle: Any = import_module("cloudpickle")
    try:
        with _by_value(build):
            return bytes(cloudpickle.dumps((build, input_shape)))
    except Exception as error:  # a user's objects may fail to be pickled in any way
        raise Unmeasurable(f"cannot be sent to a fresh process: {type(error).__name__}: {error}") from error


@contextmanager
def _by_value(build: Callable[[], Any]) -> Iterator[None]:
    """Pickle the code of a function whose module the other process cannot import, such as a user's file."""
    cloudpickle: Any = import_module("cloudpickle")
    while isinstance(build, partial):
        build = build.func
    module = sys.modules.get(getattr(build, "__module__", None) or "")
    if module is None or module.__name__ == "__main__" or _is_importable(module.__name__):
        yield
        return
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def _is_importable(name: str) -> bool:
    """Return whether a fresh process can import a module; `importlib.util.find_spec` sees loaded ones too."""
    top = name.partition(".")[0]
    return PathFinder.find_spec(top) is not None or top in sys.builtin_module_names
