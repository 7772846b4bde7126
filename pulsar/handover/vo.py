"""Lists and products for the Virtual Observatory: VOTable, FITS tables, and rows of ObsCore.

Words of UCDs are those of the IVOA's list (UCD1+ controlled vocabulary 1.6); columns of ObsCore with their units, UCDs
and utypes those of its version 1.1 (Louys et al. 2017, table 6).
"""

import io
import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final

import numpy as np
from astropy.io import fits
from astropy.io.votable import from_table
from astropy.io.votable.tree import CooSys, VOTableFile
from astropy.table import Column, Table
from jinja2 import Environment, StrictUndefined

from pulsar.config.model import TelescopeConfig
from pulsar.constants import DAY, KDM, C
from pulsar.data.direction import galactic, galactic_dm
from pulsar.data.header import Header
from pulsar.data.text import file_name, iso_time, printable, utc_of
from pulsar.errors import ConfigError
from pulsar.io.product.reader import Run
from pulsar.sky.observatory import gain_at

#: Column of a list -> its UCD. What has no word in the vocabulary, such as a spin frequency, has none.
UCDS: Final = {
    "id": "meta.id;meta.main", "uid": "meta.id", "rank": "stat.rank", "period": "time.period",
    "period_err": "stat.error;time.period", "period_bary": "time.period", "period_alt": "time.period",
    "accel": "phys.acceleration", "accel_err": "stat.error;phys.acceleration", "epoch": "time.epoch",
    "mjd": "time.epoch", "dm": "phys.dispMeasure", "dm_err": "stat.error;phys.dispMeasure",
    "dm_detected": "phys.dispMeasure", "snr": "stat.snr", "ra_deg": "pos.eq.ra;meta.main",
    "dec_deg": "pos.eq.dec;meta.main", "gl": "pos.galactic.lon", "gb": "pos.galactic.lat",
    "flux": "phot.flux.density;em.radio", "score": "stat.probability", "chance": "stat.probability",
    "beam": "meta.id;instr.beam", "nbeams": "meta.number;instr.beam", "target": "meta.id;src",
    "known_source": "meta.id.cross", "harmonic_of": "meta.id.parent", "source": "meta.id.parent",
    "rfi_flags": "meta.code.qual", "reasons": "meta.note", "label": "meta.code.class",
}  # fmt: skip
#: Those that tell something else of a single pulse than of a candidate, whose width is in turns.
OF_PULSES: Final = {"width": "time.duration;src.var.pulse"}
_IVOID: Final = re.compile(r"ivo://[A-Za-z0-9][\w.~-]{2,}(/[\w.~-]+)*")


def list_votable(table: Table, name: str) -> bytes:
    """A list as a VOTable.

    Parameters
    ----------
    table : astropy Table
        Of candidates or single pulses, with units and descriptions.
    name : {"candidates", "single_pulses"}
    """
    file = from_table(table, table_id=name)
    ucds = UCDS | OF_PULSES if name == "single_pulses" else UCDS
    for field in file.get_first_table().fields:
        field.ucd = ucds.get(field.name)
    return _with_frame(file, "ra_deg", "dec_deg")


def list_fits(table: Table, name: str) -> bytes:
    """A list as a table in a FITS file: units (TUNITn), descriptions (TCOMMn) and UCDs (TUCDn) stand in its header.

    Texts are ASCII, as FITS wants them: other letters become question marks.

    Parameters
    ----------
    name : {"candidates", "single_pulses"}
    """
    plain = Table(masked=False)
    for column in table.itercols():
        values = np.asarray(column.value if hasattr(column, "unit") and column.unit else column)
        if values.dtype.kind in "UO":
            values = np.char.encode(values.astype(np.str_), "ascii", "replace")
        plain[column.info.name] = Column(values, unit=column.info.unit)
    hdu = fits.table_to_hdu(plain, character_as_bytes=True)
    hdu.name = name.upper()
    ucds = UCDS | OF_PULSES if name == "single_pulses" else UCDS
    for number, column in enumerate(table.itercols(), start=1):
        for key, text in (("TCOMM", column.info.description), ("TUCD", ucds.get(column.info.name))):
            if text:
                hdu.header[f"{key}{number}"] = text
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(buffer)
    return buffer.getvalue()


def obscore_votable(run: Run, author: str) -> bytes:
    """The rows of ObsCore of a product, one for each of its observations, as a VOTable.

    Parameters
    ----------
    author : str
        IVO identifier of who publishes it.

    Raises
    ------
    ConfigError
        `author` is no identifier.
    """
    checked_ivoid(author)
    described = [_obscore(run, header, f"{author}?{run.path.name}#{i}") for i, header in enumerate(run.observations)]
    table = Table({column[0]: [rows[at][1] for rows in described] for at, column in enumerate(described[0])})
    file = from_table(table, table_id="ObsCore")
    for field, (_, _, unit, ucd, utype) in zip(file.get_first_table().fields, described[0], strict=True):
        field.unit, field.ucd, field.utype = unit or None, ucd, f"obscore:{utype}"
    return _with_frame(file, "s_ra", "s_dec")


def _obscore(run: Run, header: Header, did: str) -> list[tuple[str, Any, str, str, str]]:
    """Name, value, unit, UCD and utype of each mandatory column, in the order of the standard."""
    low, high = header.edges
    start, length, nan = header.tstart, header.tobs, math.nan
    size = max(1, round(run.path.stat().st_size / 1000))
    name = f"{header.source or 'unnamed'}_{start:.6f}" + ("" if header.beam is None else f"_beam{header.beam}")
    power = header.fcenter / header.chan_width if header.fcenter > 0 and header.chan_width > 0 else nan
    place, time, band = "Char.SpatialAxis", "Char.TimeAxis", "Char.SpectralAxis"
    return [
        ("dataproduct_type", "measurements", "", "meta.code.class", "ObsDataset.dataProductType"),
        ("calib_level", 4, "", "meta.code;obs.calib", "ObsDataset.calibLevel"),
        ("obs_collection", "pulsar search", "", "meta.id", "DataID.collection"),
        ("obs_id", name, "", "meta.id", "DataID.observationID"),
        ("obs_publisher_did", did, "", "meta.ref.ivoid", "Curation.publisherDID"),
        ("access_url", run.path.resolve().as_uri(), "", "meta.ref.url", "Access.reference"),
        ("access_format", "application/x-hdf5", "", "meta.code.mime", "Access.format"),
        ("access_estsize", size, "kbyte", "phys.size;meta.file", "Access.size"),
        ("target_name", header.source, "", "meta.id;src", "Target.name"),
        ("s_ra", header.ra_deg, "deg", "pos.eq.ra", f"{place}.Coverage.Location.Coord.Position2D.Value2.C1"),
        ("s_dec", header.dec_deg, "deg", "pos.eq.dec", f"{place}.Coverage.Location.Coord.Position2D.Value2.C2"),
        ("s_fov", nan, "deg", "phys.angSize;instr.fov", f"{place}.Coverage.Bounds.Extent.diameter"),
        ("s_region", "", "", "pos.outline;obs.field", f"{place}.Coverage.Support.Area"),
        ("s_resolution", nan, "arcsec", "pos.angResolution", f"{place}.Resolution.Refval.value"),
        ("s_xel1", 1, "", "meta.number", f"{place}.numBins1"),
        ("s_xel2", 1, "", "meta.number", f"{place}.numBins2"),
        ("t_min", start, "d", "time.start;obs.exposure", f"{time}.Coverage.Bounds.Limits.StartTime"),
        ("t_max", start + length / DAY, "d", "time.end;obs.exposure", f"{time}.Coverage.Bounds.Limits.StopTime"),
        ("t_exptime", length, "s", "time.duration;obs.exposure", f"{time}.Coverage.Support.Extent"),
        ("t_resolution", header.tsamp, "s", "time.resolution", f"{time}.Resolution.Refval.value"),
        ("t_xel", header.nsamps, "", "meta.number", f"{time}.numBins"),
        ("em_min", _wavelength(high), "m", "em.wl;stat.min", f"{band}.Coverage.Bounds.Limits.LoLimit"),
        ("em_max", _wavelength(low), "m", "em.wl;stat.max", f"{band}.Coverage.Bounds.Limits.HiLimit"),
        ("em_res_power", power, "", "spect.resolution", f"{band}.Resolution.ResolPower.refVal"),
        ("em_xel", header.nchans, "", "meta.number", f"{band}.numBins"),
        ("o_ucd", "stat.snr", "", "meta.ucd", "Char.ObservableAxis.ucd"),
        ("pol_states", "/I/", "", "meta.code;phys.polarization", "Char.PolarizationAxis.stateList"),
        ("pol_xel", 1, "", "meta.number", "Char.PolarizationAxis.numBins"),
        ("facility_name", header.telescope, "", "meta.id;instr.tel", "Provenance.ObsConfig.Facility.name"),
        ("instrument_name", header.machine, "", "meta.id;instr", "Provenance.ObsConfig.Instrument.name"),
    ]


def _wavelength(freq: float) -> float:
    """[m] of a frequency [MHz]; NaN where that is not known."""
    return C / (1e6 * freq) if freq > 0 else math.nan


def checked_ivoid(author: str) -> str:
    """An IVO identifier, if it is one (IVOA Identifiers 2.0): ``ivo://authority/path``.

    Raises
    ------
    ConfigError
        It is none.
    """
    if _IVOID.fullmatch(author) is None:
        raise ConfigError(f"--author {author!r}: expected an IVO identifier, such as ivo://org.example/survey")
    return author


def _with_frame(file: VOTableFile, *position: str) -> bytes:
    """The text of a VOTable whose columns of a position say that it is in the ICRS."""
    file.resources[0].coordinate_systems.append(CooSys(ID="icrs", system="ICRS"))
    for field in file.get_first_table().fields:
        if field.name in position:
            field.ref = "icrs"
    buffer = io.BytesIO()
    file.to_xml(buffer)
    return buffer.getvalue()


#: Name, value, unit as the standard for bursts spells it, and UCD of a parameter.
Parameter = tuple[str, Any, str, str]


def voevent_bytes(
    row: Mapping[str, Any], header: Header, telescope: TelescopeConfig, author: str, role: str = "observation"
) -> bytes:
    """The text of the event.

    Parameters
    ----------
    row : mapping
        Of single pulses.
    header : Header
        Of its observation.
    telescope : TelescopeConfig
        Of the search: without a gain there is no flux density.
    author : str
        IVO identifier of institute and instrument, such as ``ivo://org.example/survey``.
    role : {"observation", "test"}

    Raises
    ------
    ConfigError
        `author` is no identifier, or time or position are not known.
    """
    checked_ivoid(author)
    if not (row["mjd"] > 0 and math.isfinite(row["ra_deg"]) and math.isfinite(row["dec_deg"])):
        raise ConfigError(
            f"{row['id']}: an event has a position and a time: give --ra and --dec to the search, and files with "
            "a start"
        )
    now = datetime.now(UTC)
    created = (now - utc_of(0.0)).total_seconds() / DAY
    frame: Any = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    text: str = frame.from_string((files("pulsar.handover") / "voevent.xml.j2").read_text(encoding="utf-8")).render(
        role=role,
        ivorn=f"{author}#FRB{utc_of(row['mjd']):%y%m%d%H%M}/{created:.8f}",
        author=author,
        date=f"{now:%Y-%m-%dT%H:%M:%S}",
        groups={name: _known(group) for name, group in _parameters(row, header, telescope).items()},
        telescope=file_name(header.telescope) or "unknown",
        frame="TDB-ICRS-BARY" if header.barycentric else "UTC-ICRS-TOPO",
        time=iso_time(row["mjd"]),
        ra=row["ra_deg"],
        dec=row["dec_deg"],
        score=min(max(float(row["score"]), 0.0), 1.0),
    )
    return text.encode()


def _parameters(row: Mapping[str, Any], header: Header, telescope: TelescopeConfig) -> dict[str, list[Parameter]]:
    """Parameters of an event, by the group in which they are."""
    lon, lat = (float(value) for value in galactic(row["ra_deg"], row["dec_deg"]))
    gain, fcenter = gain_at(telescope, header.za_deg), header.fcenter
    # Peak flux density of a box of this width (radiometer equation: Cordes & McLaughlin 2003, ApJ 596, 1142).
    samples = telescope.npol * 1e6 * header.bandwidth * row["width"]
    flux = row["snr"] * telescope.tsys / (gain * math.sqrt(samples)) if gain > 0 and samples > 0 else math.nan
    most, model = galactic_dm(lon, lat) or (math.nan, "")
    smearing = 2e3 * KDM * row["dm"] * header.chan_width / fcenter**3 if fcenter > 0 else math.nan
    return {
        "observatory parameters": [
            ("sampling_time", 1e3 * header.tsamp, "ms", "time.resolution"),
            ("bandwidth", header.bandwidth, "MHz", "instr.bandwidth"),
            ("nchan", header.nchans, "None", "meta.number;em.freq;em.bin"),
            ("centre_frequency", fcenter, "MHz", "em.freq;instr"),
            ("npol", telescope.npol, "None", ""),
            ("bits_per_sample", header.nbits, "None", ""),
            ("gain", gain, "K/Jy", ""),
            ("tsys", telescope.tsys if gain > 0 else math.nan, "K", "phot.antennaTemp"),
            ("backend", header.machine, "", ""),
            ("beam", "" if header.beam is None else str(header.beam), "", ""),
        ],
        "event parameters": [
            ("dm", row["dm"], "pc/cm^3", "phys.dispMeasure"),
            ("dm_error", row["dm_err"], "pc/cm^3", "stat.error;phys.dispMeasure"),
            ("width", 1e3 * row["width"], "ms", "time.duration;src.var.pulse"),
            ("snr", row["snr"], "None", "stat.snr"),
            ("flux", flux, "Jy", "phot.flux"),
            ("gl", lon, "Degrees", "pos.galactic.lon"),
            ("gb", lat, "Degrees", "pos.galactic.lat"),
        ],
        "advanced parameters": [
            ("reference_frequency", header.fch1, "MHz", "em.freq"),
            ("MW_dm_limit", most, "pc/cm^3", "phys.dispMeasure"),
            ("galactic_electron_model", model, "", ""),
            ("dispersion_smearing", smearing, "ms", "time.duration"),
        ],
    }


def _known(parameters: list[Parameter]) -> Iterator[dict[str, str | None]]:
    """Attributes of those of the parameters that are known."""
    for name, value, unit, ucd in parameters:
        if isinstance(value, str):
            kind, text = "string", printable(value)
        else:
            kind, text = "int" if isinstance(value, int) else "float", f"{value:.9g}" if math.isfinite(value) else ""
        if text:
            yield {"name": name, "dataType": kind, "value": text, "unit": unit or None, "ucd": ucd or None}
