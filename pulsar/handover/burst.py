"""Bursts in the HDF5 form that classifiers of bursts read (FETCH and what follows it).

Facts of the form, as its readers use it: ``data_freq_time`` is (time, frequency), dedispersed, in the order of the
channels of the header; ``data_dm_time`` is (DM, time) from 0 to twice the DM; both are 256 x 256 with the burst in the
middle, columns of half its width; attributes tell the candidate (`width` in samples) and the header of the observation.
"""

import io
import math
from collections.abc import Mapping
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from pulsar.data.header import Header
from pulsar.data.pulse import PulseCutout
from pulsar.data.text import printable

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


def even_bands(cutout: PulseCutout, header: Header) -> NDArray[np.float32]:
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
    out: NDArray[np.float32] = cutout.spectrum[nearest].copy()
    out[apart > 1.01 * reach] = 0.0
    return out
