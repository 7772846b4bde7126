"""What a first search has to compile: counted in an empty cache, and held to a budget.

    python tests/packaging/cold.py [--cache FOLDER]
    python tests/packaging/cold.py --index

Searches of every kind (power spectra, acceleration and jerk, fast folding, single pulses) of a small filterbank, of the
same as PSRFITS, and of a dedispersed series, in a process of their own whose cache is empty. What it takes to make the
files is not counted. `--index` writes kernels/pulsar_kernels/index.py, the versions of kernels that these searches were
seen to use: to be run again when a kernel has got other arguments.
"""

import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

INDEX = Path(__file__).resolve().parents[2] / "kernels" / "pulsar_kernels" / "index.py"
#: Kernels that these small files do not need, or not for all types: stages of a plan and series that are downsampled,
#: candidates folded from words, gaps, signals injected to tell the completeness. Their versions are taken over from the
#: index as it is: a new one is written there by hand.
OTHERS = (
    "cells.runs_either",
    "dedisperse.halve_pairs",
    "dedisperse.halve_series",
    "dedisperse.halve_words",
    "dedisperse.requantise",
    "fold.fold_band",
    "peaks.ratios",
    "period.best_at",
    "dedisperse.shear_add",
    "injections.add_steps",
    "injections.add_band",
    "whiten.whiten_amplitudes",
)
HEAD = '''"""What versions of kernels searches call, the most expensive to compile first.

Written by `tests/packaging/cold.py --index`; `pulsar_kernels.ahead` tells how the types are meant.
"""

VERSIONS = (
'''


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kernels", type=int, help="most compilations of kernels")
    parser.add_argument("--numba", type=int, help="most compilations of numba's own functions")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--ahead", action="store_true", help="`pulsar compile` first: nothing may be left to compile")
    either.add_argument("--index", action="store_true", help="write the versions that searches call")
    parser.add_argument("--cache", type=Path, help="leave what was compiled in this folder, which must be empty")
    parser.add_argument("--inner", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inner:
        json.dump(counted(), sys.stdout)
        return
    if args.cache is not None and args.cache.is_dir() and any(args.cache.iterdir()):
        sys.exit(f"{args.cache}: is not empty: what is in it would not be counted")
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "NUMBA_CACHE_DIR": str(args.cache or folder), "PULSAR_COMPILE_AHEAD": "0"}
        if args.ahead:
            more = {"PULSAR_COMPILE_AHEAD": "1"}
            subprocess.run([sys.executable, "-m", "pulsar", "compile"], env=env | more, check=True)
        command = [sys.executable, __file__, "--inner"]
        result = json.loads(subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE).stdout)
    if args.index:
        write_index(result["versions"])
    for name, (count, seconds) in sorted(result["kernels"].items(), key=lambda item: -item[1][1]):
        print(f"{seconds:7.2f} s {count:3}  {name}")
    kernels, seconds = result["events"], result["seconds"]
    print(
        f"{kernels} compilations of kernels, {result['inner']} of numba's own functions, {seconds:.1f} s of processor"
    )
    for count, most in ((kernels, args.kernels), (result["inner"], args.numba)):
        if most is not None and count > most:
            sys.exit(f"{count} compilations: the budget is {most}")
    if args.ahead and kernels + result["making"]:
        sys.exit("kernels/pulsar_kernels/index.py lacks versions: run this with --index")


def write_index(versions: dict[str, float]) -> None:
    """Write kernels/pulsar_kernels/index.py: versions, and what it takes to compile each [s]."""
    from pulsar_kernels.index import VERSIONS

    seen = {line: 0.0 for line in VERSIONS if line.partition("(")[0] in OTHERS} | versions
    lines = []
    for line in sorted(seen, key=lambda key: (-seen[key], key)):
        parts = [f'    "{part}"' for part in textwrap.wrap(line, 108, drop_whitespace=False)]
        lines.append("\n".join(parts) + ",")
    INDEX.write_text(HEAD + "\n".join(lines) + "\n)\n")


def type_text(kind: Any) -> str:
    """A type as `pulsar_kernels.ahead` reads it."""
    from numba import types

    if isinstance(kind, types.Array):
        last = "::1" if kind.layout == "C" else ":"
        shape = ",".join([":"] * (kind.ndim - 1) + [last])
        return f"{'' if kind.mutable else 'const '}{kind.dtype}[{shape}]"
    if isinstance(kind, types.BaseNamedTuple):
        module = kind.instance_class.__module__.rpartition(".")[2]
        return f"{module}.{kind.instance_class.__name__}"
    return str(kind)


def counted() -> dict[str, Any]:
    """Run the searches; what was compiled."""
    from numba.core import event

    done: list[tuple[str, Any, float, float]] = []
    open_: dict[int, list[list[float]]] = collections.defaultdict(list)

    class Listener(event.Listener):  # type: ignore[misc]
        def on_start(self, _event: Any) -> None:
            open_[threading.get_ident()].append([time.thread_time(), 0.0])

        def on_end(self, ended: Any) -> None:
            stack = open_[threading.get_ident()]
            start, within = stack.pop()
            spent = time.thread_time() - start
            if stack:
                stack[-1][1] += spent
            function = ended.data["dispatcher"].py_func
            name = f"{function.__module__}.{function.__qualname__}"
            done.append((name, ended.data["args"], spent - within, spent if not stack else 0.0))

    event.register("numba:compile", Listener())
    with tempfile.TemporaryDirectory() as folder:
        made = files(Path(folder))
        making = len(done)
        searches(*made)
    versions: dict[str, float] = {}
    for name, args, _, whole in done:
        if whole and name.startswith("pulsar_kernels."):
            line = f"{name.removeprefix('pulsar_kernels.')}({', '.join(map(type_text, args))})"
            versions[line] = max(versions.get(line, 0.0), whole)
    kernels: dict[str, tuple[int, float]] = {}
    making_own = sum(name.startswith("pulsar_kernels.") for name, *_ in done[:making])
    done = done[making:]
    for name, _, seconds, _ in done:
        count, total = kernels.get(name, (0, 0.0))
        kernels[name] = (count + 1, total + seconds)
    own = sum(name.startswith("pulsar_kernels.") for name, *_ in done)
    return {
        "kernels": kernels,
        "events": own,
        "making": making_own,
        "versions": versions,
        "inner": len(done) - own,
        "seconds": sum(seconds for _, _, seconds, _ in done),
    }


def files(folder: Path) -> tuple[Path, list[Path], Path]:
    """A filterbank, the same as PSRFITS, and a dedispersed series."""
    from pulsar.synthesis.model import Burst, Pulsar, Rfi, Sky
    from pulsar.synthesis.write import write_filterbank, write_psrfits

    sky = Sky(
        nchans=64,
        fch1=1490.0,
        foff=-6.0,
        tsamp=512e-6,
        nsamps=1 << 17,
        seed=3,
        pulsars=(
            Pulsar(name="fast", period=0.0231, dm=12, snr=25, duty=0.12),
            Pulsar(name="slow", period=1.5123, dm=20, snr=90, duty=0.02, nulling=0.6),
        ),
        bursts=(Burst(name="burst", time=31.7, dm=15, snr=30, width=6e-3),),
        rfi=(
            Rfi(kind="dead", freqs=(1460, 1466)),
            Rfi(kind="mains", rate=50.0, strength=0.03, harmonics=3),
            Rfi(kind="impulse", rate=0.2, width=0.003, strength=1.5),
        ),
    )
    filterbank = write_filterbank(sky, folder / "a.fil", threads=2)
    fits = write_psrfits(sky, folder / "a.fits", threads=2)
    series_file(folder / "a.dat", sky.tsamp)
    return filterbank, fits, folder / "a.dat"


def searches(filterbank: Path, fits: list[Path], series: Path) -> None:
    """All that a search may do, on as little as will do."""
    from pulsar.config.load import load_config
    from pulsar.report.page import write_report
    from pulsar.run import search

    folder = filterbank.parent
    # Kernels of templates are compiled where a source is strong enough to be taken out.
    quick = ["search.residual=0", "run.threads=2", "fold.ncands=6", "dedisp.dm_hi=30"]
    everything = load_config(None, [*quick, "coherent.enabled=true", "accel.zmax=60", "accel.wmax=100"])
    run = search([filterbank], everything, folder / "a.h5")
    write_report([run], folder / "report", top=3)
    search(fits, load_config(None, quick), folder / "b.h5")
    search([series], load_config(None, [*quick, "accel.zmax=20"]), folder / "c.h5")


def series_file(path: Path, tsamp: float) -> None:
    """Noise with a pulsar and the mains, as PRESTO's ``.dat`` with its ``.inf``."""
    nsamps = 1 << 17
    time_ = np.arange(nsamps) * tsamp
    x = np.random.default_rng(1).standard_normal(nsamps) + 0.2 * np.sin(2 * np.pi * 50.0 * time_)
    x += 1.5 * ((time_ / 0.1234) % 1.0 < 0.06)
    (path.with_suffix(".dat")).write_bytes(x.astype(np.float32).tobytes())
    path.with_suffix(".inf").write_text(
        f""" Data file name without suffix          =  {path.stem}
 Telescope used                         =  GBT
 Object being observed                  =  x
 J2000 Right Ascension (hh:mm:ss.ssss)  =  12:00:00.0
 J2000 Declination     (dd:mm:ss.ssss)  =  30:00:00.0
 Epoch of observation (MJD)             =  57001.25
 Barycentered?           (1 yes, 0 no)  =  0
 Number of bins in the time series      =  {nsamps}
 Width of each time series bin (sec)    =  {tsamp}
 Any breaks in the data? (1 yes, 0 no)  =  0
 Dispersion measure (cm-3 pc)           =  12
"""
    )


if __name__ == "__main__":
    main()
