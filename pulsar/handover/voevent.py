"""A burst as a VOEvent, as observatories tell each other of fast radio bursts.

The form is VOEvent 2.0 (Seaman et al. 2011, IVOA Recommendation) with the parameters that Petroff et al. (2017,
arXiv:1710.08155) name: those that are known, and no others. The time is that of the arrival at the highest channel at
the telescope, as products have it, and not at infinite frequency: its frequency is told beside.
"""

import math
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pulsar.config.model import TelescopeConfig
from pulsar.constants import DAY, KDM
from pulsar.data.direction import galactic, galactic_dm
from pulsar.data.header import Header
from pulsar.data.numbers import iso_time, utc_of
from pulsar.data.text import file_name, printable
from pulsar.errors import ConfigError
from pulsar.handover.vo import checked_ivoid
from pulsar.sky.observatory import gain_at

_VOEVENT: Final = "http://www.ivoa.net/xml/VOEvent/v2.0"
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
    ivorn = f"{author}#FRB{utc_of(row['mjd']):%y%m%d%H%M}/{created:.8f}"
    event = ET.Element("voe:VOEvent", {"xmlns:voe": _VOEVENT, "version": "2.0", "role": role, "ivorn": ivorn})
    who = ET.SubElement(event, "Who")
    _text(who, "AuthorIVORN", author)
    _text(who, "Date", f"{now:%Y-%m-%dT%H:%M:%S}")
    what = ET.SubElement(event, "What")
    _group(what, "observatory parameters", _of_observatory(header, telescope))
    _group(what, "event parameters", _of_event(row, header, telescope))
    _group(what, "advanced parameters", _advanced(row, header))
    _where_when(event, row, header)
    why = ET.SubElement(event, "Why", importance=f"{min(max(float(row['score']), 0.0), 1.0):.3f}")
    _text(why, "Description", "how much it looks like a celestial pulse, as a program says: 0 to 1")
    ET.indent(event)
    text: bytes = ET.tostring(event, encoding="UTF-8", xml_declaration=True)
    return text + b"\n"


def _of_observatory(header: Header, telescope: TelescopeConfig) -> list[Parameter]:
    gain = gain_at(telescope, header.za_deg)
    return [
        ("sampling_time", 1e3 * header.tsamp, "ms", "time.resolution"),
        ("bandwidth", header.bandwidth, "MHz", "instr.bandwidth"),
        ("nchan", header.nchans, "None", "meta.number;em.freq;em.bin"),
        ("centre_frequency", header.fcenter, "MHz", "em.freq;instr"),
        ("npol", telescope.npol, "None", ""),
        ("bits_per_sample", header.nbits, "None", ""),
        ("gain", gain, "K/Jy", ""),
        ("tsys", telescope.tsys if gain > 0 else math.nan, "K", "phot.antennaTemp"),
        ("backend", header.machine, "", ""),
        ("beam", "" if header.beam is None else str(header.beam), "", ""),
    ]


def _of_event(row: Mapping[str, Any], header: Header, telescope: TelescopeConfig) -> list[Parameter]:
    lon, lat = (float(value) for value in galactic(row["ra_deg"], row["dec_deg"]))
    # Peak flux density of a box of this width (radiometer equation: Cordes & McLaughlin 2003, ApJ 596, 1142).
    samples, gain = telescope.npol * 1e6 * header.bandwidth * row["width"], gain_at(telescope, header.za_deg)
    flux = row["snr"] * telescope.tsys / (gain * math.sqrt(samples)) if gain > 0 and samples > 0 else math.nan
    return [
        ("dm", row["dm"], "pc/cm^3", "phys.dispMeasure"),
        ("dm_error", row["dm_err"], "pc/cm^3", "stat.error;phys.dispMeasure"),
        ("width", 1e3 * row["width"], "ms", "time.duration;src.var.pulse"),
        ("snr", row["snr"], "None", "stat.snr"),
        ("flux", flux, "Jy", "phot.flux"),
        ("gl", lon, "Degrees", "pos.galactic.lon"),
        ("gb", lat, "Degrees", "pos.galactic.lat"),
    ]


def _advanced(row: Mapping[str, Any], header: Header) -> list[Parameter]:
    lon, lat = (float(value) for value in galactic(row["ra_deg"], row["dec_deg"]))
    most, model = galactic_dm(lon, lat) or (math.nan, "")
    smearing = 2e3 * KDM * row["dm"] * header.chan_width / header.fcenter**3 if header.fcenter > 0 else math.nan
    return [
        ("reference_frequency", header.fch1, "MHz", "em.freq"),
        ("MW_dm_limit", most, "pc/cm^3", "phys.dispMeasure"),
        ("galactic_electron_model", model, "", ""),
        ("dispersion_smearing", smearing, "ms", "time.duration"),
    ]


def _where_when(event: ET.Element, row: Mapping[str, Any], header: Header) -> None:
    place = ET.SubElement(ET.SubElement(event, "WhereWhen"), "ObsDataLocation")
    ET.SubElement(place, "ObservatoryLocation", id=file_name(header.telescope) or "unknown")
    location = ET.SubElement(place, "ObservationLocation")
    frame = "TDB-ICRS-BARY" if header.barycentric else "UTC-ICRS-TOPO"
    ET.SubElement(location, "AstroCoordSystem", id=frame)
    coords = ET.SubElement(location, "AstroCoords", coord_system_id=frame)
    instant = ET.SubElement(ET.SubElement(coords, "Time", unit="s"), "TimeInstant")
    _text(instant, "ISOTime", iso_time(row["mjd"]))
    position = ET.SubElement(coords, "Position2D", unit="deg")
    _text(position, "Name1", "RA")
    _text(position, "Name2", "Dec")
    values = ET.SubElement(position, "Value2")
    _text(values, "C1", f"{row['ra_deg']:.6f}")
    _text(values, "C2", f"{row['dec_deg']:.6f}")


def _group(what: ET.Element, name: str, parameters: list[Parameter]) -> None:
    """Those of the parameters that are known."""
    group = ET.SubElement(what, "Group", name=name)
    for key, value, unit, ucd in parameters:
        if isinstance(value, str):
            kind, text = "string", printable(value)
        else:
            kind, text = "int" if isinstance(value, int) else "float", f"{value:.9g}" if math.isfinite(value) else ""
        words = {"name": key, "dataType": kind, "value": text, "unit": unit, "ucd": ucd}
        if text:
            ET.SubElement(group, "Param", {word: said for word, said in words.items() if said})


def _text(parent: ET.Element, name: str, text: str) -> None:
    ET.SubElement(parent, name).text = text
