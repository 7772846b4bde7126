"""The search of a window: noise is as significant as theory has it, signals are found where they are."""

from math import exp

import numpy as np
import pytest

from pulsar.config.load import load_config
from pulsar.config.model import Config
from pulsar.confirm.run import HarmonicBands, Peak, SeriesAmplitudes
from pulsar.confirm.window import Sought, Window, box_of, characteristic, gaussians, window_of
from pulsar.constants import C
from pulsar.data.header import Header
from pulsar.searches import stats
from pulsar.synthesis.model import Sky

NSAMPS, TSAMP = 1 << 15, 1e-3
FREQS = np.linspace(1450.0, 1250.0, 32)


def header(nsamps: int = NSAMPS, telescope: str = "FAST") -> Header:
    return Sky(nchans=32, fch1=1450.0, foff=-6.25, tsamp=TSAMP, nsamps=nsamps, telescope=telescope).header


def sought(freq: float, width: int = 1, **more: float) -> Sought:
    return Sought("c0001", freq, 0.0, (gaussians()[width],), **more)


def in_one_series(wanted: Sought, config: Config | None = None, nsamps: int = NSAMPS) -> Window:
    """A window without DMs."""
    return window_of(wanted, header(nsamps), FREQS[:1], Config() if config is None else config, None)


def peak(series: np.ndarray, window: Window, lines: tuple[tuple[float, float], ...] = ()) -> Peak:
    best = HarmonicBands(SeriesAmplitudes(series.astype(np.float32), TSAMP, lines), window, 0.0).best(-np.inf)
    return max(best, key=lambda found: found.sigma)


def test_noise_is_as_significant_as_promised() -> None:
    rng = np.random.default_rng(5)
    sigmas = []
    for _ in range(40):
        spectrum = SeriesAmplitudes(rng.standard_normal(NSAMPS).astype(np.float32), TSAMP, ())
        for freq in 10.0 ** rng.uniform(0.3, 1.9, 4):
            window = in_one_series(sought(float(freq), int(rng.integers(3))))
            best = {found.near: found for found in HarmonicBands(spectrum, window, 0.0).best(-np.inf)}
            sigmas.append([window.sigma(best[near].snr, near=near) for near in (True, False)])
    # Each of the two places is promised half of all that is by chance.
    for level in (0.5, 1.0, 1.5):
        promised = 0.5 * len(sigmas) * exp(float(stats.logp_from_sigma(level)))
        count = np.count_nonzero(np.array(sigmas) >= level, axis=0)
        assert np.all(count <= promised + 3.0 * np.sqrt(promised)), (level, count, promised)
        assert count[1] >= 0.5 * promised - 3.0 * np.sqrt(promised), (level, count, promised)


def test_a_circle_is_left_as_often_as_a_wave_crosses_a_level() -> None:
    # Rice (1944): a random wave of rms frequency K / 2 pi crosses u upwards K / 2 pi exp(-u^2 / 2) times a turn.
    assert characteristic(4.0, 9.0, ()) == pytest.approx(9.0 / (2.0 * np.pi))
    assert characteristic(4.0, 9.0, (0.0, 0.0)) == pytest.approx(9.0 / (2.0 * np.pi))
    assert characteristic(4.0, 9.0, (2.0,)) > characteristic(4.0, 9.0, (1.0,)) > characteristic(4.0, 9.0, ())


@pytest.mark.parametrize(("velocity", "accel"), [(0.0, 0.0), (50e3, 0.0), (-200e3, 30.0), (0.0, -45.0)])
def test_a_signal_is_found_where_its_orbit_has_brought_it(velocity: float, accel: float) -> None:
    nsamps = 1 << 20
    window = in_one_series(sought(100.0, 2), nsamps=nsamps)
    tobs = nsamps * TSAMP
    freq = window.freq * (1.0 - velocity / C)
    fdot = -accel / C * freq
    t = (np.arange(nsamps) + 0.5) * TSAMP - 0.5 * tobs
    turns = freq * t + 0.5 * fdot * t**2
    pulses = np.exp(-4.0 * np.log(2.0) * (((turns + 0.5) % 1.0 - 0.5) / 0.3) ** 2)
    pulses -= pulses.mean()
    snr = 15.0
    series = snr * pulses / np.linalg.norm(pulses) + np.random.default_rng(3).standard_normal(nsamps)
    found = peak(series, window)
    assert found.sigma > 10.0
    assert found.snr == pytest.approx(snr, abs=3.0)
    assert abs(found.freq - freq) < 0.2 / tobs
    assert abs(found.fdot - fdot) < 0.5 * window.fdot_step
    assert found.near == (velocity == 0.0 and accel == 0.0)


def test_a_line_that_is_left_out_is_no_signal() -> None:
    t = np.arange(NSAMPS) * TSAMP
    series = np.sin(2.0 * np.pi * 20.0 * t) + np.random.default_rng(1).standard_normal(NSAMPS)
    window = in_one_series(sought(20.0, 2))
    assert peak(series, window).sigma > 10.0
    assert peak(series, window, ((20.0, 0.5),)).sigma < 3.0


def test_what_has_been_accelerated_may_be_so_again_and_what_is_not_told_is_none() -> None:
    told, vague = in_one_series(sought(20.0, accel=80.0, accel_err=5.0)), sought(20.0, accel=80.0, accel_err=70.0)
    assert told.fdot == pytest.approx(-80.0 / C * told.freq)
    assert told.wide.fdot * C / told.freq == pytest.approx(100.0, abs=0.1)
    assert in_one_series(vague).fdot == 0.0
    assert in_one_series(vague).wide.fdot * C / told.freq == pytest.approx(50.0, abs=0.1)
    narrow = load_config(None, ["follow.accel_max=10", "sift.orbit=1e-4"])
    assert in_one_series(vague, narrow).wide.fdot * C / told.freq == pytest.approx(10.0, abs=0.1)


def test_the_motion_of_the_earth_is_known_or_widens_the_window() -> None:
    known = in_one_series(sought(20.0))
    unknown = window_of(sought(20.0), header(telescope=""), FREQS[:1], Config(), None)
    assert known.freq != 20.0
    assert abs(known.freq / 20.0 - 1.0) < 1.1e-4
    assert unknown.freq == 20.0
    assert unknown.wide.freq - known.wide.freq == pytest.approx(2.06e-4 * 20.0, rel=0.02)


def test_trial_dms_reach_as_far_as_a_pulse_or_four_errors_do() -> None:
    sharp = window_of(Sought("a", 2.0, 50.0, (gaussians()[1],), dm_err=0.01), header(), FREQS, Config(), None)
    vague = window_of(Sought("a", 2.0, 50.0, (gaussians()[1],), dm_err=40.0), header(), FREQS, Config(), None)
    delay = 4.149e3 * (1250.0**-2 - 1450.0**-2)
    assert sharp.dms[-1] - 50.0 == pytest.approx(box_of(gaussians()[1])[1] / 2.0 / delay, rel=0.01)
    assert vague.dms[-1] - 50.0 == pytest.approx(160.0)
    assert vague.dms[0] >= 0.0


def test_a_box_has_most_of_the_matched_snr() -> None:
    # That of a Gaussian in the best box is 0.943 of it (the mean of the turn is taken off here).
    assert box_of(gaussians()[0])[0] == pytest.approx(0.943, abs=0.02)
