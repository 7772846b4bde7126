"""Lists, products and bursts for the Virtual Observatory: what its readers and its standards ask for."""

import io
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import parse, validate
from astropy.io.votable.ucd import check_ucd
from astropy.table import QTable, Table
from reference.command import run
from reference.products import make_candidates, make_header, write_beam, write_product

from pulsar.config.model import TelescopeConfig
from pulsar.data.candidate import CANDIDATE_COLUMNS, SINGLE_PULSE_COLUMNS, empty_table
from pulsar.data.text import iso_time
from pulsar.errors import ConfigError
from pulsar.handover.vo import OF_PULSES, UCDS, list_fits, list_votable, obscore_votable, voevent_bytes
from pulsar.io.product.provenance import Provenance
from pulsar.io.product.reader import read
from pulsar.io.product.writer import ProductWriter

AUTHOR = "ivo://org.example/survey"
MANDATORY = (
    "dataproduct_type", "calib_level", "obs_collection", "obs_id", "obs_publisher_did", "access_url", "access_format",
    "access_estsize", "target_name", "s_ra", "s_dec", "s_fov", "s_region", "s_resolution", "s_xel1", "s_xel2",
    "t_min", "t_max", "t_exptime", "t_resolution", "t_xel", "em_min", "em_max", "em_res_power", "em_xel", "o_ucd",
    "pol_states", "pol_xel", "facility_name", "instrument_name",
)  # fmt: skip


@pytest.fixture
def product(tmp_path: Path) -> Path:
    return write_product(tmp_path / "run.h5")


def with_a_pulse(path: Path, **changes: object) -> Path:
    """A product with one single pulse."""
    table = empty_table(SINGLE_PULSE_COLUMNS, 1)
    values = {"rank": 1, "id": "p0001", "time": 100.0, "mjd": 59000.25, "dm": 557.0, "dm_err": 0.5, "snr": 20.0}
    values |= {"width": 0.004, "score": 0.9, "ra_deg": 83.633, "dec_deg": 22.0144, "obs": 0}
    for key, value in (values | changes).items():
        table[key] = value
    source = path.with_suffix(".fil")
    source.write_bytes(b"1")
    config = "[telescope]\ngain = 16.0\ntsys = 20.0\n"
    with ProductWriter(path) as writer:
        writer.observation(make_header())
        writer.table("candidates", make_candidates())
        writer.table("single_pulses", table)
        writer.provenance(Provenance(("pulsar",), (source,), config, 1).record({"search": (1.0, 1.0)}))
    return path


def checked(path: Path) -> Table:
    """The table of a VOTable that nobody has anything to say against."""
    report = io.StringIO()
    assert validate(str(path), output=report), report.getvalue()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return parse(path, verify="exception").get_first_table()


def test_words_of_ucds_are_those_of_the_vocabulary() -> None:
    words = [*UCDS.values(), *OF_PULSES.values()]
    assert [word for word in words if not check_ucd(word, check_controlled_vocabulary=True)] == []
    known = {column.name for column in (*CANDIDATE_COLUMNS, *SINGLE_PULSE_COLUMNS)} | {"label"}
    assert set(UCDS) | set(OF_PULSES) <= known


def test_a_list_as_votable_keeps_values_units_and_words(product: Path) -> None:
    path = product.with_name("list.vot")
    code, out, err = run("candidates", product, "--all", "--format", "votable", "--out", path)
    assert (code, out) == (0, f"{path}\n"), err
    table = checked(path)
    fields = {field.name: field for field in table.fields}
    assert (fields["dm"].ucd, str(fields["dm"].unit)) == ("phys.dispMeasure", "pc / cm3")
    assert fields["ra_deg"].ucd == "pos.eq.ra;meta.main"
    assert fields["period"].description == "topocentric period at the epoch"
    assert "width" not in {name for name, field in fields.items() if field.ucd}
    rows = table.to_table()
    np.testing.assert_array_equal(rows["period"], read(product).rows()["period"])
    assert rows["known_source"].tolist() == ["B0531+21 é", "", ""]
    # To the screen, and not over a file.
    assert run("candidates", product, "--all", "--format", "votable")[1] == path.read_text()
    assert run("candidates", product, "--format", "votable", "--out", path)[0] == 2


def test_single_pulses_have_a_duration(tmp_path: Path) -> None:
    run_of = with_a_pulse(tmp_path / "p.h5")
    run("candidates", run_of, "--kind", "pulse", "--format", "votable", "--out", tmp_path / "p.vot")
    fields = {field.name: field for field in checked(tmp_path / "p.vot").fields}
    assert (fields["width"].ucd, str(fields["width"].unit)) == ("time.duration;src.var.pulse", "s")


def test_several_products_are_one_votable(tmp_path: Path) -> None:
    beams = [write_beam(tmp_path / f"b{beam}.h5", beam) for beam in (1, 2)]
    run("candidates", *beams, "--format", "votable", "--out", tmp_path / "all.vot")
    rows = checked(tmp_path / "all.vot").to_table()
    assert set(rows["product"]) == {str(beam) for beam in beams}


def test_a_list_as_fits_table(product: Path) -> None:
    path = product.with_name("list.fits")
    code, _, err = run("candidates", product, "--all", "--format", "fits", "--out", path)
    assert code == 0, err
    with warnings.catch_warnings(), fits.open(path) as hdus:
        warnings.simplefilter("error")
        hdus.verify("exception")
        hdu = hdus["CANDIDATES"]
        names = hdu.columns.names
        at = names.index("dm") + 1
        assert (hdu.header[f"TUNIT{at}"], hdu.header[f"TUCD{at}"]) == ("pc cm-3", "phys.dispMeasure")
        assert hdu.header[f"TCOMM{at}"] == "refined dispersion measure"
        assert hdu.data["known_source"].tolist() == ["B0531+21 ?", "", ""]
    table = QTable.read(path)
    np.testing.assert_array_equal(table["period"].to_value("s"), read(product).rows()["period"])


def test_a_list_without_rows_can_be_written(product: Path) -> None:
    table = read(product).table("single_pulses")
    with fits.open(io.BytesIO(list_fits(table, "single_pulses"))) as hdus:
        assert len(hdus[1].data) == 0
    assert len(parse(io.BytesIO(list_votable(table, "single_pulses"))).get_first_table().array) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--format", "fits"), "give the file to write: --out"),
        (("--format", "csv", "--out", "x.csv"), "goes to the screen"),
        (("--format", "candyjar"), "give the folder to write: --out"),
        (("--format", "candyjar", "--kind", "pulse", "--out", "x"), "no single pulses"),
    ],
)
def test_outputs_that_do_not_fit_the_form_are_told(product: Path, words: tuple[str, ...], told: str) -> None:
    code, out, err = run("candidates", product, *words)
    assert (code, out) == (2, "")
    assert told in err


def test_a_product_is_a_row_of_obscore(product: Path) -> None:
    code, out, err = run("export", product, "--obscore", "--author", AUTHOR, "-q")
    assert (code, out) == (0, f"{product.with_name('run_obscore.vot')}\n"), err
    table = checked(product.with_name("run_obscore.vot"))
    assert [field.name for field in table.fields] == list(MANDATORY)
    assert all(field.utype.startswith("obscore:") for field in table.fields)
    assert [f.ucd for f in table.fields if not check_ucd(f.ucd, check_controlled_vocabulary=True)] == []
    (row,) = table.to_table()
    header = make_header()
    assert (row["dataproduct_type"], row["calib_level"]) == ("measurements", 4)
    assert row["obs_publisher_did"] == f"{AUTHOR}?run.h5#0"
    assert row["access_url"] == product.resolve().as_uri()
    assert (row["t_max"] - row["t_min"]) * 86400 == pytest.approx(header.tobs, abs=1e-4)
    # 1149 to 1549 MHz.
    assert (row["em_min"], row["em_max"]) == pytest.approx((299.792458 / 1549, 299.792458 / 1149))
    assert (row["target_name"], row["facility_name"], row["s_ra"]) == ("J0534+2200", "FAST", 83.633)


def test_a_merged_product_has_a_row_for_each_observation(tmp_path: Path) -> None:
    for beam in (1, 2):
        write_beam(tmp_path / f"b{beam}.h5", beam)
    code, _, err = run("sift", tmp_path / "b1.h5", tmp_path / "b2.h5", "--out", tmp_path / "all.h5", "-q")
    assert code == 0, err
    rows = parse(io.BytesIO(obscore_votable(read(tmp_path / "all.h5"), AUTHOR))).get_first_table().to_table()
    assert [row["obs_publisher_did"][-1] for row in rows] == ["0", "1"]
    assert [row["obs_id"].rpartition("_")[2] for row in rows] == ["beam1", "beam2"]


def event_of(path: Path, **changes: object) -> ET.Element:
    with_a_pulse(path, **changes)
    code, out, err = run("export", path, "--id", "p0001", "--voevent", "--author", AUTHOR, "-q")
    assert code == 0, err
    return ET.parse(out.strip()).getroot()


#: Elements of VOEvent 2.0 -> those that may be in them, in the order in which the standard has them.
CONTENT = {
    "Who": ["AuthorIVORN", "Date", "Description", "Reference", "Author"],
    "What": ["Param", "Group", "Table", "Description", "Reference"],
    "Group": ["Param", "Description", "Reference"],
    "Param": ["Description", "Reference", "Value"],
    "WhereWhen": ["ObsDataLocation", "Description", "Reference"],
    "ObsDataLocation": ["ObservatoryLocation", "ObservationLocation"],
    "ObservatoryLocation": ["AstroCoordSystem", "AstroCoords"],
    "ObservationLocation": ["AstroCoordSystem", "AstroCoords"],
    "AstroCoords": ["Time", "Position2D", "Position3D"],
    "Time": ["TimeInstant", "Error"],
    "TimeInstant": ["ISOTime"],
    "Position2D": ["Name1", "Name2", "Value2", "Error2Radius"],
    "Value2": ["C1", "C2"],
    "How": ["Description", "Reference"],
    "Why": ["Concept", "Inference", "Name", "Description", "Reference"],
}
FRAMES = {f"{time}-ICRS-{place}" for time in ("TT", "UTC", "GPS") for place in ("TOPO", "GEO")} | {"TDB-ICRS-BARY"}


def check_structure(root: ET.Element) -> None:
    """Hold an event to the structure of VOEvent 2.0."""
    assert root.tag == "{http://www.ivoa.net/xml/VOEvent/v2.0}VOEvent"
    assert root.attrib["version"] == "2.0"
    assert root.attrib["role"] in ("observation", "prediction", "utility", "test")
    assert root.attrib["ivorn"].startswith("ivo://")
    names = [child.tag for child in root]
    assert names == [name for name in ("Who", "What", "WhereWhen", "How", "Why", "Citations") if name in names]
    for element in root.iter():
        places = [CONTENT[element.tag].index(child.tag) for child in element] if element.tag in CONTENT else []
        assert places == sorted(places), element.tag
        assert element.tag in CONTENT or element is root or not len(element), element.tag
    for param in root.iter("Param"):
        assert param.attrib["name"]
        assert param.attrib["value"]
        assert param.attrib["dataType"] in ("string", "float", "int")
        assert {"string": str, "float": float, "int": int}[param.attrib["dataType"]](param.attrib["value"]) is not None
    (coords,) = root.iter("AstroCoords")
    (system,) = root.iter("AstroCoordSystem")
    assert coords.attrib["coord_system_id"] == system.attrib["id"]
    assert system.attrib["id"] in FRAMES


def params(root: ET.Element, group: str) -> dict[str, ET.Element]:
    (place,) = (element for element in root.iter("Group") if element.attrib["name"] == group)
    return {param.attrib["name"]: param for param in place}


def test_a_burst_is_an_event(tmp_path: Path) -> None:
    root = event_of(tmp_path / "p.h5")
    check_structure(root)
    assert root.attrib["role"] == "observation"
    assert root.attrib["ivorn"].startswith(f"{AUTHOR}#FRB2005310600/")
    assert root.findtext("Who/AuthorIVORN") == AUTHOR
    observatory, event = params(root, "observatory parameters"), params(root, "event parameters")
    assert float(observatory["centre_frequency"].attrib["value"]) == 1349.0
    assert observatory["sampling_time"].attrib["unit"] == "ms"
    assert (event["dm"].attrib["value"], event["dm"].attrib["unit"]) == ("557", "pc/cm^3")
    assert event["dm"].attrib["ucd"] == "phys.dispMeasure"
    assert {"dm", "dm_error", "width", "snr", "flux", "gl", "gb"} == set(event)
    # 20 x 20 K / (16 K/Jy sqrt(2 x 400 MHz x 4 ms)).
    assert float(event["flux"].attrib["value"]) == pytest.approx(400 / (16 * np.sqrt(2 * 400e6 * 0.004)))
    assert float(params(root, "advanced parameters")["reference_frequency"].attrib["value"]) == 1499.0
    assert root.findtext(".//ISOTime") == "2020-05-31T06:00:00.000000"
    assert (float(root.findtext(".//C1")), float(root.findtext(".//C2"))) == (83.633, 22.0144)
    assert float(root.find("Why").attrib["importance"]) == pytest.approx(0.9)


def test_what_is_not_known_is_not_in_an_event(tmp_path: Path) -> None:
    row = read(with_a_pulse(tmp_path / "p.h5", dm_err=np.nan)).rows("single_pulses")[0]
    root = ET.fromstring(voevent_bytes(row, make_header().with_(beam=None), TelescopeConfig(), AUTHOR, "test"))
    check_structure(root)
    assert root.attrib["role"] == "test"
    assert {"dm_error", "flux"}.isdisjoint(params(root, "event parameters"))
    assert {"gain", "tsys", "beam", "backend"}.isdisjoint(params(root, "observatory parameters"))


@pytest.mark.parametrize("field", ["mjd", "ra_deg"])
def test_an_event_has_a_time_and_a_place(tmp_path: Path, field: str) -> None:
    row = read(with_a_pulse(tmp_path / "p.h5", **{field: np.nan})).rows("single_pulses")[0]
    with pytest.raises(ConfigError, match="p0001: an event has a position and a time"):
        voevent_bytes(row, make_header(), TelescopeConfig(), AUTHOR)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--id", "p0001", "--voevent"), "expected an IVO identifier"),
        (("--obscore", "--author", "me"), "--author 'me': expected an IVO identifier"),
        (("--id", "c0001", "--voevent", "--author", AUTHOR), "c0001 is no single pulse"),
        (("--voevent", "--author", AUTHOR), "--id ID"),
        (("--id", "c0001", "--par", "--wideband"), "--wideband is of the times"),
    ],
)
def test_what_cannot_be_exported_is_told(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    code, out, err = run("export", with_a_pulse(tmp_path / "p.h5"), *words)
    assert (code, out) == (2, "")
    assert told in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--par", "--voevent", "--author", AUTHOR), "--voevent is of single pulses, --par of candidates"),
        (("--csv", "--burst"), "--burst is of single pulses, --csv of candidates"),
        (("--burst", "--voevent"), "expected an IVO identifier"),
    ],
)
def test_kinds_that_do_not_go_together_are_refused_before_the_product_is_read(
    tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    code, _, err = run("export", tmp_path / "none.h5", "--id", "p0001", *words)
    assert (code, told in err) == (2, True)


def test_moments_of_days() -> None:
    assert iso_time(59000.25) == "2020-05-31T06:00:00.000000"
    assert iso_time(51544.0) == "2000-01-01T00:00:00.000000"
