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
`pulsar bench --roofline`, of the first file.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from peers import seconds
from shared import markdown

from pulsar.bench.figures import FORMAT, roofline
from pulsar.bench.figures import load as load_run
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


def peers(run: dict[str, Any]) -> str:
    """Other programs beside ours."""
    rows = [
        [
            f["work"],
            f["program"] if f["program"].startswith(f["package"]) else f"{f['package']} `{f['program']}`",
            seconds(f["cpu_s"]),
            seconds(f["ours_cpu_s"]),
            "-" if f["ratio"] is None else f"{f['ratio']:.{1 if f['ratio'] < 100 else 0}f} x",
            f["note"] if f["state"] == "measured" else f"{f['state']}: {f['note']}",
        ]
        for f in run["peers"]
    ]
    headings = ["work", "program", "CPU [s]", "ours, CPU [s]", "takes", "remarks"]
    return "\n\n".join([machine(run), markdown(headings, rows)])


#: Marks of a page -> what the run calls it, and the function that makes it.
SECTIONS: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "bench": ("figures", kernels),
    "stages": ("stages", stages),
    "peers": ("peers", peers),
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
