"""Cases of the searches of series and of folding: fast folding, single pulses, folds of candidates."""

from functools import partial

import numpy as np

from pulsar.bench.case import CallCost, Size, Work, afresh, case, noise
from pulsar.constants import KDM
from pulsar.folding.plan import plan_bands
from pulsar_kernels import cells, clusters, ffa, fold, longwave, matched, subtract
from pulsar_kernels.arrays import Array, Int8s, Int16s, Int32s, Uint16s
from pulsar_kernels.fold import boxcar_snr

#: Samples of the series, in full and in tests; and types of series.
FULL, TINY, SERIES = (1 << 20,), (4096,), "int16, float32"


@case("flat-series", f"{SERIES} -> int16", "sums of 4, then of 10, of {nsamps} samples", FULL, (4000,))
def flat_series(size: Size, dtype: str) -> Work:
    """Sums of 4 samples of a series minus a cubic, and of 10 of these as 16-bit integers."""
    n = size.nsamps // 40 * 40
    series = np.rint(noise(n, sigma=8.0)).astype(dtype)
    trend = np.array([1.0, -3.0, 2.0, 0.5])
    gaps = np.zeros((0, 2), dtype=np.int64)
    raw = np.zeros(n // 4, dtype=np.float32)
    sums = np.zeros(n // 4 + 1, dtype=np.int32)
    out = np.zeros(n // 40, dtype=np.int16)

    def run() -> None:
        longwave.sum_samples(series, trend, gaps, 2, raw)
        longwave.running_sums(raw, 4.0, sums)
        longwave.sum_groups(sums, 10, 2.0, out)

    def plain() -> Array:
        x = np.polynomial.polynomial.polyval((2.0 * np.arange(n) + 1.0) / n - 1.0, trend)
        return np.asarray(8.0 * (series - x).reshape(-1, 40).sum(axis=1))

    cost = CallCost(n, series.nbytes + 4.0 * 2 * (n // 4) * 2 + 2.0 * (n // 40), flops=3 * n)
    return Work(run, lambda: out, cost, plain, atol=40.0)


#: Bins of a turn, and widths of boxes in it.
BINS, WIDTHS = 250, (1, 2, 3, 4, 6, 9, 13, 19, 28, 42)


def fast_folding(rows: Array) -> Array:
    """Fast folding transform of rows by plain numpy: sum s of rows of both halves that round to whole samples."""
    m = len(rows)
    if m == 1:
        return rows
    half = m // 2
    head, tail = fast_folding(rows[:half]), fast_folding(rows[half:])
    s = np.arange(m)
    h = ((half - 1) / (m - 1) * s + 0.5).astype(np.int64)
    t = ((m - half - 1) / (m - 1) * s + 0.5).astype(np.int64)
    columns = (np.arange(rows.shape[1]) + (s - t)[:, None]) % rows.shape[1]
    return np.asarray(head[h] + np.take_along_axis(tail[t], columns, axis=1))


@case(
    "ffa-boxes", "int16 -> float32", "fast folding, {nsamps} samples, 250 bins, 10 boxes", (1 << 18,), TINY, "adds L1"
)
def ffa_boxes(size: Size) -> Work:
    """Transform and the best of all boxes at every period."""
    rows = size.nsamps // BINS
    n = rows * BINS
    # More is read beyond the end.
    data = noise(n + 64, sigma=8.0, dtype="int16")
    table = np.array([[BINS, 0, rows, 0]], dtype=np.int64)
    widths = np.array(WIDTHS, dtype=np.int64)
    sigma = np.full(len(widths), 8.0)
    work = np.zeros(ffa.work_size(n, BINS), dtype=np.int16)
    tile = np.zeros(ffa.tile_size(BINS, int(widths[-1])), dtype=np.int32)
    best = np.zeros(rows + 16, dtype=np.float32)
    best_width = np.zeros(rows + 16, dtype=np.uint8)
    none = np.zeros((0, 0), dtype=np.float32)

    def plain() -> Array:
        profiles = fast_folding(data[:n].reshape(rows, BINS).astype(np.int64)).astype(np.float64)
        sums = np.cumsum(np.concatenate((np.zeros((rows, 1)), profiles, profiles), axis=1), axis=1)
        top = np.full(rows, -np.inf)
        for w in WIDTHS:
            box = np.max(sums[:, w : w + BINS] - sums[:, :BINS], axis=1) - w / BINS * sums[:, BINS]
            top = np.maximum(top, box / (8.0 * np.sqrt(rows * w * (1 - w / BINS))))
        return top

    run = partial(ffa.search_periods, data, n, table, widths, sigma, -np.inf, work, tile, best, best_width, none)
    # A running sum, and two operations for every box; they are 32 bits wide, as much as two of 16.
    cost = CallCost(n, 2 * n, adds=n * (np.log2(rows) + 2.0 * (1 + 2 * len(WIDTHS))))
    return Work(run, lambda: best[:rows], cost, plain, rtol=1e-4, atol=1e-4)


#: Samples of a cell of the single pulse search.
CELL = 32


def burst(n: int, dtype: str) -> Array:
    """Noise of 300 units with a pulse."""
    series = noise(n, sigma=300.0)
    series[n // 3 : n // 3 + 40] += 900.0
    return np.asarray(np.rint(series), dtype=dtype)


@case("pulse-moments", f"{SERIES} -> float32", "moments of cells, {nsamps} samples", FULL, TINY, step=Size(CELL))
def pulse_moments(size: Size, dtype: str) -> Work:
    """Mean and variance of cells of 32 samples."""
    series = burst(size.nsamps, dtype)
    mean, var, count = np.zeros((3, size.nsamps // CELL), dtype=np.float32)

    def plain() -> Array:
        parts = series.reshape(-1, CELL)
        return np.stack([parts.mean(axis=1), parts.var(axis=1, ddof=1)])

    run = partial(cells.cell_moments, series, mean, var, count)
    # To float, minus the origin; a sum, a square and its sum.
    cost = CallCost(size.nsamps, series.nbytes + 12 * mean.size, flops=5 * size.nsamps)
    return Work(run, lambda: np.stack([mean, var]), cost, plain, rtol=1e-4, atol=1e-3)


@case(
    "pulse-scan",
    f"{SERIES} -> float64",
    "boxcars of 1 to 8192 of {nsamps} samples",
    FULL,
    TINY,
    "adds L1",
    step=Size(CELL),
)
def pulse_scan(size: Size, dtype: str) -> Work:
    """Boxcars of 1 to 8 samples, and 5 to 8 sums of 2, 4 ... 1024, of whitened samples against thresholds."""
    n = size.nsamps
    series = burst(n, dtype)
    ncells = n // CELL
    base = np.zeros(ncells, dtype=np.float32)
    scale = np.full(ncells, 1.0 / 300.0, dtype=np.float32)
    white = series / 300.0
    cells = np.zeros(ncells + 64, dtype=np.float32)
    cells[:ncells] = white.reshape(-1, CELL).sum(axis=1)
    nlevels = min(11, int(np.log2(n)) - 5)
    widths = (np.arange(1, 9)[None, :] << np.arange(nlevels)[:, None]).astype(np.float64)
    limits = 5.5 * np.sqrt(widths)
    limits[1:, :4] = np.inf
    runs = np.zeros((0, 2), dtype=np.int64)
    work = np.zeros(2 * ncells + 256, dtype=np.int16)
    boxes = np.zeros((4096, 5))
    count = [0]

    def run() -> None:
        count[0] = matched.scan(series, base, scale, cells, runs, limits, work, boxes)

    def plain() -> Array:
        total = np.concatenate([[0.0], np.cumsum(white)])
        largest = 0.0
        for level in range(nlevels):
            at = total[:: 1 << level]
            for k in range(0 if level == 0 else 4, 8):
                largest = max(largest, float(np.max(at[k + 1 :] - at[: -k - 1])) / limits[level, k])
        return np.array([largest])

    # Of 16 bit: 7 additions and 8 comparisons at full time resolution, 7 and 4 at all others together, 1 for pairs.
    cost = CallCost(n, series.nbytes, adds=27 * n)
    return Work(run, lambda: np.array([np.max(boxes[: count[0], 0])]), cost, plain, rtol=0.01)


def more_than_dms(size: Size) -> str:
    """Reason why a size has too few events for its trial DMs, "" for none."""
    return "" if size.nsamps >= size.ndms else "--nsamps must be at least --ndms"


@case(
    "pulse-link",
    "float64 -> int64",
    "{nsamps} events of {ndms} DMs made into pulses",
    (100_000, 1, 10_000),
    (400, 1, 40),
    expects=more_than_dms,
)
def pulse_link(size: Size) -> Work:
    """Events of bow ties at all trial DMs made into groups."""
    dms = np.arange(size.ndms, dtype=np.float64)
    e_lo = KDM * (1000.0**-2.0 - 1500.0**-2.0)
    each = size.nsamps // size.ndms
    row = np.repeat(np.arange(size.ndms, dtype=np.int64), each)
    d = dms[row] - 0.5 * size.ndms
    smearing = np.abs(d) * e_lo
    time = 5.0 * np.tile(np.arange(each), size.ndms) - 0.5 * d * e_lo
    width = 0.002 + smearing
    strength = 400.0 * (1.0 + smearing / 0.002) ** -0.5 * np.random.default_rng(1).uniform(0.98, 1.02, row.size)
    sort = np.lexsort((time - 0.5 * width, row))
    row, time, width, strength = row[sort], time[sort], width[sort], strength[sort]
    first = np.searchsorted(row, np.arange(size.ndms + 1)).astype(np.int64)
    order = np.argsort(-strength, kind="stable")
    events = clusters.Events(row, dms, np.full(size.ndms, 1e-4), time, width, strength)
    parent = np.zeros(row.size, dtype=np.int64)

    run = partial(clusters.link, first, events, order, 3, 0.0, e_lo, 1.9, parent)
    return Work(run, lambda: parent, CallCost(row.size, row.size * 5 * 8))


#: Bins of a fold, groups of candidates that share their channel sums, and candidates in each.
NBINS, NGROUPS, MEMBERS = 64, 8, 4


def slots_of(nsamps: int, nsegments: int) -> Uint16s:
    """Slots (bin and sub-integration) of the samples for candidates of different periods."""
    i = np.arange(nsamps)
    slots = np.empty((NGROUPS * MEMBERS, nsamps), dtype=np.uint16)
    for k, row in enumerate(slots):
        turns = 0.1 + (0.003 + 0.0007 * k) * i
        row[:] = (turns % 1.0 * NBINS).astype(np.int64) % NBINS + NBINS * (i * nsegments // nsamps)
    return slots


def summed(data: Int8s, delays: Int32s, nsamps: int) -> Int16s:
    """Sum of channels with their delays, by plain numpy."""
    series = np.zeros(nsamps, dtype=np.int16)
    for channel, delay in zip(data, delays.tolist(), strict=True):
        series += channel[delay : delay + nsamps]
    return series


@case("phase-bins", "float64 -> uint16", "phase bins of {nsamps} samples", FULL, (1000,))
def phase_bins(size: Size) -> Work:
    """Phase bin of every sample of an accelerated pulsar."""
    n = size.nsamps
    phase, rate, accel = 0.3, 0.0123456, 1e-12
    edges = np.linspace(0, n, 5).astype(np.int64)
    out = np.zeros(n, dtype=np.uint16)

    def plain() -> Array:
        t = np.arange(n, dtype=np.float64)
        turns = phase + t * (rate + t * accel)
        slot = np.minimum(((turns - np.floor(turns)) * NBINS).astype(np.int32), NBINS - 1)
        return slot + NBINS * np.repeat(np.arange(4), np.diff(edges))

    run = partial(fold.phase_bins, phase, rate, accel, 0.0, NBINS, edges, out)
    # Seven operations in double precision.
    return Work(run, lambda: out, CallCost(n, out.nbytes, flops=14 * n), plain)


@case("fold-band", "int8 -> int32", "{nchans} channels folded for 32 candidates", (1 << 16, 16), (9000, 11), "adds L1")
def fold_band(size: Size) -> Work:
    """Channels summed for 8 groups, folded for 4 candidates of each."""
    n, nchans = size.nsamps, size.nchans
    rng = np.random.default_rng(1)
    delays = np.sort(rng.integers(0, 200, (NGROUPS, nchans)), axis=1).astype(np.int32)
    data = rng.integers(-60, 61, (nchans, n + 200), dtype=np.int8)
    slots, nslots = slots_of(n, 4), 4 * NBINS
    starts = np.arange(NGROUPS + 1, dtype=np.int64) * MEMBERS
    members = np.arange(NGROUPS * MEMBERS, dtype=np.int64)
    total = np.empty(fold.TILE, dtype=np.int16)
    parts = np.empty((4, nslots), dtype=np.int32)
    acc = np.zeros((NGROUPS * MEMBERS, nslots), dtype=np.int32)

    def plain() -> Array:
        folded = np.zeros(acc.shape, dtype=np.int64)
        for g in range(NGROUPS):
            series = summed(data, delays[g], n)
            for m in range(g * MEMBERS, (g + 1) * MEMBERS):
                folded[m] = np.bincount(slots[m], weights=series, minlength=nslots)
        return folded

    run = partial(fold.fold_band, data, n, delays, starts, members, slots, total, parts, acc)
    cost = CallCost(nchans * n, data.nbytes + slots.nbytes + acc.nbytes, adds=NGROUPS * nchans * n)
    return Work(run, lambda: acc, cost, plain)


@case(
    "fold-bands",
    "int8 -> int32",
    "{nchans} channels in 8 bands, 32 candidates",
    (1 << 14, 128),
    (3000, 32),
    "adds L1",
    step=Size(1, 8),
)
def fold_bands(size: Size) -> Work:
    """Eight bands summed for 32 groups of one candidate each, their bins side by side."""
    n, ngroups, nbands = size.nsamps, NGROUPS * MEMBERS, fold.LANES
    nchans = size.nchans // nbands
    # As those of many DMs: the delay between neighbours is one of a few.
    delays = np.round(np.outer(np.linspace(5, 200, ngroups), np.linspace(0, 1, nchans))).astype(np.int32)
    delays = np.tile(delays, (1, nbands))
    data = np.random.default_rng(1).integers(-30, 31, (nchans * nbands, n + 200), dtype=np.int8)
    slots = slots_of(n, 1)
    starts, members = np.arange(ngroups + 1, dtype=np.int64), np.arange(ngroups, dtype=np.int64)
    plan = plan_bands(delays, np.arange(nbands + 1) * nchans, data.shape[1])
    places = plan.bands, plan.rows, plan.places
    table = np.empty(plan.size, dtype=np.uint8)
    stash = np.empty((ngroups, nbands, fold.LANE_TILE + fold.LANE_GAP), dtype=np.int16)
    lanes = np.empty((fold.LANE_TILE, nbands), dtype=np.int16)
    parts = np.empty((4, NBINS), dtype=np.int32)
    acc = np.zeros((ngroups, NBINS, nbands), dtype=np.int32)

    def plain() -> Array:
        folded = np.zeros(acc.shape, dtype=np.int64)
        for g in range(ngroups):
            for b in range(nbands):
                band = slice(b * nchans, (b + 1) * nchans)
                series = summed(data[band], delays[g, band], n)
                folded[g, :, b] = np.bincount(slots[g], weights=series, minlength=NBINS)
        return folded

    run = partial(fold.fold_bands, data, 0, n, *places, delays, starts, members, slots, table, stash, lanes, parts, acc)
    samples = nbands * nchans * n
    cost = CallCost(samples, data.nbytes + slots.nbytes + acc.nbytes, adds=ngroups * samples)
    return Work(run, lambda: acc, cost, plain)


@case("subtract", "int8 -> int8", "a template taken from {nchans} channels", (1 << 16, 16), (5000, 3))
def subtract_cells(size: Size) -> Work:
    """A template of 64 bins taken from every channel, with dithered rounding."""
    n, nchans, tsamp = size.nsamps, size.nchans, 1e-3
    rng = np.random.default_rng(1)
    data = rng.integers(-60, 61, (nchans, n), dtype=np.int8)
    out = data.copy()
    spin = np.array([12.3456, 0.0, 0.0, 0.0])
    delays = rng.uniform(0.0, 0.5, nchans)
    shape = rng.normal(0.0, 1.5, (1, NBINS))
    keys = rng.integers(0, 1 << 32, nchans).astype(np.int64)
    zero = np.zeros(1, dtype=np.int64)
    bad, bands = np.zeros((1, nchans), dtype=np.bool_), np.zeros(nchans, dtype=np.int64)
    place = subtract.Grid(tsamp, spin, delays, np.array([0, n]), zero, bad, np.array([-8.0, n]), bands)
    template = shape, zero.reshape(1, 1), np.ones((1, 1)), np.zeros((1, 1)), np.ones(nchans), keys

    def plain() -> Array:
        i = np.arange(n)
        first = i // subtract.STRETCH * subtract.STRETCH
        table = np.round(shape[0] * subtract.PARTS).astype(np.int64)
        mask = 0xFFFFFFFF
        z = ((i ^ (i >> 16)) * 0x7F4A7C15) & mask
        z = z ^ (z >> 15)
        out = np.empty_like(data)
        for row, into, delay, key in zip(data, out, delays, keys.tolist(), strict=True):
            turns = ((first + 0.5) * tsamp - delay) * spin[0]
            rate = (((first + 0.5) * tsamp - delay + subtract.STRETCH * tsamp) * spin[0] - turns) / subtract.STRETCH
            x = turns - np.floor(turns) + rate * (i - first)
            bins = np.minimum(((x - np.floor(x)) * NBINS).astype(np.int64), NBINS - 1)
            h = ((z ^ key) * 0x6C62272F) & mask
            h = ((h ^ (h >> 13)) * 0x7F4A7C15) & mask
            into[:] = np.clip(row - ((table[bins] + (h >> 16)) >> 16), -127, 127)
        return out

    run = afresh(out, data, partial(subtract.subtract_cells, out, 0, place, *template))
    # Seven operations in double precision for the phase.
    return Work(run, lambda: out, CallCost(nchans * n, 2.0 * data.nbytes, flops=14 * nchans * n), plain)


@case("fold-row", "float32 -> float64", "{nsamps} float32 samples folded", FULL, (1000,))
def fold_row(size: Size) -> Work:
    """One float32 series folded in double precision."""
    n = size.nsamps
    data = noise(n)
    slots = ((0.3 + 0.0123456 * np.arange(n)) % 1.0 * NBINS).astype(np.uint16)
    sums = np.zeros(NBINS)

    def plain() -> Array:
        return np.bincount(slots, weights=data, minlength=NBINS)

    run = afresh(sums, 0.0, partial(fold.fold_row, data, slots, sums))
    return Work(run, lambda: sums, CallCost(n, data.nbytes + slots.nbytes, flops=2 * n), plain, rtol=1e-9, atol=1e-9)


#: Widths of boxcars [bins].
BOXCARS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


@case(
    "boxcar", "float64 -> float64", "10 widths on profiles of 64 bins, {nsamps} in all", FULL, (640,), step=Size(NBINS)
)
def boxcar(size: Size) -> Work:
    """Best boxcar of ten widths of every profile."""
    nprofiles = size.nsamps // NBINS
    profiles = noise(nprofiles, NBINS, dtype="float64")
    variance = np.random.default_rng(2).uniform(0.8, 1.2, NBINS)
    widths = np.array(BOXCARS, dtype=np.int64)
    snr = np.zeros(nprofiles)
    width, start = np.zeros((2, nprofiles), dtype=np.int64)

    def plain() -> Array:
        wrapped = np.concatenate([profiles, profiles], axis=1).cumsum(axis=1)
        around = np.concatenate([variance, variance]).cumsum()
        total, spread = profiles.sum(axis=1, keepdims=True), variance.sum()
        best = np.full(nprofiles, -np.inf)
        for w in BOXCARS:
            share = (around[w : w + NBINS] - around[:NBINS]) / spread
            height = wrapped[:, w : w + NBINS] - wrapped[:, :NBINS] - total * share
            best = np.maximum(best, (height / np.sqrt(spread * share * (1.0 - share))).max(axis=1))
        return best

    run = partial(boxcar_snr, profiles, variance, widths, snr, width, start)
    # Three operations in double precision for every box.
    cost = CallCost(profiles.size, profiles.nbytes + 24 * nprofiles, flops=6 * profiles.size * len(BOXCARS))
    return Work(run, lambda: snr, cost, plain, rtol=1e-9)
