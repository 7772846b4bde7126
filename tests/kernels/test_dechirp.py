import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from reference import correlate as ref
from reference import dechirp as ref_dechirp
from reference import peaks as ref_peaks

from pulsar_kernels import dechirp
from pulsar_kernels import hits as kernels

pytestmark = pytest.mark.usefixtures("quiet")
PAD = 16
SEEDS = st.integers(0, 2**32 - 1)


def amplitudes(x, nfft):
    """White amplitudes of a series of unit variance, with mirrored bins."""
    spectrum = np.fft.rfft(x, nfft) / np.sqrt(len(x))
    whole = np.concatenate([np.conj(spectrum[PAD:0:-1]), spectrum, np.conj(spectrum[-2 : -PAD - 1 : -1])])
    return whole.real.astype(np.float32), whole.imag.astype(np.float32)


def train(n, r, z, w, powers, filled=1.0):
    """Harmonics of these powers, in unit noise."""
    u = filled * (np.arange(n) / n - 0.5)
    x = np.zeros(n)
    for k, p in enumerate(powers, 1):
        x += 2 * np.sqrt(p / n) * np.cos(2 * np.pi * k * (r * u + z * u**2 / 2 + w * u**3 / 6) + k)
    return x


@given(
    st.integers(2, 300),
    st.floats(-3, 3),
    st.floats(-60, 60),
    st.floats(-100, 100),
    st.floats(-0.5, 0.5),
    st.integers(0, 2**32 - 1),
)
def test_moments_are_plain_sums(n, d, z, w, first, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n) + 1j * rng.standard_normal(n)
    u = first + np.arange(n) / n
    y = x * np.exp(-2j * np.pi * (d * u + z * u**2 / 2 + w * u**3 / 6))
    for count in (1, 3, 5, 7):
        out = np.zeros(count, complex)
        dechirp.moments(x, first, d, z, w, out)
        np.testing.assert_allclose(out, [np.sum(y * u**m) for m in range(count)], atol=1e-9 * n)


@pytest.mark.parametrize("filled", [1.0, 0.94])
@pytest.mark.parametrize(("z", "w"), [(0.0, 0.0), (35.5, 0.0), (-70.2, 0.0), (20.0, 150.0)])
def test_powers_of_bands_are_those_of_the_whole_series(filled, z, w):
    """Closed in on a few hundred amplitudes, the power is that of a dechirped float64 sum over all samples."""
    n = 1 << 14
    rng = np.random.default_rng(3)
    x = rng.standard_normal(n)
    nfft = int(n / filled) // 2 * 2
    f = n / nfft
    real, imag = amplitudes(x + train(n, 1234.3, z, w, [30.0, 20.0], f), nfft)
    at = np.array([1234.3, z, w])
    bands = np.zeros((2, 1024), complex)
    about = np.zeros((2, 3))
    out = np.zeros(2)
    dechirp.load_bands(real, imag, PAD, at, 2, f, bands, about)
    total = dechirp.harmonic_powers(bands, about, at, 2, out)
    assert total == pytest.approx(out.sum())
    y = x + train(n, 1234.3, z, w, [30.0, 20.0], f)
    for k in (1, 2):
        expected = ref.drifting_power(y, k * 1234.3, k * z, k * w, f)
        # Cut off 24 bins beyond the spread: half a per cent of the power, and noise of that variance.
        assert out[k - 1] == pytest.approx(expected, rel=0.02, abs=0.5 * np.sqrt(expected))


@pytest.mark.parametrize("nfree", [1, 2, 3])
def test_climb_ends_on_the_peak(nfree):
    n = 1 << 14
    r, z, w = 987.65, 12.3 if nfree > 1 else 0.0, 55.0 if nfree > 2 else 0.0
    real, imag = amplitudes(train(n, r, z, w, [60.0, 40.0, 30.0, 20.0]), n)
    rng = np.random.default_rng(1)
    for _ in range(20):
        off = rng.uniform(-1, 1, 3) * np.array([0.3, 1.0, 8.0]) / 4 * (np.arange(3) < nfree)
        at = np.array([r, z, w]) + off
        bands, about = np.zeros((4, 512), complex), np.zeros((4, 3))
        dechirp.load_bands(real, imag, PAD, at, 4, 1.0, bands, about)
        bounds = np.stack([at - 10, at + 10], axis=1)
        before = at.copy()
        power = dechirp.climb(bands, about, at, 4, nfree, bounds)
        assert power == pytest.approx(150.0, rel=0.02)
        assert np.all(np.abs(at - [r, z, w]) < [0.005, 0.05, 1.0])
        assert np.all(at[nfree:] == before[nfree:])


def test_climb_stays_within_bounds():
    n = 1 << 14
    real, imag = amplitudes(train(n, 987.65, 0.0, 0.0, [60.0]), n)
    at = np.array([987.3, 1.0, 0.0])
    bounds = np.array([[987.2, 987.4], [0.5, 1.5], [0.0, 0.0]])
    bands, about = np.zeros((1, 128), complex), np.zeros((1, 3))
    dechirp.load_bands(real, imag, PAD, at, 1, 1.0, bands, about)
    dechirp.climb(bands, about, at, 1, 2, bounds)
    assert at[0] == 987.4
    assert at[1] == 0.5


@given(st.floats(-80, 80), st.floats(-120, 120), st.floats(-300, 300))
def test_leak_is_no_less_than_the_response(d, z, w):
    d, z, w = round(d, 3), round(z, 3), round(w, 3)  # uncompiled, 1 / d^2 fails where d^2 is too small a number
    u = (np.arange(4096) + 0.5) / 4096 - 0.5
    response = abs(np.mean(np.exp(2j * np.pi * (d * u + z * u**2 / 2 + w * u**3 / 6)))) ** 2
    assert response <= 1.35 * kernels.leak(d, z, w) + 2e-4


def test_a_line_explains_its_ridge_and_its_ratios_but_nothing_else():
    found = np.array([[1000.0, 20.0, 0.0, 4, 400.0, -350.0, 1.0]])
    powers = np.array([[200.0, 100.0, 60.0, 40.0]])

    def explained(r, z, nharm, power):
        return kernels.explained(np.array([r, z, 0.0]), nharm, power, found, powers, 1)

    assert explained(1003.0, 28.0, 1, 20.0)  # on the ridge
    assert explained(500.0, 10.0, 8, 400.0)  # half the frequency
    assert explained(2000.0, 40.0, 1, 100.0)
    assert explained(1500.0, 30.0, 2, 60.0)
    assert not explained(1000.0, 20.0, 4, 2000.0)  # far more than there is
    assert not explained(1003.0, 28.0, 1, 150.0)
    assert not explained(1200.0, 20.0, 4, 60.0)
    assert not explained(1000.0, -60.0, 1, 60.0)
    assert not explained(500.0, 10.0, 8, 700.0)  # odd harmonics of its own


def test_multiples():
    """Power in every harmonic, in every third, in one of them only, and noise."""
    assert kernels.multiple(np.array([40.0, 30, 20, 15, 9, 6, 3, 2]), 8) == 1
    assert kernels.multiple(np.array([1.0, 0.5, 90, 2, 0.3, 60, 1, 1]), 8) == 3
    assert kernels.multiple(np.array([1.0, 0.5, 1, 2, 0.3, 60, 1, 1]), 8) == 6
    assert kernels.multiple(np.array([1.0, 30, 1, 20, 0.3, 15, 1, 12]), 8) == 2
    assert kernels.multiple(np.array([50.0]), 1) == 1
    # p < 1e-4 beside the multiples: no longer a multiple
    assert kernels.multiple(np.array([9.0, 60.0]), 2) == 2
    assert kernels.multiple(np.array([9.5, 60.0]), 2) == 1


def test_bands_at_the_ends_of_the_spectrum_count_what_is_beyond_as_zero():
    real, imag = np.ones((2, 200 + 2 * PAD), np.float32)
    for middle in (-30, 5, 190, 400):
        out = np.zeros(64, complex)
        dechirp.band(real, imag, PAD, middle, 1.0, out)
        inside = np.count_nonzero(
            (np.arange(middle - 32, middle + 32) >= -PAD) & (np.arange(middle - 32, middle + 32) < 200 + PAD)
        )
        assert np.sum(np.abs(out) ** 2) * 64 == pytest.approx(2.0 * inside)


@given(st.floats(-5000, 5000), st.floats(-20_000, 20_000))
def test_band_samples(z, w):
    n = dechirp.band_samples(z, w)
    assert n == ref_dechirp.samples(z, w)


@given(st.integers(-70, 270), st.sampled_from([64, 128, 256]), st.floats(0.5, 1.0), SEEDS)
def test_band_is_a_plain_sum_over_its_amplitudes(middle, n, filled, seed):
    real, imag = np.random.default_rng(seed).standard_normal((2, 200 + 2 * PAD)).astype(np.float32)
    out = np.zeros(n, complex)
    first = dechirp.band(real, imag, PAD, middle, filled, out)
    u, expected = ref_dechirp.band(real, imag, PAD, middle, filled, n)
    assert first == pytest.approx(u[0], abs=1e-12)
    np.testing.assert_allclose(out, expected, atol=1e-11)


@given(
    st.floats(20, 400),
    st.floats(-15, 15),
    st.floats(-60, 60),
    st.integers(1, 6),
    st.floats(0.9, 1.0),
    SEEDS,
)
def test_powers_of_harmonics_are_plain_sums(r, z, w, nharm, filled, seed):
    """One by one, and all of some hits at once: hits that are not in the order stay as they are."""
    rng = np.random.default_rng(seed)
    real, imag = rng.standard_normal((2, 2000 + 2 * PAD)).astype(np.float32)
    at = np.array([r, z, w])
    expected = [ref_dechirp.power(real, imag, PAD, filled, k * r, k * z, k * w) for k in range(1, nharm + 1)]
    bands, about, out = np.zeros((nharm, 256), complex), np.zeros((nharm, 3)), np.zeros(nharm)
    dechirp.load_bands(real, imag, PAD, at, nharm, filled, bands, about)
    total = dechirp.harmonic_powers(bands, about, at, nharm, out)
    np.testing.assert_allclose(out, expected, rtol=1e-7, atol=1e-9)
    assert total == pytest.approx(sum(expected))
    hits = np.array([[100.0, 1.0, 2.0, 4, -1.0], [r, z, w, nharm, -1.0], [r / 2, z / 2, w / 2, 2, -1.0]])
    kernels.exact(real, imag, PAD, filled, hits, np.array([2, 1]))
    assert hits[0, 4] == -1.0
    assert hits[1, 4] == pytest.approx(total, rel=1e-6)
    half = [ref_dechirp.power(real, imag, PAD, filled, r * f, z * f, w * f) for f in (0.5, 1.0)]
    assert hits[2, 4] == pytest.approx(sum(half), rel=1e-6)
    assert np.all(hits[:, :4] == [[100.0, 1.0, 2.0, 4], [r, z, w, nharm], [r / 2, z / 2, w / 2, 2]])


@given(st.integers(1, 4), st.integers(1, 3), st.floats(-1, 1), st.floats(-3, 3), st.floats(-20, 20), SEEDS)
def test_climb_in_noise_never_falls_and_ends_where_it_is_flat(nharm, nfree, dr, dz, dw, seed):
    rng = np.random.default_rng(seed)
    real, imag = (rng.standard_normal((2, 600 + 2 * PAD)) * np.sqrt(0.5)).astype(np.float32)
    at = np.array([100.0 + dr, dz, dw])
    before = at.copy()
    wide = np.array([1.5, 5.0, 40.0]) / nharm
    bounds = np.stack([at - wide, at + wide], axis=1)
    bands, about = np.zeros((nharm, 128), complex), np.zeros((nharm, 3))
    dechirp.load_bands(real, imag, PAD, at, nharm, 1.0, bands, about)
    power = dechirp.climb(bands, about, at, nharm, nfree, bounds)
    assert power == pytest.approx(ref_dechirp.summed_power(bands, about, at, nharm), rel=1e-9)
    assert power >= ref_dechirp.summed_power(bands, about, before, nharm) * (1 - 1e-12)
    assert np.all(at[nfree:] == before[nfree:])
    assert np.all(at >= bounds[:, 0])
    assert np.all(at <= bounds[:, 1])
    # A small step to either side gains next to nothing, but for where a bound or the number of steps stopped it.
    for i in range(nfree):
        for step in (-0.01, 0.01):
            trial = at.copy()
            trial[i] = np.clip(at[i] + step * wide[i], *bounds[i])
            assert ref_dechirp.summed_power(bands, about, trial, nharm) < power + 0.05 * (1 + power)


@given(st.integers(1, 3), st.floats(-2, 2), st.floats(-5, 5), st.floats(-20, 20), SEEDS)
def test_derivatives_are_differences(nharm, d, z, w, seed):
    rng = np.random.default_rng(seed)
    real, imag = rng.standard_normal((2, 500 + 2 * PAD)).astype(np.float32)
    at = np.array([100.0 + d, z, w])
    bands, about = np.zeros((nharm, 128), complex), np.zeros((nharm, 3))
    dechirp.load_bands(real, imag, PAD, at, nharm, 1.0, bands, about)
    gradient, hessian, expected = np.zeros(3), np.zeros((3, 3)), np.zeros(3)
    total = dechirp._derivatives(bands, about, at, nharm, 3, gradient, hessian, expected)

    def power(*offset):
        return ref_dechirp.summed_power(bands, about, at + np.array(offset), nharm)

    assert total == pytest.approx(power(0, 0, 0))
    h = np.diag([0.002, 0.01, 0.05]) / nharm
    size = np.sqrt(2.0 * total * nharm) + total + 10.0
    for i in range(3):
        scale = size / h[i, i] * 1e-4
        assert gradient[i] == pytest.approx((power(*h[i]) - power(*-h[i])) / (2 * h[i, i]), abs=scale)
        for j in range(3):
            four = [power(*(a * h[i] + b * h[j])) * a * b for a in (-1, 1) for b in (-1, 1)]
            assert hessian[i, j] == pytest.approx(sum(four) / (4 * h[i, i] * h[j, j]), rel=1e-3, abs=0.1 * scale)


def test_nothing_to_climb():
    bands, about = np.zeros((2, 64), complex), np.array([[100.0, -0.5, 64], [200.0, -0.5, 64]])
    at = np.array([100.2, 1.0, 3.0])
    bounds = np.stack([at - 1, at + 1], axis=1)
    assert dechirp.climb(bands, about, at, 2, 3, bounds) == 0.0
    assert at.tolist() == [100.2, 1.0, 3.0]


@given(st.integers(-3000, 3000), st.integers(-5000, 5000), st.integers(-20_000, 20_000))
def test_leak_is_the_smallest_of_its_bounds(d, z, w):
    d, z, w = d / 10, z / 10, w / 10
    assert kernels.leak(d, z, w) == pytest.approx(ref_dechirp.leak(d, z, w), rel=1e-9)


@given(st.integers(0, 4), st.integers(1, 16), st.floats(0.1, 5.0), st.booleans(), SEEDS)
def test_explained(nfound, nharm, ratio, low, seed):
    rng = np.random.default_rng(seed)
    found = np.zeros((5, 7))
    found[:, 0] = rng.uniform(50, 990, 5) if low else rng.uniform(1001, 5000, 5)
    found[:, 1] = rng.uniform(-30, 30, 5)
    found[:, 2] = rng.uniform(-50, 50, 5) * rng.integers(0, 2)
    powers = rng.exponential(100.0, (5, 20)) ** rng.uniform(0, 1.5, (5, 1))
    # Near a ratio of small integers to one of them, or anywhere.
    near = found[0, :3] * rng.integers(1, 5) / rng.integers(1, 5)
    at = near + rng.normal(0, [2.0, 3.0, 10.0]) if rng.random() < 0.7 else rng.uniform(20, 3000) * np.array([1, 0, 0])
    total = ref_dechirp.explained_power(at, nharm, found[:nfound], powers[:nfound])
    # Around what the known signals make up.
    power = nharm + ratio * (total + 6 * np.sqrt(total)) + rng.exponential(10.0)
    left = max(power - nharm - total - 6 * np.sqrt(total), 0.0)
    logp = ref_dechirp.log_tail(nharm + left, nharm)
    assume(not total > 0 or abs(logp - np.log(1e-4)) > 1e-6)
    assert kernels.explained(at, nharm, power, found, powers, nfound) == (total > 0 and logp > np.log(1e-4))


@given(st.integers(1, 32), st.integers(1, 8), SEEDS)
def test_multiple(nharm, n, seed):
    rng = np.random.default_rng(seed)
    single = rng.exponential(1.0, nharm)
    single[n - 1 :: n] += rng.exponential(30.0)
    single[rng.integers(0, nharm)] += rng.choice([0.0, 0.0, 8.0, 12.0])
    assert kernels.multiple(single, nharm) == ref_dechirp.multiple(single)


NO_LEVELS = np.zeros(0, np.float32)


def selected(
    x,
    hits,
    nfree=3,
    nharm=8,
    filled=1.0,
    logp=-15.0,
    most=10,
    levels=(NO_LEVELS, NO_LEVELS, 1e-9),
    z=150.0,
    stated=1.0,
    dz=2.0,
):
    """What is kept of ``(r, z, w, harmonics)``, best first. Their sums are said to be `stated` times more."""
    nfft = int(len(x) / filled) // 2 * 2
    real, imag = amplitudes(x, nfft)
    f = len(x) / nfft
    hits = np.array([[*hit, 0.0] for hit in hits]).reshape(-1, 5)
    order = np.arange(len(hits))
    kernels.exact(real, imag, PAD, f, hits, order)
    hits[:, 4] *= stated
    before = hits.copy()
    out, powers = np.full((most, 7), np.nan), np.full((most, kernels.KNOWN), np.nan)
    extent, limits = np.array([nfft / 2, z, 300.0, dz]), np.array([logp, nharm, nfft / 4])
    kept = kernels.select(real, imag, PAD, f, hits, order, nfree, extent, limits, *levels, out, powers)
    assert np.all(hits == before)
    assert np.all(np.isnan(out[kept:]))
    check_rows(real, imag, f, out[:kept], powers[:kept], logp, levels)
    return out[:kept], powers[:kept]


def check_rows(real, imag, filled, out, powers, most_logp, levels):
    """Everything that is said of what is kept is what the amplitudes say at the frequency, drift and change given."""
    for (r, z, w, nharm, power, logp, information), known in zip(out, powers, strict=True):
        nharm = int(nharm)
        assert nharm & (nharm - 1) == 0
        assert np.all(known[:nharm] > 0)
        for k in 1 + np.flatnonzero(known[: kernels.KNOWN]):
            # Bands are about the hit and as wide as that drifted, not as the peak does.
            need, at = ref_dechirp.samples(k * z, k * w), (k * r, k * z, k * w)
            bands = [(n, aside) for aside in sorted(range(-13, 14), key=abs) for n in (need, need // 2, 2 * need)]
            powers_of = (ref_dechirp.power(real, imag, PAD, filled, *at, *band) for band in bands)
            assert any(known[k - 1] == pytest.approx(p, rel=1e-5, abs=1e-5) for p in powers_of)
        total = sum(ref_dechirp.honest(known[k - 1], k * r, k * z, *levels) for k in range(1, nharm + 1))
        assert power == pytest.approx(total, rel=1e-5)
        assert logp == pytest.approx(ref_dechirp.log_tail(power, nharm), rel=1e-9)
        assert logp < most_logp
        assert information == pytest.approx(ref_peaks.frequency_information(known[:nharm]))


@given(
    st.floats(150, 230),
    st.floats(-8, 8),
    st.floats(-20, 20),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 3),
    st.sampled_from([1.0, 0.93]),
    SEEDS,
)
def test_select_keeps_one_of_a_signal(r, z, w, nharm, nfree, filled, seed):
    """Hits around a train, at fractions of it and in its sidelobes: one is left, at its frequency."""
    n = 1 << 12
    rng = np.random.default_rng(seed)
    z, w = z * (nfree > 1), w * (nfree > 2)
    true = np.array([r, z, w])
    x = rng.standard_normal(n) + train(n, r, z, w, [60.0] * nharm, n / (int(n / filled) // 2 * 2))
    free = np.arange(3) < nfree
    hits = [[*(true + free * rng.uniform(-1, 1, 3) * [0.4, 2.0, 10.0] / nharm), nharm] for _ in range(3)]
    hits += [[*(true * f), m] for f, m in ((1.0, 1), (2.0, max(nharm // 2, 1)), (0.5, min(2 * nharm, 8)))]
    hits += [[*(true + free * [d, 2 * d, 0.0]), nharm] for d in (-3.0, 2.0, 5.0)]
    out, powers = selected(x, hits, nfree, 8, filled)
    assert len(out) == 1
    assert np.all(np.abs(out[0, :3] - true) < np.array([0.7, 4.5, 35.0]) / nharm)
    assert out[0, 3] >= nharm
    # The power is that of the whole series, and no less than at the true place.
    real, imag = amplitudes(x, int(n / filled) // 2 * 2)
    f = n / (int(n / filled) // 2 * 2)
    there = sum(ref_dechirp.power(real, imag, PAD, f, *(k * true)) for k in range(1, int(out[0, 3]) + 1))
    assert powers[0, : int(out[0, 3])].sum() > 0.98 * there
    y = ref.drifting_power(x, *out[0, :3], f)
    assert powers[0, 0] == pytest.approx(y, rel=0.05, abs=np.sqrt(y))


def test_select_keeps_the_stage_that_is_least_likely():
    n = 1 << 13
    x = np.random.default_rng(5).standard_normal(n)
    for powers, expected in (([90.0], 1), ([50.0, 50.0], 2), ([30.0] * 4, 4), ([20.0] * 8, 8)):
        for nharm in (1, 4):
            (row,), (known,) = selected(x + train(n, 210.3, 3.0, 0.0, powers), [[210.3, 3.0, 0.0, nharm]], 2)
            tails = {k: ref_dechirp.log_tail(known[:k].sum(), k) for k in (1, 2, 4, 8)}
            assert row[3] == min(tails, key=tails.get) == expected
    # No more harmonics than there are, and than the drift leaves.
    x = x + train(n, 210.3, 30.0, 0.0, [20.0] * 8)
    assert selected(x, [[210.3, 30.0, 0.0, 4]], 2, z=130.0)[0][0, 3] == 4
    assert selected(x, [[210.3, 30.0, 0.0, 4]], 2, nharm=4)[0][0, 3] == 4


def test_select_moves_to_the_multiple_that_holds_all_power():
    n = 1 << 13
    x = np.random.default_rng(6).standard_normal(n) + train(n, 400.4, 4.0, 9.0, [100.0, 80.0])
    for fraction, nharm in ((2, 4), (3, 8), (4, 8)):
        (row,), _ = selected(x, [[400.4 / fraction, 4.0 / fraction, 9.0 / fraction, nharm]])
        assert row[0] == pytest.approx(400.4, abs=0.12)
        assert row[3] == 2
    # Unless that is beyond the largest fundamental.
    x = np.random.default_rng(6).standard_normal(n) + train(n, 3000.3, 0.0, 0.0, [100.0])
    (row,), _ = selected(x, [[1500.15, 0.0, 0.0, 2]], 1)
    assert row[0] == pytest.approx(1500.15, abs=0.03)


@pytest.mark.parametrize("seed", range(8))
def test_select_tries_more_harmonics_at_the_multiple(seed):
    """Eight at a third of the frequency hold two of a signal's four."""
    n = 1 << 13
    x = np.random.default_rng(seed).standard_normal(n) + train(n, 400.4, 4.0, 0.0, [60.0, 40.0, 30.0, 30.0])
    (row,), _ = selected(x, [[400.4 / 3, 4.0 / 3, 0.0, 8]], 2)
    assert row[0] == pytest.approx(400.4, abs=0.12)
    assert row[3] == 4


@pytest.mark.parametrize("seed", range(8))
def test_select_climbs_from_the_points_of_a_coarse_grid(seed):
    """Half bins and drifts 7 bins apart of the top harmonic; what is farther off than half of that is another's."""
    n = 1 << 13
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n) + train(n, 400.4, 4.0, 0.0, [25.0] * 4)
    off = rng.choice([-1, 1], 2) * [0.25, 3.5] / 4
    (row,), _ = selected(x, [[400.4 + off[0], 4.0 + off[1], 0.0, 4]], 2, dz=7.0)
    assert np.all(np.abs(row[:2] - [400.4, 4.0]) < [0.1, 0.8])
    assert row[3] == 4
    # Too low beside the point to be climbed from.
    assert len(selected(x, [[400.4 + 0.3, 4.0 + 9.0, 0.0, 4]], 2, dz=0.1, logp=-60.0)[0]) == 0


def test_select_tells_signals_apart_and_stops_when_full():
    n = 1 << 13
    at = [[300.3, 5.0, 0.0, 4], [420.7, -8.0, 0.0, 4], [517.2, 0.0, 0.0, 4], [300.3, -40.0, 0.0, 4]]
    x = np.random.default_rng(7).standard_normal(n)
    for r, z, w, _ in at:
        x += train(n, r, z, w, [50.0, 40.0, 30.0, 20.0])
    out, _ = selected(x, [*at, *at])
    assert np.all(np.abs(out[:, :2] - np.array(at)[:, :2]) < [0.1, 0.8])
    assert len(selected(x, at, most=2)[0]) == 2
    assert len(selected(x, [])[0]) == 0


def test_select_keeps_a_signal_once_whatever_powers_the_grid_stated():
    n = 1 << 13
    x = np.random.default_rng(7).standard_normal(n) + train(n, 300.3, 5.0, 0.0, [50.0, 40.0, 30.0, 20.0])
    hits = [[300.3 + d, 5.0 + 3 * d, 0.0, 4] for d in (0.0, 0.05, -0.1, 0.2)]
    assert len(selected(x, hits, stated=10.0)[0]) == 1


def test_select_keeps_nothing_of_noise():
    n = 1 << 13
    x = np.random.default_rng(8).standard_normal(n)
    hits = [[r, 0.0, 0.0, h] for r in (100.0, 333.3, 700.0) for h in (1, 4)]
    assert len(selected(x, hits)[0]) == 0


def test_select_with_uncertain_levels():
    """A level from few bins takes from a power, below and above the bins for which it is known one by one."""
    n = 1 << 13
    x = np.random.default_rng(9).standard_normal(n) + train(n, 300.3, 2.0, 0.0, [60.0] * 4)
    hit = [[300.3, 2.0, 0.0, 4]]
    plain = selected(x, hit)[0][0, 4]
    inverse = np.full(1300, 0.01, np.float32)
    for known in (0, 1000, 1300):
        levels = (inverse[:known], 0.02 * np.ones(known, np.float32), 0.003)
        out, _ = selected(x, hit, levels=levels)
        assert 0.7 * plain < out[0, 4] < 0.98 * plain


def test_harmonics_of_a_strong_signal_are_known_beyond_the_sum():
    """As far as the spectrum goes, for what is strong only."""
    n = 1 << 13
    x = np.random.default_rng(10).standard_normal(n)
    _, powers = selected(x + train(n, 205.1, 2.0, 0.0, [80.0] * 16), [[205.1, 2.0, 0.0, 4]])
    assert np.count_nonzero(powers[0]) == 19
    assert np.all(powers[0, :16] > 40)
    _, powers = selected(x + train(n, 205.1, 2.0, 0.0, [15.0] * 16), [[205.1, 2.0, 0.0, 8]])
    assert np.count_nonzero(powers[0]) == (8 if powers[0].max() <= 20 else 19)


BOTH = """
import sys
import numpy as np
sys.path[:0] = sys.argv[2:]
from pulsar_kernels import dechirp
x = np.random.default_rng(11).standard_normal((256, 2)).view(np.complex128)[:, 0]
turned, sums = x.copy(), np.empty(3, np.complex128)
arguments = {"moments": (x, -0.5, 3.3, 20.0, 5.0, sums), "_transform": (turned,)}
for name in sys.argv[1].split(","):
    getattr(dechirp, name)(*arguments[name])
sys.stdout.buffer.write(turned.tobytes() + sums.tobytes())
"""


@pytest.mark.jit
def test_products_of_complex_numbers_do_not_depend_on_which_kernel_is_compiled_first():
    """numba compiles them once in a process, as the first kernel that has them may reorder its sums or not."""
    kernels_folder = str(Path(dechirp.__file__).parents[1])
    first, second = (
        subprocess.run([sys.executable, "-c", BOTH, names, kernels_folder], stdout=subprocess.PIPE, check=True).stdout
        for names in ("moments,_transform", "_transform,moments")
    )
    assert len(first) == 16 * (256 + 3)
    assert first == second
