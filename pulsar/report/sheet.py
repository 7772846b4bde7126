"""The plot sheets of a candidate and of a single pulse: all that an eye needs to judge them, on one page."""

import contextlib
import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.lines import Line2D

from pulsar.config.resources import usable_cores
from pulsar.constants import DAY
from pulsar.data.candidate import values_of
from pulsar.data.fold import Fold, PulseCutout
from pulsar.data.text import printable
from pulsar.io.product.reader import Run
from pulsar.report.figure import (
    ACCENT,
    INK,
    SOFT,
    Panel,
    Scale,
    Sheet,
    Texts,
    extremes,
    new_sheet,
    picture,
    rising,
    small_png,
    tame,
    time_unit,
)
from pulsar.report.words import About, Lines, headline, observed, sides
from pulsar_kernels.arrays import Array, Floats

#: Size of a sheet [inches]: wide enough for the numbers, and readable beside the list on a small screen.
SIZE: Final = (8.6, 6.6)
#: Its pixels in an inch, 1290 x 990 in all, as wide as the page shows it at most: a thousand sheets are about 55 MB.
RESOLUTION: Final = 150.0
#: Rows of an image are summed until a pulse has this S/N in each: weaker ones are lost in the noise to the eye,
_ROW_SNR: Final = 2.0
#: but never to fewer rows than these, nor the phases to fewer.
_FEWEST: Final = 16
#: The top of the grey scale at least [sigma]: noise stays light. Up to there grey is about linear in the signal, beyond
#: it goes with its logarithm (asinh), so that a bright pulse leaves what is faint beside it.
_GREY: Final = 4.0
#: Lines of the verdict.
_LINES: Final = 10
#: From line to line, in parts of the sheet.
_STEP: Final = 0.0196
_PHASES: Final = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
_DASHED: Final = (0, (4, 2))
#: Part of its box, either way, that the plane of period and derivative takes; the rest is that of the curves beside it.
_PLANE: Final = 0.78

Box = tuple[float, float, float, float]


def empty_sheet(resolution: float = RESOLUTION) -> Sheet:
    """A sheet of this size with nothing on it, and its pixels in an inch."""
    return new_sheet(*SIZE, resolution)


def draw(figure: Sheet, subject: Fold | PulseCutout, about: About) -> None:
    """Draw a fold or a single pulse on an empty sheet."""
    if isinstance(subject, Fold):
        _draw_fold(figure, _drawable(subject), about)
    else:
        _draw_pulse(figure, subject, about)


def _draw_fold(figure: Sheet, fold: Fold, about: About) -> None:
    labels, header = figure.labels, about.header
    known = printable(str(about.row.get("known_source") or ""))
    whole = header is not None and math.isfinite(header.tstart) and not fold.part
    start = header.tstart if header is not None and whole else fold.epoch - 0.5 * fold.tobs / DAY
    _title(labels, fold, about, about.name("Fold") + (f"   {known}" if known else ""), start, fold.tobs)
    time = fold.time_edges + fold.start
    seconds, unit = time_unit(time[-1])
    time = time / seconds
    edges, profile = _twice(fold.profile, fold.phase)
    left, top = fold.phase % 1.0 - 0.5 * fold.width, figure.panel((0.08, 0.79, 0.265, 0.09))
    span = top.steps(edges, profile, fold.width, left, left + 1.0)
    phases = Scale(edges[0], edges[-1], at=_PHASES, numbered=False)
    top.frame("Profile, time and phase", phases, Scale(*span, "sigma", 3))
    rows = _summed(fold.time_phase, time, fold)
    _rows(figure.panel((0.08, 0.325, 0.265, 0.46)), *rows, fold, f"time [{unit}]")
    _growth(figure.panel((0.355, 0.325, 0.085, 0.46)), fold, time)
    panels = _panels(fold)
    for box, draw_panel in zip(_boxes(len(panels)), panels, strict=True):
        draw_panel(figure, box, fold)
    _texts(labels, fold, about, (0.02, 0.108), (0.3, 0.388), (0.6, 0.7))


def _draw_pulse(figure: Sheet, cutout: PulseCutout, about: About) -> None:
    labels, header = figure.labels, about.header
    _title(labels, cutout, about, about.name("Pulse"), cutout.tstart, math.nan if header is None else header.tobs)
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
    wide = scale * cutout.width if 0.0 < cutout.width < 1e9 else 0.0
    time = Scale(edges[0], edges[-1], f"time at {cutout.fref:.5g} MHz [{unit}]", 6)
    series, blank = figure.panel((0.08, 0.775, width, 0.105)), Scale(edges[0], edges[-1], most=6, numbered=False)
    span = series.steps(edges, tame(cutout.profile), wide, -0.5 * wide)
    series.frame("Series, frequency and time", blank, Scale(*span, "sigma", 3))
    spectrum = figure.panel((0.08, 0.325, width, 0.445))
    band = _pulse_rows(spectrum, cutout.spectrum, edges, freqs, 98.0)
    spectrum.frame("", time, Scale(*band, "frequency [MHz]", 6))
    if dispersed:
        plane = figure.panel((0.59, 0.325, 0.395, 0.555))
        dms = _pulse_rows(plane, cutout.plane, edges, cutout.dms, 99.9)
        plane.frame("DM and time", time, Scale(*dms, "DM [pc/cm³]", 6))
        plane.line(edges[[0, -1]], [cutout.dm] * 2, ACCENT, 0.8, ":")
    _texts(labels, cutout, about, (0.02, 0.13), (0.55, 0.65))


def _title(labels: Texts, subject: Fold | PulseCutout, about: About, name: str, tstart: float, tobs: float) -> None:
    labels.add(0.02, 0.96, name, -15)
    labels.add(0.985, 0.962, "    ".join(headline(subject, about.row)), 11, INK, "right")
    if about.header is not None:
        labels.add(0.02, 0.934, observed(about.header, about.row, tstart, tobs), 8.5, SOFT)


def _texts(labels: Texts, subject: Fold | PulseCutout, about: About, *places: tuple[float, float]) -> None:
    """Names and values below the panels: what is measured in all columns but the last, what was judged in that."""
    measured, judged = sides(subject, about)
    size = -(-len(measured) // (len(places) - 1))
    for i, place in enumerate(places[:-1]):
        _column(labels, measured[i * size : (i + 1) * size], *place)
    _column(labels, judged, *places[-1], letters=43)


def _column(labels: Texts, lines: Lines, x: float, indent: float, letters: int = 0) -> None:
    """Names and values; with `letters`, values are broken into lines of so many."""
    shown: list[tuple[str, str]] = []
    for name, value in lines:
        text = printable(value)
        parts = textwrap.wrap(text, letters) or [""] if letters else [text]
        shown += [(name if i == 0 else "", part) for i, part in enumerate(parts)]
    if len(shown) > _LINES:
        shown = [*shown[: _LINES - 1], ("", "…")]
    for i, (name, value) in enumerate(shown):
        labels.add(x, 0.2 - _STEP * i, name, 8, SOFT)
        labels.add(indent, 0.2 - _STEP * i, value, 8, INK)


def _drawable(fold: Fold) -> Fold:
    """The fold with axes that are some, and nothing beyond what is measured: products of others may hold anything."""
    edges = fold.time_edges if rising(fold.time_edges) else np.arange(len(fold.time_edges), dtype=np.float64)
    plane = np.ptp(tame(fold.freq_offsets)) > 0 and rising(fold.freq_offsets) and rising(1.0 / _turns(fold))
    offsets = fold.freq_offsets if plane else np.zeros(1)
    measured = ("profile", "time_phase", "freq_phase", "dm_snr", "dm_expected", "p_pdot")
    tamed: dict[str, Any] = {name: tame(getattr(fold, name)) for name in measured}
    return replace(
        fold,
        width=fold.width if 0.0 < fold.width <= 1.0 else math.nan,
        phase=fold.phase if abs(fold.phase) < 1e6 else math.nan,
        time_edges=edges,
        band_freqs=fold.band_freqs if rising(fold.band_freqs) else np.full(1, math.nan),
        dms=fold.dms if rising(fold.dms) else np.zeros(1),
        freq_offsets=offsets,
        fdot_offsets=fold.fdot_offsets if rising(fold.fdot_offsets) else np.zeros(1),
        **tamed,
    )


def _turns(fold: Fold) -> Floats:
    """Frequencies of the plane [Hz], NaN where they are none of a pulsar."""
    freqs = fold.before.freq + np.asarray(fold.freq_offsets, dtype=np.float64)
    return np.where((freqs > 1e-9) & (freqs < 1e9), freqs, math.nan)


def _panels(fold: Fold) -> list[Callable[[Sheet, Box, Fold], None]]:
    """Panels beside time and phase: a fold of one band has no frequencies and no DM curve."""
    shown = {
        _frequency: len(fold.band_freqs) > 1 and np.all(np.isfinite(fold.band_freqs)),
        _dm_curve: len(fold.dms) > 1 and np.any(np.isfinite(fold.dm_snr)),
        _period if len(fold.fdot_offsets) < 2 else _plane: len(fold.freq_offsets) > 1,
    }
    return [panel for panel, there in shown.items() if there]


def _boxes(count: int) -> list[Box]:
    """Places of the panels, so that none is left empty."""
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


def _twice(data: Array, phase: float) -> tuple[Floats, Floats]:
    """Edges [turns] and values of two turns that begin half a turn before the pulse, so that it is never cut."""
    nbins = data.shape[-1]
    first = round((phase % 1.0 - 0.5) * nbins) if math.isfinite(phase) else 0
    rolled = np.roll(np.asarray(data, dtype=np.float64), -first, axis=-1)
    return (first + np.arange(2 * nbins + 1)) / nbins, np.concatenate([rolled, rolled], axis=-1)


def _summed(data: Array, edges: Floats, fold: Fold) -> tuple[Floats, Floats]:
    """Rows in units of their noise, coarser in both directions for a weak pulse, NaN where a row has no data.

    Rows are summed until the eye sees a pulse of the S/N of the fold in them, phases to a third of its width, of strong
    ones to a quarter.
    """
    rows = np.asarray(data, dtype=np.float64)
    most, nbins = rows.shape
    seen = int(min(abs(fold.snr) / _ROW_SNR, 1e3) ** 2) if math.isfinite(fold.snr) else most
    wanted = min(most, max(_FEWEST, seen))
    together = max(1, most // wanted)
    first = np.arange(0, most, together)
    # What was not observed, or masked throughout, is 0.
    live = np.any(np.isfinite(rows) & (rows != 0.0), axis=1)
    count = np.add.reduceat(live.astype(np.float64), first)
    total = np.add.reduceat(np.where(np.isfinite(rows) & live[:, None], rows, 0.0), first, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.where(count[:, None] > 0, total / np.sqrt(count)[:, None], math.nan)
    width = min(abs(fold.width), 1.0) if math.isfinite(fold.width) else 0.0
    wide = max(1, int(width * nbins / (3 if together > 1 else 4)))
    while wide > 1 and (nbins % wide or nbins // wide < _FEWEST):
        wide -= 1
    return total.reshape(len(first), -1, wide).sum(axis=2) / math.sqrt(wide), np.append(edges[first], edges[-1])


def _rows(panel: Panel, data: Array, edges: Floats, fold: Fold, label: str, heading: str = "") -> None:
    """Rows of a fold, of two turns each."""
    phase, values = _twice(data, fold.phase)
    known = values[np.isfinite(values)]
    # Rows have a mean of 0: beside a bright pulse noise lies below it.
    level, top = np.percentile(known, [50.0, 99.9]) if known.size else (0.0, 1.0)
    low, high = np.arcsinh(np.array([-1.0, max(_GREY, top - level)]) / _GREY)
    panel.image(np.arcsinh((values - level) / _GREY), phase, edges, low, high)
    across = Scale(phase[0], phase[-1], "phase [turns]", at=_PHASES)
    panel.frame(heading, across, Scale(min(edges), max(edges), label, 6))


def _pulse_rows(panel: Panel, data: Array, times: Floats, middles: Floats, percentile: float) -> tuple[float, float]:
    """Rows of a cut-out over time, the grey scale up to a percentile; from where to where the rows go."""
    values, edges = tame(data), _edges(middles)
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, [2.0, percentile]) if known.size else (0.0, 1.0)
    panel.image(values, times, edges, low, max(high, low + 1.0, _GREY))
    return min(edges), max(edges)


def growth(fold: Fold) -> tuple[Floats, Floats]:
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


def _growth(panel: Panel, fold: Fold, time: Floats) -> None:
    """S/N and chi-square over time, as parts of what they come to: of a steady pulsar the one bends, the other not."""
    snr, chi2 = growth(fold)
    part = (time - time[0]) / (time[-1] - time[0])
    panel.line(np.sqrt(part), time, SOFT, 0.8, ":")
    for values, colour, dashes in ((snr, INK, "-"), (chi2 - 1.0, ACCENT, _DASHED)):
        if math.isfinite(values[-1]) and values[-1] > 0:
            panel.line(np.append(0.0, values / values[-1]), time, colour, 1.2, dashes)
    times = Scale(time[0], time[-1], most=6, numbered=False)
    panel.frame("", Scale(-0.1, 1.25, "of the end", at=(0.0, 1.0)), times)
    panel.write(0.024, 1.065, "S/N —", INK)
    panel.write(0.024, 1.022, "χ² – –", ACCENT)


def _frequency(figure: Sheet, box: Box, fold: Fold) -> None:
    image = _summed(fold.freq_phase, _edges(fold.band_freqs), fold)
    _rows(figure.panel(box), *image, fold, "frequency [MHz]", "Frequency and phase")


def _edges(middles: Floats) -> Floats:
    """Edges half-way between rows, shape (n + 1,)."""
    if len(middles) < 2:
        return np.array([middles[0] - 0.5, middles[0] + 0.5])
    inner = 0.5 * (middles[1:] + middles[:-1])
    return np.concatenate([[2 * middles[0] - inner[0]], inner, [2 * middles[-1] - inner[-1]]])


def _dm_curve(figure: Sheet, box: Box, fold: Fold) -> None:
    panel = figure.panel(box)
    low, high = extremes(np.concatenate([fold.dm_expected, fold.dm_snr]))
    panel.line(fold.dms, fold.dm_expected, ACCENT, 1.3, _DASHED)
    panel.line(fold.dms, fold.dm_snr, INK, 1.3)
    panel.line([fold.after.dm] * 2, [low, high], SOFT, 0.8, ":")
    strength = Scale(low, high, "S/N")
    dms = Scale(fold.dms[0], fold.dms[-1], "DM [pc/cm³],  – – expected")
    panel.frame("DM curve", dms, strength)


def _period(figure: Sheet, box: Box, fold: Fold) -> None:
    panel = figure.panel(box)
    periods, best, label = _periods(fold)
    values = np.asarray(fold.p_pdot, dtype=np.float64)[0]
    low, high = extremes(values)
    panel.line(periods, values, INK, 1.3)
    panel.line([0.0, 0.0], [low, high], SOFT, 0.8, ":")
    panel.line([best, best], [low, high], ACCENT, 1.0, _DASHED)
    across = Scale(periods[-1], periods[0], f"{label}\n· · detected   – – refined")
    panel.frame("Period", across, Scale(low, high, "S/N"))


def _periods(fold: Fold) -> tuple[Floats, float, str]:
    """Periods less that of the detection, the refined one less it, and what the axis says."""
    freq = fold.before.freq
    periods = 1.0 / (freq + fold.freq_offsets) - 1.0 / freq
    scale, unit = _time_scale(float(np.max(np.abs(periods))))
    best = (1.0 / fold.after.freq - 1.0 / freq) * scale
    return periods * scale, best, f"P − {1e3 / freq:.8g} ms [{unit}]"


def _plane(figure: Sheet, box: Box, fold: Fold) -> None:
    """S/N over period and derivative; above and beside it of each alone, through the refined other."""
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
    left, bottom, width, height = box
    across, up = _PLANE * width, _PLANE * height
    panel = figure.panel((left, bottom, across, up))
    panel.pixels(values, extent, "viridis", None, None)
    was, now = (-p.fdot / freq**2 * scale for p in (fold.before, fold.after))
    wide = fold.freq_err / freq**2 * (x[-1] - x[0]) / max(float(np.ptp(1.0 / (freq + fold.freq_offsets))), 1e-300)
    tall = fold.fdot_err / freq**2 * scale
    if math.isfinite(wide):
        panel.line([best - wide, best + wide], [now, now], "white", 1.2)
    if math.isfinite(tall):
        panel.line([best, best], [now - tall, now + tall], "white", 1.2)
    # The cross reaches beyond the disc that may lie on it.
    for x0, y0, marker, size in ((0.0, was, "x", 11), (best, now, "o", 6)):
        cross = Line2D([x0], [y0], color="white", marker=marker, markersize=size, markeredgewidth=1.5)
        cross.set_markerfacecolor(ACCENT)
        panel.axes.add_artist(cross)
    known = values[np.isfinite(values)]
    span = f", S/N {known.min():.0f}–{known.max():.0f}" if known.size else ""
    panel.frame("", Scale(*extent[:2], f"{label}\n× detected   ● refined", 3), Scale(*extent[2:], f"Pdot [1e{power}]"))
    strength = extremes(values)
    above = figure.panel((left, bottom + up, across, height - up))
    above.line(x, values[np.argmin(np.abs(y - now))], INK, 1.1)
    above.frame(f"P and Pdot{span}", Scale(*extent[:2], most=0), Scale(*strength, "S/N", 2))
    beside = figure.panel((left + across, bottom, width - across, up))
    beside.line(values[:, np.argmin(np.abs(x - best))], y, INK, 1.1)
    beside.frame("", Scale(*strength, most=0), Scale(*extent[2:], most=0))


def _time_scale(largest: float) -> tuple[float, str]:
    for limit, scale, unit in ((1e-6, 1e9, "ns"), (1e-3, 1e6, "µs"), (1.0, 1e3, "ms")):
        if largest < limit:
            return scale, unit
    return 1.0, "s"


#: Width and height of a sheet [pixels].
PIXELS: Final = [round(inches * RESOLUTION) for inches in SIZE]


@dataclass(frozen=True)
class Task:
    """A sheet to draw."""

    run: int  # Number of the run
    ident: str  # Candidate, or single pulse
    pulse: bool = False  # True for a single pulse


@dataclass(frozen=True)
class Drawn:
    """A sheet, and what it says."""

    image: dict[str, bytes]  # By format: "png", and "pdf" or "svg" where asked for
    lines: Lines  # Names and values
    numbers: str  # The most important of them, for those who do not see it


def plot(subject: Fold | PulseCutout, about: About | None = None) -> Sheet:
    """Draw the plot sheet of a fold, or of a single pulse.

    Parameters
    ----------
    subject : Fold or PulseCutout
        Refined fold, from ``run.fold("c0001")`` or ``pulsar.fold(...)``; or what surrounds a pulse.
    about : About, optional
        What the sheet tells beside.

    Returns
    -------
    Sheet
        A matplotlib figure that displays itself in notebooks.
    """
    paper = empty_sheet()
    draw(paper, subject, about or About())
    return paper


def draw_all(
    runs: Sequence[Run],
    tasks: Sequence[Task],
    *,
    vector: str = "",
    workers: int | None = None,
    tick: Callable[[float], None] | None = None,
) -> Iterator[Drawn]:
    """Draw sheets, in the order of the tasks.

    Parameters
    ----------
    vector : {"", "pdf", "svg"}
        A format in which they are drawn, too.
    workers : int, optional
        Processes; None: one a core, as far as there is enough to do.
    tick : callable, optional
        Called with 1 after each sheet.
    """
    # Sheets for which a process more is worth its start: a second of processor, and a sheet takes a twelfth of one.
    wanted = min(usable_cores(), len(tasks) // 24) if workers is None else workers
    # Begun afresh: a copy of this process could hold locks of threads that it does not have.
    begin = (wanted, get_context("spawn"), _begin, (tuple(runs), vector))
    with contextlib.ExitStack() as open_pool:
        if wanted > 1:
            pool = open_pool.enter_context(ProcessPoolExecutor(*begin))
            # Sheets that are handed to a process at a time.
            sheets = pool.map(_draw, tasks, chunksize=8)
        else:
            sheets = map(Desk(runs, vector).drawn, tasks)
        for drawn in sheets:
            yield drawn
            if tick is not None:
                tick(1)


class Desk:
    """All that a process needs to draw sheets of some runs: tables are read, and the sheet made, once.

    Parameters
    ----------
    vector : {"", "pdf", "svg"}
        A format in which they are drawn, too.
    resolution : float
        Pixels in an inch.
    """

    def __init__(self, runs: Sequence[Run], vector: str = "", resolution: float = RESOLUTION) -> None:
        self._runs, self._vector = runs, vector
        self._sheet = empty_sheet(resolution)
        self._rows, self._files = cache(self._rows_of), cache(self._files_of)

    def _rows_of(self, run: int, pulses: bool) -> dict[str, Any]:
        rows = self._runs[run].rows("single_pulses" if pulses else "candidates")
        return {str(row["id"]): row for row in rows}

    def _files_of(self, run: int, obs: int) -> tuple[Path, ...]:
        return self._runs[run].files_of(obs) if obs >= 0 else ()

    def subject(self, task: Task) -> tuple[Fold | PulseCutout, About]:
        """A fold or pulse, and what its sheet tells beside."""
        run, found = self._runs[task.run], self._rows(task.run, task.pulse).get(task.ident)
        row = {"id": task.ident} if found is None else values_of(found)
        about = About(row, run.observation_of(row), files=self._files(task.run, int(row.get("obs", -1))))
        return run.pulse(task.ident) if task.pulse else run.fold(task.ident), about

    def drawn(self, task: Task) -> Drawn:
        """Draw a sheet."""
        subject, about = self.subject(task)
        paper = self._sheet.wiped()
        draw(paper, subject, about)
        images = {"png": small_png(paper)}
        if self._vector:
            images[self._vector] = picture(paper, self._vector)
        measured, judged = sides(subject, about)
        return Drawn(images, [*measured, *judged], ", ".join(headline(subject, about.row)))


_desk: Desk | None = None


def _begin(runs: Sequence[Run], vector: str) -> None:
    global _desk
    _desk = Desk(runs, vector)


def _draw(task: Task) -> Drawn:
    if _desk is None:
        raise RuntimeError("no runs were given to this process")
    return _desk.drawn(task)
