"""Open an observation by what is in the files, not by their suffix."""

import os
from dataclasses import replace
from pathlib import Path

from pulsar.config.model import InputConfig
from pulsar.data.files import check_file
from pulsar.errors import DataError
from pulsar.io.base import BaseObservation, check_header, overridden, parse_name
from pulsar.io.fbh5 import Fbh5Reader
from pulsar.io.joined import join
from pulsar.io.psrfits import PsrfitsReader
from pulsar.io.series import PrestoReader, SeriesSet, TimReader, is_series, is_set
from pulsar.io.sigproc import SigprocReader, is_sigproc

FITS_MAGIC = b"SIMPLE  ="
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
# Files kept open; of more, each thread opens the one that it reads.
MOST_OPEN = 64
# How packed files begin, and what unpacks them.
PACKED = {b"\x1f\x8b": "gunzip", b"\xfd7zXZ\0": "unxz", b"\x28\xb5\x2f\xfd": "unzstd", b"BZh": "bunzip2"}
READABLE = "SIGPROC (.fil, .tim), PSRFITS, PRESTO .dat with its .inf, or FBH5"


def open_observation(*paths: str | os.PathLike[str], config: InputConfig | None = None) -> BaseObservation:
    """Open one or several files as one observation.

    Parameters
    ----------
    *paths : path
        SIGPROC filterbank or time series, PSRFITS search mode, PRESTO `.dat` (or its `.inf`), FBH5. Several files
        are joined by their start times, in whatever order they are given; series of different DMs are one observation
        with those trials (`pulsar.io.series.SeriesSet`).
    config : InputConfig, optional
        Overrides of the headers.

    Returns
    -------
    BaseObservation
        An `Observation` (`pulsar.data.observation`).

    Raises
    ------
    DataError
        A file is missing, empty, damaged or of an unknown kind, or the files do not belong together.
    """
    config = config or InputConfig()
    if not paths:
        raise DataError("no input file is given: name one or several files of one observation")
    readers: list[BaseObservation] = []
    try:
        for path in dict.fromkeys(_samples_of(Path(p)) for p in paths):
            reader = _open_one(path, config)
            readers.append(reader)
            check_header(path, reader.header)
            if len(paths) > MOST_OPEN:
                reader.park()
                # Some network file systems number a file anew when it is opened again.
                reader.files = tuple(replace(file, inode=0) for file in reader.files)
            header = overridden(reader.header, ra_deg=config.ra_deg, dec_deg=config.dec_deg, tsamp=config.tsamp)
            # SIGPROC files of FAST often lack ibeam as well.
            reader.header = header if header.beam is not None else header.with_(beam=parse_name(path).beam)
        obs: BaseObservation
        if len(readers) == 1:
            obs = readers[0]
        else:
            obs = SeriesSet(readers) if is_set(readers) else join(readers, tsamp_given=config.tsamp is not None)
    except BaseException:
        for reader in readers:
            reader.close()
        raise
    return obs


def _samples_of(path: Path) -> Path:
    """The ``.dat`` of an ``.inf`` that has one beside it."""
    samples = path.with_suffix(".dat")
    return samples if path.suffix == ".inf" and samples.exists() else path


def _open_one(path: Path, config: InputConfig) -> BaseObservation:
    if path.is_dir():
        raise DataError(f"{path}: is a folder: name the files in it, for example {path}/*.fits")
    check_file(path, "an observation")
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened: {error.strerror}; check its permissions") from error
    if path.suffix == ".dat" or (path.suffix == ".inf" and path.with_suffix(".dat").exists()):
        return PrestoReader(path)
    if not head:
        raise DataError(f"{path}: the file is empty (0 bytes): copy it again")
    if is_sigproc(head):
        if is_series(path):
            return TimReader(path, signed=config.signed)
        return SigprocReader(path, signed=config.signed)
    if head.startswith(FITS_MAGIC):
        if path.suffix == ".fz":
            raise DataError(f"{path}: is packed: unpack it with `funpack {path}` and give the file that this makes")
        return PsrfitsReader(path)
    if head.startswith(HDF5_MAGIC):
        return Fbh5Reader(path)
    if head.lstrip().startswith(b"Data file name without suffix"):
        raise DataError(
            f"{path}: this is a PRESTO .inf file without its samples: {path.with_suffix('.dat')} is missing"
        )
    for magic, tool in PACKED.items():
        if head.startswith(magic):
            raise DataError(f"{path}: is packed: unpack it with `{tool} {path}` and give the file that this makes")
    if b"HEADER_START"[: len(head)] in head[:16] or head[:4] == b"\x0c\0\0\0"[: len(head[:4])]:
        raise DataError(
            f"{path}: the SIGPROC header breaks off within the first {len(head)} bytes: copy the file again"
        )
    kind = "looks like a text file" if _is_text(head) else f"starts with {head[:8]!r}"
    raise DataError(f"{path}: {kind}, not a format that can be read: expected {READABLE}")


def _is_text(head: bytes) -> bool:
    return all(byte >= 32 or byte in (9, 10, 13) for byte in head)
