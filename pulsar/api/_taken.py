"""Data of other packages, known by their shape: none of them is imported.

Series: astropy's and lightkurve's (a table with a column of times), stingray's light curve (times, counts, dt),
sigpyproc's (samples with a header). Bands: `your` (``get_data``) and sigpyproc (``read_block``, or a block).
"""

import math
import threading
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.data.header import Header
from pulsar.data.observation import Observation
from pulsar.data.series import TimeSeries
from pulsar.errors import ConfigError, DataError
from pulsar.io.base import BaseObservation, on_sky, spectra_per_piece
from pulsar.io.memory import EVEN

#: Columns of tables of times that hold the intensity, where there are several.
_INTENSITY: Final = ("flux", "counts", "intensity", "value")
#: Samples of a series, with those of its gaps, over those that are given, at most: memory is for the others.
MOST_MISSING: Final = 16


def taken(name: str, data: Any) -> Any:
    """A series or an observation of what another package has made; anything else as it is.

    Parameters
    ----------
    name : str
        Of the function that was given it, for messages.
    data : object

    Raises
    ------
    ConfigError
        Its times are uneven, or it is not told which of its columns is meant.
    """
    if isinstance(data, TimeSeries | Observation | str | list | tuple):
        return data
    if hasattr(data, "colnames") and hasattr(getattr(data, "time", None), "utc"):
        return _of_table(name, data)
    if hasattr(data, "counts") and hasattr(data, "time") and hasattr(data, "dt"):
        seconds = np.asarray(data.time, dtype=np.float64)
        # Its times are of the clock of the instrument, which need not be UTC: the start is not known.
        return _even(name, seconds, np.asarray(data.counts), math.nan, float(data.dt))
    header = getattr(data, "your_header", None)
    if header is not None and callable(getattr(data, "get_data", None)):
        return _Band(header, int(header.nspectra), lambda at, n: np.asarray(data.get_data(at, n)).T)
    header = getattr(data, "header", None)
    if header is None or not hasattr(header, "tsamp"):
        return data
    if callable(getattr(data, "read_block", None)):
        return _Band(header, int(header.nsamples), lambda at, n: _samples(data.read_block(at, n)))
    values = _samples(data)
    if values.ndim == 1:
        return TimeSeries(values, float(header.tsamp), float(getattr(header, "dm", 0.0)), float(header.tstart))
    return _Band(header, values.shape[1], lambda at, n: values[:, at : at + n])


def _samples(block: Any) -> NDArray[Any]:
    """The array of a block or series of sigpyproc, which is one itself or has one, by its version."""
    return np.asarray(block if isinstance(block, np.ndarray) else block.data)


def _of_table(name: str, table: Any) -> TimeSeries:
    columns = [column for column in table.colnames if column != "time" and np.ndim(table[column]) == 1]
    meant = columns if len(columns) == 1 else [column for column in _INTENSITY if column in columns][:1]
    if not meant:
        raise ConfigError(
            f"{name}: a {type(table).__name__} with the columns {', '.join(columns) or 'time only'}: give a table of "
            "the times and one of them"
        )
    values = table[meant[0]]
    if hasattr(values, "filled"):
        values = values.astype(np.float64).filled(np.nan)
    start = table.time[0]
    seconds = np.asarray((table.time - start).to_value("s"), dtype=np.float64)
    return _even(name, seconds, np.asarray(getattr(values, "value", values)), float(start.utc.mjd))


def _even(name: str, seconds: NDArray[np.float64], values: NDArray[Any], start: float, step: float = 0.0) -> TimeSeries:
    """Samples at times [s] as a series: NaN where a time is missing."""
    if len(seconds) < 2 or not np.all(np.diff(seconds) > 0):
        raise ConfigError(f"{name}: expected two times or more, ascending")
    step = step or _step(seconds)
    places = np.rint((seconds - seconds[0]) / step).astype(np.int64)
    if places[-1] + 1 > MOST_MISSING * len(values):
        raise ConfigError(
            f"{name}: {len(values)} samples of {step:g} s are spread over {seconds[-1] - seconds[0]:g} s: give the "
            "stretches between the gaps one by one"
        )
    # The step is known no better than the times: their whole length tells it.
    step = float(seconds[-1] - seconds[0]) / max(int(places[-1]), 1)
    late = (seconds - seconds[0]) / step - places
    worst = int(np.argmax(np.abs(late)))
    if abs(late[worst]) > EVEN or np.any(np.diff(places) < 1):
        raise ConfigError(
            f"{name}: uneven times: sample {worst} is {late[worst]:+.3g} of {step:g} s off an even step; put the "
            "samples on even times, with NaN where there are none"
        )
    if places[-1] + 1 == len(values):
        return TimeSeries(values, step, tstart=start)
    whole = np.full(places[-1] + 1, np.nan)
    whole[places] = values
    return TimeSeries(whole, step, tstart=start)


def _step(seconds: NDArray[np.float64]) -> float:
    """Step of times [s]: of the whole where none is missing, else of those that are next to each other.

    Times are rounded (MJDs to 0.6 us): over their whole length that is nothing, from one to the next it adds up.
    """
    whole = float(seconds[-1] - seconds[0]) / (len(seconds) - 1)
    if np.max(np.abs((seconds - seconds[0]) / whole - np.arange(len(seconds)))) <= EVEN:
        return whole
    steps = np.diff(seconds)
    middle = float(np.median(steps))
    return float(np.mean(steps[np.abs(steps - middle) < 0.5 * middle]))


class _Band(BaseObservation):
    """An observation that another package reads, piece by piece.

    Parameters
    ----------
    header : object
        With nchans, fch1, foff [MHz], tsamp [s], tstart (MJD) and nbits.
    nsamps : int
    read : callable
        (first sample, how many) -> samples, shape (nchans, n), in the order of the header.
    """

    def __init__(self, header: Any, nsamps: int, read: Callable[[int, int], NDArray[Any]]) -> None:
        nchans, fch1, foff = int(header.nchans), float(header.fch1), float(header.foff)
        self._read, self._ascends = read, foff > 0
        # Nobody promises that others' files may be read by several threads at once.
        self._turn = threading.Lock()
        place = getattr(header, "coord", None)
        if place is None:
            ra, dec = (float(getattr(header, key, math.nan)) for key in ("ra_deg", "dec_deg"))
        else:
            ra, dec = float(place.ra.deg), float(place.dec.deg)
        # 0, 0 is what they put where a file tells no position.
        ra_deg, dec_deg = on_sky(ra, dec) if (ra, dec) != (0.0, 0.0) else (math.nan, math.nan)
        first = read(0, min(nsamps, 1))
        kind = first.dtype if first.dtype in (np.uint8, np.uint16) else np.dtype(np.float32)
        self.header = Header(
            nchans=nchans,
            nsamps=nsamps,
            tsamp=float(header.tsamp),
            fch1=fch1 + foff * (nchans - 1) if self._ascends else fch1,
            foff=-abs(foff),
            tstart=float(header.tstart),
            nbits=8 * kind.itemsize,
            source=str(getattr(header, "source_name", getattr(header, "source", ""))),
            telescope=str(getattr(header, "telescope", "")),
            ra_deg=ra_deg,
            dec_deg=dec_deg,
            barycentric=getattr(header, "frame", "") == "barycentric",
            format="array",
        )
        self.files, self.dtype = (), kind
        self.chan_ok = np.ones(nchans, dtype=np.bool_)

    def _fill(self, start: int, out: NDArray[Any]) -> None:
        piece = spectra_per_piece(out.shape[0] * out.itemsize)
        for at in range(0, out.shape[1], piece):
            part = out[:, at : at + piece]
            with self._turn:
                samples = self._read(start + at, part.shape[1])
            if samples.shape != part.shape:
                raise DataError(
                    f"samples {start + at} to {start + at + part.shape[1]} were asked for, and an array of shape "
                    f"{samples.shape} came: expected {part.shape}"
                )
            part[:] = samples[::-1] if self._ascends else samples
