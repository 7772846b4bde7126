"""PINT without a network and without its log, for the tests of ephemerides and arrival times."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def pint_offline(site: str) -> Iterator[None]:
    """PINT and astropy take what is there, also of the clock of an observatory; skips where there is no PINT."""
    pytest.importorskip("pint", reason="PINT (pint-pulsar) is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from astropy.utils import iers
        from loguru import logger
        from pint.observatory import get_observatory

        logger.remove()
        # Its clock's corrections of some microseconds are on the network.
        get_observatory(site).clock_files, get_observatory(site).apply_gps2utc = [], False
        with iers.conf.set_temp("auto_download", False), iers.conf.set_temp("auto_max_age", None):
            yield
