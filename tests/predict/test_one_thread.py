"""Libraries compute on one thread within the context and on as many as before outside."""

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from hwopt.predict.one_thread import one_thread


def threads():
    np.ones(3) @ np.ones(3)
    return [library["num_threads"] for library in threadpool_info()]


def test_within_it_is_one_thread_and_outside_what_it_was():
    with threadpool_limits(2):
        before = threads()
        for _ in range(2):  # the second time from what was found the first
            with one_thread():
                assert set(threads()) == {1}
            assert threads() == before and set(before) == {2}


def test_a_number_that_changed_since_is_restored_as_well():
    with threadpool_limits(2), one_thread():
        pass
    with threadpool_limits(3):
        with one_thread():
            assert set(threads()) == {1}
        assert set(threads()) == {3}
