"""Pictures of data, tables, DM plans, and of what became of injected signals."""

import math
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from pulsar.data.header import Header
from pulsar.data.injected import equal_bins, recall, reliability
from pulsar.data.observation import Observation
from pulsar.data.series import DMTime, TimeSeries
from pulsar.data.text import literal
from pulsar.dedisp.plan import DMPlan
from pulsar.report.figure import ACCENT, FILL, INK, SOFT, Sheet, block_means, blocks, empty, head, new_sheet, show, tame
from pulsar.report.words import observed
from pulsar_kernels.arrays import Array, Floats

#: Columns and rows of a picture: more than the eye resolves at its size.
_COLUMNS: Final = 1000
_ROWS: Final = 500
_DM: Final = "DM [pc cm$^{-3}$]"
#: Part of the smearing -> name, colour (told apart by every kind of colour vision, Okabe and Ito 2008), dashes, width.
_SMEARING: Final = {
    "channel": ("in the channels", "#0072b2", "-", 1.0),
    "sampling": ("sampling", "#009e73", "-", 1.0),
    "step": ("DM step", "#cc79a7", "-", 1.0),
    "arrival": ("integer delays", "#56b4e9", "-", 1.0),
    "width": ("narrowest pulse", SOFT, ":", 1.0),
    "best": ("best possible", ACCENT, "--", 1.5),
    "total": ("all together", INK, "-", 2.0),
}
#: Kind of injected signal -> its name, colour and mark.
_KINDS: Final = {"pulsar": ("pulsars", INK, "o"), "burst": ("bursts", ACCENT, "s")}
#: By what recall is drawn, its name, on which scale, and the words at the axis.
_BY: Final = (
    ("snr", "S/N", "linear", "S/N injected"),
    ("period", "period", "log", "period [s]"),
    ("dm", "DM", "linear", _DM),
    ("width", "width", "log", "width [s]"),
)


def plot_series(series: TimeSeries, *, title: str | None = None) -> Sheet:
    """Draw a series: the range and the mean of its samples over time.

    Returns
    -------
    Sheet
        A matplotlib figure that displays itself in notebooks.
    """
    figure, axes = _axes(title or f"Series at DM {series.dm:.6g}", (10.0, 3.6))
    _line(axes, series.data, series.tobs)
    axes.set(xlabel="time [s]", ylabel="intensity")
    return figure


def plot_dm_time(data: DMTime, *, title: str | None = None) -> Sheet:
    """Draw series over DM and time.

    Returns
    -------
    Sheet
        A matplotlib figure that displays itself in notebooks.
    """
    figure, axes = _axes(title or f"{len(data)} DMs", (10.0, 5.0))
    tobs = data.data.shape[1] * data.tsamp
    step = float(data.dms[1] - data.dms[0]) if len(data) > 1 else 1.0
    _image(axes, data.data, (0.0, tobs, float(data.dms[0]) - step / 2, float(data.dms[-1]) + step / 2))
    axes.set(xlabel="time [s]", ylabel=_DM)
    return figure


def plot_observation(obs: Observation, *, title: str | None = None) -> Sheet:
    """Draw an observation: its samples over time and frequency, each channel about its mean, and the band.

    Of a long one only a part of the samples is read, spread over it.

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
    level = _mean(means)
    spread = np.where(noise > 0, noise, 1.0)
    figure = new_sheet(11.0, 6.0, tight=True)
    image, band = figure.subplots(1, 2, sharey=True, width_ratios=(4, 1))
    _image(image, ((means - level[:, None]) / spread[:, None])[::-1], (0.0, header.tobs, *header.edges))
    image.set(xlabel="time [s]", ylabel="frequency [MHz]")
    band.plot(level, header.freqs, color=INK, linewidth=0.9, label="mean")
    band.plot(noise, header.freqs, color=ACCENT, linewidth=0.9, label="noise")
    band.set(xlabel="levels")
    _legend(band)
    head(image, title or literal(observed(header, {}, header.tstart, header.tobs)))
    head(band, "Band")
    return figure


def plot_table(table: Any, header: Header | None = None, *, title: str | None = None) -> Sheet:
    """Draw rows of results: candidates and detections over period and DM or significance, pulses over time and DM.

    Parameters
    ----------
    table : Table or structured ndarray
        With the columns time (pulses), period or freq.
    header : Header, optional
        Of the observation, for the title.

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
    name = title or (f"{heading} of {literal(header.source)}" if header is not None and header.source else heading)
    figure, axes = _axes(f"{name}: {len(x)}", (10.0, 5.0))
    dm = _values(table, "dm")
    curved = len(dm) > 0 and np.ptp(dm) > 0
    axes.scatter(
        x, dm if curved else size, s=np.clip(3.0 * size, 6.0, 400.0), color=ACCENT, alpha=0.55, edgecolors=INK,
        linewidths=0.5,
    )  # fmt: skip
    axes.set(xlabel=xlabel, ylabel=_DM if curved else strength)
    if "time" not in names and len(x):
        axes.set_xscale("log")
    return figure


def plot_array(data: Array, *, title: str | None = None) -> Sheet:
    """Draw an array: of one dimension as a line, of two as an image, against the numbers of its elements.

    Parameters
    ----------
    data : ndarray of real numbers, shape (n,) or (nrows, ncolumns)

    Returns
    -------
    Sheet
        A matplotlib figure that displays itself in notebooks.
    """
    if data.ndim == 1:
        figure, axes = _axes(title or f"{len(data)} samples", (10.0, 3.6))
        _line(axes, data, float(len(data)))
        axes.set(xlabel="sample", ylabel="value")
    else:
        figure, axes = _axes(title or f"{data.shape[0]} × {data.shape[1]}", (10.0, 5.0))
        _image(axes, data, (0.0, float(data.shape[1]), 0.0, float(data.shape[0])))
        axes.set(xlabel="column", ylabel="row")
    return figure


def plot_plan(plan: DMPlan, header: Header) -> Sheet:
    """Draw the parts of the smearing and the steps over the trial DMs.

    Parameters
    ----------
    header : Header
        Of the observation, for the title.

    Returns
    -------
    Sheet
        A matplotlib figure that displays itself in notebooks.
    """
    figure = new_sheet(9.0, 6.0, tight=True)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for number, stage in enumerate(plan.stages):
        parts = {name: 1e3 * values for name, values in stage.parts().items()}
        # Each stage to where the next one begins.
        end = plan.stages[number + 1].dm_first if number + 1 < len(plan.stages) else stage.dm_last
        for part, (label, colour, dashes, width) in _SMEARING.items():
            if np.any(parts[part] > 0):
                name = label if number == 0 else None
                upper.plot(stage.dms, parts[part], color=colour, linestyle=dashes, linewidth=width, label=name)
        for axes in (upper, lower):
            axes.axvspan(stage.dm_first, end, color="#eef2f7" if number % 2 == 0 else "white", linewidth=0)
        resolution = f"1/{stage.downsample}" if stage.downsample > 1 else "full"
        upper.annotate(
            f"{resolution}\n{stage.ndms}", (0.5 * (stage.dm_first + end), 0.98), xycoords=("data", "axes fraction"),
            ha="center", va="top", fontsize=8, color=SOFT,
        )  # fmt: skip
        if stage.ndms > 1:
            lower.step(stage.dms, np.append(stage.steps, stage.steps[-1]), where="post", color=INK)
    upper.set(yscale="log", ylabel="smearing [ms]")
    # At DM 0 channels smear nothing; room for the time resolution and the number of trials of each stage.
    least = min(float(min(s.smearing.sampling, s.smearing.step or np.inf)) for s in plan.stages)
    low, high = 500.0 * least, upper.get_ylim()[1]
    upper.set_ylim(low, high * (high / low) ** 0.2)
    upper.text(1.01, 0.98, "resolution\ntrials", transform=upper.transAxes, va="top", fontsize=8, color=SOFT)
    _legend(upper, loc="lower right", ncols=2)
    lower.set(ylabel="step", xlabel=_DM)
    band = f"{header.freqs[-1]:.5g}\N{EN DASH}{header.freqs[0]:.5g} MHz, {header.nchans} channels"
    source = f"{literal(header.source)}: " if header.source else ""
    head(upper, f"{source}{plan.ndms} trial DMs, {band}, {1e6 * header.tsamp:.6g} µs")
    return figure


def plot_completeness(injected: Array, rows: Array) -> Sheet:
    """Draw recall by S/N, period, DM and width with 68 % intervals, the S/N kept, and the reliability of the score.

    Parameters
    ----------
    injected, rows : ndarray
        Fields of INJECTED_COLUMNS and ROW_COLUMNS.

    Returns
    -------
    Sheet
        A matplotlib figure that displays itself in notebooks.
    """
    injected, rows = _tame(injected), _tame(rows)
    figure = new_sheet(12.0, 7.0, tight=True)
    panels = figure.subplots(2, 3).ravel()
    for axes, (by, name, scale, words) in zip(panels, _BY, strict=False):
        _recall(axes, injected, by, scale)
        axes.set_xlabel(words)
        head(axes, f"Recall by {name}")
    _kept(panels[4], injected)
    _reliability(panels[5], rows)
    return figure


def _tame(table: Array) -> Array:
    """A table in which what no measurement gives is NaN: numbers that are too large, and S/N that are not positive."""
    out = table.copy()
    for name in table.dtype.names or ():
        if table.dtype[name].kind == "f":
            values = tame(table[name])
            out[name] = np.where(values > 0.0, values, np.nan) if "snr" in name or "flux" in name else values
    return out


def _of(table: Array, kind: str) -> Array:
    return np.asarray(table[table["kind"] == kind])


def _recall(axes: Axes, injected: Array, by: str, scale: str) -> None:
    """Found over injected in bins of a column."""
    drawn = False
    for kind in _KINDS:
        signals = _of(injected, kind)
        signals = signals[np.isfinite(signals[by]) & ((signals[by] > 0.0) | (scale != "log"))]
        if signals.size:
            # No fewer than 8 signals in a bin, and no more than 8 bins.
            edges = equal_bins(signals[by], int(np.clip(signals.size // 8, 1, 8)))
            shares = recall(signals, by, None if by == "snr" else edges)
            _shares(axes, kind, shares[shares["tried"] > 0], "recall", log=scale == "log")
            drawn = True
    if not drawn:
        empty(axes, "", "nothing was injected")
        return
    axes.set(xscale=scale, ylabel="found / injected", ylim=(-0.03, 1.03))
    if by == "snr":
        _legend(axes, loc="lower right")


def _shares(axes: Axes, kind: str, bins: Array, share: str, *, log: bool = False) -> None:
    """A share of each bin, with its 68 % interval."""
    name, colour, mark = _KINDS[kind]
    low, high, value = bins["low"], bins["high"], bins[share]
    middle = np.sqrt(low * high) if log else 0.5 * (low + high)
    across = np.clip([middle - low, high - middle], 0.0, None)
    spread = np.clip([value - bins[f"{share}_low"], bins[f"{share}_high"] - value], 0.0, None)
    axes.errorbar(
        middle, value, yerr=spread, xerr=across, color=colour, fmt=mark, markersize=4, linewidth=1.0, label=name,
    )  # fmt: skip


def _kept(axes: Axes, injected: Array) -> None:
    """S/N on the list over that of the injected signals."""
    found = injected[injected["found"] == 1]
    heading = "S/N on the list over S/N injected"
    if not found.size:
        empty(axes, heading, "nothing was found")
        return
    for kind, (name, colour, mark) in _KINDS.items():
        signals = _of(found, kind)
        if signals.size:
            ratio = signals["listed_snr"] / signals["snr"]
            axes.plot(signals["snr"], ratio, mark, color=colour, markersize=3, alpha=0.5, label=name)
            axes.axhline(_median(ratio), color=colour, linewidth=1.0)
    axes.axhline(1.0, color=FILL, linewidth=0.8, zorder=0)
    axes.set(xlabel="S/N injected", ylabel="listed / injected", ylim=(0.0, None))
    head(axes, heading)


def _reliability(axes: Axes, rows: Array) -> None:
    """Of the rows that the injections made, how many are true, by score."""
    heading = "Reliability by score"
    if not (rows["origin"] != "sky").any():
        empty(axes, heading, "the injected signals made no rows")
        return
    for kind in _KINDS:
        shares = reliability(_of(rows, kind))
        _shares(axes, kind, shares[shares["injected"] + shares["other"] > 0], "reliability")
    axes.plot([0, 1], [0, 1], color=FILL, linewidth=0.8, zorder=0)
    axes.set(xlabel="score", ylabel="injected / rows", xlim=(0.0, 1.0), ylim=(-0.03, 1.03))
    head(axes, heading)


def plot_limits(limits: Array) -> Sheet:
    """Draw the flux densities from which on pulsars are found, over the period, a line for each duty cycle.

    Parameters
    ----------
    limits : ndarray
        Fields of LIMIT_COLUMNS; of several observations the medians are drawn.

    Returns
    -------
    Sheet
        A matplotlib figure that displays itself in notebooks.
    """
    limits = _tame(limits)
    figure = new_sheet(9.0, 5.0, tight=True)
    axes = figure.subplots()
    duties = np.unique(limits["duty"])
    for k, duty in enumerate(duties):
        lines = limits[limits["duty"] == duty]
        periods = np.unique(lines["period"])
        shade = 1.0 - 0.65 * k / max(len(duties) - 1, 1)
        for name, dashes in (("flux_most", "-"), ("flux_half", "--")):
            flux = np.array([_median(lines[name][lines["period"] == period]) for period in periods])
            label = f"duty {duty:g}" if name == "flux_most" else None
            axes.plot(1e3 * periods, flux, dashes, color=INK, alpha=shade, linewidth=1.2, label=label)
    axes.set(xscale="log", yscale="log", xlabel="period [ms]", ylabel="mean flux density [mJy]")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    _legend(axes)
    head(axes, f"Nine tenths (solid) and half (dashed) are found, DM {np.median(limits['dm']):.4g}")
    return figure


def _median(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")


def _axes(heading: str, size: tuple[float, float]) -> tuple[Sheet, Axes]:
    figure = new_sheet(*size, tight=True)
    axes: Axes = figure.subplots()
    head(axes, heading)
    return figure, axes


def _legend(axes: Axes, **options: Any) -> None:
    axes.legend(fontsize=8, frameon=False, labelcolor=SOFT, **options)


def _values(table: Any, name: str) -> Floats:
    column = table[name]
    return np.asarray(getattr(column, "value", column), dtype=np.float64)


def _line(axes: Axes, values: Array, length: float) -> None:
    """The mean and the range of `values` over `length`."""
    n = len(values)
    first = blocks(n, _COLUMNS)
    known = tame(values)
    at = 0.5 * (first + np.append(first[1:], n)) * (length / n)
    axes.fill_between(at, np.fmin.reduceat(known, first), np.fmax.reduceat(known, first), color=FILL, linewidth=0)
    axes.plot(at, block_means(known[None], np.zeros(1, dtype=np.int64), first)[0], color=INK, linewidth=0.8)
    axes.margins(x=0)


def _image(axes: Axes, values: Array, extent: tuple[float, float, float, float]) -> None:
    data = block_means(values, *(blocks(n, most) for n, most in zip(values.shape, (_ROWS, _COLUMNS), strict=True)))
    finite = data[np.isfinite(data)]
    low, high = np.percentile(finite, [2.0, 99.7]) if finite.size else (0.0, 1.0)
    high = high if high > low else low + 1.0
    show(axes, data, extent, origin="lower", vmin=low, vmax=high)


def _columns(obs: Observation) -> tuple[Floats, Floats]:
    """Means of stretches spread over an observation, shape (nchans, n), and the noise of each channel."""
    header = obs.header
    count = min(_COLUMNS // 2, header.nsamps)
    # 64 MiB of a long one are read.
    length = max(1, min(header.nsamps // count, (64 << 20) // (count * header.nchans * obs.dtype.itemsize)))
    starts = np.linspace(0, header.nsamps - length, count).astype(np.int64)
    means = np.empty((header.nchans, count))
    squares = np.empty((header.nchans, count))
    part = np.empty((header.nchans, length), dtype=obs.dtype)
    for i, start in enumerate(starts):
        obs.read_into(int(start), part)
        means[:, i] = _mean(part)
        squares[:, i] = _mean(np.square(part, dtype=np.float64))
    variance = _mean(squares) - _mean(means) ** 2
    return means, np.sqrt(np.maximum(np.nan_to_num(variance), 0.0))


def _mean(data: Array) -> Floats:
    """Mean of each row over what is finite; NaN where nothing is."""
    means: Floats = np.ma.masked_invalid(data).mean(axis=1, dtype=np.float64).filled(math.nan)
    return means
