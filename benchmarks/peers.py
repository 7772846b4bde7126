"""The same work as others do it, for `versus.py work`: dedispersing, folding, searching series."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from programs import Peer, write_dat
from shared import white_noise

from pulsar.bench.case import power_of_two
from pulsar.bench.stages import MEMORY, PULSAR, Survey, cleaned, run_dedispersion
from pulsar.cleaning.source import CleanedSource
from pulsar.config.model import AccelConfig, FFTConfig, FoldConfig
from pulsar.constants import KDM
from pulsar.data.fold import FoldParams
from pulsar.folding.folder import fold_many
from pulsar.folding.refine import refine
from pulsar.searches.accel import AccelSearch
from pulsar.searches.fft import FFTSearch

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


def works(surveys: Sequence[Survey], *, searches: bool = False) -> Iterator[Contest]:
    """Pieces of work that are there until the next one is asked for.

    Parameters
    ----------
    surveys : sequence of Survey
        On the first everything is done, on the others dedispersion alone.
    searches : bool
        The searches for accelerations, too.
    """
    for number, survey in enumerate(surveys):
        with tempfile.TemporaryDirectory(prefix="pulsar-bench-") as name:
            folder = Path(name)
            path = survey.write(folder)
            yield from dedispersion(survey, path)
            if number == 0:
                yield fold(survey, path)
                yield from (search(nsamps, survey.tsamp, folder) for nsamps in SERIES)
                yield from (acceleration(*case, folder) for case in ACCELERATIONS if searches)


def dedispersion(survey: Survey, path: Path) -> Iterator[Contest]:
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


def fold(survey: Survey, path: Path) -> Contest:
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
    path = write_dat(folder / f"{name}.dat", 100.0 + 20.0 * white_noise(nsamps, 1), tsamp)
    finder = FFTSearch(nsamps, tsamp, FFTConfig.model_validate({"nharm": NHARM}))
    commands = (("realfft", f"{name}.dat"), ("accelsearch", "-zmax", "0", "-numharm", str(NHARM), f"{name}.fft"))
    files = (path, path.with_suffix(".inf"))
    note = "started anew for every series"
    peer = Peer("PRESTO `realfft + accelsearch -zmax 0`", commands, "*ACCEL_0*", files, note=note)
    work = f"search a series of {power_of_two(nsamps)} samples, {NHARM} harmonics"
    return Contest(work, lambda: finder.search(np.fromfile(path, dtype=np.float32)), (peer,))


def acceleration(log2n: int, zmax: float, wmax: float, nharm: int, folder: Path) -> Contest:
    """One dedispersed series from its spectrum, theirs, or its samples, ours, to accelerated candidates."""
    nsamps, tsamp = 1 << log2n, 64e-6
    series = white_noise(nsamps, 1)
    path = write_dat(folder / f"accel-{log2n}.dat", series - series.mean(), tsamp)
    finder = AccelSearch(nsamps, tsamp, AccelConfig.model_validate({"zmax": zmax, "wmax": wmax, "nharm": nharm}))
    given = ["-zmax", f"{zmax:g}", "-numharm", str(nharm), "-flo", "0.5"]
    given += ["-wmax", f"{wmax:g}"] if wmax else []
    files = (path, path.with_suffix(".inf"))
    peers = []
    for option in ((), ("-inmem",)) if not wmax else ((),):
        commands = (("realfft", path.name), ("accelsearch", *given, *option, f"{path.stem}.fft"))
        name = f"PRESTO `{' '.join(('accelsearch', *option))}`"
        peers.append(Peer(name, commands, "*ACCEL_*", files, uncounted=1, note="on the finished spectrum"))
    about = f"zmax {zmax:g}{f', wmax {wmax:g}' if wmax else ''}, {nharm} harmonics"
    return Contest(f"accelerations in 2^{log2n} samples, {about}", lambda: finder.search(series), tuple(peers))
