"""SIGPROC files: what is written comes back, and what is wrong is named."""

import math
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulsar.config.model import InputConfig
from pulsar.data.header import Header
from pulsar.errors import DataError
from pulsar.io.open import open_observation
from pulsar.io.sigproc import FilterbankWriter, pack_sexagesimal, parse_header, sexagesimal

NCHANS, NSAMPS = 136, 333


def make_header(**changes):
    header = Header(nchans=NCHANS, nsamps=0, tsamp=1e-3, fch1=1500.0, foff=-1.0, tstart=55000.25)
    return header.with_(**changes)


def text(value):
    return struct.pack("<i", len(value)) + value.encode()


def raw_header(*extra, nchans=4, nbits=8, tsamp=1e-3, foff=-1.0, fch1=1500.0):
    parts = [text("HEADER_START"), text("nchans"), struct.pack("<i", nchans), text("nbits"), struct.pack("<i", nbits)]
    parts += [text("tsamp"), struct.pack("<d", tsamp), text("fch1"), struct.pack("<d", fch1)]
    parts += [text("foff"), struct.pack("<d", foff), text("tstart"), struct.pack("<d", 55000.0), *extra]
    return b"".join([*parts, text("HEADER_END")])


@pytest.mark.parametrize("nbits", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.parametrize("nifs", [1, 2, 4])
def test_round_trip(tmp_path, nbits, ascending, nifs):
    data = np.random.default_rng(nbits).integers(0, min(1 << nbits, 60000), (nifs, NCHANS, NSAMPS))
    path = tmp_path / "a.fil"
    with FilterbankWriter(path, make_header(), nbits=nbits, ascending=ascending, nifs=nifs) as writer:
        writer.write(data[:, :, :100])
        writer.write(data[:, :, 100:])
    want = data[:2].sum(axis=0)
    with open_observation(path) as obs:
        assert obs.header.nsamps == NSAMPS
        assert obs.header.nbits == nbits
        np.testing.assert_allclose(obs.header.freqs, make_header().freqs)
        assert obs.header.foff < 0
        np.testing.assert_array_equal(obs.read().data, want)
        wide = np.zeros((NCHANS, 400), dtype=obs.dtype)
        obs.read_into(13, wide[:, 30:230])
        np.testing.assert_array_equal(wide[:, 30:230], want[:, 13:213])
        assert not wide[:, :30].any()
        assert not wide[:, 230:].any()


def test_blocks_overlap_and_end(tmp_path):
    data = np.random.default_rng(1).integers(0, 256, (NCHANS, NSAMPS))
    with FilterbankWriter(tmp_path / "a.fil", make_header()) as writer:
        writer.write(data)
    obs = open_observation(tmp_path / "a.fil")
    blocks = list(obs.blocks(100, overlap=20))
    assert [(b.start, b.nsamps) for b in blocks] == [(0, 100), (80, 120), (180, 120), (280, 53)]
    for block in blocks:
        np.testing.assert_array_equal(block.data, data[:, block.start : block.start + block.nsamps])


def test_threads_read_the_same(tmp_path):
    data = np.random.default_rng(1).integers(0, 256, (NCHANS, 4000))
    with FilterbankWriter(tmp_path / "a.fil", make_header()) as writer:
        writer.write(data)
    obs = open_observation(tmp_path / "a.fil")
    starts = list(range(0, 4000, 100)) * 4
    with ThreadPoolExecutor(8) as pool:
        for start, block in zip(starts, pool.map(lambda s: obs.read(s, 100), starts), strict=True):
            np.testing.assert_array_equal(block.data, data[:, start : start + 100])


def test_rounding_clipping_and_signed(tmp_path):
    data = np.zeros((NCHANS, 4))
    data[0] = [-3.0, 1.6, 300.0, np.nan]
    with FilterbankWriter(tmp_path / "a.fil", make_header()) as writer:
        writer.write(data)
    assert open_observation(tmp_path / "a.fil").read().data[0].tolist() == [0, 2, 255, 0]
    with FilterbankWriter(tmp_path / "s.fil", make_header(), signed=True) as writer:
        writer.write(np.where(np.isnan(data), 0, data) - 5)
    unsigned = open_observation(tmp_path / "s.fil")
    assert any("signed" in problem for problem in unsigned.problems)
    assert unsigned.read().data[0, 0] == 248
    signed = open_observation(tmp_path / "s.fil", config=InputConfig(signed=True))
    assert signed.read().data[0].tolist() == [120, 125, 255, 123]


def test_positions_and_overrides(tmp_path):
    header = make_header(ra_deg=83.633, dec_deg=-0.5028, source="B0531+21", telescope="FAST", beam=3, nbeams=19)
    with FilterbankWriter(tmp_path / "a.fil", header) as writer:
        writer.write(np.ones((NCHANS, 10)))
    back = open_observation(tmp_path / "a.fil").header
    assert back.ra_deg == pytest.approx(83.633, abs=1e-8)
    assert back.dec_deg == pytest.approx(-0.5028, abs=1e-8)
    assert (back.source, back.telescope, back.telescope_id, back.beam) == ("B0531+21", "FAST", 21, 3)
    config = InputConfig(ra_deg=1.0, dec_deg=2.0, tsamp=5e-3)
    back = open_observation(tmp_path / "a.fil", config=config).header
    assert (back.ra_deg, back.dec_deg, back.tsamp) == (1.0, 2.0, 5e-3)


def test_negative_zero_degrees():
    assert sexagesimal(-3010.0) == pytest.approx(-(30 / 60 + 10 / 3600))
    assert math.copysign(1, sexagesimal(-0.0)) == -1


@given(st.floats(-89.9999, 89.9999))
def test_sexagesimal_round_trip(value):
    assert sexagesimal(pack_sexagesimal(value)) == pytest.approx(value, abs=1e-8)


@pytest.mark.parametrize("rising", [False, True])
def test_frequency_table(tmp_path, rising):
    freqs = [1500.0, 1498.0, 1497.5, 1400.0]
    entries = [text("fchannel") + struct.pack("<d", f) for f in (freqs[::-1] if rising else freqs)]
    table = [text("FREQUENCY_START"), *entries, text("FREQUENCY_END")]
    (tmp_path / "a.fil").write_bytes(raw_header(*table) + bytes(range(8)))
    obs = open_observation(tmp_path / "a.fil")
    np.testing.assert_array_equal(obs.header.freqs, freqs)
    want = np.arange(8).reshape(2, 4).T
    np.testing.assert_array_equal(obs.read().data, want[::-1] if rising else want)


@pytest.mark.parametrize("payload", [b"", struct.pack("<i", 7), struct.pack("<d", 7.5), text("hello"), b"\1"])
def test_unknown_key_is_passed_over(tmp_path, payload):
    (tmp_path / "a.fil").write_bytes(raw_header(text("mystery") + payload) + bytes(8))
    obs = open_observation(tmp_path / "a.fil")
    assert obs.header.nsamps == 2
    assert any("mystery" in problem and "byte" in problem for problem in obs.problems)


def test_unknown_key_that_cannot_be_passed(tmp_path):
    (tmp_path / "a.fil").write_bytes(raw_header(text("mystery") + b"\xff" * 30) + bytes(8))
    with pytest.raises(DataError, match=r"a\.fil.*byte \d+.*'mystery'"):
        open_observation(tmp_path / "a.fil")


def test_file_size_decides(tmp_path):
    head = raw_header(text("nsamples") + struct.pack("<i", 10))
    (tmp_path / "a.fil").write_bytes(head + bytes(4 * 3 + 1))
    obs = open_observation(tmp_path / "a.fil")
    assert obs.header.nsamps == 3
    assert any("nsamples" in p for p in obs.problems)
    assert any("last 1 bytes" in p for p in obs.problems)


@pytest.mark.parametrize("cut", range(16, len(raw_header()), 7))
def test_truncated_header(cut):
    with pytest.raises(DataError, match="byte"):
        parse_header(raw_header()[:cut], "x.fil")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"nchans": 0}, "nchans"),
        ({"nbits": 3}, "nbits"),
        ({"tsamp": 0.0}, "tsamp"),
        ({"tsamp": math.nan}, "tsamp"),
        ({"foff": 0.0}, "foff"),
        ({"foff": -600.0}, "not positive"),
        ({"nchans": 3, "nbits": 1}, "whole bytes"),
    ],
)
def test_wrong_values(tmp_path, changes, match):
    (tmp_path / "a.fil").write_bytes(raw_header(**changes) + bytes(64))
    with pytest.raises(DataError, match=match) as caught:
        open_observation(tmp_path / "a.fil")
    assert "a.fil" in str(caught.value)


@pytest.mark.parametrize("dm", [-1.0, math.nan])
def test_a_dm_that_is_none_is_told(tmp_path, dm):
    (tmp_path / "a.fil").write_bytes(raw_header(text("refdm"), struct.pack("<d", dm)) + bytes(64))
    obs = open_observation(tmp_path / "a.fil")
    assert obs.header.dm == 0.0
    assert any("DM in the header" in problem for problem in obs.problems)


def test_no_spectrum(tmp_path):
    (tmp_path / "a.fil").write_bytes(raw_header() + b"abc")
    with pytest.raises(DataError, match="no complete spectrum"):
        open_observation(tmp_path / "a.fil")


def test_failed_writing_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="write needs"), FilterbankWriter(tmp_path / "a.fil", make_header()) as writer:
        writer.write(np.zeros((3, 5)))
    assert list(tmp_path.iterdir()) == []


def test_real_depths_agree(shared_data):
    data = {
        b: open_observation(shared_data / f"bits/parkes_{b}.fil").read().data
        for b in ("8bit_1", "4bit", "2bit", "1bit")
    }
    for name, want in (("4bit", 0.976), ("2bit", 0.933), ("1bit", 0.790)):
        assert data[name].shape == (832, 4096)
        pairs = [np.corrcoef(data[name][c], data["8bit_1"][c])[0, 1] for c in range(100, 700)]
        assert np.mean(pairs) == pytest.approx(want, abs=0.005)
