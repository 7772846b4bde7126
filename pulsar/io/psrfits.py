"""PSRFITS search mode: reader; the writer is in `psrfits_writer` and offered here."""

import math
from collections.abc import Sequence
from functools import cached_property, lru_cache, partial
from pathlib import Path

import numpy as np

from pulsar.constants import DAY
from pulsar.data.direction import sexagesimal
from pulsar.data.files import closed_on_error
from pulsar.data.header import MOST_CHANNELS, Header
from pulsar.data.observation import Gap, InputFile, Observation
from pulsar.errors import DataError
from pulsar.io.base import (
    DEPTHS,
    RawFile,
    as_type,
    flat_view,
    merge_gaps,
    on_sky,
    parse_name,
    spectra_per_piece,
    stretches,
)
from pulsar.io.psrfits_writer import PsrfitsWriter
from pulsar_kernels.arrays import Array, Float32s, Floats, Ints

__all__ = ["PsrfitsReader", "PsrfitsWriter"]


class PsrfitsReader(Observation):
    """A PSRFITS search-mode file.

    Samples are integers where scales are 1, offsets 0 and weights 0 or 1 throughout (up to 8 bit), float32
    elsewhere. Channels of zero weight in every row have `chan_ok` False; in single rows they are filled with the
    channel's mean. Missing rows are filled with the channel means of the row before and recorded as gaps.

    Raises
    ------
    DataError
        Naming file, key or row, and cause.
    """

    _file: RawFile

    def __init__(self, path: Path) -> None:
        # Which loads astropy's FITS.
        from pulsar.io.psrfits_table import read_table

        self._file = RawFile(path)
        #: Of the last rows that were asked for.
        self._gap_means = lru_cache(maxsize=16)(self._gap_fill)
        self._coefficients = lru_cache(maxsize=16)(self._scaling)
        with closed_on_error(self._file):
            self._table = read_table(self._file)
            self._problems = list(self._table.problems)
            self._geometry()
            self._polarisations()
            self._frequencies()
            self._scan_rows()
            self._times()
            self._finish()

    # -- opening -----------------------------------------------------------------------------------------------

    def _fail(self, message: str) -> DataError:
        return DataError(f"{self._file.path}: {message}")

    def _whole(self, key: str, allowed: Sequence[int]) -> int:
        """A key of the table that is one of some whole numbers."""
        value = self._table.number(key, math.nan)
        if not value.is_integer() or int(value) not in allowed:
            expected = f"one of {allowed}"
            if isinstance(allowed, range):
                expected = f"a whole number from {allowed[0]} to {allowed[-1]}"
            raise self._fail(f"SUBINT key {key}: expected {expected}, found {self._table.keys.get(key, 'nothing')!r}")
        return int(value)

    def _geometry(self) -> None:
        table = self._table
        mode = table.text("OBS_MODE", primary=True).upper()
        if mode in ("PSR", "CAL", "FOLD") or table.number("NBIN", 1) > 1:
            raise self._fail(f"OBS_MODE is {mode or 'unknown'}, folded data: expected search mode (SEARCH)")
        self._nchans = self._whole("NCHAN", range(1, MOST_CHANNELS + 1))
        self._nbits = self._whole("NBITS", DEPTHS)
        self._npol = self._whole("NPOL", range(1, 5))
        self._nsblk = self._whole("NSBLK", range(1, (1 << 30) + 1))
        self._tbin = table.number("TBIN", 0.0)
        if self._tbin <= 0:
            stored = table.keys.get("TBIN", "nothing")
            raise self._fail(f"SUBINT key TBIN: expected a sampling time above zero [s], found {stored!r}")
        if (self._nchans * self._nbits) % 8:
            raise self._fail(f"{self._nchans} channels of {self._nbits} bit do not fill whole bytes")
        self._pol_bytes = self._nchans * self._nbits // 8
        self._row_bytes = self._npol * self._pol_bytes
        data = table.columns.get("DATA")
        if data is None:
            raise self._fail("the SUBINT table has no column DATA")
        need = self._row_bytes * self._nsblk
        if data.nbytes < need:
            raise self._fail(
                f"column DATA has {data.nbytes} bytes a row; NBITS {self._nbits} x NCHAN {self._nchans} x NPOL "
                f"{self._npol} x NSBLK {self._nsblk} need {need}: one of these keys is wrong"
            )
        if data.nbytes > need:
            self._problems.append(f"column DATA has {data.nbytes} bytes a row, {need} are used")
        self._data = data

    def _polarisations(self) -> None:
        kind = self._table.text("POL_TYPE").upper()
        intensity = self._npol == 1 or kind.startswith(("IQUV", "STOKE", "I,Q"))
        if not intensity and not kind.startswith(("AABB", "AA,BB", "XXYY", "LLRR", "RRLL")):
            self._problems.append(f"POL_TYPE is {kind!r} with NPOL {self._npol}: taken as AABB, the first two summed")
        self._second = 0 if intensity else self._pol_bytes
        self._pol_type = kind
        signed = self._table.number("SIGNINT", 0) == 1 and self._nbits <= 8
        self._xor = 1 << (self._nbits - 1) if signed else 0
        self._zero = self._table.number("ZERO_OFF", 0.0) + float(self._xor)
        if self._nbits <= 16:
            self._zero -= self._data.zero

    def _frequencies(self) -> None:
        table, n = self._table, self._nchans
        step = table.number("CHAN_BW", 0.0)
        centre = table.number("OBSFREQ", 0.0, primary=True)
        self._even = True
        freqs: Array | None = self._listed(step, centre)
        if freqs is None:
            if not (centre > 0 and step):
                raise self._fail(
                    f"the channel frequencies are unknown: DAT_FREQ is missing or not positive, OBSFREQ is {centre:g} "
                    f"and CHAN_BW {step:g}"
                )
            self._problems.append("DAT_FREQ is missing or wrong: the frequencies are made from OBSFREQ and CHAN_BW")
            freqs = centre + step * (np.arange(n) - 0.5 * (n - 1))
        self._reverse = bool(n > 1 and freqs[0] < freqs[-1])
        if self._reverse:
            freqs = freqs[::-1]
        if n > 1 and not np.all(np.diff(freqs) < 0):
            raise self._fail("column DAT_FREQ neither rises nor falls throughout")
        if float(freqs[-1]) <= 0:
            raise self._fail(f"the band would reach {freqs[-1]:g} MHz: OBSFREQ or CHAN_BW is wrong")
        self._freqs: Floats = np.ascontiguousarray(freqs, dtype=np.float64)
        self._foff = float(freqs[-1] - freqs[0]) / (n - 1) if n > 1 else -abs(step)

    def _listed(self, step: float, centre: float) -> Array | None:
        """The frequencies of DAT_FREQ, on an even grid where that is meant; None where it holds none."""
        n = self._nchans
        listed: Array | None = self._table.values(0, "DAT_FREQ")
        if listed is None or listed.size < n or not np.all(np.isfinite(listed[:n]) & (listed[:n] > 0)):
            return None
        if listed.size > n:
            listed = self._shortened(listed, step, centre)
        if n == 1 or listed is None or listed[0] == listed[n - 1]:
            return listed if n == 1 else None
        slope, mean = float(listed[-1] - listed[0]) / (n - 1), float(np.mean(listed))
        places = np.arange(n) - 0.5 * (n - 1)
        # DAT_FREQ is often single precision, too coarse for narrow channels: an even grid is made anew.
        if np.max(np.abs(listed - (mean + slope * places))) > 0.02 * abs(slope) + 2e-7 * float(listed[0]):
            self._even = False
            return listed
        if step and abs(abs(step) / abs(slope) - 1.0) < 1e-3 and slope * step > 0:
            slope = step
        elif step and slope * step < 0:
            self._problems.append("CHAN_BW has the wrong sign: DAT_FREQ decides")
        elif step:
            self._problems.append(f"CHAN_BW {step:g} MHz is not the step of DAT_FREQ, {slope:g}: the latter is used")
        return np.asarray(mean + slope * places)

    def _shortened(self, listed: Array, step: float, centre: float) -> Array | None:
        """Of a DAT_FREQ that is longer than NCHAN the part or the means that OBSFREQ and CHAN_BW bear out, if any.

        Files whose channels were added up may keep the table of the channels before; others have a fixed length.
        """
        n = self._nchans
        problem = f"DAT_FREQ has {listed.size} entries for {n} channels: "
        choices = [(listed[:n], f"the first {n} are used")]
        if listed.size % n == 0:
            each = listed.size // n
            choices.append((listed.reshape(n, each).mean(axis=1), f"the means of {each} at a time are used"))
        for freqs, how in choices:
            slope = float(freqs[-1] - freqs[0]) / (n - 1) if n > 1 else step
            agrees = not step or (slope != 0 and abs(abs(slope / step) - 1.0) < 1e-3)
            if agrees and (not centre > 0 or abs(float(freqs.mean()) - centre) <= abs(slope)):
                self._problems.append(problem + how)
                return freqs
        if centre > 0 and step:
            self._problems.append(problem + "none of them fit OBSFREQ and CHAN_BW")
            return None
        self._problems.append(problem + choices[0][1])
        return listed[:n]

    def _pol_values(self, row: int, name: str, default: float) -> Floats:
        """DAT_SCL or DAT_OFFS of the one or two polarisations that are used, shape (1 or 2, nchans)."""
        n, used = self._nchans, 2 if self._second else 1
        values = self._table.values(row, name)
        if values is None:
            return np.full((used, n), default)
        if values.size >= used * n:
            return values[: used * n].reshape(used, n)
        if values.size >= n:
            return np.broadcast_to(values[:n], (used, n))
        raise self._fail(f"column {name} has {values.size} entries for {n} channels and {self._npol} polarisations")

    def _weights(self, row: int) -> Floats:
        values = self._table.values(row, "DAT_WTS")
        if values is None:
            return np.ones(self._nchans)
        if values.size < self._nchans:
            raise self._fail(f"column DAT_WTS has {values.size} entries for {self._nchans} channels")
        return np.where(np.isfinite(values[: self._nchans]), values[: self._nchans], 0.0)

    def _scan_rows(self) -> None:
        """Find the rows with zero weights, and anything but plain integers."""
        table = self._table
        columns = [table.columns[name] for name in ("DAT_WTS", "DAT_OFFS", "DAT_SCL") if name in table.columns]
        for name in ("DAT_SCL", "DAT_OFFS"):
            column = table.columns.get(name)
            if column is None or self._npol == 1:
                continue
            if column.nbytes < self._npol * self._nchans * (8 if column.code == "D" else 4):
                self._problems.append(
                    f"column {name} is too short for {self._npol} polarisations: the first serves all"
                )
        plain = self._nbits <= 8 and self._zero == 0.0
        masks: dict[bytes, int] = {}
        self._masks: list[Ints] = []
        self._mask_of = np.zeros(table.nrows, dtype=np.int64)
        ok = np.zeros(self._nchans, dtype=np.bool_)
        previous: list[bytes] = []
        nan_rows = 0
        for row in range(table.nrows):
            cells = [self._file.read(table.place(row, column), column.nbytes, "cell").tobytes() for column in columns]
            if row and cells == previous:
                self._mask_of[row] = self._mask_of[row - 1]
                continue
            previous = cells
            weights = self._weights(row)
            scale, offset = self._pol_values(row, "DAT_SCL", 1.0), self._pol_values(row, "DAT_OFFS", 0.0)
            finite = np.all(np.isfinite(scale) & np.isfinite(offset), axis=0)
            if np.any(weights != 0) and not np.any(finite & (weights != 0)):
                raise self._fail(
                    f"row {row + 1}: DAT_SCL or DAT_OFFS is not a number (NaN) in every channel: it cannot be scaled; "
                    "write the table again, or leave the file out"
                )
            if not np.all(finite | (weights == 0)):
                nan_rows += 1
            live = (weights != 0) & finite
            ok |= live
            dead = np.flatnonzero(~live)
            if self._reverse:
                dead = self._nchans - 1 - dead
            self._mask_of[row] = masks.setdefault(dead.tobytes(), len(masks))
            if len(masks) > len(self._masks):
                self._masks.append(dead)
            plain = plain and bool(
                np.all(weights[live] == 1.0) and np.all(scale[:, live] == 1.0) and np.all(offset[:, live] == 0.0)
            )
        if not np.any(ok):
            raise self._fail("DAT_WTS is zero for every channel of every row: all data are masked; check the weights")
        if nan_rows:
            self._problems.append(f"DAT_SCL or DAT_OFFS is NaN for some channels in {nan_rows} row(s): masked there")
        self.chan_ok = ok[::-1].copy() if self._reverse else ok
        dead_everywhere = np.flatnonzero(~self.chan_ok)
        if dead_everywhere.size:
            self._problems.append(f"{dead_everywhere.size} channels have zero weight throughout: masked")
        self._masks = [np.setdiff1d(mask, dead_everywhere) for mask in self._masks]
        filled = sum(1 for row in range(table.nrows) if self._masks[self._mask_of[row]].size)
        if filled:
            self._problems.append(f"{filled} row(s) have zero weights in some channels: filled with the channel's mean")
        self._plain = plain
        whole = np.uint16 if self._second and self._nbits == 8 else np.uint8
        self.dtype = np.dtype(whole if plain else np.float32)

    def _column(self, name: str) -> Floats | None:
        """The first number in every row of a column; None where it has none, or some are not finite."""
        cells = [self._table.values(row, name) for row in range(self._table.nrows)]
        numbers = np.array([cell[0] for cell in cells if cell is not None and cell.size])
        return numbers if len(numbers) == len(cells) and np.all(np.isfinite(numbers)) else None

    def _times(self) -> None:
        """Place of every row, and the time of the first one after STT [s] as OFFS_SUB has it."""
        nrows, nsblk = self._table.nrows, self._nsblk
        trow = nsblk * self._tbin
        index = np.arange(nrows, dtype=np.int64)
        self.offs_start: float | None = None
        offs = self._column("OFFS_SUB")
        if offs is not None and np.any(offs != 0):
            spacing = trow
            if nrows > 1:
                typical = float(np.median(np.diff(offs)))
                rows = max(1, round(typical / trow))
                # Lost rows leave whole multiples; every row a multiple away is no loss but a wrong TBIN.
                wide = nrows >= 4 and float(np.min(np.diff(offs))) > 1.5 * trow
                if typical > 0 and (wide or abs(typical / trow - rows) > 0.01 * rows):
                    self._problems.append(
                        f"OFFS_SUB steps by {typical:g} s a row, NSBLK x TBIN is {trow:g} s: one of them is wrong; "
                        "set input.tsamp if it is TBIN"
                    )
                    spacing = typical
            rising = _rising((offs - offs[0]) / spacing)
            if rising is not None:
                index = rising
                self.offs_start = float(offs[0]) - 0.5 * spacing
            else:
                self._problems.append("OFFS_SUB does not rise from row to row: the rows are taken as contiguous")
        else:
            numbers = self._column("INDEXVAL")
            if numbers is not None and np.any(numbers != 0):
                rising = _rising(numbers - numbers[0])
                index = index if rising is None else rising
        missing = int(index[-1]) + 1 - nrows
        if missing > 100 * nrows:
            raise self._fail(f"OFFS_SUB or INDEXVAL leave {missing} rows missing between {nrows}: the column is wrong")
        self._starts = index * nsblk
        gaps = []
        for row in np.flatnonzero(np.diff(index) > 1):
            lost = int(index[row + 1] - index[row]) - 1
            gaps.append(Gap(int(self._starts[row]) + nsblk, lost * nsblk, f"{lost} missing row(s) of the file"))
        self.gaps = merge_gaps(gaps)
        if missing:
            self._problems.append(f"{missing} row(s) are missing in the file: filled with the channel's mean")

    def _padding(self) -> int:
        """Spectra of zero bytes at the end, which are no data."""
        if self._row_bytes < 8:
            return 0
        padded = 0
        step = max(1, (1 << 20) // self._row_bytes)
        # Rows of padding at the end that are looked for.
        for row in range(self._table.nrows - 1, max(-1, self._table.nrows - 1 - 64), -1):
            at = self._nsblk
            while at > 0:
                first = max(0, at - step)
                base = self._table.place(row, self._data)
                raw = self._file.read(base + first * self._row_bytes, (at - first) * self._row_bytes)
                live = np.flatnonzero(raw.reshape(at - first, self._row_bytes).any(axis=1))
                if live.size:
                    return padded + at - first - 1 - int(live[-1])
                padded += at - first
                at = first
        return padded

    def _finish(self) -> None:
        table = self._table
        path = self._file.path
        nsamps = int(self._starts[-1]) + self._nsblk
        padded = self._padding()
        if padded:
            whole = padded // self._nsblk
            if whole >= len(self._starts):
                raise self._fail(f"all {padded} spectra are zero: nothing was recorded; leave the file out")
            nsamps = int(self._starts[-1 - whole]) + self._nsblk - padded % self._nsblk
            self.remarks = (f"the last {padded * self._tbin:.4g} s ({padded} spectra) are zero padding: left out",)
            self.gaps = tuple(gap for gap in self.gaps if gap.start < nsamps)
        name = parse_name(path)
        self.sequence = name.sequence
        number, text = partial(table.number, primary=True), partial(table.text, primary=True)
        beam = number("IBEAM", math.nan)
        if beam >= 1 and name.beam is not None and beam != name.beam:
            self._problems.append(f"IBEAM is {beam:g}, the name says beam {name.beam}: IBEAM is used")
        # Day and second apart: an MJD in one double is good to a microsecond only.
        self.stt_day = int(number("STT_IMJD", 0))
        self.stt_offs = number("STT_OFFS", 0.0)
        self.stt_sec = number("STT_SMJD", 0.0) + self.stt_offs + number("BE_DELAY", 0.0)
        if self.stt_day <= 0:
            self._problems.append("STT_IMJD is missing: the epoch is unknown")
        self.nsuboffs = table.number("NSUBOFFS", 0.0)
        ra_deg, dec_deg = on_sky(sexagesimal(text("RA")) * 15.0, sexagesimal(text("DEC")))
        azimuth, zenith = table.values(0, "TEL_AZ"), table.values(0, "TEL_ZEN")
        is_fast = text("TELESCOP").upper() == "FAST"
        self.header = Header(
            nchans=self._nchans,
            nsamps=nsamps,
            tsamp=self._tbin,
            fch1=float(self._freqs[0]),
            foff=self._foff,
            tstart=math.nan,
            nbits=self._nbits,
            nifs=self._npol,
            dm=number("CHAN_DM", 0.0),
            freq_table=None if self._even else tuple(float(f) for f in self._freqs),
            source=text("SRC_NAME"),
            telescope=text("TELESCOP"),
            telescope_id=21 if is_fast else None,
            machine=text("BACKEND"),
            beam=int(beam) if beam >= 1 else name.beam,
            nbeams=19 if is_fast else None,
            ra_deg=ra_deg,
            dec_deg=dec_deg,
            az_deg=float(azimuth[0]) if azimuth is not None and azimuth.size else math.nan,
            za_deg=float(zenith[0]) if zenith is not None and zenith.size else math.nan,
            pol_type=self._pol_type,
            format="PSRFITS",
        )
        if self.header.dm:
            self._problems.append(f"CHAN_DM is {self.header.dm:g}: the channels are already dedispersed to it inside")
        self._piece = spectra_per_piece(self._row_bytes)
        lost = max(0, int(self._table.number("NAXIS2", 0)) - self._table.nrows) * self._nsblk
        promised = nsamps + lost if lost else 0
        self.files = (InputFile.opened(path, nsamps, self._file.state, promised),)
        self.problems = tuple(self._problems)
        # As the standard has it.
        self.set_start(self.nsuboffs * self._nsblk * self._tbin if self.offs_start is None else self.offs_start)

    def set_start(self, offset: float) -> None:
        """Let the first sample be `offset` seconds after STT."""
        self.start_sec = self.stt_sec + offset
        tstart = self.stt_day + self.start_sec / DAY if self.stt_day > 0 else math.nan
        self.header = self.header.with_(tstart=tstart)

    # -- reading -----------------------------------------------------------------------------------------------

    def _fill(self, start: int, out: Array) -> None:
        rows = np.broadcast_to(self._nsblk, self._starts.shape)
        for row, inside, span in stretches(self._starts, rows, start, out.shape[1]):
            part = out[:, span]
            if inside is None:
                part[:] = self._gap_means(row)[:, None]
                continue
            for at in range(0, part.shape[1], self._piece):
                self._decode(row, inside + at, part[:, at : at + self._piece])
            mask = self._masks[self._mask_of[row]]
            if mask.size:
                part[mask] = self._channel_fill[mask, None]

    def _decode(self, row: int, inside: int, out: Array) -> None:
        from pulsar_kernels.unpack import transpose, transpose_scaled, unpack, unpack_scaled

        m = out.shape[1]
        flat, stride = flat_view(out)
        base = self._table.place(row, self._data)
        raw = self._file.read(base + inside * self._row_bytes, m * self._row_bytes)
        if self._plain:
            unpack(
                raw, m, self._row_bytes, self._pol_bytes, self._second, self._nbits, False, 0,
                flat, stride, self._reverse,
            )  # fmt: skip
            return
        scale, offset = self._coefficients(row)
        if self._nbits <= 8:
            unpack_scaled(
                raw, m, self._row_bytes, self._pol_bytes, self._second, self._nbits, False, self._xor, scale, offset,
                flat, stride, self._reverse,
            )  # fmt: skip
            return
        width = self._nbits // 8
        wide = raw.view(">i2" if width == 2 else ">f4").astype(np.int16 if width == 2 else np.float32)
        row_n, second = self._row_bytes // width, self._second // width
        if np.all(scale == 1.0) and not np.any(offset):
            transpose(wide, m, row_n, self._nchans, second, flat, stride, self._reverse)
        else:
            transpose_scaled(wide, m, row_n, self._nchans, second, scale, offset, flat, stride, self._reverse)

    def _scaling(self, row: int) -> tuple[Float32s, Float32s]:
        """Scales (2, nchans) and offset (nchans,) of a row in the order of the file."""
        weights = self._weights(row)
        # What has no weight is filled afterwards: only NaN must not get out.
        weights = np.where(weights == 0, 1.0, weights)
        scale = np.nan_to_num(self._pol_values(row, "DAT_SCL", 1.0), nan=1.0)
        shift = np.nan_to_num(self._pol_values(row, "DAT_OFFS", 0.0))
        offset = np.sum((shift - self._zero * scale) * weights, axis=0).astype(np.float32)
        both = np.zeros((2, self._nchans), dtype=np.float32)
        both[: scale.shape[0]] = scale * weights
        return both, offset

    def _row_mean(self, row: int) -> Floats:
        """Channel means of one row (or of what 4 MB of it hold)."""
        n = max(1, min(self._nsblk, self.header.nsamps - int(self._starts[row])))
        n = min(n, max(1, (1 << 22) // (self._nchans * self.dtype.itemsize)))
        out = np.empty((self._nchans, n), dtype=self.dtype)
        for at in range(0, n, self._piece):
            self._decode(row, at, out[:, at : min(n, at + self._piece)])
        return np.asarray(out.mean(axis=1, dtype=np.float64))

    @cached_property
    def _channel_fill(self) -> Array:
        """Mean of every channel over some of the rows in which it has weight."""
        usable = int(np.searchsorted(self._starts, self.header.nsamps))
        # The first row of every pattern of weights, so that each channel that ever lives is seen.
        _, firsts = np.unique(self._mask_of[:usable], return_index=True)
        total = np.zeros(self._nchans)
        count = np.zeros(self._nchans)
        for row in firsts:
            live = np.ones(self._nchans, dtype=np.bool_)
            live[self._masks[self._mask_of[row]]] = False
            if np.all(count[live] > 0):
                continue
            total[live] += self._row_mean(int(row))[live]
            count[live] += 1
        return as_type(total / np.maximum(count, 1), self.dtype)

    def _gap_fill(self, row: int) -> Array:
        """Values that stand in the gap after a row."""
        fill = as_type(self._row_mean(row), self.dtype)
        mask = self._masks[self._mask_of[row]]
        if mask.size:
            fill[mask] = self._channel_fill[mask]
        return fill


def _rising(steps: Floats) -> Ints | None:
    """The nearest whole numbers, if they rise; of what no int64 holds the largest, which then does not."""
    whole = np.rint(np.clip(steps, -float(1 << 62), float(1 << 62))).astype(np.int64)
    return whole if np.all(np.diff(whole) > 0) else None
