"""Folds that other programs have made: recognised by what is in the file, whatever it is called."""

from pathlib import Path
from typing import Final

from pulsar.data.files import check_file, read_bytes
from pulsar.errors import DataError
from pulsar.io.folded_file import FoldedFile
from pulsar.io.pfd import looks_like_pfd, read_pfd
from pulsar.io.phcx import looks_like_phcx, read_phcx

#: What can be read, for messages.
READABLE: Final = "prepfold's .pfd or a .phcx of the Parkes surveys (XML, also packed with gzip)"
#: Most bytes of a fold: four times the largest in use (1,024 sub-integrations, 128 subbands, 256 bins).
MOST: Final = 1 << 30


def read_folded(path: Path) -> FoldedFile:
    """Read a fold that another program has made.

    Parameters
    ----------
    path : Path
        ``.pfd`` of PRESTO's prepfold; ``.phcx`` of PulsarHunter, as it is or packed with gzip.

    Raises
    ------
    DataError
        It is missing, cut off, damaged, or something else.
    """
    if check_file(path, f"a fold: {READABLE}").st_size == 0:
        raise DataError(f"{path}: the file is empty (0 bytes): copy it again")
    data = read_bytes(path, "a fold", most=MOST)
    if looks_like_phcx(data):
        return read_phcx(path, data)
    if looks_like_pfd(data):
        return read_pfd(path, data)
    remedy = ""
    if data.startswith(b"SIMPLE  ="):
        remedy = "; archives of PSRFITS are not read: fold the samples themselves"
    elif path.suffix == ".ar":
        remedy = "; archives of PSRCHIVE are not read: fold the samples themselves"
    elif path.suffix == ".bestprof":
        remedy = f"; the fold itself is in {path.with_suffix('')}"
    raise DataError(f"{path}: starts with {data[:8]!r}, not as a fold that can be read: expected {READABLE}{remedy}")
