"""The page of 1,000 candidates: how long it takes to make, how large it is, how long a browser takes with it.

    python benchmarks/page.py RUN.h5 [--count 1000] [--keep DIR]

RUN.h5 is the product of a real run, such as that of ``pulsar demo``: its folds are repeated with other periods, DMs and
noise (`tests/reference/many.py`) until there are enough. Needs Chromium. Times in the browser are those of one process
on this machine, from the start of loading until the lists are there, and from an action until the page is laid out.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="product of a real run")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--keep", type=Path, help="folder in which product and page stay")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        where = args.keep or Path(folder)
        where.mkdir(parents=True, exist_ok=True)
        made(many(read(args.run), where / "many.h5", args.count, pulses=args.count), where / "report")
        opened(where / "report" / "index.html")


def made(product: Path, folder: Path) -> None:
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


def opened(page: Path) -> None:
    with Browser(1280, 800) as browser:
        ready = []
        for _ in range(5):
            browser.ask("Page.navigate", url="about:blank")
            browser.open(page)
            ready.append(float(browser.run("document.documentElement.dataset.ready")))
        print(f"opens: {min(ready):.0f} ms, of five times the worst {max(ready):.0f} ms")
        for name, script in ACTIONS.items():
            loop = f"for (let i = 0; i < 9; i++) {{ {timed(script)} }}"
            times = json.loads(browser.run(f"(async () => {{ const t = []; {loop} return JSON.stringify(t); }})()"))
            print(f"{name}: {sorted(times)[len(times) // 2]:.0f} ms")


def timed(script: str) -> str:
    """Do it, lay the page out, note the time [ms], and let it be drawn."""
    frame = "await new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)));"
    return f"const s = performance.now(); {script}; document.body.offsetHeight; t.push(performance.now() - s); {frame}"


if __name__ == "__main__":
    main()
