"""Series of an observation at given DMs, cleaned and written to files; and stretches of its dynamic spectrum."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from pulsar.config.model import Config
from pulsar.data.files import check_output
from pulsar.data.fold import PulseCutout
from pulsar.data.header import Header
from pulsar.data.observation import Observation, unchanged
from pulsar.data.source import SIGMA_LEVELS
from pulsar.dedisp.plan import DMPlan, few_trials
from pulsar.dedisp.store import DMStore
from pulsar.dedisp.stream import dedisperse
from pulsar.errors import ConfigError
from pulsar.io.series import series_paths, write_series
from pulsar.pipeline.cleaning import clean_source, find_mask
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.room import stage_memory, thread_count
from pulsar.pipeline.start import opened
from pulsar.searches.pulses import cut_out
from pulsar.sky.barycentre import barycentric_samples
from pulsar_kernels.arrays import Floats


def series_names(out: Path, dms: Sequence[float]) -> list[Path]:
    """The file of each DM: `out` for one, ``<out>_DM<dm>`` with its ending for several, as PRESTO names them."""
    if len(dms) == 1:
        return [out]
    digits = next((n for n in range(2, 8) if len({f"{dm:.{n}f}" for dm in dms}) == len(dms)), 8)
    return [out.with_name(f"{out.stem}_DM{dm:.{digits}f}{out.suffix}") for dm in dms]


@contextmanager
def dedispersed(
    obs: Observation, config: Config, plan_of: Callable[[Floats], DMPlan], progress: Progress
) -> Iterator[tuple[DMStore, Floats]]:
    """An observation, cleaned and dedispersed by a plan, as long as the context lasts.

    Parameters
    ----------
    obs : Observation
    config : Config
        Its sections `rfi` and `run` are used.
    plan_of : callable
        Told the channels that are alive [MHz], it makes the plan.
    progress : Progress

    Yields
    ------
    store : DMStore
    freqs : ndarray
        The channels that are alive [MHz].

    Raises
    ------
    ConfigError
        The series do not fit the memory budget, or a given mask belongs to another observation.
    DataError
        The files cannot be read, have changed meanwhile, or nothing is left after masking.
    """
    threads, memory = thread_count(config), stage_memory(config, obs)
    mask = find_mask(obs, config, threads=threads, progress=progress).mask
    source = clean_source(obs, mask, config, threads=threads, progress=progress)
    plan = plan_of(source.freqs)
    with (
        unchanged(obs),
        progress.stage("dedispersion", source.nsamps, "samples") as tick,
        dedisperse(source, plan, threads=threads, memory=memory, progress=tick) as store,
    ):
        yield store, source.freqs


def dedisperse_files(
    paths: Sequence[Path | str],
    dms: Sequence[float],
    config: Config,
    out: Path,
    *,
    downsample: int = 1,
    barycentre: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Clean and dedisperse an observation, and write its series: float32, noise of about 1, at the highest channel.

    Parameters
    ----------
    paths : sequence of paths
        Files of one observation.
    dms : sequence of float
        [pc cm^-3]
    config : Config
        Its sections `input`, `rfi` and `run` are used.
    out : Path
        ``.dat`` (with ``.inf``), ``.tim`` or ``.npy``; of several DMs the name has that of each.
    downsample : int
        Samples in one sample of the series: a power of two.
    barycentre : bool
        At even times at the barycentre.
    overwrite : bool
        Replace existing files.
    progress : Progress, optional

    Returns
    -------
    list of Path
        The series, in ascending DM.

    Raises
    ------
    ConfigError
        A file exists, a DM is below 0, the data are dedispersed already, or cannot be barycentred.
    DataError
        The files cannot be read.
    """
    if not dms or not all(np.isfinite(dm) and dm >= 0 for dm in dms):
        raise ConfigError(f"--dm {' '.join(f'{dm:g}' for dm in dms)}: expected numbers >= 0")
    if downsample < 1 or downsample & (downsample - 1):
        raise ConfigError(f"--downsample {downsample}: expected a power of two")
    progress = Progress("quiet") if progress is None else progress
    trials = np.unique(np.asarray(dms, dtype=np.float64))
    names = series_names(out, trials.tolist())
    for name in names:
        for path in series_paths(name):
            check_output(path, overwrite=overwrite)
    with opened(paths, config, progress) as obs:
        header = obs.header
        if header.is_series:
            raise ConfigError(f"{obs.files[0].path}: is dedispersed already, to DM {header.dm:g}: give the raw data")
        series_header = header.with_(tsamp=header.tsamp * downsample)
        chosen = None
        if barycentre:
            first, chosen = barycentric_samples(header, header.nsamps // downsample, series_header.tsamp)
            series_header = series_header.with_(tstart=first, barycentric=True)
        plan_of = partial(few_trials, header, trials, downsample)
        with dedispersed(obs, config, plan_of, progress) as (store, freqs):
            noise = np.float32(SIGMA_LEVELS * np.sqrt(len(freqs)))
            for i, (name, dm) in enumerate(zip(names, trials.tolist(), strict=True)):
                row = store.row(i)
                data = (row if chosen is None else row[chosen]).astype(np.float32)
                data /= noise
                write_series(name, data, series_header, dm)
    return names


#: Widths of a pulse that a cut-out holds (:func:`pulsar.searches.pulses.cut_out`).
WIDTHS = 32


def waterfall(
    paths: Sequence[Path | str],
    time: float,
    dm: float,
    config: Config,
    *,
    length: float = 0.5,
    nbands: int = 64,
    progress: Progress | None = None,
) -> tuple[PulseCutout, Header]:
    """Clean an observation and cut a stretch out of it.

    Parameters
    ----------
    paths : sequence of paths
        Files of one observation.
    time : float
        Middle of the stretch [s] from the start, at the highest channel.
    dm : float
        [pc cm^-3]; 0 shows the sweep as it came.
    config : Config
        Its sections `input`, `rfi` and `run` are used.
    length : float
        Of the stretch [s]; rounded to 256 columns of whole samples.
    nbands : int
        Bands, no more than there are channels.
    progress : Progress, optional

    Returns
    -------
    PulseCutout
    Header
        Of the observation.

    Raises
    ------
    ConfigError
        The moment is not in the observation, a value is out of bounds, or the data have no channels.
    DataError
        The files cannot be read.
    """
    if not dm >= 0:
        raise ConfigError(f"--dm {dm:g}: expected a number >= 0")
    if not length > 0 or nbands < 1:
        raise ConfigError(f"--length {length:g}, --nbands {nbands}: expected numbers above 0")
    progress = Progress("quiet") if progress is None else progress
    with opened(paths, config, progress) as obs:
        header = obs.header
        if header.is_series:
            raise ConfigError(f"{obs.files[0].path}: a dedispersed series has no dynamic spectrum: give the raw data")
        if not 0 <= time <= header.tobs:
            raise ConfigError(f"--time {time:g}: the observation is from 0 to {header.tobs:.6g} s")
        threads = thread_count(config)
        mask = find_mask(obs, config, threads=threads, progress=progress).mask
        source = clean_source(obs, mask, config, threads=threads, progress=progress)
        pulse = {"time": time, "dm": dm, "width": length / WIDTHS}
        # The stretch is no pulse of that width.
        return replace(cut_out(source, pulse, nbands=nbands), width=float("nan")), header
