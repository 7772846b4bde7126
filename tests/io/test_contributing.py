"""The reader that CONTRIBUTING.md shows, and what every format is spared by `check_header`."""

import math
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pulsar.data.header import Header
from pulsar.errors import DataError
from pulsar.io.base import check_header
from pulsar.io.open import open_observation

PAGE = Path(__file__).resolve().parents[2] / "CONTRIBUTING.md"
NCHANS = 6


@pytest.fixture
def shown(monkeypatch):
    """`open_observation` with the reader of the page for every file."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (code,) = (block for block in blocks if "class SimpleReader" in block)
    names: dict[str, Any] = {"__name__": "simple"}
    exec(compile(code, str(PAGE), "exec"), names)
    monkeypatch.setattr("pulsar.io.open._open_one", lambda path, _: names["SimpleReader"](path))
    return open_observation


def content(data, nchans=NCHANS, tsamp=1e-3, low=1400.0, width=2.0):
    return struct.pack("<8sqddd", b"SIMPLE01", nchans, tsamp, low, width) + data[::-1].T.astype(np.uint8).tobytes()


@pytest.fixture
def data():
    return np.random.default_rng(3).integers(0, 256, (NCHANS, 100))


def test_it_reads(tmp_path, shown, data):
    path = tmp_path / "a.simple"
    path.write_bytes(content(data) + b"\0")
    with shown(path) as obs:
        assert (obs.header.nsamps, obs.header.fch1, obs.header.foff) == (100, 1410.0, -2.0)
        np.testing.assert_array_equal(obs.read().data, data)
        np.testing.assert_array_equal(np.hstack([b.data for b in obs.blocks(7)]), data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nchans": 0}, "0 channels"),
        ({"nchans": -1}, "-1 channels"),
        ({"nchans": 2**62}, "600 bytes follow"),
        ({"tsamp": 0.0}, "0 s"),
        ({"tsamp": math.nan}, "nan s"),
        ({"tsamp": math.inf}, "inf s"),
        ({"low": math.nan}, "nan MHz"),
        ({"low": -1400.0}, "-1390 MHz"),
        ({"low": 1e300}, "MHz"),
        ({"width": -2.0}, "-2 MHz"),
        ({"width": math.nan}, "nan MHz"),
        ({"width": math.inf}, "inf MHz"),
    ],
)
def test_it_refuses_a_header_that_lies(tmp_path, shown, data, changes, message):
    path = tmp_path / "a.simple"
    path.write_bytes(content(data, **changes))
    with pytest.raises(DataError, match=message) as caught:
        shown(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("size", [0, 8, 39, 40, 45])
def test_it_refuses_a_file_that_is_cut(tmp_path, shown, data, size):
    path = tmp_path / "a.simple"
    path.write_bytes(content(data)[:size])
    with pytest.raises(DataError, match=r"a\.simple"):
        shown(path)


GOOD = Header(nchans=4, nsamps=10, tsamp=1e-3, fch1=1500.0, foff=-1.0, tstart=59000.0)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tstart": math.nan},
        {"nchans": 1, "foff": 0.0},
        {"freq_table": (1500.0, 1498.0, 1497.0, 1.0)},
        {"is_series": True, "nchans": 1, "fch1": math.nan, "foff": 0.0},
    ],
)
def test_headers_that_observations_have(changes):
    check_header(Path("a"), GOOD.with_(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"nchans": 1 << 21},
        {"nsamps": 0},
        {"tsamp": 1e-12},
        {"tsamp": math.nan},
        {"fch1": 2.0},
        {"fch1": math.nan},
        {"foff": 1.0},
        {"foff": 0.0},
        {"freq_table": (1500.0, 1498.0, 1497.0, -1.0)},
        {"tstart": 0.0},
        {"tstart": 1e7},
        {"tstart": math.inf},
    ],
)
def test_headers_that_none_has(changes):
    with pytest.raises(DataError, match="a: its header says"):
        check_header(Path("a"), GOOD.with_(**changes))
