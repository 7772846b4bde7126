"""The mask of an observation, measured or taken from a file, and lines of interference: one way for all.

Searches that are no run begin here, too: with the series of cleaned data at a few trial DMs, one after the other.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from pulsar.cleaning.birdies import (
    Birdie,
    Spectrum,
    diode_lines,
    learn,
    merged,
    pairs,
    read_zaplist,
    series_lines,
    steady_lines,
)
from pulsar.cleaning.mask import Mask, make_mask
from pulsar.cleaning.source import CleanedSource, MaskedSource, cleaned_source
from pulsar.cleaning.statistics import BlockStatistics, measure
from pulsar.cleaning.store import MaskFile, PrestoMask, read_given, without
from pulsar.config.model import Config, RfiConfig
from pulsar.data.header import Header
from pulsar.data.observation import Observation, unchanged
from pulsar.data.series import MIN_SAMPLES
from pulsar.dedisp.batches import TrialBatch, choose_route, dedispersed
from pulsar.dedisp.engine import batch_size
from pulsar.dedisp.plan import DMPlan, few_trials, make_plan
from pulsar.errors import ConfigError
from pulsar.io.series import SeriesSet
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.room import Means, reading_threads
from pulsar.pipeline.searches import independent_dms
from pulsar.searches.fft import FFTSearch
from pulsar.sky.barycentre import motion_of
from pulsar_kernels.arrays import Array, Bools, Float32s, Floats


def given_mask(header: Header, config: RfiConfig, *, statistics: bool = False) -> MaskFile | PrestoMask | None:
    """The mask that the settings name, None when they name none.

    `header`: of the observation that it must belong to. `statistics`: read the statistics too, where the file has them.

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
) -> tuple[Mask, BlockStatistics | None]:
    """The mask of an observation, and the statistics that it was made from; None where a file has them not.

    A mask of ours is used as it is, but for channels that are ruled out now (`rfi.zap`, weights in the files), and no
    statistics are taken. One of PRESTO's is added to what our own statistics say.

    `statistics`: read the statistics of a mask file too.

    Raises
    ------
    ConfigError
        The mask file belongs to another observation.
    DataError
        It cannot be read, or no channel is left.
    """
    tell_zapped(obs.header, config.rfi, progress)
    fixed = given_mask(obs.header, config.rfi, statistics=statistics)
    if isinstance(fixed, MaskFile):
        mask = without(fixed.mask, ~obs.chan_ok, "no weight in file")
        mask = without(mask, zapped(obs.header, config.rfi), "zapped")
        if not mask.chan_ok.any():
            raise ConfigError(f"{fixed.path}: the mask and rfi.zap leave no channel: nothing would be left to search")
        progress.message(f"mask: taken from {fixed.path}")
        return mask, fixed.stats
    settings = config.rfi
    if fixed is not None:
        settings = settings.model_copy(update={"block": fixed.block_length(settings.block, obs.header.nsamps)})
        progress.message(f"mask: that of PRESTO in {fixed.path} is added")
    with unchanged(obs), progress.stage("statistics", obs.header.nsamps, "samples") as tick:
        stats = measure(obs, settings, threads=reading_threads(obs, config, threads), progress=tick)
        mask = make_mask(obs, stats, settings, given=None if fixed is None else fixed.blocks(stats.edges))
    return mask, stats


def clean_source(obs: Observation, mask: Mask, config: Config, *, threads: int, progress: Progress) -> CleanedSource:
    """The observation without what is masked, of zero mean and equal noise."""
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
    fixed = given_mask(header, config) if config.mask else None
    if isinstance(fixed, MaskFile):
        known += fixed.birdies
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


def zapped(header: Header, config: RfiConfig) -> Bools:
    """Channels that touch a range of `rfi.zap`, shape (nchans,)."""
    channels = np.zeros(header.nchans, dtype=np.bool_)
    for lo, hi in config.zap:
        channels |= header.overlapping(lo, hi)
    return channels


def mask_of(kept: dict[str, Array]) -> Mask:
    """The mask that a checkpoint holds."""
    arrays: dict[str, Any] = dict(kept)
    return Mask(reasons=tuple(str(r) for r in arrays.pop("reasons")), **arrays)


def first_trials(plan: DMPlan) -> int:
    """Trials of the first batch of one engine, whatever the memory puts into a batch: the same on every route."""
    whole = plan.stages[0]
    most = batch_size(plan.method, plan.freqs.size, whole.nsamps)
    return max(round(whole.ndms / -(-whole.ndms // most)), 1)


def learn_lines(batch: TrialBatch, plan: DMPlan, config: Config) -> list[Birdie]:
    """Undispersed lines in the series at DM 0, and those of a noise diode: if it is in the batch, and they are learnt.

    Parameters
    ----------
    batch : TrialBatch
        The first of the plan.
    plan : DMPlan
        All trials.
    config : Config
        Its `fft`, `rfi.learn`, `rfi.diodes` and `sift.mains` are used.
    """
    dms = batch.stage.dms[: first_trials(plan)]
    if not config.rfi.learn or dms[0] != 0.0:
        return []
    zero = spectrum_of(batch.row(0), batch.stage.tsamp, config)
    return [*diode_lines(zero, config.rfi.diodes), *learn(zero, batch.row, dms, plan.freqs, config.sift.mains)]


def spectrum_of(series: Array, tsamp: float, config: Config) -> Spectrum:
    """Whitened powers of a series."""
    return Spectrum(FFTSearch(series.size, tsamp, config.fft).spectrum(series), tsamp, series.size * tsamp)


def learn_in_series(series: Array, tsamp: float, config: Config) -> tuple[list[Birdie], list[tuple[float, float]]]:
    """Lines of the mains in an already dedispersed series; none where nothing should be learnt.

    `series`: shape (nsamps,). `config`: its `fft`, `rfi.learn` and `sift.mains` are used.

    Returns
    -------
    lines : list of Birdie
        Of the mains, for all searches.
    steady : list of (float, float)
        Frequencies and full widths [Hz] of what may be a pulsar's, for that for single pulses.
    """
    if not config.rfi.learn or series.size < MIN_SAMPLES:
        return [], []
    known = spectrum_of(series, tsamp, config), config.sift.mains
    return series_lines(*known), pairs(steady_lines(*known))


@dataclass(frozen=True, eq=False)
class ZeroDM:
    """Lines in the series at DM 0."""

    powers: Float32s  # normalised powers of its spectrum (mean 1 in noise), at half bins
    step: float  # from one to the next [Hz]
    lines: list[Birdie]  # learnt from it
    ndms: int  # DMs that were compared; 1 where nothing could or should be learnt


def zero_dm(source: CleanedSource, header: Header, config: Config, means: Means) -> ZeroDM | None:
    """Dedisperse the first batch of a search from DM 0 on, and learn as that search does.

    `header`: of the observation.

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
            zero = spectrum_of(batch.row(0), batch.stage.tsamp, config)
            return ZeroDM(zero.powers, zero.step, learn_lines(batch, plan, config), count)


#: DMs of series agree with those asked for [pc cm^-3].
SAME_DM: Final = 1e-4


def dms_of_series(obs: Observation) -> Floats:
    """DMs of dedispersed series [pc cm^-3], ascending.

    Raises
    ------
    ConfigError
        They have several sampling times.
    """
    if not isinstance(obs, SeriesSet):
        return np.array([obs.header.dm])
    if len(obs.groups) > 1:
        raise ConfigError(f"{obs.files[0].path}: series of several sampling times: give those of one")
    return obs.dms


@dataclass(frozen=True, eq=False)
class Clean:
    """An observation without interference."""

    source: MaskedSource | None  # None for dedispersed series, which are read as they are
    birdies: list[Birdie]  # lines of interference: those that the settings tell, and of raw data those at DM 0
    freqs: Floats  # channels that are used [MHz], descending
    bandwidth: float  # that is used [MHz]; NaN where it is not known


def cleaned(obs: Observation, config: Config, means: Means) -> Clean:
    """Clean raw data, and learn the lines at DM 0.

    Raises
    ------
    ConfigError, DataError
        Mask or lines that are given cannot be used, or no channel is left.
    """
    header = obs.header
    birdies = given_birdies(header, config.rfi)
    if header.is_series:
        freqs = obs.freqs if isinstance(obs, SeriesSet) else header.freqs
        bandwidth = float(np.ptp(freqs)) if freqs.size > 1 else header.bandwidth
        return Clean(None, birdies, freqs, bandwidth if bandwidth > 0 else float("nan"))
    mask, _ = find_mask(obs, config, threads=means.threads, progress=means.progress)
    means.progress.message(mask.summary())
    source = clean_source(obs, mask, config, threads=means.threads, progress=means.progress)
    if config.rfi.learn:
        zero = zero_dm(source, header, config, means)
        birdies = birdies if zero is None else merged([*birdies, *zero.lines])
    return Clean(source, birdies, source.freqs, header.bandwidth * (1.0 - mask.fraction_lost))


def lines_of(
    obs: Observation, clean: Clean, series: Array, config: Config, voverc: float = 0.0
) -> list[tuple[float, float]]:
    """Lines that are left out of a series, frequencies and widths [Hz]; of a dedispersed one those that it shows, too.

    Parameters
    ----------
    series : ndarray, shape (nsamps,)
    voverc : float
        Velocity of the telescope away from the source over that of light: lines at the barycentre are higher as it
        moves away. NaN without barycentre.
    """
    learnt = learn_in_series(series, obs.header.tsamp, config)[0] if obs.header.is_series else []
    doppler = 1.0 + (voverc if np.isfinite(voverc) else 0.0)
    return [(line.freq * doppler, line.width * doppler) for line in (*clean.birdies, *learnt)]


def trial_series(
    obs: Observation,
    clean: Clean,
    dms: Floats,
    means: Means,
    *,
    downsample: int = 1,
    method: str = "brute",
    tick: Callable[[float], None] | None = None,
) -> Generator[tuple[int, Array]]:
    """The series at all DMs: raw data dedispersed in batches that fit the memory, series read.

    Parameters
    ----------
    clean : Clean
        Of :func:`cleaned`.
    dms : ndarray
        [pc cm^-3], ascending; of series the nearest are taken.
    downsample : int
        Samples of raw data in one of the series.
    method : {"tree", "brute"}
    tick : callable, optional
        Called with the number of DMs (fractions of them) newly done.

    Yields
    ------
    int
        Of the DM.
    ndarray, shape (nsamps,)
        int16 or float32, until the next is asked for.
    """
    if clean.source is None:
        for index, dm in enumerate(dms.tolist()):
            yield index, _read(obs, dm)
            if tick is not None:
                tick(1)
        return
    plan = replace(few_trials(obs.header, dms, downsample, clean.freqs), method=method)
    route = choose_route(plan, threads=means.threads, memory=means.memory)
    batches_made = dedispersed(clean.source, plan, route, threads=means.threads, scratch=means.scratch, progress=tick)
    with unchanged(obs), closing(batches_made) as batches:
        for batch in batches:
            for i in range(batch.stage.ndms):
                yield batch.first + i, batch.row(i)


def _read(obs: Observation, dm: float) -> Array:
    if isinstance(obs, SeriesSet):
        return np.asarray(obs.series(obs.nearest(dm), obs.header.nsamps).data)
    return np.ascontiguousarray(obs.read().data[0])


def set_plan(obs: SeriesSet) -> DMPlan:
    """The DMs of a set as the plan of a run."""
    freqs, fine = obs.freqs, obs.groups[0].tsamp
    width = abs(float(freqs[1] - freqs[0]))
    raw = obs.header.with_(nchans=freqs.size, fch1=float(freqs[0]), foff=-width, dm=0.0, is_series=False)
    stages = []
    for group in obs.groups:
        downsample = max(round(group.tsamp / fine), 1)
        stage = few_trials(raw, group.dms, downsample, freqs).stages[0]
        stages.append(replace(stage, tsamp=group.tsamp, nsamps=group.nsamps))
    return DMPlan(tuple(stages), freqs, float(freqs[0]), fine, obs.groups[0].nsamps, 0.0, "brute")


def batches_of_set(obs: SeriesSet, plan: DMPlan) -> Iterator[TrialBatch]:
    """The series of a set, read when they are asked for; the first batch holds all that lines are learnt from."""
    most = first_trials(plan)
    for first, stage in plan.numbered():
        for at in range(0, stage.ndms, most):
            end = min(at + most, stage.ndms)

            def row(i: int, base: int = first + at, nsamps: int = stage.nsamps) -> Float32s:
                return np.asarray(obs.series(base + i, nsamps).data)

            yield TrialBatch(first + at, stage.part(at, end), row)  # type: ignore[arg-type]  # float32 is searched as well


def independent_trials(header: Header, dms: Floats, downsample: int, freqs: Floats) -> float:
    """Independent ones among trial DMs."""
    if dms.size < 2 or freqs.size < 2:
        return float(dms.size)
    return max(independent_dms(few_trials(header, dms, downsample, freqs).stages[0], freqs), 1.0)
