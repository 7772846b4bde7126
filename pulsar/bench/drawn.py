"""Pictures of runs: kernels under the roofs of the machine, and two runs beside each other."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes

from pulsar.bench.compare import Comparison
from pulsar.bench.document import labels
from pulsar.data.numbers import si
from pulsar.data.text import literal
from pulsar.report.figure import ACCENT, INK, SOFT, new_sheet, save, style

#: Told apart by every kind of colour vision (Okabe and Ito 2008).
COLOURS: Final = {
    "copy near": "#56b4e9",
    "copy": "#0072b2",
    "adds L1": "#009e73",
    "adds L2": "#cc79a7",
    "floats": ACCENT,
}
_ROOFS: Final = {"adds L1": "adds_l1", "adds L2": "adds_l2", "floats": "floats"}
_VERDICTS: Final = {"faster": "#009e73", "slower": ACCENT, "same": SOFT, "unknown": SOFT}


def roofline(run: Mapping[str, Any], path: Path) -> None:
    """Draw operations a second over operations per byte under the roofs, and how much of its limit each kernel reaches.

    Parameters
    ----------
    run : mapping
        With at least one kernel.
    path : Path
        PNG, or PDF or SVG where the name ends so; written whole or not at all.
    """
    figures = run["figures"]
    sheet = new_sheet(13.0, 0.28 * len(figures) + 3.0)
    left, right = sheet.subplots(1, 2, width_ratios=(3, 2))
    _roofs(left, run)
    threads = run["threads"]
    style(left, literal(f"{run['cpu']}, {threads} of {run['cores']} cores"))
    names = labels(figures)
    right.barh(names, [100 * f["fraction"] for f in figures], color=[COLOURS[f["limit"]] for f in figures])
    for f, name in zip(figures, names, strict=True):
        right.text(100 * f["fraction"], name, f" {f['limit']}", va="center", fontsize=8, color=INK)
    right.axvline(100.0, color=SOFT, linewidth=0.8)
    right.invert_yaxis()
    right.set(xlabel="% of the limit that bounds it", xlim=(0, max(125.0, *(115.0 * f["fraction"] for f in figures))))
    style(right, "")
    sheet.tight_layout()
    save(sheet, path)


def _roofs(axes: Axes, run: Mapping[str, Any]) -> None:
    limits = next(x for x in run["limits"] if x["threads"] == run["threads"])
    points = [
        (f["adds_per_byte"] + f["flops_per_byte"], f["adds_per_s"] + f["flops_per_s"], f["limit"], name)
        for f, name in zip(run["figures"], labels(run["figures"]), strict=True)
    ]
    points = sorted((p for p in points if p[0] > 0), key=lambda p: p[0])
    low = min([0.1, *(p[0] for p in points)]) / 2
    high = max([10.0, *(p[0] for p in points)]) * 2
    top = max(limits[key] for key in _ROOFS.values())
    for name, key in (("copy near", "copy_near"), ("copy", "copy")):
        end = min(high, top / limits[key])
        label = f"{name} {si(limits[key])}B/s"
        axes.plot([low, end], [low * limits[key], end * limits[key]], color=COLOURS[name], label=label)
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    for name, key in _ROOFS.items():
        axes.plot([limits[key] / limits["copy_near"], high], [limits[key]] * 2, color=COLOURS[name])
        axes.text(high, limits[key], f" {name} {si(limits[key])}/s", color=COLOURS[name], fontsize=8, va="center")
    # Names in turn below and above their points, so that fewer overlap.
    for place, (x, y, limit, name) in enumerate(points):
        axes.plot(x, y, "o", color=COLOURS[limit])
        offset = (5, 4 if place % 2 else -9)
        axes.annotate(name, (x, y), textcoords="offset points", xytext=offset, fontsize=8, color=INK)
    axes.set(xscale="log", yscale="log", xlim=(low, high), xlabel="operations per byte moved", ylabel="operations/s")
    axes.grid(alpha=0.3)


def comparison(found: Comparison, names: tuple[str, str], path: Path) -> None:
    """Draw how many times as fast the second run is, with what the repeats of both allow.

    Parameters
    ----------
    found : Comparison
    names : tuple of str
        Of the two runs.
    path : Path
        As of `roofline`.
    """
    items = found.differences
    sheet = new_sheet(9.0, 0.28 * len(items) + 1.6)
    axes = sheet.subplots()
    for row, d in enumerate(items):
        colour = _VERDICTS[d.verdict]
        axes.plot([d.ratio_low, d.ratio_high], [row, row], color=colour, linewidth=2)
        axes.plot(d.ratio, row, "o", color=colour, markerfacecolor="white" if d.verdict == "unknown" else colour)
    axes.axvline(1.0, color=INK, linewidth=0.8)
    axes.set(xscale="log", xlabel=literal(f"times as fast: {names[1]} against {names[0]}"))
    axes.set_yticks(range(len(items)), [literal(d.name) for d in items])
    edge = 1.1 * max(1.2, *(max(d.ratio_high, 1.0 / d.ratio_low) for d in items))
    axes.set(xlim=(1.0 / edge, edge), ylim=(len(items) - 0.5, -0.5))
    ticks = [
        t for t in (0.02, 0.05, 0.1, 0.2, 0.5, 0.8, 1.0, 1.25, 2.0, 5.0, 10.0, 20.0, 50.0) if 1 / edge <= t <= edge
    ]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.grid(axis="x", alpha=0.3)
    style(axes, "")
    sheet.tight_layout()
    save(sheet, path)
