"""Pictures of what became of injected signals: recall by what they were, the S/N kept, reliability, limits on flux."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from pulsar.data.injected import recall, reliability
from pulsar.report.figure import ACCENT, FILL, INK, SOFT, Sheet, empty, new_sheet, style, tame

#: Kind of signal -> its name, colour and mark.
_KINDS: Final = {"pulsar": ("pulsars", INK, "o"), "burst": ("bursts", ACCENT, "s")}
#: Bins of quantities other than the S/N, no more, of no fewer signals each.
_MOST_BINS: Final = 8
_LEAST_IN_BIN: Final = 8
#: By what, its name, on which scale, and the words at the axis.
_BY: Final = (
    ("snr", "S/N", "linear", "S/N injected"),
    ("period", "period", "log", "period [s]"),
    ("dm", "DM", "linear", "DM [pc cm$^{-3}$]"),
    ("width", "width", "log", "width [s]"),
)


def plot_completeness(injected: NDArray[Any], rows: NDArray[Any]) -> Sheet:
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
    figure = new_sheet(12.0, 7.0)
    panels = figure.subplots(2, 3).ravel()
    for axes, (by, name, scale, words) in zip(panels, _BY, strict=False):
        _recall(axes, injected, by, scale)
        axes.set_xlabel(words)
        style(axes, f"Recall by {name}")
    _kept(panels[4], injected)
    _reliability(panels[5], rows)
    figure.set_layout_engine("tight")
    return figure


def _tame(table: NDArray[Any]) -> NDArray[Any]:
    """A table in which what no measurement gives is NaN: numbers that are too large, and S/N that are not positive."""
    out = table.copy()
    for name in table.dtype.names or ():
        if table.dtype[name].kind == "f":
            values = tame(table[name])
            out[name] = np.where(values > 0.0, values, np.nan) if "snr" in name or "flux" in name else values
    return out


def _of(table: NDArray[Any], kind: str) -> NDArray[Any]:
    return np.asarray(table[table["kind"] == kind])


def _recall(axes: Axes, injected: NDArray[Any], by: str, scale: str) -> None:
    """Found over injected in bins of a column."""
    drawn = False
    for kind, (name, colour, mark) in _KINDS.items():
        mine = _of(injected, kind)
        values = mine[by]
        there = np.isfinite(values) & ((values > 0.0) | (scale != "log"))
        mine, values = mine[there], values[there]
        if not mine.size:
            continue
        told = recall(mine, by, None if by == "snr" else _edges(values))
        there = told["tried"] > 0
        low, high = told["low"], told["high"]
        middle = np.sqrt(low * high) if scale == "log" else 0.5 * (low + high)
        across = np.clip(np.array([middle - low, high - middle]), 0.0, None)[:, there]
        axes.errorbar(
            middle[there], told["recall"][there],
            yerr=_intervals(told, "recall")[:, there], xerr=across, color=colour, fmt=mark,
            markersize=4, linewidth=1.0, label=name,
        )  # fmt: skip
        drawn = True
    if not drawn:
        empty(axes, "", "nothing was injected")
        return
    axes.set(xscale=scale, ylabel="found / injected", ylim=(-0.03, 1.03))
    if by == "snr":
        axes.legend(fontsize=8, frameon=False, labelcolor=SOFT, loc="lower right")


def _intervals(told: NDArray[Any], share: str) -> NDArray[np.float64]:
    """How far the 68 % interval goes below and above each share."""
    below, above = told[share] - told[f"{share}_low"], told[f"{share}_high"] - told[share]
    return np.asarray(np.clip([below, above], 0.0, None), dtype=np.float64)


def _edges(values: NDArray[np.float64]) -> Sequence[float]:
    """Bins of as many signals each."""
    count = int(np.clip(values.size // _LEAST_IN_BIN, 1, _MOST_BINS))
    edges = np.unique(np.quantile(values, np.linspace(0.0, 1.0, count + 1)))
    return edges.tolist() if edges.size > 1 else [float(edges[0]), float(np.nextafter(edges[0], np.inf))]


def _kept(axes: Axes, injected: NDArray[Any]) -> None:
    """What the list has of the S/N."""
    found = injected[injected["found"] == 1]
    heading = "S/N on the list over S/N injected"
    if not found.size:
        empty(axes, heading, "nothing was found")
        return
    for kind, (name, colour, mark) in _KINDS.items():
        mine = _of(found, kind)
        if mine.size:
            ratio = mine["listed_snr"] / mine["snr"]
            axes.plot(mine["snr"], ratio, mark, color=colour, markersize=3, alpha=0.5, label=name)
            axes.axhline(_median(ratio), color=colour, linewidth=1.0)
    axes.axhline(1.0, color=FILL, linewidth=0.8, zorder=0)
    axes.set(xlabel="S/N injected", ylabel="listed / injected", ylim=(0.0, None))
    style(axes, heading)


def _reliability(axes: Axes, rows: NDArray[Any]) -> None:
    """Of the rows that the injections made, how many are true, by score."""
    heading = "Reliability by score"
    if not (rows["origin"] != "sky").any():
        empty(axes, heading, "the injected signals made no rows")
        return
    for kind, (name, colour, mark) in _KINDS.items():
        told = reliability(_of(rows, kind))
        there = told["injected"] + told["other"] > 0
        middle = 0.5 * (told["low"] + told["high"])
        spread = _intervals(told, "reliability")
        across = np.array([middle - told["low"], told["high"] - middle])
        axes.errorbar(
            middle[there], told["reliability"][there],
            yerr=spread[:, there], xerr=across[:, there], color=colour, fmt=mark,
            markersize=4, linewidth=1.0, label=name,
        )  # fmt: skip
    axes.plot([0, 1], [0, 1], color=FILL, linewidth=0.8, zorder=0)
    axes.set(xlabel="score", ylabel="injected / rows", xlim=(0.0, 1.0), ylim=(-0.03, 1.03))
    style(axes, heading)


def plot_limits(limits: NDArray[Any]) -> Sheet:
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
    figure = new_sheet(9.0, 5.0)
    axes = figure.subplots()
    duties = sorted(set(limits["duty"].tolist()))
    for k, duty in enumerate(duties):
        mine = limits[limits["duty"] == duty]
        periods = np.array(sorted(set(mine["period"].tolist())))
        shade = 1.0 - 0.65 * k / max(len(duties) - 1, 1)
        for name, dashes in (("flux_most", "-"), ("flux_half", "--")):
            flux = np.array([_median(mine[name][mine["period"] == period]) for period in periods])
            label = f"duty {duty:g}" if name == "flux_most" else None
            axes.plot(1e3 * periods, flux, dashes, color=INK, alpha=shade, linewidth=1.2, label=label)
    axes.set(xscale="log", yscale="log", xlabel="period [ms]", ylabel="mean flux density [mJy]")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    axes.legend(fontsize=8, frameon=False, labelcolor=SOFT)
    style(axes, f"Nine tenths (solid) and half (dashed) are found, DM {np.median(limits['dm']):.4g}")
    figure.set_layout_engine("tight")
    return figure


def _median(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")
