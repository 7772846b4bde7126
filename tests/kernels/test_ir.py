"""The words for vector instructions, each in a kernel of its own; and that kernels know LLVM by these words only."""

import ast
from pathlib import Path

import numpy as np
import pytest
from numba import types

import pulsar_kernels
from pulsar_kernels import _ir
from pulsar_kernels._jit import all_written, kernel, vector

FOLDER = Path(pulsar_kernels.__file__).parent


def llvm_of(path: Path) -> set[str]:
    """Modules of LLVM, or of what writes its code, that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.split(".")[0] == "llvmlite" or name == "numba.core.cgutils"}


def test_llvm_is_known_in_one_place():
    found = {path.name: llvm_of(path) for path in FOLDER.glob("*.py")}
    assert len(found) > 30
    assert [name for name, modules in found.items() if modules] == ["_ir.py"]


def _words_code(builder, args):
    source, n, out, wide = args
    rows = [_ir.load(builder, source, 8 * k, _ir.vector_of(_ir.I16, 8)) for k in range(8)]
    for k, column in enumerate(_ir.transposed(builder, rows)):
        _ir.store(builder, column, out, 8 * k)
    total = _ir.variable(builder, _ir.constant(rows[0].type, 0))
    with _ir.steps(builder, 0, n) as k:
        row = _ir.load(builder, source, _ir.times(builder, k, 8), rows[0].type)
        builder.store(_ir.saturated(builder, builder.load(total), row), total)
    _ir.store(builder, builder.load(total), out, 64)
    with _ir.steps(builder, 1, n, 2) as k:
        odd = _ir.element(builder, source, _ir.times(builder, k, 8))
        _ir.store(builder, odd, out, _ir.plus(builder, k, 72))
    _ir.store(builder, _ir.splat(builder, _ir.element(builder, source, 3), 8), out, 80)
    _ir.store(builder, _ir.summed(rows, builder.add), out, 88)
    block = _ir.load(builder, source, 0, _ir.vector_of(_ir.I16, 64))
    floats = _ir.floats(builder, block)
    _ir.store(builder, _ir.intrinsic(builder, "fabs", floats), wide, 0)
    return _ir.lane_bits(builder, builder.icmp_signed("<", block, _ir.constant(block.type, 0)))


@vector(_words_code, returns=types.int64)
def _words(source, n, out, wide):
    """All words at once."""


@kernel()
def words(source, n, out, wide):
    return _words(source, n, out, wide)


@pytest.mark.jit
def test_words_do_what_they_say():
    source = np.random.default_rng(1).integers(-20_000, 20_000, (8, 8)).astype(np.int16)
    out, wide = np.zeros(96, np.int16), np.zeros(64, np.float32)
    bits = words(source.reshape(-1), 7, out, wide)
    np.testing.assert_array_equal(out[:64].reshape(8, 8), source.T)
    total = np.zeros(8, np.int64)
    for row in source[:7]:
        total = np.clip(total + row, -32768, 32767)
    np.testing.assert_array_equal(out[64:72], total)
    np.testing.assert_array_equal(out[72:80], [0, source[1, 0], 0, source[3, 0], 0, source[5, 0], 0, 0])
    np.testing.assert_array_equal(out[80:88], source[0, 3])
    np.testing.assert_array_equal(out[88:], np.sum(source, axis=0, dtype=np.int16))
    np.testing.assert_array_equal(wide, np.abs(source.reshape(-1).astype(np.float32)))
    assert [bits >> k & 1 for k in range(64)] == (source.reshape(-1) < 0).astype(int).tolist()


def _past_code(builder, args):
    source, at, out = args
    _ir.store_past(builder, _ir.load(builder, source, at, _ir.vector_of(_ir.I16, 64)), out, at)


@vector(_past_code)
def _past(source, at, out):
    """Copy 64 words."""


@kernel()
def copied_past(source, out):
    for at in range(0, source.shape[0], 64):
        _past(source, at, out)
    all_written()


@pytest.mark.jit
def test_what_is_written_past_the_caches_is_there():
    source = np.random.default_rng(2).integers(-30_000, 30_000, 64 * 100).astype(np.int16)
    space = np.full(source.size + 64, 7, np.int16)
    skip = -space.ctypes.data % 64 // 2
    copied_past(source, space[skip : skip + source.size])
    np.testing.assert_array_equal(space[skip : skip + source.size], source)
    assert (space[:skip] == 7).all()
    assert (space[skip + source.size :] == 7).all()


#: 64 lanes that rise by three quarters.
QUARTERS = [(3 * k + 2) >> 2 for k in range(64)]


def _ways_code(builder, args):
    source, out = args
    value = _ir.load(builder, source, 0, _ir.vector_of(_ir.F32, 16))
    mask = builder.fcmp_ordered(">", value, _ir.constant(value.type, 0.0))
    _ir.compress(builder, value, mask, out, 0)
    _ir.compress_few(builder, source, mask, out, 32, 3)
    _ir.compress_few(builder, source, mask, out, 64, 4)
    for to, piece in ((96, None), (160, 16)):
        _ir.store(builder, _ir.picked(builder, source, 5, QUARTERS, piece), out, to)


@vector(_ways_code)
def _ways(source, out):
    """What has one way for AVX-512 and one for other processors, by both."""


@kernel()
def ways(source, out):
    _ways(source, out)


@pytest.mark.jit
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_ways_of_processors_give_the_same(share):
    rng = np.random.default_rng(3)
    for _ in range(20):
        source = np.where(rng.uniform(size=80) < share, 1.0, -1.0) * rng.uniform(1.0, 2.0, 80)
        source = source.astype(np.float32)
        out = np.zeros(224, np.float32)
        ways(source, out)
        first = source[:16]
        kept = first[first > 0.0]
        for to in (0, 32, 64):
            np.testing.assert_array_equal(out[to : to + kept.size], kept)
        assert not out[64 + -(-max(kept.size, 1) // 4) * 4 : 96].any()
        for to in (96, 160):
            np.testing.assert_array_equal(out[to : to + 64], source[5 + np.array(QUARTERS)])
