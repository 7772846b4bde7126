"""Dedispersed time series: SIGPROC `.tim` and PRESTO `.dat` with `.inf`. They go straight into the search."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.data.closing import closed_on_error
from pulsar.data.files import read_text
from pulsar.data.header import HIGHEST_FREQ, LATEST_MJD, LONGEST_TSAMP, MOST_CHANNELS, SHORTEST_TSAMP, Header
from pulsar.data.observation import Gap, InputFile
from pulsar.errors import DataError
from pulsar.io.base import BaseObservation, RawFile, channel_mean
from pulsar.io.sigproc import common_header, known_angle, known_dm, promised, required, samples_held
from pulsar.io.sigproc_header import MAX_HEADER, parse_header

# Samples read at a time.
PIECE = 1 << 18


class _SeriesReader(BaseObservation):
    """One row of samples of one type, from `_offset` on."""

    _file: RawFile
    _offset: int
    _type: np.dtype[Any]

    def _finish(self, header: Header, problems: list[str], promised: int, gaps: tuple[Gap, ...] = ()) -> None:
        self.header = header
        self.files = (InputFile.opened(self._file.path, header.nsamps, self._file.state, promised),)
        self.gaps = gaps
        self.chan_ok = np.ones(1, dtype=np.bool_)
        self.dtype = np.dtype(np.float32)
        self.problems = tuple(problems)

    def _fill(self, start: int, out: NDArray[Any]) -> None:
        width = self._type.itemsize
        row = out[0]
        for at in range(0, row.size, PIECE):
            m = min(PIECE, row.size - at)
            raw = self._file.read(self._offset + (start + at) * width, m * width)
            row[at : at + m] = raw.view(self._type)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def is_series(path: Path) -> bool:
    """Whether a SIGPROC file holds a dedispersed series (one channel) and not a filterbank.

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
    path : Path
    signed : bool, optional
        Overrides the key.
    """

    def __init__(self, path: Path, *, signed: bool | None = None) -> None:
        self._file = RawFile(path)
        with closed_on_error(self._file):
            raw = parse_header(self._file.read(0, min(self._file.size, MAX_HEADER)).tobytes(), path)
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
            nsamps = samples_held(self._file, raw, "sample", nbits // 8, problems)
            fch1 = float(values.get("fch1", math.nan))
            if not 0 < fch1 <= HIGHEST_FREQ:
                problems.append("fch1 is missing or not a frequency: the observing frequency is unknown")
                fch1 = math.nan
            foff = float(values.get("foff", 0.0))
            header = common_header(
                values,
                problems,
                nchans=1,
                nsamps=nsamps,
                tsamp=tsamp,
                fch1=fch1,
                foff=-abs(foff) if foff and abs(foff) <= HIGHEST_FREQ else 0.0,
                nbits=nbits,
                is_series=True,
                format="SIGPROC time series",
            )
            self._finish(header, problems, promised(raw, nsamps))


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
            if text is None:
                return default
            try:
                return float(text.split()[0].replace("D", "e")) if text.split() else default
            except ValueError:
                problems.append(f"{inf.name}: `{starts[0]}` is not a number: {text!r}")
                return default

        tsamp = number("width of each time series bin")
        if not SHORTEST_TSAMP <= tsamp <= LONGEST_TSAMP:
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
        self._type = np.dtype(np.float32)
        self._offset = 0
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
            ra_deg=known_angle(sexagesimal_text(ra) * 15.0) if ra else math.nan,
            dec_deg=known_angle(sexagesimal_text(dec)) if dec else math.nan,
            barycentric=number("barycentered", default=0.0) == 1.0,
            format="PRESTO time series",
        )
        gaps = _off_stretches(fields["breaks"], nsamps) if number("any breaks", default=0.0) == 1.0 else ()
        self._finish(header, problems, round(stated) if math.isfinite(stated) and stated > nsamps else 0, gaps)
        self._mean = np.float32(0.0)
        if gaps:
            self.gaps = ()
            on = [(a, b) for a, b in _between(gaps, nsamps) if b > a]
            if on:
                self._mean = np.float32(channel_mean(self, *on[0])[0])
            self.gaps = gaps

    def _fill(self, start: int, out: NDArray[Any]) -> None:
        super()._fill(start, out)
        n = out.shape[1]
        for gap in self.gaps:
            a, b = max(gap.start - start, 0), min(gap.start + gap.nsamps - start, n)
            if a < b:
                out[:, a:b] = self._mean


def sexagesimal_text(text: str) -> float:
    """Hours or degrees of ``hh:mm:ss.s`` or ``-dd:mm:ss.s`` (or a plain number); NaN when it is neither."""
    parts = text.strip().replace(" ", ":").split(":")
    try:
        numbers = [abs(float(part)) for part in parts if part]
    except ValueError:
        return math.nan
    if not numbers or len(numbers) > 3:
        return math.nan
    size = sum(number / 60.0**i for i, number in enumerate(numbers))
    return -size if text.strip().startswith("-") else size


def _off_stretches(pairs: list[tuple[int, int]], nsamps: int) -> tuple[Gap, ...]:
    gaps: list[Gap] = []
    at = 0
    for first, last in sorted(pairs):
        first, last = max(first, 0), min(last, nsamps - 1)
        if last < first:
            continue
        if first > at:
            gaps.append(Gap(at, first - at, "outside the on/off pairs of the .inf file"))
        at = max(at, last + 1)
    if pairs and at < nsamps:
        gaps.append(Gap(at, nsamps - at, "outside the on/off pairs of the .inf file"))
    return tuple(gaps)


def _between(gaps: tuple[Gap, ...], nsamps: int) -> list[tuple[int, int]]:
    starts = [0] + [gap.start + gap.nsamps for gap in gaps]
    stops = [gap.start for gap in gaps] + [nsamps]
    return list(zip(starts, stops, strict=True))
