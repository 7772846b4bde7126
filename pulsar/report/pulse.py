"""The plot sheet of a single pulse: its series, its sweep, and how it fades away from its DM."""

from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from pulsar.data.pulse import PulseCutout
from pulsar.report.figure import ACCENT, EMPTY, INK, PAPER, SOFT, Labels, Scale, Sheet, rising, tame
from pulsar.report.sheet import LETTERS, columns, extremes
from pulsar.report.words import About, finite, judged, observed, origin, pulse_numbers

#: Size of a sheet [inches].
SIZE: Final = (8.6, 6.2)
#: Range of the grey scale at least [sigma].
_GREY: Final = 4.0


def draw(figure: Sheet, cutout: PulseCutout, about: About) -> None:
    """Draw a pulse on an empty sheet of this size."""
    labels = figure.labels
    _title(labels, cutout, about)
    ntime = cutout.spectrum.shape[1]
    scale, unit = (1e3, "ms") if cutout.tsamp * ntime < 2.0 else (1.0, "s")
    start, step = cutout.start - cutout.time, cutout.tsamp
    # Products of others may hold anything: what is no axis is counted.
    edges = scale * (start + step * np.arange(ntime + 1)) if abs(start) < 1e9 and 0 < step < 1e6 else None
    edges = np.arange(ntime + 1, dtype=np.float64) if edges is None or not rising(edges) else edges
    freqs = cutout.freqs if rising(cutout.freqs) else np.arange(len(cutout.freqs), dtype=np.float64)
    dispersed = len(cutout.dms) > 1 and rising(cutout.dms)
    # Of one channel there is no DM: its series takes the whole width.
    width = 0.41 if dispersed else 0.905
    _profile(labels, figure.panel((0.08, 0.76, width, 0.105)), cutout, edges, scale)
    time = Scale(edges[0], edges[-1], f"time at {cutout.fref:.5g} MHz [{unit}]", 6)
    spectrum = figure.panel((0.08, 0.32, width, 0.43))
    _image(labels, spectrum, cutout.spectrum, _edges(freqs), time, "frequency [MHz]", "", 98.0)
    if dispersed:
        plane = figure.panel((0.59, 0.32, 0.395, 0.545))
        _image(labels, plane, cutout.plane, _edges(cutout.dms), time, "DM [pc/cm³]", "DM and time", 99.9)
        plane.add_artist(Line2D(edges[[0, -1]], [cutout.dm] * 2, color=ACCENT, linewidth=0.8, linestyle=":"))
    columns(labels, pulse_numbers(cutout, about.row, about.header), 0.02, 0.13, top=0.2)
    columns(labels, [*origin(about.files), *judged(about.row)], 0.55, 0.65, LETTERS, top=0.2)


def _title(labels: Labels, cutout: PulseCutout, about: About) -> None:
    row, header = about.row, about.header
    labels.add(0.02, 0.95, about.name("Pulse"), -15)
    facts = [f"DM {cutout.dm:.5g}"]
    # Of a stretch that nobody called a pulse there is none.
    if finite(cutout.width):
        facts.append(f"width {1e3 * cutout.width:.3g} ms")
    if finite(row.get("snr")):
        facts.insert(0, f"S/N {row['snr']:.1f}")
    if finite(row.get("score")):
        facts.append(f"score {row['score']:.2f}")
    labels.add(0.985, 0.952, "    ".join(facts), 11, INK, "right")
    if header is not None:
        labels.add(0.02, 0.918, observed(header, row, cutout.tstart, header.tobs), 8.5, SOFT)


def _profile(labels: Labels, axes: Axes, cutout: PulseCutout, edges: NDArray[np.float64], scale: float) -> None:
    data = tame(cutout.profile)
    low, high = extremes(data)
    half = 0.5 * cutout.width * scale if 0.0 < cutout.width < 1e9 else 0.0
    axes.add_artist(Rectangle((edges[0], -1.0), edges[-1] - edges[0], 2.0, color="#eef2f7", linewidth=0))
    axes.add_artist(Rectangle((-half, low), 2.0 * half, high - low, color=ACCENT, alpha=0.18, linewidth=0))
    axes.add_artist(Line2D(np.repeat(edges, 2)[1:-1], np.repeat(data, 2), color=INK, linewidth=1.1))
    time = Scale(edges[0], edges[-1], most=6, told=False)
    labels.frame(axes, "Series, frequency and time", time, Scale(low, high, "sigma", 3))


def _image(
    labels: Labels,
    axes: Axes,
    data: NDArray[Any],
    y: NDArray[np.float64],
    time: Scale,
    label: str,
    heading: str,
    percentile: float,
) -> None:
    values = tame(data)
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, [2.0, percentile]) if known.size else (0.0, 1.0)
    if y[0] > y[-1]:
        y, values = y[::-1], values[::-1]
    axes.set_facecolor(EMPTY)
    options: dict[str, Any] = {"cmap": PAPER, "vmin": low, "vmax": max(high, low + 1.0, _GREY)}
    steps = np.diff(y)
    if np.ptp(steps) <= 0.5 * steps.mean():
        extent = (time.low, time.high, y[0], y[-1])
        axes.imshow(values, origin="lower", aspect="auto", extent=extent, interpolation="nearest", **options)
    else:
        x = np.linspace(time.low, time.high, values.shape[1] + 1)
        axes.pcolormesh(x, y, values, rasterized=True, **options)
    labels.frame(axes, heading, time, Scale(y[0], y[-1], label, 6))


def _edges(middles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges half-way between rows, shape (n + 1,)."""
    if len(middles) < 2:
        return np.array([middles[0] - 0.5, middles[0] + 0.5])
    inner = 0.5 * (middles[1:] + middles[:-1])
    return np.concatenate([[2 * middles[0] - inner[0]], inner, [2 * middles[-1] - inner[-1]]])
