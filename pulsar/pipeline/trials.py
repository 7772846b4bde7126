"""Series of an observation at a few trial DMs, one after the other: where searches that are no run begin."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.cleaning.birdies import Birdie, merged
from pulsar.cleaning.source import CleanedSource
from pulsar.config.model import Config
from pulsar.data.header import Header
from pulsar.data.observation import Observation, unchanged
from pulsar.dedisp.batches import Batch, choose_route, dedispersed
from pulsar.dedisp.plan import DMPlan, few_trials
from pulsar.errors import ConfigError
from pulsar.io.series import SeriesSet
from pulsar.pipeline.cleaning import clean_source, find_mask, first_trials, given_birdies, learn_in_series, zero_dm
from pulsar.pipeline.octaves import independent_dms
from pulsar.pipeline.room import Means

#: DMs of series agree with those asked for [pc cm^-3].
SAME_DM: Final = 1e-4


def dms_of_series(obs: Observation) -> NDArray[np.float64]:
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
    """An observation without interference.

    Attributes
    ----------
    source : CleanedSource or None
        None for dedispersed series, which are read as they are.
    birdies : list of Birdie
        Lines of interference: those that the settings tell, and of raw data those at DM 0.
    freqs : ndarray
        Channels that are used [MHz], descending.
    bandwidth : float
        That is used [MHz]; NaN where it is not known.
    """

    source: CleanedSource | None
    birdies: list[Birdie]
    freqs: NDArray[np.float64]
    bandwidth: float


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
    mask = find_mask(obs, config, threads=means.threads, progress=means.progress).mask
    means.progress.message(mask.summary())
    source = clean_source(obs, mask, config, threads=means.threads, progress=means.progress)
    if config.rfi.learn:
        zero = zero_dm(source, header, config, means)
        birdies = birdies if zero is None else merged([*birdies, *zero.lines])
    return Clean(source, birdies, source.freqs, header.bandwidth * (1.0 - mask.fraction_lost))


def lines_of(
    obs: Observation, clean: Clean, series: NDArray[Any], config: Config, voverc: float = 0.0
) -> list[tuple[float, float]]:
    """Lines that are left out of a series, frequencies and widths [Hz]; of a dedispersed one those that it shows, too.

    Parameters
    ----------
    obs : Observation
    clean : Clean
    series : ndarray, shape (nsamps,)
    config : Config
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
    dms: NDArray[np.float64],
    means: Means,
    *,
    downsample: int = 1,
    method: str = "brute",
    tick: Callable[[float], None] | None = None,
) -> Generator[tuple[int, NDArray[Any]]]:
    """The series at all DMs: raw data dedispersed in batches that fit the memory, series read.

    Parameters
    ----------
    obs : Observation
    clean : Clean
        Of :func:`cleaned`.
    dms : ndarray
        [pc cm^-3], ascending; of series the nearest are taken.
    means : Means
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
    made = dedispersed(clean.source, plan, route, threads=means.threads, scratch=means.scratch, progress=tick)
    with unchanged(obs), closing(made) as batches:
        for batch in batches:
            for i in range(batch.stage.ndms):
                yield batch.first + i, batch.row(i)


def _read(obs: Observation, dm: float) -> NDArray[Any]:
    if isinstance(obs, SeriesSet):
        return np.asarray(obs.series(obs.nearest(dm), obs.header.nsamps).data)
    return np.ascontiguousarray(obs.read().data[0])


def set_plan(obs: SeriesSet) -> DMPlan:
    """The DMs of a set as the plan of a run.

    Parameters
    ----------
    obs : SeriesSet
    """
    freqs, fine = obs.freqs, obs.groups[0].tsamp
    width = abs(float(freqs[1] - freqs[0]))
    raw = obs.header.with_(nchans=freqs.size, fch1=float(freqs[0]), foff=-width, dm=0.0, is_series=False)
    stages = []
    for group in obs.groups:
        downsample = max(round(group.tsamp / fine), 1)
        stage = few_trials(raw, group.dms, downsample, freqs).stages[0]
        stages.append(replace(stage, tsamp=group.tsamp, nsamps=group.nsamps))
    return DMPlan(tuple(stages), freqs, float(freqs[0]), fine, obs.groups[0].nsamps, 0.0, "brute")


def batches_of_set(obs: SeriesSet, plan: DMPlan) -> Iterator[Batch]:
    """The series of a set, read when they are asked for; the first batch holds all that lines are learnt from."""
    most = first_trials(plan)
    for first, stage in plan.numbered():
        for at in range(0, stage.ndms, most):
            end = min(at + most, stage.ndms)

            def row(i: int, base: int = first + at, nsamps: int = stage.nsamps) -> NDArray[np.float32]:
                return np.asarray(obs.series(base + i, nsamps).data)

            yield Batch(first + at, stage.part(at, end), row)  # type: ignore[arg-type]  # float32 is searched as well


def independent_trials(header: Header, dms: NDArray[np.float64], downsample: int, freqs: NDArray[np.float64]) -> float:
    """Independent ones among trial DMs.

    Parameters
    ----------
    header : Header
    dms : ndarray
        [pc cm^-3], ascending.
    downsample : int
    freqs : ndarray
        Channels [MHz].
    """
    if dms.size < 2 or freqs.size < 2:
        return float(dms.size)
    return max(independent_dms(few_trials(header, dms, downsample, freqs).stages[0], freqs), 1.0)
