"""The series that a search for orbits goes through, one DM at a time."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.config.model import Config
from pulsar.data.header import Header, Span
from pulsar.data.observation import Observation, unchanged
from pulsar.errors import ConfigError
from pulsar.pipeline.progress import Progress

#: DMs of series agree with those asked for [pc cm^-3].
SAME_DM: Final = 1e-4
#: Samples in a period of the highest frequency, at least, where raw data have as many: what a profile is folded from.
PER_CYCLE: Final = 8


@dataclass(frozen=True, eq=False)
class Layout(Span):
    """How the samples that are searched follow from those of the observation.

    Attributes
    ----------
    dms : ndarray, shape (ndms,)
        [pc cm^-3]
    downsample : int
        Samples of the observation in one.
    nsamps : int
    tsamp : float
        [s]
    tstart : float
        MJD of the beginning of the first sample: TDB at the barycentre where `barycentric`, else UTC.
    barycentric : bool
    chosen : ndarray of int64 or None
        Sample of the series that each is, where they come at even times of the barycentre.
    voverc : float
        Velocity of the telescope away from the source over that of light; 0 where the series is not barycentred here.
    remark : str
        Why it is not, or empty.
    """

    dms: NDArray[np.float64]
    downsample: int
    nsamps: int
    tsamp: float
    tstart: float
    barycentric: bool
    chosen: NDArray[np.int64] | None
    voverc: float = 0.0
    remark: str = ""

    def header(self, obs: Header) -> Header:
        """What was searched, as one observation."""
        return obs.with_(
            nsamps=self.nsamps, tsamp=self.tsamp, tstart=self.tstart, barycentric=self.barycentric or obs.barycentric
        )


def lay_out(obs: Observation, dms: Sequence[float], config: Config) -> Layout:
    """Decide what is searched; nothing is read.

    Raises
    ------
    ConfigError
        No DM is given for raw data, or one that these series do not have.
    """
    from pulsar.sky.barycentre import barycentric_samples, motion_of

    header = obs.header
    found = _dms(obs, dms)
    downsample = 1
    while not header.is_series and header.tsamp * 2 * downsample * config.orbits.f_max * PER_CYCLE <= 1.0:
        downsample *= 2
    nsamps, tsamp = header.nsamps // downsample, header.tsamp * downsample
    if config.orbits.f_max > 0.5 / tsamp:
        raise ConfigError(
            f"frequencies to {config.orbits.f_max:g} Hz (--freq) in samples of {1e3 * tsamp:g} ms, which hold "
            f"{0.5 / tsamp:.6g} Hz at most: lower it"
        )
    plain = Layout(found, downsample, nsamps, tsamp, header.tstart, False, None)
    if header.barycentric:
        return replace(plain, barycentric=True)
    if not config.orbits.barycentre:
        return replace(plain, remark="not barycentred, as orbits.barycentre is off")
    motion = motion_of(header)
    if motion is None:
        return replace(plain, remark="not barycentred: telescope, position (--ra, --dec) or time are unknown")
    first, chosen = barycentric_samples(header, nsamps, tsamp)
    return replace(plain, nsamps=chosen.size, tstart=first, barycentric=True, chosen=chosen, voverc=motion.voverc)


def _dms(obs: Observation, asked: Sequence[float]) -> NDArray[np.float64]:
    """The DMs that are searched, ascending."""
    from pulsar.io.series import SeriesSet

    wanted = np.unique(np.asarray(asked, dtype=np.float64))
    header = obs.header
    if not header.is_series:
        if not wanted.size:
            raise ConfigError(
                "give the DM of the cluster: --dm 31.2, several for several: a search for orbits takes long"
            )
        if not (np.all(np.isfinite(wanted)) and wanted[0] >= 0):
            raise ConfigError(f"--dm {wanted[0]:g}: expected a number >= 0")
        return wanted
    if isinstance(obs, SeriesSet) and len(obs.groups) > 1:
        raise ConfigError(f"{obs.files[0].path}: series of several sampling times: give those of one")
    there = np.asarray(obs.dms if isinstance(obs, SeriesSet) else [header.dm], dtype=np.float64)
    if not wanted.size:
        return there
    for dm in wanted:
        if not np.any(np.abs(there - dm) < SAME_DM):
            raise ConfigError(
                f"--dm {dm:g}: no series of this DM is given, of {', '.join(f'{d:g}' for d in there[:20])}"
            )
    return wanted


@dataclass(frozen=True, eq=False)
class Made:
    """The series of one DM.

    Attributes
    ----------
    index : int
        Of the DM.
    data : ndarray, shape (nsamps,)
    lines : list of (float, float)
        Frequencies and full widths [Hz] of interference.
    """

    index: int
    data: NDArray[Any]
    lines: list[tuple[float, float]]


def series_of(
    obs: Observation, layout: Layout, config: Config, folder: Path, threads: int, memory: int, progress: Progress
) -> Iterator[Made]:
    """The series at all DMs, one after the other.

    Parameters
    ----------
    obs : Observation
    layout : Layout
    config : Config
        Its sections `rfi`, `dedisp` and `run` are used.
    folder : Path
        For scratch files, where `run.scratch` does not name one.
    threads : int
    memory : int
        Bytes that dedispersion may take.
    progress : Progress
    """
    from pulsar.pipeline.birdies import learn_in_series
    from pulsar.pipeline.cleaning import given_birdies

    header = obs.header
    if not header.is_series:
        yield from _dedispersed(obs, layout, config, folder, threads, memory, progress)
        return
    given = given_birdies(header, config.rfi)
    for index, dm in enumerate(layout.dms):
        data = _read(obs, float(dm))
        learnt, _ = learn_in_series(data, header.tsamp, config)
        yield Made(index, _even(data, layout), _lines([*given, *learnt], layout))


def _read(obs: Observation, dm: float) -> NDArray[Any]:
    from pulsar.io.series import SeriesSet

    if isinstance(obs, SeriesSet):
        row = int(np.argmin(np.abs(np.asarray(obs.dms) - dm)))
        return np.asarray(obs.series(row, obs.header.nsamps).data)
    return np.ascontiguousarray(obs.read().data[0])


def _even(data: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """The samples that are searched."""
    moved = data if layout.chosen is None else data[layout.chosen]
    return np.ascontiguousarray(moved[: layout.nsamps])


def _lines(birdies: "Sequence[Any]", layout: Layout) -> list[tuple[float, float]]:
    """Lines of interference where the series has them: as much higher as the telescope moves away."""
    doppler = 1.0 + layout.voverc
    return [(b.freq * doppler, b.width * doppler) for b in birdies]


def _dedispersed(
    obs: Observation, layout: Layout, config: Config, folder: Path, threads: int, memory: int, progress: Progress
) -> Iterator[Made]:
    """Raw data: cleaned, lines learnt at DM 0, dedispersed in batches that fit the memory."""
    from pulsar.cleaning.birdies import merged
    from pulsar.dedisp.batches import choose_route, dedispersed
    from pulsar.dedisp.plan import few_trials
    from pulsar.pipeline.birdies import zero_dm
    from pulsar.pipeline.cleaning import clean_source, find_mask, given_birdies

    header = obs.header
    mask = find_mask(obs, config, threads=threads, progress=progress).mask
    progress.message(mask.summary())
    source = clean_source(obs, mask, config, threads=threads, progress=progress)
    scratch = Path(config.run.scratch) if config.run.scratch else folder
    birdies = given_birdies(header, config.rfi)
    if config.rfi.learn:
        zero = zero_dm(source, header, config, threads=threads, memory=memory, scratch=scratch, progress=progress)
        birdies = birdies if zero is None else merged([*birdies, *zero.lines])
    plan = few_trials(header, layout.dms, layout.downsample, source.freqs)
    route = choose_route(plan, threads=threads, memory=memory)
    made = dedispersed(source, plan, route, threads=threads, scratch=scratch, progress=None)
    with unchanged(obs), closing(made) as batches:
        for batch in batches:
            for i in range(batch.stage.ndms):
                yield Made(batch.first + i, _even(batch.row(i), layout), _lines(birdies, layout))
