"""Schedule the parts of a campaign by shares of the time, so that an interrupted run is balanced.

    networks   |====|        |====|    |====|
    operators        |=|=|=|       |=|       |=|=|
    repeats               |=|                  |=|

The next item is of the part that is furthest behind its share of the time.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from hwopt.measure.campaign import Deadline

_FORGET = 0.8  # decay of a part's longest item with each further item
Item = Callable[[], None]


class CampaignPart(Protocol):
    """A part of a campaign.

    Attributes:
        name: name in messages, in the plural.
        share: share of the time, above 0; shares need not add up to 1.
        n_done: items measured in this run.
    """

    name: str
    share: float
    n_done: int

    def take(self) -> Item | None:
        """Return the next item, a function that measures and writes rows; None if there is none now."""


def run_in_turns(parts: Sequence[CampaignPart], deadline: Deadline, after_each: Callable[[], None]) -> bool:
    """Run the items of all parts, each part for its share of the time, until none is left or fits.

    An item is started only if the longest recent item of its part would end before the deadline.

    Args:
        parts: parts in the order in which they start.
        deadline: time budget of the run.
        after_each: called after each item.

    Returns:
        True if all items are done, False if the time is up.
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
    """A part with the seconds spent on it."""

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
