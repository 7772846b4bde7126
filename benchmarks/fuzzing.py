"""Hostile files of every kind that the program reads, many of each: nothing but our own errors may come of them.

Each execution makes a file of a kind hostile by the numbers of its seed alone, and reads it by all that reads such
files. A fault is an exception that is not ours, more than 5 s, an end of the process, more memory than the limit, or a
control code in what would be shown. What fails is kept with its seed:

    python benchmarks/fuzzing.py --seconds 60 --kinds sigproc,product --keep failed/
    python benchmarks/fuzzing.py --count 50000 --json fuzz.json
    python benchmarks/fuzzing.py --kinds product --first 1234 --count 1 --show
"""

import argparse
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

TESTS = Path(__file__).resolve().parents[1] / "tests"
# In place of this folder, whose fuzz.py is not the package of that name.
sys.path[0] = str(TESTS)

from fuzz.campaign import Campaign  # noqa: E402
from fuzz.kinds import KINDS  # noqa: E402

#: Seconds that one file may take, and address space beyond that of the start. HDF5 files have their own limits
#: (`pulsar.io.hdf5_apart`): what another process takes for them shows in the longest time.
PATIENCE = 5.0
ROOM = 1 << 30


class Late(BaseException):
    """No Exception: a reader must not take it for one of the file's."""


def _late(_signum: int, _frame: FrameType | None) -> None:
    raise Late(f"more than {PATIENCE:g} s")


def _stop() -> None:
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)


def work(campaign: Campaign, seeds: range, until: float, told: Any, show: bool) -> None:
    """In a process of its own: seeds one after the other, a line of JSON to `told` before each and for each fault."""
    signal.signal(signal.SIGALRM, _late)
    signal.signal(signal.SIGPROF, _late)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
    longest = 0.0
    for seed in seeds:
        began = time.monotonic()
        if began > until:
            break
        told.write(f"{seed}\n")
        told.flush()
        # CPU seconds, on whatever machine; and a bound for what waits.
        signal.setitimer(signal.ITIMER_PROF, PATIENCE)
        signal.setitimer(signal.ITIMER_REAL, 20 * PATIENCE)
        try:
            campaign.execute(seed)
        except BaseException as error:
            _stop()
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = next(
                (f"{Path(f.filename).name}:{f.lineno}" for f in reversed(traceback.extract_tb(error.__traceback__))
                 if "/pulsar/" in f.filename), f"{Path(last.filename).name}:{last.lineno}"
            )  # fmt: skip
            told.write(
                json.dumps({"seed": seed, "what": type(error).__name__, "where": where, "text": str(error)[:300]})
            )
            told.write("\n")
            if show:
                traceback.print_exc()
        _stop()
        if time.monotonic() - began > longest:
            longest = time.monotonic() - began
            told.write(json.dumps({"seed": seed, "seconds": round(longest, 2)}) + "\n")
    told.write("end\n")
    told.flush()


def run_kind(kind: Any, first: int, count: int, seconds: float, keep: Path | None, show: bool) -> dict[str, Any]:
    """Executions of one kind, in processes that are begun anew where one ends."""
    began = time.monotonic()
    seed, last, faults, longest = first, first + count, [], (0.0, first)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        campaign = Campaign(kind, Path(folder))
        while seed < last and time.monotonic() - began < seconds:
            log = Path(folder) / "log"
            child = os.fork()
            if child == 0:
                with log.open("w") as told:
                    work(campaign, range(seed, last), began + seconds, told, show)
                os._exit(0)
            status = os.waitpid(child, 0)[1]
            lines = log.read_text().splitlines()
            notes = [json.loads(line) for line in lines if line.startswith("{")]
            faults += [note for note in notes if "what" in note]
            longest = max([longest, *((note["seconds"], note["seed"]) for note in notes if "seconds" in note)])
            done = [int(line) for line in lines if line.isdigit()]
            seed = done[-1] + 1 if done else last
            if lines and lines[-1] == "end":
                break
            faults.append({"seed": seed - 1, "what": f"ended by status {status}", "where": "process", "text": ""})
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            for fault in faults[:200]:
                (keep / f"{kind.name.replace(' ', '_')}-{fault['seed']}").write_bytes(campaign.content(fault["seed"]))
    spent = time.monotonic() - began
    return {
        "kind": kind.name, "executions": seed - first, "seconds": round(spent, 1), "faults": faults, "longest": longest
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", default="", help="of " + ", ".join(k.name for k in KINDS))
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--count", type=int, default=1 << 40, help="executions of each kind")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each kind")
    parser.add_argument("--keep", type=Path, help="folder for the files that fail")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--show", action="store_true", help="the traceback of each fault")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    chosen = [k for k in KINDS if not args.kinds or k.name in args.kinds.split(",")]
    results = []
    for kind in chosen:
        found = run_kind(kind, args.first, args.count, args.seconds, args.keep, args.show)
        results.append(found)
        rate = found["executions"] / max(found["seconds"], 0.1)
        print(
            f"{kind.name:<17} {found['executions']:>8} executions, {rate:7.0f}/s, {len(found['faults'])} faults, "
            "longest {:.1f} s (seed {})".format(*found["longest"]),
            flush=True,
        )
        kinds: dict[str, list[int]] = {}
        for fault in found["faults"]:
            kinds.setdefault(f"{fault['what']} at {fault['where']}: {fault['text'][:140]}", []).append(fault["seed"])
        by_place: dict[str, tuple[int, int, str]] = {}
        for text, seeds in kinds.items():
            place = text.split(": ")[0]
            n, first, example = by_place.get(place, (0, seeds[0], text))
            by_place[place] = (n + len(seeds), first, example)
        for n, seed, example in sorted(by_place.values(), reverse=True)[:25]:
            print(f"  {n:>6} x, seed {seed}: {example}")
    print(f"{sum(r['executions'] for r in results)} executions, {sum(len(r['faults']) for r in results)} faults")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))
    sys.exit(any(r["faults"] for r in results))


if __name__ == "__main__":
    main()
