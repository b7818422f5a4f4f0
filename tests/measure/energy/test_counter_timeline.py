"""Steps of an exact period lie on a line; slow readings leave it known to under a millisecond."""

import numpy as np
import pytest

from hwopt.measure.energy.counter_timeline import CounterTimeline
from hwopt.measure.energy.polling import CounterStep
from hwopt.measure.energy.sensors.virtual_clock import VirtualClock

PERIOD_S = 0.099997


def seen(t0_s, n, rng, read_s=(0.01, 0.01), jitter_s=0.0, period_s=PERIOD_S):
    """Return what polling sees of n steps from a moment on, with readings that look in their middle."""
    moments = t0_s + np.arange(n + 1) * period_s + jitter_s * (rng.random(n + 1) - 0.5)
    now, steps, last = t0_s - 0.03 * rng.random() - 0.01, [], None
    while len(steps) < n:
        length = rng.uniform(*read_s)
        value = int(np.searchsorted(moments, now + length / 2))
        if last is not None and value != last[1]:
            steps.append(CounterStep(last[0], now + length, float(value)))
        last, now = (now, value), now + length + 5e-4
    return steps


def errors_s(placed, t0_s):
    turns = np.array([(step.time_s - t0_s) / PERIOD_S for step in placed])
    return (turns - np.round(turns)) * PERIOD_S


@pytest.mark.parametrize("read_s", [(0.01, 0.01), (0.004, 0.010)])
def test_a_step_is_known_to_under_a_millisecond_with_readings_of_ten(read_s):
    rng, known, alone, lengths = np.random.default_rng(0), [], [], []
    for _ in range(100):
        t0_s = rng.random()
        timeline = CounterTimeline(PERIOD_S * (1 + 1e-4 * rng.standard_normal()))
        alone.extend(errors_s(CounterTimeline(timeline.period_s).place(seen(t0_s, 8, rng, read_s)), t0_s))
        timeline.place(seen(t0_s, 60, rng, read_s))  # what a characterization saw
        window = timeline.place(seen(t0_s + 75 * PERIOD_S, 8, rng, read_s))
        known.extend(errors_s(window, t0_s))
        lengths.append((window[-1].time_s - window[0].time_s) / (7 * PERIOD_S) - 1)
    assert np.sqrt(np.mean(np.square(known))) < 0.6e-3
    assert np.mean(np.abs(known) < 1e-3) > 0.9
    assert np.sqrt(np.mean(np.square(alone))) < 1e-3  # the middles of bounds alone err by 3 ms
    assert np.abs(lengths).max() < 3e-4  # so the power of a window errs by less


def test_a_counter_with_jitter_keeps_the_moments_that_polling_gave():
    rng = np.random.default_rng(0)
    steps = seen(1.0, 30, rng, read_s=(1e-4, 1e-4), jitter_s=0.02)
    timeline = CounterTimeline(PERIOD_S)
    assert timeline.place(steps) == steps
    assert timeline.next_after(3.0) is None and timeline.quiet_s == 0


def test_a_reading_that_took_a_period_leaves_its_step_as_it_is():
    steps = seen(1.0, 12, np.random.default_rng(0))
    late = CounterStep(steps[5].earliest_s - 0.09, steps[5].latest_s, steps[5].value)
    placed = CounterTimeline(PERIOD_S).place([*steps[:5], late, *steps[6:]])
    assert placed[5] is late
    assert np.abs(errors_s(placed[:5] + placed[6:], 1.0)).max() < 3e-3


def test_a_counter_that_began_anew_is_on_a_new_line():
    rng, timeline = np.random.default_rng(0), CounterTimeline(PERIOD_S)
    timeline.place(seen(0.0, 20, rng))
    placed = timeline.place(seen(5.0437, 20, rng))
    assert np.abs(errors_s(placed, 5.0437)).max() < 2e-3
    assert timeline.next_after(9.0) == pytest.approx(5.0437 + 40 * PERIOD_S, abs=2e-3)


def test_virtual_threads_take_turns_in_the_order_of_their_moments():
    clock, log = VirtualClock(), []

    def beside():
        for _ in range(3):
            clock.sleep(0.4)
            log.append(("beside", round(clock.now(), 6)))

    join = clock.start(beside)
    for _ in range(2):
        clock.sleep(0.5)
        log.append(("caller", round(clock.now(), 6)))
    join()
    assert log == [("beside", 0.4), ("caller", 0.5), ("beside", 0.8), ("caller", 1.0), ("beside", 1.2)]
    assert clock.now() >= 1.2


def test_steps_that_arrive_while_others_are_placed_are_left_for_later():
    steps = seen(1.0, 30, np.random.default_rng(0))

    class Growing(list):
        def __iter__(self):
            self.append(steps[len(self)])  # as the thread that polls does
            return super().__iter__()

    placed = CounterTimeline(PERIOD_S).place(Growing(steps[:20]))
    assert len(placed) == 21
    assert np.abs(errors_s(placed, 1.0)).max() < 3e-3
