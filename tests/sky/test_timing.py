"""Folding by an ephemeris: against TEMPO's times, orbits solved by brute force, a real pulsar, and what is refused."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.tempo import tempo_rows

from pulsar.cli.app import app
from pulsar.constants import DAY, KDM
from pulsar.data.header import Header
from pulsar.errors import ConfigError, DataError
from pulsar.io.product.reader import read
from pulsar.io.product.writer import Target
from pulsar.pipeline.ephemerides import FromPar
from pulsar.sky.barycentre import arrival_times, barycentric
from pulsar.sky.timing import KeplerOrbit, TimingModel, read_par

ISOLATED = """# a comment
C another
PSRJ           J1807-0847
RAJ            18:07:38.0252615   1  0.00003
DECJ           -08:47:43.27       1  0.02
F0             6.107714243738     1  3D-12
F1             -1.074334D-15      1  1.2D-20
PEPOCH         48244.0
DM             112.3802
CLK            TT(BIPM)
UNITS          TDB
"""


def par(tmp_path, text, name="x.par"):
    path = tmp_path / name
    path.write_text(text)
    return path


def header(**changes) -> Header:
    values = {
        "nchans": 64, "nsamps": 1 << 14, "tsamp": 1e-3, "fch1": 1500.0, "foff": -6.0, "tstart": 58849.2,
        "telescope": "FAST",
    }  # fmt: skip
    return Header(**(values | changes))


def model(**changes) -> TimingModel:
    values = {"name": "X", "ra_deg": 83.6, "dec_deg": 22.0, "spin": (29.9, -3.7e-10), "epoch": 58000.0, "dm": 0.0}
    return TimingModel(**(values | changes))


def test_rotation_against_the_times_of_tempo(shared_data):
    count = 0
    for a, b in pairwise(tempo_rows(shared_data)):
        span = (b.topo - a.topo) * DAY
        if a.where != b.where or not 0 < span < 2000:
            continue
        h = header(telescope=a.site, tstart=a.topo, nsamps=1200, tsamp=span / 1200)
        one = model(ra_deg=a.ra_deg, dec_deg=a.dec_deg, spin=(641.9,))
        freq, _, fddot = one.topocentric(h)
        mean = 641.9 * (b.bary - a.bary) * DAY / span
        # Both times are good to about 10 us.
        assert freq + fddot * span**2 / 24 == pytest.approx(mean, rel=2e-5 / span)
        count += 1
    assert count > 30


def test_derivatives_are_those_of_the_motion_and_of_the_spin():
    h = header(nsamps=1 << 20)
    freq, fdot, fddot = model().topocentric(h)
    now = barycentric(h.tmid, 83.6, 22.0, "FAST")
    spin = 29.9 - 3.7e-10 * (now.mjd_tdb - 58000.0) * DAY
    # Not relativistic by a few 1e-8: dt at the barycentre is dt (1 - v/c + ...).
    assert freq == pytest.approx(spin * (1 - now.voverc), rel=3e-8)
    assert fdot == pytest.approx(-3.7e-10 * (1 - 2 * now.voverc) - spin * now.rate, rel=1e-4)
    assert abs(fddot) < 1e-12
    late = model(dm=1000.0).topocentric(header(nsamps=1 << 20))
    assert late[0] - freq == pytest.approx(-fdot * KDM * 1000 / 1500**2, abs=1e-10)
    # Data that are barycentred already have the frequency of the spin.
    bary = model().topocentric(header(nsamps=1 << 20, barycentric=True))
    assert bary[0] == pytest.approx(29.9 - 3.7e-10 * (h.tmid - 58000.0) * DAY, abs=1e-10)
    assert bary[1] == pytest.approx(-3.7e-10, rel=1e-3)


def test_arrival_times_are_those_of_single_moments():
    first, later = arrival_times(58849.3, np.array([-1000.0, 3000.0]), 100.0, 20.0, "FAST")
    assert first == barycentric(58849.3, 100.0, 20.0, "FAST").mjd_tdb
    for seconds, found in zip((-1000.0, 3000.0), later, strict=True):
        single = barycentric(58849.3 + seconds / DAY, 100.0, 20.0, "FAST").mjd_tdb
        assert found == pytest.approx((single - first) * DAY, abs=3e-6)


def test_proper_motion_moves_the_position():
    moving = model(pm_ra=3600.0, pm_dec=-1800.0, posepoch=58000.0)
    ra, dec = moving.position(58000.0 + 3652.5)
    assert (dec - 22.0) * 3600 == pytest.approx(-18.0)
    assert (ra - 83.6) * 3600 * np.cos(np.radians(22.0)) == pytest.approx(36.0)


@settings(deadline=None, max_examples=30)
@given(
    st.floats(3000, 3e6), st.floats(0.01, 20), st.floats(0, 0.9), st.floats(0, 6.28), st.floats(-3, 3), st.floats(0, 1)
)
def test_orbits_against_brute_force(pb, x, ecc, omega, mjd, gamma):
    """Kepler's equation by bisection, emission by bisection; ascending node where the delay rises."""
    x, gamma = min(x, pb / 100), gamma * 1e-2

    def delay(seconds):
        mean = 2 * np.pi * (seconds / pb % 1.0)
        lo, hi = 0.0, 2 * np.pi
        for _ in range(80):
            middle = 0.5 * (lo + hi)
            lo, hi = (middle, hi) if middle - ecc * np.sin(middle) < mean else (lo, middle)
        true = 2 * np.arctan2(np.sqrt(1 + ecc) * np.sin(lo / 2), np.sqrt(1 - ecc) * np.cos(lo / 2))
        radius = 1 - ecc * np.cos(lo)
        return x * radius * np.sin(omega + true) + gamma * np.sin(lo)

    def emitted(arrival):
        lo, hi = arrival - 50.0, arrival + 50.0
        for _ in range(80):
            middle = 0.5 * (lo + hi)
            lo, hi = (middle, hi) if middle + delay(middle) < arrival else (lo, middle)
        return lo

    one = model(spin=(10.0,), orbit=KeplerOrbit(pb, x, 58849.0 - mjd, ecc, omega, gamma=gamma))
    seconds = np.linspace(-0.3, 0.7, 5) * pb
    turns = one.rotation(58849.0, seconds)
    at = mjd * DAY
    want = 10.0 * (np.array([emitted(at + s) for s in seconds]) - emitted(at))
    np.testing.assert_allclose(turns, want, atol=1e-6)


def test_models_of_small_eccentricity_and_periastron_agree(tmp_path):
    """ELL1 counts from the node, DD from periastron; tempo's units of rates; secular changes."""
    ecc, omega, pb = 3e-4, 1.1, 0.4
    head = ISOLATED + f"PB {pb}\nA1 1.2\n"
    node = 58849.1
    ell = read_par(
        par(tmp_path, head + f"BINARY ELL1\nTASC {node}\nEPS1 {ecc * np.sin(omega)}\nEPS2 {ecc * np.cos(omega)}\n")
    )
    periastron = node + omega / (2 * np.pi) * pb
    dd = read_par(par(tmp_path, head + f"BINARY DD\nT0 {periastron:.12f}\nECC {ecc}\nOM {np.degrees(omega):.12f}\n"))
    seconds = np.linspace(0, 2 * DAY, 50)
    np.testing.assert_allclose(ell.rotation(58849.2, seconds), dd.rotation(58849.2, seconds), atol=1e-6)
    # Roemer delay of ELL1 to first order in the eccentricity, with its constant (Lange et al. 2001).
    phase = 2 * np.pi * seconds / DAY / pb
    first = ecc * np.sin(omega), ecc * np.cos(omega)
    want = 1.2 * (np.sin(phase) + 0.5 * first[1] * np.sin(2 * phase) - 0.5 * first[0] * np.cos(2 * phase))
    found = ell.orbit.delay(seconds + (node - ell.orbit.epoch) * DAY) + 1.5 * 1.2 * first[0]
    np.testing.assert_allclose(found, want, atol=3 * 1.2 * ecc**2)
    text = head + "BINARY DD\nT0 58849.1\nECC 0.1\nOM 30\nPBDOT -2.4\nXDOT 1e-12\nOMDOT 4.2\nGAMMA 0.004\nEDOT 0\n"
    orbit = read_par(par(tmp_path, text)).orbit
    assert (orbit.pbdot, orbit.xdot, orbit.gamma, orbit.ecc) == (-2.4e-12, 1e-12, 0.004, 0.1)
    assert orbit.omdot == pytest.approx(np.radians(4.2) / (365.25 * DAY))
    grown = KeplerOrbit(1000.0, 1.0, 58849.0, pbdot=1e-6)
    # After n orbits of PB the next passage is late by n^2 PB PBDOT / 2.
    assert grown.delay(np.array([10000.05]))[0] == pytest.approx(0.0, abs=1e-8)


def test_what_a_file_says(tmp_path):
    one = read_par(par(tmp_path, ISOLATED))
    assert (one.name, one.spin, one.epoch, one.dm) == ("J1807-0847", (6.107714243738, -1.074334e-15), 48244.0, 112.3802)
    assert one.ra_deg == pytest.approx(15 * (18 + 7 / 60 + 38.0252615 / 3600))
    assert one.orbit is None
    old = "PSR B1804-08\nRA 18:07:38\nDEC -00:47:43\nP 0.163727\nPDOT 28.8\nPEPOCH 48000\nDM 112\nF2 0\n"
    one = read_par(par(tmp_path, old))
    assert one.dec_deg == pytest.approx(-(47 / 60 + 43 / 3600))
    assert one.spin[0] == 1 / 0.163727
    assert one.spin[1] == pytest.approx(-28.8e-15 / 0.163727**2)
    ecliptic = read_par(par(tmp_path, "PSR X\nELONG 267.5\nELAT -1.35\nF0 10\nDM 1\n"))
    assert (ecliptic.ra_deg, ecliptic.dec_deg) == pytest.approx((267.28, -24.76), abs=0.1)
    third = read_par(par(tmp_path, "PSR X\nRAJ 1:0:0\nDECJ 1:0:0\nF0 10\nF1 0\nF2 6e-20\nPEPOCH 58000\n"))
    # 10 + F2 t^2 / 2
    t = 1e7
    assert third.rotation(58000.0 + t / DAY, np.array([1.0]))[0] == pytest.approx(10 + 6e-20 * t**2 / 2, abs=1e-9)
    assert np.isnan(third.dm)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("GLEP_1 55000\nGLF0_1 1e-7\n", "key GLEP_1: glitches: not supported; fold with the period"),
        ("BINARY ELL1\nFB0 1e-5\nA1 1\nTASC 55000\n", "FB0"),
        ("BINARY DDK\nPB 1\nA1 1\nT0 55000\n", "model DDK is not supported"),
        ("WAVE1 0.1 0.2\n", "WAVE1: timing noise"),
        ("BINARY BT\nPB 1\nA1 1\nT0 55000\nPB_2 3\n", "several companions"),
        ("BINARY ELL1\nPB 1\nA1 1\nTASC 55000\nEPS1DOT 1e-15\n", "EPS1DOT"),
        ("PB 1\nA1 1\nT0 55000\n", "BINARY does not name"),
    ],
)
def test_what_is_not_supported_is_refused(tmp_path, change, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_par(par(tmp_path, ISOLATED + change))
    assert "x.par" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "kind", "message"),
    [
        ("UNITS          TDB", "UNITS TCB", ConfigError, "UNITS: TCB, .* expected UNITS TDB"),
        ("UNITS          TDB", "EPHVER 5", ConfigError, "EPHVER: 5, .* expected UNITS TDB"),
        ("F0 ", "X0 ", DataError, "keys F0, P0: expected a spin frequency .* found nothing"),
        ("6.107714243738", "six", DataError, "key F0: expected a number, found 'six'"),
        ("F0             6.1", "P1 1e-20\nP0 1e-200 6.1", DataError, "below 100000 Hz, found P0 1e-200"),
        ("6.107714243738", "1e5", DataError, "below 100000 Hz, found F0 1e5"),
        ("RAJ ", "XAJ ", DataError, "position is missing"),
        ("18:07:38.0252615", "hello", DataError, "keys RAJ, DECJ"),
        ("PEPOCH ", "XEPOCH ", DataError, "key PEPOCH is missing"),
        ("DM ", "BINARY BT\nPB 0.1\nDM ", DataError, "keys PB, A1"),
        ("DM ", "BINARY BT\nPB 0.1\nA1 1\nECC 1.2\nT0 55000\nDM ", DataError, "keys ECC, T0"),
        ("DM ", "BINARY ELL1\nPB 0.1\nA1 1\nDM ", DataError, "key TASC is missing"),
    ],
)
def test_what_makes_no_sense_is_told(tmp_path, old, new, kind, message):
    assert old in ISOLATED
    with pytest.raises(kind, match=message):
        read_par(par(tmp_path, ISOLATED.replace(old, new)))


def test_files_and_observations_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match="no such file: expected an ephemeris"):
        read_par(tmp_path / "none.par")
    for changes, message in (
        ({"telescope": "nowhere"}, "telescope 'nowhere'"),
        ({"tstart": float("nan")}, "time of the"),
    ):
        with pytest.raises(ConfigError, match=message):
            model().topocentric(header(**changes))
    # A tenth of an orbit is followed by three terms, a whole one is not.
    tight = model(spin=(300.0,), orbit=KeplerOrbit(5000.0, 0.1, 58849.0))
    tight.topocentric(header(nsamps=300_000))
    with pytest.raises(ConfigError, match=r"X: over 5000 s .* fold fewer"):
        tight.topocentric(header(nsamps=5_000_000))
    with pytest.raises(ConfigError, match="has no DM"):
        FromPar(model(dm=float("nan"))).params(header())
    with pytest.raises(ConfigError, match="shorter than two samples"):
        FromPar(model(spin=(700.0,))).params(header())
    # A series has its own.
    assert FromPar(model(dm=float("nan"))).params(header(is_series=True, dm=7.0)).dm == 7.0


def test_a_binary_is_folded_where_a_plain_period_would_smear_it(tmp_path):
    """The command line, on a simulated orbit of which a sixth is seen."""
    from typer.testing import CliRunner

    from pulsar.synthesis.model import Orbit as Circle
    from pulsar.synthesis.model import Pulsar, Sky
    from pulsar.synthesis.write import write_filterbank

    pb, x, freq, phase = 400.0, 0.05, 61.0, 0.1
    sky = Sky(
        nchans=16, fch1=1450.0, foff=-25.0, tsamp=1e-3, nsamps=1 << 16, telescope="nowhere", tstart=58849.2,
        pulsars=(Pulsar(period=1 / freq, dm=20.0, snr=40.0, duty=0.1, orbit=Circle(pb=pb, x=x, phase=phase)),),
    )  # fmt: skip
    path = write_filterbank(sky, tmp_path / "a.fil", threads=1)
    # Barycentric data: the key of the header is put in place of one of the same length.
    raw = path.read_bytes()
    at = raw.index(b"barycentric") + len(b"barycentric")
    path.write_bytes(raw[:at] + b"\x01" + raw[at + 1 :])
    h = sky.header
    node = h.tmid - phase * pb / DAY
    text = f"PSR TEST\nRAJ 5:0:0\nDECJ 20:0:0\nF0 {freq}\nDM 20\n"
    text += f"BINARY ELL1\nPB {pb / DAY:.15f}\nA1 {x}\nTASC {node:.12f}\n"
    out = tmp_path / "f.h5"
    done = CliRunner().invoke(app, ["fold", str(path), "--par", str(par(tmp_path, text)), "--out", str(out), "-q"])
    assert done.exit_code == 0, done.output
    run = read(out)
    fold = run.fold("c0001")
    assert run.rows("candidates")["known_source"].tolist() == ["TEST"]
    assert fold.extra["snr_before"] > 35
    # The refinement finds nothing to improve.
    assert abs(fold.after.freq - fold.before.freq) * h.tobs < 0.03
    plain = tmp_path / "p.h5"
    CliRunner().invoke(app, ["fold", str(path), "--period", str(1 / freq), "--dm", "20", "--out", str(plain), "-q"])
    assert read(plain).fold("c0001").extra["snr_before"] < 20
    for wrong in (["--period", "1", "--dm", "1"], ["--dm", "3"], ["--id", "c0001"]):
        arguments = ["fold", str(path), "--par", str(tmp_path / "x.par"), *wrong, "--out", str(tmp_path / "n.h5")]
        refused = CliRunner().invoke(app, arguments)
        assert isinstance(refused.exception, ConfigError) or refused.exit_code == 2


def test_the_real_pulsar_is_folded_by_its_ephemeris(shared_data, tmp_path):
    """J1807-0847: the catalogue's numbers of 1990, 30 years and the Earth's motion later."""
    from pulsar.config.load import load_config
    from pulsar.followup.folding import fold_files

    one = read_par(par(tmp_path, ISOLATED))
    files = [shared_data / "series" / "GBT_J1807-0847.dat"]
    run = fold_files(files, [FromPar(one)], load_config(None, ["run.threads=1"]), Target(tmp_path / "f.h5"))
    fold = run.fold("c0001")
    assert 1 / fold.before.freq == pytest.approx(0.1637113, rel=1e-5)
    assert fold.extra["snr_before"] > 0.995 * fold.snr > 300
    tobs = run.observation.tobs
    # To a part of the pulse's jitter; the Doppler shift is ten times more.
    assert abs(fold.after.freq - fold.before.freq) * tobs < 1.5e-3
    assert abs(fold.before.freq - one.spin[0]) * tobs > 0.01
    assert run.rows("candidates")["known_source"][0] == "J1807-0847"
