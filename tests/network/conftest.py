"""Cost rules that a test adds are gone after it."""

import pytest

from hwopt.network import RULES


@pytest.fixture
def rules():
    before = dict(RULES)
    yield RULES
    RULES.clear()
    RULES.update(before)
