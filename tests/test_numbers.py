"""Single numbers of every library count as numbers, and nothing else does."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from hwopt import InvalidInput
from hwopt.scalars import as_number, whole_number


class Measured:
    """An object of a user that converts to a number."""

    def __float__(self):
        return 0.25


@pytest.mark.parametrize(
    "value",
    [
        0.25, np.float32(0.25), np.float64(0.25), np.array(0.25), np.array([0.25]), np.array([[0.25]]),
        torch.tensor(0.25), torch.tensor([0.25]), torch.tensor(0.25, requires_grad=True) * 1,
        torch.tensor(0.25, dtype=torch.bfloat16), Fraction(1, 4), Decimal("0.25"), Measured(),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_whatever_is_a_single_number_counts_as_one(value):
    found = as_number(value)
    assert type(found) is float and found == 0.25


@pytest.mark.parametrize(
    "value",
    [
        None, True, np.True_, np.array(True), torch.tensor(True), "0.25", b"1", 1j, np.complex64(1), [0.25],
        (0.25,), {}, np.array([0.1, 0.2]), np.array([]), torch.zeros(2), torch.zeros(0), object(), float,
        np.float64, np.array("0.25"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_all_else_is_not_a_number(value):
    assert as_number(value) is None


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_whole_numbers_of_numpy_are_whole_numbers(value):
    found = whole_number("n", value)
    assert type(found) is int and found == 3


@pytest.mark.parametrize("value", [True, np.True_, 1.0, np.float64(1), "1", None, -1, np.int64(-1)])
def test_what_is_not_a_whole_number_is_refused_by_name(value):
    with pytest.raises(InvalidInput, match="seed = .* must be a whole number from 0"):
        whole_number("seed", value)


def test_a_number_beyond_the_limit_is_refused():
    with pytest.raises(InvalidInput, match="n = 11 is more than 10"):
        whole_number("n", 11, highest=10)
