"""Synthetic observations, and signals added to real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulsar.api._given import named_settings, observed, progress_of, settings_of, taken, threads_of
from pulsar.config.model import Config
from pulsar.data.observation import Observation
from pulsar.data.series import TimeSeries
from pulsar.errors import ConfigError
from pulsar.io.memory import Filterbank, SeriesInMemory

if TYPE_CHECKING:
    from pulsar.synthesis.model import Burst, Pulsar, Rfi, Sky


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
    from pulsar import synthesis

    if sky is not None and not isinstance(sky, synthesis.Sky):
        raise ConfigError(f"sky = {sky!r}: expected a Sky; its fields are given by name, such as tobs=10")
    if values or sky is None:
        known = {} if sky is None else sky.model_dump(exclude_unset=True)
        if {"tobs", "nsamps"} & values.keys():
            known = {key: value for key, value in known.items() if key not in ("tobs", "nsamps")}
        sky = synthesis.validate(synthesis.Sky, known | values, "simulate")
    threads = threads_of(threads)
    if path is None:
        if output:
            raise ConfigError(f"{', '.join(output)}: options of a file, but no path is given")
        return Filterbank.from_block(synthesis.make(sky, threads=threads))
    target = Path(fspath(path))
    if target.suffix == ".fil":
        return (synthesis.write_filterbank(sky, target, threads=threads, overwrite=overwrite, **(output or {})),)
    if target.suffix in (".fits", ".fit", ".sf"):
        return synthesis.write_psrfits(sky, target, threads=threads, overwrite=overwrite, **(output or {}))
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
        Depth of the output: 1, 2, 4, 8, 16 or 32; default that of the input.
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
    from pulsar import synthesis

    settings = settings_of(config)
    content: dict[str, Any] = {"pulsars": _list("pulsars", pulsars), "bursts": _list("bursts", bursts)}
    content |= {"rfi": _list("rfi", rfi), "seed": seed}
    if not (content["pulsars"] or content["bursts"] or content["rfi"]):
        raise ConfigError("inject: nothing to inject: give pulsars=, bursts= or rfi=")
    added = synthesis.validate(synthesis.Injection, content, "inject")
    if nbits not in (None, 1, 2, 4, 8, 16, 32):
        raise ConfigError(f"nbits = {nbits!r}: expected 1, 2, 4, 8, 16 or 32")
    signals: dict[str, Any] = {"pulsars": added.pulsars, "bursts": added.bursts, "rfi": added.rfi}
    common: dict[str, Any] = {**signals, "seed": added.seed, "threads": threads_of(settings.run.threads)}
    data = taken("inject", data)
    if isinstance(data, TimeSeries):
        if out is not None or nbits is not None:
            raise ConfigError("inject: a TimeSeries is given back: out and nbits go with channels")
        series = SeriesInMemory(data)
        # One channel without width, so that nothing is smeared.
        header = series.header.with_(fch1=1400.0, foff=-1e-9, dm=0.0, is_series=False)
        samples = synthesis.inject_in_memory(Filterbank(series.data, header), **common).data[0]
        return TimeSeries(samples, data.tsamp, data.dm, data.tstart)
    show = progress_of(progress)
    with (
        observed("inject", data, settings) as obs,
        show.stage("injecting", obs.header.nsamps, "samples") as tick,
    ):
        if out is None:
            return synthesis.inject_in_memory(obs, nbits=nbits, progress=tick, **common)
        return synthesis.inject(obs, Path(fspath(out)), nbits=nbits, overwrite=overwrite, progress=tick, **common)


def _list(name: str, given: Any) -> list[Any]:
    if isinstance(given, str | Mapping) or not hasattr(given, "__iter__"):
        raise ConfigError(f"inject: {name}: expected a list, such as {name}=[{{...}}]")
    return [dict(signal) if isinstance(signal, Mapping) else signal for signal in given]
