"""The turning of the Earth from a few rows of the tables, against astropy's own."""

import numpy as np
import pytest
from astropy import units as u
from astropy.utils import iers

from pulsar.sky import rotation
from pulsar.sky.barycentre import arrival_times, barycentric
from pulsar.sky.rotation import rotation_table


@pytest.fixture
def untouched(monkeypatch):
    """As in a process that has not asked yet."""
    monkeypatch.setattr(iers.IERS_Auto, "iers_table", None)
    monkeypatch.setattr(rotation, "_days", rotation._days.__wrapped__)


@pytest.fixture(scope="module")
def whole():
    with iers.conf.set_temp("auto_download", False):
        return iers.IERS_Auto.read()


def moments(whole) -> list[float]:
    """Days of bulletin B, one of an inserted second, the last two of bulletin B and those after, and predicted ones."""
    last = int(whole["MJD"][np.flatnonzero(whole["UT1Flag"] == "B")[-1]].value)
    predicted = int(whole.meta["predictive_mjd"])
    return [45000.3, 51178.99, 57753.5, 57754.2, last - 1.5, last - 0.5, last + 0.5, last + 1.5, predicted + 20.25]


def test_the_numbers_are_those_of_the_whole_table(whole, untouched):
    for mjd in moments(whole):
        few = rotation_table(mjd, mjd + 0.3)
        assert len(few) == 4 if int(mjd) == int(mjd + 0.3) else len(few) == 5
        for ask in ("ut1_utc", "pm_xy"):
            for at in (mjd, mjd + 0.3):
                with iers.conf.set_temp("auto_download", False), iers.conf.set_temp("auto_max_age", None):
                    mine, theirs = (getattr(table, ask)(2400000.5, at) for table in (few, whole))
                assert np.all(u.Quantity(mine) == u.Quantity(theirs))


@pytest.mark.parametrize("mjd", [45000.3, 60000.9])
def test_the_barycentre_is_the_same(whole, monkeypatch, mjd):
    args = (mjd, 83.0, 22.0, "FAST")
    monkeypatch.setattr(iers.IERS_Auto, "iers_table", whole)
    theirs = barycentric(*args), arrival_times(mjd, np.array([7000.0]), *args[1:])
    monkeypatch.setattr(iers.IERS_Auto, "iers_table", None)
    monkeypatch.setattr(iers.IERS_Auto, "read", None)
    assert (barycentric(*args), arrival_times(mjd, np.array([7000.0]), *args[1:])) == theirs


@pytest.mark.parametrize("mjd", [38000.0, 80000.0])
def test_beyond_the_tables_astropy_decides(untouched, mjd):
    assert rotation_table(mjd, mjd) is None


def test_tables_that_were_chosen_or_read_count(whole, monkeypatch, untouched):
    with iers.earth_orientation_table.set(whole):
        assert rotation_table(60000.0, 60000.1) is None
    monkeypatch.setattr(iers.IERS_Auto, "iers_table", whole)
    assert rotation_table(60000.0, 60000.1) is None


def test_tables_that_cannot_be_read_are_left_to_astropy(monkeypatch, untouched, tmp_path):
    for text in ("", "60000.00", " 60000.00 I ", " 60000.00 x\n 60001.00 x\n 60002.00 x"):
        (tmp_path / "table").write_text(text)
        monkeypatch.setattr(iers, "IERS_A_FILE", str(tmp_path / "table"))
        assert rotation_table(60000.0, 60000.1 + len(text)) is None
