"""Limits on flux densities: closed forms, whose S/N are taken, and what is known of the telescope."""

import math

import numpy as np
import pytest
from reference.products import make_fold

from pulsar.config.model import TelescopeConfig
from pulsar.data.candidate import CANDIDATE_COLUMNS, empty_table
from pulsar.data.header import Header
from pulsar.data.injected import INJECTED_COLUMNS
from pulsar.pipeline.injections import DUTIES, NEAREST, flux_limits, nearest, pooled_limits, telescope_of
from pulsar.pipeline.write import fill_flux
from pulsar.sky.observatory import digitisation_loss, flux_of

HEADER = Header(nchans=1024, nsamps=2_000_000, tsamp=64e-6, fch1=1450.0, foff=-0.25, tstart=59000.0, nbits=8)
TELESCOPE = TelescopeConfig(gain=2.0, tsys=30.0, npol=2)


def pulsars(count=200, threshold=10.0, obs=0):
    """All above a S/N are found, and none below."""
    rng = np.random.default_rng(count + obs)
    rows = empty_table(INJECTED_COLUMNS, count)
    rows["kind"], rows["obs"], rows["dm"] = "pulsar", obs, 30.0
    rows["period"] = np.exp(rng.uniform(math.log(0.004), math.log(2.0), count))
    rows["snr"] = rng.uniform(6, 20, count)
    rows["found"] = rows["snr"] >= threshold
    return rows


@pytest.mark.parametrize(("gain_err", "part"), [(0.0, 0.05), (0.12, 0.13)])
def test_an_error_of_the_gain_is_one_of_the_flux(gain_err, part):
    (row,) = empty_table(CANDIDATE_COLUMNS, 1)
    fill_flux(row, make_fold(1), HEADER, 100.0, TELESCOPE.model_copy(update={"gain_err": gain_err}))
    # 30 K / (2 K/Jy sqrt(2 * 300 s * 100 MHz)) = 61.2 uJy at S/N 1; a duty cycle of 9 % takes 0.314 of it.
    assert row["flux"] == pytest.approx(35.0 * 61.24 * math.sqrt(0.09 / 0.91), rel=1e-3)
    assert row["flux_err"] == pytest.approx(part * row["flux"])


def test_without_a_gain_there_is_neither_flux_nor_error():
    (row,) = empty_table(CANDIDATE_COLUMNS, 1)
    fill_flux(row, make_fold(1), HEADER, 100.0, TelescopeConfig())
    assert np.isnan([row["flux"], row["flux_err"]]).all()


@pytest.mark.parametrize("width", [0.01, 0.1, 0.3])
def test_a_limit_is_the_flux_of_a_gaussian_with_this_signal_to_noise(width):
    """In samples of noise sigma an ideal filter sees (S/N)^2 = sum (s - mean s)^2 / sigma^2."""
    tobs, bandwidth, flux = 100.0, 200.0, 3.0
    phase = np.arange(4096) / 4096
    shape = np.exp(-4.0 * math.log(2.0) * (np.abs(phase - 0.5) / width) ** 2)
    signal = flux * shape / shape.mean()
    sigma = 1e3 * 30.0 / (2.0 * math.sqrt(2 * bandwidth * 1e6 * tobs / 4096))  # of a phase bin [mJy]
    snr = math.sqrt(float(np.sum((signal - signal.mean()) ** 2))) / sigma
    told = flux_of(snr, width, HEADER.with_(nsamps=round(tobs / HEADER.tsamp)), bandwidth, TELESCOPE)
    # Of a Gaussian of 0.3 turns something reaches into the next turn.
    assert told == pytest.approx(flux, rel=0.003)


def test_few_bits_lose_what_is_known_of_them():
    kept = [flux_of(10, 0.1, HEADER.with_(nbits=n), 1.0, TELESCOPE) for n in (1, 2, 8)]
    assert kept[0] / kept[2] == pytest.approx(math.sqrt(math.pi / 2))
    assert kept[1] / kept[2] == pytest.approx(1.0645, abs=1e-4)
    assert digitisation_loss(8, TelescopeConfig(beta=1.1)) == 1.1


def test_a_table_holds_the_radiometer_equation():
    table = flux_limits(HEADER, pulsars(), 200.0, TELESCOPE)
    assert set(table["duty"].tolist()) == set(DUTIES)
    assert set(table["period"].tolist()) == {0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0}
    row = table[(table["period"] == 1.0) & (table["duty"] == 0.1)][0]
    # Far below a turn neither sampling nor channels smear anything.
    even = 0.1 * math.sqrt(math.pi / (2 * math.log(2)))
    expected = 30.0 / (2.0 * math.sqrt(2 * 128.0 * 200e6)) * math.sqrt(even / (1 - even)) * 1e3
    assert row["flux_most"] == pytest.approx(row["snr_most"] * expected, rel=1e-3)
    assert row["flux_half"] == pytest.approx(row["snr_half"] * expected, rel=1e-3)
    assert 10.0 <= row["snr_half"] <= row["snr_most"] < 11.0
    assert row["snr_most_low"] <= row["snr_most"] <= row["snr_most_high"]
    assert (row["beta"], row["gain"], row["tsys"], row["npol"], row["bandwidth"]) == (1.0, 2.0, 30.0, 2, 200.0)
    fast = table[(table["period"] == 0.005) & (table["duty"] == 0.01)][0]
    assert fast["width"] > 0.05e-3 * 1.2


def test_where_a_turn_is_shorter_than_what_smears_it_there_is_no_limit():
    wide = HEADER.with_(tsamp=10e-3, nsamps=20_000)
    table = flux_limits(wide, pulsars(), 200.0, TELESCOPE)
    assert np.isnan(table["flux_most"][table["period"] == 0.005]).all()
    assert np.isfinite(table["flux_most"][(table["period"] == 1.0)]).all()


def test_the_signal_to_noise_is_that_of_pulsars_of_like_periods():
    rows = pulsars(400)
    slow = rows["period"] > 0.3
    rows["found"][slow] = rows["snr"][slow] >= 15.0
    table = flux_limits(HEADER, rows, 200.0, TELESCOPE)
    assert table["snr_most"][table["period"] == 0.01][0] == pytest.approx(10.0, abs=0.6)
    assert table["snr_most"][table["period"] == 2.0][0] == pytest.approx(15.0, abs=0.8)
    near = nearest(rows, 0.01)
    assert near.size == max(NEAREST, 100)
    assert near["period"].max() < 0.05


def test_what_is_not_known_of_the_telescope_gives_no_limits():
    assert flux_limits(HEADER, pulsars(), 200.0, TelescopeConfig()).size == 0
    assert flux_limits(HEADER, pulsars(0), 200.0, TELESCOPE).size == 0


def test_fast_is_known_and_what_is_set_goes_before():
    fast = HEADER.with_(telescope="FAST")
    assert (telescope_of(fast, TelescopeConfig()).gain, telescope_of(fast, TelescopeConfig()).tsys) == (16.0, 22.0)
    assert telescope_of(fast, TelescopeConfig(tsys=30.0)).tsys == 30.0
    assert telescope_of(fast, TELESCOPE) == TELESCOPE
    assert telescope_of(HEADER.with_(telescope="Parkes"), TelescopeConfig()).gain is None


def test_few_signals_of_several_observations_are_taken_together():
    some = [pulsars(20, obs=0), pulsars(20, obs=1), pulsars(200, 14.0, obs=2)]
    headers = [HEADER, HEADER.with_(nsamps=8_000_000), HEADER]
    own = [flux_limits(h, rows, 200.0, TELESCOPE, i) for i, (h, rows) in enumerate(zip(headers, some, strict=True))]
    table = pooled_limits(headers, np.concatenate(some), np.concatenate(own))
    assert set(table["obs"].tolist()) == {0, 1, 2}
    np.testing.assert_array_equal(table[table["obs"] == 2], own[2])
    first, second = (table[(table["obs"] == i) & (table["period"] == 0.1) & (table["duty"] == 0.1)][0] for i in (0, 1))
    assert first["tried"] == second["tried"] == NEAREST
    assert first["snr_most"] == second["snr_most"]
    # Four times as long, half the flux.
    assert first["flux_most"] == pytest.approx(2.0 * second["flux_most"])
