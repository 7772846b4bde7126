"""The observation as the later stages see it: masked, of zero mean and equal noise, in int8, and what of it is live."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Protocol

import numpy as np

from pulsar.cleaning.mask import Mask
from pulsar.cleaning.statistics import piece_samples
from pulsar.config.model import RfiConfig
from pulsar.data.observation import Observation, gaps_of, joined_stretches
from pulsar.data.series import Space
from pulsar.data.source import SIGMA_LEVELS, Derived, Rows, SampleSource, inside
from pulsar_kernels.arrays import Bools, Float32s, Floats, Int8s, Ints
from pulsar_kernels.clean import normalise, project, zero_dm

#: What is clipped takes the level of so many times its length on either side, and of so many samples at least: the
#: error of that level is half of what noise would have had there.
BESIDE: Final = 2
LEAST_BESIDE: Final = 64
#: Parts of a level of the integers by which channels and samples are rounded differently: their sum keeps it.
DITHER: Final = (0.6180340, 0.7548777)


class CleanedSource:
    """Reads, masks and normalises stretches of an observation (a `pulsar.data.source.SampleSource`).

    `weights` and `gains`: shape (nblocks, nchans live): the sum over the channels, each times its weight, is subtracted
    from every channel times its gain (:func:`shared_gains`, :func:`matched_gains`). In a block that starts at
    ``mask.edges[i]`` the row i counts.
    """

    def __init__(
        self, obs: Observation, mask: Mask, *, weights: Float32s | None = None, gains: Float32s | None = None
    ) -> None:
        self.obs = obs
        self.mask = mask
        self._weights = weights
        self._gains = gains
        header = obs.header
        self._chans = np.flatnonzero(mask.chan_ok).astype(np.int64)
        self.freqs: Floats = np.ascontiguousarray(header.freqs[self._chans])
        self.fref = float(header.freqs[0])
        self.chan_width = header.chan_width
        self.nsamps = header.nsamps
        self.tsamp = header.tsamp
        self.tstart = header.tstart
        noise = mask.noise[:, self._chans]
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.where(noise > 0, SIGMA_LEVELS / noise, 0.0)
        self._scale = np.where(mask.bad[:, self._chans], 0.0, scale).astype(np.float32)
        self._base = mask.baseline[:, self._chans]
        self._centres = (mask.edges[:-1] + mask.edges[1:]) // 2
        # Between two knots the baseline is one line and the scale one number.
        self._diode = mask.diode
        knots = [mask.edges, self._centres]
        if self._diode is not None:
            # Of a sample that an edge lies in, the larger part counts.
            edges = self._diode.edges(0.0, self.nsamps * self.tsamp)
            knots.append(np.clip(np.ceil(edges / self.tsamp - 0.5), 0, self.nsamps).astype(np.int64))
            self._steps = self._diode.step[:, self._chans]
        self._knots = np.unique(np.concatenate(knots))
        self._space = Space()

    @property
    def nchans(self) -> int:
        """Live channels."""
        return len(self._chans)

    def read_into(self, start: int, out: Int8s) -> None:
        """Fill `out`, shape (nchans, n), from sample `start` on; zeros outside the observation and in gaps.

        What is clipped is 0, too, or where the level drifts that beside it: holes in a drift would be impulses.
        """
        self._read_all(start, out)
        clipped = self.mask.clipped
        first = int(np.searchsorted(clipped[:, 1], start, side="right"))
        last = int(np.searchsorted(clipped[:, 0], start + out.shape[1], side="left"))
        # All levels before any is filled in.
        lines = [self._level_beside(int(a), int(b), start, out) for a, b in clipped[first:last]]
        for (a, b), (before, after, count) in zip(clipped[first:last].tolist(), lines, strict=True):
            lo, hi = max(a, start), min(b, start + out.shape[1])
            if not self._drifts(0.5 * (before + after), count):
                out[:, lo - start : hi - start] = 0
                continue
            at = np.arange(lo, hi)
            level = before[:, None] + (after - before)[:, None] * ((at - a + 0.5) / (b - a))[None, :]
            chans = np.arange(self.nchans)[:, None]
            level += (chans * DITHER[0] + at[None, :] * DITHER[1]) % 1.0
            out[:, lo - start : hi - start] = np.floor(level).astype(np.int8)

    def _level_beside(self, a: int, b: int, start: int, out: Int8s) -> tuple[Floats, Floats, float]:
        """Means of every channel before and after the samples `a` to `b`, without others that are clipped.

        And of how many samples their mean is as good as.

        `out` has been read from sample `start` on; what lies outside is read again, so that it does not matter how a
        series is cut into pieces.
        """
        size = max(BESIDE * (b - a), LEAST_BESIDE)
        means, counts = [], []
        for lo, hi in ((max(a - size, 0), a), (b, min(b + size, self.nsamps))):
            if lo >= start and hi <= start + out.shape[1]:
                there = out[:, lo - start : hi - start]
            else:
                there = np.empty((self.nchans, max(hi - lo, 0)), dtype=np.int8)
                self._read_all(lo, there)
            keep = np.ones(there.shape[1], dtype=np.bool_)
            clipped = self.mask.clipped
            for c, d in clipped[np.searchsorted(clipped[:, 1], lo, side="right") :]:
                if c >= hi:
                    break
                keep[max(c - lo, 0) : d - lo] = False
            counts.append(np.count_nonzero(keep))
            means.append(there[:, keep].mean(axis=1, dtype=np.float64) if counts[-1] else None)
        none = np.zeros(self.nchans)
        before, after = means
        before = after if before is None else before
        after = before if after is None else after
        if before is None or after is None:
            return none, none, 0.0
        count = 4.0 / sum(1.0 / n for n in counts) if all(counts) else float(sum(counts))
        return before, after, count

    def _drifts(self, level: Floats, count: float) -> bool:
        """True if means of so many samples are surely not those of noise."""
        errors = level * (np.sqrt(count) / SIGMA_LEVELS)
        mean = abs(float(errors.sum())) / np.sqrt(self.nchans)
        squares = float(np.sum(errors**2) - self.nchans) / np.sqrt(2.0 * self.nchans)
        return bool(max(mean, squares) > 4.0)

    def _read_all(self, start: int, out: Int8s) -> None:
        """As `read_into`, with what is clipped."""
        lo, hi, _ = inside(start, out, self.nsamps)
        step = piece_samples(self.obs.header.nchans * self.obs.dtype.itemsize)
        at = lo
        while at < hi:
            segment = int(np.searchsorted(self._knots, at, side="right")) - 1
            stop = min(at + step, hi, int(self._knots[segment + 1]))
            self._piece(at, stop, segment, out[:, at - start : stop - start])
            at = stop
        for a, b in gaps_of(self.obs):
            if a < hi and b > lo:
                out[:, max(a, lo) - start : min(b, hi) - start] = 0

    @cached_property
    def _parts(self) -> tuple[Ints, Floats]:
        """Edges of the parts of the observation, and the fraction of the channels that is live in each."""
        parts = live_parts(self)
        return parts.edges, np.where(parts.blocks < 0, 0.0, 1.0 - parts.bad.mean(axis=1)[parts.blocks])

    def valid_fraction(self, start: int, nsamps: int) -> float:
        """Fraction of the live channel-samples of a stretch that are neither masked, clipped nor missing."""
        edges, live = self._parts
        inside = np.minimum(edges[1:], start + nsamps) - np.maximum(edges[:-1], start)
        return float(np.maximum(inside, 0) @ live) / nsamps

    def _piece(self, start: int, stop: int, segment: int, out: Int8s) -> None:
        n = stop - start
        nchans = self.obs.header.nchans
        raw = self._space.array("raw", (nchans, n), self.obs.dtype)
        self.obs.read_into(start, raw)
        anchor = int(self._knots[segment])
        base, slope = self._line(anchor)
        block = int(np.searchsorted(self.mask.edges, anchor, side="right")) - 1
        scale = self._scale[block]
        if self._diode is not None:
            base = base + self._steps[block] * np.float32(self._diode.wave(np.array([(anchor + 0.5) * self.tsamp]))[0])
        none = np.empty(0, dtype=np.float32)
        if self._weights is None or self._gains is None:
            normalise(raw, self._chans, base, slope, scale, start - anchor, none, none, out)
            return
        series = np.empty(n, dtype=np.float32)
        zero_dm(raw, self._chans, base, slope, scale, start - anchor, self._weights[block], series)
        normalise(raw, self._chans, base, slope, scale, start - anchor, series, self._gains[block], out)

    def _line(self, anchor: int) -> tuple[Float32s, Float32s]:
        """Baseline at the knot `anchor` and its slope a sample up to the next knot, per live channel."""
        centres = self._centres
        flat = np.zeros(self.nchans, dtype=np.float32)
        if anchor < centres[0]:
            return self._base[0].astype(np.float32), flat
        if anchor >= centres[-1]:
            return self._base[-1].astype(np.float32), flat
        i = int(np.searchsorted(centres, anchor, side="right")) - 1
        slope = (self._base[i + 1] - self._base[i]) / (centres[i + 1] - centres[i])
        value = self._base[i] + slope * (anchor - centres[i])
        return value.astype(np.float32), slope.astype(np.float32)


def cleaned_source(
    obs: Observation, mask: Mask, config: RfiConfig, *, threads: int = 1, progress: Callable[[int], None] | None = None
) -> CleanedSource:
    """The cleaned observation, less what its channels share if the settings want that.

    Parameters
    ----------
    config : RfiConfig
        `zerodm`: "zdot" reads the observation once more to find the gains.
    progress : callable, optional
        Called with the number of samples newly read.
    """
    if config.zerodm == "off":
        return CleanedSource(obs, mask)
    if config.zerodm == "mean":
        gains = shared_gains(obs, mask)
        with np.errstate(divide="ignore", invalid="ignore"):
            weights = gains / np.sum(gains**2, axis=1, keepdims=True)
        return CleanedSource(obs, mask, weights=np.nan_to_num(weights, posinf=0.0).astype(np.float32), gains=gains)
    weights, gains = matched_gains(CleanedSource(obs, mask), threads=threads, progress=progress)
    return CleanedSource(obs, mask, weights=weights, gains=gains)


def shared_gains(obs: Observation, mask: Mask) -> Float32s:
    """Change of every channel when the whole band changes by the same factor, in units of their noise.

    In raw units it is in proportion to the bandpass. Where means do not tell the bandpass (fewer than 8 bits, offsets
    that have been removed) all channels have the gain 1.

    Returns
    -------
    ndarray of float32, shape (nblocks, nchans live)
        1 for the typical channel, 0 where masked.
    """
    chans = np.flatnonzero(mask.chan_ok)
    bad = mask.bad[:, chans]
    with np.errstate(divide="ignore", invalid="ignore"):
        over = mask.baseline[:, chans] / mask.noise[:, chans]
        typical = np.nanmedian(np.where(bad | ~np.isfinite(over), np.nan, over)) if (~bad).any() else np.nan
    if obs.header.nbits < 8 or not typical > 1.0:
        gains = np.ones(bad.shape)
    else:
        # Beyond a factor of two the bandpass is not what the means tell.
        gains = np.clip(np.nan_to_num(over / typical, nan=1.0, posinf=1.0, neginf=1.0), 0.5, 2.0)
    return np.where(bad, 0.0, gains).astype(np.float32)


def matched_gains(
    source: CleanedSource, *, threads: int = 1, progress: Callable[[int], None] | None = None
) -> tuple[Float32s, Float32s]:
    """Weights of the mean over the channels, and the projection of every channel on it, some blocks at a time.

    The projection of channel c on the mean s is <x_c s> / <s s> (Men et al. 2019, MNRAS 488, 3957). The part that the
    noise of the channel itself has in both is taken off: where the channels share nothing, next to nothing is
    subtracted.

    Returns
    -------
    weights, gains : ndarray of float32, shape (nblocks, nchans live)
    """
    mask, nchans = source.mask, source.nchans
    live = ~mask.bad[:, mask.chan_ok]
    nblocks = len(live)
    # Noise alone gives gains that scatter by the root of channels over samples: 20 samples for every channel.
    together = max(1, -(-20 * nchans // int(np.diff(mask.edges)[0])))
    weights = (live / np.maximum(live.sum(axis=1, keepdims=True), 1)).astype(np.float32)
    gains = np.zeros(weights.shape, dtype=np.float32)
    step = piece_samples(nchans)

    def take_blocks(first: int) -> None:
        last = min(first + together, nblocks)
        products, total, squares = np.zeros(nchans), 0.0, np.zeros(nchans)
        data = np.empty((nchans, step), dtype=np.int8)
        for block in range(first, last):
            lo, hi = int(mask.edges[block]), int(mask.edges[block + 1])
            for at in range(lo, hi, step):
                part = data[:, : min(step, hi - at)]
                source.read_into(at, part)
                series = weights[block] @ part.astype(np.float32)
                project(part, series, products)
                total += float(series.astype(np.float64) @ series)
                squares += weights[block] * np.einsum("ij,ij->i", part, part, dtype=np.float64)
        if total > 0:
            gains[first:last] = np.where(live[first:last], np.clip((products - squares) / total, 0.0, None), 0.0)
        if progress is not None:
            progress(int(mask.edges[last] - mask.edges[first]))

    with ThreadPoolExecutor(max(1, threads)) as pool:
        list(pool.map(take_blocks, range(0, nblocks, together)))
    return weights, gains


class MaskedSource(SampleSource, Protocol):
    """Cleaned samples of which it is known what is masked: a `CleanedSource`, or what is read through it."""

    @property
    def obs(self) -> Observation: ...
    @property
    def mask(self) -> Mask: ...
    @property
    def nchans(self) -> int: ...


class HeldSource(Derived):
    """Cleaned samples that are read and cleaned once: what was read stays in memory, as long as this object lives.

    `rows`: all of them, if they have been read.
    """

    def __init__(self, source: MaskedSource, rows: Rows | None = None) -> None:
        super().__init__(source)
        self.obs, self.mask, self.nchans = source.obs, source.mask, source.nchans
        self.rows = rows
        cleaned = np.empty((0, 0), dtype=np.int8) if rows is None else rows.data[:, rows.first :]
        self._held = cleaned[:, : self.nsamps]
        #: Samples that are there: first, and one after the last.
        self._there = [(0, self._held.shape[1])]
        self._lock = threading.Lock()

    def read_into(self, start: int, out: Int8s) -> None:
        """As of the source."""
        lo, hi, there = inside(start, out, self.nsamps)
        if lo == hi:
            return
        if any(first <= lo and hi <= last for first, last in self._there):
            there[:] = self._held[:, lo:hi]
            return
        self.source.read_into(start, out)
        with self._lock:
            if not self._held.size:
                self._held = np.empty((self.nchans, self.nsamps), dtype=np.int8)
        self._held[:, lo:hi] = there
        with self._lock:
            self._there = joined_stretches([*self._there, (lo, hi)])


@dataclass(frozen=True)
class Live:
    """Parts of an observation, and which channels are live in each."""

    edges: Ints  # (nparts + 1,): edges of the parts [samples], ascending
    blocks: Ints  # (nparts,): row of `bad` that tells of each part; -1 where all is clipped or missing
    bad: Bools  # (nblocks, nchans live): channels that are masked


def live_parts(source: MaskedSource) -> Live:
    """The live parts of cleaned samples."""
    mask = source.mask
    bad = np.ascontiguousarray(mask.bad[:, np.flatnonzero(mask.chan_ok)])
    dead = np.array([*mask.clipped, *gaps_of(source.obs)], dtype=np.int64).reshape(-1, 2).clip(0, source.nsamps)
    whole = np.asarray(mask.edges, dtype=np.int64)
    edges = np.unique(np.concatenate([whole, dead.ravel()]))
    middle = 0.5 * (edges[:-1] + edges[1:])
    blocks = np.searchsorted(whole, middle, side="right").astype(np.int64) - 1
    begun, ended = (np.searchsorted(np.sort(times), middle) for times in dead.T)
    blocks[begun > ended] = -1
    return Live(edges, blocks, bad)
