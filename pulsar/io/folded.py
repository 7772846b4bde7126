"""Folds that other programs have made: recognised by what is in the file, whatever it is called.

**PRESTO's prepfold, the binary .pfd.** The order of the numbers is told at :mod:`pulsar.handover.formats`, which writes
them. Profiles are sums of samples: their noise follows from the variance of the samples, which the file has for every
sub-integration and subband. Turns are counted from the start of the observation; subbands ascend in frequency, are
dedispersed inside to their highest channel, and not among each other.

**PulsarHunter's .phcx, XML files of the Parkes surveys (HTRU, SUPERB), also packed with gzip.** What is used of it:
``head`` (telescope, position, band, start, length), and of a ``Section`` its best values and three arrays:
``SubIntegrations`` and ``SubBands`` (each 8 bit between its own least and largest value, hexadecimal) and ``Profile``.
Of several sections the last with a profile counts, which is the one that was optimised. The noise is in none of them. A
row of unit noise is made of each sub-integration and band by what scatters in it beside the mean of all rows, so that
S/N are ours and comparable; those of the file are kept as stated. What was summed over time and what over frequency are
known, not both at once (:mod:`pulsar.data.fold`).
"""

import binascii
import math
import re
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import numpy as np

from pulsar.constants import KDM, C
from pulsar.data.direction import sexagesimal
from pulsar.data.files import Numbers, check_file, read_bytes
from pulsar.data.fold import FoldCube, FoldParams, cube_of_sums, reciprocal, turned
from pulsar.data.header import HIGHEST_FREQ, LARGEST_DM, LATEST_MJD, Header, is_tsamp
from pulsar.data.text import parsed, printable
from pulsar.errors import DataError
from pulsar.io.base import refuse
from pulsar_kernels.arrays import Bools, Floats

#: What can be read, for messages.
READABLE: Final = "prepfold's .pfd or a .phcx of the Parkes surveys (XML, also packed with gzip)"
#: Most bytes of a fold: four times the largest in use (1,024 sub-integrations, 128 subbands, 256 bins).
MOST: Final = 1 << 30
#: The first twelve counts: trials of DM, period and derivative, subbands, sub-integrations, bins, channels, five steps.
_COUNTS: Final = 12
#: Fewest bins of a .pfd in which a pulse can be told from what is beside it, and of a .phcx to tell noise from it.
_FEWEST_PFD, _FEWEST_PHCX = 4, 8
#: Shortest and longest period of anything that is folded [s].
_FASTEST, _SLOWEST = 1e-5, 1e6
_GZIP: Final = b"\x1f\x8b"
_ROOT: Final = re.compile(rb"<phc[fx][\s>]")
#: Most bytes unpacked: a hundred times the largest candidate in use; most rows and bins of one.
_MOST_XML: Final = 1 << 26
_MOST_ROWS: Final = 1 << 14


@dataclass(frozen=True)
class FoldedFile:
    """A fold as its file has it."""

    cube: FoldCube  # Dedispersed at its own DM, of unit noise for each sample that went in; to be refined or measured
    header: Header  # Of the observation, as far as the file tells: channels are its subbands
    name: str = ""  # Of the candidate, "" where it has none
    #: What the file says itself: ``period`` (topocentric, or barycentric where the data are) [s], ``dm`` [pc cm^-3],
    #: ``snr``, ``width`` [turns]; what it does not tell is left out.
    stated: dict[str, float] = field(default_factory=dict)
    problems: tuple[str, ...] = ()  # What is not in the file and was reckoned in another way


def somewhere(freqs: Floats) -> Floats:
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
    if _ROOT.search(_unpacked(data, 4096)):
        return read_phcx(path, data)
    if _order(data):
        return read_pfd(path, data)
    remedy = ""
    if data.startswith(b"SIMPLE  ="):
        remedy = "; archives of PSRFITS are not read: fold the samples themselves"
    elif path.suffix == ".ar":
        remedy = "; archives of PSRCHIVE are not read: fold the samples themselves"
    elif path.suffix == ".bestprof":
        remedy = f"; the fold itself is in {path.with_suffix('')}"
    raise DataError(f"{path}: starts with {data[:8]!r}, not as a fold that can be read: expected {READABLE}{remedy}")


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


def _order(data: bytes) -> str:
    """Order of bytes by which the counts make sense; "": by none."""
    if len(data) < 4 * _COUNTS:
        return ""
    for order in "<>":
        counts = struct.unpack_from(f"{order}{_COUNTS}i", data)
        nsub = counts[3]
        least = (0, 0, 0, 1, 1, _FEWEST_PFD, nsub, 1, 1, 1, 1, 1)
        # With more of one the file is something else.
        if all(low <= n <= 1 << 20 for low, n in zip(least, counts, strict=True)):
            return order
    return ""


class _Pfd:
    """The part of a file that is used."""

    def __init__(self, path: Path, data: bytes) -> None:
        file = Numbers(path, data, _order(data) or "<")
        ndm, nperiod, npdot, nsub, npart, nbins, self.nchan, *_ = file.take(f"{_COUNTS}i", "counts")
        texts = ("name of its file", "name of the candidate", "name of the telescope", "device")
        self.names = [printable(file.text(text, 0, 4096)) for text in texts]
        places = [file.take("16s", "position")[0] for _ in range(2)]
        self.place = [printable(place.split(b"\0")[0].decode("latin-1")) for place in places]
        facts = file.take("9d", "facts")
        self.dt, _, _, topo_epoch, bary_epoch, self.voverc, self.lowest, self.width, self.dm = facts
        topo, bary, (flag, freq, fdot, fddot) = (file.take("f4x3d", "periods") for _ in range(3))
        file.take("7d", "orbit")
        for n, noun in ((ndm, "DMs"), (nperiod, "periods"), (npdot, "period derivatives")):
            file.array((n,), f"trial {noun}")
        self.profiles = file.array((npart, nsub, nbins), "profiles").astype(np.float64)
        # Numbers kept of each sub-integration and subband.
        self.stats = file.array((npart, nsub, 7), "statistics").astype(np.float64)
        # The third "power" is 1 where turns are counted at the barycentre.
        self.barycentric = flag == 1.0 or not topo[1] > 0.0
        self.start = bary_epoch if self.barycentric else topo_epoch
        best = (bary if self.barycentric else topo)[1:]
        self.period = best[0]
        #: At the start: what it was folded with, and the best that the file has.
        self.spin = self.best = FoldParams(freq, fdot, self.dm, fddot)
        if self.period > 0.0:
            # Numbers of numpy: what is absurd becomes infinite, and is refused.
            with np.errstate(all="ignore"):
                freq, fdot, fddot = reciprocal(*np.array(best))
            self.best = FoldParams(freq, fdot, self.dm, fddot)


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
    pfd = _Pfd(path, data)
    samples = pfd.stats[:, :, 0].max(axis=1) if pfd.stats.size else np.zeros(0)
    samples = np.where(np.isfinite(samples), samples, 0.0)
    with np.errstate(all="ignore"):
        tobs = samples.sum() * pfd.dt
        _check_pfd(path, pfd, samples, tobs)
    tobs = float(tobs)
    edges = np.concatenate([[0.0], np.cumsum(samples) * pfd.dt])
    used = samples > 0.0
    samples, profiles, stats = samples[used], pfd.profiles[used], pfd.stats[used]
    middle_times = (0.5 * (edges[1:] + edges[:-1]))[used]
    nsub, nbins = profiles.shape[1:]
    freq = pfd.spin.freq
    # To mid-observation, of which turns are counted here, and to the best period that the file has.
    turns = pfd.best.turns(0.5 * tobs) - (pfd.best.turns(middle_times) - pfd.spin.turns(middle_times))
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
    header = _pfd_header(pfd, subband, tobs)
    cube = FoldCube(
        data=clean[:, ::-1].astype(np.float32),
        variance=np.ascontiguousarray(noise[:, ::-1]),
        time_edges=np.concatenate([[0.0], edges[1:][used]]),
        band_freqs=somewhere(middles[::-1]),
        fref=float(somewhere(highest[-1:])[0]),
        params=pfd.best.at(0.5 * tobs),
        tobs=tobs,
        tsamp=pfd.dt,
        epoch=header.tmid,
    )
    if not np.all(np.isfinite(cube.data)):
        raise DataError(f"{path}: its profiles hold numbers that no sum of samples has: it is damaged, copy it again")
    stated = {"period": pfd.period if pfd.period > 0.0 else 1.0 / freq, "dm": pfd.dm}
    return FoldedFile(cube, header, pfd.names[1], stated)


def _check_pfd(path: Path, pfd: _Pfd, samples: Floats, tobs: float) -> None:
    """Refuse numbers that no observation has."""
    nsub = pfd.profiles.shape[1]
    freq, fdot, fddot = pfd.spin.freq, pfd.spin.fdot, pfd.spin.fddot
    top = pfd.lowest + pfd.width * pfd.nchan
    series = nsub == 1
    # Over the data the derivatives change the frequency by a part of it.
    change = abs(fdot) * tobs + 0.5 * abs(fddot) * tobs**2
    best = pfd.best if pfd.period >= _FASTEST else pfd.spin
    moved = abs(best.freq - freq) + abs(best.fdot) * tobs + 0.5 * abs(best.fddot) * tobs**2
    checks = (
        (is_tsamp(pfd.dt), f"a sampling time of {pfd.dt:g} s"),
        (bool(np.all(samples >= 0.0)) and pfd.dt <= tobs < 1e9, f"a length of {tobs:g} s"),
        (1.0 / _SLOWEST <= freq <= 1.0 / _FASTEST, f"a spin frequency of {freq:g} Hz"),
        (change < 0.5 * freq, f"a frequency derivative of {fdot:g} Hz/s over {tobs:g} s"),
        (moved < 0.5 * freq, f"a best period of {pfd.period:g} s that is far from the one of the fold"),
        (0.0 <= pfd.dm <= LARGEST_DM, f"a DM of {pfd.dm:g}"),
        (abs(pfd.voverc) < 1e-3, f"a velocity of the Earth of {pfd.voverc:g} c"),
        (series or (pfd.lowest > 0.0 and pfd.width > 0.0 and top <= HIGHEST_FREQ), f"a band from {pfd.lowest:g} MHz"),
        (0.0 <= pfd.start <= LATEST_MJD, f"a start at MJD {pfd.start:g}"),
    )
    refuse(path, checks, "says {}, as no fold has: it is no .pfd, or damaged")


def _pfd_header(pfd: _Pfd, subband: float, tobs: float) -> Header:
    nsub = pfd.profiles.shape[1]
    nan = float("nan")
    ra, dec = (sexagesimal(text) for text in pfd.place)
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


def _unpacked(data: bytes, most: int) -> bytes:
    """The content, as far as it can be unpacked."""
    if not data.startswith(_GZIP):
        return data[:most]
    try:
        return zlib.decompressobj(wbits=31).decompress(data, most)
    except zlib.error:
        return b""


def read_phcx(path: Path, data: bytes) -> FoldedFile:
    """A ``.phcx`` as a cube that can be refined.

    Parameters
    ----------
    path : Path
        For messages.
    data : bytes
        Its content.

    Raises
    ------
    DataError
        It is cut off, damaged, lacks what a fold needs, or says what no observation has.
    """
    root = _tree(path, data)
    section = _section(path, root)
    period = _number(section, "BestValues/TopoPeriod")
    dm, accel = _number(section, "BestValues/Dm"), _number(section, "BestValues/Accn")
    accel = accel if math.isfinite(accel) else 0.0
    tobs = _number(root, "head/ObservationLength")
    # Optimised DMs of what has none scatter around 0.
    dm = max(dm, 0.0)
    checks = (
        (_FASTEST <= period <= _SLOWEST, f"a period of {period:g} s"),
        (0.0 <= dm <= LARGEST_DM, f"a DM of {dm:g}"),
        (2.0 * period <= tobs < 1e9, f"a length of {tobs:g} s"),
        (
            abs(accel) * tobs < 0.1 * C * period or abs(accel) < 0.1 * C / max(tobs, 1.0),
            f"an acceleration of {accel:g}",
        ),
    )
    refuse(path, checks, "says {}, as no fold has: it is no candidate of a search, or damaged")
    times = _rows(path, section, "SubIntegrations")
    bands = _rows(path, section, "SubBands")
    if times is None:
        raise DataError(f"{path}: has no SubIntegrations: there is no fold in it")
    nbins = times.shape[1]
    problems = ["its noise is not in the file: it is told from what scatters beside the pulse"]
    if bands is not None and bands.shape[1] != nbins:
        problems.append(f"bands of {bands.shape[1]} bins and sub-integrations of {nbins}: the bands are left out")
        bands = None
    rows, seen = _unit_noise(times)
    if not seen.any():
        raise DataError(f"{path}: its sub-integrations are constant: there is nothing to import")
    header = _phcx_header(path, root, 0 if bands is None else len(bands), period / nbins, tobs, dm)
    problems.append("the sampling time is not in the file: that of a bin is taken")
    share = np.full(len(rows), 1.0 / len(rows))
    profile = rows.sum(axis=0) / math.sqrt(np.count_nonzero(seen))
    if bands is None:
        # The bands of a sum are one.
        low, whole = profile[None], np.ones(1, dtype=np.bool_)
    else:
        # A negative bandwidth says that the first band is the highest, as at Parkes.
        low, whole = _unit_noise(bands[::-1] if _number(root, "head/BandWidth") > 0.0 else bands)
    data3 = cube_of_sums(profile, rows, low, share, whole.astype(np.float64))
    noise = np.broadcast_to((seen[:, None] & whole)[..., None].astype(np.float64), data3.shape)
    freq = 1.0 / period
    cube = FoldCube(
        data=data3.astype(np.float32),
        variance=np.ascontiguousarray(noise),
        time_edges=np.linspace(0.0, tobs, len(rows) + 1),
        band_freqs=somewhere(header.freqs),
        fref=float(somewhere(header.freqs)[0]),
        params=FoldParams(freq, -accel * freq / C, dm),
        tobs=tobs,
        tsamp=header.tsamp,
        epoch=header.tmid,
    )
    stated = {"period": period, "dm": dm}
    for name, key in (("snr", "Snr"), ("width", "Width")):
        value = _number(section, f"BestValues/{key}")
        if math.isfinite(value) and value > 0.0:
            stated[name] = value
    return FoldedFile(cube, header, header.source, stated, tuple(problems))


def _tree(path: Path, data: bytes) -> ElementTree.Element:
    text = _unpacked(data, _MOST_XML)
    if len(text) >= _MOST_XML:
        raise DataError(
            f"{path}: more than {_MOST_XML} bytes of XML are too many for a candidate: this is another file"
        )
    # Declarations of entities can make a few bytes as long as one likes, and no candidate has them.
    if b"<!" in text.replace(b"<!--", b""):
        raise DataError(f"{path}: declares entities, as no .phcx does: this is another file")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        cause = printable(str(error))[:200]
        raise DataError(f"{path}: is damaged or cut off ({cause}): copy it again") from error


def _section(path: Path, root: ElementTree.Element) -> ElementTree.Element:
    sections = [section for section in root.iter("Section") if section.find("Profile") is not None]
    if not sections:
        raise DataError(f"{path}: has no Section with a Profile: there is no fold in it")
    return sections[-1]


def _number(parent: ElementTree.Element, key: str) -> float:
    return parsed(parent.findtext(key))


def _rows(path: Path, section: ElementTree.Element, key: str) -> Floats | None:
    """An array of the section, shape (rows, bins); None where it has none."""
    element = section.find(key)
    if element is None:
        return None
    try:
        nbins, nrows = int(element.get("nBins", "0")), int(element.get("nSub", "0"))
        raw = binascii.unhexlify("".join((element.text or "").split()))
    except ValueError as error:
        raise DataError(f"{path}: {key} is not in hexadecimal pairs, or has no size: it is damaged") from error
    if not (1 <= nrows <= _MOST_ROWS and _FEWEST_PHCX <= nbins <= _MOST_ROWS):
        raise DataError(f"{path}: {key} of {nrows} rows and {nbins} bins: expected at least {_FEWEST_PHCX} bins")
    if len(raw) != nrows * nbins:
        raise DataError(f"{path}: {key} holds {len(raw)} values, not {nrows} rows of {nbins}: it was cut or damaged")
    return np.frombuffer(raw, dtype=np.uint8).reshape(nrows, nbins).astype(np.float64)


def _unit_noise(rows: Floats) -> tuple[Floats, Bools]:
    """Rows of mean 0 in units of their noise, and which of them hold anything; others are zeros.

    The noise of a row is what is left of it beside its part of the mean of all. The mean holds 1/n of its noise, and
    its level and its part take a degree of freedom each.
    """
    n, nbins = rows.shape
    flat = rows - rows.mean(axis=1, keepdims=True)
    seen = np.any(flat != 0.0, axis=1)
    count = int(np.count_nonzero(seen))
    if count < 2:
        # One row: its noise is what changes from bin to bin, as far as a pulse does not.
        steps = np.abs(np.diff(flat, axis=1))
        noise = np.median(steps, axis=1) / 0.6745 / math.sqrt(2.0)
    else:
        mean = flat[seen].mean(axis=0)
        power = float(np.sum(mean**2))
        part = flat @ mean / power if power > 0.0 else np.zeros(n)
        left = np.sum((flat - part[:, None] * mean) ** 2, axis=1)
        noise = np.sqrt(left / (nbins - 2) * count / (count - 1))
    # Values are whole numbers: the rounding alone has 1/12 of variance.
    noise = np.sqrt(noise**2 + 1.0 / 12.0)
    return np.where(seen[:, None], flat / noise[:, None], 0.0), seen


def _phcx_header(path: Path, root: ElementTree.Element, nbands: int, tsamp: float, tobs: float, dm: float) -> Header:
    middle, width = _number(root, "head/CentreFreq"), abs(_number(root, "head/BandWidth"))
    start = _number(root, "head/MjdStart")
    if nbands > 1 and not (0.5 * width < middle <= HIGHEST_FREQ and width > 0.0):
        raise DataError(f"{path}: says a band of {width:g} MHz around {middle:g} MHz: it is damaged")
    if math.isfinite(start) and not 0.0 < start <= LATEST_MJD:
        raise DataError(f"{path}: says a start at MJD {start:g}, as no observation has: it is damaged")
    several = nbands > 1
    step = width / nbands if several else width
    ra, dec = _number(root, "head/Coordinate/RA"), _number(root, "head/Coordinate/Dec")
    beam = (root.findtext("head/Origin/Beam") or "").strip()
    return Header(
        nchans=max(nbands, 1),
        nsamps=max(round(tobs / tsamp), 1),
        tsamp=tsamp,
        fch1=middle + 0.5 * (width - step) if several else middle,
        foff=-step,
        tstart=start,
        dm=0.0 if several else dm,
        is_series=not several,
        source=printable((root.findtext("head/SourceID") or "").strip())[:64],
        telescope=printable((root.findtext("head/Telescope") or "").strip())[:64],
        beam=int(beam) if beam.isdecimal() and len(beam) < 5 else None,
        ra_deg=ra if 0.0 <= ra <= 360.0 else math.nan,
        dec_deg=dec if -90.0 <= dec <= 90.0 else math.nan,
        format="phcx",
    )
