"""The routines for notebooks that need more than one room."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from pulsar.config.model import Config, DedispConfig
from pulsar.constants import C
from pulsar.data.fold import Fold, FoldParams
from pulsar.data.observation import Observation
from pulsar.data.series import DMTime, TimeSeries
from pulsar.errors import ConfigError

if TYPE_CHECKING:
    from pulsar.cleaning import CleanedSource
    from pulsar.io.product.reader import Run


def _plain(value: Any, unit: str) -> Any:
    """A number or array in `unit`: of a Quantity its value there, of anything else itself."""
    return value.to_value(unit) if hasattr(value, "to_value") else value


def clean(obs: Observation, config: Config | None = None) -> "CleanedSource":
    """Measure, mask and normalise an observation.

    Parameters
    ----------
    obs : Observation
    config : Config, optional

    Returns
    -------
    CleanedSource
        Whose `mask` says what was left out.

    Raises
    ------
    ConfigError
        If `rfi.mask` belongs to another observation.
    DataError
        If nothing is left.
    """
    from pulsar.pipeline.cleaning import clean_source, find_mask
    from pulsar.pipeline.plan import thread_count
    from pulsar.pipeline.progress import Progress

    config = Config() if config is None else config
    threads, progress = thread_count(config), Progress("quiet")
    mask = find_mask(obs, config, threads=threads, progress=progress).mask
    return clean_source(obs, mask, config, threads=threads, progress=progress)


@overload
def dedisperse(obs: Observation, dm: Any, *, config: Config | None = None) -> TimeSeries: ...
@overload
def dedisperse(obs: Observation, *, dms: ArrayLike, config: Config | None = None) -> DMTime: ...
def dedisperse(
    obs: Observation, dm: Any = None, *, dms: ArrayLike | None = None, config: Config | None = None
) -> TimeSeries | DMTime:
    """Clean and dedisperse an observation at full time resolution.

    Parameters
    ----------
    obs : Observation
    dm : float or Quantity
        One dispersion measure [pc cm^-3], dedispersed exactly.
    dms : array_like
        Or many, evenly spaced and ascending, by the tree.
    config : Config, optional
        Its `rfi` and `run` sections are used.

    Returns
    -------
    TimeSeries or DMTime
        int16 samples of noise SIGMA_LEVELS sqrt(channels), referred to the highest channel.

    Raises
    ------
    ConfigError
        When not just one of `dm` and `dms` is given, `dms` is not an even grid, or the series do not fit the memory
        budget.
    DataError
        When nothing is left after masking.
    """
    from pulsar.dedisp.plan import make_plan
    from pulsar.dedisp.stream import dedisperse as run
    from pulsar.pipeline.plan import stage_memory, thread_count

    if (dm is None) == (dms is None):
        raise ConfigError("dedisperse: give either dm (one) or dms (a grid)")
    config = Config() if config is None else config
    grid = np.atleast_1d(np.asarray(_plain(dm if dm is not None else dms, "pc / cm3"), dtype=np.float64))
    steps = np.diff(grid)
    if len(grid) > 1 and (steps.min() <= 0 or np.ptp(steps) > 1e-6 * steps.max()):
        raise ConfigError("dedisperse: dms must ascend in even steps")
    source = clean(obs, config)
    method: Literal["brute", "tree"] = "brute" if dm is not None else "tree"
    section = DedispConfig(
        dm_lo=float(grid[0]),
        dm_hi=float(grid[-1]),
        dm_step=float(steps[0]) if len(steps) else None,
        max_downsample=1,
        method=method,
    )
    plan = make_plan(obs.header, section, freqs=source.freqs)
    with run(source, plan, threads=thread_count(config), memory=stage_memory(config)) as store:
        kept = [stage.data for stage in store.stages if stage.data is not None]
        data = kept[0] if len(kept) == 1 else np.concatenate(kept)
    header = obs.header
    if dm is not None:
        return TimeSeries(data[0], header.tsamp, float(grid[0]), header.tstart)
    return DMTime(data[: len(grid)], grid, header.tsamp, header.tstart)


def fold(
    data: Observation | TimeSeries,
    period: Any,
    dm: Any = None,
    *,
    accel: Any = 0.0,
    config: Config | None = None,
) -> Fold:
    """Fold an observation or a series at a period, and refine period, derivative and DM around it.

    Parameters
    ----------
    data : Observation or TimeSeries
    period : float or Quantity
        Topocentric period at mid-observation [s].
    dm : float or Quantity, optional
        Dispersion measure [pc cm^-3]; of a series its own.
    accel : float or Quantity
        Acceleration [m/s^2], positive when receding ever faster.
    config : Config, optional

    Returns
    -------
    Fold
        Whose `extra` holds the S/N before refinement too.

    Raises
    ------
    ConfigError
        When the period cannot be folded, or the DM is missing.
    """
    from pulsar.folding.folder import fold_many, fold_series
    from pulsar.folding.refine import refine
    from pulsar.pipeline.plan import stage_memory, thread_count

    config = Config() if config is None else config
    freq = 1.0 / float(_plain(period, "s"))
    fdot = -freq * float(_plain(accel, "m / s2")) / C
    series = data
    if not isinstance(data, TimeSeries) and data.header.is_series:
        series = TimeSeries(data.read().data[0], data.header.tsamp, data.header.dm, data.header.tstart)
    if isinstance(series, TimeSeries):
        cube = fold_series(series, [FoldParams(freq, fdot, series.dm)], config.fold)[0]
        return refine(cube, search_dm=False)
    if dm is None:
        raise ConfigError("fold: give the dm [pc/cm3] of the pulsar")
    params = FoldParams(freq, fdot, float(_plain(dm, "pc / cm3")))
    source = clean(data, config)  # type: ignore[arg-type]
    cube = fold_many(source, [params], config.fold, threads=thread_count(config), memory=stage_memory(config))[0]
    return refine(cube)


def search(
    data: Observation | Path | str | Sequence[Path | str],
    config: Config | str | Path | None = None,
    out: Path | str = "run.h5",
    *,
    overwrite: bool = False,
) -> "Run":
    """Search files or an opened observation and write the product.

    Parameters
    ----------
    data : Observation, path or sequence of paths
    config : Config, name of a preset, or path of a TOML file
    out : path
        HDF5 product to write.
    overwrite : bool

    Returns
    -------
    Run

    Raises
    ------
    ConfigError, DataError
        As the command line: wrong settings, unreadable data.
    """
    from pulsar.config.load import load_config
    from pulsar.pipeline.run import search as run

    settings = config if isinstance(config, Config) else load_config(config)
    return run(data, settings, out, overwrite=overwrite)
