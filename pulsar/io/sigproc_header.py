"""The header of SIGPROC files: parsing, positions, telescopes, writing.

Layout: each text is an int32 length and its bytes; HEADER_START, then keys with their values, HEADER_END; numbers
are little-endian int32 or double as the key says (https://sigproc.sourceforge.net, "filterbank file format").
"""

import contextlib
import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pulsar.data.header import Header
from pulsar.errors import DataError

INT_KEYS: Final = frozenset(
    [
        "telescope_id",
        "machine_id",
        "data_type",
        "barycentric",
        "pulsarcentric",
        "nbits",
        "nsamples",
        "nchans",
        "nifs",
        "nbeams",
        "ibeam",
        "nbins",
    ]
)
DOUBLE_KEYS: Final = frozenset(
    ["az_start", "za_start", "src_raj", "src_dej", "tstart", "tsamp", "fch1", "foff", "fchannel", "refdm", "period"]
)
STRING_KEYS: Final = frozenset(("rawdatafile", "source_name"))
BYTE_KEYS: Final = frozenset(("signed",))

#: Names of the telescope numbers that are agreed on among SIGPROC's descendants.
TELESCOPES: Final[dict[int, str]] = {
    0: "Fake",
    1: "Arecibo",
    2: "Ooty",
    3: "Nancay",
    4: "Parkes",
    5: "Jodrell",
    6: "GBT",
    7: "GMRT",
    8: "Effelsberg",
    9: "ATA",
    10: "SRT",
    11: "LOFAR",
    12: "VLA",
    20: "CHIME",
    21: "FAST",
    64: "MeerKAT",
    65: "KAT-7",
}

#: Longest text in a header, and longest header: what is longer is not one.
MAX_STRING: Final = 256
MAX_HEADER: Final = 1 << 18


@dataclass
class RawHeader:
    """Keys and values as they stand in the file.

    Attributes
    ----------
    values : dict
        Value of every key.
    size : int
        Bytes of the header: where the samples start.
    table : list of float
        Frequencies of a FREQUENCY_START … FREQUENCY_END table [MHz], empty without one.
    problems : list of str
    """

    values: dict[str, Any] = field(default_factory=dict)
    size: int = 0
    table: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class _BadHeader(Exception):
    """Where and why the header does not parse."""

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(message)
        self.offset = offset


def is_sigproc(head: bytes) -> bool:
    """Whether a file that starts with `head` is a SIGPROC file."""
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
    try:
        return _parse(data, 16, RawHeader(), 0)
    except _BadHeader as error:
        raise DataError(f"{path}: SIGPROC header, byte {error.offset}: {error}") from None


def _text(data: bytes, at: int, after: str) -> tuple[str, int]:
    if at + 4 > len(data):
        raise _BadHeader(at, f"the file ends inside the header, after {after}: it is truncated, fetch it again")
    (length,) = struct.unpack_from("<i", data, at)
    if not 1 <= length <= MAX_STRING:
        raise _BadHeader(
            at,
            f"expected the length of a text (1 to {MAX_STRING}) after {after}, found {length}: the header is damaged",
        )
    raw = data[at + 4 : at + 4 + length]
    if len(raw) < length:
        raise _BadHeader(at, f"the file ends inside the header, after {after}: it is truncated, fetch it again")
    return raw.split(b"\0")[0].decode("latin-1").strip(), at + 4 + length


def _number(data: bytes, at: int, fmt: str, key: str) -> tuple[Any, int]:
    size = struct.calcsize(fmt)
    if at + size > len(data):
        raise _BadHeader(at, f"the file ends inside the value of {key}: it is truncated, fetch it again")
    return struct.unpack_from(fmt, data, at)[0], at + size


def _parse(data: bytes, at: int, raw: RawHeader, unknown: int) -> RawHeader:
    after = "HEADER_START"
    in_table = False
    while True:
        start = at
        key, at = _text(data, at, after)
        if key == "HEADER_END":
            raw.size = at
            return raw
        if key == "FREQUENCY_START":
            in_table = True
        elif key == "FREQUENCY_END":
            in_table = False
        elif key in INT_KEYS:
            raw.values[key], at = _number(data, at, "<i", key)
        elif key in DOUBLE_KEYS:
            value, at = _number(data, at, "<d", key)
            if key == "fchannel" and in_table:
                raw.table.append(value)
            else:
                raw.values[key] = value
        elif key in STRING_KEYS:
            raw.values[key], at = _text(data, at, key)
        elif key in BYTE_KEYS:
            raw.values[key], at = _number(data, at, "<b", key)
        else:
            return _skip(data, start, at, key, raw, unknown)
        after = key


def _skip(data: bytes, start: int, at: int, key: str, raw: RawHeader, unknown: int) -> RawHeader:
    """Go on after an unknown key with whichever kind of value lets the rest of the header parse."""
    if not key.isprintable() or unknown >= 4:
        raise _BadHeader(start, f"unknown key {key!r}: the header is damaged, or not a SIGPROC header")
    ends = [at + 4, at + 8, at + 1, at]
    with contextlib.suppress(_BadHeader):
        ends.insert(2, _text(data, at, key)[1])
    for end in ends:
        trial = RawHeader(dict(raw.values), 0, list(raw.table), list(raw.problems))
        trial.problems.append(f"unknown key {key!r} at byte {start} of the header is ignored")
        try:
            return _parse(data, end, trial, unknown + 1)
        except _BadHeader:
            continue
    raise _BadHeader(start, f"unknown key {key!r}, and the header cannot be read past it: remove or rename the key")


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


def position(values: dict[str, Any], problems: list[str]) -> tuple[float, float]:
    """Right ascension and declination [deg], NaN where the file has none or nonsense."""
    if "src_raj" not in values or "src_dej" not in values:
        return math.nan, math.nan
    raj, dej = float(values["src_raj"]), float(values["src_dej"])
    if not (math.isfinite(raj) and math.isfinite(dej)):
        problems.append("src_raj or src_dej is not a number: the position is unknown")
        return math.nan, math.nan
    ra, dec = sexagesimal(raj) * 15.0, sexagesimal(dej)
    if not (0.0 <= ra < 360.0 and -90.0 <= dec <= 90.0):
        problems.append(f"src_raj {raj:g}, src_dej {dej:g} is no position on the sky: it is taken as unknown")
        return math.nan, math.nan
    return ra, dec


def telescope_id(header: Header) -> int:
    """Number of the telescope of a header that may only have its name; 0 (fake) when unknown."""
    if header.telescope_id is not None:
        return header.telescope_id
    names = {name.lower(): number for number, name in TELESCOPES.items()}
    return names.get(header.telescope.lower(), 0)


def write_header(header: Header, *, nbits: int, nifs: int, ascending: bool, signed: bool, source: str) -> bytes:
    """The bytes of the header of a filterbank (or, for a series, of a time series) file."""

    def text(value: str) -> bytes:
        raw = value.encode("latin-1", "replace")[: MAX_STRING - 1]
        return struct.pack("<i", len(raw)) + raw

    def integer(key: str, value: int) -> bytes:
        return text(key) + struct.pack("<i", value)

    def double(key: str, value: float) -> bytes:
        return text(key) + struct.pack("<d", value)

    freqs = header.freqs[::-1] if ascending else header.freqs
    parts = [text("HEADER_START")]
    parts.append(text("source_name") + text(source or "unknown"))
    parts.append(integer("telescope_id", telescope_id(header)))
    parts.append(integer("machine_id", 0))
    parts.append(integer("data_type", 2 if header.is_series else 1))
    if math.isfinite(header.ra_deg) and math.isfinite(header.dec_deg):
        parts.append(double("src_raj", pack_sexagesimal(header.ra_deg / 15.0)))
        parts.append(double("src_dej", pack_sexagesimal(header.dec_deg)))
    if math.isfinite(header.az_deg):
        parts.append(double("az_start", header.az_deg))
    if math.isfinite(header.za_deg):
        parts.append(double("za_start", header.za_deg))
    parts.append(integer("barycentric", int(header.barycentric)))
    parts.append(integer("pulsarcentric", int(header.pulsarcentric)))
    if header.beam is not None:
        parts.append(integer("nbeams", header.nbeams or 1))
        parts.append(integer("ibeam", header.beam))
    parts.append(integer("nchans", header.nchans))
    parts.append(integer("nbits", nbits))
    parts.append(integer("nifs", nifs))
    parts.append(double("tstart", header.tstart if math.isfinite(header.tstart) else 0.0))
    parts.append(double("tsamp", header.tsamp))
    if header.freq_table is not None:
        parts.append(text("FREQUENCY_START"))
        parts.extend(double("fchannel", float(f)) for f in freqs)
        parts.append(text("FREQUENCY_END"))
    parts.append(double("fch1", float(freqs[0])))
    parts.append(double("foff", -header.foff if ascending else header.foff))
    if header.dm:
        parts.append(double("refdm", header.dm))
    if signed:
        parts.append(text("signed") + struct.pack("<b", 1))
    parts.append(text("HEADER_END"))
    return b"".join(parts)
