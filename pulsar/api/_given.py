"""Arguments of the public functions, made into what the program works with; not public."""

from __future__ import annotations

import difflib
import functools
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

from pulsar.api._taken import taken
from pulsar.config.load import keys_called, load_config
from pulsar.config.model import Config
from pulsar.config.options import OPTIONS, Option
from pulsar.config.resources import thread_count
from pulsar.data.observation import Observation
from pulsar.data.series import TimeSeries
from pulsar.errors import ConfigError
from pulsar.io.memory import SeriesInMemory
from pulsar.io.open import open_observation
from pulsar.pipeline.progress import Progress, in_notebook

P = ParamSpec("P")
R = TypeVar("R")

#: Most settings that a message names.
_MOST: Final = 4


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
    sets = [f"{key}={_as_text(key, value)}" for key, value in zip(keys, values, strict=True)][:_MOST]
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
        with closing(open_observation(*paths, config=config.input)) as obs:
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
