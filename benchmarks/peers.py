"""Other programs on the same work as ours, in CPU seconds, one thread each.

    python benchmarks/peers.py [--env DIR] [--fast] [--rounds N] [--json OUT]

PRESTO's and PulsarX's programs are looked for on PATH, sigpyproc and riptide-ffa in the virtual environment `--env`
(`pip install sigpyproc riptide-ffa` there); what is absent is listed, with how to provide it. Everything runs three
times in turn (`--rounds`) and the least counts. Build the peers for this processor (``-O3 -march=native``) and let
PRESTO's `makewisdom` run once. `--fast` dedisperses one beam of FAST too (4.3 GB and 1.1 GB of temporary files). Prints
a table; `--json` writes what benchmarks/table.py reads.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peer_programs import Contest, Peer, PeerFigure, Program, Script, hold, interpreter

from pulsar.bench import folding
from pulsar.bench.case import power_of_two
from pulsar.bench.figures import empty_run
from pulsar.bench.stages import BAND, FAST, MEMORY, PULSAR, Survey, cleaned, run_dedispersion
from pulsar.cleaning import CleanedSource
from pulsar.cli.tables import print_table
from pulsar.config.model import FFTConfig, FoldConfig
from pulsar.constants import KDM
from pulsar.data.fold import FoldParams
from pulsar.errors import PulsarError

#: Times that everything is run; the least counts.
ROUNDS = 3
NHARM = 16
#: Bins, subbands and sub-integrations of a fold.
NBINS, NBANDS, NSUBINTS = 64, 32, 32
#: DMs from which the time of a package that makes one after the other is carried on to all.
FEW_DMS = 18
#: Lengths of the series searched.
SERIES = (1 << 21, 1 << 18)

_SIGPYPROC = """
import json, sys, time
import numpy as np
from sigpyproc.readers import FilReader

class Trials:
    def __init__(self, dms):
        self.dms = dms

    def __len__(self):
        return len(self.dms)

path, last, few, ndms = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
file = FilReader(path)

def times(n):
    cpu, wall = time.process_time(), time.perf_counter()
    file.dedisperse_plan(Trials(np.linspace(0.0, last, n)), outfile_base=f"out{n}")
    return time.process_time() - cpu, time.perf_counter() - wall

times(2)  # compiles
two, more = times(2), times(few)
whole = [a + (b - a) / (few - 2) * (ndms - 2) for a, b in zip(two, more)]
print(json.dumps({"cpu": whole[0], "wall": whole[1]}))
"""

_RIPTIDE = """
import json, sys, time
import numpy as np
from riptide import boxcar_snr

rows, bins, widths = int(sys.argv[1]), int(sys.argv[2]), np.array(json.loads(sys.argv[3]))
profiles = np.random.default_rng(1).standard_normal((rows, bins)).astype(np.float32)
best = [1e9, 1e9]
for _ in range(10):
    cpu, wall = time.process_time(), time.perf_counter()
    boxcar_snr(profiles, widths).max(axis=1)
    best = [min(best[0], time.process_time() - cpu), min(best[1], time.perf_counter() - wall)]
print(json.dumps({"cpu": best[0], "wall": best[1]}))
"""


def dedispersion(survey: Survey, path: Path, python: Path | None) -> Iterator[Contest]:
    """From a file to every series, which the peers write to disk: without making the mask, and with it.

    `dedisperse_all_fil` measures the noise of the channels and takes it out, the others sum the samples as they are:
    against these ours has made its mask before (PRESTO has a program of its own for that).
    """
    header, ndms = survey.sky.header, survey.size.ndms
    last = survey.dm_step * (ndms - 1)
    step = f"{survey.dm_step:g}"
    opened = ExitStack()
    masked: list[CleanedSource] = []

    def ours() -> None:
        if not masked:
            masked.append(opened.enter_context(cleaned(path)))
        run_dedispersion(masked[0], survey, 1)

    def all_ours() -> None:
        with cleaned(path) as source:
            run_dedispersion(source, survey, 1)

    def subbands(number: int) -> Peer:
        options = ("-nobary", "-noclip", "-ncpus", "1", "-nsub", str(number), "-lodm", "0", "-dmstep", step)
        # Channels are shifted for the middle of the DMs before they are summed to subbands.
        smear = KDM * 0.5 * last * 2.0 * (500.0 / number) / float(header.freqs[-1]) ** 3 / survey.tsamp
        note = "" if number == header.nchans else f"smears DMs at the ends of the range by {smear:.0f} samples"
        return Program(
            "PRESTO",
            f"prepsubband -nsub {number}",
            (("prepsubband", *options, "-numdms", str(ndms), "-o", "out", str(path)),),
            "out*.dat",
            note=note,
        )

    few = str(min(FEW_DMS, ndms))
    yield Contest(
        f"dedisperse {survey.about}",
        ours,
        (
            *(subbands(n) for n in survey.subbands if header.nchans % n == 0),
            Script(
                "sigpyproc",
                "sigpyproc dedisperse_plan",
                python,
                "sigpyproc",
                _SIGPYPROC,
                (str(path), repr(last), few, str(ndms)),
                note=f"from 2 and {few} DMs over the range",
            ),
        ),
    )
    options = ("-t", "1", "--dms", "0", "--ddm", step, "--ndm", str(ndms), "--format", "presto", "-o", "out")
    command = ("dedisperse_all_fil", *options, "-f", str(path))
    yield Contest(
        f"normalise, dedisperse {survey.about}",
        all_ours,
        (Program("PulsarX", "dedisperse_all_fil", (command,), "out*.dat", note="ours makes its mask too"),),
    )
    opened.close()


def fold(survey: Survey, path: Path) -> Contest:
    """One candidate, from the file to its refined profile."""
    from pulsar.folding.folder import fold_many
    from pulsar.folding.refine import refine

    config = FoldConfig(nbins=NBINS, nsubints=NSUBINTS, nbands=NBANDS)
    params = [FoldParams(1.0 / PULSAR.period, 0.0, PULSAR.dm)]

    def ours() -> None:
        with cleaned(path) as source:
            refine(fold_many(source, params, config, threads=1, memory=MEMORY)[0])

    given = ("-p", repr(PULSAR.period), "-dm", repr(PULSAR.dm))
    shape = ("-n", str(NBINS), "-nsub", str(NBANDS), "-npart", str(NSUBINTS))
    options = ("-topo", "-noxwin", "-noclip", "-ncpus", "1", *given, *shape, "-o", "out")

    def prepfold(more: tuple[str, ...], note: str) -> Peer:
        command = ("prepfold", *options, *more, str(path))
        return Program("PRESTO", " ".join(("prepfold", *more)), (command,), "out*.pfd", note=note)

    size = survey.size
    return Contest(
        f"fold and refine a candidate, {size.nchans} channels x {power_of_two(size.nsamps)} samples",
        ours,
        (
            prepfold((), "P, Pdot and DM refined as ours; plot included"),
            prepfold(("-nosearch",), "nothing refined; plot included"),
        ),
    )


def search(nsamps: int, tsamp: float, folder: Path) -> Contest:
    """One dedispersed series from its file to detections."""
    from pulsar.searches.fft import FFTSearch

    name = f"series-{nsamps}"
    path = write_series(folder / f"{name}.dat", nsamps, tsamp)
    finder = FFTSearch(nsamps, tsamp, FFTConfig.model_validate({"nharm": NHARM}))
    program = Program(
        "PRESTO",
        "realfft + accelsearch -zmax 0",
        (("realfft", f"{name}.dat"), ("accelsearch", "-zmax", "0", "-numharm", str(NHARM), f"{name}.fft")),
        "*ACCEL_0*",
        (path, path.with_suffix(".inf")),
        note="started anew for every series",
    )
    return Contest(
        f"search a series of {power_of_two(nsamps)} samples, {NHARM} harmonics",
        lambda: finder.search(np.fromfile(path, dtype=np.float32)),
        (program,),
    )


def write_series(path: Path, nsamps: int, tsamp: float) -> Path:
    """White noise as a ``.dat`` with its ``.inf``."""
    noise = np.random.default_rng(1).standard_normal(nsamps, dtype=np.float32)
    return write_dat(path, 100.0 + 20.0 * noise, tsamp)


def write_dat(path: Path, data: NDArray[np.float32], tsamp: float) -> Path:
    """A series as a ``.dat`` with its ``.inf``."""
    data.astype("<f4", copy=False).tofile(path)
    fields = {
        "Data file name without suffix": path.stem,
        "Telescope used": "FAST",
        "Instrument used": "none",
        "Object being observed": "noise",
        "J2000 Right Ascension (hh:mm:ss.ssss)": "00:00:00.0000",
        "J2000 Declination     (dd:mm:ss.ssss)": "00:00:00.0000",
        "Data observed by": "nobody",
        "Epoch of observation (MJD)": "60000.000000000000",
        "Barycentered?           (1 yes, 0 no)": "0",
        "Number of bins in the time series": str(len(data)),
        "Width of each time series bin (sec)": repr(tsamp),
        "Any breaks in the data? (1 yes, 0 no)": "0",
        "Type of observation (EM band)": "Radio",
        "Beam diameter (arcsec)": "170",
        "Dispersion measure (cm-3 pc)": "0",
        "Central freq of low channel (MHz)": "1001",
        "Total bandwidth (MHz)": "500",
        "Number of channels": "256",
        "Channel bandwidth (MHz)": "1.953125",
        "Data analyzed by": "nobody",
    }
    lines = [f" {key:<38} =  {value}" for key, value in fields.items()]
    path.with_suffix(".inf").write_text("\n".join([*lines, " Any additional notes:", "    none", ""]))
    return path


def boxcars(python: Path | None) -> Contest:
    """Best boxcar of many folded profiles."""
    case = folding.boxcar
    work = case.work()
    arguments = (str(case.full.nsamps // folding.NBINS), str(folding.NBINS), json.dumps(folding.BOXCARS))
    script = Script(
        "riptide",
        "riptide boxcar_snr",
        python,
        "riptide",
        _RIPTIDE,
        arguments,
        note="float32 and one variance; ours float64 and one for each bin",
    )
    return Contest(f"boxcar S/N, {case.words()}", work.run, (script,))


def contests(survey: Survey, folder: Path, python: Path | None) -> Iterator[Contest]:
    """All that both do, on one observation that is written to `folder`."""
    path = survey.write(folder)
    yield from dedispersion(survey, path, python)
    yield fold(survey, path)
    for nsamps in SERIES:
        yield search(nsamps, survey.tsamp, folder)
    yield boxcars(python)


def measure_peers(
    surveys: Sequence[Survey],
    *,
    env: Path | None = None,
    rounds: int = ROUNDS,
    progress: Callable[[str], None] | None = None,
) -> list[PeerFigure]:
    """Measure every peer that is there against ours.

    Parameters
    ----------
    surveys : sequence of Survey
        On the first everything is done, on the others dedispersion alone.
    env : Path, optional
        Virtual environment of the packages in Python.
    rounds : int
        Times that everything is run.
    progress : callable, optional
        Told what runs next.

    Raises
    ------
    ConfigError
        `env` is no virtual environment.
    """
    tell = progress or (lambda _: None)
    python = interpreter(env)
    figures: list[PeerFigure] = []
    for number, survey in enumerate(surveys):
        tell(f"a simulated file of {survey.about}")
        with tempfile.TemporaryDirectory(prefix="pulsar-bench-") as name:
            folder = Path(name)
            if number == 0:
                for contest in contests(survey, folder, python):
                    figures += hold(contest, rounds, progress)
            else:
                for contest in dedispersion(survey, survey.write(folder), python):
                    figures += hold(contest, rounds, progress)
    return figures


def document(figures: Sequence[PeerFigure]) -> dict[str, Any]:
    """The figures as benchmarks/table.py reads them: a run of ``pulsar bench --json`` with nothing but peers."""
    return {**asdict(empty_run()), "peers": [asdict(figure) for figure in figures]}


def show(figures: Sequence[PeerFigure]) -> None:
    """Print what other programs took."""

    def seconds(value: float | None) -> str:
        return "-" if value is None else f"{value:.3g}"

    print_table(
        {
            "work": lambda f: f.work,
            "program": lambda f: f.program if f.program.startswith(f.package) else f"{f.package} {f.program}",
            "CPU [s]": lambda f: seconds(f.cpu_s),
            "elapsed [s]": lambda f: seconds(f.wall_s),
            "ours, CPU [s]": lambda f: seconds(f.ours_cpu_s),
            "ratio": lambda f: "-" if f.ratio is None else f"{f.ratio:.1f}",
            "remarks": lambda f: f.note if f.state == "measured" else f"{f.state}: {f.note}",
        },
        figures,
        title="Other programs, one thread",
        left=("work", "program", "remarks"),
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", type=Path, metavar="DIR", help="virtual environment of the peers in Python")
    parser.add_argument("--fast", action="store_true", help="dedisperse one beam of FAST too")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds ({ROUNDS}), of which the least counts")
    args = parser.parse_args(argv)
    if args.rounds < 1:
        parser.error(f"--rounds {args.rounds}: give 1 or more")
    try:
        figures = measure_peers(
            (BAND, FAST) if args.fast else (BAND,),
            env=args.env,
            rounds=args.rounds,
            progress=lambda what: print(f"measuring {what}", file=sys.stderr),
        )
    except PulsarError as error:
        raise SystemExit(str(error)) from None
    show(figures)
    if args.json is not None:
        args.json.write_text(json.dumps(document(figures), indent=2))


if __name__ == "__main__":
    main()
