"""Series of an observation at given DMs, cleaned and written to files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pulsar.config.model import Config
from pulsar.data.files import check_output
from pulsar.data.observation import unchanged
from pulsar.data.source import SIGMA_LEVELS
from pulsar.dedisp.plan import few_trials
from pulsar.dedisp.stream import dedisperse
from pulsar.errors import ConfigError
from pulsar.io.series import series_paths, write_series
from pulsar.pipeline.cleaning import clean_source, find_mask
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.room import stage_memory, thread_count
from pulsar.pipeline.start import opened
from pulsar.sky.barycentre import barycentric_samples


def series_names(out: Path, dms: Sequence[float]) -> list[Path]:
    """The file of each DM: `out` for one, ``<out>_DM<dm>`` with its ending for several, as PRESTO names them."""
    if len(dms) == 1:
        return [out]
    digits = next((n for n in range(2, 8) if len({f"{dm:.{n}f}" for dm in dms}) == len(dms)), 8)
    return [out.with_name(f"{out.stem}_DM{dm:.{digits}f}{out.suffix}") for dm in dms]


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
    with opened(paths, config) as obs:
        header = obs.header
        if header.is_series:
            raise ConfigError(f"{obs.files[0].path}: is dedispersed already, to DM {header.dm:g}: give the raw data")
        for problem in obs.problems:
            progress.warning(problem)
        threads = thread_count(config)
        series_header = header.with_(tsamp=header.tsamp * downsample)
        chosen = None
        if barycentre:
            first, chosen = barycentric_samples(header, header.nsamps // downsample, series_header.tsamp)
            series_header = series_header.with_(tstart=first, barycentric=True)
        mask = find_mask(obs, config, threads=threads, progress=progress).mask
        source = clean_source(obs, mask, config, threads=threads, progress=progress)
        plan = few_trials(header, trials, downsample, source.freqs)
        noise = np.float32(SIGMA_LEVELS * np.sqrt(len(source.freqs)))
        with (
            unchanged(obs),
            progress.stage("dedispersion", source.nsamps, "samples") as tick,
            dedisperse(source, plan, threads=threads, memory=stage_memory(config, obs), progress=tick) as store,
        ):
            for i, (name, dm) in enumerate(zip(names, trials.tolist(), strict=True)):
                row = store.row(i)
                data = (row if chosen is None else row[chosen]).astype(np.float32)
                data /= noise
                write_series(name, data, series_header, dm)
    return names
