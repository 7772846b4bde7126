"""A simulated sky is what was asked for: S/N, arrival times, acceleration, smearing, whatever the chunks."""

import math
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pulsar.constants import KDM, C
from pulsar.errors import ConfigError
from pulsar.synthesis.interference import Interference
from pulsar.synthesis.model import RFI_FIELDS, Burst, Component, Orbit, Pulsar, Rfi, Sky, components_of, demo_sky
from pulsar.synthesis.signal import burst_signal, observed_accel, observed_spin, phase, recorded_profiles, smearing
from pulsar.synthesis.write import TILE, Synthesiser, make

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
    angle = 2 * math.pi * turn
    # The light travels across the orbit: (2 pi x / pb)^2 = 7e-6 away from the nodes.
    assert 1 / f == pytest.approx(0.03 * (1 + 2 * math.pi * 3 / 7000 * math.cos(angle)), rel=1e-5)
    fastest = C * 3.0 * (2 * math.pi / 7000) ** 2
    assert observed_accel(header, pulsar) == pytest.approx(-fastest * math.sin(angle), rel=1e-2, abs=1e-3 * fastest)


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
FULL = with_(
    FULL,
    overflow="wrap",
    rfi=(
        *FULL.rfi,
        Rfi(kind="sweep", rate=0.5, strength=4),
        Rfi(kind="jump", strength=1.3, time=1.5),
        Rfi(kind="jumps", strength=0.8, width=0.02, fraction=0.4, freqs=(1100, 1200), until=2.0),
        Rfi(kind="mains", rate=60, strength=0.1, drift=0.01, wander=0.05, freqs=(1000, 1300)),
        Rfi(kind="radar", freqs=(1300, 1350), strength=20, rate=350, width=1e-4, scan=1.0, fraction=0.1, time=0.5),
        Rfi(kind="radar", freqs=(1000, 1500), strength=3, rate=3, width=5e-3, fraction=1.0, chirp=-0.1),
        Rfi(kind="satellite", freqs=(1201.4, 1214.8), strength=2, width=2e-3, fraction=0.5),
        Rfi(kind="diode", strength=0.3, until=1.0),
        Rfi(kind="saturated", freqs=(1400, 1410), time=0.7, until=1.4),
    ),
)


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


def in_a_band(**fields):
    """The channels that are hit, clean and with interference, and the header; the others are as they were."""
    clean, data, header = rfi_only(freqs=(1250, 1260), strength=4, **fields)
    hit = np.abs(header.freqs - 1255) < 5 + header.chan_width / 2
    assert 1 <= hit.sum() <= 2
    np.testing.assert_array_equal(data[~hit], clean[~hit])
    return clean[hit], data[hit], header


def test_narrowband():
    clean, data, _ = in_a_band(kind="narrowband")
    assert (data - clean).mean() == pytest.approx(4 * 16, rel=0.1)
    assert data.std() > 1.3 * clean.std()


def test_intermittent():
    clean, data, header = in_a_band(kind="intermittent", width=0.1, fraction=0.5)
    on = np.any(data != clean, axis=0)
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


def test_interference_is_there_from_time_until():
    first, last = round(1.0 / BASE.tsamp), round(2.5 / BASE.tsamp)
    for fields in (
        {"kind": "narrowband", "freqs": (1250, 1260), "strength": 4},
        {"kind": "mains", "rate": 50.0},
        {"kind": "impulse", "rate": 50.0},
        {"kind": "sweep", "strength": 8},
        {"kind": "diode", "period": 0.01},
        {"kind": "jump", "strength": 1.3},
        {"kind": "dead", "freqs": (1250, 1260)},
        {"kind": "saturated", "freqs": (1250, 1260)},
    ):
        clean, data, _ = rfi_only(**fields, time=1.0, until=2.5)
        changed = np.flatnonzero((data != clean).any(axis=0))
        assert first <= changed[0] < first + 100, fields
        assert last - 100 < changed[-1] <= last, fields


def test_mains_drift_and_wander_as_their_numbers_say():
    sky = with_(nchans=1, tsamp=1e-3, nsamps=2**17)
    clean = samples(sky)[0]
    edges = np.arange(64) * 2048

    def heard(**fields):
        """Frequency of the fundamental in stretches of 2 s, from the turns of its phase."""
        rfi = Rfi(kind="mains", rate=50.0, harmonics=1, **fields)
        row = samples(with_(sky, rfi=(rfi,)))[0] - clean
        times = (np.arange(row.size) + 0.5) * sky.tsamp
        turned = row * np.exp(-2j * np.pi * 50.0 * times)
        angle = np.unwrap(np.angle(np.add.reduceat(turned, edges)))
        return 50.0 + np.diff(angle) / (2 * np.pi * 2.048), edges[1:] * sky.tsamp

    found, when = heard(drift=1e-3)
    np.testing.assert_allclose(found, 50.0 + 1e-3 * when, atol=2e-3)
    found, _ = heard(wander=0.05)
    assert 0.03 < np.std(found) < 0.07
    # Slow: from one stretch to the next it changes by much less than it does in all.
    assert np.std(np.diff(found)) < 0.7 * np.std(found)
    found, _ = heard()
    np.testing.assert_allclose(found, 50.0, atol=1e-4)
    # The second harmonic drifts twice as much.
    rfi = Rfi(kind="mains", rate=50.0, harmonics=2, drift=5e-3)
    power = np.abs(np.fft.rfft(samples(with_(sky, rfi=(rfi,)))[0] - clean)) ** 2
    freqs = np.fft.rfftfreq(2**17, 1e-3)
    for h in (1, 2):
        near = np.abs(freqs - 50 * h) < 5
        spread = freqs[near][power[near] > 0.05 * power[near].max()]
        assert np.ptp(spread) == pytest.approx(h * 5e-3 * sky.header.tobs, rel=0.15)


def test_radar_pulses_come_round_with_the_antenna():
    fields = {"freqs": (1250, 1260), "strength": 50.0, "rate": 250.0, "width": 1e-4, "scan": 2.0, "fraction": 0.2}
    sky = with_(nsamps=2**15, tsamp=128e-6)
    added = samples(with_(sky, rfi=(Rfi(kind="radar", **fields),))) - samples(sky)
    header = sky.header
    hit = np.abs(header.freqs - 1255) < 5 + header.chan_width / 2
    assert not added[~hit].any()
    row = added[np.flatnonzero(hit)[0]]
    assert added[hit].shape[0] >= 1
    # On for a fifth of each turn at most, at the same part of every turn.
    turn = round(2.0 / header.tsamp)
    on = np.flatnonzero(row)
    assert np.ptp(on[on < on[0] + turn // 2]) * header.tsamp == pytest.approx(0.4, abs=0.03)
    assert (on[on > on[0] + turn // 2][0] - on[0]) == pytest.approx(turn, abs=2 * 32)
    # Shorter than a sample: 0.1 of 0.128 ms, so that most samples between are untouched; once every 4 ms.
    strongest = np.flatnonzero(row > 10)
    gaps = np.diff(strongest)
    assert np.median(gaps[gaps > 2]) * header.tsamp == pytest.approx(4e-3, abs=header.tsamp)
    # Power in a pulse: its height times its length over a sample, shared by two at most (and its own noise).
    pair = row[:-1] + row[1:]
    assert pair.max() == pytest.approx(50 * 1e-4 / 128e-6, rel=0.3)


def test_a_chirped_radar_looks_dispersed():
    sky = with_(nchans=128, foff=-3.90625, fch1=1498, nsamps=2**14)
    fields = {"freqs": (1000, 1500), "strength": 30.0, "rate": 0.25, "width": 3e-3, "fraction": 1.0}
    for chirp, slope in ((0.2, 1.0), (-0.2, -1.0), (0.0, 0.0)):
        added = samples(with_(sky, rfi=(Rfi(kind="radar", chirp=chirp, **fields),))) - samples(sky)
        at = np.argmax(added, axis=1) * sky.tsamp
        if np.ptp(added.max(axis=1)) > 60:
            pytest.fail("a channel without its pulse")
        late = np.polyfit((sky.header.freqs[0] - sky.header.freqs) / 500.0, at, 1)[0]
        assert late == pytest.approx(0.2 * slope, abs=0.005)


def test_satellite_power_is_noise_in_its_share_of_the_channels():
    sky = with_(nchans=64, foff=-7.8125, fch1=1496.09375, nsamps=2**16)
    # 12 MHz: one channel whole, two in part.
    fields = {"freqs": (1200.0, 1212.0), "strength": 3.0, "width": 5e-3}
    base, steady = samples(sky), samples(with_(sky, rfi=(Rfi(kind="satellite", fraction=1e-9, **fields),)))
    half = sky.header.chan_width / 2
    overlap = np.clip(
        (np.minimum(sky.header.freqs + half, 1212.0) - np.maximum(sky.header.freqs - half, 1200.0)) / (2 * half), 0, 1
    )
    assert np.count_nonzero(overlap) >= 2
    np.testing.assert_allclose(steady.mean(axis=1) - base.mean(axis=1), 3 * overlap, atol=0.03)
    # Noise of the receiver is a sixth of its power, and so is that of the whole.
    np.testing.assert_allclose(steady.std(axis=1), 1 + 0.5 * overlap, rtol=0.02)
    full = int(np.argmax(overlap))
    waved = samples(with_(sky, rfi=(Rfi(kind="satellite", fraction=0.8, **fields),)))[full]
    assert waved.mean() == pytest.approx(3.0, rel=0.15)
    # Modulated at 5 ms: means over 4 ms scatter far more than noise of 16 samples, those of 0.5 s far less.
    short = waved[: 2**16 // 16 * 16].reshape(-1, 16).mean(axis=1)
    assert 1.5 < short.std() < 3.5
    assert waved[: 2**16 // 2048 * 2048].reshape(-1, 2048).mean(axis=1).std() < 0.5


def test_the_diode_is_a_square_wave_of_noise():
    clean, data, header = rfi_only(kind="diode", strength=1.5)
    means = (data - clean).mean(axis=0) / 16
    on = means > 0.75
    edges = np.flatnonzero(np.diff(on.astype(int)) == 1)
    assert np.diff(edges).mean() * header.tsamp == pytest.approx(0.201326592, abs=header.tsamp)
    assert on.mean() == pytest.approx(0.5, abs=0.05)
    assert means[on].mean() == pytest.approx(1.5, rel=0.03)
    assert (data[:, on].std() / data[:, ~on].std()) == pytest.approx(1 + 1.5 / 6, rel=0.02)
    power = np.abs(np.fft.rfft(means - means.mean(), 2**16)) ** 2
    freqs = np.fft.rfftfreq(2**16, header.tsamp)
    at = [power[np.abs(freqs - k / 0.201326592) < 0.3].max() for k in (1, 2, 3)]
    assert at[1] < 0.02 * at[0]
    assert at[2] == pytest.approx(at[0] / 9, rel=0.2)


def test_square_waves_hold_their_power_to_the_end_of_a_long_observation():
    header = with_(nsamps=2**31).header
    for fields, mean in (
        ({"kind": "diode", "period": 0.0317}, 0.5),
        ({"kind": "radar", "freqs": (1000, 1500), "rate": 813.7, "width": 2e-5, "fraction": 1.0}, 813.7 * 2e-5),
    ):
        source = Interference(header, Rfi(**fields), 99)
        for start in (0, 2**31 - 2**18):
            share = source.share(start, 2**18, np.arange(1))
            assert share.min() >= 0
            assert share.mean() == pytest.approx(mean, rel=1e-3)
            assert np.isfinite(source._noise(share)).all()


def test_jumps_go_back_and_forth():
    clean, data, header = rfi_only(kind="jumps", strength=1.25, width=0.2, fraction=0.5, freqs=(1200, 1300))
    hit = (header.freqs > 1195) & (header.freqs < 1305)
    np.testing.assert_array_equal(data[~hit], clean[~hit])
    high = np.median(data[hit] - clean[hit], axis=0) > 12
    assert 0.15 < high.mean() < 0.85
    assert data[hit][:, high].mean() == pytest.approx(96 * 1.25, rel=0.01)
    assert np.count_nonzero(np.diff(high.astype(int))) <= header.tobs / 0.2 + 1
    changed = (data[hit] != clean[hit]).mean(axis=0)
    assert changed[high].min() > 0.6
    assert not changed[~high].any()


def test_codes_wrap_as_those_of_a_wider_number():
    sky = with_(
        nsamps=TILE, mean=None, sigma=None, nbits=16, rfi=(Rfi(kind="narrowband", freqs=(1250, 1260), strength=12),)
    )
    levels = {"mean": 96.0, "sigma": 16.0}
    wide = samples(with_(sky, **levels))
    assert wide.max() > 255
    np.testing.assert_array_equal(samples(with_(sky, nbits=8, overflow="wrap", **levels)), np.mod(wide, 256))
    np.testing.assert_array_equal(samples(with_(sky, nbits=8, **levels)), np.minimum(wide, 255))
    with pytest.raises(ConfigError, match="no top to wrap at"):
        make(with_(sky, nbits=32, overflow="wrap"))


def test_a_field_without_meaning_is_an_error():
    with pytest.raises(ValueError, match="harmonics has no meaning there"):
        Rfi(kind="dead", freqs=(1000, 1100), harmonics=7)
    with pytest.raises(ValueError, match="overlap"):
        Rfi(kind="radar", freqs=(1000, 1100), rate=300, width=0.01)
    with pytest.raises(ValueError, match="not after time"):
        Rfi(kind="diode", time=3, until=2)
    # Every field of the model belongs to a kind, and every kind is listed.
    names = set(Rfi.model_fields) - {"kind", "time", "until"}
    assert names == {name for used in RFI_FIELDS.values() for name in used}
    assert set(RFI_FIELDS) == set(Rfi.model_fields["kind"].annotation.__args__)
    text = (Path(__file__).resolve().parents[2] / "docs" / "simulation.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \|", text, flags=re.MULTILINE)
    assert {kind: tuple(fields.split(", ")) for kind, fields in rows} == RFI_FIELDS


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


def test_errors_name_the_cause():
    with pytest.raises(ConfigError, match="outside the band"):
        make(with_(rfi=(Rfi(kind="dead", freqs=(10, 20)),)))
    with pytest.raises(ConfigError, match="all of them"):
        make(with_(rfi=(Rfi(kind="dead", freqs=(100, 2000)),), pulsars=(Pulsar(period=1),)))
    with pytest.raises(ConfigError, match="smeared out"):
        make(with_(pulsars=(Pulsar(period=0.001, scattering=1e12, duty=0.5),)))


def test_a_measured_profile_is_simulated_as_it_is():
    phase = (np.arange(64) + 0.5) / 64
    measured = 3.0 + np.exp(-0.5 * ((phase - 0.3) / 0.02) ** 2) + 0.5 * np.exp(-0.5 * ((phase - 0.6) / 0.04) ** 2)
    components = components_of(measured)
    made = recorded_profiles(components, 1024, np.zeros(1), np.zeros(1))[0].reshape(64, 16).mean(axis=1)
    # Its highest bin, the 19th, begins half a bin before phase 0.
    own = (measured - measured.min()) / (measured - measured.min()).mean()
    expected = np.roll(own, -19)
    np.testing.assert_allclose(made, 0.5 * (expected + np.roll(expected, -1)), atol=0.02 * own.max())


def test_bursts_fill_a_part_of_the_band():
    header = with_(nchans=256, foff=-2.0).header
    low, high = header.edges
    middle, width = low + 0.3 * (high - low), 0.1 * (high - low)
    burst = Burst(time=1.0, snr=12.0, spectrum=(middle, width))
    signal = burst_signal(header, burst)
    amps = signal.amps / signal.amps.max()
    assert header.freqs[np.argmax(amps)] == pytest.approx(middle, abs=header.chan_width)
    assert np.sum(amps > 0.5) * header.chan_width == pytest.approx(width, abs=2.0 * header.chan_width)
    # The S/N is that of a filter that knows the spectrum.
    alike = burst_signal(header, burst.model_copy(update={"spectrum": None}))
    assert np.sum(signal.amps**2) == pytest.approx(np.sum(alike.amps**2), rel=0.01)
