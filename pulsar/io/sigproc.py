"""SIGPROC filterbank files: reader and writer."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.data.closing import Writing, closed_on_error
from pulsar.data.header import (
    HIGHEST_FREQ,
    LARGEST_DM,
    LATEST_MJD,
    LONGEST_TSAMP,
    MOST_CHANNELS,
    SHORTEST_TSAMP,
    Header,
)
from pulsar.data.observation import Gap, InputFile
from pulsar.data.text import printable
from pulsar.errors import DataError
from pulsar.io.base import BaseObservation, RawFile, flat_view, spectra_per_piece
from pulsar.io.output import AtomicFile
from pulsar.io.sigproc_header import (
    BYTE_KEYS,
    DOUBLE_KEYS,
    INT_KEYS,
    MAX_HEADER,
    STRING_KEYS,
    TELESCOPES,
    RawHeader,
    parse_header,
    position,
    write_header,
)

DEPTHS = (1, 2, 4, 8, 16, 32)


def sigproc_dtype(nbits: int, npol: int) -> np.dtype[Any]:
    """Type that holds the sum of `npol` (1 or 2) samples of `nbits`."""
    if nbits == 32 or (nbits == 16 and npol == 2):
        return np.dtype(np.float32)
    if nbits == 16 or (nbits == 8 and npol == 2):
        return np.dtype(np.uint16)
    return np.dtype(np.uint8)


class SigprocReader(BaseObservation):
    """A SIGPROC filterbank file.

    One IF is read as it is; of two or more the first two, AA and BB, are summed. Signed 8 bit samples are
    shifted by 128 into uint8. Without the override `signed` 8 bit samples are unsigned, whatever the key says.

    Parameters
    ----------
    path : Path
    signed : bool, optional
        8 bit samples are two's complement.

    Raises
    ------
    DataError
        The header is damaged or describes what cannot be read, or there are no samples.
    """

    def __init__(self, path: Path, *, signed: bool | None = None) -> None:
        self._file = RawFile(path)
        with closed_on_error(self._file):
            raw = parse_header(self._file.read(0, min(self._file.size, MAX_HEADER)).tobytes(), path)
            self._set_up(path, raw, signed)

    def _set_up(self, path: Path, raw: RawHeader, signed: bool | None) -> None:
        values, problems = raw.values, list(raw.problems)
        nchans, nbits, tsamp, nifs = required(path, values)
        freqs, foff = channels(path, raw, nchans)
        self._reverse = bool(nchans > 1 and freqs[0] < freqs[-1])
        if self._reverse:
            freqs = freqs[::-1]
        if nchans > 1 and not np.all(np.diff(freqs) < 0):
            raise DataError(f"{path}: FREQUENCY table: the frequencies neither rise nor fall throughout")
        if (nchans * nbits) % 8:
            raise DataError(
                f"{path}: nchans {nchans} of {nbits} bit do not fill whole bytes: such files have no agreed layout; "
                "write it with a number of channels that is a multiple of 8"
            )
        self._offset = raw.size
        self._nbits, self._nchans = nbits, nchans
        self._row_bytes = nifs * nchans * nbits // 8
        self._pol_bytes = nchans * nbits // 8
        self._npol = min(nifs, 2)
        if nifs > 2:
            problems.append(f"{nifs} IFs: the first two, taken as AA and BB, are summed and the others ignored")
        nsamps = samples_held(self._file, raw, "spectrum", self._row_bytes, problems)
        flag = bool(values.get("signed", 0))
        if flag and signed is None and nbits == 8:
            problems.append(
                "the key `signed` is set: samples are read as unsigned all the same, as most writers mean it; "
                "set input.signed = true if the bandpass wraps around"
            )
        self._xor = 0x80 if signed and nbits == 8 else 0
        self.dtype = sigproc_dtype(nbits, self._npol)
        self._piece = spectra_per_piece(self._row_bytes)
        table = None
        if raw.table:
            table = tuple(float(f) for f in freqs)
        self.header = common_header(
            values,
            problems,
            nchans=nchans,
            nsamps=nsamps,
            tsamp=tsamp,
            fch1=float(freqs[0]),
            foff=-abs(foff),
            freq_table=table,
            nbits=nbits,
            nifs=nifs,
            format="SIGPROC filterbank",
        )
        self.files = (InputFile.opened(path, nsamps, self._file.state, promised(raw, nsamps)),)
        self.gaps: tuple[Gap, ...] = ()
        self.chan_ok = np.ones(nchans, dtype=np.bool_)
        self.problems = tuple(problems)

    def _fill(self, start: int, out: NDArray[Any]) -> None:
        from pulsar_kernels.unpack import transpose, unpack

        flat, stride = flat_view(out)
        n = out.shape[1]
        second = self._pol_bytes if self._npol == 2 else 0
        for at in range(0, n, self._piece):
            m = min(self._piece, n - at)
            raw = self._file.read(self._offset + (start + at) * self._row_bytes, m * self._row_bytes)
            if self._nbits <= 8:
                unpack(
                    raw, m, self._row_bytes, self._pol_bytes, second, self._nbits, True, self._xor,
                    flat[at:], stride, self._reverse,
                )  # fmt: skip
            else:
                width = self._nbits // 8
                wide = raw.view(np.dtype("<u2" if width == 2 else "<f4"))
                transpose(
                    wide, m, self._row_bytes // width, self._nchans, second // width, flat[at:], stride, self._reverse
                )

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def check_types(path: Path, values: dict[str, Any]) -> None:
    """Refuse keys of another type than SIGPROC's own, as attributes of an HDF5 file may be.

    Raises
    ------
    DataError
        Naming the key.
    """
    for key, value in values.items():
        if key in STRING_KEYS:
            values[key] = printable(str(value))
        elif key in INT_KEYS | DOUBLE_KEYS | BYTE_KEYS:
            if not isinstance(value, bool | int | float):
                raise DataError(f"{path}: key {key}: expected a number, found {printable(repr(value))[:80]}")
            if key not in DOUBLE_KEYS and not (abs(value) < 1 << 63 and value == int(value)):
                raise DataError(f"{path}: key {key}: expected a whole number, found {value}")


def required(path: Path, values: dict[str, Any]) -> tuple[int, int, float, int]:
    """nchans, nbits, tsamp [s] and nifs of a SIGPROC header, checked."""
    for key in ("nchans", "nbits", "tsamp"):
        if key not in values:
            raise DataError(f"{path}: the SIGPROC header lacks the key {key}: the samples cannot be read without it")
    nchans, nbits, tsamp, nifs = values["nchans"], values["nbits"], values["tsamp"], values.get("nifs", 1)
    if nchans < 1 or nchans > MOST_CHANNELS:
        raise DataError(f"{path}: key nchans: expected 1 to {MOST_CHANNELS} channels, found {nchans}")
    if nbits not in DEPTHS:
        raise DataError(f"{path}: key nbits: expected one of {DEPTHS}, found {nbits}")
    if not SHORTEST_TSAMP <= tsamp <= LONGEST_TSAMP:
        raise DataError(
            f"{path}: key tsamp: expected a positive number of seconds, found {tsamp:g}: correct the header"
        )
    if nifs not in (0, 1, 2, 3, 4):
        raise DataError(f"{path}: key nifs: expected 1, 2 or 4 polarisations, found {nifs}")
    return int(nchans), int(nbits), float(tsamp), max(1, int(nifs))


def samples_held(file: RawFile, raw: RawHeader, what: str, nbytes: int, problems: list[str]) -> int:
    """Complete spectra, or samples of a series, of `nbytes` each after the header: the file decides, not the header.

    Raises
    ------
    DataError
        There is none.
    """
    nsamps, rest = divmod(file.size - raw.size, nbytes)
    if nsamps < 1:
        raise DataError(
            f"{file.path}: holds no complete {what}: the header ends at byte {raw.size}, the file at {file.size}, "
            f"a {what} takes {nbytes} bytes"
        )
    if rest:
        problems.append(f"the last {rest} bytes are not a whole {what} of {nbytes}: ignored")
    stated = int(raw.values.get("nsamples", 0))
    if stated > 0 and stated != nsamps:
        problems.append(f"nsamples says {stated} samples, the file holds {nsamps}: the file decides")
    return nsamps


def promised(raw: RawHeader, nsamps: int) -> int:
    """Samples that a header tells of where the file holds fewer."""
    stated = int(raw.values.get("nsamples", 0))
    return stated if stated > nsamps else 0


def channels(path: Path, raw: RawHeader, nchans: int) -> tuple[NDArray[np.float64], float]:
    """Channel centres [MHz] in the order of the file, and the step between them (mean of a table)."""
    if raw.table:
        if len(raw.table) != nchans:
            raise DataError(
                f"{path}: the FREQUENCY table has {len(raw.table)} entries for {nchans} channels: correct the header"
            )
        freqs: NDArray[Any] = np.array(raw.table, dtype=np.float64)
        foff = (freqs[-1] - freqs[0]) / max(1, nchans - 1) if nchans > 1 else float(raw.values.get("foff", -1.0))
    else:
        for key in ("fch1", "foff"):
            if key not in raw.values:
                raise DataError(f"{path}: the SIGPROC header lacks the key {key}: the channel frequencies are unknown")
        foff = float(raw.values["foff"])
        with np.errstate(over="ignore", invalid="ignore"):
            freqs = float(raw.values["fch1"]) + foff * np.arange(nchans)
    if nchans > 1 and not (math.isfinite(foff) and foff != 0):
        raise DataError(f"{path}: key foff: expected a channel step in MHz that is not zero, found {foff:g}")
    if not np.all((freqs > 0) & (freqs <= HIGHEST_FREQ)) or not abs(foff) <= HIGHEST_FREQ:
        raise DataError(
            f"{path}: keys fch1, foff: {nchans} channels from {freqs[0]:g} MHz in steps of {foff:g} MHz "
            "reach frequencies that are not positive, or none of radio's: correct the header (both are in MHz)"
        )
    return freqs, float(foff)


def common_header(values: dict[str, Any], problems: list[str], **fields: Any) -> Header:
    """Header from the keys that filterbank and series files share; `fields` are the caller's."""
    ra, dec = position(values, problems)
    number = values.get("telescope_id")
    tstart = float(values.get("tstart", math.nan))
    if not 0 < tstart <= LATEST_MJD:
        problems.append("tstart is missing or not a date: the epoch is unknown")
        tstart = math.nan
    beam = int(values.get("ibeam", 0))
    nbeams = int(values.get("nbeams", 0))
    return Header(
        tstart=tstart,
        dm=known_dm(float(fields.pop("dm", values.get("refdm", 0.0))), problems),
        source=printable(str(values.get("source_name", ""))),
        telescope=TELESCOPES.get(number, "") if number is not None else "",
        telescope_id=number,
        machine=printable(str(values["machine_id"])) if "machine_id" in values else "",
        beam=beam if beam >= 1 else None,
        nbeams=nbeams if nbeams >= 1 else None,
        ra_deg=ra,
        dec_deg=dec,
        az_deg=known_angle(values.get("az_start", math.nan)),
        za_deg=known_angle(values.get("za_start", math.nan)),
        barycentric=bool(values.get("barycentric", 0)),
        pulsarcentric=bool(values.get("pulsarcentric", 0)),
        **fields,
    )


def known_angle(value: float) -> float:
    """An azimuth or zenith angle [deg]; NaN where it is none."""
    return float(value) if abs(value) <= 1e3 else math.nan


def known_dm(dm: float, problems: list[str]) -> float:
    """The DM of a header; 0, with a word in `problems`, where it is none."""
    if 0 <= dm <= LARGEST_DM:
        return dm
    problems.append(f"the DM in the header is {dm:g}, which is none: taken as 0")
    return 0.0


def quantise(data: NDArray[Any], nbits: int, signed: bool = False) -> NDArray[Any]:
    """Round and clip to unsigned codes of `nbits` (int8 or int16 with `signed`); float32 for 32 bit."""
    if nbits == 32:
        return np.ascontiguousarray(data, dtype=np.float32)
    low, high = (-(1 << (nbits - 1)), (1 << (nbits - 1)) - 1) if signed else (0, (1 << nbits) - 1)
    kind = f"{'i' if signed else 'u'}{2 if nbits == 16 else 1}"
    if data.dtype.kind == "f":
        # NaN has no code: the lowest stands for it.
        data = np.rint(np.nan_to_num(data, nan=low, posinf=high, neginf=low))
    codes: NDArray[Any] = np.clip(data, low, high).astype(kind)
    return codes


class FilterbankWriter(Writing):
    """Writes a SIGPROC filterbank file (a context manager).

    The file appears under its name when the block ends without an error.

    Parameters
    ----------
    path : path
    header : Header
        In the program's order (channel 0 the highest); nsamps is not used.
    nbits : int
        1, 2, 4, 8, 16 or 32 (float).
    ascending : bool
        Write the lowest frequency first (positive foff).
    nifs : int
        Each IF gets the same samples when `write` is given one; shape (nifs, nchans, n) is written as it is.
    signed : bool
        Write two's complement and the key `signed` (8 and 16 bit).
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        header: Header,
        *,
        nbits: int = 8,
        ascending: bool = False,
        nifs: int = 1,
        signed: bool = False,
    ) -> None:
        if nbits not in DEPTHS:
            raise ValueError(f"nbits must be one of {DEPTHS}, not {nbits}")
        if (header.nchans * nbits) % 8 and nbits < 8:
            raise ValueError(f"{header.nchans} channels of {nbits} bit do not fill whole bytes")
        if signed and nbits not in (8, 16):
            raise ValueError(f"signed samples have 8 or 16 bit, not {nbits}")
        self.path = Path(path)
        self.header = header
        self.nsamps = 0
        self._nbits, self._ascending, self._nifs, self._signed = nbits, ascending, nifs, signed
        self._file = AtomicFile(self.path)
        self._file.stream.write(
            write_header(header, nbits=nbits, nifs=nifs, ascending=ascending, signed=signed, source=header.source)
        )

    def write(self, data: NDArray[Any]) -> None:
        """Append samples: shape (nchans, n) or (nifs, nchans, n), any real type; rounded and clipped to the depth."""
        if data.ndim == 2:
            data = np.broadcast_to(data, (self._nifs, *data.shape))
        if data.shape[:2] != (self._nifs, self.header.nchans):
            raise ValueError(
                f"write needs ({self.header.nchans}, n) or ({self._nifs}, {self.header.nchans}, n), not {data.shape}"
            )
        if self._ascending:
            data = data[:, ::-1]
        codes = np.ascontiguousarray(np.moveaxis(quantise(data, self._nbits, self._signed), 2, 0))
        if self._nbits < 8:
            from pulsar_kernels.unpack import pack

            packed = np.empty(codes.size * self._nbits // 8, dtype=np.uint8)
            pack(codes.reshape(-1), self._nbits, True, packed)
            codes = packed
        elif self._nbits > 8:
            codes = codes.astype(codes.dtype.newbyteorder("<"), copy=False)
        self._file.stream.write(np.ascontiguousarray(codes).reshape(-1).view(np.uint8).data)
        self.nsamps += data.shape[2]

    def close(self) -> None:
        """Finish the file and give it its name; a second call does nothing."""
        if not self._file.stream.closed:
            self._file.commit()

    def abort(self) -> None:
        """Delete what was written."""
        if not self._file.stream.closed:
            self._file.discard()
