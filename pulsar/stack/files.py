"""The store of a stack: a folder that holds one HDF5 file for what all epochs share, and one for each epoch.

Every file appears whole or not at all: an interrupted addition leaves the others as they were.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from pulsar.constants import DAY
from pulsar.data.files import Closing, closed_on_error
from pulsar.data.header import Header
from pulsar.data.observation import InputFile
from pulsar.errors import ConfigError, DataError, refused
from pulsar.io.hdf5 import Hdf5
from pulsar.io.product.parts import stored_rows
from pulsar.io.product.reader import open_file, read_header
from pulsar.io.product.schema import FILE_COLUMNS
from pulsar.io.product.writer import FileWriter
from pulsar_kernels.arrays import Float32s, Floats, Uint8s

GRID_FORMAT: Final = "pulsar-stack"
EPOCH_FORMAT: Final = "pulsar-stack-epoch"
FORMAT_VERSION: Final = "1.0"
GRID_NAME: Final = "stack.h5"
#: Numbers of a grid.
_NUMBERS: Final = ("tsamp", "nfft", "npoints", "ra_deg", "dec_deg")

#: Pieces of a file, and their size [byte], by which the same data are told again under another name.
_SAMPLES: Final = 64
_SAMPLE: Final = 1 << 16

_GRID: Final = "the grid of a stack (pulsar stack add)"
_EPOCH: Final = "an epoch of a stack (pulsar stack add)"

#: Powers for each bin of 1/T: a line is an eighth of a bin from one at most, where it has sinc^2(1/8) = 95 % of its
#: power, 98.3 % on average.
POINTS: Final = 4
#: Larger powers count as this one: beyond it nobody needs a stack.
LARGEST: Final = 1.0e4
_SCALE: Final = 255.0 / np.log1p(LARGEST)


@dataclass(frozen=True, eq=False)
class StackGrid:
    """Frequencies and trial DMs that all epochs of a stack share."""

    tsamp: float  # Sampling time of the series [s], at the barycentre
    nfft: int  # Samples of the common transform: shorter epochs are padded, longer ones cut into pieces
    npoints: int  # Frequencies that are kept, from 0 on
    dms: Floats  # shape (ndms,): [pc cm^-3], ascending
    #: ra_deg, dec_deg: direction that all are barycentred for [deg]; NaN where they are not.
    ra_deg: float = float("nan")
    dec_deg: float = float("nan")
    barycentric: bool = True  # False: topocentric frequencies

    @property
    def span(self) -> float:
        """Length of the common transform [s]."""
        return self.nfft * self.tsamp

    @property
    def step(self) -> float:
        """From one frequency to the next [Hz]."""
        return 1.0 / (POINTS * self.span)

    @property
    def nbytes(self) -> int:
        """Size of one piece of an epoch."""
        return self.dms.size * self.npoints


@dataclass(frozen=True)
class EpochPiece:
    """A stretch of an epoch, as long as the common transform at most."""

    mjd: float  # Its middle at the barycentre, MJD (TDB); topocentric UTC where nothing is barycentred
    tobs: float  # Its length [s]


@dataclass(frozen=True, eq=False)
class EpochInfo:
    """All that is known of an epoch beside its powers."""

    key: str  # Name that its data have
    header: Header
    files: Sequence[InputFile]
    pieces: tuple[EpochPiece, ...]  # Parts of it that are summed one by one
    factor: float  # What the user has said that it counts times
    #: Velocity of the telescope away from the source over that of light, at the middle; NaN without barycentre.
    voverc: float
    freqs: Floats = field(default_factory=lambda: np.zeros(0))  # Channels that were used [MHz], descending
    bandwidth: float = float("nan")  # That was used [MHz]; NaN where it is not known
    beyond: int = 0  # Powers that were too large for a byte

    @property
    def name(self) -> str:
        """File in the store: start, beam and key."""
        beam = "" if self.header.beam is None else f"_M{self.header.beam:02d}"
        start = self.header.tstart if np.isfinite(self.header.tstart) else 0.0
        return f"{start:.7f}{beam}_{self.key}.h5"


def encode(powers: Float32s) -> tuple[Uint8s, int]:
    """Powers as bytes, in steps that grow with them: 0.036 (1 + P).

    Parameters
    ----------
    powers : ndarray of float32
        Mean 1 in noise, not negative.

    Returns
    -------
    ndarray of uint8
    int
        Powers beyond `LARGEST`, which count as that.
    """
    code = np.log1p(powers) * np.float32(_SCALE)
    beyond = int(np.count_nonzero(code >= 255.0))
    return np.minimum(code, np.float32(255.0)).astype(np.uint8), beyond


def decoded() -> Floats:
    """The power that each byte stands for, shape (256,): the mean of exponential noise within the step.

    Noise keeps its mean of 1 to rounding; the last stands for `LARGEST`, the least that it can be.
    """
    low = np.expm1(np.arange(255) / _SCALE)
    width = np.expm1(np.arange(1, 256) / _SCALE) - low
    return np.append(low + 1.0 - width / np.expm1(width), LARGEST)


def data_key(files: Sequence[InputFile]) -> str:
    """A name that the same data have wherever they lie, from their size and 64 pieces of each file.

    Raises
    ------
    DataError
        A file cannot be read.
    """
    parts = []
    for path in dict.fromkeys(file.path for file in files):
        digest = hashlib.blake2b(digest_size=16)
        with refused(DataError, f"{path}: cannot be read"), path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            digest.update(str(size).encode())
            for at in np.unique(np.linspace(0, max(size - _SAMPLE, 0), _SAMPLES).astype(np.int64)):
                stream.seek(int(at))
                digest.update(stream.read(_SAMPLE))
        parts.append(digest.digest())
    return hashlib.blake2b(b"".join(sorted(parts)), digest_size=6).hexdigest()


class _GridWriter(FileWriter):
    format, format_version = GRID_FORMAT, FORMAT_VERSION
    groups: dict[str, str] = {"grid": "frequencies and trial DMs that all epochs share"}  # noqa: RUF012

    def grid(self, grid: StackGrid) -> None:
        """Store it."""
        self._file["grid"].attrs.update({name: getattr(grid, name) for name in (*_NUMBERS, "barycentric")})
        self._array("grid/dms", grid.dms, "pc / cm3", "trial DMs")


class EpochWriter(_GridWriter):
    """Writer of one epoch, row by row; whole or not at all."""

    format = EPOCH_FORMAT
    groups: dict[str, str] = {  # noqa: RUF012
        **_GridWriter.groups,
        "observation": "what was observed",
        "epoch": "how it counts",
        "provenance": "how this file was made",
    }

    def __init__(self, store: "Store", info: EpochInfo) -> None:
        super().__init__(store.folder / info.name)
        self.info, grid = info, store.grid
        self.grid(grid)
        shape = (len(info.pieces), grid.dms.size, grid.npoints)
        # Bytes of a chunk: what is read at once of one DM.
        self._powers = self._file.create_dataset(
            "powers", shape, np.uint8, chunks=(1, 1, min(1 << 18, grid.npoints)), track_times=False
        )
        self._powers.attrs.update(
            {"unit": "", "description": "bytes of white powers, shape (pieces, DMs, frequencies): docs/stack.md"}
        )

    def row(self, piece: int, dm_index: int, code: Uint8s) -> None:
        """Store the powers of one DM."""
        self._sink.check()
        self._powers[piece, dm_index] = code

    def finish(self, info: EpochInfo, record: dict[str, Any]) -> None:
        """Store what is known of it."""
        self.observation(info.header, info.files)
        self.provenance(record)
        numbers = {name: getattr(info, name) for name in ("key", "bandwidth", "factor", "voverc", "beyond")}
        self._file["epoch"].attrs.update(numbers)
        self._array("epoch/mjd", np.array([p.mjd for p in info.pieces]), "d", "middle of each piece, MJD (TDB)")
        self._array("epoch/freqs", info.freqs, "MHz", "channels that were used, descending")
        self._array("epoch/tobs", np.array([p.tobs for p in info.pieces]), "s", "length of each piece")


class Epoch(Closing):
    """An epoch in a store, open for reading; a context manager.

    Attributes
    ----------
    info : EpochInfo
    """

    def __init__(self, path: Path, grid: StackGrid) -> None:
        self.path = path.absolute()
        self._file = open_file(path, {EPOCH_FORMAT: FORMAT_VERSION}, _EPOCH)
        with closed_on_error(self._file):
            if not _same(_read_grid(self._file), grid):
                raise ConfigError(
                    f"{path}: has another grid than the {GRID_NAME} beside it: it belongs to another stack"
                )
            self.info = _read_info(self._file)
            self._powers = self._file.dataset("powers")
            shape = (len(self.info.pieces), grid.dms.size, grid.npoints)
            if self._powers.shape != shape or self._powers.dtype != np.uint8:
                raise self._file.damaged(f"powers has the shape {self._powers.shape}, expected {shape} bytes")

    def row(self, piece: int, dm_index: int) -> Uint8s:
        """The bytes of one DM, shape (npoints,)."""
        with self._file._reading("powers"):
            return self._file.part("powers", (piece, piece + 1), (dm_index, dm_index + 1)).reshape(-1)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Store:
    """A folder of epochs.

    Attributes
    ----------
    grid : StackGrid

    Raises
    ------
    DataError
        It is no store, or its grid cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not is_store(folder):
            raise DataError(f"{folder}: no stack: expected a folder with {GRID_NAME}, as `pulsar stack add` makes it")
        with open_file(folder / GRID_NAME, {GRID_FORMAT: FORMAT_VERSION}, _GRID) as file:
            self.grid = _read_grid(file)

    @classmethod
    def begin(cls, folder: Path, grid: StackGrid) -> "Store":
        """Make a store in a folder that has no epochs."""
        with _GridWriter(folder / GRID_NAME, overwrite=True) as writer:
            writer.grid(grid)
        return cls(folder)

    def paths(self) -> list[Path]:
        """Files of the epochs, in order of time."""
        return sorted(_epochs(self.folder), key=lambda path: (_start_of(path), path.name))

    def holds(self, info: EpochInfo) -> Path | None:
        """The epoch of the same data, or of the same start and beam, if there is one."""
        for path in self.paths():
            if path.stem.endswith(f"_{info.key}"):
                return path
            same_beam = path.stem.split("_")[1:-1] == Path(info.name).stem.split("_")[1:-1]
            if same_beam and info.header.tstart > 0 and abs(_start_of(path) - info.header.tstart) * DAY < 1.0:
                return path
        return None


def is_store(folder: Path) -> bool:
    """True if a folder holds a stack."""
    return (folder / GRID_NAME).is_file()


def has_epochs(folder: Path) -> bool:
    """True if a folder holds a stack with epochs in it."""
    return is_store(folder) and bool(_epochs(folder))


def _epochs(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.h5") if path.name != GRID_NAME and not path.name.startswith(".")]


def _start_of(path: Path) -> float:
    try:
        return float(path.name.split("_")[0])
    except ValueError:
        return float("nan")


def _same(a: StackGrid, b: StackGrid) -> bool:
    numbers = [np.array([getattr(g, name) for name in (*_NUMBERS, "barycentric")]) for g in (a, b)]
    return np.array_equal(numbers[0], numbers[1], equal_nan=True) and np.array_equal(a.dms, b.dms)


def _read_grid(file: Hdf5) -> StackGrid:
    values = {name: file.attribute("grid", name, None, (int, float)) for name in _NUMBERS}
    dms = file.array("grid/dms", "f", (None,))
    grid = StackGrid(**values, dms=dms, barycentric=bool(file.attribute("grid", "barycentric", True, (bool, int))))
    if not (grid.tsamp > 0 and 0 < grid.npoints <= 2 * grid.nfft and dms.size and np.all(np.diff(dms) > 0)):
        raise file.damaged("its grid has no frequencies or DMs")
    return grid


def _read_info(file: Hdf5) -> EpochInfo:
    mjd, tobs = file.array("epoch/mjd", "f", (None,)), file.array("epoch/tobs", "f", (None,))
    if mjd.size != tobs.size or not mjd.size or not np.all(tobs > 0):
        raise file.damaged("its pieces have no length")
    value = {
        name: file.attribute("epoch", name, float("nan"), (int, float)) for name in ("bandwidth", "factor", "voverc")
    }
    if not value["factor"] > 0:
        raise file.damaged("its weight is not positive")
    rows = stored_rows(file, "observation/files", FILE_COLUMNS)
    files = [
        InputFile(Path(str(r["path"])), int(r["start"]), int(r["nsamps"]), int(r["size"]), r["mtime"]) for r in rows
    ]
    return EpochInfo(
        str(file.attribute("epoch", "key", "", str)),
        read_header(file),
        files,
        tuple(EpochPiece(float(a), float(b)) for a, b in zip(mjd, tobs, strict=True)),
        **value,
        freqs=file.array("epoch/freqs", "f", (None,)),
        beyond=int(file.attribute("epoch", "beyond", 0, int)),
    )
