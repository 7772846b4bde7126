import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulsar.constants import KDM
from pulsar.errors import DataError
from pulsar.report.drawn import plot
from pulsar.report.figure import save
from pulsar.report.words import About
from pulsar.searches import cutout
from pulsar.searches.cutout import cut_out
from pulsar_kernels.shear import shear_add, shifted_sums


class Source:
    """Noise and one pulse, as a SampleSource."""

    def __init__(self, dm, time, width, amplitude, nsamps=8000, nchans=96, live=None):
        freqs = np.linspace(1499.0, 1005.0, nchans)
        self.fref, self.chan_width, self.tsamp, self.tstart = float(freqs[0]), 5.2, 5e-4, 60000.0
        self.nsamps = nsamps
        self.freqs = freqs if live is None else freqs[live]
        delay = KDM * dm * (self.freqs**-2.0 - self.fref**-2.0)
        t = (np.arange(nsamps) + 0.5) * self.tsamp
        x = 8.0 * np.random.default_rng(1).standard_normal((len(self.freqs), nsamps))
        x += 8.0 * amplitude * (np.abs(t[None, :] - time - delay[:, None]) < 0.5 * width)
        self.data = np.clip(np.rint(x), -127, 127).astype(np.int8)
        self.read = []

    def read_into(self, start, out):
        self.read.append((start, out.shape[1]))
        out[:] = 0
        lo, hi = max(start, 0), min(start + out.shape[1], self.nsamps)
        if lo < hi:
            out[:, lo - start : hi - start] = self.data[:, lo:hi]

    def valid_fraction(self, start, nsamps):
        return 1.0


def test_the_pulse_is_where_it_was_said_to_be(monkeypatch):
    source = Source(dm=150.0, time=1.5, width=8e-3, amplitude=1.0)
    monkeypatch.setattr(cutout, "PIECE_BYTES", 96 * 300)
    found = cut_out(source, {"time": 1.5, "dm": 150.0, "width": 8e-3}, nbands=16, ntime=128, ndms=33)
    assert found.spectrum.shape == (16, 128)
    assert found.plane.shape == (33, 128)
    assert found.tsamp == pytest.approx(1e-3)
    row, column = np.unravel_index(np.argmax(found.plane), found.plane.shape)
    assert found.dms[row] == pytest.approx(150.0, abs=3.0)
    assert found.times[column] == pytest.approx(1.5, abs=4.5e-3)
    # Amplitude of a sample times root of the samples in an element, in each band and in all.
    on = np.abs(found.times - 1.5) < 3e-3
    off = np.abs(found.times - 1.5) > 8e-3
    np.testing.assert_allclose(found.spectrum[:, on].mean(axis=1), np.sqrt(2 * 6), rtol=0.25)
    assert found.profile[on].mean() == pytest.approx(np.sqrt(2 * 96), rel=0.1)
    assert found.spectrum[:, off].std() == pytest.approx(1.0, abs=0.06)
    assert found.profile[off].std() == pytest.approx(1.0, abs=0.2)
    assert found.mjd == pytest.approx(60000 + 1.5 / 86400, abs=1e-11)
    # Only the sweep was read, piece by piece.
    assert len(source.read) > 1
    assert all(n <= 300 for _, n in source.read)
    sweep = (150 * KDM * (source.freqs[-1] ** -2 - source.freqs[0] ** -2) + 0.13 + 0.25) / source.tsamp
    assert sum(n for _, n in source.read) < 1.3 * sweep


@pytest.mark.parametrize("time", [0.002, 3.995])
def test_at_the_ends_of_the_data(time):
    source = Source(dm=30.0, time=time, width=4e-3, amplitude=1.0)
    found = cut_out(source, {"time": time, "dm": 30.0, "width": 4e-3})
    inside = (found.times > found.tsamp) & (found.times < 4.0 - found.tsamp)
    outside = (found.times < -found.tsamp) | (found.times > 4.0 + found.tsamp)
    assert outside.any()
    assert np.isnan(found.spectrum[0, outside]).all()
    assert np.isfinite(found.spectrum[0, inside]).all()
    assert np.isfinite(found.plane).all()
    assert found.times[np.nanargmax(found.spectrum[0])] == pytest.approx(time, abs=4e-3)


def test_where_the_highest_channels_are_dead():
    source = Source(dm=150.0, time=1.5, width=8e-3, amplitude=1.0, live=slice(30, None))
    found = cut_out(source, {"time": 1.5, "dm": 150.0, "width": 8e-3})
    row, column = np.unravel_index(np.argmax(found.plane), found.plane.shape)
    assert found.dms[row] == pytest.approx(150.0, abs=4.0)
    assert found.times[column] == pytest.approx(1.5, abs=0.01)


def test_one_channel_and_none():
    source = Source(dm=0.0, time=1.0, width=4e-3, amplitude=4.0, nchans=1)
    found = cut_out(source, {"time": 1.0, "dm": 0.0, "width": 4e-3})
    assert found.spectrum.shape[0] == 1
    assert np.all(found.dms == 0.0)
    assert found.profile.max() > 4
    with pytest.raises(DataError, match="no channel"):
        cut_out(Source(0.0, 1.0, 4e-3, 1.0, live=slice(0, 0)), {"time": 1.0, "dm": 0.0, "width": 4e-3})


@given(st.integers(1, 5), st.integers(1, 60), st.integers(-40, 40), st.integers(-50, 50), st.integers(1, 7), st.data())
def test_shear_add(nchans, n, at, origin, factor, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    samples = rng.integers(-128, 128, (nchans, n)).astype(np.int8)
    delays = rng.integers(-20, 60, nchans)
    out = rng.integers(-5, 5, (nchans, 12)).astype(np.float32)
    expected = out.astype(np.float64)
    for c in range(nchans):
        for j in range(12 * factor):
            i = origin + j + delays[c] - at
            if 0 <= i < n:
                expected[c, j // factor] += samples[c, i]
    shear_add(samples, at, delays, origin, factor, out)
    np.testing.assert_array_equal(out, expected)


@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_shifted_sums(nchans, nsets, n, seed):
    rng = np.random.default_rng(seed)
    window = rng.standard_normal((nchans, n + 20)).astype(np.float32)
    shifts = rng.integers(-7, 8, (nsets, nchans))
    out = np.full((nsets, n), 9, np.float32)
    shifted_sums(window, shifts, 8, out)
    for k in range(nsets):
        expected = sum(window[c, 8 + shifts[k, c] :][:n].astype(np.float64) for c in range(nchans))
        np.testing.assert_allclose(out[k], expected, atol=1e-5)


def test_sheet(tmp_path):
    source = Source(dm=150.0, time=1.5, width=8e-3, amplitude=1.0)
    found = cut_out(source, {"time": 1.5, "dm": 150.0, "width": 8e-3})
    row = {"id": "p0001", "snr": np.float32(40.0), "dm": 150.0, "dm_err": 0.4, "sigma": 38.0, "rfi_flags": "cut"}
    sheet = plot(found, About(row))
    save(sheet, tmp_path / "pulse.png")
    assert (tmp_path / "pulse.png").read_bytes() == sheet._repr_png_()
    texts = sheet.labels.texts
    assert any(t.startswith("cut: ") for t in texts)
    assert any("150.00(40)" in t for t in texts)
    assert len(sheet.axes) == 3
    (one,) = [plot(cut_out(Source(0.0, 1.0, 4e-3, 4.0, nchans=1), {"time": 1.0, "dm": 0.0, "width": 4e-3}))]
    # Nothing is left empty where there is no DM.
    assert len(one.axes) == 2
