"""Searches of one dedispersed series: each gives a table with units."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from numpy.lib import recfunctions
from numpy.typing import ArrayLike

from pulsar.api._given import kind_of, named_settings, observed, taken
from pulsar.config.load import load_section
from pulsar.config.model import AccelConfig, CoherentConfig, Config, FFAConfig, FFTConfig, SinglePulseConfig
from pulsar.data.arguments import number, quantities
from pulsar.data.candidate import EVENT_COLUMNS
from pulsar.data.observation import Observation
from pulsar.data.series import TimeSeries, check_varies
from pulsar.errors import ConfigError

if TYPE_CHECKING:
    from astropy.units import Quantity

    from pulsar.io.product.table import ResultTable

#: Columns of detections that mean something only within a run.
_OF_A_RUN = ("dm_index", "uid", "parent", "relation")
_FFT, _COHERENT, _ACCEL, _FFA = FFTConfig(), CoherentConfig(), AccelConfig(), FFAConfig()
_PULSES = SinglePulseConfig()


@named_settings()
@quantities(tsamp="s > 0", p_min="s > 0", p_max="s > 0")
def search_fft(
    data: TimeSeries | Observation | str | PathLike[str] | ArrayLike,
    tsamp: float | Quantity | None = None,
    *,
    nharm: int = _FFT.nharm,
    threshold: float = _FFT.threshold,
    p_min: float | Quantity | None = _FFT.p_min,
    p_max: float | Quantity | None = _FFT.p_max,
    max_detections: int = _FFT.max_detections,
    birdies: Iterable[tuple[float, float]] = (),
) -> ResultTable:
    """Search one dedispersed series for periodicities in its power spectrum.

    Parameters
    ----------
    data : TimeSeries, array_like of shape (nsamps,), Observation or path
        Dedispersed: your own array, or an opened ``.dat`` or ``.tim`` file or its path.
    tsamp : float or Quantity, optional
        Sampling time of an array [s], whose DM counts as 0; a TimeSeries has its own.
    nharm : int
        Most harmonics summed: 1, 2, 4, 8, 16 or 32.
    threshold : float
        Trial-corrected significance from which a detection is kept [sigma]; 0: 0.7 by chance a search.
    p_min, p_max : float or Quantity, optional
        Range of periods [s]; default from 2 samples to a tenth of the data.
    max_detections : int
        Most detections returned.
    birdies : iterable of (float, float)
        Frequencies and full widths of known interference [Hz].

    Returns
    -------
    ResultTable
        An astropy QTable of detections with units, best first.

    Raises
    ------
    ConfigError
        A value is out of bounds, or the data are no series.
    DataError
        The series is too short, or all of its samples are missing or the same.
    """
    values = {"nharm": nharm, "threshold": threshold, "p_min": p_min, "p_max": p_max, "max_detections": max_detections}
    return _search("fft", data, tsamp, values, birdies)


@named_settings()
@quantities(tsamp="s > 0", p_min="s > 0", p_max="s > 0")
def search_coherent(
    data: TimeSeries | Observation | str | PathLike[str] | ArrayLike,
    tsamp: float | Quantity | None = None,
    *,
    threshold: float = _COHERENT.threshold,
    p_min: float | Quantity | None = _COHERENT.p_min,
    p_max: float | Quantity | None = _COHERENT.p_max,
    max_detections: int = _COHERENT.max_detections,
    birdies: Iterable[tuple[float, float]] = (),
) -> ResultTable:
    """Search one dedispersed series for periodicities in profiles made from its complex amplitudes.

    Up to 127 harmonics are summed with their phases: narrow pulses stand out more than in sums of powers.

    Parameters
    ----------
    data : TimeSeries, array_like of shape (nsamps,), Observation or path
        Dedispersed: your own array, or an opened ``.dat`` or ``.tim`` file or its path.
    tsamp : float or Quantity, optional
        Sampling time of an array [s], whose DM counts as 0; a TimeSeries has its own.
    threshold : float
        Trial-corrected significance from which a detection is kept [sigma]; 0: 0.7 by chance a search.
    p_min, p_max : float or Quantity, optional
        Range of periods [s]; default from 14 samples (7 harmonics) to a tenth of the data.
    max_detections : int
        Most detections returned.
    birdies : iterable of (float, float)
        Frequencies and full widths of known interference [Hz].

    Returns
    -------
    ResultTable
        An astropy QTable of detections with units, best first.

    Raises
    ------
    ConfigError
        A value is out of bounds, or the data are no series.
    DataError
        The series is too short, or all of its samples are missing or the same.
    """
    values = {"threshold": threshold, "p_min": p_min, "p_max": p_max, "max_detections": max_detections}
    return _search("coherent", data, tsamp, values, birdies)


@named_settings()
@quantities(tsamp="s > 0", accel_max="m / s2 > 0", zmax=">= 0", wmax=">= 0", p_min="s > 0", p_max="s > 0")
def search_accel(
    data: TimeSeries | Observation | str | PathLike[str] | ArrayLike,
    tsamp: float | Quantity | None = None,
    *,
    zmax: float = _ACCEL.zmax,
    accel_max: float | Quantity | None = _ACCEL.accel_max,
    wmax: float = _ACCEL.wmax,
    nharm: int = _ACCEL.nharm,
    threshold: float = _ACCEL.threshold,
    p_min: float | Quantity | None = _ACCEL.p_min,
    p_max: float | Quantity | None = _ACCEL.p_max,
    max_detections: int = _ACCEL.max_detections,
    birdies: Iterable[tuple[float, float]] = (),
) -> ResultTable:
    """Search one dedispersed series for periodicities that drift, as those of binaries do.

    Parameters
    ----------
    data : TimeSeries, array_like of shape (nsamps,), Observation or path
        Dedispersed: your own array, or an opened ``.dat`` or ``.tim`` file or its path.
    tsamp : float or Quantity, optional
        Sampling time of an array [s], whose DM counts as 0; a TimeSeries has its own.
    zmax : float
        Largest drift of the highest harmonic summed [bins of 1/T].
    accel_max : float or Quantity, optional
        Largest acceleration [m / s2], up to the drift `zmax` if that is given too; one of both must be given.
    wmax : float
        Largest change of the drift of the highest harmonic [bins of 1/T]; 0: no jerk.
    nharm : int
        Most harmonics summed: 1, 2, 4, 8 or 16.
    threshold : float
        Trial-corrected significance from which a detection is kept [sigma]; 0: 0.7 by chance a search.
    p_min, p_max : float or Quantity, optional
        Range of periods [s]; default from 2 samples to a tenth of the data.
    max_detections : int
        Most detections returned.
    birdies : iterable of (float, float)
        Frequencies and full widths of known interference [Hz].

    Returns
    -------
    ResultTable
        An astropy QTable of detections with units, best first.

    Raises
    ------
    ConfigError
        A value is out of bounds, neither `zmax` nor `accel_max` is given, or the data are no series.
    DataError
        The series is too short, or all of its samples are missing or the same.
    """
    # Many arguments: each is an option of the user's, by name, with a default and its own words above.
    if zmax == 0 and accel_max is None:
        raise ConfigError("search_accel: give zmax [bins of 1/T] or accel_max [m / s2], above 0")
    values = {"zmax": zmax, "accel_max": accel_max, "wmax": wmax, "nharm": nharm, "threshold": threshold}
    values |= {"p_min": p_min, "p_max": p_max, "max_detections": max_detections}
    return _search("accel", data, tsamp, values, birdies)


@named_settings()
@quantities(tsamp="s > 0", p_min="s > 0", p_max="s > 0")
def search_ffa(
    data: TimeSeries | Observation | str | PathLike[str] | ArrayLike,
    tsamp: float | Quantity | None = None,
    *,
    p_min: float | Quantity | None = _FFA.p_min,
    p_max: float | Quantity = _FFA.p_max,
    duty_min: float = _FFA.duty_min,
    duty_max: float = _FFA.duty_max,
    threshold: float = _FFA.threshold,
    max_detections: int = _FFA.max_detections,
    gaps: Sequence[tuple[int, int]] = (),
    birdies: Iterable[tuple[float, float]] = (),
) -> ResultTable:
    """Search one dedispersed series for long periods by fast folding.

    Parameters
    ----------
    data : TimeSeries, array_like of shape (nsamps,), Observation or path
        Dedispersed: your own array, or an opened ``.dat`` or ``.tim`` file or its path.
    tsamp : float or Quantity, optional
        Sampling time of an array [s], whose DM counts as 0; a TimeSeries has its own.
    p_min, p_max : float or Quantity
        Range of periods [s], by default from 0.5; no more than a quarter of the data.
    duty_min, duty_max : float
        Range of widths [turns].
    threshold : float
        Trial-corrected significance from which a detection is kept [sigma]; 0: 0.7 by chance a search.
    max_detections : int
        Most detections returned.
    gaps : sequence of (int, int)
        First sample and the one after the last of stretches without data.
    birdies : iterable of (float, float)
        Frequencies and full widths of known interference [Hz].

    Returns
    -------
    ResultTable
        An astropy QTable of detections with units, best first.

    Raises
    ------
    ConfigError
        A value is out of bounds, or the data are no series.
    """
    values = {"p_min": p_min, "p_max": p_max, "duty_min": duty_min, "duty_max": duty_max}
    values |= {"threshold": threshold, "max_detections": max_detections}
    return _search("ffa", data, tsamp, values, birdies, gaps=gaps)


@named_settings()
@quantities(tsamp="s > 0", width_max="s > 0")
def search_single_pulse(
    data: TimeSeries | Observation | str | PathLike[str] | ArrayLike,
    tsamp: float | Quantity | None = None,
    *,
    snr: float = _PULSES.snr,
    width_max: float | Quantity = _PULSES.width_max,
    shape: Literal["boxcar", "gaussian"] = _PULSES.shape,
    max_events: int = _PULSES.max_events,
    birdies: Iterable[tuple[float, float]] = (),
) -> ResultTable:
    """Search one dedispersed series for single pulses.

    Parameters
    ----------
    data : TimeSeries, array_like of shape (nsamps,), Observation or path
        Dedispersed: your own array, or an opened ``.dat`` or ``.tim`` file or its path.
    tsamp : float or Quantity, optional
        Sampling time of an array [s], whose DM counts as 0; a TimeSeries has its own.
    snr : float
        S/N from which a pulse is kept (single trial).
    width_max : float or Quantity
        Widest pulse [s]; the narrowest is one sample.
    shape : {"boxcar", "gaussian"}
        Matched filter.
    max_events : int
        Most pulses returned.
    birdies : iterable of (float, float)
        Frequencies and full widths of known interference [Hz], which is taken out before where it is strong.

    Returns
    -------
    ResultTable
        An astropy QTable of pulses with units, in order of time.

    Raises
    ------
    ConfigError
        A value is out of bounds, or the data are no series.
    DataError
        The series is too short, or all of its samples are missing or the same.
    """
    values = {"snr": snr, "width_max": width_max, "shape": shape, "max_events": max_events}
    return _search("single_pulse", data, tsamp, values, birdies)


def _search(section: str, data: Any, tsamp: Any, values: dict[str, Any], birdies: Any, **more: Any) -> ResultTable:
    """The table of what the search of a section finds in a series, with settings of that section."""
    from pulsar.io.product.table import as_table
    from pulsar.searches.registry import SEARCHES

    name = f"search_{section}"
    series = _series(name, data, tsamp)
    check_varies(series.data, name)
    kind = next(search for search in SEARCHES if search.name == section)
    search = kind(series.nsamps, series.tsamp, load_section(section, name, values), **more)
    rows = search.search(series.data, series.dm, birdies=_lines(birdies))
    kept = recfunctions.drop_fields(rows, _OF_A_RUN)
    pulses = search.columns is EVENT_COLUMNS
    return as_table(kept, search.columns, "single pulses, in order of time" if pulses else "detections")


def _series(name: str, data: Any, tsamp: Any) -> TimeSeries:
    """The data that were given, as a series."""
    data = taken(name, data)
    if isinstance(data, TimeSeries):
        if tsamp is not None:
            raise ConfigError(f"{name}: a TimeSeries has its own tsamp: leave it out")
        return data
    if isinstance(data, str | PathLike):
        with observed(name, data, Config()) as obs:
            return _series(name, obs, tsamp)
    if isinstance(data, Observation):
        if tsamp is not None:
            raise ConfigError(f"{name}: {kind_of(data)} has its own tsamp: leave it out")
        if not data.header.is_series:
            raise ConfigError(f"{name}: {kind_of(data)} has channels: give pulsar.dedisperse(data, dm)")
        header = data.header
        return TimeSeries(data.read().data[0], header.tsamp, header.dm, header.tstart)
    if tsamp is None:
        raise ConfigError(f"{name}: {kind_of(data)} has no sampling time: give tsamp [s], or pulsar.TimeSeries")
    return TimeSeries(data, tsamp)


def _lines(birdies: Any) -> list[tuple[float, float]]:
    """Frequencies and widths of known interference [Hz]."""
    try:
        pairs = [(freq, width) for freq, width in birdies]
    except TypeError as error:
        raise ConfigError(f"birdies = {birdies!r}: expected pairs of frequency and full width, in Hz") from error
    return [(number("birdies", freq, "Hz > 0"), number("birdies", width, "Hz > 0")) for freq, width in pairs]
