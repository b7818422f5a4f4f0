"""The protocol in the machine's own time, with known power: readings of 5 ms, ticks of 100 ms.

What virtual time cannot show: threads, moments that have passed already, readings that take what they take.
"""

import threading
import time

import numpy as np
import pytest

from hwopt.measure.energy.characterization.square_wave import WaveMaker, tail_s
from hwopt.measure.energy.counter_timeline import CounterTimeline
from hwopt.measure.energy.measurement import WindowPlan, measure_energy
from hwopt.measure.energy.polling import Poller, ask_beside
from hwopt.measure.energy.sensors.meter import DeviceState, SensorError, SystemClock
from hwopt.measure.energy.sensors.unwrapped_counter import UnwrappedCounter

BUSY_W, IDLE_W, PERIOD_S, READ_S, STATE_S = 400.0, 100.0, 0.1, 5e-3, 0.03
PASS_S, N_PASSES, IN_FLIGHT = 5e-4, 7, 4  # as a GPU's loop has them


class Board:
    """A device that works on what is queued, and a counter that shows its energy at every tick."""

    def __init__(self):
        self.lock = threading.Lock()
        self.begin_s = time.perf_counter()
        self.busy = []  # spans of work, [begin, end]
        self.ends = []  # of replays

    def launch(self):
        now = time.perf_counter()
        with self.lock:
            begin = max(now, self.busy[-1][1] if self.busy else now)
            if self.busy and begin == self.busy[-1][1]:
                self.busy[-1][1] = begin + PASS_S * N_PASSES
            else:
                self.busy.append([begin, begin + PASS_S * N_PASSES])
            self.ends.append(self.busy[-1][1])

    def n_done(self):
        return int(np.searchsorted(self.ends, time.perf_counter()))

    def energy_j(self, at_s):
        with self.lock:
            busy_s = sum(max(0.0, min(end, at_s) - begin) for begin, end in self.busy if begin < at_s)
        return IDLE_W * (at_s - self.begin_s) + (BUSY_W - IDLE_W) * busy_s


class FakeLoop:
    n_passes, mode, mode_reason, memory_bytes = N_PASSES, "graph", "", 1000

    def __init__(self, board, in_flight=IN_FLIGHT):
        self.board, self.in_flight = board, in_flight

    def replay(self):
        if len(self.board.ends) - self.board.n_done() >= self.in_flight:
            time.sleep(2e-4)
            return
        self.board.launch()

    def n_replayed(self):
        return self.board.n_done()

    def synchronize(self):
        if self.board.ends:
            time.sleep(max(0.0, self.board.ends[-1] - time.perf_counter()))

    def time_replays(self, n):
        for _ in range(n):
            self.board.launch()
        self.synchronize()
        return [PASS_S] * n

    time_eager = time_replays

    def close(self):
        """Nothing is held."""


class FakeMeter:
    """A counter of 1 mJ that shows the energy of the last tick; every answer takes its time."""

    name, resolution_j = "fake", 1e-3

    def __init__(self, board):
        self.board, self.counter = board, UnwrappedCounter(1e-3)
        self.asked_state_s = []

    def energy_j(self):
        return self.counter.read(self._count)

    def _count(self):
        time.sleep(READ_S / 2)
        n = np.floor((time.perf_counter() - self.board.begin_s) / PERIOD_S)
        count = int(self.board.energy_j(self.board.begin_s + n * PERIOD_S) * 1e3)
        time.sleep(READ_S / 2)
        return count

    def power_w(self):
        raise SensorError("not_supported")

    def state(self):
        self.asked_state_s.append(time.perf_counter())
        time.sleep(STATE_S)
        return DeviceState()

    def close(self):
        """Nothing is held."""


@pytest.fixture
def board():
    return Board()


def test_known_power_is_measured_beside_readings_of_five_milliseconds(board):
    loop, meter = FakeLoop(board, in_flight=60), FakeMeter(board)  # so many that a busy machine keeps up
    plan = WindowPlan(window_s=0.49, preroll_s=0.2, period_s=PERIOD_S, sampling_share=1.0)
    reading = measure_energy(loop, meter, SystemClock(), plan, is_steady=True)
    assert (reading.status, reading.reason) == ("ok", "")
    window = board.busy[-1]
    assert window[1] - window[0] > 0.49 + 0.2  # one span of work: the device was never kept waiting
    assert reading.power_w == pytest.approx(BUSY_W, rel=0.01)
    assert reading.loop_time_s == pytest.approx(PASS_S, rel=0.01)
    assert reading.n_updates == 5
    first, last = meter.asked_state_s
    assert first <= window[0] and last - first > 0.49  # no state was asked in the window


def test_a_moment_that_has_passed_is_not_waited_for(board):
    SystemClock().sleep(-1.0)
    loop, meter, clock = FakeLoop(board), FakeMeter(board), SystemClock()
    maker = WaveMaker(loop, meter, clock, 1.0, tail_s(loop, clock, 0.02), CounterTimeline(PERIOD_S))
    wave = maker.wave(0.1, 0.2)  # begins at a step, which is over when it is known
    assert 0 < wave.duty < 1
    plan = WindowPlan(window_s=0.2, preroll_s=0.05, period_s=PERIOD_S, sampling_share=0.25, n_phases=2)
    assert measure_energy(loop, meter, clock, plan, 0.2).status in ("ok", "suspect")


def test_two_readers_never_see_the_counter_go_back():
    hardware = iter(range(10**6))

    def count():
        value = next(hardware)
        time.sleep(1e-4 * (value % 3))  # a later reading may be answered earlier
        return value

    counter, seen, errors = UnwrappedCounter(1.0), [], []

    def read():
        try:
            for _ in range(60):
                seen.append(counter.read(count))
        except SensorError as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and sorted(seen) == list(range(240))


def test_the_reader_ends_with_its_poller_and_what_it_raises_is_raised_where_it_is_used(board):
    meter = FakeMeter(board)
    n_threads = threading.active_count()
    with Poller(meter, SystemClock()) as poller:
        poller.poll_for(0.02)
        assert threading.active_count() == n_threads + 1
    time.sleep(0.05)
    assert threading.active_count() == n_threads
    meter.counter.read = lambda count: 1 / 0
    with (
        pytest.raises(SensorError, match="read_failed: ZeroDivisionError"),
        Poller(meter, SystemClock()) as poller,
    ):
        poller.poll_for(0.2)


def test_a_question_that_takes_long_is_answered_while_the_device_is_kept_busy(board):
    loop = FakeLoop(board)
    answer = ask_beside(SystemClock(), lambda: time.sleep(0.05) or "fine", loop.replay)
    assert answer == "fine" and len(board.busy) == 1 and board.n_done() > 5

    def fail():
        raise SensorError("device_lost")

    with pytest.raises(SensorError, match="device_lost"):
        ask_beside(SystemClock(), fail, loop.replay)
