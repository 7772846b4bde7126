"""Arguments of the public functions, made into what the program works with; not public.

Series of other packages are known by their shape: none of them is imported.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import json
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import numpy as np

from pulsar.config.load import keys_called, load_config
from pulsar.config.model import OPTIONS, Config, Option
from pulsar.config.resources import thread_count
from pulsar.data.header import Header
from pulsar.data.observation import Observation
from pulsar.data.series import TimeSeries
from pulsar.errors import ConfigError, DataError
from pulsar.io.base import on_sky, spectra_per_piece
from pulsar.io.memory import EVEN, SeriesInMemory
from pulsar.io.open import open_observation
from pulsar.pipeline.progress import Progress, in_notebook
from pulsar_kernels.arrays import Array, Floats

#: Columns of tables of times that hold the intensity, where there are several.
_INTENSITY: Final = ("flux", "counts", "intensity", "value")


def taken(name: str, data: Any) -> Any:
    """A series or an observation of what another package has made; anything else as it is.

    Parameters
    ----------
    name : str
        Of the function that was given it, for messages.
    data : object

    Raises
    ------
    ConfigError
        Its times are uneven, or it is not told which of its columns is meant.
    """
    if isinstance(data, TimeSeries | Observation | str | list | tuple):
        return data
    if hasattr(data, "colnames") and hasattr(getattr(data, "time", None), "utc"):
        return _of_table(name, data)
    if hasattr(data, "counts") and hasattr(data, "time") and hasattr(data, "dt"):
        seconds = np.asarray(data.time, dtype=np.float64)
        # Its times are of the clock of the instrument, which need not be UTC: the start is not known.
        return _even(name, seconds, np.asarray(data.counts), math.nan, float(data.dt))
    header = getattr(data, "your_header", None)
    if header is not None and callable(getattr(data, "get_data", None)):
        return _ForeignBand(header, int(header.nspectra), lambda at, n: np.asarray(data.get_data(at, n)).T)
    header = getattr(data, "header", None)
    if header is None or not hasattr(header, "tsamp"):
        return data
    if callable(getattr(data, "read_block", None)):
        return _ForeignBand(header, int(header.nsamples), lambda at, n: _samples(data.read_block(at, n)))
    values = _samples(data)
    if values.ndim == 1:
        return TimeSeries(values, float(header.tsamp), float(getattr(header, "dm", 0.0)), float(header.tstart))
    return _ForeignBand(header, values.shape[1], lambda at, n: values[:, at : at + n])


def _samples(block: Any) -> Array:
    """The array of a block or series of sigpyproc, which is one itself or has one, by its version."""
    return np.asarray(block if isinstance(block, np.ndarray) else block.data)


def _of_table(name: str, table: Any) -> TimeSeries:
    columns = [column for column in table.colnames if column != "time" and np.ndim(table[column]) == 1]
    meant = columns if len(columns) == 1 else [column for column in _INTENSITY if column in columns][:1]
    if not meant:
        raise ConfigError(
            f"{name}: a {type(table).__name__} with the columns {', '.join(columns) or 'time only'}: give a table of "
            "the times and one of them"
        )
    values = table[meant[0]]
    if hasattr(values, "filled"):
        values = values.astype(np.float64).filled(np.nan)
    start = table.time[0]
    seconds = np.asarray((table.time - start).to_value("s"), dtype=np.float64)
    return _even(name, seconds, np.asarray(getattr(values, "value", values)), float(start.utc.mjd))


def _even(name: str, seconds: Floats, values: Array, start: float, step: float = 0.0) -> TimeSeries:
    """Samples at times [s] as a series: NaN where a time is missing."""
    if len(seconds) < 2 or not np.all(np.diff(seconds) > 0):
        raise ConfigError(f"{name}: expected two times or more, ascending")
    step = step or _step(seconds)
    places = np.rint((seconds - seconds[0]) / step).astype(np.int64)
    # Samples of a series, with those of its gaps, over those that are given, at most: memory is for the others.
    if places[-1] + 1 > 16 * len(values):
        raise ConfigError(
            f"{name}: {len(values)} samples of {step:g} s are spread over {seconds[-1] - seconds[0]:g} s: give the "
            "stretches between the gaps one by one"
        )
    # The step is known no better than the times: their whole length tells it.
    step = float(seconds[-1] - seconds[0]) / max(int(places[-1]), 1)
    late = (seconds - seconds[0]) / step - places
    worst = int(np.argmax(np.abs(late)))
    if abs(late[worst]) > EVEN or np.any(np.diff(places) < 1):
        raise ConfigError(
            f"{name}: uneven times: sample {worst} is {late[worst]:+.3g} of {step:g} s off an even step; put the "
            "samples on even times, with NaN where there are none"
        )
    if places[-1] + 1 == len(values):
        return TimeSeries(values, step, tstart=start)
    whole = np.full(places[-1] + 1, np.nan)
    whole[places] = values
    return TimeSeries(whole, step, tstart=start)


def _step(seconds: Floats) -> float:
    """Step of times [s]: of the whole where none is missing, else of those that are next to each other.

    Times are rounded (MJDs to 0.6 us): over their whole length that is nothing, from one to the next it adds up.
    """
    whole = float(seconds[-1] - seconds[0]) / (len(seconds) - 1)
    if np.max(np.abs((seconds - seconds[0]) / whole - np.arange(len(seconds)))) <= EVEN:
        return whole
    steps = np.diff(seconds)
    middle = float(np.median(steps))
    return float(np.mean(steps[np.abs(steps - middle) < 0.5 * middle]))


class _ForeignBand(Observation):
    """An observation that another package reads, piece by piece.

    Parameters
    ----------
    header : object
        With nchans, fch1, foff [MHz], tsamp [s], tstart (MJD) and nbits.
    nsamps : int
    read : callable
        (first sample, how many) -> samples, shape (nchans, n), in the order of the header.
    """

    def __init__(self, header: Any, nsamps: int, read: Callable[[int, int], Array]) -> None:
        nchans, fch1, foff = int(header.nchans), float(header.fch1), float(header.foff)
        self._read, self._ascends = read, foff > 0
        # Nobody promises that others' files may be read by several threads at once.
        self._turn = threading.Lock()
        place = getattr(header, "coord", None)
        if place is None:
            ra, dec = (float(getattr(header, key, math.nan)) for key in ("ra_deg", "dec_deg"))
        else:
            ra, dec = float(place.ra.deg), float(place.dec.deg)
        # 0, 0 is what they put where a file tells no position.
        ra_deg, dec_deg = on_sky(ra, dec) if (ra, dec) != (0.0, 0.0) else (math.nan, math.nan)
        first = read(0, min(nsamps, 1))
        kind = first.dtype if first.dtype in (np.uint8, np.uint16) else np.dtype(np.float32)
        self.header = Header(
            nchans=nchans,
            nsamps=nsamps,
            tsamp=float(header.tsamp),
            fch1=fch1 + foff * (nchans - 1) if self._ascends else fch1,
            foff=-abs(foff),
            tstart=float(header.tstart),
            nbits=8 * kind.itemsize,
            source=str(getattr(header, "source_name", getattr(header, "source", ""))),
            telescope=str(getattr(header, "telescope", "")),
            ra_deg=ra_deg,
            dec_deg=dec_deg,
            barycentric=getattr(header, "frame", "") == "barycentric",
            format="array",
        )
        self.files, self.dtype = (), kind
        self.chan_ok = np.ones(nchans, dtype=np.bool_)

    def _fill(self, start: int, out: Array) -> None:
        piece = spectra_per_piece(out.shape[0] * out.itemsize)
        for at in range(0, out.shape[1], piece):
            part = out[:, at : at + piece]
            with self._turn:
                samples = self._read(start + at, part.shape[1])
            if samples.shape != part.shape:
                raise DataError(
                    f"samples {start + at} to {start + at + part.shape[1]} were asked for, and an array of shape "
                    f"{samples.shape} came: expected {part.shape}"
                )
            part[:] = samples[::-1] if self._ascends else samples


P = ParamSpec("P")
R = TypeVar("R")


def named_settings(*sections: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function tell how a setting is given, where it is given as an argument that the function does not have.

    Parameters
    ----------
    *sections : str
        Of the configuration, those that the function uses.

    Returns
    -------
    callable
        A decorator that keeps name, signature and documentation. The function raises ConfigError for arguments that
        it does not have.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        parameters = list(inspect.signature(function).parameters)

        @functools.wraps(function)
        def told(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in kwargs:
                if name not in parameters:
                    given = dict(zip(parameters, args, strict=False)) | kwargs
                    hint = _as_setting(name, given, sections) or _as_argument(name, parameters)
                    raise ConfigError(f"{getattr(function, '__name__', '')}: no argument {name!r}{hint}")
            return function(*args, **kwargs)

        return told

    return decorate


def _as_setting(name: str, given: dict[str, Any], sections: tuple[str, ...]) -> str:
    """How to give an argument as settings, as the end of a message; empty where there are none of this name."""
    option = OPTIONS.get(name)
    # An option has a name of its own, or that of its key, which other sections may have, too.
    if option is None or option.keys[0].endswith(f".{name}"):
        option = Option(tuple(keys_called(name)))
    keys = [key for key in option.keys if key.partition(".")[0] in sections]
    if not keys:
        return ""
    values: Any = option.off or [given[name]] * len(keys)
    if len(option.keys) == 2 and isinstance(given[name], list | tuple) and len(given[name]) == len(keys):
        values = given[name]
    # Most settings that a message names.
    sets = [f"{key}={_as_text(key, value)}" for key, value in zip(keys, values, strict=True)][:4]
    config = given.get("config")
    source = repr(str(config)) if isinstance(config, str | Path) else None
    return f": it is a setting: config=pulsar.load_config({source}, {json.dumps(sets, ensure_ascii=False)})"


def _as_text(key: str, value: Any) -> str:
    """A value as a setting is given; dots where it has another unit or form."""
    section, _, name = key.partition(".")
    default = getattr(getattr(Config(), section), name)
    if isinstance(value, str):
        return value if isinstance(default, str) else json.dumps([value]) if isinstance(default, tuple) else "..."
    try:
        return "none" if value is None else json.dumps(value)
    except TypeError:  # a quantity, an array
        return "..."


def _as_argument(name: str, parameters: list[str]) -> str:
    """The argument that may be meant, or all, as the end of a message."""
    near = difflib.get_close_matches(name, parameters, n=1)
    return f"; did you mean {near[0]}?" if near else f": it has {', '.join(parameters)}"


def settings_of(config: Any) -> Config:
    """A configuration, or that of a preset or a file.

    Raises
    ------
    ConfigError
        It is neither, or wrong.
    """
    if isinstance(config, Config):
        return config
    if config is None or isinstance(config, str | Path):
        return load_config(config)
    raise ConfigError(f"config: {kind_of(config)}: expected a pulsar.Config, the name of a preset or a TOML file")


def progress_of(progress: Any) -> Progress:
    """Bars where they are wanted.

    Raises
    ------
    ConfigError
        It is neither True nor False.
    """
    if not isinstance(progress, bool):
        raise ConfigError(f"progress = {progress!r}: expected True or False")
    if not progress:
        return Progress("quiet")
    return Progress("notebook" if in_notebook() else "bars")


def threads_of(threads: Any) -> int:
    """A number of threads; of 0 as many as there are cores for this process.

    Raises
    ------
    ConfigError
        It is no number of threads.
    """
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 0:
        raise ConfigError(f"threads = {threads!r}: expected an integer >= 0 (0: all cores)")
    return thread_count(threads)


@contextmanager
def observed(name: str, data: Any, config: Config) -> Iterator[Observation]:
    """An observation of what a function was given: itself, a series, data of another package, or files, which are
    closed at the end.

    Raises
    ------
    ConfigError
        It is nothing that was observed.
    DataError
        The files cannot be read.
    """
    data = taken(name, data)
    if isinstance(data, TimeSeries):
        yield SeriesInMemory(data)
    elif isinstance(data, Observation):
        yield data
    else:
        paths = [data] if isinstance(data, str | PathLike) else data
        if not (isinstance(paths, Sequence) and paths and all(isinstance(p, str | PathLike) for p in paths)):
            raise ConfigError(
                f"{name}: {kind_of(data)} is no observation: give pulsar.TimeSeries(x, tsamp), "
                "pulsar.Filterbank.from_array(data, freqs, tsamp), pulsar.open(...), or paths of files"
            )
        with open_observation(*paths, config=config.input) as obs:
            yield obs


def kind_of(value: Any) -> str:
    """The kind of a value in words, for messages."""
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return f"an array of shape {shape}"
    if value is None:
        return "None"
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiouAEIO' else 'a'} {kind}"
