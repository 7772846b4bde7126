"""Folds of PRESTO's prepfold, the binary ``.pfd``.

The order of the numbers is told at :mod:`pulsar.handover.presto`, which writes them. Profiles are sums of samples:
their noise follows from the variance of the samples, which the file has for every sub-integration and subband. Turns
are counted from the start of the observation; subbands ascend in frequency, are dedispersed inside to their highest
channel, and not among each other.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.constants import KDM
from pulsar.data.fold import FoldCube, FoldParams, turned
from pulsar.data.header import HIGHEST_FREQ, LARGEST_DM, LATEST_MJD, LONGEST_TSAMP, SHORTEST_TSAMP, Header
from pulsar.data.text import printable
from pulsar.errors import DataError
from pulsar.io.folded_file import FoldedFile, somewhere
from pulsar.io.timeseries import sexagesimal_text

#: The first twelve counts: trials of DM, period and derivative, subbands, sub-integrations, bins, channels, five steps.
_COUNTS: Final = 12
#: Most of each that a fold has; beyond it the file is something else.
_MOST_COUNT: Final = 1 << 20
_MOST_TEXT: Final = 4096
#: Fewest bins in which a pulse can be told from what is beside it.
_FEWEST_BINS: Final = 4
#: Numbers kept of each sub-integration and subband.
_STATS: Final = 7
#: Shortest and longest period of anything that is folded [s].
_FASTEST, _SLOWEST = 1e-5, 1e6


def spread_noise(samples_per_bin: float) -> float:
    """Variance of a bin as prepfold folds, over that of the samples which it stands for.

    It spreads each sample over the bins that it covers: neighbours share noise, and each has less. The variance that a
    ``.pfd`` states is that of the samples; PRESTO's readers divide chi-square by this factor. A mean over where samples
    begin gives 1 - 1 / (3 b) for b >= 1 samples in a bin; PRESTO's own, which has to be met, is from simulations.

    Parameters
    ----------
    samples_per_bin : float
        Length of a bin over the sampling time.
    """
    return float(0.96 * (1.0 + samples_per_bin**-1.806) ** (-1.0 / 1.806))


def looks_like_pfd(data: bytes) -> bool:
    """Whether a file begins with the counts of a ``.pfd``."""
    return _order(data) != ""


def _order(data: bytes) -> str:
    """Order of bytes by which the counts make sense; "": by none."""
    if len(data) < 4 * _COUNTS:
        return ""
    for order in "<>":
        counts = struct.unpack_from(f"{order}{_COUNTS}i", data)
        nsub = counts[3]
        least = (0, 0, 0, 1, 1, _FEWEST_BINS, nsub, 1, 1, 1, 1, 1)
        if all(low <= n <= _MOST_COUNT for low, n in zip(least, counts, strict=True)):
            return order
    return ""


class _Numbers:
    """A file read front to back."""

    def __init__(self, path: Path, data: bytes, order: str) -> None:
        self.path, self.data, self.order, self.at = path, data, order, 0

    def take(self, form: str, what: str) -> tuple[Any, ...]:
        form = self.order + form
        size = struct.calcsize(form)
        self._check(size, what)
        self.at += size
        return struct.unpack_from(form, self.data, self.at - size)

    def text(self, what: str) -> str:
        (n,) = self.take("i", what)
        if not 0 <= n <= _MOST_TEXT:
            raise DataError(f"{self.path}: {what} (byte {self.at - 4}) has {n} characters: this is no .pfd, or damaged")
        return printable(self.take(f"{n}s", what)[0].split(b"\0")[0].decode("latin-1"))

    def array(self, shape: tuple[int, ...], what: str) -> NDArray[np.float64]:
        n = math.prod(shape)
        self._check(8 * n, what)
        self.at += 8 * n
        return np.frombuffer(self.data, f"{self.order}f8", n, self.at - 8 * n).reshape(shape).astype(np.float64)

    def _check(self, size: int, what: str) -> None:
        if self.at + size > len(self.data):
            raise DataError(
                f"{self.path}: ends at byte {len(self.data)}, within {what} (bytes {self.at} to {self.at + size}): "
                "it was cut or damaged, copy it again"
            )


@dataclass(frozen=True)
class _Pfd:
    """What of a file is used."""

    names: list[str]
    place: list[str]
    nchan: int
    dt: float
    start: float
    barycentric: bool
    voverc: float
    lowest: float
    width: float
    dm: float
    spin: tuple[float, float, float]
    best: tuple[float, float, float]
    profiles: NDArray[np.float64]
    stats: NDArray[np.float64]


def _parsed(path: Path, data: bytes) -> _Pfd:
    file = _Numbers(path, data, _order(data) or "<")
    ndm, nperiod, npdot, nsub, npart = file.take("5i", "its counts")
    nbins, nchan, *_ = file.take("7i", "its counts")
    names = [file.text(f"its {what}") for what in ("file name", "candidate", "telescope", "device")]
    place = [printable(file.take("16s", "its position")[0].split(b"\0")[0].decode("latin-1")) for _ in range(2)]
    dt, _, _, topo_epoch, bary_epoch, voverc, lowest, width, dm = file.take("9d", "its facts")
    topo, bary, (flag, *spin) = (file.take("f4x3d", "its periods") for _ in range(3))
    file.take("7d", "its orbit")
    for n, what in ((ndm, "DMs"), (nperiod, "periods"), (npdot, "period derivatives")):
        file.array((n,), f"its trial {what}")
    profiles = file.array((npart, nsub, nbins), "its profiles")
    stats = file.array((npart, nsub, _STATS), "its statistics")
    # The third "power" is 1 where turns are counted at the barycentre.
    moved = flag == 1.0 or not topo[1] > 0.0
    return _Pfd(
        names=names,
        place=place,
        nchan=nchan,
        dt=dt,
        start=bary_epoch if moved else topo_epoch,
        barycentric=moved,
        voverc=voverc,
        lowest=lowest,
        width=width,
        dm=dm,
        spin=(spin[0], spin[1], spin[2]),
        best=(bary if moved else topo)[1:],
        profiles=profiles,
        stats=stats,
    )


def read_pfd(path: Path, data: bytes) -> FoldedFile:
    """A ``.pfd`` as a cube that can be refined.

    Subbands whose samples have no variance, and what is no number, count as masked.

    Parameters
    ----------
    path : Path
        For messages.
    data : bytes
        Its content.

    Raises
    ------
    DataError
        It is cut off, or says what no observation has.
    """
    pfd = _parsed(path, data)
    samples = pfd.stats[:, :, 0].max(axis=1) if pfd.stats.size else np.zeros(0)
    samples = np.where(np.isfinite(samples), samples, 0.0)
    with np.errstate(all="ignore"):
        tobs = samples.sum() * pfd.dt
        _check(path, pfd, samples, tobs)
    tobs = float(tobs)
    edges = np.concatenate([[0.0], np.cumsum(samples) * pfd.dt])
    used = samples > 0.0
    samples, profiles, stats = samples[used], pfd.profiles[used], pfd.stats[used]
    middle_times = (0.5 * (edges[1:] + edges[:-1]))[used]
    nsub, nbins = profiles.shape[1:]
    freq = pfd.spin[0]
    best = _frequencies(pfd.best) if pfd.best[0] > 0.0 else pfd.spin
    # To mid-observation, of which turns are counted here, and to the best period that the file has.
    half = 0.5 * tobs
    params = FoldParams(best[0] + half * (best[1] + 0.5 * best[2] * half), best[1] + best[2] * half, pfd.dm, best[2])
    turns = _turns(best, half) - (_turns(best, middle_times) - _turns(pfd.spin, middle_times))
    subband = pfd.width * pfd.nchan / nsub
    # The highest channel of each, to which it is dedispersed inside, and its middle.
    highest = pfd.lowest + subband - pfd.width + subband * np.arange(nsub)
    middles = highest - 0.5 * (subband - pfd.width)
    late = np.zeros(nsub)
    if nsub > 1:
        seen = highest * (1.0 + pfd.voverc)
        late = freq * KDM * pfd.dm * (seen**-2.0 - seen[-1] ** -2.0)
    variance = stats[:, :, 2]
    good = np.isfinite(variance) & (variance > 0.0) & np.all(np.isfinite(profiles), axis=2)
    if not good.any():
        raise DataError(f"{path}: no sub-integration and subband holds samples: there is nothing to import")
    scale = np.where(good, 1.0 / np.sqrt(np.where(good, variance, 1.0)), 0.0)
    clean = np.where(good[..., None], profiles, 0.0)
    clean = (clean - clean.mean(axis=2, keepdims=True)) * scale[..., None]
    clean = turned(clean, -turns[:, None] - late)
    per_bin = samples / nbins * spread_noise(1.0 / (freq * nbins * pfd.dt))
    noise = np.broadcast_to((good * per_bin[:, None])[..., None], clean.shape)
    header = _header(pfd, subband, tobs)
    cube = FoldCube(
        data=clean[:, ::-1].astype(np.float32),
        variance=np.ascontiguousarray(noise[:, ::-1]),
        time_edges=np.concatenate([[0.0], edges[1:][used]]),
        band_freqs=somewhere(middles[::-1]),
        fref=float(somewhere(highest[-1:])[0]),
        params=params,
        tobs=tobs,
        tsamp=pfd.dt,
        epoch=header.tmid,
    )
    if not np.all(np.isfinite(cube.data)):
        raise DataError(f"{path}: its profiles hold numbers that no sum of samples has: it is damaged, copy it again")
    stated = {"period": pfd.best[0] if pfd.best[0] > 0.0 else 1.0 / freq, "dm": pfd.dm}
    return FoldedFile(cube, header, pfd.names[1], stated)


def _frequencies(periods: tuple[float, float, float]) -> tuple[float, float, float]:
    """Frequency and two derivatives of a period with its own."""
    # Numbers of numpy: what is absurd becomes infinite, and is refused.
    p, pdot, pddot = np.array(periods, dtype=np.float64)
    return 1.0 / p, -pdot / p**2, (2.0 * pdot**2 / p - pddot) / p**2


def _turns(spin: tuple[float, float, float], at: Any) -> Any:
    """Turns from the start to some seconds after it."""
    return at * (spin[0] + at * (spin[1] / 2.0 + at * spin[2] / 6.0))


def _check(path: Path, pfd: _Pfd, samples: NDArray[np.float64], tobs: float) -> None:
    """Refuse numbers that no observation has."""
    nsub = pfd.profiles.shape[1]
    freq, fdot, fddot = np.array(pfd.spin, dtype=np.float64)
    top = pfd.lowest + pfd.width * pfd.nchan
    series = nsub == 1
    # Over the data the derivatives change the frequency by a part of it.
    change = abs(fdot) * tobs + 0.5 * abs(fddot) * tobs**2
    best, bestdot, bestddot = _frequencies(pfd.best) if pfd.best[0] >= _FASTEST else pfd.spin
    moved = abs(best - freq) + abs(bestdot) * tobs + 0.5 * abs(bestddot) * tobs**2
    for fits, what in (
        (SHORTEST_TSAMP <= pfd.dt <= LONGEST_TSAMP, f"a sampling time of {pfd.dt:g} s"),
        (bool(np.all(samples >= 0.0)) and pfd.dt <= tobs < 1e9, f"a length of {tobs:g} s"),
        (1.0 / _SLOWEST <= freq <= 1.0 / _FASTEST, f"a spin frequency of {freq:g} Hz"),
        (change < 0.5 * freq, f"a frequency derivative of {fdot:g} Hz/s over {tobs:g} s"),
        (moved < 0.5 * freq, f"a best period of {pfd.best[0]:g} s that is far from the one of the fold"),
        (0.0 <= pfd.dm <= LARGEST_DM, f"a DM of {pfd.dm:g}"),
        (abs(pfd.voverc) < 1e-3, f"a velocity of the Earth of {pfd.voverc:g} c"),
        (series or (pfd.lowest > 0.0 and pfd.width > 0.0 and top <= HIGHEST_FREQ), f"a band from {pfd.lowest:g} MHz"),
        (0.0 <= pfd.start <= LATEST_MJD, f"a start at MJD {pfd.start:g}"),
    ):
        if not fits:
            raise DataError(f"{path}: says {what}, as no fold has: it is no .pfd, or damaged")


def _header(pfd: _Pfd, subband: float, tobs: float) -> Header:
    nsub = pfd.profiles.shape[1]
    nan = float("nan")
    ra, dec = (sexagesimal_text(text) for text in pfd.place)
    top = pfd.lowest + pfd.width * (pfd.nchan - 1)
    return Header(
        nchans=nsub,
        nsamps=max(round(tobs / pfd.dt), 1),
        tsamp=pfd.dt,
        fch1=top - 0.5 * (subband - pfd.width) if top > 0.0 else nan,
        foff=-subband,
        tstart=pfd.start if pfd.start > 0.0 else nan,
        dm=pfd.dm if nsub == 1 else 0.0,
        is_series=nsub == 1,
        source=pfd.names[1],
        telescope="" if pfd.names[2].lower() == "unknown" else pfd.names[2],
        ra_deg=15.0 * ra if math.isfinite(ra) else nan,
        dec_deg=dec,
        barycentric=pfd.barycentric,
        format="pfd",
    )
