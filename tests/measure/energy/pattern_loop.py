"""A loop whose pass is a pattern of powers on the simulated GPU: what measuring it should give is known."""

from bisect import bisect_right

from hwopt.measure.energy.sensors.simulated import SimulatedGpu, VirtualClock


class PatternLoop:
    """Repeats pieces of (seconds, watts), queued as a GPU queues replays."""

    mode, mode_reason, memory_bytes = "graph", "", None

    def __init__(self, gpu, pattern, n_passes=1, in_flight=2):
        self.gpu, self.pattern, self.n_passes, self.in_flight = gpu, pattern, n_passes, in_flight
        self.ends, self.is_closed = [], False

    @property
    def pass_s(self):
        return sum(seconds for seconds, _ in self.pattern)

    @property
    def energy_j(self):
        """True joules of a pass."""
        return sum(seconds * power_w for seconds, power_w in self.pattern)

    @property
    def power_w(self):
        return self.energy_j / self.pass_s

    def replay(self):
        if len(self.ends) - self.n_replayed() < self.in_flight:
            for _ in range(self.n_passes):
                for seconds, power_w in self.pattern:
                    end = self.gpu.submit(seconds, power_w)
            self.ends.append(end)
        self.gpu.clock.sleep(2e-4)

    def n_replayed(self):
        return bisect_right(self.ends, self.gpu.clock.now())

    def synchronize(self):
        self.gpu.clock.sleep(self.gpu.queued_s())

    def close(self):
        self.is_closed = True

    def time_eager(self, n):
        return self.time_replays(n)

    def time_replays(self, n):
        for _ in range(n * self.n_passes):
            for piece in self.pattern:
                self.gpu.run(*piece)
        return [self.pass_s] * n


def steady(gpu, power_w=400.0, replay_s=3.5e-3, n_passes=10):
    """Return a loop of constant power."""
    return PatternLoop(gpu, [(replay_s / n_passes, power_w)], n_passes)


def alternating(gpu, pass_s, high_w=500.0, low_w=200.0, duty=0.5):
    """Return a loop whose pass is high for a share of its length, then low."""
    return PatternLoop(
        gpu, [(duty * pass_s, high_w), ((1 - duty) * pass_s, low_w)], max(1, round(3.5e-3 / pass_s))
    )


def new_gpu(idle_w=80.0, start_s=0.0, thermal=None, latencies=None):
    """Return a GPU that has been idle for a while, so that nothing begins on a step of the counter."""
    gpu = SimulatedGpu(VirtualClock(), idle_w, thermal, latencies)
    gpu.clock.sleep(start_s)
    return gpu
