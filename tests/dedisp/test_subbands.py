"""Subbands made while samples are read for something else."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pulsar.constants import KDM
from pulsar.dedisp.subbands import SubbandRelay, Subbands
from pulsar.errors import PulsarError


class Source:
    """Cleaned samples in memory."""

    def __init__(self, nchans=50, nsamps=3000, seed=1):
        self.freqs = np.linspace(1500.0, 1000.0, nchans)
        self.fref, self.chan_width, self.tsamp, self.tstart = 1501.0, 10.0, 1e-3, 60000.0
        self.nsamps = nsamps
        self.data = np.random.default_rng(seed).normal(0, 8, (nchans, nsamps)).round().clip(-127, 127).astype(np.int8)

    def read_into(self, start, out):
        out[:] = 0
        low, high = max(start, 0), min(start + out.shape[1], self.nsamps)
        out[:, low - start : high - start] = self.data[:, low:high]

    def valid_fraction(self, _start, _nsamps):
        return 1.0


def whole(source, dm, nbands):
    bands = Subbands(source, dm, nbands)
    bands.fill([], threads=1)
    return bands


def test_bands_are_sums_of_their_channels_at_the_dm():
    source = Source()
    bands = whole(source, 80.0, 7)
    want = np.zeros((7, source.nsamps), dtype=np.int64)
    for c, freq in enumerate(source.freqs):
        band = int(bands.lanes[c])
        late = round(KDM * 80.0 * (freq**-2.0 - bands.freqs[band] ** -2.0) / source.tsamp)
        at = np.arange(source.nsamps) + late
        inside = (at >= 0) & (at < source.nsamps)
        want[band, inside] += source.data[c, at[inside]]
    np.testing.assert_array_equal(bands.sums, want)
    assert np.bincount(bands.lanes).tolist() == [7, 7, 7, 8, 7, 7, 7]


def test_they_do_not_depend_on_pieces_threads_or_repetition():
    source = Source()
    want = whole(source, 80.0, 7).sums
    bands = [Subbands(source, 80.0, 7), Subbands(source, 80.0, 7)]
    shared = SubbandRelay(source, bands)
    starts = range(-20, source.nsamps, 130)
    with ThreadPoolExecutor(4) as pool:
        # What is read overlaps; each into an array of its own.
        list(pool.map(lambda at: shared.read_into(at, np.empty((50, 170), dtype=np.int8)), starts))
    assert bands[0].is_whole
    shared.read_into(5, np.empty((50, 100), dtype=np.int8))
    np.testing.assert_array_equal(bands[0].sums, want)
    np.testing.assert_array_equal(bands[1].sums, want)


def test_until_all_is_read_they_are_not_whole():
    source = Source()
    bands = Subbands(source, 10.0, 5)
    bands.add(0, source.data[:, :1000])
    assert not bands.is_whole
    bands.fill([], threads=2)
    assert bands.is_whole
    np.testing.assert_array_equal(bands.sums, whole(source, 10.0, 5).sums)


def test_noise_of_a_band_is_that_of_a_channel():
    source = Source()
    bands = whole(source, 30.0, 5)
    out = np.empty((5, source.nsamps + 10), dtype=np.int8)
    bands.read_into(-5, out)
    assert out[:, :5].any() == out[:, -5:].any() == False  # noqa: E712
    assert out[:, 200:-200].std() == pytest.approx(8.0, rel=0.03)


def test_a_copy_is_one_of_its_own():
    bands = whole(Source(), 30.0, 5)
    before = bands.sums.copy()
    bands.copy().sums[:] = 0
    np.testing.assert_array_equal(bands.sums, before)


def test_they_may_lie_in_a_file_that_has_no_name(tmp_path):
    source = Source()
    bands = Subbands(source, 30.0, 5, tmp_path)
    bands.fill([], threads=2)
    np.testing.assert_array_equal(bands.sums, whole(source, 30.0, 5).sums)
    other = bands.copy()
    other.sums[:] = 0
    assert bands.sums.any()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(PulsarError, match=r"no scratch file for subbands.*run\.scratch"):
        Subbands(source, 30.0, 5, tmp_path / "nowhere")
