"""Noise, pulses and quantising against their plain forms, and the noise against what normal noise must be."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import synth as ref

from pulsar_kernels import synth


@pytest.fixture(autouse=True)
def _wrapping():
    """Without the JIT numpy warns of the overflow that the mixer is made of."""
    with np.errstate(over="ignore"):
        yield


@pytest.fixture(scope="module")
def deviates():
    out = np.empty((4, 2**20), dtype=np.float32)
    synth.normals(synth.stream_keys(11, 0, np.arange(4)), 0, out)
    return out


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**40), st.integers(1, 300), st.integers(1, 3))
def test_normals_match_reference(key, start, n, nchans):
    keys = np.array([(key + 977 * c) % 2**64 for c in range(nchans)], dtype=np.uint64)
    out = np.empty((nchans, n), dtype=np.float32)
    synth.normals(keys, start, out)
    expected = [[ref.normal(int(k), start + j) for j in range(n)] for k in keys]
    np.testing.assert_allclose(out, expected, rtol=2e-7)


def test_tail_of_the_base_layer():
    # Places of one stream where the base layer's tail is drawn.
    key = synth.stream_keys(11, 0, np.arange(1))
    found = [j for j in range(60_000) if ref.mix((int(key[0]) + j * ref.GOLDEN) & ref.MASK) & 255 == 0]
    values = {j: ref.normal(int(key[0]), j) for j in found}
    far = [j for j, value in values.items() if abs(value) > ref.R]
    assert len(far) >= 3
    out = np.empty((1, 1), dtype=np.float32)
    for j in far:
        synth.normals(key, j, out)
        np.testing.assert_allclose(out[0, 0], values[j], rtol=2e-7)


@pytest.mark.jit
def test_rare_branches_match_reference(deviates):
    # The base layer's tail, beyond 3.654, and the wedges: enough of them among a million.
    keys = synth.stream_keys(11, 0, np.arange(4))
    places = np.flatnonzero(np.abs(deviates[0]) > 3.6)[:200]
    assert places.size > 100
    expected = [ref.normal(int(keys[0]), int(j)) for j in places]
    np.testing.assert_allclose(deviates[0, places], expected, rtol=2e-7)


@pytest.mark.jit
def test_moments_and_tails(deviates):
    x = deviates.astype(np.float64).ravel()
    n = x.size
    assert abs(x.mean()) < 4 / math.sqrt(n)
    assert abs(x.var() - 1) < 4 * math.sqrt(2 / n)
    assert abs(np.mean(x**3)) < 4 * math.sqrt(15 / n)
    assert abs(np.mean(x**4) - 3) < 4 * math.sqrt(96 / n)
    for z in (0.5, 1, 2, 3, 4, 4.5):
        expected = n * math.erfc(z / math.sqrt(2))
        assert abs(np.count_nonzero(np.abs(x) > z) - expected) < 4 * math.sqrt(expected) + 1
    assert 4.5 < np.abs(x).max() < 6.5


@pytest.mark.jit
def test_distribution_by_equal_bins(deviates):
    from scipy import stats

    quantiles = stats.norm.cdf(deviates.astype(np.float64).ravel())
    counts = np.histogram(quantiles, bins=512, range=(0, 1))[0]
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.jit
def test_spectrum_is_white_and_streams_independent(deviates):
    n = deviates.shape[1]
    power = np.abs(np.fft.rfft(deviates.astype(np.float64), axis=1)[:, 1:-1]) ** 2 / n
    assert abs(power.mean() - 1) < 4 / math.sqrt(power.size)
    assert power.max() < math.log(power.size) + 12
    bands = power.reshape(4, -1)[:, : (power.shape[1] // 64) * 64].reshape(4, 64, -1).mean(axis=(0, 2))
    assert np.abs(bands - 1).max() < 5 / math.sqrt(power.size / 64)
    correlation = np.corrcoef(deviates)
    assert np.abs(correlation[~np.eye(4, dtype=bool)]).max() < 5 / math.sqrt(n)


@pytest.mark.jit
def test_pieces_are_the_whole(deviates):
    keys = synth.stream_keys(11, 0, np.arange(4))
    for start, n in ((0, 1), (1, 17), (4095, 4097), (1000003, 11)):
        part = np.empty((4, n), dtype=np.float32)
        synth.normals(keys, start, part)
        np.testing.assert_array_equal(part, deviates[:, start : start + n])


def test_stream_keys_differ():
    keys = np.concatenate([synth.stream_keys(seed, stream, np.arange(500)) for seed in (0, 1) for stream in (0, 1, 2)])
    assert np.unique(keys).size == keys.size
    values = synth.uniforms(int(keys[0]), np.arange(20000))
    assert 0 < values.min() < values.max() < 1
    assert abs(values.mean() - 0.5) < 5 / math.sqrt(12 * values.size)


def profile_table(rng, ntemplates, nbins, width):
    profile = rng.random((ntemplates, nbins))
    profile[:, max(1, int(width * nbins)) :] = 0
    profile /= profile.mean(axis=1, keepdims=True)
    table = np.zeros((ntemplates, nbins + 1))
    table[:, 1:] = np.cumsum(profile - 1, axis=1) / nbins
    table[:, -1] = 0
    return table, np.full(ntemplates, max(1, int(width * nbins)) / nbins)


@given(
    st.integers(0, 10**6),
    st.integers(1, 4),
    st.integers(1, 5000),
    st.integers(0, 10**5),
    st.floats(0.0005, 0.9),
    st.sampled_from([16, 64, 1024]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_periodic_matches_reference(seed, nchans, n, start, turns, nbins, orbit, accelerated, nulling):
    rng = np.random.default_rng(seed)
    tsamp = 1e-3
    freq = turns / tsamp
    table, on = profile_table(rng, 2, nbins, rng.uniform(0.05, 1))
    rows = rng.integers(0, 2, nchans)
    spin = np.array([freq, 0.0, 50.0, 0.0, 1.0, 0.0, rng.random(), 1.0])
    if accelerated:
        spin[1] = 1e-4 * freq
    if orbit:
        spin[3:6] = 0.5, 900.0, 3.0
    nulls = rng.random(400) < 0.5 if nulling else np.zeros(0, dtype=bool)
    first = math.floor(ref.phase(np.array([start * tsamp]), spin)[0]) - 1
    data = rng.standard_normal((nchans, n)).astype(np.float32)
    args = (start, tsamp, rng.random(nchans), spin, rng.random(nchans), table, rows)
    amps = rng.random(nchans)
    expected = ref.add_periodic(data, *args, amps, nulls, first)
    synth.add_periodic(data, *args, on[rows], amps, nulls, first)
    # Phases to 1e-9 of a turn (1e-6 for the parabolas along so quick an orbit); a sample far shorter than a bin
    # divides that by its own length.
    tolerance = 2e-6 * (1 + 1 / on.min()) + (4e-6 / on.min() if orbit else 1e-8) / turns
    difference = np.abs(data - expected)
    # A sample that ends on a whole turn to the last digit may fall to either rotation, one of which may be null.
    assert np.count_nonzero(difference >= tolerance) <= (2 if nulling else 0)


def test_periodic_without_signal_is_left_alone():
    data = np.ones((1, 10), dtype=np.float32)
    table = np.zeros((1, 17))
    spin = np.array([1.0, 0, 0, 0, 1, 0, 0, 1])
    one, rows = np.zeros(1), np.zeros(1, dtype=np.int64)
    synth.add_periodic(data, 0, 1e-3, one, spin, one, table, rows, one + 1, one, np.zeros(0, dtype=bool), 0)
    np.testing.assert_array_equal(data, 1)


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 400), st.integers(0, 500), st.floats(1e-4, 0.3))
def test_burst_matches_reference(seed, nchans, n, start, span):
    rng = np.random.default_rng(seed)
    cumulative = np.zeros((2, 65))
    cumulative[:, 1:] = np.cumsum(rng.random((2, 64)), axis=1)
    cumulative /= cumulative[:, -1:]
    rows = rng.integers(0, 2, nchans)
    begins = rng.uniform(-0.1, 0.9, nchans)
    data = rng.standard_normal((nchans, n)).astype(np.float32)
    args = (start, 1e-3, begins, span, cumulative, rows, rng.random(nchans))
    expected = ref.add_burst(data, *args)
    synth.add_burst(data, *args)
    np.testing.assert_allclose(data, expected, atol=1e-5 * (1 + span / 1e-3))


@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 200), st.sampled_from([1, 2, 4, 8, 16]))
def test_quantise_matches_reference(seed, nchans, n, nbits):
    rng = np.random.default_rng(seed)
    # Eighths: every sum and product is exact, so that a half is a half in both precisions.
    data = (rng.integers(-64, 64, (nchans, n)) / 8).astype(np.float32)
    common = (rng.integers(-8, 8, n) / 8).astype(np.float32)
    means = (rng.integers(0, 2**nbits, nchans) / 2).astype(np.float32)
    sigmas = rng.integers(1, 17, nchans).astype(np.float32)
    out = np.empty((nchans, n), dtype=np.uint16 if nbits == 16 else np.uint8)
    synth.quantise(data, common, means, sigmas, 2**nbits - 1, out)
    np.testing.assert_array_equal(out, ref.quantise(data, common, means, sigmas, 2**nbits - 1))
    synth.quantise_wrapped(data, common, means, sigmas, 2**nbits - 1, out)
    np.testing.assert_array_equal(out, ref.quantise_wrapped(data, common, means, sigmas, 2**nbits - 1))
    values = np.empty((nchans, n), dtype=np.float32)
    synth.rescale(data, common, means, sigmas, values)
    np.testing.assert_array_equal(values, means[:, None] + sigmas[:, None] * (data + common))


@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 100), st.sampled_from([1, 2, 8, 16]))
def test_dither_matches_reference(seed, nchans, n, nbits):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2**nbits, (nchans, n)).astype(np.uint16 if nbits == 16 else np.uint8)
    signal = rng.normal(0, 2, (nchans, n)).astype(np.float32)
    scales = rng.choice(np.array([0, 0.5, 16], dtype=np.float32), (2, nchans))
    keys = rng.integers(0, 2**63, nchans).astype(np.uint64)
    expected = ref.add_dithered(codes, signal, scales, keys, 7, 2**nbits - 1)
    synth.add_dithered(codes, signal, scales, keys, 7, 2**nbits - 1)
    np.testing.assert_array_equal(codes, expected)


@pytest.mark.jit
def test_dither_keeps_the_mean():
    codes = np.full((1, 200_000), 3, dtype=np.uint8)
    signal = np.full(codes.shape, 0.01, dtype=np.float32)
    synth.add_dithered(codes, signal, np.ones((2, 1), np.float32), np.array([5], np.uint64), 0, 255)
    assert abs(codes.mean() - 3.01) < 5 * math.sqrt(0.01 * 0.99 / codes.size)


@given(
    st.integers(0, 10**6), st.integers(1, 70), st.integers(1, 300), st.sampled_from([np.uint8, np.uint16, np.float32])
)
def test_interleave_is_a_transpose(seed, nchans, n, dtype):
    rows = np.random.default_rng(seed).integers(0, 255, (nchans, n)).astype(dtype)
    out = np.zeros((n, nchans + 3), dtype=dtype)
    synth.interleave(rows, out[:, 2 : nchans + 2])
    np.testing.assert_array_equal(out[:, 2 : nchans + 2], rows.T)
    assert not out[:, :2].any()
    assert not out[:, nchans + 2 :].any()


def test_phases_match_reference():
    spin = np.array([100.0, -1e-3, 500.0, 2.0, 7000.0, 100.0, 0.25, 1.0])
    times = np.linspace(0, 1000, 1001)
    out = np.empty_like(times)
    synth.phases(times, spin, out)
    np.testing.assert_allclose(out, ref.phase(times, spin), atol=1e-7)
