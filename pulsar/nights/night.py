"""A night in one command: every pointing and beam searched, one product each, and one list of all.

How complete its searches are is told by the same with signals that are added.
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from pulsar.cleaning.birdies import Birdie
from pulsar.cleaning.common import BEAMS, common_lines
from pulsar.config.model import Config
from pulsar.constants import DAY
from pulsar.data.files import check_output
from pulsar.data.observation import InputFile
from pulsar.data.unfinished import output_lock, resumable
from pulsar.errors import ConfigError, DataError, PulsarError, refused
from pulsar.io.base import parse_name
from pulsar.io.night import Night, Pointing, read_pointings, scan
from pulsar.io.open import open_observation
from pulsar.io.product.provenance import software_version
from pulsar.io.product.reader import read
from pulsar.io.product.writer import Target
from pulsar.nights.merge import merge
from pulsar.pipeline.checkpoint import Checkpoint
from pulsar.pipeline.injections import BURSTS, PULSARS, telescope_of
from pulsar.pipeline.plan import RunPlan, dry_run
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.start import fingerprint
from pulsar.run import first_look, search
from pulsar.sky.observatory import Receiver
from pulsar.synthesis.population import read_asked

#: The sky turns by this [deg/s]: 360 degrees in a sidereal day.
SIDEREAL: Final = 360.0 / 86164.0905
#: Name of the merged product.
ALL: Final = "ALL.h5"
#: Signals that are injected in all, unless somebody wants more: the S/N of nine tenths is known within about 0.6.
SIGNALS: Final = 400


@dataclass(frozen=True)
class Job:
    """One search of a night."""

    pointing: Pointing  # With the files of this job only
    out: Path
    config: Config  # With the position of a drifting beam, where that is
    part: int = 0  # Number of the segment, from 1; 0: the whole

    @property
    def group(self) -> tuple[str, str, int, int]:
        """The key that the beams of one time share."""
        return (*self.pointing.group, self.part)


@dataclass
class NightOutcome:
    """The outcome of a night."""

    products: list[Path] = field(default_factory=list)
    merged: Path | None = None
    #: Pointings that could not be searched, and why.
    failures: list[tuple[str, PulsarError]] = field(default_factory=list)


def jobs(
    night: Night,
    config: Config,
    folder: Path,
    *,
    beams: set[int] | None = None,
    segment: int | None = None,
    overlap: float = 0.5,
) -> list[Job]:
    """The searches of a night, in its order.

    Parameters
    ----------
    folder : Path
        Where the products go.
    beams : set of int, optional
        Only these.
    segment : int, optional
        Search so many files at a time.
    overlap : float
        Of neighbouring segments, 0 to below 1.

    Raises
    ------
    ConfigError
        No such beams, or a segment or overlap that makes no sense.
    """
    if segment is not None and (segment < 1 or not 0 <= overlap < 1):
        raise ConfigError(f"--segment {segment} --overlap {overlap:g}: expected at least 1 file, and 0 to below 1")
    out = []
    places = read_pointings(config.input.pointings) if config.input.pointings else {}
    for pointing in night.pointings:
        if beams is not None and pointing.beam not in beams:
            continue
        place = places.get((pointing.source, pointing.beam)) or places.get((pointing.source, None))
        job_config = config if place is None else _at(config, *place)
        parts = [pointing] if segment is None else _segments(pointing, segment, overlap)
        for i, part in enumerate(parts):
            number = i + 1 if len(parts) > 1 else 0
            name = pointing.name + (f"_s{number:02d}" if number else "")
            out.append(Job(part, folder / f"{name}.h5", _placed(pointing, part, job_config), number))
    if not out:
        known = sorted({p.beam for p in night.pointings if p.beam is not None})
        raise ConfigError(f"--beams: none of them is in the files, which have {', '.join(map(str, known)) or 'none'}")
    if config.rfi.mask and len(out) > 1:
        raise ConfigError(
            f"rfi.mask = {config.rfi.mask!r}: a mask belongs to one observation, these are {len(out)}: search each "
            "of them with its own, or leave it out"
        )
    return out


def _segments(pointing: Pointing, count: int, overlap: float) -> list[Pointing]:
    """Windows of `count` files; the last one ends with the last file."""
    paths, step = pointing.paths, max(1, round(count * (1.0 - overlap)))
    if len(paths) <= count:
        return [pointing]
    starts = [*range(0, len(paths) - count, step), len(paths) - count]
    return [replace(pointing, paths=paths[s : s + count]) for s in dict.fromkeys(starts)]


def _placed(pointing: Pointing, part: Pointing, config: Config) -> Config:
    """The configuration with the right ascension to which the sky has drifted in the middle of a segment."""
    if "drift" not in parse_name(pointing.paths[0]).mode:
        return config

    ra = pointing.header.ra_deg if config.input.ra_deg is None else config.input.ra_deg
    try:
        with open_observation(*part.paths, config=config.input) as obs:
            later = (obs.header.tmid - pointing.header.tstart) * DAY
    except DataError:
        return config  # the search will say what is wrong
    if not math.isfinite(ra):
        return config
    return _at(config, (ra + SIDEREAL * later) % 360.0, config.input.dec_deg)


def _at(config: Config, ra_deg: float, dec_deg: float | None) -> Config:
    """The configuration with another position."""
    return config.changed(input={"ra_deg": ra_deg, "dec_deg": dec_deg})


def plan_jobs(todo: Sequence[Job]) -> tuple[dict[str, RunPlan], list[tuple[str, PulsarError]]]:
    """Plans of the searches of a night by their names, and those that would fail, with why.

    Parameters
    ----------
    todo : sequence of Job
        Of :func:`jobs`.
    """
    plans: dict[str, RunPlan] = {}
    failures: list[tuple[str, PulsarError]] = []
    alike: dict[tuple[object, ...], RunPlan] = {}
    for job in todo:
        name = job.out.stem
        try:
            with open_observation(*job.pointing.paths, config=job.config.input) as obs:
                h = obs.header
                shape = (h.nsamps, h.tsamp, h.is_series, obs.chan_ok.tobytes(), h.freqs.tobytes())
                if shape not in alike:
                    # Beams of one time differ in nothing that a plan depends on.
                    alike[shape] = dry_run(obs, job.config)
                plans[name] = alike[shape]
        except PulsarError as failure:
            failures.append((name, failure))
    return plans, failures


def search_night(
    todo: Sequence[Job],
    config: Config,
    folder: Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    argv: Sequence[str] = (),
    problems: Sequence[str] = (),
    progress: Progress | None = None,
    merged: Path | None = None,
) -> NightOutcome:
    """Search one job after the other and merge what they give; what fails costs nothing else.

    Parameters
    ----------
    folder : Path
        Made when missing.
    overwrite, resume : bool
        As for one search; with `resume` products that are there are kept.
    problems : sequence of str
        Of the night: recorded in the merged product.
    merged : Path, optional
        Product of all of them; default: ALL.h5 in the folder.

    Raises
    ------
    ConfigError
        A product is there already, or another run is at work in this folder.
    """
    progress = Progress("quiet") if progress is None else progress
    with refused(ConfigError, f"{folder}: the folder cannot be made", "give another --out"):
        folder.mkdir(parents=True, exist_ok=True)
    merged = folder / ALL if merged is None else merged
    for path in [job.out for job in todo] + [merged]:
        check_output(path, overwrite=overwrite or resume)
    groups: dict[tuple[str, str, int, int], list[Job]] = {}
    for job in todo:
        groups.setdefault(job.group, []).append(job)
    outcome, notes, number = NightOutcome(), list(problems), 0
    how: dict[str, Any] = {"overwrite": overwrite, "resume": resume, "argv": argv, "progress": progress}
    with output_lock(merged), resumable(lambda: bool(outcome.products) or any(folder.glob("*.parts/*.npz"))):
        for beams in groups.values():
            shared = _SharedLines(beams, config, folder, resume=resume, progress=progress)
            notes += shared.notes
            failed = len(outcome.failures)
            for job in beams:
                number += 1
                files = f"{len(job.pointing.paths)} file" + ("s" if len(job.pointing.paths) > 1 else "")
                progress.message(f"{number} of {len(todo)}: {job.out.stem} ({files})")
                begun = job.out in shared.begun
                try:
                    search(job.pointing.paths, job.config, job.out, **how, common=shared.birdies, begun=begun)
                except (PulsarError, OSError, MemoryError) as failure:
                    reason = (
                        failure if isinstance(failure, PulsarError) else PulsarError(str(failure) or "out of memory")
                    )
                    progress.message(f"failed: {reason}")
                    outcome.failures.append((job.out.stem, reason))
                else:
                    outcome.products.append(job.out)
            if len(outcome.failures) == failed:
                shared.forget()
        if outcome.products:
            notes += [f"{name}: could not be searched: {error}" for name, error in outcome.failures]
            merge([read(p) for p in outcome.products], Target(merged, True, argv), config, notes)
            outcome.merged = merged
    return outcome


def _common_of(path: Path) -> list[Birdie]:
    """Lines in a product that other beams have as well; none of what cannot be read."""
    try:
        rows = read(path).rows("rfi/birdies")
    except DataError:
        return []
    return [Birdie(float(r["freq"]), float(r["width"]), "common") for r in rows if "common" in str(r["reason"])]


class _SharedLines:
    """Periodic interference that the beams of one time have in common, found before they are searched.

    Each beam is cleaned once for its series at DM 0; its mask stays beside its product for the search. What has been
    found stays until all beams are searched, so that a night that goes on leaves out the same lines in all of them.

    Attributes
    ----------
    birdies : list of Birdie
    begun : set of Path
        Products whose masks are there.
    notes : list of str
        What was found, in words.
    """

    def __init__(self, beams: Sequence[Job], config: Config, folder: Path, *, resume: bool, progress: Progress) -> None:
        self.birdies: list[Birdie] = []
        self.begun: set[Path] = set()
        self.notes: list[str] = []
        self._kept: Checkpoint | None = None
        numbers = [job.pointing.beam for job in beams]
        # Where the mean over channels is subtracted nothing is left at DM 0.
        useful = config.rfi.common and config.rfi.zerodm == "off"
        if not useful or None in numbers or len(set(numbers)) < max(BEAMS, len(numbers)):
            return
        first = beams[0].pointing
        name = replace(first, beam=None).name + (f"_s{beams[0].part:02d}" if beams[0].part else "")
        if resume and all(job.out.exists() for job in beams):
            self.birdies = _common_of(beams[0].out)
        else:
            self._find(beams, config, folder / f"{name}.common", resume=resume, progress=progress)
        if self.birdies:
            freqs = ", ".join(f"{b.freq:.6g}" for b in self.birdies[:20]) + (" ..." if len(self.birdies) > 20 else "")
            lines = f"{len(self.birdies)} line" + ("s" if len(self.birdies) > 1 else "")
            self.notes.append(f"{name}: {lines} of interference in several beams left out of all: {freqs} Hz")
            progress.message(self.notes[0])

    def _find(self, beams: Sequence[Job], config: Config, path: Path, *, resume: bool, progress: Progress) -> None:
        try:
            stats = [(p, p.stat()) for job in beams for p in job.pointing.paths]
        except OSError:
            return  # the search will say what is gone
        files = [InputFile(p, 0, 0, stat.st_size, stat.st_mtime) for p, stat in stats]
        self._kept = Checkpoint(path, fingerprint(files, config, software_version()), resume=resume)
        kept = self._kept.load("lines")
        if kept is not None:
            self.birdies = [Birdie(float(freq), float(width), "common") for freq, width in kept["birdies"]]
            return
        looks = {}
        for i, job in enumerate(beams):
            progress.message(f"first look at {job.out.stem}, {i + 1} of {len(beams)} beams")
            try:
                lines = first_look(job.pointing.paths, job.config, job.out, resume=resume, progress=progress)
            except (PulsarError, OSError, MemoryError):
                continue  # the search will say what is wrong
            if lines is not None and job.pointing.beam is not None:
                looks[job.pointing.beam] = lines
                self.begun.add(job.out)
        self.birdies = common_lines(looks, Receiver(config.receiver))
        rows = np.array([(b.freq, b.width) for b in self.birdies], dtype=np.float64).reshape(-1, 2)
        self._kept.save("lines", birdies=rows)

    def forget(self) -> None:
        """All beams are searched."""
        if self._kept is not None:
            self._kept.remove()


def runs_folder(out: Path) -> Path:
    """Folder of the products of single observations."""
    return out.with_suffix(".runs")


def observations(
    files: Sequence[Path | str],
    config: Config,
    out: Path,
    *,
    signals: int = SIGNALS,
    beams: set[int] | None = None,
    progress: Progress,
) -> list[Job]:
    """Searches with signals: one of each observation that files and folders hold.

    Parameters
    ----------
    files : sequence of paths
        Files and folders; those of one observation are joined, as a search of a night does it.
    out : Path
        Product of all.
    signals : int
        At least so many in all; each observation gets the same number of DMs.
    beams : set of int, optional
        Only these.
    progress : Progress
        Is told what is odd.

    Raises
    ------
    ConfigError
        There is nothing into which signals could be injected.
    DataError
        Nothing can be read.
    """
    night = scan(files, config.input)
    for problem in night.problems:
        progress.warning(problem)
    todo = jobs(night, config, runs_folder(out), beams=beams)
    series = next((job for job in todo if job.pointing.header.is_series), None)
    if series is not None:
        raise ConfigError(
            f"{series.pointing.paths[0]}: a dedispersed series has no channels to which signals could be added: give "
            "the file it was made of"
        )
    unknown = [job for job in todo if telescope_of(job.pointing.header, job.config.telescope).gain is None]
    if unknown:
        names = ", ".join(job.out.stem for job in unknown[:3]) + (" …" if len(unknown) > 3 else "")
        progress.warning(f"no limits on flux densities: the telescope's gain is not known (--gain, --tsys): {names}")
    if config.completeness.population:
        read_asked(config.completeness.population)  # what is wrong with it is told before anything is searched
    places = config.completeness.places or math.ceil(signals / (PULSARS + BURSTS) / len(todo))
    return [_with_places(job, places, alone=len(todo) == 1) for job in todo]


def _with_places(job: Job, places: int, *, alone: bool) -> Job:
    """The search of an observation with signals at so many DMs, which are its own."""
    changes: dict[str, object] = {"enabled": True, "places": places}
    if not alone:
        # By its name: the others may be more or fewer tomorrow.
        changes["seed"] = zlib.crc32(job.out.stem.encode(), job.config.completeness.seed & 0xFFFFFFFF)
    return replace(job, config=job.config.changed(completeness=changes))
