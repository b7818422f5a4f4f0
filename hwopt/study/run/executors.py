"""Local executors: in this process, and in worker processes.

Any `concurrent.futures.Executor` can train a study; those for clusters are in `hwopt.integrations`. Here the
death of a worker breaks only the future of the function that it ran.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import Any

from hwopt.errors import InvalidInput, UnknownName, did_you_mean
from hwopt.scalars import whole_number

EXECUTORS = ("local", "dask", "ray")

_WATCH_S = 1.0
_THREAD_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class InProcess(Executor):
    """Executor that runs functions immediately in this process."""

    n_workers = 1

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function and return a finished future; its exceptions are raised here."""
        future: Future[Any] = Future()
        future.set_result(function(*args, **kwargs))
        return future


class LocalWorkers(Executor):
    """Executor with local worker processes, each in its own pool, so that the death of one affects no other.

    Each worker has its share of the cores, and one of several GPUs (`CUDA_VISIBLE_DEVICES`).

    Args:
        n_workers: number of processes.
        gpus: names of the GPUs, as in `CUDA_VISIBLE_DEVICES`; None for all GPUs of this machine.
    """

    def __init__(self, n_workers: int, gpus: list[str] | None = None) -> None:
        self.n_workers = n_workers = whole_number("n_workers", n_workers, lowest=1)
        gpus = visible_gpus() if gpus is None else gpus
        self._environments = [worker_environment(i, n_workers, gpus) for i in range(n_workers)]
        self._pools: list[Any] = [None] * n_workers
        self._last: list[Future[Any] | None] = [None] * n_workers

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function in the first free worker, or queue it if none is free."""
        slot = next((i for i, last in enumerate(self._last) if last is None or last.done()), 0)
        try:
            future = self._pool(slot).submit(function, *args, **kwargs)
        except BrokenExecutor:  # its worker has died
            self._pools[slot].shutdown(wait=True, kill_workers=True)
            self._pools[slot] = None
            future = self._pool(slot).submit(function, *args, **kwargs)
        self._last[slot] = future
        return future  # type: ignore[no-any-return]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Kill the workers."""
        for pool in self._pools:
            if pool is not None:
                pool.shutdown(wait=wait, kill_workers=True)
        self._pools = [None] * self.n_workers

    def _pool(self, slot: int) -> Any:
        from loky import ProcessPoolExecutor

        if self._pools[slot] is None:
            self._pools[slot] = ProcessPoolExecutor(
                max_workers=1,
                env=self._environments[slot],
                initializer=begin_worker,
                initargs=(os.getpid(),),
            )
        return self._pools[slot]


def begin_worker(driver: int) -> None:
    """Prepare a worker process: it may start processes, as a DataLoader does, and ends with its driver.

    In its workers loky sets its own start method as the default, which other code cannot use. Ctrl-C, which a
    terminal sends to all processes, is ignored: a worker that is interrupted while it sends a result would
    leave the driver waiting for the rest.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    end_with_driver(driver)


def end_with_driver(driver: int) -> None:
    """Exit this worker process when its driver has died, as a killed driver does not end its workers."""

    def watch() -> None:
        while os.getppid() == driver:
            time.sleep(_WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def open_executor(name: str, jobs: int | None, address: str | None = None) -> Executor:
    """Return the executor of a name: "local", "dask" or "ray".

    Args:
        name: name of the executor.
        jobs: number of parallel trainings, for the local executor.
        address: address of the cluster.

    Raises:
        UnknownName: for an unknown name.
        InvalidInput: if the cluster does not answer, its library is not installed, or there is no address.
    """
    if name not in EXECUTORS:
        raise UnknownName(f"no executor {name!r}{did_you_mean(name, EXECUTORS)}")
    if name == "local":
        return InProcess() if (jobs or 1) == 1 else LocalWorkers(jobs or 1)
    if name == "ray":
        from hwopt.integrations.ray import RayExecutor

        return RayExecutor(address)
    from hwopt.integrations.dask import DaskExecutor

    if address is None:
        raise InvalidInput("executor dask needs the address of a scheduler: --address tcp://HOST:8786")
    return DaskExecutor(address)


def threads_of_worker(n_workers: int) -> int:
    """Return the number of threads of each of several workers."""
    from loky import cpu_count

    return max(1, int(cpu_count()) // n_workers)


def worker_environment(index: int, n_workers: int, gpus: list[str]) -> dict[str, str]:
    """Return the environment variables of a worker: number of threads, and its GPU if there are several."""
    environment = dict.fromkeys(_THREAD_COUNTS, str(threads_of_worker(n_workers)))
    if len(gpus) > 1:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[index % len(gpus)]
    return environment


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that this process may use; empty without a GPU driver."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    from hwopt.measure.energy.sensors.probe import probe_nvml

    n_gpus = sum(status.name.startswith("nvml:") for status in probe_nvml())
    return [str(i) for i in range(n_gpus)]
