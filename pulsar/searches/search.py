"""The protocol of searches of dedispersed series: their input, their result and their cost.

What differs between them a run asks of the class: its section of the settings, the periods it covers, the trial DMs it
needs, its cost, its kernels. The list of all is in :mod:`pulsar.searches.registry`.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from pulsar.config.model import Config, Section
from pulsar.data.candidate import DETECTION_COLUMNS, Column, dtype_of
from pulsar.data.series import MIN_SAMPLES, Lines
from pulsar.errors import ConfigError, DataError
from pulsar.searches import stats
from pulsar_kernels import longwave
from pulsar_kernels.arrays import Array, Bools, Floats

if TYPE_CHECKING:
    from pulsar.searches.fft import FFTSearch

B = TypeVar("B")
#: What is attached to a known source of pulses: expectations from 1.5 on, 1.2 times that and 4.5 more.
_KNOWN = np.array([4096.0, 1.5, 1.2, 4.5])

#: Frequencies and full widths [Hz] of known interference.
Pairs = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Band:
    """Frequencies [Hz] that a search goes through at a trial DM."""

    #: low, high: from there on, and up to there: of the spin, or of the highest harmonic with a drift.
    low: float = 0.0
    high: float = np.inf


#: All frequencies.
EVERYTHING = Band()
#: Bands that together hold everything, the highest first, and of each the independent DMs at which it is searched.
BandTrials = tuple[tuple[Band, float], ...]


@dataclass(frozen=True)
class Cost:
    """Cost of a search of one series."""

    trials: float  # what it goes through: frequencies, points of frequency and drift, periods, or times and widths
    seconds: float  # CPU seconds on an EPYC (Zen 4), in a search on two cores, about
    memory: int  # work space of one thread [byte]


@dataclass(frozen=True)
class Circumstances:
    """Circumstances of the series of a run, from which a search takes those that concern it."""

    ntrials_dm: float = 1.0  # independent DMs of the run, by which the trials of one series are multiplied
    bands: BandTrials = ()  # those of a search that does not go through all frequencies at all DMs; empty: it does
    memory: int | None = None  # bytes that a thread may take, for a search that `drifts`
    gaps: tuple[tuple[int, int], ...] = ()  # first sample of what is missing in the series, and the one after the last
    #: A search that goes over each series first: what it made of it may be taken over.
    spectra: "FFTSearch | None" = None


class Search(ABC, Generic[B]):
    """Search series of one length and sampling time; safe to share between threads.

    Parameters
    ----------
    nsamps : int
        Samples of every series.
    config : section of the configuration, optional
    **run
        Fields of :class:`Circumstances`.

    Raises
    ------
    DataError
        If the series are too short to search.
    ConfigError
        If `tsamp` or `ntrials_dm` is not positive.
    """

    #: Section of the configuration, and the kind of what it finds.
    name: ClassVar[str]
    section: ClassVar[type[Section]]
    #: What it is, for messages.
    title: ClassVar[str]
    #: What its trials are, for messages.
    counted: ClassVar[str]
    #: Its part of the index of kernels (`pulsar_kernels.ahead`).
    kernels: ClassVar[str]
    #: Columns of what it finds.
    columns: ClassVar[tuple[Column, ...]] = DETECTION_COLUMNS
    #: It looks for what repeats: in parts of the data, too.
    periodic: ClassVar[bool] = True
    #: All that it finds is in the spectrum: halved series are enough where channels smear.
    spectral: ClassVar[bool] = False
    #: It follows drifts: in a band of frequencies of its own at each DM, and in the memory that it is given.
    drifts: ClassVar[bool] = False

    config: Any

    def __init__(self, nsamps: int, tsamp: float, config: Any = None, **run: Any) -> None:
        self.check_size(nsamps, tsamp)
        self.run = Circumstances(**run)
        if not self.run.ntrials_dm > 0:
            raise ConfigError(f"ntrials_dm {self.run.ntrials_dm!r} must be positive")
        self.nsamps = int(nsamps)
        self.tsamp = float(tsamp)
        self.tobs = self.nsamps * self.tsamp
        self.ntrials_dm = float(self.run.ntrials_dm)
        self.config = self.section() if config is None else config
        self._local = threading.local()

    @classmethod
    def check_size(cls, nsamps: int, tsamp: float) -> None:
        """Refuse series that cannot be searched."""
        if nsamps < MIN_SAMPLES:
            raise DataError(f"series of {nsamps} samples: {cls.title} needs at least {MIN_SAMPLES}")
        if not tsamp > 0:
            raise ConfigError(f"tsamp {tsamp!r} must be positive")

    @classmethod
    def estimate(cls, nsamps: int, tsamp: float, config: Any = None, band: Band = EVERYTHING, **run: Any) -> Cost:
        """Cost of a search of one series; it is planned, and nothing is made.

        Parameters
        ----------
        config : section of the configuration, optional
        band : Band
            Frequencies that are searched.
        **run
            Fields of :class:`Circumstances`.
        """
        cls.check_size(nsamps, tsamp)
        config = cls.section() if config is None else config
        return cls._cost(int(nsamps), float(tsamp), config, band, Circumstances(**run))

    @classmethod
    def settings(cls, config: Config, _tobs: float, /) -> Any:
        """Its section of the configuration, with what other sections and the length of the data [s] make of it."""
        return getattr(config, cls.name)

    @classmethod
    def switch(cls) -> str:
        """The setting that switches it on."""
        return f"{cls.name}.enabled"

    @classmethod
    def threshold(cls, section: Any) -> float:
        """Significance, corrected for trials, from which it keeps a detection."""
        return float(section.threshold)

    @classmethod
    def periods(cls, tobs: float, tsamp: float, section: Any) -> tuple[float, float]:
        """Shortest and longest period of a search for what repeats [s]: by default 2 samples, a tenth of the data."""
        return section.p_min or 2.0 * tsamp, section.p_max or 0.1 * tobs

    @classmethod
    def widths(cls, _section: Any, /) -> tuple[tuple[Band, float], ...]:
        """Bands that together hold everything, the highest first, and the narrowest pulses of each [s].

        Wide pulses are searched at fewer DMs. 0: all trial DMs.
        """
        return ((EVERYTHING, 0.0),)

    @property
    def spectra(self) -> "FFTSearch | None":
        """The search whose white amplitudes others may take over, if it is one."""
        return None

    def search(
        self, series: Array, dm: float = 0.0, dm_index: int = 0, birdies: Lines = (), band: Band = EVERYTHING
    ) -> Array:
        """Detections in one series.

        Parameters
        ----------
        series : ndarray of int16 or float32, shape (nsamps,)
            Samples that are not finite count as nothing.
        birdies : iterable of (float, float)
            Frequencies and full widths [Hz] of known interference, which is left out.
        band : Band
            Frequencies that are searched, where the search tells them apart (`widths`, `drifts`).

        Returns
        -------
        ndarray
            Structured, with the fields of `columns`: of periodic signals the best first, of pulses in order of time,
            and no more than the configuration says.

        Raises
        ------
        DataError
            If the series has another length.
        """
        table = self._find(self._checked(series), self._buffers(), tuple(birdies), band)
        table["dm"] = dm
        table["dm_index"] = dm_index
        return table

    def _checked(self, series: Array) -> Array:
        """The series as kernels take it."""
        if series.ndim != 1 or series.shape[0] != self.nsamps:
            raise DataError(
                f"series of shape {series.shape} given to a search of {self.nsamps} samples: "
                f"make one {type(self).__name__} for each length"
            )
        if series.dtype not in (np.int16, np.float32):
            series = series.astype(np.float32)
        return np.ascontiguousarray(series)

    def _buffers(self) -> B:
        """Work space of this thread, made when it searches its first series."""
        buffers: B | None = getattr(self._local, "buffers", None)
        if buffers is None:
            buffers = self._local.buffers = self._make_buffers()
        return buffers

    def _table(self, number: int) -> Array:
        """A table for what is found, all zero."""
        return np.zeros(number, dtype=self._kind)

    @cached_property
    def _kind(self) -> "np.dtype[Any]":
        return dtype_of(self.columns)

    @classmethod
    @abstractmethod
    def _cost(cls, nsamps: int, tsamp: float, config: Any, band: Band, run: Circumstances, /) -> Cost:
        """See `estimate`."""

    @abstractmethod
    def _make_buffers(self) -> B:
        """Work space of one thread."""

    @abstractmethod
    def _find(self, series: Array, buffers: B, birdies: Pairs, band: Band, /) -> Array:
        """Detections in a series that has been checked, without its DM."""


class PeriodicSearch(Search[B]):
    """A search for what repeats: a threshold in probabilities, corrected for all trials of the run."""

    #: A single trial must be less likely than this by chance to be looked at at all [ln p].
    max_logp: ClassVar[float] = float(np.log(1e-3))

    logp_threshold: float

    @abstractmethod
    def ntrials(self, logp: Floats | float) -> Floats:
        """Effective independent trials of the whole run at the single-trial ln p."""

    @abstractmethod
    def set_threshold(self, logp: float) -> None:
        """Keep what is less likely than exp(`logp`) in a single trial, whatever the configured threshold says."""

    def _solve_threshold(self, sigma: float) -> None:
        """Set the threshold to a trial-corrected significance."""
        self.set_threshold(min(threshold_logp(sigma, self.ntrials), self.max_logp))

    def _table(self, number: int) -> Array:
        table = super()._table(number)
        table["kind"] = self.name
        return table

    def _significances(self, table: Array, logp: Floats) -> None:
        """Fill in what single-trial probabilities are worth."""
        table["logp"] = logp
        table["sigma_single"] = stats.sigma_from_logp(logp)
        table["sigma"] = stats.trial_sigma(logp, self.ntrials(logp))


class HarmonicSearch(PeriodicSearch[B]):
    """A search for sums of the powers of harmonics, 1, 2, 4 ... of them."""

    spectral = True
    nharms: tuple[int, ...]

    def set_threshold(self, logp: float) -> None:
        """See `PeriodicSearch`."""
        #: ln of the single-trial probability at the threshold, and the sums there.
        self.logp_threshold = float(logp)
        self.thresholds = tuple(stats.power_from_logp(self.logp_threshold, h) for h in self.nharms)

    def _table(self, number: int) -> Array:
        table = super()._table(number)
        table["snr"] = table["width"] = np.nan
        return table


class ProfileSearch(PeriodicSearch[B]):
    """A search for the S/N of a pulse in profiles."""

    def set_threshold(self, logp: float) -> None:
        """See `PeriodicSearch`."""
        #: ln of the single-trial probability at the threshold, and the S/N there.
        self.logp_threshold = float(logp)
        self.snr_threshold = float(stats.sigma_from_logp(self.logp_threshold))

    @staticmethod
    def _outside(freq: Floats, birdies: Pairs) -> Bools:
        """True for the frequencies that are in no line of interference."""
        alive = np.ones(freq.size, dtype=np.bool_)
        for line, full in birdies:
            alive &= np.abs(freq - line) > 0.5 * full
        return alive

    def _explain(self, freq: Floats, snr: Floats, alive: Bools, source: Sequence[float]) -> None:
        """Strike off what is of a known source (`pulsar_kernels.longwave.explained`)."""
        longwave.explained(freq, snr, alive, np.array(source), self.tobs, _KNOWN)

    def _pulses(self, freq: Floats, freq_err: Floats, snr: Floats, width: Floats) -> Array:
        """Detections of pulses of a S/N and a full width [turns]."""
        table = self._table(len(freq))
        table["freq"], table["freq_err"], table["snr"], table["width"] = freq, freq_err, snr, width
        table["nharm"] = np.clip(np.round(0.5 / width), 1, 32)
        table["power"] = table["nharm"] + 0.5 * snr**2
        self._significances(table, stats.logp_from_sigma(snr))
        return table


def threshold_logp(sigma: float, ntrials: Callable[[float], ArrayLike]) -> float:
    """Single-trial ln p at which a trial-corrected significance is `sigma`.

    `ntrials`: independent trials at a ln p, on which their number depends slowly.
    """
    expected = float(np.log(stats.expected_from_sigma(sigma)))
    logp = expected
    for _ in range(50):
        logp = expected - float(np.log(ntrials(logp)))
    return logp
