"""Other programs on the same work: found where they are installed, run beside ours, in CPU seconds.

Nothing of them is imported. What is written in C runs as a user would run it, and its whole process counts; what is
written in Python runs in an interpreter of its own environment, and only the work counts, not imports and compilation.
"""

import json
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from pulsar.bench.survey import PULSAR, Survey, power_of_two
from pulsar.bench.timing import Timing
from pulsar.cleaning import CleanedSource
from pulsar.config.model import FFTConfig, FoldConfig, RfiConfig
from pulsar.constants import KDM
from pulsar.data.fold import FoldParams
from pulsar.errors import ConfigError

#: Times that everything is run; the least counts.
ROUNDS = 3
#: ... but no peer again that has taken this long already [s]: what disturbs a figure is short against it.
ENOUGH = 10.0
#: A program that takes longer has failed [s].
PATIENCE = 3600.0
NHARM = 16
#: Bins, subbands and sub-integrations of a fold.
NBINS, NBANDS, NSUBINTS = 64, 32, 32
#: DMs from which the time of a package that makes one after the other is carried on to all.
FEW_DMS = 18
#: Lengths of the series searched.
SERIES = (1 << 21, 1 << 18)

#: How a package is provided.
HOWTO = {
    "PRESTO": "put its programs on PATH",
    "PulsarX": "put its programs on PATH",
    "sigpyproc": "give --peers-env a virtual environment with the package sigpyproc",
    "riptide": "give --peers-env a virtual environment with the package riptide-ffa",
}


class PeerError(Exception):
    """A peer did not do its work; the message is its last line."""


@dataclass(frozen=True)
class PeerFigure:
    """One peer on one piece of work.

    Attributes
    ----------
    work, package, program : str
    state : {"measured", "absent", "failed"}
    note : str
        What to know about the figure; of an absent peer how to provide it; of a failed one its last line.
    rounds : int
        Times that it ran.
    cpu_s, wall_s : float or None
        Least CPU time (user and system) and elapsed time.
    ours_cpu_s, ours_wall_s : float or None
        Ours for the same work, in the same rounds, by one thread; None where no peer is there.
    ratio : float or None
        `cpu_s` over `ours_cpu_s`.
    """

    work: str
    package: str
    program: str
    state: Literal["measured", "absent", "failed"]
    note: str = ""
    rounds: int = 0
    cpu_s: float | None = None
    wall_s: float | None = None
    ours_cpu_s: float | None = None
    ours_wall_s: float | None = None
    ratio: float | None = None


class Peer(Protocol):
    """Something that can be run on a piece of work."""

    @property
    def package(self) -> str: ...

    @property
    def program(self) -> str: ...

    @property
    def note(self) -> str: ...

    def missing(self) -> str:
        """How to provide it, "" when it is there."""
        ...

    def run(self, folder: Path) -> tuple[Timing, str]:
        """Do the work once in `folder`, which is empty; the times, and what to remark on them.

        Raises
        ------
        PeerError
        """
        ...


@dataclass(frozen=True)
class Program:
    """Programs on PATH, run one after the other.

    Attributes
    ----------
    package, program, note : str
    commands : tuple of tuple of str
        A name and arguments each.
    copied : tuple of Path
        Files that are put into the folder before.
    output : str
        Pattern of the files that are there afterwards.
    """

    package: str
    program: str
    commands: tuple[tuple[str, ...], ...]
    output: str
    note: str = ""
    copied: tuple[Path, ...] = ()

    def missing(self) -> str:
        """How to provide it, "" when it is there."""
        absent = [name for name, *_ in self.commands if shutil.which(name) is None]
        return f"no {', '.join(absent)}: {HOWTO[self.package]}" if absent else ""

    def run(self, folder: Path) -> tuple[Timing, str]:
        """Run the programs; the CPU time is that of their processes."""
        for path in self.copied:
            shutil.copy(path, folder)
        cpu, wall, remark = 0.0, 0.0, ""
        for command in self.commands:
            timing, text = timed(command, folder)
            cpu, wall = cpu + timing.cpu, wall + timing.wall
            # Plans of FFTs made anew take longer than a search of 2^18 samples.
            if "makewisdom" in text:
                remark = "its makewisdom was not run"
        if not any(folder.glob(self.output)):
            raise PeerError(f"wrote no {self.output}")
        return Timing(cpu, wall, 1), remark


@dataclass(frozen=True)
class Script:
    """A few lines of Python, run by the interpreter of another environment; they time their work themselves.

    Attributes
    ----------
    package, program, note : str
    python : Path or None
        The interpreter.
    module : str
        What must be importable.
    text : str
        The lines; they end by printing ``{"cpu": s, "wall": s}``.
    arguments : tuple of str
    """

    package: str
    program: str
    python: Path | None
    module: str
    text: str
    arguments: tuple[str, ...] = ()
    note: str = ""

    def missing(self) -> str:
        """How to provide it, "" when it is there."""
        if self.python is None:
            return HOWTO[self.package]
        probe = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({self.module!r}) is None)"
        found = subprocess.run([self.python, "-c", probe], capture_output=True, check=False)
        return f"no {self.module} in that environment: {HOWTO[self.package]}" if found.returncode else ""

    def run(self, folder: Path) -> tuple[Timing, str]:
        """Run the lines and read their times."""
        _, text = timed((str(self.python), "-c", self.text, *self.arguments), folder)
        try:
            told = json.loads(text.splitlines()[-1])
            return Timing(float(told["cpu"]), float(told["wall"]), 1), ""
        except (IndexError, KeyError, TypeError, ValueError):
            raise PeerError(last_line(text)) from None


def timed(command: Sequence[str], folder: Path) -> tuple[Timing, str]:
    """Run a command on one thread; its times and what it printed.

    Raises
    ------
    PeerError
        It cannot be run, or ends with an error.
    """
    one = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | one,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise PeerError(f"{command[0]}: not done after {PATIENCE:g} s") from None
    except OSError as error:
        raise PeerError(f"{command[0]}: {error.strerror}") from None
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    if done.returncode:
        raise PeerError(last_line(done.stderr) or last_line(done.stdout) or f"{command[0]}: exit {done.returncode}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Timing(max(cpu, 1e-6), wall, 1), done.stdout


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    return lines[-1] if lines else ""


@dataclass(frozen=True)
class Contest:
    """One piece of work, ours and the peers' ways to do it."""

    work: str
    ours: Callable[[], object]
    peers: tuple[Peer, ...]


@dataclass
class _Best:
    """Least times so far."""

    timing: Timing = field(default_factory=lambda: Timing(float("inf"), float("inf"), 0))
    spent: float = 0.0
    remark: str = ""
    failure: str = ""

    def take(self, one: Timing, remark: str = "") -> None:
        best = self.timing
        self.remark = remark
        self.spent += one.wall
        self.timing = Timing(min(best.cpu, one.cpu), min(best.wall, one.wall), best.calls + 1)


def _once(call: Callable[[], object]) -> Timing:
    start, start_wall = time.process_time(), time.perf_counter()
    call()
    return Timing(time.process_time() - start, time.perf_counter() - start_wall, 1)


def hold(contest: Contest, rounds: int, progress: Callable[[str], None] | None = None) -> list[PeerFigure]:
    """Run ours and every peer that is there in turn, `rounds` times, after ours was compiled.

    Parameters
    ----------
    contest : Contest
    rounds : int
    progress : callable, optional
        Told what runs next.
    """
    tell = progress or (lambda _: None)
    absent = {peer.program: why for peer in contest.peers if (why := peer.missing())}
    here = [peer for peer in contest.peers if peer.program not in absent]
    best = {peer.program: _Best() for peer in here}
    ours = _Best()
    if here:
        tell(f"{contest.work}: ours")
        contest.ours()
    for number in range(rounds if here else 0):
        ours.take(_once(contest.ours))
        for peer in here:
            if best[peer.program].failure or best[peer.program].spent > ENOUGH:
                continue
            tell(f"{contest.work}: {peer.program}, {number + 1} of {rounds}")
            with tempfile.TemporaryDirectory(prefix="pulsar-peer-") as name:
                try:
                    best[peer.program].take(*peer.run(Path(name)))
                except PeerError as error:
                    best[peer.program].failure = str(error)
    figures = []
    for peer in contest.peers:
        figure = PeerFigure(contest.work, peer.package, peer.program, "absent", absent.get(peer.program, ""))
        if peer.program in best:
            found, failure = best[peer.program].timing, best[peer.program].failure
            figure = replace(figure, ours_cpu_s=ours.timing.cpu, ours_wall_s=ours.timing.wall)
            if failure:
                figure = replace(figure, state="failed", note=failure)
            else:
                figure = replace(
                    figure,
                    state="measured",
                    note="; ".join(text for text in (peer.note, best[peer.program].remark) if text),
                    rounds=found.calls,
                    cpu_s=found.cpu,
                    wall_s=found.wall,
                    ratio=found.cpu / ours.timing.cpu,
                )
        figures.append(figure)
    return figures


def interpreter(env: Path | None) -> Path | None:
    """The Python of a virtual environment.

    Raises
    ------
    ConfigError
        There is none.
    """
    if env is None:
        return None
    python = env.absolute() / "bin" / "python"
    if not os.access(python, os.X_OK):
        raise ConfigError(f"--peers-env {env}: has no bin/python; give the folder of a virtual environment")
    return python


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


def _cleaned(path: Path) -> CleanedSource:
    """Open a file and make its mask."""
    from pulsar.cleaning import make_mask, measure
    from pulsar.io.open import open_observation

    obs = open_observation(path)
    config = RfiConfig()
    return CleanedSource(obs, make_mask(obs, measure(obs, config), config))


def dedispersion(survey: Survey, path: Path, python: Path | None) -> Iterator[Contest]:
    """From a file to every series, which the peers write to disk: without making the mask, and with it.

    `dedisperse_all_fil` measures the noise of the channels and takes it out, the others sum the samples as they are:
    against these ours has made its mask before (PRESTO has a program of its own for that).
    """
    from pulsar.bench.stages import run_dedispersion

    header, ndms = survey.header, survey.size.ndms
    last = survey.dm_step * (ndms - 1)
    step = f"{survey.dm_step:g}"
    masked: list[CleanedSource] = []

    def ours() -> None:
        if not masked:
            masked.append(_cleaned(path))
        run_dedispersion(masked[0], survey, 1)

    def all_ours() -> None:
        source = _cleaned(path)
        try:
            run_dedispersion(source, survey, 1)
        finally:
            source.obs.close()

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
            note,
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
                f"from 2 and {few} DMs over the range",
            ),
        ),
    )
    options = ("-t", "1", "--dms", "0", "--ddm", step, "--ndm", str(ndms), "--format", "presto", "-o", "out")
    command = ("dedisperse_all_fil", *options, "-f", str(path))
    yield Contest(
        f"normalise, dedisperse {survey.about}",
        all_ours,
        (Program("PulsarX", "dedisperse_all_fil", (command,), "out*.dat", "ours makes its mask too"),),
    )
    for source in masked:
        source.obs.close()


def fold(survey: Survey, path: Path) -> Contest:
    """One candidate, from the file to its refined profile."""
    from pulsar.bench.stages import MEMORY
    from pulsar.folding.folder import fold_many
    from pulsar.folding.refine import refine

    config = FoldConfig(nbins=NBINS, nsubints=NSUBINTS, nbands=NBANDS)
    params = [FoldParams(1.0 / PULSAR.period, 0.0, PULSAR.dm)]

    def ours() -> None:
        source = _cleaned(path)
        try:
            refine(fold_many(source, params, config, threads=1, memory=MEMORY)[0])
        finally:
            source.obs.close()

    given = ("-p", repr(PULSAR.period), "-dm", repr(PULSAR.dm))
    shape = ("-n", str(NBINS), "-nsub", str(NBANDS), "-npart", str(NSUBINTS))
    options = ("-topo", "-noxwin", "-noclip", "-ncpus", "1", *given, *shape, "-o", "out")

    def prepfold(more: tuple[str, ...], note: str) -> Peer:
        command = ("prepfold", *options, *more, str(path))
        return Program("PRESTO", " ".join(("prepfold", *more)), (command,), "out*.pfd", note)

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
        "started anew for every series",
        (path, path.with_suffix(".inf")),
    )
    return Contest(
        f"search a series of {power_of_two(nsamps)} samples, {NHARM} harmonics",
        lambda: finder.search(np.fromfile(path, dtype=np.float32)),
        (program,),
    )


def write_series(path: Path, nsamps: int, tsamp: float) -> Path:
    """White noise as a ``.dat`` with its ``.inf``."""
    noise = np.random.default_rng(1).standard_normal(nsamps, dtype=np.float32)
    path.write_bytes((100.0 + 20.0 * noise).astype("<f4").tobytes())
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
        "Number of bins in the time series": str(nsamps),
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
    from pulsar.bench.folding import CASES, NBINS, WIDTHS

    case = next(case for case in CASES if case.name == "boxcar")
    work = case.make(case.full)
    arguments = (str(case.full.nsamps // NBINS), str(NBINS), json.dumps(WIDTHS))
    script = Script(
        "riptide",
        "riptide boxcar_snr",
        python,
        "riptide",
        _RIPTIDE,
        arguments,
        note="float32 and one variance; ours float64 and one for each bin",
    )
    return Contest(f"boxcar S/N, {case.about}", work.run, (script,))


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
