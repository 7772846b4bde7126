"""Folds that other programs have made: recognised by what is in the file, whatever it is called."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pulsar.data.files import check_file, read_bytes
from pulsar.data.fold import FoldCube
from pulsar.data.header import Header
from pulsar.errors import DataError

#: What can be read, for messages.
READABLE: Final = "prepfold's .pfd or a .phcx of the Parkes surveys (XML, also packed with gzip)"
#: Most bytes of a fold: four times the largest in use (1,024 sub-integrations, 128 subbands, 256 bins).
MOST: Final = 1 << 30


@dataclass(frozen=True)
class FoldedFile:
    """A fold as its file has it.

    Attributes
    ----------
    cube : FoldCube
        Dedispersed at its own DM, of unit noise for each sample that went in; to be refined or measured.
    header : Header
        Of the observation, as far as the file tells: channels are its subbands.
    name : str
        Of the candidate, "" where it has none.
    stated : dict of str to float
        What the file says itself: ``period`` (topocentric, or barycentric where the data are) [s], ``dm`` [pc cm^-3],
        ``snr``, ``width`` [turns]; what it does not tell is left out.
    problems : tuple of str
        What is not in the file and was reckoned in another way.
    """

    cube: FoldCube
    header: Header
    name: str = ""
    stated: dict[str, float] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def somewhere(freqs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Frequencies of bands [MHz]; where that of the one band of a series is unknown it has no delay, at infinity."""
    return np.where(np.isfinite(freqs) & (freqs > 0.0), freqs, np.inf)


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
    from pulsar.io.pfd import looks_like_pfd, read_pfd
    from pulsar.io.phcx import looks_like_phcx, read_phcx

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
