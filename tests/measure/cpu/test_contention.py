"""Contention from replayed counters and files; reference workloads on a replayed clock."""

import csv
import os

import numpy as np
import pytest
import torch

from hwopt.errors import InvalidInput
from hwopt.measure.cpu.contention import (
    ContentionLimits,
    CounterReading,
    clock_hz,
    contention_between,
    describe_counters,
    read_counters,
)
from hwopt.measure.cpu.reference_workloads import (
    TOLERANCES,
    MonitoredTimer,
    best_times_s,
    choose_repeats,
    make_reference_workloads,
)
from hwopt.measure.cpu.timing import Workload
from tests.measure.cpu.test_timing import MICROSECOND, FakeClock

START = CounterReading(100.0, 5.0, 1000.0, 7)


def later(wall_s, own_s, busy_s=None, n_preemptions=0):
    busy_s = None if busy_s is None else START.busy_s + busy_s
    return CounterReading(
        START.wall_s + wall_s, START.own_s + own_s, busy_s, START.n_preemptions + n_preemptions
    )


def test_what_all_cores_did_less_what_this_process_did_is_what_others_did():
    assert contention_between(START, later(1.0, 1.0, 1.93)) == "other processes used 0.93 of a core"
    assert contention_between(START, later(1.0, 1.0, 4.5)) == "other processes used 3.50 of a core"
    assert contention_between(START, later(1.0, 1.0, 1.0)) == ""


def test_preemptions_are_told_with_the_reason():
    reason = contention_between(START, later(1.0, 1.0, 1.5, n_preemptions=12))
    assert reason == "other processes used 0.50 of a core, 12 preemptions"
    assert contention_between(START, later(1.0, 1.0, 1.0, n_preemptions=12)) == ""


@pytest.mark.parametrize("wall_s", [0.08, 0.3, 3.0])
def test_a_busy_core_is_noticed_and_the_steps_of_the_counters_are_not(wall_s):
    step_s = 0.01
    for error_s in (-2 * step_s, 0.0, 2 * step_s):  # one step for each of two cores
        assert contention_between(START, later(wall_s, wall_s, wall_s + error_s)) == ""
        assert contention_between(START, later(wall_s, wall_s, 2 * wall_s + error_s)) != ""


def test_a_process_that_did_not_get_its_core_is_noticed_without_other_counters():
    before = CounterReading(0.0, 0.0)
    assert contention_between(before, CounterReading(1.0, 0.6)) == "this process got only 0.60 of a core"
    assert contention_between(before, CounterReading(1.0, 0.97)) == ""
    assert contention_between(before, CounterReading(1.0, 0.0), is_working=False) == ""


def test_limits_without_bound_refuse_nothing():
    anything = ContentionLimits(others_cores=float("inf"), own_cores=0.0)
    assert contention_between(START, later(1.0, 0.1, 9.0), anything) == ""


def test_busy_time_counts_steal_and_interrupts_but_neither_idle_nor_guests_twice(tmp_path):
    stat, tick = tmp_path / "stat", os.sysconf("SC_CLK_TCK")
    stat.write_text("cpu  100 20 3 5000 600 7 8 9 50 60\ncpu0 1 1 1 1\n")
    assert read_counters(stat).busy_s == pytest.approx((100 + 20 + 3 + 7 + 8 + 9) / tick)


@pytest.mark.parametrize("text", ["", "cpu  a b c\n", "intr 1 2 3\n"])
def test_counters_that_cannot_be_read_are_none_not_zero(tmp_path, text):
    (tmp_path / "stat").write_text(text)
    assert read_counters(tmp_path / "stat").busy_s is None
    assert read_counters(tmp_path / "absent").busy_s is None


def readings(busy_per_s):
    """A machine that is read every 0.05 s and whose busy counter advances by so much a second."""
    now = {"s": 0.0}

    def read():
        now["s"] += 0.05
        return CounterReading(now["s"], now["s"], None if busy_per_s is None else busy_per_s * now["s"])

    return read


def test_the_description_says_which_loads_can_be_noticed():
    assert describe_counters(readings(1.0))["others_cpu"] is True
    absent = describe_counters(readings(None), platform="darwin")
    assert absent["others_cpu"] is False and "is not readable on darwin" in absent["reason"]
    frozen = describe_counters(readings(0.0))
    assert frozen["others_cpu"] is False and "does not count this process" in frozen["reason"]


def test_the_clock_is_the_highest_of_any_core_or_unknown(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("model name : Some CPU\ncpu MHz\t\t: 2596.124\ncpu MHz\t\t: 3100.5\n")
    assert clock_hz(info, tmp_path) == pytest.approx(3.1005e9)
    for core, khz in enumerate((1_800_000, 2_400_000)):
        folder = tmp_path / f"cpu{core}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_cur_freq").write_text(f"{khz}\n")
    assert clock_hz(info, tmp_path) == 2.4e9
    assert clock_hz(tmp_path / "absent", tmp_path / "absent") is None


class Machine(FakeClock):
    """A replayed machine whose speed can be set: all works take `factor` times as long."""

    factor = 1.0

    def workloads(self, names, microseconds=1_000):
        call = self.work(lambda: round(microseconds * MICROSECOND * self.factor))
        return [Workload(name, call) for name in names]

    def timer(self, path, **options):
        reference_workloads = self.workloads(TOLERANCES)
        return MonitoredTimer(
            path,
            reference_workloads=reference_workloads,
            read=self.read,
            sleep=self.sleep,
            clock=self,
            **options,
        )


def test_a_machine_that_became_slower_is_refused_with_the_reference_workload_and_its_ratio(tmp_path):
    machine = Machine()
    with machine.timer(tmp_path / "repeats.csv", patience_s=1.0) as timer:
        assert timer.time(machine.workloads("ab"))[0].status == "ok"
        machine.factor = 1.31
        first, second = timer.time(machine.workloads("ab"))
    assert first.status == second.status == "contended" and first.time_s is None
    assert "reference workload 'product' took 1.31 of its best time: the machine is slower" in first.reason


def test_a_resumed_run_on_a_slower_machine_notices(tmp_path):
    machine = Machine()
    with machine.timer(tmp_path / "repeats.csv"):
        pass
    machine.factor = 1.2
    with machine.timer(tmp_path / "repeats.csv", patience_s=1.0) as timer:
        assert timer.time(machine.workloads("a"))[0].status == "contended"
    with machine.timer(tmp_path / "another.csv") as timer:
        assert timer.time(machine.workloads("a"))[0].status == "ok"


def test_a_reference_workload_within_its_tolerance_refuses_nothing(tmp_path):
    machine = Machine()
    with machine.timer(tmp_path / "repeats.csv") as timer:
        machine.factor = 1 + 0.9 * min(TOLERANCES.values())
        assert timer.time(machine.workloads("a"))[0].status == "ok"


def test_a_slowed_machine_that_is_accepted_gives_figures_marked_as_shared(tmp_path):
    machine = Machine()
    with machine.timer(tmp_path / "repeats.csv", accepts=True) as timer:
        assert timer.time(machine.workloads("a"))[0].status == "ok"
        machine.factor = 1.4
        (timing,) = timer.time(machine.workloads("b"))
        assert timing.status == "shared" and timing.time_s is not None


def test_reference_workloads_and_repeats_are_written_down_with_their_ratios(tmp_path):
    machine, path = Machine(), tmp_path / "repeats.csv"
    with machine.timer(path) as timer:
        (before,) = timer.time(machine.workloads(["a"]))
        machine.factor = 1.02
        timer.repeat(
            [Workload(("conv2d", 1, 8), machine.workloads("a")[0].call)], [before.time_s], "layers.csv"
        )
    with path.open() as file:
        rows = list(csv.DictReader(file))
    (repeat,) = [row for row in rows if row["role"] == "repeat"]
    assert (repeat["key"], repeat["file"]) == ("conv2d 1 8", "layers.csv")
    assert float(repeat["ratio"]) == pytest.approx(1.02) and repeat["status"] == "ok"
    reference_workloads = [row for row in rows if row["role"] == "sentinel"]
    assert {row["key"] for row in reference_workloads} == set(TOLERANCES)
    elapsed_s = [float(row["elapsed_s"]) for row in reference_workloads]
    assert elapsed_s == sorted(elapsed_s) and elapsed_s[-1] > 0


def test_a_timer_without_a_file_refuses_too():
    machine = Machine()
    with machine.timer(None, patience_s=1.0) as timer:
        machine.factor = 1.5
        assert timer.time(machine.workloads("a"))[0].status == "contended"


def test_a_reference_is_the_best_time_and_a_line_that_was_cut_is_passed_over(tmp_path):
    path = tmp_path / "repeats.csv"
    lines = ["role,key,time_s,status,ratio", "sentinel,product,2e-3,ok,1", "sentinel,product,1e-3,ok,0.5"]
    path.write_text("\n".join([*lines, "repeat,product,1e-9,ok,1", "sentinel,product,1"]))
    assert best_times_s(path) == {"product": 1e-3}
    assert best_times_s(tmp_path / "absent") == {}
    path.write_text("\n".join([*lines, "sentinel,product,fast,ok,1"]))
    with pytest.raises(InvalidInput, match=r"line 4: time_s = 'fast'; it must be a finite number"):
        best_times_s(path)


def test_a_twentieth_of_the_rows_is_measured_again_and_at_least_one():
    chosen = choose_repeats(200, np.random.default_rng(0))
    assert len(chosen) == len(set(chosen)) == 10 and max(chosen) < 200
    assert choose_repeats(3, np.random.default_rng(0)) != [] == choose_repeats(0, np.random.default_rng(0))


def test_reference_workloads_are_the_same_in_every_run_and_each_has_a_tolerance():
    once, again = make_reference_workloads(), make_reference_workloads()
    assert {work.key for work in once} == set(TOLERANCES)
    for one, other in zip(once, again, strict=True):
        result, expected = one.call(*one.operands[0]), other.call(*other.operands[0])
        assert torch.equal(result, expected)
