"""The Galaxy's largest DM, by models that may be installed or not, and the line of a sheet that tells it."""

import sys
from types import SimpleNamespace

import pytest
from reference.products import make_fold, make_header

from pulsar.report.words import numbers, share_of_galaxy
from pulsar.sky.galaxy import galactic_dm


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
