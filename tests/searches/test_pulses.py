"""Pulses from events, and what the data hold around one: its dynamic spectrum, its DM-time plane, its sheet."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulsar.config.model import SinglePulseConfig
from pulsar.constants import KDM
from pulsar.data.candidate import EVENT_COLUMNS, SINGLE_PULSE_COLUMNS, dtype_of
from pulsar.errors import DataError
from pulsar.report.figure import save
from pulsar.report.sheet import plot
from pulsar.report.words import About
from pulsar.searches import pulses
from pulsar.searches.pulses import band_delays, cluster, cut_out
from pulsar.searches.single_pulse import SinglePulseSearch
from pulsar_kernels.dedisperse import shear_add, shifted_sums

FAST = np.linspace(1499.9, 1000.1, 256)
ASKAP = np.linspace(1464.5, 1129.5, 336)
N, TSAMP = 8192, 1e-3


def observed(bursts, freqs, dms, seed=1, snr=7.0, noise=True, tsamp=TSAMP, n=N):
    """Events of series at all `dms`, each made directly: bursts of (time, dm, S/N, width) and noise."""
    rng = np.random.default_rng(seed)
    search = SinglePulseSearch(n, tsamp, SinglePulseConfig(snr=snr))
    delay = KDM * (freqs**-2.0 - freqs.max() ** -2.0)
    events = []
    for row, dm in enumerate(dms):
        x = rng.standard_normal(n) if noise else 1e-3 * rng.standard_normal(n)
        edges = np.arange(n + 1) * tsamp
        for time, dm0, strength, width, *chans in bursts:
            band = slice(*chans) if chans else slice(None)
            starts = time - 0.5 * width + (dm0 - dm) * delay[band]
            # What has arrived of each channel's box by every edge.
            near = slice(max(int((starts.min() - 0.1) / tsamp), 0), int((starts.max() + width + 0.1) / tsamp) + 2)
            part = np.clip((edges[near][None, :] - starts[:, None]) / width, 0, 1).mean(axis=0)
            x[near][: len(part) - 1] += strength * np.sqrt(width / tsamp) * np.diff(part)
        events.append(search.search(x.astype(np.float32), dm=float(dm), dm_index=row))
    return np.concatenate(events)


def clustered(events, dms, freqs, **options):
    values = {"tobs": N * TSAMP, "tstart": 60000.0, "ntrials": 1e9} | options
    return cluster(events, dms, freqs, np.full(len(dms), TSAMP), **values)


@pytest.mark.parametrize("freqs", [FAST, ASKAP], ids=["FAST", "ASKAP"])
@pytest.mark.parametrize("dm", [0.0, 50.0, 500.0, 2000.0])
@pytest.mark.parametrize("snr", [9.0, 30.0, 300.0])
def test_a_bow_tie_is_one_pulse(freqs, dm, snr):
    step = 1.0 if snr < 100 else 4.0
    dms = np.unique(np.clip(dm + step * np.arange(-80, 81), 0, None))
    events = observed([(4.0, dm, snr, 4e-3)], freqs, dms, seed=int(dm + snr))
    found = clustered(events, dms, freqs)
    assert len(found) == 1
    (row,) = found.table
    assert found.table.dtype == dtype_of(SINGLE_PULSE_COLUMNS)
    assert abs(row["dm"] - dm) < 4 * row["dm_err"]
    _, e_lo, _ = band_delays(freqs)
    assert abs(row["time"] - 4.0) < 4 * row["dm_err"] * e_lo + 2e-3
    assert abs(row["snr"] - snr) < 4 + 0.1 * snr
    assert (row["rank"], row["id"], row["ndetections"], row["beam"]) == (1, "p0001", len(events), -1)
    assert row["mjd"] == pytest.approx(60000 + row["time"] / 86400, abs=1e-12)
    assert np.array_equal(found.members(0), np.arange(len(events)))
    assert ("dm0" in row["rfi_flags"]) == (dm == 0)
    assert row["score"] > 0.5 or dm == 0


def test_two_pulses_30_ms_apart_stay_two():
    dms = np.arange(400.0, 601.0)
    for strengths in ((40.0, 40.0), (100.0, 12.0), (15.0, 12.0)):
        bursts = [(4.0, 500.0, strengths[0], 3e-3), (4.03, 500.0, strengths[1], 3e-3)]
        found = clustered(observed(bursts, FAST, dms, seed=5), dms, FAST)
        assert len(found) == 2
        np.testing.assert_allclose(np.sort(found.table["time"]), [4.0, 4.03], atol=4e-3)
        assert np.all(np.abs(found.table["dm"] - 500) < 4 * found.table["dm_err"])


def test_pulses_of_two_dms_stay_two():
    dms = np.arange(0.0, 400.0)
    bursts = [(4.0, 100.0, 30.0, 3e-3), (4.1, 300.0, 20.0, 3e-3)]
    found = clustered(observed(bursts, FAST, dms), dms, FAST)
    assert np.abs(found.table["dm"] - [100, 300]).max() < 2
    assert len(found) == 2


def test_a_pulse_in_part_of_the_band_is_one_with_the_score_and_the_error_of_that_part():
    dms = np.arange(460.0, 540.0, 0.25)
    part, whole = (
        clustered(observed([(4.0, 500.0, 20.0, 4e-3, first, 256)], FAST, dms), dms, FAST) for first in (180, 0)
    )
    assert len(part) == len(whole) == 1
    assert abs(part.table["dm"][0] - 500) < 4 * part.table["dm_err"][0]
    assert part.table["score"][0] > 0.95
    # By theory as the delays over those channels; what is seen far from the DM is what noise lifts above the threshold.
    expected = band_delays(FAST)[2] / band_delays(FAST[180:])[2]
    assert 0.6 * expected < part.table["dm_err"][0] / whole.table["dm_err"][0] < 1.2 * expected


def test_undispersed_interference_is_flagged():
    dms = np.arange(0.0, 200.0)
    found = clustered(observed([(4.0, 0.0, 40.0, 10e-3)], FAST, dms), dms, FAST)
    assert list(found.table["rfi_flags"]) == ["dm0"]
    assert found.table["score"][0] < 0.15
    # A true pulse at a DM that a plan with DM 0 can tell apart.
    found = clustered(observed([(4.0, 60.0, 40.0, 10e-3)], FAST, dms), dms, FAST)
    assert list(found.table["rfi_flags"]) == [""]


def events_of(rows):
    table = np.zeros(len(rows), dtype=dtype_of(EVENT_COLUMNS))
    for name, values in zip(("dm_index", "dm", "time", "snr", "width"), zip(*rows, strict=True), strict=True):
        table[name] = values
    table["reach"] = np.inf
    return table


def test_one_event_where_there_must_be_many_has_no_curve():
    dms = np.arange(0.0, 100.0, 0.1)
    found = clustered(events_of([(500, 50.0, 3.0, 25.0, 20e-3)]), dms, FAST, threshold=7.0)
    assert list(found.table["rfi_flags"]) == ["nodm"]
    assert found.table["score"][0] < 0.1
    # Unless the level hides what would be hardly wider.
    events = events_of([(500, 50.0, 3.0, 25.0, 20e-3)])
    events["reach"] = 20e-3
    assert list(clustered(events, dms, FAST, threshold=7.0).table["rfi_flags"]) == [""]


def test_what_sweeps_out_of_the_data_is_flagged():
    dms = np.arange(400.0, 600.0)
    found = clustered(observed([(7.5, 500.0, 30.0, 4e-3)], FAST, dms), dms, FAST)
    assert list(found.table["rfi_flags"]) == ["cut"]
    assert not found.at_end.any()


@pytest.mark.parametrize(("snr", "step", "made"), [(7.3, 4.0, True), (30.0, 1.0, False)])
def test_what_sweeps_out_of_the_data_must_be_seen_at_several_dms(snr, step, made):
    dms = np.arange(400.0, 600.0, step)
    events = observed([(7.5, 500.0, snr, 4e-3)], FAST, dms)
    found = clustered(events[events["snr"] >= 7.0], dms, FAST, threshold=7.0)
    assert list(found.table["rfi_flags"]) == ["cut"]
    assert found.at_end.tolist() == [made]


@pytest.mark.parametrize(("width", "reach", "made"), [(200e-3, 0.3, True), (200e-3, np.inf, False), (4e-3, 0.3, False)])
def test_a_level_that_wanders_makes_wide_pulses_at_the_end(width, reach, made):
    dms = np.arange(100.0, 300.0)
    events = observed([(7.9, 200.0, 12.0, width)], FAST, dms)
    events["reach"] = reach
    found = clustered(events, dms, FAST)
    assert list(found.table["rfi_flags"]) == ["cut"]
    assert found.at_end.tolist() == [made]


@pytest.mark.parametrize(("time", "made"), [(8.188, True), (8.1, False)])
def test_what_begins_within_its_width_of_the_end_is_in_the_last_channels_only(time, made):
    dms = np.arange(100.0, 300.0)
    found = clustered(observed([(time, 200.0, 12.0, 8e-3)], FAST, dms), dms, FAST)
    assert list(found.table["rfi_flags"]) == ["cut"]
    assert found.at_end.tolist() == [made]


def test_no_channel_of_a_series_ends_before_another():
    events = events_of([(0, 50.0, 8.1, 12.0, 0.2)])
    events["reach"] = 0.3
    found = clustered(events, np.array([50.0]), np.array([1400.0]))
    assert found.table["time"][0] + found.table["width"][0] > 8.192
    assert not found.at_end.any()


def test_no_events_and_wrong_dms():
    assert len(clustered(np.zeros(0, dtype_of(EVENT_COLUMNS)), np.arange(3.0), FAST)) == 0
    nothing = clustered(events_of([(1, 1.0, np.nan, 8.0, 1e-3), (1, 1.0, 1.0, np.nan, 1e-3)]), np.arange(3.0), FAST)
    assert len(nothing) == 0
    assert nothing.labels.tolist() == [-1, -1]
    with pytest.raises(DataError, match="plan of 3"):
        clustered(events_of([(3, 3.0, 1.0, 8.0, 1e-3)]), np.arange(3.0), FAST)


def test_one_dm_only():
    found = clustered(events_of([(0, 7.0, 1.0, 9.0, 1e-3), (0, 7.0, 2.0, 8.0, 1e-3)]), np.array([7.0]), FAST)
    assert len(found) == 2
    assert np.all(np.isnan(found.table["dm_err"]))
    assert np.all(found.table["dm"] == 7.0)
    assert np.all(found.table["score"] == 1.0)


def test_the_order_of_events_does_not_matter():
    dms = np.arange(400.0, 600.0)
    events = observed([(3.0, 500.0, 40.0, 4e-3), (5.0, 450.0, 20.0, 10e-3)], FAST, dms)
    a = clustered(events, dms, FAST)
    shuffled = np.random.default_rng(1).permutation(len(events))
    b = clustered(events[shuffled], dms, FAST)
    assert a.table.tobytes() == b.table.tobytes()
    assert np.array_equal(a.labels[shuffled], b.labels)


def test_too_many_events_are_cut_to_the_strongest():
    dms = np.arange(400.0, 600.0)
    events = observed([(3.0, 500.0, 40.0, 4e-3), (5.0, 450.0, 20.0, 10e-3)], FAST, dms)
    found = clustered(events, dms, FAST, max_events=20)
    assert found.dropped == len(events) - 20
    assert np.count_nonzero(found.labels >= 0) == 20
    assert all("many" in flags for flags in found.table["rfi_flags"])


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
    monkeypatch.setattr(pulses, "PIECE_BYTES", 96 * 300)
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
