"""A file through PRESTO: rfifind, prepsubband, realfft, rednoise, accelsearch; what accelsearch has, as a table.

For `population.py`. The plan is made as DDplan does: steps and downsampling are doubled when the dispersion inside the
channels has grown to the next power of two of a sample.
"""

import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peer_programs import measured
from population_sky import Sky

NHARM = 16
#: Lines of accelsearch are kept from this on [sigma]; those that count are chosen by who reads them.
LEAST_SIGMA = 4.0
#: accelsearch leaves out what is below [Hz]: below the slowest pulsar.
LOWEST = 0.15
#: The tables of an ACCEL file end at the first blank line; columns of the first, from its left.
SIGMA_COLUMN, BIN_COLUMN = 1, 7
#: A number as accelsearch writes it: 66.031(31), 0.2(1.0)x10^3; 1044352.313(63, where the column is full.
NUMBER = re.compile(r"^(-?[\d.]+)(?:\([\d.]+\)?)?(?:x10\^(-?\d+))?$")
DTYPE = np.dtype([("dm", "f8"), ("freq", "f8"), ("sigma", "f8"), ("sigma_single", "f8"), ("kind", "U8")])


def plan(observed: Sky, dm_high: float) -> list[tuple[float, float, int, int]]:
    """Lowest DM, step, number of DMs and downsampling of each call of prepsubband."""
    calls = []
    low, down = 0.0, 1
    band, inside = float(np.ptp(observed.delays)), float(np.median(observed.smears))
    while low < dm_high:
        # A step that shifts the ends of the band by a sample.
        step = round(down * observed.tsamp / band, 2)
        end = dm_high if down >= 8 else min(dm_high, 2 * down * observed.tsamp / inside)
        number = max(int(np.ceil((end - low) / step)), 1)
        calls.append((low, step, number, down))
        low, down = low + step * number, down * 2
    return calls


@dataclass
class Spent:
    """What the programs took for a file.

    Attributes
    ----------
    cpu : float
        Of all processes [s].
    memory : int
        Most that a process had [byte].
    files, size : int
        Files that they left, and their size [byte].
    """

    cpu: float = 0.0
    memory: int = 0
    files: int = 0
    size: int = 0

    def left(self, files: Iterable[Path]) -> None:
        """Count files."""
        for file in files:
            self.files += 1
            self.size += file.stat().st_size


def call(folder: Path, binaries: Path, spent: Spent, *words: str) -> None:
    """Run one of the programs in a folder.

    Raises
    ------
    PeerError
        It ends with an error; with what it said.
    """
    timing, memory, _ = measured((str(binaries / words[0]), *words[1:]), folder)
    spent.cpu += timing.cpu
    spent.memory = max(spent.memory, memory)


def presto_search(
    binaries: Path, observed: Sky, path: Path, dm_high: float, spent: Spent | None = None
) -> NDArray[Any]:
    """All that accelsearch has in a file, in the columns of our detections (its sigma knows of no other DMs).

    Parameters
    ----------
    binaries : Path
        Folder of the programs.
    observed : Sky
    path : Path
        The file.
    dm_high : float
        Highest DM.
    spent : Spent, optional
        What it takes is added there.
    """
    spent = spent or Spent()
    binaries, path = binaries.resolve(), path.resolve()
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        call(folder, binaries, spent, "rfifind", "-time", "1.0", "-o", "m", str(path))
        for low, step, number, down in plan(observed, dm_high):
            # Filled up to a power of two: for others FFTW makes a new plan each time, longer than the search takes.
            length = 1 << int(np.ceil(np.log2(observed.nsamps // down)))
            options = ["-nsub", str(observed.nchans), "-lodm", f"{low:.2f}", "-dmstep", f"{step:.2f}"]
            options += ["-numdms", str(number), "-numout", str(length), "-downsamp", str(down), "-nobary"]
            call(folder, binaries, spent, "prepsubband", *options, "-mask", "m_rfifind.mask", "-o", "s", str(path))
            for series in sorted(folder.glob("s_DM*.dat")):
                name = series.stem
                call(folder, binaries, spent, "realfft", f"{name}.dat")
                call(folder, binaries, spent, "rednoise", f"{name}.fft")
                options = ["-zmax", "0", "-numharm", str(NHARM), "-sigma", str(LEAST_SIGMA), "-flo", str(LOWEST)]
                call(folder, binaries, spent, "accelsearch", *options, f"{name}_red.fft")
                dm = float(name.rsplit("DM", 1)[1])
                listing = folder / f"{name}_red_ACCEL_0"
                tobs = length * down * observed.tsamp
                found += [(dm, freq, sigma, sigma, "presto") for sigma, freq in read_listing(listing, tobs)]
                spent.left(folder.glob(f"{name}*"))
                for old in folder.glob(f"{name}*"):
                    old.unlink()
        spent.left(folder.iterdir())
    return np.array(found, DTYPE)


def read_listing(path: Path, tobs: float) -> list[tuple[float, float]]:
    """Sigma and frequency of the candidates in an ACCEL file: none where there is no such file.

    Parameters
    ----------
    path : Path
    tobs : float
        Length of the series [s].
    """
    found: list[tuple[float, float]] = []
    for line in path.read_text().splitlines()[3:] if path.exists() else ():
        words = line.split()
        if not words:
            break
        number = NUMBER.match(words[BIN_COLUMN])
        if number is None:
            raise RuntimeError(f"{path.name}: not a Fourier bin: {words[BIN_COLUMN]!r}")
        found.append((float(words[SIGMA_COLUMN]), float(number[1]) * 10.0 ** int(number[2] or 0) / tobs))
    return found
