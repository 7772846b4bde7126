"""Periodic interference: lists, and lines that are learnt without harming pulsars."""

import numpy as np
import pytest

from pulsar.cleaning.birdies import (
    MOST,
    Birdie,
    Spectrum,
    diode_lines,
    fraction_lost,
    learn,
    merged,
    read_zaplist,
    series_lines,
    steady_lines,
)
from pulsar.config.model import FFTConfig
from pulsar.constants import KDM
from pulsar.errors import DataError
from pulsar.searches.fft import FFTSearch

FREQS = np.linspace(1500.0, 1000.0, 64)
DELAY = KDM * (FREQS**-2.0 - FREQS[0] ** -2.0)
TSAMP, NSAMPS = 1e-3, 1 << 15
TOBS = TSAMP * NSAMPS
DMS = np.arange(64) * 2.0


def found(signals, seed=1, weights=None, mains=(), noises=1):
    """Birdies of noise and of sinusoids (freq, amplitude, dm) in the series at all DMs; `weights` of the channels.

    The trials share their noise, or take turns with so many noises.
    """
    rng = np.random.default_rng(seed)
    t = np.arange(NSAMPS) * TSAMP
    noise = rng.normal(size=(noises, NSAMPS))
    search = FFTSearch(NSAMPS, TSAMP, FFTConfig())

    def one(i):
        series = noise[i % noises].copy()
        for freq, amplitude, dm in signals:
            # What channels add up to when they are shifted by the delay of another DM.
            wave = np.average(np.exp(2j * np.pi * freq * (dm - DMS[i]) * DELAY), weights=weights)
            series += amplitude * np.real(wave * np.exp(2j * np.pi * freq * t))
        return series.astype(np.float32)

    return learn(Spectrum(search.spectrum(one(0)), TSAMP, TOBS), one, DMS, FREQS, mains)


def test_lines_at_dm_zero_are_learnt_and_pulsars_are_not():
    mains = [(50.0123, 0.2, 0.0), (100.0246, 0.1, 0.0)]
    pulsars = [(31.7, 0.3, 20.0), (173.3, 0.2, 70.0), (77.1, 0.5, 3.0)]
    birds = found([*mains, *pulsars])
    assert sorted(round(b.freq, 1) for b in birds) == [50.0, 100.0]
    assert all(b.width < 12 / TOBS for b in birds)
    assert {b.reason for b in birds} == {"learnt"}


@pytest.mark.parametrize("part", [slice(0, 32), slice(32, 64), slice(20, 44)])
def test_hum_in_a_part_of_the_band_is_learnt_and_pulsars_that_are_seen_there_are_not(part):
    weights = np.full(64, 0.1)
    weights[part] = 1.0
    birds = found([(50.0123, 0.3, 0.0), (31.7, 0.3, 20.0), (173.3, 0.2, 70.0), (77.1, 0.5, 3.0)], weights=weights)
    assert [round(b.freq, 1) for b in birds] == [50.0]


@pytest.mark.parametrize("seed", range(6))
def test_hum_in_a_fifth_of_the_band_is_learnt_at_the_mains(seed):
    # At small DMs it falls by nothing, and noise makes more or less of it.
    weights = np.full(64, 0.02)
    weights[20:33] = 1.0
    hum = [(50.0123, 0.15, 0.0), (100.0246, 0.12, 0.0)]
    birds = found(hum, seed, weights=weights, mains=(50.0, 60.0), noises=7)
    assert sorted(round(b.freq, 1) for b in birds) == [50.0, 100.0]


@pytest.mark.parametrize("dm", [3.0, 8.0, 30.0, 100.0])
@pytest.mark.parametrize("freq", [49.9, 60.1, 120.2, 299.3])
def test_a_pulsar_at_the_mains_is_not_learnt(freq, dm):
    # In two fifths of the band a DM of 3 turns it by a seventh at 60 Hz: as good as none.
    weights = np.full(64, 1.0)
    weights[:40] = 0.1 if dm > 5.0 else 1.0
    # A weak one of DM 3 is no more above itself at DM 0 than noise is.
    for amplitude in (0.1, 0.3) if dm > 5.0 else (0.3,):
        assert found([(freq, amplitude, dm)], 3, weights=weights, mains=(50.0, 60.0), noises=7) == []


def test_slow_signals_are_left_alone():
    # A turn over the band takes a DM that is not at hand: nobody can tell.
    assert found([(1.1, 0.5, 0.0), (1.7, 0.5, 15.0)]) == []


def test_noise_has_no_birdies():
    assert sum(len(found([], seed)) for seed in range(60)) <= 2


def test_no_more_than_a_part_is_taken():
    many = [(20.0 + 1.37 * k, 0.3, 0.0) for k in range(250)]
    birds = found(many)
    assert len(birds) > 20
    assert fraction_lost(birds, 0.5 / TSAMP) <= MOST


def test_without_dm_zero_nothing_is_learnt():
    flat = np.ones(100, np.float32)
    assert learn(Spectrum(flat, TSAMP, TOBS), lambda _: flat, np.array([10.0, 20.0]), FREQS) == []


def test_lists_of_presto(tmp_path):
    (tmp_path / "a.zaplist").write_text("# freq width\n50.0 0.1\nB 12.5 0.01\n".replace("B ", "B"))
    (tmp_path / "b.birds").write_text("60.0 0.02 3 1 0\n")
    lines = read_zaplist(tmp_path / "a.zaplist", voverc=1e-4)
    assert lines[0] == Birdie(50.0, 0.1, "a.zaplist")
    assert lines[1].freq == pytest.approx(12.5 / 1.0001)
    assert [(b.freq, b.width) for b in read_zaplist(tmp_path / "b.birds")] == [
        (60.0, 0.02),
        (120.0, 0.04),
        (180.0, 0.06),
    ]
    with pytest.raises(DataError, match="line 3 is barycentric"):
        read_zaplist(tmp_path / "a.zaplist")
    for text in ("50\n", "x y\n", "-1 2\n"):
        (tmp_path / "c.zaplist").write_text(text)
        with pytest.raises(DataError, match="line 1"):
            read_zaplist(tmp_path / "c.zaplist")
    with pytest.raises(DataError, match="no such file"):
        read_zaplist(tmp_path / "none")


def test_ranges_are_merged_and_counted_once():
    birds = [
        Birdie(10.0, 2.0, "given"),
        Birdie(11.5, 2.0, "learnt"),
        Birdie(30.0, 1.0, "given"),
        Birdie(99.9, 1.0, "x"),
    ]
    assert next((b.freq, b.width, b.reason) for b in merged(birds)) == (10.75, 3.5, "given, learnt")
    assert fraction_lost(birds, 100.0) == pytest.approx((3.5 + 1.0 + 0.6) / 100)
    assert fraction_lost([], 100.0) == 0.0


def test_the_noise_diode_is_known_by_its_odd_harmonics():
    period, rng = 0.201326592, np.random.default_rng(4)
    t = np.arange(NSAMPS) * TSAMP
    search = FFTSearch(NSAMPS, TSAMP, FFTConfig())

    def lines(series):
        powers = search.spectrum((rng.normal(size=NSAMPS) + series).astype(np.float32))
        return diode_lines(Spectrum(powers, TSAMP, TOBS), [period, 2.0])

    square = 0.6 * (t / period % 1.0 < 0.5)
    found = lines(square)
    assert found[0].freq == pytest.approx(4.967054, abs=1e-6)
    assert [round(b.freq * period) for b in found] == list(range(1, 2 * len(found), 2))
    assert len(found) > 4
    assert {b.reason for b in found} == {"noise diode"}
    # A pulsar of that very period has even harmonics, and noise has none.
    assert lines(1.0 * (t / period % 1.0 < 0.07)) == []
    assert lines(0.0 * t) == []


def learnt_from_channels(freq, dm, power, seeds):
    """How often a signal is taken for a line, in series that share the noise of the channels as real ones do."""
    dms = np.arange(96) * 0.25
    search = FFTSearch(NSAMPS, TSAMP, FFTConfig())
    shifts = np.round(dms[:, None] * DELAY / TSAMP).astype(int)
    t = np.arange(NSAMPS) * TSAMP
    amplitude = 2.0 * np.sqrt(power / NSAMPS / len(FREQS))
    count = 0
    for seed in seeds:
        noise = np.random.default_rng(seed).normal(size=(len(FREQS), NSAMPS)).astype(np.float32)
        phase = 2 * np.pi * freq * (t[None, :] - dm * DELAY[:, None])
        channels = noise + (amplitude * np.cos(phase)).astype(np.float32)

        def series(i, channels=channels):
            return sum(np.roll(row, -n) for row, n in zip(channels, shifts[i], strict=True))

        birds = learn(Spectrum(search.spectrum(series(0)), TSAMP, TOBS), series, dms, FREQS)
        count += any(abs(b.freq - freq) < 0.5 * b.width for b in birds)
    return count


@pytest.mark.jit
def test_noise_at_another_dm_hides_no_line():
    # At the nearest DMs a line is as strong as at DM 0, and every second time noise makes it stronger there.
    assert learnt_from_channels(47.3, 0.0, 300.0, range(8)) >= 7
    # No pulsar is taken: none has a smaller DM.
    assert learnt_from_channels(47.3, 2.38, 300.0, range(8)) == 0


def single(seed=1, *, tsamp=2e-3, n=1 << 16, mains=(), wander=0.0, pulsar=0.0, strength=0.0, steady=()):
    """Powers of a single series: wandering mains, a pulsar of narrow pulses, steady tones (freq, amplitude)."""
    rng = np.random.default_rng(seed)
    t = (np.arange(n) + 0.5) * tsamp
    x = rng.normal(size=n)
    slow = np.interp(t, np.linspace(0.0, t[-1], 12), rng.normal(size=12))
    slow -= slow.mean()
    for freq, amplitude in mains:
        turns = freq * t + freq * wander * np.cumsum(slow) * tsamp
        x += amplitude * sum(np.sin(2 * np.pi * k * turns + k) for k in (1, 2, 3, 6))
    if pulsar:
        x += strength * np.exp(-0.5 * (((t * pulsar + 0.5) % 1.0 - 0.5) / 0.02) ** 2)
    for freq, amplitude in steady:
        x += amplitude * np.sin(2 * np.pi * freq * t)
    return Spectrum(FFTSearch(n, tsamp, FFTConfig()).spectrum(x.astype(np.float32)), tsamp, n * tsamp), (50.0, 60.0)


def is_in(freq, birds, slack=0.0):
    return any(abs(b.freq - freq) <= 0.5 * b.width + slack for b in birds)


@pytest.mark.jit
def test_mains_that_wander_are_learnt_in_a_single_series():
    for seed, freq in enumerate((50.02, 49.97, 60.01)):
        birds = series_lines(*single(seed, mains=((freq, 0.5),), wander=3e-4))
        assert is_in(freq, birds, 0.02)
        assert is_in(2 * freq, birds, 0.04)
        # Beyond the Nyquist frequency of 250 Hz.
        assert is_in(500.0 - 6 * freq, birds, 0.12)
        assert fraction_lost(birds, 250.0) < 0.02
        assert {b.reason for b in birds} == {"mains"}


@pytest.mark.jit
def test_a_pulsar_with_a_harmonic_at_the_mains_keeps_it():
    known = single(pulsar=10.004, strength=1.0)
    assert series_lines(*known) == []
    assert steady_lines(*known) == []
    # Beside mains that wander only what these cover is lost.
    birds = series_lines(*single(pulsar=3.3331, strength=1.0, mains=((50.2, 0.5),), wander=3e-4))
    assert is_in(50.2, birds, 0.02)
    assert not any(is_in(3.3331 * k, birds) for k in range(1, 15))


@pytest.mark.jit
def test_a_pulsar_with_the_period_of_the_mains_is_left_to_be_judged():
    known = single(pulsar=50.05, strength=1.0)
    assert series_lines(*known) == []
    assert is_in(50.05, steady_lines(*known))


@pytest.mark.jit
def test_a_pulsar_that_comes_and_goes_is_no_mains():
    rng = np.random.default_rng(4)
    n, tsamp = 1 << 16, 2e-3
    t = np.arange(n) * tsamp
    x = rng.normal(size=n)
    shape = np.exp(-0.5 * (((t * 5.005 + 0.5) % 1.0 - 0.5) / 0.02) ** 2)
    x += 4.0 * shape * (t % 37.0 < 9.0) * rng.uniform(0.2, 1.0, n // 4096).repeat(4096)
    powers = FFTSearch(n, tsamp, FFTConfig()).spectrum(x.astype(np.float32))
    assert series_lines(Spectrum(powers, tsamp, n * tsamp), (50.0, 60.0)) == []


def test_nothing_is_learnt_from_noise_in_a_single_series():
    for seed in range(20):
        known = single(seed, n=1 << 14)
        assert series_lines(*known) == []
        assert steady_lines(*known) == []
