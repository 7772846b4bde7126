"""Barycentric times and velocities against TEMPO, the place of the telescope against astropy."""

import warnings
from itertools import pairwise
from pathlib import Path

import astropy_iers_data
import erfa
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import EarthLocation, get_body_barycentric, get_body_barycentric_posvel
from astropy.time import Time, TimeDelta
from astropy.utils import iers
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.tempo import tempo_rows

from pulsar.constants import DAY
from pulsar.errors import ConfigError
from pulsar.sky.barycentre import arrival_times, barycentric, know_leap_seconds, place_of, turning
from pulsar.sky.observatory import OBSERVATORIES, find_observatory


def test_against_tempo(shared_data) -> None:
    rows = tempo_rows(shared_data)
    assert {row.site for row in rows} >= {"GB", "AO", "PK", "FA", "MK"}
    found = [barycentric(row.topo, row.ra_deg, row.dec_deg, row.site) for row in rows]
    late = [(ours.mjd_tdb - row.bary) * DAY for ours, row in zip(found, rows, strict=True)]
    fast = [ours.voverc - row.voverc for ours, row in zip(found, rows, strict=True)]
    slope = []
    for (first, row), (last, later) in pairwise(zip(found, rows, strict=True)):
        if row.where == later.where and later.topo - row.topo < 0.1:
            # TEMPO's own times tell the mean v/c too; ours by Simpson's rule.
            mean = 1.0 - (later.bary - row.bary) / (later.topo - row.topo)
            between = barycentric(0.5 * (row.topo + later.topo), row.ra_deg, row.dec_deg, row.site).voverc
            slope.append((last.voverc + 4 * between + first.voverc) / 6 - mean)
    assert np.abs(late).max() < 10e-6
    assert len(slope) > 30
    assert np.abs(slope).max() < 1e-9
    # The velocity that TEMPO prints lacks the tilt of the Earth's axis since 2000 (20 arcsec a year) in the part of the
    # rotation: 2.3e-3 of 1.5e-6 in 24 years. Its times have it.
    assert np.abs(fast).max() < 3.5e-9
    early = [f for f, row in zip(fast, rows, strict=True) if row.topo < 53000]
    assert np.abs(early).max() < 1e-9


def test_arrivals_are_those_of_the_moments():
    first, after = arrival_times(60000.9, np.array([-100.0, 7000.0]), 83.0, 22.0, "FAST")
    assert first == barycentric(60000.9, 83.0, 22.0, "FAST").mjd_tdb
    for begin, at in zip((-100.0, 7000.0), after, strict=True):
        # A date in days resolves 0.6 us.
        later = barycentric(60000.9 + begin / DAY, 83.0, 22.0, "FAST").mjd_tdb
        assert (later - first) * DAY == pytest.approx(at, abs=2e-6)


@settings(deadline=None, max_examples=10)
@given(st.floats(50000, 62000), st.floats(0, 359), st.floats(-80, 80), st.sampled_from(OBSERVATORIES))
def test_velocity_and_rate_are_derivatives_of_the_times(mjd, ra, dec, where):
    # Away from midnight, where a second may be inserted.
    mjd = np.floor(mjd) + 0.2 + 0.6 * (mjd % 1.0)
    before, now, after = (barycentric(mjd + step / DAY, ra, dec, where) for step in (-1000, 0, 1000))
    assert (after.mjd_tdb - before.mjd_tdb) * DAY == pytest.approx(2000 * (1 - now.voverc), abs=5e-6)
    assert (after.voverc - before.voverc) / 2000 == pytest.approx(now.rate, abs=2e-13)
    assert abs(now.voverc) < 1.1e-4
    freq, fdot = 100.0, -1e-8
    assert (after.freq(freq + 1000 * fdot) - before.freq(freq - 1000 * fdot)) / 2000 == pytest.approx(
        now.fdot(freq, fdot), abs=3e-11
    )


def test_names_of_telescopes():
    assert find_observatory("fast") is find_observatory("FAST") is find_observatory("k")
    assert find_observatory("Green Bank").name == "GBT"
    assert find_observatory("Jodrell Bank").name == "Jodrell"
    assert find_observatory("nowhere") is None
    for name in [n for o in OBSERVATORIES for n in (o.name, *o.aliases)]:
        assert find_observatory(name) is not None


def test_unknown_place_or_position_is_refused():
    with pytest.raises(ConfigError, match="telescope 'X' is not known"):
        barycentric(60000.0, 10.0, 10.0, "X")
    with pytest.raises(ConfigError, match="--ra"):
        barycentric(60000.0, float("nan"), 10.0, "FAST")


@pytest.fixture(scope="module")
def whole():
    with iers.conf.set_temp("auto_download", False):
        return iers.IERS_Auto.read()


def test_the_numbers_are_those_of_the_whole_table(whole):
    """In days of bulletin B, one of an inserted second, the last of bulletin B and those after, and predicted ones."""
    last = int(whole["MJD"][np.flatnonzero(whole["UT1Flag"] == "B")[-1]].value)
    predicted = int(whole.meta["predictive_mjd"])
    for day in (45000, 51178, 51179, 57753, 57754, last - 1, last, last + 1, last + 2, predicted + 20):
        row = whole[int(np.searchsorted(whole["MJD"].value, day))]
        assert row["MJD"].value == day
        assert turning(day) == (row["UT1_UTC"].value, row["PM_x"].value, row["PM_y"].value)


@pytest.mark.parametrize(
    ("mjd", "metres"), [(45000.3, 1e-4), (57753.5, 1e-4), (60000.9, 1e-4), (38000.0, 1.0), (80000.0, 1.0)]
)
def test_places_are_those_of_astropy(whole, mjd, metres):
    """A second is inserted at the end of the second day; the last two are before and beyond the tables."""
    where, seconds = find_observatory("FAST"), np.array([0.0, -100.0, 7000.0, 90000.0])
    (jd1, jd2), position, velocity, sun = place_of(mjd, seconds, where)
    location = EarthLocation.from_geocentric(*where.xyz, unit=u.m)
    day = np.floor(mjd)
    with (
        warnings.catch_warnings(),
        iers.conf.set_temp("auto_max_age", None),
        iers.conf.set_temp("iers_degraded_accuracy", "ignore"),
        iers.earth_orientation_table.set(whole),
    ):
        warnings.simplefilter("ignore")
        time = Time(day, format="mjd", scale="utc", location=location)
        time = time + TimeDelta((mjd - day) * DAY + seconds, format="sec")
        earth, motion = get_body_barycentric_posvel("earth", time, ephemeris="builtin")
        site, turned = location.get_gcrs_posvel(time)
        theirs = get_body_barycentric("sun", time[0], ephemeris="builtin").xyz.to_value(u.m)
        late = ((jd1 - time.tdb.jd1) + (jd2 - time.tdb.jd2)) * DAY
    assert np.abs(late).max() < 1e-10
    assert np.abs(position - (earth.xyz + site.xyz).to_value(u.m).T).max() < metres
    assert np.abs(velocity - (motion.xyz + turned.xyz).to_value(u.m / u.s).T).max() < 1e-4 * metres
    assert np.abs(sun - theirs).max() < 1e-4


def test_leap_seconds_announced_since_erfa_was_made_count(tmp_path, monkeypatch):
    table = Path(astropy_iers_data.IERS_LEAP_SECOND_FILE).read_text().rstrip("\n")
    path = tmp_path / "Leap_Second.dat"
    # 1 July 2025.
    path.write_text(f"{table}\n    60857.0    1  7 2025       38\n")
    before = barycentric(60900.3, 83.0, 22.0, "FAST").mjd_tdb
    known = erfa.leap_seconds.get()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(astropy_iers_data, "IERS_LEAP_SECOND_FILE", str(path))
            know_leap_seconds.cache_clear()
            after = barycentric(60900.3, 83.0, 22.0, "FAST").mjd_tdb
    finally:
        erfa.leap_seconds.set(known)
        know_leap_seconds.cache_clear()
    assert (after - before) * DAY == pytest.approx(1.0, abs=1e-4)
