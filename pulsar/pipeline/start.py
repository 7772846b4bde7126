"""Before a run: what cannot be searched is refused, and what an earlier run has left is taken."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from pulsar.cleaning.birdies import read_zaplist
from pulsar.config.model import Config
from pulsar.data.header import Header
from pulsar.data.observation import InputFile, Observation
from pulsar.data.unfinished import sweep
from pulsar.errors import ConfigError
from pulsar.io.base import is_calibration
from pulsar.io.open import open_observation
from pulsar.io.product.reader import Run, read
from pulsar.io.series import SeriesSet
from pulsar.pipeline.checkpoint import Checkpoint
from pulsar.pipeline.cleaning import given_mask
from pulsar.pipeline.injections import check_wanted
from pulsar.pipeline.plan import RunPlan, dry_run
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.room import check_addresses
from pulsar.pipeline.samples import marks
from pulsar.sky.catalogue import catalogue_file, read_catalogue
from pulsar.sources.score import scorer_of


def opened(
    paths: Sequence[Path | str] | Path | str | Observation, config: Config, progress: Progress | None = None
) -> AbstractContextManager[Observation]:
    """An observation for a block, closed at its end if it is opened here.

    `paths`: path, sequence of paths, or Observation. `progress`: told what is odd in the files.

    Raises
    ------
    DataError
        The files cannot be read.
    """
    if isinstance(paths, Observation):
        return nullcontext(paths)
    obs = open_observation(*([paths] if isinstance(paths, str | Path) else paths), config=config.input)
    if progress is not None:
        for problem in obs.problems:
            progress.warning(problem)
    return obs


def fingerprint(files: Sequence[InputFile], config: Config, version: str, header: Header | None = None) -> str:
    """Digest of all that the result of a run depends on: not threads, memory or scratch.

    `version`: of the program. `header`: what is known of the files may stand in others beside them (``.inf``).
    """
    settings = config.model_dump(mode="json", exclude={"run", "output", "batch"})
    inputs: list[Any] = [[str(f.path), f.size, f.mtime] for f in files]
    rfi, signals = config.rfi, config.completeness.population
    for path in (catalogue_file(config.known.catalogue), *map(Path, (rfi.zaplist, rfi.mask, signals))):
        if path.is_file():
            inputs.append(hashlib.sha256(path.read_bytes()).hexdigest())
    if config.subtract.pulsars:
        inputs += marks(config.subtract)
    text = json.dumps([version, settings, inputs, repr(header)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def checked_plan(obs: Observation, config: Config, *, shared: bool = False) -> RunPlan:
    """The plan of a run; whatever makes it impossible is told here, before any sample is read.

    `shared`: workers search ranges of its trial DMs.

    Raises
    ------
    ConfigError, DataError
        A setting makes no sense for these data, or a list or mask that the run needs cannot be read.
    """
    refuse_calibration(obs, config)
    if not shared:
        check_addresses(obs, config)
    plan = dry_run(obs, config)
    # What is wrong with the lists and the mask that the run will need is told now.
    if config.known.catalogue:
        read_catalogue(config.known.catalogue)
    if config.rfi.zaplist:
        read_zaplist(config.rfi.zaplist, 0.0)
    given_mask(obs.header, config.rfi)
    scorer_of(config.sift.weights)
    check_wanted(obs.header, plan, config)
    # Workers open files themselves, and share trial DMs.
    if shared and (obs.header.is_series or isinstance(obs, SeriesSet)):
        raise ConfigError("dedispersed series are searched by one process: leave --engine dask out")
    if shared and not obs.files:
        raise ConfigError("only an observation in files can be searched by workers: they open it themselves")
    return plan


def refuse_calibration(obs: Observation, config: Config) -> None:
    """Refuse a scan of a calibrator, in which the noise diode is all that there is.

    Raises
    ------
    ConfigError
    """
    cals = [f.path for f in obs.files if is_calibration(f.path)]
    if cals and not config.input.calibration:
        raise ConfigError(
            f"{cals[0]}: a calibration scan by its name, with the noise diode on: leave it out, or search it all the "
            "same with --set input.calibration=true"
        )


def finished(out: Path, fingerprint: str, progress: Progress, *, overwrite: bool, resume: bool) -> Run | None:
    """The product, where a run of the same files and settings has come to its end and is to be resumed.

    `overwrite`: replace the product of other files or settings.

    Raises
    ------
    ConfigError
        It is of other files or settings.
    """
    if not (resume and out.exists()):
        return None
    product = read(out)
    if product.provenance.get("fingerprint") != fingerprint:
        if overwrite:
            return None
        raise ConfigError(
            f"{out}: is the product of other files or settings; --resume goes on with the same ones only: "
            "give --overwrite to replace it, or another --out"
        )
    Checkpoint(out, fingerprint, resume=False)  # what a first look has left, or a run that was killed at its end
    sweep(out)
    progress.message(f"{out} is complete: nothing left to do")
    return product


def tell(obs: Observation, plan: RunPlan, config: Config, checkpoint: Checkpoint, progress: Progress) -> None:
    """Tell the astronomer of problems of the files, and of settings without effect."""
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
