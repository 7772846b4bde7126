"""Galactic coordinates against astropy, and angles as astronomers write them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulsar.data.direction import dms, galactic, hms
from pulsar.sky.catalogue import separation, sexagesimal


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
