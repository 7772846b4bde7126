"""Markdown tables and roofline plot of one or more runs of `pulsar bench --json`.

    pulsar bench --json > bench.json
    pulsar bench --stages --json > stages.json
    python benchmarks/table.py bench.json stages.json [--plot roofline.png] [--into benchmarks/README.md]

Prints the tables. `--into` puts them between marks of a file instead: those of kernels between the lines
``<!-- bench -->`` and ``<!-- /bench -->``, of stages between ``<!-- stages -->`` and ``<!-- /stages -->``; what the
runs do not hold stays as it is. The plot is that of `pulsar bench --roofline`, of the first file. Here are the tables
of versus.py, too: thresholds at equal false alarms, what is found above them, and what it cost.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from shared import Share, columns_of, markdown

from pulsar.bench.figures import FORMAT, roofline
from pulsar.bench.figures import load as load_run
from pulsar.data.text import si


def load(path: Path) -> dict[str, Any]:
    """A run, as `pulsar bench --json` writes it."""
    document: dict[str, Any] = json.loads(path.read_text())
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise SystemExit(f"{path}: not the output of `pulsar bench --json`")
    return document


def machine(run: dict[str, Any]) -> str:
    """Where and when."""
    versions = ", ".join(f"{name} {number}" for name, number in run["versions"].items())
    return f"{run['cpu']}, {run['cores']} cores, {run['created'][:10]}; {versions}."


def kernels(run: dict[str, Any]) -> str:
    """Machine, limits and figures of the kernels of a run."""
    head = f"{machine(run)} CPU seconds, {run['threads']} thread{'s' if run['threads'] > 1 else ''}."
    limits = columns_of(
        {
            "cores": lambda x: str(x["threads"]),
            "copy [B/s]": lambda x: si(x["copy"]),
            "copy in cache": lambda x: si(x["copy_near"]),
            "int16 adds/s in L1": lambda x: si(x["adds_l1"]),
            "int8 adds/s in L2": lambda x: si(x["adds_l2"]),
            "float32 [flop/s]": lambda x: si(x["floats"]),
        },
        run["limits"],
    )
    figures = columns_of(
        {
            "kernel": lambda f: f"`{f['kernel']}` {f['about']}, {f['dtype']}",
            "samples/s": lambda f: si(f["samples_per_s"]),
            "operations/s": lambda f: si(f["adds_per_s"] + f["flops_per_s"]),
            "bytes/s": lambda f: si(f["bytes_per_s"]),
            "CPU [ms]": lambda f: f"{1e3 * f['cpu_s']:.2f}",
            "range": lambda f: f"{1e3 * f['cpu_low_s']:.2f}-{1e3 * f['cpu_high_s']:.2f}",
            "limit": lambda f: f"{100 * f['fraction']:.0f} % of {f['limit']}",
            "numpy takes": lambda f: "-" if f["ratio"] is None else f"{f['ratio']:.1f} x",
            "first call [s]": lambda f: f"{f['first_s']:.2f}",
        },
        run["figures"],
    )
    return "\n\n".join([head, limits, figures])


def stages(run: dict[str, Any]) -> str:
    """Stages of the pipeline: one thread, and what the second brings."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for f in run["stages"]:
        by_name.setdefault(f["stage"], []).append(f)
    columns: dict[str, Callable[[Any], str]] = {
        "stage": lambda f: f"`{f[0]['stage']}` {f[0]['about']}",
        "samples/s": lambda f: si(f[0]["samples_per_s"]),
        "operations/s": lambda f: si(f[0]["operations_per_s"]),
        "CPU [ms]": lambda f: f"{1e3 * f[0]['cpu_s']:.3g}",
        "elapsed [ms]": lambda f: f"{1e3 * f[0]['wall_s']:.3g}",
        "with 2 threads": lambda f: f"{1e3 * f[-1]['wall_s']:.3g}",
        "faster": lambda f: f"{f[-1]['speedup']:.2f} x",
        "CPU more": lambda f: f"{100 * (f[-1]['overhead'] - 1):.0f} %",
        "limit": lambda f: f"{100 * f[0]['fraction']:.0f} % of {f[0]['limit']}",
    }
    return "\n\n".join([machine(run), columns_of(columns, by_name.values())])


#: False alarms a series.
RATE = 0.1


@dataclass(frozen=True)
class Threshold:
    """Above what a line counts.

    Attributes
    ----------
    value : float
        What so many of the noise series exceed; -inf where fewer have any line.
    low, high : float
        The same where the number of false alarms is off by its binomial error.
    """

    value: float
    low: float
    high: float


def threshold(best: Sequence[float | None], rate: float = RATE) -> Threshold:
    """What the highest line of the share `rate` of noise series exceeds.

    Parameters
    ----------
    best : sequence of float or None
        Highest line of every noise series, None where it has none.
    rate : float

    Raises
    ------
    ValueError
        There are fewer series than one false alarm needs.
    """
    n = len(best)
    if n * rate < 1:
        raise ValueError(f"{n} noise series tell no threshold of {rate:g} false alarms a series")
    ordered = sorted((-math.inf if value is None else value for value in best), reverse=True)
    error = math.sqrt(rate * (1.0 - rate) / n)

    def at(share: float) -> float:
        # So many values are above the one at this place.
        return ordered[min(max(round(n * share), 0), n - 1)]

    return Threshold(at(rate), at(rate + error), at(rate - error))


def above(entries: Iterable[dict[str, Any]], level: float) -> list[dict[str, Any]]:
    """Those whose pulsar is found above a threshold."""
    return [entry for entry in entries if entry["own"] is not None and entry["own"] > level]


def median(values: Iterable[float]) -> float:
    """NaN where there are none."""
    return float(np.median(list(values) or [math.nan]))


def size(nbytes: float) -> str:
    """Bytes, in the unit that tells them."""
    return f"{si(nbytes)}B" if nbytes >= 1000 else f"{nbytes:.0f} B"


def files(entries: Sequence[dict[str, Any]]) -> str:
    """How many files a program leaves each time, and how large."""
    number = round(median(entry["files"] for entry in entries))
    if not number:
        return "no files"
    return f"{number:,} file{'s' if number > 1 else ''} ({size(median(entry['size'] for entry in entries))})"


def found_above(kinds: dict[str, Any], rate: float = RATE) -> tuple[Threshold, list[Any], list[Any], list[Any]] | None:
    """Threshold, series of noise, pulsars, and those that are above it; None for too few series."""
    noise, pulsars = (list(kinds.get(kind, {}).values()) for kind in ("noise", "pulsars"))
    if len(noise) * rate < 1 or not pulsars:
        return None
    level = threshold([entry["best"] for entry in noise], rate)
    return level, noise, pulsars, above(pulsars, level.value)


def cost(entries: Sequence[dict[str, Any]], digits: int) -> list[str]:
    """CPU seconds, memory and files."""
    seconds = median(entry["cpu"] for entry in entries)
    return [f"{seconds:.{digits}f}", size(max((e["memory"] for e in entries), default=0)), files(entries)]


def series_table(programs: dict[str, Any], log2n: str) -> str:
    """Programs on the series of one length, a row each; and what each finds of the pulsars that all were given."""
    rows = []
    lists: dict[str, tuple[dict[str, Any], float]] = {}
    for name, kinds in programs.items():
        every = [entry for kind in ("noise", "pulsars") for entry in kinds.get(kind, {}).values()]
        if not every:
            continue
        judged = found_above(kinds)
        if judged is None:
            few = f"of {len(kinds.get('noise', {}))} series"
            rows.append([name, "not enough series", "-", "-", few, "-", "-", *cost(every, 2)])
            continue
        level, noise, pulsars, found = judged
        lists[name] = kinds["pulsars"], level.value
        low, high = (100 * len(above(pulsars, value)) / len(pulsars) for value in (level.high, level.low))
        cells = [f"{Share(len(found), len(pulsars)).percent}, {low:.0f}–{high:.0f}"]
        for fast in (True, False):
            own = [entry for entry in pulsars if entry["millisecond"] is fast]
            cells.append(f"{len(above(own, level.value))}/{len(own)}")
        worth = median(entry["own"] / entry["snr"] for entry in found)
        error = median(abs(entry["error"]) for entry in found)
        limit = "its list" if math.isinf(level.value) else f"{level.value:.2f}"
        cells += [f"{limit} of {len(noise)} series", f"{worth:.2f}", f"{error:.3f}"]
        rows.append([name, *cells, *cost(every, 2)])
    headings = ["program", f"found at {RATE:g} false alarms a series (68 %), threshold off", "ms pulsars", "others"]
    headings += ["threshold", "significance / S/N", "frequency off [1/T]", "CPU [s]", "memory", "files left"]
    text = f"Series of 2^{log2n} samples:\n\n{markdown(headings, rows)}"
    same = set.intersection(*(set(pulsars) for pulsars, _ in lists.values())) if lists else set()
    if any(len(pulsars) > len(same) for pulsars, _ in lists.values()):
        counts = [f"{name} {len(above([pulsars[n] for n in same], least))}" for name, (pulsars, least) in lists.items()]
        text += f"\n\nOf the {len(same)} pulsars that all were given: {', '.join(counts)}."
    return text


#: What the best method of a published study recovers of pulsars that were injected into red noise of these knees [%].
#: Its population could not be had.
PUBLISHED = {"0.1–0.5": 76.2, "0.5–2": 75.2, "2–6": 69.7, "6–15": 61.4, "15–50": 48.7}
#: False alarms a series in red noise, where hits by chance are as rare as the 0.3 % of that study.
RED_RATE = 0.03


def single_trial(noise: Sequence[dict[str, Any]], level: Threshold) -> float:
    """Median significance, of one trial alone, of the highest lines of noise that are no surer than a threshold tells.

    Parameters
    ----------
    noise : sequence of dict
        Entries of series of noise.
    level : Threshold
        Of their highest lines.
    """
    lines = [entry for entry in noise if entry["best"] is not None]
    return median(entry["single"] for entry in lines if level.low <= entry["best"] <= level.high)


def red_table(cases: dict[str, Any], rate: float = RED_RATE) -> str:
    """Red noise: what is found at each knee, and what a search that knows all but the height could find.

    By chance is the share of all pairs of a series of noise and a pulsar in which a line of that would pass for this.
    """
    names = list(dict.fromkeys(name for programs in cases.values() for name in programs))
    rows, totals = [], {name: np.zeros(5, np.int64) for name in names}
    room = np.zeros(2, np.int64)
    for knee, programs in cases.items():
        cells = [knee, f"{PUBLISHED[knee]:.1f} %", "-"]
        for name in names:
            judged = found_above(programs.get(name, {}), rate)
            if judged is None:
                cells += ["-"] * 3
                continue
            level, noise, pulsars, found = judged
            if name == "ours":
                least = single_trial(noise, level)
                possible = sum(entry["matched"] >= least for entry in pulsars)
                cells[2] = f"{Share(possible, len(pulsars)).percent}, from S/N {least:.1f}"
                room += possible, len(pulsars)
            wrong = sum(entry["ratio"] != [1, 1] for entry in found)
            pairs = [own is not None and own > level.value for entry in noise for own in entry["by_chance"]]
            counts = len(found), len(pulsars), wrong, sum(pairs), len(pairs)
            cells += found_cells(*counts)
            totals[name] += counts
        rows.append(cells)
    last = ["all", "-", Share(*room.tolist()).percent]
    rows.append(last + [cell for name in names for cell in found_cells(*totals[name].tolist())])
    headings = ["knee [Hz]", "published", "possible"]
    headings += [f"{name}: {text}" for name in names for text in ("found", "at a wrong harmonic", "by chance")]
    return markdown(headings, rows)


def found_cells(found: int, tried: int, wrong: int, chance: int, pairs: int) -> list[str]:
    """Pulsars found, those of them at a wrong harmonic, and pairs of a series of noise and a pulsar by chance."""
    return [f"{Share(found, tried).percent} of {tried}", f"{wrong} of {found}", f"{100 * chance / max(pairs, 1):.2f} %"]


def begun(programs: dict[str, Any]) -> dict[str, Any]:
    """Those that have searched anything."""
    return {name: entries for name, entries in programs.items() if entries}


def population_table(programs: dict[str, Any]) -> str:
    """Random skies: those that all programs have had, together and by environment."""
    programs = begun(programs)
    common = sorted(set.intersection(*(set(entries) for entries in programs.values())))
    rows = []
    for name, entries in programs.items():
        own = [entries[key] for key in common]
        others = [skies for another, skies in programs.items() if another != name]
        alone = [set(entries[key]["above"]).difference(*(skies[key]["listed"] for skies in others)) for key in common]
        above_all, listed, false = sky_cells(own)
        only = str(sum(map(len, alone))) if others else "-"
        rows.append([name, str(len(own)), above_all, only, listed.split()[0], false, *cost(own, 0)])
    headings = ["program", "files", "above all that is no pulsar", "of these on no other list", "listed"]
    total = markdown([*headings, "listed and no pulsar", "CPU a file [s]", "memory", "files left"], rows)
    rows = []
    for kind in dict.fromkeys(key.rsplit("-", 1)[0] for key in common):
        keys = [key for key in common if key.rsplit("-", 1)[0] == kind]
        cells = [cell for entries in programs.values() for cell in sky_cells([entries[key] for key in keys])]
        rows.append([kind, str(len(keys)), *cells])
    words = ("above all that is no pulsar", "listed", "listed and no pulsar")
    headings = [f"{name}: {text}" for name in programs for text in words]
    return f"{total}\n\n{markdown(['environment', 'files', *headings], rows)}"


def sky_cells(skies: Sequence[dict[str, Any]]) -> list[str]:
    """Of the injected pulsars those above all that is none, and those listed; and what else is listed."""
    injected = sum(sky["injected"] for sky in skies)
    shares = [f"{sum(len(sky[key]) for sky in skies)} of {injected}" for key in ("above", "listed")]
    return [*shares, str(sum(sky["false"] for sky in skies))]


def work_table(works: dict[str, Any]) -> str:
    """The same work by other programs and ours."""
    rows = []
    for work, peers in works.items():
        for program, entry in peers.items():
            ratio = entry["cpu"] / entry["ours"]
            takes = f"{ratio:.{1 if ratio < 100 else 0}f} x"
            rows.append([work, program, f"{entry['cpu']:.3g}", f"{entry['ours']:.3g}", takes, entry["note"]])
    return markdown(["work", "program", "CPU [s]", "ours, CPU [s]", "takes", "remarks"], rows)


def real_table(programs: dict[str, Any]) -> str:
    """Real files: the place of the pulsar in each list, and how long that is."""

    def cell(entry: dict[str, Any] | None) -> str:
        if entry is None:
            return "-"
        false, place = f"{entry['shown']} false", f"{entry['place'] or 'not in'} of {entry['shown']}"
        return f"{place if entry['period'] else false}; {entry['cpu']:.2f} s; {entry['files']}"

    periods = {path: entry["period"] for entries in programs.values() for path, entry in entries.items()}
    rows = []
    for path, period in periods.items():
        answer = f"{period:.7g} s" if period else "no pulsar"
        rows.append([path, answer, *(cell(entries.get(path)) for entries in programs.values())])
    return markdown(["file", "answer", *(f"{name}: place; CPU; files" for name in programs)], rows)


def tables(content: dict[str, Any]) -> dict[str, str]:
    """What was measured, by the marks of a page: random skies have their own, as they may be another machine's.

    Parameters
    ----------
    content : dict
        Of a file of versus.py.
    """
    where = content["machine"]
    head = machine({**where, "created": where.get("date", "")})
    real, skies, work = (begun(content.get(name, {})) for name in ("real", "population", "work"))
    parts = [series_table(programs, log2n) for log2n, programs in content.get("series", {}).items()]
    found = {
        "versus": "\n\n".join([*parts, real_table(real)] if real else parts),
        "versus-red": red_table(content["red"]) if content.get("red") else "",
        "versus-population": population_table(skies) if skies else "",
        "versus-work": work_table(work) if work else "",
    }
    return {mark: f"{head}\n\n{text}" for mark, text in found.items() if text}


def sections(runs: list[dict[str, Any]]) -> dict[str, str]:
    """What the runs hold, by the marks of a page."""
    texts = {
        "bench": [kernels(run) for run in runs if run["figures"]],
        "stages": [stages(run) for run in runs if run["stages"]],
    }
    return {mark: "\n\n".join(parts) for mark, parts in texts.items() if parts}


def put(texts: dict[str, str], path: Path | None) -> None:
    """Put every text between its two marks of a file; without one, print them."""
    if path is None:
        print("\n\n".join(texts.values()))
        return
    page = path.read_text()
    for mark, text in texts.items():
        begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
        if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
            raise SystemExit(f"{path}: expected the lines {begin} and {end} once, in this order")
        page = f"{page[: page.index(begin)]}{begin}\n{text}\n{page[page.index(end) :]}"
    path.write_text(page)


def main(
    files: Annotated[list[Path], typer.Argument(metavar="BENCH.json ...")],
    plot: Annotated[Path | None, typer.Option(metavar="PNG", help="roofline plot of the first run")] = None,
    into: Annotated[Path | None, typer.Option(metavar="README.md", help="put the tables between its marks")] = None,
) -> None:
    """Read, print or write, and plot."""
    runs = [load(path) for path in files]
    put(sections(runs), into)
    if plot is not None:
        if not runs[0]["figures"]:
            raise SystemExit(f"{files[0]}: holds no kernels to plot")
        roofline(load_run(files[0]), plot)


if __name__ == "__main__":
    typer.run(main)
