"""What all searches of dedispersed series have in common: what they are given, what they find and what they cost."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from operator import mul
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pulsar.data.candidate import DETECTION_COLUMNS, Column, dtype_of
from pulsar.errors import ConfigError, DataError
from pulsar.searches import stats

#: Fewest samples that a search makes sense for.
MIN_SAMPLES = 256

B = TypeVar("B")

#: Frequencies and full widths [Hz] of known interference.
Pairs = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Cost:
    """What a search takes for one series.

    Attributes
    ----------
    trials : float
        What it goes through: frequencies, points of frequency and drift, periods, or times and widths.
    seconds : float
        CPU seconds, on one core of an EPYC (Zen 5), about.
    memory : int
        Work space of one thread [byte].
    slow_trials, slow_seconds : float
        The part of these for slow periods, with wide pulses, that are searched at fewer DMs.
    slowest_trials, slowest_seconds : float
        The part of those for the slowest periods, at fewer DMs still.
    """

    trials: float
    seconds: float
    memory: int
    slow_trials: float = 0.0
    slow_seconds: float = 0.0
    slowest_trials: float = 0.0
    slowest_seconds: float = 0.0

    def over(self, ndms: float, nslow: float, nslowest: float) -> tuple[float, float]:
        """Trials and seconds of `ndms` series; `nslow` and `nslowest` of them are searched for slow periods too."""
        numbers = ndms, nslow - ndms, nslowest - nslow
        trials = self.trials, self.slow_trials, self.slowest_trials
        seconds = self.seconds, self.slow_seconds, self.slowest_seconds
        return sum(map(mul, numbers, trials)), sum(map(mul, numbers, seconds))


class Search(ABC, Generic[B]):
    """Search series of one length and sampling time; safe to share between threads.

    Parameters
    ----------
    nsamps : int
        Samples of every series.
    tsamp : float
        Sampling time [s].
    ntrials_dm : float
        Independent DMs of the whole run, by which the trials of one series are multiplied.

    Raises
    ------
    DataError
        If the series are too short to search.
    ConfigError
        If `tsamp` or `ntrials_dm` is not positive.
    """

    #: Section of the configuration.
    name: ClassVar[str]
    #: What it is, for messages.
    title: ClassVar[str]
    #: Columns of what it finds.
    columns: ClassVar[tuple[Column, ...]] = DETECTION_COLUMNS

    def __init__(self, nsamps: int, tsamp: float, ntrials_dm: float = 1.0) -> None:
        self.check_size(nsamps, tsamp)
        if not ntrials_dm > 0:
            raise ConfigError(f"ntrials_dm {ntrials_dm!r} must be positive")
        self.nsamps = int(nsamps)
        self.tsamp = float(tsamp)
        self.tobs = self.nsamps * self.tsamp
        self.ntrials_dm = float(ntrials_dm)
        self._local = threading.local()

    @classmethod
    def check_size(cls, nsamps: int, tsamp: float) -> None:
        """Refuse series that cannot be searched."""
        if nsamps < MIN_SAMPLES:
            raise DataError(f"series of {nsamps} samples: {cls.title} needs at least {MIN_SAMPLES}")
        if not tsamp > 0:
            raise ConfigError(f"tsamp {tsamp!r} must be positive")

    @classmethod
    def estimate(cls, nsamps: int, tsamp: float, config: Any = None, *, memory: int | None = None) -> Cost:
        """What a search of one series will take; it is planned, and nothing is made.

        Parameters
        ----------
        nsamps : int
        tsamp : float
            [s]
        config : section of the configuration, optional
        memory : int, optional
            Bytes that a thread may take, for a search that can do with less.
        """
        cls.check_size(nsamps, tsamp)
        return cls._cost(int(nsamps), float(tsamp), config, memory)

    def search(
        self, series: NDArray[Any], dm: float = 0.0, dm_index: int = 0, birdies: Iterable[tuple[float, float]] = ()
    ) -> NDArray[Any]:
        """What is in one series.

        Parameters
        ----------
        series : ndarray of int16 or float32, shape (nsamps,)
            Samples that are not finite count as nothing.
        dm : float
            DM of the series [pc cm^-3].
        dm_index : int
            Row of the DM plan.
        birdies : iterable of (float, float)
            Frequencies and full widths [Hz] of known interference, which is left out.

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
        found = self._find(self._checked(series), self._buffers(), tuple(birdies))
        found["dm"] = dm
        found["dm_index"] = dm_index
        return found

    def _checked(self, series: NDArray[Any]) -> NDArray[Any]:
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
        found: B | None = getattr(self._local, "buffers", None)
        if found is None:
            found = self._local.buffers = self._make_buffers()
        return found

    def _table(self, number: int) -> NDArray[Any]:
        """A table for what is found, all zero."""
        return np.zeros(number, dtype=self._kind)

    @cached_property
    def _kind(self) -> "np.dtype[Any]":
        return dtype_of(self.columns)

    @classmethod
    @abstractmethod
    def _cost(cls, nsamps: int, tsamp: float, config: Any, memory: int | None, /) -> Cost:
        """See `estimate`."""

    @abstractmethod
    def _make_buffers(self) -> B:
        """Work space of one thread."""

    @abstractmethod
    def _find(self, series: NDArray[Any], buffers: B, birdies: Pairs) -> NDArray[Any]:
        """What is in a series that has been checked, without its DM."""


class PeriodicSearch(Search[B]):
    """A search for what repeats: a threshold in probabilities, corrected for all trials of the run."""

    #: A single trial must be less likely than this by chance to be looked at at all [ln p].
    max_logp: ClassVar[float] = float(np.log(1e-3))

    logp_threshold: float

    @abstractmethod
    def ntrials(self, logp: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Effective independent trials of the whole run at the single-trial ln p."""

    @abstractmethod
    def set_threshold(self, logp: float) -> None:
        """Keep what is less likely than exp(`logp`) in a single trial, whatever the configured threshold says."""

    def _solve_threshold(self, sigma: float) -> None:
        """Set the threshold to a trial-corrected significance."""
        self.set_threshold(min(threshold_logp(sigma, self.ntrials), self.max_logp))

    def _significances(self, found: NDArray[Any], logp: NDArray[np.float64]) -> None:
        """Fill in what single-trial probabilities are worth."""
        found["logp"] = logp
        found["sigma_single"] = stats.sigma_from_logp(logp)
        found["sigma"] = stats.trial_sigma(logp, self.ntrials(logp))


def threshold_logp(sigma: float, ntrials: Callable[[float], ArrayLike]) -> float:
    """Single-trial ln p at which a trial-corrected significance is `sigma`.

    Parameters
    ----------
    sigma : float
    ntrials : callable
        Independent trials at a ln p, on which their number depends slowly.
    """
    expected = float(np.log(stats.expected_from_sigma(sigma)))
    logp = expected
    for _ in range(50):
        logp = expected - float(np.log(ntrials(logp)))
    return logp
