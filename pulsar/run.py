"""One search, read from top to bottom: clean, dedisperse and search, pursue, fold, judge, write."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from pulsar.cleaning.birdies import Birdie
from pulsar.cleaning.common import Lines
from pulsar.config.load import to_toml
from pulsar.config.model import Config
from pulsar.data.files import check_output
from pulsar.data.observation import Observation
from pulsar.data.unfinished import output_lock, resumable
from pulsar.dedisp.stream import Reserve
from pulsar.errors import ConfigError, DataError
from pulsar.io.product.provenance import Provenance, software_version
from pulsar.io.product.reader import Run, read
from pulsar.io.product.writer import Target
from pulsar.pipeline.checkpoint import Checkpoint
from pulsar.pipeline.compiling import Ahead, parts_of
from pulsar.pipeline.completeness import measure
from pulsar.pipeline.detect import detect, lines_at_zero
from pulsar.pipeline.follow import follow_up, group_detections, ranked
from pulsar.pipeline.injections import first_subbands
from pulsar.pipeline.plan import RunPlan, dry_run, replanned, with_threshold
from pulsar.pipeline.progress import Progress, learning
from pulsar.pipeline.ranges import STAGE, Crew
from pulsar.pipeline.residual import search_residual
from pulsar.pipeline.room import Means, reserve_ahead
from pulsar.pipeline.samples import clean
from pulsar.pipeline.start import checked_plan, fingerprint, finished, opened, refuse_calibration, tell
from pulsar.pipeline.write import write_product


def search(
    paths: Sequence[Path | str] | Path | str | Observation,
    config: Config = Config(),
    out: Path | str = "run.h5",
    *,
    overwrite: bool = False,
    resume: bool = False,
    argv: Sequence[str] = (),
    progress: Progress | None = None,
    common: Sequence[Birdie] = (),
    begun: bool = False,
    crew: Crew | None = None,
    compiled: Ahead | None = None,
) -> Run:
    """Search an observation for pulsars of every kind and write the ranked candidates and single pulses.

    Parameters
    ----------
    paths : path, sequence of paths, or Observation
        The files of one observation.
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
    progress = Progress("quiet") if progress is None else progress
    progress.begin()
    out = check_output(Path(out), overwrite=overwrite or resume)
    with output_lock(out), opened(paths, config) as obs:
        if compiled is not None:
            # The plan needs some, which need not be compiled twice.
            compiled.wait(progress, ["planning"])
        plan = checked_plan(obs, config, shared=crew is not None)
        mark = fingerprint(obs.files, config, software_version(), obs.header)
        product = finished(out, mark, progress, overwrite=overwrite, resume=resume)
        if product is not None:
            return product
        checkpoint = Checkpoint(out, mark, resume=resume or begun)
        tell(obs, plan, config, checkpoint, progress)
        means = Means.of(config, obs, progress, out)
        parts = parts_of(config, series=obs.header.is_series, injected=plan.injections is not None)
        ahead = Ahead(parts, means.threads) if compiled is None else nullcontext(compiled)
        # What others have done is in no time of ours.
        alone = not checkpoint.resumed and crew is None
        learn = learning(plan.work, lambda: progress.times) if alone else nullcontext()
        searched = crew is not None or checkpoint.has("detections")
        memory = nullcontext() if searched else reserve_ahead(obs, config, plan)
        try:
            with resumable(lambda: checkpoint.begun), learn, ahead as kernels, memory as reserve:
                kernels.wait(progress, ["statistics"])
                target = Target(out, overwrite, argv)
                _run(obs, plan, config, means, checkpoint, target, kernels, common, crew, reserve or Reserve())
        except (ConfigError, DataError):
            if not checkpoint.has("detections") and not checkpoint.has(STAGE.format(0)):
                checkpoint.remove()  # nothing in it that the same command could go on from
            raise
        checkpoint.remove()
        return read(out)


def _run(
    obs: Observation,
    plan: RunPlan,
    config: Config,
    means: Means,
    checkpoint: Checkpoint,
    target: Target,
    kernels: Ahead,
    common: Sequence[Birdie],
    crew: Crew | None,
    reserve: Reserve,
) -> None:
    """One stage after the other; each takes what those before have returned, and changes nothing of it."""
    progress, header = means.progress, obs.header
    provenance = Provenance(target.argv, [file.path for file in obs.files], to_toml(config), means.threads)
    samples = clean(obs, config, means, checkpoint)
    # That kernels are compiled, once, must not be counted into the time that a search takes.
    kernels.wait(progress)
    plan = replanned(plan, samples, config, progress)
    config = with_threshold(config, plan)
    subbands = first_subbands(samples.source, header, plan, config, means)
    detected = detect(
        samples, plan, config, means, checkpoint, common=common, subbands=subbands, crew=crew, reserve=reserve
    )
    groups = group_detections(header, detected, config, progress)
    first = follow_up(samples.held(means, reserve.left()), detected, groups, config, means)
    whole, candidates = search_residual(
        samples, plan, detected, first, config, means, checkpoint, shared=crew is not None
    )
    judged = ranked(samples, whole, candidates, config, progress)
    completeness = measure(samples, plan, detected, first, judged, config, means, checkpoint, subbands)
    with progress.stage("writing"):
        record = {**provenance.record(progress.times), "fingerprint": checkpoint.fingerprint}
        write_product(target, samples, whole, judged, completeness, record, config, progress)


def first_look(
    paths: Sequence[Path | str],
    config: Config,
    out: Path,
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> Lines | None:
    """The first pass of a search and a short second one: lines in the series at DM 0, to be compared with other beams'.

    The mask stays beside `out`, for the search that is `begun` with it.

    Parameters
    ----------
    paths : sequence of paths
        The files of one observation.
    out : Path
        The product that the search will write.
    resume : bool
        Take the mask that an interrupted run of the same inputs and settings has left.

    Returns
    -------
    Lines or None
        None for dedispersed series.

    Raises
    ------
    ConfigError, DataError
        As :func:`search`.
    """
    progress = Progress("quiet") if progress is None else progress
    with output_lock(out), opened(paths, config) as obs:
        refuse_calibration(obs, config)
        dry_run(obs, config)  # refuses what cannot be searched
        if obs.header.is_series:
            return None
        mark = fingerprint(obs.files, config, software_version(), obs.header)
        checkpoint = Checkpoint(out, mark, resume=resume)
        means = Means.of(config, obs, progress, out)
        with Ahead(parts_of(config), means.threads) as compiled:
            compiled.wait(progress, ["statistics"])
            samples = clean(obs, config, means, checkpoint)
            compiled.wait(progress)
            return lines_at_zero(samples, config, means)
