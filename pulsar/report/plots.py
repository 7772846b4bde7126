"""Pictures of data and of tables: a series, series over DM, an observation, candidates, pulses, any array."""

import math
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from pulsar.data.header import Header
from pulsar.data.observation import Observation
from pulsar.data.series import DMTime, TimeSeries
from pulsar.data.text import literal
from pulsar.report.figure import ACCENT, INK, PAPER, SOFT, Sheet, new_sheet, style
from pulsar.report.words import observed

#: Columns and rows of a picture: more than the eye resolves at its size.
_COLUMNS: Final = 1000
_ROWS: Final = 500
#: Bytes of an observation that are read for its picture, spread over it.
_MOST_BYTES: Final = 64 << 20


def plot_series(series: TimeSeries, *, title: str | None = None) -> Sheet:
    """Draw a series: the range and the mean of its samples over time.

    Parameters
    ----------
    series : TimeSeries
    title : str, optional

    Returns
    -------
    Sheet
        A matplotlib figure that displays itself in notebooks.
    """
    axes = _axes(title or f"Series at DM {series.dm:.6g}", (10.0, 3.6))
    _line(axes, series.data, series.tobs)
    axes.set(xlabel="time [s]", ylabel="intensity")
    return axes.figure  # type: ignore[return-value]


def plot_dm_time(data: DMTime, *, title: str | None = None) -> Sheet:
    """Draw series over DM and time.

    Parameters
    ----------
    data : DMTime
    title : str, optional

    Returns
    -------
    Sheet
        A matplotlib figure that displays itself in notebooks.
    """
    axes = _axes(title or f"{len(data)} DMs", (10.0, 5.0))
    tobs = data.data.shape[1] * data.tsamp
    step = float(data.dms[1] - data.dms[0]) if len(data) > 1 else 1.0
    _image(axes, _reduced(data.data), (0.0, tobs, float(data.dms[0]) - step / 2, float(data.dms[-1]) + step / 2))
    axes.set(xlabel="time [s]", ylabel="DM [pc cm$^{-3}$]")
    return axes.figure  # type: ignore[return-value]


def plot_observation(obs: Observation, *, title: str | None = None) -> Sheet:
    """Draw an observation: its samples over time and frequency, each channel about its mean, and the band.

    Of a long one only a part of the samples is read, spread over it.

    Parameters
    ----------
    obs : Observation
    title : str, optional

    Returns
    -------
    Sheet
        A matplotlib figure that displays itself in notebooks.
    """
    header = obs.header
    if header.is_series:
        series = TimeSeries(obs.read().data[0], header.tsamp, header.dm, header.tstart)
        return plot_series(series, title=title or literal(header.source) or None)
    means, noise = _columns(obs)
    level = _mean(means, 1)
    spread = np.where(noise > 0, noise, 1.0)
    figure = new_sheet(11.0, 6.0)
    image, band = figure.subplots(1, 2, sharey=True, width_ratios=(4, 1))
    half = 0.5 * header.chan_width
    ends = (float(header.freqs[-1]) - half, float(header.freqs[0]) + half)
    _image(image, _reduced((means - level[:, None]) / spread[:, None])[::-1], (0.0, header.tobs, *ends))
    image.set(xlabel="time [s]", ylabel="frequency [MHz]")
    band.plot(level, header.freqs, color=INK, linewidth=0.9, label="mean")
    band.plot(noise, header.freqs, color=ACCENT, linewidth=0.9, label="noise")
    band.set(xlabel="levels")
    band.legend(fontsize=8, frameon=False, labelcolor=SOFT)
    style(image, title or literal(observed(header, {}, header.tstart, header.tobs)))
    style(band, "Band")
    figure.set_layout_engine("tight")
    return figure


def plot_table(table: Any, header: Header | None = None, *, title: str | None = None) -> Sheet:
    """Draw rows of results: candidates and detections over period and DM or significance, pulses over time and DM.

    Parameters
    ----------
    table : Table or structured ndarray
        With the columns time (pulses), period or freq.
    header : Header, optional
        Of the observation, for the title.
    title : str, optional

    Returns
    -------
    Sheet
        A matplotlib figure that displays itself in notebooks.
    """
    names = list(getattr(table, "colnames", None) or table.dtype.names)
    strength = "snr" if "snr" in names and np.any(np.isfinite(_values(table, "snr"))) else "sigma"
    size = _values(table, strength)
    size = np.where(np.isfinite(size), size, 3.0)
    if "time" in names:
        x, xlabel, heading = _values(table, "time"), "time [s]", "Single pulses"
    else:
        period = _values(table, "period") if "period" in names else 1.0 / _values(table, "freq")
        x, xlabel, heading = period, "period [s]", "Candidates" if "period" in names else "Detections"
    what = title or (f"{heading} of {literal(header.source)}" if header is not None and header.source else heading)
    axes = _axes(f"{what}: {len(x)}", (10.0, 5.0))
    dm = _values(table, "dm")
    curved = len(dm) > 0 and np.ptp(dm) > 0
    axes.scatter(
        x, dm if curved else size, s=np.clip(3.0 * size, 6.0, 400.0), color=ACCENT, alpha=0.55, edgecolors=INK,
        linewidths=0.5,
    )  # fmt: skip
    axes.set(xlabel=xlabel, ylabel="DM [pc cm$^{-3}$]" if curved else strength)
    if "time" not in names and len(x):
        axes.set_xscale("log")
    return axes.figure  # type: ignore[return-value]


def plot_array(data: NDArray[Any], *, title: str | None = None) -> Sheet:
    """Draw an array: of one dimension as a line, of two as an image, against the numbers of its elements.

    Parameters
    ----------
    data : ndarray of real numbers, shape (n,) or (nrows, ncolumns)
    title : str, optional

    Returns
    -------
    Sheet
        A matplotlib figure that displays itself in notebooks.
    """
    if data.ndim == 1:
        axes = _axes(title or f"{len(data)} samples", (10.0, 3.6))
        _line(axes, data, float(len(data)))
        axes.set(xlabel="sample", ylabel="value")
    else:
        axes = _axes(title or f"{data.shape[0]} × {data.shape[1]}", (10.0, 5.0))
        _image(axes, _reduced(data), (0.0, float(data.shape[1]), 0.0, float(data.shape[0])))
        axes.set(xlabel="column", ylabel="row")
    return axes.figure  # type: ignore[return-value]


def _axes(heading: str, size: tuple[float, float]) -> Axes:
    figure = new_sheet(*size)
    axes: Axes = figure.subplots()
    style(axes, heading)
    figure.set_layout_engine("tight")
    return axes


def _values(table: Any, name: str) -> NDArray[np.float64]:
    column = table[name]
    return np.asarray(getattr(column, "value", column), dtype=np.float64)


def _line(axes: Axes, values: NDArray[Any], length: float) -> None:
    """The mean and the range of `values` over `length`."""
    n = len(values)
    edges = np.unique(np.linspace(0, n, min(n, _COLUMNS) + 1).astype(np.int64))
    parts = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(parts)
    low = np.minimum.reduceat(np.where(finite, parts, np.inf), edges[:-1])
    high = np.maximum.reduceat(np.where(finite, parts, -np.inf), edges[:-1])
    count = np.maximum(np.add.reduceat(finite.astype(np.float64), edges[:-1]), 1.0)
    mean = np.add.reduceat(np.where(finite, parts, 0.0), edges[:-1]) / count
    empty = high < low
    low[empty], high[empty], mean[empty] = math.nan, math.nan, math.nan
    at = 0.5 * (edges[1:] + edges[:-1]) * (length / n)
    axes.fill_between(at, low, high, color="#9fb8d9", linewidth=0)
    axes.plot(at, mean, color=INK, linewidth=0.8)
    axes.margins(x=0)


def _reduced(data: NDArray[Any]) -> NDArray[np.float64]:
    """Means over blocks, so that no more rows and columns are left than a picture shows."""
    out = np.asarray(data, dtype=np.float64)
    for axis, most in ((0, _ROWS), (1, _COLUMNS)):
        n = out.shape[axis]
        edges = np.unique(np.linspace(0, n, min(n, most) + 1).astype(np.int64))
        if len(edges) <= n:
            finite = np.isfinite(out)
            count = np.add.reduceat(finite.astype(np.float64), edges[:-1], axis=axis)
            total = np.add.reduceat(np.where(finite, out, 0.0), edges[:-1], axis=axis)
            out = np.where(count > 0, total / np.maximum(count, 1.0), math.nan)
    return out


def _image(axes: Axes, data: NDArray[np.float64], extent: tuple[float, float, float, float]) -> None:
    finite = data[np.isfinite(data)]
    low, high = np.percentile(finite, [2.0, 99.7]) if finite.size else (0.0, 1.0)
    high = high if high > low else low + 1.0
    axes.set_facecolor("#f1efe9")
    axes.imshow(
        data, origin="lower", aspect="auto", extent=extent, cmap=PAPER, vmin=low, vmax=high, interpolation="nearest"
    )


def _columns(obs: Observation) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of stretches spread over an observation, shape (nchans, n), and the noise of each channel."""
    header = obs.header
    count = min(_COLUMNS // 2, header.nsamps)
    length = max(1, min(header.nsamps // count, _MOST_BYTES // (count * header.nchans * obs.dtype.itemsize)))
    starts = np.linspace(0, header.nsamps - length, count).astype(np.int64)
    means = np.empty((header.nchans, count))
    squares = np.empty((header.nchans, count))
    part = np.empty((header.nchans, length), dtype=obs.dtype)
    for i, start in enumerate(starts):
        obs.read_into(int(start), part)
        means[:, i] = _mean(part, 1)
        squares[:, i] = _mean(np.square(part, dtype=np.float64), 1)
    variance = _mean(squares, 1) - _mean(means, 1) ** 2
    return means, np.sqrt(np.maximum(np.nan_to_num(variance), 0.0))


def _mean(data: NDArray[Any], axis: int) -> NDArray[np.float64]:
    """Mean of what is finite; NaN where nothing is."""
    finite = np.isfinite(data)
    count = finite.sum(axis=axis)
    total = np.where(finite, data, 0).sum(axis=axis, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), math.nan)
