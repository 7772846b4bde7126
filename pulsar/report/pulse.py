"""The plot sheet of a single pulse: its series, its sweep, and how it fades away from its DM."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.gridspec import GridSpec
from numpy.typing import NDArray

from pulsar.constants import DAY
from pulsar.data.header import Header
from pulsar.data.pulse import PulseCutout
from pulsar.data.text import literal
from pulsar.report.sheet import ACCENT, DPI, FILL, INK, PAPER, SOFT, Sheet, _empty, _style, observed, position, save


def plot_pulse(
    cutout: PulseCutout,
    pulse: Mapping[str, Any] | None = None,
    header: Header | None = None,
    *,
    title: str | None = None,
    path: Path | str | None = None,
) -> Sheet:
    """Draw the plot sheet of a single pulse.

    Parameters
    ----------
    cutout : PulseCutout
    pulse : mapping, optional
        Row of the table of single pulses: adds what the search knows.
    header : Header, optional
        Header of the observation of the pulse (``run.observation_of("p0001")``).
    title : str, optional
        In place of the id of the pulse.
    path : Path or str, optional
        Also write the sheet there, as PNG.

    Returns
    -------
    Sheet
        A matplotlib figure that displays itself in notebooks.
    """
    row: dict[str, Any] = dict(pulse or {})
    figure = Sheet(figsize=(12.0, 7.4), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    left = GridSpec(
        2, 1, figure=figure, left=0.065, right=0.46, top=0.86, bottom=0.08, height_ratios=(1, 2.4), hspace=0.1
    )
    right = GridSpec(
        2, 1, figure=figure, left=0.545, right=0.965, top=0.86, bottom=0.08, height_ratios=(2, 1), hspace=0.3
    )
    _title(figure, cutout, row, header, title)
    scale, unit = (1e3, "ms") if cutout.tsamp * cutout.spectrum.shape[1] < 2.0 else (1.0, "s")
    ntime = cutout.spectrum.shape[1]
    edges = scale * (cutout.start - cutout.time + cutout.tsamp * np.arange(ntime + 1))
    profile = figure.add_subplot(left[0])
    _profile(profile, cutout, edges, scale)
    spectrum = figure.add_subplot(left[1], sharex=profile)
    _image(spectrum, cutout.spectrum, edges, _edges(cutout.freqs), 98.0)
    spectrum.set(xlabel=f"time at {cutout.fref:.5g} MHz [{unit}]", ylabel="frequency [MHz]")
    plane = figure.add_subplot(right[0])
    if len(cutout.dms) > 1 and cutout.dms[-1] > cutout.dms[0]:
        _image(plane, cutout.plane, edges, _edges(cutout.dms), 99.9)
        plane.axhline(cutout.dm, color=ACCENT, linewidth=0.8, linestyle=":")
        plane.set(xlabel=f"time [{unit}]", ylabel="DM [pc cm$^{-3}$]")
        _style(plane, "DM and time")
    else:
        _empty(plane, "DM and time", "one channel: no DM")
    _numbers(figure.add_subplot(right[1]), cutout, row, header)
    if path is not None:
        save(figure, Path(path))
    return figure


def _title(
    figure: Sheet, cutout: PulseCutout, row: Mapping[str, Any], header: Header | None, title: str | None
) -> None:
    figure.text(0.065, 0.945, title or literal(str(row.get("id") or "Pulse")), fontsize=19, weight="bold", color=INK)
    facts = [f"DM {cutout.dm:.5g} pc cm$^{{-3}}$"]
    if _finite(cutout.width):
        facts.append(f"width {1e3 * cutout.width:.3g} ms")
    if _finite(row.get("snr")):
        facts.insert(0, f"S/N {row['snr']:.1f}")
    if _finite(row.get("score")):
        facts.append(f"score {row['score']:.2f}")
    figure.text(0.965, 0.948, "     ".join(facts), fontsize=13, color=INK, ha="right")
    if header is not None:
        figure.text(0.065, 0.91, observed(header, row, cutout.tstart, header.tobs), fontsize=9.5, color=SOFT)


def _profile(axes: Axes, cutout: PulseCutout, edges: NDArray[np.float64], scale: float) -> None:
    data = cutout.profile.astype(np.float64)
    axes.axhspan(-1, 1, color="#eef2f7", zorder=0)
    if _finite(cutout.width):
        half = 0.5 * cutout.width * scale
        axes.axvspan(-half, half, color=ACCENT, alpha=0.13, linewidth=0)
    axes.stairs(data, edges, baseline=float(np.nanmin(data)), fill=True, color=FILL, alpha=0.45)
    axes.stairs(data, edges, baseline=None, color=INK, linewidth=1.2)
    axes.set(xlim=(edges[0], edges[-1]), ylabel="intensity [sigma]")
    axes.tick_params(labelbottom=False)
    _style(axes, "Series, and frequency and time")


def _image(axes: Axes, data: NDArray[Any], x: NDArray[np.float64], y: NDArray[np.float64], percentile: float) -> None:
    values = np.asarray(data, dtype=np.float64)
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, [2.0, percentile]) if finite.size else (0.0, 1.0)
    high = max(high, low + 1.0, 4.0)
    if y[0] > y[-1]:
        y, values = y[::-1], values[::-1]
    axes.set_facecolor("#f1efe9")
    axes.pcolormesh(x, y, values, cmap=PAPER, vmin=low, vmax=high, rasterized=True)
    axes.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    _style(axes, "")


def _edges(middles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges half-way between rows, shape (n + 1,)."""
    if len(middles) < 2:
        return np.array([middles[0] - 0.5, middles[0] + 0.5])
    inner = 0.5 * (middles[1:] + middles[:-1])
    return np.concatenate([[2 * middles[0] - inner[0]], inner, [2 * middles[-1] - inner[-1]]])


def _numbers(axes: Axes, cutout: PulseCutout, row: Mapping[str, Any], header: Header | None) -> None:
    axes.set_axis_off()
    lines = [("arrival", f"{cutout.time:.6f} s after the start   MJD {cutout.tstart + cutout.time / DAY:.9f}")]
    if _finite(row.get("dm_err")):
        lines.append(("DM", f"{row['dm']:.3f} ± {row['dm_err']:.3f} pc/cm³"))
    if _finite(row.get("sigma")):
        lines.append(("significance", f"{row['sigma']:.1f} σ after all trials"))
    if row.get("ndetections"):
        lines.append(("events", f"{row['ndetections']}"))
    lines += position(header, row)
    if row.get("rfi_flags"):
        lines.append(("suspicion", str(row["rfi_flags"])[:44]))
    step = min(0.14, 0.98 / len(lines))
    for i, (name, value) in enumerate(lines):
        y = 0.92 - step * i
        axes.text(0.0, y, name, transform=axes.transAxes, fontsize=9, color=SOFT, va="top")
        axes.text(0.22, y, literal(value), transform=axes.transAxes, fontsize=9.5, color=INK, va="top")


def _finite(value: Any) -> bool:
    return isinstance(value, int | float | np.floating) and math.isfinite(value)
