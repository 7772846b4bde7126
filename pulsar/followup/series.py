"""Series of an observation at given DMs, cleaned and written to files, and stretches of its dynamic spectrum.

Also of a row of a product, from the files in which it was found: for other programs.
"""

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from pulsar.cleaning.source import CleanedSource
from pulsar.config.model import Config, RunConfig
from pulsar.data.candidate import values_of
from pulsar.data.files import check_output
from pulsar.data.fold import PulseCutout
from pulsar.data.header import Header, band_delay
from pulsar.data.observation import Observation, unchanged
from pulsar.data.source import SIGMA_LEVELS
from pulsar.data.text import printable
from pulsar.dedisp.plan import DMPlan, few_trials
from pulsar.dedisp.stream import DMStore, dedisperse
from pulsar.errors import ConfigError, DataError
from pulsar.io.product.provenance import settings_of
from pulsar.io.product.reader import Run, read
from pulsar.io.series import series_paths, write_series
from pulsar.pipeline.cleaning import clean_source, find_mask
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.room import stage_memory, thread_count
from pulsar.pipeline.start import opened
from pulsar.searches.pulses import cut_out
from pulsar.sky.barycentre import barycentric_samples
from pulsar_kernels.arrays import Float32s, Floats


def series_names(out: Path, dms: Sequence[float]) -> list[Path]:
    """The file of each DM: `out` for one, ``<out>_DM<dm>`` with its ending for several, as PRESTO names them."""
    if len(dms) == 1:
        return [out]
    digits = next((n for n in range(2, 8) if len({f"{dm:.{n}f}" for dm in dms}) == len(dms)), 8)
    return [out.with_name(f"{out.stem}_DM{dm:.{digits}f}{out.suffix}") for dm in dms]


def _clean(obs: Observation, config: Config, progress: Progress) -> CleanedSource:
    """An observation, masked and cleaned."""
    threads = thread_count(config)
    mask, _ = find_mask(obs, config, threads=threads, progress=progress)
    return clean_source(obs, mask, config, threads=threads, progress=progress)


@contextmanager
def dedispersed(
    obs: Observation, config: Config, plan_of: Callable[[Floats], DMPlan], progress: Progress
) -> Iterator[tuple[DMStore, Floats]]:
    """An observation, cleaned and dedispersed by a plan, as long as the context lasts.

    Parameters
    ----------
    config : Config
        Its sections `rfi` and `run` are used.
    plan_of : callable
        Told the channels that are alive [MHz], it makes the plan.

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
    # What does not fit is said before the data are read.
    how = {"threads": thread_count(config), "memory": stage_memory(config, obs)}
    source = _clean(obs, config, progress)
    plan = plan_of(source.freqs)
    with (
        unchanged(obs),
        progress.stage("dedispersion", source.nsamps, "samples") as tick,
        dedisperse(source, plan, **how, progress=tick) as store,
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
        source = _clean(obs, config, progress)
        pulse = {"time": time, "dm": dm, "width": length / WIDTHS}
        # The stretch is no pulse of that width.
        return replace(cut_out(source, pulse, nbands=nbands), width=float("nan")), header


#: Bytes of the stretch from which a burst is cut out: the range of DMs ends there.
_MOST_BYTES = 512 << 20


def origin_of(run: Run, row: Any) -> tuple[list[Path], Config]:
    """The files from which a row is, and the settings of its search, with its mask.

    Parameters
    ----------
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
    ident : str
        Of a single pulse.

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
    matching = rows[rows["id"] == ident]
    if not len(matching):
        names = ", ".join(str(name) for name in rows["id"][:5]) or "there are none"
        raise ConfigError(f"{run.path}: no single pulse {ident!r}; {names}")
    row = values_of(matching[0])
    files, config = origin_of(run, row)
    progress = Progress("quiet") if progress is None else progress
    with opened(files, config) as obs:
        if obs.header.is_series:
            raise ConfigError(f"{files[0]}: a dedispersed series has no dynamic spectrum: {ident} cannot be cut out")
        source = _clean(obs, config, progress)
        freqs = source.freqs
        column = max(1, round(row["width"] / source.tsamp / PER_WIDTH)) * source.tsamp
        span = band_delay(freqs)
        most = 0.5 * _MOST_BYTES / (4 * len(freqs)) * column / span if span > 0 else row["dm"]
        cutout = cut_out(
            source, row, nbands=SIDE, ntime=SIDE, ndms=DMS, per_width=PER_WIDTH, reach=min(row["dm"], most)
        )
        return row, cutout, obs.header


#: Columns and bands.
SIDE: Final = 256
#: DMs.
DMS: Final = 256
_OF_HEADER: Final = ("nchans", "nbits", "tsamp", "tstart", "fch1", "foff", "ra_deg", "dec_deg")
#: Columns in a width of the burst.
PER_WIDTH: Final = 2


def burst_bytes(row: Mapping[str, Any], cutout: PulseCutout, header: Header, name: str) -> bytes:
    """The content of such a file.

    Parameters
    ----------
    row : mapping
        Of single pulses.
    cutout : PulseCutout
        Of SIDE columns and DMS rows, the burst in the middle.
    header : Header
        Of its observation.
    name : str
        Of the file of that.
    """
    spectrum = np.nan_to_num(even_bands(cutout, header))
    known = {key: float(row[key]) if math.isfinite(row[key]) else 0.0 for key in ("dm", "snr", "time", "width")}
    stem = f"tstart_{header.tstart:.12f}_tcand_{known['time']:.7f}_dm_{known['dm']:.5f}_snr_{known['snr']:.5f}"
    attributes: dict[str, Any] = {
        "cand_id": f"cand_{stem}",
        "tcand": known["time"],
        "dm": known["dm"],
        "dm_opt": known["dm"],
        "snr": known["snr"],
        "snr_opt": known["snr"],
        "width": max(1, round(known["width"] / header.tsamp)),
        "dm_low": float(cutout.dms[0]),
        "dm_high": float(cutout.dms[-1]),
        "column_tsamp": cutout.tsamp,
        "basename": printable(name),
        "source_name": printable(header.source),
        "telescope": printable(header.telescope),
        "nspectra": header.nsamps,
        **{key: getattr(header, key) for key in _OF_HEADER},
    }
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs.update(attributes)
        for key, data, axes in (
            ("data_freq_time", spectrum.T, ("time", "frequency")),
            ("data_dm_time", cutout.plane, ("dm", "time")),
        ):
            stored = file.create_dataset(key, data=np.ascontiguousarray(data, dtype=np.float32), compression="gzip")
            for axis, label in enumerate(axes):
                stored.dims[axis].label = label
    return buffer.getvalue()


def even_bands(cutout: PulseCutout, header: Header) -> Float32s:
    """The dynamic spectrum in SIDE equal bands from the first channel on, (SIDE, ntime): 0 where all is masked."""
    low, high = header.edges
    width = (high - low) / SIDE
    freqs = high - width * (np.arange(SIDE) + 0.5)
    nearest = np.argmin(np.abs(freqs[:, None] - cutout.freqs[None, :]), axis=1)
    apart = np.abs(freqs - cutout.freqs[nearest])
    # A band of the cut-out is as wide as the nearest neighbours are apart; half a channel more where some have more.
    steps = np.abs(np.diff(cutout.freqs)) if cutout.freqs.size > 1 else np.array([high - low])
    uneven = bool(np.any(np.abs(steps / header.chan_width - np.rint(steps / header.chan_width)) > 0.01))
    reach = 0.5 * (max(float(steps.min()), width) + header.chan_width * uneven)
    out: Float32s = cutout.spectrum[nearest].copy()
    out[apart > 1.01 * reach] = 0.0
    return out
