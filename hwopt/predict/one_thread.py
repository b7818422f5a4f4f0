"""Limit of numerical libraries to one thread: predictions do not depend on the thread count, and are faster.

Finding the libraries of a process takes 15 ms, so the result is kept until another module is imported.
"""

import sys
from contextlib import AbstractContextManager

from threadpoolctl import ThreadpoolController

_found: tuple[int, ThreadpoolController] | None = None


def one_thread() -> AbstractContextManager[object]:
    """Return a context in which the currently loaded libraries compute on one thread."""
    global _found
    n = len(sys.modules)
    if _found is None or _found[0] != n:
        _found = n, ThreadpoolController()
    limited: AbstractContextManager[object] = _found[1].limit(limits=1)
    return limited
