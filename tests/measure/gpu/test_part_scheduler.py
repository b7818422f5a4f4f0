"""Parts of a campaign take turns by their shares of the time, whenever it ends."""

from functools import partial

import pytest

from hwopt.measure.background_work import BackgroundResult
from hwopt.measure.campaign import Deadline
from hwopt.measure.energy.sensors.simulated import VirtualClock
from hwopt.measure.gpu.part_scheduler import run_in_turns


class Fixed:
    """A part of items that take a time each."""

    def __init__(self, name, share, clock, *seconds):
        self.name, self.share, self.n_done = name, share, 0
        self._clock, self._seconds = clock, list(seconds)
        self.ended_s = []

    def take(self):
        return partial(self._run, self._seconds.pop(0)) if self._seconds else None

    def _run(self, seconds):
        self._clock.sleep(seconds)
        self.ended_s.append(self._clock.now())


def run(budget_s, clock, *parts):
    return run_in_turns(parts, Deadline(budget_s, clock.now), lambda: None)


@pytest.mark.parametrize("budget_s", [20, 100, 500])
def test_each_part_has_its_share_of_a_run_of_any_length(budget_s):
    clock = VirtualClock()
    slow, quick = Fixed("slow", 0.6, clock, *[3.0] * 999), Fixed("quick", 0.4, clock, *[0.5] * 9999)
    assert not run(budget_s, clock, slow, quick)
    assert 3.0 * slow.n_done == pytest.approx(0.6 * budget_s, abs=3.1)
    assert 0.5 * quick.n_done == pytest.approx(0.4 * budget_s, abs=3.1)
    assert budget_s - 0.5 <= clock.now() <= budget_s


def test_what_a_part_leaves_the_others_have_and_the_end_is_told():
    clock = VirtualClock()
    few, many = Fixed("few", 0.9, clock, 1.0), Fixed("many", 0.1, clock, *[1.0] * 5)
    assert run(100, clock, few, many)
    assert (few.n_done, many.n_done) == (1, 5)


def test_an_item_is_begun_only_where_one_like_the_longest_fits():
    clock = VirtualClock()
    part = Fixed("part", 1.0, clock, 4.0, 4.0, 4.0)
    assert not run(10, clock, part)
    assert part.ended_s == [4.0, 8.0]


def test_the_tail_of_a_run_goes_to_the_part_whose_items_still_fit():
    clock = VirtualClock()
    long, short = Fixed("long", 0.99, clock, *[10.0] * 9), Fixed("short", 0.01, clock, *[0.5] * 99)
    assert not run(29, clock, long, short)
    assert long.n_done == 2 and clock.now() == pytest.approx(29, abs=0.5)


def test_a_part_that_has_nothing_yet_is_asked_again():
    clock = VirtualClock()
    first, later = Fixed("first", 0.5, clock, 1.0, 1.0), Fixed("later", 0.5, clock, 1.0)
    take = later.take
    later.take = lambda: take() if first.n_done else None
    assert run(100, clock, first, later)
    assert later.ended_s == [2.0]


def test_what_is_made_beside_takes_no_time_of_its_own_where_there_is_other_work():
    clock = VirtualClock()
    made = BackgroundResult(clock, lambda: clock.sleep(3.0) or "built")
    made.start()
    made.start()
    clock.sleep(5.0)
    assert made.result() == "built" and clock.now() == pytest.approx(5.0, abs=1e-3)


def test_what_making_beside_raised_is_raised_where_the_result_is_wanted():
    def fail():
        raise KeyError("no such layer")

    made = BackgroundResult(VirtualClock(), fail)
    with pytest.raises(KeyError, match="no such layer"):
        made.result()
