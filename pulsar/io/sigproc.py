"""SIGPROC filterbank files: header, reader, writer.

Layout of a header: each text is an int32 length and its bytes; HEADER_START, then keys with their values, HEADER_END;
numbers are little-endian int32 or double as the key says (https://sigproc.sourceforge.net, "filterbank file format").
"""

import contextlib
import math
import os
import struct
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from pulsar.data.files import Numbers, closed_on_error
from pulsar.data.header import HIGHEST_FREQ, LARGEST_DM, LATEST_MJD, MOST_CHANNELS, Header, is_tsamp
from pulsar.data.observation import Observation
from pulsar.data.text import printable, shown
from pulsar.errors import DataError
from pulsar.io.base import DEPTHS, AtomicFile, RawFile, encoded, flat_view, on_sky, spectra_per_piece
from pulsar_kernels.arrays import Array, Floats

_INTEGERS: Final = (
    "telescope_id", "machine_id", "data_type", "barycentric", "pulsarcentric", "nbits", "nsamples", "nchans", "nifs",
    "nbeams", "ibeam", "nbins",
)  # fmt: skip
_DOUBLES: Final = (
    "az_start", "za_start", "src_raj", "src_dej", "tstart", "tsamp", "fch1", "foff", "fchannel", "refdm", "period",
)  # fmt: skip
#: Keys of a header -> how struct names their values; "s": a text.
KEYS: Final[dict[str, str]] = {
    **dict.fromkeys(_INTEGERS, "i"),
    **dict.fromkeys(_DOUBLES, "d"),
    "signed": "b",
    "rawdatafile": "s",
    "source_name": "s",
}

#: Names of the telescope numbers that are agreed on among SIGPROC's descendants.
TELESCOPES: Final[dict[int, str]] = {
    0: "Fake", 1: "Arecibo", 2: "Ooty", 3: "Nancay", 4: "Parkes", 5: "Jodrell", 6: "GBT", 7: "GMRT", 8: "Effelsberg",
    9: "ATA", 10: "SRT", 11: "LOFAR", 12: "VLA", 20: "CHIME", 21: "FAST", 64: "MeerKAT", 65: "KAT-7",
}  # fmt: skip

#: Longest text in a header, and longest header: what is longer is not one.
MAX_STRING: Final = 256
MAX_HEADER: Final = 1 << 18


@dataclass
class RawHeader:
    """Keys and values as they stand in the file."""

    values: dict[str, Any] = field(default_factory=dict)  # Value of every key
    size: int = 0  # Bytes of the header: where the samples start
    #: Frequencies of a FREQUENCY_START … FREQUENCY_END table [MHz], empty without one.
    table: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def is_sigproc(head: bytes) -> bool:
    """True if a file that starts with `head` is a SIGPROC file."""
    return head[:16] == b"\x0c\0\0\0HEADER_START"


def parse_header(data: bytes, path: Path) -> RawHeader:
    """Parse the header at the start of `data`.

    Raises
    ------
    DataError
        Naming file, byte offset and key.
    """
    if not is_sigproc(data):
        raise DataError(f"{path}: byte 0: expected HEADER_START, found {data[:16]!r}: not a SIGPROC file")
    file = Numbers(path, data, about="SIGPROC header, ")
    file.at = 16
    return _parse(file, RawHeader())


def read_header(file: RawFile) -> RawHeader:
    """The header at the start of a file; as :func:`parse_header`."""
    return parse_header(file.read(0, min(file.size, MAX_HEADER)).tobytes(), file.path)


def _parse(file: Numbers, raw: RawHeader) -> RawHeader:
    after = "HEADER_START"
    in_table = False
    while True:
        start = file.at
        key = file.text(f"text after {after}", 1, MAX_STRING)
        if key == "HEADER_END":
            raw.size = file.at
            return raw
        if key in ("FREQUENCY_START", "FREQUENCY_END"):
            in_table = key == "FREQUENCY_START"
        elif key not in KEYS:
            return _skip(file, start, key, raw)
        else:
            form, part = KEYS[key], f"value of {key}"
            value: Any = file.text(part, 1, MAX_STRING) if form == "s" else file.take(form, part)[0]
            if key == "fchannel" and in_table:
                raw.table.append(value)
            else:
                raw.values[key] = value
        after = key


def _skip(file: Numbers, start: int, key: str, raw: RawHeader) -> RawHeader:
    """Go on after an unknown key with whichever kind of value lets the rest of the header parse."""
    # Each of those before has left its problem.
    if not key.isprintable() or len(raw.problems) >= 4:
        raise file.error(start, f"unknown key {key!r}: the header is damaged, or not a SIGPROC header")
    at = file.at
    ends = [at + 4, at + 8, at + 1, at]
    with contextlib.suppress(DataError):
        file.text(key, 1, MAX_STRING)
        ends.insert(2, file.at)
    ignored = f"unknown key {key!r} at byte {start} of the header is ignored"
    for file.at in ends:
        with contextlib.suppress(DataError):
            return _parse(file, RawHeader(dict(raw.values), 0, list(raw.table), [*raw.problems, ignored]))
    raise file.error(start, f"unknown key {key!r}, and the header cannot be read past it: remove or rename the key")


def sexagesimal(value: float) -> float:
    """Degrees or hours of a packed ddmmss.s or hhmmss.s; the sign holds for −0 degrees too."""
    size = abs(value)
    whole = math.floor(size / 10000.0)
    minutes = math.floor((size - whole * 10000.0) / 100.0)
    seconds = size - whole * 10000.0 - minutes * 100.0
    return math.copysign(whole + minutes / 60.0 + seconds / 3600.0, value)


def pack_sexagesimal(value: float) -> float:
    """The inverse of `sexagesimal`, to 1e-6 seconds so that 59.9999999 does not become 60."""
    total = round(abs(value) * 3600.0, 6)
    whole, rest = divmod(total, 3600.0)
    minutes, seconds = divmod(rest, 60.0)
    return math.copysign(whole * 10000.0 + minutes * 100.0 + round(seconds, 6), value)


def position(values: Mapping[str, Any], problems: list[str]) -> tuple[float, float]:
    """Right ascension and declination [deg], NaN where the file has none or nonsense."""
    if "src_raj" not in values or "src_dej" not in values:
        return math.nan, math.nan
    raj, dej = float(values["src_raj"]), float(values["src_dej"])
    if not (math.isfinite(raj) and math.isfinite(dej)):
        problems.append("src_raj or src_dej is not a number: the position is unknown")
        return math.nan, math.nan
    ra_deg, dec_deg = on_sky(sexagesimal(raj) * 15.0, sexagesimal(dej))
    if math.isnan(ra_deg):
        problems.append(f"src_raj {raj:g}, src_dej {dej:g} is no position on the sky: it is taken as unknown")
    return ra_deg, dec_deg


def header_keys(header: Header, *, nbits: int, nifs: int, ascending: bool, signed: bool = False) -> dict[str, Any]:
    """The keys of a header that is written; what is not known is left out."""
    freqs = header.freqs[::-1] if ascending else header.freqs
    number = header.telescope_id
    if number is None:
        number = {name.lower(): k for k, name in TELESCOPES.items()}.get(header.telescope.lower(), 0)
    placed = math.isfinite(header.ra_deg) and math.isfinite(header.dec_deg)
    nan = math.nan
    values = {
        "source_name": header.source or "unknown",
        "telescope_id": number,
        "machine_id": 0,
        "data_type": 2 if header.is_series else 1,
        "src_raj": pack_sexagesimal(header.ra_deg / 15.0) if placed else nan,
        "src_dej": pack_sexagesimal(header.dec_deg) if placed else nan,
        "az_start": header.az_deg,
        "za_start": header.za_deg,
        "barycentric": int(header.barycentric),
        "pulsarcentric": int(header.pulsarcentric),
        "nbeams": None if header.beam is None else header.nbeams or 1,
        "ibeam": header.beam,
        "nchans": header.nchans,
        "nbits": nbits,
        "nifs": nifs,
        "tstart": header.tstart if math.isfinite(header.tstart) else 0.0,
        "tsamp": header.tsamp,
        "fch1": float(freqs[0]),
        "foff": -header.foff if ascending else header.foff,
        "refdm": header.dm or None,
        "signed": 1 if signed else None,
    }
    return {key: value for key, value in values.items() if value is not None and _finite(value)}


def write_header(header: Header, *, nbits: int, nifs: int, ascending: bool, signed: bool) -> bytes:
    """The bytes of the header of a filterbank (or, for a series, of a time series) file."""

    def text(value: str) -> bytes:
        raw = value.encode("latin-1", "replace")[: MAX_STRING - 1]
        return struct.pack("<i", len(raw)) + raw

    def written(key: str, value: Any) -> bytes:
        return text(key) + (text(value) if KEYS[key] == "s" else struct.pack(f"<{KEYS[key]}", value))

    values = header_keys(header, nbits=nbits, nifs=nifs, ascending=ascending, signed=signed)
    parts = {key: written(key, value) for key, value in values.items()}
    if header.freq_table is not None:
        table = [written("fchannel", float(freq)) for freq in (header.freqs[::-1] if ascending else header.freqs)]
        parts["tsamp"] += b"".join([text("FREQUENCY_START"), *table, text("FREQUENCY_END")])
    return b"".join([text("HEADER_START"), *parts.values(), text("HEADER_END")])


def sigproc_dtype(nbits: int, npol: int) -> np.dtype[Any]:
    """Type that holds the sum of `npol` (1 or 2) samples of `nbits`."""
    if nbits == 32 or (nbits == 16 and npol == 2):
        return np.dtype(np.float32)
    if nbits == 16 or (nbits == 8 and npol == 2):
        return np.dtype(np.uint16)
    return np.dtype(np.uint8)


class SpectraReader(Observation):
    """Spectra one after the other, with the keys of SIGPROC: what filterbanks and FBH5 share."""

    _npol: int
    _piece: int
    _nbits = 8
    _xor = 0

    @abstractmethod
    def _stored(self, start: int, n: int) -> Array:
        """Spectra from `start` on as they are stored: bytes, or numbers of the type of the samples; flat."""

    def _header_fields(self, path: Path, raw: RawHeader, problems: list[str]) -> dict[str, Any]:
        """Fields of the header that say how the samples lie."""
        nchans, nbits, tsamp, nifs = required(path, raw.values)
        freqs, foff = channels(path, raw, nchans)
        self._reverse = bool(nchans > 1 and freqs[0] < freqs[-1])
        if self._reverse:
            freqs = freqs[::-1]
        self._npol = min(nifs, 2)
        if nifs > 2:
            problems.append(f"{nifs} IFs: the first two, taken as AA and BB, are summed and the others ignored")
        table = tuple(float(f) for f in freqs) if raw.table else None
        return {
            "nchans": nchans, "nbits": nbits, "tsamp": tsamp, "nifs": nifs,
            "fch1": float(freqs[0]), "foff": -abs(foff), "freq_table": table,
        }  # fmt: skip

    def _fill(self, start: int, out: Array) -> None:
        from pulsar_kernels.unpack import transpose, unpack

        nchans, n = out.shape
        whole, stride = flat_view(out)
        for at in range(0, n, self._piece):
            m = min(self._piece, n - at)
            stored, flat = self._stored(start + at, m), whole[at:]
            row, pol = stored.size // m, nchans * self._nbits // 8 if stored.dtype == np.uint8 else nchans
            second = pol if self._npol == 2 else 0
            if stored.dtype == np.uint8:
                unpack(stored, m, row, pol, second, self._nbits, True, self._xor, flat, stride, self._reverse)
            else:
                transpose(stored, m, row, nchans, second, flat, stride, self._reverse)


class SigprocReader(SpectraReader):
    """A SIGPROC filterbank file.

    One IF is read as it is; of two or more the first two, AA and BB, are summed. Signed 8 bit samples are
    shifted by 128 into uint8. Without the override `signed` 8 bit samples are unsigned, whatever the key says.

    Parameters
    ----------
    signed : bool, optional
        8 bit samples are two's complement.

    Raises
    ------
    DataError
        The header is damaged or describes what cannot be read, or there are no samples.
    """

    _file: RawFile

    def __init__(self, path: Path, *, signed: bool | None = None) -> None:
        self._file = RawFile(path)
        with closed_on_error(self._file):
            self._set_up(path, read_header(self._file), signed)

    def _set_up(self, path: Path, raw: RawHeader, signed: bool | None) -> None:
        values, problems = raw.values, list(raw.problems)
        fields = self._header_fields(path, raw, problems)
        nchans, nbits = fields["nchans"], fields["nbits"]
        if (nchans * nbits) % 8:
            raise DataError(
                f"{path}: nchans {nchans} of {nbits} bit do not fill whole bytes: such files have no agreed layout; "
                "write it with a number of channels that is a multiple of 8"
            )
        self._offset, self._nbits = raw.size, nbits
        self._row_bytes = fields["nifs"] * nchans * nbits // 8
        nsamps, stated = samples_held(self._file, raw, "spectrum", self._row_bytes, problems)
        if values.get("signed", 0) and signed is None and nbits == 8:
            problems.append(
                "the key `signed` is set: samples are read as unsigned all the same, as most writers mean it; "
                "set input.signed = true if the bandpass wraps around"
            )
        self._xor = 0x80 if signed and nbits == 8 else 0
        self._piece = spectra_per_piece(self._row_bytes)
        header = common_header(values, problems, **fields, nsamps=nsamps, format="SIGPROC filterbank")
        self._opened(header, sigproc_dtype(nbits, self._npol), self._file.state, path, problems, stated)

    def _stored(self, start: int, n: int) -> Array:
        raw = self._file.read(self._offset + start * self._row_bytes, n * self._row_bytes)
        return raw if self._nbits <= 8 else raw.view("<u2" if self._nbits == 16 else "<f4")


def check_types(path: Path, values: dict[str, Any]) -> None:
    """Refuse keys of another type than SIGPROC's own, as attributes of an HDF5 file may be.

    Raises
    ------
    DataError
        Naming the key.
    """
    for key, value in values.items():
        form = KEYS.get(key)
        if form == "s":
            values[key] = printable(str(value))
        elif form is not None:
            if not isinstance(value, bool | int | float):
                raise DataError(f"{path}: key {key}: expected a number, found {shown(value)}")
            if form != "d" and not (abs(value) < 1 << 63 and value == int(value)):
                raise DataError(f"{path}: key {key}: expected a whole number, found {value}")


def required(path: Path, values: Mapping[str, Any]) -> tuple[int, int, float, int]:
    """nchans, nbits, tsamp [s] and nifs of a SIGPROC header, checked."""
    for key in ("nchans", "nbits", "tsamp"):
        if key not in values:
            raise DataError(f"{path}: the SIGPROC header lacks the key {key}: the samples cannot be read without it")
    nchans, nbits, tsamp, nifs = values["nchans"], values["nbits"], values["tsamp"], values.get("nifs", 1)
    for fits, key, value, expected in (
        (1 <= nchans <= MOST_CHANNELS, "nchans", nchans, f"1 to {MOST_CHANNELS} channels"),
        (nbits in DEPTHS, "nbits", nbits, f"one of {DEPTHS}"),
        (is_tsamp(tsamp), "tsamp", tsamp, "a positive number of seconds"),
        (nifs in (0, 1, 2, 3, 4), "nifs", nifs, "1, 2 or 4 polarisations"),
    ):
        if not fits:
            raise DataError(f"{path}: key {key}: expected {expected}, found {value}: correct the header")
    return int(nchans), int(nbits), float(tsamp), max(1, int(nifs))


def samples_held(file: RawFile, raw: RawHeader, what: str, nbytes: int, problems: list[str]) -> tuple[int, int]:
    """Complete spectra, or samples of a series, of `nbytes` each after the header, and how many it tells of.

    The file decides, not the header.

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
    return nsamps, stated


def channels(path: Path, raw: RawHeader, nchans: int) -> tuple[Floats, float]:
    """Channel centres [MHz] in the order of the file, and the step between them (mean of a table)."""
    if raw.table:
        if len(raw.table) != nchans:
            raise DataError(
                f"{path}: the FREQUENCY table has {len(raw.table)} entries for {nchans} channels: correct the header"
            )
        freqs: Array = np.array(raw.table, dtype=np.float64)
        foff = (freqs[-1] - freqs[0]) / (nchans - 1) if nchans > 1 else float(raw.values.get("foff", -1.0))
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
    if not (np.all(np.diff(freqs) < 0) or np.all(np.diff(freqs) > 0)):
        raise DataError(f"{path}: FREQUENCY table: the frequencies neither rise nor fall throughout")
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


class FilterbankWriter(AtomicFile):
    """Writes a SIGPROC filterbank file (a context manager).

    The file appears under its name when the block ends without an error.

    Parameters
    ----------
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
        super().__init__(Path(path))
        self.header = header
        self.nsamps = 0
        self._nbits, self._ascending, self._nifs, self._signed = nbits, ascending, nifs, signed
        self.stream.write(write_header(header, nbits=nbits, nifs=nifs, ascending=ascending, signed=signed))

    def write(self, data: Array) -> None:
        """Append samples: shape (nchans, n) or (nifs, nchans, n), any real type; rounded and clipped to the depth."""
        if data.ndim == 2:
            data = np.broadcast_to(data, (self._nifs, *data.shape))
        if data.shape[:2] != (self._nifs, self.header.nchans):
            raise ValueError(
                f"write needs ({self.header.nchans}, n) or ({self._nifs}, {self.header.nchans}, n), not {data.shape}"
            )
        if self._ascending:
            data = data[:, ::-1]
        self.stream.write(encoded(data, self._nbits, signed=self._signed, big=False))
        self.nsamps += data.shape[2]


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
