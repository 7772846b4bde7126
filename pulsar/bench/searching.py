"""Cases of the periodicity search: from a dedispersed series to peaks of harmonic sums."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft as scipy_fft

from pulsar.bench.case import Baseline, Case, Size, Work, multiple_of
from pulsar.config.model import FFTConfig
from pulsar.searches.amplitudes import PAD
from pulsar.searches.fft import HALF_TAPS, FFTSearch
from pulsar.searches.spectrum import NoiseModel

NHARM = 16
TSAMP = 64e-6


def _spectrum(nbins: int) -> NDArray[np.complex64]:
    """White noise of unit power."""
    rng = np.random.default_rng(1)
    parts = rng.standard_normal(2 * (nbins + 1), dtype=np.float32) * np.float32(np.sqrt(0.5))
    return parts.view(np.complex64)


def _powers(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).exponential(1.0, count).astype(np.float32)


def _drifting(n: int, dtype: str) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.float64]]:
    """Series, coefficients of a cubic, and the cubic."""
    series = np.round(np.random.default_rng(1).normal(0.0, 300.0, n)).astype(dtype)
    coeffs = np.array([3.0, -20.0, 5.0, 10.0])
    trend = np.polynomial.polynomial.polyval((2.0 * np.arange(n) + 1.0) / n - 1.0, coeffs)
    return series, coeffs, np.asarray(trend, dtype=np.float64)


def trend(size: Size, dtype: str = "int16") -> Work:
    """Means of 64 stretches of a series."""
    from pulsar_kernels import whiten

    n = size.nsamps
    series = _drifting(n, dtype)[0]
    kernel = whiten.integer_means if series.itemsize == 2 else whiten.block_means
    out = np.zeros(64, dtype=np.float64)

    def plain() -> NDArray[Any]:
        return np.asarray(series.reshape(64, -1).mean(axis=1, dtype=np.float64))

    # Sums in single precision lose digits.
    exact = series.itemsize == 2
    return Work(
        lambda: kernel(series, out),
        lambda: out,
        n,
        float(series.nbytes),
        baseline=Baseline(plain, atol=0.0 if exact else 1e-3),
    )


def real_fft(size: Size, dtype: str = "int16") -> Work:
    """Real FFT of one series minus a cubic by columns and rows; the baseline is scipy's."""
    from pulsar_kernels import fft

    n = size.nsamps
    series, coeffs, trend = _drifting(n, dtype)
    plan = fft.make_plan(n)
    if plan is None:
        raise ValueError(f"no plan for {n} samples")
    work = np.zeros(plan.work, dtype=np.float32)
    real, imag = np.zeros((2, n // 2 + 1), dtype=np.float32)

    return Work(
        lambda: fft.real_fft(series, coeffs, plan, work, 0, real, imag),
        lambda: real + 1j * imag,
        n,
        # The spectrum is as long as the series, in float32.
        series.nbytes + 4.0 * n,
        flops=2.5 * n * np.log2(n) + 9.0 * n,
        baseline=Baseline(
            lambda: scipy_fft.rfft((series - trend).astype(np.float32), workers=1), rtol=1e-3, atol=0.3 * np.sqrt(n)
        ),
    )


def medians(size: Size) -> Work:
    """Medians of growing blocks of powers."""
    from pulsar_kernels import whiten

    nbins = size.nsamps // 2
    spec = _spectrum(nbins)
    real, imag = np.ascontiguousarray(spec.real), np.ascontiguousarray(spec.imag)
    model = NoiseModel(nbins)
    out = np.zeros(model.widths.size)

    def plain() -> NDArray[Any]:
        power = real * real + imag * imag
        found = []
        for lo, hi in pairwise(model.edges.tolist()):
            middle = (hi - lo - 1) // 2
            found.append(np.partition(power[lo:hi], middle)[middle])
        return np.array(found)

    return Work(
        lambda: whiten.amplitude_medians(real, imag, 0, model.edges, out),
        lambda: out,
        size.nsamps,
        8.0 * nbins,
        baseline=Baseline(plain, rtol=2e-5),
    )


def levels(size: Size) -> Work:
    """The whole noise model: medians, smoothing, second estimate where blocks grow."""
    nbins = size.nsamps // 2
    spec = _spectrum(nbins)
    real, imag = np.ascontiguousarray(spec.real), np.ascontiguousarray(spec.imag)
    model = NoiseModel(nbins)
    left: list[NDArray[Any]] = []

    def run() -> None:
        found = model.levels(real, imag, 0)
        left[:] = [] if found is None else [found]

    return Work(run, lambda: left[0], size.nsamps, 8.0 * nbins)


def white_powers(size: Size) -> Work:
    """Amplitudes over the root of the noise level, and their powers at whole and half bins."""
    from pulsar_kernels import harmonics

    nbins = size.nsamps // 2
    spec = _spectrum(nbins)
    model = NoiseModel(nbins)
    # Flat: the same work, and every call finds what the one before left.
    level = np.zeros(model.centres.size)
    real = np.zeros(nbins + 2 * PAD, dtype=np.float32)
    imag = np.zeros(nbins + 2 * PAD, dtype=np.float32)
    real[PAD : PAD + nbins + 1] = spec.real
    imag[PAD : PAD + nbins + 1] = spec.imag
    weights = 1.0 / (np.pi * (np.arange(HALF_TAPS) + 0.5))
    weights = np.asarray(weights / np.sqrt(2.0 * np.sum(weights**2)), dtype=np.float32)
    out = np.zeros(2 * nbins, dtype=np.float32)

    def plain() -> NDArray[Any]:
        x = np.zeros(nbins + 2 * PAD, dtype=np.complex64)
        x[PAD : PAD + nbins + 1] = spec
        x[PAD] = 0.0
        x[:PAD] = np.conj(x[2 * PAD : PAD : -1])
        x[PAD + nbins + 1 :] = np.conj(x[nbins + PAD - 1 : nbins : -1])
        middle = np.zeros(nbins, dtype=np.complex64)
        for j, w in enumerate(weights):
            middle += w * (x[PAD + 1 + j : PAD + 1 + j + nbins] - x[PAD - j : PAD - j + nbins])
        both = np.stack([x[PAD : PAD + nbins], middle], axis=1).reshape(-1)
        power = np.asarray(both.real**2 + both.imag**2, dtype=np.float64)
        m = model.inverse.size
        own = np.where(power[:m] > np.log(2.0), 1.0 + model.own, 1.0 - model.own)
        power[:m] = np.log1p(power[:m] * own * model.inverse) / model.inverse
        rare = power[m:] > 6.0
        power[m:][rare] = np.log1p(power[m:][rare] * model.inverse_rest) / model.inverse_rest
        return power

    return Work(
        lambda: harmonics.white_powers(
            *(real, imag, PAD, model.centres, level, weights, model.inverse, model.own, model.inverse_rest, out)
        ),
        lambda: out,
        size.nsamps,
        24.0 * nbins,
        flops=(6.0 * HALF_TAPS + 9.0) * nbins,
        baseline=Baseline(plain, rtol=1e-3, atol=1e-5),
    )


def harmonic_sums(size: Size) -> Work:
    """Sums of 1, 2, 4, 8 and 16 harmonics, and their peaks above the threshold."""
    from pulsar_kernels import harmonics

    config = FFTConfig.model_validate({"nharm": NHARM, "threshold": 2.0})
    search = FFTSearch(size.nsamps, TSAMP, config, ntrials_dm=500)
    nhalf = 2 * search.nbins
    power = _powers(nhalf)
    power[nhalf // 2 :: nhalf // 8] += np.float32(40.0)  # a few lines to be found
    limits = np.array([[np.ceil(2 * h * search.r_lo), nhalf] for h in search.nharms], dtype=np.int64)
    thresholds = np.array(search.thresholds, dtype=np.float32)
    capacity = 1 << 14
    index, stages = np.zeros(capacity, dtype=np.int64), np.zeros(capacity, dtype=np.int64)
    peak = np.zeros(capacity, dtype=np.float32)
    found = [0]

    def run() -> None:
        found[0] = harmonics.harmonic_peaks(power, limits, thresholds, index, stages, peak)

    def plain() -> NDArray[Any]:
        i = np.arange(nhalf)
        sums = np.zeros(nhalf + 2, dtype=np.float32)
        inner = sums[1:-1]
        inner += power
        keys = []
        for s, nharm in enumerate(search.nharms):
            for k in range(1, nharm, 2) if s else ():
                inner += power[(i * k + nharm // 2) >> s]
            top = (inner > thresholds[s]) & (inner >= sums[:-2]) & (inner > sums[2:]) & (i >= limits[s, 0])
            keys.append(np.flatnonzero(top) + s * nhalf)
        return np.concatenate(keys)

    return Work(
        run,
        lambda: np.sort(stages[: found[0]] * nhalf + index[: found[0]]),
        size.nsamps,
        float(power.nbytes),
        flops=float((NHARM - 1) * nhalf),
        baseline=Baseline(plain),
    )


def profiles(size: Size) -> Work:
    """Best pulses in the profiles of trials from 63 harmonics, 128 trials a bin; the baseline does all at once."""
    from pulsar_kernels import coherent

    nbins, ladder = size.nsamps // 2, coherent.make_ladder(63, 128)
    spec = np.pad(_spectrum(nbins)[:nbins], PAD)
    real, imag = np.ascontiguousarray(spec.real), np.ascontiguousarray(spec.imag)
    trials = np.arange(8.0, nbins / 64.0, 1.0 / 128.0)
    snr, shape = np.zeros(trials.size, dtype=np.float32), np.zeros(trials.size, dtype=np.uint8)
    nothing = np.zeros(0, dtype=np.float32)
    some = max(trials.size // 16, 1)

    def plain() -> NDArray[Any]:
        weights = ladder.weights.reshape(-1, coherent.TAPS)
        places = np.floor(np.arange(1, 64) * trials[:some, None] * 64 + 0.5).astype(np.int64)
        at = (places >> 6)[:, :, None] + np.arange(PAD - 7, PAD + 9)
        padded = np.zeros((some, 65), dtype=np.complex64)
        padded[:, 1:64] = np.sum(weights[places & 127] * spec[at], axis=2)
        now = 128.0 * np.fft.irfft(padded, 128, axis=1)
        best, number = np.max(now, axis=1) * ladder.scales[0], 1
        while now.shape[1] >= coherent.LEAST_BINS:
            made = []
            for _ in range(coherent.SHAPES):
                now = now + np.roll(now, -1, axis=1)
                best = np.maximum(best, np.max(now, axis=1) * ladder.scales[number])
                number += 1
                made.append(now)
            now = made[1][:, ::2]
        return np.asarray(best)

    return Work(
        lambda: coherent.profile_snrs(real, imag, PAD, ladder, nothing, trials, snr, shape),
        lambda: snr,
        size.nsamps,
        8.0 * nbins,
        # Taps; a complex transform of two profiles; sums of the shapes at all scales.
        flops=trials.size * (63 * 64 + 5 * 128 * 7 / 2 + 2 * 128 * coherent.SHAPES),
        baseline=Baseline(plain, share=some / trials.size, rows=slice(some), rtol=1e-4, atol=1e-4),
    )


def _transformed(size: Size) -> str:
    from pulsar_kernels.fft import work_size

    if work_size(size.nsamps):
        return ""
    return "--nsamps must be even, and a product of two numbers >= 32 with no other factors than 2, 3, 5"


_FULL, _TINY = Size(1 << 21), Size(4096)
CASES = (
    Case(
        "trend",
        "int16 -> float64",
        "means of 64 stretches, {nsamps} samples",
        trend,
        _FULL,
        _TINY,
        "floats",
        also=("float32",),
        expects=multiple_of(64),
    ),
    Case(
        "fft",
        "int16 -> float32",
        "real FFT of {nsamps} samples minus a cubic",
        real_fft,
        _FULL,
        _TINY,
        "floats",
        also=("float32",),
        expects=_transformed,
    ),
    Case("medians", "float32 -> float64", "block medians of {half} powers", medians, _FULL, _TINY, "floats"),
    Case("levels", "float32 -> float64", "noise model of {half} powers", levels, _FULL, _TINY, "floats"),
    Case(
        "white-powers",
        "float32 -> float32",
        "amplitudes to powers at {nsamps} half bins",
        white_powers,
        _FULL,
        _TINY,
        "floats",
    ),
    Case(
        "harmonic-sums",
        "float32 -> int64",
        "sums of up to 16 and peaks, {nsamps} half bins",
        harmonic_sums,
        _FULL,
        _TINY,
        "floats",
    ),
    Case(
        "profiles",
        "float32 -> float32",
        "best pulses of 63 harmonics, trials of {half} bins",
        profiles,
        _FULL,
        _TINY,
        "floats",
    ),
)
