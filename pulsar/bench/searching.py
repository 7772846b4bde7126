"""Cases of the searches of spectra: transform, noise, harmonics and profiles; drifts and orbits."""

from functools import partial
from typing import Any

import numpy as np
from scipy import fft as scipy_fft

from pulsar.bench.case import CallCost, Size, Work, case, noise
from pulsar.config.model import FFTConfig
from pulsar.searches.amplitudes import PAD, NoiseModel
from pulsar.searches.fft import HALF_TAPS, FFTSearch
from pulsar_kernels import coherent, correlate, drifts, fft, harmonics, whiten
from pulsar_kernels.arrays import Array, Float32s, Floats, Ints
from pulsar_kernels.fft import work_size
from pulsar_kernels.orbit import resample_orbit

FULL, TINY = (1 << 21,), (4096,)


def drifting(n: int, dtype: str) -> tuple[Array, Floats, Floats]:
    """Series, coefficients of a cubic, and the cubic."""
    coeffs = np.array([3.0, -20.0, 5.0, 10.0])
    trend = np.polynomial.polynomial.polyval((2.0 * np.arange(n) + 1.0) / n - 1.0, coeffs)
    return np.rint(noise(n, sigma=300.0)).astype(dtype), coeffs, np.asarray(trend, dtype=np.float64)


def amplitudes(nbins: int) -> Float32s:
    """Real and imaginary parts of white noise of unit power."""
    return noise(2, nbins, sigma=np.sqrt(0.5))


@case("trend", "int16, float32 -> float64", "means of 64 stretches, {nsamps} samples", FULL, TINY, step=Size(64))
def trend(size: Size, dtype: str) -> Work:
    """Means of 64 stretches of a series."""
    series = drifting(size.nsamps, dtype)[0]
    kernel = whiten.integer_means if dtype == "int16" else whiten.block_means
    out = np.zeros(64, dtype=np.float64)

    def plain() -> Array:
        return np.asarray(series.reshape(64, -1).mean(axis=1, dtype=np.float64))

    # Sums in single precision lose digits.
    atol = 0.0 if dtype == "int16" else 1e-3
    cost = CallCost(size.nsamps, series.nbytes)
    return Work(partial(kernel, series, out), lambda: out, cost, plain, atol=atol)


def transformed(size: Size) -> str:
    """Reason why no FFT is of that length, "" where there is one."""
    if work_size(size.nsamps):
        return ""
    return "--nsamps must be even, and a product of two numbers >= 32 with no other factors than 2, 3, 5"


@case("fft", "int16, float32 -> float32", "real FFT of {nsamps} samples minus a cubic", FULL, TINY, expects=transformed)
def real_fft(size: Size, dtype: str) -> Work:
    """Real FFT of one series minus a cubic by columns and rows; plain is scipy's."""
    n = size.nsamps
    series, coeffs, trend = drifting(n, dtype)
    plan = fft.make_plan(n)
    if plan is None:
        raise ValueError(f"no plan for {n} samples")
    work = np.zeros(plan.work, dtype=np.float32)
    real, imag = np.zeros((2, n // 2 + 1), dtype=np.float32)

    def plain() -> Array:
        return np.asarray(scipy_fft.rfft((series - trend).astype(np.float32), workers=1))

    run = partial(fft.real_fft, series, coeffs, plan, work, 0, real, imag)
    # The spectrum is as long as the series, in float32.
    cost = CallCost(n, series.nbytes + 4.0 * n, flops=2.5 * n * np.log2(n) + 9.0 * n)
    return Work(run, lambda: real + 1j * imag, cost, plain, rtol=1e-3, atol=0.3 * np.sqrt(n))


@case("levels", "float32 -> float64", "noise model of {half} powers", FULL, TINY)
def levels(size: Size) -> Work:
    """The whole noise model: medians, smoothing, second estimate where blocks grow."""
    model = NoiseModel(size.nsamps // 2)
    real, imag = amplitudes(size.nsamps // 2 + 1)
    result: list[Array] = []

    def run() -> None:
        level = model.levels(real, imag, 0, np.full(model.widths.size, np.nan))
        result[:] = [] if level is None else [level]

    return Work(run, lambda: result[0], CallCost(size.nsamps, 4.0 * size.nsamps))


def half_weights(ntaps: int) -> Floats:
    """Weights of the amplitudes on either side of a half bin, from the nearest on: its noise is that of a bin."""
    weights = 1.0 / (np.pi * (np.arange(ntaps) + 0.5))
    return np.asarray(weights / np.sqrt(2.0 * np.sum(weights**2)))


def half_bins(white: Array, pad: int, ntaps: int) -> Array:
    """Powers at whole and half bins of complex amplitudes with `pad` more on either side, by plain numpy."""
    nbins = len(white) - 2 * pad
    middle = np.zeros(nbins, dtype=white.dtype)
    for j, weight in enumerate(half_weights(ntaps).tolist()):
        middle += weight * (white[pad + 1 + j : pad + 1 + j + nbins] - white[pad - j : pad - j + nbins])
    both = np.stack([white[pad : pad + nbins], middle], axis=1).reshape(-1)
    return np.asarray(both.real**2 + both.imag**2)


def honest(power: Array, inverse: Array, own_share: Array, rest: float) -> Floats:
    """Powers that an uncertain noise level lets count, by plain numpy: all of red noise, and high ones of the rest."""
    out = np.array(power, dtype=np.float64)
    red, white = out[: inverse.size], out[inverse.size :]
    red *= np.where(red > np.log(2.0), 1.0 + own_share, 1.0 - own_share)
    red[:] = np.log1p(red * inverse) / inverse
    rare = white > 6.0
    white[rare] = np.log1p(white[rare] * rest) / rest
    return out


@case("white-powers", "float32 -> float32", "amplitudes to powers at {nsamps} half bins", FULL, TINY)
def white_powers(size: Size) -> Work:
    """Amplitudes over the root of the noise level, and their powers at whole and half bins."""
    nbins = size.nsamps // 2
    model = NoiseModel(nbins)
    # Flat: the same work, and every call finds what the one before left.
    level = np.zeros(model.centres.size)
    spectrum = amplitudes(nbins + 1)
    real, imag = np.pad(spectrum, ((0, 0), (PAD, PAD - 1)))
    weights = half_weights(HALF_TAPS).astype(np.float32)
    out = np.zeros(2 * nbins, dtype=np.float32)
    uncertain = model.inverse, model.own, model.inverse_rest

    def plain() -> Array:
        x = np.zeros(nbins + 2 * PAD, dtype=np.complex64)
        x[PAD : PAD + nbins + 1] = spectrum[0] + 1j * spectrum[1]
        x[PAD] = 0.0
        x[:PAD] = np.conj(x[2 * PAD : PAD : -1])
        x[PAD + nbins + 1 :] = np.conj(x[nbins + PAD - 1 : nbins : -1])
        return honest(half_bins(x, PAD, HALF_TAPS), *uncertain)

    run = partial(harmonics.white_powers, real, imag, PAD, model.centres, level, weights, *uncertain, out)
    cost = CallCost(size.nsamps, 24.0 * nbins, flops=(6.0 * HALF_TAPS + 9.0) * nbins)
    return Work(run, lambda: out, cost, plain, rtol=1e-3, atol=1e-5)


@case("harmonic-sums", "float32 -> int64", "sums of up to 16 and peaks, {nsamps} half bins", FULL, TINY)
def harmonic_sums(size: Size) -> Work:
    """Sums of 1, 2, 4, 8 and 16 harmonics, and their peaks above the threshold."""
    config = FFTConfig.model_validate({"nharm": 16, "threshold": 2.0})
    search = FFTSearch(size.nsamps, 64e-6, config, ntrials_dm=500)
    nhalf = 2 * search.nbins
    power = np.random.default_rng(1).exponential(1.0, nhalf).astype(np.float32)
    power[nhalf // 2 :: nhalf // 8] += np.float32(40.0)  # a few lines to be found
    limits = np.array([[np.ceil(2 * h * search.r_lo), nhalf] for h in search.nharms], dtype=np.int64)
    thresholds = np.array(search.thresholds, dtype=np.float32)
    index, stages = np.zeros((2, 1 << 14), dtype=np.int64)
    few, peak = np.zeros(nhalf + 128, dtype=np.uint8), np.zeros(1 << 14, dtype=np.float32)
    count = [0]

    def run() -> None:
        count[0] = harmonics.harmonic_peaks(power, limits, thresholds, few, index, stages, peak)

    def plain() -> Array:
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

    def result() -> Array:
        return np.sort(stages[: count[0]] * nhalf + index[: count[0]])

    return Work(run, result, CallCost(size.nsamps, power.nbytes, flops=15 * nhalf), plain)


@case("profiles", "float32 -> float32", "best pulses of 63 harmonics, trials of {half} bins", FULL, TINY)
def profiles(size: Size) -> Work:
    """Best pulses in the profiles of trials from 63 harmonics, 128 trials a bin; plain does a part, all at once."""
    nbins, ladder = size.nsamps // 2, coherent.make_ladder(63, 128)
    real, imag = np.pad(amplitudes(nbins), ((0, 0), (PAD, PAD)))
    trials = np.arange(8.0, nbins / 64.0, 1.0 / 128.0)
    snr, shape = np.zeros(trials.size, dtype=np.float32), np.zeros(trials.size, dtype=np.uint8)
    nothing = np.zeros(0, dtype=np.float32)
    some = max(trials.size // 16, 1)

    def plain() -> Array:
        weights = ladder.weights.reshape(-1, coherent.TAPS)
        places = np.floor(np.arange(1, 64) * trials[:some, None] * 64 + 0.5).astype(np.int64)
        at = (places >> 6)[:, :, None] + np.arange(PAD - 7, PAD + 9)
        padded = np.zeros((some, 65), dtype=np.complex64)
        padded[:, 1:64] = np.sum(weights[places & 127] * (real[at] + 1j * imag[at]), axis=2)
        now = 128.0 * np.fft.irfft(padded, 128, axis=1)
        best, number = np.max(now, axis=1) * ladder.scales[0], 1
        while now.shape[1] >= coherent.LEAST_BINS:
            levels = []
            for _ in range(coherent.SHAPES):
                now = now + np.roll(now, -1, axis=1)
                best = np.maximum(best, np.max(now, axis=1) * ladder.scales[number])
                number += 1
                levels.append(now)
            now = levels[1][:, ::2]
        return np.asarray(best)

    run = partial(coherent.profile_snrs, real, imag, PAD, ladder, nothing, trials, snr, shape)
    # Taps; a complex transform of two profiles; sums of the shapes at all scales.
    flops = trials.size * (63 * 64 + 5 * 128 * 7 / 2 + 2 * 128 * coherent.SHAPES)
    cost = CallCost(size.nsamps, 8.0 * nbins, flops=flops)
    return Work(run, lambda: snr, cost, plain, rows=slice(some), rtol=1e-4, atol=1e-4)


#: Groups of 16 drifts in a row of the plane, and the place of drift 0; powers are counted in steps of 1 / SCALE.
GROUPS, CENTRE, SCALE = 13, 104, 6.0


def block_powers(block: Array, filled: float, z: Any, w: float, half: int) -> Floats:
    """Powers of a block of amplitudes at drifts `z` and change of drift `w`, at whole or half bins, by plain numpy.

    The data fill the part `filled` of the unit of time.
    """
    n = len(block)
    u = ((np.arange(n) - round(0.5 * filled * n) + n // 2) % n - n // 2) / n
    turns = np.multiply.outer(z, u**2 / 2) + w * u**3 / 6 + 0.5 * half * u
    return np.asarray(np.abs(np.fft.fft(np.fft.ifft(block) * np.exp(-2j * np.pi * turns))) ** 2)


@case("drift-plane", "float32 -> uint8", "208 drifts of {nsamps} half bins by blocks of 1024", (1 << 18,), TINY)
def drift_plane(size: Size) -> Work:
    """Powers at half bins and 208 drifts, as bytes, by correlation of blocks of amplitudes."""
    # Amplitudes of a block, bins at either end of it that are of no use, and blocks that are made together.
    n, edge, many = 1024, 116, 16
    valid = n - 2 * edge
    nblocks = max(size.nsamps // 2 // valid, 1)
    real, imag = amplitudes(nblocks * valid + 2 * PAD)
    block = correlate.make_block(n, 1.0, 2.0)
    start = correlate.first_phase(n, -2.0 * CENTRE, 0.0)
    bend = correlate.first_phase(n, 0.0, 0.0)
    work = np.zeros(correlate.work_floats(n), dtype=np.float32)
    staged = np.zeros(correlate.staged_bytes(n), dtype=np.uint8)
    short = np.zeros((many, 2, n), dtype=np.float32)
    out = np.zeros((nblocks, 2 * valid * 16 * GROUPS), dtype=np.uint8)

    def run() -> None:
        for lo in range(0, nblocks, many):
            these = short[: nblocks - lo]
            correlate.short_series(real, imag, PAD, lo * valid - edge, valid, block, float(np.sqrt(SCALE)), work, these)
            for series, row in zip(these, out[lo:], strict=False):
                correlate.correlate(series, start, bend, block, GROUPS, edge, edge + valid, work, staged, row, 0)

    few = min(4, nblocks)

    def plain() -> Array:
        power = np.zeros((few, 2 * valid, 16 * GROUPS))
        z = 2.0 * (np.arange(16 * GROUPS) - CENTRE)
        every = np.pad(real + 1j * imag, edge)
        for b in range(few):
            for half in (0, 1):
                rows = block_powers(every[PAD + b * valid :][:n], 1.0, z, 0.0, half)
                power[b, half::2] = SCALE * rows[:, edge : edge + valid].T
        return np.asarray(np.minimum(np.floor(power + 0.5), 255.0)).reshape(few, -1)

    # A transform of n for every drift, the phase on the way in, the power on the way out.
    flops = 2.0 * n * 16 * GROUPS * nblocks * (5.0 * np.log2(n) + 6.0 + 3.0)
    cost = CallCost(size.nsamps, out.nbytes + real.nbytes + imag.nbytes, flops=flops)
    return Work(run, lambda: out, cost, plain, rows=slice(few), atol=1.0)


@case("drift-sums", "uint8 -> int64", "sums of up to 8, 208 drifts of {nsamps} half bins", (1 << 18,), TINY, "adds L2")
def drift_sums(size: Size) -> Work:
    """Sums of 1, 2, 4 and 8 harmonics over a plane of bytes, and what exceeds the thresholds."""
    nrows, pitch, nharm = size.nsamps, 16 * GROUPS, 8
    cells = np.zeros((4, nrows // drifts.CELL + 1, (pitch + drifts.WIDE) // drifts.CELL), dtype=np.int32)
    few = np.minimum(np.random.default_rng(1).exponential(SCALE, 1 << 20), 60.0).astype(np.uint8)
    plane = np.resize(few, nrows * pitch + 2 * drifts.GUARD)
    # A few signals.
    table = plane[drifts.GUARD : drifts.GUARD + nrows * pitch].reshape(nrows, pitch)
    table[nrows // 3 :: nrows // 3, 50] = 200
    zero = ((drifts.GUARD + CENTRE + pitch * np.arange(nrows, dtype=np.int64)) // drifts.UNIT).astype(np.int32)
    shift = np.zeros((nharm, 2), dtype=np.int64)
    rows = np.array([[nharm, nrows]] * 4, dtype=np.int64)
    limits = np.array([150, 170, 200, 220], dtype=np.uint8)
    lanes = np.repeat(limits, drifts.WIDE)
    decode = correlate.decoded()
    hits = np.zeros((1 << 16, 4), dtype=np.int64)
    count = [0]

    def run() -> None:
        slope, reach = 1.0, CENTRE - 2
        count[0] = drifts.sum_rows(
            plane, zero, shift, rows, nharm, nrows, CENTRE, pitch, slope, reach, lanes, decode, cells, 0, hits
        )

    def keys(row: Array, j: Array, s: int) -> Ints:
        cell = ((row - nharm) // drifts.CELL * 1000 + (j + CENTRE) // drifts.CELL) * 4 + s
        return np.unique(cell)

    def plain() -> Array:
        total = np.zeros((nrows - nharm, 2 * CENTRE - 3), dtype=np.int64)
        i = np.arange(nharm, nrows)
        j = np.arange(2 - CENTRE, CENTRE - 1)
        out = []
        for s in range(4):
            for k in range(1, max(2, 1 << s), 2):
                half = 1 << s >> 1
                total += table[(i * k + half) >> s][:, CENTRE + ((j * k + half) >> s)]
            row, lane = np.nonzero((total > limits[s]) & (np.abs(j) <= i[:, None]))
            out.append(keys(i[row], j[lane], s))
        return np.concatenate(out)

    def result() -> Array:
        h = hits[: count[0]]
        return np.concatenate([keys(h[h[:, 2] == s, 0], h[h[:, 2] == s, 1], s) for s in range(4)])

    return Work(run, result, CallCost(nrows, plane.nbytes, adds=(nharm - 1) * nrows * pitch), plain)


def resampled(series: Array, ratio: int, turn: float, even: float, odd: float, n: int) -> Floats:
    """The series at ``ratio j + even cos(a) + odd sin(a)``, a = turn (j - (n - 1) / 2), by straight lines; else 0."""
    j = np.arange(n)
    a = turn * (j - 0.5 * (n - 1))
    place = ratio * j + even * np.cos(a) + odd * np.sin(a)
    inside = (place >= 0.0) & (place < series.size - 1)
    return np.where(inside, np.interp(place, np.arange(series.size), series), 0.0)


@case("orbit", "float32 -> float32", "{nsamps} samples by the time of a pulsar in orbit", (1 << 20,), TINY)
def orbit(size: Size) -> Work:
    """A series by the time of a pulsar that goes round once in it, from one that is sampled four times as finely."""
    n = size.nsamps
    planes = noise(4, n)
    turn, even, odd = 2.0 * np.pi / n, 3.6e-5 * n, -5.0e-5 * n
    out = np.zeros(n, dtype=np.float32)

    def plain() -> Array:
        return resampled(planes.T.ravel(), 4, turn, even, odd, n)

    run = partial(resample_orbit, planes, turn, even, odd, out)
    # Two of the four planes for every sample, and the result.
    return Work(run, lambda: out, CallCost(n, 12.0 * n, flops=5 * n), plain, atol=0.2)
