"""Epochs that starting or resuming a training costs, from the seconds of the slices that were trained.

    beside      seconds of a slice beside its epochs: load the data, build the network, read the checkpoint
    epoch       median seconds of an epoch of a training that went on, in a slice that did not begin a stint
    going on    median of `beside` of the slices that continued a training where its last slice left it
    restart     beside + the first epoch - epoch - going on, of a slice that began a stint; median

    in epochs   restart / (epoch + going on) of the training; of one whose epochs are unknown, of the median

The first epoch counts because what is compiled or cached anew makes it longer. Starts and resumes are two
kinds; a kind counts from `_N_LEAST` slices on. The first slice in a process is left out (it imports
libraries), and so is one that ends a training (it tests the network).

Seconds are never twice the same, and a search should be. So less than half an epoch is nothing, and more is
rounded to a power of two: where restarting is cheap the seconds change nothing at all, and where it is dear
only a ratio at the border between two steps depends on how busy the machine was. What was measured is in the
study, and a search that goes on computes the same from it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from hwopt.study.store.store import Store

_KIND = "slice"  # of the facts in the store, by trial and first epoch
_N_LEAST = 5  # slices of a kind before it counts
_SMALLEST = 0.5  # epochs that count
_SHORTEST_S = 0.2  # of an epoch: deciding what is trained next takes a quarter of that


@dataclass(frozen=True)
class SliceSeconds:
    """Seconds of a slice of which no epoch ended its training.

    Attributes:
        trial: number of the trial.
        first_epoch: of the slice, counted from 1.
        is_restart: whether the training was started or resumed with it.
        beside_s: seconds beside the epochs.
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
        slices: that were trained.
    """

    def __init__(self, slices: Iterable[SliceSeconds] = ()) -> None:
        self._slices = {(one.trial, one.first_epoch): one for one in slices}

    @classmethod
    def stored(cls, store: Store) -> "RestartCosts":
        """Return those of a study, from what `keep` has written."""
        return cls(
            SliceSeconds(number, **{**found, "epochs_s": tuple(found["epochs_s"])})
            for number, rows in store.checks(_KIND).items()
            for found in rows
        )

    def keep(self, one: SliceSeconds, store: Store) -> None:
        """Take a slice, and write it into the store."""
        self._slices[one.trial, one.first_epoch] = one
        found = {
            "first_epoch": one.first_epoch, "is_restart": one.is_restart, "beside_s": one.beside_s,
            "epochs_s": one.epochs_s,
        }  # fmt: skip
        store.add_check(one.trial, _KIND, one.first_epoch, found, durable=False)

    def estimate(self, numbers: Sequence[int]) -> tuple[float, dict[int, float]]:
        """Return the epochs that a start costs, and those that resuming each of some trials costs."""
        slices = list(self._slices.values())
        going_on = [one for one in slices if not one.is_restart]
        if not going_on:
            return 0.0, dict.fromkeys(numbers, 0.0)
        beside = max(0.0, median(one.beside_s for one in going_on))
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
            _stepped(start, typical + beside),
            {number: _stepped(resume, epoch.get(number, typical) + beside) for number in numbers},
        )

    @staticmethod
    def _restart_s(restarts: Sequence[SliceSeconds], epoch: dict[int, float], beside: float) -> float:
        """Return the seconds of a restart beyond those of going on."""
        found = [
            one.beside_s + one.epochs_s[0] - epoch[one.trial] - beside
            for one in restarts
            if one.trial in epoch
        ]
        return median(found) if len(found) >= _N_LEAST else 0.0


def _stepped(restart_s: float, epoch_s: float) -> float:
    """Return a ratio of seconds as a power of two, or 0 where it is small."""
    ratio = restart_s / max(epoch_s, _SHORTEST_S)
    return 2.0 ** round(math.log2(ratio)) if ratio >= _SMALLEST else 0.0
