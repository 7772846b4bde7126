"""Red noise of folds: measured beside the harmonics, evened out, and left alone where there is none."""

from pathlib import Path

import numpy as np
import pytest
from reference.fold import make_source

from pulsar.config.model import FoldConfig
from pulsar.data.fold import Fold, FoldParams
from pulsar.data.series import TimeSeries
from pulsar.folding import refine as refinement
from pulsar.folding.folder import fold_many, fold_series
from pulsar.folding.refine import refine
from pulsar.folding.whiten import RED, falling, harmonic_noise

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


def fold_of(seed, period, fwhm, snr, kind="waves", amp=0.0) -> Fold:
    rng = np.random.default_rng(seed)
    source = make_source(
        rng, nchans=NCHANS, nsamps=int(TOBS / TSAMP), tsamp=TSAMP, freq=1 / period, dm=50.0, fwhm=fwhm, snr=snr,
        phase=rng.random(),
    )  # fmt: skip
    source.data = np.clip(np.round(source.data + 8 * wander(rng, kind, amp)), -127, 127).astype(np.int8)
    params = [FoldParams(1 / period, 0.0, 50.0)]
    return refine(fold_many(source, params, FoldConfig(nbands=16), threads=1, memory=1 << 28)[0])


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


def test_too_few_subintegrations_tell_nothing():
    assert harmonic_noise(np.ones((5, 33), dtype=np.complex128), np.ones(5)) is None


@pytest.mark.parametrize(
    ("period", "fwhm"), [(3.707, 0.02), (1.1, 0.03), (2.2, 0.25), (0.5, 0.25), (0.05, 0.1), (0.0203, 0.2)]
)
def test_in_white_noise_nothing_changes_bit_for_bit(period, fwhm, monkeypatch):
    """Noise is called red once in 10^4 folds or so; all others are what they are without any of this."""
    same, lost = 0, []
    for seed in range(6):
        fold = fold_of(seed, period, fwhm, 20.0)
        with monkeypatch.context() as without:
            without.setattr(refinement, "RED", np.inf)
            plain = fold_of(seed, period, fwhm, 20.0)
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
    folds = [fold_of(seed, period, 0.025, 20.0, kind, amp) for seed in range(6)]
    with monkeypatch.context() as without:
        without.setattr(refinement, "RED", np.inf)
        without.setattr(refinement, "_own_peak", highest_peak)
        plain = [fold_of(seed, period, 0.025, 20.0, kind, amp) for seed in range(6)]
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
