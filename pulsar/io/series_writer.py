"""Writing of dedispersed series: PRESTO's ``.dat`` with ``.inf``, SIGPROC's ``.tim``, and numpy's ``.npy``."""

import io
import math
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pulsar.data.direction import dms, hms
from pulsar.data.header import Header
from pulsar.data.text import printable
from pulsar.errors import ConfigError
from pulsar.io.output import AtomicFile
from pulsar.io.sigproc_header import write_header

#: Endings of the files of a series -> what they are.
SERIES_FORMS: Final = {".dat": "PRESTO", ".tim": "SIGPROC", ".npy": "numpy"}


def series_paths(path: Path) -> tuple[Path, ...]:
    """All files that a series of that name is written to.

    Raises
    ------
    ConfigError
        Its ending is none that is known.
    """
    if path.suffix not in SERIES_FORMS:
        raise ConfigError(f"{path}: the ending tells the format of a series: expected {', '.join(SERIES_FORMS)}")
    return (path, path.with_suffix(".inf")) if path.suffix == ".dat" else (path,)


def write_series(path: Path, data: NDArray[np.float32], header: Header, dm: float) -> None:
    """Write a series; what it is of goes into its header, or the ``.inf`` beside a ``.dat``.

    Parameters
    ----------
    path : Path
    data : ndarray of float32, shape (nsamps,)
    header : Header
        Of the observation: place, start, band; its `tsamp` is that of the series.
    dm : float
        DM of the series [pc cm^-3].

    Raises
    ------
    ConfigError
        The ending is none that is known.
    PulsarError
        It cannot be written.
    """
    own, *beside = series_paths(path)
    flat = np.ascontiguousarray(data, dtype=np.float32)
    if own.suffix == ".tim":
        one = header.with_(
            nchans=1, nsamps=len(flat), foff=-header.bandwidth, freq_table=None, dm=dm, is_series=True, nifs=1
        )
        start = write_header(one, nbits=32, nifs=1, ascending=False, signed=False, source=header.source)
    elif own.suffix == ".npy":
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, np.lib.format.header_data_from_array_1_0(flat))
        start = buffer.getvalue()
    else:
        start = b""
    for name in beside:
        _write(name, inf_text(path.stem, header, len(flat), dm).encode("latin-1", "replace"))
    _write(own, start, flat)


def _write(path: Path, start: bytes, data: NDArray[np.float32] | None = None) -> None:
    file = AtomicFile(path)
    try:
        file.stream.write(start)
        if data is not None:
            file.stream.write(data.data)
        file.commit()
    except BaseException:
        file.discard()
        raise


def inf_text(name: str, header: Header, nsamps: int, dm: float) -> str:
    """The text of the ``.inf`` of a series, one fact a line (PRESTO's manual; :func:`pulsar.io.timeseries.parse_inf`).

    Parameters
    ----------
    name : str
        Of the ``.dat``, without its ending.
    header : Header
    nsamps : int
        Samples of the series.
    dm : float
        [pc cm^-3]
    """

    def known(text: str) -> str:
        return printable(text).strip() or "Unknown"

    tstart = header.tstart if math.isfinite(header.tstart) else 0.0
    facts = [
        ("Data file name without suffix", known(name)),
        ("Telescope used", known(header.telescope)),
        ("Instrument used", known(header.machine)),
        ("Object being observed", known(header.source)),
        ("J2000 Right Ascension (hh:mm:ss.ssss)", hms(header.ra_deg, 4) or "00:00:00.0000"),
        ("J2000 Declination     (dd:mm:ss.ssss)", dms(header.dec_deg, 4) or "00:00:00.0000"),
        ("Data observed by", "Unknown"),
        ("Epoch of observation (MJD)", f"{tstart:.15f}"),
        ("Barycentered?           (1 yes, 0 no)", f"{int(header.barycentric)}"),
        ("Number of bins in the time series", f"{nsamps}"),
        ("Width of each time series bin (sec)", f"{header.tsamp:.15g}"),
        ("Any breaks in the data? (1 yes, 0 no)", "0"),
        ("Type of observation (EM band)", "Radio"),
        ("Beam diameter (arcsec)", "0"),
        ("Dispersion measure (cm-3 pc)", f"{dm:.12g}"),
        ("Central freq of low channel (MHz)", f"{float(header.freqs[-1]):.12g}"),
        ("Total bandwidth (MHz)", f"{header.bandwidth:.12g}"),
        ("Number of channels", f"{header.nchans}"),
        ("Channel bandwidth (MHz)", f"{header.chan_width:.12g}"),
        ("Data analyzed by", "pulsar-search"),
    ]
    lines = [f" {key:<39}=  {value}" for key, value in facts]
    return "\n".join([*lines, " Any additional notes:", ""]) + "\n"
