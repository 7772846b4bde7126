"""Where things lie in a PSRFITS search-mode file: header keys, columns, rows.

astropy finds and parses the headers; the rows are read straight from the file.
"""

import contextlib
import math
import re
import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyError
from astropy.utils.exceptions import AstropyWarning

from pulsar.data.text import printable
from pulsar.errors import DataError
from pulsar.io.base import RawFile, is_spectral_line
from pulsar_kernels.arrays import Floats

_BYTES: Final = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16}
_NUMPY: Final = {"B": ">u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}


@dataclass(frozen=True)
class TableColumn:
    """A column of the table."""

    #: offset, nbytes: in a row.
    offset: int
    nbytes: int
    code: str  # FITS type letter
    zero: float  # TZERO


@dataclass(frozen=True)
class SubintTable:
    """The SUBINT table of a file."""

    file: RawFile
    #: primary, keys: keys of the primary header and of the table.
    primary: dict[str, Any]
    keys: dict[str, Any]
    columns: dict[str, TableColumn]  # Name to TableColumn
    #: offset, row_bytes, nrows: where row 0 starts in the file, bytes and number of whole rows.
    offset: int
    row_bytes: int
    nrows: int
    problems: list[str]

    def number(self, key: str, default: float, *, primary: bool = False) -> float:
        """A key as a number; `default` when it is absent, ``*`` or not a number."""
        value = (self.primary if primary else self.keys).get(key)
        if isinstance(value, bool) or value is None:
            return default
        try:
            number = float(value)
        except (ValueError, TypeError, OverflowError):
            return default
        return number if math.isfinite(number) else default

    def text(self, key: str, *, primary: bool = False) -> str:
        """A key as a text, "" when it is absent."""
        return printable(str((self.primary if primary else self.keys).get(key, "")).strip())

    def values(self, row: int, name: str) -> Floats | None:
        """A cell as float64 numbers; None when there is no such column.

        Raises
        ------
        DataError
            The column is not numeric.
        """
        column = self.columns.get(name)
        if column is None:
            return None
        if column.code not in _NUMPY:
            raise DataError(f"{self.file.path}: column {name}: expected numbers, found FITS type {column.code}")
        raw = self.file.read(self.place(row, column), column.nbytes, "cell")
        return raw.view(_NUMPY[column.code]).astype(np.float64) + column.zero

    def place(self, row: int, column: TableColumn) -> int:
        """Byte of the file at which a cell starts."""
        return self.offset + row * self.row_bytes + column.offset


def read_table(file: RawFile) -> SubintTable:
    """Find the SUBINT table of a file.

    Raises
    ------
    DataError
        There is none, the file is a spectral-line product, or a header is damaged.
    """
    path = file.path
    if is_spectral_line(path):
        raise DataError(
            f"{path}: by its name (_W_, _N_ or _F_) this is a spectral-line product of the FAST backend, not search "
            "mode: give the files of the pulsar backend"
        )
    _check_counts(file)
    names = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            with fits.open(path, mode="readonly", memmap=True, lazy_load_hdus=True) as hdus:
                primary = _keys(hdus[0].header)
                for hdu in hdus:
                    name = str(hdu.header.get("EXTNAME", "")).strip().upper()
                    if name == "SUBINT":
                        return _table(file, primary, _keys(hdu.header), int(hdu.fileinfo()["datLoc"]))
                    names.append(printable(name) or "primary")
    except DataError:
        raise
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, VerifyError) as error:
        cause = printable(str(error))
        raise DataError(
            f"{path}: the FITS headers cannot be read ({cause}): the file is truncated or damaged, copy it again"
        ) from error
    raise DataError(
        f"{path}: is a FITS file without a SUBINT table (it has: {', '.join(names)}): expected PSRFITS search mode"
    )


def _check_counts(file: RawFile) -> None:
    """Refuse numbers of axes and of columns beyond the standard's 999: astropy would count up to them."""
    # Within a megabyte the headers of a file are.
    start = file.read(0, min(file.size, 1 << 20)).tobytes()
    # A card is 80 bytes, of which 8 are the key: samples that are read with them are looked through no further.
    keys = np.frombuffer(start, "S8", len(start) // 8)[::10]
    for at in 80 * np.flatnonzero((keys == b"NAXIS   ") | (keys == b"TFIELDS ")):
        card = re.match(rb"(.{8})= *([-+\d.]+)", start[at : at + 80])
        if card is not None and not re.fullmatch(rb"\+?0*\d{1,3}", card[2]):
            key, value = card[1].decode().strip(), card[2].decode()
            raise DataError(
                f"{file.path}: byte {at}: key {key}: expected a whole number up to 999, found {value}: the header is "
                "damaged"
            )


def _keys(header: Any) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    for card in header.cards:
        keyword = card.keyword
        if keyword not in ("", "COMMENT", "HISTORY"):
            # A card that breaks the standard is as good as absent: what must be there is checked by its user.
            with contextlib.suppress(VerifyError, ValueError):
                keys[keyword] = card.value
    return keys


def _table(file: RawFile, primary: dict[str, Any], keys: dict[str, Any], offset: int) -> SubintTable:
    path = file.path
    columns: dict[str, TableColumn] = {}
    at = 0
    for number in range(1, int(keys["TFIELDS"]) + 1):
        form = str(keys[f"TFORM{number}"]).strip().upper()
        match = re.match(r"(\d*)([LXBIJKAEDCMPQ])", form)
        if match is None:
            raise DataError(f"{path}: key TFORM{number}: {form!r} is not a FITS column type")
        repeat = int(match[1]) if match[1] else 1
        nbytes = (repeat + 7) // 8 if match[2] == "X" else repeat * _BYTES[match[2]]
        zero = keys.get(f"TZERO{number}", 0.0)
        name = str(keys.get(f"TTYPE{number}", f"COL{number}")).strip().upper()
        columns[name] = TableColumn(at, nbytes, match[2], float(zero) if isinstance(zero, int | float) else 0.0)
        at += nbytes
    row_bytes, nrows = int(keys["NAXIS1"]), int(keys["NAXIS2"])
    problems: list[str] = []
    if at != row_bytes:
        problems.append(f"the columns take {at} bytes, NAXIS1 says {row_bytes}: NAXIS1 is used")
    if at > row_bytes:
        raise DataError(f"{path}: key NAXIS1: a row has {row_bytes} bytes, its columns take {at}: the header is wrong")
    if nrows < 1:
        raise DataError(
            f"{path}: the SUBINT table has zero rows (NAXIS2 = 0): nothing was recorded, or the file was never closed; "
            "leave it out"
        )
    whole = max(0, (file.size - offset) // row_bytes)
    if whole < 1:
        raise DataError(
            f"{path}: ends at byte {file.size}, inside the first row of the SUBINT table ({row_bytes} bytes from byte "
            f"{offset} on): it is truncated, copy it again"
        )
    # Rows are looked at one by one: so many of them (half a minute) only where they are as large as those of real
    # files. Then it takes no longer than reading the file.
    if min(nrows, whole) > 1 << 16 and row_bytes < 1 << 12:
        raise DataError(
            f"{path}: keys NAXIS1, NAXIS2: {nrows} rows of {row_bytes} bytes are none of an observation: the header is "
            "wrong"
        )
    if whole < nrows:
        problems.append(f"the file is truncated: {whole} of {nrows} rows are complete and used")
    return SubintTable(file, primary, keys, columns, offset, row_bytes, min(nrows, whole), problems)
