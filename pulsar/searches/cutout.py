"""What the data hold around a pulse: its dynamic spectrum, and how it fades away from its DM."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pulsar.constants import KDM
from pulsar.data.pulse import PulseCutout
from pulsar.data.source import SIGMA_LEVELS, SampleSource
from pulsar.errors import DataError

#: Elements in a width of the pulse.
PER_WIDTH = 8
#: Smearing at the ends of the DM axis, in widths.
DM_WIDTHS = 12.0
#: Bytes of the data read at once.
PIECE_BYTES = 16 << 20


def cut_out(
    source: SampleSource,
    pulse: Mapping[str, Any] | np.void,
    *,
    nbands: int = 64,
    ntime: int = 256,
    ndms: int = 65,
    per_width: int = PER_WIDTH,
    reach: float | None = None,
) -> PulseCutout:
    """Read what surrounds a pulse, 32 widths of it, and its DM by as much as smears it over 12 widths, or as asked.

    Parameters
    ----------
    source : SampleSource
        Cleaned samples; only the sweep of the pulse is read, a piece at a time.
    pulse : mapping or row
        With `time` [s], `dm` [pc cm^-3] and `width` [s], such as a row of the single pulses.
    nbands : int
        Bands of the dynamic spectrum; no more than there are channels.
    ntime : int
        Columns.
    ndms : int
        Rows of the DM-time plane; the middle one is the DM of the pulse.
    per_width : int
        Columns in a width of the pulse.
    reach : float, optional
        Half the range of DMs [pc cm^-3].

    Returns
    -------
    PulseCutout

    Raises
    ------
    DataError
        If the source has no channel.
    """
    from pulsar_kernels.shear import shear_add, shifted_sums

    nchans = len(source.freqs)
    if nchans == 0:
        raise DataError("no channel is left to cut a pulse out of: relax [rfi] zap or chan_sigma")
    dm, time, width = (float(pulse[name]) for name in ("dm", "time", "width"))
    tsamp = source.tsamp
    factor = max(1, round(width / tsamp / per_width))
    column = factor * tsamp
    # Seconds of delay per unit of DM, after fref.
    delay = KDM * (np.asarray(source.freqs, dtype=np.float64) ** -2.0 - source.fref**-2.0)
    span = float(delay.max() - delay.min())
    if reach is None:
        reach = DM_WIDTHS * max(width, tsamp) / span if span > 0 else 0.0
    offsets = np.linspace(-reach, reach, ndms) if ndms > 1 else np.zeros(1)
    # Shifts in columns; rounding them costs what a column is to the width.
    shifts = np.rint(np.outer(offsets, delay) / column).astype(np.int64)
    before, after = -int(shifts.min()), int(shifts.max())
    ncols = before + ntime + after
    first = round(time / tsamp - 0.5 * ntime * factor)
    origin = first - before * factor
    delays = np.rint(dm * delay / tsamp).astype(np.int64)
    window = np.zeros((nchans, ncols), dtype=np.float32)
    lo = max(origin + int(delays.min()), 0)
    hi = min(origin + ncols * factor + int(delays.max()), source.nsamps)
    step = max(PIECE_BYTES // nchans, 64)
    piece = np.empty((nchans, step), dtype=np.int8)
    for at in range(lo, hi, step):
        part = piece[:, : min(step, hi - at)]
        source.read_into(at, part)
        shear_add(part, at, delays, origin, factor, window)
    plane = np.empty((ndms, ntime), dtype=np.float32)
    shifted_sums(window, shifts, before, plane)
    plane *= np.float32(1.0 / (SIGMA_LEVELS * np.sqrt(nchans * factor)))

    nbands = min(nbands, nchans)
    edges = np.linspace(0, nchans, nbands + 1).round().astype(int)
    counts = np.diff(edges)
    spectrum = np.add.reduceat(window[:, before : before + ntime], edges[:-1], axis=0)
    spectrum *= (1.0 / (SIGMA_LEVELS * np.sqrt(counts * factor)))[:, None].astype(np.float32)
    freqs = np.add.reduceat(np.asarray(source.freqs, dtype=np.float64), edges[:-1]) / counts
    # Columns of a band that lie before the data or after them.
    middle = np.add.reduceat(delays, edges[:-1]) / counts
    place = first + (np.arange(ntime) + 0.5)[None, :] * factor + middle[:, None]
    spectrum[(place < 0) | (place >= source.nsamps)] = np.nan
    return PulseCutout(
        spectrum=spectrum,
        freqs=freqs,
        plane=plane,
        dms=dm + offsets,
        dm=dm,
        time=time,
        width=width,
        start=first * tsamp,
        tsamp=column,
        tstart=source.tstart,
        fref=source.fref,
    )
