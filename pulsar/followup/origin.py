"""Data of a row for other programs, from the files of its observation: its series at a DM, a burst in full."""

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from pulsar.config.model import Config, RunConfig
from pulsar.data.candidate import values_of
from pulsar.data.fold import PulseCutout
from pulsar.data.header import Header, band_delay
from pulsar.data.text import printable
from pulsar.errors import ConfigError, DataError
from pulsar.io.product.provenance import settings_of
from pulsar.io.product.reader import Run, read
from pulsar.pipeline.cleaning import clean_source, find_mask
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.room import thread_count
from pulsar.pipeline.start import opened
from pulsar.searches.pulses import cut_out
from pulsar_kernels.arrays import Float32s

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
    row = values_of(found[0])
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
    """The dynamic spectrum in SIDE equal bands from the first channel on, shape (SIDE, ntime): 0 where all is masked.

    Parameters
    ----------
    cutout : PulseCutout
    header : Header
    """
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
