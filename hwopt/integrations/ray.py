"""Training on Ray: `RayExecutor()` is a `concurrent.futures.Executor` over this machine or a Ray cluster.

The workers need hwopt, the search space's file at the same path, and the data. Ray assigns one GPU to each
training, if there are any, by `CUDA_VISIBLE_DEVICES`.
"""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from hwopt.errors import InvalidInput


class RayExecutor(Executor):
    """Executor on the workers of a Ray runtime.

    Args:
        address: of a running cluster, such as "ray://10.0.0.1:10001" or "auto"; None uses the runtime that
            this process is connected to, or starts one on this machine.
        threads: cores of one training.

    Raises:
        InvalidInput: if Ray is not installed, or no cluster answers.
    """

    def __init__(self, address: str | None = None, threads: int = 1) -> None:
        try:
            import ray
        except ModuleNotFoundError as error:
            raise InvalidInput(f"executor ray needs {error.name}: pip install 'hwopt[ray]'") from None
        self._ray: Any = ray
        self._is_own = not ray.is_initialized()
        if self._is_own:
            try:
                ray.init(address=address, include_dashboard=False, log_to_driver=False)
            except (ConnectionError, OSError, ValueError, RuntimeError) as error:
                raise InvalidInput(f"no Ray cluster answers at {address!r}: {error}") from None
        self._threads = threads
        self._n_gpus = int(self._ray.cluster_resources().get("GPU", 0))
        # a task whose worker dies is not restarted, as the study counts attempts
        self._run = ray.remote(num_cpus=threads, num_gpus=1 if self._n_gpus else 0, max_retries=0)(_run)

    @property
    def n_workers(self) -> int:
        """Number of parallel trainings."""
        cores = int(self._ray.cluster_resources().get("CPU", 1)) // self._threads
        return max(1, min(cores, self._n_gpus) if self._n_gpus else cores)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function on a worker."""
        future: Future[Any] = self._run.remote(self._threads, function, args, kwargs).future()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut down the runtime if it was started here."""
        if self._is_own:
            self._ray.shutdown()


def _run(threads: int, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a function on a worker, with one thread per reserved core."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(threads):
        return function(*args, **kwargs)
