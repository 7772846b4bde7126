"""What the decorator of kernels promises."""

import numpy as np
import pytest

from pulsar_kernels._jit import kernel


@kernel(helper=True)
def _in_order(x):
    total = np.float32(0.0)
    for i in range(x.shape[0]):
        total += x[i]
    return total


@kernel(reorder=True)
def _doubled(x):
    return np.float32(2.0) * _in_order(x)


@kernel(reorder=True)
def reordering(x):
    return np.float32(0.5) * _doubled(x)


@kernel()
def plain(x):
    return _in_order(x)


@pytest.mark.parametrize("first", [reordering, plain])
def test_what_a_helper_gives_does_not_depend_on_who_calls_it_first(first):
    """Only what says so itself may reorder its sums; numpy's running sum is in order."""
    x = np.random.default_rng(5).standard_normal(10_001).astype(np.float32)
    in_order = np.cumsum(x, dtype=np.float32)[-1]
    assert in_order != np.sum(x)
    assert first(x) == in_order
    assert plain(x) == in_order
    assert reordering(x) == in_order
    assert _in_order(x) == in_order


@kernel()
def spaces(n):
    counts = np.zeros((n, 3), np.int32)
    empty = np.empty(n)
    flags = np.zeros((2, n), np.bool_)
    turns = np.zeros(4, np.complex64)
    square = np.zeros((n, n))
    empty[:] = 1.0
    return counts, empty, flags, turns, square


def test_memory_that_kernels_ask_for_is_that_of_numpy():
    expected = (np.zeros((7, 3), np.int32), np.ones(7), np.zeros((2, 7), np.bool_), np.zeros(4, np.complex64))
    for made, wanted in zip(spaces(7), (*expected, np.zeros((7, 7))), strict=True):
        assert made.dtype == wanted.dtype
        assert made.strides == wanted.strides
        assert np.array_equal(made, wanted)
        assert made.flags.writeable
        assert made.flags.c_contiguous


def test_memory_of_a_negative_size_is_refused():
    with pytest.raises(ValueError, match="negative dimensions"):
        spaces(-1)


@kernel()
def elements(x, k, y):
    x[k] = x[k + 1] * 2 - y[k, 0]
    y[k, 1] = x[k] // 3 + (k << 1)
    return x[k] < y[k, 1]


@pytest.mark.parametrize("kind", [np.int8, np.uint16, np.int64, np.float32, np.float64])
def test_elements_and_operators_of_every_type(kind):
    x, y = np.array([1, 5, 9, 7], kind), np.array([[2, 0], [3, 0], [4, 0], [1, 0]], kind)
    assert not elements(x, 1, y)
    assert x.tolist() == [1, 15, 9, 7]
    assert y[1].tolist() == [3, 7]


@kernel()
def extremes(a, b, c):
    return max(a, b), min(a, b), max(a, b, c), min(c, b, a)


NAN = float("nan")


@pytest.mark.parametrize("given", [(1, 2, 3), (2.5, 1, 7), (1.5, NAN, 2.5), (NAN, 1.5, -1.0), (0.0, -0.0, 0.0)])
def test_extremes_are_those_of_python(given):
    a, b, c = given
    expected = (max(a, b), min(a, b), max(a, b, c), min(c, b, a))
    assert [float(x).hex() for x in extremes(a, b, c)] == [float(x).hex() for x in expected]
