"""Train on Ray: `RayExecutor()` is a `concurrent.futures.Executor` over this machine or a Ray cluster.

The workers need hwopt, the search space's file at the same path, and the data. Ray gives each training its
share of the GPUs, one where there are any, through `CUDA_VISIBLE_DEVICES`.
"""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from hwopt.errors import InvalidInput


class RayExecutor(Executor):
    """The workers of a Ray runtime.

    Args:
        address: of a running cluster, such as "ray://10.0.0.1:10001" or "auto"; None uses the runtime that
            this process is connected to, and starts one on this machine where there is none.
        threads: cores that one training takes.

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
        # a task whose worker dies is not started again: it is the study that counts attempts
        self._run = ray.remote(num_cpus=threads, num_gpus=1 if self._n_gpus else 0, max_retries=0)(_run)

    @property
    def n_workers(self) -> int:
        """Number of trainings that the cluster takes at a time."""
        cores = int(self._ray.cluster_resources().get("CPU", 1)) // self._threads
        return max(1, min(cores, self._n_gpus) if self._n_gpus else cores)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function on a worker."""
        future: Future[Any] = self._run.remote(self._threads, function, args, kwargs).future()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let go of the runtime; one that was started here ends."""
        if self._is_own:
            self._ray.shutdown()


def _run(threads: int, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a function on a worker, with as many threads as cores were set aside for it."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(threads):
        return function(*args, **kwargs)
