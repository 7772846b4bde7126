"""The page of 1,000 candidates: how long it takes to make, how large it is, how long a browser takes with it.

    python benchmarks/page.py RUN.h5 [--count 1000] [--keep DIR]

RUN.h5 is the product of a real run, such as that of ``pulsar demo``: its folds are repeated with other periods, DMs and
noise (`tests/reference/many.py`) until there are enough. Needs Chromium. Times in the browser are those of one process
on this machine, from the start of loading until the lists are there, and from an action until the page is laid out.
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from reference.browser import Browser
from reference.many import many

from pulsar.io.product.reader import read
from pulsar.report.page import tasks_of, write_report

#: What is done, as JavaScript that does it.
ACTIONS = {
    "sort by DM": "lists.get('candidates').sort(lists.get('candidates').columns.findIndex(c => c.key === 'dm'))",
    "filter": "lists.get('candidates').input.value = 'dm>50 snr>8'; lists.get('candidates').refresh()",
    "clear": "lists.get('candidates').clear()",
    "open a sheet": "lists.get('candidates').select(lists.get('candidates').view[500], true)",
    "next row": "lists.get('candidates').move(1)",
}


def main(
    run: Annotated[Path, typer.Argument(help="product of a real run")],
    count: int = 1000,
    keep: Annotated[Path | None, typer.Option(help="folder in which product and page stay")] = None,
) -> None:
    """Make the page, and open it."""
    with tempfile.TemporaryDirectory() as folder:
        where = keep or Path(folder)
        where.mkdir(parents=True, exist_ok=True)
        make_page(many(read(run), where / "many.h5", count, pulses=count), where / "report")
        open_page(where / "report" / "index.html")


def make_page(product: Path, folder: Path) -> None:
    """Print time and size."""
    run = read(product)
    sheets = len(tasks_of([run], None))
    before, start = cpu(), time.perf_counter()
    page = write_report([run], folder)
    wall, spent = time.perf_counter() - start, cpu() - before
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"made: {sheets} sheets in {wall:.1f} s, {spent:.1f} s of processor, {1e3 * spent / sheets:.0f} ms each")
    print(f"size: {size / 1e6:.1f} MB, of which the page {page.stat().st_size / 1e6:.1f} MB")
    print(f"      a sheet {(size - page.stat().st_size) / sheets / 1e3:.1f} kB")


def cpu() -> float:
    """CPU seconds of this process and of those that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def open_page(page: Path) -> None:
    """Print how long the browser takes."""
    frame = "await new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)));"
    with Browser(1280, 800) as browser:
        ready = []
        for _ in range(5):
            browser.ask("Page.navigate", url="about:blank")
            browser.open(page)
            ready.append(float(browser.run("document.documentElement.dataset.ready")))
        print(f"opens: {min(ready):.0f} ms, of five times the worst {max(ready):.0f} ms")
        for name, script in ACTIONS.items():
            # Do it, lay the page out, note the time [ms], and let it be drawn.
            timed = f"const s = performance.now(); {script}; document.body.offsetHeight; t.push(performance.now() - s);"
            loop = f"for (let i = 0; i < 9; i++) {{ {timed} {frame} }}"
            times = json.loads(browser.run(f"(async () => {{ const t = []; {loop} return JSON.stringify(t); }})()"))
            print(f"{name}: {sorted(times)[len(times) // 2]:.0f} ms")


if __name__ == "__main__":
    typer.run(main)
