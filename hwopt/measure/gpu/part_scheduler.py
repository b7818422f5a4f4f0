"""Parts of a campaign in turns, by their shares of the time: whenever it ends, each part had its share.

    networks   |====|        |====|    |====|
    operators        |=|=|=|       |=|       |=|=|
    repeats               |=|                  |=|

The part that is furthest behind its share of the time goes on with its next item.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from hwopt.measure.campaign import Deadline

_FORGET = 0.8  # of the longest item so far, with each further one
Item = Callable[[], None]


class CampaignPart(Protocol):
    """A part of a campaign.

    Attributes:
        name: for messages, in the plural.
        share: of the time, above 0; shares need not add up to 1.
        n_done: items that were measured in this run.
    """

    name: str
    share: float
    n_done: int

    def take(self) -> Item | None:
        """Return the next item, which measures and writes when called; None where there is none now."""


def run_in_turns(parts: Sequence[CampaignPart], deadline: Deadline, after_each: Callable[[], None]) -> bool:
    """Run the items of all parts, each part for its share of the time, until nothing is left or fits.

    An item is begun where one as long as the longer ones of its part ends before the deadline.

    Args:
        parts: in the order in which they begin.
        deadline: when to stop.
        after_each: called after each item.

    Returns:
        Whether everything was done; otherwise the time is up.
    """
    turns = [_Turn(part) for part in parts]
    while True:
        due = sorted(turns, key=lambda turn: turn.spent_s / turn.part.share)
        ready = [turn for turn in due if turn.has_item()]
        fitting = next((turn for turn in ready if deadline.allows(turn.longest_s, 1.0)), None)
        if fitting is None:
            return not ready
        fitting.run(deadline)
        after_each()


class _Turn:
    """A part with the seconds that it had."""

    def __init__(self, part: CampaignPart) -> None:
        self.part = part
        self.spent_s = self.longest_s = 0.0
        self._item: Item | None = None

    def has_item(self) -> bool:
        if self._item is None:
            self._item = self.part.take()
        return self._item is not None

    def run(self, deadline: Deadline) -> None:
        assert self._item is not None
        item, self._item = self._item, None
        begin_s = deadline.elapsed_s
        item()
        seconds = deadline.elapsed_s - begin_s
        self.spent_s += seconds
        self.longest_s = max(_FORGET * self.longest_s, seconds)
        self.part.n_done += 1
