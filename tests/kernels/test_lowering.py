"""Elements of arrays, and variables that come and go, as kernels are written in LLVM's language."""

import os
import subprocess
import sys

import numpy as np
import pytest

from pulsar_kernels import _compiler
from pulsar_kernels._jit import kernel
from pulsar_kernels.dedisperse import halve_series


@kernel()
def read(x, places, out):
    """Elements of a row."""
    for k in range(places.shape[0]):
        out[k] = x[places[k]]


@kernel()
def read_plane(x, places, out):
    """Elements of a plane."""
    for k in range(places.shape[0]):
        out[k] = x[places[k, 0], places[k, 1]]


@kernel()
def write_plane(x, places, values):
    """Set elements of a plane, and add to the last of its rows."""
    for k in range(places.shape[0]):
        x[places[k, 0], places[k, 1]] = values[k]
        x[-1, k] += values[k]


@kernel()
def told_late(x, limit):
    """A number that is set in some rounds only, and read in later ones."""
    last = 0.0
    total = 0.0
    for i in range(x.shape[0]):
        part = x[i : i + 2]
        if part[0] > limit:
            found = part[0]
            last = found
        total += last * part.shape[0]
    return total


def some(dtype, shape, seed=1):
    rng = np.random.default_rng(seed)
    return (200 * rng.random(shape) - 100).astype(dtype) if dtype is not np.bool_ else rng.random(shape) < 0.5


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32, np.float64, np.bool_, np.complex128])
@pytest.mark.parametrize("at", [np.int8, np.uint16, np.int64])
@pytest.mark.parametrize("step", [1, 3, -2])
def test_an_element_of_a_row_is_that_of_numpy(dtype, at, step):
    x = some(dtype, 120)[::step]
    places = np.arange(-x.size if np.iinfo(at).min < 0 else 0, x.size).astype(at)
    out = np.zeros(places.size, dtype)
    read(x, places, out)
    np.testing.assert_array_equal(out, x[places])


@pytest.mark.parametrize("turned", [False, True])
def test_an_element_of_a_plane_is_that_of_numpy(turned):
    x = some(np.float32, (7, 11))
    x = x.T[:, 1:] if turned else x
    places = np.array([[0, 0], [3, 5], [-1, -1], [2, -4], [-5, 1]])
    out = np.zeros(5, np.float32)
    read_plane(x, places, out)
    np.testing.assert_array_equal(out, x[places[:, 0], places[:, 1]])


@pytest.mark.parametrize(("dtype", "of"), [(np.float32, np.float64), (np.int16, np.int64), (np.float64, np.int16)])
def test_what_is_set_becomes_the_type_of_the_array(dtype, of):
    values = some(of, 4)
    places = np.array([[0, 0], [-2, 3], [1, -1], [2, 2]])
    x, expected = (np.zeros((5, 6), dtype)[:, ::-1] for _ in range(2))
    write_plane(x, places, values)
    expected[places[:, 0], places[:, 1]] = values
    expected[-1, :4] += values.astype(dtype)
    np.testing.assert_array_equal(x, expected)
    assert np.any(x)


def test_a_number_that_is_set_now_and_then():
    x = np.array([0.0, 3.0, 1.0, 5.0, 2.0])
    assert told_late(x, 2.5) == 0 + 2 * 3 + 2 * 3 + 2 * 5 + 1 * 5


#: A kernel under a numba that has not been tried.
LATER = """
import sys
import numba
import numpy as np
numba.version_info = numba.version_info._replace(short=(99, 0))
from pulsar_kernels import _compiler, _jit
from pulsar_kernels.dedisperse import halve_series
x = np.frombuffer(sys.stdin.buffer.read(), np.int16)
half = np.empty(x.size // 2, np.int16)
halve_series(x, half)
print(_compiler.KNOWN, _jit._pipeline(_compiler.ForPython).__module__, half.tolist())
"""


def test_kernels_compile_as_usual_with_a_numba_that_has_not_been_tried(tmp_path):
    x = some(np.int16, 64)
    half = np.empty(32, np.int16)
    halve_series(x, half)
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    told = subprocess.run(
        [sys.executable, "-c", LATER], input=x.tobytes(), capture_output=True, check=True, env=env, timeout=120
    )
    assert told.stdout.decode().split(maxsplit=2) == ["False", "numba.core.compiler", f"{half.tolist()}\n"]


def test_this_numba_has_been_tried():
    """A later release: run the tests with it, then move `LAST`."""
    assert _compiler.KNOWN
