"""Observations: made, opened, searched, dedispersed, folded, masked, signals added to them; products read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike

from pulsar.api._given import kind_of, named_settings, observed, progress_of, settings_of, taken, threads_of
from pulsar.config.load import load_section
from pulsar.config.model import Config, DedispConfig
from pulsar.data.arguments import numbers, quantities
from pulsar.data.observation import Observation
from pulsar.data.series import DMTime, TimeSeries
from pulsar.dedisp.plan import few_trials, make_plan
from pulsar.errors import ConfigError
from pulsar.io.memory import Filterbank, SeriesInMemory
from pulsar.io.open import open_observation
from pulsar.io.product.reader import Run
from pulsar.io.series import SeriesSet
from pulsar.pipeline.ephemerides import Ephemeris, FromPar
from pulsar.sky.timing import read_par
from pulsar_kernels.arrays import Array

if TYPE_CHECKING:
    from astropy.units import Quantity

    from pulsar.data.fold import Fold
    from pulsar.followup.masks import RfiReport
    from pulsar.synthesis.model import Burst, Pulsar, Rfi, Sky


#: Sections of the configuration that a search does not use.
_OF_COMMANDS = ("batch", "stack", "orbits")


@named_settings("input")
def open(*paths: str | PathLike[str], config: Config | str | Path | None = None) -> Observation:  # noqa: A001
    """Open one or several files as one observation.

    Parameters
    ----------
    *paths : path
        SIGPROC filterbank or time series, PSRFITS search mode, PRESTO `.dat` (or its `.inf`), FBH5. Several files
        are joined by their start times, in whatever order they are given.
    config : Config, name of a preset, or path of a TOML file, optional
        Its section `input` overrides the headers.

    Returns
    -------
    Observation
        Its `header`; ``read(start, nsamps).data`` are samples of the shape (nchans, nsamps), the highest frequency
        first, and ``blocks(gulp)`` goes through all of them; it is closed by ``close()`` or as a context manager.

    Raises
    ------
    ConfigError
        The configuration is wrong.
    DataError
        A file is missing, empty, damaged or of an unknown kind, or the files do not belong together.
    """
    for path in paths:
        if not isinstance(path, str | PathLike):
            raise ConfigError(f"open: {kind_of(path)} is no path; several files: pulsar.open(*files)")
    return open_observation(*paths, config=settings_of(config).input)


def read(path: str | PathLike[str]) -> Run:
    """Open a product of `pulsar.search` or ``pulsar search``.

    Parameters
    ----------
    path : path

    Returns
    -------
    Run
        Nothing is kept open: every access reads what it needs.

    Raises
    ------
    DataError
        The file is missing, is not a product, or of a newer major version.
    """
    if not isinstance(path, str | PathLike):
        raise ConfigError(f"read: {kind_of(path)} is no path of a product")
    return Run(fspath(path))


@named_settings(*(name for name in Config.model_fields if name not in _OF_COMMANDS))
@quantities(arrays=("dm",), dm="pc / cm3 >= 0")
def search(
    data: TimeSeries | Observation | str | PathLike[str] | Sequence[str | PathLike[str]],
    config: Config | str | Path | None = None,
    *,
    dm: ArrayLike | Quantity | None = None,
    out: str | PathLike[str] | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Run:
    """Search an observation for pulsars of every kind and single pulses, and fold the best candidates.

    It does what ``pulsar search`` does: mask, dedisperse, search in power spectra, with acceleration where asked for,
    by fast folding and for single pulses, group, fold, refine and rank. Dedispersed data skip the first steps.

    Parameters
    ----------
    data : TimeSeries, Filterbank, Observation, path or sequence of paths
        One observation of one beam: your own array, as ``pulsar.TimeSeries(x, tsamp)`` or
        ``pulsar.Filterbank.from_array(data, freqs, tsamp)``; a series or a band of astropy, lightkurve, stingray,
        sigpyproc or `your`; what `pulsar.open` returns; or its files.
    config : Config, name of a preset, or path of a TOML file, optional
        ``pulsar.load_config("fast-19beam", ["fold.ncands=300"])`` changes single values. Options of the command line
        are settings: ``--zmax 50`` is ``["accel.zmax=50"]``.
    dm : array_like or Quantity, optional
        Lowest and highest dispersion measure [pc / cm3], in place of `dedisp.dm_lo` and `dedisp.dm_hi`.
    out : path, optional
        HDF5 product to write. Without it nothing is left on disk; ``run.save(path)`` writes it later.
    overwrite : bool
        Replace an existing `out`.
    progress : bool
        Show bars, in a notebook or on a terminal.

    Returns
    -------
    Run
        Its `sources` (one row a source), `candidates` (with their harmonics) and `pulses` are astropy tables with
        units, best first; ``run.folds["c0001"]`` is a fold.

    Raises
    ------
    ConfigError
        `out` exists or cannot be written, `dm` is no pair, a setting makes no sense for these data or is given as an
        argument of its own, or `data` is no observation.
    DataError
        The files cannot be read, nothing is left after masking, or all samples of a series are missing or the same.

    Examples
    --------
    >>> import numpy as np, pulsar
    >>> x = np.random.default_rng(1).standard_normal(100_000)
    >>> x[::97] += 3
    >>> run = pulsar.search(pulsar.TimeSeries(x, tsamp=1e-3))
    >>> [f"{period:.4f}" for period in run.sources["period"]]
    ['0.0970 s']
    """
    from pulsar.run import search as run_search

    settings = settings_of(config)
    show = progress_of(progress)
    if dm is not None:
        if np.shape(dm) != (2,):
            raise ConfigError("search: dm: expected the lowest and the highest DM, such as dm=(0, 60)")
        low, high = np.asarray(dm)
        section = load_section("dedisp", "search", settings.dedisp.model_dump() | {"dm_lo": low, "dm_hi": high})
        settings = settings.model_copy(update={"dedisp": section})
    with observed("search", data, settings) as obs:
        if out is not None:
            return run_search(obs, settings, Path(fspath(out)), overwrite=overwrite, progress=show)
        if settings.run.scratch and not Path(settings.run.scratch).is_dir():
            raise ConfigError(f"run.scratch = {settings.run.scratch!r}: no such folder")
        with TemporaryDirectory(prefix="pulsar-", dir=settings.run.scratch or None) as folder:
            return Run.in_memory(run_search(obs, settings, Path(folder) / "run.h5", progress=show).path)


@overload
def dedisperse(
    data: Observation | str | PathLike[str] | Sequence[str | PathLike[str]],
    dm: float | Quantity,
    *,
    config: Config | str | Path | None = None,
    progress: bool = False,
) -> TimeSeries: ...
@overload
def dedisperse(
    data: Observation | str | PathLike[str] | Sequence[str | PathLike[str]],
    dm: Sequence[float] | Array | None = None,
    *,
    dms: ArrayLike | Quantity | None = None,
    config: Config | str | Path | None = None,
    progress: bool = False,
) -> DMTime: ...
@named_settings("input", "rfi", "run")
def dedisperse(
    data: Observation | str | PathLike[str] | Sequence[str | PathLike[str]],
    dm: ArrayLike | Quantity | None = None,
    *,
    dms: ArrayLike | Quantity | None = None,
    config: Config | str | Path | None = None,
    progress: bool = False,
) -> TimeSeries | DMTime:
    """Clean and dedisperse an observation at full time resolution.

    Parameters
    ----------
    data : Filterbank, Observation, path or sequence of paths
    dm : float, array_like or Quantity
        One dispersion measure [pc / cm3], or several in ascending order, each dedispersed exactly.
    dms : array_like or Quantity
        Or many [pc / cm3], evenly spaced and ascending, by the tree.
    config : Config, name of a preset, or path of a TOML file, optional
        Its sections `input`, `rfi` and `run` are used.
    progress : bool
        Show bars, in a notebook or on a terminal.

    Returns
    -------
    TimeSeries or DMTime
        The latter of a list of DMs, ``data`` of the shape (ndms, nsamps). int16 samples of noise 8 sqrt(channels),
        referred to the highest channel.

    Raises
    ------
    ConfigError
        Not just one of `dm` and `dms` is given, `dm` does not ascend, `dms` is not an even grid, the data are
        dedispersed already, or the series do not fit the memory budget.
    DataError
        The files cannot be read, or nothing is left after masking.
    """
    from pulsar.followup.series import dedispersed

    if (dm is None) == (dms is None):
        raise ConfigError("dedisperse: give either dm (one, or a few) or dms (a grid)")
    settings, show = settings_of(config), progress_of(progress)
    name = "dm" if dms is None else "dms"
    dm_values: Any = dm if dms is None else dms
    grid = numbers(name, dm_values, "pc / cm3 >= 0")
    steps = np.diff(grid)
    if len(grid) > 1 and (steps.min() <= 0 or (dm is None and np.ptp(steps) > 1e-6 * steps.max())):
        raise ConfigError(f"dedisperse: {name} must ascend{' in even steps' if dm is None else ''}")
    section = DedispConfig(
        dm_lo=float(grid[0]),
        dm_hi=float(grid[-1]),
        dm_step=float(steps[0]) if len(steps) else None,
        max_downsample=1,
        method="tree",
    )
    with observed("dedisperse", data, settings) as obs:
        header = obs.header
        if header.is_series:
            raise ConfigError(f"dedisperse: the data are dedispersed already, to DM {header.dm:g}: give the raw data")
        plan_of = partial(few_trials, header, grid, 1) if dms is None else partial(make_plan, header, section)
        with dedispersed(obs, settings, plan_of, show) as (store, _):
            kept = [stage.data for stage in store.stages if stage.data is not None]
            series = kept[0] if len(kept) == 1 else np.concatenate(kept)
    if dms is None and not np.ndim(dm_values):
        return TimeSeries(series[0], header.tsamp, float(grid[0]), header.tstart)
    return DMTime(series[: len(grid)], grid, header.tsamp, header.tstart)


@named_settings("input", "rfi", "fold", "run")
@quantities(period="s > 0", dm="pc / cm3 >= 0", accel="m / s2", epoch="d > 0")
def fold(
    data: TimeSeries | Observation | str | PathLike[str] | Sequence[str | PathLike[str]],
    period: float | Quantity | None = None,
    dm: float | Quantity | None = None,
    *,
    par: str | PathLike[str] | None = None,
    accel: float | Quantity = 0.0,
    epoch: Any = None,
    refine: bool = True,
    nbins: int | None = None,
    nsub: int | None = None,
    config: Config | str | Path | None = None,
    progress: bool = False,
) -> Fold:
    """Fold an observation or a series at a period or by an ephemeris, and refine period, derivative and DM around it.

    Parameters
    ----------
    data : TimeSeries, Filterbank, Observation, path or sequence of paths
        Or a series or a band of another package, as for :func:`search`.
    period : float or Quantity
        Topocentric period at `epoch` [s].
    dm : float or Quantity, optional
        Dispersion measure [pc / cm3]; dedispersed data have their own.
    par : path, optional
        Ephemeris of the pulsar (``.par``), in place of `period`, `dm` and `accel`.
    accel : float or Quantity
        Acceleration [m / s2], positive when receding ever faster.
    epoch : float or Time, optional
        MJD (UTC) to which the period refers [d]; mid-observation by default.
    refine : bool
        Look for the best period, derivative and DM around those; False measures just them.
    nbins : int, optional
        Most phase bins, an even number; default `fold.nbins` of the configuration. Short turns have fewer: a power
        of two, no more than four bins a sample.
    nsub : int, optional
        Sub-integrations; default `fold.nsubints` of the configuration.
    config : Config, name of a preset, or path of a TOML file, optional
        Its sections `input`, `rfi`, `fold` and `run` are used.
    progress : bool
        Show bars, in a notebook or on a terminal.

    Returns
    -------
    Fold
        ``pulsar.plot(fold)`` draws it; `extra` holds the S/N before refinement too.

    Raises
    ------
    ConfigError
        The period cannot be folded, the DM is missing, or not just one of `period` and `par` is given.
    DataError
        A file cannot be read, or nothing is left after masking.
    """
    # Many arguments: each is an option of the user's, by name, with a default and its own words above.
    from pulsar.followup.folding import fold_given

    if (period is None) == (par is None):
        raise ConfigError("fold: give either period [s] or par (an ephemeris)")
    if par is not None and (dm is not None or accel or epoch is not None):
        raise ConfigError("fold: dm, accel and epoch go with period; an ephemeris has its own")
    settings, show = settings_of(config), progress_of(progress)
    changes = {key: value for key, value in (("nbins", nbins), ("nsubints", nsub)) if value is not None}
    section = load_section("fold", "fold", {**settings.fold.model_dump(), **changes})
    settings = settings.model_copy(update={"fold": section})
    with observed("fold", data, settings) as obs:
        if par is None and dm is None and (not obs.header.is_series or isinstance(obs, SeriesSet)):
            raise ConfigError("fold: give the dm [pc / cm3] of the pulsar")
        ephemeris: Ephemeris | FromPar
        if par is not None:
            ephemeris = FromPar(read_par(fspath(par)))
        else:
            ephemeris = Ephemeris(float(period), float(dm or 0.0), float(accel), epoch)  # type: ignore[arg-type]
        return fold_given(obs, ephemeris.params(obs.header), settings, fit=bool(refine), progress=show)


@named_settings()
def import_fold(path: str | PathLike[str], *, refine: bool = True) -> Fold:
    """Read a fold that another program has made, and refine it as ours.

    Parameters
    ----------
    path : path
        ``.pfd`` of PRESTO's prepfold; ``.phcx`` of the Parkes surveys, as it is or packed with gzip.
    refine : bool
        Look for the best period, derivative and DM around those of the file; False measures just them.

    Returns
    -------
    Fold
        ``pulsar.plot(fold)`` draws it; ``fold.extra["stated"]`` holds what the file says itself.

    Raises
    ------
    DataError
        It cannot be read, or is something else.
    """
    from pulsar.followup.folding import import_fold as imported

    if not isinstance(path, str | PathLike):
        raise ConfigError(f"import_fold: {kind_of(path)} is no path: give that of a .pfd or .phcx file")
    return imported(Path(fspath(path)), fit=bool(refine)).fold


@named_settings("input", "rfi", "run")
def rfi(
    data: Observation | str | PathLike[str] | Sequence[str | PathLike[str]],
    config: Config | str | Path | None = None,
    out: str | PathLike[str] | None = None,
    *,
    overwrite: bool = False,
    progress: bool = False,
) -> RfiReport:
    """Make the mask of an observation and learn its periodic interference.

    Parameters
    ----------
    data : Filterbank, Observation, path or sequence of paths
    config : Config, name of a preset, or path of a TOML file, optional
        Its sections `input`, `rfi` and `run` are used.
    out : path, optional
        Mask file (HDF5) to write, for `rfi.mask` of later runs on the same observation.
    overwrite : bool
        Replace an existing `out`.
    progress : bool
        Show bars, in a notebook or on a terminal.

    Returns
    -------
    RfiReport
        Shows itself as a picture; its `mask`, `birdies` and `summary()`.

    Raises
    ------
    ConfigError
        `out` exists, the data are dedispersed, or a given mask belongs to another observation.
    DataError
        The files cannot be read, or nothing is left.
    """
    from pulsar.followup.masks import make_rfi
    from pulsar.io.product.writer import Target

    settings = settings_of(config)
    target = None if out is None else Target(Path(fspath(out)), overwrite)
    with observed("rfi", data, settings) as obs:
        return make_rfi(obs, settings, target, progress_of(progress))


def simulate(
    path: str | PathLike[str] | None = None,
    sky: Sky | None = None,
    *,
    threads: int = 0,
    overwrite: bool = False,
    output: Mapping[str, Any] | None = None,
    **values: Any,
) -> Filterbank | tuple[Path, ...]:
    """Make a synthetic observation, in memory or as files.

    Parameters
    ----------
    path : path, optional
        ``.fil``: SIGPROC filterbank; ``.fits`` or ``.sf``: PSRFITS. Without it nothing is written.
    sky : Sky, optional
        What is observed.
    threads : int
        Threads that make samples; 0: all cores. The result does not depend on it.
    overwrite : bool
        Replace existing files.
    output : mapping, optional
        Options of a file: npol, nsblk, rows_per_file, ascending …
    **values
        Fields of a `Sky`, in place of those of `sky` or all of them, as numbers or quantities: nchans, fch1 and foff
        [MHz], tsamp and tobs [s], nsamps, nbits, seed; `pulsars`, `bursts` and `rfi` as dicts, such as
        ``{"period": 0.05, "dm": 30, "snr": 25}``. All of them are listed in docs/simulation.md.

    Returns
    -------
    Filterbank, or tuple of Path
        The observation, or the files that were written.

    Raises
    ------
    ConfigError
        A wrong field, an unknown kind of file, or a file that exists.

    Examples
    --------
    >>> simulate(nchans=64, tobs=1.0, pulsars=[{"period": 0.05, "dm": 30, "snr": 25}])
    <Filterbank: SIMULATED, 64 channels 1375.95 to 1499 MHz, 7629 samples of 131.072 µs (0.999948 s)>
    """
    from pulsar.synthesis import model, write

    if sky is not None and not isinstance(sky, model.Sky):
        raise ConfigError(f"sky = {sky!r}: expected a Sky; its fields are given by name, such as tobs=10")
    if values or sky is None:
        known = {} if sky is None else sky.model_dump(exclude_unset=True)
        if {"tobs", "nsamps"} & values.keys():
            known = {key: value for key, value in known.items() if key not in ("tobs", "nsamps")}
        sky = model.validate(model.Sky, known | values, "simulate")
    threads = threads_of(threads)
    if path is None:
        if output:
            raise ConfigError(f"{', '.join(output)}: options of a file, but no path is given")
        return Filterbank.from_block(write.make(sky, threads=threads))
    target = Path(fspath(path))
    if target.suffix == ".fil":
        return (write.write_filterbank(sky, target, threads=threads, overwrite=overwrite, **(output or {})),)
    if target.suffix in (".fits", ".fit", ".sf"):
        return write.write_psrfits(sky, target, threads=threads, overwrite=overwrite, **(output or {}))
    raise ConfigError(f"{target}: a synthetic observation is a .fil (SIGPROC) or a .fits or .sf (PSRFITS)")


@named_settings("input", "rfi", "run")
def inject(
    data: TimeSeries | Observation | str | PathLike[str] | Sequence[str | PathLike[str]],
    out: str | PathLike[str] | None = None,
    *,
    pulsars: Sequence[Pulsar | Mapping[str, Any]] = (),
    bursts: Sequence[Burst | Mapping[str, Any]] = (),
    rfi: Sequence[Rfi | Mapping[str, Any]] = (),
    nbits: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    config: Config | str | Path | None = None,
    progress: bool = False,
) -> Filterbank | TimeSeries | Path:
    """Add pulsars, bursts and interference to an observation or a series.

    The noise of each channel is measured first, then the signal is added in units of it. Integers are rounded up or
    down at random, so that a signal far below one level is kept. The data that are given stay as they are.

    Parameters
    ----------
    data : Filterbank, TimeSeries, Observation, path or sequence of paths
        Of a TimeSeries all channels are taken to be one: a signal is not dispersed.
    out : path, optional
        SIGPROC filterbank (``.fil``) to write, with what was added beside it as TOML. Without it nothing is written.
    pulsars, bursts, rfi : sequences of dict, or of Pulsar, Burst and Rfi
        What is added, numbers or quantities: ``{"period": 0.05, "dm": 30, "snr": 20}`` with the period [s] and the DM
        [pc / cm3]; ``{"time": 3.2, "dm": 300, "snr": 15, "width": 0.002}``. All fields are in docs/simulation.md.
    nbits : int, optional
        Depth of the output: 1, 2, 4, 8, 16 or 32; default that of the input, more where polarisations are summed.
    seed : int
        Of the rounding, the nulls and the interference.
    overwrite : bool
        Replace an existing `out`.
    config : Config, name of a preset, or path of a TOML file, optional
        Its section `input` overrides the headers of files, `run.threads` tells the threads.
    progress : bool
        Show bars, in a notebook or on a terminal.

    Returns
    -------
    Filterbank, TimeSeries or Path
        Data like those given, or the file that was written.

    Raises
    ------
    ConfigError
        Nothing is to be added, a field is wrong, a period is below two samples, or `out` exists.
    DataError
        No channel varies, or the data in a file are dedispersed.
    """
    from pulsar.synthesis import injection, model

    settings = settings_of(config)
    content: dict[str, Any] = {"pulsars": _list("pulsars", pulsars), "bursts": _list("bursts", bursts)}
    content |= {"rfi": _list("rfi", rfi), "seed": seed}
    if not (content["pulsars"] or content["bursts"] or content["rfi"]):
        raise ConfigError("inject: nothing to inject: give pulsars=, bursts= or rfi=")
    added = model.validate(model.Injection, content, "inject")
    if nbits not in (None, 1, 2, 4, 8, 16, 32):
        raise ConfigError(f"nbits = {nbits!r}: expected 1, 2, 4, 8, 16 or 32")
    threads = threads_of(settings.run.threads)
    data = taken("inject", data)
    if isinstance(data, TimeSeries):
        if out is not None or nbits is not None:
            raise ConfigError("inject: a TimeSeries is given back: out and nbits go with channels")
        series = SeriesInMemory(data)
        # One channel without width, so that nothing is smeared.
        header = series.header.with_(fch1=1400.0, foff=-1e-9, dm=0.0, is_series=False)
        samples = injection.inject_in_memory(Filterbank(series.data, header), added, threads=threads).data[0]
        return TimeSeries(samples, data.tsamp, data.dm, data.tstart)
    show = progress_of(progress)
    with observed("inject", data, settings) as obs, show.stage("injecting", obs.header.nsamps, "samples") as tick:
        if out is None:
            return injection.inject_in_memory(obs, added, nbits=nbits, threads=threads, progress=tick)
        how: dict[str, Any] = {"nbits": nbits, "threads": threads, "overwrite": overwrite, "progress": tick}
        return injection.inject(obs, Path(fspath(out)), added, **how)


def _list(name: str, signals: Any) -> list[Any]:
    if isinstance(signals, str | Mapping) or not hasattr(signals, "__iter__"):
        raise ConfigError(f"inject: {name}: expected a list, such as {name}=[{{...}}]")
    return [dict(signal) if isinstance(signal, Mapping) else signal for signal in signals]
