"""Cost of starting or resuming a training in epochs, from the seconds of slices.

    beside      seconds of a slice besides its epochs: load the data, build the network, read the checkpoint
                from disk, send it to the worker, and receive the next one
    epoch       median seconds of an epoch in slices that continued a stint
    going on    median of `beside` of the slices that continued a stint
    restart     median of (beside + first epoch - epoch - going on) of the slices that began a stint

    in epochs   restart / (epoch + going on per epoch of its slice) of the training, or of the median training
                if it is new

The checkpoint is sent and received with every slice, also with those that continue a stint. So its transfer
is not a cost of restarts but of epochs: it cancels in the third line, and is part of `going on` in the last.
It is measured by the driver, from submitting a slice to its result, without the seconds in the worker.

The first epoch is included because compilation and caching make it longer. Starts and resumes are separate
kinds; a kind is used from `_N_LEAST` slices on. The first slice of a process (it imports libraries) and
slices that end a training (they test the network) are excluded.

Seconds are not reproducible, but a search should be. So less than half an epoch counts as 0, and more is
rounded to a power of two: if restarts are cheap, the seconds have no effect, and otherwise only ratios near
the border between two steps depend on the load of the machine. Measurements are stored in the study, and a
resumed search computes the same costs from them.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from hwopt.study.store.store import Store

_KIND = "slice"  # of the facts in the store, by trial and first epoch
_N_LEAST = 5  # least number of slices of a kind
_SMALLEST = 0.5  # smaller costs in epochs count as 0
_SHORTEST_S = 0.2  # smallest duration of an epoch; a decision takes a quarter of that


@dataclass(frozen=True)
class SliceSeconds:
    """Seconds of a slice that did not end its training.

    Attributes:
        trial: number of the trial.
        first_epoch: first epoch of the slice, counted from 1.
        is_restart: whether the slice started or resumed the training.
        beside_s: seconds besides the epochs.
        epochs_s: seconds of each epoch.
    """

    trial: int
    first_epoch: int
    is_restart: bool
    beside_s: float
    epochs_s: tuple[float, ...]


class RestartCosts:
    """Restart costs of one study.

    Args:
        slices: trained slices.
    """

    def __init__(self, slices: Iterable[SliceSeconds] = ()) -> None:
        self._slices = {(one.trial, one.first_epoch): one for one in slices}

    @classmethod
    def stored(cls, store: Store) -> "RestartCosts":
        """Return the restart costs of a study, from the slices that `keep` stored."""
        return cls(
            SliceSeconds(number, **{**found, "epochs_s": tuple(found["epochs_s"])})
            for number, rows in store.checks(_KIND).items()
            for found in rows
        )

    def keep(self, one: SliceSeconds, store: Store) -> None:
        """Add a slice, and store it."""
        self._slices[one.trial, one.first_epoch] = one
        found = {
            "first_epoch": one.first_epoch, "is_restart": one.is_restart, "beside_s": one.beside_s,
            "epochs_s": one.epochs_s,
        }  # fmt: skip
        store.add_check(one.trial, _KIND, one.first_epoch, found, durable=False)

    def estimate(self, numbers: Sequence[int]) -> tuple[float, dict[int, float]]:
        """Return the cost of a start and of resuming each of some trials, in epochs."""
        slices = list(self._slices.values())
        going_on = [one for one in slices if not one.is_restart]
        if not going_on:
            return 0.0, dict.fromkeys(numbers, 0.0)
        beside = max(0.0, median(one.beside_s for one in going_on))
        each = median(one.beside_s / len(one.epochs_s) for one in going_on)  # a slice may have several epochs
        seconds: dict[int, list[float]] = {}
        for one in slices:
            seconds.setdefault(one.trial, []).extend(one.epochs_s[1 if one.is_restart else 0 :])
        epoch = {trial: median(known) for trial, known in seconds.items() if known}
        start, resume = (
            self._restart_s(kind, epoch, beside)
            for kind in (
                [one for one in slices if one.is_restart and one.first_epoch == 1],
                [one for one in slices if one.is_restart and one.first_epoch > 1],
            )
        )
        typical = median(epoch.values())
        return (
            _stepped(start, typical + each),
            {number: _stepped(resume, epoch.get(number, typical) + each) for number in numbers},
        )

    @staticmethod
    def _restart_s(restarts: Sequence[SliceSeconds], epoch: dict[int, float], beside: float) -> float:
        """Return the additional seconds of a restart over continuing."""
        found = [
            one.beside_s + one.epochs_s[0] - epoch[one.trial] - beside
            for one in restarts
            if one.trial in epoch
        ]
        return median(found) if len(found) >= _N_LEAST else 0.0


def _stepped(restart_s: float, epoch_s: float) -> float:
    """Return a ratio of seconds rounded to a power of two, or 0 if it is small."""
    ratio = restart_s / max(epoch_s, _SHORTEST_S)
    return 2.0 ** round(math.log2(ratio)) if ratio >= _SMALLEST else 0.0
