"""Training on a Dask cluster: `DaskExecutor("tcp://scheduler:8786")` is a `concurrent.futures.Executor`.

The workers need hwopt, the search space's file at the same path, and the data. For one GPU per worker, use
dask-cuda's workers, or start one worker for each value of `CUDA_VISIBLE_DEVICES`.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from multiprocessing import current_process
from threading import Lock
from typing import Any

from hwopt.errors import InvalidInput

_CONNECT_S = 10.0
_ALONE = Lock()


class DaskExecutor(Executor):
    """Executor on the workers of a Dask cluster.

    A task whose worker dies is not restarted by Dask, as the study counts the attempts of a trial. Therefore
    the scheduler's `allowed-failures` is 0 until the executor is shut down.

    Args:
        cluster: address of the scheduler, such as "tcp://10.0.0.1:8786", or a cluster of `distributed`.
        threads: threads of one training; None for the worker's setting.

    Raises:
        InvalidInput: if Dask is not installed, or no scheduler answers.
    """

    def __init__(self, cluster: Any, threads: int | None = None) -> None:
        try:
            import distributed
        except ModuleNotFoundError as error:
            raise InvalidInput(f"executor dask needs {error.name}: pip install 'hwopt[dask]'") from None
        try:
            module: Any = distributed  # its functions are untyped
            self._client = module.Client(cluster, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise InvalidInput(
                f"no Dask scheduler answers at {cluster!r}: {error}; give its address, tcp://HOST:8786"
            ) from None
        self._threads = threads
        self._allowed_before = self._allow_failures(0)
        self._executor = self._client.get_executor(pure=False)

    @property
    def n_workers(self) -> int:
        """Number of parallel trainings: one per worker."""
        return max(1, len(self._client.nthreads()))

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function on a worker."""
        future: Future[Any] = self._executor.submit(capped, self._threads, function, *args, **kwargs)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Disconnect from the cluster; its workers keep running."""
        self._allow_failures(self._allowed_before)
        self._executor.shutdown(wait=False)
        self._client.close()

    def _allow_failures(self, n: int | None) -> int | None:
        """Set the scheduler's number of restarts of a task whose worker died; return the earlier number.

        None if this client may not run functions on the scheduler, whose number is then unchanged.
        """
        if n is None:
            return None
        try:
            return int(self._client.run_on_scheduler(_set_allowed_failures, n=n))
        except (ValueError, RuntimeError, OSError):
            return None


def capped(threads: int | None, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function with a number of threads for numerical libraries; None does not change it.

    Calls in one process are sequential, whatever the number of Dask's threads, as random states are global.
    """
    from threadpoolctl import threadpool_limits

    with _ALONE, threadpool_limits(threads), _children_allowed():
        return function(*args, **kwargs)


@contextmanager
def _children_allowed() -> Iterator[None]:
    """Allow a training to start processes, as a DataLoader does; Dask's daemonic workers may not."""
    configuration: dict[str, Any] = getattr(current_process(), "_config", {})
    before = configuration.get("daemon", False)
    configuration["daemon"] = False
    try:
        yield
    finally:
        configuration["daemon"] = before


def _set_allowed_failures(n: int, dask_scheduler: Any = None) -> int:
    before = int(dask_scheduler.allowed_failures)
    dask_scheduler.allowed_failures = n
    return before
