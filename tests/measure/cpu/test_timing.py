"""The timing protocol on a replayed clock: a work is what it adds to the clock."""

import gc
from collections import Counter

import pytest
import torch

from hwopt.measure.cpu import timing
from hwopt.measure.cpu.contention import ContentionGuard, CounterReading
from hwopt.measure.cpu.timing import TimingProtocol, Workload, one_thread_without_gradients, second_smallest

MICROSECOND = 1000  # of the clock, which counts nanoseconds


class FakeClock:
    """A clock that only works and sleeping move, of a machine on which others use so many cores meanwhile."""

    def __init__(self, others=0.0):
        self.now = 0
        self.others = others
        self.own_s = self.others_s = 0.0
        self.slept_s = []

    def __call__(self):
        return self.now

    def read(self):
        """The machine's counters at this time."""
        self._account()
        return CounterReading(self.now * 1e-9, self.own_s, self.own_s + self.others_s)

    def _account(self, is_own=True):
        passed_s = self.now * 1e-9 - getattr(self, "_accounted_s", 0.0)
        self._accounted_s = self.now * 1e-9
        self.own_s += passed_s if is_own else 0.0
        self.others_s += passed_s * (self.others() if callable(self.others) else self.others)

    def sleep(self, seconds):
        """Pass the time without working."""
        self._account()
        self.now += round(seconds * 1e9)
        self.slept_s.append(seconds)
        self._account(is_own=False)

    def guard(self, **options):
        """A guard that reads this machine."""
        return ContentionGuard(self.read, sleep=self.sleep, **options)

    def work(self, nanoseconds):
        """A pass that takes so long; a callable decides each time."""

        def call(*operands):
            self.now += nanoseconds(*operands) if callable(nanoseconds) else nanoseconds

        return call


def time_workloads(workloads, protocol=None, clock=None, guard=None):
    """Time on the replayed machine, alone on it unless a guard says otherwise."""
    return timing.time_workloads(workloads, protocol, clock, guard or clock.guard())


def test_the_figure_is_the_time_of_one_pass():
    clock = FakeClock()
    workloads = [Workload("a", clock.work(20 * MICROSECOND)), Workload("b", clock.work(3_000 * MICROSECOND))]
    short, long = time_workloads(workloads, clock=clock)
    assert (short.time_s, long.time_s) == pytest.approx((20e-6, 3e-3))
    assert (short.n_passes, long.n_passes) == (35, 1)  # 0.7 ms a block, or one pass
    assert (short.status, short.n_blocks) == ("ok", 24)


def test_an_interruption_of_some_blocks_does_not_change_the_figure():
    clock, passes = FakeClock(), Counter()

    def mostly_quiet():
        passes["n"] += 1
        return 1_000 * MICROSECOND * (5 if passes["n"] % 4 == 0 else 1)

    (timing,) = time_workloads([Workload("a", clock.work(mostly_quiet))], clock=clock)
    assert timing.status == "ok"
    assert timing.time_s == pytest.approx(1e-3)


def test_rounds_that_disagree_give_no_number():
    clock = FakeClock()

    def slower_and_slower():
        return 1_000 * MICROSECOND + clock.now // 100

    (timing,) = time_workloads([Workload("a", clock.work(slower_and_slower))], clock=clock)
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

    workloads = [Workload("settling", clock.work(settles_down)), Workload("steady", clock.work(steady))]
    settled, _ = time_workloads(workloads, clock=clock)
    assert settled.status == "ok" and settled.time_s == pytest.approx(1e-3)
    assert passes["steady"] < passes["settling"]


def test_without_retries_a_contended_work_stays_contended():
    clock = FakeClock()
    workloads = [Workload("a", clock.work(lambda: MICROSECOND * 1_000 + clock.now // 100))]
    (timing,) = time_workloads(workloads, TimingProtocol(n_retries=0), clock)
    assert timing.n_blocks == 24 and timing.time_s is None


def test_operand_sets_are_used_in_turn():
    clock, used = FakeClock(), Counter()

    def note(operand):
        used[operand] += 1
        return 10 * MICROSECOND

    time_workloads([Workload("a", clock.work(note), [(name,) for name in "xyz"])], clock=clock)
    assert set(used) == set("xyz")
    assert max(used.values()) - min(used.values()) <= 1


def test_works_of_a_group_are_interleaved():
    clock, order = FakeClock(), []
    workloads = [Workload(n, clock.work(lambda n=n: order.append(n) or 1_000 * MICROSECOND)) for n in "ab"]
    time_workloads(workloads, TimingProtocol(n_warmup=0), clock)
    blocks = "".join(order).replace("a" * 8, "A").replace("b" * 8, "B")
    assert blocks.endswith("ABABAB") or blocks.endswith("BABAB")


def test_a_work_that_raises_is_failed_with_its_reason_and_the_others_go_on():
    clock = FakeClock()

    def broken():
        raise RuntimeError("shapes do not match\nmore lines")

    failed, fine = time_workloads(
        [Workload("a", broken), Workload("b", clock.work(MICROSECOND))], clock=clock
    )
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
        timing.time_workloads([Workload("a", lambda: None)], TimingProtocol(n_retries=0))
    assert torch.get_num_threads() == n_threads and torch.is_grad_enabled()
    assert gc.isenabled()


def test_a_steady_load_gives_no_number_although_the_rounds_agree():
    clock = FakeClock(others=0.93)
    (timing,) = time_workloads([Workload("a", clock.work(20_000 * MICROSECOND))], clock=clock)
    assert (timing.time_s, timing.status, timing.spread) == (None, "contended", 0)
    assert timing.reason == "other processes used 0.93 of a core"


def test_a_daemon_that_takes_a_few_percent_is_tolerated():
    clock = FakeClock(others=0.04)
    (timing,) = time_workloads([Workload("a", clock.work(20_000 * MICROSECOND))], clock=clock)
    assert timing.status == "ok"


def test_a_load_that_ends_while_waiting_lets_the_work_be_timed_again():
    clock = FakeClock()
    clock.others = lambda: 0.0 if clock.slept_s else 1.0
    (timing,) = time_workloads([Workload("a", clock.work(20_000 * MICROSECOND))], clock=clock)
    assert timing.status == "ok" and timing.time_s == pytest.approx(0.02)


def test_while_the_load_lasts_nothing_is_timed_again_and_waits_grow():
    clock, passes = FakeClock(others=1.0), Counter()

    def count():
        passes["n"] += 1
        return 20_000 * MICROSECOND

    (timing,) = time_workloads([Workload("a", clock.work(count))], TimingProtocol(n_retries=5), clock)
    assert timing.status == "contended"
    assert passes["n"] == 3 + 24  # one attempt: warm-up and three rounds
    assert clock.slept_s == [0.25, 0.5, 1.0, 2.0, 2.0]


def test_patience_bounds_all_waits_and_further_attempts_together():
    clock = FakeClock(others=1.0)
    guard = clock.guard(patience_s=0.4)
    workloads = [Workload("a", clock.work(20_000 * MICROSECOND))]
    for _ in range(5):
        time_workloads(workloads, TimingProtocol(n_retries=9), clock, guard)
    assert sum(clock.slept_s) == pytest.approx(0.4)
    assert guard.patience_s <= 0


def test_rounds_that_disagree_are_tried_again_without_a_wait():
    clock = FakeClock()
    workloads = [Workload("a", clock.work(lambda: MICROSECOND * 1_000 + clock.now // 100))]
    (timing,) = time_workloads(workloads, clock=clock)
    assert timing.status == "contended" and clock.slept_s == []


def test_reference_workloads_are_timed_in_each_group_and_their_judge_can_refuse_it():
    clock, seen = FakeClock(), []

    def judge(timings):
        seen.append([timing.time_s for timing in timings])
        return "'stream' took 1.31 of its best"

    guard = clock.guard(
        reference_workloads=[Workload("stream", clock.work(2_000 * MICROSECOND))], judge=judge
    )
    (timing,) = time_workloads(
        [Workload("a", clock.work(1_000 * MICROSECOND))], TimingProtocol(n_retries=1), clock, guard
    )
    assert seen == [[pytest.approx(2e-3)]] * 2
    assert (timing.time_s, timing.reason) == (None, "'stream' took 1.31 of its best")


def test_a_refused_group_keeps_the_reason_of_a_work_that_failed():
    clock = FakeClock(others=1.0)

    def broken():
        raise RuntimeError("shapes do not match")

    workloads = [Workload("a", broken), Workload("b", clock.work(20_000 * MICROSECOND))]
    failed, refused = time_workloads(workloads, clock=clock)
    assert (failed.status, failed.reason) == ("failed", "RuntimeError: shapes do not match")
    assert refused.status == "contended"


def test_an_infinite_agreement_refuses_nothing_for_ceilings_are_the_best_ever_seen():
    clock = FakeClock(others=1.0)
    workloads = [Workload("a", clock.work(20_000 * MICROSECOND))]
    (timing,) = time_workloads(workloads, TimingProtocol(agreement=float("inf")), clock)
    assert timing.time_s == pytest.approx(0.02)


def test_a_reference_workload_has_a_time_even_if_its_rounds_disagree():
    clock = FakeClock()
    workloads = [
        Workload("a", clock.work(lambda: MICROSECOND * 1_000 + clock.now // 100), agreement=float("inf"))
    ]
    (timing,) = time_workloads(workloads, clock=clock)
    assert timing.status == "ok" and timing.spread > 0.03
