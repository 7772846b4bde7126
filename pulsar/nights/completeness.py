"""How complete searches are: signals added to observations, as many as are asked for, and what became of them."""

import contextlib
import math
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from pulsar.config.model import Config
from pulsar.errors import ConfigError
from pulsar.nights.night import Job, Outcome, jobs, search_night
from pulsar.pipeline.injections import BURSTS, PULSARS
from pulsar.pipeline.limits import telescope_of
from pulsar.pipeline.progress import Progress

#: Signals that are injected in all, unless somebody wants more: the S/N of nine tenths is known within about 0.6.
SIGNALS: Final = 400


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
    """What is to be searched, with signals: each observation that files and folders hold.

    Parameters
    ----------
    files : sequence of paths
        Files and folders; those of one observation are joined, as a search of a night does it.
    config : Config
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
    from pulsar.io.night import scan

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
        from pulsar.synthesis.asked import read_asked

        read_asked(config.completeness.population)  # what is wrong with it is told before anything is searched
    places = config.completeness.places or math.ceil(signals / (PULSARS + BURSTS) / len(todo))
    return [_with_places(job, places, alone=len(todo) == 1) for job in todo]


def _with_places(job: Job, places: int, *, alone: bool) -> Job:
    """The search of an observation with signals at so many DMs, which are its own."""
    own: dict[str, object] = {"enabled": True, "places": places}
    if not alone:
        # By its name: the others may be more or fewer tomorrow.
        own["seed"] = zlib.crc32(job.out.stem.encode(), job.config.completeness.seed & 0xFFFFFFFF)
    wanted = job.config.completeness.model_copy(update=own)
    return replace(job, config=job.config.model_copy(update={"completeness": wanted}))


def complete(
    todo: Sequence[Job],
    config: Config,
    out: Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    argv: Sequence[str] = (),
    progress: Progress | None = None,
) -> Outcome:
    """Search observations with signals that are injected, and write one product of all.

    Parameters
    ----------
    todo : sequence of Job
        Of :func:`observations`.
    config : Config
    out : Path
    overwrite, resume : bool
        As for one search; with `resume` observations that are done are kept.
    argv : sequence of str
    progress : Progress, optional

    Raises
    ------
    ConfigError
        A product is there already, or another run is at work on it.
    PulsarError
        None of them could be searched.
    """
    folder = runs_folder(out)
    outcome = search_night(
        todo,
        config,
        folder,
        overwrite=overwrite,
        resume=resume,
        argv=argv,
        progress=progress,
        merged=out,
    )
    if outcome.merged is None and outcome.failures:
        with contextlib.suppress(OSError):
            folder.rmdir()  # where nothing is in it
        raise outcome.failures[0][1]
    return outcome
