"""Galactic coordinates against astropy, angles as astronomers write them, and the Galaxy's largest DM by models."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.products import make_fold, make_header

from pulsar.data.direction import dms, galactic, galactic_dm, hms, sexagesimal
from pulsar.report.words import numbers, share_of_galaxy
from pulsar.sky.catalogue import separation


def test_galactic_coordinates_are_those_of_astropy() -> None:
    from astropy.coordinates import SkyCoord

    rng = np.random.default_rng(1)
    ra = np.concatenate([rng.uniform(0, 360, 500), [0.0, 0.0, 0.0, 192.85948, 266.405]])
    dec = np.concatenate([np.degrees(np.arcsin(rng.uniform(-1, 1, 500))), [90.0, -90.0, 0.0, 27.12825, -28.936]])
    found = galactic(ra, dec)
    expected = SkyCoord(ra, dec, unit="deg").galactic
    away = [separation(a, b, c, d) for a, b, c, d in zip(*found, expected.l.deg, expected.b.deg, strict=True)]
    # The frames of astropy hang together by FK5, some 0.02 arcsec off.
    assert np.max(away) * 3600 < 0.05
    assert ((found[0] >= 0) & (found[0] < 360)).all()
    assert np.isnan(galactic(np.nan, 10.0)).all()


def test_angles_are_rounded_before_they_are_split() -> None:
    assert hms(83.633212) == "05:34:32.0"
    assert hms(83.633212, 3) == "05:34:31.971"
    assert dms(22.014467) == "+22:00:52"
    assert dms(-0.508333, 1) == "-00:30:30.0"
    assert hms(359.99999) == "00:00:00.0"
    assert hms(-0.25) == "23:59:00.0"
    assert dms(59.99999) == "+60:00:00"
    assert dms(-90.0) == "-90:00:00"
    assert (hms(float("nan")), dms(float("nan"))) == ("", "")


@given(st.floats(0, 359.999), st.floats(-90, 90))
def test_angles_come_back(ra: float, dec: float) -> None:
    assert 15 * sexagesimal(hms(ra, 3)) % 360 == pytest.approx(ra, abs=15 * 0.0006 / 3600)
    assert sexagesimal(dms(dec, 2)) == pytest.approx(dec, abs=0.006 / 3600)


def broken(*_: object, **__: object) -> float:
    raise OSError("no library")


def ymw16(longitude: float, latitude: float, distance: float, *, mode: str, method: str):
    assert (mode, method) == ("gal", "ymw16")
    assert distance > 30_000
    return SimpleNamespace(value=400.0 + longitude + latitude), None


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    # None in the table of modules: an import of it fails.
    monkeypatch.setitem(sys.modules, "pygedm", None)
    monkeypatch.setitem(sys.modules, "pyne2001", None)
    galactic_dm.cache_clear()
    yield
    galactic_dm.cache_clear()


def install(monkeypatch, **modules):
    for name, functions in modules.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**functions))


def test_without_a_model_nothing_is_told():
    assert galactic_dm(10.0, 2.0) is None
    assert share_of_galaxy(50.0, {}, make_header()) == []
    assert "of Galaxy" not in dict(numbers(make_fold(1), {}, make_header()))


def test_the_first_model_that_works_is_asked(monkeypatch):
    install(monkeypatch, pyne2001={"get_galactic_dm": lambda *_: 210.0})
    assert galactic_dm(10.0, 2.0) == (210.0, "NE2001")
    install(monkeypatch, pygedm={"dist_to_dm": broken})
    galactic_dm.cache_clear()
    assert galactic_dm(10.0, 2.0) == (210.0, "NE2001")
    install(monkeypatch, pygedm={"dist_to_dm": ymw16})
    galactic_dm.cache_clear()
    assert galactic_dm(10.0, 2.0) == (412.0, "YMW16")
    assert galactic_dm(float("nan"), 2.0) is None


def test_sheets_tell_the_share(monkeypatch):
    install(monkeypatch, pyne2001={"get_galactic_dm": lambda *_: 226.84})
    # The fold has a DM of 56.71.
    told = dict(numbers(make_fold(1), {}, make_header()))
    assert told["of Galaxy"] == "25 % of 227 (NE2001)"
    nowhere = make_header().with_(ra_deg=float("nan"))
    assert share_of_galaxy(50.0, {}, nowhere) == []
    assert share_of_galaxy(float("nan"), {}, make_header()) == []
    # Of a row with a direction of its own that counts.
    asked = []
    install(monkeypatch, pyne2001={"get_galactic_dm": lambda *place: asked.append(place) or 100.0})
    galactic_dm.cache_clear()
    share_of_galaxy(50.0, {"ra_deg": 266.4, "dec_deg": -29.0}, make_header())
    assert asked == [pytest.approx((359.94, -0.05), abs=0.05)]
