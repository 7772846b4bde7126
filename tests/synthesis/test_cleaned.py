"""Signals added to cleaned samples: their S/N, whatever is masked, and the same in subbands."""

import numpy as np
import pytest
from reference.skies import RFI

from pulsar.cleaning.mask import make_mask
from pulsar.cleaning.source import CleanedSource
from pulsar.cleaning.statistics import measure
from pulsar.config.model import RfiConfig
from pulsar.dedisp.subbands import Subbands
from pulsar.io.memory import Filterbank
from pulsar.synthesis.injection import InjectedSource, Injector
from pulsar.synthesis.model import Burst, Pulsar, Sky
from pulsar.synthesis.signal import burst_signal, pulsar_signal
from pulsar.synthesis.write import make

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
