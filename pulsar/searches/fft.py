"""Periodicity search in the power spectrum of one dedispersed series.

The steps: detrend and pad, real FFT, whitening by growing median blocks, powers on a grid of half bins, harmonic sums
of 1, 2, 4 ... up to 32 powers, threshold by trial-corrected significance, one refined detection per peak. What each
does and how well is measured is in docs/search.md.
"""

from typing import Any

import numpy as np

from pulsar.config.model import FFTConfig
from pulsar.data.series import aligned
from pulsar.searches import stats
from pulsar.searches.amplitudes import PAD, Amplitudes, Lengths
from pulsar.searches.search import Band, Circumstances, Cost, HarmonicSearch, Pairs
from pulsar_kernels import harmonics, peaks
from pulsar_kernels.arrays import Array, Float32s, Floats, Ints

#: Taps of the half-bin interpolation, and what they count, so that the power of noise stays what it is.
HALF_TAPS = 8
_TAPS = 1.0 / (np.pi * (np.arange(HALF_TAPS) + 0.5))
HALF_WEIGHTS = (_TAPS / np.sqrt(2.0 * np.sum(_TAPS**2))).astype(np.float32)


#: Independent trials per bin of the top harmonic, from benchmarks/noise.py trials fft: of single powers, and what
#: each stage of harmonic sums adds, at p = 1e-4 and for every factor of ten below (rarer maxima are further apart, so
#: fewer of them are one and the same at several stages), but no more than single powers have.
TRIALS_SINGLE = 1.9
TRIALS_STAGE = (0.76, 0.27)


#: Top harmonic (its place in the powers), row of the ranges, and power of raised sums.
Raised = tuple[Ints, Ints, Float32s]


class RaisedBuffers:
    """Room for raised sums and powers as bytes, which grows when they need more."""

    def __init__(self) -> None:
        self._columns: Raised = _columns(16384)
        self._few = np.empty(0, np.uint8)

    def raised(self, powers: Float32s, ranges: Ints, thresholds: Float32s) -> Raised:
        """Local maxima of sums of powers above thresholds: `pulsar_kernels.harmonics.harmonic_peaks`.

        They are there until this is called again.
        """
        if self._few.size != powers.size + 128:
            self._few = np.empty(powers.size + 128, np.uint8)
        arguments = powers, ranges, thresholds, self._few
        while (count := harmonics.harmonic_peaks(*arguments, *self._columns)) > self._columns[0].size:
            self._columns = _columns(int(1.5 * count))
        index, row, power = self._columns
        return index[:count], row[:count], power[:count]


def _columns(capacity: int) -> Raised:
    return np.zeros(capacity, np.int64), np.zeros(capacity, np.int64), np.zeros(capacity, np.float32)


class FFTSearch(HarmonicSearch["_Buffers"]):
    """Search for periods in the power spectrum; see :class:`~pulsar.searches.search.Search`.

    `config`: harmonics, threshold, range of periods.

    Raises
    ------
    ConfigError
        If the range of periods is empty.
    """

    name = "fft"
    section = FFTConfig
    title = "a periodicity search"
    counted = "frequencies"
    kernels = "fft"
    config: FFTConfig

    def __init__(self, nsamps: int, tsamp: float, config: FFTConfig | None = None, **run: Any) -> None:
        super().__init__(nsamps, tsamp, config, **run)
        config = self.config
        lengths = Lengths(nsamps, tsamp)
        self.nfft, self.nbins, self._work = lengths.nfft, lengths.nbins, lengths.work
        self.amplitudes = Amplitudes(lengths)
        self.noise = self.amplitudes.noise
        self.r_lo, self.r_hi = lengths.bin_range(config.p_min, config.p_max)
        self.nharms = tuple(1 << s for s in range(int(config.nharm).bit_length()))
        h = np.array(self.nharms)
        ends = np.ceil(2 * h * self.r_lo), np.minimum(2 * self.nbins, np.floor(2 * h * self.r_hi) + 1)
        self._limits = np.column_stack(ends).astype(np.int64)
        top_bins = np.maximum(np.diff(self._limits)[:, 0], 0) / 2 * self.nsamps / self.nfft
        self._top_bins = float(top_bins[0]), float(top_bins[1:].sum())
        self._also: list[tuple[Ints, Float32s]] = []
        self._solve_threshold(config.threshold)

    @classmethod
    def _cost(cls, nsamps: int, tsamp: float, _config: Any, _band: Band, _run: Circumstances, /) -> Cost:
        lengths = Lengths(nsamps, tsamp)
        # Samples searched a second, with 32 harmonics, by one of two cores (benchmarks/speed.py beam).
        return Cost(nsamps / 2, nsamps / 200.0e6, 4 * sum(_sizes(lengths.nfft, lengths.work)) + lengths.nfft)

    @property
    def spectra(self) -> "FFTSearch":
        """Itself."""
        return self

    def ntrials(self, logp: Floats | float) -> Floats:
        """Effective independent trials of the whole run at the single-trial ln p."""
        single, summed = self._top_bins
        decades = -np.asarray(logp, dtype=np.float64) / np.log(10.0) - 4.0
        stage = np.clip(TRIALS_STAGE[0] + TRIALS_STAGE[1] * decades, 0.5, TRIALS_SINGLE)
        per_series = np.maximum(TRIALS_SINGLE * single + stage * summed, 1.0)
        return np.asarray(per_series * self.ntrials_dm, dtype=np.float64)

    def set_threshold(self, logp: float) -> None:
        """Keep what is less likely than exp(`logp`) in a single trial, whatever the configured threshold says."""
        super().set_threshold(logp)
        self._wanted = self._with_others()

    def also_raise(self, ranges: Ints, thresholds: Float32s) -> int:
        """Have `raised` keep what another search of the same spectra looks at as well.

        Parameters
        ----------
        ranges : ndarray of int64, shape (nranges, 3)
            First and last + 1 index of the top harmonic, and stage: 2**stage harmonics.
        thresholds : ndarray of float32, shape (nranges,)

        Returns
        -------
        int
            Number of the first of these ranges.
        """
        number = len(self._wanted[0])
        self._also.append((ranges, thresholds))
        self._wanted = self._with_others()
        return number

    def _with_others(self) -> tuple[Ints, Float32s]:
        mine = np.column_stack([self._limits, np.arange(len(self._limits))]), np.array(self.thresholds, np.float32)
        ranges, thresholds = zip(mine, *self._also, strict=True)
        return np.concatenate(ranges), np.concatenate(thresholds)

    def _make_buffers(self) -> "_Buffers":
        return _Buffers(self.nfft, self._work)

    def _find(self, series: Array, buffers: "_Buffers", birdies: Pairs, _band: Band, /) -> Array:
        # Made anew whatever was there: a series may have got other samples.
        buffers.of = None
        return self._detect(buffers) if self.fill(series, birdies, buffers) else self._table(0)

    def fill(self, series: Array, birdies: Pairs, buffers: "_Buffers") -> bool:
        """Have white amplitudes and powers of a series in the work space; those that were just made are kept.

        Parameters
        ----------
        series : ndarray of int16 or float32, shape (nsamps,), C-contiguous
        birdies : tuple of (float, float)
            Frequencies and full widths [Hz] that are left out.
        buffers : work space of this thread

        Returns
        -------
        bool
            False when the series is constant.
        """
        if buffers.of is None or buffers.of[0] is not series or buffers.of[1] != birdies:
            buffers.of = (series, birdies) if self._white_powers(series, birdies, buffers) else None
        return buffers.of is not None

    def filled(self, series: Array, birdies: Pairs) -> tuple[Float32s, Float32s] | None:
        """White amplitudes of a series, bin r at element ``PAD + r``, in this thread's work space; see `fill`.

        Returns
        -------
        tuple of ndarray of float32 or None
            Real and imaginary parts, not to be changed; None when the series is constant.
        """
        buffers = self._buffers()
        return (buffers.real, buffers.imag) if self.fill(series, birdies, buffers) else None

    def spectrum(self, series: Array) -> Float32s:
        """Normalised powers (mean 1 in noise) at half bins, shape (nfft,); element i is at ``i/(2 nfft tsamp)`` Hz."""
        buffers = self._buffers()
        buffers.of = None
        if not self._white_powers(self._checked(series), (), buffers):
            return np.zeros(self.nfft, dtype=np.float32)
        return buffers.half.copy()

    def _white_powers(self, series: Array, birdies: Pairs, buffers: "_Buffers") -> bool:
        """Fill the white amplitudes and half-bin powers; False when the series is constant."""
        buffers.raised = None
        levels = self.amplitudes.fill(series, birdies, buffers.real, buffers.imag, buffers.work)
        if levels is None:
            return False
        noise = self.noise
        harmonics.white_powers(
            *(buffers.real, buffers.imag, PAD, noise.centres, levels, HALF_WEIGHTS),
            *(noise.inverse, noise.own, noise.inverse_rest, buffers.half),
        )
        return True

    def raised(self, buffers: "_Buffers") -> Raised:
        """Raised sums of the spectrum in a work space: top harmonic (half bins), range and power.

        Ranges are the stages of this search, and after them those of `also_raise`. Looked for once for each spectrum.
        """
        if buffers.raised is None:
            buffers.raised = buffers.room.raised(buffers.half, *self._wanted)
        return buffers.raised

    def _detect(self, buffers: "_Buffers") -> Array:
        index, stages, powers = self.raised(buffers)
        rows = np.flatnonzero(stages < len(self.nharms))
        nraised = rows.size
        if nraised == 0:
            return self._table(0)
        nharm = np.left_shift(1, stages[rows])
        bins = index[rows] / (2.0 * nharm)
        power = powers[rows].astype(np.float64)
        by_bin = np.argsort(bins, kind="stable")
        nharm, bins, power = nharm[by_bin], bins[by_bin], power[by_bin]
        logp = stats.power_logp(power, nharm)
        order = np.argsort(logp, kind="stable")
        most = min(nraised, self.config.max_detections)
        kept_index = np.empty(most, dtype=np.int64)
        kept_bin = np.empty(most, dtype=np.float64)
        information = np.empty(most, dtype=np.float64)
        kept = peaks.select(
            buffers.real, buffers.imag, PAD, bins, nharm, power, order, kept_index, kept_bin, information
        )
        out = self._table(kept)
        best = kept_index[:kept]
        out["freq"] = kept_bin[:kept] / (self.nfft * self.tsamp)
        # sqrt(6) / (2 pi T) for a line of unit power (Cramer-Rao), T the length of the data.
        out["freq_err"] = np.sqrt(6.0) / (2.0 * np.pi * self.tobs * np.sqrt(information[:kept]))
        out["nharm"] = nharm[best]
        out["power"] = power[best]
        self._significances(out, logp[best])
        return out


def _sizes(nfft: int, work: int) -> list[int]:
    """Floats of real parts, imaginary parts and work space, each from a cache line (16 floats) on."""
    return [-(-n // 16) * 16 for n in (nfft // 2 + 2 * PAD, nfft // 2 + 2 * PAD, max(nfft, work))]


class _Buffers:
    """Work space of one thread: about 9 bytes a sample."""

    def __init__(self, nfft: int, work: int) -> None:
        nbins = nfft // 2
        #: Series and lines whose white amplitudes and powers are there.
        self.of: tuple[Array, Pairs] | None = None
        # One piece for all, which the system puts on large pages.
        sizes = _sizes(nfft, work)
        self.real, self.imag, self.work = np.split(aligned(sum(sizes), np.float32), np.cumsum(sizes)[:2])
        self.real = self.real[: nbins + 2 * PAD]
        self.imag = self.imag[: nbins + 2 * PAD]
        #: Half-bin powers: the transform is done when they are filled.
        self.half = self.work[:nfft]
        #: Raised sums of them, None where they have not been looked for; and room for these.
        self.raised: Raised | None = None
        self.room = RaisedBuffers()
