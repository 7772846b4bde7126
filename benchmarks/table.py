"""Markdown table and roofline plot of one or more runs of `pulsar bench --json`.

    pulsar bench --json > bench.json
    python benchmarks/table.py bench.json [--plot roofline.png] [--into benchmarks/README.md]

Prints the tables; `--into` puts them between the lines ``<!-- bench -->`` and ``<!-- /bench -->`` of a file instead.
The plot shows operations a second over operations per byte under the roofs of the machine (first file), and how much
of its limit every kernel reaches.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

from pulsar.bench.run import FORMAT
from pulsar.cli.bench import si

BEGIN, END = "<!-- bench -->", "<!-- /bench -->"
LIMITS = (
    ("copy", "copy [B/s]"),
    ("copy_near", "copy in cache"),
    ("adds_l1", "int16 adds/s in L1"),
    ("adds_l2", "in L2"),
    ("floats", "float32 [flop/s]"),
    ("fft", "in FFTs"),
)
COLOURS = {"copy near": "C0", "copy": "C1", "adds L1": "C2", "adds L2": "C3", "floats": "C4", "fft": "C5"}


def load(path: Path) -> dict[str, Any]:
    """A run, as `pulsar bench --json` writes it."""
    document: dict[str, Any] = json.loads(path.read_text())
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise SystemExit(f"{path}: not the output of `pulsar bench --json`")
    return document


def markdown(headings: list[str], rows: list[list[str]]) -> str:
    """A table with its first column aligned to the left and the others to the right."""
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def tables(run: dict[str, Any]) -> str:
    """Machine, limits and figures of a run."""
    versions = ", ".join(f"{name} {number}" for name, number in run["versions"].items())
    threads = f"{run['threads']} thread{'s' if run['threads'] > 1 else ''}"
    head = f"{run['cpu']}, {run['cores']} cores, {run['created'][:10]}; {versions}. CPU seconds, {threads}."
    limits = markdown(
        ["cores", *(heading for _, heading in LIMITS)],
        [[str(x["threads"]), *(si(x[key]) for key, _ in LIMITS)] for x in run["limits"]],
    )
    rows = [
        [
            f"`{f['kernel']}` {f['about']}",
            si(f["samples_per_s"]),
            si(f["adds_per_s"] + f["flops_per_s"]),
            si(f["bytes_per_s"]),
            f"{1e3 * f['cpu_s']:.2f}",
            f"{100 * f['fraction']:.0f} % of {f['limit']}",
            "-" if f["ratio"] is None else f"{f['ratio']:.1f} x",
            f"{f['first_s']:.2f}",
        ]
        for f in run["figures"]
    ]
    headings = ["kernel", "samples/s", "operations/s", "bytes/s", "CPU [ms]", "limit", "numpy takes", "first call [s]"]
    return "\n\n".join([head, limits, markdown(headings, rows)])


def replace_between(path: Path, text: str) -> None:
    """Put `text` between the two marks of a file."""
    old = path.read_text()
    if old.count(BEGIN) != 1 or old.count(END) != 1 or old.index(BEGIN) > old.index(END):
        raise SystemExit(f"{path}: expected the lines {BEGIN} and {END} once, in this order")
    before, after = old[: old.index(BEGIN)], old[old.index(END) :]
    path.write_text(f"{before}{BEGIN}\n{text}\n{after}")


def plot(run: dict[str, Any], path: Path) -> None:
    """Roofline and fractions of a run, as an image."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    limits = next(x for x in run["limits"] if x["threads"] == run["threads"])
    figures = run["figures"]
    computing = [f for f in figures if f["adds_per_byte"] + f["flops_per_byte"] > 0]
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 0.28 * len(figures) + 3), width_ratios=(3, 2))
    intensities = [f["adds_per_byte"] + f["flops_per_byte"] for f in computing]
    low = min([0.1, *intensities]) / 2
    high = max([10.0, *intensities]) * 2
    roofs = {"adds L1": "adds_l1", "adds L2": "adds_l2", "floats": "floats", "fft": "fft"}
    top = max(limits[key] for key in roofs.values())
    for name, key in (("copy near", "copy_near"), ("copy", "copy")):
        end = min(high, top / limits[key])
        label = f"{name} {si(limits[key])}B/s"
        left.plot([low, end], [low * limits[key], end * limits[key]], color=COLOURS[name], label=label)
    left.legend(loc="lower right", fontsize=8)
    for name, key in roofs.items():
        left.plot([limits[key] / limits["copy_near"], high], [limits[key]] * 2, color=COLOURS[name])
        left.text(high, limits[key], f" {name} {si(limits[key])}/s", color=COLOURS[name], fontsize=8, va="center")
    # Names in turn below and above their points, so that fewer overlap.
    for place, (x, f) in enumerate(sorted(zip(intensities, computing, strict=True), key=lambda pair: pair[0])):
        y = f["adds_per_s"] + f["flops_per_s"]
        left.plot(x, y, "o", color=COLOURS[f["limit"]])
        left.annotate(f["kernel"], (x, y), textcoords="offset points", xytext=(5, 4 if place % 2 else -9), fontsize=8)
    left.set(xscale="log", yscale="log", xlim=(low, high), xlabel="operations per byte moved", ylabel="operations/s")
    left.set_title(f"{run['cpu']}, {run['threads']} of {run['cores']} cores", fontsize=10)
    left.grid(alpha=0.3)
    names = [f["kernel"] for f in figures]
    fractions = [100 * f["fraction"] for f in figures]
    right.barh(names, fractions, color=[COLOURS[f["limit"]] for f in figures])
    for name, value, f in zip(names, fractions, figures, strict=True):
        right.text(value, name, f" {f['limit']}", va="center", fontsize=8)
    right.invert_yaxis()
    right.set(xlabel="% of the limit that bounds it", xlim=(0, 1.25 * max(100.0, math.ceil(max(fractions)))))
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main() -> None:
    """Read, print or write, and plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="BENCH.json")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="roofline plot of the first run")
    parser.add_argument("--into", type=Path, metavar="README.md", help="put the tables into this file")
    options = parser.parse_args()
    runs = [load(path) for path in options.runs]
    text = "\n\n".join(tables(run) for run in runs)
    if options.into is not None:
        replace_between(options.into, text)
    else:
        print(text)
    if options.plot is not None:
        plot(runs[0], options.plot)


if __name__ == "__main__":
    main()
