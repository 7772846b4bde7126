"""A stretch of an observation: its cleaned dynamic spectrum, dedispersed, around a moment."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pulsar.config.model import Config
from pulsar.data.header import Header
from pulsar.data.pulse import PulseCutout
from pulsar.errors import ConfigError
from pulsar.pipeline.cleaning import clean_source, find_mask
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.room import thread_count
from pulsar.pipeline.start import opened
from pulsar.searches.pulses import cut_out

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
    with opened(paths, config) as obs:
        header = obs.header
        if header.is_series:
            raise ConfigError(f"{obs.files[0].path}: a dedispersed series has no dynamic spectrum: give the raw data")
        if not 0 <= time <= header.tobs:
            raise ConfigError(f"--time {time:g}: the observation is from 0 to {header.tobs:.6g} s")
        for problem in obs.problems:
            progress.warning(problem)
        threads = thread_count(config)
        mask = find_mask(obs, config, threads=threads, progress=progress).mask
        source = clean_source(obs, mask, config, threads=threads, progress=progress)
        pulse = {"time": time, "dm": dm, "width": length / WIDTHS}
        # The stretch is no pulse of that width.
        return replace(cut_out(source, pulse, nbands=nbands), width=float("nan")), header
