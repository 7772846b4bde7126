"""Markdown tables and roofline plot of one or more runs of `pulsar bench --json`.

    pulsar bench --json > bench.json
    pulsar bench --stages --json > stages.json
    python benchmarks/peers.py --json peers.json
    python benchmarks/table.py bench.json stages.json peers.json [--plot roofline.png] [--into benchmarks/README.md]
    python benchmarks/table.py peers.json --beside zen4 --into benchmarks/README.md

Prints the tables. `--into` puts them between marks of a file instead: those of kernels between the lines
``<!-- bench -->`` and ``<!-- /bench -->``, of stages between ``<!-- stages -->`` and ``<!-- /stages -->``, of other
programs between ``<!-- peers -->`` and ``<!-- /peers -->``; what the runs do not hold stays as it is. `--beside zen4`
takes marks of another processor, ``<!-- peers-zen4 -->``, and leaves the tables of the first. The plot is that of
`pulsar bench --roofline`, of the first file. Here are the tables of versus.py, too: thresholds at equal false alarms,
what is found above them, and what it cost.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from peers import peers_table
from shared import markdown

from pulsar.bench.figures import FORMAT, roofline
from pulsar.bench.figures import load as load_run
from pulsar.data.injected import wilson
from pulsar.data.numbers import si

LIMITS = (
    ("copy", "copy [B/s]"),
    ("copy_near", "copy in cache"),
    ("adds_l1", "int16 adds/s in L1"),
    ("adds_l2", "int8 adds/s in L2"),
    ("floats", "float32 [flop/s]"),
)


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
    limits = markdown(
        ["cores", *(heading for _, heading in LIMITS)],
        [[str(x["threads"]), *(si(x[key]) for key, _ in LIMITS)] for x in run["limits"]],
    )
    rows = [
        [
            f"`{f['kernel']}` {f['about']}, {f['dtype']}",
            si(f["samples_per_s"]),
            si(f["adds_per_s"] + f["flops_per_s"]),
            si(f["bytes_per_s"]),
            f"{1e3 * f['cpu_s']:.2f}",
            f"{1e3 * f['cpu_low_s']:.2f}-{1e3 * f['cpu_high_s']:.2f}",
            f"{100 * f['fraction']:.0f} % of {f['limit']}",
            "-" if f["ratio"] is None else f"{f['ratio']:.1f} x",
            f"{f['first_s']:.2f}",
        ]
        for f in run["figures"]
    ]
    headings = ["kernel", "samples/s", "operations/s", "bytes/s", "CPU [ms]", "range", "limit", "numpy takes"]
    headings.append("first call [s]")
    return "\n\n".join([head, limits, markdown(headings, rows)])


def stages(run: dict[str, Any]) -> str:
    """Stages of the pipeline: one thread, and what the second brings."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for f in run["stages"]:
        by_name.setdefault(f["stage"], []).append(f)
    rows = []
    for name, (single, *_, double) in by_name.items():
        rows.append(
            [
                f"`{name}` {single['about']}",
                si(single["samples_per_s"]),
                si(single["operations_per_s"]),
                f"{1e3 * single['cpu_s']:.3g}",
                f"{1e3 * single['wall_s']:.3g}",
                f"{1e3 * double['wall_s']:.3g}",
                f"{double['speedup']:.2f} x",
                f"{100 * (double['overhead'] - 1):.0f} %",
                f"{100 * single['fraction']:.0f} % of {single['limit']}",
            ]
        )
    headings = ["stage", "samples/s", "operations/s", "CPU [ms]", "elapsed [ms]", "with 2 threads", "faster"]
    return "\n\n".join([machine(run), markdown([*headings, "CPU more", "limit"], rows)])


#: False alarms a series.
RATE = 0.1
#: Fewer noise series than this make no threshold: none of them would be above it.
LEAST_NOISE = math.ceil(1 / RATE)


@dataclass(frozen=True)
class Threshold:
    """Above what a line counts.

    Attributes
    ----------
    value : float
        What so many of the noise series exceed; -inf where fewer have any line.
    low, high : float
        The same where the number of false alarms is off by its binomial error.
    nseries : int
        Noise series that it rests on.
    error : float
        Binomial error of the rate of false alarms.
    """

    value: float
    low: float
    high: float
    nseries: int
    error: float


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

    return Threshold(at(rate), at(rate + error), at(rate - error), n, error)


def above(entries: Iterable[dict[str, Any]], level: float) -> int:
    """Pulsars that are found above a threshold."""
    return sum(entry["own"] is not None and entry["own"] > level for entry in entries)


def share(found: int, tried: int) -> str:
    """A fraction with its interval, in percent."""
    if not tried:
        return "-"
    low, high = wilson(found, tried)
    return f"{100 * found / tried:.0f} % ({100 * float(low):.0f}–{100 * float(high):.0f})"


def median(values: Iterable[float]) -> float:
    """NaN where there are none."""
    kept = list(values)
    return float(np.median(kept)) if kept else float("nan")


def size(nbytes: float) -> str:
    """Bytes, in the unit that tells them."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if nbytes >= limit:
            return f"{nbytes / limit:.3g} {unit}"
    return f"{nbytes:.0f} B"


def files(entries: Sequence[dict[str, Any]]) -> str:
    """How many files a program leaves each time, and how large."""
    number = round(median(entry["files"] for entry in entries))
    if not number:
        return "no files"
    return f"{number:,} file{'s' if number > 1 else ''} ({size(median(entry['size'] for entry in entries))})"


def series_table(programs: dict[str, Any], log2n: str) -> str:
    """Programs on the series of one length, a row each."""
    rows = []
    for name, kinds in programs.items():
        noise = list(kinds.get("noise", {}).values())
        pulsars = list(kinds.get("pulsars", {}).values())
        every = noise + pulsars
        if not every:
            continue
        cost = [
            f"{median(entry['cpu'] for entry in every):.2f}",
            size(max((entry["memory"] for entry in every), default=0)),
            files(every),
        ]
        if len(noise) < LEAST_NOISE or not pulsars:
            rows.append([name, "not enough series", "-", "-", f"of {len(noise)} series", "-", "-", *cost])
            continue
        level = threshold([entry["best"] for entry in noise])
        found = [entry for entry in pulsars if entry["own"] is not None and entry["own"] > level.value]
        low, high = (100 * above(pulsars, value) / len(pulsars) for value in (level.high, level.low))
        cells = [f"{share(len(found), len(pulsars))}, {low:.0f}–{high:.0f}"]
        for fast in (True, False):
            own = [entry for entry in pulsars if entry["millisecond"] is fast]
            cells.append(f"{above(own, level.value)}/{len(own)}")
        worth = median(entry["own"] / entry["snr"] for entry in found)
        error = median(abs(entry["error"]) for entry in found)
        limit = "its list" if math.isinf(level.value) else f"{level.value:.2f}"
        cells += [f"{limit} of {level.nseries} series", f"{worth:.2f}", f"{error:.3f}"]
        rows.append([name, *cells, *cost])
    headings = ["program", f"found at {RATE:g} false alarms a series (68 %), threshold off", "ms pulsars", "others"]
    headings += ["threshold", "significance / S/N", "frequency off [1/T]", "CPU [s]", "memory", "files left"]
    return f"Series of 2^{log2n} samples:\n\n{markdown(headings, rows)}"


#: What the best method of a published study recovers of pulsars that were injected into red noise of these knees [%].
#: Its population could not be had.
PUBLISHED = {"0.1–0.5": 76.2, "0.5–2": 75.2, "2–6": 69.7, "6–15": 61.4, "15–50": 48.7}


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


def red_table(cases: dict[str, Any]) -> str:
    """Red noise: what is found at each knee, and what a search that knows all but the height could find."""
    names = list(dict.fromkeys(name for programs in cases.values() for name in programs))
    rows, totals = [], {name: np.zeros(5, np.int64) for name in names}
    room = np.zeros(2, np.int64)
    for knee, programs in cases.items():
        cells = [knee, f"{PUBLISHED[knee]:.1f} %", "-"]
        for name in names:
            noise, pulsars = (list(programs.get(name, {}).get(kind, {}).values()) for kind in ("noise", "pulsars"))
            if len(noise) < LEAST_NOISE or not pulsars:
                cells += ["-"] * 3
                continue
            level = threshold([entry["best"] for entry in noise])
            if name == "ours":
                least = single_trial(noise, level)
                possible = sum(entry["matched"] >= least for entry in pulsars)
                cells[2] = f"{share(possible, len(pulsars))}, from S/N {least:.1f}"
                room += possible, len(pulsars)
            found = [entry for entry in pulsars if entry["own"] is not None and entry["own"] > level.value]
            wrong = sum(entry["ratio"] != [1, 1] for entry in found)
            counts = len(found), len(pulsars), wrong, above(noise, level.value), len(noise)
            cells += found_cells(*counts)
            totals[name] += counts
        rows.append(cells)
    last = ["all", "-", share(*room.tolist())]
    rows.append(last + [cell for name in names for cell in found_cells(*totals[name].tolist())])
    headings = ["knee [Hz]", "published", "possible"]
    headings += [f"{name}: {text}" for name in names for text in ("found", "at a wrong harmonic", "by chance")]
    return markdown(headings, rows)


def found_cells(found: int, tried: int, wrong: int, chance: int, nseries: int) -> list[str]:
    """Pulsars found, those of them at a wrong harmonic, and series of noise that have another's by chance."""
    return [f"{share(found, tried)} of {tried}", f"{wrong} of {found}", f"{chance} of {nseries}"]


def begun(programs: dict[str, Any]) -> dict[str, Any]:
    """Those that have searched anything."""
    return {name: entries for name, entries in programs.items() if entries}


def skies_of_all(programs: dict[str, Any]) -> list[str]:
    """Random skies that all programs have had."""
    return sorted(set.intersection(*(set(entries) for entries in programs.values())))


def population_table(programs: dict[str, Any]) -> str:
    """Random skies: those that all programs have had, together and by environment."""
    programs = begun(programs)
    common = skies_of_all(programs)
    rows = []
    for name, entries in programs.items():
        own = [entries[key] for key in common]
        others = [[skies[key] for key in common] for another, skies in programs.items() if another != name]
        alone = [
            len(set(e["above"]).difference(*(entry["listed"] for entry in lists)))
            for e, *lists in zip(own, *others, strict=True)
        ]
        rows.append(
            [
                name,
                str(len(own)),
                share_of(own, "above"),
                str(sum(alone)) if others else "-",
                str(sum(len(e["listed"]) for e in own)),
                str(sum(e["false"] for e in own)),
                f"{median(e['cpu'] for e in own):.0f}",
                size(max((e["memory"] for e in own), default=0)),
                files(own),
            ]
        )
    headings = ["program", "files", "above all that is no pulsar", "of these on no other list", "listed"]
    total = markdown([*headings, "listed and no pulsar", "CPU a file [s]", "memory", "files left"], rows)
    kinds = list(dict.fromkeys(key.rsplit("-", 1)[0] for key in common))
    rows = []
    for kind in kinds:
        keys = [key for key in common if key.rsplit("-", 1)[0] == kind]
        cells = []
        for entries in programs.values():
            own = [entries[key] for key in keys]
            cells += [share_of(own, "above"), share_of(own, "listed"), str(sum(e["false"] for e in own))]
        rows.append([kind, str(len(keys)), *cells])
    words = ("above all that is no pulsar", "listed", "listed and no pulsar")
    headings = [f"{name}: {text}" for name in programs for text in words]
    return f"{total}\n\n{markdown(['environment', 'files', *headings], rows)}"


def share_of(skies: Sequence[dict[str, Any]], what: str) -> str:
    """How many of the injected pulsars."""
    return f"{sum(len(e[what]) for e in skies)} of {sum(e['injected'] for e in skies)}"


def real_table(programs: dict[str, Any]) -> str:
    """Real files: the place of the pulsar in each list, and how long that is."""
    names = list(dict.fromkeys(path for entries in programs.values() for path in entries))
    rows = []
    for path in names:
        cells = []
        for entries in programs.values():
            if path not in entries:
                cells.append("-")
                continue
            entry = entries[path]
            where = (
                f"{entry['place'] or 'not in'} of {entry['shown']}" if entry["period"] else f"{entry['shown']} false"
            )
            cells.append(f"{where}; {entry['cpu']:.2f} s; {entry['files']}")
        period = next(entries[path]["period"] for entries in programs.values() if path in entries)
        rows.append([path, f"{period:.7g} s" if period else "no pulsar", *cells])
    return markdown(["file", "answer", *(f"{name}: place; CPU; files" for name in programs)], rows)


def best_of(programs: dict[str, Any], key: Callable[[dict[str, Any]], float]) -> dict[str, dict[str, Any]]:
    """Of every package the program that does best, by the first word of its name."""
    found: dict[str, dict[str, Any]] = {}
    for name, entries in programs.items():
        package = name.split()[0].rstrip(":")
        if package not in found or key(entries) > key(found[package]):
            found[package] = entries
    return found


def found_share(kinds: dict[str, Any]) -> tuple[int, int] | None:
    """Pulsars found at equal false alarms, and how many there were; None where too few series were searched."""
    noise, pulsars = (list(kinds.get(kind, {}).values()) for kind in ("noise", "pulsars"))
    if len(noise) < LEAST_NOISE or not pulsars:
        return None
    return above(pulsars, threshold([entry["best"] for entry in noise]).value), len(pulsars)


def only(kinds: dict[str, Any], numbers: Iterable[str]) -> dict[str, Any]:
    """The same with no other pulsars than these."""
    return {**kinds, "pulsars": {number: kinds["pulsars"][number] for number in numbers}}


def millisecond(kinds: dict[str, Any]) -> dict[str, Any]:
    """The same without the other pulsars."""
    return only(kinds, [number for number, entry in kinds["pulsars"].items() if entry["millisecond"]])


def fraction(pair: tuple[int, int] | None) -> float:
    """What was found of what there was, below 0 where that is not known."""
    return -1.0 if pair is None else pair[0] / pair[1]


def costs(entries: Sequence[dict[str, Any]]) -> str:
    """Seconds, memory and files in a few words."""
    seconds = median(entry["cpu"] for entry in entries)
    memory = size(max(entry["memory"] for entry in entries))
    return f"{seconds:.{2 if seconds < 10 else 0}f} s, {memory}, {files(entries)}"


def summary(content: dict[str, Any]) -> str:
    """Series and real files, what a reader wants to know first: found, and the cost, in a column for each package.

    Parameters
    ----------
    content : dict
        Of a file of versus.py.
    """
    lines: list[tuple[str, dict[str, str]]] = []
    for log2n, programs in content.get("series", {}).items():
        best = best_of(programs, lambda kinds: fraction(found_share(kinds)))
        counted = {name: pair for name, kinds in best.items() if (pair := found_share(kinds)) is not None}
        if not counted:
            continue
        head = f"pulsars found in series of 2^{log2n} samples (68 %)"
        lines.append((head, {name: f"{share(*pair)} of {pair[1]}" for name, pair in counted.items()}))
        fast = {name: found_share(millisecond(best[name])) for name in counted}
        lines.append(("of the millisecond pulsars", {n: f"{pair[0]} of {pair[1]}" for n, pair in fast.items() if pair}))
        same = set.intersection(*(set(best[name]["pulsars"]) for name in counted)) if counted else set()
        if same and any(len(best[name]["pulsars"]) > len(same) for name in counted):
            shared = {name: found_share(only(best[name], same)) for name in counted}
            words = {name: f"{pair[0]} of {pair[1]}" for name, pair in shared.items() if pair}
            lines.append(("of those that all were given", words))
        every = {name: [e for kind in kinds.values() for e in kind.values()] for name, kinds in best.items()}
        lines.append(("CPU, memory, files left, a series", {name: costs(own) for name, own in every.items() if own}))
    real = best_of(
        begun(content.get("real", {})), lambda entries: sum(entry["place"] == 1 for entry in entries.values())
    )
    if real:
        first = {n: [e["place"] == 1 for e in es.values() if e["period"]] for n, es in real.items()}
        lines.append(
            ("pulsars of real files first in the list", {n: f"{sum(f)} of {len(f)}" for n, f in first.items()})
        )
        false = {n: str(sum(e["shown"] for e in es.values() if not e["period"])) for n, es in real.items()}
        lines.append(("listed in a real series without a pulsar", false))
    return columns(lines)


def columns(lines: Sequence[tuple[str, dict[str, str]]]) -> str:
    """A table of what each package has, a row for every head."""
    packages = list(dict.fromkeys(name for _, cells in lines for name in cells))
    rows = [[head, *(cells.get(name, "–") for name in packages)] for head, cells in lines]
    return markdown(["", *packages], rows)


def population_summary(skies: dict[str, Any]) -> str:
    """Random skies, in a column for each program.

    Parameters
    ----------
    skies : dict
        The part `population` of a file of versus.py.
    """
    programs = begun(skies)
    common = skies_of_all(programs)
    own = {name: [entries[key] for key in common] for name, entries in programs.items()}
    return columns(
        (
            (
                f"pulsars of {len(common)} raw files above all that is none",
                {name: share_of(entries, "above") for name, entries in own.items()},
            ),
            ("listed and no pulsar", {name: str(sum(e["false"] for e in entries)) for name, entries in own.items()}),
            ("CPU, memory, files left, a file", {name: costs(entries) for name, entries in own.items() if entries}),
        )
    )


def tables(content: dict[str, Any], *, short: bool = False) -> dict[str, str]:
    """What was measured, by the marks of a page: random skies have their own, as they may be another machine's.

    Parameters
    ----------
    content : dict
        Of a file of versus.py.
    short : bool
        A column for each package.
    """
    where = content["machine"]
    head = machine({**where, "created": where.get("date", "")})
    found = {}
    real, skies = begun(content.get("real", {})), begun(content.get("population", {}))
    parts = [series_table(programs, log2n) for log2n, programs in content.get("series", {}).items()]
    parts += [real_table(real)] if real else []
    if parts:
        found["versus"] = summary(content) if short else "\n\n".join([head, *parts])
    if (red := content.get("red")) and not short:
        found["versus-red"] = f"{head}\n\n{red_table(red)}"
    if skies:
        found["versus-population"] = population_summary(skies) if short else f"{head}\n\n{population_table(skies)}"
    return found


#: Marks of a page -> what the run calls it, and the function that makes it.
SECTIONS: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "bench": ("figures", kernels),
    "stages": ("stages", stages),
    "peers": ("peers", lambda run: f"{machine(run)}\n\n{peers_table(run['peers'])}"),
}


def sections(runs: list[dict[str, Any]]) -> dict[str, str]:
    """What the runs hold, by the marks of a page."""
    found = {}
    for mark, (key, make) in SECTIONS.items():
        texts = [make(run) for run in runs if run.get(key)]
        if texts:
            found[mark] = "\n\n".join(texts)
    return found


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
    beside: Annotated[str, typer.Option(help="between the marks of that name, for another processor")] = "",
) -> None:
    """Read, print or write, and plot."""
    runs = [load(path) for path in files]
    texts = sections(runs)
    if beside:
        texts = {f"{mark}-{beside}": text for mark, text in texts.items()}
    put(texts, into)
    if plot is not None:
        if not runs[0]["figures"]:
            raise SystemExit(f"{files[0]}: holds no kernels to plot")
        roofline(load_run(files[0]), plot)


if __name__ == "__main__":
    typer.run(main)
