"""How the plane of frequency and drift is cut into blocks, and what is kept of it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pulsar.config.model import AccelConfig
from pulsar.constants import C
from pulsar.errors import ConfigError
from pulsar.searches.amplitudes import PAD, Lengths
from pulsar.searches.search import EVERYTHING, Band
from pulsar_kernels.arrays import Floats, Int32s, Ints
from pulsar_kernels.correlate import Tables, make_block
from pulsar_kernels.drifts import GUARD, UNIT

#: Largest drift where only an acceleration limits it [bins].
MAX_Z = 1200.0
#: Part of the excess power at the peak that the highest grid point beside it has of all but 4 % of signals, by the
#: number of harmonics (1, 2, 4 ...), for drifts so many bins apart (benchmarks/noise.py trials drift-steps).
STEPS = (2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
GRID = (
    (0.81, 0.78, 0.73, 0.66, 0.57, 0.48),
    (0.78, 0.75, 0.71, 0.64, 0.575, 0.51),
    (0.81, 0.775, 0.73, 0.68, 0.62, 0.555),
    (0.82, 0.79, 0.74, 0.69, 0.64, 0.575),
    (0.83, 0.80, 0.755, 0.69, 0.63, 0.58),
)
#: Grid points in noise from which it is worth looking closer: no more likely than this [-ln p]. Their refinement then
#: takes a tenth of the time of the plane.
LEAST = 14.0
#: Step of the change of drift [bins].
DW = 20.0
#: Blocks whose short series are made together.
TOGETHER = 16
#: Places in a plane are counted in 31 bits and units of 8 bytes.
MOST_BYTES = 1 << 33
#: A band begins at this part of its lowest frequency for sums of 1 and 2 harmonics: a step in DM takes the same part of
#: the power of one line there as of four whose highest is at that frequency (those of a Gaussian of 10 % duty).
SHARES = (0.58, 0.75)
#: CPU time of a plane point [ns], lengths of a block, and work space in cache.
_COST = {256: 0.42, 512: 0.44, 1024: 0.46, 2048: 0.57, 4096: 0.76, 8192: 1.3}


def alignment(nharm: int) -> int:
    """Drift 0 of a row is a multiple of so many steps behind its first."""
    return max(nharm, 8)


def coarsest(logp: float) -> float:
    """Largest step of drift [bins] with which a threshold does not make more of the grid worth looking at than `LEAST`.

    `logp`: ln p of the threshold of a single trial.
    """
    needed = (LEAST - 1.0) / max(-logp - 1.0, 1.0)
    return float(np.interp(-needed, -np.array(GRID[0]), STEPS))


def grid_part(stage: int, dz: float) -> float:
    """Part of its excess power that a grid of drifts `dz` bins apart leaves of a signal, see `GRID`."""
    return float(np.interp(dz, STEPS, GRID[min(stage, len(GRID) - 1)]))


def drift_steps(limit: float, nharm: int, most: float) -> tuple[float, int]:
    """From one drift to the next [bins], and steps to the largest.

    Rows hold a step more than the largest on either side, and fill vectors of drifts: what they hold beyond is no work.

    `limit`: largest drift [bins]. `nharm`: most harmonics summed. `most`: largest step [bins].
    """
    if limit <= 0.0:
        return STEPS[0], 0
    align = alignment(nharm)
    reach = align * -(-(int(np.ceil(limit / most)) + 2) // align) - 2
    return limit / reach, reach


@dataclass(frozen=True)
class Bins:
    """Bins `first` to ``first + count`` of one block, and their drifts."""

    #: first, count: bins.
    first: int
    count: int
    centre: int  # the first of the drifts is `centre` steps below zero
    groups: int  # there are ``16 groups`` drifts
    at: int  # byte at which the first row is

    @property
    def pitch(self) -> int:
        """Bytes of a row."""
        return 16 * self.groups

    @property
    def end(self) -> int:
        """Byte behind the last row."""
        return self.at + 2 * self.count * self.pitch

    @property
    def zero(self) -> Int32s:
        """Where drift 0 of its rows is, see drifts.sum_rows."""
        rows = np.arange(2 * self.count, dtype=np.int64)
        return ((self.at + self.centre + rows * self.pitch) // UNIT).astype(np.int32)


class Extent:
    """Ranges of a search over frequency and drift, in bins of the padded transform.

    Attributes
    ----------
    filled : float
        Part of the transform that data fill.
    r_lo, r_hi : float
        Lowest and highest bin.
    z_limit, w_limit : float
        Largest drift and change of drift [bins].
    steepest : float
        Largest drift of a row [bins] over the row number.
    bends : int
        Steps to the largest change of drift.
    nharms : tuple of int
        Harmonics summed, stage by stage.

    Raises
    ------
    ConfigError
        If the range of periods is empty.
    """

    def __init__(self, nsamps: int, tsamp: float, config: AccelConfig) -> None:
        self.lengths = lengths = Lengths(nsamps, tsamp)
        self._p_min = config.p_min
        self.r_lo, self.r_hi = lengths.bin_range(config.p_min, config.p_max)
        self.filled = lengths.nsamps / lengths.nfft
        z = config.zmax if config.zmax > 0 or config.accel_max is None else MAX_Z
        self.z_limit = z / self.filled**2
        self.w_limit = config.wmax / self.filled**3
        # No more than this part of the frequency itself is drifted through: a T is below c / 8.
        self.steepest = 0.5 * 0.125
        if config.accel_max is not None:
            self.steepest = min(self.steepest, 0.5 * config.accel_max * lengths.span / C)
        self.bends = max(1, round(self.w_limit / DW)) if config.wmax > 0 else 0
        self.nharms = tuple(1 << s for s in range(int(config.nharm).bit_length()))

    def rows_of(self, band: Band, *, of_run: bool = False) -> Ints:
        """First and last + 1 half bin of the top harmonic of every stage of sums, shape (nstages, 2).

        Parameters
        ----------
        band : Band
            Of their highest harmonics; sums of 1 and 2 begin at `SHARES` of its lowest frequency.
        of_run : bool
            All of the band, as in the finest series of a run, where these may be downsampled.
        """
        rows = np.zeros((len(self.nharms), 2), dtype=np.int64)
        span, nbins, r_hi = self.lengths.span, float(self.lengths.nbins), self.r_hi
        if of_run and np.isfinite(band.high):
            nbins = max(nbins, band.high * span)
            r_hi = nbins if self._p_min is None else min(span / self._p_min, nbins)
        for s, h in enumerate(self.nharms):
            share = SHARES[s] if s < len(SHARES) else 1.0
            first = max(2 * h * self.r_lo, 2.0 * share * band.low * span)
            last = min(2.0 * nbins, 2 * h * r_hi + 1, 2.0 * band.high * span + 1)
            rows[s] = int(np.ceil(first)), int(last)
        return rows

    def cells(self, rows: Ints) -> Floats:
        """Bins of the top harmonic, and these times widths of drift, of every stage: shape (nstages, 2).

        Of sums whose fundamental is in no sum of fewer harmonics they are counted with those of the first stage: what a
        stage adds to the trials is little where noise that makes one high has been seen by the others.

        `rows`: shape (nstages, 2): of `rows_of`.
        """
        areas = np.zeros((len(rows), 2))
        before = 0
        for s, (lo, hi) in enumerate(rows.tolist()):
            # Sums of half as many harmonics begin there: below, nothing has seen this fundamental yet.
            new = min(max(2 * before, lo), max(hi, lo)) if s else lo
            areas[0] += self._area(lo, new)
            areas[s] += self._area(new, hi)
            before = lo
        return areas

    def _area(self, lo: int, hi: int) -> Floats:
        """Bins of the top harmonic between two rows, and these times widths of drift."""
        if hi <= lo:
            return np.zeros(2)
        bins = (hi - lo) / 2.0 * self.filled
        # The drift grows with the row, then stays.
        knee = min(max(self.z_limit / self.steepest, lo), hi)
        z = (0.5 * self.steepest * (knee**2 - lo**2) + self.z_limit * (hi - knee)) / (hi - lo)
        # Drift [bins] over which powers are one and the same.
        return np.array([bins, bins * 2.0 * z * self.filled**2 / 6.95])


class Plane(Extent):
    """Powers at half bins and drifts some bins apart, as bytes, for sums of up to `nharm` harmonics.

    Where memory allows, all that a lower harmonic needs is kept; otherwise slabs of the top harmonic are made with the
    stretches that belong to their lower harmonics, again for every slab.

    Parameters
    ----------
    nsamps, tsamp, config
        Of `Extent`.
    memory : int, optional
        Bytes that one thread may take; without it 4 GB for the plane.
    band : Band
        Highest harmonics that are searched with a drift.
    most : float
        From one drift to the next at most [bins], see `coarsest`.
    edge_reach : int
        Blocks have the edges of drifts of so many steps at least, to be as long as others.

    Attributes
    ----------
    dz : float
        From one drift to the next [bins].
    reach : int
        Steps to the largest drift.
    slope : float
        Steps to the largest drift of a row over the row number.
    stage_rows : ndarray of int64, shape (nstages, 2)
        First and last + 1 half bin of the top harmonic of every stage.
    rows : (int, int)
        The same of all of them.
    plane_bytes, memory_bytes : int
        Bytes of the plane, in which the transform is made before, and of all.

    Raises
    ------
    ConfigError
        If the range of periods is empty, or so little memory is allowed that not even one block can be searched.
    """

    def __init__(
        self,
        nsamps: int,
        tsamp: float,
        config: AccelConfig,
        memory: int | None = None,
        band: Band = EVERYTHING,
        *,
        most: float,
        edge_reach: int = 0,
    ) -> None:
        super().__init__(nsamps, tsamp, config)
        lengths = self.lengths
        self.nharm = int(config.nharm)
        self.dz, reach = drift_steps(self.z_limit, self.nharm, most)
        # The transform's work space is the plane's.
        # Without a plan the padded series and its spectrum come on top.
        # Hits and what blocks are worked on with take 20 MB at most.
        fixed = 8 * (lengths.nbins + 2 * PAD) + 20_000_000 + (8 * lengths.nfft if not lengths.work else 0)
        transform = 4 * lengths.work + 64
        allowed = 4_000_000_000 if memory is None else int(memory) - fixed
        if allowed < transform:
            raise ConfigError(
                f"{(allowed + fixed) / 1e6:.0f} MB are too little for series of {nsamps} samples: "
                f"{(fixed + transform) / 1e6:.0f} MB are needed at least"
            )
        self.stage_rows = rows = self.rows_of(band)
        searched = rows[rows[:, 1] > rows[:, 0]]
        first = int((searched if searched.size else rows)[:, 0].min())
        self.rows = (first, max(int(rows[:, 1].max()), first + 1))
        self.slope = self.steepest / self.dz
        self.reach = max(min(reach, int(self.slope * self.rows[1]) + 1), edge_reach)
        self.align = alignment(self.nharm)
        #: Bins at the edges of a block that are of no use: what a signal spreads over, and 16 beyond its spread.
        self.edge = int(np.ceil(0.5 * self.dz * self.reach + DW * self.bends / 8.0)) + 16
        self.n = min(
            (n for n in _COST if n > 2 * self.edge), key=lambda n: _COST[n] * n / (n - 2 * self.edge), default=0
        )
        if self.n == 0:
            raise ConfigError(
                f"drifts of {self.dz * self.reach:.0f} bins that change by {DW * self.bends:g} are too large to search"
            )
        self.valid = self.n - 2 * self.edge
        #: (k, H) of the harmonics in the order in which they are added.
        self.fractions = [(1, 1)]
        for s in range(1, self.nharm.bit_length()):
            self.fractions += [(k, 1 << s) for k in range(1, 1 << s, 2)]
        self.stored = self.bends == 0 and self._stored_bytes + 4 * self.rows[1] <= min(allowed, MOST_BYTES)
        #: Blocks of the top harmonic that are searched together.
        self.slab = TOGETHER if self.stored else self._largest_slab(allowed)
        self.plane_bytes = max(self.nbytes, transform)
        self.memory_bytes = fixed + self.plane_bytes + (4 * self.rows[1] if self.stored else 0)

    @cached_property
    def block(self) -> Tables:
        """Tables of a block."""
        return make_block(self.n, self.filled, self.dz)

    def shape(self, row: int, share: float = 1.0) -> tuple[int, int]:
        """Centre and groups of rows up to `row`, of which no more than a share of the largest drift is needed."""
        reach = min(int(np.ceil(share * self.reach)), int(self.slope * row)) + 1
        centre = self.align * -(-reach // self.align)
        return centre, -(-(centre + reach + 1) // 16)

    @cached_property
    def top(self) -> list[Bins]:
        """Blocks of the top harmonic; stored ones one after the other, the others in one and the same place."""
        first = self.rows[0] // 2
        if self.nharm > 1:
            first = min(first, self.rows[0] // (2 * self.nharm))
        pieces: list[Bins] = []
        at = GUARD
        # The last row that is a lower harmonic of another.
        last = (self.rows[1] * (self.nharm - 1) + self.nharm // 2) // self.nharm if self.nharm > 1 else -1
        for lo in range(first, -(-self.rows[1] // 2), self.valid):
            count = min(self.valid, -(-self.rows[1] // 2) - lo)
            centre, groups = self.shape(2 * (lo + count), self._share(2 * lo, 2 * (lo + count)))
            pieces.append(Bins(lo, count, centre, groups, at))
            if 2 * lo <= last:
                at = pieces[-1].end
        return pieces

    def _share(self, start: int, stop: int) -> float:
        """Part of the largest drift that any sum takes of the rows from `start` to `stop` - 1."""
        share = 0.0
        for s, (low, high) in enumerate(self.stage_rows.tolist()):
            for k in range(1, (1 << s) + 1):
                part = k / (1 << s)
                if low < high and part * low - 1.0 < stop and part * high + 1.0 > start:
                    share = max(share, part)
        return share

    @property
    def _stored_bytes(self) -> int:
        return max(p.end for p in self.top) + GUARD

    @cached_property
    def zero(self) -> Int32s:
        """Where drift 0 of every row is, see drifts.sum_rows, for the stored plane."""
        zero = np.zeros(self.rows[1] + 1, dtype=np.int32)
        for p in self.top:
            end = min(2 * (p.first + p.count), zero.size)
            zero[2 * p.first : end] = p.zero[: end - 2 * p.first]
        return zero

    def bend_share(self, k: int, h: int) -> int:
        """Largest change of drift of a harmonic, in steps."""
        return (self.bends * k + h // 2) // h

    def pieces(self, start: int, stop: int) -> tuple[list[list[Bins]], list[int], int]:
        """Where the harmonics of the rows `start` to `stop` of the top harmonic go when none is stored.

        Returns
        -------
        pieces : list of list of Bins
            For every fraction, blocks for its first change of drift.
        strides : list of int
            For every fraction, bytes from one change of drift to the next.
        nbytes : int
        """
        at = GUARD
        out: list[list[Bins]] = []
        strides: list[int] = []
        for k, h in self.fractions:
            lo = (start * k + h // 2) // h // 2
            hi = ((stop - 1) * k + h // 2) // h // 2 + 1
            begin = at
            blocks = []
            for first in range(lo, hi, self.valid):
                count = min(self.valid, hi - first)
                centre, groups = self.shape(2 * (first + count), k / h)
                blocks.append(Bins(first, count, centre, groups, at))
                at = blocks[-1].end
            out.append(blocks)
            strides.append(at - begin)
            at += 2 * self.bend_share(k, h) * strides[-1]
        return out, strides, at + GUARD

    @property
    def _spare(self) -> int:
        """Bytes by which one slab may need more than another: two bins of every harmonic and change of drift."""
        return 64 * self.shape(self.rows[1])[1] * (2 * self.bends + 1) * len(self.fractions)

    def _largest_slab(self, memory: int) -> int:
        """Most blocks of the top harmonic whose harmonics fit the memory."""
        stop = self.rows[1]
        blocks = -(-(self.rows[1] - self.rows[0]) // (2 * self.valid))
        fits = 0
        slab = 1
        while slab <= 64:
            start = max(self.rows[0], stop - 2 * self.valid * slab)
            need = self.pieces(start, stop)[2]
            if need + self._spare > min(memory, MOST_BYTES):
                if fits == 0:
                    raise ConfigError(
                        f"{memory / 1e6:.0f} MB are too little for drifts of {self.dz * self.reach:.0f} bins"
                        f"{f' that change by {DW * self.bends:g}' if self.bends else ''}: "
                        f"{(need + self._spare) / 1e6:.0f} MB are needed, or smaller limits"
                    )
                break
            fits = slab
            if slab >= blocks:
                break
            slab *= 2
        return fits

    @cached_property
    def nbytes(self) -> int:
        """Bytes of the plane."""
        if self.stored:
            return self._stored_bytes
        # The top has the widest rows; elsewhere there may be a block more for a harmonic.
        start = max(self.rows[0], self.rows[1] - 2 * self.valid * self.slab)
        return self.pieces(start, self.rows[1])[2] + self._spare

    @cached_property
    def npoints(self) -> int:
        """Points of all transforms of one search."""
        if self.stored:
            return sum(32 * p.groups * self.n for p in self.top)
        total = 0
        for start in range(self.rows[0], self.rows[1], 2 * self.valid * self.slab):
            stop = min(start + 2 * self.valid * self.slab, self.rows[1])
            for (k, h), blocks in zip(self.fractions, self.pieces(start, stop)[0], strict=True):
                total += (2 * self.bend_share(k, h) + 1) * sum(32 * p.groups * self.n for p in blocks)
        return total

    @property
    def seconds(self) -> float:
        """CPU time of its making and of the sums over it [s], roughly."""
        vectors = 0
        for p in self.top:
            rows = min(2 * (p.first + p.count), self.rows[1]) - max(2 * p.first, self.rows[0])
            vectors += max(rows, 0) * -(-p.pitch // 64)
        # CPU time of one harmonic in the sums of 64 drifts of a row [ns].
        sums = 1.1 * self.nharm * (2 * self.bends + 1) * vectors
        return 1e-9 * (_COST[self.n] * self.npoints + sums)
