"""The timing protocol on a replayed clock: a work is what it adds to the clock."""

import gc
from collections import Counter

import pytest
import torch

from hwopt.device.cpu import Protocol, Work, one_thread_without_gradients, second_smallest, time_works

MICROSECOND = 1000  # of the clock, which counts nanoseconds


class FakeClock:
    """A clock that only works move."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now

    def work(self, nanoseconds):
        """A pass that takes so long; a callable decides each time."""

        def call(*operands):
            self.now += nanoseconds(*operands) if callable(nanoseconds) else nanoseconds

        return call


def test_the_figure_is_the_time_of_one_pass():
    clock = FakeClock()
    works = [Work("a", clock.work(20 * MICROSECOND)), Work("b", clock.work(3_000 * MICROSECOND))]
    short, long = time_works(works, clock=clock)
    assert (short.time_s, long.time_s) == pytest.approx((20e-6, 3e-3))
    assert (short.n_passes, long.n_passes) == (35, 1)  # 0.7 ms a block, or one pass
    assert (short.status, short.n_blocks) == ("ok", 24)


def test_an_interruption_of_some_blocks_does_not_change_the_figure():
    clock, passes = FakeClock(), Counter()

    def mostly_quiet():
        passes["n"] += 1
        return 1_000 * MICROSECOND * (5 if passes["n"] % 4 == 0 else 1)

    (timing,) = time_works([Work("a", clock.work(mostly_quiet))], clock=clock)
    assert timing.status == "ok"
    assert timing.time_s == pytest.approx(1e-3)


def test_rounds_that_disagree_give_no_number():
    clock = FakeClock()

    def slower_and_slower():
        return 1_000 * MICROSECOND + clock.now // 100

    (timing,) = time_works([Work("a", clock.work(slower_and_slower))], clock=clock)
    assert timing.status == "contended"
    assert timing.time_s is None
    assert "rounds disagree by" in timing.reason and timing.spread > 0.03


def test_a_contended_work_is_tried_again_and_the_others_are_not():
    clock, passes = FakeClock(), Counter()

    def settles_down():
        passes["settling"] += 1
        return MICROSECOND * (2_000 - 40 * passes["settling"] if passes["settling"] < 25 else 1_000)

    def steady():
        passes["steady"] += 1
        return 1_000 * MICROSECOND

    works = [Work("settling", clock.work(settles_down)), Work("steady", clock.work(steady))]
    settled, _ = time_works(works, clock=clock)
    assert settled.status == "ok" and settled.time_s == pytest.approx(1e-3)
    assert passes["steady"] < passes["settling"]


def test_without_retries_a_contended_work_stays_contended():
    clock = FakeClock()
    works = [Work("a", clock.work(lambda: MICROSECOND * 1_000 + clock.now // 100))]
    (timing,) = time_works(works, Protocol(n_retries=0), clock)
    assert timing.n_blocks == 24 and timing.time_s is None


def test_operand_sets_are_used_in_turn():
    clock, used = FakeClock(), Counter()

    def note(operand):
        used[operand] += 1
        return 10 * MICROSECOND

    time_works([Work("a", clock.work(note), [(name,) for name in "xyz"])], clock=clock)
    assert set(used) == set("xyz")
    assert max(used.values()) - min(used.values()) <= 1


def test_works_of_a_group_are_interleaved():
    clock, order = FakeClock(), []
    works = [Work(n, clock.work(lambda n=n: order.append(n) or 1_000 * MICROSECOND)) for n in "ab"]
    time_works(works, Protocol(n_warmup=0), clock)
    blocks = "".join(order).replace("a" * 8, "A").replace("b" * 8, "B")
    assert blocks.endswith("ABABAB") or blocks.endswith("BABAB")


def test_a_work_that_raises_is_failed_with_its_reason_and_the_others_go_on():
    clock = FakeClock()

    def broken():
        raise RuntimeError("shapes do not match\nmore lines")

    failed, fine = time_works([Work("a", broken), Work("b", clock.work(MICROSECOND))], clock=clock)
    assert (failed.status, failed.time_s) == ("failed", None)
    assert failed.reason == "RuntimeError: shapes do not match"
    assert fine.status == "ok"


def test_the_second_smallest_of_one_value_is_that_value():
    assert second_smallest([3.0]) == 3.0
    assert second_smallest([3.0, 1.0, 2.0]) == 2.0


def test_the_garbage_collector_and_the_threads_are_as_before():
    n_threads = torch.get_num_threads()
    with one_thread_without_gradients():
        assert torch.get_num_threads() == 1 and not torch.is_grad_enabled()
        time_works([Work("a", lambda: None)])
    assert torch.get_num_threads() == n_threads and torch.is_grad_enabled()
    assert gc.isenabled()
