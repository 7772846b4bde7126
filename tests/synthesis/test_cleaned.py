"""Signals added to cleaned samples: their S/N, whatever is masked, and the same in subbands."""

import numpy as np
import pytest
from reference.skies import RFI

from pulsar.cleaning import CleanedSource, make_mask, measure
from pulsar.config.model import RfiConfig
from pulsar.dedisp.subbands import Subbands
from pulsar.io.memory import Filterbank
from pulsar.synthesis import Burst, Pulsar, Sky, make
from pulsar.synthesis.cleaned import InjectedSource, Injector
from pulsar.synthesis.population import DUTY, Ranges, draw_burst, draw_pulsar, duty_of
from pulsar.synthesis.signal import burst_signal, pulsar_signal

PULSAR = Pulsar(period=0.0437, dm=60.0, snr=60.0, duty=0.05, accel=20.0)
BURST = Burst(time=2.0, dm=100.0, snr=40.0, width=3e-3)


@pytest.fixture(scope="module")
def source():
    sky = Sky(nchans=64, fch1=1500.0, foff=-4.0, tsamp=256e-6, nsamps=30_000, seed=3, rfi=RFI)
    block = make(sky, threads=2)
    obs, config = Filterbank(block.data, block.header), RfiConfig()
    return CleanedSource(obs, make_mask(obs, measure(obs, config), config))


def read(source):
    out = np.empty((source.freqs.size, source.nsamps), dtype=np.int8)
    source.read_into(0, out)
    return out


def signal(source, one):
    """What is added, without rounding: live channels by samples [sigma]; where samples are not live, 0."""
    header, mask = source.obs.header, source.mask
    injector = Injector(source)
    if isinstance(one, Pulsar):
        made = pulsar_signal(header, one, chan_ok=injector.share)
    else:
        there = [injector.live_share(one) > 0] * header.nchans
        made = burst_signal(header, one, chan_ok=np.array(there) & mask.chan_ok)
    out = np.zeros((header.nchans, header.nsamps), dtype=np.float32)
    made.add(out, 0, header.tsamp, 0)
    out = out[mask.chan_ok]
    bad = np.repeat(mask.bad[:, mask.chan_ok], np.diff(mask.edges), axis=0).T
    out[bad] = 0.0
    for a, b in mask.clipped:
        out[:, a:b] = 0.0
    return out, ~bad


def test_there_is_something_masked(source):
    assert not source.mask.chan_ok.all()
    assert source.mask.bad[:, source.mask.chan_ok].any()
    assert len(source.mask.clipped) > 3


def test_a_pulsar_has_its_snr_in_the_samples_that_are_left(source):
    injector = Injector(source)
    injected = InjectedSource(injector, injector.steps([PULSAR], [], seed=5))
    added = (read(injected).astype(np.float64) - read(source)) / 8.0
    ideal, _ = signal(source, PULSAR)
    # An ideal filter of noise 1: what it takes of its own signal is the S/N.
    assert np.sqrt((ideal.astype(np.float64) ** 2).sum()) == pytest.approx(60.0, rel=0.01)
    assert (ideal * added).sum() / np.sqrt((ideal**2).sum()) == pytest.approx(60.0, rel=0.01)
    # Nothing where nothing is live, and hardly any noise from the rounding.
    assert not added[ideal == 0.0].any()
    assert (added - ideal).var() < 0.002
    assert abs(added.mean()) < 1e-3


def test_a_burst_has_its_snr_too(source):
    injector = Injector(source)
    assert injector.live_share(BURST) > 0.7
    injected = InjectedSource(injector, injector.steps([], [BURST], seed=5))
    added = (read(injected).astype(np.float64) - read(source)) / 8.0
    assert np.sqrt((added**2).sum()) == pytest.approx(40.0, rel=0.05)
    # Dispersed as it should be: the highest channel first, the lowest 0.14 s later.
    late = source.obs.header.delays(100.0)[source.mask.chan_ok]
    centre = (added * np.arange(source.nsamps)).sum(axis=1) / np.maximum(added.sum(axis=1), 1e-9) * source.tsamp
    strong = added.sum(axis=1) > 1.0
    np.testing.assert_allclose((centre - late)[strong], 2.0, atol=2e-3)


def test_it_does_not_depend_on_the_pieces_read(source):
    injector = Injector(source)
    injected = InjectedSource(injector, injector.steps([PULSAR], [BURST], seed=5))
    whole = read(injected)
    out = np.empty((source.freqs.size, 700), dtype=np.int8)
    injected.read_into(7700, out)
    np.testing.assert_array_equal(out, whole[:, 7700:8400])
    injected.read_into(-100, out)
    assert not out[:, :100].any()
    np.testing.assert_array_equal(out[:, 100:], whole[:, :600])


def test_subbands_get_what_the_samples_get(source):
    """Exact, since sums are linear; none of these is so strong that an integer would be cut off."""
    injector = Injector(source)
    signals = injector.steps([PULSAR], [BURST], seed=5)
    plain, of_injected = Subbands(source, 60.0, 8), Subbands(InjectedSource(injector, signals), 60.0, 8)
    plain.fill([], threads=1)
    of_injected.fill([], threads=1)
    np.testing.assert_array_equal(injector.add_to(plain, signals).sums, of_injected.sums)
    assert (plain.sums != of_injected.sums).any()


def test_the_seed_decides_where_the_steps_are(source):
    injector = Injector(source)
    first, again, other = (read(InjectedSource(injector, injector.steps([PULSAR], [], seed=s))) for s in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


HEADER = Sky(nchans=64, fch1=1500.0, foff=-4.0, tsamp=256e-6, tobs=30.0).header
RANGES = Ranges(periods=(2e-3, 5.0), dms=(0.0, 200.0), snrs=(6.0, 20.0), accel=10.0, drift=50.0)


def test_pulsars_are_drawn_evenly_in_the_logarithm_of_the_period():
    rng = np.random.default_rng(1)
    drawn = [draw_pulsar(rng, HEADER, RANGES, 20.0, (k % 4, 4)) for k in range(400)]
    kept = [one for one in drawn if one is not None]
    parts = np.histogram(np.log([one.period for one in kept]), np.linspace(np.log(2e-3), np.log(5.0), 5))[0]
    # What is smeared by more than 0.3 turns is left out: the fastest.
    assert parts[1:].tolist() == [100, 100, 100]
    assert 50 < parts[0] <= 100
    assert all(6.0 <= one.snr <= 20.0 for one in kept)
    assert all(abs(one.accel) <= min(10.0, 50.0 * 299_792_458.0 * one.period / 900.0) for one in kept)
    duties = np.array([one.duty for one in kept])
    assert np.median(np.log(duties / [duty_of(one.period) for one in kept])) == pytest.approx(0.0, abs=0.1)
    assert duties.min() >= DUTY[0]
    assert duties.max() <= DUTY[1]


def test_the_law_of_widths():
    assert duty_of(1.0) == pytest.approx(4.9 / 360.0)
    assert duty_of(0.01) == pytest.approx(4.9 / 360.0 * 10**0.6)


def test_bursts_are_whole_within_the_observation():
    rng = np.random.default_rng(2)
    drawn = [draw_burst(rng, HEADER, RANGES, 200.0) for _ in range(200)]
    kept = [one for one in drawn if one is not None]
    assert len(kept) == 200
    delay = float(HEADER.delays(200.0)[-1])
    assert all(one.time > one.width for one in kept)
    assert all(one.time + delay + one.width < HEADER.tobs for one in kept)
    assert draw_burst(rng, HEADER, RANGES, 1e5) is None
