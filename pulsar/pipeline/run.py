"""A whole search: detect, group, pursue, link, judge, order, write."""

from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pulsar.config.model import Config
from pulsar.data.locks import output_lock
from pulsar.data.observation import Observation
from pulsar.data.pulse import PulseCutout
from pulsar.data.unfinished import resumable, sweep
from pulsar.errors import ConfigError, DataError
from pulsar.pipeline.asked import check_wanted
from pulsar.pipeline.candidates import candidate_table
from pulsar.pipeline.checkpoint import Checkpoint
from pulsar.pipeline.cleaning import given_mask
from pulsar.pipeline.compiling import Ahead, parts_of
from pulsar.pipeline.detect import detect, lines_of
from pulsar.pipeline.fingerprint import fingerprint
from pulsar.pipeline.follow import follow_up, group_detections, mark_detections
from pulsar.pipeline.job import Detected, Job
from pulsar.pipeline.judged import judged
from pulsar.pipeline.plan import dry_run
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.rates import learning
from pulsar.pipeline.residual import search_residual
from pulsar.pipeline.room import check_addresses, reserve_ahead, thread_count
from pulsar.pipeline.searched import STAGE
from pulsar.sources.candidate import Candidate
from pulsar.sources.score import scorer_of

if TYPE_CHECKING:
    from pulsar.cleaning.birdies import Birdie
    from pulsar.cleaning.common import Lines
    from pulsar.io.product.reader import Run
    from pulsar.pipeline.completeness import Completeness
    from pulsar.pipeline.ranges import Crew

#: Rows of candidates that belong to others and were not folded, the strongest; all are in the table of detections.
MOST_ATTACHED = 1000


def search(
    paths: Sequence[Path | str] | Path | str | Observation,
    config: Config | None = None,
    out: Path | str = "run.h5",
    *,
    overwrite: bool = False,
    resume: bool = False,
    argv: Sequence[str] = (),
    progress: Progress | None = None,
    common: "Sequence[Birdie]" = (),
    begun: bool = False,
    crew: "Crew | None" = None,
    compiled: "Ahead | None" = None,
) -> "Run":
    """Search an observation for pulsars of every kind and write the ranked candidates and single pulses.

    Parameters
    ----------
    paths : path, sequence of paths, or Observation
        The files of one observation.
    config : Config, optional
    out : path
        The HDF5 product, written at the end, whole or not at all.
    overwrite : bool
        Replace an existing `out`.
    resume : bool
        Go on after the last stage that an interrupted run of the same inputs and settings has finished; a product that
        is already there is returned as it is.
    argv : sequence of str
        The command line, for the provenance.
    progress : Progress, optional
        Default: quiet.
    common : sequence of Birdie
        Periodic interference that other beams have shown.
    begun : bool
        :func:`first_look` has left the mask of these files beside `out`: go on from it.
    crew : Crew, optional
        Who searches ranges of DMs; by default this process does.
    compiled : Ahead, optional
        Kernels that whoever calls has begun to compile, and ends; by default they are begun with here.

    Returns
    -------
    Run
        The product, opened.

    Raises
    ------
    ConfigError
        The output exists or cannot be written, another run is at work on it, or a setting makes no sense for these
        data.
    DataError
        The files cannot be read, or nothing is left after masking.
    """
    # Many arguments: each says one thing about a run that its settings do not.
    from pulsar.io.product.writer import check_output

    config = Config() if config is None else config
    progress = Progress("quiet") if progress is None else progress
    out = check_output(Path(out), overwrite=overwrite or resume)
    with output_lock(out):
        return _search(
            paths,
            config,
            out,
            overwrite=overwrite,
            resume=resume,
            argv=argv,
            progress=progress,
            common=common,
            begun=begun,
            crew=crew,
            compiled=compiled,
        )


def _search(
    paths: Sequence[Path | str] | Path | str | Observation,
    config: Config,
    out: Path,
    *,
    overwrite: bool,
    resume: bool,
    argv: Sequence[str],
    progress: Progress,
    common: "Sequence[Birdie]",
    begun: bool,
    crew: "Crew | None",
    compiled: "Ahead | None",
) -> "Run":
    """What :func:`search` does, by the one process that is at work on this output."""
    # Many arguments: those of `search`, which holds the lock meanwhile.
    from pulsar.io.open import open_observation
    from pulsar.io.product.reader import read

    if isinstance(paths, str | Path):
        paths = [paths]
    opened = not isinstance(paths, Observation)
    obs = open_observation(*paths, config=config.input) if not isinstance(paths, Observation) else paths
    try:
        from pulsar.io.product.provenance import software_version

        mark = fingerprint(obs.files, config, software_version())
        refuse_calibration(obs, config)
        if crew is None:
            check_addresses(obs, config)
        if compiled is not None:
            # The plan needs some, which need not be compiled twice.
            compiled.wait(progress, ["planning"])
        plan = dry_run(obs, config)  # refuses what cannot be done before any sample is read
        check_lists(obs, config)
        scorer_of(config.sift.weights)
        check_wanted(obs.header, plan, config)
        if crew is not None:
            refuse_sharing(obs)
        done = read(out) if resume and out.exists() else None
        if done is not None and (done.provenance.get("fingerprint") == mark or not overwrite):
            if done.provenance.get("fingerprint") != mark:
                raise ConfigError(
                    f"{out}: is the product of other files or settings; --resume goes on with the same ones only: "
                    "give --overwrite to replace it, or another --out"
                )
            Checkpoint(out, mark, resume=False)  # what a first look has left, or a run that was killed at its end
            sweep(out)
            progress.message(f"{out} is complete: nothing left to do")
            return done
        checkpoint = Checkpoint(out, mark, resume=resume or begun)
        if checkpoint.outdated:
            progress.warning("the earlier results belong to other files or settings: starting anew")
        for problem in obs.problems:
            progress.warning(problem)
        for remark in obs.remarks:
            progress.message(remark)
        if config.completeness.enabled and plan.injections is None:
            progress.warning("dedispersed series have no channels: nothing is injected to tell the completeness")
        elif plan.injections is not None and config.rfi.zerodm != "off":
            progress.warning("injected signals are not filtered by rfi.zerodm: those of small DMs count for too much")
        threads = thread_count(config)
        try:
            # What others have done is in no time of ours.
            learn = (
                nullcontext() if checkpoint.resumed or crew is not None else learning(plan.work, lambda: progress.times)
            )
            parts = parts_of(config, series=obs.header.is_series, injected=plan.injections is not None)
            ahead = Ahead(parts, threads) if compiled is None else nullcontext(compiled)
            searched = crew is not None or checkpoint.has("detections")
            memory = nullcontext() if searched else reserve_ahead(obs, config, plan)
            with resumable(lambda: checkpoint.begun), learn, ahead as kernels, memory as reserve:
                kernels.wait(progress, ["statistics"])
                job = Job(obs, config, plan, checkpoint, progress, threads, common, kernels, crew, reserve)
                _run(job, out, overwrite=overwrite, argv=argv)
        except (ConfigError, DataError):
            if not checkpoint.has("detections") and not checkpoint.has(STAGE.format(0)):
                checkpoint.remove()  # nothing in it that the same command could go on from
            raise
        checkpoint.remove()
    finally:
        if opened:
            obs.close()
    return read(out)


def first_look(
    paths: Sequence[Path | str],
    config: Config,
    out: Path,
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> "Lines | None":
    """The first pass of a search and a short second one: lines in the series at DM 0, to be compared with other beams'.

    The mask stays beside `out`, for the search that is `begun` with it.

    Parameters
    ----------
    paths : sequence of paths
        The files of one observation.
    config : Config
    out : Path
        The product that the search will write.
    resume : bool
        Take the mask that an interrupted run of the same inputs and settings has left.
    progress : Progress, optional

    Returns
    -------
    Lines or None
        None for dedispersed series.

    Raises
    ------
    ConfigError, DataError
        As :func:`search`.
    """
    from pulsar.io.open import open_observation
    from pulsar.io.product.provenance import software_version

    progress = Progress("quiet") if progress is None else progress
    with output_lock(out), closing(open_observation(*paths, config=config.input)) as obs:
        refuse_calibration(obs, config)
        plan = dry_run(obs, config)
        if obs.header.is_series:
            return None
        checkpoint = Checkpoint(out, fingerprint(obs.files, config, software_version()), resume=resume)
        threads = thread_count(config)
        with Ahead(parts_of(config), threads) as compiled:
            compiled.wait(progress, ["statistics"])
            return lines_of(Job(obs, config, plan, checkpoint, progress, threads, compiled=compiled))


def refuse_calibration(obs: Observation, config: Config) -> None:
    """Refuse a scan of a calibrator, in which the noise diode is all that there is.

    Raises
    ------
    ConfigError
    """
    from pulsar.io.fast import is_calibration

    found = [f.path for f in obs.files if is_calibration(f.path)]
    if found and not config.input.calibration:
        raise ConfigError(
            f"{found[0]}: a calibration scan by its name, with the noise diode on: leave it out, or search it all the "
            "same with --set input.calibration=true"
        )


def refuse_sharing(obs: Observation) -> None:
    """Refuse what workers cannot search: they open files themselves, and share trial DMs.

    Raises
    ------
    ConfigError
    """
    from pulsar.io.series_set import SeriesSet

    if obs.header.is_series or isinstance(obs, SeriesSet):
        raise ConfigError("dedispersed series are searched by one process: leave --engine dask out")
    if not obs.files:
        raise ConfigError("only an observation in files can be searched by workers: they open it themselves")


def check_lists(obs: Observation, config: Config) -> None:
    """Read the lists and the mask that a run will need, so that what is wrong with them is told at its start.

    Raises
    ------
    ConfigError, DataError
    """
    from pulsar.cleaning.birdies import read_zaplist
    from pulsar.sky.catalogue import read_catalogue

    if config.known.catalogue:
        read_catalogue(config.known.catalogue)
    if config.rfi.zaplist:
        read_zaplist(config.rfi.zaplist, 0.0)
    given_mask(obs.header, config.rfi)


def _run(job: Job, out: Path, *, overwrite: bool, argv: Sequence[str]) -> None:
    """One stage after the other; each takes what the one before has returned, and changes nothing of it."""
    from pulsar.config.load import to_toml
    from pulsar.io.product.provenance import Provenance

    provenance = Provenance(
        argv=argv, inputs=[f.path for f in job.obs.files], config=to_toml(job.config), threads=job.threads
    )
    detected = detect(job, out)
    first = follow_up(job, detected, group_detections(job, detected))
    whole, candidates = search_residual(job, detected, first, out)
    candidates, cutouts = judged(job, whole, candidates)
    completeness = None
    if job.plan.injections is not None:
        from pulsar.pipeline.completeness import measure

        completeness = measure(job, detected, first, cutouts, job.plan.injections, out)
    with job.progress.stage("writing"):
        record = provenance.record(job.progress.times)
        _write(job, out, whole, candidates, cutouts, completeness, record, overwrite=overwrite)


def _write(
    job: Job,
    out: Path,
    detected: Detected,
    candidates: Sequence[Candidate],
    cutouts: Sequence[tuple[str, PulseCutout]],
    completeness: "Completeness | None",
    record: Mapping[str, Any],
    *,
    overwrite: bool,
) -> None:
    """The product, whole or not at all. Ranks and ids are given here, once."""
    from pulsar.io.product.writer import ProductWriter
    from pulsar.pipeline.limits import flux_limits

    config, header, mask = job.config, job.obs.header, detected.mask
    # What is masked of the channels and blocks adds nothing to the S/N: as if the band were narrower.
    live = None if mask is None else header.bandwidth * (1.0 - mask.fraction_lost)
    listed = [one for one in candidates if one.fold is not None or not one.parent]
    attached = sorted((one for one in candidates if one.fold is None and one.parent), key=lambda c: -c.group.sigma)
    table, folds = candidate_table([*listed, *attached[:MOST_ATTACHED]], header, config.telescope, live)
    pulses = detected.pulses.table
    idents = {str(row["uid"]): str(row["id"]) for row in table}
    for row in table:
        row["npulses"] = np.count_nonzero(pulses["source"] == row["uid"])
    pulses["source"] = [idents.get(str(uid), "") for uid in pulses["source"]]
    mark_detections(detected.detections, candidates)
    _label(job, table)
    if detected.subtracted is not None:
        from pulsar.sky.catalogue import label_left

        label_left(table, detected.subtracted, header.tobs)
    with ProductWriter(out, overwrite=overwrite) as writer:
        writer.observation(header, job.obs.files, job.obs.gaps, job.obs.problems)
        writer.candidates(table)
        for ident, fold in folds:
            writer.fold(ident, fold)
        if config.single_pulse.enabled:
            writer.single_pulses(pulses)
        for ident, cutout in cutouts:
            writer.pulse(ident, cutout)
        if completeness is not None:
            limits = flux_limits(header, completeness.injected, live or header.bandwidth, config.telescope)
            writer.completeness(completeness.injected, completeness.rows, limits)
        if detected.subtracted is not None:
            writer.subtracted(detected.subtracted)
        if config.output.detections:
            writer.detections(detected.detections)
        birdies = [(b.freq, b.width, b.reason) for b in detected.birdies]
        if mask is None:
            writer.birdies(birdies)
        else:
            writer.rfi(mask, header.freqs, birdies)
        writer.provenance({**record, "fingerprint": job.checkpoint.fingerprint})


def _label(job: Job, table: NDArray[Any]) -> None:
    """Name the candidates that are known pulsars."""
    known, header = job.config.known, job.obs.header
    if not known.catalogue:
        return
    from pulsar.sky.barycentre import motion_of
    from pulsar.sky.catalogue import beam_width, label, read_catalogue

    if motion_of(header) is None or not (known.radius or beam_width(header) > 0):
        job.progress.warning(
            "known pulsars cannot be told: telescope or position are unknown (--ra, --dec, --set known.radius=DEG)"
        )
        return
    inside = label(table, header, read_catalogue(known.catalogue), radius=known.radius)
    names = ", ".join(p.name for p in inside[:10]) + (" ..." if len(inside) > 10 else "")
    job.progress.message(f"known pulsars at this position: {names or 'none'}")
