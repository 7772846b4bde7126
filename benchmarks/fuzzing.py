"""Hostile files of every kind that the program reads, many of each: nothing but our own errors may come of them.

Each execution makes a file of a kind hostile by the numbers of its seed alone, and reads it by all that reads such
files. A fault is an exception that is not ours, more than 5 s, an end of the process, more memory than the limit, or a
control code in what would be shown. What fails is kept with its seed:

    python benchmarks/fuzzing.py --seconds 60 --kinds sigproc,product --keep failed/
    python benchmarks/fuzzing.py --count 50000
    python benchmarks/fuzzing.py --kinds product --first 1234 --count 1 --show
"""

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
from typing import Annotated, Any

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fuzz.campaign import Campaign
from fuzz.kinds import KINDS

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


def work(campaign: Campaign, seeds: range, until: float, log: Any, show: bool) -> None:
    """In a process of its own: seeds one after the other, a line to `log` before each and for each fault."""
    signal.signal(signal.SIGALRM, _late)
    signal.signal(signal.SIGPROF, _late)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
    longest = 0.0
    for seed in seeds:
        began = time.monotonic()
        if began > until:
            break
        log.write(f"{seed}\n")
        # CPU seconds, on whatever machine; and a bound for what waits.
        signal.setitimer(signal.ITIMER_PROF, PATIENCE)
        signal.setitimer(signal.ITIMER_REAL, 20 * PATIENCE)
        try:
            campaign.execute(seed)
        except BaseException as error:
            _stop()
            frames = traceback.extract_tb(error.__traceback__)
            ours = [frame for frame in frames if "/pulsar/" in frame.filename]
            where = f"{Path((ours or frames)[-1].filename).name}:{(ours or frames)[-1].lineno}"
            fault = {"seed": seed, "what": type(error).__name__, "where": where, "text": str(error)[:300]}
            log.write(json.dumps(fault) + "\n")
            if show:
                traceback.print_exc()
        _stop()
        if time.monotonic() - began > longest:
            longest = time.monotonic() - began
            log.write(json.dumps({"seed": seed, "seconds": round(longest, 2)}) + "\n")
    log.write("end\n")


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
                # Line by line, as the process may end anywhere.
                with log.open("w", buffering=1) as lines:
                    work(campaign, range(seed, last), began + seconds, lines, show)
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
    found = {"kind": kind.name, "executions": seed - first, "faults": faults, "longest": longest}
    return found | {"seconds": round(time.monotonic() - began, 1)}


def show_result(result: dict[str, Any]) -> None:
    """Print executions and faults, those of one place together."""
    rate, longest = result["executions"] / max(result["seconds"], 0.1), "{:.1f} s (seed {})".format(*result["longest"])
    counts = f"{result['executions']:>8} executions, {rate:7.0f}/s, {len(result['faults'])} faults"
    print(f"{result['kind']:<17} {counts}, longest {longest}", flush=True)
    places: dict[str, list[dict[str, Any]]] = {}
    for fault in result["faults"]:
        places.setdefault(f"{fault['what']} at {fault['where']}", []).append(fault)
    for place, faults in sorted(places.items(), key=lambda item: -len(item[1]))[:25]:
        print(f"  {len(faults):>6} x, seed {faults[0]['seed']}: {place}: {faults[0]['text'][:140]}")


def main(
    kinds: Annotated[str, typer.Option(help="comma separated; of " + ", ".join(k.name for k in KINDS))] = "",
    first: Annotated[int, typer.Option(help="first seed")] = 0,
    count: Annotated[int, typer.Option(help="executions of each kind")] = 1 << 40,
    seconds: Annotated[float, typer.Option(help="for each kind")] = 60.0,
    keep: Annotated[Path | None, typer.Option(help="folder for the files that fail")] = None,
    show: Annotated[bool, typer.Option(help="the traceback of each fault")] = False,
) -> None:
    """Make files hostile, and read them; exit code 1 if there are faults."""
    warnings.simplefilter("ignore")
    results = []
    for kind in (kind for kind in KINDS if not kinds or kind.name in kinds.split(",")):
        results.append(run_kind(kind, first, count, seconds, keep, show))
        show_result(results[-1])
    print(f"{sum(r['executions'] for r in results)} executions, {sum(len(r['faults']) for r in results)} faults")
    raise typer.Exit(int(any(r["faults"] for r in results)))


if __name__ == "__main__":
    typer.run(main)
