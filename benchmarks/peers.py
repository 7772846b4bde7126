"""Other programs on the same work as ours, in CPU seconds, one thread each.

    python benchmarks/peers.py [--env DIR] [--fast] [--searches] [--rounds N] [--json OUT]

PRESTO's and PulsarX's programs are looked for on PATH, sigpyproc and riptide-ffa in the virtual environment `--env`
(`pip install sigpyproc riptide-ffa` there); what is absent is listed, with how to provide it. Everything runs three
times in turn (`--rounds`) and the least counts. Build the peers for this processor (``-O3 -march=native``) and let
PRESTO's `makewisdom` run once. `--fast` dedisperses one beam of FAST too (4.3 GB and 1.1 GB of temporary files),
`--searches` has the searches for accelerations (of accelsearch alone: the spectrum is made before), for long periods,
and for single pulses (PRESTO's script, whose package `--env` must have, too; without the start of Python). Prints a
table; `--json` writes what benchmarks/table.py reads.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from programs import (
    Contest,
    Peer,
    PeerFigure,
    Program,
    Script,
    hold,
    interpreter,
    measured,
    missing_module,
    missing_programs,
    write_dat,
)
from shared import Json, markdown, white_noise

from pulsar.bench import folding
from pulsar.bench.case import power_of_two
from pulsar.bench.figures import empty_run
from pulsar.bench.limits import Timing
from pulsar.bench.stages import BAND, FAST, MEMORY, PULSAR, Survey, cleaned, run_dedispersion
from pulsar.cleaning.source import CleanedSource
from pulsar.config.model import AccelConfig, FFAConfig, FFTConfig, FoldConfig, SinglePulseConfig
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
#: Series that are searched for accelerations: 2^n samples, zmax, wmax and harmonics.
ACCELERATIONS = ((21, 200, 0, 8), (21, 50, 0, 8), (20, 1200, 0, 8), (18, 100, 400, 4))
#: The search for long periods: 2^n samples, sampling time, shortest and longest period [s], and phase bins.
LONG_PERIODS = (21, 256e-6, 0.5, 10.0, (240, 260))

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


#: Least of the repeats: the search alone, or with what makes the series flat before.
_RIPTIDE_FFA = """
import json, sys, time
import numpy as np
from riptide import TimeSeries, ffa_search
path, tsamp, p_min, p_max, lo, hi, flat = sys.argv[1], *map(float, sys.argv[2:])
raw = TimeSeries.from_numpy_array(np.fromfile(path, np.float32), tsamp)
kwargs = dict(period_min=p_min, period_max=p_max, bins_min=int(lo), bins_max=int(hi), ducy_max=0.2)
series, _ = ffa_search(raw, **kwargs)
if flat:
    kwargs.update(deredden=False, already_normalised=True)
else:
    series = raw
cpu, wall = time.process_time(), time.perf_counter()
ffa_search(series, **kwargs)
print(json.dumps({"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}))
"""


@dataclass(frozen=True)
class PulseScript(Peer):
    """PRESTO's single_pulse_search.py less the start of Python: a third of what a file four times as long takes more.

    Attributes
    ----------
    python : Path or None
        An interpreter that has PRESTO's package.
    series : ndarray
    tsamp, snr : float
    """

    python: Path | None
    series: NDArray[np.float32]
    tsamp: float
    snr: float

    def missing(self) -> str:
        """How to provide it, "" when it is there."""
        return missing_programs(self.package, [self.program]) or missing_module(self.python, "presto", self.package)

    def run(self, folder: Path) -> tuple[Timing, str]:
        """Run it as it is on a short and a long file."""
        options = ("--noplot", "-t", str(self.snr), "-m", "0.25")
        times = []
        for count in (1, 4):
            path = write_dat(folder / "a.dat", np.tile(self.series, count), self.tsamp)
            command = (str(self.python), str(shutil.which(self.program)), *options, path.name)
            times.append(measured(command, folder)[0])
        return Timing((times[1].cpu - times[0].cpu) / 3.0, (times[1].wall - times[0].wall) / 3.0, 1), ""


def dedispersion(survey: Survey, path: Path, python: Path | None) -> Iterator[Contest]:
    """From a file to every series, which the peers write to disk: without making the mask, and with it.

    `dedisperse_all_fil` measures the noise of the channels and takes it out, the others sum the samples as they are:
    against these ours has made its mask before (PRESTO has a program of its own for that).
    """
    header, ndms = survey.sky.header, survey.size.ndms
    last = survey.dm_step * (ndms - 1)
    step = f"{survey.dm_step:g}"
    masked: list[CleanedSource] = []
    opened = ExitStack()

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
    path = write_dat(folder / f"{name}.dat", 100.0 + 20.0 * white_noise(nsamps, 1), tsamp)
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


def acceleration(log2n: int, zmax: float, wmax: float, nharm: int, folder: Path) -> Iterator[Contest]:
    """One dedispersed series from its spectrum, theirs, or its samples, ours, to accelerated candidates."""
    from pulsar.searches.accel import AccelSearch

    nsamps, tsamp = 1 << log2n, 64e-6
    series = white_noise(nsamps, 1)
    path = write_dat(folder / f"accel-{log2n}.dat", series - series.mean(), tsamp)
    config = {"zmax": zmax, "wmax": wmax, "nharm": nharm}
    finder = AccelSearch(nsamps, tsamp, AccelConfig.model_validate(config))
    given = ["-zmax", f"{zmax:g}", "-numharm", str(nharm), "-flo", "0.5"]
    given += ["-wmax", f"{wmax:g}"] if wmax else []
    peers = []
    for option in ((), ("-inmem",)) if not wmax else ((),):
        command = ("accelsearch", *given, *option, f"{path.stem}.fft")
        peers.append(
            Program(
                "PRESTO",
                " ".join(("accelsearch", *option)),
                (("realfft", path.name), command),
                "*ACCEL_*",
                (path, path.with_suffix(".inf")),
                uncounted=1,
                note="on the finished spectrum",
            )
        )
    about = f"zmax {zmax:g}{f', wmax {wmax:g}' if wmax else ''}, {nharm} harmonics"
    yield Contest(f"accelerations in 2^{log2n} samples, {about}", lambda: finder.search(series), tuple(peers))


def long_periods(folder: Path, python: Path | None) -> Contest:
    """Folding at all long periods of one series with a pulsar, by riptide with and without making it flat."""
    from pulsar.searches.ffa import FFASearch

    log2n, tsamp, p_min, p_max, bins = LONG_PERIODS
    nsamps = 1 << log2n
    phase = np.arange(nsamps) * tsamp / 1.37 % 1.0
    series = white_noise(nsamps, 1)
    # Pulses of 5 bins.
    series += np.where(phase < 5 / 250, np.float32(30 / np.sqrt(nsamps * 5 / 250)), np.float32(0))
    path = folder / "long.f32"
    series.tofile(path)
    values = {"p_min": p_min, "p_max": p_max, "duty_min": 1 / 240, "duty_max": 0.2}
    finder = FFASearch(nsamps, tsamp, FFAConfig.model_validate(values), nbins=bins[0])
    scripts = []
    for flat, name in ((0, "riptide ffa_search"), (1, "riptide ffa_search, made flat before")):
        arguments = (str(path), *(repr(float(x)) for x in (tsamp, p_min, p_max, *bins, flat)))
        scripts.append(Script("riptide", name, python, "riptide", _RIPTIDE_FFA, arguments))
    work = f"long periods in 2^{log2n} samples, {p_min:g} to {p_max:g} s, {bins[0]} to {bins[1]} bins"
    return Contest(work, lambda: finder.search(series), tuple(scripts))


def single_pulses(python: Path | None) -> Contest:
    """Single pulses of one series of noise."""
    from pulsar.searches.single_pulse import SinglePulseSearch

    log2n, tsamp, snr = 20, 49.152e-6, 7.0
    series = np.rint(300 * np.random.default_rng(1).standard_normal(1 << log2n)).astype(np.int16)
    finder = SinglePulseSearch(len(series), tsamp, SinglePulseConfig(snr=snr))
    script = PulseScript("PRESTO", "single_pulse_search.py", python, series.astype(np.float32), tsamp, snr)
    return Contest(f"single pulses in 2^{log2n} samples, S/N {snr:g}", lambda: finder.search(series), (script,))


def contests(survey: Survey, folder: Path, python: Path | None, *, searches: bool) -> Iterator[Contest]:
    """All that both do, on one observation that is written to `folder`."""
    path = survey.write(folder)
    yield from dedispersion(survey, path, python)
    yield fold(survey, path)
    for nsamps in SERIES:
        yield search(nsamps, survey.tsamp, folder)
    yield boxcars(python)
    if searches:
        for case in ACCELERATIONS:
            yield from acceleration(*case, folder)
        yield long_periods(folder, python)
        yield single_pulses(python)


def measure_peers(
    surveys: Sequence[Survey],
    progress: Callable[[str], None],
    *,
    env: Path | None = None,
    rounds: int = ROUNDS,
    searches: bool = False,
) -> list[PeerFigure]:
    """Measure every peer that is there against ours.

    Parameters
    ----------
    surveys : sequence of Survey
        On the first everything is done, on the others dedispersion alone.
    progress : callable
        Is given what runs next.
    env : Path, optional
        Virtual environment of the packages in Python.
    rounds : int
        Times that everything is run.
    searches : bool
        The searches for accelerations, long periods and single pulses, too.

    Raises
    ------
    ConfigError
        `env` is no virtual environment.
    """
    python = interpreter(env)
    figures: list[PeerFigure] = []
    for number, survey in enumerate(surveys):
        progress(f"a simulated file of {survey.about}")
        with tempfile.TemporaryDirectory(prefix="pulsar-bench-") as name:
            folder = Path(name)
            if number == 0:
                works = contests(survey, folder, python, searches=searches)
            else:
                works = dedispersion(survey, survey.write(folder), python)
            for contest in works:
                figures += hold(contest, rounds, progress)
    return figures


def document(figures: Sequence[PeerFigure]) -> dict[str, Any]:
    """The figures as benchmarks/table.py reads them: a run of ``pulsar bench --json`` with nothing but peers."""
    return {**asdict(empty_run()), "peers": [asdict(figure) for figure in figures]}


def seconds(value: float | None) -> str:
    """To three digits."""
    return "-" if value is None else f"{value:.3g}"


def peers_table(figures: Sequence[dict[str, Any]]) -> str:
    """Other programs beside ours, from figures as they are in JSON."""
    rows = [
        [
            f["work"],
            f["program"] if f["program"].startswith(f["package"]) else f"{f['package']} `{f['program']}`",
            seconds(f["cpu_s"]),
            seconds(f["ours_cpu_s"]),
            "-" if f["ratio"] is None else f"{f['ratio']:.{1 if f['ratio'] < 100 else 0}f} x",
            f["note"] if f["state"] == "measured" else f"{f['state']}: {f['note']}",
        ]
        for f in figures
    ]
    headings = ["work", "program", "CPU [s]", "ours, CPU [s]", "takes", "remarks"]
    return markdown(headings, rows)


def main(
    env: Annotated[Path | None, typer.Option(metavar="DIR", help="virtual environment of the peers in Python")] = None,
    fast: Annotated[bool, typer.Option(help="dedisperse one beam of FAST too")] = False,
    searches: Annotated[bool, typer.Option(help="accelerations, long periods and single pulses too")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="of which the least counts")] = ROUNDS,
    out: Json = None,
) -> None:
    """Measure, print, and write."""
    try:
        figures = measure_peers(
            (BAND, FAST) if fast else (BAND,),
            lambda work: print(f"measuring {work}", file=sys.stderr),
            env=env,
            rounds=rounds,
            searches=searches,
        )
    except PulsarError as error:
        raise SystemExit(str(error)) from None
    print(peers_table(document(figures)["peers"]))
    if out is not None:
        out.write_text(json.dumps(document(figures), indent=2))


if __name__ == "__main__":
    typer.run(main)
