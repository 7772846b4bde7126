"""Red noise of folds, measured and evened out; harmonics that lines of interference fall on, left out."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.fold import make_source

from pulsar.config.model import FoldConfig
from pulsar.data.fold import Fold, FoldCube, FoldParams
from pulsar.data.series import TimeSeries
from pulsar.folding import refine as refinement
from pulsar.folding.folder import fold_many, fold_series
from pulsar.folding.refine import refine
from pulsar.folding.whiten import MOST_LOST, RED, falling, harmonic_noise, noise_beside, on_lines

TOBS, TSAMP, NCHANS = 67.0, 2e-3, 16


def wander(rng, kind: str, amp: float) -> np.ndarray:
    """How the level of all channels goes up and down."""
    n = int(TOBS / TSAMP)
    if kind == "waves":
        t = np.arange(n) * TSAMP
        periods, phases, sizes = rng.uniform(2, 10, 4), rng.uniform(0, 2 * np.pi, 4), rng.uniform(0.5, 1.0, 4)
        return amp * np.sum(sizes * np.sin(2 * np.pi * t[:, None] / periods + phases), axis=1)
    walk = np.cumsum(rng.standard_normal(n)) * np.sqrt(TSAMP)
    return amp * (walk - walk.mean())


def cube_of(seed, period, fwhm, snr, kind="waves", amp=0.0) -> FoldCube:
    rng = np.random.default_rng(seed)
    source = make_source(
        rng, nchans=NCHANS, nsamps=int(TOBS / TSAMP), tsamp=TSAMP, freq=1 / period, dm=50.0, fwhm=fwhm, snr=snr,
        phase=rng.random(),
    )  # fmt: skip
    source.data = np.clip(np.round(source.data + 8 * wander(rng, kind, amp)), -127, 127).astype(np.int8)
    params = [FoldParams(1 / period, 0.0, 50.0)]
    return fold_many(source, params, FoldConfig(nbands=16), threads=1, memory=1 << 28)[0]


def fold_of(*args) -> Fold:
    return refine(cube_of(*args))


def test_falling_curve_is_the_best_that_never_rises():
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = rng.standard_normal(12) + np.linspace(2, 0, 12)
        fit = falling(values)
        assert np.all(np.diff(fit) <= 1e-12)
        # Least squares: no other falling curve is closer, tried by shrinking towards many of them.
        for _ in range(50):
            other = np.sort(rng.standard_normal(12))[::-1]
            mixed = fit + 0.05 * (other - fit)
            assert np.sum((values - mixed) ** 2) >= np.sum((values - fit) ** 2) - 1e-12


@pytest.mark.parametrize("nsub", [8, 18, 32])
def test_noise_is_measured_whatever_the_signal(nsub):
    rng = np.random.default_rng(1)
    pulse = np.fft.rfft(np.exp(-0.5 * ((np.arange(64) - 20) / 2.0) ** 2))
    measured, reds = [], []
    for _ in range(200):
        white = np.fft.rfft(3.0 * rng.standard_normal((nsub, 64)), axis=1)
        noise = harmonic_noise(white + 100.0 * pulse, np.full(nsub, 64 * 9.0))
        assert noise is not None
        measured.append(noise.measured[1:-1])
        reds.append(noise.red)
    assert np.mean(measured) == pytest.approx(1.0, abs=0.05)
    assert np.mean(np.array(reds) > RED) <= 0.01


def test_red_noise_is_measured():
    rng = np.random.default_rng(2)
    nsub, nbins, per_turn = 32, 64, 8
    found = []
    for _ in range(50):
        n = nsub * per_turn * nbins
        spectrum = np.fft.rfft(rng.standard_normal(n))
        harmonic = np.arange(len(spectrum)) / (nsub * per_turn)
        # Eight times the noise up to the third harmonic and a half.
        series = np.fft.irfft(spectrum * np.where(harmonic < 3.5, np.sqrt(8.0), 1.0), n)
        folded = series.reshape(nsub, per_turn, nbins).sum(axis=1)
        noise = harmonic_noise(np.fft.rfft(folded, axis=1), np.full(nsub, float(per_turn * nbins)))
        assert noise is not None
        assert noise.red > RED
        found.append(noise.measured)
    mean = np.mean(found, axis=0)
    assert mean[1:4] == pytest.approx(8.0, rel=0.15)
    # 50 medians of 16, 25 harmonics: 0.2 is four standard errors.
    assert mean[6:-1] == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("at", [12, 38, 60])
@pytest.mark.parametrize("red", [0.0, 30.0])
def test_a_line_beside_one_harmonic_is_no_noise_of_others(at, red):
    rng = np.random.default_rng(7)
    number = np.arange(1.0, 64.0)
    noise = 1.0 + red * number**-2.5
    for _ in range(20):
        near = (rng.standard_normal((16, 63)) + 1j * rng.standard_normal((16, 63))) * np.sqrt(noise / 2.0)
        plain = noise_beside(near)
        near[:, at - 1] *= 12.0
        hit = noise_beside(near)
        rest = np.flatnonzero(number != at) + 1
        np.testing.assert_allclose(hit.smooth[rest], plain.smooth[rest], rtol=0.3)
        assert abs(hit.red - plain.red) < 0.1 * max(plain.red, 10.0)


def test_too_few_subintegrations_tell_nothing():
    assert harmonic_noise(np.ones((5, 33), dtype=np.complex128), np.ones(5)) is None


@pytest.mark.parametrize(
    ("period", "fwhm"), [(3.707, 0.02), (1.1, 0.03), (2.2, 0.25), (0.5, 0.25), (0.05, 0.1), (0.0203, 0.2)]
)
def test_in_white_noise_nothing_changes_bit_for_bit(period, fwhm, monkeypatch):
    """Noise is called red once in 10^4 folds or so; all others are what they are without any of this."""
    same, lost = 0, []
    for seed in range(6):
        cube = cube_of(seed, period, fwhm, 20.0)
        fold = refine(cube)
        with monkeypatch.context() as without:
            without.setattr(refinement, "RED", np.inf)
            plain = refine(cube)
        same += fold.snr == plain.snr and fold.after == plain.after and np.array_equal(fold.profile, plain.profile)
        lost.append(1.0 - fold.snr / plain.snr)
    assert same >= 5
    assert np.median(lost) < 0.01


def highest_peak(plane, *_):
    """Row and column of the highest peak, whatever it is of."""
    return divmod(int(np.argmax(plane)), plane.shape[1])


@pytest.mark.parametrize(
    ("kind", "amp", "period", "least", "better"),
    [
        ("waves", 0.1, 3.707, 13.0, 1.3),
        ("waves", 0.4, 3.707, 13.0, 1.5),
        ("waves", 0.4, 1.1, 16.5, 1.2),
        ("walk", 0.1, 3.707, 12.0, 1.3),
        ("walk", 0.4, 1.1, 13.5, 1.9),
    ],
)
def test_slow_narrow_pulsars_are_seen_through_red_noise(kind, amp, period, least, better, monkeypatch):
    """Of a matched S/N of 20, which makes 19 in white noise; without, noise is white and the highest peak is taken."""
    cubes = [cube_of(seed, period, 0.025, 20.0, kind, amp) for seed in range(6)]
    folds = [refine(cube) for cube in cubes]
    with monkeypatch.context() as without:
        without.setattr(refinement, "RED", np.inf)
        without.setattr(refinement, "_own_peak", highest_peak)
        plain = [refine(cube) for cube in cubes]
    snr = np.median([f.snr for f in folds])
    assert snr > least
    assert snr > better * np.median([f.snr for f in plain])
    whitened = [f for f in folds if "whitened" in f.extra]
    assert len(whitened) >= 4
    for fold in whitened:
        assert 0.0 < fold.extra["pulse_kept"] < 1.0
        assert np.isfinite(fold.freq_err)


@pytest.mark.parametrize(("kind", "amp", "share"), [("waves", 0.1, 0.05), ("walk", 0.1, 0.05), ("walk", 0.4, 0.05)])
def test_red_noise_alone_is_no_pulsar(kind, amp, share):
    snr = [fold_of(seed, period, 0.05, 0.0, kind, amp).snr for seed in range(12) for period in (3.7, 0.9)]
    # Without evening out, most of them at 3.7 s are above 8, up to 40. (A wave that happens to fit is periodic.)
    assert np.median(snr) < 6.0
    assert np.mean(np.array(snr) > 8.0) <= share


def test_pulses_that_vary_do_not_pass_for_red_noise(shared_data: Path):
    """The strong pulses of a bright pulsar vary; its fold is not weakened for it."""
    data = np.fromfile(shared_data / "series" / "lovell_psr0.dat", dtype=np.float32)
    fold = refine(fold_series(TimeSeries(data, 0.01), [FoldParams(1.0 / 0.2265362)], FoldConfig())[0])
    assert fold.snr > 320.0


FREQ = 1.0 / 3.7
NBINS = 128
NSUB = 18


def parts(seed=0, pulse=1.0, hum=None, power=0.0):
    """Harmonics of sub-integrations: noise, a steady pulse, and hum of a wandering phase at a harmonic."""
    rng = np.random.default_rng(seed)
    profile = pulse * np.exp(-0.5 * ((np.arange(NBINS) / NBINS - 0.5) / 0.02) ** 2)
    out = np.fft.rfft(profile + rng.standard_normal((NSUB, NBINS)), axis=1)
    if hum is not None:
        out[:, hum] += np.sqrt(power * NBINS) * np.exp(2j * np.pi * np.linspace(0.0, 5.3, NSUB))
    return out


def hit(spectra, lines, tsamp=1e-3):
    return np.flatnonzero(on_lines(spectra, np.full(NSUB, float(NBINS)), FREQ, TOBS, tsamp, lines)).tolist()


def test_a_line_below_the_highest_harmonic_takes_those_beside_it():
    assert hit(parts(), [(40 * FREQ, 0.1)]) == [40]


def test_a_line_above_it_takes_its_mirror_image_where_there_is_something():
    # 50 Hz at 185 turns: 57 of 128 bins.
    lines = [(50.0, 0.1)]
    assert hit(parts(hum=57, power=500.0), lines) == [57]
    assert hit(parts(), lines) == []
    # What scatters elsewhere is no line.
    assert hit(parts(hum=30, power=500.0), lines) == []
    assert hit(parts(hum=57, power=500.0), []) == []


def test_what_samples_mirror_is_hit_too():
    # With fewer samples than bins in a turn, high harmonics are mirror images: here of a line beyond the bins.
    line = 100.0 - 30 * FREQ
    assert hit(parts(), [(line, 0.1)], tsamp=0.01) == [30]
    assert hit(parts(), [(line, 0.1)], tsamp=0.001) == []


def test_the_feet_of_a_line_go_with_it():
    spectra = parts(hum=57, power=500.0)
    for k, power in ((55, 20.0), (56, 60.0), (58, 60.0)):
        spectra += parts(seed=k, pulse=0.0, hum=k, power=power) - parts(seed=k, pulse=0.0)
    assert hit(spectra, [(50.0, 0.1)]) == [55, 56, 57, 58]


@given(seed=st.integers(0, 30), lines=st.lists(st.tuples(st.floats(0.5, 600.0), st.floats(0.01, 2.0)), max_size=20))
def test_the_fundamental_and_most_of_the_rest_stay(seed, lines):
    found = hit(parts(seed, hum=40, power=100.0), lines)
    assert len(found) <= MOST_LOST * (NBINS // 2 + 1)
    assert not {0, 1} & set(found)


@pytest.mark.parametrize("pulse", [0.0, 5.0])
def test_a_steady_pulse_is_no_line(pulse):
    # Every harmonic has a line near it: too many to be left out for that alone.
    lines = [(k * FREQ + 50.0, 0.2) for k in range(NBINS)]
    assert hit(parts(pulse=pulse), lines) == []


@pytest.mark.parametrize(
    ("freq", "line", "tsamp", "nsamps", "nbins", "power", "image"),
    [
        # 573.6 samples a turn: 9 x 128 bins are near twice that.
        (5.448217, 49.9576, 3.2e-4, 200_000, 128, 300_000, 14),
        # 12.3 samples a turn: 32 bins and the line are 32.9 turns, which is 8 and twice the samples.
        (162.50337, 99.95, 5e-4, 140_000, 32, 30_000, 8),
    ],
)
def test_a_line_whose_beat_of_samples_and_bins_is_a_harmonic_is_hit_there(
    freq, line, tsamp, nsamps, nbins, power, image
):
    # Both were seen in random skies with a hum.
    nsub = 32
    times = np.arange(nsamps) * tsamp
    noise = np.random.default_rng(5).standard_normal(nsamps)
    hum = np.sqrt(4 * power / nsamps) * np.cos(2 * np.pi * line * times)
    at = np.arange(nsamps) * nsub // nsamps * nbins + (freq * times % 1.0 * nbins).astype(np.int64)

    def hit_in(series):
        spectra = np.fft.rfft(np.bincount(at, series, nsub * nbins).reshape(nsub, nbins), axis=1)
        weight = np.full(nsub, float(nsamps / nsub))
        return image in np.flatnonzero(on_lines(spectra, weight, freq, nsamps * tsamp, tsamp, [(line, 0.1)]))

    assert hit_in(noise + hum)
    assert not hit_in(noise)
