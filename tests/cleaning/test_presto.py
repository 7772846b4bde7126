"""Masks of PRESTO's rfifind: read as it writes them, mapped on our blocks, added to what our statistics say."""

import contextlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.masks import make_header, presto_bytes

from pulsar.cleaning.statistics import block_edges
from pulsar.cleaning.store import PrestoMask, read_given, read_presto_mask
from pulsar.config.load import load_config
from pulsar.errors import ConfigError, DataError
from pulsar.io.memory import Filterbank
from pulsar.io.open import open_observation
from pulsar.pipeline.cleaning import find_mask
from pulsar.pipeline.plan import live_frequencies
from pulsar.pipeline.progress import Progress

#: What `rfifind -time 0.5` of PRESTO writes for the real burst of the shared data (28.fil), byte for byte.
REAL = bytes.fromhex(
    "00000000000024400000000000001040076ea2d953a7ec40c6feb27bf25008400000000000a89140000000000000f03f"
    "500100000300000060090000030000000b0000009600000097000000000000000300000003000000030000000b000000"
    "96000000970000000b00000096000000970000000b0000009600000097000000"
)
HEADER = make_header()


def write(path, *parts, **header):
    path.write_bytes(presto_bytes(*parts, **header))
    return path


def some(seed=0, nints=11, nchans=24):
    """Arrays in PRESTO's order of channels."""
    rng = np.random.default_rng(seed)
    bad = rng.random((nints, nchans)) < 0.1
    channels, intervals = rng.random(nchans) < 0.1, rng.random(nints) < 0.15
    return bad, channels, intervals


def test_a_mask_that_rfifind_wrote(tmp_path):
    path = tmp_path / "28_rfifind.mask"
    path.write_bytes(REAL)
    found = read_presto_mask(path)
    assert found.bad.shape == (3, 336)
    assert found.ptsperint == 2400
    assert found.tsamp == pytest.approx(0.00126646875, rel=1e-12)
    # Its channels 11, 150 and 151 ascend from 1130 MHz.
    freqs = 1465.0 - np.arange(336)
    assert sorted(freqs[found.channels]) == [1141.0, 1280.0, 1281.0]
    assert (found.bad == found.channels).all()


def test_the_real_mask_belongs_to_the_real_file(tmp_path, shared_data):
    path = tmp_path / "28_rfifind.mask"
    path.write_bytes(REAL)
    obs = open_observation(shared_data / "burst" / "28.fil")
    try:
        found = read_given(path, obs.header)
        assert isinstance(found, PrestoMask)
        config = load_config(None, [f"rfi.mask={path}", "rfi.enabled=false"])
        assert live_frequencies(obs, config).size == 333
        mask, _ = find_mask(obs, config, threads=1, progress=Progress("quiet"))
        assert sorted(obs.header.freqs[~mask.chan_ok]) == [1141.0, 1280.0, 1281.0]
        assert set(mask.reasons) == {"", "PRESTO mask"}
        # The statistics of the same file see that 1141 MHz is bad by themselves.
        config = load_config(None, [f"rfi.mask={path}"])
        mask, _ = find_mask(obs, config, threads=1, progress=Progress("quiet"))
        assert not mask.chan_ok[found.channels].any()
    finally:
        obs.close()
    other = open_observation(shared_data / "bits" / "parkes_8bit_1.fil")
    try:
        with pytest.raises(ConfigError) as error:
            read_given(path, other.header)
    finally:
        other.close()
    for text in ("channels 336 in the mask, 832 in the data", "[MHz] 1130 in the mask, 706 in the data", "58682.62"):
        assert text in str(error.value)


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 20))
def test_what_is_written_is_read(tmp_path_factory, seed, nints, nchans):
    bad, channels, intervals = some(seed, nints, nchans)
    path = write(tmp_path_factory.mktemp("m") / "x.mask", bad, channels, intervals)
    found = read_presto_mask(path)
    np.testing.assert_array_equal(found.bad[:, ::-1], bad | channels | intervals[:, None])
    np.testing.assert_array_equal(found.channels[::-1], channels)
    # At its own intervals it is itself.
    edges = np.arange(nints + 1) * found.ptsperint
    np.testing.assert_array_equal(found.blocks(edges), found.bad)
    # Anywhere else, a block is masked where any of its samples is.
    rng = np.random.default_rng(seed)
    inner = rng.choice(np.arange(1, edges[-1]), min(5, nints), replace=False)
    cut = np.unique(np.concatenate([[0], inner, [edges[-1] - int(rng.integers(0, 500))]]))
    samples = np.repeat(found.bad, found.ptsperint, axis=0)
    naive = [samples[a:b].any(axis=0) | found.channels for a, b in pairwise(cut)]
    np.testing.assert_array_equal(found.blocks(cut), naive)


def test_every_truncation_is_told(tmp_path):
    whole = presto_bytes(*some(3, 3, 6))
    path = tmp_path / "x.mask"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"x\.mask: as a mask of PRESTO's rfifind: .*truncated"):
            read_presto_mask(path)
    path.write_bytes(whole + b"\0\0")
    with pytest.raises(DataError, match=f"byte {len(whole)}: 2 bytes too many"):
        read_presto_mask(path)


@given(st.binary(min_size=60, max_size=300), st.integers(0, 400), st.integers(0, 255))
def test_nonsense_never_does_worse_than_a_data_error(tmp_path_factory, junk, at, value):
    path = tmp_path_factory.mktemp("m") / "x.mask"
    whole = bytearray(presto_bytes(*some(5, 4, 8)))
    whole[at % len(whole)] = value
    for data in (junk, bytes(whole)):
        path.write_bytes(data)
        with contextlib.suppress(DataError):
            found = read_presto_mask(path)
            assert found.bad.shape[1] == found.channels.size


def patched(data, at, value):
    return data[:at] + np.int32(value).tobytes() + data[at + 4 :]


def test_damage_is_told_with_its_byte(tmp_path):
    bad = np.zeros((2, 6), dtype=bool)
    bad[0, 3] = True
    channels = np.array([True, *[False] * 5])
    whole = presto_bytes(bad, channels, np.zeros(2, dtype=bool))
    path = tmp_path / "x.mask"
    for at, value, told in (
        (60, 7, "byte 60: 7 in the number of masked channels, expected 0 to 6"),
        (64, 6, "byte 64: 6 in the masked channels, expected 0 to 5"),
        (68, -1, "byte 68: -1 in the number of masked intervals, expected 0 to 2"),
        (76, 9, "byte 76: 9 in the numbers of masked channels, expected 0 to 6"),
        (84, 99, "byte 84: 99 in the channels of interval 0, expected 0 to 5"),
        (48, 0, "the header makes no sense"),
        (56, -5, "the header makes no sense"),
    ):
        path.write_bytes(patched(whole, at, value))
        with pytest.raises(DataError) as error:
            read_presto_mask(path)
        assert told in str(error.value)
    path.write_bytes(whole[:24] + np.float64(5e-324).tobytes() + whole[32:])
    with pytest.raises(DataError, match=r"the header makes no sense .* intervals of 4\.9.*e-324 s"):
        read_presto_mask(path)
    path.write_text("freq width\n" * 20)
    with pytest.raises(DataError, match=r"not such a file. Expected a mask of `pulsar rfi` \(HDF5\) or the .mask"):
        read_given(path, HEADER)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="byte 0: the file ends at byte 0, inside the header"):
        read_given(path, HEADER)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"nchans": 25}, "channels 24 in the mask, 25 in the data"),
        ({"fch1": 1501.0}, "lowest channel [MHz] 1477 in the mask, 1478 in the data"),
        ({"foff": -1.01}, "channel width [MHz] 1 in the mask, 1.01 in the data"),
        ({"tsamp": 2e-3}, "sampling time [s] 0.001 in the mask, 0.002 in the data"),
        ({"tstart": 59000.3}, "start [MJD] 59000.25 in the mask, 59000.3 in the data"),
        ({"nsamps": 11_001}, "intervals of 1000 samples 11 in the mask, 12 in the data"),
        ({"nsamps": 8000}, "intervals of 1000 samples 11 in the mask, 8 in the data"),
    ],
)
def test_another_observation_is_refused_with_both_values(tmp_path, change, told):
    path = write(tmp_path / "x.mask", *some())
    assert read_given(path, HEADER).bad.shape == (11, 24)
    with pytest.raises(ConfigError) as error:
        read_given(path, make_header(**change))
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("ptsperint", "nsamps", "wanted"), [(2400, 100_000, 1.0), (4800, 60_000, 1.0), (30_720, 600_000, 1.0)]
)
def test_blocks_go_evenly_into_intervals(tmp_path, ptsperint, nsamps, wanted):
    path = write(tmp_path / "x.mask", *some(), ptsperint=ptsperint)
    found = read_presto_mask(path)
    edges = block_edges(nsamps, found.tsamp, found.block_length(wanted, nsamps), found.bad.shape[1])
    length = int(edges[1])
    assert ptsperint % length == 0
    assert 0.5 <= length * found.tsamp / wanted <= 2.0 or nsamps < 32 * wanted / found.tsamp


def test_an_interval_that_cannot_be_divided(tmp_path):
    found = read_presto_mask(write(tmp_path / "x.mask", *some(), ptsperint=100_003))
    assert found.block_length(1.0, 2_000_000) == 1.0


def observed() -> Filterbank:
    """Gaussian noise, in which one channel is too loud and one constant."""
    rng = np.random.default_rng(4)
    data = np.clip(100 + 12 * rng.normal(size=(24, HEADER.nsamps)), 0, 255).astype(np.uint8)
    data[20] = np.clip(100 + 40 * rng.normal(size=HEADER.nsamps), 0, 255)
    data[9] = 3
    return Filterbank(data, HEADER)


@pytest.mark.parametrize("enabled", [True, False])
def test_it_is_added_to_what_the_statistics_say(tmp_path, enabled):
    bad, channels, intervals = np.zeros((11, 24), dtype=bool), np.zeros(24, dtype=bool), np.zeros(11, dtype=bool)
    channels[24 - 1 - 4] = True  # our channel 4
    bad[2:4, 24 - 1 - 6] = True  # two intervals of our channel 6
    intervals[8] = True
    path = write(tmp_path / "x.mask", bad, channels, intervals)
    config = load_config(None, [f"rfi.mask={path}", f"rfi.enabled={str(enabled).lower()}"])
    mask, _ = find_mask(observed(), config, threads=1, progress=Progress("quiet"))
    assert mask.reasons[4] == "PRESTO mask"
    assert mask.reasons[9] == "constant"
    assert mask.chan_ok[20] != enabled
    first, last = np.searchsorted(mask.edges, [2000, 4000])
    assert (mask.edges[first], mask.edges[last]) == (2000, 4000)
    assert mask.bad[first:last, 6].all()
    assert mask.chan_ok[6]
    first, last = np.searchsorted(mask.edges, [8000, 9000])
    assert mask.bad[first:last].all()
    live = mask.bad[:, mask.chan_ok]
    given = (last - first) * live.shape[1] + np.count_nonzero((mask.edges >= 2000) & (mask.edges < 4000))
    # The statistics may mask more; without them there is what the file says and nothing else.
    assert given <= live.sum() <= (live.size if enabled else given)
    # The baseline under what is masked is that of the rest.
    assert np.isfinite(mask.baseline[:, mask.chan_ok]).all()
