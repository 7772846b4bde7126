"""Dedispersed series: SIGPROC ``.tim``, PRESTO ``.dat`` with ``.inf``, numpy ``.npy``; and sets of several DMs."""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from pulsar.data.direction import dms, hms, sexagesimal
from pulsar.data.files import closed_on_error, read_text
from pulsar.data.header import HIGHEST_FREQ, LATEST_MJD, MOST_CHANNELS, Header, is_tsamp
from pulsar.data.observation import Gap, Observation, gaps_of, joined_stretches, left_out
from pulsar.data.series import TimeSeries
from pulsar.data.text import parsed, printable
from pulsar.errors import ConfigError, DataError
from pulsar.io.base import AtomicFile, RawFile, channel_mean
from pulsar.io.sigproc import (
    MAX_HEADER,
    common_header,
    known_angle,
    known_dm,
    parse_header,
    read_header,
    required,
    samples_held,
    write_header,
)
from pulsar_kernels.arrays import Array, Float32s, Floats

# Samples read at a time.
PIECE = 1 << 18
#: Endings of the files of a series -> what they are.
SERIES_FORMS: Final = {".dat": "PRESTO", ".tim": "SIGPROC", ".npy": "numpy"}


class _SeriesReader(Observation):
    """One row of samples of one type, from `_offset` on."""

    _file: RawFile
    _offset = 0
    _type: np.dtype[Any] = np.dtype(np.float32)

    def _fill(self, start: int, out: Array) -> None:
        width = self._type.itemsize
        row = out[0]
        for at in range(0, row.size, PIECE):
            m = min(PIECE, row.size - at)
            raw = self._file.read(self._offset + (start + at) * width, m * width)
            row[at : at + m] = raw.view(self._type)


def is_series(path: Path) -> bool:
    """True if a SIGPROC file holds a dedispersed series (one channel) and not a filterbank.

    Raises
    ------
    DataError
        The header is damaged.
    """
    with path.open("rb") as stream:
        values = parse_header(stream.read(MAX_HEADER), path).values
    return bool(values.get("nchans", 1) == 1 and values.get("data_type", 2) in (0, 1, 2))


class TimReader(_SeriesReader):
    """A SIGPROC time series: 32 bit float or 8 or 16 bit; 8 bit is signed when the key `signed` is set.

    Parameters
    ----------
    signed : bool, optional
        Overrides the key.
    """

    def __init__(self, path: Path, *, signed: bool | None = None) -> None:
        self._file = RawFile(path)
        with closed_on_error(self._file):
            raw = read_header(self._file)
            values, problems = raw.values, list(raw.problems)
            values.setdefault("nchans", 1)
            _, nbits, tsamp, nifs = required(path, values)
            if nifs != 1:
                raise DataError(f"{path}: key nifs: a time series has one IF, found {nifs}")
            if nbits not in (8, 16, 32):
                raise DataError(f"{path}: key nbits: a time series has 8, 16 or 32 bit, found {nbits}")
            if signed is None:
                signed = bool(values.get("signed", 0))
            self._type = np.dtype({8: "i1" if signed else "u1", 16: "<i2" if signed else "<u2", 32: "<f4"}[nbits])
            self._offset = raw.size
            nsamps, stated = samples_held(self._file, raw, "sample", nbits // 8, problems)
            fch1, foff = float(values.get("fch1", math.nan)), abs(float(values.get("foff", 0.0)))
            if not 0 < fch1 <= HIGHEST_FREQ:
                problems.append("fch1 is missing or not a frequency: the observing frequency is unknown")
                fch1 = math.nan
            header = common_header(
                values,
                problems,
                nchans=1,
                nsamps=nsamps,
                tsamp=tsamp,
                fch1=fch1,
                foff=-foff if 0.0 < foff <= HIGHEST_FREQ else 0.0,
                nbits=nbits,
                is_series=True,
                format="SIGPROC time series",
            )
            self._opened(header, np.float32, self._file.state, path, problems, stated)


def parse_inf(path: Path) -> dict[str, Any]:
    """Fields of a PRESTO `.inf` file.

    Returns
    -------
    dict
        Lower-case description (before the last ``=``) to text, and "breaks": list of (first, last) bins that are on.

    Raises
    ------
    DataError
        The file is missing or has no ``name = value`` lines.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file: a PRESTO .dat cannot be read without its .inf beside it; copy both")
    lines = read_text(path, "a PRESTO .inf", encoding="latin-1").splitlines()
    fields: dict[str, Any] = {}
    breaks: list[tuple[int, int]] = []
    for number, line in enumerate(lines, 1):
        if line.strip().lower().startswith("any additional notes"):
            break
        if "=" not in line:
            continue
        key, _, value = line.rpartition("=")
        key, value = key.strip().lower(), value.strip()
        if key.startswith("on/off bin pair"):
            pair = re.findall(r"[-+\d.eE]+", value)
            try:
                first, last = (round(float(text)) for text in pair)
            except (ValueError, OverflowError):
                raise DataError(
                    f"{path}: line {number}: expected two bins `first, last`, found {value[:80]!r}"
                ) from None
            breaks.append((first, last))
        else:
            fields[key] = value
    if not fields:
        raise DataError(f"{path}: has no `name = value` lines: this is no PRESTO .inf file")
    fields["breaks"] = breaks
    return fields


class PrestoReader(_SeriesReader):
    """A PRESTO `.dat` (float32, native byte order) with its `.inf`.

    The series is referred to the centre of the highest channel: `fch1` is that frequency, and `foff` is minus the
    total bandwidth. Stretches outside the on/off pairs of a series with breaks are gaps, filled with the mean.

    Parameters
    ----------
    path : Path
        The `.dat` or the `.inf`.
    """

    def __init__(self, path: Path) -> None:
        dat, inf = path.with_suffix(".dat"), path.with_suffix(".inf")
        fields = parse_inf(inf)
        self._file = RawFile(dat)
        with closed_on_error(self._file):
            self._set_up(dat, inf, fields)

    def _set_up(self, dat: Path, inf: Path, fields: dict[str, Any]) -> None:
        problems: list[str] = []

        def find(*starts: str) -> str | None:
            for key, value in fields.items():
                if key.startswith(starts):
                    return str(value)
            return None

        def number(*starts: str, default: float = math.nan) -> float:
            text = find(*starts)
            if not text or not text.split():
                return default
            value = parsed(text.split()[0])
            if math.isnan(value):
                problems.append(f"{inf.name}: `{starts[0]}` is not a number: {text!r}")
            return default if math.isnan(value) else value

        tsamp = number("width of each time series bin")
        if not is_tsamp(tsamp):
            raise DataError(
                f"{inf}: `Width of each time series bin (sec)`: expected a positive number, "
                f"found {find('width of each')!r}"
            )
        nsamps, rest = divmod(self._file.size, 4)
        if nsamps < 1:
            raise DataError(f"{dat}: holds no samples (its size is {self._file.size} bytes): make it again")
        if rest:
            problems.append(f"the last {rest} bytes of {dat.name} are not a whole float32: ignored")
        stated = number("number of bins", default=0.0)
        if stated > 0 and (not math.isfinite(stated) or round(stated) != nsamps):
            problems.append(f"{inf.name} says {stated:.0f} samples, {dat.name} holds {nsamps}: the file decides")
        low, nchan = number("central freq of low channel"), number("number of channels", default=1.0)
        width, total = number("channel bandwidth", default=0.0), number("total bandwidth", default=0.0)
        fch1 = low + (nchan - 1.0) * width
        if not (0 < low <= fch1 <= HIGHEST_FREQ and 1 <= nchan <= MOST_CHANNELS and abs(total) <= HIGHEST_FREQ):
            problems.append(f"{inf.name} has no radio frequency")
            fch1, nchan, width, total = math.nan, 1.0, 0.0, 0.0
        #: Channels that the series was summed from [MHz], descending; of no use where there is one.
        self.band_freqs = fch1 - abs(width) * np.arange(max(int(nchan), 1))
        ra, dec = find("j2000 right ascension"), find("j2000 declination")
        epoch = number("epoch of observation")
        if not 0 < epoch <= LATEST_MJD:
            problems.append(f"{inf.name} has no epoch: it is unknown")
            epoch = math.nan
        header = Header(
            nchans=1,
            nsamps=nsamps,
            tsamp=tsamp,
            fch1=fch1,
            foff=-abs(total or width),
            tstart=epoch,
            nbits=32,
            dm=known_dm(number("dispersion measure", default=0.0), problems),
            is_series=True,
            source=find("object being observed") or "",
            telescope=find("telescope used") or "",
            machine=find("instrument used") or "",
            ra_deg=known_angle(sexagesimal(ra) * 15.0) if ra else math.nan,
            dec_deg=known_angle(sexagesimal(dec)) if dec else math.nan,
            barycentric=number("barycentered", default=0.0) == 1.0,
            format="PRESTO time series",
        )
        breaks = fields["breaks"] if number("any breaks", default=0.0) == 1.0 else []
        self._opened(header, np.float32, self._file.state, dat, problems, round(stated) if math.isfinite(stated) else 0)
        on = joined_stretches((first, last + 1) for first, last in breaks if first <= last)
        off = left_out(on, 0, nsamps) if breaks else []
        there = left_out(off, 0, nsamps)
        self._mean = np.float32(channel_mean(self, *there[0])[0] if off and there else 0.0)
        self.gaps = tuple(Gap(a, b - a, "outside the on/off pairs of the .inf file") for a, b in off)

    def _fill(self, start: int, out: Array) -> None:
        super()._fill(start, out)
        for a, b in gaps_of(self):
            out[:, max(a - start, 0) : max(b - start, 0)] = self._mean


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


def write_series(path: Path, data: Float32s, header: Header, dm: float) -> None:
    """Write a series; what it is of goes into its header, or the ``.inf`` beside a ``.dat``.

    Parameters
    ----------
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
    data_path, *beside = series_paths(path)
    flat = np.ascontiguousarray(data, dtype=np.float32)
    if data_path.suffix == ".tim":
        series_header = header.with_(
            nchans=1, nsamps=len(flat), foff=-header.bandwidth, freq_table=None, dm=dm, is_series=True, nifs=1
        )
        start = write_header(series_header, nbits=32, nifs=1, ascending=False, signed=False)
    elif data_path.suffix == ".npy":
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, np.lib.format.header_data_from_array_1_0(flat))
        start = buffer.getvalue()
    else:
        start = b""
    for name in beside:
        with AtomicFile(name) as file:
            file.stream.write(inf_text(path.stem, header, len(flat), dm).encode("latin-1", "replace"))
    with AtomicFile(data_path) as file:
        file.stream.write(start)
        file.stream.write(flat.data)


def inf_text(name: str, header: Header, nsamps: int, dm: float) -> str:
    """The text of the ``.inf`` of a series, one fact a line (PRESTO's manual; :func:`pulsar.io.series.parse_inf`).

    Parameters
    ----------
    name : str
        Of the ``.dat``, without its ending.
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


@dataclass(frozen=True)
class SeriesGroup:
    """Series of one sampling time."""

    first: int  # Place of the first of them in the set
    dms: Floats  # [pc cm^-3], ascending
    tsamp: float  # [s]
    nsamps: int  # Samples of the shortest


class SeriesSet(Observation):
    """Series of one observation at several DMs.

    What is read as an observation is the series of the lowest DM; `series` gives each. The DM of the header is NaN.

    Parameters
    ----------
    readers : sequence of Observation
        One series each.

    Attributes
    ----------
    dms : ndarray
        [pc cm^-3], ascending.
    groups : tuple of SeriesGroup
        In ascending DM and sampling time.
    freqs : ndarray
        Channels (or pieces) of the band [MHz], descending.

    Raises
    ------
    DataError
        Starts, sources or bands differ, a DM is there twice, sampling times do not rise with the DM, or the band is
        unknown.
    """

    def __init__(self, readers: Sequence[Observation]) -> None:
        self._readers = sorted(readers, key=lambda r: r.header.dm)
        first = self._readers[0]
        headers = [reader.header for reader in self._readers]
        for reader in self._readers[1:]:
            _check_same(first, reader)
        self.dms = np.array([h.dm for h in headers])
        twice = np.flatnonzero(np.diff(self.dms) < 1e-6)
        if twice.size:
            a, b = (self._readers[int(twice[0]) + k].files[0].path for k in (0, 1))
            raise DataError(f"{b}: has the DM {self.dms[twice[0]]:g} as {a}: give one series for each DM")
        tsamps = np.array([h.tsamp for h in headers])
        if np.any(np.diff(tsamps) < -1e-9):
            raise DataError(
                f"{first.files[0].path}: sampling times do not rise with the DM in this set: search it in parts"
            )
        starts = np.flatnonzero(np.r_[True, np.diff(tsamps) > 1e-9])
        ends = np.r_[starts[1:], len(headers)]
        self.groups = tuple(
            SeriesGroup(int(a), self.dms[a:b], float(tsamps[a]), min(h.nsamps for h in headers[a:b]))
            for a, b in zip(starts, ends, strict=True)
        )
        self.freqs = _band(first)
        self.header = headers[0].with_(dm=math.nan, nsamps=self.groups[0].nsamps)
        self.files = tuple(file for reader in self._readers for file in reader.files)
        self.gaps, self.chan_ok, self.dtype = first.gaps, first.chan_ok, first.dtype
        self.problems = tuple(dict.fromkeys(p for reader in self._readers for p in reader.problems))
        self.remarks = (f"{len(headers)} series from DM {self.dms[0]:g} to {self.dms[-1]:g}: one observation",)

    def series(self, index: int, nsamps: int | None = None) -> TimeSeries:
        """The series of one DM, or its first `nsamps` samples; safe to call from several threads."""
        reader = self._readers[index]
        header = reader.header
        data = np.ascontiguousarray(reader.read(0, nsamps).data[0])
        return TimeSeries(data, header.tsamp, header.dm, header.tstart)

    def nearest(self, dm: float) -> int:
        """Place of the series whose DM is the nearest."""
        return int(np.argmin(np.abs(self.dms - dm)))

    def _fill(self, start: int, out: Float32s) -> None:
        self._readers[0].read_into(start, out)


def is_set(readers: Sequence[Observation]) -> bool:
    """True if these are series of different DMs, not parts of one in time."""
    return all(r.header.is_series for r in readers) and np.ptp([r.header.dm for r in readers]) > 1e-6


def _check_same(first: Observation, reader: Observation) -> None:
    a, b = first.header, reader.header
    for quantity, differ in (
        ("source", a.source != b.source),
        ("start", abs(a.tstart - b.tstart) * 86400.0 > max(a.tsamp, b.tsamp)),
        ("frequency", abs(a.fch1 - b.fch1) > 1e-6 * abs(a.fch1)),
        ("length", abs(a.tobs - b.tobs) > 0.01 * a.tobs),
    ):
        if differ:
            raise DataError(
                f"{reader.files[0].path}: differs in {quantity} from {first.files[0].path}: series of several DMs must "
                "be of one observation"
            )


def _band(reader: Observation) -> Floats:
    known: Floats | None = getattr(reader, "band_freqs", None)
    if known is not None and float(np.ptp(known)) > 0.0:
        return known
    h = reader.header
    if not (math.isfinite(h.fch1) and h.fch1 > 0 and abs(h.foff) > 0):
        raise DataError(
            f"{reader.files[0].path}: tells no frequency or bandwidth, without which DMs cannot be compared: add them "
            "to its header (.inf: central freq of low channel, total bandwidth)"
        )
    # Pieces of the band that stand for its channels where the files do not tell those: arrival within a piece of a
    # 64th of the band differs by 1.6 % of the delay over it.
    return np.linspace(h.fch1, h.fch1 - abs(h.foff), 64)
