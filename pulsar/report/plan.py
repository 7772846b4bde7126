"""Picture of a DM plan: what smears a pulse at each trial DM, and how far the trials are apart."""

from typing import Final

import numpy as np

from pulsar.data.header import Header
from pulsar.data.text import literal
from pulsar.dedisp.plan import DMPlan
from pulsar.report.figure import ACCENT, INK, SOFT, Sheet, new_sheet, style

#: Part of the smearing -> name, colour (told apart by every kind of colour vision, Okabe and Ito 2008), dashes.
_LINES: Final = {
    "channel": ("in the channels", "#0072b2", "-"),
    "sampling": ("sampling", "#009e73", "-"),
    "step": ("DM step", "#cc79a7", "-"),
    "arrival": ("integer delays", "#56b4e9", "-"),
    "width": ("narrowest pulse", SOFT, ":"),
}


def plot_plan(plan: DMPlan, header: Header) -> Sheet:
    """Draw the parts of the smearing and the steps over the trial DMs.

    Parameters
    ----------
    plan : DMPlan
    header : Header
        Of the observation, for the title.

    Returns
    -------
    Sheet
        A matplotlib figure that displays itself in notebooks.
    """
    figure = new_sheet(9.0, 6.0)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for number, stage in enumerate(plan.stages):
        parts = {name: 1e3 * values for name, values in stage.parts().items()}
        first = number == 0
        # Each stage to where the next one begins.
        end = plan.stages[number + 1].dm_first if number + 1 < len(plan.stages) else stage.dm_last
        for name, (label, colour, dashes) in _LINES.items():
            if np.any(parts[name] > 0):
                told = label if first else None
                upper.plot(stage.dms, parts[name], color=colour, linestyle=dashes, linewidth=1.0, label=told)
        upper.plot(stage.dms, parts["best"], color=ACCENT, linestyle="--", label="best possible" if first else None)
        upper.plot(stage.dms, parts["total"], color=INK, linewidth=2.0, label="all together" if first else None)
        for axes in (upper, lower):
            axes.axvspan(stage.dm_first, end, color="#eef2f7" if number % 2 == 0 else "white", linewidth=0)
        told = f"1/{stage.downsample}" if stage.downsample > 1 else "full"
        upper.annotate(
            f"{told}\n{stage.ndms}", (0.5 * (stage.dm_first + end), 0.98), xycoords=("data", "axes fraction"),
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
    upper.legend(fontsize=8, frameon=False, labelcolor=SOFT, loc="lower right", ncols=2)
    lower.set(ylabel="step", xlabel="DM [pc cm$^{-3}$]")
    band = f"{header.freqs[-1]:.5g}\N{EN DASH}{header.freqs[0]:.5g} MHz, {header.nchans} channels"
    source = f"{literal(header.source)}: " if header.source else ""
    style(upper, f"{source}{plan.ndms} trial DMs, {band}, {1e6 * header.tsamp:.6g} µs")
    style(lower, "")
    figure.set_layout_engine("tight")
    return figure
