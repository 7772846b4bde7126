"""Sweeps that are not dispersed pulses, and pulses of few channels."""

import dataclasses

import numpy as np
import pytest
from reference.products import make_fold

from pulsar.data.fold import PulseCutout
from pulsar.sources.candidate import CHANCE
from pulsar.sources.sweep import BEND_WIDTHS, bend, bends, pulse_reasons

FREQS = np.linspace(1500.0, 1000.0, 64)
WIDTH = 8


def rows(seed, snr=20.0, delays=None, power=None, scattering=0.0):
    """Bands of noise 1 with a Gaussian pulse, late by `delays` columns."""
    rng = np.random.default_rng(seed)
    t = np.arange(256)
    late = np.zeros(64) if delays is None else delays
    strength = np.ones(64) if power is None else power
    pulse = np.exp(-0.5 * ((t[None, :] - 128.0 - late[:, None]) / (WIDTH / 2.5)) ** 2)
    if scattering:
        for row, freq in zip(pulse, FREQS, strict=True):
            tail = np.exp(-t / (scattering * (freq / 1000.0) ** -4.0))
            row[:] = np.convolve(row, tail / tail.sum())[:256]
    pulse *= strength[:, None]
    pulse *= snr / np.sqrt(np.sum(pulse.mean(axis=0) ** 2) * 64)
    return (pulse + rng.normal(size=pulse.shape)).astype(np.float32)


def cutout(spectrum, width=WIDTH):
    none = np.zeros(0)
    return PulseCutout(
        spectrum=spectrum, freqs=FREQS, plane=np.zeros((0, 256), np.float32), dms=none, dm=100.0, time=0.128,
        width=width * 1e-3, start=0.0, tsamp=1e-3, tstart=60000.0, fref=1500.0,
    )  # fmt: skip


def of(x):
    """A delay as a function of nu^-2, less its straight line between the ends."""
    end = x[0] + (x[-1] - x[0]) * (FREQS**-2.0 - FREQS[0] ** -2.0) / (FREQS[-1] ** -2.0 - FREQS[0] ** -2.0)
    return x - end


@pytest.mark.parametrize("kind", ["plain", "wrong dm", "scattered", "patchy", "drifting"])
def test_pulses_of_the_sky_are_not_flagged(kind):
    flagged, told = 0, 0
    for seed in range(60):
        rng = np.random.default_rng(1000 + seed)
        delays, power, tail = None, None, 0.0
        if kind == "wrong dm":
            delays = WIDTH * (FREQS**-2.0 - FREQS[32] ** -2.0) / np.ptp(FREQS**-2.0)
        elif kind == "scattered":
            tail = 8.0
        elif kind == "patchy":
            power = rng.exponential(size=64)
        elif kind == "drifting":
            # As of repeating bursts: by three widths over the band, of which the DM takes most.
            delays = of(3 * WIDTH * (FREQS[0] - FREQS) / 500.0)
        spectrum = rows(seed, snr=float(rng.uniform(12, 60)), delays=delays, power=power, scattering=tail)
        told += bend(spectrum, FREQS, WIDTH)[0] != 0.0
        flagged += bool(pulse_reasons(cutout(spectrum), 20.0))
    assert told > 15
    assert flagged == 0


def test_the_significance_is_one_of_noise():
    got = np.array([bend(rows(seed, snr=60.0), FREQS, WIDTH)[0] for seed in range(150)])
    assert abs(got.mean()) < 0.3
    assert got.std() < 1.2


@pytest.mark.parametrize("snr", [25.0, 60.0])
def test_a_linear_sweep_is_flagged(snr):
    delays = of(40 * WIDTH * (FREQS[0] - FREQS) / 500.0)
    delays -= delays.mean()
    found = [pulse_reasons(cutout(rows(seed, snr=snr, delays=delays)), snr) for seed in range(20)]
    assert sum("sweep" in flags for flags in found) >= 18
    significance, height = bend(rows(3, snr=60.0, delays=delays), FREQS, WIDTH)
    assert significance > CHANCE
    assert height > BEND_WIDTHS


def folded(spectrum, turn=256):
    """A fold of some bands, anywhere in the turn."""
    fold = make_fold(1)
    place = int(np.argmax(spectrum.sum(axis=0)))
    shown = np.roll(spectrum[:, :turn], 90, axis=1)
    phase = (place + 90) % turn / turn
    return dataclasses.replace(fold, freq_phase=shown, band_freqs=FREQS, width=WIDTH / turn, phase=phase, snr=60.0)


def test_a_fold_of_a_linear_sweep_bends_and_that_of_a_pulsar_does_not():
    sweep = of(40 * WIDTH * (FREQS[0] - FREQS) / 500.0)
    sweep -= sweep.mean()
    assert sum(bends(folded(rows(seed, snr=60.0, delays=sweep))) for seed in range(20)) >= 18
    for seed in range(30):
        plain = rows(seed, snr=60.0)
        # An interpulse is the stronger of the two in some bands.
        other = np.roll(rows(seed + 100, snr=60.0, power=np.where(np.arange(64) % 3, 0.8, 1.3)), 120, axis=1)
        assert not bends(folded(plain))
        assert not bends(folded(plain + other))
        assert not bends(folded(rows(seed, snr=60.0, scattering=8.0)))
    assert not bends(dataclasses.replace(make_fold(1), freq_phase=plain[:1], band_freqs=np.array([np.inf])))


def test_a_pulse_of_few_channels_is_flagged():
    power = np.zeros(64)
    power[40:43] = 1.0
    assert pulse_reasons(cutout(rows(1, snr=15.0, power=power)), 15.0) == ("narrow-band",)
    power[30:46] = 1.0
    assert pulse_reasons(cutout(rows(1, snr=15.0, power=power)), 15.0) == ()


def test_two_bands_of_interference_in_line_are_few_channels():
    # Side by side, with noise in all the others, which makes it look more even than it is.
    power = np.zeros(64)
    power[8:13] = 1.0, 0.6, 0.8, 0.2, 0.5
    assert all(pulse_reasons(cutout(rows(seed, snr=8.0, power=power)), 8.0) == ("narrow-band",) for seed in range(30))


def test_a_band_where_noise_is_high_in_all_others_is_few_channels():
    # Of S/N 22 in four bands, 5 in the other sixty: the time is that of a narrow band, the DM the best of all.
    power = np.full(64, 5.0 / 60.0**0.5)
    power[8:12] = 11.0
    total = power.sum() / 8.0
    found = [pulse_reasons(cutout(rows(seed, snr=total, power=power)), 10.0) for seed in range(40)]
    assert sum(flags == ("narrow-band",) for flags in found) >= 30


@pytest.mark.parametrize("wide", [1, 2, 4, 16])
def test_scintillation_leaves_pulses_of_the_sky_alone(wide):
    rng = np.random.default_rng(wide)
    spectra = [np.repeat(rng.exponential(size=64 // wide), wide) for _ in range(150)]
    flagged = sum(bool(pulse_reasons(cutout(rows(i, 9.0, power=x / x.mean())), 9.0)) for i, x in enumerate(spectra))
    # Of narrow ones in one of a few hundred; of four bands and wider nothing may be left outside an eighth of the band.
    assert flagged <= (1 if wide < 4 else 6)


def test_weak_pulses_of_all_channels_are_not_flagged():
    assert not any(pulse_reasons(cutout(rows(seed, snr=8.0)), 8.0) for seed in range(60))


@pytest.mark.parametrize(("bands", "flags"), [(slice(0, 64), ()), (slice(20, 23), ("narrow-band",))])
def test_the_end_of_the_data_beside_a_pulse_does_not_keep_it_from_being_judged(bands, flags):
    power = np.zeros(64)
    power[bands] = 1.0
    spectrum = rows(2, snr=15.0, power=power)
    spectrum[:, 160:] = np.nan
    assert pulse_reasons(cutout(spectrum), 15.0) == flags


def test_what_cannot_be_told_is_not_flagged():
    empty = rows(1)
    empty[:60] = np.nan
    assert pulse_reasons(cutout(empty), 20.0) == ()
    assert bend(empty, FREQS, WIDTH) == (0.0, 0.0)
    assert pulse_reasons(cutout(rows(1)), 5.0) == ()


def test_a_pulse_beside_a_sweep_is_none():
    curve = of(40.0 * WIDTH * (FREQS[0] - FREQS) / 500.0)
    for seed in range(10):
        noise = np.random.default_rng(seed).normal(size=(64, 256)).astype(np.float32)
        sweep = rows(seed, snr=60.0, delays=60.0 + curve) - rows(seed, snr=1e-9)
        burst = rows(seed, snr=15.0) - rows(seed, snr=1e-9)
        assert "sweep" in pulse_reasons(cutout(noise + sweep), 20.0)
        # Both bend, if the arrivals of the stronger one are taken: what is at the pulse's own time is straight.
        assert bend(noise + sweep + burst, FREQS, WIDTH)[0] > CHANCE
        assert pulse_reasons(cutout(noise + sweep + burst), 15.0) == ()
