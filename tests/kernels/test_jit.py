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
