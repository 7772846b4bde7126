"""What the public functions are given, made into what the program works with; not public."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulsar.config.load import load_config
from pulsar.config.model import Config
from pulsar.config.threads import thread_count
from pulsar.data.observation import Observation
from pulsar.data.series import TimeSeries
from pulsar.errors import ConfigError
from pulsar.io.memory import SeriesInMemory

if TYPE_CHECKING:
    from pulsar.pipeline.progress import Progress


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
    from pulsar.pipeline.progress import Progress, in_notebook

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
    """An observation of what a function was given: itself, a series, or files, which are closed at the end.

    Raises
    ------
    ConfigError
        It is nothing that was observed.
    DataError
        The files cannot be read.
    """
    if isinstance(data, TimeSeries):
        yield SeriesInMemory(data)
    elif isinstance(data, Observation):
        yield data
    else:
        from pulsar.io.open import open_observation

        paths = [data] if isinstance(data, str | PathLike) else data
        if not (isinstance(paths, Sequence) and paths and all(isinstance(p, str | PathLike) for p in paths)):
            raise ConfigError(
                f"{name}: {kind_of(data)} is no observation: give pulsar.TimeSeries(x, tsamp), "
                "pulsar.Filterbank.from_array(data, freqs, tsamp), pulsar.open(...), or paths of files"
            )
        with closing(open_observation(*paths, config=config.input)) as obs:
            yield obs


def kind_of(value: Any) -> str:
    """What a value is, in words, for messages."""
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return f"an array of shape {shape}"
    if value is None:
        return "None"
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiouAEIO' else 'a'} {kind}"
