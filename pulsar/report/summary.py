"""The parts of a page on a run as a whole: what was observed, what was left out, how it was made."""

import base64
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pulsar.data.candidate import subtraction_text
from pulsar.data.injected import in_words, recall, wilson
from pulsar.data.text import printable
from pulsar.io.product.reader import Run
from pulsar.report.figure import Sheet, picture
from pulsar.report.plots import plot_completeness, plot_limits
from pulsar.report.rfi import plot_mask
from pulsar.report.words import Lines, position
from pulsar_kernels.arrays import Array


def sources(run: Run) -> str:
    """Names of the sources that were observed, each once."""
    return ", ".join(dict.fromkeys(printable(h.source) for h in run.observations if h.source))


def summary(run: Run, name: str) -> dict[str, Any]:
    """All that the page says of a run."""
    return {
        "name": name,
        "facts": _facts(run),
        "mask": _mask(run, name),
        "masked": _masked(run),
        "lines": _lines(run),
        "completeness": _completeness(run, name),
        "problems": [printable(problem) for problem in run.problems],
        "provenance": printable(_provenance(run), lines=True),
    }


def _facts(run: Run) -> Lines:
    """Facts of the observation; of several those that they have in common, or from where to where they go."""
    facts = _observed(run)
    if masked := _masked(run):
        facts.append(("Masked", masked))
    rows = run.rows("candidates")
    own = int((rows["harmonic_of"] == "").sum())
    attached = f" and {len(rows) - own} that belong to them" if own < len(rows) else ""
    facts.append(("Candidates", f"{own}{attached}"))
    pulses = run.rows("single_pulses")
    if len(pulses):
        facts.append(("Single pulses", str(len(pulses))))
    facts.extend(("Subtracted", subtraction_text(row)) for row in run.rows("subtracted/pulsars"))
    injected = run.rows("completeness/injected")
    if len(injected):
        facts.append(("Completeness", "; ".join(in_words(injected, run.rows("completeness/rows")))))
    return [(name, printable(value)) for name, value in facts]


def _observed(run: Run) -> Lines:
    headers = run.observations

    def each(texts: Iterable[str]) -> str:
        distinct = [t for t in dict.fromkeys(texts) if t]
        return "; ".join(distinct[:4]) + (f" and {len(distinct) - 4} more" if len(distinct) > 4 else "")

    beams = ", ".join(str(b) for b in sorted({h.beam for h in headers if h.beam is not None}))
    where = each(h.telescope for h in headers) or "unknown"
    facts = [("Observations", str(len(headers)))] if len(headers) > 1 else []
    facts += [
        ("Source" if len(headers) == 1 else "Sources", each(h.source for h in headers) or "unknown"),
        ("Telescope", where + (f", beam{'s' if ',' in beams else ''} {beams}" if beams else "")),
        ("Start", f"MJD {_span([h.tstart for h in headers], '.6f')}"),
        ("Duration", f"{_span([h.tobs for h in headers], '.6g')} s"),
        ("Sampling", each(f"{1e6 * h.tsamp:.6g} µs, {h.nbits} bit" for h in headers)),
    ]
    band = each(f"{h.freqs[-1]:.6g}–{h.freqs[0]:.6g} MHz, {h.nchans} channels" for h in headers if not h.is_series)
    if band:
        facts.append(("Band", band))
    place = position(headers[0], {})
    if len(headers) == 1 and place:
        facts.append(("Position", place[0][1]))
        facts.append(("Galactic", place[1][1]))
    return facts


def _span(values: Sequence[float], form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"


def _masked(run: Run) -> str:
    """The share of the data that was masked, of several observations from the least to the most; empty: not known."""
    each = run.rows("observations")["masked"]
    shares = 100.0 * np.array([run.rfi["masked_fraction"]] if "masked_fraction" in run.rfi else each[np.isfinite(each)])
    return f"{_span(shares.tolist(), '.1f')} %" if shares.size else ""


def _mask(run: Run, name: str) -> dict[str, Any] | None:
    """A small picture of what was left out, None where nothing is known of it."""
    rfi = run.rfi
    if run.observation.is_series or "mask" not in rfi or not rfi["mask"].size:
        return None
    blocks = int(rfi["block_nsamps"])
    sheet = plot_mask(run.observation, rfi["chan_mask"], rfi["mask"], rfi["chan_reasons"], blocks)
    channels = f"{int(rfi['chan_mask'].sum())} of {rfi['chan_mask'].size} channels"
    lost = f"{100 * rfi['masked_fraction']:.1f} % of the data, {channels}"
    alt = f"Mask of {name} over time and frequency: {lost}."
    return _figure(sheet, f"What was left out before the search: {lost}.", alt)


def _figure(sheet: Sheet, caption: str, alt: str) -> dict[str, str]:
    return {"data": base64.b64encode(picture(sheet)).decode(), "caption": caption, "alt": alt}


def _completeness(run: Run, name: str) -> dict[str, Any] | None:
    """Pictures and tables of what became of injected signals, None where there are none."""
    injected, rows, limits = (run.rows(f"completeness/{table}") for table in ("injected", "rows", "limits"))
    if not len(injected):
        return None
    counts = "; ".join(in_words(injected, rows))
    caption = f"What became of injected signals, with 68 % intervals: {counts}."
    alt = f"Recall of {name} by S/N, period, DM and width, S/N kept and reliability: {counts}."
    pictures = [_figure(plot_completeness(injected, rows), caption, alt)]
    if np.isfinite(limits["flux_most"]).any() or np.isfinite(limits["flux_half"]).any():
        words = "Mean flux density from which on pulsars are found, by period and duty cycle"
        pictures.append(_figure(plot_limits(limits), f"{words}.", f"{words}, of {name}; the product has it."))
    tables = [_recall_table(injected, kind) for kind in ("pulsar", "burst") if (injected["kind"] == kind).any()]
    if len(run.observations) > 1:
        tables.append(_by_observation(run, injected))
    return {"pictures": pictures, "tables": tables}


def _recall_table(injected: Array, kind: str) -> dict[str, Any]:
    shares = recall(injected[injected["kind"] == kind])
    lines = [
        [f"{r['low']:g}–{r['high']:g}", str(r["tried"]), str(r["found"]), _percent(r["recall_low"], r["recall_high"])]
        for r in shares
    ]
    return {"title": f"{kind.capitalize()}s by S/N", "columns": ["S/N", "injected", "found", "68 %"], "lines": lines}


def _by_observation(run: Run, injected: Array) -> dict[str, Any]:
    """Recall of each observation."""
    lines = []
    for obs, header in enumerate(run.observations):
        line = [printable(header.source) or "unnamed", f"{header.tstart:.5f}"]
        line.append("" if header.beam is None else str(header.beam))
        for kind in ("pulsar", "burst"):
            signals = injected[(injected["obs"] == obs) & (injected["kind"] == kind)]
            found = int(np.count_nonzero(signals["found"]))
            low, high = wilson(found, signals.size)
            share = f", {_percent(float(low), float(high))}" if signals.size else ""
            line.append(f"{found} of {signals.size}{share}")
        lines.append(line)
    return {"title": "By observation", "columns": ["source", "MJD", "beam", "pulsars", "bursts"], "lines": lines}


def _percent(low: float, high: float) -> str:
    return f"{100 * low:.0f}–{100 * high:.0f} %" if np.isfinite(low) else ""


def _lines(run: Run) -> dict[str, Any] | None:
    """Periodic interference that was left out of the spectra, None where there is none."""
    rows = run.rows("rfi/birdies")
    # Lines of periodic interference that are told, the widest.
    widest = rows[np.argsort(-rows["width"], kind="stable")[:40]] if len(rows) else rows
    lines = [
        [f"{row['freq']:.6g}", f"{row['width']:.3g}", printable(str(row["reason"]))]
        for row in sorted(widest, key=lambda row: float(row["freq"]))
    ]
    title = "Periodic interference, left out of the spectra"
    return {"title": title, "columns": ["frequency [Hz]", "width [Hz]", "why"], "lines": lines} if lines else None


def _provenance(run: Run) -> str:
    record = run.provenance
    lines = [f"file        {run.path.name}", f"command     {' '.join(record.get('argv', []))}"]
    for key in ("start", "stop", "host", "cpu", "threads", "exit_state"):
        if key in record:
            lines.append(f"{key:<11} {record[key]}")
    lines += [f"input       {i['path']} ({i['size']} bytes)" for i in record.get("inputs", [])]
    lines += [f"version     {package} {version}" for package, version in record.get("versions", {}).items()]
    lines += [
        f"stage       {stage}: {wall:.2f} s, {cpu:.2f} s of processor"
        for stage, (wall, cpu) in record["stages"].items()
    ]
    return "\n".join(lines) + "\n\n" + str(record.get("config", ""))
