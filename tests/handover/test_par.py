"""Exported ephemerides: PINT, where it is installed, and our own reader predict the turns of the fold."""

import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from reference.pint_offline import pint_offline
from reference.products import make_fold, make_header

from pulsar.constants import DAY, KDM
from pulsar.data.fold import Fold, FoldParams
from pulsar.data.header import Header
from pulsar.errors import ConfigError
from pulsar.handover.timing import par_text, pulse_mjd
from pulsar.sky.barycentre import motion_of
from pulsar.sky.observatory import OBSERVATORIES, find_observatory
from pulsar.sky.timing import read_par

#: What an ephemeris may miss over its observation [turns].
LEAST = 0.01


def observed(tobs: float, params: FoldParams, **changes: Any) -> tuple[Fold, Header]:
    header = replace(make_header(), tsamp=tobs / 3_000_000, **changes)
    return replace(make_fold(1), before=params, after=params, tobs=tobs, epoch=header.tmid), header


def turns(fold: Fold, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    p = fold.after
    return seconds * (p.freq + seconds * (p.fdot / 2 + seconds * p.fddot / 6)) - fold.phase


def predicted(path: Any, header: Header, fold: Fold, seconds: NDArray[np.float64], site: str) -> NDArray[np.float64]:
    """Phases of PINT at moments after mid-observation, at the highest channel [turns]."""
    with pint_offline(site):
        import astropy.units as u
        from pint.models import get_model
        from pint.toa import get_TOAs_array

        model = get_model(str(path))
        whole, part = np.full(len(seconds), np.floor(fold.epoch)), fold.epoch % 1 + seconds / DAY
        toas = get_TOAs_array(
            (whole, part), obs=site, freqs=np.full(len(seconds), header.fch1) * u.MHz, errors=1.0 * u.us,
            model=model, include_bipm=False, planets=False, ephem=model.EPHEM.value,
        )  # fmt: skip
        phase = model.phase(toas, abs_phase=True)
    return np.asarray(phase.int.value + phase.frac.value, dtype=np.float64)


CASES = {
    "slow": (300.0, FoldParams(0.7, 0.0, 12.0)),
    "millisecond, hours": (6 * 3600.0, FoldParams(700.0, 1e-11, 100.0)),
    "binary": (1800.0, FoldParams(300.0, -2e-4, 400.0, 1e-9)),
}


@pytest.mark.parametrize("name", CASES)
def test_pint_predicts_the_turns_of_the_fold(name, tmp_path):
    fold, header = observed(*CASES[name])
    text = par_text(fold, header, name=name)
    assert "EPHEM    DE440" in text
    # No kernel of the solar system comes with PINT: that of astropy, with which the motion was computed.
    path = tmp_path / "x.par"
    path.write_text(text.replace("DE440", "builtin"))
    seconds = np.linspace(-0.5, 0.5, 41) * fold.tobs
    missed = predicted(path, header, fold, seconds, "fast") - turns(fold, seconds)
    assert np.ptp(missed) < LEAST
    assert np.max(np.abs(missed - np.round(missed))) < LEAST


def test_pint_counts_the_delay_of_the_other_channels(tmp_path):
    fold, header = observed(600.0, FoldParams(30.0, 0.0, 1000.0))
    path = tmp_path / "x.par"
    path.write_text(par_text(fold, header, name="X").replace("DE440", "builtin"))
    low = replace(header, fch1=1100.0)
    late = KDM * fold.after.dm * (low.fch1**-2 - header.fch1**-2)
    seconds = np.linspace(-250.0, 250.0, 11)
    missed = predicted(path, low, fold, seconds + late, "fast") - turns(fold, seconds)
    # The motion of the Earth makes 0.005 turns of these 47.
    assert late * 30 > 45
    assert np.max(np.abs(missed - np.round(missed))) < 1e-3


@pytest.mark.parametrize("name", CASES)
def test_our_reader_sees_the_same_rotation(name, tmp_path):
    fold, header = observed(*CASES[name])
    path = tmp_path / "x.par"
    path.write_text(par_text(fold, header, name=name))
    freq, fdot, fddot = read_par(path).topocentric(header)
    own = fold.after
    tobs = fold.tobs
    assert abs(freq - own.freq) * tobs < LEAST
    assert abs(fdot - own.fdot) * tobs**2 / 8 < LEAST
    assert abs(fddot - own.fddot) * tobs**3 / 48 < LEAST


def test_without_a_position_it_says_that_it_is_topocentric(tmp_path):
    fold, header = observed(*CASES["slow"], ra_deg=float("nan"))
    text = par_text(fold, header, name="X")
    assert "# NOT BARYCENTRED: the position unknown" in text
    assert "RAJ" not in text
    assert re.search(r"TZRSITE +@\n", text)
    path = tmp_path / "x.par"
    path.write_text(text.replace("DE440", "builtin"))
    seconds = np.linspace(-0.5, 0.5, 11) * fold.tobs
    missed = predicted(path, header, fold, seconds, "@") - turns(fold, seconds)
    assert np.max(np.abs(missed - np.round(missed))) < LEAST


def test_barycentred_data_stay_in_their_own_time():
    fold, header = observed(*CASES["slow"], barycentric=True)
    text = par_text(fold, header, name="X")
    assert re.search(r"TZRSITE +@\n", text)
    assert float(re.search(r"F0 +(\S+)", text)[1]) == pytest.approx(fold.after.freq, rel=1e-13)


def test_frequency_agrees_with_the_barycentric_period_of_the_product():
    fold, header = observed(*CASES["slow"])
    motion = motion_of(header)
    # f (1 + v/c) leaves out (v/c)^2 and the rate of the Earth's clocks.
    text = par_text(fold, header, name="X")
    assert float(re.search(r"F0 +(\S+)", text)[1]) == pytest.approx(motion.freq(fold.after.freq), rel=3e-9)


def test_the_pulse_of_the_reference_is_in_the_middle_of_the_profile():
    fold, _ = observed(300.0, FoldParams(0.7, -1e-6, 12.0))
    seconds = float((pulse_mjd(fold) - Decimal(fold.epoch)) * Decimal(DAY))
    assert turns(fold, np.array([seconds]))[0] == pytest.approx(0.0, abs=1e-9)


def test_texts_of_files_stay_in_their_line():
    fold, header = observed(*CASES["slow"])
    text = par_text(fold, header, name="PSR\nF0 1\x1b[2J é", origin="a\nF0 2")
    assert all(line.isprintable() and line.isascii() for line in text.splitlines())
    assert len(re.findall(r"^F0 ", text, re.MULTILINE)) == 1


def test_an_unknown_time_is_refused():
    fold, header = observed(*CASES["slow"])
    with pytest.raises(ConfigError, match="time of the observation"):
        par_text(replace(fold, epoch=float("nan")), header, name="X")


@pytest.mark.parametrize("where", OBSERVATORIES, ids=lambda where: where.name)
def test_codes_name_the_telescope(where):
    assert find_observatory(where.code) is where
    assert len(where.code) == 1 or where.name == "ASKAP"


@pytest.mark.parametrize(("errors", "kept"), [(2.0, False), (4.0, True)])
def test_a_derivative_is_exported_where_it_is_significant(errors, kept, tmp_path):
    fold, header = observed(300.0, FoldParams(7.0, 0.0, 12.0))
    fold = replace(fold, after=FoldParams(7.0, errors * 1e-6, 12.0), fdot_err=1e-6)
    path = tmp_path / "x.par"
    path.write_text(par_text(fold, header, name="X"))
    _, fdot, _ = read_par(path).topocentric(header)
    assert fdot == pytest.approx(4e-6 if kept else 0.0, abs=1e-9)
    assert ("below 5e-06 Hz/s" in path.read_text()) != kept
