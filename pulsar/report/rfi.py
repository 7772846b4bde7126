"""The picture of a mask: what is left out over frequency and time, the statistics behind it, the band, the spectrum."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pulsar.cleaning.birdies import CHANCE, Birdie, fraction_lost
from pulsar.cleaning.mask import Mask, block_losses, channel_losses, reason_classes
from pulsar.cleaning.robust import median
from pulsar.cleaning.statistics import BlockStatistics
from pulsar.data.header import Header
from pulsar.data.text import literal
from pulsar.report.figure import ACCENT, FILL, INK, PAPER, SOFT, Sheet, new_sheet, save, style

#: Most pixels of an image: what is finer is averaged, so that large observations stay readable and quick.
_COLUMNS: Final = 1000
_ROWS: Final = 700
#: Points of the spectrum that is drawn, the highest power in each.
_POINTS: Final = 1500
#: Colours of what is masked, by how much it costs; the rest share the last one.
_COLOURS: Final = ("#d1495b", "#edae49", "#7b4ea3", "#2a9d8f", "#e76f51", "#c2185b", "#8a9a5b", "#9c6644", "#6c757d")
#: A masked pixel shows at least so much of its colour, however few of its samples are masked.
_LEAST: Final = 0.6
_OTHER: Final = "other reasons"


def plot_rfi(
    header: Header,
    mask: Mask,
    stats: BlockStatistics | None = None,
    *,
    birdies: Sequence[Birdie] = (),
    spectrum: tuple[NDArray[np.float32], float] | None = None,
    path: Path | str | None = None,
) -> Sheet:
    """Draw a mask.

    Parameters
    ----------
    header : Header
        Of the observation.
    mask : Mask
    stats : BlockStatistics, optional
        What it was made from; without it the data behind the mask are not shown.
    birdies : sequence of Birdie
        Periodic interference.
    spectrum : (ndarray of float32, float), optional
        Normalised powers of the series at DM 0 and the step between them [Hz].
    path : Path or str, optional
        Also write the sheet there, as PNG.

    Returns
    -------
    Sheet
        A matplotlib figure that displays itself in notebooks.
    """
    figure = new_sheet(14.0, 11.0)
    _title(figure, header, mask)
    top = GridSpec(
        2, 4, figure=figure, left=0.06, right=0.985, top=0.9, bottom=0.5,
        height_ratios=(1, 6), width_ratios=(6.4, 0.9, 0.9, 0.9), hspace=0.05, wspace=0.04,
    )  # fmt: skip
    middle = GridSpec(1, 5, figure=figure, left=0.06, right=0.955, top=0.415, bottom=0.265, wspace=0.25)
    bottom = GridSpec(1, 1, figure=figure, left=0.06, right=0.985, top=0.19, bottom=0.055)

    image = _Image(header, mask)
    # Of every channel over all blocks, masked or not; shape (1, nchans).
    mean, std = (mask.baseline, mask.noise) if stats is None else (stats.mean, stats.std)
    level, noise = median(mean, axis=0, keepdims=True), median(std, axis=0, keepdims=True)
    usual = np.where(np.isfinite(mask.noise) & (mask.noise > 0), mask.noise, np.where(noise > 0, noise, np.nan))
    classes, names = _shown(mask)
    waterfall = figure.add_subplot(top[1, 0])
    _waterfall(waterfall, image, mask, None if stats is None else _departures(mask, stats, level, usual))
    _overlay(waterfall, image, mask, classes, _COLOURS[: len(names)])
    heading = "What is left out"
    if stats is not None:
        heading += ", in colour, over the mean of each block less its baseline in units of the noise"
    _block_loss(figure.add_subplot(top[0, 0], sharex=waterfall), image, mask, heading)
    _channel_loss(figure.add_subplot(top[1, 1], sharey=waterfall), image, mask)
    for i, (name, values) in enumerate((("mean [levels]", level[0]), ("std [levels]", noise[0]))):
        _bandpass(figure.add_subplot(top[1, 2 + i], sharey=waterfall), image, mask, values, name)
    _legend(figure.add_subplot(top[0, 1:]), names, 8.0)
    _statistics(figure, middle, image, mask, _panels(stats, usual))
    _spectrum(figure.add_subplot(bottom[0]), birdies, spectrum, header)
    if path is not None:
        save(figure, Path(path))
    return figure


def plot_mask(
    header: Header,
    chan_mask: NDArray[np.bool_],
    mask: NDArray[np.bool_],
    reasons: Sequence[str],
    block_nsamps: int,
) -> Sheet:
    """Draw the mask that a product holds, small: what is left out over time and frequency, by channel and by block.

    Parameters
    ----------
    header : Header
        Of the observation.
    chan_mask : ndarray of bool, shape (nchans,)
        True where the whole channel is masked.
    mask : ndarray of bool, shape (nblocks, nchans)
    reasons : sequence of str, length nchans
    block_nsamps : int
        Samples in a block; the last takes what is left.

    Returns
    -------
    Sheet
    """
    edges = np.arange(mask.shape[0] + 1, dtype=np.int64) * block_nsamps
    edges[-1] = header.nsamps
    unknown = np.broadcast_to(np.nan, mask.shape)
    small = Mask(~chan_mask, tuple(reasons), mask | chan_mask, edges, unknown, unknown)
    figure = new_sheet(12.0, 3.6)
    grid = GridSpec(
        2, 2, figure=figure, left=0.06, right=0.985, top=0.97, bottom=0.14,
        height_ratios=(1, 4), width_ratios=(4.4, 1.2), hspace=0.08, wspace=0.03,
    )  # fmt: skip
    image = _Image(header, small)
    classes, names = _shown(small)
    axes = figure.add_subplot(grid[1, 0])
    _waterfall(axes, image, small, None)
    _overlay(axes, image, small, classes, _COLOURS[: len(names)])
    _block_loss(figure.add_subplot(grid[0, 0], sharex=axes), image, small, "")
    _channel_loss(figure.add_subplot(grid[1, 1], sharey=axes), image, small)
    _legend(figure.add_subplot(grid[0, 1]), names, 7.0)
    return figure


def _legend(axes: Axes, names: Sequence[str], size: float) -> None:
    axes.set_axis_off()
    if names:
        axes.legend(
            handles=[Patch(color=colour, label=name) for colour, name in zip(_COLOURS, names, strict=False)],
            loc="lower right", ncols=2 if len(names) > 3 else 1, fontsize=size, frameon=False, labelcolor=INK,
        )  # fmt: skip


def _shown(mask: Mask) -> tuple[NDArray[np.uint8], list[str]]:
    """Why each channel-block is masked: 0 where it is not, else 1 + the index of a name; the costliest first."""
    classes, names = reason_classes(mask)
    sizes = np.array([np.count_nonzero(classes == i + 1) for i in range(len(names))], dtype=np.int64)
    order = np.argsort(-sizes, kind="stable")[: len(sizes)]
    place = np.zeros(len(names) + 1, dtype=np.uint8)
    place[order + 1] = np.minimum(np.arange(len(names)), len(_COLOURS) - 1) + 1
    shown = [names[i] for i in order[: len(_COLOURS)]]
    if len(names) > len(_COLOURS):
        shown[-1] = _OTHER
    return place[classes], shown


class _Image:
    """Blocks by channels as pixels: time to the right, frequency upwards."""

    def __init__(self, header: Header, mask: Mask) -> None:
        nblocks, nchans = mask.bad.shape
        self.header = header
        self.columns = _bins(nblocks, _COLUMNS)
        self.rows = _bins(nchans, _ROWS)
        self.scale, self.unit = _time_unit(header.tobs)
        # Unevenly spaced channels are counted.
        self.even = header.freq_table is None
        half = 0.5 * header.chan_width
        low, high = (float(header.freqs[-1]) - half, float(header.freqs[0]) + half) if self.even else (nchans, 0)
        self.extent = (0.0, header.tobs * self.scale, low, high)
        self.label = "frequency [MHz]" if self.even else "channel"
        self.channels = np.linspace(high, low, nchans + 1)
        self.times = mask.edges * header.tsamp * self.scale

    def reduce(self, values: NDArray[np.floating] | NDArray[np.bool_]) -> NDArray[np.float64]:
        """Means of what is known over the pixels, shape (rows, columns), NaN where nothing is."""
        known = np.isfinite(values)
        sums = _sums(np.where(known, values, values.dtype.type(0)), self.columns, self.rows)
        counts = _sums(known, self.columns, self.rows)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((sums / counts).T)

    def show(self, axes: Axes, picture: NDArray[np.float64], **options: Any) -> AxesImage:
        """Draw pixels, shape (rows, columns) or with colour."""
        return axes.imshow(
            picture, origin="upper", extent=self.extent, aspect="auto", interpolation="nearest", **options
        )


def _bins(count: int, most: int) -> NDArray[np.int64]:
    """First of the elements that come together."""
    return np.unique(np.linspace(0, count, min(count, most) + 1)[:-1].astype(np.int64))


def _sums(
    values: NDArray[np.float64] | NDArray[np.bool_], columns: NDArray[np.int64], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    # Of hours of a wide band no copy in double precision is made.
    edges = pairwise([*columns.tolist(), len(values)])
    along = np.array([values[low:high].sum(axis=0, dtype=np.float64) for low, high in edges])
    return np.asarray(np.add.reduceat(along, rows, axis=1))


def _time_unit(tobs: float) -> tuple[float, str]:
    for limit, divisor, unit in ((300.0, 1.0, "s"), (4 * 3600.0, 60.0, "min")):
        if tobs <= limit:
            return 1.0 / divisor, unit
    return 1.0 / 3600.0, "h"


def _title(figure: Figure, header: Header, mask: Mask) -> None:
    figure.text(
        0.06, 0.96, f"Mask of {literal(header.source or 'an unnamed source')}", fontsize=19, weight="bold", color=INK
    )
    lost = int(np.count_nonzero(~mask.chan_ok))
    facts = f"{100 * mask.fraction_lost:.2f} % left out     {lost} of {header.nchans} channels"
    if len(mask.clipped):
        facts += f"     {len(mask.clipped)} impulses"
    figure.text(0.985, 0.963, facts, fontsize=13, color=INK, ha="right")
    where = [
        literal(header.telescope or "unknown telescope") + (f", beam {header.beam}" if header.beam is not None else ""),
        f"MJD {header.tstart:.6f}",
        f"{header.tobs:.5g} s",
        f"{header.freqs[-1]:.5g}–{header.freqs[0]:.5g} MHz",
        f"{1e6 * header.tsamp:.6g} µs",
        f"{len(mask.edges) - 1} blocks of {float(np.median(np.diff(mask.edges))) * header.tsamp:.3g} s",
    ]
    figure.text(0.06, 0.935, "   ·   ".join(where), fontsize=9.5, color=SOFT)


def _limits(values: NDArray[np.float64], low: float = 1.0, high: float = 99.0) -> tuple[float, float]:
    """Range of the bulk of what is finite, half as wide again."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    a, b = (float(p) for p in np.percentile(finite, [low, high]))
    room = 0.25 * (b - a)
    return (a - room, b + room) if b > a else (a - 0.5, a + 0.5)


def _departures(
    mask: Mask, stats: BlockStatistics, level: NDArray[np.float64], usual: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Means of the blocks less the baseline, in units of the noise, shape (nblocks, nchans)."""
    with np.errstate(invalid="ignore"):
        return np.asarray((stats.mean - np.where(np.isfinite(mask.baseline), mask.baseline, level)) / usual)


def _waterfall(axes: Axes, image: _Image, mask: Mask, departures: NDArray[np.float64] | None) -> None:
    axes.set_facecolor("#f1efe9")
    if departures is not None:
        some = slice(None, None, max(1, departures.shape[1] // 512))
        low, high = _limits(np.where(mask.bad, np.nan, departures)[:, some])
        image.show(axes, image.reduce(departures), cmap=PAPER, vmin=low, vmax=high)
    axes.set(xlim=image.extent[:2], ylim=image.extent[2:], xlabel=f"time [{image.unit}]", ylabel=image.label)
    style(axes, "")


def _overlay(axes: Axes, image: _Image, mask: Mask, classes: NDArray[np.uint8], colours: Sequence[str]) -> None:
    """What is masked, in the colour of the reason that is most frequent in a pixel; impulses as marks above."""
    total = np.zeros((len(image.rows), len(image.columns)))
    parts = np.zeros((len(colours), *total.shape))
    for i in range(len(colours)):
        parts[i] = image.reduce(classes == i + 1)
        total += parts[i]
    if colours:
        picture = np.zeros((*total.shape, 4))
        picture[..., :3] = np.array([to_rgb(c) for c in colours])[parts.argmax(axis=0)]
        picture[..., 3] = np.where(total > 0, _LEAST + (0.85 - _LEAST) * np.minimum(total, 1.0), 0.0)
        image.show(axes, picture)
    if len(mask.clipped):
        at = mask.clipped.mean(axis=1) * image.header.tsamp * image.scale
        axes.plot(at, np.full(at.size, 1.0), "v", transform=axes.get_xaxis_transform(), color=ACCENT, markersize=4)


def _block_loss(axes: Axes, image: _Image, mask: Mask, heading: str) -> None:
    lost = 100 * block_losses(mask)
    axes.stairs(lost, image.times, fill=True, color=FILL)
    axes.stairs(lost, image.times, color=INK, linewidth=0.8)
    axes.set(ylim=(0, max(1.05 * float(lost.max()), 1.0)), ylabel="left out [%]")
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.tick_params(labelbottom=False)
    style(axes, heading)


def _channel_loss(axes: Axes, image: _Image, mask: Mask) -> None:
    lost = 100 * channel_losses(mask)
    axes.stairs(lost[::-1], image.channels[::-1], orientation="horizontal", fill=True, color=FILL)
    axes.set(xlim=(0, max(1.05 * float(lost.max()), 1.0)), xlabel="left out [%]")
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.tick_params(labelleft=False)
    style(axes, "")


def _bandpass(axes: Axes, image: _Image, mask: Mask, values: NDArray[np.float64], name: str) -> None:
    for first, last in _stretches(~mask.chan_ok):
        axes.axhspan(image.channels[first], image.channels[last + 1], color=ACCENT, alpha=0.25, linewidth=0)
    axes.plot(values, 0.5 * (image.channels[:-1] + image.channels[1:]), color=INK, linewidth=0.8)
    axes.set(xlim=_limits(values[mask.chan_ok], 0.5, 99.5), xlabel=name)
    axes.xaxis.set_major_locator(MaxNLocator(2))
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.tick_params(labelleft=False)
    style(axes, "")


def _stretches(which: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(which.astype(np.int8), prepend=0, append=0))
    return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _statistics(
    figure: Figure, grid: GridSpec, image: _Image, mask: Mask, panels: Sequence[tuple[str, NDArray[np.floating] | None]]
) -> None:
    for i, (name, values) in enumerate(panels):
        axes = figure.add_subplot(grid[i])
        if values is not None and np.isfinite(values).any():
            picture = image.reduce(values)
            axes.set_facecolor("#f1efe9")
            low, high = _limits(image.reduce(np.where(mask.bad, np.nan, values)))
            shown = image.show(axes, picture, cmap=PAPER, vmin=low, vmax=high)
            bar = figure.colorbar(shown, cax=axes.inset_axes((1.02, 0.0, 0.03, 1.0)))
            bar.ax.tick_params(labelsize=7, colors=SOFT, length=2)
            bar.outline.set_visible(False)
        else:
            axes.set(xticks=[], yticks=[])
            axes.text(0.5, 0.5, "not taken", transform=axes.transAxes, ha="center", va="center", color=SOFT, fontsize=9)
        axes.set(xlim=image.extent[:2], ylim=image.extent[2:])
        axes.set(xlabel=f"time [{image.unit}]", ylabel="" if i else image.label)
        axes.tick_params(labelleft=i == 0)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        style(axes, name)


def _panels(stats: BlockStatistics | None, usual: NDArray[np.float64]) -> list[tuple[str, NDArray[np.floating] | None]]:
    """Names and values, shape (nblocks, nchans), of the statistics that are shown."""
    return [
        ("Noise over its usual", None if stats is None else np.asarray(stats.std / usual)),
        ("Skewness", None if stats is None else stats.skewness),
        ("Kurtosis", None if stats is None else stats.kurtosis),
        ("Strongest line", None if stats is None else stats.fourier),
        ("Excess of 1 ms sums", None if stats is None else stats.excess),
    ]


def _spectrum(
    axes: Axes, birdies: Sequence[Birdie], spectrum: tuple[NDArray[np.float32], float] | None, header: Header
) -> None:
    if spectrum is None or not np.any(spectrum[0] > 0):
        axes.set(xticks=[], yticks=[])
        why = "too few samples" if spectrum is None else "nothing is left of the series at DM 0"
        axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color=SOFT, fontsize=9)
        style(axes, "Spectrum at DM 0")
        return
    powers, step = spectrum
    freqs, tops = peaks_by_frequency(powers, step)
    threshold = float(np.log(powers.size / CHANCE))
    axes.axhline(threshold, color=SOFT, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.text(
        freqs[0],
        threshold,
        " noise reaches this once in 1000 spectra",
        fontsize=7.5,
        color=SOFT,
        ha="left",
        va="bottom",
    )
    axes.plot(freqs, np.maximum(tops, 0.3), color=INK, linewidth=0.8)
    top = 2.0 * max(float(tops.max()), threshold)
    for birdie in birdies:
        lo, hi = birdie.freq - 0.5 * birdie.width, birdie.freq + 0.5 * birdie.width
        axes.axvspan(max(lo, freqs[0]), hi, color=ACCENT, alpha=0.3, linewidth=0)
    if birdies:
        at = np.array([b.freq for b in birdies])
        axes.plot(at, np.full(at.size, 0.97), "v", transform=axes.get_xaxis_transform(), color=ACCENT, markersize=5)
    axes.set(xscale="log", yscale="log", xlim=(freqs[0], freqs[-1]), ylim=(0.5, top))
    axes.set(xlabel="frequency [Hz]", ylabel="power")
    lost = fraction_lost(birdies, 0.5 / header.tsamp)
    count = "1 line" if len(birdies) == 1 else f"{len(birdies)} lines"
    text = f"{count} left out, {100 * lost:.2g} % of it" if birdies else "no line of interference"
    style(axes, f"Spectrum at DM 0: {text}")


def peaks_by_frequency(powers: NDArray[np.float32], step: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The highest power in each of about 1500 stretches, even in the logarithm of frequency.

    Returns
    -------
    freqs : ndarray
        Of these powers [Hz].
    tops : ndarray
    """
    first = min(2, powers.size - 1)
    edges = np.unique(np.geomspace(max(first, 1), powers.size, _POINTS + 1).astype(np.int64))[:-1]
    tops = np.maximum.reduceat(powers, edges).astype(np.float64)
    ends = np.append(edges[1:], powers.size)
    at = [int(a + np.argmax(powers[a:b])) for a, b in zip(edges, ends, strict=True)]
    return np.array(at) * step, tops
