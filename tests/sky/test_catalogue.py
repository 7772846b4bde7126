"""Known pulsars: catalogues in several forms, and labels that need position, DM and period."""

import dataclasses
import io
import sys
import tarfile
import types

import numpy as np
import pytest

from pulsar.config.load import load_config
from pulsar.constants import DAY
from pulsar.data.candidate import CANDIDATE_COLUMNS, empty_table
from pulsar.data.direction import sexagesimal
from pulsar.data.header import Header
from pulsar.errors import ConfigError, DataError
from pulsar.pipeline.start import fingerprint
from pulsar.sky.barycentre import barycentric
from pulsar.sky.catalogue import beam_width, label, label_left, nearby, read_catalogue, separation

PSRCAT = """#CATALOGUE 1.70
PSRB     B0531+21                      sr68
PSRJ     J0534+2200                    sr68
RAJ      05:34:31.973           5      mcc+22
DECJ     +22:00:52.06           6      mcc+22
F0       29.946923              1      lps93
F1       -3.77535E-10           2      lps93
PEPOCH   48442.5                       lps93
DM       56.77118               24     ctd+15
@-----------------------------------------------------------------
PSRJ     J1748-2446A                   lmd+90
ELONG    267.5                  1      x
ELAT     -1.35                  1      x
P0       0.0115631483819        1      nt92
PB       0.075646111            1      nt92
A1       0.119658               1      nt92
DM       242.15                 4      nt92
@-----------------------------------------------------------------
PSRJ     J0000+0000                    no period
RAJ      00:00:00
DECJ     00:00:00
@-----------------------------------------------------------------
"""
CSV = "PSRJ,RAJ,DECJ,P0,DM\nJ0534+2200,05:34:31.9,+22:00:52,0.0333924,56.77\nJ0001-0030,00:01:00,-00:30:00,1.5,*\n"


def header(**changes) -> Header:
    values = {
        "nchans": 64, "nsamps": 1 << 20, "tsamp": 64e-6, "fch1": 1500.0, "foff": -6.0, "tstart": 58849.2,
        "telescope": "FAST", "ra_deg": 83.63, "dec_deg": 22.0,
    }  # fmt: skip
    return Header(**(values | changes))


def candidate(freq, dm, err=1e-7, dm_err=0.1):
    rows = empty_table(CANDIDATE_COLUMNS, 1)
    rows["freq"], rows["period"], rows["period_err"], rows["dm"], rows["dm_err"] = (
        freq,
        1 / freq,
        err / freq**2,
        dm,
        dm_err,
    )
    return rows


def crab_now(h: Header) -> float:
    """Topocentric frequency of the Crab of PSRCAT at mid-observation."""
    motion = barycentric(h.tmid, h.ra_deg, h.dec_deg, "FAST")
    return (29.946923 - 3.77535e-10 * (motion.mjd_tdb - 48442.5) * DAY) / (1 + motion.voverc)


def test_psrcat_and_tables_are_read(tmp_path):
    (tmp_path / "psrcat.db").write_text(PSRCAT)
    (tmp_path / "a.csv").write_text(CSV)
    crab, ter = read_catalogue(tmp_path / "psrcat.db")
    assert (crab.name, crab.freq, crab.dm, crab.epoch) == ("J0534+2200", 29.946923, 56.77118, 48442.5)
    assert crab.ra_deg == pytest.approx(83.633, abs=1e-3)
    assert ter.orbital_voverc == pytest.approx(2 * np.pi * 0.119658 / (0.075646111 * DAY))
    # Terzan 5 by its ecliptic position.
    assert (ter.ra_deg, ter.dec_deg) == pytest.approx((267.28, -24.76), abs=0.1)
    first, second = read_catalogue(tmp_path / "a.csv")
    assert first.freq == pytest.approx(1 / 0.0333924)
    assert second.dec_deg == -0.5
    assert np.isnan(second.dm)
    for separator in (",", "\t", " "):
        lines = ("PSRJ DM RAJD DECJD F0", "J0534+2200 30 10 -5 2")
        (tmp_path / "c.txt").write_text("\n".join(lines).replace(" ", separator))
        assert [(p.name, p.freq, p.dm) for p in read_catalogue(tmp_path / "c.txt")] == [("J0534+2200", 2.0, 30.0)]
    from astropy.table import Table

    table = Table({"PSRJ": ["J1"], "RAJD": [10.0], "DECJD": [-5.0], "F0": [2.0], "DM": [30.0]})
    table.write(tmp_path / "b.ecsv", format="ascii.ecsv", delimiter=",")
    (one,) = read_catalogue(tmp_path / "b.ecsv")
    assert (one.name, one.ra_deg, one.dec_deg, one.freq, one.dm) == ("J1", 10.0, -5.0, 2.0, 30.0)


def test_rows_that_are_no_pulsar_are_passed_over(tmp_path):
    (tmp_path / "a.csv").write_text(
        "PSRJ;RAJ;DECJ;P0;P1\nJ1;1:0:0;2:0:0;1e-200;1e-20\nJ2;1:0:0;2:0:0;5e-324;1\nJ3;1:0:0;2:0:0;0.5;1e-15\n"
    )
    assert [pulsar.name for pulsar in read_catalogue(tmp_path / "a.csv")] == ["J3"]


def archive(path, name="psrcat_tar/psrcat.db"):
    """As the ATNF packs its catalogue."""
    data = PSRCAT.encode()
    with tarfile.open(path, "w:gz") as tar:
        for entry, content in (("psrcat_tar/README", b"x"), (name, data)):
            info = tarfile.TarInfo(entry)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_the_archive_of_the_atnf_is_read(tmp_path):
    crab, _ = read_catalogue(archive(tmp_path / "psrcat_pkg.tar.gz"))
    assert (crab.name, crab.freq) == ("J0534+2200", 29.946923)
    with pytest.raises(DataError, match=r"other\.tar\.gz: there is no psrcat\.db"):
        read_catalogue(archive(tmp_path / "other.tar.gz", "x.db"))
    whole = (tmp_path / "psrcat_pkg.tar.gz").read_bytes()
    for size in (20, len(whole) // 2):
        (tmp_path / "cut.tar.gz").write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"cut\.tar\.gz: the catalogue cannot be read"):
            read_catalogue(tmp_path / "cut.tar.gz")


def test_psrqpy_is_asked_for_what_it_has_and_nothing_is_downloaded(tmp_path, monkeypatch):
    """A made-up psrqpy that may not be called."""
    monkeypatch.setitem(sys.modules, "psrqpy", None)
    with pytest.raises(ConfigError, match=r"not installed.*pulsar-search\[catalogue\]"):
        read_catalogue("psrqpy")

    class Utils(types.ModuleType):
        def __getattr__(self, name):
            raise AttributeError(name)

    package, utils = types.ModuleType("psrqpy"), Utils("psrqpy.utils")
    package.utils = utils
    monkeypatch.setitem(sys.modules, "psrqpy", package)
    monkeypatch.setitem(sys.modules, "psrqpy.utils", utils)
    with pytest.raises(ConfigError, match=r"1\.2\.2 or later"):
        read_catalogue("psrqpy")
    utils.CACHEDIR, utils.DEFAULTCACHENAME = str(tmp_path / "cache"), "psrcat_pkg.tar.gz"
    with pytest.raises(ConfigError, match=r"no catalogue yet.*psrcat_pkg\.tar\.gz is missing(.|\n)*QueryATNF"):
        read_catalogue("psrqpy")
    (tmp_path / "cache").mkdir()
    archive(tmp_path / "cache" / "psrcat_pkg.tar.gz")
    assert [p.name for p in read_catalogue("psrqpy")] == ["J0534+2200", "J1748-2446A"]
    # A run's results depend on what it holds.
    config = load_config(None, ["known.catalogue=psrqpy"])
    before = fingerprint([], config, "1")
    archive(tmp_path / "cache" / "psrcat_pkg.tar.gz", "psrcat_tar2/psrcat.db")
    assert fingerprint([], config, "1") != before


def test_the_command_line_takes_the_catalogue_and_advertises_none(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from pulsar.cli.app import app
    from pulsar.synthesis.model import Sky
    from pulsar.synthesis.write import write_filterbank

    sky = Sky(nchans=16, fch1=1450.0, foff=-6.25, tsamp=1e-3, nsamps=256, ra_deg=83.63, dec_deg=22.0)
    path = str(write_filterbank(sky, tmp_path / "a.fil", threads=1))
    told = CliRunner().invoke(app, ["info", path])
    assert told.exit_code == 0
    assert "psr" not in told.stdout
    told = CliRunner().invoke(app, ["info", path, "--catalogue", str(archive(tmp_path / "psrcat_pkg.tar.gz"))])
    assert "J0534+2200, P 0.0333" in told.stdout
    monkeypatch.setitem(sys.modules, "psrqpy", None)
    told = CliRunner().invoke(app, ["info", path, "--catalogue", "psrqpy"])
    assert isinstance(told.exception, ConfigError) or told.exit_code == 2


@pytest.mark.parametrize(
    ("name", "message"), [("none.db", "no such file: expected a catalogue"), ("x.txt", r"x\.txt: no pulsar found")]
)
def test_what_is_no_catalogue_is_refused(tmp_path, name, message):
    (tmp_path / "x.txt").write_text("hello\n")
    with pytest.raises(DataError, match=message):
        read_catalogue(tmp_path / name)


def test_a_label_needs_position_dm_and_period(tmp_path):
    (tmp_path / "psrcat.db").write_text(PSRCAT)
    catalogue = read_catalogue(tmp_path / "psrcat.db")
    h = header()
    freq = crab_now(h)
    # Doppler and spin-down both matter: neither the catalogue's frequency nor its barycentric value now would do.
    assert abs(freq - 29.946923) > 1e-3

    def named(rows, header=h, **more):
        label(rows, header, catalogue, **more)
        return str(rows["known_source"][0])

    assert named(candidate(freq, 56.8)) == "J0534+2200"
    assert named(candidate(3 * freq, 56.8)) == "J0534+2200 x 3"
    assert named(candidate(freq / 2, 56.8)) == "J0534+2200 x 1/2"
    assert named(candidate(freq, 60.0)) == ""
    assert named(candidate(freq * 1.0001, 56.8)) == ""
    assert named(candidate(29.946923, 56.8)) == ""
    assert named(candidate(freq, 56.8), header(dec_deg=24.0)) == ""
    assert named(candidate(freq, 56.8), header(ra_deg=float("nan"))) == ""
    assert named(candidate(freq, 56.8), header(telescope="nowhere")) == ""
    assert named(candidate(freq, 56.8), header(dec_deg=22.3), radius=0.5) == "J0534+2200"


def test_an_orbit_may_shift_the_period(tmp_path):
    (tmp_path / "psrcat.db").write_text(PSRCAT)
    catalogue = read_catalogue(tmp_path / "psrcat.db")
    ter = catalogue[1]
    h = header(ra_deg=ter.ra_deg, dec_deg=ter.dec_deg)
    motion = barycentric(h.tmid, h.ra_deg, h.dec_deg, "FAST")
    for shift, expected in ((0.9, "J1748-2446A"), (-0.9, "J1748-2446A"), (1.5, "")):
        rows = candidate(ter.freq / (1 + motion.voverc) * (1 + shift * ter.orbital_voverc), 242.2)
        label(rows, h, catalogue)
        assert rows["known_source"][0] == expected


def test_angles():
    assert separation(10.0, 20.0, 10.0, 21.0) == pytest.approx(1.0)
    assert separation(359.5, 60.0, 0.5, 60.0) == pytest.approx(0.5, rel=1e-4)
    assert separation(0.0, 90.0, 123.0, 90.0) == pytest.approx(0.0, abs=1e-12)
    assert sexagesimal("-00:30:00") == -0.5
    assert np.isnan(sexagesimal("x"))
    assert 60 * beam_width(header()) == pytest.approx(2.9 * 300 / 300, rel=0.35)
    assert np.isnan(beam_width(header(telescope="nowhere")))
    assert nearby([], 0.0, 0.0, 1.0) == []


def test_the_real_pulsar_is_known_and_no_other(shared_data):
    from pulsar.io.open import open_observation

    catalogue = read_catalogue(shared_data / "reference" / "psr_catalog.txt")
    assert len(catalogue) > 3000
    obs = open_observation(shared_data / "series" / "GBT_J1807-0847.inf")
    h = obs.header
    obs.close()
    rows = candidate(6.10833, 112.38, err=2e-5)
    motion = barycentric(h.tmid, h.ra_deg, h.dec_deg, h.telescope)
    (psr,) = [p for p in catalogue if p.name == "J1807-0847"]
    freq, _ = psr.topocentric(motion.mjd_tdb, motion.voverc)
    rows["freq"] = freq
    label(rows, h, catalogue)
    assert rows["known_source"][0] == "J1807-0847"
    # Another pulsar has the period of a harmonic of it; elsewhere it is not named, and here not at another DM.
    other = next(p for p in catalogue if p.name == "J0006+1834")
    label(rows := candidate(other.freq, other.dm), h, catalogue)
    assert rows["known_source"][0] == ""
    label(rows := candidate(freq, 150.0), h, catalogue)
    assert rows["known_source"][0] == ""
    label(rows := candidate(freq, 112.38), dataclasses.replace(h, dec_deg=10.0), catalogue)
    assert rows["known_source"][0] == ""


def test_what_is_left_of_a_subtracted_pulsar_is_named():
    from pulsar.data.candidate import SUBTRACTED_COLUMNS

    taken = empty_table(SUBTRACTED_COLUMNS, 2)
    taken["name"], taken["freq"], taken["dm"], taken["subtracted"] = ["J1", "J2"], [4.0, 7.3], [50.0, 90.0], [1, 0]
    rows = empty_table(CANDIDATE_COLUMNS, 6)
    rows["freq"] = [4.0, 12.0, 4.0 / 3.0, 4.0, 7.3, 4.2]
    rows["dm"] = [50.1, 49.9, 50.0, 70.0, 90.0, 50.0]
    rows["period"], rows["period_err"], rows["dm_err"] = 1.0 / rows["freq"], 1e-7, 0.1
    rows["known_source"][1] = "B0000+00"
    label_left(rows, taken, 600.0)
    assert rows["known_source"].tolist() == ["left of J1", "B0000+00", "left of J1 x 1/3", "", "", ""]
