"""Cases from the file to dedispersed series: reading and cleaning, the search for interference, dedispersion."""

from functools import partial

import numpy as np

from pulsar.bench.case import CallCost, Size, Work, afresh, case, noise
from pulsar.cleaning.statistics import piece_samples
from pulsar.data.series import aligned
from pulsar.dedisp.engine import build_tree, make_engines, samples_per_dm, tile_size
from pulsar_kernels import clean
from pulsar_kernels.arrays import Array, Floats
from pulsar_kernels.dedisperse import halve as halve_samples
from pulsar_kernels.dedisperse import requantise as requantise_sums
from pulsar_kernels.interference import extend, iqrm
from pulsar_kernels.longwave import TONE_STEPS, remove_tone
from pulsar_kernels.moments import add_bands, running_medians
from pulsar_kernels.moments import decimate as decimate_samples
from pulsar_kernels.moments import moments as sum_powers
from pulsar_kernels.spectra import line_powers, passes, strongest
from pulsar_kernels.unpack import unpack as unpack_samples

#: Extent of a block, in full; and types of samples in files.
BLOCK, SAMPLES = (1 << 14, 1024), "uint8, uint16, float32"


def unpack(size: Size, nbits: int) -> Work:
    """Samples unpacked and transposed, in pieces that stay in the cache, as files are read."""
    per = 8 // nbits
    row = size.nchans // per
    raw = np.random.default_rng(1).integers(0, 256, (size.nsamps, row), dtype=np.uint8)
    step = min(piece_samples(size.nchans), size.nsamps)
    pieces = [raw[at : at + step] for at in range(0, size.nsamps, step)]
    out = np.zeros((size.nchans, step), dtype=np.uint8)
    target = out.reshape(-1)

    def run() -> None:
        for piece in pieces:
            unpack_samples(piece.reshape(-1), len(piece), row, row, 0, nbits, True, 0, target, step, False)

    def plain() -> Array:
        last = raw
        for piece in pieces:
            last = piece
            if nbits < 8:
                last = np.empty((len(piece), row, per), dtype=np.uint8)
                for k in range(per):
                    last[:, :, k] = (piece >> (k * nbits)) & ((1 << nbits) - 1)
            last = np.ascontiguousarray(last.reshape(len(piece), -1).T)
        return last

    samples = size.nchans * size.nsamps
    return Work(run, lambda: out[:, : len(pieces[-1])], CallCost(samples, raw.nbytes + samples), plain)


unpack_8bit = case(
    "unpack-8bit", "uint8 -> uint8", "transpose {nchans} channels", BLOCK, (15130, 70), "adds L1", least=Size(1)
)(partial(unpack, nbits=8))
unpack_2bit = case(
    "unpack-2bit",
    "uint8 -> uint8",
    "the same of {nchans} channels",
    (1 << 13, 4096),
    (15130, 72),
    "adds L1",
    least=Size(1, 4),
    step=Size(1, 4),
)(partial(unpack, nbits=2))


@case("moments", f"{SAMPLES} -> float64", "four powers, saturation, {nchans} channels", BLOCK, (333, 5))
def moments(size: Size, dtype: str) -> Work:
    """Sums of four powers and, of integers, saturated samples of every channel."""
    data = np.random.default_rng(1).integers(0, 256, (size.nchans, size.nsamps), dtype=np.uint8).astype(dtype)
    sums, origin = np.zeros((4, size.nchans)), np.full(size.nchans, 128.0)
    count, ntop = np.zeros((2, size.nchans), dtype=np.int64)

    def run() -> None:
        sums[:] = 0.0
        ntop[:] = 0
        sum_powers(data, 255, origin, sums, count, ntop)

    def plain() -> Array:
        x = data.astype(np.float64) - 128.0
        powers = [np.einsum("ij->i", x**k) for k in (1, 2, 3, 4)]
        return np.stack([*powers, np.sum(data >= 255, axis=1) * (data.dtype.kind == "u")])

    # Third powers nearly cancel.
    atol = 1e-5 * 128.0**3 * size.nsamps
    cost = CallCost(data.size, data.nbytes, flops=9 * data.size)
    return Work(run, lambda: np.vstack([sums, ntop]), cost, plain, rtol=1e-5, atol=atol)


@case("running-medians", "float64 -> float64", "31 blocks, {nchans} channels", (200, 1024), (40, 5), "adds L1")
def medians(size: Size) -> Work:
    """Medians over 31 blocks around each, of every channel."""
    values = noise(size.nsamps, size.nchans, dtype="float64")
    at = np.arange(size.nsamps)
    first, last = np.maximum(at - 15, 0), np.minimum(at + 16, size.nsamps)
    out = np.zeros(values.shape)

    def plain() -> Array:
        return np.stack([np.median(values[a:b], axis=0) for a, b in zip(first, last, strict=True)])

    run = partial(running_medians, values, first, last, out)
    return Work(run, lambda: out, CallCost(values.size, 2 * values.nbytes), plain)


@case("normalise", f"{SAMPLES} -> int8", "samples to cleaned int8, {nchans} channels", BLOCK, (333, 5))
def normalise(size: Size, dtype: str) -> Work:
    """From samples to cleaned int8: baseline off, scaled, rounded, clipped."""
    rng = np.random.default_rng(2)
    raw = noise(size.nchans, size.nsamps, mean=96.0, sigma=10.0, dtype="uint8").astype(dtype)
    base = rng.uniform(94.0, 98.0, size.nchans).astype(np.float32)
    slope = rng.normal(0.0, 1e-5, size.nchans).astype(np.float32)
    scale = rng.uniform(1.2, 1.6, size.nchans).astype(np.float32)
    chans = np.arange(size.nchans)
    none = np.empty(0, dtype=np.float32)
    out = np.zeros(raw.shape, dtype=np.int8)

    def plain() -> Array:
        line = base[:, None] + slope[:, None] * np.arange(size.nsamps, dtype=np.float32)
        return np.clip(np.rint((raw - line) * scale[:, None]), -127, 127).astype(np.int8)

    run = partial(clean.normalise, raw, chans, base, slope, scale, 0, none, none, out)
    # Ties of the rounding may fall to either side: one step.
    return Work(run, lambda: out, CallCost(raw.size, raw.nbytes + out.nbytes, flops=7 * raw.size), plain, atol=1)


@case("halve", "int8, int16 -> int16", "sums of two samples", BLOCK, (334, 5), "adds L1", step=Size(2))
def halve(size: Size, dtype: str) -> Work:
    """Sums of neighbouring cleaned samples, or of such sums, to int16."""
    data = np.random.default_rng(1).integers(-127, 128, (size.nchans, size.nsamps), dtype=np.int8).astype(dtype)
    out = np.zeros((size.nchans, size.nsamps // 2), dtype=np.int16)

    def plain() -> Array:
        return np.asarray(np.add(data[:, 0::2], data[:, 1::2], dtype=np.int16))

    cost = CallCost(data.size, data.nbytes + out.nbytes, adds=out.size)
    return Work(partial(halve_samples, data, out), lambda: out, cost, plain)


@case("requantise", "int16 -> int8", "sums of two back to int8", (1 << 13, 1024), (333, 5))
def requantise(size: Size) -> Work:
    """Sums of two samples back to int8, with the noise of one."""
    sums = np.random.default_rng(1).integers(-254, 255, (size.nchans, size.nsamps), dtype=np.int16)
    out = np.zeros(sums.shape, dtype=np.int8)
    scale = float(np.sqrt(0.5))

    def plain() -> Array:
        rounded: Array = np.rint(sums * np.float32(scale))
        return rounded.clip(-128, 127).astype(np.int8)

    run = partial(requantise_sums, sums, scale, out)
    return Work(run, lambda: out, CallCost(sums.size, sums.nbytes + out.nbytes, flops=4 * sums.size), plain)


#: Bands of the sums of the first pass, and samples of a point of its spectra.
BANDS, FACTOR = 16, 16


@case("band-sums", f"{SAMPLES} -> float32", "16 bands of {nchans} channels", BLOCK, (333, 32), "adds L1")
def band_sums(size: Size, dtype: str) -> Work:
    """Samples added to the sums of 16 bands."""
    data = noise(size.nchans, size.nsamps, mean=96.0, sigma=16.0, dtype="uint8").astype(dtype)
    bands = np.arange(size.nchans) * BANDS // size.nchans
    out = np.zeros((BANDS, size.nsamps), dtype=np.float32)

    def plain() -> Array:
        return np.stack([data[bands == b].sum(axis=0, dtype=np.float32) for b in range(BANDS)])

    run = afresh(out, 0.0, partial(add_bands, data, bands, 0, out))
    return Work(run, lambda: out, CallCost(data.size, data.nbytes + out.nbytes, adds=data.size), plain)


@case("decimate", f"{SAMPLES} -> float32", "sums of 16 samples, {nchans} channels", BLOCK, (333, 5), "adds L1")
def decimate(size: Size, dtype: str) -> Work:
    """Sums of 16 samples."""
    data = noise(size.nchans, size.nsamps, mean=96.0, sigma=16.0, dtype="uint8").astype(dtype)
    out = np.zeros((size.nchans, size.nsamps // FACTOR), dtype=np.float32)

    def plain() -> Array:
        whole = data[:, : out.shape[1] * FACTOR]
        return np.asarray(whole.reshape(size.nchans, -1, FACTOR).sum(axis=2, dtype=np.float32))

    run = afresh(out, 0.0, partial(decimate_samples, data, FACTOR, 0, out))
    return Work(run, lambda: out, CallCost(data.size, data.nbytes + out.nbytes, adds=data.size), plain)


@case("block-lines", "float32 -> float32", "spectra of {nsamps} points, {nchans} channels", (300, 1024), (60, 40))
def block_lines(size: Size) -> Work:
    """Spectra of blocks, lines counted over the channels, and the strongest power of each."""
    # Bins that are left out, and power that counts as a line.
    first, line = 5, 5.0
    nbins = size.nsamps // 2 + 1
    points = noise(size.nchans, size.nsamps, mean=2000.0, sigma=40.0)
    powers = np.zeros((-(-size.nchans // 32), nbins, 32), dtype=np.float32)
    scale = np.full(size.nchans, 1.0 / 40.0, dtype=np.float32)
    counts = np.zeros(nbins, dtype=np.int64)
    variance = np.zeros(size.nchans)
    surplus = np.zeros(size.nchans, dtype=np.float32)
    where = np.zeros(size.nchans, dtype=np.int64)

    def run() -> None:
        line_powers(points, scale, *passes(size.nsamps), first, line, powers, variance, counts)
        strongest(powers, first, counts <= size.nchans // 10, surplus, where)

    def plain() -> Array:
        used = np.abs(np.fft.rfft(points, axis=1)[:, first:]) ** 2
        mean = used.mean(axis=1, keepdims=True)
        common = (used > line * mean).sum(axis=0) > size.nchans // 10
        some = used[:, ~common]
        below = some < 5.0 * some.mean(axis=1, keepdims=True)
        kept = 1.0 - 5.0 * np.exp(-5.0) / (1.0 - np.exp(-5.0))
        level = np.where(below, some, 0.0).sum(axis=1) / below.sum(axis=1) / kept
        return np.asarray(some.max(axis=1) / level - np.log(some.shape[1]))

    # Of the transform; and of the powers, their sums and comparisons.
    cost = CallCost(points.size, 2 * points.nbytes, flops=points.size * (2.5 * float(np.log2(size.nsamps)) + 8.0))
    return Work(run, lambda: surplus, cost, plain, rtol=1e-3, atol=1e-2)


@case("votes", "float64 -> bool", "IQRM, {nsamps} blocks of {nchans} channels", (16, 1024), (3, 200), least=Size(1, 16))
def votes(size: Size) -> Work:
    """Votes of neighbours (IQRM) over 12 lags."""
    values = noise(size.nsamps, size.nchans, dtype="float64")
    values[:, :: max(size.nchans // 20, 1)] += 30.0
    lags = np.array([1, 2, 3, 4, 6, 9, 13, 19, 28, 42, 63, 94])
    lags = lags[lags < size.nchans // 2]
    out = np.zeros(values.shape, dtype=np.bool_)

    def outliers(x: Array) -> Array:
        """Values far above those that they vote against, which have fewer votes."""
        both = [step * lag for lag in lags.tolist() for step in (1, -1)]
        received, votes = np.zeros((2, *x.shape), dtype=np.int64)
        cast = []
        for lag in both:
            moved = np.full(x.shape, np.nan)
            moved[:, max(lag, 0) : size.nchans + min(lag, 0)] = x[:, max(-lag, 0) : size.nchans - max(lag, 0)]
            low, mid, high = np.nanquantile(x - moved, [0.25, 0.5, 0.75], axis=1, keepdims=True)
            cast.append(x - moved - mid > 4.0 * (high - low) / 1.349)
            received += cast[-1]
            votes += np.roll(cast[-1], -lag, axis=1)
        against = [vote & (np.roll(votes, lag, axis=1) < received) for vote, lag in zip(cast, both, strict=True)]
        return np.asarray(np.any(against, axis=0))

    def plain() -> Array:
        return np.asarray(outliers(values) | outliers(-values))

    cost = CallCost(values.size, len(lags) * values.nbytes)
    return Work(partial(iqrm, values, lags, 4.0, out), lambda: out, cost, plain)


@case("growth", "bool -> bool", "flags of {nsamps} blocks, {nchans} channels", (512, 1024), (33, 5))
def growth(size: Size) -> Work:
    """Flags closed and extended along rows."""
    flags = np.random.default_rng(1).random((size.nchans, size.nsamps)) < 0.3
    out = np.zeros(flags.shape, dtype=np.bool_)
    cost = CallCost(flags.size, 2 * flags.nbytes, adds=5 * flags.size)
    return Work(partial(extend, flags, 0.2, out), lambda: out, cost)


@case("tone", "float32 -> float32", "a line out of {nsamps} samples", (1 << 16,), (1000,))
def tone(size: Size) -> Work:
    """A narrow line taken out of one series."""
    n, half, freq = size.nsamps, size.nsamps // 50, 0.0712
    x = noise(n)
    out = x.copy()
    work = np.empty((3, n + 1))

    def plain() -> Array:
        turned = np.exp(-2j * np.pi * freq * np.arange(n))
        sums = np.append(0.0, np.cumsum(x * turned))
        step = max(half // TONE_STEPS, 1)
        group, beside = np.arange(n) // step, half // step
        lo, hi = np.maximum(group - beside, 0) * step, np.minimum((group + beside + 1) * step, n)
        return np.asarray(x - 2.0 * np.real((sums[hi] - sums[lo]) / (hi - lo) / turned))

    run = afresh(out, x, partial(remove_tone, out, freq, half, work))
    cost = CallCost(n, x.nbytes * 3, flops=8 * n)
    return Work(run, lambda: out, cost, plain, rtol=1e-4, atol=1e-4)


#: Extent of the dedispersion, in tests.
FEW = (96, 16, 20)


def dedisperse(size: Size, method: str) -> Work:
    """Dedisperse 1000-1500 MHz at 64 us, in steps of 0.5 pc cm^-3."""
    tsamp = 64e-6
    width = 500.0 / size.nchans
    freqs: Floats = 1500.0 - width * (np.arange(size.nchans, dtype=np.float64) + 0.5)
    fref = float(freqs[0])
    dms: Floats = 0.5 * np.arange(size.ndms, dtype=np.float64)
    tile = tile_size(size.nsamps)
    engines = make_engines(freqs, fref, dms, tsamp, size.nsamps, method)
    before, after = max(e.before for e in engines), max(e.after for e in engines)
    whole = -(-size.nsamps // tile) * tile
    raw = noise(size.nchans, before + whole + after, sigma=8.0, dtype="int8")
    out = np.zeros((size.ndms, size.nsamps), dtype=np.int16)
    work = aligned(max(e.work for e in engines), np.int8)

    def run() -> None:
        for at in range(0, size.nsamps, tile):
            for engine in engines:
                engine.run(raw, before + at, work, out, at, min(tile, size.nsamps - at))

    # A few DMs are enough for plain numpy.
    few = min(4, size.ndms)
    k = samples_per_dm(freqs, fref, tsamp)
    if method == "tree":
        # The sum with the delays that the tree gives every channel, but for the rounding of its half sums: six times
        # the rms that it adds, 0.2 % of the variance in each level.
        last = engines[-1]
        delays = build_tree(k, dms[last.row : last.row + last.ndms], tile).delays()[-few:]
        atol = 6.0 * 8.0 * float(np.sqrt(0.01 * size.nchans))
    else:
        delays = np.rint(np.outer(dms[-few:], k)).astype(np.int64)
        atol = 0.0

    def plain() -> Array:
        sums = np.zeros((few, size.nsamps), dtype=np.int16)
        for row, shifts in zip(sums, delays.tolist(), strict=True):
            for channel, shift in zip(raw, shifts, strict=True):
                row += channel[before + shift : before + shift + size.nsamps]
        return sums

    volume = size.nchans * size.nsamps
    cost = CallCost(volume, volume + out.nbytes, adds=sum(e.adds for e in engines) * size.nsamps)
    return Work(run, lambda: out, cost, plain, rows=slice(size.ndms - few, size.ndms), atol=atol)


tree = case("tree", "int8 -> int16", "{nchans} channels x {ndms} DMs by the tree", (1 << 16, 256, 512), FEW, "adds L2")(
    partial(dedisperse, method="tree")
)
brute = case(
    "brute", "int8 -> int16", "{nchans} channels x {ndms} DMs, every channel", (1 << 14, 256, 512), FEW, "adds L2"
)(partial(dedisperse, method="brute"))
