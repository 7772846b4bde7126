"""The picture of a mask: what is left out over frequency and time, the statistics behind it, the band, the spectrum."""

from collections.abc import Sequence
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
from pulsar.report.figure import (
    ACCENT,
    EMPTY,
    FILL,
    INK,
    SOFT,
    Sheet,
    block_means,
    blocks,
    empty,
    head,
    new_sheet,
    save,
    show,
    time_unit,
)
from pulsar.report.words import observed
from pulsar_kernels.arrays import Array, Bools, Float32s, Floats, Uint8s

#: Most pixels of an image: what is finer is averaged, so that large observations stay readable and quick.
_COLUMNS: Final = 1000
_ROWS: Final = 700
#: Colours of what is masked, by how much it costs; the rest share the last one.
_COLOURS: Final = ("#d1495b", "#edae49", "#7b4ea3", "#2a9d8f", "#e76f51", "#c2185b", "#8a9a5b", "#9c6644", "#6c757d")
#: A masked pixel shows at least so much of its colour, however few of its samples are masked.
_LEAST: Final = 0.6
_OTHER: Final = "other reasons"
_STATISTICS: Final = ("Noise over its usual", "Skewness", "Kurtosis", "Strongest line", "Excess of 1 ms sums")


def plot_rfi(
    header: Header,
    mask: Mask,
    stats: BlockStatistics | None = None,
    *,
    birdies: Sequence[Birdie] = (),
    spectrum: tuple[Float32s, float] | None = None,
    path: Path | str | None = None,
) -> Sheet:
    """Draw a mask.

    Parameters
    ----------
    header : Header
        Of the observation.
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
    heading, departures = "What is left out", None
    if stats is not None:
        heading += ", in colour, over the mean of each block less its baseline in units of the noise"
        with np.errstate(invalid="ignore"):
            departures = (stats.mean - np.where(np.isfinite(mask.baseline), mask.baseline, level)) / usual
    waterfall = figure.add_subplot(top[1, 0])
    names = image.waterfall(waterfall, departures)
    image.block_loss(figure.add_subplot(top[0, 0], sharex=waterfall), heading)
    image.channel_loss(figure.add_subplot(top[1, 1], sharey=waterfall))
    image.bandpass(figure.add_subplot(top[1, 2], sharey=waterfall), level[0], "mean [levels]")
    image.bandpass(figure.add_subplot(top[1, 3], sharey=waterfall), noise[0], "std [levels]")
    _legend(figure.add_subplot(top[0, 1:]), names, 8.0)
    panels: list[Array | None] = [None] * len(_STATISTICS)
    if stats is not None:
        panels = [np.asarray(stats.std / usual), stats.skewness, stats.kurtosis, stats.fourier, stats.excess]
    for i, (name, values) in enumerate(zip(_STATISTICS, panels, strict=True)):
        image.statistic(figure.add_subplot(middle[i]), values, name, first=i == 0)
    _spectrum(figure.add_subplot(bottom[0]), birdies, spectrum, header)
    if path is not None:
        save(figure, Path(path))
    return figure


def plot_mask(header: Header, chan_mask: Bools, mask: Bools, reasons: Sequence[str], block_nsamps: int) -> Sheet:
    """Draw the mask that a product holds, small: what is left out over time and frequency, by channel and by block.

    Parameters
    ----------
    header : Header
        Of the observation.
    chan_mask : ndarray of bool, shape (nchans,)
        True where the whole channel is masked.
    mask : ndarray of bool, shape (nblocks, nchans)
    block_nsamps : int
        Samples in a block; the last takes what is left.
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
    image, axes = _Image(header, small), figure.add_subplot(grid[1, 0])
    names = image.waterfall(axes)
    image.block_loss(figure.add_subplot(grid[0, 0], sharex=axes), "")
    image.channel_loss(figure.add_subplot(grid[1, 1], sharey=axes))
    _legend(figure.add_subplot(grid[0, 1]), names, 7.0)
    return figure


def _legend(axes: Axes, names: Sequence[str], size: float) -> None:
    axes.set_axis_off()
    if names:
        axes.legend(
            handles=[Patch(color=colour, label=name) for colour, name in zip(_COLOURS, names, strict=False)],
            loc="lower right", ncols=2 if len(names) > 3 else 1, fontsize=size, frameon=False, labelcolor=INK,
        )  # fmt: skip


def _shown(mask: Mask) -> tuple[Uint8s, list[str]]:
    """Names of reasons, the costliest first, and 1 + the index of that of each channel-block; 0: it is not masked."""
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
    """A mask, and blocks by channels as pixels: time to the right, frequency upwards."""

    def __init__(self, header: Header, mask: Mask) -> None:
        nblocks, nchans = mask.bad.shape
        self._mask = mask
        self._columns, self._rows = blocks(nblocks, _COLUMNS), blocks(nchans, _ROWS)
        seconds, self._unit = time_unit(header.tobs)
        self._step = header.tsamp / seconds
        # Unevenly spaced channels are counted.
        even = header.freq_table is None
        low, high = header.edges if even else (nchans, 0)
        self._extent = (0.0, header.tobs / seconds, low, high)
        self._label = "frequency [MHz]" if even else "channel"
        self._channels = np.linspace(high, low, nchans + 1)

    def _reduce(self, values: NDArray[np.floating] | Bools) -> Floats:
        """Means of what is known over the pixels, shape (rows, columns), NaN where nothing is."""
        return block_means(values, self._columns, self._rows).T

    def _show(self, axes: Axes, picture: Floats, **options: Any) -> AxesImage:
        """Draw pixels, shape (rows, columns) or with colour."""
        return show(axes, picture, self._extent, origin="upper", **options)

    def _frame(self, axes: Axes, heading: str, *, labelled: bool = True) -> None:
        axes.set(xlim=self._extent[:2], ylim=self._extent[2:], xlabel=f"time [{self._unit}]")
        axes.set_ylabel(self._label if labelled else "")
        head(axes, heading)

    def waterfall(self, axes: Axes, departures: Floats | None = None) -> list[str]:
        """Draw masked pixels over levels of the blocks, impulses as marks above; returns the names of the colours.

        The colour of a pixel is that of the reason that is most frequent in it.
        """
        mask = self._mask
        axes.set_facecolor(EMPTY)
        if departures is not None:
            some = slice(None, None, max(1, departures.shape[1] // 512))
            low, high = _limits(np.where(mask.bad, np.nan, departures)[:, some])
            self._show(axes, self._reduce(departures), vmin=low, vmax=high)
        classes, names = _shown(mask)
        if names:
            parts = np.array([self._reduce(classes == i + 1) for i in range(len(names))])
            total = parts.sum(axis=0)
            picture = np.zeros((*total.shape, 4))
            picture[..., :3] = np.array([to_rgb(c) for c in _COLOURS[: len(names)]])[parts.argmax(axis=0)]
            picture[..., 3] = np.where(total > 0, _LEAST + (0.85 - _LEAST) * np.minimum(total, 1.0), 0.0)
            self._show(axes, picture)
        if len(mask.clipped):
            _marks(axes, mask.clipped.mean(axis=1) * self._step, 1.0, 4)
        self._frame(axes, "")
        return names

    def block_loss(self, axes: Axes, heading: str) -> None:
        """Draw how much of each block is left out."""
        lost, times = 100 * block_losses(self._mask), self._mask.edges * self._step
        axes.stairs(lost, times, fill=True, color=FILL)
        axes.stairs(lost, times, color=INK, linewidth=0.8)
        axes.set(ylim=(0, max(1.05 * float(lost.max()), 1.0)), ylabel="left out [%]")
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.tick_params(labelbottom=False)
        head(axes, heading)

    def channel_loss(self, axes: Axes) -> None:
        """Draw how much of each channel is left out."""
        lost = 100 * channel_losses(self._mask)
        axes.stairs(lost[::-1], self._channels[::-1], orientation="horizontal", fill=True, color=FILL)
        self._beside(axes, (0, max(1.05 * float(lost.max()), 1.0)), "left out [%]", 3)

    def bandpass(self, axes: Axes, values: Floats, name: str) -> None:
        """Draw a number of each channel."""
        ok, edges = self._mask.chan_ok, self._channels
        for first, last in np.flatnonzero(np.diff(~ok, prepend=False, append=False)).reshape(-1, 2):
            axes.axhspan(edges[first], edges[last], color=ACCENT, alpha=0.25, linewidth=0)
        axes.plot(values, 0.5 * (edges[:-1] + edges[1:]), color=INK, linewidth=0.8)
        self._beside(axes, _limits(values[ok], 0.5, 99.5), name, 2)
        axes.ticklabel_format(axis="x", useOffset=False)

    def _beside(self, axes: Axes, limits: tuple[float, float], name: str, ticks: int) -> None:
        axes.set(xlim=limits, xlabel=name)
        axes.xaxis.set_major_locator(MaxNLocator(ticks))
        axes.tick_params(labelleft=False)

    def statistic(self, axes: Axes, values: Array | None, name: str, *, first: bool) -> None:
        """Draw a statistic of the blocks, shape (nblocks, nchans)."""
        if values is not None and np.isfinite(values).any():
            low, high = _limits(self._reduce(np.where(self._mask.bad, np.nan, values)))
            shown = self._show(axes, self._reduce(values), vmin=low, vmax=high)
            bar = axes.figure.colorbar(shown, cax=axes.inset_axes((1.02, 0.0, 0.03, 1.0)))
            bar.ax.tick_params(labelsize=7, colors=SOFT, length=2)
            bar.outline.set_visible(False)
        else:
            empty(axes, "", "not taken")
        axes.tick_params(labelleft=first)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        self._frame(axes, name, labelled=first)


def _marks(axes: Axes, at: Floats, height: float, size: float) -> None:
    """Marks at a height in parts of the axes."""
    heights = np.full(at.size, height)
    axes.plot(at, heights, "v", transform=axes.get_xaxis_transform(), color=ACCENT, markersize=size)


def _title(figure: Figure, header: Header, mask: Mask) -> None:
    name = f"Mask of {literal(header.source or 'an unnamed source')}"
    figure.text(0.06, 0.96, name, fontsize=19, weight="bold", color=INK)
    lost = int(np.count_nonzero(~mask.chan_ok))
    facts = f"{100 * mask.fraction_lost:.2f} % left out     {lost} of {header.nchans} channels"
    if len(mask.clipped):
        facts += f"     {len(mask.clipped)} impulses"
    figure.text(0.985, 0.963, facts, fontsize=13, color=INK, ha="right")
    length = float(np.median(np.diff(mask.edges))) * header.tsamp
    where = literal(observed(header, {}, header.tstart, header.tobs))
    where += f"   ·   {len(mask.edges) - 1} blocks of {length:.3g} s"
    figure.text(0.06, 0.935, where, fontsize=9.5, color=SOFT)


def _limits(values: Floats, low: float = 1.0, high: float = 99.0) -> tuple[float, float]:
    """Range of the bulk of what is finite, half as wide again."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    a, b = (float(p) for p in np.percentile(finite, [low, high]))
    room = 0.25 * (b - a)
    return (a - room, b + room) if b > a else (a - 0.5, a + 0.5)


def _spectrum(axes: Axes, birdies: Sequence[Birdie], spectrum: tuple[Float32s, float] | None, header: Header) -> None:
    if spectrum is None or not np.any(spectrum[0] > 0):
        why = "too few samples" if spectrum is None else "nothing is left of the series at DM 0"
        empty(axes, "Spectrum at DM 0", why)
        return
    powers, step = spectrum
    freqs, tops = peaks_by_frequency(powers, step)
    threshold = float(np.log(powers.size / CHANCE))
    axes.axhline(threshold, color=SOFT, linewidth=0.8, linestyle=(0, (4, 3)))
    once = " noise reaches this once in 1000 spectra"
    axes.text(freqs[0], threshold, once, fontsize=7.5, color=SOFT, ha="left", va="bottom")
    axes.plot(freqs, np.maximum(tops, 0.3), color=INK, linewidth=0.8)
    top = 2.0 * max(float(tops.max()), threshold)
    for birdie in birdies:
        lo, hi = birdie.freq - 0.5 * birdie.width, birdie.freq + 0.5 * birdie.width
        axes.axvspan(max(lo, freqs[0]), hi, color=ACCENT, alpha=0.3, linewidth=0)
    if birdies:
        _marks(axes, np.array([birdie.freq for birdie in birdies]), 0.97, 5)
    axes.set(xscale="log", yscale="log", xlim=(freqs[0], freqs[-1]), ylim=(0.5, top))
    axes.set(xlabel="frequency [Hz]", ylabel="power")
    lost = fraction_lost(birdies, 0.5 / header.tsamp)
    count = "1 line" if len(birdies) == 1 else f"{len(birdies)} lines"
    text = f"{count} left out, {100 * lost:.2g} % of it" if birdies else "no line of interference"
    head(axes, f"Spectrum at DM 0: {text}")


def peaks_by_frequency(powers: Float32s, step: float) -> tuple[Floats, Floats]:
    """The highest power in each of about 1500 stretches, even in the logarithm of frequency.

    Returns
    -------
    freqs : ndarray
        Of these powers [Hz].
    tops : ndarray
    """
    first = min(2, powers.size - 1)
    # Points of the spectrum that is drawn, the highest power in each.
    edges = np.unique(np.geomspace(max(first, 1), powers.size, 1501).astype(np.int64))[:-1]
    tops = np.maximum.reduceat(powers, edges).astype(np.float64)
    ends = np.append(edges[1:], powers.size)
    at = [int(a + np.argmax(powers[a:b])) for a, b in zip(edges, ends, strict=True)]
    return np.array(at) * step, tops
