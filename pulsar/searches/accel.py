"""Search for accelerated pulsars: sums of harmonics over a plane of frequency and drift (and change of drift).

The steps: white Fourier amplitudes, powers at half bins and drifts a few bins apart by correlation in blocks, sums of
1, 2, 4 ... 16 harmonics, and what may exceed the threshold refined to the peak of its summed power. What each does and
how well is measured is in docs/acceleration.md.
"""

import copy
from functools import cache
from typing import Any

import numpy as np

from pulsar.config.model import AccelConfig
from pulsar.data.series import aligned
from pulsar.searches import stats
from pulsar.searches.amplitudes import PAD, Amplitudes
from pulsar.searches.response import DW, TOGETHER, Bins, Extent, Plane, coarsest, grid_part
from pulsar.searches.search import (
    EVERYTHING,
    Band,
    BandTrials,
    Circumstances,
    Cost,
    HarmonicSearch,
    Pairs,
    threshold_logp,
)
from pulsar_kernels import correlate, drifts, whiten
from pulsar_kernels import hits as hit_kernels
from pulsar_kernels.arrays import Array, Floats, Int32s, Ints
from pulsar_kernels.correlate import KNEE, decoded, first_phase, staged_bytes, work_floats
from pulsar_kernels.drifts import CELL, WIDE

#: Hits of one series that are kept at most, however strong the interference.
MOST_HITS = 100_000

#: Independent trials from benchmarks/noise.py trials accel, of single powers and what each stage of sums adds: per
#: bin of the top harmonic without drift; and with it per bin, width of a peak in drift, and unit of -ln p (a random
#: field has the more peaks over an area, in units of p, the higher they are).
TRIALS_LINE = (3.7, 1.8)
TRIALS_AREA = (0.82, 0.31)


class DriftTrials:
    """Independent trials of a run, and how coarse a grid its threshold allows.

    `ntrials_dm`: independent DMs of the whole run. `bands`: see `AccelSearch`.

    Attributes
    ----------
    cells : ndarray of float64, shape (nstages, 2)
        Bins of the top harmonic, and these times widths of drift, of every stage.
    """

    def __init__(self, extent: Extent, config: AccelConfig, ntrials_dm: float, bands: BandTrials) -> None:
        self._wmax, self._sigma = config.wmax, config.threshold
        self._ndms = 1.0 if bands else ntrials_dm
        if bands:
            parts = [ndms * extent.cells(extent.rows_of(band, of_run=True)) for band, ndms in bands]
            self.cells = np.asarray(np.sum(parts, axis=0))
        else:
            self.cells = extent.cells(extent.rows_of(EVERYTHING))

    def __call__(self, logp: Floats | float) -> Floats:
        """Effective independent trials at the single-trial ln p."""
        level = np.maximum(-np.asarray(logp, dtype=np.float64), 1.0)
        # Change of drift over which powers are one and the same at ln p = -18 [bins].
        bends = 1.0 + 2.0 * self._wmax / 25.0 * np.sqrt(level / 18.0)
        single, summed = self.cells[0], self.cells[1:].sum(axis=0)
        line = TRIALS_LINE[0] * single[0] + TRIALS_LINE[1] * summed[0]
        area = TRIALS_AREA[0] * single[1] + TRIALS_AREA[1] * summed[1]
        return np.asarray(np.maximum(bends * (line + area * level), 1.0) * self._ndms, dtype=np.float64)

    @property
    def step(self) -> float:
        """Largest step of drift [bins] for the threshold of the run."""
        return coarsest(threshold_logp(self._sigma, self))


class AccelSearch(HarmonicSearch["_Buffers"]):
    """Search over frequency and drift; see :class:`~pulsar.searches.search.Search`.

    Parameters
    ----------
    nsamps, tsamp, **run
        Without `memory` the plane may take 4 GB. `bands` are those of a run whose DMs are not all searched alike
        (`within`): significances are corrected for them in place of `ntrials_dm`. `spectra` is a search of series of
        the same length, whose white amplitudes are taken over.
    config : AccelConfig, optional
        Largest drift or acceleration, harmonics, threshold, range of periods.

    Raises
    ------
    ConfigError
        If the range of periods is empty, or the memory too little.
    """

    name = "accel"
    section = AccelConfig
    title = "a periodicity search"
    counted = "frequencies with a drift"
    kernels = "accel"
    drifts = True
    config: AccelConfig

    def __init__(self, nsamps: int, tsamp: float, config: AccelConfig | None = None, **run: Any) -> None:
        super().__init__(nsamps, tsamp, config, **run)
        bands = self.run.bands
        #: All that is searched.
        self.band = EVERYTHING
        if bands:
            self.band = Band(min(band.low for band, _ in bands), max(band.high for band, _ in bands))
        self._parts: dict[Band, AccelSearch] = {}
        self._trials = DriftTrials(Extent(nsamps, tsamp, self.config), self.config, self.ntrials_dm, bands)
        self._most = self._trials.step
        self.plane = plane = Plane(nsamps, tsamp, self.config, self.run.memory, self.band, most=self._most)
        self.amplitudes = Amplitudes(plane.lengths)
        self.nbins, self.noise = self.amplitudes.nbins, self.amplitudes.noise
        self.nharms = plane.nharms
        self.cells = self._trials.cells
        #: Frequency, drift, change of drift: how many are free.
        self._nfree = 3 if plane.bends else 2 if plane.z_limit > 0.0 else 1
        self._decode = decoded()
        self._bends = {b: first_phase(plane.n, 0.0, DW * b) for b in range(-plane.bends, plane.bends + 1)}
        self._start = cache(lambda centre: first_phase(plane.n, -plane.dz * centre, 0.0))
        self._solve_threshold(self.config.threshold)

    @classmethod
    def _cost(cls, nsamps: int, tsamp: float, config: Any, band: Band, run: Circumstances, /) -> Cost:
        # Its trials are the points of the plane that are made for a series.
        most = DriftTrials(Extent(nsamps, tsamp, config), config, 1.0, run.bands).step
        plane = Plane(nsamps, tsamp, config, run.memory, band, most=most)
        # CPU seconds of a sample until its amplitudes are white. A search on two cores takes longer, by this factor,
        # than its transforms and sums alone (benchmarks/speed.py beam, 60 s for 32 with zmax = 200).
        seconds = 1.85 * (plane.seconds + 3e-9 * nsamps)
        return Cost(plane.npoints, seconds, plane.memory_bytes)

    @classmethod
    def switch(cls) -> str:
        """The setting that switches it on."""
        return "accel.zmax"

    def within(self, band: Band) -> "AccelSearch":
        """The same search of a band of frequencies alone; it shares the work space, significances and threshold.

        Raises
        ------
        ConfigError
            If the memory is too little.
        """
        if band in (EVERYTHING, self.band):
            return self
        if band in self._parts:
            return self._parts[band]
        part = copy.copy(self)
        part.band = band
        part.plane = Plane(
            self.nsamps, self.tsamp, self.config, self.run.memory, band, most=self._most, edge_reach=self.plane.reach
        )
        return self._parts.setdefault(band, part)

    def ntrials(self, logp: Floats | float) -> Floats:
        """Effective independent trials of the whole run at the single-trial ln p."""
        return self._trials(logp)

    def set_threshold(self, logp: float) -> None:
        """Keep what is less likely than exp(`logp`) in a single trial, whatever the configured threshold says."""
        super().set_threshold(logp)
        self._parts.clear()
        # A grid point has less than the peak beside it.
        stages = enumerate(zip(self.nharms, self.thresholds, strict=True))
        grid = [h + grid_part(s, self.plane.dz) * (power - h) for s, (h, power) in stages]
        #: Steps of a unit power.
        # Steps of a power that is kept as a byte: as many as the thresholds leave room for, up to this.
        self._steps = min(6.0, (KNEE - 4.0) / max(grid))
        rounding = [2.0 * np.sqrt(h / 12.0) for h in self.nharms]
        limits = [np.clip(np.floor(p * self._steps - e), 1, KNEE - 1) for p, e in zip(grid, rounding, strict=True)]
        self._limits = np.repeat(np.array(limits, dtype=np.uint8), WIDE)

    def _make_buffers(self) -> "_Buffers":
        return _Buffers(self)

    def _find(self, series: Array, b: "_Buffers", birdies: Pairs, band: Band, /) -> Array:
        part = self.within(band)
        b.fit(part.plane)
        if not self._fill(series, b, birdies):
            return self._table(0)
        return part._detections(b, part._stored(b) if part.plane.stored else part._slabs(b))

    def _fill(self, series: Array, b: "_Buffers", birdies: Pairs) -> bool:
        """Have white amplitudes of a series in the work space; False when it is constant."""
        if self.run.spectra is not None:
            amplitudes = self.run.spectra.filled(series, birdies)
            if amplitudes is not None:
                b.real, b.imag = amplitudes
            return amplitudes is not None
        levels = self.amplitudes.fill(series, birdies, b.real, b.imag, b.transform)
        if levels is not None:
            whiten.whiten_amplitudes(b.real, b.imag, PAD, self.noise.centres, levels)
        return levels is not None

    def _make(self, b: "_Buffers", pieces: list[Bins], bends: range, stride: int) -> None:
        """Powers of consecutive blocks, for every change of drift."""
        for lo in range(0, len(pieces), TOGETHER):
            part = pieces[lo : lo + TOGETHER]
            self._short(b, part)
            for i, piece in enumerate(part):
                for k, bend in enumerate(bends):
                    self._correlate(b, i, piece, bend, piece.at + k * stride)

    def _short(self, b: "_Buffers", pieces: list[Bins]) -> None:
        plane = self.plane
        correlate.short_series(
            *(b.real, b.imag, PAD, pieces[0].first - plane.edge, plane.valid, plane.block),
            *(np.sqrt(self._steps), b.work, b.short[: len(pieces)]),
        )

    def _correlate(self, b: "_Buffers", i: int, piece: Bins, bend: int, at: int) -> None:
        lo = self.plane.edge
        hi = lo + piece.count
        start = self._start(piece.centre)
        turn = self._bends[bend]
        correlate.correlate(
            b.short[i], start, turn, self.plane.block, piece.groups, lo, hi, b.work, b.staged, b.plane, at
        )

    def _sum(self, b: "_Buffers", table: Int32s, shift: Ints, piece: Bins, rows: tuple[int, int], nhits: int) -> int:
        """Sum harmonics over the rows of a block that are among `rows`; returns the hits `nhits` before, and more."""
        plane = self.plane
        start = max(2 * piece.first, rows[0])
        stop = min(2 * (piece.first + piece.count), rows[1])
        if start >= stop:
            return nhits
        return drifts.sum_rows(
            *(b.plane, table, shift, plane.stage_rows, start, stop, piece.centre, piece.pitch, plane.slope),
            *(plane.reach, self._limits, self._decode, b.cells, nhits, b.hits),
        )

    def _stored(self, b: "_Buffers") -> int:
        """Make the plane block by block, each summed as soon as it is there."""
        plane = self.plane
        shift = np.zeros((len(plane.fractions), 2), dtype=np.int64)
        nhits = 0
        for lo in range(0, len(plane.top), TOGETHER):
            part = plane.top[lo : lo + TOGETHER]
            self._short(b, part)
            for i, piece in enumerate(part):
                self._correlate(b, i, piece, 0, piece.at)
                nhits = self._sum(b, plane.zero, shift, piece, plane.rows, b.room(nhits, self))
        return nhits

    def _slabs(self, b: "_Buffers") -> int:
        """Make slabs of the top harmonic and the stretches that belong to their lower harmonics."""
        plane = self.plane
        nhits = 0
        for start in range(plane.rows[0], plane.rows[1], 2 * plane.valid * plane.slab):
            stop = min(start + 2 * plane.valid * plane.slab, plane.rows[1])
            pieces, strides, _ = plane.pieces(start, stop)
            zero: list[Int32s] = []
            shift = np.zeros((len(pieces), 2), dtype=np.int64)
            size = 0
            for f, (blocks, stride) in enumerate(zip(pieces, strides, strict=True)):
                most = plane.bend_share(*plane.fractions[f])
                self._make(b, blocks, range(-most, most + 1), stride)
                shift[f, 0] = size - 2 * blocks[0].first
                for p in blocks:
                    zero.append(p.zero)
                    size += 2 * p.count
            table = np.concatenate(zero)
            for bend in range(-plane.bends, plane.bends + 1):
                for f, (k, h) in enumerate(plane.fractions):
                    most = plane.bend_share(k, h)
                    shift[f, 1] = (min(max((bend * k + h // 2) // h, -most), most) + most) * strides[f]
                for p in pieces[0]:
                    before = b.room(nhits, self)
                    nhits = self._sum(b, table, shift, p, (start, stop), before)
                    b.bends[before:nhits] = bend
        return nhits

    def _detections(self, b: "_Buffers", nhits: int) -> Array:
        if nhits == 0:
            return self._table(0)
        plane = self.plane
        nharm = np.left_shift(1, b.hits[:nhits, 2])
        # From the middle of a sample near it to the middle of the data.
        late = 0.5 * plane.filled - plane.block.origin / plane.n
        r = b.hits[:nhits, 0] / (2.0 * nharm)
        z = plane.dz * b.hits[:nhits, 1] / nharm
        w = DW * b.bends[:nhits] / nharm
        r, z = r + z * late + 0.5 * w * late**2, z + w * late
        hits = np.column_stack([r, z, w, nharm, b.hits[:nhits, 3] / self._steps])
        logp = stats.power_logp(hits[:, 4], nharm)
        order = np.argsort(logp, kind="stable")
        # Bytes hold strong powers roughly, and which of f, 2 f, 3 f ... comes first matters.
        # The best are ordered by exact powers if they are less likely than this, and no more than so many.
        strong = order[: min(500, np.count_nonzero(logp < -40.0))]
        if strong.size:
            hit_kernels.exact(b.real, b.imag, PAD, plane.filled, hits, strong)
            logp[strong] = stats.power_logp(hits[strong, 4], nharm[strong])
            order = np.argsort(logp, kind="stable")
        most = min(nhits, self.config.max_detections)
        out = np.empty((most, 7))
        # No other sums than those that are searched: they are more trials. A bin is what a hit may be moved.
        top = min(float(self.nbins), self.band.high * self.amplitudes.span + 1.0)
        lowest = 0.5 * plane.stage_rows[:, 0] - 1.0 if self.band.low > 0.0 else ()
        kept = hit_kernels.select(
            *(b.real, b.imag, PAD, plane.filled, hits, order, self._nfree),
            np.array([top, plane.z_limit, plane.w_limit, plane.dz]),
            np.array([self.logp_threshold, self.config.nharm, plane.r_hi, *lowest]),
            *(self.noise.inverse, self.noise.own, self.noise.inverse_rest, out),
            np.zeros((most, hit_kernels.KNOWN)),
        )
        out = out[np.argsort(out[:kept, 5], kind="stable")]
        span = self.amplitudes.span
        table = self._table(kept)
        table["freq"] = out[:, 0] / span
        table["fdot"] = out[:, 1] / span**2
        table["fddot"] = out[:, 2] / span**3
        # For a line of unit power (Cramer-Rao); the drift is not correlated with the frequency at the middle, a change
        # of the drift is.
        error = np.sqrt(6.0) / (2.0 * np.pi * self.tobs) * (2.5 if plane.bends else 1.0)
        table["freq_err"] = error / np.sqrt(out[:, 6])
        table["nharm"] = out[:, 3]
        table["power"] = out[:, 4]
        self._significances(table, stats.power_logp(out[:, 4], out[:, 3]))
        return table


class _Buffers:
    """Work space of one thread."""

    def __init__(self, search: AccelSearch) -> None:
        plane = search.plane
        n = plane.n
        nbins = search.nbins + 2 * PAD if search.run.spectra is None else 0
        self.real = np.zeros(nbins, dtype=np.float32)
        self.imag = np.zeros(nbins, dtype=np.float32)
        self.plane = np.zeros(0, dtype=np.uint8)
        self.work = aligned(work_floats(n), np.float32)
        self.short = aligned((TOGETHER, 2, n), np.float32)
        self.staged = aligned(staged_bytes(n), np.uint8)
        # For every band.
        pitch = 16 * plane.shape(2 * search.nbins)[1]
        shape = (len(search.nharms), 2 * plane.valid // CELL + 1, (pitch + WIDE) // CELL)
        self.cells = np.zeros(shape, dtype=np.int32)
        self.hits = np.zeros((self.cells.size + 1024, 4), dtype=np.int64)
        self.bends = np.zeros(self.hits.shape[0], dtype=np.int64)

    def fit(self, plane: Plane) -> None:
        """Make room for a plane."""
        if self.plane.size >= plane.plane_bytes:
            return
        # Rows begin at cache lines; the transform is done when the plane is filled.
        self.plane = aligned(plane.plane_bytes, np.uint8)
        self.transform = self.plane[: 4 * plane.lengths.work].view(np.float32)

    def room(self, nhits: int, search: AccelSearch) -> int:
        """Make room for a hit in every cell; where there are too many, only the best stay. Their number is returned."""
        if nhits > MOST_HITS:
            nharm = np.left_shift(1, self.hits[:nhits, 2])
            best = np.argsort(stats.power_logp(self.hits[:nhits, 3] / search._steps, nharm), kind="stable")
            best = best[: MOST_HITS // 2]
            self.hits[: best.size] = self.hits[best]
            self.bends[: best.size] = self.bends[best]
            nhits = best.size
        need = nhits + self.cells.size
        if need > self.hits.shape[0]:
            more = 2 * need - self.hits.shape[0]
            self.hits = np.concatenate([self.hits, np.zeros((more, 4), dtype=np.int64)])
            self.bends = np.concatenate([self.bends, np.zeros(more, dtype=np.int64)])
        return nhits
