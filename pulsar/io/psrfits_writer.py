"""PSRFITS search-mode writer with the layout of FAST's 19-beam files."""

import math
import os
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from pulsar.constants import DAY
from pulsar.data.direction import dms, hms
from pulsar.data.files import Writing
from pulsar.data.header import Header
from pulsar.data.text import ascii_only
from pulsar.io.base import AtomicFile, encoded
from pulsar_kernels.arrays import Array

POL_TYPES: Final = {1: "AA+BB", 2: "AABB", 4: "AABBCRCI"}
_DOUBLES: Final = ("TSUBINT", "OFFS_SUB", "LST_SUB", "RA_SUB", "DEC_SUB", "GLON_SUB", "GLAT_SUB")
_FLOATS: Final = ("FD_ANG", "POS_ANG", "PAR_ANG", "TEL_AZ", "TEL_ZEN")
_UNITS: Final = dict.fromkeys(_DOUBLES[:3], "s") | dict.fromkeys((*_DOUBLES[3:], *_FLOATS), "deg") | {"DAT_FREQ": "MHz"}


class PsrfitsWriter(Writing):
    """Writes one PSRFITS file, or several of `rows_per_file` rows each (a context manager).

    Files appear under their names when the block ends without an error. An incomplete last row is padded with
    zero bytes, as recording systems do; the reader leaves such padding out.

    Parameters
    ----------
    path : path
        Of the file; with `rows_per_file` ``name.fits`` stands for ``name_0001.fits``, ``name_0002.fits``, …
    header : Header
        In the program's order (channel 0 the highest); nsamps is not used.
    nbits : int
        1, 2, 4, 8, 16 (signed) or 32 (float).
    npol : int
        1, 2 or 4.
    pol_type : str, optional
        Default by npol: AA+BB, AABB, AABBCRCI.
    nsblk : int
        Samples in a row.
    ascending : bool
        Lowest frequency first, as FAST writes.
    rows_per_file : int, optional
        Begin a new file after so many rows.
    dat_scl, dat_offs : array_like, optional
        Scale and offset, broadcast to (npol, nchans), in the program's order. What is written are then physical
        values, of which the samples are made: raw = (x / weight - offset) / scale.
    weights : array_like, optional
        Channel weights, shape (nchans,), in the program's order.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        header: Header,
        *,
        nbits: int = 8,
        npol: int = 1,
        pol_type: str | None = None,
        nsblk: int = 1024,
        ascending: bool = True,
        rows_per_file: int | None = None,
        dat_scl: ArrayLike | None = None,
        dat_offs: ArrayLike | None = None,
        weights: ArrayLike | None = None,
    ) -> None:
        # Many arguments: keys of the header, by name, each with its default.
        n = header.nchans
        if nsblk < 1 or (rows_per_file is not None and rows_per_file < 1):
            raise ValueError("nsblk and rows_per_file must be at least 1")
        self.header = header
        self.nsamps = 0
        self._path = Path(path)
        self._nbits, self._npol, self._nsblk = nbits, npol, nsblk
        self._pol_type = pol_type or POL_TYPES[npol]
        self._ascending, self._rows_per_file = ascending, rows_per_file
        self._scale = np.broadcast_to(np.asarray(1.0 if dat_scl is None else dat_scl, dtype=np.float32), (npol, n))
        self._offs = np.broadcast_to(np.asarray(0.0 if dat_offs is None else dat_offs, dtype=np.float32), (npol, n))
        self._weights = np.broadcast_to(np.asarray(1.0 if weights is None else weights, dtype=np.float32), (n,))
        self._scaled = any(given is not None for given in (dat_scl, dat_offs, weights))
        self._trow = nsblk * header.tsamp
        self._pending = np.empty((npol, n, nsblk), dtype=np.float32 if nbits == 32 or self._scaled else np.int32)
        self._used = 0
        self._first_row = 0  # the row of the observation at which the current file starts
        self._rows = 0  # rows in the current file
        self._files: list[AtomicFile] = []
        self._closed = False
        self._prefix_fixed = self._row_constants()
        self._open_file()

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, in order of time."""
        return tuple(file.path for file in self._files)

    def write(self, data: Array) -> None:
        """Append samples: shape (nchans, n) or (npol, nchans, n), any real type; rounded and clipped to the depth.

        Given one polarisation, AA and BB both get it; of IQUV only I does; cross terms are 0.
        """
        n = self.header.nchans
        if data.ndim == 2 and self._npol > 1:
            full = np.zeros((self._npol, *data.shape), dtype=data.dtype)
            full[: 1 if self._pol_type.upper().startswith("I") else 2] = data
            data = full
        elif data.ndim == 2:
            data = data[None]
        if data.ndim != 3 or data.shape[:2] != (self._npol, n):
            raise ValueError(f"write needs ({n}, n) or ({self._npol}, {n}, n), not {data.shape}")
        at, total = 0, data.shape[2]
        while at < total:
            m = min(total - at, self._nsblk - self._used)
            piece = data[:, :, at : at + m]
            if self._pending.dtype.kind == "i" and piece.dtype.kind == "f":
                piece = np.rint(np.clip(np.nan_to_num(piece), -2e9, 2e9))
            self._pending[:, :, self._used : self._used + m] = piece
            self._used += m
            at += m
            if self._used == self._nsblk:
                self._flush()
        self.nsamps += total

    def _codes(self, data: Array) -> memoryview:
        """One row of samples, shape (npol, nchans, n), as the bytes of DATA."""
        if self._scaled:
            weights = np.where(self._weights == 0, 1.0, self._weights)[None, :, None]
            with np.errstate(divide="ignore", invalid="ignore"):
                data = (data / weights - self._offs[:, :, None]) / self._scale[:, :, None]
            data = np.nan_to_num(data, posinf=0.0, neginf=0.0)
        if self._ascending:
            data = data[:, ::-1]
        return encoded(data, self._nbits, signed=self._nbits == 16, big=True)

    def _row_constants(self) -> bytes:
        order = slice(None, None, -1) if self._ascending else slice(None)
        floats = [values[..., order].astype(">f4").tobytes() for values in (self._weights, self._offs, self._scale)]
        return b"".join([self.header.freqs[order].astype(">f8").tobytes(), *floats])

    def _flush(self, samples: int | None = None) -> None:
        """Write the pending row, of which `samples` (default: all) are data and the rest padding."""
        if self._rows == self._rows_per_file:
            self._end_file()
            self._first_row += self._rows
            self._open_file()
        header, middle = self.header, (self._rows + 0.5) * self._trow
        place = (_zero(header.ra_deg), _zero(header.dec_deg))
        doubles = np.array([self._trow, middle, 0.0, *place, 0.0, 0.0], ">f8")
        floats = np.array([0.0, 0.0, 0.0, _zero(header.az_deg), _zero(header.za_deg)], ">f4")
        used = self._nsblk if samples is None else samples
        data = self._codes(self._pending[:, :, :used])
        stream = self._files[-1].stream
        stream.write(doubles.tobytes() + floats.tobytes() + self._prefix_fixed)
        stream.write(data)
        stream.write(b"\0" * (self._data_bytes - len(data)))
        self._rows += 1
        self._used = 0

    @property
    def _data_bytes(self) -> int:
        return self._npol * self.header.nchans * self._nsblk * self._nbits // 8

    def _open_file(self) -> None:
        path = self._path
        if self._rows_per_file is not None:
            path = path.with_name(f"{path.stem}_{len(self._files) + 1:04d}{path.suffix or '.fits'}")
        self._rows = 0
        self._files.append(AtomicFile(path))
        self._files[-1].stream.write(self._headers(0))

    def _end_file(self) -> None:
        stream = self._files[-1].stream
        size = stream.tell()
        stream.write(b"\0" * (-size % 2880))
        stream.seek(0)
        stream.write(self._headers(self._rows))
        stream.flush()

    def _headers(self, nrows: int) -> bytes:
        from astropy.io import fits

        h, n, npol = self.header, self.header.nchans, self._npol
        day, seconds = _split(h.tstart, self._first_row * self._trow)
        step = -h.foff if self._ascending else h.foff
        own = {"HDRVER": "5.4", "OBS_MODE": "SEARCH", "OBSBW": step * n, "CHAN_DM": h.dm, "SRC_NAME": h.source}
        first = [("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True)]
        cards = [*first, *primary_cards(h, day, seconds, NRCVR=2, DEC=dms(h.dec_deg, 4).removeprefix("+"), **own)]
        if h.beam is not None:
            cards.append(("IBEAM", h.beam))
        forms = dict.fromkeys(_DOUBLES, "1D") | dict.fromkeys(_FLOATS, "1E")
        forms |= {"DAT_FREQ": f"{n}D", "DAT_WTS": f"{n}E", "DAT_OFFS": f"{n * npol}E", "DAT_SCL": f"{n * npol}E"}
        code, size = {16: ("I", 2), 32: ("E", 4)}.get(self._nbits, ("B", 1))
        forms["DATA"] = f"{self._data_bytes // size}{code}"
        row_bytes = 8 * len(_DOUBLES) + 4 * len(_FLOATS) + len(self._prefix_fixed) + self._data_bytes
        table: list[tuple[str, Any]] = [
            ("XTENSION", "BINTABLE"), ("BITPIX", 8), ("NAXIS", 2), ("NAXIS1", row_bytes), ("NAXIS2", nrows),
            ("PCOUNT", 0), ("GCOUNT", 1), ("TFIELDS", len(forms)),
        ]  # fmt: skip
        for number, (name, form) in enumerate(forms.items(), 1):
            table += [(f"TTYPE{number}", name), (f"TFORM{number}", form)]
            if name in _UNITS:
                table.append((f"TUNIT{number}", _UNITS[name]))
        stretch = max(1, 8 // self._nbits)
        table += [
            (f"TDIM{len(forms)}", f"(1,{n},{npol},{self._nsblk // stretch})"),
            ("INT_TYPE", "TIME"), ("INT_UNIT", "SEC"), ("SCALE", "FluxDen"), ("NPOL", npol),
            ("POL_TYPE", self._pol_type), ("TBIN", h.tsamp), ("NBIN", 1),
            ("NBITS", self._nbits), ("ZERO_OFF", 0.0), ("SIGNINT", 0),
            ("NSUBOFFS", 0), ("NCHAN", n), ("CHAN_BW", step),
            ("NCHNOFFS", 0), ("NSBLK", self._nsblk), ("EXTNAME", "SUBINT"),
        ]  # fmt: skip
        return b"".join(fits.Header(part).tostring().encode("ascii") for part in (cards, table))

    def close(self) -> None:
        """Finish the last row and give all files their names; a second call does nothing."""
        if self._closed:
            return
        if self._used:
            self._flush(self._used)
        self._end_file()
        self._closed = True
        for file in self._files:
            file.close()

    def abort(self) -> None:
        """Delete what was written."""
        if not self._closed:
            self._closed = True
            for file in self._files:
                file.abort()


def primary_cards(h: Header, day: int, seconds: float, **own: Any) -> list[tuple[str, Any]]:
    """Keys and values of the primary header of PSRFITS.

    Parameters
    ----------
    h : Header
        Of the observation.
    day, seconds : int, float
        Start, MJD (UTC) and seconds of that day.
    **own
        What searches and folds have different.
    """
    cards: dict[str, Any] = {
        "HDRVER": "", "FITSTYPE": "PSRFITS", "OBSERVER": "", "PROJID": "", "TELESCOP": h.telescope, "FRONTEND": "",
        "BACKEND": h.machine, "BE_DELAY": 0.0, "OBS_MODE": "", "OBSFREQ": h.fcenter, "OBSBW": h.bandwidth,
        "OBSNCHAN": h.nchans, "CHAN_DM": 0.0, "SRC_NAME": "", "COORD_MD": "J2000", "EQUINOX": 2000.0,
        "RA": hms(h.ra_deg, 4), "DEC": dms(h.dec_deg, 4), "TRK_MODE": "TRACK", "CAL_MODE": "OFF",
        "STT_IMJD": day, "STT_SMJD": int(seconds), "STT_OFFS": seconds - int(seconds),
    }  # fmt: skip
    return [(key, card_value(value)) for key, value in (cards | own).items()]


def card_value(value: Any) -> Any:
    """A value as a header of FITS takes it: plain letters, and no number that is none."""
    if isinstance(value, str):
        return ascii_only(value)
    return value if math.isfinite(value) else 0.0


def _zero(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _split(tstart: float, offset: float) -> tuple[int, float]:
    """Day and second of an MJD plus `offset` seconds."""
    if not math.isfinite(tstart):
        return 0, offset
    day = math.floor(tstart)
    # A tenth of a microsecond is what an MJD in a double holds: seconds that are whole stay whole.
    seconds = round((tstart - day) * DAY, 7) + offset
    return day + int(seconds // DAY), seconds % DAY
