"""Worker process of `hwopt.measure.cpu.peak_memory`.

It unpickles requests of its parent process, the only process that starts it.
"""

import ctypes
import gc
import json
import pickle
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

FRAME = struct.Struct("<Q")  # length of the request that follows
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def peak_resident_bytes(build: Callable[[], Any], input_shape: tuple[int, ...]) -> int:
    """Return the peak resident bytes of one pass, less those before the network was built."""
    import torch

    _run(build, input_shape)
    _trim()
    baseline = _status("VmRSS")
    network = build().eval()
    x = torch.rand(input_shape)
    with torch.no_grad():
        _CLEAR.write_text(_RESET_PEAK)
        network(x)
    return _status("VmHWM") - baseline


def _run(build: Callable[[], Any], input_shape: tuple[int, ...]) -> None:
    import torch

    with torch.no_grad():
        build().eval()(torch.rand(input_shape))


def _warm_up_network() -> Any:
    from torch import nn

    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), *head)


def _trim() -> None:
    """Return freed memory to the system, so that new allocations raise the resident set."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def _status(field: str) -> int:
    """Return a field of /proc/self/status in bytes."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{_STATUS} has no {field}")


def _answer(request: bytes) -> dict[str, Any]:
    try:
        build, input_shape = pickle.loads(request)
        return {"memory_bytes": peak_resident_bytes(build, input_shape)}
    except Exception as error:  # a user's network may raise anything
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Answer requests until the input ends."""
    import torch

    torch.set_num_threads(1)
    _run(_warm_up_network, (2, 3, 16, 16))
    answers = sys.stdout
    sys.stdout = sys.stderr  # so that a network may print
    while header := sys.stdin.buffer.read(FRAME.size):
        (length,) = FRAME.unpack(header)
        print(json.dumps(_answer(sys.stdin.buffer.read(length))), file=answers, flush=True)


if __name__ == "__main__":
    main()
