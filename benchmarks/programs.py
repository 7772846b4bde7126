"""Running other programs beside ours: found on PATH, timed in CPU seconds of their processes.

Nothing of them is imported. What is written in C runs as a user would run it, and its whole process counts; what is
written in Python runs in an interpreter of its own environment. PRESTO's lists are read here, and its way from a raw
file to them: rfifind, prepsubband, realfft, rednoise, accelsearch, with a plan as DDplan makes it. The last part is for
`versus.py work`: the same work as others do it, dedispersing, folding, searching series.
"""

import math
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from population_sky import Sky
from shared import best_of, scratch_folder, white_noise

from pulsar.bench.case import power_of_two
from pulsar.bench.stages import MEMORY, PULSAR, BenchSurvey, cleaned, run_dedispersion
from pulsar.cleaning.source import CleanedSource
from pulsar.config.model import AccelConfig, FFTConfig, FoldConfig
from pulsar.constants import KDM
from pulsar.data.fold import FoldParams
from pulsar.data.header import Header
from pulsar.folding.folder import fold_many
from pulsar.folding.refine import refine
from pulsar.io.series import write_series
from pulsar.searches.accel import AccelSearch
from pulsar.searches.fft import FFTSearch

#: A program that takes longer has failed [s], and how often it is looked at [s].
PATIENCE, LOOK = 3600.0, 0.005
#: No peer runs again that has taken this long already [s]: what disturbs a figure is short against it.
ENOUGH = 10.0
ONE_THREAD = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class PeerError(Exception):
    """A program did not do its work; the message is its last line."""


def missing_programs(programs: Iterable[str]) -> str:
    """How to provide those of some programs that are not there; "" if all are."""
    absent = [name for name in programs if shutil.which(name) is None]
    return f"no {', '.join(absent)}: put its programs on PATH" if absent else ""


@dataclass(frozen=True)
class Ran:
    """A process that has ended.

    Attributes
    ----------
    wall, user, system : float
        Elapsed time, and that of the processor for the program and for the system [s].
    memory : int
        Most that it had [byte].
    code : int
        Exit code, or a signal below 0.
    late : bool
        It was ended because its time was over.
    out, err : str
        What it printed.
    """

    wall: float
    user: float
    system: float
    memory: int
    code: int
    late: bool
    out: str
    err: str

    @property
    def cpu(self) -> float:
        """Of the processor, for both [s]."""
        return max(self.user + self.system, 1e-6)


def run(command: Sequence[str], folder: Path, environment: dict[str, str], patience: float) -> Ran:
    """Run a command in a folder, and end it and all its processes (SIGKILL) after so many seconds.

    Parameters
    ----------
    command : sequence of str
    folder : Path
    environment : dict
        Added to ours.
    patience : float
        [s]
    """
    given = {"cwd": folder, "env": os.environ | environment, "stdin": subprocess.DEVNULL, "start_new_session": True}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start, memory, late, ended = time.perf_counter(), 0, False, 0
        process = subprocess.Popen(command, stdout=out, stderr=err, **given)
        try:
            while not ended:
                # The figure that comes with its end would be no less than that of who started it.
                memory = max(memory, peak_memory(process.pid))
                if not late and time.perf_counter() - start > patience:
                    late = True
                    os.killpg(process.pid, signal.SIGKILL)
                time.sleep(LOOK)
                ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        wall, texts = time.perf_counter() - start, []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return Ran(wall, usage.ru_utime, usage.ru_stime, memory, process.returncode, late, *texts)


def measured(command: Sequence[str], folder: Path, environment: dict[str, str] | None = None) -> Ran:
    """Run a command that must come to its end.

    Parameters
    ----------
    command : sequence of str
    folder : Path
        In which it runs.
    environment : dict, optional
        Added to ours. Default: what holds libraries to one thread.

    Raises
    ------
    PeerError
        It cannot be run, ends with an error, or takes more than PATIENCE.
    """
    try:
        ran = run(command, folder, ONE_THREAD if environment is None else environment, PATIENCE)
    except OSError as error:
        raise PeerError(f"{command[0]}: {error.strerror}") from None
    if ran.late:
        raise PeerError(f"{command[0]}: not done after {PATIENCE:g} s")
    if ran.code:
        raise PeerError(last_line(ran.err) or last_line(ran.out) or f"{command[0]}: exit {ran.code}")
    return ran


def peak_memory(pid: int) -> int:
    """Most resident memory that a process has had since it became its program [byte]; 0 where that cannot be read."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = [line.split() for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0][1]) * 1024 if lines else 0


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    return lines[-1] if lines else ""


@dataclass
class Spent:
    """What programs took.

    Attributes
    ----------
    cpu, wall : float
        Of all processes [s].
    memory : int
        Most that a process had [byte].
    files, size : int
        Files that they left, and their size [byte].
    """

    cpu: float = 0.0
    wall: float = 0.0
    memory: int = 0
    files: int = 0
    size: int = 0

    def run(self, folder: Path, *command: str) -> Ran:
        """Run a command in a folder, and add what it took; see :func:`measured`."""
        ran = measured(command, folder)
        self.cpu, self.wall, self.memory = self.cpu + ran.cpu, self.wall + ran.wall, max(self.memory, ran.memory)
        return ran

    def left(self, files: Iterable[Path]) -> None:
        """Count files."""
        for file in files:
            self.files += 1
            self.size += file.stat().st_size


@dataclass(frozen=True)
class Peer:
    """Programs that do a piece of work, run one after the other.

    Attributes
    ----------
    program : str
        In words, the package first.
    commands : tuple of tuple of str
        A name and arguments each.
    output : str
        Pattern of the files that are there afterwards.
    copied : tuple of Path
        Files that are put into the folder before.
    uncounted : int
        So many of the first commands prepare the work, and do not count.
    note : str
        What to know about its figures.
    """

    program: str
    commands: tuple[tuple[str, ...], ...]
    output: str
    copied: tuple[Path, ...] = ()
    uncounted: int = 0
    note: str = ""

    def missing(self) -> str:
        """How to provide it, "" when it is there."""
        return missing_programs(name for name, *_ in self.commands)

    def run(self) -> tuple[float, float, str]:
        """Do the work once; CPU and elapsed seconds of the processes, and what to know of them.

        Raises
        ------
        PeerError
        """
        preparing, working, note = Spent(), Spent(), self.note
        with scratch_folder() as folder:
            for path in self.copied:
                shutil.copy(path, folder)
            for number, command in enumerate(self.commands):
                ran = (preparing if number < self.uncounted else working).run(folder, *command)
                # Plans of FFTs made anew take longer than a search of 2^18 samples.
                if "makewisdom" in ran.out:
                    note = f"{self.note}; its makewisdom was not run"
            if not any(folder.glob(self.output)):
                raise PeerError(f"wrote no {self.output}")
        return working.cpu, working.wall, note


def compare(
    ours: Callable[[], object], peers: Sequence[Peer], rounds: int, progress: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Least CPU seconds of every peer that is there, and of ours in the same rounds, in turn.

    Parameters
    ----------
    ours : callable
        Is called once before, which compiles.
    peers : sequence of Peer
    rounds : int
        Times that each is run.
    progress : callable
        Is given what runs next, and why a peer does not.

    Returns
    -------
    dict
        By the name of the peer "cpu", "ours" and "note"; nothing of those that are absent or failed.
    """
    there = []
    for peer in peers:
        if why := peer.missing():
            progress(f"{peer.program}: {why}")
        else:
            there.append(peer)
    found: dict[str, dict[str, Any]] = {}
    if there:
        ours()
    for number in range(rounds if there else 0):
        own = best_of(1, ours)
        for peer in list(there):
            before = found.get(peer.program, {"cpu": math.inf, "ours": math.inf, "wall": 0.0})
            try:
                progress(f"{peer.program}, {number + 1} of {rounds}")
                cpu, wall, note = peer.run() if before["wall"] < ENOUGH else (math.inf, 0.0, before["note"])
            except PeerError as error:
                progress(f"{peer.program}: {error}")
                there.remove(peer)
                found.pop(peer.program, None)
                continue
            least = {"cpu": min(before["cpu"], cpu), "ours": min(before["ours"], own)}
            found[peer.program] = {**least, "wall": before["wall"] + wall, "note": note}
    return found


def write_dat(path: Path, data: NDArray[np.float32], tsamp: float) -> tuple[Path, Path]:
    """Write a series as a ``.dat`` with its ``.inf``."""
    header = Header(
        nchans=1, nsamps=len(data), tsamp=tsamp, fch1=1250.0, foff=-500.0, tstart=60000.0, is_series=True, dm=0.0,
        source="noise", telescope="FAST",
    )  # fmt: skip
    write_series(path, data, header, 0.0)
    return path, path.with_suffix(".inf")


class Line(NamedTuple):
    """A candidate of accelsearch: significance, summed power, harmonics, frequency and drift in bins."""

    sigma: float
    power: float
    nharm: int
    r: float
    z: float


#: A number as accelsearch writes it: 66.031(31), 0.2(1.0)x10^3; 1044352.313(63, where the column is full.
NUMBER = re.compile(r"^(-?[\d.]+)(?:\([\d.]+\)?)?(?:x10\^(-?\d+))?$")


def read_listing(path: Path) -> list[Line]:
    """Candidates in an ACCEL file, whose first table ends at a blank line: none where there is no such file."""
    lines: list[Line] = []
    for text in path.read_text().splitlines()[3:] if path.exists() else ():
        words = text.split()
        if not words:
            break
        r, z = (NUMBER.match(words[column]) for column in (7, 9))
        if r is None or z is None:
            raise PeerError(f"{path.name}: not a Fourier bin and its drift: {words[7]!r}, {words[9]!r}")
        r0, z0 = (float(number[1]) * 10.0 ** int(number[2] or 0) for number in (r, z))
        lines.append(Line(float(words[1]), float(words[2]), int(words[4]), r0, z0))
    return lines


def spectrum_lines(folder: Path, stem: str, spent: Spent, *options: str, whiten: bool = False) -> list[Line]:
    """What accelsearch with these options finds in a series in a folder, after realfft, and rednoise where asked for.

    Parameters
    ----------
    folder : Path
    stem : str
        Name of its ``.dat`` and ``.inf``.
    spent : Spent
        What it takes is added there.
    options : str
        Of accelsearch.
    whiten : bool
        Run rednoise.
    """
    spent.run(folder, "realfft", f"{stem}.dat")
    if whiten:
        spent.run(folder, "rednoise", f"{stem}.fft")
        stem += "_red"
    spent.run(folder, "accelsearch", *options, f"{stem}.fft")
    return [line for path in folder.glob(f"{stem}_ACCEL_*[0-9]") for line in read_listing(path)]


def accelsearch_lines(series: NDArray[np.float32], tsamp: float, *options: str) -> list[Line]:
    """What realfft and accelsearch with these options find in a series."""
    with scratch_folder() as folder:
        write_dat(folder / "series.dat", series - series.mean(), tsamp)
        return spectrum_lines(folder, "series", Spent(), *options)


#: What is seen in a raw file, in the columns of our detections (PRESTO's sigma knows of no other DMs).
DTYPE = np.dtype([("dm", "f8"), ("freq", "f8"), ("sigma", "f8"), ("sigma_single", "f8"), ("kind", "U8")])


def presto_plan(observed: Sky, dm_high: float) -> list[tuple[float, float, int, int]]:
    """Lowest DM, step, number of DMs and downsampling of each call of prepsubband.

    Steps and downsampling are doubled when the dispersion inside the channels has grown to the next power of two of a
    sample.
    """
    calls = []
    low, down = 0.0, 1
    band, inside = float(np.ptp(observed.delays)), float(np.median(observed.smears))
    while low < dm_high:
        # A step that shifts the ends of the band by a sample.
        step = round(down * observed.tsamp / band, 2)
        end = dm_high if down >= 8 else min(dm_high, 2 * down * observed.tsamp / inside)
        number = max(int(np.ceil((end - low) / step)), 1)
        calls.append((low, step, number, down))
        low, down = low + step * number, down * 2
    return calls


def presto_search(observed: Sky, path: Path, dm_high: float, spent: Spent) -> NDArray[Any]:
    """All that accelsearch has in a file from 4 sigma on.

    Parameters
    ----------
    observed : Sky
    path : Path
        The file.
    dm_high : float
        Highest DM.
    spent : Spent
        What it takes is added there.
    """
    found = []
    with scratch_folder() as folder:
        spent.run(folder, "rfifind", "-time", "1.0", "-o", "m", str(path.resolve()))
        for low, step, number, down in presto_plan(observed, dm_high):
            # Filled up to a power of two: for others FFTW makes a new plan each time, longer than the search takes.
            length = 1 << int(np.ceil(np.log2(observed.nsamps // down)))
            options = ["-nsub", str(observed.nchans), "-lodm", f"{low:.2f}", "-dmstep", f"{step:.2f}"]
            options += ["-numdms", str(number), "-numout", str(length), "-downsamp", str(down), "-nobary"]
            options += ["-mask", "m_rfifind.mask", "-o", "s", str(path.resolve())]
            spent.run(folder, "prepsubband", *options)
            for series in sorted(folder.glob("s_DM*.dat")):
                name = series.stem
                # From below the slowest pulsar on.
                options = ["-zmax", "0", "-numharm", "16", "-sigma", "4.0", "-flo", "0.15"]
                lines = spectrum_lines(folder, name, spent, *options, whiten=True)
                dm, tobs = float(name.rsplit("DM", 1)[1]), length * down * observed.tsamp
                found += [(dm, line.r / tobs, line.sigma, line.sigma, "presto") for line in lines]
                spent.left(folder.glob(f"{name}*"))
                for old in folder.glob(f"{name}*"):
                    old.unlink()
        spent.left(folder.iterdir())
    return np.array(found, DTYPE)


NHARM = 16
#: Bins, subbands and sub-integrations of a fold.
NBINS, NBANDS, NSUBINTS = 64, 32, 32
#: Lengths of the series searched.
SERIES = (1 << 21, 1 << 18)
#: Series that are searched for accelerations: 2^n samples, zmax, wmax and harmonics.
ACCELERATIONS = ((21, 200, 0, 8), (21, 50, 0, 8), (20, 1200, 0, 8), (18, 100, 400, 4))


class Contest(NamedTuple):
    """One piece of work, ours and the peers' ways to do it."""

    work: str
    ours: Callable[[], object]
    peers: tuple[Peer, ...]


def works(surveys: Sequence[BenchSurvey], *, searches: bool = False) -> Iterator[Contest]:
    """Pieces of work that are there until the next one is asked for.

    Parameters
    ----------
    surveys : sequence of BenchSurvey
        On the first everything is done, on the others dedispersion alone.
    searches : bool
        The searches for accelerations, too.
    """
    for number, survey in enumerate(surveys):
        with scratch_folder() as folder:
            path = survey.write(folder)
            yield from dedispersion(survey, path)
            if number == 0:
                yield fold(survey, path)
                yield from (search(nsamps, survey.tsamp, folder) for nsamps in SERIES)
                yield from (acceleration(*case, folder) for case in ACCELERATIONS if searches)


def dedispersion(survey: BenchSurvey, path: Path) -> Iterator[Contest]:
    """From a file to every series, which the peers write to disk: without making the mask, and with it.

    `dedisperse_all_fil` measures the noise of the channels and takes it out, the others sum the samples as they are:
    against these ours has made its mask before (PRESTO has a program of its own for that).
    """
    header, ndms = survey.sky.header, survey.size.ndms
    last, step = survey.dm_step * (ndms - 1), f"{survey.dm_step:g}"
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
        command = ("prepsubband", *options, "-numdms", str(ndms), "-o", "out", str(path))
        # Channels are shifted for the middle of the DMs before they are summed to subbands.
        smear = KDM * 0.5 * last * 2.0 * (500.0 / number) / float(header.freqs[-1]) ** 3 / survey.tsamp
        note = "" if number == header.nchans else f"smears DMs at the ends of the range by {smear:.0f} samples"
        return Peer(f"PRESTO `prepsubband -nsub {number}`", (command,), "out*.dat", note=note)

    peers = tuple(subbands(n) for n in survey.subbands if header.nchans % n == 0)
    yield Contest(f"dedisperse {survey.about}", ours, peers)
    options = ("-t", "1", "--dms", "0", "--ddm", step, "--ndm", str(ndms), "--format", "presto", "-o", "out")
    command = ("dedisperse_all_fil", *options, "-f", str(path))
    peer = Peer("PulsarX `dedisperse_all_fil`", (command,), "out*.dat", note="ours makes its mask too")
    yield Contest(f"normalise, dedisperse {survey.about}", all_ours, (peer,))
    opened.close()


def fold(survey: BenchSurvey, path: Path) -> Contest:
    """One candidate, from the file to its refined profile."""
    config = FoldConfig(nbins=NBINS, nsubints=NSUBINTS, nbands=NBANDS)
    params = [FoldParams(1.0 / PULSAR.period, 0.0, PULSAR.dm)]

    def ours() -> None:
        with cleaned(path) as source:
            refine(fold_many(source, params, config, threads=1, memory=MEMORY)[0])

    given = ("-p", repr(PULSAR.period), "-dm", repr(PULSAR.dm))
    shape = ("-n", str(NBINS), "-nsub", str(NBANDS), "-npart", str(NSUBINTS))
    options = ("-topo", "-noxwin", "-noclip", "-ncpus", "1", *given, *shape, "-o", "out")

    def prepfold(note: str, *more: str) -> Peer:
        name = " ".join(("prepfold", *more))
        return Peer(f"PRESTO `{name}`", (("prepfold", *options, *more, str(path)),), "out*.pfd", note=note)

    refined = prepfold("P, Pdot and DM refined as ours; plot included")
    peers = refined, prepfold("nothing refined; plot included", "-nosearch")
    size = f"{survey.size.nchans} channels x {power_of_two(survey.size.nsamps)} samples"
    return Contest(f"fold and refine a candidate, {size}", ours, peers)


def search(nsamps: int, tsamp: float, folder: Path) -> Contest:
    """One dedispersed series from its file to detections."""
    name = f"series-{nsamps}"
    files = path, _ = write_dat(folder / f"{name}.dat", 100.0 + 20.0 * white_noise(nsamps, 1), tsamp)
    finder = FFTSearch(nsamps, tsamp, FFTConfig.model_validate({"nharm": NHARM}))
    commands = (("realfft", f"{name}.dat"), ("accelsearch", "-zmax", "0", "-numharm", str(NHARM), f"{name}.fft"))
    note = "started anew for every series"
    peer = Peer("PRESTO `realfft + accelsearch -zmax 0`", commands, "*ACCEL_0*", files, note=note)
    work = f"search a series of {power_of_two(nsamps)} samples, {NHARM} harmonics"
    return Contest(work, lambda: finder.search(np.fromfile(path, dtype=np.float32)), (peer,))


def acceleration(log2n: int, zmax: float, wmax: float, nharm: int, folder: Path) -> Contest:
    """One dedispersed series from its spectrum, theirs, or its samples, ours, to accelerated candidates."""
    nsamps, tsamp = 1 << log2n, 64e-6
    series = white_noise(nsamps, 1)
    files = path, _ = write_dat(folder / f"accel-{log2n}.dat", series - series.mean(), tsamp)
    finder = AccelSearch(nsamps, tsamp, AccelConfig.model_validate({"zmax": zmax, "wmax": wmax, "nharm": nharm}))
    given = ["-zmax", f"{zmax:g}", "-numharm", str(nharm), "-flo", "0.5"]
    given += ["-wmax", f"{wmax:g}"] if wmax else []
    peers = []
    for option in ((), ("-inmem",)) if not wmax else ((),):
        commands = (("realfft", path.name), ("accelsearch", *given, *option, f"{path.stem}.fft"))
        name = f"PRESTO `{' '.join(('accelsearch', *option))}`"
        peers.append(Peer(name, commands, "*ACCEL_*", files, uncounted=1, note="on the finished spectrum"))
    about = f"zmax {zmax:g}{f', wmax {wmax:g}' if wmax else ''}, {nharm} harmonics"
    return Contest(f"accelerations in 2^{log2n} samples, {about}", lambda: finder.search(series), tuple(peers))
