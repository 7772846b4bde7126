"""Series of an observation at a few trial DMs, one after the other: where searches that are no run begin."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pulsar.cleaning.birdies import merged
from pulsar.config.model import Config
from pulsar.data.header import Header
from pulsar.data.observation import Observation, unchanged
from pulsar.dedisp.plan import few_trials
from pulsar.errors import ConfigError
from pulsar.io.open import open_observation
from pulsar.io.series import SeriesSet
from pulsar.pipeline.birdies import zero_dm
from pulsar.pipeline.cleaning import clean_source, find_mask, given_birdies
from pulsar.pipeline.independent import independent_dms
from pulsar.pipeline.progress import Progress

if TYPE_CHECKING:
    from pulsar.cleaning import CleanedSource
    from pulsar.cleaning.birdies import Birdie
    from pulsar.io.base import BaseObservation


@contextmanager
def opened(paths: Sequence[Path | str], config: Config, progress: Progress) -> "Iterator[BaseObservation]":
    """An observation, open for a block; what is odd in its files is told.

    Raises
    ------
    DataError
        The files cannot be read.
    """
    with closing(open_observation(*paths, config=config.input)) as obs:
        for problem in obs.problems:
            progress.warning(problem)
        yield obs


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


@dataclass(frozen=True)
class Means:
    """All that dedispersion may take: threads, memory [byte], and a folder for scratch files."""

    threads: int
    memory: int
    scratch: Path


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

    source: "CleanedSource | None"
    birdies: "list[Birdie]"
    freqs: NDArray[np.float64]
    bandwidth: float


def cleaned(obs: Observation, config: Config, means: Means, progress: Progress) -> Clean:
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
    mask = find_mask(obs, config, threads=means.threads, progress=progress).mask
    progress.message(mask.summary())
    source = clean_source(obs, mask, config, threads=means.threads, progress=progress)
    if config.rfi.learn:
        zero = zero_dm(source, header, config, **vars(means), progress=progress)
        birdies = birdies if zero is None else merged([*birdies, *zero.lines])
    return Clean(source, birdies, source.freqs, header.bandwidth * (1.0 - mask.fraction_lost))


def shifted(birdies: "Sequence[Birdie]", voverc: float) -> list[tuple[float, float]]:
    """Frequencies and widths [Hz] of topocentric lines at the barycentre: higher as the telescope moves away.

    Parameters
    ----------
    birdies : sequence of Birdie
    voverc : float
        Velocity of the telescope away from the source over that of light; NaN without barycentre.
    """
    doppler = 1.0 + (voverc if np.isfinite(voverc) else 0.0)
    return [(b.freq * doppler, b.width * doppler) for b in birdies]


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
    from pulsar.dedisp.batches import choose_route, dedispersed

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
