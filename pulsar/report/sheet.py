"""The plot sheet of a candidate: all that an eye needs to judge it, on one page."""

import math
import textwrap
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from pulsar.constants import DAY
from pulsar.data.fold import Fold
from pulsar.data.text import printable
from pulsar.report.figure import (
    ACCENT,
    EMPTY,
    INK,
    PAPER,
    PLANE,
    SOFT,
    Labels,
    Scale,
    Sheet,
    rising,
    tame,
)
from pulsar.report.words import About, Lines, finite, numbers, observed, origin, verdict

#: Size of a sheet [inches]: wide enough for the numbers, and readable beside the list on a small screen.
SIZE: Final = (8.6, 6.6)
#: Its pixels in an inch: a thousand sheets in a folder of less than 30 MB.
RESOLUTION: Final = 92.0
#: Rows of an image are summed until a pulse has this S/N in each: weaker ones are lost in the noise to the eye,
_ROW_SNR: Final = 2.0
#: but never to fewer rows than these.
_FEWEST_ROWS: Final = 16
#: nor the phases to fewer than these.
_FEWEST_BINS: Final = 16
#: Range of the grey scale at least [sigma]: noise stays light.
_GREY: Final = (-1.0, 4.0)
#: Letters on a line of the verdict, and its lines.
LETTERS: Final = 43
_LINES: Final = 10
#: From line to line, in parts of the sheet.
_STEP: Final = 0.0196
_PHASES: Final = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)

DASHED: Final = (0, (4, 2))

Box = tuple[float, float, float, float]


def draw(figure: Sheet, fold: Fold, about: About) -> None:
    """Draw a fold on an empty sheet of this size."""
    fold = _drawable(fold)
    labels = figure.labels
    _title(labels, fold, about)
    time, unit = _time_axis(fold.time_edges + fold.start)
    _profile(labels, figure.panel((0.08, 0.79, 0.265, 0.09)), fold)
    image = _summed(fold.time_phase, time, fold)
    _image(labels, figure.panel((0.08, 0.325, 0.265, 0.46)), *image, fold.phase, unit)
    _growth(labels, figure.panel((0.355, 0.325, 0.085, 0.46)), fold, time)
    panels = _panels(fold)
    for box, draw in zip(_boxes(len(panels)), panels, strict=True):
        draw(labels, figure.panel(box), fold)
    lines = numbers(fold, about.row, about.header)
    half = (len(lines) + 1) // 2
    columns(labels, lines[:half], 0.02, 0.108)
    columns(labels, lines[half:], 0.3, 0.388)
    columns(labels, [*origin(about.files), *verdict(fold, about.row)], 0.6, 0.7, LETTERS)


def _drawable(fold: Fold) -> Fold:
    """The fold with axes that are some, and nothing beyond what is measured: products of others may hold anything."""
    edges = fold.time_edges if rising(fold.time_edges) else np.arange(len(fold.time_edges), dtype=np.float64)
    plane = np.ptp(tame(fold.freq_offsets)) > 0 and rising(fold.freq_offsets) and rising(1.0 / _turns(fold))
    offsets = fold.freq_offsets if plane else np.zeros(1)
    return replace(
        fold,
        width=fold.width if 0.0 < fold.width <= 1.0 else math.nan,
        phase=fold.phase if abs(fold.phase) < 1e6 else math.nan,
        profile=tame(fold.profile),
        time_phase=tame(fold.time_phase),
        freq_phase=tame(fold.freq_phase),
        time_edges=edges,
        band_freqs=fold.band_freqs if rising(fold.band_freqs) else np.full(1, math.nan),
        dms=fold.dms if rising(fold.dms) else np.zeros(1),
        dm_snr=tame(fold.dm_snr),
        dm_expected=tame(fold.dm_expected),
        freq_offsets=offsets,
        fdot_offsets=fold.fdot_offsets if rising(fold.fdot_offsets) else np.zeros(1),
        p_pdot=tame(fold.p_pdot),
    )


def _turns(fold: Fold) -> NDArray[np.float64]:
    """Frequencies of the plane [Hz], NaN where they are none of a pulsar."""
    freqs = fold.before.freq + np.asarray(fold.freq_offsets, dtype=np.float64)
    return np.where((freqs > 1e-9) & (freqs < 1e9), freqs, math.nan)


def _panels(fold: Fold) -> list[Callable[[Labels, Axes, Fold], None]]:
    """What there is to draw beside time and phase: a fold of one band has no frequencies and no DM curve."""
    panels: list[Callable[[Labels, Axes, Fold], None]] = []
    if len(fold.band_freqs) > 1 and np.all(np.isfinite(fold.band_freqs)):
        panels.append(_frequency)
    if len(fold.dms) > 1 and np.any(np.isfinite(fold.dm_snr)):
        panels.append(_dm_curve)
    if len(fold.freq_offsets) > 1:
        panels.append(_period if len(fold.fdot_offsets) < 2 else _plane)
    return panels


def _boxes(count: int) -> list[Box]:
    """Where the panels stand, so that none is left empty."""
    left, width, bottom, top = 0.53, 0.455, 0.325, 0.88
    if count == 3:
        return [
            (left, bottom, 0.185, top - bottom),
            (0.79, 0.68, 0.195, top - 0.68),
            (0.79, bottom, 0.195, 0.58 - bottom),
        ]
    if count == 2:
        return [(left, 0.66, width, top - 0.66), (left, bottom, width, 0.57 - bottom)]
    return [(left, bottom, width, top - bottom)][:count]


def _title(labels: Labels, fold: Fold, about: About) -> None:
    name, row, header = about.name("Fold"), about.row, about.header
    known = printable(str(row.get("known_source") or ""))
    labels.add(0.02, 0.96, name + (f"   {known}" if known else ""), -15)
    facts = [f"P {1e3 / fold.after.freq:.9g} ms", f"DM {fold.after.dm:.5g}", f"S/N {fold.snr:.1f}"]
    if finite(row.get("score")):
        facts.append(f"score {row['score']:.2f}")
    labels.add(0.985, 0.962, "    ".join(facts), 11, INK, "right")
    if header is not None:
        whole = math.isfinite(header.tstart) and not fold.part
        start = header.tstart if whole else fold.epoch - 0.5 * fold.tobs / DAY
        labels.add(0.02, 0.934, observed(header, row, start, fold.tobs), 8.5, SOFT)


def _twice(data: NDArray[Any], phase: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Edges [turns] and values of two turns that begin half a turn before the pulse, so that it is never cut."""
    nbins = data.shape[-1]
    first = round((phase % 1.0 - 0.5) * nbins) if math.isfinite(phase) else 0
    rolled = np.roll(np.asarray(data, dtype=np.float64), -first, axis=-1)
    return (first + np.arange(2 * nbins + 1)) / nbins, np.concatenate([rolled, rolled], axis=-1)


def _profile(labels: Labels, axes: Axes, fold: Fold) -> None:
    edges, data = _twice(fold.profile, fold.phase)
    # Artists that do not look for the limits of the axes, which are known: it would take most of the time.
    axes.add_artist(Rectangle((edges[0], -1.0), edges[-1] - edges[0], 2.0, color="#eef2f7", linewidth=0))
    low, high = extremes(data)
    for turn in (0, 1):
        left = fold.phase % 1.0 + turn - 0.5 * fold.width
        axes.add_artist(Rectangle((left, low), fold.width, high - low, color=ACCENT, alpha=0.18, linewidth=0))
    axes.add_artist(Line2D(np.repeat(edges, 2)[1:-1], np.repeat(data, 2), color=INK, linewidth=1.1))
    phases = Scale(edges[0], edges[-1], at=_PHASES, told=False)
    labels.frame(axes, "Profile, time and phase", phases, Scale(low, high, "sigma", 3))


def _line(axes: Axes, x: Any, y: Any, colour: str, width: float, dashes: Any = "-") -> None:
    """A line whose axes are not asked for their limits anew."""
    axes.add_artist(Line2D(x, y, color=colour, linewidth=width, linestyle=dashes))


def extremes(values: NDArray[Any]) -> tuple[float, float]:
    """The range of what is finite, with some room."""
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


def _summed(
    data: NDArray[Any], edges: NDArray[np.float64], fold: Fold
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows in units of their noise, coarser in both directions for a weak pulse, NaN where a row has no data.

    Rows are summed until the eye sees a pulse of the S/N of the fold in them, phases to a third of its width, of strong
    ones to a quarter.
    """
    rows = np.asarray(data, dtype=np.float64)
    most, nbins = rows.shape
    wanted = min(
        most, max(_FEWEST_ROWS, int(min(abs(fold.snr) / _ROW_SNR, 1e3) ** 2) if math.isfinite(fold.snr) else most)
    )
    together = max(1, most // wanted)
    first = np.arange(0, most, together)
    # What was not observed, or masked throughout, is 0.
    live = np.any(np.isfinite(rows) & (rows != 0.0), axis=1)
    count = np.add.reduceat(live.astype(np.float64), first)
    total = np.add.reduceat(np.where(np.isfinite(rows) & live[:, None], rows, 0.0), first, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.where(count[:, None] > 0, total / np.sqrt(count)[:, None], math.nan)
    wide = (
        max(1, int(min(abs(fold.width), 1.0) * nbins / (3 if together > 1 else 4))) if math.isfinite(fold.width) else 1
    )
    while wide > 1 and (nbins % wide or nbins // wide < _FEWEST_BINS):
        wide -= 1
    return total.reshape(len(first), -1, wide).sum(axis=2) / math.sqrt(wide), np.append(edges[first], edges[-1])


def _image(
    labels: Labels,
    axes: Axes,
    data: NDArray[Any],
    edges: NDArray[np.float64],
    start: float,
    label: str,
    heading: str = "",
) -> None:
    phase, values = _twice(data, start)
    known = values[np.isfinite(values)]
    top = float(np.percentile(known, 99.0)) if known.size else 1.0
    axes.set_facecolor(EMPTY)
    if edges[0] > edges[-1]:
        edges, values = edges[::-1], values[::-1]
    steps = np.diff(edges)
    options: dict[str, Any] = {"cmap": PAPER, "vmin": _GREY[0], "vmax": max(_GREY[1], top)}
    if np.ptp(steps) <= 0.5 * steps.mean():
        extent = (phase[0], phase[-1], edges[0], edges[-1])
        axes.imshow(values, origin="lower", aspect="auto", extent=extent, interpolation="nearest", **options)
    else:
        axes.pcolormesh(phase, edges, values, rasterized=True, **options)
    phases = Scale(phase[0], phase[-1], "phase [turns]", at=_PHASES)
    labels.frame(axes, heading, phases, Scale(edges[0], edges[-1], label, 6))


def _time_axis(edges: NDArray[np.float64]) -> tuple[NDArray[np.float64], str]:
    for limit, divisor, unit in ((300.0, 1.0, "s"), (4 * 3600.0, 60.0, "min")):
        if edges[-1] <= limit:
            return edges / divisor, f"time [{unit}]"
    return edges / 3600.0, "time [h]"


def growth(fold: Fold) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """S/N in the boxcar of the whole and reduced chi-square of the profile up to the end of each sub-integration.

    Returns
    -------
    snr, chi2 : ndarray, shape (nsubints,)
    """
    rows = np.nan_to_num(np.asarray(fold.time_phase, dtype=np.float64))
    nbins = rows.shape[1]
    live = np.maximum(np.cumsum(np.any(rows != 0.0, axis=1)), 1)
    profiles = np.cumsum(rows, axis=0) / np.sqrt(live)[:, None]
    if nbins < 2 or not math.isfinite(fold.width + fold.phase):
        return np.full(len(rows), math.nan), np.full(len(rows), math.nan)
    width = int(np.clip(round(min(abs(fold.width), 1.0) * nbins), 1, nbins - 1))
    first = round((fold.phase % 1.0) * nbins - 0.5 * width)
    inside = profiles[:, (first + np.arange(width)) % nbins].sum(axis=1)
    # Mean of 0 and noise of 1: the boxcar S/N of a profile whose mean is taken away.
    snr = (inside - profiles.sum(axis=1) * width / nbins) / math.sqrt(width * (1.0 - width / nbins))
    return snr, np.sum(profiles**2, axis=1) / (nbins - 1)


def _growth(labels: Labels, axes: Axes, fold: Fold, time: NDArray[np.float64]) -> None:
    """S/N and chi-square over time, as parts of what they come to: of a steady pulsar the one bends, the other not."""
    snr, chi2 = growth(fold)
    part = (time - time[0]) / (time[-1] - time[0])
    _line(axes, np.sqrt(part), time, SOFT, 0.8, ":")
    for values, colour, dashes in ((snr, INK, "-"), (chi2 - 1.0, ACCENT, DASHED)):
        if math.isfinite(values[-1]) and values[-1] > 0:
            _line(axes, np.append(0.0, values / values[-1]), time, colour, 1.2, dashes)
    times = Scale(time[0], time[-1], most=6, told=False)
    labels.frame(axes, "", Scale(-0.1, 1.25, "of the end", at=(0.0, 1.0)), times)
    labels.add(0.357, 0.815, "S/N —", 8, INK)
    labels.add(0.357, 0.795, "χ² – –", 8, ACCENT)


def _frequency(labels: Labels, axes: Axes, fold: Fold) -> None:
    image = _summed(fold.freq_phase, _band_edges(fold.band_freqs), fold)
    _image(labels, axes, *image, fold.phase, "frequency [MHz]", "Frequency and phase")


def _band_edges(freqs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges half-way between the bands, shape (nbands + 1,)."""
    middle = 0.5 * (freqs[1:] + freqs[:-1])
    return np.concatenate([[2 * freqs[0] - middle[0]], middle, [2 * freqs[-1] - middle[-1]]])


def _dm_curve(labels: Labels, axes: Axes, fold: Fold) -> None:
    low, high = extremes(np.concatenate([fold.dm_expected, fold.dm_snr]))
    _line(axes, fold.dms, fold.dm_expected, ACCENT, 1.3, DASHED)
    _line(axes, fold.dms, fold.dm_snr, INK, 1.3)
    _line(axes, [fold.after.dm] * 2, [low, high], SOFT, 0.8, ":")
    strength = Scale(low, high, "S/N")
    dms = Scale(fold.dms[0], fold.dms[-1], "DM [pc/cm³],  – – expected")
    labels.frame(axes, "DM curve", dms, strength)


def _period(labels: Labels, axes: Axes, fold: Fold) -> None:
    periods, best, label = _periods(fold)
    values = np.asarray(fold.p_pdot, dtype=np.float64)[0]
    low, high = extremes(values)
    _line(axes, periods, values, INK, 1.3)
    _line(axes, [0.0, 0.0], [low, high], SOFT, 0.8, ":")
    _line(axes, [best, best], [low, high], ACCENT, 1.0, DASHED)
    across = Scale(periods[-1], periods[0], f"{label}\n· · detected   – – refined")
    labels.frame(axes, "Period", across, Scale(low, high, "S/N"))


def _periods(fold: Fold) -> tuple[NDArray[np.float64], float, str]:
    """Periods less that of the detection, the refined one less it, and what the axis says."""
    freq = fold.before.freq
    periods = 1.0 / (freq + fold.freq_offsets) - 1.0 / freq
    scale, unit = _time_scale(float(np.max(np.abs(periods))))
    best = (1.0 / fold.after.freq - 1.0 / freq) * scale
    return periods * scale, best, f"P − {1e3 / freq:.8g} ms [{unit}]"


def _plane(labels: Labels, axes: Axes, fold: Fold) -> None:
    freq = fold.before.freq
    periods, best, label = _periods(fold)
    derivatives = -(fold.before.fdot + fold.fdot_offsets) / freq**2
    power = math.floor(math.log10(max(float(np.max(np.abs(derivatives))), 1e-100)))
    scale = 10.0**-power
    # Both run against the frequency offsets.
    x, y = periods[::-1], derivatives[::-1] * scale
    values = np.asarray(fold.p_pdot, dtype=np.float64)[::-1, ::-1]
    half = [0.5 * (a[-1] - a[0]) / (len(a) - 1) for a in (x, y)]
    extent = (x[0] - half[0], x[-1] + half[0], y[0] - half[1], y[-1] + half[1])
    axes.imshow(values, origin="lower", aspect="auto", extent=extent, cmap=PLANE, interpolation="nearest")
    was, now = (-p.fdot / freq**2 * scale for p in (fold.before, fold.after))
    wide = fold.freq_err / freq**2 * (x[-1] - x[0]) / max(float(np.ptp(1.0 / (freq + fold.freq_offsets))), 1e-300)
    tall = fold.fdot_err / freq**2 * scale
    if math.isfinite(wide):
        _line(axes, [best - wide, best + wide], [now, now], "white", 1.2)
    if math.isfinite(tall):
        _line(axes, [best, best], [now - tall, now + tall], "white", 1.2)
    # The cross reaches beyond the disc that may lie on it.
    for x0, y0, marker, size in ((0.0, was, "x", 11), (best, now, "o", 6)):
        axes.add_artist(
            Line2D(
                [x0], [y0], color="white", marker=marker, markerfacecolor=ACCENT, markersize=size, markeredgewidth=1.5
            )
        )
    known = values[np.isfinite(values)]
    span = f", S/N {known.min():.0f}–{known.max():.0f}" if known.size else ""
    across = Scale(*extent[:2], f"{label}\n× detected   ● refined", 3)
    labels.frame(axes, f"P and Pdot{span}", across, Scale(*extent[2:], f"Pdot [1e{power}]"))


def _time_scale(largest: float) -> tuple[float, str]:
    for limit, scale, unit in ((1e-6, 1e9, "ns"), (1e-3, 1e6, "µs"), (1.0, 1e3, "ms")):
        if largest < limit:
            return scale, unit
    return 1.0, "s"


def columns(labels: Labels, lines: Lines, x: float, indent: float, letters: int = 0, *, top: float = 0.2) -> None:
    """Names and values below the panels; with `letters`, values are broken into lines of so many."""
    shown: list[tuple[str, str]] = []
    for name, value in lines:
        told = printable(value)
        parts = textwrap.wrap(told, letters) or [""] if letters else [told]
        shown += [(name if i == 0 else "", part) for i, part in enumerate(parts)]
    if len(shown) > _LINES:
        shown = [*shown[: _LINES - 1], ("", "…")]
    for i, (name, value) in enumerate(shown):
        labels.add(x, top - _STEP * i, name, 8, SOFT)
        labels.add(indent, top - _STEP * i, value, 8, INK)
