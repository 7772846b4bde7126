"""The mask of an observation, measured or taken from a file, and lines of interference: one way for all."""

from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.cleaning.birdies import Birdie, Spectrum, diode_lines, learn, read_zaplist, series_lines, steady_lines
from pulsar.cleaning.mask import Mask, make_mask
from pulsar.cleaning.source import CleanedSource, cleaned_source
from pulsar.cleaning.statistics import BlockStatistics, measure
from pulsar.cleaning.store import MaskFile, PrestoMask, read_given, without
from pulsar.config.model import Config, RfiConfig
from pulsar.data.header import Header
from pulsar.data.observation import Observation, unchanged
from pulsar.dedisp.batches import Batch, choose_route, dedispersed
from pulsar.dedisp.engine import batch_size
from pulsar.dedisp.plan import MIN_SAMPLES, DMPlan, make_plan
from pulsar.errors import ConfigError
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.room import Means, reading_threads
from pulsar.searches.fft import FFTSearch
from pulsar.sky.barycentre import motion_of


@dataclass(frozen=True)
class Cleaning:
    """A mask and what it was made from.

    Attributes
    ----------
    mask : Mask
    stats : BlockStatistics or None
        None where the mask was taken from a file, without them.
    """

    mask: Mask
    stats: BlockStatistics | None


def given_mask(header: Header, config: RfiConfig, *, statistics: bool = False) -> MaskFile | PrestoMask | None:
    """The mask that the settings name, None when they name none.

    Parameters
    ----------
    header : Header
        Of the observation that it must belong to.
    config : RfiConfig
    statistics : bool
        Read the statistics too, where the file has them.

    Raises
    ------
    ConfigError
        It belongs to another observation, or there are no channels to mask.
    DataError
        The file is missing, damaged, or no mask.
    """
    if not config.mask:
        return None
    if header.is_series:
        raise ConfigError(f"rfi.mask = {config.mask!r}: a dedispersed series has no channels to mask: leave it out")

    return read_given(config.mask, header, statistics=statistics)


def find_mask(
    obs: Observation, config: Config, *, threads: int, progress: Progress, statistics: bool = False
) -> Cleaning:
    """Mask and lines of an observation.

    A mask of ours is used as it is, but for channels that are ruled out now (`rfi.zap`, weights in the files), and no
    statistics are taken. One of PRESTO's is added to what our own statistics say.

    Parameters
    ----------
    obs : Observation
    config : Config
    threads : int
    progress : Progress
    statistics : bool
        Read the statistics of a mask file too.

    Raises
    ------
    ConfigError
        The mask file belongs to another observation.
    DataError
        It cannot be read, or no channel is left.
    """
    tell_zapped(obs.header, config.rfi, progress)
    given = given_mask(obs.header, config.rfi, statistics=statistics)
    if isinstance(given, MaskFile):
        mask = without(given.mask, ~obs.chan_ok, "no weight in file")
        mask = without(mask, zapped(obs.header, config.rfi), "zapped")
        if not mask.chan_ok.any():
            raise ConfigError(f"{given.path}: the mask and rfi.zap leave no channel: nothing would be left to search")
        progress.message(f"mask: taken from {given.path}")
        return Cleaning(mask, given.stats)
    settings = config.rfi
    if given is not None:
        settings = settings.model_copy(update={"block": given.block_length(settings.block, obs.header.nsamps)})
        progress.message(f"mask: that of PRESTO in {given.path} is added")
    with unchanged(obs), progress.stage("statistics", obs.header.nsamps, "samples") as tick:
        stats = measure(obs, settings, threads=reading_threads(obs, config, threads), progress=tick)
        mask = make_mask(obs, stats, settings, given=None if given is None else given.blocks(stats.edges))
    return Cleaning(mask, stats)


def clean_source(obs: Observation, mask: Mask, config: Config, *, threads: int, progress: Progress) -> CleanedSource:
    """The observation without what is masked, of zero mean and equal noise.

    Parameters
    ----------
    obs : Observation
    mask : Mask
    config : Config
    threads : int
    progress : Progress
    """
    if config.rfi.zerodm != "zdot":
        return cleaned_source(obs, mask, config.rfi)
    with unchanged(obs), progress.stage("zero-DM gains", obs.header.nsamps, "samples") as tick:
        return cleaned_source(obs, mask, config.rfi, threads=threads, progress=tick)


def given_birdies(header: Header, config: RfiConfig) -> list[Birdie]:
    """Lines of periodic interference that the settings tell: given, in a list of PRESTO's, in a mask file of ours.

    Raises
    ------
    ConfigError, DataError
        A file of them cannot be used.
    """
    known = [Birdie(freq, width, "given") for freq, width in config.birdies]
    if config.zaplist:
        motion = motion_of(header)
        known += read_zaplist(config.zaplist, None if motion is None else motion.voverc)
    given = given_mask(header, config) if config.mask else None
    if isinstance(given, MaskFile):
        known += given.birdies
    return known


def tell_zapped(header: Header, config: RfiConfig, progress: Progress) -> None:
    """Say what share of the band `rfi.zap` takes before anything is looked at, and warn of ranges that take nothing."""
    low, high = header.edges
    band = f"the band from {low:.6g} to {high:.6g} MHz"
    for lo, hi in config.zap:
        if not (lo < high and hi > low):
            progress.warning(f"rfi.zap: {lo:g} to {hi:g} MHz lies outside {band}: nothing is zapped there")
    share = float(zapped(header, config).mean())
    if share > 0:
        # Share of the band that is zapped without looking from which on that is a warning: it costs 8 % of the S/N of a
        # flat spectrum, 1 - sqrt(1 - share).
        tell = progress.warning if share > 0.15 else progress.message
        tell(f"rfi.zap leaves out {100 * share:.2g} % of {band} before looking at it")


def zapped(header: Header, config: RfiConfig) -> NDArray[np.bool_]:
    """Channels that touch a range of `rfi.zap`, shape (nchans,)."""
    found = np.zeros(header.nchans, dtype=np.bool_)
    for lo, hi in config.zap:
        found |= header.overlapping(lo, hi)
    return found


def gaps_of(obs: Observation) -> tuple[tuple[int, int], ...]:
    """First sample of each gap, and the one after its last."""
    return tuple((gap.start, gap.start + gap.nsamps) for gap in obs.gaps)


def mask_of(kept: dict[str, NDArray[Any]]) -> Mask:
    """The mask that a checkpoint holds."""
    arrays: dict[str, Any] = dict(kept)
    reasons = tuple(str(r) for r in arrays.pop("reasons"))
    return Mask(reasons=reasons, **arrays)


def first_trials(plan: DMPlan) -> int:
    """Trials of the first batch of one engine, whatever the memory puts into a batch: the same on every route."""
    whole = plan.stages[0]
    most = batch_size(plan.method, plan.freqs.size, whole.nsamps)
    return max(round(whole.ndms / -(-whole.ndms // most)), 1)


def learn_lines(batch: Batch, plan: DMPlan, config: Config) -> list[Birdie]:
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
) -> tuple[list[Birdie], list[tuple[float, float]]]:
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
    lines: list[Birdie]
    ndms: int


def zero_dm(source: CleanedSource, header: Header, config: Config, means: Means) -> ZeroDM | None:
    """Dedisperse the first batch of a search from DM 0 on, and learn as that search does.

    Parameters
    ----------
    source : CleanedSource
    header : Header
        Of the observation.
    config : Config
    means : Means

    Returns
    -------
    ZeroDM or None
        None where there are too few samples to search for periods.
    """
    if header.nsamps < MIN_SAMPLES:
        return None
    plan = make_plan(header, config.dedisp.model_copy(update={"dm_lo": 0.0}), freqs=source.freqs)
    count = first_trials(plan) if config.rfi.learn else 1
    part = plan.part(0, count)
    route = choose_route(part, threads=means.threads, memory=means.memory)
    with means.progress.stage("dedispersion", count, "DMs") as tick:
        batches = dedispersed(source, part, route, threads=means.threads, scratch=means.scratch, progress=tick)
        with closing(batches):
            batch = next(batches)
            stage = batch.stage
            powers = FFTSearch(stage.nsamps, stage.tsamp, config.fft).spectrum(batch.row(0))
            lines = learn_lines(batch, plan, config) if config.rfi.learn else []
    return ZeroDM(powers, 0.5 / (powers.size * stage.tsamp), lines, count)
