"""Candidates of PulsarHunter, the XML files ``.phcx`` of the Parkes surveys (HTRU, SUPERB), also packed with gzip.

What is used of it: ``head`` (telescope, position, band, start, length), and of a ``Section`` its best values and three
arrays: ``SubIntegrations`` and ``SubBands`` (each 8 bit between its own least and largest value, hexadecimal) and
``Profile``. Of several sections the last with a profile counts, which is the one that was optimised.

The noise is in none of them. A row of unit noise is made of each sub-integration and band by what scatters in it beside
the mean of all rows, so that S/N are ours and comparable; those of the file are kept as stated. What was summed over
time and what over frequency are known, not both at once (:mod:`pulsar.data.fold`).
"""

import binascii
import math
import re
import zlib
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from pulsar.constants import C
from pulsar.data.fold import FoldCube, FoldParams, cube_of_sums
from pulsar.data.header import HIGHEST_FREQ, LARGEST_DM, LATEST_MJD, Header
from pulsar.data.text import printable
from pulsar.errors import DataError
from pulsar.io.folded_file import FoldedFile, somewhere

_GZIP: Final = b"\x1f\x8b"
_ROOT: Final = re.compile(rb"<phc[fx][\s>]")
#: Most bytes unpacked: a hundred times the largest candidate in use.
_MOST: Final = 1 << 26
#: Fewest bins from which noise can be told; most rows and bins of anything that was folded.
_FEWEST_BINS: Final = 8
_MOST_ROWS: Final = 1 << 14
#: Shortest and longest period of anything that is folded [s].
_FASTEST, _SLOWEST = 1e-5, 1e6


def looks_like_phcx(data: bytes) -> bool:
    """Whether a file, packed or not, begins as a ``.phcx``."""
    return _ROOT.search(_unpacked(data, 4096)) is not None


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
    for fits, what in (
        (_FASTEST <= period <= _SLOWEST, f"a period of {period:g} s"),
        (0.0 <= dm <= LARGEST_DM, f"a DM of {dm:g}"),
        (2.0 * period <= tobs < 1e9, f"a length of {tobs:g} s"),
        (
            abs(accel) < 0.1 * C * period / tobs or abs(accel) < 0.1 * C / max(tobs, 1.0),
            f"an acceleration of {accel:g}",
        ),
    ):
        if not fits:
            raise DataError(f"{path}: says {what}, as no fold has: it is no candidate of a search, or damaged")
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
    header = _header(path, root, 0 if bands is None else len(bands), period / nbins, tobs, dm)
    problems.append("the sampling time is not in the file: that of a bin is taken")
    share = np.full(len(rows), 1.0 / len(rows))
    profile = rows.sum(axis=0) / math.sqrt(np.count_nonzero(seen))
    if bands is None:
        # The bands of a sum are one.
        low, whole = profile[None], np.ones(1, dtype=np.bool_)
    else:
        low, whole = _unit_noise(bands if _descends(root) else bands[::-1])
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
    text = _unpacked(data, _MOST)
    if len(text) >= _MOST:
        raise DataError(f"{path}: more than {_MOST} bytes of XML are too many for a candidate: this is another file")
    # Declarations of entities can make a few bytes as long as one likes, and no candidate has them.
    if b"<!" in text.replace(b"<!--", b""):
        raise DataError(f"{path}: declares entities, as no .phcx does: this is another file")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        told = printable(str(error))[:200]
        raise DataError(f"{path}: is damaged or cut off ({told}): copy it again") from error


def _section(path: Path, root: ElementTree.Element) -> ElementTree.Element:
    found = [one for one in root.iter("Section") if one.find("Profile") is not None]
    if not found:
        raise DataError(f"{path}: has no Section with a Profile: there is no fold in it")
    return found[-1]


def _number(parent: ElementTree.Element, key: str) -> float:
    try:
        return float((parent.findtext(key) or "nan").strip())
    except ValueError:
        return math.nan


def _rows(path: Path, section: ElementTree.Element, key: str) -> NDArray[np.float64] | None:
    """An array of the section, shape (rows, bins); None where it has none."""
    found = section.find(key)
    if found is None:
        return None
    try:
        nbins, nrows = int(found.get("nBins", "0")), int(found.get("nSub", "0"))
        raw = binascii.unhexlify("".join((found.text or "").split()))
    except ValueError as error:
        raise DataError(f"{path}: {key} is not in hexadecimal pairs, or has no size: it is damaged") from error
    if not (1 <= nrows <= _MOST_ROWS and _FEWEST_BINS <= nbins <= _MOST_ROWS):
        raise DataError(f"{path}: {key} of {nrows} rows and {nbins} bins: expected at least {_FEWEST_BINS} bins")
    if len(raw) != nrows * nbins:
        raise DataError(f"{path}: {key} holds {len(raw)} values, not {nrows} rows of {nbins}: it was cut or damaged")
    return np.frombuffer(raw, dtype=np.uint8).reshape(nrows, nbins).astype(np.float64)


def _unit_noise(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
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


def _descends(root: ElementTree.Element) -> bool:
    """Whether the first band is the highest: a negative bandwidth says so, as at Parkes."""
    return not _number(root, "head/BandWidth") > 0.0


def _header(path: Path, root: ElementTree.Element, nbands: int, tsamp: float, tobs: float, dm: float) -> Header:
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
