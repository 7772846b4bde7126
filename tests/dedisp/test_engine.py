"""The tree: exact bookkeeping, small arrival errors, little loss of S/N."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import dedisperse as oracle
from reference.blocks import dedisperse_block

from pulsar.constants import KDM
from pulsar.dedisp.engine import build_tree, samples_per_dm
from pulsar.dedisp.plan import ARRIVAL_RMS


def band(nchans, low, high):
    width = (high - low) / nchans
    return high - width * (np.arange(nchans) + 0.5)


HOLES = np.delete(band(1024, 1000.0, 1500.0), np.r_[100:200, 333, 500:777, 1023])
BANDS = {
    "FAST": (band(4096, 1000.0, 1500.0), 49.152e-6, np.arange(128) * 0.5),
    "FAST fine steps": (band(4096, 1000.0, 1500.0), 49.152e-6, 28.0 + np.arange(128) * 0.022),
    "FAST high DM": (band(4096, 1000.0, 1500.0), 393e-6, 900.0 + np.arange(128) * 0.25),
    "ASKAP": (band(336, 1130.0, 1466.0), 1.26647e-3, np.arange(300) * 2.0),
    "Parkes wide": (band(832, 704.0, 4032.0), 0.512e-3, np.arange(200) * 1.0),
    "Parkes wide fine": (band(832, 704.0, 4032.0), 0.512e-3, 60 + np.arange(128) * 0.188),
    "64": (band(64, 1000.0, 1500.0), 64e-6, np.arange(200) * 1.0),
    "256": (band(256, 1000.0, 1500.0), 64e-6, np.arange(128) * 0.5),
    "holes": (HOLES, 64e-6, np.arange(200) * 0.7),
    "5": (band(5, 300.0, 400.0), 1e-3, np.arange(50) * 1.0),
}


@pytest.mark.parametrize("name", BANDS)
def test_arrival_errors(name):
    freqs, tsamp, dms = BANDS[name]
    build_tree(samples_per_dm(freqs[:5], float(freqs[0]), tsamp), dms[:2], 64)  # compiles
    start = time.process_time()
    k = samples_per_dm(freqs, float(freqs[0]), tsamp)
    tree = build_tree(k, dms, 4096)
    assert time.process_time() - start < 3.0
    error = tree.delays() - np.outer(dms, k)
    assert error.shape == (dms.size, freqs.size)
    assert np.abs(error.mean(axis=1)).max() <= 0.5 + 1e-9
    error -= error.mean(axis=1, keepdims=True)
    rms = np.sqrt(np.mean(error**2, axis=1))
    assert rms.max() <= 0.6
    assert np.sqrt(np.mean(rms**2)) <= 1.05 * ARRIVAL_RMS["tree"]
    assert np.abs(error).max() <= 2.5
    # Far fewer sums than brute force, the more so the more channels there are.
    assert tree.adds < (0.35 if freqs.size > 300 else 1.0) * dms.size * freqs.size


def test_the_reference_above_the_band_is_included():
    freqs = band(30, 1200.0, 1400.0)
    k = samples_per_dm(freqs, 1500.0, 64e-6)
    tree = build_tree(k, np.array([100.0]), 64)
    want = KDM * 100.0 * (freqs**-2 - 1500.0**-2) / 64e-6
    assert want[0] > 100
    assert np.abs(tree.delays()[0] - want).max() <= 2.0


@settings(deadline=None, max_examples=25)
@given(
    nchans=st.integers(1, 70),
    ndms=st.integers(1, 40),
    nsamps=st.integers(1, 300),
    dm_hi=st.floats(0.0, 400.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_series_are_those_of_the_tree(nchans, ndms, nsamps, dm_hi, seed):
    """Bit for bit, for ragged bands, delays longer than the data, a single DM, DM 0; and near the plain sum."""
    rng = np.random.default_rng(seed)
    freqs = np.sort(rng.uniform(1000.0, 1500.0, nchans))[::-1]
    dms = np.linspace(0.0 if seed % 2 else dm_hi / 2, dm_hi, ndms)
    fref = 1500.0 if seed % 3 else float(freqs[0])
    tsamp = 10.0 ** rng.uniform(-4, -2)
    data = rng.integers(-60, 60, (nchans, nsamps), dtype=np.int8)
    got = dedisperse_block(data, freqs, dms, tsamp, fref=fref)
    k = samples_per_dm(freqs, fref, tsamp)
    tree = build_tree(k, dms, 64)
    assert np.abs(tree.delays() - np.outer(dms, k)).max() <= 2.5
    np.testing.assert_array_equal(got.data, oracle.tree(data, tree.children, tree.shifts))
    assert got.data.dtype == np.int16
    # Quiet enough that nothing saturates: each half sum is at most half off, in a scale that doubles at each level.
    quiet = (data // 8).astype(np.int8)
    off = dedisperse_block(quiet, freqs, dms, tsamp, fref=fref).data - oracle.shifted_sums(quiet, tree.delays())
    nodes = [level.max(initial=-1) + 1 for level in tree.children[1:]]
    counts = [-(-nchans // 4 ** (i + 1)) for i in range(len(nodes))]
    assert np.abs(off).max() <= sum(count * 2**i for i, count in enumerate(counts))


@settings(deadline=None, max_examples=20)
@given(nchans=st.integers(1, 70), nsamps=st.integers(1, 200), dm=st.floats(0, 300), seed=st.integers(0, 2**32 - 1))
def test_brute_is_the_sum_with_rounded_delays(nchans, nsamps, dm, seed):
    rng = np.random.default_rng(seed)
    freqs = np.sort(rng.uniform(1000.0, 1500.0, nchans))[::-1]
    dms = np.array([dm, 0.0, dm / 3])
    data = rng.integers(-128, 128, (nchans, nsamps), dtype=np.int8)
    got = dedisperse_block(data, freqs, dms, 1e-3, method="brute")
    delays = np.rint(np.outer(dms, samples_per_dm(freqs, float(freqs[0]), 1e-3))).astype(int)
    np.testing.assert_array_equal(got.data, oracle.shifted_sums(data, delays))


@pytest.mark.parametrize("method", ["tree", "brute"])
@pytest.mark.parametrize(("fref", "dms"), [(1250.0, [0.0, 60.0]), (1100.0, [90.0]), (None, [-40.0, 0.0, 25.0])])
def test_delays_that_are_negative(method, fref, dms):
    """A reference inside the band, or the DM of an observation that was dedispersed too far."""
    freqs, tsamp, dms = band(30, 1100.0, 1500.0), 1e-3, np.array(dms)
    data = np.random.default_rng(4).integers(-128, 128, (30, 200), dtype=np.int8)
    got = dedisperse_block(data, freqs, dms, tsamp, fref=fref, method=method).data
    k = samples_per_dm(freqs, float(freqs[0]) if fref is None else fref, tsamp)
    if method == "brute":
        want = oracle.shifted_sums(data, np.rint(np.outer(dms, k)).astype(int))
    else:
        tree = build_tree(k, dms, 64)
        want = oracle.tree(data, tree.children, tree.shifts)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("nchans", [5, 16, 47, 64, 256, 832, 1024, 4096])
def test_bright_pulses_are_not_cut(nchans):
    """A sample of 50 times the noise, the same share of it in all channels, comes out whole."""
    level = int(50 * 8 / np.sqrt(nchans))
    if level > 127:
        level = 127
    data = np.zeros((nchans, 64), np.int8)
    data[:, 20] = level
    dms = np.arange(200) * 0.01
    row = dedisperse_block(data, band(nchans, 1000.0, 1500.0), dms, 1e-3).data[0]
    assert row[20] == pytest.approx(nchans * level, rel=0.02)


def _strength(signal, period, tsamp):
    """What a matched filter on the folded profile makes of a signal, but for the noise: the root of its energy."""
    nbins = 64
    bins = np.floor((np.arange(signal.size) * tsamp / period) % 1.0 * nbins).astype(int)
    profile = np.bincount(bins, weights=signal, minlength=nbins) / np.bincount(bins, minlength=nbins)
    return float(profile.std())


@pytest.mark.parametrize("dm", [12.3, 34.0, 71.7, 110.1])
def test_loss_of_snr_on_millisecond_pulsars(dm):
    """Tree against float64 sums with the exactly rounded delays: at most 2 % lost, for each P."""
    freqs = band(256, 1000.0, 1500.0)
    tsamp, nsamps = 64e-6, 24_000
    dms = np.linspace(dm - 5, dm + 5, 41)
    trial = 20
    delay = samples_per_dm(freqs, float(freqs[0]), tsamp)
    rng = np.random.default_rng(int(dm))
    noise = rng.normal(0.0, 8.0, (256, nsamps))
    quiet = np.rint(noise).astype(np.int8)
    rounded = np.rint(np.outer(dms[trial : trial + 1], delay)).astype(int)

    def series(data):
        return (
            dedisperse_block(data, freqs, dms, tsamp).data[trial].astype(float),
            oracle.shifted_sums(data, rounded)[0],
        )

    # Leave out the tail where delayed data run out.
    n = nsamps - int(rounded.max()) - 2
    base = series(quiet)
    ratios = []
    for period, duty in ((1.5e-3, 0.1), (2.3e-3, 0.1), (4.7e-3, 0.06), (10e-3, 0.05)):
        # The same noise with and without the pulsar: the difference is the signal, the rest its noise.
        smear = 2 * KDM * dm * (500.0 / 256) / freqs**3
        sigmas = np.hypot(duty * period / 2.355, smear / np.sqrt(12)) / period
        data = np.empty_like(quiet)
        for channel, sigma in enumerate(sigmas):
            phase = ((np.arange(nsamps) - delay[channel] * dm) * tsamp / period - 0.4) % 1.0 - 0.5
            pulse = 4.0 * duty * period / 2.355 / (sigma * period) * np.exp(-0.5 * (phase / sigma) ** 2)
            data[channel] = np.rint(noise[channel] + pulse)
        snr = []
        for found, empty in zip(series(data), base, strict=True):
            signal = (found - empty)[:n]
            snr.append(_strength(signal, period, tsamp) / empty[:n].std())
        ratios.append(snr[0] / snr[1])
    assert min(ratios) >= 0.98, ratios
    assert np.mean(ratios) >= 0.985
