"""The search of a series for circular orbits: T = P_orb, harmonics, several signals, none at all."""

import numpy as np
import pytest

from pulsar.config.model import OrbitsConfig
from pulsar.orbits.bank import projected_size
from pulsar.orbits.run import fold_phases
from pulsar.orbits.search import CircularOrbit, Octave, OrbitSearch, octaves

TOBS, TSAMP = 600.0, 1e-3
NSAMPS = round(TOBS / TSAMP)
BAND = Octave(85.0, 170.0)
TIMES = (np.arange(NSAMPS) - 0.5 * (NSAMPS - 1)) * TSAMP


def settings(**more):
    return OrbitsConfig(**({"p_min": 570.0, "p_max": 630.0, "heaviest": 0.05, "nharm": 2} | more))


def drawn(freq, rng):
    """A pulsar of this frequency on a random orbit of those that are searched."""
    period, angle = rng.uniform(580.0, 620.0), rng.uniform(0, 2 * np.pi)
    size = projected_size(period, 1.4, rng.uniform(0.01, 0.05))
    return CircularOrbit(freq, 2 * np.pi / period, size * np.sin(angle), size * np.cos(angle), 1, 0.0)


def pulses(orbit, snr, duty):
    """Its Gaussian pulses, of which a matched filter at the true orbit has this S/N in noise of 1."""
    turns = orbit.freq * orbit.emitted(TIMES)
    x = np.exp(-4 * np.log(2) * ((turns - np.rint(turns)) / duty) ** 2)
    x -= x.mean()
    return x * snr / np.sqrt(np.sum(x**2))


def noise(seed):
    return np.random.default_rng(seed).standard_normal(NSAMPS)


def found_in(search, series):
    white = search.whiten(series.astype(np.float32))
    return search.signals(white, search.peaks(white, search.bank.slices, 1, lambda _: None))


@pytest.fixture(scope="module")
def search():
    return OrbitSearch(NSAMPS, TSAMP, BAND, settings())


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3, 4))])
def test_an_orbit_as_long_as_the_data_is_found_at_nine_tenths_of_its_snr(search, seed):
    """T = P_orb, 7 ms, S/N 12: against the fold at the true orbit."""
    rng = np.random.default_rng(seed)
    true = drawn(1 / 0.007, rng)
    series = pulses(true, 12.0, 0.2) + noise(seed)
    best = found_in(search, series)[0]
    ideal = fold_phases(series, true.freq * true.emitted(TIMES), 7.0)
    got = fold_phases(series, best.freq * best.emitted(TIMES), 7.0)
    assert got.snr >= 0.9 * ideal.snr
    assert best.freq == pytest.approx(true.freq, abs=6 * best.errors[0])
    assert best.turn == pytest.approx(true.turn, abs=6 * best.errors[1])
    assert (best.x, best.y) == pytest.approx((true.x, true.y), abs=6 * max(best.errors[2:]))
    assert best.sigma > 3.0


def test_the_errors_are_those_of_many_signals(search):
    """Of ten pulsars: offsets over errors scatter by one."""
    off = []
    for seed in range(10):
        true = drawn(120.0 + seed, np.random.default_rng(50 + seed))
        series = pulses(true, 25.0, 0.5) + noise(50 + seed)
        white = search.whiten(series.astype(np.float32))
        best = search.refined(white, CircularOrbit(true.freq, true.turn, true.x, true.y, 1, 0.0))
        off.append(np.array([best.freq - true.freq, best.turn - true.turn, best.x - true.x, best.y - true.y]))
        off[-1] /= best.errors
    assert 0.6 < np.sqrt(np.mean(np.square(off))) < 1.5


def test_narrow_pulses_are_found_by_their_harmonics(search):
    """A tenth of a turn wide at 71 Hz: two harmonics, the higher in the octave, hold what one does not."""
    true = drawn(71.0, np.random.default_rng(3))
    best = found_in(search, pulses(true, 15.0, 0.1) + noise(3))[0]
    assert best.nharm == 2
    assert best.freq == pytest.approx(true.freq, abs=6 * best.errors[0])


def test_strong_signals_are_listed_once_and_hide_no_other(search):
    """Two pulsars 2 Hz apart, one of S/N 60, which thousands of wrong templates see."""
    rng = np.random.default_rng(4)
    strong, weak = drawn(131.0, rng), drawn(133.0, rng)
    found = found_in(search, pulses(strong, 60.0, 0.3) + pulses(weak, 14.0, 0.5) + noise(4))
    assert [round(one.freq) for one in found] == [131, 133]


def test_a_signal_without_an_orbit_is_found_too(search):
    isolated = CircularOrbit(140.0, 0.01, 0.0, 0.0, 1, 0.0)
    best = found_in(search, pulses(isolated, 14.0, 0.5) + noise(5))[0]
    assert best.freq == pytest.approx(140.0, abs=6 * best.errors[0])
    assert best.size < 5 * max(best.errors[2:])


def test_noise_has_no_more_than_is_promised():
    """Three series at a threshold at which one chance detection each is promised, and not a hundred times less."""
    search = OrbitSearch(NSAMPS, TSAMP, BAND, settings(threshold=-1.0, heaviest=0.03, nharm=1))
    count = sum(len(found_in(search, noise(seed))) for seed in range(20, 24))
    assert count <= 16
    assert count >= 1


def test_the_result_does_not_depend_on_threads(search):
    true = drawn(1 / 0.007, np.random.default_rng(6))
    white = search.whiten((pulses(true, 20.0, 0.2) + noise(6)).astype(np.float32))
    one, two = (search.peaks(white, search.bank.slices, threads, lambda _: None) for threads in (1, 3))
    assert one.best == two.best
    assert len(one.best) > 0


def test_lines_are_left_out(search):
    line = 3.0 * np.sin(2 * np.pi * 150.0 * TIMES) + noise(7)
    assert found_in(search, line)
    white = search.whiten(line.astype(np.float32), [(150.0, 0.1)])
    assert search.signals(white, search.peaks(white, search.bank.slices, 1, lambda _: None)) == []


def test_a_constant_series_has_nothing(search):
    assert search.whiten(np.ones(NSAMPS, np.float32)) is None


def test_white_noise_keeps_powers_of_mean_one(search):
    """Of single templates at all frequencies of the octave: with a red series it is the same."""
    red = noise(8) + 0.01 * np.cumsum(noise(9))
    for series in (noise(8), red):
        white = search.whiten(series.astype(np.float32))
        search.look(white, 0.0105, 0.004, -0.006)
        b = search._buffers
        power = b.work[: search.n]
        lo, hi = (int(2 * f * TOBS) for f in (BAND.low, BAND.high))
        for part in np.array_split(power[lo:hi], 4):
            assert part.mean() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize(("tobs", "period", "heaviest"), [(300.0, 1500.0, 0.1), (900.0, 300.0, 0.02)])
def test_a_fifth_of_an_orbit_and_three_of_them_are_followed(tobs, period, heaviest):
    n = round(tobs / TSAMP)
    search = OrbitSearch(n, TSAMP, BAND, settings(p_min=0.9 * period, p_max=1.1 * period, heaviest=heaviest, nharm=1))
    t = (np.arange(n) - 0.5 * (n - 1)) * TSAMP
    size, turn = projected_size(period, 1.4, 0.9 * heaviest), 2 * np.pi / period
    true = CircularOrbit(1 / 0.007, turn, size * np.sin(1.0), size * np.cos(1.0), 1, 0.0)
    series = np.sin(2 * np.pi * true.freq * true.emitted(t)) * 14.0 * np.sqrt(2 / n)
    series += np.random.default_rng(10).standard_normal(n)
    (best,) = found_in(search, series)
    ideal, got = (fold_phases(series, one.freq * one.emitted(t), 7.0).snr for one in (true, best))
    assert got >= 0.9 * ideal
    assert best.turn == pytest.approx(true.turn, abs=6 * best.errors[1])
    assert best.freq == pytest.approx(true.freq, abs=6 * best.errors[0])


def test_octaves_meet_and_cover_all():
    assert octaves(50.0, 400.0) == (Octave(50.0, 100.0), Octave(100.0, 200.0), Octave(200.0, 400.0))
    assert octaves(95.0, 200.0) == (Octave(95.0, 200.0),)
    assert octaves(70.0, 400.0)[0] == Octave(70.0, 100.0)
