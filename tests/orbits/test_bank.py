"""Banks of circular orbits: the metric against phases, how much is lost between templates, and how many there are."""

import numpy as np
import pytest

from pulsar.config.model import OrbitsConfig
from pulsar.errors import ConfigError
from pulsar.orbits import bank as orbit_bank
from pulsar.orbits.bank import Bank, least_companion, projected_size

#: Orbits [s], length [s], highest frequency [Hz], heaviest companion.
BANKS = [
    (1100.0, 1300.0, 1200.0, 170.0, 0.1),
    (1100.0, 1300.0, 1200.0, 170.0, 0.02),
    (900.0, 2400.0, 1200.0, 85.0, 0.1),
    (600.0, 1200.0, 2400.0, 85.0, 0.05),
    (2400.0, 12000.0, 1200.0, 170.0, 0.3),
]


def phase(bank, turn, x, y, t):
    """Of an orbit, less a constant and a trend [rad]."""
    value = 2 * np.pi * bank.freq * (x * np.cos(turn * t) + y * np.sin(turn * t))
    return value - np.polyval(np.polyfit(t, value, 1), t)


def coordinates(bank, turn, x, y):
    """X and Y of orbits, in which the metric is flat."""
    even, odd, _, _ = bank.metric.at(turn)
    return 2 * np.pi * bank.freq * x * even, 2 * np.pi * bank.freq * y * odd


def drawn(bank, rng):
    """A random orbit of those that are searched."""
    turn = rng.uniform(bank.metric.turn[0], bank.metric.turn[-1])
    least, most = (float(v) for v in bank.sizes(np.array(turn)))
    size, angle = np.sqrt(rng.uniform(least**2, most**2)), rng.uniform(0, 2 * np.pi)
    return turn, size * np.sin(angle), size * np.cos(angle)


def times(bank, n=400):
    return ((np.arange(n) + 0.5) / n - 0.5) * bank.tobs


def lost(bank, templates, rng):
    """Part of the power of a random orbit that its best template does not see, and by the metric."""
    turn, x, y = drawn(bank, rng)
    one = coordinates(bank, np.array([turn]), np.array([x]), np.array([y]))
    each = coordinates(bank, *templates)
    _, _, bend_even, bend_odd = bank.metric.at(np.array([turn]))
    far = (each[0] - one[0]) ** 2 + (each[1] - one[1]) ** 2
    far += ((one[0] * bend_even) ** 2 + (one[1] * bend_odd) ** 2) * (templates[0] - turn) ** 2
    t = times(bank)
    true = phase(bank, turn, x, y, t)
    near = [phase(bank, *(column[i] for column in templates), t) for i in np.argsort(far)[:20]]
    # At the best frequency, which is not that without a trend where the phases are far apart.
    seen = max(np.max(np.abs(np.fft.fft(np.exp(1j * (p - true)), 2048))) ** 2 for p in near)
    return 1 - seen / t.size**2


@pytest.mark.parametrize(("p_lo", "p_hi", "tobs", "freq", "heaviest"), BANKS)
def test_a_random_orbit_has_a_template_beside_it(p_lo, p_hi, tobs, freq, heaviest):
    """Mean and 95 % of what is lost at the highest frequency, as docs/orbits.md tells them."""
    bank = Bank(OrbitsConfig(p_min=p_lo, p_max=p_hi, heaviest=heaviest), freq, tobs)
    parts = [(one.turn, *bank.templates(one)) for one in bank.slices]
    turn = np.concatenate([np.full(x.size, w) for w, x, _ in parts])
    templates = turn, *(np.concatenate([p[k] for p in parts]) for k in (1, 2))
    rng = np.random.default_rng(1)
    some = np.array([lost(bank, templates, rng) for _ in range(60)])
    assert some.mean() < 0.15
    assert np.quantile(some, 0.95) < 0.27
    assert some.max() < 0.5
    # And it is not that there are far too many: a lattice without edges would have this many.
    perfect = bank.volume[0] / (0.5 * (0.3 / (5 / 16)) ** 1.5)
    assert perfect < turn.size < 3 * perfect
    assert bank.count == pytest.approx(turn.size, rel=0.05)


@pytest.mark.parametrize("tobs", [300.0, 1200.0, 4000.0])
def test_the_metric_is_the_variance_of_the_phase(tobs):
    """For small steps in all directions, of data of a quarter, one and three orbits."""
    bank = Bank(OrbitsConfig(p_min=1000.0, p_max=1400.0, heaviest=0.2), 100.0, tobs)
    rng = np.random.default_rng(2)
    t = times(bank, 4000)
    for _ in range(20):
        turn, x, y = drawn(bank, rng)
        step = 1e-4 * rng.standard_normal(3)
        other = turn * (1 + 0.3 * step[0]), x + step[1] * np.hypot(x, y), y + step[2] * np.hypot(x, y)
        expected = np.var(phase(bank, turn, x, y, t) - phase(bank, *other, t))
        one = coordinates(bank, *(np.array([v]) for v in (turn, x, y)))
        two = coordinates(bank, *(np.array([v]) for v in other))
        _, _, bend_even, bend_odd = bank.metric.at(np.array([turn]))
        bend = (one[0] * bend_even) ** 2 + (one[1] * bend_odd) ** 2
        got = (two[0] - one[0]) ** 2 + (two[1] - one[1]) ** 2 + bend * (other[0] - turn) ** 2
        assert got[0] == pytest.approx(expected, rel=0.03)


def test_templates_grow_with_the_cube_of_the_frequency():
    orbits = OrbitsConfig(p_min=1000.0, p_max=1400.0)
    low, high = (Bank(orbits, freq, 1200.0) for freq in (200.0, 400.0))
    assert high.volume[0] / low.volume[0] == pytest.approx(8.0)
    assert 7.0 < high.count / low.count < 8.5


def test_banks_that_are_not_counted_are_told_by_their_volume(monkeypatch):
    bank = Bank(OrbitsConfig(p_min=1800.0, p_max=7200.0), 150.0, 3600.0)
    counted = sum(bank.templates(one)[0].size for one in bank.slices)
    monkeypatch.setattr(orbit_bank, "LARGE", 1e5)
    assert bank.count == pytest.approx(counted, rel=0.1)
    assert counted > 1e5


def test_light_companions_that_are_left_out_are_not_searched():
    configs = (OrbitsConfig(p_min=1000.0, p_max=1100.0, lightest=m) for m in (0.0, 0.07))
    whole, ring = (Bank(one, 200.0, 1200.0) for one in configs)
    assert ring.count < 0.8 * whole.count
    assert ring.volume[0] < whole.volume[0]
    size = np.concatenate([np.hypot(*ring.templates(one)) for one in ring.slices])
    assert size.min() > 0.9 * projected_size(1000.0, 1.4, 0.07)
    assert size.max() < 1.1 * projected_size(1100.0, 1.4, 0.1)


def test_sizes_are_those_of_known_binaries():
    """J1748-2446ad, 1.09443 d and 1.10280 s: catalogues have a companion of 0.14 solar masses or more for 1.4."""
    assert least_companion(1.09443 * 86400.0, 1.10280, 1.4) == pytest.approx(0.14, abs=0.01)
    # The Hulse-Taylor pulsar seen from its edge: 27,907 s, 1.44 and 1.39 solar masses: a/c = 3.2 s.
    assert projected_size(27907.0, 1.44, 1.39) == pytest.approx(2.3418 / 0.734, rel=0.01)
    assert least_companion(5000.0, projected_size(5000.0, 1.4, 0.3), 1.4) == pytest.approx(0.3)


@pytest.mark.parametrize("some", [{"p_min": 1000.0, "p_max": 900.0}, {"lightest": 0.2}])
def test_empty_ranges_are_refused(some):
    with pytest.raises(ConfigError, match="expected"):
        Bank(OrbitsConfig(**some), 100.0, 1000.0)
