"""Cases of folding: phase bins, channel sums folded for many candidates, one float series, boxcar S/N."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.bench.case import Baseline, Case, Size, Work, multiple_of

NBINS = 64
#: Sub-integrations of a fold.
SEGMENTS = 4
#: Groups of candidates that share their channel sums, and candidates in each.
GROUPS, MEMBERS = 8, 4
#: Boxcar widths [bins].
WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


def _edges(n: int) -> NDArray[np.int64]:
    return np.linspace(0, n, SEGMENTS + 1).astype(np.int64)


def phase_bins(size: Size) -> Work:
    """Phase bin of every sample of an accelerated pulsar."""
    from pulsar_kernels import fold

    n = size.nsamps
    phase, rate, accel = 0.3, 0.0123456, 1e-12
    edges = _edges(n)
    out = np.zeros(n, dtype=np.uint16)

    def plain() -> NDArray[Any]:
        t = np.arange(n, dtype=np.float64)
        turns = phase + t * (rate + t * accel)
        slot = np.minimum(((turns - np.floor(turns)) * NBINS).astype(np.int32), NBINS - 1)
        return slot + NBINS * np.repeat(np.arange(SEGMENTS), np.diff(edges))

    return Work(
        lambda: fold.phase_bins(phase, rate, accel, 0.0, NBINS, edges, out),
        lambda: out,
        n,
        float(out.nbytes),
        # Seven operations in double precision.
        flops=14.0 * n,
        baseline=Baseline(plain),
    )


def fold_band(size: Size) -> Work:
    """Channels summed for 8 groups, folded for 4 candidates of each."""
    from pulsar_kernels import fold

    n, nchans = size.nsamps, size.nchans
    rng = np.random.default_rng(1)
    delays = np.sort(rng.integers(0, 200, (GROUPS, nchans)), axis=1).astype(np.int32)
    data = rng.integers(-60, 61, (nchans, n + 200), dtype=np.int8)
    slots = np.empty((GROUPS * MEMBERS, n), dtype=np.uint16)
    for k, row in enumerate(slots):
        turns = 0.1 + (0.003 + 0.0007 * k) * np.arange(n)
        segment = np.arange(n) * SEGMENTS // n
        row[:] = (turns % 1.0 * NBINS).astype(np.int64) % NBINS + NBINS * segment
    starts = np.arange(GROUPS + 1, dtype=np.int64) * MEMBERS
    members = np.arange(GROUPS * MEMBERS, dtype=np.int64)
    nslots = NBINS * SEGMENTS
    total = np.empty(fold.TILE, dtype=np.int16)
    parts = np.empty((4, nslots), dtype=np.int32)
    acc = np.zeros((GROUPS * MEMBERS, nslots), dtype=np.int32)

    def plain() -> NDArray[Any]:
        folded = np.zeros(acc.shape, dtype=np.int64)
        for g in range(GROUPS):
            series = np.zeros(n, dtype=np.int16)
            for channel, delay in zip(data, delays[g].tolist(), strict=True):
                series += channel[delay : delay + n]
            for m in range(g * MEMBERS, (g + 1) * MEMBERS):
                folded[m] = np.bincount(slots[m], weights=series, minlength=nslots)
        return folded

    return Work(
        lambda: fold.fold_band(data, n, delays, starts, members, slots, total, parts, acc),
        lambda: acc,
        nchans * n,
        float(data.nbytes + slots.nbytes + acc.nbytes),
        adds=float(GROUPS * nchans * n),
        baseline=Baseline(plain),
    )


def fold_bands(size: Size) -> Work:
    """Eight bands summed for 32 groups of one candidate each, their bins side by side."""
    from pulsar.folding.plan import plan_bands
    from pulsar_kernels import fold

    n, ngroups, nbands = size.nsamps, GROUPS * MEMBERS, fold.LANES
    nchans = size.nchans // nbands
    rng = np.random.default_rng(1)
    # As those of many DMs: the delay between neighbours is one of a few.
    delays = np.round(np.outer(np.linspace(5, 200, ngroups), np.linspace(0, 1, nchans))).astype(np.int32)
    delays = np.tile(delays, (1, nbands))
    data = rng.integers(-30, 31, (nchans * nbands, n + 200), dtype=np.int8)
    slots = np.empty((ngroups, n), dtype=np.uint16)
    for k, row in enumerate(slots):
        row[:] = ((0.1 + (0.003 + 0.0007 * k) * np.arange(n)) % 1.0 * NBINS).astype(np.int64) % NBINS
    starts, members = np.arange(ngroups + 1, dtype=np.int64), np.arange(ngroups, dtype=np.int64)
    plan = plan_bands(delays, np.arange(nbands + 1) * nchans, data.shape[1])
    table = np.empty(plan.size, dtype=np.uint8)
    stash = np.empty((ngroups, nbands, fold.LANE_TILE + fold.LANE_GAP), dtype=np.int16)
    lanes = np.empty((fold.LANE_TILE, nbands), dtype=np.int16)
    parts = np.empty((4, NBINS), dtype=np.int32)
    acc = np.zeros((ngroups, NBINS, nbands), dtype=np.int32)

    def run() -> None:
        fold.fold_bands(
            data, n, plan.bands, plan.rows, plan.places, delays, starts, members, slots, table, stash, lanes, parts, acc
        )

    def plain() -> NDArray[Any]:
        folded = np.zeros(acc.shape, dtype=np.int64)
        for g in range(ngroups):
            for b in range(nbands):
                series = np.zeros(n, dtype=np.int16)
                for c in range(b * nchans, (b + 1) * nchans):
                    series += data[c, delays[g, c] : delays[g, c] + n]
                folded[g, :, b] = np.bincount(slots[g], weights=series, minlength=NBINS)
        return folded

    return Work(
        run,
        lambda: acc,
        nbands * nchans * n,
        float(data.nbytes + slots.nbytes + acc.nbytes),
        adds=float(ngroups * nbands * nchans * n),
        baseline=Baseline(plain),
    )


def fold_row(size: Size) -> Work:
    """One float32 series folded in double precision."""
    from pulsar_kernels import fold

    n = size.nsamps
    data = np.random.default_rng(1).standard_normal(n, dtype=np.float32)
    slots = ((0.3 + 0.0123456 * np.arange(n)) % 1.0 * NBINS).astype(np.uint16)
    sums = np.zeros(NBINS)

    def run() -> None:
        sums[:] = 0.0
        fold.fold_row(data, slots, sums)

    return Work(
        run,
        lambda: sums,
        n,
        float(data.nbytes + slots.nbytes),
        flops=2.0 * n,
        baseline=Baseline(lambda: np.bincount(slots, weights=data, minlength=NBINS), rtol=1e-9, atol=1e-9),
    )


def boxcar(size: Size) -> Work:
    """Best boxcar of ten widths of every profile."""
    from pulsar_kernels.boxcar import boxcar_snr

    nprofiles = size.nsamps // NBINS
    rng = np.random.default_rng(1)
    profiles = rng.normal(0.0, 1.0, (nprofiles, NBINS))
    variance = rng.uniform(0.8, 1.2, NBINS)
    widths = np.array(WIDTHS, dtype=np.int64)
    snr = np.zeros(nprofiles)
    width, start = np.zeros(nprofiles, dtype=np.int64), np.zeros(nprofiles, dtype=np.int64)

    def plain() -> NDArray[Any]:
        wrapped = np.concatenate([profiles, profiles], axis=1).cumsum(axis=1)
        around = np.concatenate([variance, variance]).cumsum()
        total, spread = profiles.sum(axis=1, keepdims=True), variance.sum()
        best = np.full(nprofiles, -np.inf)
        for w in WIDTHS:
            share = (around[w : w + NBINS] - around[:NBINS]) / spread
            height = wrapped[:, w : w + NBINS] - wrapped[:, :NBINS] - total * share
            best = np.maximum(best, (height / np.sqrt(spread * share * (1.0 - share))).max(axis=1))
        return best

    return Work(
        lambda: boxcar_snr(profiles, variance, widths, snr, width, start),
        lambda: snr,
        profiles.size,
        float(profiles.nbytes + 24 * nprofiles),
        # Five operations in double precision for every box.
        flops=10.0 * profiles.size * len(WIDTHS),
        baseline=Baseline(plain, rtol=1e-9),
    )


def subtract_cells(size: Size) -> Work:
    """A template of 64 bins taken from every channel, with dithered rounding."""
    from pulsar_kernels import subtract

    n, nchans, tsamp = size.nsamps, size.nchans, 1e-3
    rng = np.random.default_rng(1)
    data = rng.integers(-60, 61, (nchans, n), dtype=np.int8)
    out = data.copy()
    spin = np.array([12.3456, 0.0, 0.0, 0.0])
    delays = rng.uniform(0.0, 0.5, nchans)
    shape = rng.normal(0.0, 1.5, (1, NBINS))
    keys = rng.integers(0, 1 << 32, nchans).astype(np.int64)
    one = np.zeros(1, dtype=np.int64)
    bad, bands = np.zeros((1, nchans), dtype=np.bool_), np.zeros(nchans, dtype=np.int64)
    place = subtract.Grid(tsamp, spin, delays, np.array([0, n]), one, bad, one, bands)
    template = shape, one.reshape(1, 1), np.ones((1, 1)), np.ones(nchans), keys

    def run() -> None:
        out[:] = data
        subtract.subtract_cells(out, 0, place, *template)

    def plain() -> NDArray[Any]:
        i = np.arange(n)
        first = i // subtract.STRETCH * subtract.STRETCH
        table = np.round(shape[0] * subtract.PARTS).astype(np.int64)
        mask = 0xFFFFFFFF
        z = ((i ^ (i >> 16)) * 0x7F4A7C15) & mask
        z = z ^ (z >> 15)
        found = np.empty_like(data)
        for row, into, delay, key in zip(data, found, delays, keys.tolist(), strict=True):
            turns = ((first + 0.5) * tsamp - delay) * spin[0]
            rate = (((first + 0.5) * tsamp - delay + subtract.STRETCH * tsamp) * spin[0] - turns) / subtract.STRETCH
            x = turns - np.floor(turns) + rate * (i - first)
            bins = np.minimum(((x - np.floor(x)) * NBINS).astype(np.int64), NBINS - 1)
            h = ((z ^ key) * 0x6C62272F) & mask
            h = ((h ^ (h >> 13)) * 0x7F4A7C15) & mask
            into[:] = np.clip(row - ((table[bins] + (h >> 16)) >> 16), -127, 127)
        return found

    # Seven operations in double precision for the phase.
    return Work(run, lambda: out, nchans * n, 2.0 * data.nbytes, flops=14.0 * nchans * n, baseline=Baseline(plain))


CASES = (
    Case(
        "phase-bins",
        "float64 -> uint16",
        "phase bins of {nsamps} samples",
        phase_bins,
        Size(1 << 20),
        Size(1000),
        "floats",
    ),
    Case(
        "fold-band",
        "int8 -> int32",
        "{nchans} channels folded for 32 candidates",
        fold_band,
        Size(1 << 16, 16),
        Size(9000, 11),
        "adds L1",
    ),
    Case(
        "fold-bands",
        "int8 -> int32",
        "{nchans} channels in 8 bands, 32 candidates",
        fold_bands,
        Size(1 << 14, 128),
        Size(3000, 32),
        "adds L1",
        expects=multiple_of(8, "nchans"),
    ),
    Case(
        "subtract",
        "int8 -> int8",
        "a template taken from {nchans} channels",
        subtract_cells,
        Size(1 << 16, 16),
        Size(5000, 3),
        "floats",
    ),
    Case(
        "fold-row",
        "float32 -> float64",
        "{nsamps} float32 samples folded",
        fold_row,
        Size(1 << 20),
        Size(1000),
        "floats",
    ),
    Case(
        "boxcar",
        "float64 -> float64",
        "10 widths on profiles of 64 bins, {nsamps} in all",
        boxcar,
        Size(1 << 20),
        Size(640),
        "floats",
        expects=multiple_of(NBINS),
    ),
)
