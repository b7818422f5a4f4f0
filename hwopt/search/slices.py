"""Unfinished trainings of one search, and the slices that are trained next.

    ask --> Slice of a training (running) --> tell --> ready: larger value than its alternative --> ask
                                                  '--> paused: smaller value than its alternative

The state depends only on the observations and the number of stints so far, so a search that is restored from
these continues unchanged.
"""

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwopt.errors import InvalidInput, UnknownName, did_you_mean
from hwopt.search.freeze_thaw import FreezeThaw, PartialTraining, Stint, decision_epochs
from hwopt.search.state import SearchState, Selection
from hwopt.space.search_space import Config
from hwopt.units import counted

_TOLD = ("complete", "failed")  # statuses that a slice may be told with
_STREAM = 6  # stream of random numbers, distinct from that of proposals


@dataclass(frozen=True)
class Slice:
    """Next epochs of one training.

    Attributes:
        number: number of the training, from 0 in the order of beginning.
        config: its config.
        costs: its predicted costs.
        first_epoch: first epoch, counted from 1.
        last_epoch: last epoch.
        is_last: whether the training ends with this slice.
        begins_stint: whether the training is started or resumed by this slice.
        selection: selection of the config of a new training; None for others.
        stint: current stint, with the alternative that the training is compared with.
    """

    number: int
    config: Config
    costs: dict[str, float]
    first_epoch: int
    last_epoch: int
    is_last: bool
    begins_stint: bool
    stint: Stint
    selection: Selection | None = None

    @property
    def n_epochs(self) -> int:
        """Number of epochs of the slice."""
        return self.last_epoch - self.first_epoch + 1


class Slices:
    """Unfinished trainings of one search, by number.

    Args:
        rule: freeze-thaw rule of the search.
        seed: seed of the search.
    """

    def __init__(self, rule: FreezeThaw, seed: int) -> None:
        self.rule, self._seed = rule, seed
        self.trainings: dict[int, PartialTraining] = {}
        self.n_stints = 0
        self.n_begun = 0

    @property
    def partial(self) -> list[PartialTraining]:
        """Unfinished trainings by number."""
        return [self.trainings[number] for number in sorted(self.trainings)]

    def ask(self, state: SearchState, may_begin: bool = True) -> Slice | None:
        """Return the next slice; None if it would begin a training and `may_begin` is false."""
        for one in self.partial:
            if one.state == "ready":
                return self._go_on(one)
        decision = self.rule.decide(state, self.partial, self._rng(), may_begin)
        if decision is None:
            return None
        if decision.selection is None:
            assert decision.number is not None
            return self.resume(decision.number, decision.stint)
        costs = state.costs([decision.selection.config])
        known = {name: float(np.asarray(values)[0]) for name, values in costs.items()}
        return self.begin(decision.selection, known, decision.stint)

    def finish(self, state: SearchState, least_chance: float, most_epochs: float = np.inf) -> Slice | None:
        """Return a slice of the most promising paused training, which is then trained to its end.

        This is the one with the largest probability of entering the front per epoch, remaining ones and the
        cost of resuming it, among those of a probability of at least `least_chance` and at most `most_epochs`
        remaining epochs; None without one.
        """
        for one in self.partial:
            if one.state == "ready":
                return self._go_on(one)
        chances = self.rule.chances(state, self.partial)
        left = {one.number: max(1, self.rule.n_epochs - len(one.errors)) for one in self.partial}
        restarts = dict(zip(self.trainings, self.rule.resume_epochs([*self.trainings.values()]), strict=True))
        rates = {
            number: chance / (left[number] + restarts[number])
            for number, chance in chances.items()
            if chance >= least_chance and left[number] <= most_epochs
        }
        if not rates:
            return None
        return self.resume(max(rates, key=lambda number: rates[number]), Stint(-np.inf))

    def begin(self, selection: Selection, costs: dict[str, float], stint: Stint) -> Slice:
        """Begin a training of a config, and return its first slice."""
        number, self.n_begun, self.n_stints = self.n_begun, self.n_begun + 1, self.n_stints + 1
        self.trainings[number] = PartialTraining(number, selection.config, costs, stint=stint)
        return self._slice(self.trainings[number], begins_stint=True, selection=selection)

    def resume(self, number: int, stint: Stint) -> Slice:
        """Resume a paused training, and return its next slice."""
        self.n_stints += 1
        one = replace(self.trainings[number], state="running", stint=stint)
        self.trainings[number] = one
        return self._slice(one, begins_stint=True)

    def expect_restarts(self, start: float, resume: Mapping[int, float]) -> None:
        """Set the cost of starting a training and of resuming some paused ones, in epochs."""
        self.rule = replace(self.rule, restart_epochs=start)
        for number, restart_epochs in resume.items():
            self.trainings[number] = replace(self.trainings[number], restart_epochs=restart_epochs)

    def take(self, number: int, errors: Sequence[float]) -> None:
        """Add errors of a running training with epochs left."""
        one = self.trainings[number]
        self.trainings[number] = replace(one, errors=(*one.errors, *errors))

    def judge(self, state: SearchState, number: int) -> bool:
        """Return whether a running training continues, and make it ready or paused."""
        rng = np.random.default_rng([self._seed, _STREAM, self.n_stints, 1])
        goes_on = self.rule.goes_on(state, self.partial, number, rng)
        if goes_on:
            self.make_ready(number)
        else:
            self.trainings[number] = replace(self.trainings[number], state="paused", stint=None)
        return goes_on

    def make_ready(self, number: int) -> None:
        """Make a running training ready for its next epochs."""
        self.trainings[number] = replace(self.trainings[number], state="ready")

    def pause_all(self) -> None:
        """Pause all ready trainings."""
        for one in self.partial:
            if one.state == "ready":
                self.trainings[one.number] = replace(one, state="paused", stint=None)

    def end(self, number: int) -> None:
        """Remove an ended training."""
        self.trainings.pop(number, None)

    def rewind(self, number: int, n_epochs: int) -> None:
        """Remove the epochs of a training after the first `n_epochs`, which are trained again."""
        one = self.trainings[number]
        self.trainings[number] = replace(one, errors=one.errors[:n_epochs])

    def restore(self, training: PartialTraining) -> None:
        """Add an unfinished training of an earlier process."""
        self.trainings[training.number] = training

    def asked(self, one: PartialTraining) -> Slice:
        """Return the slice of a running training that `ask` returned last."""
        return self._slice(one, begins_stint=False)

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng([self._seed, _STREAM, self.n_stints])

    def _go_on(self, one: PartialTraining) -> Slice:
        self.trainings[one.number] = one = replace(one, state="running")
        return self._slice(one, begins_stint=False)

    def _slice(self, one: PartialTraining, begins_stint: bool, selection: Selection | None = None) -> Slice:
        """Return the epochs of a training up to its next decision."""
        k, n_epochs = len(one.errors), self.rule.n_epochs
        last = next((epoch for epoch in decision_epochs(n_epochs) if epoch > k), max(n_epochs, k + 1))
        assert one.stint is not None
        return Slice(
            one.number,
            one.config,
            one.costs,
            k + 1,
            last,
            last >= n_epochs,
            begins_stint,
            one.stint,
            selection,
        )


def check_asked(slices: Slices | None, part: Slice) -> None:
    """Raise InvalidInput unless this slice is in training."""
    if not isinstance(part, Slice):
        raise InvalidInput(f"tell_slice: part = {reprlib.repr(part)}; give the slice that ask_slice returned")
    known = slices.trainings.get(part.number) if slices is not None else None
    if slices is None or known is None or known.state != "running":
        why = "it has ended, or never began" if known is None else "it was told; ask_slice gives it again"
        raise InvalidInput(f"tell_slice: training {part.number} is not in training: {why}")
    asked = slices.asked(known)
    if part.config != known.config:
        raise InvalidInput(
            f"tell_slice: training {part.number} has the config {known.config}, not {part.config}; tell a "
            "slice to the optimizer that returned it"
        )
    if (part.first_epoch, part.last_epoch) != (asked.first_epoch, asked.last_epoch):
        raise InvalidInput(
            f"tell_slice: epochs {part.first_epoch} to {part.last_epoch} of training {part.number}, of which "
            f"epochs {asked.first_epoch} to {asked.last_epoch} are in training; tell the slice that "
            "ask_slice returned last for it"
        )


def check_status(status: str | None, is_without_errors: bool) -> None:
    """Raise an error for an unknown status of a slice, or one that contradicts its errors."""
    if status is not None and status not in _TOLD:
        raise UnknownName(
            f"tell_slice: no status {status!r}{did_you_mean(str(status), _TOLD)}; leave it out if the "
            "training goes on"
        )
    if is_without_errors and status == "complete":
        raise InvalidInput(
            'tell_slice: status="complete" without errors; tell those of the epochs that ran, or '
            'status="failed"'
        )


def check_errors(part: Slice, errors: Sequence[float], ended: bool) -> None:
    """Raise InvalidInput if the number of errors does not match the slice."""
    if len(errors) > part.n_epochs or not errors or (len(errors) < part.n_epochs and not ended):
        raise InvalidInput(
            f"tell_slice: {counted(len(errors), 'error')} for epochs {part.first_epoch} to "
            f'{part.last_epoch}; tell one per epoch, or status="complete" (it ended early) or "failed"'
        )
