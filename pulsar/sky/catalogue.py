"""Catalogues of known pulsars, and which candidates they explain.

A catalogue is the ATNF's own ``psrcat.db``, the archive ``psrcat_pkg.tar.gz`` that holds it, the word "psrqpy" for the
archive that psrqpy keeps, or a table (CSV, ECSV; separated by commas, semicolons or tabs) whose columns have the ATNF's
names: PSRJ or NAME, RAJ, DECJ (or RAJD, DECJD in degrees), P0 or F0, optionally P1 or F1, PEPOCH, DM, PB, A1. A
candidate is a known pulsar only if position, dispersion measure and Doppler-shifted period all agree.
"""

import csv
import io
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np

from pulsar.constants import DAY
from pulsar.data.direction import sexagesimal
from pulsar.data.files import clean_text, read_bytes
from pulsar.data.header import Header
from pulsar.data.text import parsed
from pulsar.errors import ConfigError, DataError
from pulsar.sky.barycentre import motion_of
from pulsar.sky.observatory import find_observatory
from pulsar_kernels.arrays import Array, Floats

#: Bytes of a catalogue: the ATNF's has some four million.
MOST_CATALOGUE: Final = 1 << 28
#: [Hz] far above the spin at which a neutron star breaks up (some 2 kHz).
HIGHEST_SPIN: Final = 1e5
#: Harmonics that are tried, and half as many subharmonics.
MAX_MULTIPLE: Final = 32
#: Pulsars within so many widths of the beam are considered.
BEAM_WIDTHS: Final = 1.5


@dataclass(frozen=True)
class KnownPulsar:
    """One entry of a catalogue."""

    name: str
    #: ra_deg, dec_deg: position [deg].
    ra_deg: float
    dec_deg: float
    #: freq, fdot: barycentric spin frequency [Hz] and derivative [Hz/s] at `epoch`.
    freq: float
    fdot: float
    epoch: float  # MJD (TDB), NaN when unknown
    dm: float  # [pc cm^-3], NaN when unknown
    orbital_voverc: float  # largest velocity in the orbit over that of light: 2 pi A1 / PB; 0 when single

    def topocentric(self, mjd_tdb: float, voverc: float) -> tuple[float, float]:
        """Expected topocentric frequency [Hz], and how far off an orbit or an old ephemeris may leave it."""
        away = (mjd_tdb - self.epoch) * DAY if np.isfinite(self.epoch) else 0.0
        freq = (self.freq + self.fdot * away) / (1.0 + voverc)
        # 2e-6: glitches, timing noise, old ephemerides.
        return freq, freq * (2e-6 + self.orbital_voverc)


def catalogue_file(source: Path | str) -> Path:
    """The file that a catalogue's name means: "psrqpy" is the archive that psrqpy has downloaded before.

    Nothing is downloaded.

    Raises
    ------
    ConfigError
        psrqpy is not installed, keeps its archive elsewhere, or has none yet.
    """
    if str(source) != "psrqpy":
        return Path(source)
    try:
        from psrqpy.utils import CACHEDIR, DEFAULTCACHENAME
    except ImportError as error:
        raise ConfigError(
            "known.catalogue = psrqpy: the package is not installed, cannot be imported, or keeps no archive "
            f"(1.2.2 or later does; {error}): pip install 'pulsar-search[catalogue]', or name the file of a catalogue"
        ) from error
    path = Path(str(CACHEDIR)) / str(DEFAULTCACHENAME)
    if not path.is_file():
        raise ConfigError(
            f"known.catalogue = psrqpy: it has no catalogue yet ({path} is missing), and nothing is downloaded in a "
            'run: let psrqpy fetch it once with\n  python -c "import psrqpy; psrqpy.QueryATNF()"'
        )
    return path


def read_catalogue(source: Path | str) -> list[KnownPulsar]:
    """Pulsars of a catalogue that have a position and a period.

    `source`: file, or "psrqpy".

    Raises
    ------
    ConfigError
        As :func:`catalogue_file`.
    DataError
        The file cannot be read or holds no pulsar.
    """
    path = catalogue_file(source)
    text = _text(path)
    # A name of a pulsar has four digits; what follows in the heading of a table has one at most.
    named = re.search(r"^PSRJ\s+\S*\d\d", text, re.MULTILINE)
    records = _psrcat_records(text) if named else _table_records(text)
    pulsars = [p for p in map(_pulsar, records) if p is not None]
    if not pulsars:
        raise DataError(
            f"{path}: no pulsar found; expected the ATNF's psrcat.db, or a table with the columns PSRJ, RAJ, DECJ, "
            "P0 or F0, and DM"
        )
    return pulsars


def _text(path: Path) -> str:
    """The text of a catalogue, or of the ``psrcat.db`` in an archive."""
    try:
        data = read_bytes(path, "a catalogue", most=MOST_CATALOGUE)
        if data[:2] == b"\x1f\x8b":
            with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
                members = [m for m in archive if m.isfile() and m.name.rpartition("/")[2] == "psrcat.db"]
                inside = archive.extractfile(members[0]) if members else None
                if inside is None:
                    raise DataError(
                        f"{path}: there is no psrcat.db in this archive: expected the ATNF's psrcat_pkg.tar.gz"
                    )
                data = inside.read(MOST_CATALOGUE)
    except DataError:
        raise
    except (OSError, tarfile.TarError, EOFError, zlib.error, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path}: the catalogue cannot be read: {reason}") from error
    return clean_text(data)


def _psrcat_records(text: str) -> Iterator[dict[str, str]]:
    record: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("@"):
            yield record
            record = {}
            continue
        parts = line.split()
        if len(parts) > 1 and not line.startswith("#"):
            record.setdefault(parts[0].upper(), parts[1])
    yield record


def _table_records(text: str) -> Iterator[dict[str, str]]:
    lines = [line for line in text.splitlines() if line.strip()]
    head = next((i for i, line in enumerate(lines) if re.search(r"(?i)\b(PSRJ|NAME|JNAME)\b", line)), None)
    # ECSV describes its columns in comments first: the last line that has the names is the heading.
    if head is None:
        return
    for i in range(head, min(head + 200, len(lines))):
        if re.search(r"(?i)(^|[,;\t# ])(PSRJ|NAME|JNAME)([,;\t ]|$)", lines[i]) and "name:" not in lines[i]:
            head = i
            break
    heading = lines[head].lstrip("# ") if not lines[head].startswith("#;") else lines[head]
    separator = next((s for s in (";", "\t", ",") if s in heading), " ")
    names = [n.strip().strip('"').upper() for n in next(csv.reader([heading], delimiter=separator))]
    for row in csv.reader(lines[head + 1 :], delimiter=separator, skipinitialspace=True):
        record: dict[str, str] = {}
        for name, value in zip(names, row, strict=False):
            if name and name != "#" and value.strip() not in ("", "*", "nan", "--"):
                record.setdefault(name, value.strip())
        yield record


def _pulsar(record: Mapping[str, str]) -> KnownPulsar | None:
    name = record.get("PSRJ") or record.get("JNAME") or record.get("NAME") or record.get("PSRB")
    position = _position(record)
    freq, fdot = _spin(record)
    if not name or position is None or not 0 < freq < HIGHEST_SPIN:
        return None
    period, size = _number(record, "PB") * DAY, _number(record, "A1")
    orbit = 2.0 * np.pi * size / period if period > 0 and size > 0 else 0.0
    return KnownPulsar(name, *position, freq, fdot, _number(record, "PEPOCH"), _number(record, "DM"), float(orbit))


def _spin(record: Mapping[str, str]) -> tuple[float, float]:
    freq, period = _number(record, "F0"), _number(record, "P0")
    fdot, pdot = _number(record, "F1"), _number(record, "P1")
    if not freq > 0 and period > 0:
        freq = 1.0 / period
    if not np.isfinite(fdot):
        fdot = -pdot * freq * freq if np.isfinite(pdot) else 0.0
    return freq, fdot


def _position(record: Mapping[str, str]) -> tuple[float, float] | None:
    degrees = _number(record, "RAJD"), _number(record, "DECJD")
    if all(np.isfinite(degrees)):
        return degrees
    if "RAJ" in record and "DECJ" in record:
        ra, dec = sexagesimal(record["RAJ"]), sexagesimal(record["DECJ"])
        if np.isfinite(ra) and np.isfinite(dec):
            return 15.0 * ra, dec
    ecliptic = _number(record, "ELONG"), _number(record, "ELAT")
    if all(np.isfinite(ecliptic)):
        return from_ecliptic(*ecliptic)
    return None


def from_ecliptic(longitude: float, latitude: float) -> tuple[float, float]:
    """Right ascension and declination [deg] of ecliptic coordinates (obliquity of IERS 2010, 84381.406 arcsec)."""
    lon, lat, tilt = np.radians([longitude, latitude, 84381.406 / 3600.0])
    x, y, z = np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)
    y, z = y * np.cos(tilt) - z * np.sin(tilt), y * np.sin(tilt) + z * np.cos(tilt)
    return float(np.degrees(np.arctan2(y, x)) % 360.0), float(np.degrees(np.arcsin(z)))


def _number(record: Mapping[str, str], key: str) -> float:
    return parsed(record.get(key))


def separation(ra1: float, dec1: float, ra2: Any, dec2: Any) -> Floats:
    """Angle between directions [deg], all in degrees."""
    a, b = np.radians(dec1), np.radians(np.asarray(dec2, dtype=np.float64))
    half = np.radians(np.asarray(ra2, dtype=np.float64) - ra1) / 2.0
    hav = np.sin((b - a) / 2.0) ** 2 + np.cos(a) * np.cos(b) * np.sin(half) ** 2
    return np.asarray(np.degrees(2.0 * np.arcsin(np.sqrt(np.clip(hav, 0.0, 1.0)))), dtype=np.float64)


def beam_width(header: Header) -> float:
    """Full width of the beam at half power [deg], 70 deg lambda / D; NaN for an unknown telescope."""
    where = find_observatory(header.telescope)
    if where is None or not where.dish or not header.fcenter > 0:
        return float("nan")
    return 70.0 * 299.792458 / header.fcenter / where.dish


def nearby(catalogue: Sequence[KnownPulsar], ra_deg: float, dec_deg: float, radius: float) -> list[KnownPulsar]:
    """Pulsars within `radius` [deg] of a position, the nearest first."""
    if not catalogue or not (np.isfinite(ra_deg) and np.isfinite(dec_deg)):
        return []
    away = separation(ra_deg, dec_deg, [p.ra_deg for p in catalogue], [p.dec_deg for p in catalogue])
    return [catalogue[i] for i in np.argsort(away, kind="stable") if away[i] <= radius]


def label(
    rows: Array, header: Header, catalogue: Sequence[KnownPulsar], *, radius: float | None = None
) -> list[KnownPulsar]:
    """Fill `known_source` of candidates that are known pulsars or harmonics of them.

    Parameters
    ----------
    rows : ndarray
        Fields of CANDIDATE_COLUMNS; changed.
    header : Header
        Its position, telescope and epoch are used; without them nothing is labelled.
    radius : float, optional
        Distance from the position up to which pulsars are considered [deg]; default BEAM_WIDTHS of the beam.

    Returns
    -------
    list of KnownPulsar
        Those inside the radius, the nearest first, found or not.
    """
    radius = BEAM_WIDTHS * beam_width(header) if radius is None else radius
    inside = nearby(catalogue, header.ra_deg, header.dec_deg, radius) if np.isfinite(radius) else []
    motion = motion_of(header) if inside else None
    if motion is None:
        return inside
    for row in rows:
        best = next(_matches(row, inside, motion.mjd_tdb, motion.voverc, header.tobs), None)
        if best is not None:
            pulsar, ratio = best
            row["known_source"] = pulsar.name if ratio == 1 else f"{pulsar.name} x {ratio}"
    return inside


def label_rows(
    rows: Array, headers: Sequence[Header], catalogue: Sequence[KnownPulsar], *, radius: float | None = None
) -> None:
    """Fill `known_source` of candidates of several observations, each by its own: what has a name keeps it.

    Parameters
    ----------
    rows : ndarray
        Fields of CANDIDATE_COLUMNS; changed.
    headers : sequence of Header
        Of the observations that the column `obs` counts.
    radius : float, optional
        As in :func:`label`.
    """
    for obs, header in enumerate(headers):
        of_obs = np.flatnonzero((rows["obs"] == obs) & (rows["known_source"] == ""))
        if of_obs.size:
            some = rows[of_obs]
            label(some, header, catalogue, radius=radius)
            rows["known_source"][of_obs] = some["known_source"]


def label_left(rows: Array, subtracted: Array, tobs: float) -> None:
    """Fill `known_source` of candidates with period and DM of a pulsar that was taken out of the samples.

    `rows`: fields of CANDIDATE_COLUMNS; changed. What has a name keeps it. `subtracted`: fields of SUBTRACTED_COLUMNS.
    """
    nowhere = float("nan")
    pulsars = [
        KnownPulsar(str(entry["name"]), nowhere, nowhere, float(entry["freq"]), 0.0, nowhere, float(entry["dm"]), 0.0)
        for entry in subtracted
        if entry["subtracted"]
    ]
    for row in rows:
        best = None if row["known_source"] else next(_matches(row, pulsars, nowhere, 0.0, tobs), None)
        if best is not None:
            pulsar, ratio = best
            row["known_source"] = f"left of {pulsar.name}" + ("" if ratio == 1 else f" x {ratio}")


def _matches(
    row: Any, pulsars: Iterable[KnownPulsar], mjd: float, voverc: float, tobs: float
) -> Iterator[tuple[KnownPulsar, Fraction]]:
    tobs = float(row["part_duration"]) if row["part"] else tobs
    for pulsar in pulsars:
        dm_error = 5.0 * float(np.nan_to_num(row["dm_err"])) + 0.01 * pulsar.dm
        if np.isfinite(pulsar.dm) and abs(float(row["dm"]) - pulsar.dm) > dm_error:
            continue
        freq, slack = pulsar.topocentric(mjd, voverc)
        observed = float(row["freq"])
        error = 4.0 * float(np.nan_to_num(row["period_err"])) * observed**2 + 0.1 / tobs
        for ratio in _ratios(observed / freq):
            if abs(observed - float(ratio) * freq) <= error + slack * float(ratio):
                yield pulsar, ratio
                break


def _ratios(value: float) -> Iterator[Fraction]:
    """Simple ratios near a value, the simplest first."""
    seen = set()
    # A catalogue may hold a frequency that is hardly above 0.
    if not value < MAX_MULTIPLE + 1:
        return
    for divisor in range(1, MAX_MULTIPLE // 2 + 1):
        multiple = round(value * divisor)
        if 1 <= multiple <= MAX_MULTIPLE:
            ratio = Fraction(multiple, divisor)
            if ratio not in seen:
                seen.add(ratio)
                yield ratio
