"""What is known of an observation before its samples are read."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.constants import KDM
from pulsar.data.span import Span

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
    def freqs(self) -> NDArray[np.float64]:
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

    @property
    def fcenter(self) -> float:
        """Middle of the band [MHz]."""
        return 0.5 * float(self.freqs[0] + self.freqs[-1])

    def delays(self, dm: float) -> NDArray[np.float64]:
        """Dispersion delay of each channel after channel 0 [s], shape (nchans,), for `dm` [pc cm^-3]."""
        inverse = self.freqs**-2.0
        return KDM * dm * np.asarray(inverse - inverse[0], dtype=np.float64)

    def with_(self, **changes: Any) -> "Header":
        """A copy with some fields changed."""
        return replace(self, **changes)
