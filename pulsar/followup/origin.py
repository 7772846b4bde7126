"""Data of a row for other programs, from the files of its observation: its series at a DM, a burst in full."""

from pathlib import Path
from typing import Any

from pulsar.config.model import Config, RunConfig
from pulsar.constants import KDM
from pulsar.data.header import Header
from pulsar.data.pulse import PulseCutout
from pulsar.errors import ConfigError, DataError
from pulsar.handover.burst import DMS, PER_WIDTH, SIDE
from pulsar.io.product.provenance import settings_of
from pulsar.io.product.reader import Run, read
from pulsar.pipeline.cleaning import clean_source, find_mask
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.room import thread_count
from pulsar.pipeline.start import opened
from pulsar.searches.pulses import cut_out

#: Bytes of the stretch from which a burst is cut out: the range of DMs ends there.
_MOST_BYTES = 512 << 20


def origin_of(run: Run, row: Any) -> tuple[list[Path], Config]:
    """The files from which a row is, and the settings of its search, with its mask.

    Parameters
    ----------
    run : Run
    row : mapping or void
        Of candidates or single pulses.

    Raises
    ------
    DataError
        The files are not where they were.
    """
    obs = int(row["obs"])
    files = list(run.files_of(obs))
    product = _product_of(run, obs)
    missing = [path for path in files if not path.is_file()]
    if missing or not files:
        what = f"{missing[0]} is" if missing else "the files of this observation are"
        raise DataError(
            f"{run.path}: {what} not where it was when it was searched: bring it back, or give the files to "
            "`pulsar dedisperse` or `pulsar waterfall`"
        )
    config = settings_of(product.provenance)
    # Of this machine and today, not of the one that searched.
    changes: dict[str, Any] = {"run": RunConfig()}
    if config.rfi.enabled and {"mask", "edges", "baseline", "noise"} <= set(product.rfi):
        changes["rfi"] = config.rfi.model_copy(update={"mask": str(product.path)})
    return files, config.model_copy(update=changes)


def _product_of(run: Run, obs: int) -> Run:
    """The product that was made of an observation: of a merged list the one that was merged, if it is still there."""
    rows = run.rows("observations")
    name = str(rows["product"][obs]) if 0 <= obs < len(rows) else ""
    for path in (Path(name), run.path.parent / Path(name).name) if name else ():
        if path.is_file():
            return read(path)
    return run


def burst_of(run: Run, ident: str, progress: Progress | None = None) -> tuple[dict[str, Any], PulseCutout, Header]:
    """A single pulse cut out of its files as burst classifiers expect it.

    Parameters
    ----------
    run : Run
    ident : str
        Of a single pulse.
    progress : Progress, optional

    Returns
    -------
    dict
        Its row.
    PulseCutout
        256 bands (or all channels), columns of half its width, DMs from 0 to twice its own.
    Header
        Of its observation.

    Raises
    ------
    ConfigError
        There is no such single pulse.
    DataError
        The files are not where they were, or cannot be read.
    """
    rows = run.rows("single_pulses")
    found = rows[rows["id"] == ident]
    if not len(found):
        names = ", ".join(str(name) for name in rows["id"][:5]) or "there are none"
        raise ConfigError(f"{run.path}: no single pulse {ident!r}; {names}")
    row = {key: found[0][key].item() for key in rows.dtype.names or ()}
    files, config = origin_of(run, row)
    progress = Progress("quiet") if progress is None else progress
    with opened(files, config) as obs:
        if obs.header.is_series:
            raise ConfigError(f"{files[0]}: a dedispersed series has no dynamic spectrum: {ident} cannot be cut out")
        threads = thread_count(config)
        mask = find_mask(obs, config, threads=threads, progress=progress).mask
        source = clean_source(obs, mask, config, threads=threads, progress=progress)
        freqs = source.freqs
        column = max(1, round(row["width"] / source.tsamp / PER_WIDTH)) * source.tsamp
        span = KDM * (freqs[-1] ** -2.0 - freqs[0] ** -2.0)
        most = 0.5 * _MOST_BYTES / (4 * len(freqs)) * column / span if span > 0 else row["dm"]
        cutout = cut_out(
            source, row, nbands=SIDE, ntime=SIDE, ndms=DMS, per_width=PER_WIDTH, reach=min(row["dm"], most)
        )
        return row, cutout, obs.header
