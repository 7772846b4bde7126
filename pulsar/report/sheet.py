"""The plot sheet of a candidate: all that an eye needs to judge it, on one page."""

import io
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.ticker import MaxNLocator, MultipleLocator
from numpy.typing import NDArray

from pulsar.constants import DAY, C
from pulsar.data.direction import dms, galactic, hms
from pulsar.data.fold import Fold
from pulsar.data.header import Header
from pulsar.data.text import literal

INK = "#14213d"
ACCENT = "#d1495b"
SOFT = "#6b7a90"
FILL = "#9fb8d9"

#: White to ink: weak structure stays visible and prints well.
PAPER = LinearSegmentedColormap.from_list("paper", ["#ffffff", "#d3dfee", "#7d9cc4", "#32568c", INK])

DPI = 110


class Sheet(Figure):
    """A figure that shows itself in a notebook, whatever the plotting backend there."""

    def _repr_png_(self) -> bytes:
        return png(self)


def plot(
    fold: Fold,
    candidate: Mapping[str, Any] | None = None,
    header: Header | None = None,
    *,
    title: str | None = None,
    path: Path | str | None = None,
) -> Sheet:
    """Draw the plot sheet of a fold.

    Parameters
    ----------
    fold : Fold
        Refined fold, from ``run.fold("c0001")`` or ``pulsar.fold(...)``.
    candidate : mapping, optional
        Row of the candidates table (``run.candidate("c0001")``): adds what the search knows.
    header : Header, optional
        Header of the observation of the candidate (``run.observation_of("c0001")``).
    title : str, optional
        In place of the id of the candidate.
    path : Path or str, optional
        Also write the sheet there, as PNG.

    Returns
    -------
    Sheet
        A matplotlib figure that displays itself in notebooks.
    """
    row: dict[str, Any] = dict(candidate or {})
    figure = Sheet(figsize=(12.0, 8.2), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    top, bottom = 0.87, 0.07
    left = GridSpec(
        2, 1, figure=figure, left=0.055, right=0.32, top=top, bottom=bottom, height_ratios=(1, 2.6), hspace=0.1
    )
    middle = GridSpec(
        2, 1, figure=figure, left=0.385, right=0.65, top=top, bottom=bottom, height_ratios=(2, 1), hspace=0.3
    )
    right = GridSpec(
        2, 1, figure=figure, left=0.715, right=0.94, top=top, bottom=bottom, height_ratios=(1.45, 1), hspace=0.25
    )
    _title(figure, fold, row, header, title)
    profile = figure.add_subplot(left[0])
    _profile(profile, fold)
    _image(figure.add_subplot(left[1], sharex=profile), fold.time_phase, fold.phase, *_time_axis(fold.time_edges), "")
    bands = figure.add_subplot(middle[0])
    if len(fold.band_freqs) > 1 and np.all(np.isfinite(fold.band_freqs)):
        edges = _band_edges(fold.band_freqs)
        _image(bands, fold.freq_phase, fold.phase, edges, "frequency [MHz]", "Frequency and phase")
    else:
        _empty(bands, "Frequency and phase", "a dedispersed series: one band")
    _dm_curve(figure.add_subplot(middle[1]), fold)
    _plane(figure.add_subplot(right[0]), fold)
    _numbers(figure.add_subplot(right[1]), fold, row, header)
    if path is not None:
        save(figure, Path(path))
    return figure


def png(figure: Figure) -> bytes:
    """The figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write the figure as PNG, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(png(figure))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _title(figure: Figure, fold: Fold, row: Mapping[str, Any], header: Header | None, title: str | None) -> None:
    name = title or literal(str(row.get("id") or "Fold"))
    known = literal(str(row.get("known_source") or ""))
    figure.text(0.055, 0.945, name + (f"   {known}" if known else ""), fontsize=19, weight="bold", color=INK)
    facts = [f"P {1e3 / fold.after.freq:.9g} ms", f"DM {fold.after.dm:.5g} pc cm$^{{-3}}$", f"S/N {fold.snr:.1f}"]
    if _finite(row.get("score")):
        facts.append(f"score {row['score']:.2f}")
    figure.text(0.975, 0.948, "     ".join(facts), fontsize=13, color=INK, ha="right")
    if header is not None:
        start = header.tstart if math.isfinite(header.tstart) else fold.epoch - 0.5 * fold.tobs / DAY
        figure.text(0.055, 0.915, observed(header, row, start, fold.tobs), fontsize=9.5, color=SOFT)


def observed(header: Header, row: Mapping[str, Any], tstart: float, tobs: float) -> str:
    """One line of what was observed: source, telescope and beam, start, length, band, sampling; no unknown ones.

    Parameters
    ----------
    header : Header
        Of the observation of the row.
    row : mapping
        Of candidates or single pulses: its beam is taken where the header has none.
    tstart : float
        Start, MJD (UTC).
    tobs : float
        Length [s].
    """
    number = int(row.get("beam", -1)) if header.beam is None else header.beam
    parts = [literal(header.source or "unnamed source"), literal(telescope(header))]
    parts[1] += f", beam {number}" if number >= 0 else ""
    if math.isfinite(tstart):
        parts.append(f"MJD {tstart:.6f}")
    if math.isfinite(tobs):
        parts.append(f"{tobs:.5g} s")
    if header.is_series:
        parts.append("dedispersed series")
    elif math.isfinite(header.fch1):
        parts.append(f"{header.freqs[-1]:.5g}–{header.freqs[0]:.5g} MHz")
    if math.isfinite(header.tsamp):
        parts.append(f"{1e6 * header.tsamp:.6g} µs")
    return "   ·   ".join(parts)


def telescope(header: Header) -> str:
    """Its name."""
    return header.telescope or "unknown telescope"


def position(header: Header | None, row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values of where a row lies on the sky: its own position, and that of the beam where it is another."""
    own = tuple(float(row.get(key, math.nan)) for key in ("ra_deg", "dec_deg"))
    beam = (math.nan, math.nan) if header is None else (header.ra_deg, header.dec_deg)
    own = own if all(map(math.isfinite, own)) else beam
    if not all(map(math.isfinite, own)):
        return []
    longitude, latitude = galactic(*own)
    lines = [
        ("position", f"{hms(own[0])}  {dms(own[1])}"),
        ("galactic", f"l {float(longitude):.4f}°  b {float(latitude):+.4f}°"),
    ]
    nbeams = int(row.get("nbeams", 0))
    if nbeams > 1:
        lines.append(("seen in", f"{nbeams} beams, best in {row.get('beam', '?')}"))
    # To less than the digits shown it is the beam's.
    if all(map(math.isfinite, beam)) and math.dist(own, beam) > 1e-4:
        lines.append(("beam centre", f"{hms(beam[0])}  {dms(beam[1])}"))
    return lines


def _style(axes: Axes, heading: str) -> None:
    if heading:
        axes.set_title(heading, loc="left", fontsize=10, color=INK, weight="bold", pad=5)
    axes.tick_params(labelsize=8.5, colors=SOFT, length=3)
    for side in axes.spines.values():
        side.set_color("#c4ccd8")
    axes.xaxis.label.set(color=SOFT, fontsize=9)
    axes.yaxis.label.set(color=SOFT, fontsize=9)


def _twice(data: NDArray[Any], phase: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Edges [turns] and values of two turns that begin half a turn before the pulse, so that it is never cut."""
    nbins = data.shape[-1]
    first = round((phase % 1.0 - 0.5) * nbins) if math.isfinite(phase) else 0
    rolled = np.roll(np.asarray(data, dtype=np.float64), -first, axis=-1)
    return (first + np.arange(2 * nbins + 1)) / nbins, np.concatenate([rolled, rolled], axis=-1)


def _profile(axes: Axes, fold: Fold) -> None:
    edges, data = _twice(fold.profile, fold.phase)
    axes.axhspan(-1, 1, color="#eef2f7", zorder=0)
    axes.stairs(data, edges, baseline=float(np.nanmin(data)), fill=True, color=FILL, alpha=0.45)
    axes.stairs(data, edges, baseline=None, color=INK, linewidth=1.2)
    for turn in (0, 1):
        centre = fold.phase % 1.0 + turn
        axes.axvspan(centre - fold.width / 2, centre + fold.width / 2, color=ACCENT, alpha=0.13, linewidth=0)
    axes.set(xlim=(edges[0], edges[-1]), xlabel="", ylabel="intensity [sigma]")
    axes.tick_params(labelbottom=False)
    _style(axes, "Profile, and time and phase")


def _image(axes: Axes, data: NDArray[Any], start: float, edges: NDArray[Any], label: str, heading: str) -> None:
    phase, values = _twice(data, start)
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, [2.0, 99.7]) if finite.size else (0.0, 1.0)
    low = max(low, -2.0)
    if not high > low:
        high = low + 1.0
    axes.set_facecolor("#f1efe9")
    order = np.argsort(edges)
    if edges[0] > edges[-1]:
        edges, values = edges[order], values[::-1]
    axes.pcolormesh(phase, edges, values, cmap=PAPER, vmin=low, vmax=high, rasterized=True)
    axes.set(xlim=(phase[0], phase[-1]), ylim=(edges[0], edges[-1]), xlabel="phase [turns]", ylabel=label)
    axes.xaxis.set_major_locator(MultipleLocator(0.5))
    _style(axes, heading)


def _time_axis(edges: NDArray[np.float64]) -> tuple[NDArray[np.float64], str]:
    for limit, divisor, unit in ((300.0, 1.0, "s"), (4 * 3600.0, 60.0, "min")):
        if edges[-1] <= limit:
            return edges / divisor, f"time [{unit}]"
    return edges / 3600.0, "time [h]"


def _band_edges(freqs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges half-way between the bands, shape (nbands + 1,)."""
    middle = 0.5 * (freqs[1:] + freqs[:-1])
    return np.concatenate([[2 * freqs[0] - middle[0]], middle, [2 * freqs[-1] - middle[-1]]])


def _dm_curve(axes: Axes, fold: Fold) -> None:
    if len(fold.dms) < 2 or not np.any(np.isfinite(fold.dm_snr)):
        _empty(axes, "DM curve", "one band or one DM: no curve")
        return
    axes.plot(fold.dms, fold.dm_expected, color=ACCENT, linewidth=1.4, linestyle=(0, (4, 2)), label="expected")
    axes.plot(fold.dms, fold.dm_snr, color=INK, linewidth=1.5, label="measured")
    axes.axvline(fold.after.dm, color=SOFT, linewidth=0.8, linestyle=":")
    axes.set(xlim=(fold.dms[0], fold.dms[-1]), xlabel="DM [pc cm$^{-3}$]", ylabel="S/N")
    axes.legend(fontsize=8, frameon=False, labelcolor=SOFT, loc="best")
    _style(axes, "DM curve")


def _plane(axes: Axes, fold: Fold) -> None:
    freq = fold.before.freq
    if len(fold.freq_offsets) < 2:
        _empty(axes, "Period and derivative", "the period was not refined")
        return
    periods = 1.0 / (freq + fold.freq_offsets) - 1.0 / freq
    scale, unit = _time_scale(float(np.max(np.abs(periods))))
    best = 1.0 / fold.after.freq - 1.0 / freq
    label = f"period − {1e3 / freq:.9g} ms  [{unit}]"
    values = np.asarray(fold.p_pdot, dtype=np.float64)
    if len(fold.fdot_offsets) < 2:
        axes.plot(periods * scale, values[0], color=INK, linewidth=1.5)
        axes.axvline(best * scale, color=ACCENT, linewidth=1.0, linestyle=":")
        axes.set(xlabel=label, ylabel="S/N")
        axes.margins(x=0)
        _style(axes, "Period")
        return
    accels = -C * (fold.before.fdot + fold.fdot_offsets) / freq
    kilo = 1e-3 if float(np.max(np.abs(accels))) >= 1e4 else 1.0
    # pcolormesh wants ascending axes for a plain view; both run against the frequency offsets.
    x, y, z = periods[::-1] * scale, accels[::-1] * kilo, values[::-1, ::-1]
    mesh = axes.pcolormesh(x, y, z, cmap="viridis", shading="nearest", rasterized=True)
    error = fold.freq_err / fold.after.freq**2 * scale if math.isfinite(fold.freq_err) else 0.0
    height = C * fold.fdot_err / freq * kilo if math.isfinite(fold.fdot_err) else 0.0
    axes.errorbar(
        best * scale, -C * fold.after.fdot / freq * kilo, xerr=error, yerr=height, fmt="o", color="white",
        markerfacecolor=ACCENT, markersize=7, elinewidth=1.3, capsize=0,
    )  # fmt: skip
    axes.set(
        xlim=(x[0], x[-1]),
        ylim=(y[0], y[-1]),
        xlabel=label,
        ylabel=f"acceleration [{'km' if kilo < 1 else 'm'} s$^{{-2}}$]",
    )
    axes.xaxis.set_major_locator(MaxNLocator(5))
    bar = axes.figure.colorbar(mesh, cax=axes.inset_axes((1.025, 0.0, 0.035, 1.0)))
    bar.ax.tick_params(labelsize=8, colors=SOFT, length=2)
    bar.outline.set_visible(False)
    bar.set_label("S/N", color=SOFT, fontsize=9)
    _style(axes, "Period and derivative")


def _empty(axes: Axes, heading: str, text: str) -> None:
    axes.set(xticks=[], yticks=[])
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=SOFT, fontsize=9)
    _style(axes, heading)


def _time_scale(largest: float) -> tuple[float, str]:
    for limit, scale, unit in ((1e-6, 1e9, "ns"), (1e-3, 1e6, "µs"), (1.0, 1e3, "ms")):
        if largest < limit:
            return scale, unit
    return 1.0, "s"


def numbers(fold: Fold, row: Mapping[str, Any], header: Header | None) -> list[tuple[str, str]]:
    """Names and values in the numbers panel; what is unknown is left out."""
    freq, fdot = fold.after.freq, fold.after.fdot
    lines = [
        ("period", f"{_pm(1e3 / freq, 1e3 * fold.freq_err / freq**2)} ms"),
        ("frequency", f"{_pm(freq, fold.freq_err)} Hz"),
        ("derivative", f"{_pm(fdot, fold.fdot_err)} Hz/s"),
        ("acceleration", f"{_pm(-C * fdot / freq, C * fold.fdot_err / freq)} m/s²"),
        ("DM", f"{_pm(fold.after.dm, fold.dm_err)} pc/cm³"),
        ("folded S/N", f"{fold.snr:.1f}    reduced χ² {fold.chi2_red:.2f}"),
        ("duty cycle", f"{fold.width:.3f}"),
    ]
    if _finite(row.get("sigma")):
        lines.append(("detection", f"{row['sigma']:.1f} σ, {row.get('nharm', '?')} harmonics"))
    if _finite(row.get("period_bary")):
        lines.append(("barycentric", f"{1e3 * row['period_bary']:.9g} ms"))
    lines.append(("epoch", f"MJD {fold.epoch:.8f} UTC"))
    lines += position(header, row)
    for key, label in (("harmonic_of", "harmonic of"), ("rfi_flags", "suspicion")):
        if row.get(key):
            lines.append((label, str(row[key])[:44]))
    return lines


def _numbers(axes: Axes, fold: Fold, row: Mapping[str, Any], header: Header | None) -> None:
    axes.set_axis_off()
    lines = numbers(fold, row, header)
    step = min(0.092, 1.0 / len(lines))
    for i, (name, value) in enumerate(lines):
        y = 0.97 - step * i
        axes.text(0.0, y, name, transform=axes.transAxes, fontsize=9, color=SOFT, va="top")
        axes.text(0.34, y, literal(value), transform=axes.transAxes, fontsize=9.5, color=INK, va="top")


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _pm(value: float, error: float) -> str:
    """Value and error to two digits of the error."""
    if not math.isfinite(value):
        return "unknown"
    if not (math.isfinite(error) and error > 0):
        return f"{value:.10g}"
    power = math.floor(math.log10(max(abs(value), error)))
    if power < -4 or power > 9:
        scaled = 10.0**-power
        digits = max(0, 1 - math.floor(math.log10(error * scaled)))
        return f"({value * scaled:.{digits}f} ± {error * scaled:.{digits}f})e{power}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{digits}f} ± {error:.{digits}f}"
