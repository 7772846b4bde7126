"""Periodic interference learnt from the series at DM 0 and a few DMs above, for searches and for `pulsar rfi`."""

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pulsar.cleaning.birdies import Spectrum, diode_lines, learn, series_lines, steady_lines
from pulsar.config.model import Config
from pulsar.dedisp.batches import Batch, choose_route, dedispersed
from pulsar.dedisp.engine import batch_size
from pulsar.dedisp.plan import MIN_SAMPLES, DMPlan, make_plan
from pulsar.pipeline.progress import Progress
from pulsar.searches.fft import FFTSearch

if TYPE_CHECKING:
    from pulsar.cleaning import CleanedSource
    from pulsar.cleaning.birdies import Birdie
    from pulsar.data.header import Header


def first_trials(plan: DMPlan) -> int:
    """Trials of the first batch of one engine, whatever the memory puts into a batch: the same on every route."""
    whole = plan.stages[0]
    most = batch_size(plan.method, plan.freqs.size, whole.nsamps)
    return max(round(whole.ndms / -(-whole.ndms // most)), 1)


def learn_lines(batch: Batch, plan: DMPlan, config: Config) -> "list[Birdie]":
    """Undispersed lines in the series at DM 0, if that is in the batch, and those of a noise diode.

    Parameters
    ----------
    batch : Batch
        The first of the plan.
    plan : DMPlan
        All trials.
    config : Config
        Its `fft`, `rfi.diodes` and `sift.mains` are used.
    """
    stage = batch.stage
    dms = stage.dms[: first_trials(plan)]
    if dms[0] != 0.0:
        return []
    search = FFTSearch(stage.nsamps, stage.tsamp, config.fft)
    zero = Spectrum(search.spectrum(batch.row(0)), stage.tsamp, stage.nsamps * stage.tsamp)
    diode = diode_lines(zero, config.rfi.diodes)
    lines = learn(zero, batch.row, dms, plan.freqs, config.sift.mains)
    return [*diode, *lines]


def learn_in_series(
    series: NDArray[Any], tsamp: float, config: Config
) -> "tuple[list[Birdie], list[tuple[float, float]]]":
    """Lines of the mains in an already dedispersed series; none where nothing should be learnt.

    Parameters
    ----------
    series : ndarray, shape (nsamps,)
    tsamp : float
        [s]
    config : Config
        Its `fft`, `rfi.learn` and `sift.mains` are used.

    Returns
    -------
    lines : list of Birdie
        Of the mains, for all searches.
    steady : list of (float, float)
        Frequencies and full widths [Hz] of what may be a pulsar's, for that for single pulses.
    """
    if not config.rfi.learn or series.size < MIN_SAMPLES:
        return [], []
    powers = FFTSearch(series.size, tsamp, config.fft).spectrum(series)
    known = Spectrum(powers, tsamp, series.size * tsamp), config.sift.mains
    return series_lines(*known), [(b.freq, b.width) for b in steady_lines(*known)]


@dataclass(frozen=True, eq=False)
class ZeroDM:
    """Lines in the series at DM 0.

    Attributes
    ----------
    powers : ndarray of float32
        Normalised powers of its spectrum (mean 1 in noise), at half bins.
    step : float
        From one to the next [Hz].
    lines : list of Birdie
        Learnt from it.
    ndms : int
        DMs that were compared; 1 where nothing could or should be learnt.
    """

    powers: NDArray[np.float32]
    step: float
    lines: "list[Birdie]"
    ndms: int


def zero_dm(
    source: "CleanedSource",
    header: "Header",
    config: Config,
    *,
    threads: int,
    memory: int,
    scratch: Path,
    progress: Progress,
) -> ZeroDM | None:
    """Dedisperse the first batch of a search from DM 0 on, and learn as that search does.

    Parameters
    ----------
    source : CleanedSource
    header : Header
        Of the observation.
    config : Config
    threads : int
    memory : int
        Bytes that may be taken.
    scratch : Path
        Folder of the scratch file, where it does not fit the memory.
    progress : Progress

    Returns
    -------
    ZeroDM or None
        None where there are too few samples to search for periods.
    """
    if header.nsamps < MIN_SAMPLES:
        return None
    plan = make_plan(header, config.dedisp.model_copy(update={"dm_lo": 0.0}), freqs=source.freqs)
    count = first_trials(plan) if config.rfi.learn else 1
    part = replace(plan, stages=(plan.stages[0].part(0, count),))
    route = choose_route(part, threads=threads, memory=memory)
    with progress.stage("dedispersion", count, "DMs") as tick:
        batches = dedispersed(source, part, route, threads=threads, scratch=scratch, progress=tick)
        with closing(batches):
            batch = next(batches)
            stage = batch.stage
            powers = FFTSearch(stage.nsamps, stage.tsamp, config.fft).spectrum(batch.row(0))
            lines = learn_lines(batch, plan, config) if config.rfi.learn else []
    return ZeroDM(powers, 0.5 / (powers.size * stage.tsamp), lines, count)
