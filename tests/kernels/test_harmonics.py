import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from reference import harmonics as ref
from reference import whiten as ref_whiten

from pulsar.bench.searching import half_bins, honest
from pulsar_kernels import harmonics, whiten


def weights(ntaps):
    w = 1.0 / (np.pi * (np.arange(ntaps) + 0.5))
    return (w / np.sqrt(2 * np.sum(w**2))).astype(np.float32)


@given(st.integers(1, 700), st.integers(1, 16), st.integers(0, 2**32 - 1))
def test_half_bins(nbins, ntaps, seed):
    rng = np.random.default_rng(seed)
    real, imag = rng.standard_normal((2, nbins + 32)).astype(np.float32)
    out = np.empty(2 * nbins, dtype=np.float32)
    harmonics.half_bins(real, imag, 16, weights(ntaps), 0.0, out, 0, nbins)
    np.testing.assert_allclose(out, half_bins(real + 1j * imag, 16, ntaps), rtol=1e-4, atol=1e-5)


def test_half_bin_noise_has_mean_one():
    rng = np.random.default_rng(4)
    real, imag = (rng.standard_normal((2, 200_032)) / np.sqrt(2)).astype(np.float32)
    out = np.empty(400_000, dtype=np.float32)
    harmonics.half_bins(real, imag, 16, weights(8), 0.0, out, 0, 200_000)
    assert abs(out[1::2].mean() - 1) < 0.01
    assert abs(np.mean(out[1::2] > 5) / np.exp(-5) - 1) < 0.1


@given(st.integers(40, 5000), st.integers(1, 6), st.sampled_from([1, 5, 8]), st.integers(0, 2**32 - 1))
def test_white_powers(nbins, nknots, ntaps, seed):
    rng = np.random.default_rng(seed)
    spec, centres, levels = ref_whiten.some_spectrum(rng, nbins, nknots)
    real, imag = np.full((2, nbins + 32), 9.0, dtype=np.float32)
    whiten.planes(spec, 16, real, imag)
    inverse = rng.uniform(0.01, 0.2, nbins // 4 * 2).astype(np.float32)
    own = rng.uniform(0.0, 0.1, nbins // 4 * 2).astype(np.float32)
    out = np.empty(2 * nbins, dtype=np.float32)
    harmonics.white_powers(real, imag, 16, centres, levels, weights(ntaps), inverse, own, 2e-4, out)
    white = ref_whiten.whiten(spec, centres, levels, 16)
    # Lines between points a 64th of the bin number apart.
    np.testing.assert_allclose(real + 1j * imag, white, rtol=2e-3, atol=2e-3 * np.abs(white).max())
    expected = honest(half_bins(real.astype(np.float64) + 1j * imag, 16, ntaps), inverse, own, 2e-4)
    np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-3)


@given(st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_honest(n, seed):
    rng = np.random.default_rng(seed)
    power = (5 * rng.exponential(size=n)).astype(np.float32)
    inverse = rng.uniform(0.01, 0.2, n).astype(np.float32)
    own = rng.uniform(0.0, 0.1, n).astype(np.float32)
    expected = honest(power, inverse, own, 0.0)
    harmonics.honest(power, inverse, own)
    np.testing.assert_allclose(power, expected, rtol=1e-4)


@given(
    st.integers(50, 9500),
    st.integers(1, 6),
    st.floats(0.0, 0.2),
    st.sampled_from([-1.0, 0.0, 3.0, 5.0, 7.0]),
    st.integers(0, 2**32 - 1),
)
def test_harmonic_peaks(nhalf, nstages, low, height, seed):
    rng = np.random.default_rng(seed)
    # Quarters: sums are exact, so that ties are ties in both.
    power = (np.floor(4 * rng.exponential(size=nhalf)) / 4).astype(np.float32)
    # Each stage to an end of its own, some to none.
    ends = [nhalf, *rng.integers(0, nhalf, nstages - 1)]
    limits = np.array([[int(low * nhalf) + 2**s, rng.permuted(ends)[s]] for s in range(nstages)], dtype=np.int64)
    # From all that there is to hardly anything.
    thresholds = np.array([2.0**s + height * 2 ** (s / 2) for s in range(nstages)], dtype=np.float32)
    expected = ref.harmonic_peaks(power, limits, thresholds)
    index, stages = np.zeros((2, nhalf * nstages), dtype=np.int64)
    peak = np.zeros(nhalf * nstages, dtype=np.float32)
    few = np.full(nhalf + 128, 255, dtype=np.uint8)
    found = harmonics.harmonic_peaks(power, limits, thresholds, few, index, stages, peak)
    got = {(int(s), int(i)): float(p) for s, i, p in zip(stages[:found], index[:found], peak[:found], strict=True)}
    assert got == expected
    # Too little room: the number is still right, and nothing is written beyond.
    assert harmonics.harmonic_peaks(power, limits, thresholds, few, index[:1], stages[:1], peak[:1]) == found


@given(st.integers(300, 9500), st.integers(0, 2**32 - 1))
def test_ranges_of_harmonic_peaks_are_those_of_each_alone(nhalf, seed):
    rng = np.random.default_rng(seed)
    power = (np.floor(4 * rng.exponential(size=nhalf)) / 4).astype(np.float32)
    # They overlap, one stage has several and one has none, and the last range is empty.
    stage = np.array([0, 3, 3, 1, 3, 1, 4])
    ends = np.sort(rng.integers(0, nhalf + 1, (stage.size, 2)), axis=1)
    ends[-1] = 0
    thresholds = (2.0**stage + rng.uniform(0.0, 3.0, stage.size) * 2 ** (stage / 2)).astype(np.float32)

    def run(ranges, thresholds):
        index, which = np.zeros((2, nhalf * stage.size), dtype=np.int64)
        peak = np.zeros(nhalf * stage.size, dtype=np.float32)
        few = np.full(nhalf + 128, 255, dtype=np.uint8)
        found = harmonics.harmonic_peaks(power, ranges, thresholds, few, index, which, peak)
        return index[:found], which[:found], peak[:found]

    index, which, peak = run(np.column_stack([ends, stage]), thresholds)
    for r, s in enumerate(stage):
        limits = np.zeros((s + 1, 2), dtype=np.int64)
        limits[s] = ends[r]
        alone = run(limits, np.full(s + 1, thresholds[r], dtype=np.float32))
        assert np.array_equal(index[which == r], alone[0])
        assert np.array_equal(peak[which == r], alone[2])
        assert np.all(alone[1] == s)
