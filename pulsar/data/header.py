"""Headers of observations, known before samples are read, and of their halves, quarters, any equal parts."""

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import ArrayLike

from pulsar.constants import DAY, KDM
from pulsar_kernels.arrays import Bools, Floats


def dispersion_delays(freqs: Floats, fref: float | None = None) -> Floats:
    """Delays for a DM of 1 [s], shape (nfreqs,), after a frequency [MHz], by default the highest of them."""
    return np.asarray(KDM * (freqs**-2.0 - (freqs.max() if fref is None else fref) ** -2.0))


def band_delay(freqs: ArrayLike) -> float:
    """Delay between the ends of a band for a DM of 1 [s]; 0 where the DM changes nothing."""
    freqs = np.asarray(freqs, dtype=np.float64)
    return float(KDM * (freqs.min() ** -2.0 - freqs.max() ** -2.0)) if freqs.size > 1 else 0.0


class Sampled(Protocol):
    """Anything with samples: how many, how far apart [s], and when the first of them begins [MJD]."""

    @property
    def nsamps(self) -> int: ...
    @property
    def tsamp(self) -> float: ...
    @property
    def tstart(self) -> float: ...


class Span:
    """Length and middle of what is :class:`Sampled`."""

    @property
    def tobs(self: Sampled) -> float:
        """Length [s]."""
        return self.nsamps * self.tsamp

    @property
    def tmid(self: Sampled) -> float:
        """MJD of the middle, on the scale of `tstart`: the epoch of period and derivatives."""
        return self.tstart + 0.5 * (self.nsamps * self.tsamp) / DAY


#: What no observation goes beyond; readers take a header that does for damaged. Channels of the finest spectrometers;
MOST_CHANNELS: Final = 1 << 20
#: [s] a band wider than radio's would be needed for the one, the other is longer than a day;
SHORTEST_TSAMP: Final = 1e-9
LONGEST_TSAMP: Final = 1e5
#: [MHz] far above the radio sky, in the infrared;
HIGHEST_FREQ: Final = 1e8
#: the last year of four digits but for some, as an MJD (UTC): beyond it calendars end;
LATEST_MJD: Final = 2e6
#: [pc cm^-3] a hundred times the largest DM that was ever measured.
LARGEST_DM: Final = 1e6


def is_tsamp(seconds: float) -> bool:
    """True for a sampling time that an observation may have."""
    return SHORTEST_TSAMP <= seconds <= LONGEST_TSAMP


@dataclass(frozen=True, kw_only=True)
class Header(Span):
    """Header of an observation, with the SIGPROC names, in the program's own channel order.

    Channel 0 is the one of highest frequency, so ``foff`` is negative for more than one channel, whatever
    the order in the file. ``nsamps`` counts what can be read: the file size and the gaps decide, not a header key.

    Attributes
    ----------
    nchans, nsamps : int
        Channels and time samples.
    tsamp : float
        Sampling time [s].
    fch1 : float
        Centre of channel 0, the highest [MHz].
    foff : float
        Step from one channel to the next [MHz], negative (a lone channel: minus its width).
    tstart : float
        MJD (UTC) of the first sample.
    nbits, nifs : int
        Bits a sample and polarisations as stored in the file.
    dm : float
        DM [pc cm^-3] to which the data are already dedispersed (0 for raw data).
    is_series : bool
        True for a dedispersed time series (``.dat``, ``.tim``): one channel that goes straight to the search.
    freq_table : tuple of float, optional
        Channel centres [MHz], descending, where they are not evenly spaced.
    ra_deg, dec_deg : float
        Position [deg], NaN when unknown.
    beam : int or None
        Beam number, counted from 1, None when unknown.
    """

    nchans: int
    nsamps: int
    tsamp: float
    fch1: float
    foff: float
    tstart: float
    nbits: int = 8
    nifs: int = 1
    dm: float = 0.0
    is_series: bool = False
    freq_table: tuple[float, ...] | None = None
    source: str = ""
    telescope: str = ""
    telescope_id: int | None = None
    machine: str = ""
    beam: int | None = None
    nbeams: int | None = None
    ra_deg: float = float("nan")
    dec_deg: float = float("nan")
    az_deg: float = float("nan")
    za_deg: float = float("nan")
    barycentric: bool = False
    pulsarcentric: bool = False
    pol_type: str = ""
    format: str = ""

    @cached_property
    def freqs(self) -> Floats:
        """Channel centres [MHz], shape (nchans,), descending."""
        if self.freq_table is not None:
            freqs = np.array(self.freq_table, dtype=np.float64)
        else:
            freqs = self.fch1 + self.foff * np.arange(self.nchans, dtype=np.float64)
        freqs.flags.writeable = False
        return freqs

    @property
    def chan_width(self) -> float:
        """Width of a channel [MHz], positive."""
        return abs(self.foff)

    @property
    def bandwidth(self) -> float:
        """Total bandwidth, edge to edge [MHz]."""
        return float(self.freqs[0] - self.freqs[-1]) + self.chan_width

    @property
    def edges(self) -> tuple[float, float]:
        """Lower and upper edge of the band [MHz], half a channel beyond the outermost centres."""
        half = 0.5 * self.chan_width
        return float(self.freqs[-1]) - half, float(self.freqs[0]) + half

    def overlapping(self, low: float, high: float) -> Bools:
        """True for channels that reach into a range of frequencies [MHz], shape (nchans,)."""
        half = 0.5 * self.chan_width
        return np.asarray((self.freqs + half > low) & (self.freqs - half < high))

    @property
    def fcenter(self) -> float:
        """Middle of the band [MHz]."""
        return 0.5 * float(self.freqs[0] + self.freqs[-1])

    def delays(self, dm: float) -> Floats:
        """Dispersion delay of each channel after channel 0 [s], shape (nchans,), for `dm` [pc cm^-3]."""
        return dm * dispersion_delays(self.freqs, self.freqs[0])

    def with_(self, **changes: Any) -> "Header":
        """A copy with some fields changed."""
        return replace(self, **changes)


_LABEL = re.compile(r"([0-9]{1,3})/([0-9]{1,3})")


@dataclass(frozen=True)
class Part:
    """One of some equal parts of an observation."""

    number: int  # Which, 1 is the first
    count: int  # Into how many parts the observation is cut; 1: it is the whole

    @property
    def label(self) -> str:
        """As tables name it, such as 3/4; the whole is empty."""
        return "" if self.count == 1 else f"{self.number}/{self.count}"

    @classmethod
    def of_label(cls, label: str) -> "Part":
        """The part of a name, see `label`; the whole where it is none."""
        match = _LABEL.fullmatch(label)
        if match is None:
            return WHOLE
        part = cls(int(match[1]), int(match[2]))
        return part if 1 <= part.number <= part.count else WHOLE

    def samples(self, nsamps: int) -> tuple[int, int]:
        """First sample of `nsamps` in it, and how many there are; what a division leaves over is in none.

        Parameters
        ----------
        nsamps : int
            Of the observation.
        """
        each = nsamps // self.count
        return (self.number - 1) * each, each

    def header(self, whole: Header) -> Header:
        """The header of the part, as if it were an observation of its own.

        Parameters
        ----------
        whole : Header
            Of the observation.
        """
        if self.count == 1:
            return whole
        first, nsamps = self.samples(whole.nsamps)
        return whole.with_(nsamps=nsamps, tstart=whole.tstart + first * whole.tsamp / DAY)


#: Not a part, but everything.
WHOLE = Part(1, 1)


def parts_of_counts(counts: tuple[int, ...]) -> list[Part]:
    """All parts but the whole, the longest first.

    Parameters
    ----------
    counts : tuple of int
        Into how many parts an observation is cut.
    """
    return [Part(number, count) for count in sorted(counts) if count > 1 for number in range(1, count + 1)]
