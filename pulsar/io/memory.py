"""Observations that are in memory: arrays of the user's own, used wherever a file is."""

import warnings
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from pulsar.data.arguments import plain_array, quantities, samples
from pulsar.data.header import Header
from pulsar.data.observation import Block, Observation
from pulsar.data.series import TimeSeries
from pulsar.errors import ConfigError
from pulsar_kernels.arrays import Array, Floats

if TYPE_CHECKING:
    from astropy.units import Quantity

#: Channel steps may differ by this part of the mean one: tables of channels in float32 do, at 1 GHz and 0.1 MHz.
EVEN = 0.01
#: Longest sampling time that pulsars were looked for with [s]: images of surveys are of 10 s. Others may be ms or µs.
USUAL_TSAMP = 10.0
#: Spectra turned at a time: of a thousand channels they stay in the cache.
_TILE = 256


class Filterbank(Observation):
    """An observation in memory; :meth:`from_array` makes one of your own array.

    It goes wherever a file does: `pulsar.search`, `dedisperse`, `fold`, `rfi`, `inject`, `plot`.

    Parameters
    ----------
    data : ndarray of uint8, uint16 or float32, shape (nchans, nsamps)
        Channel 0 has the highest frequency.
    header : Header

    Attributes
    ----------
    header : Header
        What is known of it: ``header.freqs`` [MHz], ``header.tsamp`` [s] and so on.
    data : ndarray, shape (nchans, nsamps)
        Channel 0 has the highest frequency.
    """

    def __init__(self, data: Array, header: Header) -> None:
        self.data = data
        self.header = header
        self.files = ()
        self.chan_ok = np.ones(header.nchans, dtype=np.bool_)
        self.dtype = data.dtype

    @classmethod
    @quantities(arrays=("freqs",), freqs="MHz > 0", tsamp="s > 0", tstart="d > 0", ra="deg", dec="deg")
    def from_array(
        cls,
        data: ArrayLike,
        freqs: "ArrayLike | Quantity",
        tsamp: "float | Quantity",
        *,
        tstart: Any = None,
        source: str = "",
        telescope: str = "",
        beam: int | None = None,
        ra: "float | Quantity | None" = None,
        dec: "float | Quantity | None" = None,
        order: Literal["time, channel", "channel, time"] | None = None,
    ) -> Self:
        """Make an observation of an array of samples.

        Parameters
        ----------
        data : array_like, shape (nsamps, nchans) or (nchans, nsamps)
            Samples of any real type; what is not finite counts as missing. uint8, uint16 and float32 stay what they
            are, bool becomes uint8, everything else float32. The samples are copied, unless they lie channel by
            channel from the highest frequency down already.
        freqs : array_like or Quantity, shape (nchans,)
            Channel centres [MHz], evenly spaced, in the order of the channels in `data`: ascending, descending or any
            other.
        tsamp : float or Quantity
            Sampling time [s].
        tstart : float or Time, optional
            MJD (UTC) of the first sample [d].
        source, telescope : str
            Names; of a known telescope barycentric values are computed.
        beam : int, optional
            Number of the beam, from 1 on.
        ra, dec : float or Quantity, optional
            Position [deg].
        order : {"time, channel", "channel, time"}, optional
            What the two dimensions of `data` are. By default the one as long as `freqs` counts channels; where both
            are, the second.

        Returns
        -------
        Filterbank

        Raises
        ------
        ConfigError
            The data are no array of real numbers in two dimensions, `freqs` fits neither of them or is uneven, or a
            value is out of bounds.

        Warns
        -----
        UserWarning
            No telescope has such channels or such a sampling time: their unit may be wrong.

        Examples
        --------
        >>> import numpy as np
        >>> Filterbank.from_array(np.zeros((100, 4), "u1"), [1400, 1401, 1402, 1403], tsamp=1e-3)
        <Filterbank: unnamed, 4 channels 1400 to 1403 MHz, 100 samples of 1000 µs (0.1 s)>
        """
        table = np.asarray(freqs, dtype=np.float64)
        array = samples("data", _by_channel(data, len(table), order), _DIMS, ("uint8", "uint16", "float32"))
        places = np.argsort(-table, kind="stable")
        step = _step(table[places])
        _ask_about_units(table[places], float(tsamp))
        if beam is not None and (isinstance(beam, bool) or not isinstance(beam, int | np.integer) or beam < 1):
            raise ConfigError(f"beam = {beam!r}: expected an integer from 1 on")
        header = Header(
            nchans=array.shape[0],
            nsamps=array.shape[1],
            tsamp=float(tsamp),
            fch1=float(table[places[0]]),
            foff=step,
            tstart=float("nan") if tstart is None else tstart,
            nbits=8 * array.dtype.itemsize,
            source=str(source),
            telescope=str(telescope),
            beam=None if beam is None else int(beam),
            ra_deg=float("nan") if ra is None else float(ra) % 360.0,
            dec_deg=float("nan") if dec is None else float(dec),
            format="array",
        )
        if abs(header.dec_deg) > 90.0:
            raise ConfigError(f"dec = {header.dec_deg:g} deg: expected a number from -90 to 90")
        return cls(array if np.array_equal(places, np.arange(len(places))) else array[places], header)

    @classmethod
    def from_block(cls, block: Block) -> Self:
        """The samples of a whole observation that were read or made before."""
        return cls(block.data, block.header)

    def _fill(self, start: int, out: Array) -> None:
        out[:] = self.data[:, start : start + out.shape[1]]


class SeriesInMemory(Filterbank):
    """A dedispersed series as an observation, for what takes one; not public."""

    def __init__(self, series: TimeSeries) -> None:
        header = Header(
            nchans=1,
            nsamps=series.nsamps,
            tsamp=series.tsamp,
            fch1=float("nan"),
            foff=0.0,
            tstart=series.tstart,
            nbits=32,
            dm=series.dm,
            is_series=True,
            format="array",
        )
        super().__init__(np.asarray(series.data, dtype=np.float32)[None, :], header)


_DIMS = ("channels", "time")


def _by_channel(data: ArrayLike, nchans: int, order: str | None) -> Array:
    """The samples with the channels first, where they are an array of two dimensions; any other as it is."""
    if order not in (None, "time, channel", "channel, time"):
        raise ConfigError(f"order = {order!r}: expected 'time, channel' or 'channel, time'")
    array = plain_array("data", data)
    if array.ndim != 2:
        return array
    if order is None:
        order = "channel, time" if array.shape[0] == nchans != array.shape[1] else "time, channel"
    axis = 0 if order == "channel, time" else 1
    if array.shape[axis] != nchans:
        raise ConfigError(
            f"data has the shape {array.shape}, freqs has {nchans} channels: expected (time samples, {nchans}) or "
            f"({nchans}, time samples)"
        )
    return array if axis == 0 else _turned(array)


def _turned(array: Array) -> Array:
    """The transposed array, rows contiguous."""
    out = np.empty(array.shape[::-1], dtype=array.dtype)
    for at in range(0, len(array), _TILE):
        out[:, at : at + _TILE] = array[at : at + _TILE].T
    return out


def _ask_about_units(freqs: Floats, tsamp: float) -> None:
    """Warn of descending channel centres [MHz] and a sampling time [s] that no telescope has."""
    # Channels of telescopes [MHz]: UTR-2 begins at 8 MHz, ALMA ends at 950 GHz. Other numbers may be GHz or kHz.
    low, high = 8.0, 1e6
    # The caller of from_array, which is decorated.
    if freqs[-1] < low or freqs[0] > high:
        warnings.warn(
            f"freqs are {freqs[-1]:g} to {freqs[0]:g} MHz, telescopes have {low:g} to {high:g}: is their unit right?",
            stacklevel=4,
        )
    if tsamp > USUAL_TSAMP:
        warnings.warn(f"tsamp {tsamp:g} s is longer than {USUAL_TSAMP:g} s: is its unit right?", stacklevel=4)


def _step(freqs: Floats) -> float:
    """Step of descending channel centres [MHz], negative."""
    if len(freqs) < 2:
        raise ConfigError("freqs has one channel: dedispersed data are a pulsar.TimeSeries(data, tsamp)")
    # No radio telescope observes beyond this [MHz]: such numbers are Hz.
    if freqs[0] > 2e6:
        raise ConfigError(f"freqs = {freqs[0]:g} MHz: no radio frequency; numbers are MHz, quantities may be in Hz")
    steps = -np.diff(freqs)
    mean = float(freqs[0] - freqs[-1]) / (len(freqs) - 1)
    worst = int(np.argmax(np.abs(steps - mean)))
    if not mean > 0 or abs(steps[worst] - mean) > EVEN * mean:
        raise ConfigError(
            f"freqs: uneven channels: {freqs[worst]:.10g} and {freqs[worst + 1]:.10g} MHz are {steps[worst]:g} MHz "
            f"apart, the mean step is {mean:g}: put the samples on even channels, with NaN where there are none"
        )
    return -mean
