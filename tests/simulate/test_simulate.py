"""A simulated sky is what was asked for: S/N, arrival times, acceleration, smearing, whatever the chunks."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pulsar.constants import KDM, C
from pulsar.errors import ConfigError
from pulsar.simulate import (
    Burst,
    Component,
    Orbit,
    Pulsar,
    Rfi,
    Sky,
    Synthesiser,
    demo_sky,
    expected_snr,
    make,
    observed_accel,
    observed_spin,
    phase,
    simulate,
)
from pulsar.simulate.engine import TILE
from pulsar.simulate.signal import burst_signal, pulsar_signal, smearing

BASE = Sky(nchans=32, fch1=1484.375, foff=-15.625, tsamp=256e-6, nsamps=2**15, seed=3, nbits=32, mean=0, sigma=1)


def with_(sky=BASE, **changes):
    return Sky.model_validate(sky.model_dump() | changes)


def samples(sky, **options):
    return make(sky, **options).data.astype(np.float64)


def noiseless(sky):
    """Signal alone, in sigma: what the sky adds to the same noise."""
    return samples(sky) - samples(with_(sky, pulsars=(), bursts=()))


PULSARS = [
    Pulsar(period=0.00537, dm=20, snr=30, duty=0.1),
    Pulsar(period=0.0371, dm=150, snr=30, duty=0.03, scattering=5e-3, spectral_index=-1.5),
    Pulsar(period=0.41, dm=400, snr=30, duty=0.02, shape="boxcar"),
    Pulsar(period=0.111, dm=50, snr=30, components=(Component(duty=0.03), Component(duty=0.1, phase=0.3, height=0.4))),
    Pulsar(period=0.02, dm=10, snr=30, duty=0.2, shape="vonmises", accel=100),
    Pulsar(period=0.05, dm=10, snr=30, orbit=Orbit(pb=600, x=1.0, phase=0.1)),
    Pulsar(period=0.031, dm=30, snr=30, nulling=0.4),
]


@pytest.mark.parametrize("pulsar", PULSARS, ids=lambda p: f"P{p.period:g}")
def test_snr_is_the_sum_over_what_is_recorded(pulsar):
    signal = noiseless(with_(pulsars=(pulsar,)))
    signal -= signal.mean(axis=1, keepdims=True)
    # The template has few pulses in the slow case, and nulls are drawn: 5 %.
    assert math.sqrt(np.sum(signal**2)) == pytest.approx(pulsar.snr, rel=0.05 if pulsar.nulling else 0.025)
    assert expected_snr(BASE.header, pulsar, 2.0) == pytest.approx(2 * pulsar_signal(BASE.header, pulsar).per_amplitude)


@pytest.mark.parametrize(("nbits", "kept"), [(1, 0.798), (2, 0.940), (4, 0.993), (8, 1.0), (32, 1.0)])
def test_matched_filter_recovers_the_snr(nbits, kept):
    pulsar = Pulsar(period=0.0371, dm=150, snr=30, duty=0.05)
    found = []
    for seed in range(8):
        sky = with_(pulsars=(pulsar,), seed=seed, nbits=nbits, mean=None, sigma=None)
        template = noiseless(with_(sky, nbits=32, mean=0, sigma=1))
        template -= template.mean(axis=1, keepdims=True)
        data = samples(sky)
        data = (data - data.mean()) / data.std()
        found.append(np.sum(data * template) / math.sqrt(np.sum(template**2)))
    assert np.mean(found) == pytest.approx(30 * kept, abs=3 / math.sqrt(8))
    assert 0.3 < np.std(found) < 2


def test_noise_is_unit_and_independent_of_the_signal():
    data = samples(BASE)
    assert data.mean() == pytest.approx(0, abs=4 / math.sqrt(data.size))
    assert data.std() == pytest.approx(1, abs=4 / math.sqrt(2 * data.size))


def test_arrival_times_follow_the_dispersion_law():
    dm, time = 120.0, 1.5
    signal = noiseless(with_(bursts=(Burst(time=time, dm=dm, width=4e-3, snr=1000),)))
    centres = (np.arange(signal.shape[1]) + 0.5) * BASE.tsamp
    arrival = signal @ centres / signal.sum(axis=1)
    freqs = BASE.header.freqs
    expected = time + KDM * dm * (freqs**-2 - freqs[0] ** -2)
    # Smearing is centred on the delay of the channel's centre.
    np.testing.assert_allclose(arrival, expected, atol=3e-6)


def test_pulses_arrive_when_the_phase_says():
    pulsar = Pulsar(period=0.25, dm=60, snr=3000, duty=0.02, phase0=0.3, accel=2000.0)
    sky = with_(pulsars=(pulsar,))
    signal = noiseless(sky)
    signal -= np.median(signal, axis=1, keepdims=True)
    edges = (np.arange(signal.shape[1]) + 0.5) * sky.tsamp
    for c in (0, 31):
        turns = phase(sky.header, pulsar, edges - sky.header.delays(60)[c])
        off = turns - np.rint(turns)
        near = np.abs(off) < 0.3
        centroid = np.sum(signal[c, near] * off[near]) / np.sum(signal[c, near])
        assert centroid == pytest.approx(0, abs=1e-4)
    middle = phase(sky.header, pulsar, np.array([0.5 * sky.header.tobs]))[0]
    assert middle == pytest.approx(0.3)


def test_sign_of_the_acceleration():
    pulsar = Pulsar(period=0.1, accel=5000.0)
    header = with_(nsamps=400_000).header
    tmid = 0.5 * header.tobs
    times = np.array([1.0, tmid, header.tobs - 1.0])
    step = 1e-3
    f = (phase(header, pulsar, times + step) - phase(header, pulsar, times - step)) / (2 * step)
    # Receding ever faster: the period grows, P(t) = P (1 + a (t - tmid) / c).
    np.testing.assert_allclose(1 / f, 0.1 * (1 + 5000.0 * (times - tmid) / C), rtol=1e-6)
    assert observed_accel(header, pulsar) == pytest.approx(5000.0)
    assert Pulsar(period=0.1, pdot=0.1 * 5000 / C).fdot == pytest.approx(pulsar.fdot)


@pytest.mark.parametrize("turn", [0.0, 0.25, 0.6])
def test_orbit_is_seen_as_its_numbers_say(turn):
    pulsar = Pulsar(period=0.03, orbit=Orbit(pb=7000.0, x=3.0, phase=turn))
    header = with_(nsamps=2**17).header
    step = 0.5
    times = 0.5 * header.tobs + np.array([-step, 0.0, step])
    turns = phase(header, pulsar, times)
    f, fdot = observed_spin(header, pulsar)
    assert (turns[2] - turns[0]) / (2 * step) == pytest.approx(f, rel=1e-8)
    assert (turns[2] - 2 * turns[1] + turns[0]) / step**2 == pytest.approx(fdot, abs=1e-6)
    # At the ascending node it recedes fastest; a quarter later it is behind and pulled towards us.
    if turn == 0.0:
        assert 1 / f == pytest.approx(0.03 * (1 + 2 * math.pi * 3 / 7000), rel=1e-6)
    if turn == 0.25:
        assert observed_accel(header, pulsar) == pytest.approx(-C * 3.0 * (2 * math.pi / 7000) ** 2, rel=1e-3)


def test_width_after_smearing_and_scattering():
    sky = with_(bursts=(Burst(time=2.0, dm=800, width=1e-3, snr=1000, scattering=20e-3),), tsamp=128e-6)
    signal = noiseless(sky)
    times = (np.arange(signal.shape[1]) + 0.5) * sky.tsamp
    freqs = sky.header.freqs
    for c in (0, 20, 31):
        weights = signal[c] / signal[c].sum()
        mean = weights @ times
        variance = weights @ (times - mean) ** 2
        tau = 20e-3 * (freqs[c] / 1000) ** -4
        expected = (1e-3 / 2.3548) ** 2 + smearing(sky.header, 800, freqs[c : c + 1])[0] ** 2 / 12 + tau**2
        assert math.sqrt(variance) == pytest.approx(math.sqrt(expected), rel=0.03)
        assert mean - 2.0 - sky.header.delays(800)[c] == pytest.approx(tau, rel=0.03)


def test_burst_snr_and_edges():
    burst = Burst(time=1.0, dm=50, width=2e-3, snr=50)
    assert math.sqrt(np.sum(noiseless(with_(bursts=(burst,))) ** 2)) == pytest.approx(50, rel=0.01)
    # One that runs out of the observation is cut, not wrapped: half of it is left in the highest channel alone.
    late = noiseless(with_(bursts=(Burst(time=BASE.header.tobs, dm=50, width=2e-3, snr=50),)))
    assert np.sum(late[:, : BASE.nsamps // 2] ** 2) < 1e-6
    assert math.sqrt(np.sum(late**2)) == pytest.approx(50 / math.sqrt(64), rel=0.2)
    assert burst_signal(BASE.header, burst).amps.shape == (32,)


FULL = with_(
    demo_sky(), nchans=20, foff=-25.0, fch1=1487.5, nsamps=3 * TILE + 77, bursts=(Burst(time=1.0, dm=300, width=0.01),)
)
FULL = with_(FULL, rfi=(*FULL.rfi, Rfi(kind="sweep", rate=0.5, strength=4), Rfi(kind="jump", strength=1.3, time=1.5)))


def test_the_result_depends_on_neither_chunks_nor_threads():
    whole = make(FULL).data
    synthesiser = Synthesiser(FULL)
    for memory in (1, 4 * 20 * TILE):
        for threads in (1, 3):
            parts = [part[0].copy() for part in synthesiser.chunks(threads=threads, memory=memory)]
            np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    with ThreadPoolExecutor(2) as pool:
        for start, n in ((0, 5), (TILE - 3, 7), (5000, 15000)):
            out = np.empty((1, 20, n), dtype=np.uint8)
            synthesiser.fill(start, out, pool)
            np.testing.assert_array_equal(out[0], whole[:, start : start + n])
    assert not np.array_equal(make(with_(FULL, seed=9)).data, whole)


def test_depths_are_the_same_signal_quantised():
    sky = with_(nsamps=2**14, mean=None, sigma=None, pulsars=(Pulsar(period=0.1, snr=50),))
    analogue = (samples(sky) - 96) / 16
    # Correlation of a quantised Gaussian with itself: sqrt(2/pi) for 1 bit, 0.94 for 2 bits at the best thresholds.
    for nbits, expected in ((1, 0.7979), (2, 0.9399), (4, 0.9935), (8, 0.99984), (16, 1.0)):
        codes = samples(sky, nbits=nbits)
        assert codes.min() >= 0
        assert codes.max() <= 2**nbits - 1
        correlation = np.corrcoef(codes.ravel(), analogue.ravel())[0, 1]
        assert correlation == pytest.approx(expected, abs=0.002)
    codes = samples(sky, nbits=8)
    np.testing.assert_array_equal(codes, np.clip(np.floor(analogue * 16 + 96.5), 0, 255))
    assert codes.mean() == pytest.approx(96, abs=0.1)
    assert codes.std() == pytest.approx(16, abs=0.1)
    assert make(sky, nbits=8).data.dtype == np.uint8
    assert make(sky, nbits=16).data.dtype == np.uint16


def test_polarisations_sum_to_the_total():
    sky = with_(nsamps=TILE, pulsars=(Pulsar(period=0.1, snr=50),))
    total = samples(sky)
    out = np.empty((4, 32, TILE), dtype=np.float32)
    Synthesiser(sky, pol="AABBCRCI").fill(0, out)
    np.testing.assert_allclose(out[0] + out[1], total * math.sqrt(2), atol=1e-5)
    correlation = np.corrcoef(out.reshape(4, -1))
    assert np.abs(correlation - np.eye(4)).max() < 0.02
    np.testing.assert_allclose(out.std(axis=(1, 2)), 1, atol=0.02)
    Synthesiser(sky, pol="IQUV").fill(0, out)
    np.testing.assert_array_equal(out[0], total.astype(np.float32))
    eight = with_(sky, nbits=8, mean=None, sigma=None)
    codes = np.empty((4, 32, TILE), dtype=np.uint8)
    Synthesiser(eight, pol="AABBCRCI").fill(0, codes)
    cross = codes[2].view(np.int8).astype(float)
    assert cross.mean() == pytest.approx(0, abs=0.2)
    assert cross.std() == pytest.approx(16, abs=0.2)


def rfi_only(**fields):
    sky = with_(nsamps=2 * TILE, mean=None, sigma=None, nbits=8)
    changed = with_(sky, rfi=(Rfi(**fields),))
    return samples(sky), samples(changed), sky.header


@pytest.mark.parametrize("kind", ["narrowband", "intermittent"])
def test_narrowband(kind):
    clean, data, header = rfi_only(kind=kind, freqs=(1250, 1260), strength=4, width=0.1, fraction=0.5)
    hit = np.abs(header.freqs - 1255) < 5 + header.chan_width / 2
    assert 1 <= hit.sum() <= 2
    np.testing.assert_array_equal(data[~hit], clean[~hit])
    raised = (data - clean)[hit]
    if kind == "narrowband":
        assert raised.mean() == pytest.approx(4 * 16, rel=0.1)
        assert data[hit].std() > 1.3 * clean[hit].std()
    else:
        on = np.any(raised != 0, axis=0)
        assert 0.2 < on.mean() < 0.8
        assert np.count_nonzero(np.diff(on.astype(int))) < 2 * header.tobs / 0.1 + 2


def test_broadband_kinds_arrive_everywhere_at_once():
    clean, data, header = rfi_only(kind="mains", rate=50.0, strength=1.0, harmonics=2)
    power = np.abs(np.fft.rfft((data - clean).mean(axis=0))) ** 2
    freqs = np.fft.rfftfreq(data.shape[1], header.tsamp)
    strongest = freqs[np.argsort(power)[-1]]
    assert strongest == pytest.approx(50, abs=0.5)
    assert power[np.abs(freqs - 100) < 0.5].max() > 100 * np.median(power)
    clean, data, header = rfi_only(kind="impulse", rate=2.0, strength=3.0, width=0.01)
    added = data - clean
    busy = added.mean(axis=0) > 8
    assert np.count_nonzero(np.diff(busy.astype(int)) == 1) == pytest.approx(2 * header.tobs, abs=2)
    assert (added[:, busy].mean(axis=1) > 8).all()


def test_dead_saturated_sweep_and_jump():
    _, data, header = rfi_only(kind="dead", freqs=(1250, 1260))
    hit = np.abs(header.freqs - 1255) < 5 + header.chan_width / 2
    assert (data[hit] == 0).all()
    assert (data[~hit].std(axis=1) > 10).all()
    _, data, _ = rfi_only(kind="saturated", freqs=(1250, 1260))
    assert (data[hit] == 255).all()
    clean, data, header = rfi_only(kind="sweep", rate=0.5, strength=8.0)
    path = np.argmax(data - clean, axis=0)
    rate = np.polyfit(np.arange(path.size // 4) * header.tsamp, header.freqs[path[: path.size // 4]], 1)[0]
    assert rate == pytest.approx(0.5 * (header.freqs[0] - header.freqs[-1]), rel=0.05)
    clean, data, header = rfi_only(kind="jump", strength=1.2, time=2.0, freqs=(1200, 1300))
    after = np.arange(data.shape[1]) * header.tsamp >= 2.0
    hit = (header.freqs > 1195) & (header.freqs < 1305)
    np.testing.assert_array_equal(data[:, ~after], clean[:, ~after])
    assert data[hit][:, after].mean() == pytest.approx(96 * 1.2, rel=0.02)


def test_dead_channels_carry_no_snr():
    pulsar = Pulsar(period=0.02, dm=10, snr=30)
    sky = with_(pulsars=(pulsar,), rfi=(Rfi(kind="dead", freqs=(1000, 1200)),))
    signal = noiseless(sky)
    signal -= signal.mean(axis=1, keepdims=True)
    assert math.sqrt(np.sum(signal**2)) == pytest.approx(30, rel=0.02)


def test_bandpass_and_drift():
    for kind in ("rolloff", "ripple"):
        data = samples(with_(bandpass=kind, nbits=8, mean=None, sigma=None))
        means, sigmas = data.mean(axis=1), data.std(axis=1)
        assert means.max() > 1.2 * means.min()
        np.testing.assert_allclose(sigmas / means, 1 / 6, rtol=0.02)
        levelled = samples(with_(bandpass=kind, nbits=2, mean=None, sigma=None)).mean(axis=1)
        np.testing.assert_allclose(levelled, 1.5, atol=0.05)
    drift = samples(with_(drift=0.5)) - samples(BASE)
    assert (np.ptp(drift, axis=0) < 1e-5).all()
    assert 0.2 < drift[0].std() < 0.9


def test_simulate_call():
    block = simulate(nchans=64, tobs=1.0, pulsars=[{"period": 0.05, "dm": 30, "snr": 25}])
    assert block.data.shape == (64, 7629)
    again = simulate(None, with_(BASE, nsamps=100), seed=4)
    assert again.data.shape == (32, 100)
    with pytest.raises(ConfigError, match=r"\.fil"):
        simulate("a.dat", nchans=4, nsamps=10)
    with pytest.raises(ConfigError, match="no path"):
        simulate(nchans=4, nsamps=10, output={"npol": 2})


def test_errors_name_the_cause():
    with pytest.raises(ConfigError, match="outside the band"):
        make(with_(rfi=(Rfi(kind="dead", freqs=(10, 20)),)))
    with pytest.raises(ConfigError, match="all of them"):
        make(with_(rfi=(Rfi(kind="dead", freqs=(100, 2000)),), pulsars=(Pulsar(period=1),)))
    with pytest.raises(ConfigError, match="smeared out"):
        make(with_(pulsars=(Pulsar(period=0.001, scattering=1e12, duty=0.5),)))
